"""Reports of trips: what was charged, what was not and why, what is owed, and the names that the back office reconciles by.

Read in one pass, as of one moment, however many trips there are; sums are exact, currency by currency.  Decides how a trip is called that has
ended or has not; refuses to know files.
"""
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import asyncpg

from ringfence.core.payment import Status
from ringfence.engine.gates import Why
from ringfence.storage import trip_reports as rows
from ringfence.storage.trip_reports import TripRow

__all__ = ["Ended", "Span", "Sums", "TripLine", "lines"]


NOT_BEGUN = frozenset({Why.ENTERING, Why.WAITING})
"""Entries of which the issuer has said nothing yet, and trips that begin anew when somebody asks for them."""


class Ended(StrEnum):
    """What became of a trip."""

    CHARGED = "charged"             # also where all of it was given back since
    CHARGING = "charging"           # asked for, and nobody knows yet
    UNCHARGED = "uncharged"         # it can still be charged
    CANCELLED = "cancelled"         # its hold was given back
    EXPIRED = "expired"             # its time ran out
    REFUSED = "refused"             # the gate stayed shut


@dataclass(frozen=True, slots=True)
class Span:
    """Which trips: those of a merchant that began from ``since`` until before ``until`` (business time), in ``store``, "" for all."""

    merchant_id: int
    since: datetime
    until: datetime
    store: str = ""


@dataclass(frozen=True, slots=True)
class TripLine:
    """A trip and one of its payments.  Amounts are minor units of ``currency``: held, captured and given back by the ledger; what the cart cost
    as far as anybody said (0: nobody did); and of the debt what was incurred, recovered, forgiven, and is owed."""

    store: str
    trip: str
    state: Ended
    started_at: datetime
    charged_at: datetime | None
    currency: str
    held: int
    total: int
    charged: int
    refunded: int
    debt: int
    recovered: int
    forgiven: int
    owed: int
    brand: str
    tail: str
    payment: str
    reconciliation_id: str
    statement_id: str
    strategy: str
    reason: str


AMOUNTS = ("held", "total", "charged", "refunded", "debt", "recovered", "forgiven", "owed")
"""The members of a line that are amounts."""


@dataclass(slots=True)
class Sums:
    """What lines come to, by currency: how many of each state, and every amount."""

    states: dict[str, dict[Ended, int]] = field(default_factory=dict)
    amounts: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, line: TripLine) -> None:
        """Count one more."""
        states = self.states.setdefault(line.currency, dict.fromkeys(Ended, 0))
        amounts = self.amounts.setdefault(line.currency, dict.fromkeys(AMOUNTS, 0))
        states[line.state] += 1
        for name in AMOUNTS:
            amounts[name] += getattr(line, name)

    @property
    def currencies(self) -> list[str]:
        """In alphabetical order."""
        return sorted(self.states)


async def lines(pool: asyncpg.Pool, span: Span, now: datetime) -> AsyncIterator[TripLine]:
    """The lines of a report, in the order in which the trips began.  ``now`` is business time."""
    async for row in rows.trips(pool, span.merchant_id, span.since, span.until, span.store):
        yield line_of(row, now)


def line_of(row: TripRow, now: datetime) -> TripLine:
    """A row in words."""
    payment = str(row.payment_id) if row.payment_id else ""
    named = row.reconciliation or payment
    return TripLine(
        row.store, row.trip, state_of(row, now), row.started_at, row.captured_at, row.currency, row.authorized, row.total, row.captured, row.refunded,
        row.incurred, row.recovered, row.forgiven, row.owed, row.brand or "", row.tail or "", payment, named, row.statement or named,
        row.strategy or "", row.reason or "")


def state_of(row: TripRow, now: datetime) -> Ended:
    """What became of a trip, or of a payment that it had before it was begun anew."""
    if row.captured_at is not None:
        return Ended.CHARGED
    if row.pending_capture:
        return Ended.CHARGING
    if row.status == Status.DECLINED or (row.is_latest and row.refused and row.refused not in NOT_BEGUN):
        return Ended.REFUSED
    if row.status == Status.VOIDED:
        return Ended.EXPIRED if row.expired else Ended.CANCELLED
    if not row.is_latest or row.cancelled_at is not None:
        return Ended.CANCELLED
    return Ended.EXPIRED if now >= row.expires_at and not row.never_expires else Ended.UNCHARGED
