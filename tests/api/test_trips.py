"""Stores and trips for operators: what the admin API takes, shows and refuses."""
from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from ringfence.api import trips
from ringfence.api.admin import guard
from ringfence.background.trips import Watch
from ringfence.core.outcomes import Declined
from ringfence.engine.seeding import STORE, TRIPS, seed_trips
from ringfence.engine.stores import Stores
from ringfence.engine.trips import Trip
from ringfence.visiting import card_named
from tests.api.asking import TOKEN, Operator
from tests.engine.composition import Process, process, shop
from tests.engine.stores import Store

pytestmark = pytest.mark.anyio
CARD = "4000009900000004"


class Desk:
    """A shop's stores in front of an operator; ``alone``: without a service behind it."""

    def __init__(self, store: Store) -> None:
        self.store, one = store, store.process
        self.left: list[str] = []
        stores = Stores(one.pool, one.reading, one.now)
        self.operator = Operator(trips.routes(guard(TOKEN), trips.Services(
            stores, one.directory, store.gates, store.trips, card_named, self._leave)))
        self.alone = Operator(trips.routes(guard(TOKEN), trips.Services(stores, one.directory)))

    async def _leave(self, trip: Trip, items: Any) -> None:
        self.left.append(trip.name)

    async def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        return await self.operator.ask(f"/admin/jwo/{path}", body)

    async def open(self, **more: Any) -> tuple[int, Any]:
        return await self.ask("trips", {"store": "STORE-1", "card": CARD, "expiry": "3912", **more})


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database, recovers=True) as running:
        yield running


@pytest.fixture
async def desk(one: Process) -> Desk:
    return Desk(await Store(await shop(one)).built())


async def test_a_store_is_made_changed_and_listed(desk: Desk):
    status, made = await desk.ask("stores", {"store": "S-2", "currency": "KWD", "hold": 7500, "terminals": ["GATE0002"]})
    assert (status, made["title"], made["least"]) == (201, "S-2", 0)
    status, changed = await desk.ask("stores", {"store": "S-2", "least": 500, "address": ["1 Main Street"]})
    assert (status, changed) == (200, made | {"least": 500, "address": ["1 Main Street"]})
    assert [row["store"] for row in (await desk.ask("stores"))[1]["stores"]] == ["S-2", "STORE-1"]


@pytest.mark.parametrize(("body", "field"), [
    ({}, "store"), ({"store": "a b", "currency": "USD"}, "store"), ({"store": "A"}, "currency"), ({"store": "A", "currency": "XXX"}, "currency"),
    ({"store": "A", "currency": "USD", "hold": -1}, "hold"), ({"store": "A", "currency": "USD", "hold": True}, "hold"),
    ({"store": "A", "currency": "USD", "hold": 1.5}, "hold"), ({"store": "A", "currency": "USD", "hold": 10, "least": 11}, "least"),
    ({"store": "A", "currency": "USD", "address": "x"}, "address"), ({"store": "A", "currency": "USD", "terminals": ["GATE00001"]}, "terminals"),
    ({"store": "A", "currency": "USD", "merchant": "nobody"}, "merchant"), ({"store": "A", "currency": "USD", "more": 1}, "more"),
])
async def test_a_store_that_cannot_be_is_refused_by_its_field(desk: Desk, body: dict, field: str):
    status, answer = await desk.ask("stores", body)
    assert (status, answer["field"]) == (400, field)


async def test_a_gate_opens_and_the_trip_is_shown(desk: Desk, one: Process):
    status, opened = await desk.open(trip="T-1", group="family", people=3)
    assert (status, opened["opened"], opened["state"], opened["preauth"], opened["people"]) == (201, True, "held", 2000, 3)
    assert opened["card"] == {"brand": "VISA", "tail": "0004", "entry_mode": "07", "is_wallet": False}
    assert (await desk.ask("trips/T-1"))[1] == {name: value for name, value in opened.items() if name != "opened"}
    await desk.store.trips.adjust((await desk.store.trips.find(desk.store.merchant_id, "STORE-1", "T-1")), 3000, "USD", "t")
    shown = (await desk.ask("trips"))[1]["trips"]
    assert [(row["trip"], row["state"], row["authorized"], row["adjusted"]) for row in shown] == [("T-1", "adjusted", 3000, 3000)]
    assert CARD not in str(shown)


async def test_a_gate_that_stays_shut_says_why(desk: Desk, one: Process):
    one.processor.say(Declined("51"))
    status, answer = await desk.open(trip="T-1")
    assert (status, answer) == (200, {"opened": False, "trip": "T-1", "why": "declined", "code": "51"})
    row, = (await desk.ask("trips"))[1]["trips"]
    assert (row["state"], row["refused"]) == ("refused", "declined")


@pytest.mark.parametrize(("more", "status", "field"), [
    ({"store": "NONE"}, 404, "store"), ({"card": "12"}, 400, "card"), ({"card": 4}, 400, "card"), ({"expiry": "3913"}, 400, "expiry"),
    ({"presented": "thrown"}, 400, "presented"), ({"people": 0}, 400, "people"), ({"people": True}, 400, "people"),
    ({"terminal": "x"}, 400, "terminal"), ({"hold": -1}, 400, "hold"), ({"condition": 0}, 400, "condition"), ({"trip": "a/b"}, 400, "trip"),
    ({"trip": "x" * 256}, 400, "trip"), ({"never_expires": 1}, 400, "never_expires"), ({"unheard": 1}, 400, "unheard"),
])
async def test_who_cannot_come_is_refused_by_the_field(desk: Desk, one: Process, more: dict, status: int, field: str):
    answered, answer = await desk.open(**more)
    assert (answered, answer["field"]) == (status, field)
    assert one.processor.asked == []
    assert CARD not in str(answer)


async def test_a_name_is_taken_once(desk: Desk):
    assert (await desk.open(trip="T-1"))[0] == 201
    assert (await desk.open(trip="T-1"))[0] == 409


async def test_an_entry_without_a_card(desk: Desk):
    status, opened = await desk.ask("trips", {"store": "STORE-1", "trip": "APP"})
    assert (status, opened["payment"]) == (201, None)
    assert (await desk.ask("trips/APP"))[1]["card"] is None


async def test_names_are_made_where_nobody_gives_one(desk: Desk):
    _, opened = await desk.open()
    assert [len(part) for part in opened["trip"].split("-")] == [8, 4, 4, 4, 12]


async def test_the_shopper_leaves_once(desk: Desk, one: Process):
    await desk.open(trip="T-1")
    _, left = await desk.ask("trips/T-1/end", {})
    one.now.now += timedelta(minutes=5)
    assert (await desk.ask("trips/T-1/end", {}))[1]["ended_at"] == left["ended_at"] is not None
    assert desk.left == ["T-1", "T-1"], "whoever hears of it twice must know, as after an answer that was lost"


async def test_an_operator_gives_a_hold_back(desk: Desk):
    await desk.open(trip="T-1")
    assert (await desk.ask("trips/T-1/cancel", {}))[1]["state"] == "cancelled"
    await desk.open(trip="T-2")
    await desk.store.trips.capture(await desk.store.trips.find(desk.store.merchant_id, "STORE-1", "T-2"), 100, "USD", "t")
    assert (await desk.ask("trips/T-2/cancel", {}))[0] == 409


async def test_what_is_not_there_is_not_found(desk: Desk):
    await desk.open(trip="T-1")
    for path in ("trips/T-2", "trips/T-1?store=OTHER", "events?trip=T-2"):
        assert (await desk.ask(path))[0] == 404, path
    assert (await desk.ask("trips/T-2/end", {}))[0] == 404
    assert (await desk.ask("trips?after=x"))[0] == 400
    assert (await desk.ask("trips?since=yesterday"))[0] == 400
    assert (await desk.ask("trips?since=2100-01-01"))[1] == {"trips": []}


async def test_alarms_are_the_feed_of_the_door(desk: Desk, one: Process):
    await desk.open(trip="T-1")
    one.now.now += timedelta(hours=24)
    await Watch(one.pool, desk.store.trips, one.directory, one.now).sweep()
    event, = (await desk.ask("events?trip=T-1"))[1]["events"]
    assert (event["type"], event["data"]["shoppingTripId"], event["data"]["hours"]) == ("trip.uncharged", "T-1", 24.0)
    assert (await desk.ask(f"events?since={event['occurred_at'].replace('+', '%2B')}"))[1] == {"events": []}


async def test_sample_trips_begin_anew(desk: Desk, one: Process):
    """The merchant of this test stands for a sandbox's own."""
    merchant = desk.store.shop.account
    await seed_trips(one.pool, [merchant], one.now())
    own = [row["trip"] for row in (await desk.ask("trips"))[1]["trips"]]
    assert own == ([one.name for one in TRIPS] if merchant.identifier == "RingfenceOne" else [])
    _, opened = await desk.open(trip="T-1", never_expires=True)
    assert (await desk.ask("trips/reset", {"trip": "T-2"}))[0] == 404
    _, answer = await desk.ask("trips/reset", {"trip": "T-1"})
    again, = answer["trips"]
    assert (again["state"], again["number"], again["expires_at"]) == ("held", opened["number"], None)
    assert again["payment"] != opened["payment"]
    assert STORE not in [row["store"] for row in answer["trips"]]
    await one.prove()


async def test_without_a_service_nobody_enters_and_all_can_be_read(desk: Desk):
    await desk.open(trip="T-1")
    assert (await desk.alone.ask("/admin/jwo/trips", {"store": "STORE-1"}))[0] == 409
    assert (await desk.alone.ask("/admin/jwo/trips/T-1/cancel", {}))[0] == 409
    assert (await desk.alone.ask("/admin/jwo/trips/T-1"))[1]["state"] == "held"
    assert (await desk.alone.ask("/admin/jwo/trips/T-1", token="wrong"))[0] == 401
