"""Payments in PostgreSQL: rows in and out of the set-based statements of ``queries/payments.sql``.

It moves values, it decides nothing.  Every function takes many rows at once and one connection; who opens and ends the
transaction is the caller's business.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.allotment import Capture
from ringfence.core.chain import Link
from ringfence.core.payment import Payment, Status
from ringfence.storage.database import load_queries
from ringfence.storage.refund_parts import PartRow

SQL = load_queries("payments")

Key = tuple[int, int]
"""Merchant id and payment id."""


class Held(NamedTuple):
    """A payment as it stands in its row: the core's value, and what only storage counts."""

    payment: Payment
    sequence: int = 0                       # events so far
    last_content: bytes | None = None
    last_asked_at: datetime | None = None


class OperationRow(NamedTuple):
    """A row of ``operations``."""

    merchant_id: int
    payment_id: int
    operation_id: int
    kind: str
    minor: int
    currency: str
    door: str
    reference: str | None
    key: str | None
    content: bytes
    details: bytes | None
    actor: str
    source: str
    processor: str
    card_id: int | None
    token_name: str | None
    token_version: int | None
    initiation: str
    channel: str
    accepts_partial: bool
    reason: str
    hold_seconds: int
    allotment: list[int] | None
    asked_at: datetime | None               # not yet known where a row is made: see ``claim``
    ask_deadline: datetime | None


class TransferRow(NamedTuple):
    """A row of ``transfers``."""

    merchant_id: int
    payment_id: int
    operation_id: int
    leg: int
    kind: int
    minor: int
    currency: str
    value_date: date
    batch_id: int
    reverses_operation_id: int | None = None
    reverses_leg: int | None = None


class EventRow(NamedTuple):
    """A row of ``events``."""

    merchant_id: int
    payment_id: int
    sequence: int
    event: str
    operation_id: int
    attempt: int
    occurred_at: datetime
    batch_id: int


class BalanceRow(NamedTuple):
    """A row of ``balances``; here what a batch adds."""

    merchant_id: int
    currency: str
    account: str
    lane: int
    balance: int


class ReversalRow(NamedTuple):
    """A row of ``reversals``."""

    merchant_id: int
    payment_id: int
    operation_id: int
    attempt: int
    why: str
    due_at: datetime
    acknowledged_at: datetime | None = None


class NoticeRow(NamedTuple):
    """A row of ``notices``."""

    merchant_id: int
    payment_id: int
    identity: str
    operation_id: int
    noticed: str
    minor: int
    capture_id: int
    noticed_at: datetime
    batch_id: int


class Keyed(NamedTuple):
    """An operation that carries a key, with its latest result (``None``: none yet)."""

    payment_id: int
    operation_id: int
    key: str
    content: bytes
    kind: str
    minor: int
    result: str | None
    response_code: str | None


def columns(rows: Iterable[tuple], width: int) -> list[tuple]:
    """Rows turned into the columns that ``unnest`` wants."""
    return list(zip(*rows, strict=True)) or [()] * width


def _row(key: Key, held: Held, now: datetime) -> tuple:
    """A row of ``payments``."""
    payment = held.payment
    return (
        key[0], *payment[:-1], [number for capture in payment.captures for number in capture], held.sequence, now,
        held.last_content, held.last_asked_at,
    )


def captures_of(numbers: Sequence[int]) -> tuple[Capture, ...]:
    """The column ``captures`` as values."""
    return tuple(Capture(*numbers[at:at + 6]) for at in range(0, len(numbers), 6))


async def claim(
    connection: asyncpg.Connection, operations: Sequence[OperationRow], asked_at: datetime, ask_deadline: datetime
) -> set[int]:
    """Store intents, given in the order of their keys; the operation ids that were stored.  The rows' own times do not
    count: they are the same for the whole batch."""
    return {row[0] for row in await connection.fetch(SQL.claim, operations, asked_at, ask_deadline)}


async def claim_free(
    connection: asyncpg.Connection, operations: Sequence[OperationRow], asked_at: datetime, ask_deadline: datetime
) -> set[int]:
    """The same where all keys are expected to be free, at a lower price; not for use within a transaction.

    Raises ``asyncpg.UniqueViolationError`` where one is not; nothing is stored then.
    """
    said = await connection.execute(SQL.claim_free, operations, asked_at, ask_deadline)
    if int(said.rpartition(" ")[2]) == len(operations):
        return {row[2] for row in operations}
    return await present(connection, [row[:3] for row in operations])


async def key_owners(connection: asyncpg.Connection, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], Key]:
    """Who holds these keys: (merchant id, key) -> (payment id, operation id)."""
    rows = await connection.fetch(SQL.key_owners, *columns(keys, 2))
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


async def present(connection: asyncpg.Connection, operations: Sequence[tuple[int, int, int]]) -> set[int]:
    """Which of these operations (merchant, payment, operation) are stored."""
    return {row[0] for row in await connection.fetch(SQL.present, *columns(operations, 3))}


async def lock(connection: asyncpg.Connection, keys: Sequence[Key]) -> dict[Key, Held]:
    """Load payments and hold them until the transaction ends.  ``keys`` sorted and distinct."""
    held = {}
    for row in await connection.fetch(SQL.lock, *columns(keys, 2)):
        values = tuple(row)
        payment = Payment(
            values[1], values[2], Status(values[3]), *values[4:21], captures=captures_of(values[21])
        )
        held[values[0], values[1]] = Held(payment, values[22], *values[24:26])
    return held


async def begun(connection: asyncpg.Connection, keys: Sequence[Key]) -> set[Key]:
    """Which of these payments have at least been asked for."""
    return {(row[0], row[1]) for row in await connection.fetch(SQL.begun, *columns(keys, 2))}


async def keyed(connection: asyncpg.Connection, keys: Sequence[Key]) -> dict[Key, list[Keyed]]:
    """The keyed operations of these payments, oldest first."""
    found: dict[Key, list[Keyed]] = {}
    for row in await connection.fetch(SQL.keyed, *columns(keys, 2)):
        found.setdefault((row[0], row[1]), []).append(Keyed(*tuple(row)[1:]))
    return found


async def reserve(connection: asyncpg.Connection, held: dict[Key, Held], now: datetime) -> None:
    """Store the reservations that commands made."""
    await connection.execute(SQL.reserve, [_row(key, one, now) for key, one in held.items()])


async def tell(connection: asyncpg.Connection, events: Sequence[EventRow]) -> None:
    """Store events of an intent's commit."""
    await connection.execute(SQL.tell, events)


async def owe_reversals(connection: asyncpg.Connection, reversals: Sequence[ReversalRow]) -> None:
    """Store reversals to be sent."""
    await connection.execute(SQL.owe_reversals, reversals)


class Finished(NamedTuple):
    """All that one batch of outcomes writes.

    ``firsts`` are rows of the type ``first_outcome``; ``reversals`` and ``parts`` have statements of their own.
    """

    firsts: Sequence[tuple]
    outcomes: Sequence[tuple]
    changed: dict[Key, Held]
    transfers: Sequence[TransferRow]
    balances: Sequence[BalanceRow]
    events: Sequence[EventRow]
    notices: Sequence[NoticeRow]
    reversals: Sequence[ReversalRow]
    link: Link
    parts: Sequence[PartRow] = ()


async def finish(connection: asyncpg.Connection, finished: Finished, now: datetime) -> None:
    """Store a batch of outcomes and its link of the chain.

    Raises ``asyncpg.UniqueViolationError`` where an attempt has an outcome already; nothing is stored then.
    """
    await connection.execute(
        SQL.finish, finished.firsts, finished.outcomes, [_row(key, one, now) for key, one in finished.changed.items()],
        finished.transfers, finished.balances, finished.events, finished.notices, now, finished.link.batch_id, [finished.link],
    )


async def known_notices(connection: asyncpg.Connection, keys: Sequence[Key]) -> frozenset[tuple[Key, str]]:
    """What these payments have been told already: (payment, identity)."""
    found = await connection.fetch(SQL.known_notices, *columns(keys, 2))
    return frozenset(((row[0], row[1]), row[2]) for row in found)


async def abandoned(
    pool: asyncpg.Pool, since: datetime, until: datetime, limit: int
) -> list[tuple[OperationRow, bool]]:
    """Operations without any outcome whose deadline (wall time) passed between two instants, and whether their payer was challenged."""
    return [(OperationRow(*tuple(row)[:-1]), row[-1]) for row in await pool.fetch(SQL.abandoned, since, until, limit)]


async def oldest_commit(pool: asyncpg.Pool, lanes: int) -> tuple[datetime, datetime | None]:
    """The database's clock, and when the oldest open commit of any lane began by it (``None``: there is none); ``lanes`` is the
    space of the lanes' locks."""
    return tuple(await pool.fetchrow(SQL.oldest_commit, lanes))


async def swept_until(pool: asyncpg.Pool, job: str) -> datetime | None:
    """How far a sweep over time has come; ``None`` before its first."""
    return await pool.fetchval(SQL.swept_until, job)


async def note_swept(pool: asyncpg.Pool, job: str, until: datetime) -> None:
    """Remember how far it has come."""
    await pool.execute(SQL.note_swept, job, until)
