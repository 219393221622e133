"""Carts that left a store: told to the retailer once somebody says so, in the commit that says it."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import asyncpg

from ringfence.core.trip import HOURS
from ringfence.engine.connector import Item, address, purchase_body
from ringfence.engine.directory import Directory
from ringfence.storage import purchases as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.purchases import PurchaseRow
from ringfence.storage.trips import TripRow

QUEUE = rows.QUEUE
AGAIN = timedelta(hours=HOURS)
"""How long a purchase is told again that somebody asked for."""


class Purchases:
    """What retailers are to be told."""

    def __init__(
        self, pool: asyncpg.Pool, directory: Directory, content_key: bytes, now: Callable[[], datetime], nudge: Callable[[], object] = lambda: None,
    ) -> None:
        """``now`` is business time; ``nudge`` has the background look."""
        self._pool, self._directory, self._content_key, self._now, self._nudge = pool, directory, content_key, now, nudge

    async def left(self, row: TripRow, items: Sequence[Item], ended_at: datetime) -> bool:
        """The shopper left with these.  True: the retailer will be told; false where its store has no address for it, it was told already, or
        the gate had stayed shut.

        What could not be delivered by the end of the trip's life is given up.
        """
        merchant = self._directory.by_id(row.merchant_id)
        if row.refused or merchant is None or not address(merchant.settings.connector_purchases_url, row.store):
            return False
        body, now = purchase_body(row, items, ended_at, self._content_key), self._now()
        deadline = now + AGAIN if row.never_expires else row.expires_at
        async with borrowed(self._pool) as connection, connection.transaction():
            made = await rows.put(connection, row.merchant_id, row.number, row.store, row.name, row.started_at, body, now, deadline)
        self._nudge()
        return made

    async def of(self, merchant_id: int, state: str = "", most: int = 1_000) -> list[PurchaseRow]:
        """What a merchant's retailer was told, the newest first."""
        return await rows.purchases(self._pool, merchant_id, state, most)

    async def again(self, merchant_id: int, number: int = 0) -> int:
        """Tell again what was refused or given up, of one trip or all; how many."""
        async with borrowed(self._pool) as connection, connection.transaction():
            numbers = await rows.again(connection, merchant_id, number, self._now(), self._now() + AGAIN)
        self._nudge()
        return len(numbers)
