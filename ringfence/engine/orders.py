"""Orders of stores: carts that were handed in priced, to be collected behind the answer.

A cart is kept with its job in one commit, once for each trip; from then on the job collects it, whichever process lives.  The cart
stays as it came: a repeat is told by it, and receipts are made of it.  Refuses to know how an amount is collected, and what a cart means.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
import msgspec

from ringfence.core.cart import Cart
from ringfence.engine.trip_reading import Trip
from ringfence.storage import store_orders as rows
from ringfence.storage.jobs import Job
from ringfence.storage.store_orders import QUEUE, OrderRow

__all__ = ["HANDED_OVER", "QUEUE", "Order", "Orders"]

PAUSE = timedelta(seconds=5)
"""Until a cart that could not be collected yet is looked at again (business time)."""
TRIP_GONE, HANDED_OVER = "trip_gone", "handed_over"
"""How an order ended: its trip began anew, or whoever collects has it.  Else the reason that nobody could."""

_WRITE = msgspec.json.Encoder().encode
_READ = msgspec.json.Decoder(Cart).decode


@dataclass(frozen=True, slots=True)
class Order:
    """A cart that was handed in.  Times are business time; ``ending`` is "" until nothing is left to do."""

    merchant_id: int
    order_id: int
    store: str
    trip: str
    cart: Cart
    actor: str
    placed_at: datetime
    ended_at: datetime | None
    ending: str


class Orders:
    """The orders of one process."""

    def __init__(
        self, pool: asyncpg.Pool, *, new_id: Callable[[], int], now: Callable[[], datetime], nudge: Callable[[str], object] = lambda queue: None,
    ) -> None:
        """``now``: business time; ``nudge`` has the background look at a queue at once."""
        self._pool, self._new_id, self._now, self._nudge = pool, new_id, now, nudge

    async def place(self, trip: Trip, cart: Cart, actor: str) -> Order:
        """Keep a cart to be collected; the one that the trip had already, where there is one."""
        row = OrderRow(
            trip.merchant_id, trip.store, trip.name, trip.started_at, self._new_id(), cart.currency, cart.total, _WRITE(cart), actor, self._now())
        kept = await rows.place(self._pool, row)
        if kept is row:
            self._nudge(QUEUE)
        return _order(kept)

    async def of_trip(self, trip: Trip) -> Order | None:
        """The cart of a trip."""
        row = await rows.of_trip(self._pool, trip.merchant_id, trip.store, trip.name, trip.started_at)
        return row and _order(row)

    async def settle(
        self, job: Job, find: Callable[[int, str, str], Awaitable[Trip | None]], collect: Callable[[Trip, int, str, str], Awaitable[str]],
    ) -> None:
        """Have the cart of a job collected.  ``collect`` (trip, minor units, currency, actor) takes it over durably, once however often it is
        asked, and says how that ended: "" where it has to be asked again."""
        row = await rows.by_id(self._pool, job.merchant_id, job.subject)
        assert row is not None, "an order is there before its job"
        trip = await find(row.merchant_id, row.store, row.trip)
        if trip is None or trip.started_at != row.started_at:
            ending = TRIP_GONE
        else:
            ending = await collect(trip, row.minor, row.currency, row.actor)
        if ending:
            await rows.end(self._pool, job, self._now(), ending)
        else:
            await rows.later(self._pool, job, self._now() + PAUSE, "not known yet")


def _order(row: OrderRow) -> Order:
    return Order(
        row.merchant_id, row.order_id, row.store, row.trip, _READ(row.cart), row.actor, row.placed_at, row.ended_at, row.ending)
