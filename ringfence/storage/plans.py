"""Plans, their periods and attempts, as rows.

It moves values, it decides nothing: what is due, and what follows from a decline, is others' business.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import asyncpg

from ringfence.core.plan import Period, State
from ringfence.storage.database import load_queries
from ringfence.storage.payments import columns

SQL = load_queries("plans")

Connection = asyncpg.Connection | asyncpg.Pool
PlanKey = tuple[int, int]
"""Merchant and number."""
TRIES = 10
"""How often a number is taken for a new plan; each further try means that another plan was quicker."""


class PlanRow(NamedTuple):
    """A row of ``plans``.  Times are business time."""

    merchant_id: int
    number: int
    plan_id: str
    version: int
    status: str
    reason: str
    kind: str
    token_name: str
    minor: int
    currency: str
    email: str
    description: str
    start: date
    every: int
    unit: str
    anchor: int
    zone: str
    until: date | None
    count: int | None
    missed: str
    failed: str
    notice_days: int
    place: int
    announced: int
    charged: int
    notices: int
    hard_card: int | None
    paused_at: datetime | None
    created_at: datetime
    changed_at: datetime


class PeriodRow(NamedTuple):
    """A row of ``plan_periods``."""

    merchant_id: int
    number: int
    place: int
    due_date: date
    minor: int
    state: str
    attempts: int
    declines: int
    next_at: datetime
    first_at: datetime | None
    payment_id: int | None
    link: str
    reason: str
    changed_at: datetime


class AttemptRow(NamedTuple):
    """What came of one attempt."""

    merchant_id: int
    number: int
    place: int
    attempt: int
    reference: str
    card_id: int | None
    payment_id: int | None
    result: str
    response_code: str
    advice: str
    ended_at: datetime


class Asked(NamedTuple):
    """The operation behind a reference.  ``result`` is ``None`` without an outcome, ``status`` without a payment."""

    payment_id: int
    actor: str
    card_id: int | None
    result: str | None
    response_code: str | None
    advice: str | None
    status: str | None


class Card(NamedTuple):
    """A card behind a token, and when its merchant was declined with it by itself, in order."""

    card_id: int
    brand: str
    declines: list[datetime]


class Chargeable(NamedTuple):
    """A token and what its card may do; see ``storage.cards``."""

    active: bool
    brand: str
    first_reference: str
    blocked: str


class Told(NamedTuple):
    """A period as it is shown."""

    period: Period
    payment_id: int | None
    link: str
    reason: str
    changed_at: datetime


async def insert(connection: asyncpg.Connection, row: PlanRow) -> PlanRow | None:
    """Make a plan; the row with its number, or ``None`` where the merchant has one of that name."""
    values = (
        row.merchant_id, row.plan_id, row.kind, row.token_name, row.minor, row.currency, row.email, row.description, row.start, row.every,
        row.unit, row.anchor, row.zone, row.until, row.count, row.missed, row.failed, row.notice_days, row.created_at)
    for _ in range(TRIES):
        number = await connection.fetchval(SQL.insert_plan, *values)
        if number is not None:
            return row._replace(number=number)
        if await plan(connection, row.merchant_id, row.plan_id) is not None:
            return None
    raise RuntimeError("other plans were quicker, again and again")


async def plan(connection: Connection, merchant_id: int, plan_id: str) -> PlanRow | None:
    """One plan by its name."""
    row = await connection.fetchrow(SQL.plan, merchant_id, plan_id)
    return row and PlanRow(*row)


async def lock(connection: asyncpg.Connection, merchant_id: int, number: int) -> PlanRow | None:
    """One plan by its number, held until the transaction ends."""
    row = await connection.fetchrow(SQL.lock_plan, merchant_id, number)
    return row and PlanRow(*row)


async def save(connection: asyncpg.Connection, row: PlanRow) -> None:
    """Store what may change of a plan that is held."""
    await connection.execute(
        SQL.save_plan, row.merchant_id, row.number, row.status, row.reason, row.token_name, row.minor, row.email, row.description, row.until,
        row.count, row.missed, row.failed, row.notice_days, row.place, row.announced, row.charged, row.notices, row.hard_card,
        row.paused_at, row.changed_at)


async def plans(
    connection: Connection, merchant_id: int | None, status: str | None, after: tuple[int, int] | None, limit: int,
) -> list[PlanRow]:
    """Plans in the order of merchants and numbers, those behind ``after``."""
    return [PlanRow(*row) for row in await connection.fetch(SQL.plans, merchant_id, status, *(after or (None, None)), limit)]


async def hold(connection: asyncpg.Connection, keys: Sequence[PlanKey]) -> dict[PlanKey, PlanRow]:
    """Plans, held until the transaction ends."""
    found = [PlanRow(*row) for row in await connection.fetch(SQL.hold_plans, *columns(keys, 2))]
    return {(row.merchant_id, row.number): row for row in found}


async def save_all(connection: asyncpg.Connection, rows: Sequence[PlanRow]) -> None:
    """Store how far plans that are held have come; what their keepers agreed stays."""
    await connection.execute(SQL.save_plans, rows)


async def unfinished(connection: Connection, keys: Sequence[PlanKey]) -> dict[PlanKey, list[Period]]:
    """Periods of plans that are open or asked for, in their order."""
    found: dict[PlanKey, list[Period]] = {}
    for row in await connection.fetch(SQL.unfinished, *columns(keys, 2)):
        values = tuple(row)
        found.setdefault(values[:2], []).append(_period(values[2:]))
    return found


async def save_periods(connection: asyncpg.Connection, rows: Sequence[PeriodRow]) -> None:
    """Store periods of plans that are held, each of them once."""
    await connection.execute(SQL.save_periods, rows)


async def save_period(
    connection: asyncpg.Connection, row: PlanRow, period: Period, now: datetime, *, payment_id: int | None = None, link: str = "",
    reason: str = "",
) -> None:
    """Store a period of a plan that is held."""
    await connection.execute(
        SQL.save_period, row.merchant_id, row.number, *period[:3], period.state, *period[4:], payment_id, link, reason, now)


async def pass_over(
    connection: asyncpg.Connection, row: PlanRow, days: Sequence[tuple[int, date]], reason: str, now: datetime,
) -> None:
    """Store due dates (place and day) of a plan that is held as skipped."""
    await connection.execute(
        SQL.pass_over, row.merchant_id, row.number, [one[0] for one in days], [one[1] for one in days], row.minor, reason, now)


async def drop_open(connection: asyncpg.Connection, row: PlanRow, reason: str, now: datetime) -> None:
    """Give up what is open."""
    await connection.execute(SQL.drop_open, row.merchant_id, row.number, reason, now)


async def hasten_open(connection: asyncpg.Connection, row: PlanRow, now: datetime) -> None:
    """What is open is due by now."""
    await connection.execute(SQL.hasten_open, row.merchant_id, row.number, now)


async def note_attempts(connection: asyncpg.Connection, rows: Sequence[AttemptRow]) -> None:
    """Store what came of attempts; it changes nothing where that is known."""
    await connection.execute(SQL.note_attempts, rows)


async def card(connection: Connection, merchant_id: int, token_name: str) -> tuple[int, str] | None:
    """Number and brand of the card behind a token."""
    row = await connection.fetchrow(SQL.card, merchant_id, token_name)
    return row and (row[0], row[1])


async def chargeable(connection: Connection, merchant_id: int, token_name: str) -> Chargeable | None:
    """A token and what its card may do."""
    row = await connection.fetchrow(SQL.chargeable, merchant_id, token_name)
    return row and Chargeable(*row)


async def cards(connection: Connection, tokens: Sequence[tuple[int, str, datetime]]) -> dict[tuple[int, str], Card]:
    """The cards behind tokens (merchant, name), with their declines since an instant of each."""
    return {(row[0], row[1]): Card(*tuple(row)[2:]) for row in await connection.fetch(SQL.cards, *columns(tokens, 3))}


async def asked_under(connection: Connection, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], Asked]:
    """The operations that hold keys (merchant, key)."""
    return {(row[0], row[1]): Asked(*tuple(row)[2:]) for row in await connection.fetch(SQL.asked_under, *columns(keys, 2))}


async def periods(connection: Connection, row: PlanRow, limit: int) -> list[Told]:
    """Its periods, the last ones first."""
    return [Told(_period(found), *tuple(found)[8:]) for found in await connection.fetch(SQL.periods, row.merchant_id, row.number, limit)]


async def attempts(connection: Connection, row: PlanRow, place: int) -> list[AttemptRow]:
    """The attempts of its periods from a place on, the last ones first."""
    found = await connection.fetch(SQL.attempts, row.merchant_id, row.number, place)
    return [AttemptRow(row.merchant_id, row.number, *one) for one in found]


async def due(connection: Connection, merchant_id: int | None, until: datetime, limit: int) -> list[tuple[datetime, PlanRow]]:
    """Plans with something to be done up to an instant, the next first."""
    return [(row[0], PlanRow(*tuple(row)[1:])) for row in await connection.fetch(SQL.due, merchant_id, until, limit)]


def _period(row: Sequence[Any]) -> Period:
    values = tuple(row)
    return Period(*values[:3], State(values[3]), *values[4:8])
