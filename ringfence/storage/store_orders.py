"""Carts that were handed in to be collected, in PostgreSQL.  It moves values and decides nothing."""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage import jobs
from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import load_queries
from ringfence.storage.jobs import Job, JobRow

SQL = load_queries("store_orders")

QUEUE = "store_order"
"""The queue of carts that wait to be collected; the subject is the order."""


class OrderRow(NamedTuple):
    """A row of ``store_orders``.  ``started_at``: the trip's start; ``minor`` units; times are business time."""

    merchant_id: int
    store: str
    trip: str
    started_at: datetime
    order_id: int
    currency: str
    minor: int
    cart: bytes
    actor: str
    placed_at: datetime
    ended_at: datetime | None = None
    ending: str = ""


async def place(pool: asyncpg.Pool, row: OrderRow) -> OrderRow:
    """Keep a cart, with the job that collects it; the one that the trip had already, where there is one."""
    async with borrowed(pool) as connection, connection.transaction():
        if await connection.fetchval(SQL.place, *row[:10]) is not None:
            await jobs.wake(connection, [JobRow(row.merchant_id, QUEUE, row.order_id, 0, row.placed_at)])
            return row
        return OrderRow(*await connection.fetchrow(SQL.of_trip, row.merchant_id, row.store, row.trip, row.started_at))


async def of_trip(pool: asyncpg.Pool, merchant_id: int, store: str, trip: str, started_at: datetime) -> OrderRow | None:
    """The cart of a trip that began then."""
    async with borrowed(pool) as connection:
        row = await connection.fetchrow(SQL.of_trip, merchant_id, store, trip, started_at)
    return row and OrderRow(*row)


async def by_id(pool: asyncpg.Pool, merchant_id: int, order_id: int) -> OrderRow | None:
    """One of them."""
    async with borrowed(pool) as connection:
        row = await connection.fetchrow(SQL.by_id, merchant_id, order_id)
    return row and OrderRow(*row)


async def later(pool: asyncpg.Pool, job: Job, due_at: datetime, note: str) -> None:
    """It is looked at again then (business time)."""
    async with borrowed(pool) as connection:
        await jobs.later(connection, job, due_at, note)


async def end(pool: asyncpg.Pool, job: Job, at: datetime, ending: str) -> None:
    """Nothing is left to do about it, from ``at`` on (business time); its job goes."""
    async with borrowed(pool) as connection, connection.transaction():
        await connection.execute(SQL.end, job.merchant_id, job.subject, at, ending)
        await jobs.done(connection, job)
