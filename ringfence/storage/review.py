"""Operations in doubt as people look at them, and what they decide.

It moves values and decides nothing: whether somebody may decide so is the engine's.
"""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries
from ringfence.storage.reports import Window

SQL = load_queries("review")

Connection = asyncpg.Connection | asyncpg.Pool


class Row(NamedTuple):
    """An operation that is in doubt, or was.  What its job says is ``None`` where it has none: then ``ended`` says how it ended.

    ``asked_at``, ``due_at`` and ``deadline_at`` are business time; ``decided``: what a person has decided already.
    """

    merchant_id: int
    merchant: str
    payment_id: int
    operation_id: int
    kind: str
    minor: int
    currency: str
    door: str
    reference: str | None
    processor: str
    asked_at: datetime
    due_at: datetime | None
    deadline_at: datetime | None
    tries: int | None
    note: str | None
    reversal_left: bool
    decided: str | None
    ended: str | None


class Attempt(NamedTuple):
    """What was heard once, at business time."""

    attempt: int
    result: str
    code: str
    at: datetime


async def listed(connection: Connection, due: datetime | None, merchant: str | None, limit: int) -> list[Row]:
    """Operations in doubt whose deadline has passed at ``due`` (business time; ``None``: all), the oldest first."""
    return [Row(*row) for row in await connection.fetch(SQL.listed, due, merchant, limit)]


async def find(connection: Connection, operation_id: int, asked: Window) -> Row | None:
    """One operation; ``None`` where there is none of that id.  ``asked``: when an operation of that id was asked."""
    place = await connection.fetchrow(SQL.place, operation_id, *asked)
    row = place and await connection.fetchrow(SQL.one, *place, operation_id)
    return Row(*row) if row else None


async def attempts(connection: Connection, row: Row) -> list[Attempt]:
    """What was heard of it so far."""
    return [Attempt(*found) for found in await connection.fetch(SQL.attempts, row.merchant_id, row.payment_id, row.operation_id)]


async def hold(connection: asyncpg.Connection, row: Row) -> bool:
    """Hold the operation's recovery job until the transaction ends; false where it is in doubt no longer."""
    return bool(await connection.fetchval(SQL.hold, row.merchant_id, row.operation_id))


async def decide(
    connection: asyncpg.Connection, row: Row, decided: str, minor: int, reason: str, evidence: str, by: str, at: datetime,
) -> bool:
    """Note what a person decided (``at``: wall time); false where somebody did already."""
    return bool(await connection.fetchval(
        SQL.decide, row.merchant_id, row.operation_id, row.payment_id, decided, minor, reason, evidence, by, at))
