"""What the other side has taken and not decided: it is only asked about, refunds are owed and not doubted, and the proof agrees at every step."""
from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ringfence.core.outcomes import Approved, Declined, Outcome, Silence, Unknown
from ringfence.processors.processor import Ask
from tests.engine.composition import Process, Shop
from tests.engine.recovering import able, end_doubts, next_due, owed, results, told, try_due

pytestmark = pytest.mark.anyio

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def pending(done: tuple[int, ...] = (), failed: tuple[int, ...] = ()) -> Unknown:
    return Unknown(Silence.PENDING, done, failed)


@pytest.fixture(autouse=True)
def _able(one: Process) -> None:
    one.processor.capabilities = able(inquiry=True)


async def _amounts(one: Process) -> dict[str, Any]:
    row = (await one.fetch("SELECT authorized, captured, unsecured, refunded, pending_refund, unknown, captures FROM payments"))[0]
    return dict(row)


async def _balance(one: Process, account: str) -> int:
    return int(await one.value("SELECT coalesce(sum(balance), 0) FROM balances WHERE account = $1", account))


async def _on(one: Process, **by: float) -> int:
    one.now.now += timedelta(**by)
    return await try_due(one)


async def test_who_says_when_it_will_have_decided_is_asked_then(here: Shop, one: Process):
    """To the second, not from minute to minute; where it has not, as any other."""
    one.processor.say(Unknown(Silence.PENDING, within=7.0))
    one.processor.find(Unknown(Silence.PENDING, within=3.0), lambda message: Approved(message.minor))
    assert (await here.pay("PURCHASE", "P"))["response_code"] == "15777"
    due = await next_due(one)
    assert due is not None and timedelta(seconds=6) <= due - one.now() <= timedelta(seconds=7)
    assert await _on(one, seconds=7) == 1
    later = await next_due(one)
    assert later is not None and later - one.now() > MINUTE
    assert await end_doubts(one) == 1 and await told(one, "P") == ["purchase_unknown", "purchase_approved"]
    await one.prove()


@pytest.mark.parametrize(("what", "end", "event"), [
    ("purchase", "approved", "purchase_approved"), ("purchase", "declined", "purchase_declined"),
    ("authorization", "approved", "authorization_approved"), ("authorization", "declined", "authorization_declined"),
])
async def test_a_payment_that_is_pending_is_asked_about_and_never_undone(here: Shop, one: Process, what: str, end: str, event: str):
    """However often: from minute to minute at first, then from hour to hour, until the other side has decided."""
    one.processor.say(pending())
    one.processor.find(*[pending()] * 6, lambda message: Approved(message.minor) if end == "approved" else Declined("05"))
    assert (await here.pay(what.upper(), "P"))["response_code"] == "15777"
    due = await next_due(one)
    assert due is not None
    assert timedelta(seconds=54) <= due - one.now() <= timedelta(seconds=66)
    assert await end_doubts(one) == 7
    assert timedelta(hours=1) < one.now() - due < timedelta(hours=3)
    assert await told(one, "P") == [f"{what}_unknown", event]
    assert (one.processor.reversals, await owed(one), len(one.processor.asked)) == ([], [], 1)
    assert await results(one, "P") == [(what, 1, "unknown"), (what, 8, end)], "a try that brings no news writes nothing"
    await one.prove()


async def test_an_unanswered_payment_that_turns_out_to_be_pending_is_not_reversed(here: Shop, one: Process):
    """Two inquiries in vain would have it undone; that it is pending is stored, for whoever tries next."""
    one.processor.say(Unknown(Silence.NO_ANSWER))
    one.processor.find(pending(), *[Unknown(Silence.NO_ANSWER)] * 4, lambda message: Approved(message.minor))
    await here.purchase("P")
    assert await end_doubts(one) == 6
    assert await results(one, "P") == [("purchase", 1, "unknown"), ("purchase", 2, "unknown"), ("purchase", 7, "approved")]
    assert one.processor.reversals == []
    await one.prove()


async def test_what_stays_pending_too_long_is_a_persons_business(here: Shop, one: Process):
    """The processor's own limit counts from when it was asked; the job is tried on."""
    one.processor.capabilities = able(inquiry=True)._replace(pending_seconds=7_200)
    one.processor.say(pending())
    one.processor.find(*[pending()] * 40)
    await here.purchase("P")
    began = one.now()
    await end_doubts(one, timedelta(hours=6))
    assert await one.value("SELECT deadline_at FROM jobs") == began + 2 * HOUR
    assert one.processor.reversals == []
    await one.prove()


async def test_a_refund_that_is_taken_is_owed_and_in_no_doubt(here: Shop, one: Process):
    """Ledger rows 16 and 17: other operations go on, and it moves when it is final."""
    await here.purchase("R", 1000)
    one.processor.say(pending())
    assert (await here.refund("R", 400, maintenance_reference="R1"))["response_code"] == "15777"
    assert await _amounts(one) | {"captures": []} == {
        "authorized": 1000, "captured": 1000, "unsecured": 0, "refunded": 0, "pending_refund": 400, "unknown": 0, "captures": []}
    assert (await _balance(one, "refund.pending"), await _balance(one, "doubt.refund")) == (-400, 0)
    await one.prove()
    one.processor.find(pending(), lambda message: Approved(message.minor))
    assert await _on(one, minutes=2) == 1
    await one.prove()
    assert await _on(one, minutes=5) == 1
    assert (await _amounts(one))["refunded"] == 400
    assert (await _balance(one, "refund.pending"), await next_due(one)) == (0, None)
    assert await told(one, "R") == ["purchase_approved", "refund_taken", "refund_approved"]
    await one.prove()


@pytest.mark.parametrize("first", [pending(), Unknown(Silence.NO_ANSWER)])
async def test_a_refund_that_was_taken_may_fail(here: Shop, one: Process, first: Outcome):
    """Then it is the merchant's again, whether it was known at once or found out later that it had been taken."""
    await here.purchase("R", 1000)
    one.processor.say(first)
    await here.refund("R", 400, maintenance_reference="R1")
    one.processor.find(pending(), Declined("59", provider_code="AmazonRejected"))
    await end_doubts(one)
    amounts = await _amounts(one)
    assert (amounts["refunded"], amounts["pending_refund"], await _balance(one, "merchant.payable")) == (0, 0, -1000)
    assert await one.value("SELECT scheme_reference FROM outcomes WHERE result = 'declined'") == "AmazonRejected"
    assert (await here.refund("R", 1000, maintenance_reference="R2"))["response_code"] == "06000"
    await one.prove()


async def _three_captures(here: Shop, one: Process, reference: str = "P") -> list[int]:
    await here.authorize(reference, 1000)
    for minor in (500, 300, 200):
        assert (await here.capture(reference, minor))["response_code"] == "04000"
    return [row[0] for row in await one.fetch("SELECT operation_id FROM operations WHERE kind = 'capture' ORDER BY operation_id")]


def _parts(message: Ask) -> list[tuple[int, int, int]]:
    return list(message.parts)


async def test_each_part_of_a_refund_moves_when_it_ends(here: Shop, one: Process):
    """Two captures give it back together; the processor sees both parts each time, the ledger moves one after the other."""
    a, b, _ = await _three_captures(here, one)
    one.processor.say(pending())
    one.processor.find(pending((1,)), pending((1,)), lambda message: Approved(message.minor))
    await here.refund("P", 700, maintenance_reference="R")
    assert _parts(one.processor.asked[-1]) == [(0, a, 500), (1, b, 200)]
    await one.prove()
    await _on(one, minutes=2)
    assert (await _amounts(one))["refunded"] == 200
    assert await _balance(one, "refund.pending") == -500
    await one.prove()
    await _on(one, minutes=10)
    assert _parts(one.processor.inquired[-1]) == [(0, a, 500), (1, b, 200)]
    await _on(one, minutes=20)
    assert (await _amounts(one))["refunded"] == 700
    assert await _balance(one, "refund.pending") == 0
    await one.prove()


async def test_a_part_that_fails_is_tried_where_there_is_room(here: Shop, one: Process):
    """On captures that did not fail it; the payment's captures say at any time what is reserved of each."""
    a, b, c = await _three_captures(here, one)
    one.processor.say(pending((), (1,)))
    one.processor.find(pending((0,)), pending((0, 2)), lambda message: Approved(message.minor))
    await here.refund("P", 700, maintenance_reference="R")
    assert await _reserved(one) == {a: (0, 500), b: (0, 0), c: (0, 200)}
    await one.prove()
    await _on(one, minutes=2)
    assert _parts(one.processor.inquired[-1]) == [(0, a, 500), (2, c, 200)]
    assert await _reserved(one) == {a: (500, 0), b: (0, 0), c: (0, 200)}
    await one.prove()
    await _on(one, minutes=10)
    await one.prove()
    await _on(one, minutes=30)
    assert await _reserved(one) == {a: (500, 0), b: (0, 0), c: (200, 0)}
    assert await told(one, "P") == [
        "authorization_approved", *["capture_approved"] * 3, "refund_taken", "refund_approved"]
    await one.prove()


@pytest.mark.parametrize(("decision", "refunded"), [("approved", 900), ("declined", 500)])
async def test_a_part_with_no_room_anywhere_waits_for_a_person(here: Shop, one: Process, decision: str, refunded: int):
    """At once, not in a day; what is final stays so, whatever the person decides about the rest."""
    await _three_captures(here, one)
    one.processor.say(pending((0,), (1,)))
    one.processor.find(*[pending((0,), (1,))] * 3)
    await here.refund("P", 900, maintenance_reference="R")
    await _on(one, minutes=2)
    assert await one.value("SELECT deadline_at FROM jobs") <= one.now()
    await one.prove()
    await one.value(
        "INSERT INTO reviews (merchant_id, operation_id, payment_id, decided, minor, reason, evidence, decided_by, decided_at) "
        "SELECT merchant_id, operation_id, payment_id, $1, CASE $1 WHEN 'approved' THEN minor ELSE 0 END, 'r', 'e', 'p', now() "
        "FROM operations WHERE kind = 'refund'", decision)
    await _on(one, hours=2)
    amounts = await _amounts(one)
    assert (amounts["refunded"], amounts["pending_refund"], await _balance(one, "refund.pending")) == (refunded, 0, 0)
    assert await next_due(one) is None
    await one.prove()


async def _reserved(one: Process) -> dict[int, tuple[int, int]]:
    """Refunded and pending, by capture."""
    numbers = (await _amounts(one))["captures"]
    return {numbers[at]: (numbers[at + 2], numbers[at + 3]) for at in range(0, len(numbers), 6)}


@pytest.mark.parametrize("outcome", [
    lambda message: Approved(message.minor, hold_gone=True), lambda message: Declined("57", provider_code="HardDeclined", hold_gone=True)])
async def test_the_rest_of_a_hold_goes_with_its_capture(here: Shop, one: Process, outcome: Any):
    """In the same commit: what may still be captured has no hold behind it any more."""
    await here.authorize("P", 1000)
    one.processor.say(outcome)
    await here.capture("P", 300)
    approved = (await one.value("SELECT captured FROM payments")) == 300
    amounts = await _amounts(one)
    assert amounts["unsecured"] == (700 if approved else 1000)
    assert await one.value("SELECT count(DISTINCT batch_id) FROM transfers WHERE kind IN (4, 13, 20)") == 1
    assert (await told(one, "P"))[-1] == "hold_dropped"
    await one.prove()
    assert (await here.capture("P", 700))["response_code"] == "04000"
    assert (await _amounts(one))["unsecured"] == (0 if approved else 300)
    await one.prove()


async def test_a_capture_of_all_leaves_no_rest_to_speak_of(here: Shop, one: Process):
    """No hold is said to be dropped where nothing was left of it."""
    await here.authorize("P", 1000)
    one.processor.say(lambda message: Approved(message.minor, hold_gone=True))
    await here.capture("P", 1000)
    assert await told(one, "P") == ["authorization_approved", "capture_approved"]
    await one.prove()
