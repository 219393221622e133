"""Receipts of trips: made of what is stored, given out once, and the same ever after.

The first time that somebody asks, what a receipt says is kept, with the store's name and address as they are then; whoever asks again reads
that.  Where the amounts are no longer what they were (a retailer says later what a cart cost) another one is given out that replaces it, and
the old one can still be read.  Decides which receipts a trip has, and who finds one by what is known of a visit; refuses to know how a receipt
looks, and how often somebody may ask.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from ringfence.core import receipt as receipts
from ringfence.core.cart import Cart
from ringfence.core.commands import MAX_MINOR, Kind
from ringfence.core.emv import ReceiptData
from ringfence.core.money import CURRENCIES
from ringfence.core.payment import FIRST
from ringfence.core.receipt import Receipt, Store
from ringfence.core.trip import State
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.gates import Why
from ringfence.engine.link_addresses import Addresses
from ringfence.engine.orders import Orders
from ringfence.engine.reading import Reading, Step
from ringfence.engine.trip_reading import Trip, reason_of, trip_of
from ringfence.storage import debts as debt_rows
from ringfence.storage import receipts as rows
from ringfence.storage import trips as trip_rows
from ringfence.storage.receipts import ReceiptRow
from ringfence.storage.trips import TripRow

__all__ = ["FOUND_MOST", "Issued", "LookUp", "Receipts"]

FOUND_MOST = 20
"""Visits that one look-up shows."""

UNDECIDED = frozenset({Why.ENTERING, Why.WAITING, Why.UNKNOWN})
"""Entries of which nobody knows yet what the issuer said."""

_WRITE = msgspec.json.Encoder().encode
_READ = msgspec.json.Decoder(Receipt).decode

class Issued(NamedTuple):
    """A receipt that was given out; ``address`` is the secret part of where it is read."""

    merchant_id: int
    trip: int
    payment_id: int
    receipt: Receipt
    address: str
    issued_at: datetime


class LookUp(NamedTuple):
    """What somebody knows of a visit: the card's last digits, the day by the store's clock, the amount as it was charged, and the store, "" for
    whichever."""

    tail: str
    day: date
    amount: Decimal
    store: str = ""


class Receipts:
    """The receipts of all merchants."""

    def __init__(
        self, pool: asyncpg.Pool, reading: Reading, directory: Directory, addresses: Addresses, orders: Orders, *,
        now: Callable[[], datetime], new_id: Callable[[], int],
    ) -> None:
        """``addresses``: made for receipts; ``now``: business time."""
        self._pool, self._reading, self._directory, self._addresses, self._orders = pool, reading, directory, addresses, orders
        self._now, self._new_id = now, new_id

    async def of(self, merchant: Merchant, store: str, name: str) -> list[Issued] | None:
        """The receipts of a trip, the oldest first: what was charged, or that nothing was, and each refund.  Empty before the trip has ended,
        ``None`` where there is none."""
        row = await trip_rows.trip(self._pool, merchant.merchant_id, store, name)
        return None if row is None else await self._of_row(merchant, row)

    async def named(self, merchant: Merchant, name: str) -> list[TripRow]:
        """A merchant's trips of that name, in whichever store, the newest first."""
        return await trip_rows.named(self._pool, merchant.merchant_id, name)

    async def by_address(self, text: str) -> tuple[Merchant, Issued] | None:
        """The receipt behind an address, with its merchant; the database is not asked about one that nobody gave out."""
        place = self._addresses.read(text)
        merchant = place and self._directory.by_id(place[0])
        if place is None or merchant is None:
            return None
        row = await rows.by_id(self._pool, *place)
        return None if row is None else (merchant, self._issued(row))

    async def beside(self, merchant: Merchant, one: Issued) -> list[Issued]:
        """The latest receipts of the same payment of the same trip, the oldest first: also of refunds that nobody has asked about yet."""
        row = await trip_rows.trip(self._pool, one.merchant_id, one.receipt.store.store, one.receipt.trip)
        if row is not None and row.payment_id == one.payment_id:
            return await self._of_row(merchant, row)
        found = await rows.of_trip(self._pool, one.merchant_id, one.trip, one.payment_id)       # the trip was begun anew since
        return [self._issued(each) for each in found.values()]

    async def look_up(self, merchant: Merchant, asked: LookUp) -> list[Issued]:
        """The receipts of the visits that were charged exactly so; what fits nearly is not there."""
        zone = ZoneInfo(merchant.settings.receipt_zone)
        since = datetime.combine(asked.day, time(), zone)
        until = datetime.combine(asked.day + timedelta(days=1), time(), zone)
        found = await rows.charged(
            self._pool, merchant.merchant_id, since, until, asked.tail, _amounts(asked.amount), asked.store, FOUND_MOST)
        return [one for place in found for one in (await self.of(merchant, *place) or ())[:1]]

    # --- how -------------------------------------------------------------------------------------------------------------

    async def _of_row(self, merchant: Merchant, row: TripRow) -> list[Issued]:
        trip = await trip_of(self._reading, row, self._now())
        known = await rows.of_trip(self._pool, row.merchant_id, row.number, row.payment_id)
        store = await trip_rows.store(self._pool, row.merchant_id, row.store)
        steps = trip.view.steps if trip.view is not None else ()
        given = _given(trip, steps, store)
        here = receipts.store_of(merchant.name, given, merchant.settings.receipt_zone, merchant.identifier)

        capture = next((step for step in reversed(steps) if step.kind == Kind.CAPTURE and step.result == "approved"), None)
        ended = None if capture is not None or trip.captured is not None else _ended(trip, steps)
        if capture is None and ended is None:
            return []
        cart, total = await self._cost(trip)
        if capture is None:
            assert ended is not None
            return [await self._issue(trip, 0, known, lambda number: receipts.not_charged(
                given, here, number, at=ended, total=total, cart=cart, response_code=_declined(steps)))]
        charged, at = capture.answered_minor or capture.minor, capture.answered_at or capture.asked_at
        made = [await self._issue(trip, capture.operation_id, known, lambda number: receipts.sale(
            given, here, number, charged=charged, at=at, total=total, cart=cart))]
        for step in steps:
            if step.kind == Kind.REFUND and step.result == "approved":
                made.append(await self._issue(trip, step.operation_id, known, _refund(given, here, step, charged, made[0].receipt.number)))
        return made

    async def _cost(self, trip: Trip) -> tuple[Cart | None, int]:
        """The cart where its retailer handed it in, and what it cost as far as anybody said, 0 where nobody did."""
        order = await self._orders.of_trip(trip)
        debt = await debt_rows.one(self._pool, trip.merchant_id, trip.payment_id)
        return order and order.cart, 0 if debt is None else debt.account.total

    async def _issue(self, trip: Trip, operation_id: int, known: dict[int, ReceiptRow], make: Callable[[str], Receipt]) -> Issued:
        """The receipt as it was given out, or given out now."""
        while True:
            before, number = known.get(operation_id), self._new_id
            if before is not None:
                said = _READ(before.content)
                if said.told == make(said.number).told:
                    return self._issued(before)
                receipt_id = number()
                made = replace(make(str(receipt_id)), store=said.store, replaces=said.number)
            else:
                receipt_id = number()
                made = make(str(receipt_id))
            row = ReceiptRow(trip.merchant_id, trip.number, trip.payment_id, operation_id, before.issue + 1 if before else 1, receipt_id,
                             _WRITE(made), self._now())
            if await rows.put(self._pool, row):
                return self._issued(row)
            known = await rows.of_trip(self._pool, trip.merchant_id, trip.number, trip.payment_id)      # somebody else was quicker

    def _issued(self, row: ReceiptRow) -> Issued:
        return Issued(
            row.merchant_id, row.trip, row.payment_id, _READ(row.content), self._addresses.make(row.merchant_id, row.receipt_id), row.issued_at)


def _given(trip: Trip, steps: tuple[Step, ...] | tuple[()], store: trip_rows.StoreRow | None) -> ReceiptData:
    """What a receipt is made of, whether the trip was charged or not."""
    first = steps[0] if steps else None
    named = (first and first.processor_reference) or str(trip.payment_id or trip.number)
    return ReceiptData(
        trip.store, trip.name, trip.read, trip.currency, trip.captured or 0, trip.payment.refunded if trip.payment else 0, trip.started_at,
        trip.captured_at, (first and first.approval_code) or "", named, (first and first.scheme_reference) or named,
        store.title if store else "", tuple(store.address) if store else (), store.merchant_shown if store else "")


def _refund(given: ReceiptData, store: Store, step: Step, charged: int, of: str) -> Callable[[str], Receipt]:
    return lambda number: receipts.refund(
        given, store, number, returned=step.answered_minor or step.minor, charged=charged, at=step.answered_at or step.asked_at, of=of,
        reason=reason_of(step), reconciliation_id=f"RF-{step.operation_id}")


def _ended(trip: Trip, steps: tuple[Step, ...] | tuple[()]) -> datetime | None:
    """When a trip ended that was not charged; ``None`` while it may be."""
    if trip.row.refused:
        return None if trip.row.refused in UNDECIDED else trip.started_at
    if trip.state is State.EXPIRED:
        return trip.expires_at
    if trip.state is not State.CANCELLED:
        return None
    void = next((step for step in reversed(steps) if step.kind == Kind.VOID and step.result in ("approved", "unknown")), None)
    return trip.row.cancelled_at or (void and void.answered_at)


def _declined(steps: tuple[Step, ...] | tuple[()]) -> str:
    """What the issuer said when it was last asked for more and refused; "" where it never did."""
    asked = [step for step in steps if step.kind in (*FIRST, Kind.INCREMENT)]
    return asked[-1].response_code or "" if asked and asked[-1].result == "declined" else ""


def _amounts(amount: Decimal) -> list[tuple[int, str]]:
    """An amount as it may have been charged: in minor units of every currency that has so many decimals."""
    found = []
    for code, currency in CURRENCIES.items():
        minor = amount.scaleb(currency.exponent)
        if 0 < minor <= MAX_MINOR and minor == minor.to_integral_value():
            found.append((int(minor), code))
    return found
