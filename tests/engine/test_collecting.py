"""Carts that the service charges by itself: strategies against an issuer with a limit, kills in between, doubts, and the trip's end."""
from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfence.core.commands import Kind
from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from ringfence.core.trip import State, TripRefusal
from ringfence.engine import trips
from ringfence.engine.collecting import Collected
from ringfence.storage import debts as rows
from tests.engine.composition import Process, Shop
from tests.engine.owing import Till, claim
from tests.engine.stores import Store

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


@pytest.fixture
async def till(here: Shop) -> Till:
    return Till(await Store(here).built())


async def setting(till: Till, **changed: str) -> None:
    await till.process.directory.change(till.store.shop.identifier, changed)


@pytest.mark.parametrize(("strategy", "total", "asked", "captured", "reason"), [
    ("search", 6410, [2000, 6410, 4200, 5300, 4700, 4400, 4500], 4400, "limit_found"),
    ("take_standing", 6410, [2000, 6410], 2000, "declined"),
    ("write_off", 6410, [2000, 6410], 0, "declined"),
    ("search", 4450, [2000, 4450], 4450, ""),
    ("take_standing", 1500, [2000], 1500, ""),
    ("search", 0, [2000], 0, ""),
])
async def test_a_cart_is_charged_as_far_as_the_issuer_lets_it(till: Till, strategy: str, total: int, asked: list[int], captured: int, reason: str):
    """Up to 44.50; what is left is owed, and nothing stays held."""
    await setting(till, trip_strategy=strategy)
    issuer = till.issuer(4450)
    trip = await till.enter()
    assert await till.collect(trip, total) == Collected("asking", total)
    assert issuer.asked == asked
    found = await till.store.find(trip)
    assert (found.payment.captured, found.standing) == (captured, 0)
    assert await till.told(trip) == (total - captured, 0, 0, total - captured)
    assert await till.collecting.find(found) == Collected("done", total, captured, reason)
    row = await till.debts.find(till.merchant_id, found.payment_id)
    assert (row.strategy, row.reason, row.account.total) == (strategy, reason, total)
    debt = total - captured
    assert await till.ledger() == ({"incurred": -debt, "owed": debt} if debt else {})
    assert await till.events() == (["debt.incurred"] if debt else [])
    assert await till.waiting() == []
    await till.process.prove()


async def test_asked_again_it_is_how_far_it_has_come(till: Till):
    """Nobody is asked twice; another price is refused, and so is another currency."""
    issuer = till.issuer(9999)
    trip = await till.enter()
    await till.collect(trip, 3000)
    assert await till.collect(trip, 3000) == Collected("done", 3000, 3000)
    assert await till.collect(trip, 3001) is TripRefusal.CONTENT
    assert await till.collecting.collect(trip, 3000, "EUR", "test") is TripRefusal.CURRENCY
    assert issuer.asked == [2000, 3000]


async def test_each_store_may_have_its_own_strategy(till: Till):
    await setting(till, trip_strategy="write_off", trip_store_strategies="STORE-1:take_standing,*:search")
    till.issuer(2000)
    trip = await till.enter()
    await till.collect(trip, 6410)
    assert await till.told(trip) == (4410, 0, 0, 4410)


async def test_a_trip_that_was_ended_by_the_retailer_is_not_charged(till: Till):
    trip = await till.enter()
    await till.store.cancel(trip)
    assert await till.collect(trip, 100) is TripRefusal.STATE


async def test_a_hard_decline_ends_the_search(till: Till):
    """The issuer wants not to be asked again; what stands is captured."""
    await setting(till, trip_strategy="search")
    issuer = till.issuer(2000, "43")
    trip = await till.enter()
    await till.collect(trip, 6410)
    assert issuer.asked == [2000, 6410] and await till.told(trip) == (4410, 0, 0, 4410)
    assert (await till.collecting.find(trip)).reason == "hard_decline"


async def test_a_partly_approved_increment_stands(till: Till):
    """The search goes on above it, and it is captured."""
    await setting(till, trip_strategy="search", trip_search_probes="2")
    trip = await till.enter()
    till.process.processor.say(Approved(1000, "742138", "n", "r", "10"), Declined("51"))
    await till.collect(trip, 6410)
    assert [one.minor for one in till.process.processor.asked if one.kind is Kind.INCREMENT] == [4410, 1700]
    assert await till.told(trip) == (3410, 0, 0, 3410)
    await till.process.prove()


async def test_near_the_trip_s_end_only_the_price_is_asked_for(till: Till):
    await setting(till, trip_strategy="search")
    issuer = till.issuer(4450)
    trip = await till.enter()
    till.process.now.now = trip.expires_at - timedelta(minutes=29)
    await till.collect(trip, 6410)
    assert issuer.asked == [2000, 6410]
    assert (await till.collecting.find(trip)).reason == "no_time"


async def test_a_trip_that_is_over_is_a_debt(till: Till):
    """Asked in time, and nobody was there to do it."""
    trip = await till.enter()
    assert await till.collecting.collect(trip, 1500, "USD", "test") == Collected("asking", 1500)
    till.process.now.now = trip.expires_at
    await till.work()
    assert await till.told(trip) == (1500, 0, 0, 1500)
    assert (await till.collecting.find(trip)).reason == "expired"
    assert await till.collecting.collect(await till.store.find(await till.enter()), 100, "USD", "t") == Collected("asking", 100)
    await till.process.prove()


async def test_a_capture_that_the_processor_declines_is_a_debt(till: Till):
    """The hold is given back, and all is owed."""
    trip = await till.enter()
    till.process.processor.say(Declined("57"))
    await till.collect(trip, 1500)
    found = await till.store.find(trip)
    assert found.state is State.CANCELLED and await till.told(trip) == (1500, 0, 0, 1500)
    assert (await till.collecting.find(trip)).reason == "not_captured"
    await till.process.prove()


async def test_a_merchant_may_want_an_adjust_before_a_capture(till: Till):
    """What stands is confirmed first, of which nobody is asked."""
    await setting(till, trip_capture_unadjusted="off", trip_strategy="take_standing")
    for total, captured in ((1500, 1500), (6410, 2000)):
        trip = await till.enter()
        till.issuer(2000)
        await till.collect(trip, total)
        assert (await till.store.find(trip)).payment.captured == captured


async def test_silence_is_waited_for(till: Till, monkeypatch: pytest.MonkeyPatch):
    """While nobody knows, no other amount is asked for; then the search goes on with what is known."""
    monkeypatch.setattr(trips, "PATIENCE_SECONDS", 0.1)
    await setting(till, trip_strategy="take_standing")
    trip = await till.enter()
    till.process.processor.say(Unknown(Silence.NO_ANSWER))
    till.process.processor.acknowledges = False
    await till.collect(trip, 6410)
    assert (await till.store.find(trip)).state is State.ADJUST_PENDING
    assert await till.waiting() == ["collect"]
    till.process.processor.acknowledges = True
    assert await till.process.engine.resolve(till.merchant_id, trip.payment_id)
    till.process.now.now += HOUR
    await till.work()
    assert await till.told(trip) == (4410, 0, 0, 4410)
    assert await till.waiting() == []
    await till.process.prove()


async def test_a_capture_that_nobody_knows_the_end_of_is_waited_for(till: Till):
    """It is repeated until it is acknowledged; the account stays open until then."""
    trip = await till.enter()
    till.process.processor.say(Unknown(Silence.NO_ANSWER))
    await till.collect(trip, 1500)
    assert await till.debts.find(till.merchant_id, trip.payment_id) is None
    assert await till.waiting() == ["collect"]
    await till.process.engine.resolve(till.merchant_id, trip.payment_id)
    till.process.now.now += HOUR
    await till.work()
    assert await till.told(trip) == (0, 0, 0, 0)


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("place", range(12))
async def test_killed_at_any_step_another_process_goes_on(till: Till, two: Process, monkeypatch: pytest.MonkeyPatch, place: int):
    """Nobody is asked twice for the same, one capture, one debt."""
    await setting(till, trip_strategy="search")
    issuer = till.issuer(4450)
    trip = await till.enter()
    await till.collecting.collect(trip, 6410, "USD", "test")
    left = place

    def deadly(real: Any) -> Any:
        async def dies(*given: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == -1:
                raise Killed
            return await real(*given, **named)
        return dies

    with monkeypatch.context() as patch:
        patch.setattr(rows, "save_collection", deadly(rows.save_collection))
        patch.setattr(rows, "note_booked", deadly(rows.note_booked))
        patch.setattr(rows, "save", deadly(rows.save))
        job = await claim(till.process, "collect")
        with suppress(Killed):
            await till.collecting.run(job)
    await two.directory.load()
    await two.pool.execute("UPDATE jobs SET leased_until = '-infinity'")
    shop = till.store.shop.at(two)
    other = Till(Store(shop, two))
    await other.work()
    assert issuer.asked == [2000, 6410, 4200, 5300, 4700, 4400, 4500]
    assert [one.kind for one in two.processor.asked].count(Kind.CAPTURE) == 1
    assert await other.told(trip) == (2010, 0, 0, 2010)
    assert await other.ledger() == {"incurred": -2010, "owed": 2010}
    assert await other.waiting() == []
    await two.prove()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(2000, 9000), st.integers(1, 9000), st.sampled_from(["write_off", "take_standing", "search"]))
async def test_whatever_the_limit_price_is_captured_and_owed(till: Till, limit: int, total: int, strategy: str):
    """P11 holds for every cart, and every search ends within one unit of the limit."""
    till.process.processor.forget()
    await setting(till, trip_strategy=strategy)
    till.issuer(limit)
    trip = await till.enter()
    await till.collect(trip, total)
    debt = (await till.told(trip))[0]
    captured = (await till.store.find(trip)).payment.captured
    assert captured + debt == total
    if strategy == "search" and debt:
        assert min(limit, total) - captured <= 100
    await till.debts.forgive(till.merchant_id, trip.payment_id, None, "the test")
    await till.process.prove()
