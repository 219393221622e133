"""Shoppers: where those who registered in a store want their receipts.  Nothing else is known of them, and anyone can be forgotten."""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import asyncpg

from ringfence.storage import shoppers as rows
from ringfence.storage.shoppers import ShopperRow

__all__ = ["ShopperRow", "Shoppers"]


class Shoppers:
    """The register of all stores."""

    def __init__(self, pool: asyncpg.Pool, now: Callable[[], datetime]) -> None:
        """``now``: business time."""
        self._pool, self._now = pool, now

    async def email(self, merchant_id: int, store: str, shopper: str) -> str | None:
        """Where a shopper wants receipts; ``None`` for one that this store does not know."""
        return await rows.email(self._pool, merchant_id, store, shopper)

    async def register(self, merchant_id: int, store: str, shopper: str, email: str) -> None:
        """Register a shopper, or change the address."""
        await rows.put(self._pool, merchant_id, store, ShopperRow(shopper, email, self._now()))

    async def listed(self, merchant_id: int, store: str, after: str = "", limit: int = 100) -> list[ShopperRow]:
        """Shoppers of a store after the id ``after``, in the order of their ids."""
        return await rows.listed(self._pool, merchant_id, store, after, limit)

    async def forget(self, merchant_id: int, store: str, shopper: str) -> bool:
        """Forget a shopper; whether there was one."""
        return await rows.forget(self._pool, merchant_id, store, shopper)
