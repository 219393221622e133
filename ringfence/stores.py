"""Stores: debts, carts and the door of retailers, put on top of trips, and how a process serves them.

A part of the composition: built by hand, in reading order.
"""
from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from ringfence.api.jwo import checkout, payments
from ringfence.api.jwo.accounts import Accounts
from ringfence.api.jwo.app import StoreApi
from ringfence.api.jwo.door import Request
from ringfence.api.jwo.fields import tables
from ringfence.api.jwo.kinds import Wrong
from ringfence.api.jwo.payments import Service, read
from ringfence.background import orders as order_queue
from ringfence.background.worker import Chore, Queue
from ringfence.core.trip import TripRefusal
from ringfence.engine import collecting as carts
from ringfence.engine import debts as accounts
from ringfence.engine.collecting import Collecting
from ringfence.engine.debts import Debts
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.engine.links import Desk as LinkDesk
from ringfence.engine.orders import HANDED_OVER, Orders
from ringfence.engine.rates import Rates
from ringfence.engine.session_tokens import opener
from ringfence.engine.shoppers import Shoppers
from ringfence.engine.trips import Trip, Trips
from ringfence.storage.jobs import Job
from ringfence.visiting import Visits

if TYPE_CHECKING:
    from ringfence.main import Foundation

ENDPOINTS = {one.path: one for one in (*payments.ENDPOINTS, *checkout.ENDPOINTS)}
"""All that this door serves below ``/v1``."""
REJECTED = "capture_rejected"
"""Why a trip is owed for that was captured."""
CART_BYTES = 2**20
"""What a body may have at least: a cart of 2,000 lines is larger than any request about a payment."""
SPARED = timedelta(hours=1)
"""So long before its trip's end a Capture or Cancel is answered whatever the rate (business time)."""


class Stores(NamedTuple):
    """What a process has of stores beside trips and gates: debts, carts, shoppers."""

    trips: Trips
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
            if not isinstance(said, TripRefusal):
                return HANDED_OVER
            if said is TripRefusal.EXPIRED or trip.captured is not None:        # nobody can charge it any more: what is missing is owed
                await self.debts.incurred(trip, minor, trip.captured or 0, accounts.RETAILER, said.value, actor)
            return said.value

        await self.orders.settle(job, self.trips.find, taken)

    async def look(self) -> int:
        """What nobody tells of debts."""
        return await self.debts.look([one.merchant_id for one in self.directory.merchants()])

    async def unpaid(self, trip: Trip) -> None:
        """Clearing refused what a trip's capture took: it is owed."""
        if trip.captured:
            await self.debts.incurred(trip, trip.captured, 0, accounts.RETAILER, REJECTED, "clearing")
            await self.debts.recount(trip.merchant_id, trip.payment_id)

    def chores(self, pause: float) -> list[Chore]:
        """What is looked after again and again."""
        return [Chore("debts", self.look, pause)]

    def queues(self) -> list[Queue]:
        """What is due later."""
        return [order_queue.queue(self.collect), Queue(carts.QUEUE, self.collecting.run), Queue(accounts.QUEUE, self.debts.run)]


def stores_of(
    pool: asyncpg.Pool, visits: Visits, engine: Engine, directory: Directory, links: LinkDesk, *, new_id: Callable[[], int],
    now: Callable[[], datetime], nudge: Callable[[str], object],
) -> Stores:
    """``pool`` finds rows by key; ``now``: business time.  The gates learn who owes something, and their watch who keeps debts."""
    debts = Debts(pool, directory, now, book=engine.notice, desk=links, nudge=lambda: nudge(accounts.QUEUE))
    stores = Stores(
        visits.trips, debts, Collecting(pool, visits.trips, debts, directory, now, lambda: nudge(carts.QUEUE)), Shoppers(pool, now),
        Orders(pool, new_id=new_id, now=now, nudge=nudge), directory)
    visits.gates.owed, visits.watch.unpaid = debts.owed, stores.unpaid
    return stores


def store_api(base: Foundation) -> StoreApi:
    """The door of a worker."""
    rates = Rates(base.config.data / "rates", time.time)
    base.ends.callback(rates.close)
    return StoreApi(
        ENDPOINTS, base.stores.behind_the_door, Accounts(base.directory, opener(base.keyring)), rates, base.counters,
        body_limit=max(base.config.body_limit, CART_BYTES), regions=frozenset(base.config.jwo_regions),
        spared=near_its_end(base.stores.trips, base.clock.now))


def near_its_end(trips: Trips, now: Callable[[], datetime]) -> Callable[[Request], Awaitable[bool]]:
    """Whether a request about a trip cannot wait: the hold would be gone."""
    async def spared(request: Request) -> bool:
        given = read(tables(request.caller.merchant.settings).trip_only, request.body)
        if type(given) is Wrong:
            return False
        trip = await trips.find(request.caller.merchant.merchant_id, given["storeId"], given["shoppingTripId"])
        return trip is not None and now() >= trip.expires_at - SPARED

    return spared
