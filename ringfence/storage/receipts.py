"""Receipts that were given out, as rows.  It moves values and decides nothing."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import load_queries

SQL = load_queries("receipts")


class ReceiptRow(NamedTuple):
    """A row of ``receipts``; ``content`` is what it says, as JSON."""

    merchant_id: int
    trip: int
    payment_id: int
    operation_id: int
    issue: int
    receipt_id: int
    content: bytes
    issued_at: datetime

    def __repr__(self) -> str:
        return f"ReceiptRow({self.receipt_id})"


async def put(pool: asyncpg.Pool, row: ReceiptRow) -> bool:
    """Keep a receipt; false where somebody else has given out that issue."""
    async with borrowed(pool) as connection:
        return await connection.fetchval(SQL.put, *row) is not None


async def of_trip(pool: asyncpg.Pool, merchant_id: int, trip: int, payment_id: int) -> dict[int, ReceiptRow]:
    """By operation, the latest receipt of everything that happened to a payment of a trip."""
    async with borrowed(pool) as connection:
        found = [ReceiptRow(*row) for row in await connection.fetch(SQL.of_trip, merchant_id, trip, payment_id)]
    return {row.operation_id: row for row in found}


async def by_id(pool: asyncpg.Pool, merchant_id: int, receipt_id: int) -> ReceiptRow | None:
    """One of a merchant's receipts."""
    async with borrowed(pool) as connection:
        row = await connection.fetchrow(SQL.by_id, merchant_id, receipt_id)
    return row and ReceiptRow(*row)


async def charged(
    pool: asyncpg.Pool, merchant_id: int, since: datetime, until: datetime, tail: str, amounts: Sequence[tuple[int, str]], store: str, most: int,
) -> list[tuple[str, str]]:
    """Store and name of the trips that began between two instants and were charged one of the amounts (minor units and currency) to a card
    that ends so; of one store unless ``store`` is empty."""
    async with borrowed(pool) as connection:
        rows = await connection.fetch(
            SQL.charged, merchant_id, since, until, tail, [minor for minor, _ in amounts], [currency for _, currency in amounts], store, most)
    return [tuple(row) for row in rows]
