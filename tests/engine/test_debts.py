"""The register of debts on the real PostgreSQL: what is owed, paid, reported, reopened and forgiven, and the proof agrees after each."""
from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from ringfence.core.card import Pan
from ringfence.core.commands import Command, Kind, VoidReason
from ringfence.core.notices import Notice
from ringfence.core.outcomes import Approved, Silence, Unknown
from ringfence.core.trip import TripRefusal
from ringfence.engine import links, retention
from ringfence.engine.batcher import CommitFailed
from ringfence.engine.debts import Refusal
from ringfence.engine.gates import Shut, Why
from ringfence.engine.intents import Intent
from ringfence.engine.proof import prove
from ringfence.engine.retention import Policy
from ringfence.engine.story import explain
from ringfence.engine.trips import Trip
from tests.engine.composition import NOW, Process, Shop
from tests.engine.owing import Till, debts_of
from tests.engine.stores import Store

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


@pytest.fixture
async def till(here: Shop) -> Till:
    return Till(await Store(here).built())


async def debtor(till: Till, total: int = 6410, captured: int = 2000) -> Trip:
    """Somebody whose card paid ``captured`` of ``total``."""
    trip = await till.enter()
    if captured:
        await till.store.capture(trip, captured)
    else:
        await till.store.cancel(trip)
    await till.debts.incurred(await till.store.find(trip), total, captured, "take_standing", "declined", "test")
    await till.work()
    return trip


async def report(till: Till, trip: Trip, paid: int, total: int = 6410, at: datetime | None = None) -> TripRefusal | None:
    said = await till.debts.reported(await till.store.find(trip), total, paid, at or till.process.now(), "retailer")
    await till.work()
    return said


async def pay(till: Till, link: Any, minor: int | None = None) -> None:
    """Somebody pays a link, and the books hear of it."""
    shop = till.store.shop
    answer = await shop.purchase(link.reference, str(minor or link.terms.minor), currency=link.terms.currency)
    assert answer["response_code"] == "14000", answer
    await till.debts.look([till.merchant_id])
    await till.work()


# --- incurring, and the gate ------------------------------------------------------------------------------------------


async def test_a_debt_keeps_its_card_out_until_it_is_paid(till: Till):
    """Another card gets in; paid, so does this one."""
    till.store.gates.owed = till.debts.owed
    trip = await debtor(till)
    assert await till.debts.owed(till.merchant_id, trip.card_fingerprint) == {"USD": 4410}
    assert await till.store.come() == Shut(Why.DEBT)
    other = await till.enter(pan=Pan("5555009900000000"))
    assert await till.debts.owed(till.merchant_id, other.card_fingerprint) == {}
    assert await till.debts.owed(till.merchant_id + 1, trip.card_fingerprint) == {}
    assert await till.debts.owed(till.merchant_id, b"") == {}
    await report(till, trip, 6410)
    assert await till.debts.owed(till.merchant_id, trip.card_fingerprint) == {}
    await till.enter()
    await till.process.prove()


async def test_a_card_owes_what_all_its_trips_left(till: Till):
    for _ in range(3):
        trip = await debtor(till, 2100)
    assert await till.debts.owed(till.merchant_id, trip.card_fingerprint) == {"USD": 300}


async def test_an_account_is_closed_once_by_whoever_comes_first(till: Till, two: Process):
    """Ten at two processes, each with another price: one debt."""
    trip = await till.enter()
    await till.store.capture(trip, 2000)
    found, beside = await till.store.find(trip), debts_of(two, two.engine.notice)
    await asyncio.gather(*(
        one.incurred(found, 6410 + place, 2000, "search", "declined", "test") for place in range(5) for one in (till.debts, beside)))
    await till.work()
    incurred = (await till.told(trip))[0]
    assert 4410 <= incurred <= 4414 and await till.ledger() == {"incurred": -incurred, "owed": incurred}
    assert await till.events() == ["debt.incurred"]
    await till.process.prove()


async def test_the_books_say_what_was_captured(till: Till):
    """Whoever says otherwise is noted with the booking."""
    trip = await till.enter()
    await till.store.capture(trip, 2000)
    await till.debts.incurred(await till.store.find(trip), 6410, 1999, "search", "declined", "test")
    assert await till.told(trip) == (4410, 0, 0, 4410)
    shown = await till.debts.show(till.merchant_id, trip.payment_id)
    assert [one.note for one in shown.bookings] == ["declined (1999 was said to be captured, 2000 was)"]


# --- the retailer's reports -------------------------------------------------------------------------------------------


async def test_reports_are_cumulative_and_the_latest_counts(till: Till):
    """Paid in part, all of it, and then it was not: an older one that comes late changes nothing."""
    trip = await debtor(till)
    told = []
    for paid, at in ((2000, 1), (4000, 2), (6410, 4), (3000, 3), (5000, 5), (5000, 5)):
        assert await report(till, trip, paid, at=NOW + at * HOUR) is None
        told.append((await till.told(trip))[3])
    assert told == [4410, 2410, 0, 0, 1410, 1410]
    assert await till.ledger() == {"incurred": -4410, "owed": 1410, "recovered": 3000}
    assert await till.events() == ["debt.incurred", "debt.recovered", "debt.recovered", "debt.reopened"]
    await till.process.prove()


@pytest.mark.parametrize(("total", "paid"), [(6410, 6411), (6410, -1), (0, 1)])
async def test_more_than_all_cannot_be_paid(till: Till, total: int, paid: int):
    trip = await debtor(till)
    assert await report(till, trip, paid, total) is TripRefusal.AMOUNT
    assert await till.told(trip) == (4410, 0, 0, 4410)


async def test_a_trip_that_nothing_was_asked_for_has_no_account(till: Till):
    trip = await till.enter(hold=0)
    assert await report(till, trip, 0) is TripRefusal.UNKNOWN


async def test_a_report_before_the_trip_s_end_counts_at_the_gate_at_once(till: Till):
    """And in the books when its payment has ended: here, given back at the end of its life."""
    trip = await till.enter()
    await report(till, trip, 0)
    assert await till.debts.owed(till.merchant_id, trip.card_fingerprint) == {"USD": 6410}
    assert await till.ledger() == {}
    await till.process.prove()
    await till.store.cancel(trip)
    assert await till.waiting() == ["debt"]
    assert await till.debts.look([till.merchant_id]) == 1
    await till.work()
    assert await till.ledger() == {"incurred": -6410, "owed": 6410}
    assert await till.waiting() == []
    await till.process.prove()


async def test_a_reported_trip_that_nobody_charges_is_owed_when_its_hold_has_lapsed(till: Till):
    """The job comes back at the trip's end, and once more should the hold be given back a moment later."""
    trip = await till.enter()
    await report(till, trip, 0)
    till.process.now.now = trip.expires_at
    assert await till.work() == 1 and await till.ledger() == {}
    assert [minutes(row["due_at"] - trip.expires_at) for row in await till.process.fetch("SELECT due_at FROM jobs WHERE queue = 'debt'")] == [46 * 60]
    await till.process.engine.execute(await expiry_of(till, trip))
    assert await till.debts.look([till.merchant_id]) == 1
    assert await till.ledger() == {"incurred": -6410, "owed": 6410}
    await till.process.prove()


def minutes(length: timedelta) -> float:
    return length.total_seconds() / 60


async def expiry_of(till: Till, trip: Trip) -> Intent:
    """What the sweep asks when a hold is past its instant."""
    found = await till.store.find(trip)
    assert found.view is not None
    command = Command(Kind.VOID, None, "USD", till.process.new_id(), reason=VoidReason.EXPIRED)
    return Intent(
        till.merchant_id, till.store.shop.identifier, trip.payment_id, command, "jwo", "sweep", "job", b"expiry", None, None, processor="scripted",
        original=found.view.original)


async def test_a_report_while_the_capture_is_on_its_way_does_not_count_it_twice(till: Till):
    """The retailer was told that it is captured; nobody knows yet."""
    trip = await till.enter()
    till.process.processor.say(Unknown(Silence.NO_ANSWER))
    assert await till.store.capture(trip, 2000) is None
    await report(till, trip, 2000)
    assert await till.debts.owed(till.merchant_id, trip.card_fingerprint) == {"USD": 4410}
    await till.process.engine.resolve(till.merchant_id, trip.payment_id)
    await till.debts.look([till.merchant_id])
    assert await till.told(trip) == (4410, 0, 0, 4410)
    await till.process.prove()


async def test_a_retailer_s_own_way_needs_no_more_than_a_report(till: Till):
    """He captured what stood and says so: the rest is owed."""
    trip = await till.enter()
    await till.store.capture(trip, 1840)
    await report(till, trip, 1840)
    row = await till.debts.find(till.merchant_id, trip.payment_id)
    assert await till.told(trip) == (4570, 0, 0, 4570) and (row.strategy, row.reason) == ("retailer", "reported")
    await till.process.prove()


async def test_another_price_corrects_the_debt(till: Till):
    """Higher, lower, and lower than what was captured."""
    trip = await debtor(till)
    owed = []
    for hour, total in enumerate((7000, 3000, 1000)):
        await report(till, trip, 0, total, at=NOW + hour * HOUR)
        owed.append((await till.told(trip))[3])
        await till.process.prove()
    assert owed == [5000, 1000, 0]
    assert await till.events() == ["debt.incurred", "debt.incurred", "debt.lowered", "debt.lowered"]


# --- links, clearing, mercy -------------------------------------------------------------------------------------------


async def test_a_link_recovers_a_debt(till: Till):
    """Made once however often it is asked for; paid, the debt is."""
    trip = await debtor(till)
    link, again = [await till.debts.link(till.store.shop.account, trip.payment_id, "Mona") for _ in range(2)]
    assert isinstance(link, links.Link) and again == link
    assert (link.terms.minor, link.terms.currency, link.created_by) == (4410, "USD", "person:Mona")
    await pay(till, link)
    assert await till.told(trip) == (4410, 4410, 0, 0)
    assert await till.ledger() == {"incurred": -4410, "recovered": 4410}
    assert await till.debts.link(till.store.shop.account, trip.payment_id, "Mona") is Refusal.NOTHING_OWED
    assert await till.debts.look([till.merchant_id]) == 0
    await till.process.prove()


async def test_our_link_and_the_report_never_both_count(till: Till):
    """Whichever comes first, and a report that goes down takes nothing from what we hold."""
    trip = await debtor(till)
    await pay(till, await till.debts.link(till.store.shop.account, trip.payment_id, "Mona"))
    for paid in (6410, 2000, 0):
        await report(till, trip, paid)
        assert await till.told(trip) == (4410, 4410, 0, 0)
    other = await debtor(till)
    link = await till.debts.link(till.store.shop.account, other.payment_id, "Mona")
    await report(till, other, 6410)
    assert await till.told(other) == (4410, 4410, 0, 0)
    shown = await till.debts.show(till.merchant_id, other.payment_id)
    assert [one.state for one in shown.links] == [links.State.CANCELLED] and link.link_id == shown.links[0].link_id
    await till.process.prove()


async def test_a_link_over_more_than_is_owed_is_taken_back(till: Till):
    """Part was paid meanwhile; a new one is over the rest."""
    trip = await debtor(till)
    first = await till.debts.link(till.store.shop.account, trip.payment_id, "Mona")
    await report(till, trip, 5000)
    second = await till.debts.link(till.store.shop.account, trip.payment_id, "Mona")
    shown = await till.debts.show(till.merchant_id, trip.payment_id)
    assert [(one.link_id, one.state, one.terms.minor) for one in shown.links] == [
        (first.link_id, links.State.CANCELLED, 4410), (second.link_id, links.State.OPEN, 1410)]
    await pay(till, second)
    assert await till.told(trip) == (4410, 3000, 0, 1410), "the link brought 14.10, of which the retailer may know or not: the higher counts"
    await report(till, trip, 6410)
    assert await till.told(trip) == (4410, 4410, 0, 0)
    await till.process.prove()


async def test_what_clearing_rejects_is_owed(till: Till):
    """As if it had never been captured; a later capture pays for it."""
    trip = await debtor(till)
    await till.reject(trip)
    proof = await prove(till.process.pool, chain_key=till.process.chain_key, full=True)
    assert proof.ok and [one["what"] for book in proof.books for one in book.exceptions] == ["not_owed_yet"]
    await till.debts.recount(till.merchant_id, trip.payment_id)
    await till.work()
    assert await till.told(trip) == (6410, 0, 0, 6410)
    for _ in range(2):
        await till.debts.recount(till.merchant_id, trip.payment_id)
    assert await till.told(trip) == (6410, 0, 0, 6410)
    await report(till, trip, 6410)
    assert await till.ledger() == {"incurred": -6410, "recovered": 6410}


async def test_a_later_capture_pays_for_what_clearing_rejected(till: Till):
    """What stands without a hold is captured again, at another door; only that much is recovered."""
    trip = await debtor(till)
    await till.reject(trip)
    await till.debts.recount(till.merchant_id, trip.payment_id)
    found = await till.store.find(trip)
    result = await till.store.trips._execute(found, Command(Kind.CAPTURE, 1500, "USD", till.process.new_id()), "test", b"again", None)
    assert isinstance(result.outcome, Approved)
    assert await till.debts.look([till.merchant_id]) == 1
    await till.work()
    assert await till.told(trip) == (6410, 1500, 0, 4910)
    assert await till.debts.look([till.merchant_id]) == 0
    await till.process.prove()


async def test_a_named_person_forgives(till: Till):
    """A part, then the rest; more than is owed cannot be."""
    trip = await debtor(till)
    assert await till.debts.forgive(till.merchant_id, trip.payment_id, 4411, "Mona") is Refusal.TOO_MUCH
    assert await till.debts.forgive(till.merchant_id, trip.payment_id + 1, 1, "Mona") is None
    for minor in (410, None):
        await till.debts.forgive(till.merchant_id, trip.payment_id, minor, "Mona", "broken scale")
    assert await till.told(trip) == (4410, 0, 4410, 0)
    assert await till.debts.forgive(till.merchant_id, trip.payment_id, None, "Mona") is Refusal.NOTHING_OWED
    shown = await till.debts.show(till.merchant_id, trip.payment_id)
    assert [(one.actor, one.note) for one in shown.bookings[1:]] == [("person:Mona", "broken scale")] * 2
    assert await till.ledger() == {"incurred": -4410, "forgiven": 4410}
    await till.process.prove()


async def test_two_who_forgive_at_once_give_up_no_more_than_is_owed(till: Till, two: Process):
    trip = await debtor(till)
    beside = debts_of(two, two.engine.notice)
    said = await asyncio.gather(*(
        one.forgive(till.merchant_id, trip.payment_id, 2000, "Mona") for _ in range(3) for one in (till.debts, beside)))
    assert said.count(Refusal.TOO_MUCH) == 4
    assert await till.told(trip) == (4410, 0, 4000, 410)
    await till.process.prove()


# --- what breaks ------------------------------------------------------------------------------------------------------


async def test_what_could_not_be_booked_is_booked_by_the_job(till: Till):
    """The register says it at once; the ledger follows, once."""
    away = True

    async def book(merchant_id: int, payment_id: int, processor: str, notice: Notice) -> Any:
        if away:
            raise CommitFailed("the test says so")
        return await till.process.engine.notice(merchant_id, payment_id, processor, notice)

    till.debts._book = book
    trip = await debtor(till)
    assert await till.told(trip) == (4410, 0, 0, 4410) and await till.ledger() == {}
    await till.process.prove()
    away = False
    till.process.now.now += HOUR
    await till.work()
    assert await till.ledger() == {"incurred": -4410, "owed": 4410}
    assert await till.waiting() == []
    await till.process.prove()


async def test_a_service_that_only_keeps_leaves_the_booking_to_the_job(till: Till):
    kept = till.debts._book
    till.debts._book = None
    trip = await till.enter()
    await till.store.capture(trip, 2000)
    await till.debts.incurred(await till.store.find(trip), 6410, 2000, "search", "declined", "test")
    assert await till.ledger() == {}
    till.debts._book = kept
    await till.work()
    assert await till.ledger() == {"incurred": -4410, "owed": 4410}


@pytest.mark.parametrize(("change", "problem"), [
    ("UPDATE debts SET owed = 4409, incurred = 4409, total = 6409", "other transfers than the account says"),
    ("DELETE FROM debts", "a debt without an account"),
    ("UPDATE debts SET is_closed = false", "a debt of an account that is open"),
    ("UPDATE debts SET captured = 2001, total = 6411", "captured less than the account was closed with"),
    ("DELETE FROM transfers WHERE kind = 60", "other transfers than the account says"),
    ("DELETE FROM debt_bookings", None),
    ("INSERT INTO transfers SELECT merchant_id, payment_id, operation_id, leg + 1, 63, 5000, currency, value_date, batch_id FROM transfers "
     "WHERE kind = 60", "other transfers than the account says"),
])
async def test_the_proof_finds_what_was_changed(till: Till, change: str, problem: str | None):
    """P11: the price is captured or owed, and the register agrees with the ledger."""
    await debtor(till)
    await till.process.pool.execute(change)
    proof = await prove(till.process.pool, chain_key=till.process.chain_key, full=True)
    found = [one["problem"] for book in proof.books for one in book.checks["P11"].examples]
    assert found == ([problem] if problem else [])


async def test_the_proof_of_a_past_instant_looks_at_the_ledger_alone(till: Till):
    await debtor(till)
    at = await till.process.value("SELECT max(committed_at) FROM batches")
    await till.process.pool.execute("UPDATE debts SET is_closed = false")
    proof = await prove(till.process.pool, chain_key=till.process.chain_key, at=at)
    assert all(book.checks["P11"].ok and book.checks["P11"].note for book in proof.books)
    await till.process.pool.execute(
        "INSERT INTO transfers SELECT merchant_id, payment_id, operation_id, leg + 1, 63, 5000, currency, value_date, batch_id FROM transfers "
        "WHERE kind = 60")
    proof = await prove(till.process.pool, chain_key=till.process.chain_key, at=at)
    assert [book.checks["P11"].examples[0]["owed"] for book in proof.books] == [-590]



# --- who remembers ----------------------------------------------------------------------------------------------------


async def test_a_card_is_kept_as_long_as_it_owes(till: Till):
    """Else its holder would come again as somebody new."""
    trip, policy = await debtor(till), Policy(100, 200, 10, 7)
    till.process.now.now += timedelta(days=400)
    await retention.run(till.process.pool, policy, till.process.now())
    assert await till.process.value("SELECT erased_at FROM cards") is None
    await till.debts.forgive(till.merchant_id, trip.payment_id, None, "Mona")
    till.process.now.now += timedelta(days=400)
    await retention.run(till.process.pool, policy, till.process.now())
    assert await till.process.value("SELECT erased_at FROM cards") is not None


async def test_the_payment_s_story_tells_of_the_debt(till: Till):
    trip = await debtor(till)
    story = await explain(till.process.pool, str(trip.payment_id), keys=lambda name: [])
    assert any("Of what left the store: debt incurred, 44.10 USD" in sentence for sentence in story.sentences)
