"""Operations in doubt in PostgreSQL: the fences of their ends, and what their messages are made of again.

It moves values and decides nothing.  The fences are for a transaction that holds the payments' locks already; locks are taken
in the order payments, jobs, everything else.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries
from ringfence.storage.jobs import Job
from ringfence.storage.payments import OperationRow, columns

SQL = load_queries("recovery")

RECOVERY, REVERSAL, HOLD_REST = "recovery", "reversal", "hold rest"
"""The queues: operations in doubt, ended ones whose undoing is owed, and captures that took the whole hold with them.  The subject of each is
the operation's id."""

Name = tuple[int, int, int]
"""Merchant, payment and operation."""

_WIDTH = len(OperationRow._fields)


class Fence(NamedTuple):
    """What stands about an operation under its payment's lock."""

    tries: int | None               # of its recovery job; None: there is none, so it is not in doubt
    reversal_left: bool
    is_approved: bool               # or will be, as a person decided


class Decision(NamedTuple):
    """What a person decided; ``minor`` is the approved amount, else 0."""

    outcome: str
    minor: int
    evidence: str


class CaseRow(NamedTuple):
    """An operation with everything that its messages need."""

    operation: OperationRow
    first_minor: int | None         # later operations: what the first one asked for, and what was said to it
    approval_code: str | None
    processor_reference: str | None
    scheme_reference: str | None
    reversal_left: bool
    resubmitted: bool               # the payment's first message was declined softly: its second one counts
    is_pending: bool                # the other side has it, and will tell
    ended: str | None               # its final result
    decided: Decision | None


async def fences(connection: asyncpg.Connection, names: Sequence[Name]) -> dict[Name, Fence]:
    """Hold the operations' jobs until the transaction ends, and say what stands; their payments are held already.

    ``names`` sorted and distinct.
    """
    jobs = await connection.fetch(SQL.standing, [name[0] for name in names], [name[2] for name in names])
    tries = {(row[0], row[1]): row[2] for row in jobs}
    decided = {(row[0], row[1]): tuple(row)[2:] for row in await connection.fetch(SQL.decided, *columns(names, 3))}
    return {name: Fence(tries.get(name[::2]), *decided[name[::2]]) for name in names}


async def end_doubts(connection: asyncpg.Connection, names: Sequence[Name]) -> None:
    """Remove the recovery jobs of operations that have ended."""
    await connection.execute(SQL.end_doubts, *columns(sorted(names), 3))


async def acknowledge(connection: asyncpg.Connection | asyncpg.Pool, names: Sequence[Name], at: datetime) -> None:
    """Note (wall time) that what was to be undone of these operations is."""
    await connection.execute(SQL.acknowledge, *columns(sorted(names), 3), at)


async def give_back(connection: asyncpg.Connection, names: Sequence[Name], due_at: datetime) -> None:
    """Give the recovery jobs of these operations back, due at ``due_at`` (business time)."""
    await connection.execute(SQL.give_back, [name[0] for name in sorted(names)], [name[2] for name in sorted(names)], due_at)


async def cases(connection: asyncpg.Connection, names: Sequence[Name]) -> list[CaseRow]:
    """These operations; those that are not stored are left out."""
    found = []
    for row in await connection.fetch(SQL.cases, *columns(names, 3)):
        values = tuple(row)
        rest = values[_WIDTH:]
        found.append(CaseRow(OperationRow(*values[:_WIDTH]), *rest[:8], Decision(*rest[8:]) if rest[8] else None))
    return found


async def doubts(pool: asyncpg.Pool, merchant_id: int, payment_id: int) -> list[int]:
    """The operations of a payment that are in doubt."""
    return [row[0] for row in await pool.fetch(SQL.doubts, merchant_id, payment_id)]


async def before_a_person(connection: asyncpg.Connection, job: Job, deadline_at: datetime) -> None:
    """Set a job's deadline (business time) to an earlier instant."""
    await connection.execute(SQL.before_a_person, job.merchant_id, job.subject, job.tries, deadline_at)


async def is_owed(pool: asyncpg.Pool, name: Name) -> bool:
    """Whether the acknowledgement of an operation's reversal is owed to us."""
    return await pool.fetchval(SQL.owed, *name)
