"""Trips later: alarms as their ends come near, captures that clearing refuses, owners that die, connections that break."""
from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import msgspec
import pytest

from ringfence.background import abandoned
from ringfence.background.trips import EXPIRED, REJECTED, UNCHARGED, Watch
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved
from ringfence.core.trip import Said, State, TripRefusal
from ringfence.engine import trips as under_test
from ringfence.engine.trips import Adjusted, Trip
from ringfence.storage import trips as rows
from tests.engine.composition import Process, Shop, process, shop
from tests.engine.recovering import SILENT, able, end_doubts, recovers
from tests.engine.stores import Store

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is waited for; what stays in doubt is said at once by the tests about it."""
    monkeypatch.setattr(under_test, "PATIENCE_SECONDS", 30.0)


@pytest.fixture
async def store(here: Shop) -> Store:
    return await Store(here).built()


@pytest.fixture
def watch(store: Store, one: Process) -> Watch:
    return Watch(one.pool, store.trips, one.directory, one.now)


async def told(store: Store, trip: Trip) -> list[tuple[str, datetime]]:
    return [(event.type, event.at) for event in await rows.happened(
        store.process.pool, store.merchant_id, trip.started_at - HOUR, trip.number, 100)]


# --- alarms -----------------------------------------------------------------------------------------------------------


async def test_an_uncharged_trip_is_told_of_at_24_40_and_45_hours_and_when_it_ends(store: Store, watch: Watch, one: Process) -> None:
    trip = await store.enter()
    for hours, expected in ((23, 0), (24, 1), (39, 1), (40, 2), (45, 3), (46, 4), (100, 4)):
        one.now.now = trip.started_at + hours * HOUR
        await watch.sweep()
        assert len(await told(store, trip)) == expected, hours
    assert await told(store, trip) == [
        (UNCHARGED, trip.started_at + 24 * HOUR), (UNCHARGED, trip.started_at + 40 * HOUR), (UNCHARGED, trip.started_at + 45 * HOUR),
        (EXPIRED, trip.expires_at)]


async def test_an_alarm_says_what_is_at_stake(store: Store, watch: Watch, one: Process) -> None:
    trip = await store.enter()
    await store.adjust(trip, 6410)
    one.now.now += 24 * HOUR
    await watch.sweep()
    event, = await rows.happened(one.pool, store.merchant_id, trip.started_at, 0, 10)
    assert msgspec.json.decode(event.data) | {"startedAt": "", "expiresAt": ""} == {
        "storeId": "STORE-1", "shoppingTripId": trip.name, "startedAt": "", "expiresAt": "", "alarm": 1, "hours": 24.0,
        "authorizedAmount": {"amount": "64.10", "code": "USD"}}


async def test_what_is_captured_or_cancelled_raises_no_alarm(store: Store, watch: Watch, one: Process) -> None:
    captured, cancelled = await store.enter(), await store.enter()
    await store.capture(captured, 100)
    await store.cancel(cancelled)
    one.now.now += 50 * HOUR
    assert await watch.sweep() == 2
    assert await watch.sweep() == 0
    assert await told(store, captured) == await told(store, cancelled) == []


async def test_two_sweeps_at_once_raise_an_alarm_once(store: Store, watch: Watch, one: Process, two: Process) -> None:
    trip = await store.enter()
    one.now.now += 24 * HOUR
    beside = Watch(two.pool, Store(store.shop, two).trips, two.directory, two.now)
    await asyncio.gather(watch.sweep(), beside.sweep())
    await watch.sweep()
    assert len(await told(store, trip)) == 1


# --- clearing ---------------------------------------------------------------------------------------------------------


async def test_a_capture_that_clearing_refuses_is_handed_to_whoever_keeps_debts(store: Store, watch: Watch, one: Process) -> None:
    trip = await store.enter()
    await store.capture(trip, 1500)
    capture = (await store.find(trip)).view.steps[-1].operation_id
    assert await watch.sweep() == 0
    await one.engine.notice(trip.merchant_id, trip.payment_id, "scripted", Notice(Noticed.CAPTURE_REJECTED, "x", 0, capture))
    heard: list[Trip] = []

    async def broken(trip: Trip) -> None:
        raise RuntimeError("the register is away")

    async def unpaid(trip: Trip) -> None:
        heard.append(trip)

    watch.unpaid = broken
    assert await watch.sweep() == 0
    watch.unpaid = unpaid
    assert await watch.sweep() == 1
    assert await watch.sweep() == 0
    assert [(one.name, one.captured, one.payment.captured, one.payment.unsecured) for one in heard] == [(trip.name, 1500, 0, 1500)]
    assert [event for event, _ in await told(store, trip)] == [REJECTED]
    found = await store.find(trip)
    assert found.state is State.CAPTURED
    assert await store.capture(trip, 1500) is None, "it was taken once"
    assert await store.refund(trip, 100) in (TripRefusal.AMOUNT, TripRefusal.STATE)
    await one.prove()


# --- what breaks ------------------------------------------------------------------------------------------------------


async def test_an_adjust_whose_owner_dies_ends_by_recovery(store: Store, one: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "PATIENCE_SECONDS", 0.2)
    trip = await store.enter()
    held = one.processor.hold()
    dying = asyncio.create_task(store.adjust(trip, 3000))
    await held.arrived.wait()
    assert await store.adjust(trip, 3000) == Adjusted(Said.PENDING, 3000)
    assert await store.adjust(trip, 3001) is TripRefusal.STATE
    await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE operation_id <> payment_id")
    await one.value("DELETE FROM sweeps")
    assert await abandoned.sweep(one.pool, one.directory, one.engine) == 1
    monkeypatch.setattr(under_test, "PATIENCE_SECONDS", 30.0)
    assert await store.adjust(trip, 3000) == Adjusted(Said.DECLINED, 2000), "it was undone"
    held.release()
    assert await dying == Adjusted(Said.DECLINED, 2000), "whoever took it over has said so"
    found = await store.find(trip)
    assert (found.standing, found.payment.unknown) == (2000, 0)
    assert await store.adjust(trip, 2900) == Adjusted(Said.APPROVED, 2900)
    await one.prove()


async def test_where_the_issuer_can_be_asked_a_pending_adjust_may_end_approved(store: Store, one: Process) -> None:
    one.processor.capabilities = able(inquiry=True)
    trip = await store.enter()
    one.processor.say(SILENT)
    assert await store.adjust(trip, 3000) == Adjusted(Said.PENDING, 3000)
    one.processor.find(lambda message: Approved(message.minor, "1", "2", "3"))
    assert await store.adjust(trip, 3000) == Adjusted(Said.APPROVED, 3000)
    assert await store.capture(trip, 3000) is None
    await one.prove()


async def test_an_issuer_that_took_a_part_may_say_so_late(store: Store, one: Process) -> None:
    one.processor.capabilities = able(inquiry=True)
    trip = await store.enter()
    one.processor.say(SILENT)
    await store.adjust(trip, 3000)
    one.processor.find(Approved(400, "1", "2", "3", "10"))
    assert await store.adjust(trip, 3000) == Adjusted(Said.DECLINED, 2400)
    await one.prove()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("wire", ["intent_wire", "outcome_wire"])
async def test_a_connection_that_breaks_leaves_an_adjust_that_ends_as_one(store: Store, one: Process, wire: str, when: str) -> None:
    recovers(one)
    trip = await store.enter()
    getattr(one, wire).cut("COMMIT", when)
    said = await store.adjust(trip, 3000)
    assert said in (Adjusted(Said.APPROVED, 3000), TripRefusal.UNAVAILABLE), said
    assert getattr(one, wire).lost == 1
    again = await store.adjust(trip, 3000)
    assert again == Adjusted(Said.APPROVED, 3000)
    increments = [message for message in one.processor.asked if message.kind == "increment"]
    assert len({message.key for message in increments}) == 1
    await one.prove()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_capture_whose_commit_is_lost_is_taken_once(store: Store, one: Process, when: str) -> None:
    trip = await store.enter()
    one.outcome_wire.cut("COMMIT", when)
    assert await store.capture(trip, 1500) in (None, TripRefusal.UNAVAILABLE)
    assert await store.capture(trip, 1500) is None
    await end_doubts(one)
    found = await store.find(trip)
    assert (found.payment.captured, found.payment.voided) == (1500, 500)
    await one.prove()


async def test_another_process_goes_on_with_a_trip(store: Store, one: Process, two: Process) -> None:
    trip, beside = await store.enter(), Store(store.shop, two)
    assert await store.adjust(trip, 3000) == Adjusted(Said.APPROVED, 3000)
    assert await beside.adjust(trip, 3000) == Adjusted(Said.APPROVED, 3000)
    assert await beside.capture(trip, 3000) is None
    assert await store.capture(trip, 3000) is None
    assert sum(message.kind == "capture" for message in one.processor.asked) == 1


async def test_without_a_database_nothing_is_promised(database: str) -> None:
    async with process(database, recovers=True) as one:


        store = await Store(await shop(one)).built()
        trip = await store.find(await store.enter())
        one.intent_wire.away = True
        assert one.intent_wire.current is not None
        one.intent_wire.current.terminate()
        assert await store.trips.adjust(trip, 3000, "USD", "t") is TripRefusal.UNAVAILABLE
        assert await store.trips.capture(trip, 100, "USD", "t") is TripRefusal.UNAVAILABLE
        assert await store.trips.cancel(trip, "t") is TripRefusal.UNAVAILABLE
        one.intent_wire.away = False
        assert await store.adjust(trip, 3000) == Adjusted(Said.APPROVED, 3000)


async def test_who_came_is_forgotten_and_the_receipt_stays(store: Store, one: Process) -> None:
    """Behind the policy's days from the trip's end, and not of a sample trip."""
    trip, sample = await store.enter(shopper="ana", company="family"), await store.enter(never_expires=True)
    await store.capture(trip, 1500)
    by = trip.expires_at - timedelta(seconds=1)
    assert await rows.count_personal(one.pool, store.merchant_id, by) == await rows.erase_personal(one.pool, store.merchant_id, by, 10) == 0
    assert await rows.count_personal(one.pool, store.merchant_id, trip.expires_at) == 1
    assert await rows.erase_personal(one.pool, store.merchant_id, trip.expires_at, 10) == 1
    assert await rows.count_personal(one.pool, store.merchant_id, trip.expires_at) == 0
    found = await store.find(trip)
    assert (found.shopper, found.group, found.read.expiry) == ("", "", "")
    assert (found.read.tail, found.read.application_id, found.captured) == ("0004", "A0000000031010", 1500)
    assert (await store.find(sample)).read.expiry == "3912"
    data = await store.trips.receipt_data(found)
    assert not isinstance(data, TripRefusal) and data.read.cvm_result == "1F0302"
