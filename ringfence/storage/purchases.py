"""What retailers are told of carts, as rows; telling is a job of the trip's number.  It moves values and decides nothing."""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage import jobs
from ringfence.storage.database import load_queries
from ringfence.storage.jobs import Connection, JobRow

SQL = load_queries("purchases")
QUEUE = "purchase"


class PurchaseRow(NamedTuple):
    """A row of ``purchases``, but for when its trip began.  Times are business time."""

    merchant_id: int
    number: int
    store: str
    trip: str
    body: bytes
    state: str
    attempts: int
    status: int | None
    note: str
    purchase_id: str
    asked_at: datetime
    deadline_at: datetime
    ended_at: datetime | None


async def put(
    connection: asyncpg.Connection, merchant_id: int, number: int, store: str, trip: str, began_at: datetime, body: bytes, at: datetime,
    deadline_at: datetime,
) -> bool:
    """Within a transaction: have a trip's cart told; false where it is told already."""
    made = await connection.fetchval(SQL.put_purchase, merchant_id, number, store, trip, began_at, body, at, deadline_at) is not None
    if made:
        await jobs.wake(connection, [JobRow(merchant_id, QUEUE, number, 0, at, deadline_at)])
    return made


async def purchase(connection: Connection, merchant_id: int, number: int) -> PurchaseRow | None:
    """What is told of a trip."""
    row = await connection.fetchrow(SQL.purchase, merchant_id, number)
    return row and PurchaseRow(*row)


async def purchases(connection: Connection, merchant_id: int, state: str, most: int) -> list[PurchaseRow]:
    """A merchant's, the newest first; of one state unless it is empty."""
    return [PurchaseRow(*row) for row in await connection.fetch(SQL.purchases, merchant_id, state, most)]


async def note(
    connection: Connection, row: PurchaseRow, status: int | None, state: str, note: str, purchase_id: str, now: datetime,
) -> bool:
    """What came of an attempt; false where it has ended meanwhile."""
    return await connection.fetchval(
        SQL.note_purchase, row.merchant_id, row.number, status, state, note, purchase_id, now) is not None


async def again(connection: asyncpg.Connection, merchant_id: int, number: int, now: datetime, deadline_at: datetime) -> list[int]:
    """Within a transaction: tell again what was refused or given up, of one trip or (0) all; which."""
    numbers = [row[0] for row in await connection.fetch(SQL.again, merchant_id, number, deadline_at)]
    await jobs.wake(connection, [JobRow(merchant_id, QUEUE, one, 0, now, deadline_at) for one in sorted(numbers)])
    return numbers


async def forget(connection: Connection, merchant_id: int, before: datetime) -> int:
    """Forget what was told of carts that ended before an instant; how many."""
    return int((await connection.execute(SQL.forget_purchases, merchant_id, before)).rpartition(" ")[2])
