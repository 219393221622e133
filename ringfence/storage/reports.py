"""What the proof and the story read: rows of ``proof``, ``legs``, ``witness``, ``chain``, ``story``.

It moves values and decides nothing.  What may be long is streamed through a server-side cursor, so that memory stays the
same however many payments there are; the caller holds the transaction that gives all of it one snapshot.
"""
from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from ringfence.core.chain import Link, Row
from ringfence.storage.authentications import AuthenticationRow
from ringfence.storage.database import load_queries, noticing_loss

PROOF = load_queries("proof")
LEGS = load_queries("legs")
WITNESS = load_queries("witness")
CHAIN = load_queries("chain")
STORY = load_queries("story")

CHUNK = 500
"""Rows fetched at once from a cursor."""

FIRST_ID, LAST_ID = -(1 << 63), (1 << 63) - 1
"""All that a batch id can be, in honest rows and in others."""

OUTCOME_WIDTH = 13
"""Columns of an outcome in ``chain.outcomes``; those of its operation follow."""


@asynccontextmanager
async def borrowed(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the pool.  Losing it raises ``DatabaseUnavailable``."""
    with noticing_loss():
        async with pool.acquire() as connection:
            yield connection


@asynccontextmanager
async def snapshot(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Everything read inside sees the database at one moment; nothing can be written."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        # Sorts and joins over everything: enough memory that most of them need no disk.
        await connection.execute("SET LOCAL work_mem = '64MB'")
        yield


async def rows(connection: asyncpg.Connection, query: str, *arguments: Any) -> AsyncIterator[asyncpg.Record]:
    """The rows of a query, a chunk at a time."""
    cursor = await connection.cursor(query, *arguments)
    while chunk := await cursor.fetch(CHUNK):
        for row in chunk:
            yield row


class Batched:
    """The rows of one table, handed out batch by batch; the query is ordered by batch id, which is the first column."""

    def __init__(self, cursor: asyncpg.cursor.Cursor) -> None:
        self._cursor, self._waiting, self._ended = cursor, deque[asyncpg.Record](), False

    async def upto(self, batch_id: int) -> tuple[tuple[int, int], list[asyncpg.Record]]:
        """Of rows before this batch that no batch claimed: the first one's batch id, and how many; and this batch's rows."""
        stray, strays = 0, 0
        own: list[asyncpg.Record] = []
        waiting = self._waiting
        while True:
            while waiting and waiting[0][0] <= batch_id:
                row = waiting.popleft()
                if row[0] == batch_id:
                    own.append(row)
                else:
                    stray, strays = (stray if strays else row[0]), strays + 1
            if waiting or self._ended:
                return (stray, strays), own
            waiting.extend(chunk := await self._cursor.fetch(CHUNK))
            self._ended = not chunk


class Chained(NamedTuple):
    """A link with what stands before it in its lane (``None``: nothing)."""

    link: Link
    previous: bytes | None
    previous_number: int | None


class BatchRows(NamedTuple):
    """What one batch wrote, as its digest covers it, sorted by key; ``is_whole``: every outcome has its operation."""

    outcomes: list[Row]
    operations: list[Row]
    transfers: list[Row]
    notices: list[Row]
    is_whole: bool


class Strays(NamedTuple):
    """Rows of a table that name a batch which does not exist."""

    table: str
    batch_id: int
    count: int


def _batch_rows(outcomes: list[asyncpg.Record], transfers: list[asyncpg.Record], notices: list[asyncpg.Record]) -> BatchRows:
    pairs = sorted(
        ((row[1:1 + OUTCOME_WIDTH], row[1 + OUTCOME_WIDTH:]) for row in map(tuple, outcomes)), key=lambda pair: pair[0][:4]
    )
    return BatchRows(
        [outcome for outcome, _ in pairs], [operation for _, operation in pairs],
        sorted((tuple(row)[1:] for row in transfers), key=lambda row: row[:4]),
        sorted((tuple(row)[1:] for row in notices), key=lambda row: row[:3]),
        all(operation[0] is not None for _, operation in pairs),
    )


async def batches(
    connection: asyncpg.Connection, since: int, until: int = LAST_ID
) -> AsyncIterator[tuple[Chained, BatchRows] | Strays]:
    """Every batch of these ids (both included) with its rows, in the order of ids; between them the rows that belong to none."""
    tables = ("outcomes", "transfers", "notices")
    streams = [Batched(await connection.cursor(getattr(CHAIN, name), since, until)) for name in tables]
    async for row in rows(connection, CHAIN.links, since, until):
        values = tuple(row)
        chained = Chained(Link(*values[:6]), *values[6:])
        own = []
        for table, stream in zip(tables, streams, strict=True):
            (first, count), found = await stream.upto(chained.link.batch_id)
            own.append(found)
            if count:
                yield Strays(table, first, count)
        yield chained, _batch_rows(*own)
    for table, stream in zip(tables, streams, strict=True):
        (first, count), _ = await stream.upto(LAST_ID + 1)
        if count:
            yield Strays(table, first, count)


async def heads(connection: asyncpg.Connection | asyncpg.Pool, at: datetime | None = None) -> list[Link]:
    """The last link of every lane, at or before an instant."""
    return [Link(*tuple(row)) for row in await connection.fetch(CHAIN.heads, at)]


async def link(connection: asyncpg.Connection | asyncpg.Pool, lane: int, number: int) -> Link | None:
    """One link of the chain."""
    row = await connection.fetchrow(CHAIN.link, lane, number)
    return None if row is None else Link(*tuple(row))


async def mark(connection: asyncpg.Connection, marks: Sequence[tuple[int, int, bytes]], at: datetime) -> None:
    """Remember (lane, number, digest) of what was proved."""
    await connection.execute(CHAIN.mark, *(list(column) for column in zip(*marks, strict=True)), at)


class Doubt(NamedTuple):
    """An operation whose outcome nobody knows."""

    merchant_id: int
    currency: str
    payment_id: int
    operation_id: int
    kind: str
    minor: int
    since: datetime                 # wall time
    processor: str


async def doubts(connection: asyncpg.Connection, query: str, *arguments: Any) -> AsyncIterator[Doubt]:
    """The rows of ``in_doubt`` or ``abandoned``."""
    async for row in rows(connection, query, *arguments):
        yield Doubt(*tuple(row))


class Named(NamedTuple):
    """A payment that a name means."""

    merchant_id: int
    merchant: str
    payment_id: int


class Window(NamedTuple):
    """Two instants (wall time), both included."""

    since: datetime
    until: datetime


async def named(
    connection: asyncpg.Connection, name: str, merchant: str | None, *, keys: Sequence[str], number: int | None, asked: Window,
) -> list[Named]:
    """The payments that an id or a door's reference may mean, at most 20.

    ``keys``: what a first operation of that reference claimed; ``number``: the name as an id; ``asked``: when an operation with that
    id was asked.  Inside of a transaction: it looks by index only, also where the server has no statistics yet.
    """
    await connection.execute("SET LOCAL enable_seqscan = off")
    return [Named(*tuple(row)) for row in await connection.fetch(STORY.named, name, list(keys), merchant, number, *asked)]


class Life(NamedTuple):
    """Every row about one payment; ``standing`` is ``None`` before its first outcome."""

    operations: list[asyncpg.Record]
    outcomes: list[asyncpg.Record]
    transfers: list[asyncpg.Record]
    events: list[asyncpg.Record]
    notices: list[asyncpg.Record]
    reversals: list[asyncpg.Record]
    jobs: list[asyncpg.Record]
    reviews: list[asyncpg.Record]
    disputes: list[asyncpg.Record]
    dispute_events: list[asyncpg.Record]
    authentications: list[AuthenticationRow]
    standing: asyncpg.Record | None


async def life(connection: asyncpg.Connection, merchant_id: int, payment_id: int) -> Life:
    """Every row about one payment, each table in its order."""
    tables = [
        await connection.fetch(getattr(STORY, name), merchant_id, payment_id)
        for name in ("operations", "outcomes", "transfers", "events", "notices", "reversals", "jobs", "reviews", "disputes", "dispute_events")
    ]
    asked = [AuthenticationRow(*row) for row in await connection.fetch(STORY.authentications, merchant_id, payment_id)]
    return Life(*tables, asked, await connection.fetchrow(STORY.standing, merchant_id, payment_id))
