"""Payers who are sent away, on the real database: the payment waits for them, and goes on or ends exactly once."""
from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringfence.api.ppro import charges as door
from ringfence.api.ppro.door import caller_of
from ringfence.background import abandoned
from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.core.redirection import Redirect, Stand, Why
from ringfence.engine.link_addresses import Addresses
from ringfence.engine.redirects import Progress, Seen, Stands
from ringfence.storage import redirections
from tests.api.ppro.asking import Client, charge
from tests.engine.composition import Process, Shop, approve, doors, process
from tests.engine.recovering import claim_due, end_doubts, recovers

pytestmark = pytest.mark.anyio
SECONDS = timedelta(seconds=1)
RETURN = "https://shop.example/return?order=1001"
APPROVED = Seen(Stand.APPROVED, "S01-1")


@pytest.fixture
async def other(database: str, one: Process) -> AsyncIterator[Process]:
    """Another worker; processor and wallet are those of the first."""
    async with process(database, 2, now=one.now) as running:
        running.processor, running.wallet = one.processor, one.wallet
        running.engine._processors = one.engine._processors
        recovers(running)
        doors(running)
        yield running


class Away:
    """A charge whose consumer is sent to the wallet."""

    def __init__(self, client: Client, made: dict[str, Any]) -> None:
        self.client, self.made = client, made
        self.payment_id = client.service.names.read("charge", made["id"])
        self.name = client.process.directory.merchant(client.identifier).merchant_id, self.payment_id
        self.address = made["authenticationMethods"][0]["details"].get("requestUrl", "").rpartition("/")[2]

    async def row(self, at: Process) -> redirections.RedirectionRow:
        found = await at.redirects.find(self.address)
        assert found is not None
        return found

    async def back(self, at: Process, session: str) -> Progress:
        return await at.redirects.came_back(await self.row(at), session)

    async def status(self) -> str:
        return (await self.client.read(self.made))["status"]


async def away(one: Process, here: Shop, *, method: str = "AMAZON_PAY", **fields: Any) -> Away:
    client = Client(one, here.identifier)
    answered = await client.post("/payment-charges", charge(1000, paymentMethod=method, instrument=None, authenticationSettings=[
        {"type": "REDIRECT", "settings": {"returnUrl": RETURN}}], **fields))
    assert answered.status == 200 and answered.body["status"] == "AUTHENTICATION_PENDING", answered
    return Away(client, answered.body)


async def look(at: Process) -> int:
    """One look at everybody who is due."""
    due = await claim_due(at, "redirection")
    for job in due:
        await at.redirects.attempt(job)
    return len(due)


async def sweep(at: Process) -> int:
    """The sweep of abandoned operations, as if everybody's time were over."""
    await at.pool.execute("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE ask_deadline > now() - interval '1 minute'")
    await at.pool.execute("UPDATE sweeps SET done_until = '2020-01-01' WHERE job = 'abandoned'")
    return await abandoned.sweep(at.pool, at.directory, at.engine)


# -- away

async def test_whoever_is_sent_away_holds_nothing(one: Process, here: Shop):
    """Nobody is asked, nothing is in doubt, nothing that follows is allowed, and every look shows the same address."""
    gone = await away(one, here)
    assert gone.made["authorizations"][0]["status"] == "AUTHENTICATION_PENDING" and gone.made["captures"] == []
    assert (await gone.client.read(gone.made))["authenticationMethods"] == gone.made["authenticationMethods"]
    assert one.processor.asked == []
    assert await sweep(one) == 0
    assert await one.value("SELECT count(*) FROM jobs WHERE queue = 'recovery'") == 0
    assert await one.fetch("SELECT status, authorized, unknown FROM payments") == [("challenged", 0, 0)]
    assert (await gone.client.post(f"/payment-charges/{gone.made['id']}/captures", {"amount": 1})).body["status"] == "FAILED"
    assert await one.redirects.find(gone.address[:-1] + ("A" if gone.address[-1] != "A" else "B")) is None
    assert await one.redirects.find(Addresses(one.content_key).make(*gone.name)) is None, "a link's address opens no page of a wallet"
    await one.prove()


async def test_the_payer_comes_back_and_the_payment_is_made(one: Process, here: Shop):
    """Asked with the session as account, once; whoever comes later finds it ended."""
    gone = await away(one, here, autoCapture=False)
    one.wallet.sessions["s-1"] = APPROVED
    progress = await gone.back(one, "s-1")
    assert progress.stands is Stands.ENDED and progress.result is not None
    (message,) = one.processor.asked
    assert (message.account, message.key, message.minor, message.kind) == ("s-1", f"{gone.payment_id}-1", 1000, "authorization")
    assert await gone.status() == "CAPTURE_PENDING"
    assert await gone.back(one, "s-2") == (Stands.ENDED, None)
    assert await look(one) == 0, "its job is gone"
    assert [tuple(row) for row in await one.fetch("SELECT attempt, result FROM outcomes ORDER BY attempt")] == [(0, "challenge"), (1, "approved")]
    assert (await gone.client.read(gone.made))["authenticationMethods"] == gone.made["authenticationMethods"]
    await one.prove()


@pytest.mark.parametrize(("stand", "status", "code"), [
    (Stand.CANCELED, "FAILED", "CANCELED_BY_CONSUMER"), (Stand.DECLINED, "FAILED", "GENERIC_DECLINE"), (Stand.CLOSED, "FAILED", "GENERIC_DECLINE"),
    (Stand.EXPIRED, "DISCARDED", None),
])
async def test_a_session_that_ends_otherwise_ends_the_payment(one: Process, here: Shop, stand: Stand, status: str, code: str | None):
    """Nobody is asked for money."""
    gone = await away(one, here)
    one.wallet.sessions["s-1"] = Seen(stand)
    await gone.back(one, "s-1")
    after = await gone.client.read(gone.made)
    assert after["status"] == status and one.processor.asked == []
    if code is None:
        assert [one["type"] for one in after["discards"]] == ["AUTHENTICATION_TIMEOUT"] and "failure" not in after
    else:
        assert (after["failure"]["failureType"], after["failure"]["failureCode"]) == ("PROVIDER_DECLINE", code)
    await one.prove()


async def test_a_decline_at_the_wallet_is_the_payments(one: Process, here: Shop):
    """With the wallet's own word."""
    gone = await away(one, here)
    one.wallet.sessions["s-1"] = APPROVED
    one.processor.say(Declined("57", "03", "r-1", "HardDeclined"))
    await gone.back(one, "s-1")
    failure = (await gone.client.read(gone.made))["failure"]
    assert (failure["failureType"], failure["failureCode"], failure["providerFailureCode"]) == ("PROVIDER_DECLINE", "IS_GENERIC_DECLINE", "HardDeclined")
    assert not failure["isRetryable"]


async def test_what_a_browser_says_counts_for_nothing(one: Process, here: Shop):
    """Another payment's session, none, one that its payer has not decided: the payer is awaited all the same."""
    gone = await away(one, here)
    one.wallet.sessions |= {"foreign": Seen(Stand.FOREIGN), "open": Seen(Stand.OPEN), "mine": APPROVED}
    for session in ("", "foreign", "open"):
        assert (await gone.back(one, session)).stands is Stands.AWAITED
        assert (await gone.row(one)).session == ("open" if session == "open" else "")
    assert (await gone.back(one, "foreign")).stands is Stands.AWAITED
    assert (await gone.row(one)).session == "open", "a foreign one takes nobody's place"
    assert (await gone.back(one, "mine")).stands is Stands.ENDED and await gone.status() == "CAPTURED"


async def test_twenty_returns_at_two_workers_ask_once(one: Process, other: Process, here: Shop):
    """Together with the job and a merchant who gives up."""
    gone = await away(one, here)
    one.wallet.sessions["s-1"] = APPROVED
    held = one.processor.hold()
    returns = [asyncio.create_task(gone.back(one if n % 2 else other, "s-1")) for n in range(20)]
    await held.arrived.wait()
    assert not await other.redirects.discard(*gone.name, "ppro:discarded"), "the payer was quicker"
    one.now.now += timedelta(days=2)
    await look(other)
    await asyncio.wait(returns, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    held.release()
    found = await asyncio.gather(*returns)
    assert len(one.processor.asked) == 1
    assert sum(progress.result is not None for progress in found) == 1
    assert {progress.stands for progress in found} <= {Stands.ENDED, Stands.ENDING}
    assert await gone.status() == "CAPTURED"
    await one.prove()


async def test_a_merchant_who_is_quicker_wins(one: Process, here: Shop):
    """Who comes back then finds it over, and nothing is charged."""
    gone = await away(one, here)
    told = await gone.client.post(f"/payment-charges/{gone.made['id']}/discards", {})
    assert told.body["status"] == "DISCARDED" and told.body["type"] == "MERCHANT_INITIATED_DISCARD"
    one.wallet.sessions["s-1"] = APPROVED
    assert (await gone.back(one, "s-1")) == (Stands.ENDED, None)
    assert await gone.status() == "DISCARDED" and one.processor.asked == []
    assert await look(one) == 0
    await one.prove()


# -- nobody comes back

async def test_a_payer_who_never_comes_back_is_discarded_in_time(one: Process, here: Shop):
    """After a day, and never before."""
    gone = await away(one, here)
    one.now.now += timedelta(hours=24) - SECONDS
    assert await look(one) == 0
    assert await gone.status() == "AUTHENTICATION_PENDING"
    one.now.now += SECONDS
    assert await look(one) == 1
    after = await gone.client.read(gone.made)
    assert after["status"] == "DISCARDED" and after["discards"][0]["type"] == "AUTHENTICATION_TIMEOUT"
    one.wallet.sessions["late"] = APPROVED
    assert (await gone.back(one, "late")) == (Stands.ENDED, None) and one.processor.asked == []
    await one.prove()


async def test_an_approved_session_whose_payer_vanished_is_completed(one: Process, here: Shop):
    """It was made before he went, or a browser brought it when nobody could say anything of it."""
    one.wallet.makes = "s-made"
    made = await away(one, here)
    assert (await one.redirects.hand_over(await made.row(one))).session == "s-made"
    one.wallet.makes = ""
    brought = await away(one, here)
    assert (await brought.back(one, "s-brought")).stands is Stands.LOOKING
    one.wallet.sessions["s-made"] = Seen(Stand.OPEN)
    one.now.now += 31 * SECONDS
    assert await look(one) == 2
    assert [await made.status(), await brought.status()] == ["AUTHENTICATION_PENDING"] * 2
    one.wallet.sessions |= {"s-made": APPROVED, "s-brought": APPROVED}
    one.now.now += 61 * SECONDS
    assert await look(one) == 2
    assert [await made.status(), await brought.status()] == ["CAPTURED"] * 2
    assert sorted(message.account for message in one.processor.asked) == ["s-brought", "s-made"]
    assert await look(one) == 0


async def test_looks_grow_rarer_and_the_last_is_in_time(one: Process, here: Shop):
    """A day takes some dozens of looks, not thousands."""
    one.wallet.makes, one.wallet.sessions["s-1"] = "s-1", Seen(Stand.OPEN)
    gone = await away(one, here)
    await one.redirects.hand_over(await gone.row(one))
    looks = 0
    while (due := await one.value("SELECT due_at FROM jobs WHERE queue = 'redirection'")) is not None:
        assert due <= (await gone.row(one)).due_at
        one.now.now, looks = max(one.now.now, due), looks + 1
        await look(one)
    assert await gone.status() == "DISCARDED" and 10 < looks < 60


# -- kills

async def test_an_owner_killed_behind_its_claim_leaves_a_doubt_that_recovery_ends(one: Process, other: Process, here: Shop):
    """The return reaches another worker: it waits for the sweep, and the operation is undone."""
    gone = await away(one, here)
    one.wallet.sessions["s-1"] = APPROVED
    held = one.processor.hold()
    dying = asyncio.create_task(gone.back(one, "s-1"))
    await held.arrived.wait()
    dying.cancel()
    await asyncio.wait([dying])
    assert (await gone.back(other, "s-1")).stands is Stands.ENDING
    assert await sweep(other) == 1
    assert await gone.status() == "AUTHORIZATION_ASYNC"
    assert await end_doubts(other) >= 1
    assert await gone.status() == "DISCARDED"
    assert [message.key for message in one.processor.reversals] == [f"{gone.payment_id}-1"]
    await one.prove()


async def test_an_owner_that_stalled_behind_its_claim_comes_too_late(one: Process, other: Process, here: Shop):
    """Its approval is never told as one, and is undone."""
    gone = await away(one, here)
    one.wallet.sessions["s-1"] = APPROVED
    held = one.processor.hold()
    stalled = asyncio.create_task(gone.back(one, "s-1"))
    await held.arrived.wait()
    assert await sweep(other) == 1
    held.release()
    assert (await stalled).result.outcome == Unknown(Silence.SUPERSEDED)
    await end_doubts(other)
    assert await gone.status() == "DISCARDED"
    await one.prove()


async def test_a_process_killed_during_the_hand_over_loses_nothing(one: Process, other: Process, here: Shop):
    """The address is made again by whoever is asked next, for the same session."""
    one.wallet.makes = "s-made"
    gone = await away(one, here)
    first = await one.redirects.hand_over(await gone.row(one))
    second = await other.redirects.hand_over(await gone.row(other))
    assert first == second and (await gone.row(other)).session == "s-made"
    one.wallet.sessions["s-made"] = APPROVED
    assert (await gone.back(other, "s-made")).stands is Stands.ENDED
    assert await gone.status() == "CAPTURED"


async def test_where_the_row_cannot_be_stored_nobody_is_sent_away(one: Process, here: Shop):
    """The charge fails, and says that it may be tried again."""
    client = Client(one, here.identifier)

    before, one.redirects._pool = one.redirects._pool, Gone()
    made = (await client.post("/payment-charges", charge(paymentMethod="AMAZON_PAY", instrument=None, authenticationSettings=[
        {"type": "REDIRECT", "settings": {"returnUrl": RETURN}}]))).body
    one.redirects._pool = before
    assert made["status"] == "FAILED" and made["failure"]["isRetryable"]


async def test_a_merchant_without_an_account_sends_nobody_away(one: Process, here: Shop):
    """It is told at once, and not when the payer stands at the door."""
    one.wallet.knows_all = False
    made = (await Client(one, here.identifier).post("/payment-charges", charge(paymentMethod="AMAZON_PAY", instrument=None, authenticationSettings=[
        {"type": "REDIRECT", "settings": {"returnUrl": RETURN}}]))).body
    assert made["status"] == "FAILED" and made["failure"]["failureCode"] == "INVALID_PAYMENT_METHOD"
    assert await look(one) == 0


class Gone:
    """A pool without a database."""

    def acquire(self) -> Any:
        raise ConnectionRefusedError("away, says the test")


async def test_a_claim_whose_answer_was_lost_is_ours_all_the_same(one: Process, here: Shop):
    """Who claimed is stored: whoever finds his own name goes on."""
    gone = await away(one, here)
    row, deadline = await gone.row(one), datetime.now(UTC) + timedelta(minutes=1)
    assert await redirections.claim(one.pool, row, "me", deadline, "s", "approved", one.now()) == deadline
    assert await redirections.claim(one.pool, row, "you", deadline, "s", "approved", one.now()) is None
    assert await redirections.claimed(one.pool, row, "me") == deadline
    assert await redirections.claimed(one.pool, row, "you") is None


# -- agreements

class Agreements:
    """Hears how they end."""

    def __init__(self, one: Process) -> None:
        self.heard: list[tuple[Any, ...]] = []
        one.redirects.agreed, one.redirects.refused = self._agreed, self._refused     # type: ignore[method-assign]

    async def _agreed(self, merchant_id: int, agreement_id: int, account: str) -> None:
        self.heard.append(("agreed", agreement_id, account))

    async def _refused(self, merchant_id: int, agreement_id: int, why: str) -> None:
        self.heard.append(("refused", agreement_id, why))


async def agreement(one: Process, here: Shop, number: int = 71, method: str = "AMAZON_PAY") -> redirections.RedirectionRow:
    redirect = Redirect(method, 3_600, leave_url=RETURN)
    for _ in range(2):                  # once more is the same
        await one.redirects.begin(here.account.merchant_id, number, redirect, 9000, "USD")
    row = await one.redirects.of(here.account.merchant_id, number)
    assert row is not None and (row.payment_id, row.agreement_id, row.leave_url) == (0, number, RETURN)
    return row


async def test_an_agreement_that_nothing_is_charged_with(one: Process, here: Shop):
    """Completed once, told once, and then over."""
    hears, row = Agreements(one), await agreement(one, here)
    one.wallet.sessions["s-1"] = APPROVED
    found = await asyncio.gather(*(one.redirects.came_back(row, "s-1") for _ in range(20)))
    assert hears.heard == [("agreed", 71, "S01-1")] and one.wallet.agreed == ["s-1"]
    assert sum(progress.result is not None for progress in found) == 1
    assert (await one.redirects.came_back(row, "s-1")) == (Stands.ENDED, None)
    assert await look(one) == 0 and one.processor.asked == []


async def test_an_agreement_is_refused_by_cancel_and_by_time(one: Process, here: Shop):
    hears, canceled, late = Agreements(one), await agreement(one, here, 72), await agreement(one, here, 73)
    one.wallet.sessions["s-2"] = Seen(Stand.CANCELED)
    await one.redirects.came_back(canceled, "s-2")
    one.now.now += timedelta(hours=1)
    assert await look(one) == 1
    assert hears.heard == [("refused", 72, Why.CANCELED), ("refused", 73, Why.EXPIRED)]
    assert (await one.redirects.came_back(late, "s-3")).stands is Stands.ENDED


async def test_an_agreement_that_could_not_be_told_is_told_again(one: Process, here: Shop):
    """By whoever looks next: the claim is given back."""
    hears, row = Agreements(one), await agreement(one, here, 74)
    told, one.redirects.agreed = one.redirects.agreed, fails     # type: ignore[method-assign]
    one.wallet.sessions["s-4"] = APPROVED
    with pytest.raises(RuntimeError):
        await one.redirects.came_back(row, "s-4")
    one.redirects.agreed = told         # type: ignore[method-assign]
    one.now.now += 31 * SECONDS
    assert await look(one) == 1
    assert hears.heard == [("agreed", 74, "S01-1")]


async def fails(*_: Any) -> None:
    raise RuntimeError("away")


async def test_one_approval_covers_agreement_and_first_charge(one: Process, here: Shop):
    """Also where the charge is then declined, the payer has agreed; who cancels has not."""
    hears = Agreements(one)
    client = Client(one, here.identifier)
    charges = []
    for number in (81, 82, 83):
        asked = charge(1000, paymentMethod="AMAZON_PAY", instrument=None, authenticationSettings=[
            {"type": "REDIRECT", "settings": {"returnUrl": RETURN}}])
        caller = caller_of(here.account, next(iter(one.directory.held_by("ppro", f"key_sandbox_{here.identifier}").values())))
        made = json.loads((await door.begin(client.service, caller, door.Wish(
            asked, one.new_id(), told={"agreementId": client.service.names.make("agr", number)}, agreement_id=number))).body)
        assert made["status"] == "AUTHENTICATION_PENDING" and made["agreementId"].startswith("agr_")
        charges.append(Away(client, made))
    one.wallet.sessions |= {"a": APPROVED, "b": APPROVED, "c": Seen(Stand.CANCELED)}
    one.processor.say(approve, Declined("05"))
    for gone, session in zip(charges, "abc", strict=True):
        await gone.back(one, session)
    assert [await gone.status() for gone in charges] == ["CAPTURED", "FAILED", "FAILED"]
    assert hears.heard == [("agreed", 81, "S01-1"), ("agreed", 82, "S01-1"), ("refused", 83, Why.CANCELED)]
    assert await one.value("SELECT count(*) FROM jobs WHERE queue = 'redirection'") == 0
    await one.prove()


# -- a method that has no other side

async def test_a_payer_acts_on_our_own_page(one: Process, here: Shop):
    """Succeeds, fails, cancels; what the charge is steered with reaches the processor."""
    steered = "requiresAuthentication=true"
    for stand, why, status in ((Stand.APPROVED, None, "CAPTURED"), (Stand.DECLINED, Why.FAILED, "FAILED"), (Stand.CANCELED, None, "FAILED")):
        gone = await away(one, here, method="MOCK", paymentDescriptor=steered)
        assert (await gone.back(one, "s-1")).stands is Stands.AWAITED, "no session means anything here"
        assert (await one.redirects.answer(*gone.name, stand, why)).stands is Stands.ENDED
        assert await gone.status() == status
    assert [message.account for message in one.processor.asked] == [steered]
    late = await away(one, here, method="MOCK", paymentDescriptor=steered)
    one.now.now += timedelta(minutes=30)
    assert (await one.redirects.answer(*late.name, Stand.APPROVED)).stands is Stands.ENDED
    assert await late.status() == "DISCARDED"
    away_at_wallet = await away(one, here)
    assert (await one.redirects.answer(*away_at_wallet.name, Stand.APPROVED)).stands is Stands.ENDED
    assert await away_at_wallet.status() == "AUTHENTICATION_PENDING", "nobody says for a wallet what its payer did"
