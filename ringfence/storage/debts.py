"""Debts as rows: accounts of trips, what they moved, the links made for them; and carts that are being charged.

It moves values and decides nothing: what follows from what is ``core.debt`` and ``core.strategy``.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.debt import Account
from ringfence.core.notices import Noticed
from ringfence.core.strategy import Strategy, Tried
from ringfence.storage.database import load_queries

SQL = load_queries("debts")

Connection = asyncpg.Connection | asyncpg.Pool


class DebtRow(NamedTuple):
    """A row of ``debts``: whose account it is, and where it stands.  Times are business time; ``reported_at`` is the retailer's word."""

    merchant_id: int
    payment_id: int
    number: int
    processor: str
    store: str
    trip: str
    fingerprint: bytes
    currency: str
    account: Account
    strategy: str
    reason: str
    actor: str
    reported_at: datetime | None
    opened_at: datetime
    closed_at: datetime | None
    changed_at: datetime


class BookingRow(NamedTuple):
    """What an account moved; ``booked_at`` is ``None`` until it is on the payment."""

    place: int
    noticed: Noticed
    minor: int
    actor: str
    note: str
    made_at: datetime
    booked_at: datetime | None


class Moved(NamedTuple):
    """What a payment captured, what clearing rejected of that, how it stands, what is about to be captured (minor units), and until when it
    can be (business time)."""

    captured: int
    rejected: int
    status: str
    pending: int
    expires_at: datetime | None

    @property
    def net(self) -> int:
        """What stands."""
        return self.captured - self.rejected


class CollectionRow(NamedTuple):
    """A row of ``collections``."""

    merchant_id: int
    number: int
    store: str
    trip: str
    total: int
    strategy: Strategy
    step: int
    most: int
    state: str
    minor: int
    reason: str
    tried: tuple[Tried, ...]
    actor: str
    asked_at: datetime
    changed_at: datetime


async def processor_of(connection: Connection, merchant_id: int, payment_id: int) -> str | None:
    """Who carries out a payment; ``None`` where there is none of that id."""
    return await connection.fetchval(SQL.began, merchant_id, payment_id)


async def opened(connection: asyncpg.Connection, row: DebtRow) -> DebtRow:
    """The account, made where it is not there yet, and held until the transaction ends."""
    await connection.execute(SQL.open, *row[:8], *row.account, row.account.owed, *row[9:])
    found = await lock(connection, row.merchant_id, row.payment_id)
    assert found is not None
    return found


async def lock(connection: asyncpg.Connection, merchant_id: int, payment_id: int) -> DebtRow | None:
    """An account, held until the transaction ends."""
    row = await connection.fetchrow(SQL.lock, merchant_id, payment_id)
    return row and _debt(row)


async def one(connection: Connection, merchant_id: int, payment_id: int) -> DebtRow | None:
    """An account."""
    row = await connection.fetchrow(SQL.one, merchant_id, payment_id)
    return row and _debt(row)


async def named(connection: Connection, merchant_id: int | None, name: str, payment_id: int | None) -> list[DebtRow]:
    """Accounts by the trip's name or the payment's id, of a merchant or any, the latest first."""
    return [_debt(row) for row in await connection.fetch(SQL.named, merchant_id, name, payment_id)]


async def listed(connection: Connection, merchant_id: int | None, is_owed: bool, limit: int) -> list[DebtRow]:
    """Accounts of a merchant or all, the latest first; with ``is_owed`` those that owe something."""
    return [_debt(row) for row in await connection.fetch(SQL.listed, merchant_id, is_owed, limit)]


async def save(connection: asyncpg.Connection, row: DebtRow) -> None:
    """Store what may change of an account that is held."""
    await connection.execute(
        SQL.save, row.merchant_id, row.payment_id, *row.account, row.account.owed, row.strategy, row.reason, row.actor, row.reported_at,
        row.closed_at, row.changed_at)


async def owed(connection: Connection, merchant_id: int, fingerprint: bytes) -> dict[str, int]:
    """What a card owes, in minor units by currency."""
    return {row[0]: row[1] for row in await connection.fetch(SQL.owed, merchant_id, fingerprint)}


async def moved(connection: Connection, merchant_id: int, payment_id: int) -> Moved:
    """What became of a payment's money."""
    return Moved(*await connection.fetchrow(SQL.moved, merchant_id, payment_id))


async def book(connection: asyncpg.Connection, row: DebtRow, noticed: Noticed, minor: int, actor: str, note: str, at: datetime) -> None:
    """Keep what is to be booked on the payment of an account that is held."""
    await connection.execute(SQL.book, row.merchant_id, row.payment_id, noticed, minor, actor, note, at)


async def bookings(connection: Connection, merchant_id: int, payment_id: int) -> list[BookingRow]:
    """What an account moved, in order."""
    return [BookingRow(row[0], Noticed(row[1]), *tuple(row)[2:]) for row in await connection.fetch(SQL.bookings, merchant_id, payment_id)]


async def note_booked(connection: Connection, merchant_id: int, payment_id: int, place: int, at: datetime) -> None:
    """It is on the payment."""
    await connection.execute(SQL.note_booked, merchant_id, payment_id, place, at)


async def link(connection: Connection, merchant_id: int, payment_id: int, link_id: int, at: datetime, actor: str) -> None:
    """Remember a link that was made for a debt."""
    await connection.execute(SQL.link, merchant_id, payment_id, link_id, at, actor)


async def links(connection: Connection, merchant_id: int, payment_id: int) -> list[int]:
    """The links made for a debt, the oldest first."""
    return [row[0] for row in await connection.fetch(SQL.links, merchant_id, payment_id)]


async def waiting_links(connection: Connection, merchants: Sequence[int]) -> list[tuple[int, int]]:
    """Merchant and number of the links made for debts that are still owed, and not known to be paid; by merchant."""
    return [(row[0], row[1]) for row in await connection.fetch(SQL.waiting_links, merchants)]


async def collected(connection: Connection, merchant_id: int, payment_id: int) -> int:
    """What a debt's links brought in, in minor units."""
    return await connection.fetchval(SQL.collected, merchant_id, payment_id)


async def behind(connection: Connection, merchants: Sequence[int]) -> list[tuple[int, int]]:
    """Merchant and payment of debts for which more was taken than is written down."""
    return [(row[0], row[1]) for row in await connection.fetch(SQL.behind, merchants)]


async def ended(connection: Connection, merchants: Sequence[int]) -> list[tuple[int, int]]:
    """Merchant and payment of accounts that are open and could be closed."""
    return [(row[0], row[1]) for row in await connection.fetch(SQL.ended, merchants)]


async def begin_collection(connection: asyncpg.Connection, row: CollectionRow, started_at: datetime) -> None:
    """Keep a cart that is to be charged; one of the same trip stays, unless it was asked for before the trip began (anew)."""
    await connection.execute(SQL.begin_collection, *row[:11], _flat(row.tried), *row[12:14], started_at)


async def collection(connection: Connection, merchant_id: int, number: int) -> CollectionRow | None:
    """A cart that is being charged, or was."""
    row = await connection.fetchrow(SQL.collection, merchant_id, number)
    if row is None:
        return None
    values = tuple(row)
    flat = values[11]
    tried = tuple(
        Tried(minor, word == 1, standing, word == -1) for minor, standing, word in zip(flat[::3], flat[1::3], flat[2::3], strict=True))
    return CollectionRow(*values[:5], Strategy(values[5]), *values[6:11], tried, *values[12:])


async def save_collection(connection: Connection, row: CollectionRow) -> None:
    """How far it has come."""
    await connection.execute(
        SQL.save_collection, row.merchant_id, row.number, row.state, row.minor, row.reason, _flat(row.tried), row.changed_at)


def _flat(tried: tuple[Tried, ...]) -> list[int]:
    """As it is stored: asked for, what stood then, 1 for yes, 0 for no, -1 for never again."""
    return [number for one in tried for number in (one.minor, one.standing, 1 if one.is_approved else -1 if one.is_hard else 0)]


def _debt(row: asyncpg.Record) -> DebtRow:
    values = tuple(row)
    return DebtRow(*values[:8], Account(*values[8:19]), *values[20:])
