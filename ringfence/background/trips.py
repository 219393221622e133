"""Trips that nobody charges: alarms as their ends come near, and captures that clearing refused.

An alarm is raised by whoever holds the trip's row, in the commit that says when the next one is due; a refused capture is handed on until
whoever keeps debts has taken it.  Releases no hold: that is the sweep's over all payments.
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from ringfence.background.worker import Chore
from ringfence.core.money import format_decimal
from ringfence.core.trip import ALARM_HOURS, State, alarm_at
from ringfence.engine.directory import Directory
from ringfence.engine.door_events import tell
from ringfence.engine.trips import DOOR, Trip, Trips
from ringfence.storage import trips as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.trips import TripRow

log = logging.getLogger(__name__)

NAME = "trips"
KIND = "trip"
UNCHARGED, EXPIRED, REJECTED = "trip.uncharged", "trip.expired", "trip.capture_rejected"
AT_ONCE = 200
LOOKS_BACK = timedelta(days=60)
"""How far behind a refused capture is looked for."""

Unpaid = Callable[[Trip], Awaitable[object]]
"""Takes a trip whose capture clearing refused; once is enough, more often does no harm."""


async def nobody_keeps(trip: Trip) -> None:
    """Where nobody keeps debts."""


class Watch:
    """The sweep of one process."""

    def __init__(self, pool: asyncpg.Pool, trips: Trips, directory: Directory, now: Callable[[], datetime], unpaid: Unpaid = nobody_keeps) -> None:
        """``now``: business time."""
        self._pool, self._trips, self._directory, self._now = pool, trips, directory, now
        self.unpaid = unpaid

    async def sweep(self) -> int:
        """Raise what is due, and hand on what was refused; how much that was."""
        done, now = 0, self._now()
        everybody = [merchant.merchant_id for merchant in self._directory.merchants()]
        for merchant_id in await rows.waiting(self._pool, everybody, now, now - LOOKS_BACK):
            while (raised := await self._alarms(merchant_id)) == AT_ONCE:
                done += raised
            done += raised + await self._refused(merchant_id)
        return done

    async def _alarms(self, merchant_id: int) -> int:
        now = self._now()
        async with borrowed(self._pool) as connection, connection.transaction():
            due = await rows.alarming(connection, merchant_id, now, AT_ONCE)
            for row in due:
                trip = await self._trips.begun(row)
                is_open = trip is not None and trip.captured is None and trip.state is not State.CANCELLED
                if is_open:
                    assert trip is not None
                    await self._raise(connection, trip, row)
                raised = row.alarms + 1
                await rows.alarmed(
                    connection, merchant_id, row.number, raised, alarm_at(row.started_at, row.expires_at, raised) if is_open else None)
        return len(due)

    async def _raise(self, connection: asyncpg.Connection, trip: Trip, row: TripRow) -> None:
        """One alarm, at the instant it was due."""
        assert row.alarm_at is not None, "it is due"
        is_last = row.alarms >= len(ALARM_HOURS)
        held = trip.standing or trip.adjusted or trip.preauth
        told = _about(trip) | {"authorizedAmount": _money(held, trip.currency), "expiresAt": _instant(row.expires_at)}
        if not is_last:
            told |= {"alarm": row.alarms + 1, "hours": round((row.alarm_at - row.started_at).total_seconds() / 3600, 2)}
        await tell(connection, trip.merchant_id, DOOR, KIND, trip.number, EXPIRED if is_last else UNCHARGED, told, "", row.alarm_at)

    async def _refused(self, merchant_id: int) -> int:
        now, handed = self._now(), 0
        for payment_id, number in await rows.rejected(self._pool, merchant_id, now - LOOKS_BACK, AT_ONCE):
            trip = await self._trips.of_payment(merchant_id, payment_id)
            try:
                if trip is not None:
                    await self.unpaid(trip)
            except Exception:
                log.exception("the refused capture of trip %d waits", number)
                continue
            async with borrowed(self._pool) as connection, connection.transaction():
                if await rows.note_rejected(connection, merchant_id, payment_id, now) and trip is not None:
                    told = _about(trip) | {"capturedAmount": _money(trip.captured or 0, trip.currency)}
                    await tell(connection, merchant_id, DOOR, KIND, number, REJECTED, told, "", now)
                    handed += 1
        return handed


def _about(trip: Trip) -> dict[str, Any]:
    return {"storeId": trip.store, "shoppingTripId": trip.name, "startedAt": _instant(trip.started_at)}


def _money(minor: int, currency: str) -> dict[str, str]:
    return {"amount": format_decimal(minor, currency), "code": currency}


def _instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def chore(watch: Watch, pause: float) -> Chore:
    """The sweep, by one process at a time, ``pause`` seconds (wall time) after the last one ended."""
    return Chore(NAME, watch.sweep, pause)
