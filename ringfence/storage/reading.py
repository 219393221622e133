"""What doors and pages ask about payments; reads only, on the pool."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.payment import Payment, Status
from ringfence.storage.database import load_queries
from ringfence.storage.payments import captures_of, columns

SQL = load_queries("reading")

Connection = asyncpg.Connection | asyncpg.Pool


class Step(NamedTuple):
    """One operation and the outcome of its latest attempt; ``result`` is ``None`` while there is none."""

    operation_id: int
    kind: str
    minor: int
    currency: str
    door: str
    reference: str | None
    key: str | None
    details: bytes | None
    actor: str
    source: str
    processor: str
    card_id: int | None
    token_name: str | None
    initiation: str
    channel: str
    accepts_partial: bool
    reason: str
    hold_seconds: int
    allotment: list[int] | None
    asked_at: datetime
    ask_deadline: datetime
    attempt: int | None
    result: str | None
    answered_minor: int | None
    response_code: str | None
    advice: str | None
    approval_code: str | None
    scheme_reference: str | None
    processor_reference: str | None
    answered_at: datetime | None
    resubmitted: bool               # asked for a second time behind a challenge that the issuer wanted


async def payment_by_key(pool: asyncpg.Pool, merchant_id: int, key: str) -> int | None:
    """The id of the payment that a key began."""
    return await pool.fetchval(SQL.by_key, merchant_id, key)


async def latest_attempt(pool: asyncpg.Pool, merchant_id: int, key: str) -> int | None:
    """The payment of the last further attempt under a key."""
    return await pool.fetchval(SQL.latest_attempt, merchant_id, key)


async def payment(pool: Connection, merchant_id: int, payment_id: int) -> Payment | None:
    """A payment as it stands; ``None`` before its first outcome."""
    return (await payments_of(pool, [(merchant_id, payment_id)]))[0]


async def payments_of(connection: Connection, wanted: Sequence[tuple[int, int]]) -> list[Payment | None]:
    """Payments by (merchant id, payment id) as they stand, place by place; ``None`` before the first outcome."""
    found: list[Payment | None] = [None] * len(wanted)
    for place, *values in await connection.fetch(SQL.payments_of, *columns(wanted, 2)):
        found[place - 1] = Payment(values[0], values[1], Status(values[2]), *values[3:20], captures=captures_of(values[20]))
    return found


async def steps_of(connection: Connection, wanted: Sequence[tuple[int, int]]) -> list[list[Step]]:
    """The operations of payments by (merchant id, payment id), oldest first, place by place; empty where there is no such payment."""
    found: list[list[Step]] = [[] for _ in wanted]
    for place, *values in await connection.fetch(SQL.steps_of, *columns(wanted, 2)):
        found[place - 1].append(Step(*values))
    return found


async def claim_service(
    pool: asyncpg.Pool, merchant_id: int, door: str, service: str, reference: str, payment_id: int | None, now: datetime
) -> bool:
    """Use up the reference of a request that is not a payment; false where it was used before."""
    return await pool.fetchval(SQL.claim_service, merchant_id, door, service, reference, payment_id, now) is not None


async def service_payment(
    pool: asyncpg.Pool, merchant_id: int, door: str, service: str, reference: str
) -> int | None:
    """The payment behind such a reference."""
    return await pool.fetchval(SQL.service_payment, merchant_id, door, service, reference)


async def keep_sdk_token(
    pool: asyncpg.Pool, merchant_id: int, sdk_token: str, device_id: str, expires_at: datetime
) -> None:
    """Store a token made for one device."""
    await pool.execute(SQL.keep_sdk_token, merchant_id, sdk_token, device_id, expires_at)
