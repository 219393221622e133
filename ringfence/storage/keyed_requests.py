"""Requests that are carried out once under a key of their caller's, as rows.  Refuses to know what they ask for."""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries

SQL = load_queries("keyed_requests")


class Found(NamedTuple):
    """What is known under a key; ``status`` and ``answer`` are ``None`` while there is no answer."""

    content: bytes
    status: int | None
    answer: bytes | None


class Place(NamedTuple):
    """Whose request it is: merchant, door, and the digest of what the key stands for."""

    merchant_id: int
    door: str
    key: bytes


async def claim(
    pool: asyncpg.Pool, place: Place, content: bytes, subject_id: int, holder: str, held_until: datetime, lapsed: datetime, wall: datetime,
) -> int | None:
    """Take the request in hand until ``held_until`` (wall time); the number fixed for it, ``None`` where it is not ours to carry out.

    ``lapsed`` (business time): answers given before it free their keys.
    """
    return await pool.fetchval(SQL.claim, *place, content, subject_id, holder, held_until, lapsed, wall)


async def find(pool: asyncpg.Pool, place: Place) -> Found | None:
    """The request under a key."""
    row = await pool.fetchrow(SQL.find, *place)
    return row and Found(*row)


async def answer(pool: asyncpg.Pool, place: Place, holder: str, status: int, body: bytes, at: datetime) -> bool:
    """Keep the answer (``at``: business time); false where somebody else has the request in hand."""
    return await pool.fetchval(SQL.answer, *place, holder, status, body, at) is not None


async def forget(pool: asyncpg.Pool, place: Place, holder: str) -> None:
    """Free the key."""
    await pool.execute(SQL.forget, *place, holder)


async def sweep(pool: asyncpg.Pool, merchant_id: int, lapsed: datetime, most: int) -> int:
    """Drop answers given before ``lapsed`` (business time); how many."""
    return len(await pool.fetch(SQL.sweep, merchant_id, lapsed, most))
