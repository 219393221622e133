"""Agreements, what happened to them and what was charged under them, as rows.

It moves values and decides nothing.  Every change is made by whoever holds the agreement's row.
"""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.agreement import Status, Terms
from ringfence.core.ids import LARGEST
from ringfence.storage.database import load_queries

SQL = load_queries("agreements")

QUEUE = "agreement"
"""The queue of agreements that somebody must come back to; the subject is the agreement."""

Connection = asyncpg.Connection | asyncpg.Pool


class AgreementRow(NamedTuple):
    """A row of ``agreements``.  ``minor`` is in minor units of ``currency``; times are business time."""

    merchant_id: int
    agreement_id: int
    status: Status
    method: str
    start_at: datetime | None
    end_at: datetime | None
    minor: int | None
    currency: str
    amount_type: str
    payment_id: int
    is_charged: bool
    instrument_id: int
    instrument: str
    account: str
    is_updated: bool
    is_close_owed: bool
    details: bytes
    webhooks_url: str
    actor: str
    why: str
    created_at: datetime
    changed_at: datetime

    @property
    def terms(self) -> Terms:
        """What was agreed on."""
        return Terms(self.start_at, self.end_at, self.minor, self.currency, self.amount_type)


class Entry(NamedTuple):
    """A change of status, or something that was to end an agreement: its number, the status behind it, why it failed, and when."""

    number: int
    status: str
    why: str
    at: datetime


async def make(connection: asyncpg.Connection, row: AgreementRow) -> bool:
    """Make one; false where it is there."""
    return await connection.fetchval(SQL.make, *row) is not None


async def find(connection: Connection, merchant_id: int, agreement_id: int) -> AgreementRow | None:
    """One of them."""
    return _row(await connection.fetchrow(SQL.find, merchant_id, agreement_id))


async def lock(connection: asyncpg.Connection, merchant_id: int, agreement_id: int) -> AgreementRow | None:
    """One of them, held until the commit."""
    return _row(await connection.fetchrow(SQL.lock, merchant_id, agreement_id))


async def share(connection: asyncpg.Connection, merchant_id: int, agreement_id: int) -> AgreementRow | None:
    """One of them, which nobody changes until the commit."""
    return _row(await connection.fetchrow(SQL.share, merchant_id, agreement_id))


async def save(connection: asyncpg.Connection, row: AgreementRow) -> None:
    """Store what has changed of one that is held."""
    await connection.execute(
        SQL.save, row.merchant_id, row.agreement_id, row.status, row.instrument, row.account, row.is_updated, row.is_close_owed,
        row.why, row.changed_at)


async def closed(connection: Connection, merchant_id: int, agreement_id: int) -> None:
    """The wallet knows that it ended."""
    await connection.execute(SQL.closed, merchant_id, agreement_id)


async def note(connection: asyncpg.Connection, row: AgreementRow, entry: Entry) -> None:
    """One more change of status."""
    await connection.execute(SQL.note, row.merchant_id, row.agreement_id, *entry)


async def note_revocation(connection: asyncpg.Connection, row: AgreementRow, entry: Entry) -> None:
    """What was asked or told to end it."""
    await connection.execute(SQL.revoke, row.merchant_id, row.agreement_id, *entry)


async def history(connection: Connection, merchant_id: int, agreement_id: int) -> list[Entry]:
    """Changes of status, oldest first."""
    return [Entry(*row) for row in await connection.fetch(SQL.history, merchant_id, agreement_id)]


async def revocations(connection: Connection, merchant_id: int, agreement_id: int) -> list[Entry]:
    """What was asked or told to end it, oldest first."""
    return [Entry(*row) for row in await connection.fetch(SQL.revocations, merchant_id, agreement_id)]


async def admit(connection: asyncpg.Connection, merchant_id: int, agreement_id: int, payment_id: int) -> None:
    """Let a charge in."""
    await connection.execute(SQL.admit, merchant_id, agreement_id, payment_id)


async def payments(connection: Connection, merchant_id: int, agreement_id: int, before: int | None, most: int) -> list[int]:
    """Payments under an agreement, newest first, older than ``before``."""
    rows = await connection.fetch(SQL.payments, merchant_id, agreement_id, LARGEST if before is None else before, most)
    return [row["payment_id"] for row in rows]


async def of_account(connection: Connection, merchant_id: int, account: str) -> list[int]:
    """Agreements that a wallet's account stands behind."""
    return [row["agreement_id"] for row in await connection.fetch(SQL.of_account, merchant_id, account)]


async def of_instrument(connection: Connection, merchant_id: int, instrument: str) -> list[int]:
    """Agreements that are paid with an instrument."""
    return [row["agreement_id"] for row in await connection.fetch(SQL.of_instrument, merchant_id, instrument)]


async def count_personal(connection: Connection, merchant_id: int, by: datetime) -> int:
    """How many that ended before an instant (business time) still say whose they were."""
    return await connection.fetchval(SQL.count_personal, merchant_id, by)


async def erase_personal(connection: Connection, merchant_id: int, by: datetime, limit: int) -> int:
    """Forget that; how many."""
    return len(await connection.fetch(SQL.erase_personal, merchant_id, by, limit))


def _row(row: asyncpg.Record | None) -> AgreementRow | None:
    if row is None:
        return None
    values = tuple(row)
    return AgreementRow(*values[:2], Status(values[2]), *values[3:])
