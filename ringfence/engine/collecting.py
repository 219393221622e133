"""Collecting: a cart's price is taken from its trip's card, as far as the issuer lets it, and what is left becomes a debt.

One job for each cart: it asks for the price, follows the merchant's strategy where that is declined, captures or cancels, and closes the
trip's account.  How far it has come is stored after every step, and every step says the same when it is done again: so that a kill at any
point costs nothing but time.  Refuses to know which amounts come next (``core.strategy``), and what a debt is (``debts``).
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.core.commands import MAX_MINOR, Kind
from ringfence.core.money import CURRENCIES
from ringfence.core.strategy import Do, Plan, Tried, Why, next_step, strategy_in
from ringfence.core.trip import Said, State, TripRefusal
from ringfence.engine.debts import Debts
from ringfence.engine.directory import Directory
from ringfence.engine.trips import Adjusted, Trip, Trips
from ringfence.storage import debts as rows
from ringfence.storage import jobs
from ringfence.storage.borrowing import borrowed
from ringfence.storage.debts import CollectionRow
from ringfence.storage.jobs import Job, JobRow

__all__ = ["QUEUE", "Collected", "Collecting"]

QUEUE = "collect"
ASKING, CAPTURING, CANCELLING, DONE = "asking", "capturing", "cancelling", "done"
AGAIN = timedelta(seconds=5)
"""After so long (business time), and each time twice as long, what could not be done is looked at again."""
NEAR_EXPIRY = timedelta(minutes=30)
"""So long before its end nothing more is searched for a trip."""
STEPS = 40
"""More than any cart needs in one go."""


class Collected(NamedTuple):
    """How far a cart has come: ``state`` asking, capturing, cancelling, done; then ``captured`` minor units came in, and the rest of ``total`` is
    owed because of ``reason``."""

    state: str
    total: int
    captured: int = 0
    reason: str = ""


class Collecting:
    """Charges carts."""

    def __init__(
        self, pool: asyncpg.Pool, trips: Trips, debts: Debts, directory: Directory, now: Callable[[], datetime],
        nudge: Callable[[], object] = lambda: None,
    ) -> None:
        """``now`` is business time; ``nudge`` has the queue look now."""
        self._pool, self._trips, self._debts, self._directory, self._now, self._nudge = pool, trips, debts, directory, now, nudge

    async def collect(self, trip: Trip, total: int, currency: str, actor: str) -> Collected | TripRefusal:
        """Have ``total`` minor units taken from a trip's card, by the job that is stored when this returns; 0 gives its hold back.

        Asked again it is how far that has come; for another total it is refused (``CONTENT``).
        """
        if currency != trip.currency:
            return TripRefusal.CURRENCY
        if not 0 <= total <= MAX_MINOR:
            return TripRefusal.AMOUNT
        merchant, now = self._directory.by_id(trip.merchant_id), self._now()
        if merchant is None:
            return TripRefusal.UNKNOWN
        there = await self._row(trip.merchant_id, trip.number)
        if there is None or there.asked_at < trip.started_at:
            if trip.state is State.EXPIRED:
                return TripRefusal.EXPIRED
            if trip.state not in (State.HELD, State.ADJUSTED, State.ADJUST_PENDING):
                return TripRefusal.STATE
            strategy = strategy_in(trip.store, merchant.settings.trip_store_strategies, merchant.settings.trip_strategy)
            row = CollectionRow(
                trip.merchant_id, trip.number, trip.store, trip.name, total, strategy, merchant.settings.trip_search_step,
                merchant.settings.trip_search_probes, ASKING, 0, "", (), actor, now, now)
            async with borrowed(self._pool) as connection, connection.transaction():
                await rows.begin_collection(connection, row, trip.started_at)
                await jobs.wake(connection, [JobRow(trip.merchant_id, QUEUE, trip.number, trip.payment_id, now)])
            self._nudge()
            there = await self._row(trip.merchant_id, trip.number)
            assert there is not None
        return _collected(there) if there.total == total else TripRefusal.CONTENT

    async def find(self, trip: Trip) -> Collected | None:
        """How far a trip's cart has come; ``None`` where nobody asked for it."""
        row = await self._row(trip.merchant_id, trip.number)
        return None if row is None or row.asked_at < trip.started_at else _collected(row)

    async def run(self, job: Job) -> None:
        """Go on with a cart, as far as that is possible now; then the job is given back."""
        row = await self._row(job.merchant_id, job.subject)
        for _ in range(STEPS):
            if row is None or row.state == DONE:
                async with borrowed(self._pool) as connection:
                    await jobs.done(connection, job)
                return
            after = await self._step(row)
            if after is None:
                break
            if after is not row:
                async with borrowed(self._pool) as connection:
                    await rows.save_collection(connection, after._replace(changed_at=self._now()))
            row = await self._row(job.merchant_id, job.subject)
        assert row is not None
        now = self._now()
        async with borrowed(self._pool) as connection:
            await jobs.later(connection, job, now + max(AGAIN, now - row.changed_at), f"{row.state}: not known yet")

    async def _row(self, merchant_id: int, number: int) -> CollectionRow | None:
        async with borrowed(self._pool) as connection:
            return await rows.collection(connection, merchant_id, number)

    # -- one step

    async def _step(self, row: CollectionRow) -> CollectionRow | None:
        """The cart one step further; ``None`` where it must wait."""
        trip = await self._trips.find(row.merchant_id, row.store, row.trip)
        if trip is None or trip.started_at > row.asked_at:
            return row._replace(state=DONE, reason="begun_anew")
        if trip.captured is not None:
            return await self._captured(row, trip)
        if trip.state is State.CANCELLED:
            return await self._ended(row, trip, 0)
        if trip.state is State.EXPIRED:
            return await self._ended(row._replace(reason=row.reason or Why.EXPIRED), trip, 0)
        if _has_failed(trip):
            row = _given_up(row)
        match row.state:
            case "asking":
                return await self._ask(row, trip)
            case "capturing":
                return await self._capture(row, trip)
            case _:
                return await self._cancel(row, trip)

    async def _ask(self, row: CollectionRow, trip: Trip) -> CollectionRow | None:
        unit = 10 ** CURRENCIES[trip.currency].exponent
        has_time = trip.never_expires or self._now() < trip.expires_at - NEAR_EXPIRY
        if trip.state is State.ADJUST_PENDING and trip.adjusting is not None:
            minor = trip.adjusting                      # ours, from before a kill: how it ended is asked first
        else:
            step = next_step(Plan(row.total, row.strategy, row.step, row.most, unit), trip.standing, row.tried, has_time=has_time)
            if step.do is not Do.ADJUST:
                return row._replace(state=CAPTURING if step.do is Do.CAPTURE else CANCELLING, minor=step.minor, reason=step.why)
            minor = step.minor
        answer = await self._trips.adjust(trip, minor, trip.currency, row.actor)
        if isinstance(answer, TripRefusal):
            return row._replace(tried=(*row.tried, Tried(minor, False, trip.standing))) if answer is TripRefusal.AMOUNT else None
        if answer.said is Said.PENDING:
            return None
        return await self._answered(row, minor, answer)

    async def _answered(self, row: CollectionRow, minor: int, answer: Adjusted) -> CollectionRow | None:
        """What stands is read from the payment: what the retailer is told of a decline is a matter of settings."""
        trip = await self._trips.find(row.merchant_id, row.store, row.trip)
        if trip is None:
            return None
        return row._replace(tried=(*row.tried, Tried(minor, answer.said is Said.APPROVED, trip.standing, answer.hard)))

    async def _capture(self, row: CollectionRow, trip: Trip) -> CollectionRow | None:
        minor = min(row.minor, trip.standing)
        if not minor:
            return row._replace(state=CANCELLING, reason=row.reason or Why.DECLINED)
        if trip.state is State.HELD:                    # a merchant may want what stands confirmed before it is captured: nobody is asked
            await self._trips.adjust(trip, trip.standing, trip.currency, row.actor)
            trip = await self._trips.find(row.merchant_id, row.store, row.trip) or trip
        if await self._trips.capture(trip, minor, trip.currency, row.actor) is None:
            return row._replace(minor=minor)
        trip = await self._trips.find(row.merchant_id, row.store, row.trip) or trip
        return _given_up(row) if _has_failed(trip) else None

    async def _captured(self, row: CollectionRow, trip: Trip) -> CollectionRow | None:
        if trip.payment is None or trip.payment.pending_capture:
            return None
        return await self._ended(row, trip, trip.payment.captured)

    async def _cancel(self, row: CollectionRow, trip: Trip) -> CollectionRow | None:
        if trip.standing and await self._trips.cancel(trip, row.actor) is not None:
            return None
        return await self._ended(row, trip, 0)

    async def _ended(self, row: CollectionRow, trip: Trip, captured: int) -> CollectionRow:
        await self._debts.incurred(trip, row.total, captured, row.strategy, row.reason, row.actor)
        return row._replace(state=DONE, minor=captured)


def _has_failed(trip: Trip) -> bool:
    """Whether the processor would not capture."""
    return trip.view is not None and any(step.kind == Kind.CAPTURE and step.result == "declined" for step in trip.view.steps)


def _given_up(row: CollectionRow) -> CollectionRow:
    return row._replace(state=CANCELLING, reason=Why.NOT_CAPTURED)


def _collected(row: CollectionRow) -> Collected:
    return Collected(row.state, row.total, row.minor if row.state == DONE else 0, row.reason)
