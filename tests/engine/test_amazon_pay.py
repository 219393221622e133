"""Amazon Pay through the engine, on a real database and the simulated site: payments end as they should, and the proof agrees at every step."""
from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringfence.background import hold_rest
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Declined, Outcome, Silence, Unknown
from ringfence.core.refusals import Refusal
from ringfence.engine.amazon_objects import StoredObjects
from ringfence.engine.holding import HOLD_REST, RestHolder
from ringfence.engine.intents import Intent, Result
from ringfence.engine.wallet_notices import Heard, WalletNotices
from ringfence.processors.amazon_pay.client import Client
from ringfence.processors.amazon_pay.notifications import Verifier
from ringfence.processors.amazon_pay.processor import AmazonPay
from ringfence.processors.amazon_pay.wallet import Absent, Recurrence, Wallet
from ringfence.processors.processor import Ask
from tests.amazon_site.site_asking import BASE, TOKEN, ask
from tests.engine.composition import Process, Shop
from tests.engine.recovering import claim_due, end_doubts, next_due, recovers, told, try_due
from tests.processors.amazon_pay.bench import ACCOUNT, World, world

pytestmark = pytest.mark.anyio

A, P, C, V, R = Kind.AUTHORIZATION, Kind.PURCHASE, Kind.CAPTURE, Kind.VOID, Kind.REFUND


class Amazon:
    """A merchant whose payments go to Amazon."""

    def __init__(self, one: Process, here: Shop, around: World) -> None:
        self.one, self.here, self.around = one, here, around
        merchant = here.account

        def numbers(name: str) -> int | None:
            return merchant.merchant_id if name == here.identifier else None

        self.objects = StoredObjects(one.pool, numbers)
        client = Client(around.network, around.wall)
        accounts = {here.identifier: ACCOUNT}.get
        self.wall = lambda: datetime.now(UTC)
        self.processor = AmazonPay(_Today(client, around), accounts, self.objects)
        self.wallet = Wallet(client, accounts)
        one.engine._processors[self.processor.name] = self.processor
        recovers(one)._processors = one.engine._processors
        self.closed: list[tuple[str, ...]] = []
        self.returned: list[tuple[str, ...]] = []
        self.notices = WalletNotices(
            Verifier(around.network, site=BASE, wall=around.wall), self.processor, self.wallet, self.objects, one.engine, one.pool,
            merchants=lambda name: [here.identifier] if name == ACCOUNT.merchant_id else [], numbers=numbers, closed=self._closed,
            returned=self._returned, wall=self.wall)
        self.payment_id = self.held = 0

    async def _closed(self, *said: str) -> None:
        self.closed.append(said)

    async def _returned(self, *said: str) -> None:
        self.returned.append(said)

    async def do(self, kind: Kind, minor: int | None, account: str = "", **more: Any) -> Result:
        number = self.one.new_id()
        if kind in (A, P):
            self.payment_id = number
        command = Command(kind, minor, "USD", number)
        return await self.one.engine.execute(Intent(
            self.here.account.merchant_id, self.here.identifier, self.payment_id, command, "ppro", "test", "test", b"content",
            reference="O" if kind in (A, P) else None, processor="amazon_pay", account=account, **more))

    async def begun(self, amount: str = "100.00", kind: Kind = A, **fields: Any) -> Outcome | None:
        intent = "Authorize" if kind is A else "AuthorizeWithCapture"
        session = await self.around.approved(amount, intent, **fields)
        return (await self.do(kind, round(float(amount) * 100), session)).outcome

    async def payment(self) -> dict[str, Any]:
        [row] = await self.one.fetch(
            "SELECT status, authorized, captured, unsecured, voided, refunded, pending_refund FROM payments WHERE payment_id = $1", self.payment_id)
        return dict(row)

    async def later(self, **by: float) -> None:
        """Business time goes on, here and at Amazon."""
        await self.around.on(**by)
        self.one.now.now += timedelta(**by)

    async def deliver(self, again: bool = False) -> list[Heard]:
        """What the site notified since, taken in as it was posted."""
        posts = list(self.around.here.posts)
        self.around.here.posts.clear()
        return [await self.notices.receive(body) for _, _, body in posts for _ in range(1 + again)]


class _Today(Client):
    """The engine's deadlines are of today, the site's day is its own."""

    def __init__(self, client: Client, around: World) -> None:
        super().__init__(client._connections, around.wall)
        self._around = around

    async def _ask(self, account: Any, method: str, path: str, body: bytes, key: str, deadline: datetime) -> Any:
        return await super()._ask(account, method, path, body, key, self._around.wall() + (deadline - datetime.now(UTC)))


@pytest.fixture
async def amazon(one: Process, here: Shop, tmp_path: Path) -> AsyncIterator[Amazon]:
    async with world(tmp_path) as around:
        yield Amazon(one, here, around)


async def test_a_payment_with_captures_and_a_refund_of_parts(amazon: Amazon, one: Process):
    """Authorized, captured twice (the second time as a charge of its own), the rest given back, refunded over both charges."""
    assert isinstance(await amazon.begun(), Approved)
    await one.prove()
    assert (await amazon.do(C, 3000)).outcome == Approved(3000, "000001", *await _approved(one), hold_gone=True)
    assert (await amazon.payment())["unsecured"] == 7000
    await one.prove()
    assert isinstance((await amazon.do(C, 2000)).outcome, Approved)
    assert isinstance((await amazon.do(V, None)).outcome, Approved)
    assert await amazon.payment() == {
        "status": "captured", "authorized": 10000, "captured": 5000, "unsecured": 0, "voided": 5000, "refunded": 0, "pending_refund": 0}
    assert (await amazon.do(R, 4500)).outcome == Unknown(Silence.PENDING)
    assert (await amazon.do(R, 400)).outcome == Unknown(Silence.PENDING), "a refund that is taken blocks nothing"
    await one.prove()
    await amazon.later(minutes=2)
    assert await try_due(one) == 2
    assert (await amazon.payment())["refunded"] == 4900
    assert (await amazon.do(R, 200)).refusal is Refusal.EXCEEDS_REFUNDABLE
    await one.prove()
    assert await next_due(one) is None


async def _approved(one: Process) -> tuple[str, str]:
    [row] = await one.fetch("SELECT scheme_reference, processor_reference FROM outcomes WHERE result = 'approved' ORDER BY answered_at LIMIT 1")
    return row[0], row[1]


async def test_a_declined_capture_of_the_rest_moves_nothing(amazon: Amazon, one: Process):
    """It stays capturable, without a hold; the reason is Amazon's own word."""
    await amazon.begun()
    await amazon.do(C, 3000)
    await amazon.around.fault("createCharge", "simulate", "SoftDeclined")
    outcome = (await amazon.do(C, 2000)).outcome
    assert isinstance(outcome, Declined)
    assert (outcome.response_code, outcome.provider_code) == ("05", "SoftDeclined")
    assert (await amazon.payment())["unsecured"] == 7000
    assert isinstance((await amazon.do(C, 7000)).outcome, Approved)
    await one.prove()


@pytest.mark.parametrize(("card", "status"), [("0701", "authorized"), ("4354", "declined")])
async def test_an_authorization_that_amazon_decides_later(amazon: Amazon, one: Process, card: str, status: str):
    """By the poller, from minute to minute; nothing is undone meanwhile."""
    details = {"paymentIntent": "Authorize", "chargeAmount": {"amount": "100.00", "currencyCode": "USD"}, "canHandlePendingAuthorization": True}
    assert await amazon.begun(card=card, paymentDetails=details) == Unknown(Silence.PENDING)
    assert await try_due(one) == 0
    await one.prove()
    await amazon.later(minutes=2)
    assert await try_due(one) == 1
    assert (await amazon.payment())["status"] == status
    await one.prove()


async def test_a_notification_has_it_looked_at_now(amazon: Amazon, one: Process):
    """Verified, worked off once however often it is sent; the poller stays for those that are lost."""
    await amazon.begun("10.00", P)
    assert (await amazon.do(R, 1000)).outcome == Unknown(Silence.PENDING)
    await amazon.deliver()
    await amazon.around.on(seconds=31)
    heard = await amazon.deliver(again=True)
    assert heard and set(heard) == {Heard.DONE}
    assert (await amazon.payment())["refunded"] == 1000
    assert await one.value("SELECT count(*) FROM amazon_notifications") == await one.value(
        "SELECT count(DISTINCT notification_id) FROM amazon_notifications")
    await one.prove()


async def test_a_hold_that_lapsed_at_amazon_is_no_hold_here(amazon: Amazon, one: Process):
    """After thirty days Amazon cancels it and says so; what is open has nothing behind it, once."""
    await amazon.begun()
    await amazon.deliver()
    await amazon.around.on(days=31)
    assert set(await amazon.deliver(again=True)) == {Heard.DONE}
    assert (await amazon.payment())["unsecured"] == 10000
    assert await told(one, "O") == ["authorization_approved", "hold_dropped"]
    await one.prove()


async def test_a_notification_that_is_not_genuine_is_refused(amazon: Amazon):
    """Nothing is looked up for it."""
    await amazon.begun("10.00", P)
    await amazon.around.here.site.sweep()
    body = amazon.around.here.posts[0][2]
    asked = amazon.around.network.asked
    for wrong in (b"", b"{}", body.replace(b"CHARGE", b"REFUND"), body.replace(BASE.encode(), b"https://sns.evil.example")):
        assert await amazon.notices.receive(wrong) is Heard.REFUSED
    assert amazon.around.network.asked <= asked + 1, "at most the certificate"


async def test_an_agreement_charged_later_and_ended(amazon: Amazon, one: Process):
    """Agreed without money, charged without the buyer, closed: whoever keeps agreements is told."""
    button = amazon.wallet.button(
        amazon.here.identifier, result_url="https://pay.example/back", cancel_url="https://pay.example/no", reference="agr_1", shop="Shop",
        minor=9000, currency="USD", kind=None, recurrence=Recurrence("Month", 1, 9000))
    assert button is not None
    session = await amazon.around.here.browser().approve({
        "payloadJSON": button.payload, "signature": button.signature, "algorithm": button.algorithm, "publicKeyId": button.public_key_id,
        "merchantId": button.merchant_id})
    deadline = amazon.around.wall() + timedelta(seconds=4)
    agreed = await amazon.wallet.agree(amazon.here.identifier, session, 9000, "USD", deadline)
    assert not isinstance(agreed, Absent)
    assert (agreed.state, agreed.charge_id) == ("Completed", "")
    assert await amazon.wallet.agree(amazon.here.identifier, session, 9000, "USD", deadline) is not None
    result = await amazon.do(P, 9000, agreed.permission_id)
    assert isinstance(result.outcome, Approved)
    await amazon.deliver()
    closed = await amazon.wallet.close_permission(amazon.here.identifier, agreed.permission_id, "the merchant ended it", deadline)
    assert not isinstance(closed, Absent) and closed.state == "Closed"
    await amazon.around.here.site.sweep()
    await amazon.deliver()
    assert set(amazon.closed) == {(amazon.here.identifier, agreed.permission_id, "MerchantClosed")}, "told at least once"
    declined = (await amazon.do(P, 9000, agreed.permission_id)).outcome
    assert isinstance(declined, Declined) and declined.provider_code == "InvalidChargePermissionStatus"
    await one.prove()


async def test_a_rest_is_held_again_where_the_merchant_wants_it(amazon: Amazon, one: Process):
    """At once, as a charge of its own; the next capture takes that hold, and leaves its rest to be held again."""
    await one.directory.change(amazon.here.identifier, {"amazon_pay_hold_rest": "on"})
    holder = RestHolder(
        one.engine, amazon.processor, amazon.objects, one.directory, one.pool, one.now, lambda: datetime.now(UTC), 4.0)
    await amazon.begun()
    await amazon.do(C, 3000)
    queue = hold_rest.queue(holder)
    jobs = await claim_due(one, HOLD_REST)
    assert len(jobs) == 1
    await queue.run(jobs[0])
    assert (await amazon.payment())["unsecured"] == 0
    assert (await told(one, "O"))[-1] == "held_again"
    await one.prove()
    assert (await amazon.do(C, 5000)).outcome is not None
    assert (await amazon.payment())["unsecured"] == 2000
    for job in await claim_due(one, HOLD_REST):
        await queue.run(job)
    assert (await amazon.payment())["unsecured"] == 0
    assert isinstance((await amazon.do(V, None)).outcome, Approved)
    states = {one["state"] for one in await one.fetch("SELECT state FROM amazon_objects WHERE kind = 'cancel'")}
    assert states == {"Canceled"}
    assert (await amazon.do(R, 8000)).outcome == Unknown(Silence.PENDING)
    await end_doubts(one, timedelta(minutes=1))
    await amazon.later(minutes=2)
    await try_due(one)
    assert (await amazon.payment())["refunded"] == 8000
    await one.prove()


async def test_a_rest_that_a_capture_made_smaller_is_held_all_the_same(amazon: Amazon, one: Process):
    """The capture was quicker than the hold: what is left then is asked for under a key of its own."""
    await one.directory.change(amazon.here.identifier, {"amazon_pay_hold_rest": "on"})
    captured: list[Outcome | None] = []

    async def ask(message: Ask) -> Outcome:
        if not captured:
            captured.append((await amazon.do(C, 2000)).outcome)
        return await amazon.processor.ask(message)

    holder = RestHolder(
        one.engine, SimpleNamespace(name=amazon.processor.name, ask=ask), amazon.objects,    # type: ignore[arg-type]
        one.directory, one.pool, one.now, lambda: datetime.now(UTC), 4.0)
    await amazon.begun()
    await amazon.do(C, 3000)
    (job,) = await claim_due(one, HOLD_REST)
    await hold_rest.queue(holder).run(job)
    assert isinstance(captured[0], Approved) and (await amazon.payment())["unsecured"] == 5000
    one.now.now += timedelta(minutes=1)
    (job,) = await claim_due(one, HOLD_REST)
    await hold_rest.queue(holder).run(job)
    assert (await amazon.payment())["unsecured"] == 0 and (await told(one, "O"))[-1] == "held_again"
    last = (await amazon.do(C, 5000)).outcome
    assert isinstance(last, Approved) and last.hold_gone
    await one.prove()


async def test_an_answer_that_was_lost_for_good_is_found_by_recovery(amazon: Amazon, one: Process):
    """The session is read, and completed where it is open: what the payer approved comes about, once."""
    await amazon.around.fault("completeCheckoutSession", "status", 503, 40)
    session = await amazon.around.approved("100.00", "Authorize")
    outcome = (await amazon.do(A, 10000, session)).outcome
    assert isinstance(outcome, Unknown)
    await amazon.around.here.site.sweep()
    await ask(amazon.around.here.app, "DELETE", "/amazon/faults", b"", {"authorization": f"Bearer {TOKEN}"})
    await end_doubts(one, timedelta(minutes=1))
    assert (await amazon.payment())["status"] == "authorized"
    await one.prove()
