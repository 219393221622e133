"""The engine on a real database: what is committed when, who is told what, and what survives which loss."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from msgspec.structs import replace

from ringfence.background import abandoned
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked, Silence, Unknown
from ringfence.core.refusals import Refusal
from ringfence.engine import lane
from ringfence.engine.intents import CardInHand, Intent, Result
from tests.engine import recovering
from tests.engine.composition import CARD, Process, Shop, Time, process, shop

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def now() -> Time:
    return Time()


@pytest.fixture(scope="module")
async def one(module_database: str, now: Time) -> AsyncIterator[Process]:
    async with process(module_database, 1, now=now) as running:
        await shop(running)
        yield running


@pytest.fixture(scope="module")
async def two(module_database: str, now: Time, one: Process) -> AsyncIterator[Process]:
    async with process(module_database, 2, now=now) as running:
        yield running


@pytest.fixture
def here(one: Process) -> Shop:
    """The merchant, its requests reaching the first process."""
    return Shop(one, "CycHZxVj", "codeCycHZxVj", "ask-CycHZxVj", "say-CycHZxVj", "SHA-256")


@pytest.fixture
def there(two: Process, here: Shop) -> Shop:
    """The same, reaching the second."""
    return here.at(two)


async def recurring(merchant: Shop, reference: str, token: str) -> str:
    answer = await merchant.pay("PURCHASE", reference, token_name=token, eci="RECURRING")
    return answer["response_code"]


# -- two commits

async def test_the_intent_is_on_disk_and_nothing_is_open_while_the_processor_thinks(here: Shop, one: Process):
    """Others see what was asked, no outcome, and no transaction."""
    held = one.processor.hold()
    paying = asyncio.create_task(here.purchase("TWO-1"))
    await held.arrived.wait()
    stored = await one.fetch("SELECT payment_id, operation_id, minor FROM operations WHERE reference = 'TWO-1'")
    assert [(row["payment_id"] == row["operation_id"], row["minor"]) for row in stored] == [(True, 1000)]
    assert await one.value("SELECT count(*) FROM outcomes JOIN operations USING (operation_id) WHERE reference = 'TWO-1'") == 0
    assert await one.fetch(
        "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'") == []
    assert (await here.status("TWO-1"))["transaction_code"] == "15777"
    assert (await here.capture("TWO-1", 1))["response_code"] == "05784"
    held.release()
    assert (await paying)["response_code"] == "14000"
    assert (await here.status("TWO-1"))["transaction_code"] == "14000"


async def test_a_slow_processor_keeps_only_its_caller_waiting(here: Shop, one: Process):
    """Others pay meanwhile, operations on other payments included."""
    await here.authorize("SLOW-0")
    held = one.processor.hold()
    slow = asyncio.create_task(here.purchase("SLOW-1"))
    await held.arrived.wait()
    answers = await asyncio.gather(*(here.purchase(f"SLOW-{number}") for number in range(2, 12)), here.capture("SLOW-0", 400))
    assert [answer["response_code"] for answer in answers] == ["14000"] * 10 + ["04000"]
    assert not slow.done()
    held.release(Declined("51"))
    assert (await slow)["response_code"] == "13029"


async def test_a_capture_that_arrives_while_its_authorization_is_approved_never_goes_out_without_it(here: Shop, one: Process):
    """What was looked at before the approval has nothing to cite; it is told to wait, even if the approval is committed first."""
    held = one.processor.hold()
    authorizing = asyncio.create_task(here.authorize("CITE-1"))
    await held.arrived.wait()
    look = one.reading.view_by_key

    async def slowly(merchant_id, key):
        view = await look(merchant_id, key)
        held.release()
        await authorizing
        return view

    one.reading.view_by_key = slowly
    try:
        assert (await here.capture("CITE-1", 10))["response_code"] == "05784"
    finally:
        del one.reading.view_by_key
    assert (await here.capture("CITE-1", 10))["response_code"] == "04000"
    assert one.processor.asked[-1].original.approval_code == "742138"


async def test_many_operations_on_one_payment_share_a_batch_and_are_decided_in_turn(here: Shop, one: Process):
    """Ten captures of a tenth each pass, two more do not, in whatever batches they travel."""
    await here.authorize("MANY-1")
    answers = await asyncio.gather(*(here.capture("MANY-1", 100, order_description=str(number)) for number in range(12)))
    assert sorted(answer["response_code"] for answer in answers) == ["04000"] * 10 + ["05042"] * 2
    status = await here.status("MANY-1")
    assert (status["authorized_amount"], status["captured_amount"]) == ("1000", "1000")


def intent(process: Process, merchant: Shop, order: str, **changes: object) -> Intent:
    operation_id = process.new_id()
    return replace(Intent(
        merchant.account.merchant_id, merchant.identifier, operation_id, Command(Kind.PURCHASE, 700, "AED", operation_id), "aps", "test",
        "test", b"content", order, f"aps:{order}", processor="scripted", card=CardInHand(None),
    ), **changes)


async def test_a_poisoned_message_fails_alone(here: Shop, one: Process):
    """A message that the database cannot store takes nobody with it, wherever it lies in the crowd."""
    crowd = [intent(one, here, f"CROWD-{number}") for number in range(9)]
    crowd[4] = intent(one, here, "CROWD-4", reference="a NUL: \0")
    done = await asyncio.gather(*map(one.engine.execute, crowd), return_exceptions=True)
    assert isinstance(done.pop(4), Exception)
    assert all(isinstance(result, Result) and isinstance(result.outcome, Approved) for result in done)
    assert await one.value("SELECT count(*) FROM outcomes JOIN operations USING (operation_id) WHERE reference LIKE 'CROWD-%'") == 8


async def test_a_poisoned_answer_fails_alone(here: Shop, one: Process):
    """The caller of an answer that cannot be stored hears that its end is unknown; the others are served."""
    held = [one.processor.hold() for _ in range(3)]
    paying = [asyncio.create_task(here.purchase(f"ANSWER-{number}")) for number in range(3)]
    for one_held in held:
        await one_held.arrived.wait()
    spoiled = {0: None, 1: Approved(1000, "a NUL: \0"), 2: None}
    for number, one_held in enumerate(held):
        one_held.release(spoiled[number])
    codes = sorted([(await answer)["response_code"] for answer in paying])
    assert codes == ["14000", "14000", "15777"]


async def test_a_processor_that_breaks_its_contract_leaves_the_outcome_unknown(here: Shop, one: Process):
    """An exception is no decline."""
    def breaks(message):
        raise ValueError("a bug")
    one.processor.say(breaks)
    assert (await here.purchase("BREAKS-1"))["response_code"] == "15777"
    assert (await here.refund("BREAKS-1", 1))["response_code"] == "07784"


async def test_what_a_processor_answers_at_once_it_is_not_asked(here: Shop, one: Process, monkeypatch: pytest.MonkeyPatch):
    """What it does not, it is; and an exception is no decline here either."""
    class AtOnce:
        def answer_at_once(self, messages):
            if any(message.minor == 3_000 for message in messages):
                raise ValueError("a bug")
            return [Approved(message.minor, "ATONCE") if message.minor == 1_000 else None for message in messages]

    monkeypatch.setitem(one.engine._at_once, one.processor.name, AtOnce())
    before = len(one.processor.asked)
    assert (await here.purchase("AT-ONCE-1"))["authorization_code"] == "ATONCE"
    assert len(one.processor.asked) == before
    assert (await here.purchase("AT-ONCE-2", "2000"))["response_code"] == "14000"
    assert [message.minor for message in one.processor.asked[before:]] == [2_000]
    assert (await here.purchase("AT-ONCE-3", "3000"))["response_code"] == "15777"
    assert len(one.processor.asked) == before + 1


async def test_some_of_a_crowd_are_answered_at_once(here: Shop, one: Process, monkeypatch: pytest.MonkeyPatch):
    """The others are asked for one by one; each hears of its own outcome."""
    class AtOnce:
        def answer_at_once(self, messages):
            return [Approved(message.minor, "ATONCE") if message.minor % 2 else None for message in messages]

    monkeypatch.setitem(one.engine._at_once, one.processor.name, AtOnce())
    answers = await asyncio.gather(*(here.purchase(f"SOME-{minor}", str(minor)) for minor in range(1_000, 1_016)))
    assert [answer["response_code"] for answer in answers] == ["14000"] * 16
    assert [answer["amount"] for answer in answers] == [str(minor) for minor in range(1_000, 1_016)]
    assert [answer["authorization_code"] == "ATONCE" for answer in answers] == [False, True] * 8


# -- one order, one payment

async def test_a_used_order_number_holds_nobody_else_up(here: Shop, one: Process):
    """Of a batch with one used number all others are paid, whether used numbers were expected or not."""
    assert (await here.purchase("TAKEN-1"))["response_code"] == "14000"
    for again in range(2):
        answers = await asyncio.gather(*(here.purchase(name) for name in ("TAKEN-1", *(f"FREE-{again}-{n}" for n in range(6)))))
        assert [answer["response_code"] for answer in answers] == ["13007"] + ["14000"] * 6
    assert one.engine.waiting == (0, 0)


async def test_one_of_many_with_the_same_order_number_pays(here: Shop, there: Shop, one: Process, two: Process):
    """Over two processes, in one batch or in several: the others hear that the number is used."""
    before = len(one.processor.asked) + len(two.processor.asked)
    answers = await asyncio.gather(*(side.purchase("SAME-1") for side in (here, there) * 8))
    assert sorted(answer["response_code"] for answer in answers) == ["13007"] * 15 + ["14000"]
    assert len(one.processor.asked) + len(two.processor.asked) == before + 1
    assert (await there.authorize("SAME-1"))["response_code"] == "03007"


async def test_a_decline_uses_the_order_number_up_and_a_mistake_does_not(here: Shop, one: Process):
    """What was refused as a request may come again corrected."""
    assert (await here.purchase("USED-1", "0"))["response_code"] == "00005"
    one.processor.say(Declined("05"))
    assert (await here.purchase("USED-1"))["response_code"] == "13666"
    assert (await here.purchase("USED-1"))["response_code"] == "13007"


# -- keys

async def test_a_refund_reference_is_good_for_one_refund(here: Shop, there: Shop, one: Process):
    """Running 784, declined again, succeeded 066, each in every process; the declined one keeps its name and gets a number."""
    await here.purchase("RF", "1000")
    held = one.processor.hold()
    first = asyncio.create_task(here.refund("RF", 100, maintenance_reference="M-1"))
    await held.arrived.wait()
    assert (await there.refund("RF", 100, maintenance_reference="M-1"))["response_code"] == "07784"
    held.release(Declined("91"))
    assert (await first)["response_code"] == "07666"
    assert (await there.refund("RF", 100, maintenance_reference="M-1"))["response_code"] == "06000"
    for side in (here, there):
        assert (await side.refund("RF", 100, maintenance_reference="M-1"))["response_code"] == "07066"
    assert (await here.refund("RF", 100, maintenance_reference="M-2"))["response_code"] == "06000"
    assert (await here.status("RF"))["refunded_amount"] == "200"
    keys = [row["key"].rpartition(":")[2] for row in await one.fetch("SELECT key FROM operations WHERE reference LIKE 'M-_' ORDER BY operation_id")]
    assert keys == ["M-1", "M-1#2", "M-2"]
    assert len({message.key for message in (*one.processor.asked, *there.process.processor.asked)
                if message.kind == "refund" and message.minor == 100}) == 3


async def test_ids_of_another_host_s_clock_change_nothing(here: Shop, one: Process):
    """An operation may have a smaller id than the one before it, and even than its payment."""
    await here.purchase("CLOCK")
    payment_id = await one.value("SELECT payment_id FROM operations WHERE reference = 'CLOCK'")
    one.processor.say(Declined("91"))
    assert (await here.refund("CLOCK", 100, maintenance_reference="C-1"))["response_code"] == "07666"
    for smaller, reference, code in ((payment_id + 1, "C-1", "06000"), (payment_id - 1, "C-2", "06000")):
        one.ids.append(smaller)
        assert (await here.refund("CLOCK", 100, maintenance_reference=reference))["response_code"] == code
        assert (await here.refund("CLOCK", 100, maintenance_reference=reference))["response_code"] == "07066"
    status = await here.status("CLOCK")
    assert (status["transaction_code"], status["refunded_amount"]) == ("06000", "200")


async def test_an_unknown_refund_keeps_its_reference_and_its_order(here: Shop, one: Process):
    """Nobody knows whether the money went back: nothing else moves."""
    await here.purchase("RU")
    one.processor.say(Unknown(Silence.NO_ANSWER))
    assert (await here.refund("RU", 100, maintenance_reference="M-1"))["response_code"] == "15777"
    assert (await here.refund("RU", 100, maintenance_reference="M-1"))["response_code"] == "07784"
    assert (await here.refund("RU", 100, maintenance_reference="M-2"))["response_code"] == "07784"
    assert (await here.refund("RU", 100))["response_code"] == "07784"
    assert (await here.status("RU"))["transaction_code"] == "15777"


CAPTURE = {"command": "CAPTURE", "amount": "100", "currency": "AED"}


async def test_an_idempotency_key_makes_a_repeat_harmless(here: Shop, there: Shop, one: Process):
    """The first answer again, whichever process is asked; the money moves once."""
    await here.authorize("ONCE-1")
    fields = {**CAPTURE, "merchant_reference": "ONCE-1"}
    first = await here.once("k1", **fields)
    assert first["response_code"] == "04000"
    assert await here.once("k1", **fields) == await there.once("k1", **fields) == first
    assert (await there.once("k1", **{**fields, "amount": "101"}))["response_code"] == "05066"
    assert (await there.once("k2", **fields))["response_code"] == "04000"
    assert (await here.status("ONCE-1"))["captured_amount"] == "200"


async def test_idempotency_keys_are_told_apart_to_the_last_character(here: Shop, one: Process):
    """Neither a number behind a key nor its length makes two keys one."""
    await here.authorize("ONCE-2")
    fields = {**CAPTURE, "merchant_reference": "ONCE-2"}
    for key in ("k#2", "k", "k" * 5000 + "a", "k" * 5000 + "b", "\0 \xff"):
        assert (await here.once(key, **fields))["response_code"] == "04000"
    assert (await here.status("ONCE-2"))["captured_amount"] == "500"


async def test_an_idempotency_key_repeats_every_kind_of_answer(here: Shop, one: Process):
    """Declined stays declined, what was never sent stays that, what is running or unknown is still processing."""
    await here.purchase("ONCE-3")
    fields = {"command": "REFUND", "amount": "100", "currency": "AED", "merchant_reference": "ONCE-3"}
    one.processor.say(Declined("51"), NotAsked("deadline"))
    for key, code in (("declined", "07029"), ("unsent", "07006")):
        assert await here.once(key, **fields) == (again := await here.once(key, **fields))
        assert again["response_code"] == code
    held = one.processor.hold()
    running = asyncio.create_task(here.once("running", **fields))
    await held.arrived.wait()
    assert (await here.once("running", **fields))["response_code"] == "07784"
    held.release(Unknown(Silence.NO_ANSWER))
    assert (await running)["response_code"] == "15777"
    assert (await here.once("running", **fields))["response_code"] == "07784"


async def test_the_same_capture_within_a_minute_is_done_and_told(here: Shop, one: Process, now: Time):
    """A repeat without a key is new money; an event says that it may be a mistake, once for each repeat, for sixty seconds."""
    await here.authorize("TWICE-1")
    told = ("SELECT count(*) FROM events e JOIN operations o USING (merchant_id, payment_id, operation_id)"
            " WHERE e.event = 'possible_duplicate' AND o.reference = 'TWICE-1'")
    for wait, amount, expected in ((0, 100, 0), (60, 100, 1), (61, 100, 1), (0, 101, 1), (0, 100, 1), (0, 100, 2)):
        now.now += timedelta(seconds=wait)
        assert (await here.capture("TWICE-1", amount))["response_code"] == "04000"
        assert await one.value(told) == expected
    sequences = [row[0] for row in await one.fetch(
        "SELECT sequence FROM events WHERE payment_id = (SELECT payment_id FROM operations WHERE key = 'aps:TWICE-1') ORDER BY sequence")]
    assert sequences == list(range(1, 10))


# -- late, partial, unasked

async def test_an_approval_that_comes_after_the_sweep_gave_up_is_never_one(here: Shop, one: Process):
    """The sweep wrote that nobody knows, and decided on a reversal: the late approval is answered as unknown and told, the reversal
    is sent once and ends it."""
    held = one.processor.hold()
    paying = asyncio.create_task(here.authorize("LATE-1"))
    await held.arrived.wait()
    await one.value("DELETE FROM sweeps")
    await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE reference = 'LATE-1'")
    assert await abandoned.sweep(one.pool, one.directory, one.engine) >= 1
    held.release()
    assert (await paying)["response_code"] == "15777"
    assert (await here.status("LATE-1"))["transaction_code"] == "15777"
    owed = "SELECT r.why, r.acknowledged_at IS NULL AS open FROM reversals r JOIN operations o USING (operation_id) WHERE o.reference = 'LATE-1'"
    assert [tuple(row) for row in await one.fetch(owed)] == [("unknown", True)]
    key = one.processor.asked[-1].key
    assert await recovering.end_doubts(one) >= 1
    assert [message.key for message in one.processor.reversals].count(key) == 1
    assert [tuple(row) for row in await one.fetch(owed)] == [("unknown", False)]
    assert await recovering.told(one, "LATE-1") == ["authorization_unknown", "late_approval", "authorization_reversed"]
    assert (await here.status("LATE-1"))["transaction_code"] == "03666"
    one.engine.recovery = None


async def test_a_late_approval_does_not_take_its_batch_with_it(here: Shop, one: Process):
    """Those whose attempts still stand are committed."""
    held = [one.processor.hold() for _ in range(4)]
    paying = [asyncio.create_task(here.purchase(f"LATE-B{number}")) for number in range(4)]
    for one_held in held:
        await one_held.arrived.wait()
    await one.value("DELETE FROM sweeps")
    await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE reference = 'LATE-B1'")
    assert await abandoned.sweep(one.pool, one.directory, one.engine) >= 1
    for one_held in held:
        one_held.release()
    assert [(await answer)["response_code"] for answer in paying] == ["14000", "15777", "14000", "14000"]


async def test_a_partial_approval_is_reversed_and_told_as_insufficient_funds(here: Shop, one: Process):
    """Nobody asked for less; it is held and given back in one commit, and the reversal carries no security code."""
    for reference, pay, code in (("PART-1", here.authorize, "03029"), ("PART-2", here.purchase, "13029")):
        one.processor.say(Approved(600, "742138", response_code="10"))
        one.processor.reversals.clear()
        answer = await pay(reference)
        assert (answer["response_code"], answer["acquirer_response_code"]) == (code, "51")
        assert "authorization_code" not in answer
        await one.engine.idle()
        asked, reversal = one.processor.asked[-1], one.processor.reversals[0]
        assert reversal.key == asked.key and asked.security_code is not None and reversal.security_code is None
        status = await here.status(reference)
        assert (status["transaction_code"], status["authorized_amount"], status["captured_amount"]) == (code, "0", "0")
        assert "authorization_code" not in status
        assert (await here.capture(reference, 1))["response_code"] == "05662"
        assert await one.value(
            "SELECT acknowledged_at IS NOT NULL FROM reversals JOIN operations USING (operation_id) WHERE reference = $1", reference)


async def test_an_answer_that_cannot_be_one_is_no_answer(here: Shop, one: Process):
    """More than was asked is not believed."""
    one.processor.say(Approved(1001))
    assert (await here.purchase("MORE-1"))["response_code"] == "15777"


async def test_what_was_never_sent_is_a_technical_failure(here: Shop, one: Process):
    """It is certain that nothing happened, and the order number is used."""
    one.processor.say(NotAsked("deadline"))
    assert (await here.purchase("UNSENT-1"))["response_code"] == "13006"
    assert (await here.status("UNSENT-1"))["transaction_code"] == "13006"
    assert (await here.purchase("UNSENT-1"))["response_code"] == "13007"


# -- tokens that changed elsewhere

async def test_a_token_switched_off_elsewhere_is_refused_at_once(here: Shop, there: Shop, one: Process):
    """The cached token is seen to be old when the intent commits."""
    await here.token("OFF")
    assert (await here.purchase("OFF-1", token_name="OFF"))["response_code"] == "14000"
    update = {"service_command": "UPDATE_TOKEN", "merchant_reference": "U", "token_name": "OFF"}
    assert await there.code(**update, token_status="INACTIVE") == "58000"
    asked = len(one.processor.asked)
    assert (await here.purchase("OFF-2", token_name="OFF"))["response_code"] == "13044"
    assert len(one.processor.asked) == asked
    assert await there.code(**update, token_status="ACTIVE") == "58000"
    assert (await here.purchase("OFF-2", token_name="OFF"))["response_code"] == "14000"


async def test_a_new_expiry_given_elsewhere_is_used_and_shown(here: Shop, there: Shop, one: Process):
    """Asked and answered with what the token says now, not with what was cached."""
    await here.token("NEW")
    await here.purchase("NEW-1", token_name="NEW")
    assert await there.code(
        service_command="UPDATE_TOKEN", merchant_reference="U", token_name="NEW", expiry_date="3601", card_holder_name="Sara Ali") == "58000"
    answer = await here.purchase("NEW-2", token_name="NEW")
    assert (answer["response_code"], answer["expiry_date"], answer["card_holder_name"]) == ("14000", "3601", "Sara Ali")
    assert one.processor.asked[-1].expiry == "3601"


async def test_a_token_renamed_elsewhere_is_gone(here: Shop, there: Shop):
    """Its old name is nobody's; the new one pays."""
    await here.token("OLD.NAME")
    await here.purchase("NAME-1", token_name="OLD.NAME")
    assert await there.code(service_command="UPDATE_TOKEN", merchant_reference="U", token_name="OLD.NAME", new_token_name="NEW.NAME") == "58000"
    assert (await here.purchase("NAME-2", token_name="OLD.NAME"))["response_code"] == "13044"
    assert (await here.purchase("NAME-2", token_name="NEW.NAME"))["response_code"] == "14000"


async def test_a_recurring_payment_needs_a_first_one_and_cites_it(here: Shop, there: Shop, one: Process, two: Process):
    """The first approved reference is kept and cited, later ones change nothing; the other process learns of it when it needs it."""
    card = {"card_number": "5123450000000008", "expiry_date": "3512"}
    await here.token("SUB", **card)
    assert await recurring(there, "SUB-0", "SUB") == "13088"
    one.processor.say(Declined("05"))
    await here.purchase("SUB-1", token_name="SUB")
    assert await recurring(there, "SUB-2", "SUB") == "13088"
    one.processor.say(Approved(1000, "111111", "FIRST00000001"), Approved(1000, "222222", "LATER00000002"))
    for reference in ("SUB-3", "SUB-4"):
        assert (await here.purchase(reference, token_name="SUB"))["response_code"] == "14000"
    for side in (there, here):
        assert await recurring(side, f"SUB-5{side.process is one}", "SUB") == "14000"
        message = side.process.processor.asked[-1]
        assert (message.cited_reference, message.initiation, message.security_code) == ("FIRST00000001", "recurring", None)


async def test_a_hard_decline_ends_recurring_payments_in_every_process(here: Shop, there: Shop, one: Process, two: Process):
    """The process that had the token cached as good asks nobody; the cardholder may still pay."""
    await here.token("HARD", card_number="5123450000000016")
    await here.purchase("HARD-0", token_name="HARD")
    assert [await recurring(side, f"HARD-1{side is here}", "HARD") for side in (here, there)] == ["14000", "14000"]
    two.processor.say(Declined("05"), Declined("14"))
    assert [await recurring(there, f"HARD-{number}", "HARD") for number in (2, 3)] == ["13666", "13016"]
    asked = len(one.processor.asked)
    assert [await recurring(side, f"HARD-4{side is here}", "HARD") for side in (here, there)] == ["13666", "13666"]
    assert len(one.processor.asked) == asked
    assert (await here.purchase("HARD-5", token_name="HARD"))["response_code"] == "14000"


async def test_an_advice_to_stop_is_a_hard_decline(here: Shop, there: Shop, one: Process):
    """Merchant advice 03 ends what a soft code alone would not."""
    await here.token("STOP", card_number="5123450000000024")
    await here.purchase("STOP-0", token_name="STOP")
    one.processor.say(Declined("05", "03"))
    assert await recurring(here, "STOP-1", "STOP") == "13666"
    result = await there.process.engine.execute(intent(
        there.process, there, "STOP-2", initiation="recurring",
        card=CardInHand(None, token=await there.process.vault.token(there.account.merchant_id, "STOP"))))
    assert result.refusal is Refusal.CARD_BLOCKED


# -- lost connections, lost databases

CUTS = [
    # lane, statement, when, what is asked
    ("intent", "payments.claim", "before", "purchase"),
    ("intent", "payments.claim", "after", "purchase"),
    ("intent", "payments.claim", "silently", "purchase"),
    ("intent", "payments.lock", "after", "capture"),
    ("intent", "payments.reserve", "after", "capture"),
    ("intent", "COMMIT", "before", "capture"),
    ("intent", "COMMIT", "after", "capture"),
    ("intent", "COMMIT", "silently", "capture"),
    ("intent", "payments.key_owners", "before", "repeat"),
    ("outcome", "payments.finish", "before", "purchase"),
    ("outcome", "payments.finish", "after", "purchase"),
    ("outcome", "payments.finish", "silently", "purchase"),
    ("outcome", "payments.finish", "after", "capture"),
    ("outcome", "cards.insert_tokens", "after", "keep"),
    ("outcome", "COMMIT", "before", "keep"),
    ("outcome", "COMMIT", "after", "keep"),
    ("outcome", "COMMIT", "before", "capture"),
    ("outcome", "COMMIT", "after", "capture"),
]


@pytest.mark.parametrize(("which", "statement", "when", "what"), CUTS, ids=["-".join(cut).replace(" ", "_") for cut in CUTS])
async def test_a_lost_connection_doubles_and_loses_nothing(here: Shop, one: Process, which: str, statement: str, when: str, what: str):
    """The answer is the right one, the processor is asked once, and everything is stored once."""
    name = f"CUT-{CUTS.index((which, statement, when, what))}"
    if what in ("capture", "repeat"):
        await here.authorize(name)
    wire = one.intent_wire if which == "intent" else one.outcome_wire
    asked, lost = len(one.processor.asked), wire.lost
    wire.cut(statement, when)
    answers = {
        "purchase": lambda: here.purchase(name), "capture": lambda: here.capture(name, 600), "repeat": lambda: here.authorize(name),
        "keep": lambda: here.purchase(name, **{**CARD, "remember_me": "YES", "token_name": name}),
    }
    answer = await answers[what]()
    assert wire.lost == lost + 1
    expected = {"purchase": "14000", "capture": "04000", "repeat": "03007", "keep": "14000"}
    assert answer["response_code"] == expected[what]
    assert len(one.processor.asked) == asked + (what != "repeat")
    operations = 2 if what == "capture" else 1
    assert [tuple(row) for row in await one.fetch(
        "SELECT count(*), count(x.operation_id), count(*) FILTER (WHERE x.result = 'approved') FROM operations o "
        "LEFT JOIN outcomes x USING (merchant_id, payment_id, operation_id) WHERE o.reference = $1", name)] == [(operations,) * 3]
    status = await here.status(name)
    assert (status["authorized_amount"], status["captured_amount"]) == ("1000", {"capture": "600", "repeat": "0"}.get(what, "1000"))
    if what == "keep":
        assert (await here.purchase(f"{name}-again", token_name=name))["response_code"] == "14000"


async def test_the_books_agree_after_every_cut(one: Process):
    """Balances equal transfers, and the chain has no gap."""
    await one.prove()


async def test_a_killed_server_process_is_like_a_cut(here: Shop, one: Process):
    """The lane notices by itself, or when it writes; what was asked happens once either way."""
    for number, wire in enumerate((one.intent_wire, one.outcome_wire)):
        await one.value("SELECT pg_terminate_backend($1)", wire.current.get_server_pid())
        assert (await here.purchase(f"KILL-{number}"))["response_code"] == "14000"
    assert one.intent_lane.is_up and one.outcome_lane.is_up


async def test_a_database_that_is_away_is_told_as_a_technical_problem(here: Shop, one: Process, monkeypatch: pytest.MonkeyPatch):
    """Nothing was stored and nobody asked; when it is back the same requests pass, without anybody's doing."""
    monkeypatch.setattr(lane, "PATIENCE_SECONDS", 0.1)
    await here.authorize("AWAY-0")
    asked = len(one.processor.asked)
    await one.lose_the_database()
    codes = [(await here.purchase("AWAY-1"))["response_code"], (await here.capture("AWAY-0", 1))["response_code"],
             (await here.status("AWAY-0"))["response_code"], (await here.token("AWAY"))["response_code"]]
    results = await asyncio.gather(*(one.engine.execute(intent(one, here, f"AWAY-{number}")) for number in range(3)))
    assert codes == ["13006", "05006", "11006", "53006"]
    assert [result.refusal for result in results] == [Refusal.SERVICE_UNAVAILABLE] * 3
    monkeypatch.undo()                                  # it may come back slowly
    one.find_the_database()
    assert len(one.processor.asked) == asked
    assert (await here.purchase("AWAY-1"))["response_code"] == "14000"
    assert (await here.capture("AWAY-0", 1))["response_code"] == "04000"


async def test_an_outcome_that_cannot_be_stored_is_told_as_unknown(here: Shop, one: Process, monkeypatch: pytest.MonkeyPatch):
    """Never approved, never declined; the sweep writes the doubt down, the reservation stays."""
    monkeypatch.setattr(lane, "PATIENCE_SECONDS", 0.1)
    held = [one.processor.hold(), one.processor.hold()]
    paying = [asyncio.create_task(here.purchase(f"GONE-{number}")) for number in range(2)]
    for one_held in held:
        await one_held.arrived.wait()
    await one.lose_the_database()
    held[0].release()
    held[1].release(Declined("05"))
    assert [(await answer)["response_code"] for answer in paying] == ["15777", "15777"]
    monkeypatch.undo()                                  # it may come back slowly
    one.find_the_database()
    await one.value("DELETE FROM sweeps")
    await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE reference LIKE 'GONE-_'")
    await abandoned.sweep(one.pool, one.directory, one.engine)
    for number in range(2):
        assert (await here.status(f"GONE-{number}"))["transaction_code"] == "15777"
        assert (await here.purchase(f"GONE-{number}"))["response_code"] == "13007"
    assert await one.value("SELECT sum(pending_authorization) FROM payments JOIN operations USING (payment_id) WHERE reference LIKE 'GONE-_'") == 2000


async def test_a_commit_whose_end_nobody_can_read_is_told_as_unknown(here: Shop, one: Process, monkeypatch: pytest.MonkeyPatch):
    """The connection breaks right after the commit and the database stays away: the caller hears neither yes nor no."""
    for reference, wire in (("BLIND-1", one.intent_wire), ("BLIND-2", one.outcome_wire)):
        asked = len(one.processor.asked)
        wire.cut("payments.claim" if wire is one.intent_wire else "payments.finish", "after")
        wire.away = True
        with monkeypatch.context() as patch:
            patch.setattr(lane, "PATIENCE_SECONDS", 0.1)
            assert (await here.purchase(reference))["response_code"] == "15777"
        wire.away = False
        assert len(one.processor.asked) == asked + (wire is one.outcome_wire)
    assert (await here.status("BLIND-2"))["transaction_code"] == "14000"
    assert (await here.purchase("BLIND-1"))["response_code"] == "13007"
    assert (await here.status("BLIND-1"))["transaction_code"] == "15777"


async def test_both_processes_wrote_one_ledger(one: Process, two: Process):
    """All that happened in this module is proved: sums, balances, doubts, operations, and a chain without a gap in each lane."""
    await one.prove()
    lanes = await one.fetch("SELECT lane, count(*) AS links, max(number) AS last FROM batches GROUP BY lane ORDER BY lane")
    assert [row["links"] == row["last"] for row in lanes] == [True, True]
    assert {one.outcome_lane.number, two.outcome_lane.number} == {row["lane"] for row in lanes}


