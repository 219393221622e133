"""Stores: what trips, their debts and the door of retailers are made of, and how a process serves them.

A part of the composition: built by hand, in reading order.
"""
from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from ringfence.api.jwo import checkout, payments
from ringfence.api.jwo.accounts import Accounts
from ringfence.api.jwo.app import StoreApi
from ringfence.api.jwo.door import Request
from ringfence.api.jwo.fields import TRIP_ONLY, Wrong
from ringfence.api.jwo.payments import Service, read
from ringfence.background import orders as order_queue
from ringfence.background.worker import Chore, Queue
from ringfence.config import Config
from ringfence.core.trip import TripRefusal
from ringfence.engine import collecting as carts
from ringfence.engine import debts as accounts
from ringfence.engine.collecting import Collecting
from ringfence.engine.debts import Debts
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.engine.gates import Gates
from ringfence.engine.keys import Keyring
from ringfence.engine.links import Desk as LinkDesk
from ringfence.engine.orders import HANDED_OVER, Orders
from ringfence.engine.rates import Rates
from ringfence.engine.reading import Reading
from ringfence.engine.session_tokens import opener
from ringfence.engine.shoppers import Shoppers
from ringfence.engine.trips import Trip, Trips
from ringfence.engine.vault import Vault
from ringfence.processors.simulator.reader import Reader
from ringfence.storage.jobs import Job
from ringfence.storage.trips import TripRow

if TYPE_CHECKING:
    from ringfence.main import Foundation

ENDPOINTS = {one.path: one for one in (*payments.ENDPOINTS, *checkout.ENDPOINTS)}
"""All that this door serves below ``/v1``."""
SPARED = timedelta(hours=1)
"""So long before its trip's end a Capture or Cancel is answered whatever the rate (business time)."""


class Stores(NamedTuple):
    """Everything about stores that a process has."""

    trips: Trips
    gates: Gates
    debts: Debts
    collecting: Collecting
    shoppers: Shoppers
    orders: Orders
    directory: Directory

    @property
    def behind_the_door(self) -> Service:
        """What the door works with."""
        return Service(self.trips, self.debts, self.shoppers, self.orders)

    async def collect(self, job: Job) -> None:
        """Hand a cart over to whoever collects it."""
        async def taken(trip: Trip, minor: int, currency: str, actor: str) -> str:
            said = await self.collecting.collect(trip, minor, currency, actor)
            return said.value if isinstance(said, TripRefusal) else HANDED_OVER

        await self.orders.settle(job, self.trips.find, taken)

    async def look(self) -> int:
        """What nobody tells of debts."""
        return await self.debts.look([one.merchant_id for one in self.directory.merchants()])

    def chores(self, pause: float) -> list[Chore]:
        """What is looked after again and again."""
        return [Chore("debts", self.look, pause)]

    def queues(self) -> list[Queue]:
        """What is due later."""
        return [order_queue.queue(self.collect), Queue(carts.QUEUE, self.collecting.run), Queue(accounts.QUEUE, self.debts.run)]


def stores_of(
    config: Config, pool: asyncpg.Pool, engine: Engine, reading: Reading, vault: Vault, directory: Directory, keyring: Keyring, links: LinkDesk,
    ends: AsyncExitStack, *, processor: str, new_id: Callable[[], int], now: Callable[[], datetime], nudge: Callable[[str], object],
) -> Stores:
    """The stores of a process.  ``pool`` finds rows by key; ``processor``: that of cards; ``now``: business time."""
    trips = Trips(pool, engine, reading, directory, processor=processor, content_key=keyring.content_key, now=now)
    engine.binding = trips.binding
    debts = Debts(pool, directory, now, book=engine.notice, desk=links, nudge=lambda: nudge(accounts.QUEUE))
    reader = Reader(config.data / "simulator", config.seed)
    ends.push_async_callback(reader.close)
    gates = Gates(
        pool, engine, vault, trips, reader, processor=processor, content_key=keyring.content_key, now=now, owed=debts.owed)
    trips.reopen = reopening(gates, directory)
    return Stores(
        trips, gates, debts, Collecting(pool, trips, debts, directory, now, lambda: nudge(carts.QUEUE)), Shoppers(pool, now),
        Orders(pool, new_id=new_id, now=now, nudge=nudge), directory)


def reopening(gates: Gates, directory: Directory) -> Callable[[TripRow], Awaitable[TripRow]]:
    """How a trip that waits for somebody to ask about it begins anew."""
    async def reopen(row: TripRow) -> TripRow:
        merchant = directory.by_id(row.merchant_id)
        return row if merchant is None else await gates.reopen(merchant, row)

    return reopen


def store_api(base: Foundation) -> StoreApi:
    """The door of a worker."""
    rates = Rates(base.config.data / "rates", time.time)
    base.ends.callback(rates.close)
    return StoreApi(
        ENDPOINTS, base.stores.behind_the_door, Accounts(base.directory, opener(base.keyring)), rates, base.counters,
        body_limit=base.config.body_limit, regions=frozenset(base.config.jwo_regions), spared=near_its_end(base.stores.trips, base.clock.now))


def near_its_end(trips: Trips, now: Callable[[], datetime]) -> Callable[[Request], Awaitable[bool]]:
    """Whether a request about a trip cannot wait: the hold would be gone."""
    async def spared(request: Request) -> bool:
        given = read(TRIP_ONLY, request.body)
        if type(given) is Wrong:
            return False
        trip = await trips.find(request.caller.merchant.merchant_id, given["storeId"], given["shoppingTripId"])
        return trip is not None and now() >= trip.expires_at - SPARED

    return spared
