"""Trips that many ask about at the same time are read in one go, and everybody is told of his own."""
from __future__ import annotations

import asyncio

import asyncpg
import pytest

from ringfence.core.outcomes import Declined
from ringfence.core.trip import State
from ringfence.engine.trips import TOGETHER, Trip
from ringfence.storage.database import DatabaseUnavailable
from tests.engine.composition import Process, Shop
from tests.engine.stores import Store

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(here: Shop) -> Store:
    return await Store(here).built()


async def test_everybody_is_told_of_his_own_trip(store: Store, one: Process) -> None:
    """Held, adjusted, captured and cancelled ones, one that the gate refused, one of another store, one asked about twice, and none at all."""
    await Store(store.shop).built(store="STORE-2")
    held, adjusted, captured, cancelled = [await store.enter() for _ in range(4)]
    await store.adjust(adjusted, 6410)
    assert await store.capture(captured, 1500) is None
    assert await store.cancel(cancelled) is None
    one.processor.say(Declined("51"))
    await store.come(name="refused")
    asked = [("STORE-1", name) for name in (held.name, adjusted.name, captured.name, cancelled.name, "refused", "nobody", held.name)]
    found = await asyncio.gather(*(store.trips.find(store.merchant_id, at, name) for at, name in [*asked, ("STORE-2", held.name)]))
    assert [trip and (trip.name, trip.state, trip.standing, trip.captured) for trip in found] == [
        (held.name, State.HELD, 2000, None), (adjusted.name, State.ADJUSTED, 6410, None), (captured.name, State.CAPTURED, 0, 1500),
        (cancelled.name, State.CANCELLED, 0, None), None, None, (held.name, State.HELD, 2000, None), None]
    assert found == [await alone(store, name, at) for at, name in [*asked, ("STORE-2", held.name)]]


async def alone(store: Store, name: str, at: str) -> Trip | None:
    return await store.trips.find(store.merchant_id, at, name)


async def test_more_than_are_read_in_one_go(store: Store) -> None:
    """Each of them is answered, in whichever batch it was."""
    trip = await store.enter()
    found = await asyncio.gather(*(store.trips.find(store.merchant_id, "STORE-1", trip.name) for _ in range(2 * TOGETHER + 1)))
    assert {one and one.number for one in found} == {trip.number}


async def test_without_a_database_nobody_is_told_that_there_is_no_trip(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks hears that the database is away; the next one is answered again."""
    trip = await store.enter()
    with monkeypatch.context() as broken:
        async def refused(*given: object, **named: object) -> None:
            raise asyncpg.CannotConnectNowError("the database system is starting up")

        broken.setattr("ringfence.storage.trips.together", refused)
        said = await asyncio.gather(
            *(store.trips.find(store.merchant_id, "STORE-1", trip.name) for _ in range(3)), return_exceptions=True)
    assert [isinstance(one, DatabaseUnavailable) for one in said] == [True] * 3
    assert await store.find(trip) is not None
