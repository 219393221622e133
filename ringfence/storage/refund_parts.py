"""Parts of refunds that end one by one: rows in and out, and nothing decided."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from ringfence.core.allotment import Part, Parts, PartState
from ringfence.storage.database import load_queries

SQL = load_queries("refund_parts")


class PartRow(NamedTuple):
    """A row of ``refund_parts``: what became of a part in an attempt."""

    merchant_id: int
    payment_id: int
    operation_id: int
    attempt: int
    part: int
    capture_id: int
    minor: int
    state: str
    batch_id: int


async def note(connection: asyncpg.Connection, rows: Sequence[PartRow]) -> None:
    """Store what became of parts."""
    await connection.execute(SQL.note, *map(list, zip(*rows, strict=True)))


async def changes(pool: asyncpg.Pool | asyncpg.Connection, merchant_id: int, payment_id: int, operation_id: int) -> Parts:
    """What became of a refund's parts so far, in the order in which it did."""
    return tuple(
        Part(row[0], row[1], row[2], PartState(row[3])) for row in await pool.fetch(SQL.changes, merchant_id, payment_id, operation_id))
