"""Reports as rows: asked for, made chunk by chunk, read again; and the operations that they are made of.

It moves values and decides nothing.  Whoever makes a report does so as one claim of its job, and writes nothing once there is a
later one.
"""
from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage import jobs
from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import BY_KEY, load_queries
from ringfence.storage.jobs import Job, JobRow

SQL = load_queries("reporting")

QUEUE = "report"
FETCHED = 100
"""Operations fetched at once."""
STATEMENT_SECONDS = 120
"""How long the database may look for the operations of one report."""


class Asked(NamedTuple):
    """What a report is asked to say.

    ``since`` (included), ``until`` (not) and ``requested_at`` are business time; the report is as of the latter.  ``offset_seconds``:
    how far east of UTC the instants in its rows are written.  ``filters`` are pairs of key and value.
    """

    merchant_id: int
    reference: str
    report_id: int
    columns: tuple[str, ...]
    filters: tuple[tuple[str, str], ...]
    since: datetime
    until: datetime
    offset_seconds: int
    language: str
    form: str
    actor: str
    requested_at: datetime


class Report(NamedTuple):
    """A report as it stands: ``state`` is waiting, ready, too_many, failed or erased."""

    asked: Asked
    state: str
    rows: int
    chunks: int
    ended_at: datetime | None


class Counted(NamedTuple):
    """How many reports of a merchant wait and are kept, and the number of the next one."""

    waiting: int
    kept: int
    next_number: int


class Narrow(NamedTuple):
    """What the database can sort out by itself; ``None`` for no restriction."""

    currencies: list[str] | None = None
    kinds: list[str] | None = None
    payments: list[int] | None = None
    references: list[str] | None = None
    tokens: list[str] | None = None


class Operated(NamedTuple):
    """One operation, its latest outcome (``result`` is ``None`` while there is none), how its payment began, and its card."""

    payment_id: int
    operation_id: int
    kind: str
    minor: int
    currency: str
    door: str
    details: bytes | None
    asked_at: datetime
    processor: str
    result: str | None
    answered_minor: int | None
    response_code: str | None
    approval_code: str | None
    eci: str | None
    first_kind: str
    first_door: str
    first_reference: str | None
    first_key: str | None
    first_details: bytes | None
    first_asked_at: datetime
    token_name: str | None
    token_version: int | None
    initiation: str
    channel: str
    source: str
    first_result: str | None
    first_approval_code: str | None
    first_eci: str | None
    brand: str | None
    bin: str | None
    last4: str | None
    status: str | None


# ---------------------------------------------------------------------------------------------------------- asking

@asynccontextmanager
async def asking(pool: asyncpg.Pool, merchant_id: int) -> AsyncIterator[asyncpg.Connection]:
    """A transaction in which nobody else asks for a report of this merchant."""
    async with borrowed(pool) as connection, connection.transaction():
        await connection.execute(SQL.one_by_one, merchant_id)
        yield connection


async def counted(connection: asyncpg.Connection, merchant_id: int) -> Counted:
    """How many reports there are."""
    return Counted(*await connection.fetchrow(SQL.counted, merchant_id))


async def is_used(connection: asyncpg.Connection, merchant_id: int, reference: str) -> bool:
    """Whether a report has, or had, that reference."""
    return await connection.fetchrow(SQL.by_reference, merchant_id, reference) is not None


async def ask(connection: asyncpg.Connection, asked: Asked) -> bool:
    """Store a report to be made, and its job; false where its reference was used before."""
    values = (*asked[:3], list(asked.columns), [text for pair in asked.filters for text in pair], *asked[5:])
    if await connection.fetchval(SQL.ask, *values) is None:
        return False
    await jobs.wake(connection, [JobRow(asked.merchant_id, QUEUE, asked.report_id, 0, asked.requested_at)])
    return True


# ---------------------------------------------------------------------------------------------------------- reading

def _report(row: asyncpg.Record) -> Report:
    merchant_id, reference, report_id, columns, filters, *rest = tuple(row)
    pairs = tuple(zip(filters[::2], filters[1::2], strict=True))
    return Report(Asked(merchant_id, reference, report_id, tuple(columns), pairs, *rest[:7]), *rest[7:])


async def by_reference(pool: asyncpg.Pool, merchant_id: int, reference: str) -> Report | None:
    """A merchant's report; ``None`` where it has none of that reference."""
    async with borrowed(pool) as connection:
        row = await connection.fetchrow(SQL.by_reference, merchant_id, reference)
    return None if row is None else _report(row)


async def by_number(pool: asyncpg.Pool, merchant_id: int, report_id: int) -> Report | None:
    """The same by its number."""
    async with borrowed(pool) as connection:
        row = await connection.fetchrow(SQL.by_number, merchant_id, report_id)
    return None if row is None else _report(row)


async def listed(pool: asyncpg.Pool, merchant_id: int, limit: int) -> list[Report]:
    """The latest of a merchant that are kept."""
    async with borrowed(pool) as connection:
        return [_report(row) for row in await connection.fetch(SQL.listed, merchant_id, limit)]


async def chunk(pool: asyncpg.Pool, asked: Asked, number: int) -> bytes | None:
    """One chunk of a report, from 1; ``None`` where it is gone."""
    async with borrowed(pool) as connection:
        return await connection.fetchval(SQL.chunk, asked.merchant_id, asked.report_id, number)


@asynccontextmanager
async def operated(pool: asyncpg.Pool, asked: Asked, narrow: Narrow, limit: int) -> AsyncIterator[AsyncIterator[list[Operated]]]:
    """At most *limit* operations of a report, some at a time, all as one snapshot sees them."""
    async with borrowed(pool) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        for name, value in {**BY_KEY, "work_mem": "64MB", "statement_timeout": f"{STATEMENT_SECONDS}s"}.items():
            await connection.execute("SELECT set_config($1, $2, true)", name, value)
        cursor = await connection.cursor(
            SQL.operated, asked.merchant_id, asked.since, asked.until, asked.requested_at, *narrow, limit)

        async def pages() -> AsyncIterator[list[Operated]]:
            while found := await cursor.fetch(FETCHED):
                yield [Operated(*tuple(row)) for row in found]

        yield pages()


# ---------------------------------------------------------------------------------------------------------- making

async def begin(pool: asyncpg.Pool, job: Job) -> bool:
    """Begin a report from nothing; false where it is not this claim's to make."""
    async with borrowed(pool) as connection:
        return await connection.fetchval(SQL.begin, job.merchant_id, job.subject, job.tries) is not None


async def append(pool: asyncpg.Pool, job: Job, rows: int, body: bytes) -> bool:
    """Store the next chunk; false where a later claim makes the report."""
    async with borrowed(pool) as connection:
        return await connection.fetchval(SQL.append, job.merchant_id, job.subject, job.tries, rows, body) is not None


async def end(pool: asyncpg.Pool, job: Job, state: str, at: datetime) -> bool:
    """Its end, and its job's; only of one that is ready the chunks are kept.  False where another claim makes it."""
    async with borrowed(pool) as connection, connection.transaction():
        mine = await connection.fetchval(SQL.end, job.merchant_id, job.subject, job.tries, state, at) is not None
        if mine and state != "ready":
            await connection.execute(SQL.drop_chunks, job.merchant_id, job.subject)
        await jobs.done(connection, job)
        return mine
