"""What the PPRO door keeps and asks of charges beside payments themselves, as rows.  Refuses to know its words."""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.ids import LARGEST
from ringfence.storage.database import load_queries

SQL = load_queries("charges")


class RefusedRow(NamedTuple):
    """An operation that was turned down.  ``minor`` is in minor units of its payment's currency, ``refused_at`` business time."""

    operation_id: int
    kind: str
    minor: int
    refusal: str
    details: bytes
    content: bytes
    refused_at: datetime


class FirstRow(NamedTuple):
    """What was said of an operation first; all but ``content`` is ``None`` while nothing was."""

    content: bytes
    result: str | None
    answered_minor: int | None
    response_code: str | None
    advice: str | None
    approval_code: str | None
    scheme_reference: str | None
    processor_reference: str | None
    answered_at: datetime | None


async def by_reference(pool: asyncpg.Pool, merchant_id: int, reference: str, before: int | None, most: int) -> list[int]:
    """Payments of the door under a reference, newest first, older than ``before``."""
    rows = await pool.fetch(SQL.by_reference, merchant_id, reference, LARGEST if before is None else before, most)
    return [row["payment_id"] for row in rows]


async def first_outcome(pool: asyncpg.Pool, merchant_id: int, payment_id: int, operation_id: int) -> FirstRow | None:
    """What was said of an operation first."""
    row = await pool.fetchrow(SQL.first_outcome, merchant_id, payment_id, operation_id)
    return row and FirstRow(*row)


async def keep_refused(
    pool: asyncpg.Pool | asyncpg.Connection, merchant_id: int, payment_id: int, row: RefusedRow, key: str | None, actor: str,
) -> bool:
    """Keep an operation that was turned down; false where its key was used."""
    return await pool.fetchval(
        SQL.keep_refused, merchant_id, payment_id, row.operation_id, row.kind, row.minor, row.refusal, row.details, key, row.content, actor,
        row.refused_at) is not None


async def refused(pool: asyncpg.Pool, merchant_id: int, payment_id: int) -> list[RefusedRow]:
    """What was turned down on a payment, oldest first."""
    return [RefusedRow(*row) for row in await pool.fetch(SQL.refused, merchant_id, payment_id)]


async def undone(pool: asyncpg.Pool, merchant_id: int, payment_id: int) -> dict[int, datetime]:
    """Captures that clearing rejected and refunds that came back, with when (business time); 0 for all captures."""
    rows = await pool.fetch(SQL.undone, merchant_id, payment_id)
    return {row["operation_id"]: row["noticed_at"] for row in rows if row["operation_id"] is not None}


async def refused_by_key(pool: asyncpg.Pool, merchant_id: int, key: str) -> RefusedRow | None:
    """What was turned down under a key."""
    row = await pool.fetchrow(SQL.refused_by_key, merchant_id, key)
    return row and RefusedRow(*row)
