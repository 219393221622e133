"""Stores, the trips through them and the payments of those, as rows.  It moves values and decides nothing."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries
from ringfence.storage.payments import columns

SQL = load_queries("trips")

Connection = asyncpg.Connection | asyncpg.Pool


class StoreRow(NamedTuple):
    """A row of ``stores``, but for when it was changed.  ``hold`` and ``least`` are minor units of ``currency``."""

    merchant_id: int
    store: str
    title: str
    currency: str
    hold: int
    least: int
    address: Sequence[str]
    merchant_shown: str
    terminals: Sequence[str]


class TripRow(NamedTuple):
    """A row of ``trips``.  ``hold`` and ``level`` are minor units of ``currency``; times are business time."""

    merchant_id: int
    store: str
    name: str
    number: int
    payment_id: int
    holds: int
    card_id: int
    shopper: str
    company: str
    people: int
    card_read: bytes
    currency: str
    hold: int
    started_at: datetime
    expires_at: datetime
    never_expires: bool
    refused: str = ""
    level: int | None = None
    level_behind: int = 0
    cancelled_at: datetime | None = None
    ended_at: datetime | None = None
    alarms: int = 0
    alarm_at: datetime | None = None
    actor: str = ""


async def put_store(connection: Connection, row: StoreRow, now: datetime) -> None:
    """Make a store, or change it."""
    await connection.execute(SQL.put_store, *row[:6], list(row.address), row.merchant_shown, list(row.terminals), now)


async def store(connection: Connection, merchant_id: int, name: str) -> StoreRow | None:
    """A store."""
    row = await connection.fetchrow(SQL.store, merchant_id, name)
    return row and StoreRow(*row)


async def stores(connection: Connection, merchant_id: int) -> list[StoreRow]:
    """A merchant's stores, by name."""
    return [StoreRow(*row) for row in await connection.fetch(SQL.stores, merchant_id)]


async def make(connection: Connection, row: TripRow) -> bool:
    """Begin a trip; false where its store has one of that name."""
    return await connection.fetchval(SQL.make, *row) is not None


async def trip(connection: Connection, merchant_id: int, store: str, name: str) -> TripRow | None:
    """A trip."""
    return (await together(connection, [(merchant_id, store, name)]))[0]


async def together(connection: Connection, wanted: Sequence[tuple[int, str, str]]) -> list[TripRow | None]:
    """Trips by (merchant id, store, name), place by place."""
    found: list[TripRow | None] = [None] * len(wanted)
    for place, *values in await connection.fetch(SQL.together, *columns(wanted, 3)):
        found[place - 1] = TripRow(*values)
    return found


async def named(connection: Connection, merchant_id: int, name: str) -> list[TripRow]:
    """A merchant's trips of that name, in whichever store, the newest first."""
    return [TripRow(*row) for row in await connection.fetch(SQL.named, merchant_id, name)]


async def of_payment(connection: Connection, merchant_id: int, payment_id: int) -> TripRow | None:
    """The trip that a payment is, or was, of."""
    row = await connection.fetchrow(SQL.of_payment, merchant_id, payment_id)
    return row and TripRow(*row)


async def listed(
    connection: Connection, merchant_id: int, since: datetime, until: datetime, store: str, after: int, most: int,
) -> list[TripRow]:
    """Trips that began between two instants, of one store unless ``store`` is empty, behind the one of number ``after``, oldest first."""
    return [TripRow(*row) for row in await connection.fetch(SQL.listed, merchant_id, since, until, store, after, most)]


async def pay(connection: Connection, merchant_id: int, payment_id: int, number: int) -> None:
    """Note a payment of a trip."""
    await connection.execute(SQL.pay, merchant_id, payment_id, number)


async def adopt(connection: Connection, row: TripRow, payment_id: int) -> bool:
    """Give a trip its next payment; false where it has had another one since it was read."""
    return await connection.fetchval(SQL.adopt, row.merchant_id, row.number, payment_id, row.holds) is not None


async def renew(connection: Connection, row: TripRow) -> bool:
    """A trip begins anew, as the row has it now; false where somebody else was quicker."""
    return await connection.fetchval(
        SQL.renew, row.merchant_id, row.number, row.payment_id, row.card_read, row.started_at, row.expires_at, row.hold, row.refused,
        row.alarm_at, row.currency, row.card_id, row.holds) is not None


async def wait(connection: Connection, merchant_id: int, number: int, why: str) -> int:
    """Trips that never expire begin anew when somebody next asks for them: the one of that number, 0 for all; how many."""
    return len(await connection.fetch(SQL.wait, merchant_id, number, why))


async def leave(connection: Connection, merchant_id: int, number: int, now: datetime) -> datetime:
    """The shopper left; when he did so first."""
    return await connection.fetchval(SQL.leave, merchant_id, number, now)


async def settle(connection: Connection, row: TripRow) -> None:
    """What came of the entry."""
    await connection.execute(SQL.settle, row.merchant_id, row.number, row.refused, row.card_read, row.alarm_at)


async def note_level(connection: Connection, merchant_id: int, number: int, level: int, behind: int) -> None:
    """An adjust that nobody had to be asked for, and the one before it."""
    await connection.execute(SQL.note_level, merchant_id, number, level, behind)


async def give_up(connection: Connection, merchant_id: int, number: int, now: datetime) -> None:
    """Nothing was held, and nothing will be."""
    await connection.execute(SQL.give_up, merchant_id, number, now)


async def waiting(connection: Connection, merchants: Sequence[int], now: datetime, since: datetime) -> list[int]:
    """Those of these merchants for whom ``alarming`` at ``now`` or ``rejected`` behind ``since`` finds anything."""
    return [row[0] for row in await connection.fetch(SQL.waiting, merchants, now, since)]


async def alarming(connection: asyncpg.Connection, merchant_id: int, now: datetime, most: int) -> list[TripRow]:
    """Within a transaction: the next trips whose alarm is due, that nobody else has in hand."""
    return [TripRow(*row) for row in await connection.fetch(SQL.alarming, merchant_id, now, most)]


async def alarmed(connection: asyncpg.Connection, merchant_id: int, number: int, raised: int, next_at: datetime | None) -> None:
    """So many alarms were raised."""
    await connection.execute(SQL.alarmed, merchant_id, number, raised, next_at)


async def numbered(connection: Connection, merchant_id: int, number: int) -> TripRow | None:
    """A trip by its number."""
    row = await connection.fetchrow(SQL.numbered, merchant_id, number)
    return row and TripRow(*row)


async def rejected(connection: Connection, merchant_id: int, since: datetime, most: int) -> list[tuple[int, int]]:
    """Captures of trips that clearing refused behind an instant, and nobody has heard of: payment and trip."""
    return [tuple(row) for row in await connection.fetch(SQL.rejected, merchant_id, since, most)]


async def note_rejected(connection: Connection, merchant_id: int, payment_id: int, now: datetime) -> bool:
    """Somebody has; false where that was noted before."""
    return await connection.fetchval(SQL.note_rejected, merchant_id, payment_id, now) is not None


class Happened(NamedTuple):
    """What was told of a trip: its number, which of its events, what, JSON, and when (business time)."""

    number: int
    sequence: int
    type: str
    data: bytes
    at: datetime


async def happened(connection: Connection, merchant_id: int, since: datetime, number: int, most: int) -> list[Happened]:
    """What was told of trips behind an instant, of one trip unless ``number`` is 0, oldest first."""
    return [Happened(*row) for row in await connection.fetch(SQL.happened, merchant_id, since, number, most)]


async def count_personal(connection: asyncpg.Connection, merchant_id: int, by: datetime) -> int:
    """How many trips that ended by an instant (business time) still say who came, or until when his card was good."""
    return await connection.fetchval(SQL.count_personal, merchant_id, by)


async def erase_personal(connection: asyncpg.Connection, merchant_id: int, by: datetime, limit: int) -> int:
    """Forget that; of how many."""
    return len(await connection.fetch(SQL.erase_personal, merchant_id, by, limit))
