"""Page sessions as rows: what a payer's browser is in the middle of.

Every change is one statement that says from which state it may happen; whether it did is the answer.  Refuses to know what is on the pages.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import load_queries

SQL = load_queries("sessions")


class SessionRow(NamedTuple):
    """One session; see the table's comments."""

    merchant_id: int
    session_id: int
    door: str
    purpose: str
    reference: str
    content: bytes
    token_hash: bytes
    asked: bytes
    payment_link_id: int | None
    state: str
    attempts: int
    payment_id: int | None
    problem: str
    answer: bytes | None
    opened_at: datetime
    expires_at: datetime
    tried_at: datetime | None


async def insert(pool: asyncpg.Pool, row: SessionRow) -> bool:
    """Store a new session; false where its reference has one."""
    return await _done(pool, SQL.insert, *row[:9], row.opened_at, row.expires_at)


async def replace(pool: asyncpg.Pool, old: int, row: SessionRow) -> bool:
    """Put a new session in the place of ``old``; false where that moved something, or somebody is paying in it."""
    return await _done(
        pool, SQL.replace, row.merchant_id, old, row.session_id, row.content, row.token_hash, row.asked, row.payment_link_id,
        row.opened_at, row.expires_at)


async def reopen(pool: asyncpg.Pool, merchant_id: int, session_id: int, expires_at: datetime) -> bool:
    """Let a payer go on; false where the session is being tried or done."""
    return await _done(pool, SQL.reopen, merchant_id, session_id, expires_at)


async def by_reference(pool: asyncpg.Pool, merchant_id: int, door: str, purpose: str, reference: str) -> SessionRow | None:
    """The session of a reference."""
    return await _one(pool, SQL.by_reference, merchant_id, door, purpose, reference)


async def by_token(pool: asyncpg.Pool, merchant_id: int, token_hash: bytes) -> SessionRow | None:
    """The session behind an address."""
    return await _one(pool, SQL.by_token, merchant_id, token_hash)


async def by_payment(pool: asyncpg.Pool, merchant_id: int, payment_id: int) -> SessionRow | None:
    """The session that a payment is the latest attempt of."""
    return await _one(pool, SQL.by_payment, merchant_id, payment_id)


async def begin(pool: asyncpg.Pool, merchant_id: int, session_id: int, attempts: int, payment_id: int, now: datetime) -> bool:
    """Take the place of the one attempt; false where somebody has it, where others came in between, or where it is too late."""
    return await _done(pool, SQL.begin, merchant_id, session_id, attempts, payment_id, now)


async def challenge(pool: asyncpg.Pool, merchant_id: int, session_id: int, payment_id: int) -> bool:
    """The bank asks the payer."""
    return await _done(pool, SQL.challenge, merchant_id, session_id, payment_id)


async def fail(pool: asyncpg.Pool, merchant_id: int, session_id: int, payment_id: int, problem: str, counts: bool) -> bool:
    """The attempt paid nothing, and another is possible."""
    return await _done(pool, SQL.fail, merchant_id, session_id, payment_id, problem, int(counts))


async def finish(pool: asyncpg.Pool, merchant_id: int, session_id: int, payment_id: int, answer: bytes) -> bool:
    """The attempt ended the session."""
    return await _done(pool, SQL.finish, merchant_id, session_id, payment_id, answer)


async def cancel(pool: asyncpg.Pool, merchant_id: int, session_id: int, answer: bytes) -> bool:
    """The payer gave up; false while an attempt is in hand, and once it ended."""
    return await _done(pool, SQL.cancel, merchant_id, session_id, answer)


async def forget(pool: asyncpg.Pool, merchants: Sequence[int], before: datetime, limit: int) -> int:
    """Delete what was over before an instant (business time); how many."""
    async with borrowed(pool) as connection:
        return int((await connection.execute(SQL.forget, list(merchants), before, limit)).rpartition(" ")[2])


async def _one(pool: asyncpg.Pool, statement: str, *values: object) -> SessionRow | None:
    async with borrowed(pool) as connection:
        row = await connection.fetchrow(statement, *values)
    return None if row is None else SessionRow(*row.values())


async def _done(pool: asyncpg.Pool, statement: str, *values: object) -> bool:
    async with borrowed(pool) as connection:
        return await connection.fetchval(statement, *values) is not None
