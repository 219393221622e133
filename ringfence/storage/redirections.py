"""Redirections of payers in PostgreSQL.

It moves values and decides nothing, but for the one thing that only a statement can: who of several is the one to carry on.
"""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.redirection import Recurrence
from ringfence.storage import jobs
from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import load_queries
from ringfence.storage.jobs import JobRow

SQL = load_queries("redirections")

QUEUE = "redirection"
"""The queue of payers who are away; the subject is what they are away for."""


class RedirectionRow(NamedTuple):
    """A row of ``redirections``."""

    merchant_id: int
    subject: int
    payment_id: int
    agreement_id: int
    method: str
    ways: str
    kind: str
    minor: int
    currency: str
    recurrence: str
    language: str
    leave_url: str
    session: str
    made_at: datetime
    due_at: datetime
    ended_at: datetime | None = None
    why: str = ""
    claim: str | None = None

    @property
    def agreed(self) -> Recurrence | None:
        """What is agreed to."""
        if not self.recurrence:
            return None
        unit, value, minor = self.recurrence.split(":")
        return Recurrence(unit, int(value), int(minor) if minor else None)


def written(recurrence: Recurrence | None) -> str:
    """What is agreed to, as a row keeps it."""
    if recurrence is None:
        return ""
    return f"{recurrence.unit}:{recurrence.value}:{'' if recurrence.minor is None else recurrence.minor}"


async def keep(pool: asyncpg.Pool, row: RedirectionRow) -> None:
    """Store one, with the job that ends it in its time; one that is there stays."""
    async with borrowed(pool) as connection, connection.transaction():
        await connection.execute(SQL.keep, *row)
        await jobs.wake(connection, [JobRow(row.merchant_id, QUEUE, row.subject, row.payment_id, row.due_at)])


async def load(pool: asyncpg.Pool, merchant_id: int, subject: int) -> RedirectionRow | None:
    """One of them."""
    async with borrowed(pool) as connection:
        row = await connection.fetchrow(SQL.load, merchant_id, subject)
    return row and RedirectionRow(*row)


async def bring(pool: asyncpg.Pool, row: RedirectionRow, session: str, look_at: datetime, *, instead: bool) -> bool:
    """Note the session that a browser brought, and have the background look at it (business time); with ``instead`` also where there was one.
    Whether it was noted."""
    async with borrowed(pool) as connection, connection.transaction():
        if not await connection.fetchval(SQL.bring, row.merchant_id, row.subject, session, instead):
            return False
        await jobs.wake(connection, [JobRow(row.merchant_id, QUEUE, row.subject, row.payment_id, look_at)])
        return True


async def claim(
    pool: asyncpg.Pool, row: RedirectionRow, claimant: str, deadline: datetime, session: str, why: str, now: datetime,
) -> datetime | None:
    """Carry on behind a payment's redirection, as the only one; until when (wall time), or ``None`` where that is another's."""
    async with borrowed(pool) as connection:
        return await connection.fetchval(SQL.claim, row.merchant_id, row.subject, claimant, deadline, session, why, now)


async def claimed(pool: asyncpg.Pool, row: RedirectionRow, claimant: str) -> datetime | None:
    """Whether that claim was stored, its answer being lost: until when it lasts (wall time)."""
    async with borrowed(pool) as connection:
        found = await connection.fetchrow(SQL.claimed, row.merchant_id, row.subject)
    return found["ask_deadline"] if found is not None and found["claim"] == claimant else None


async def take(pool: asyncpg.Pool, row: RedirectionRow, claimant: str, until: datetime) -> bool:
    """Carry on behind one that no payment follows, until then (wall time); false where that is another's."""
    async with borrowed(pool) as connection:
        return bool(await connection.fetchval(SQL.take, row.merchant_id, row.subject, claimant, until))


async def give_back(pool: asyncpg.Pool, row: RedirectionRow, claimant: str) -> None:
    """... and leave it to the next."""
    async with borrowed(pool) as connection:
        await connection.execute(SQL.give_back, row.merchant_id, row.subject, claimant)


async def end(pool: asyncpg.Pool, row: RedirectionRow, claimant: str, now: datetime, why: str) -> None:
    """One that no payment follows has ended (business time)."""
    async with borrowed(pool) as connection:
        await connection.execute(SQL.end, row.merchant_id, row.subject, claimant, now, why)


async def standing(pool: asyncpg.Pool, merchant_id: int, payment_id: int) -> str | None:
    """The result of a payment's latest attempt behind its payer's challenge."""
    async with borrowed(pool) as connection:
        return await connection.fetchval(SQL.standing, merchant_id, payment_id)


async def told(pool: asyncpg.Pool, row: RedirectionRow) -> None:
    """Its agreement knows how it ended."""
    async with borrowed(pool) as connection:
        await connection.execute(SQL.told, row.merchant_id, row.subject)
