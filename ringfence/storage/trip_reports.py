"""What became of trips, as rows.  It moves values and decides nothing."""
from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import load_queries
from ringfence.storage.reports import rows, snapshot

SQL = load_queries("trip_reports")


class TripRow(NamedTuple):
    """A trip with one of its payments (``payment_id`` 0: it has had none).  Amounts are minor units of ``currency``; ``is_latest``: the payment is
    the trip's own now, and not one from before it was begun anew."""

    store: str
    trip: str
    started_at: datetime
    expires_at: datetime
    never_expires: bool
    refused: str
    cancelled_at: datetime | None
    currency: str
    payment_id: int
    is_latest: bool
    brand: str | None
    tail: str | None
    status: str | None
    authorized: int
    captured: int
    expired: int
    pending_capture: int
    refunded: int
    reconciliation: str | None
    statement: str | None
    captured_at: datetime | None
    total: int
    incurred: int
    recovered: int
    forgiven: int
    owed: int
    strategy: str | None
    reason: str | None


async def trips(pool: asyncpg.Pool, merchant_id: int, since: datetime, until: datetime, store: str) -> AsyncIterator[TripRow]:
    """The trips that began between two instants, of one store unless ``store`` is empty; all of them as of one moment."""
    async with borrowed(pool) as connection, snapshot(connection):
        async for row in rows(connection, SQL.trips, merchant_id, since, until, store):
            yield TripRow(*row)
