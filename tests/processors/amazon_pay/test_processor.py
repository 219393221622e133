"""Amazon Pay's processor in dialogue with the simulated site: what is asked, what is answered, and what then stands there."""
from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked, Reversed, Silence, Unknown
from ringfence.processors.amazon_pay.objects import Thing
from ringfence.processors.amazon_pay.signing import Signer
from tests.amazon_site.site_asking import OTHER_KEY
from tests.processors.amazon_pay.bench import MERCHANT, World, told

pytestmark = pytest.mark.anyio

A, P, C, V, R, D, I = Kind.AUTHORIZATION, Kind.PURCHASE, Kind.CAPTURE, Kind.VOID, Kind.REFUND, Kind.DECREMENT, Kind.INCREMENT  # noqa: E741


async def test_a_purchase_completes_the_session_and_is_captured(amazon: World):
    """It cites the permission and the charge, for what comes later."""
    payment, outcome = await amazon.begun()
    assert isinstance(outcome, Approved)
    assert (outcome.minor, len(outcome.approval_code)) == (1000, 6)
    assert outcome.processor_reference.startswith(outcome.scheme_reference + "-C")
    assert await payment.charges() == [("Captured", "10.00", "10.00", "0.00")]


async def test_a_capture_takes_the_hold_with_it_and_the_next_is_a_charge_of_its_own(amazon: World):
    """One capture per charge; whatever is captured later is charged anew on the permission."""
    payment, outcome = await amazon.begun("100.00", A)
    assert told(outcome) == "approved 10000"
    assert told(await payment.ask(C, 3000)) == "approved 3000 hold gone"
    assert told(await payment.ask(C, 2000)) == "approved 2000"
    assert told(await payment.ask(V, 5000)) == "approved 5000"
    assert await payment.charges() == [("Captured", "100.00", "30.00", "0.00"), ("Captured", "20.00", "20.00", "0.00")]


@pytest.mark.parametrize("seconds", [0, 0.5])
async def test_captures_at_one_moment_take_the_hold_once(amazon: World, seconds: float):
    """Which of them has it is decided where objects are kept; the others are no charges before it is captured, for it counts against the permission."""
    payment, _ = await amazon.begun("100.00", A)
    if seconds:
        await amazon.fault("captureCharge", "delay", seconds)
    outcomes = await asyncio.gather(*(payment.ask(C, 1000 + place) for place in range(4)))
    assert sorted(told(one) for one in outcomes) == ["approved 1000 hold gone", "approved 1001", "approved 1002", "approved 1003"]
    assert len(await payment.charges()) == 4


@pytest.mark.parametrize(("minor", "charges"), [
    (10_000, ("Canceled", "100.00", "0.00", "0.00")), (4_000, ("Authorized", "100.00", "0.00", "0.00"))])
async def test_only_a_void_of_all_cancels_the_charge(amazon: World, minor: int, charges: tuple[str, ...]):
    """A part is given back in our books, and left out at the capture."""
    payment, _ = await amazon.begun("100.00", A)
    assert told(await payment.ask(V, minor)) == f"approved {minor}"
    assert told(await payment.again()) == f"approved {minor}"
    assert await payment.charges() == [charges]


async def test_the_rest_of_a_lowered_hold_is_canceled_as_a_whole(amazon: World):
    """What stands then is all of it."""
    payment, _ = await amazon.begun("100.00", A)
    assert told(await payment.ask(D, 2500)) == "approved 2500"
    payment.held -= 2500
    assert told(await payment.ask(V, 7500)) == "approved 7500"
    assert await payment.charges() == [("Canceled", "100.00", "0.00", "0.00")]
    assert told(await payment.ask(I, 100)) == "declined 40 "


@pytest.mark.parametrize(("card", "why"), [("3064", "payer_canceled"), ("3434", "wallet_declined")])
async def test_a_session_that_was_canceled_was_never_asked_for(amazon: World, card: str, why: str):
    """And says whose decision it was."""
    payment = amazon.payment(await amazon.approved(card=card))
    assert told(await payment.ask(P, 1000)) == f"not asked: {why}"
    assert await amazon.objects.of_payment(MERCHANT, payment.id) == []


async def test_a_session_that_expired_or_is_not_there(amazon: World):
    """After a day nobody can complete it; one that was never there is Amazon's to refuse."""
    payment = amazon.payment(await amazon.approved())
    await amazon.on(hours=25)
    assert told(await payment.ask(P, 1000)) == "not asked: payer_timeout"
    for account, why in (("", "no_session"), ("../charges", "no_session"), ("0" * 8 + "-0000-0000-0000-" + "0" * 12, "refused")):
        assert told(await amazon.payment(account).ask(P, 1000)) == f"not asked: {why}"


async def test_only_what_the_payer_saw_is_completed(amazon: World):
    """The amount, the intent and the shop are those that were sealed; nothing is sent that could charge anything else."""
    session = await amazon.approved("10.00")
    for kind, minor in ((P, 1001), (P, 999), (A, 1000)):
        assert told(await amazon.payment(session).ask(kind, minor)) == "not asked: amount_differs"
    assert told(await amazon.payment(session, "EUR").ask(P, 1000)) == "not asked: amount_differs"
    assert told(await amazon.payment(session, "AED").ask(P, 1000)) == "declined 12 CurrencyMismatch"
    amazon.account = amazon.account._replace(store_id="amzn1.application-oa2-client.other")
    assert told(await amazon.payment(session).ask(P, 1000)) == "not asked: session_differs"


async def test_a_session_pays_for_one_payment(amazon: World):
    """The second that names it is turned away, also while the first is under way."""
    session = await amazon.approved()
    first, second = amazon.payment(session), amazon.payment(session)
    outcomes = await asyncio.gather(first.ask(P, 1000), second.ask(P, 1000))
    assert sorted(map(told, outcomes)) == ["approved 1000", "not asked: session_differs"]


async def test_a_session_that_its_buyer_has_not_approved_waits(amazon: World):
    """Nothing is charged, and nothing is stored: the payer may still come back."""
    browser = amazon.here.browser()
    await browser.ask("POST", "/amazon/checkout", amazon.here.shop.button(amazon.here.shop.payload()))
    session = browser.path.rpartition("/")[2]
    outcome = await amazon.payment(session).ask(P, 1000)
    assert isinstance(outcome, NotAsked | Declined)


@pytest.mark.parametrize(("card", "end"), [("0701", "approved 10000"), ("4354", "declined 57 HardDeclined")])
async def test_an_authorization_that_is_decided_later_is_pending_until_then(amazon: World, card: str, end: str):
    """202, and AuthorizationInitiated: asked about until Amazon has decided."""
    details = {"paymentIntent": "Authorize", "chargeAmount": {"amount": "100.00", "currencyCode": "USD"}, "canHandlePendingAuthorization": True}
    payment, outcome = await amazon.begun("100.00", A, card=card, paymentDetails=details)
    assert outcome == Unknown(Silence.PENDING)
    assert await payment.inquire() == Unknown(Silence.PENDING)
    await amazon.on(seconds=31)
    assert told(await payment.inquire()) == end


@pytest.mark.parametrize(("reason", "code"), [
    ("SoftDeclined", "05"), ("HardDeclined", "57"), ("AmazonRejected", "59"), ("TransactionTimedOut", "91"), ("ProcessingFailure", "96")])
async def test_a_declined_charge_says_why_in_both_languages(amazon: World, reason: str, code: str):
    """DE 39 for our books, Amazon's own word beside it."""
    permission = await amazon.permission()
    await amazon.fault("createCharge", "simulate", reason)
    payment = amazon.payment(permission)
    outcome = await payment.ask(P, 9000, initiation=Initiation.RECURRING)
    assert told(outcome) == f"declined {code} {reason}"
    assert told(await amazon.payment(permission).ask(P, 9000, initiation=Initiation.RECURRING)).startswith(
        "approved" if reason in ("SoftDeclined", "TransactionTimedOut", "ProcessingFailure") else "declined")


@pytest.mark.parametrize(("kind", "initiation", "state"), [
    (P, Initiation.RECURRING, "Captured"), (A, Initiation.UNSCHEDULED, "Authorized"), (P, Initiation.UNSCHEDULED, "Captured")])
async def test_a_permission_is_charged_without_its_buyer(amazon: World, kind: Kind, initiation: Initiation, state: str):
    """Scheduled or not; repeats are answered from memory."""
    permission = await amazon.permission()
    payment = amazon.payment(permission)
    outcome = await payment.ask(kind, 1500, initiation=initiation)
    assert told(outcome) == "approved 1500"
    assert await payment.again() == await payment.inquire() == outcome
    assert [charge[0] for charge in await payment.charges()] == [state]
    assert told(await amazon.payment(permission).ask(P, 9_000_000, initiation=initiation)).startswith("declined 61 TransactionAmountExceeded")


async def test_a_capture_that_is_decided_later(amazon: World):
    """CaptureInitiated is pending; declined in the end, the hold is gone with it."""
    for code, end in (("CaptureInitiated", "approved 4000 hold gone"), ("PendingAmazonRejected", "declined 59 AmazonRejected hold gone")):
        payment, _ = await amazon.begun("100.00", A)
        await amazon.fault("captureCharge", "simulate", code)
        assert await payment.ask(C, 4000) == Unknown(Silence.PENDING)
        assert await payment.inquire() == Unknown(Silence.PENDING)
        await amazon.on(seconds=31)
        assert told(await payment.inquire()) == end


async def test_a_capture_that_is_declined_at_once_takes_the_hold_with_it(amazon: World):
    """Where Amazon declines the charge; where it only refuses the question, the hold is there for the next one."""
    payment, _ = await amazon.begun("100.00", A)
    assert told(await payment.ask(C, 10_001)).startswith("declined 61")
    assert told(await payment.ask(C, 100)) == "approved 100 hold gone"
    payment, _ = await amazon.begun("100.00", A)
    await amazon.fault("captureCharge", "simulate", "AmazonRejected")
    assert told(await payment.ask(C, 4000)) == "declined 59 AmazonRejected hold gone"
    assert await payment.charges() == [("Declined", "100.00", "0.00", "0.00")]


async def test_a_capture_that_meets_the_hold_of_the_rest_takes_it(amazon: World, monkeypatch: pytest.MonkeyPatch):
    """While the rest is held again a new charge exceeds the permission; it is not declined for what our own hands did."""
    payment, _ = await amazon.begun("100.00", A)
    await payment.ask(C, 3000)
    permission = (await amazon.objects.of_payment(MERCHANT, payment.id))[0].permission_id
    hold = payment.message(A, 7000, account=permission)._replace(operation_id=payment.id + 5000, key=f"{payment.id}-hold")
    known, goes_on, know = asyncio.Event(), asyncio.Event(), amazon.objects.know

    async def late(thing: Thing) -> None:
        if thing.key == hold.key:
            known.set()
            await goes_on.wait()
        await know(thing)

    monkeypatch.setattr(amazon.objects, "know", late)
    holding = asyncio.create_task(amazon.processor.ask(hold))
    await known.wait()
    before = amazon.network.asked
    capturing = asyncio.create_task(payment.ask(C, 100))
    while amazon.network.asked == before:
        await asyncio.sleep(0)
    goes_on.set()
    assert told(await capturing) == "approved 100 hold gone" and told(await holding) == "approved 7000"
    assert await payment.again() == await capturing
    assert await payment.charges() == [("Captured", "100.00", "30.00", "0.00"), ("Captured", "70.00", "1.00", "0.00")]
    assert told(await payment.ask(C, 6800)) == "approved 6800"


async def test_a_capture_that_exceeds_the_permission_without_a_hold_is_declined(amazon: World):
    """At once: there is nothing to wait for."""
    payment, _ = await amazon.begun("100.00", A)
    await payment.ask(C, 3000)
    assert told(await payment.ask(C, 7001)).startswith("declined 61 TransactionAmountExceeded")
    assert told(await payment.ask(C, 7000)) == "approved 7000"


async def test_a_refund_is_taken_first_and_final_later(amazon: World):
    """And may be declined in the end."""
    payment, _ = await amazon.begun("10.00")
    assert await payment.refund(400) == Unknown(Silence.PENDING)
    first = payment.last
    await amazon.fault("createRefund", "simulate", "ProcessingFailure")
    assert await payment.refund(300) == Unknown(Silence.PENDING)
    second = payment.last
    await amazon.on(seconds=61)
    assert told(await payment.inquire()) == "declined 96 ProcessingFailure"
    payment.last = first
    assert told(await payment.inquire()) == "approved 400"
    assert second is not first
    assert await payment.charges() == [("Captured", "10.00", "10.00", "4.00")]


async def test_a_refund_of_two_charges_is_one_refund_with_parts(amazon: World):
    """Each part ends by itself, and says so."""
    payment, _ = await amazon.begun("100.00", A)
    for minor in (6000, 4000):
        await payment.ask(C, minor)
    await amazon.fault("createRefund", "simulate", "AmazonRejected")
    outcome = await payment.refund(6000, 3000)
    assert outcome == Unknown(Silence.PENDING)
    await amazon.on(seconds=61)
    outcome = await payment.inquire()
    assert isinstance(outcome, Unknown)
    assert outcome.why is Silence.PENDING
    assert (len(outcome.done), len(outcome.failed)) == (1, 1)
    refunded = sorted(charge[3] for charge in await payment.charges())
    assert refunded[0] == "0.00" and refunded[1] in ("60.00", "30.00")


LOST = [("completeCheckoutSession", P), ("completeCheckoutSession", A), ("captureCharge", C), ("createRefund", R), ("createCharge", I), ("getCharge", P)]


@pytest.mark.parametrize("how", ["cut", "silence"])
@pytest.mark.parametrize(("operation", "kind"), LOST)
async def test_an_answer_that_was_lost_is_asked_for_again_and_moves_once(amazon: World, operation: str, kind: Kind, how: str):
    """Under the same key, or behind a look at the session: the effect is there once."""
    if kind in (P, A):
        await amazon.fault(operation, "drop", how)
        payment, outcome = await amazon.begun("10.00", kind)
    elif kind is I:
        permission = await amazon.permission()
        await amazon.fault(operation, "drop", how)
        payment = amazon.payment(permission)
        outcome = await payment.ask(P, 1000, initiation=Initiation.RECURRING)
    else:
        payment, _ = await amazon.begun("10.00", A if kind is C else P)
        await amazon.fault(operation, "drop", how)
        outcome = await (payment.ask(C, 1000) if kind is C else payment.refund(1000))
    if kind is R:
        assert outcome == Unknown(Silence.PENDING)
        await amazon.on(seconds=61)
        outcome = await payment.inquire()
    assert told(outcome).startswith("approved 1000")
    assert len(await payment.charges()) == 1
    assert [charge[1] for charge in await payment.charges()] == ["10.00"]


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_what_may_pass_is_asked_again(amazon: World, status: int):
    """As Amazon's own clients do; what lasts is unknown, and never a decline."""
    permission = await amazon.permission()
    await amazon.fault("createCharge", "status", status, 2)
    payment = amazon.payment(permission)
    assert told(await payment.ask(P, 1000, initiation=Initiation.RECURRING)) == "approved 1000"
    await amazon.fault("createCharge", "status", status, 4)
    assert isinstance(await amazon.payment(permission).ask(P, 1000, initiation=Initiation.RECURRING), Unknown)


async def test_a_signature_that_is_not_believed_is_no_decline(amazon: World, caplog: pytest.LogCaptureFixture):
    """It is our configuration: the payer is told nothing about his card, an operator everything."""
    session = await amazon.approved()
    good, amazon.account = amazon.account, amazon.account._replace(signer=Signer("SANDBOX-KEY", OTHER_KEY))
    payment = amazon.payment(session)
    assert told(await payment.ask(P, 1000)) == "not asked: not_authorized"
    assert any(record.levelname == "ERROR" and "configuration" in record.message for record in caplog.records)
    amazon.account = good
    assert told(await payment.ask(P, 1000)) == "approved 1000", "nothing had happened"
    amazon.account = good._replace(signer=Signer("SANDBOX-KEY", OTHER_KEY))
    outcome = await payment.refund(100)
    assert told(outcome) == "not asked: not_authorized"


async def test_a_network_that_is_away_is_certain_that_nothing_happened(amazon: World):
    """Before anything was sent; behind that, nobody knows."""
    payment = amazon.payment(await amazon.approved())
    amazon.network.away = True
    assert told(await payment.ask(P, 1000, deadline=amazon.wall() + timedelta(seconds=0.5))) == "not asked: unreachable"
    amazon.network.away = False
    assert told(await payment.ask(P, 1000)) == "approved 1000"
    assert told(await payment.ask(P, 1000, merchant="nobody")) == "not asked: no_account"
    assert told(await payment.ask(C, 1, deadline=amazon.wall())) == "not asked: deadline"


# -- undoing

async def test_an_authorization_is_undone_by_canceling_it(amazon: World):
    """Once, and acknowledged as often as it is asked; the inquiry then says so, and nothing comes of it any more."""
    payment, _ = await amazon.begun("10.00", A)
    assert await payment.reverse() and await payment.reverse()
    assert await payment.charges() == [("Canceled", "10.00", "0.00", "0.00")]
    assert await payment.inquire() == Reversed()
    assert isinstance(await payment.again(), Declined)


async def test_a_purchase_is_undone_once_its_refund_is_final(amazon: World):
    """Not before: a refund may fail."""
    payment, _ = await amazon.begun("10.00")
    assert not await payment.reverse()
    assert await payment.inquire() == Unknown(Silence.NO_ANSWER)
    await amazon.on(seconds=61)
    assert await payment.reverse()
    assert await payment.charges() == [("Captured", "10.00", "10.00", "10.00")]
    assert await payment.inquire() == Reversed()


async def test_a_reversal_before_its_original_keeps_it_out(amazon: World):
    """The session stays open, and nobody completes it."""
    payment = amazon.payment(await amazon.approved())
    payment.last = payment.message(P, 1000)
    assert await payment.reverse()
    assert isinstance(await payment.send(payment.last), Declined)
    assert await payment.charges() == []


@pytest.mark.parametrize("kind", [P, A])
async def test_a_charge_whose_answer_was_lost_is_found_and_undone(amazon: World, kind: Kind):
    """Its number is not known: the same question finds it."""
    permission = await amazon.permission()
    payment = amazon.payment(permission)
    await amazon.fault("createCharge", "drop", "cut", 4)
    assert isinstance(await payment.ask(kind, 1000, initiation=Initiation.RECURRING), Unknown)
    undone = await payment.reverse()
    await amazon.on(seconds=61)
    assert undone or await payment.reverse()
    assert [(charge[0], charge[3]) for charge in await payment.charges()] == [("Captured", "10.00") if kind is P else ("Canceled", "0.00")]


@pytest.mark.parametrize("kind", [P, A])
async def test_a_charge_that_never_arrived_is_undone_without_money_moving(amazon: World, kind: Kind):
    """What had never been there is held for a moment at most, and canceled."""
    permission = await amazon.permission()
    payment = amazon.payment(permission)
    await amazon.fault("createCharge", "status", 503, 4)
    assert isinstance(await payment.ask(kind, 1000, initiation=Initiation.RECURRING), Unknown)
    assert await payment.reverse()
    assert [(charge[0], charge[2]) for charge in await payment.charges()] == [("Canceled", "0.00")]


async def test_a_session_that_may_still_be_completed_is_not_called_undone(amazon: World):
    """What is under way has a minute to arrive; then nobody will complete it."""
    payment = amazon.payment(await amazon.approved())
    await amazon.fault("completeCheckoutSession", "status", 503, 9)
    assert isinstance(await payment.ask(P, 1000, deadline=amazon.wall() + timedelta(seconds=0.5)), Unknown)
    assert not await payment.reverse()
    amazon.here.time.wall_at += 61
    assert await payment.reverse()


async def test_the_permission_takes_25_charges(amazon: World):
    """The 26th capture is declined, nothing moves, and the reason is readable."""
    payment, _ = await amazon.begun("100.00", A)
    outcomes = [told(await payment.ask(C, 100)) for _ in range(26)]
    assert outcomes[0] == "approved 100 hold gone"
    assert set(outcomes[1:25]) == {"approved 100"}
    assert outcomes[25].startswith("declined 65 TransactionCountExceeded")
