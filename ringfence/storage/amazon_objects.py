"""Amazon Pay's objects in PostgreSQL: rows in and out, and nothing decided."""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries

SQL = load_queries("amazon_objects")


class ObjectRow(NamedTuple):
    """A row of ``amazon_objects``."""

    merchant_id: int
    key: str
    payment_id: int
    operation_id: int
    kind: str
    minor: int
    session_id: str
    permission_id: str
    charge_id: str
    refund_id: str
    holds: bool
    undone: bool
    state: str
    begun_at: datetime


async def begin(pool: asyncpg.Pool, row: ObjectRow) -> ObjectRow:
    """Store a message, or say what is stored in its place."""
    while True:
        found = await pool.fetchrow(SQL.begin, *row) or await pool.fetchrow(SQL.stored, row.merchant_id, row.key, row.session_id)
        if found:                       # else it was released between the two
            return ObjectRow(*found)


async def know(pool: asyncpg.Pool, row: ObjectRow) -> None:
    """Store what is known of a message now."""
    await pool.execute(
        SQL.know, row.merchant_id, row.key, row.session_id, row.permission_id, row.charge_id, row.refund_id, row.undone, row.state)


async def take(pool: asyncpg.Pool, row: ObjectRow) -> ObjectRow | None:
    """Begin the capture or cancellation of a charge that holds; ``None``: none does."""
    while True:
        found = await pool.fetchrow(SQL.stored, row.merchant_id, row.key, "") or await pool.fetchrow(
            SQL.take, row.merchant_id, row.key, row.payment_id, row.operation_id, row.kind, row.minor, row.begun_at)
        if found:
            return ObjectRow(*found)
        if not await pool.fetchval(SQL.holding, row.merchant_id, row.payment_id):
            return None


async def release(pool: asyncpg.Pool, merchant_id: int, key: str) -> None:
    """Forget a message."""
    await pool.execute(SQL.release, merchant_id, key)


async def of_payment(pool: asyncpg.Pool, merchant_id: int, payment_id: int) -> list[ObjectRow]:
    """Everything of a payment, the oldest first."""
    return [ObjectRow(*row) for row in await pool.fetch(SQL.of_payment, merchant_id, payment_id)]


async def named(pool: asyncpg.Pool, merchant_id: int, object_id: str) -> list[ObjectRow]:
    """The messages about the object of this name."""
    return [ObjectRow(*row) for row in await pool.fetch(SQL.named, merchant_id, object_id)]


async def notified(pool: asyncpg.Pool, merchant_id: int, notification_id: str, at: datetime) -> bool:
    """Take a notification in (``at``: business time); false where it was before."""
    return bool(await pool.fetchval(SQL.notified, merchant_id, notification_id, at))


async def forget_notification(pool: asyncpg.Pool, merchant_id: int, notification_id: str) -> None:
    """Have it heard when it is sent again."""
    await pool.execute(SQL.forget_notification, merchant_id, notification_id)


async def sweep_notifications(pool: asyncpg.Pool, merchant_id: int, before: datetime, most: int) -> int:
    """Forget at most so many that were taken in before an instant (business time); how many."""
    return len(await pool.fetch(SQL.sweep_notifications, merchant_id, before, most))
