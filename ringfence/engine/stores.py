"""Stores, and what is known of the trips through them: for operators, reports and whoever calls retailers.

Reads the primary; changes stores, and when a shopper left.  What is done about a trip's payment is ``trips``'s, who is let in is ``gates``'s.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import asyncpg

from ringfence.engine.reading import Reading
from ringfence.engine.seeding import WAITING
from ringfence.engine.trip_reading import Trip, trip_of
from ringfence.storage import trips as rows
from ringfence.storage.trips import Happened, StoreRow, TripRow

__all__ = ["Happened", "StoreRow", "Stores", "TripRow"]


class Stores:
    """The stores of all merchants."""

    def __init__(self, pool: asyncpg.Pool, reading: Reading, now: Callable[[], datetime]) -> None:
        """``now``: business time."""
        self._pool, self._reading, self._now = pool, reading, now

    async def put(self, row: StoreRow) -> None:
        """Make a store, or change it."""
        await rows.put_store(self._pool, row, self._now())

    async def find(self, merchant_id: int, store: str) -> StoreRow | None:
        """A store."""
        return await rows.store(self._pool, merchant_id, store)

    async def of_merchant(self, merchant_id: int) -> list[StoreRow]:
        """A merchant's stores, by name."""
        return await rows.stores(self._pool, merchant_id)

    async def trips(
        self, merchant_id: int, since: datetime, until: datetime, store: str = "", after: int = 0, most: int = 500,
    ) -> list[TripRow]:
        """Trips that began between two instants, of one store unless that is empty, behind the one of number ``after``, oldest first; those whose
        gate stayed shut among them."""
        return await rows.listed(self._pool, merchant_id, since, until, store, after, most)

    async def named(self, merchant_id: int, name: str) -> list[TripRow]:
        """A merchant's trips of that name, in whichever store, the newest first."""
        return await rows.named(self._pool, merchant_id, name)

    async def stand(self, row: TripRow) -> Trip:
        """A row's trip as it stands now, also where its gate stayed shut."""
        return await trip_of(self._reading, row, self._now())

    async def leave(self, row: TripRow) -> Trip:
        """The shopper left; the first instant counts."""
        return await self.stand(row._replace(ended_at=await rows.leave(self._pool, row.merchant_id, row.number, self._now())))

    async def wait(self, row: TripRow) -> TripRow:
        """A trip that never expires begins anew when somebody next asks for it; the row from now on."""
        await rows.wait(self._pool, row.merchant_id, row.number, WAITING)
        return await self.again(row)

    async def again(self, row: TripRow) -> TripRow:
        """The row as it is now."""
        return await rows.numbered(self._pool, row.merchant_id, row.number) or row

    async def happened(self, merchant_id: int, since: datetime, number: int = 0, most: int = 500) -> list[Happened]:
        """What was told of trips behind an instant, of one trip unless ``number`` is 0, oldest first."""
        return await rows.happened(self._pool, merchant_id, since, number, most)
