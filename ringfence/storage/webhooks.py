"""Endpoints, deliveries and the log of attempts, as rows.

It moves values, it decides nothing: when something is tried, and what counts as received, is others' business.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries
from ringfence.storage.payments import columns

SQL = load_queries("webhooks")

DeliveryKey = tuple[int, int, int, int]
"""Merchant, endpoint, payment, sequence."""

Place = tuple[int, str, str]
"""Merchant, door and URL: what makes an endpoint one."""


class PolicyRow(NamedTuple):
    """How an endpoint wants to be told, as it is stored."""

    schedule: list[int]
    accepts: list[int]
    at_once: int
    in_order: bool
    seconds: float


class DeliveryRow(NamedTuple):
    """A row of ``deliveries``; times are business time."""

    merchant_id: int
    endpoint_id: int
    payment_id: int
    sequence: int
    event: str
    purpose: str
    content_type: str
    body: bytes | None
    state: str
    tried: int
    attempts: int
    next_at: datetime
    created_at: datetime
    ended_at: datetime | None


class AttemptRow(NamedTuple):
    """A line of a delivery's log.  ``at`` is business time; ``address`` is empty where none was called; ``answer`` is its beginning."""

    merchant_id: int
    endpoint_id: int
    payment_id: int
    sequence: int
    attempt: int
    at: datetime
    url: str
    address: str
    status: int | None
    error: str
    milliseconds: int
    answer: bytes


class Known(NamedTuple):
    """An endpoint as whoever drains it needs it; times are business time."""

    url: str
    policy: PolicyRow
    failures: int
    probe_at: datetime | None
    door: str


class Due(NamedTuple):
    """A delivery that may be tried.  ``behind``: the sequence that it waits for, ``None`` for none."""

    payment_id: int
    sequence: int
    event: str
    content_type: str
    body: bytes
    tried: int
    attempts: int
    behind: int | None


class Standing(NamedTuple):
    """What an endpoint has come to after an attempt.  Instants that did not change are ``None``."""

    merchant_id: int
    endpoint_id: int
    failures: int
    probe_at: datetime | None
    delivered_at: datetime | None
    failed_at: datetime | None
    last_status: int | None
    last_error: str


async def endpoints_at(connection: asyncpg.Connection, places: Sequence[Place]) -> dict[Place, tuple[int, PolicyRow]]:
    """The endpoints behind addresses, as far as there are any."""
    rows = await connection.fetch(SQL.endpoints_at, *columns(places, 3))
    return {(row[0], row[1], row[2]): (row[3], PolicyRow(*tuple(row)[4:])) for row in rows}


async def lock_endpoints(connection: asyncpg.Connection) -> None:
    """Until the transaction ends nobody else makes endpoints."""
    await connection.execute(SQL.lock_endpoints)


async def keep_endpoint(connection: asyncpg.Connection, place: Place, policy: PolicyRow, now: datetime) -> int:
    """Make an endpoint, or give it this policy; its number.  After ``lock_endpoints``."""
    return await connection.fetchval(SQL.keep_endpoint, *place, *policy, now)


async def keep_deliveries(connection: asyncpg.Connection, rows: Sequence[DeliveryRow]) -> int:
    """Store those that an endpoint does not have yet; how many there were."""
    return int((await connection.execute(SQL.keep_deliveries, rows)).rpartition(" ")[2])


async def endpoint(connection: asyncpg.Pool | asyncpg.Connection, merchant_id: int, endpoint_id: int) -> Known | None:
    """One endpoint."""
    row = await connection.fetchrow(SQL.endpoint, merchant_id, endpoint_id)
    return row and Known(row[0], PolicyRow(*tuple(row)[1:6]), row[6], row[7], row[8])


async def due(
    connection: asyncpg.Pool | asyncpg.Connection, merchant_id: int, endpoint_id: int, now: datetime, in_order: bool, limit: int,
) -> list[Due]:
    """What may be tried at an endpoint, in its order."""
    return [Due(*row) for row in await connection.fetch(SQL.due, merchant_id, endpoint_id, now, in_order, limit)]


async def next_due(
    connection: asyncpg.Pool | asyncpg.Connection, merchant_id: int, endpoint_id: int, in_order: bool,
) -> datetime | None:
    """When there is something to try next; ``None`` where nothing waits."""
    return await connection.fetchval(SQL.next_due, merchant_id, endpoint_id, in_order)


async def note_attempts(
    connection: asyncpg.Pool | asyncpg.Connection, attempts: Sequence[AttemptRow], states: Sequence[str], next_at: Sequence[datetime],
    standing: Iterable[Standing],
) -> set[tuple[int, int, int, int, int]]:
    """Store what came of attempts, and how the delivery of each goes on; the attempts that counted, by delivery and number."""
    told = [
        (one.merchant_id, one.endpoint_id, None, None, None, None, None, None, None, one.failures, one.probe_at, one.delivered_at,
         one.failed_at, one.last_status, one.last_error, None)
        for one in standing
    ]
    return {tuple(row) for row in await connection.fetch(SQL.note_attempts, attempts, states, next_at, told)}


async def endpoints(pool: asyncpg.Pool, merchant_id: int | None) -> list[asyncpg.Record]:
    """Endpoints, each with how much waits there and how much was given up."""
    return await pool.fetch(SQL.endpoints, merchant_id)


async def deliveries(
    pool: asyncpg.Pool, merchant_id: int | None, state: str | None, since: datetime | None, until: datetime | None,
    after: tuple[datetime, int, int, int, int] | None, limit: int,
) -> list[asyncpg.Record]:
    """Deliveries, newest first."""
    return await pool.fetch(SQL.deliveries, merchant_id, state, since, until, *(after or (None,) * 5), limit)


async def delivery(connection: asyncpg.Pool | asyncpg.Connection, key: DeliveryKey) -> asyncpg.Record | None:
    """One delivery, with its bytes and its endpoint's door."""
    return await connection.fetchrow(SQL.delivery, *key)


async def attempts(pool: asyncpg.Pool, key: DeliveryKey) -> list[AttemptRow]:
    """The log of one delivery."""
    return [AttemptRow(*row) for row in await pool.fetch(SQL.attempts, *key)]


async def chosen(
    connection: asyncpg.Connection, part: tuple[int | None, int | None, int | None, int | None], given_up: bool,
    since: datetime | None, until: datetime | None,
) -> list[DeliveryKey]:
    """Deliveries that may be told again, in key order."""
    return [tuple(row) for row in await connection.fetch(SQL.chosen, *part, given_up, since, until)]


async def tell_again(connection: asyncpg.Connection, now: datetime, keys: Sequence[DeliveryKey]) -> int:
    """They begin anew; how many did."""
    return int((await connection.execute(SQL.tell_again, now, *columns(keys, 4))).rpartition(" ")[2])


async def tell_elsewhere(connection: asyncpg.Connection, now: datetime, copies: Sequence[tuple[int, int, int, int, int]]) -> int:
    """Copies at other endpoints: each a key and the other endpoint's number; how many there are."""
    return int((await connection.execute(SQL.tell_elsewhere, now, *columns(copies, 5))).rpartition(" ")[2])


async def copy_notices(
    connection: asyncpg.Connection, merchant_id: int, endpoint_id: int, now: datetime, since: datetime | None, until: datetime | None,
    number: int | None, event: str | None, limit: int,
) -> int:
    """Have an endpoint told of notices of plans that it has not been given; how many."""
    return int((await connection.execute(SQL.copy_notices, merchant_id, endpoint_id, now, since, until, number, event, limit)).rpartition(" ")[2])


async def policies(connection: asyncpg.Connection, keys: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[str, PolicyRow]]:
    """The doors and policies of endpoints."""
    rows = await connection.fetch(SQL.policies, *columns(keys, 2))
    return {(row[0], row[1]): (row[2], PolicyRow(*tuple(row)[3:])) for row in rows}
