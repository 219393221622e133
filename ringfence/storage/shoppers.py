"""Shoppers of stores in PostgreSQL.  It moves values and decides nothing."""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import load_queries

SQL = load_queries("shoppers")


class ShopperRow(NamedTuple):
    """A shopper's id, address, and when (business time) it was said last.  Prints without the address."""

    shopper: str
    email: str
    changed_at: datetime

    def __repr__(self) -> str:
        return f"ShopperRow({self.shopper})"

    __str__ = __repr__


async def put(pool: asyncpg.Pool, merchant_id: int, store: str, row: ShopperRow) -> None:
    """Register a shopper, or change the address."""
    async with borrowed(pool) as connection:
        await connection.execute(SQL.put, merchant_id, store, *row)


async def email(pool: asyncpg.Pool, merchant_id: int, store: str, shopper: str) -> str | None:
    """A shopper's address."""
    async with borrowed(pool) as connection:
        return await connection.fetchval(SQL.email, merchant_id, store, shopper)


async def listed(pool: asyncpg.Pool, merchant_id: int, store: str, after: str, limit: int) -> list[ShopperRow]:
    """Shoppers of a store after the id ``after``, in the order of their ids."""
    async with borrowed(pool) as connection:
        return [ShopperRow(*row) for row in await connection.fetch(SQL.listed, merchant_id, store, after, limit)]


async def forget(pool: asyncpg.Pool, merchant_id: int, store: str, shopper: str) -> bool:
    """Forget a shopper; whether there was one."""
    async with borrowed(pool) as connection:
        return await connection.fetchval(SQL.forget, merchant_id, store, shopper) is not None
