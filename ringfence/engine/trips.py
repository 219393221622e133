"""What is done about a trip's payment: adjust to a total, capture once, cancel, refund.

Holds nothing in memory and no lock over the network: what serialises two calls about one trip is its payment, whose operations exclude each
other, and an adjust that says what it was worked out from.  Refuses to know the door's words, gates and debts.
"""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import NamedTuple

import asyncpg
from msgspec.structs import replace

from ringfence.core.commands import Command, Kind, VoidReason
from ringfence.core.emv import CardRead, ReceiptData
from ringfence.core.outcomes import Approved, Declined, Outcome, Silence, Unknown, is_hard
from ringfence.core.refusals import Refusal
from ringfence.core.trip import REFUSED, Asked, Said, State, TripRefusal
from ringfence.engine.batcher import Batcher, CommitFailed
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.engine.intents import CardInHand, Intent, Result
from ringfence.engine.reading import Reading, View
from ringfence.engine.seeding import WAITING
from ringfence.engine.settings import Settings
from ringfence.engine.trip_reading import Trip, Verdict, details_of, last_adjust, returned_for, stand, standing_of, trip_of
from ringfence.engine.vault import StoredCard
from ringfence.storage import trips as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import DatabaseUnavailable
from ringfence.storage.trips import TripRow

__all__ = ["DOOR", "STORE", "Adjusted", "CardRead", "ReceiptData", "Trip", "Trips"]

DOOR = "jwo"
STORE = "store"
"""The channel of a payment that began at a gate."""

PATIENCE_SECONDS = 2.0
"""How long a call waits for another one about the same trip (wall time)."""
LOOK_SECONDS = 0.05
TOGETHER = 64
"""Trips that are read in one go."""

#: What the core's word for a command that it does not take means for a trip.  Not here: somebody else was quicker, so look again.
REFUSALS: dict[Refusal, TripRefusal] = {
    Refusal.CURRENCY_DIFFERS: TripRefusal.CURRENCY,
    Refusal.AMOUNT_NOT_POSITIVE: TripRefusal.AMOUNT,
    Refusal.AMOUNT_TOO_LARGE: TripRefusal.AMOUNT,
    Refusal.EXCEEDS_CAPTURABLE: TripRefusal.AMOUNT,
    Refusal.EXCEEDS_REFUNDABLE: TripRefusal.AMOUNT,
    Refusal.AUTHORIZATION_EXPIRED: TripRefusal.EXPIRED,
    Refusal.SERVICE_UNAVAILABLE: TripRefusal.UNAVAILABLE,
    Refusal.NOTHING_CAPTURED: TripRefusal.STATE,
    Refusal.CHARGEBACK_DETECTED: TripRefusal.AMOUNT,
    Refusal.PAYMENT_DECLINED: TripRefusal.STATE,
    Refusal.REFUND_PERIOD_EXPIRED: TripRefusal.LATE,
    Refusal.ALREADY_CAPTURED: TripRefusal.STATE,
    Refusal.KEY_CONTENT_DIFFERS: TripRefusal.CONTENT,
}


class NotFound(CommitFailed, DatabaseUnavailable):
    """The database is away, so that nobody knows of any trip."""


class Adjusted(NamedTuple):
    """The answer to an adjust.  ``standing``: approved, the target; declined, what may be captured (or what the merchant's setting wants to be
    told); pending, the target.  Minor units.  ``hard``: the issuer wants not to be asked again."""

    said: Said
    standing: int
    hard: bool = False


class Trips:
    """The trips of all merchants, as one process serves them."""

    def __init__(
        self, pool: asyncpg.Pool, engine: Engine, reading: Reading, directory: Directory, *, processor: str, content_key: bytes,
        now: Callable[[], datetime],
    ) -> None:
        """``processor``: that of cards.  ``now``: business time."""
        self._pool, self._engine, self._reading, self._directory = pool, engine, reading, directory
        self._processor, self._content_key, self._now = processor, content_key, now
        self._finding = Batcher(self._found, limit=TOGETHER)
        self.reopen: Callable[[TripRow], Awaitable[TripRow]] | None = None      # set by whoever has gates

    # --- reading ---------------------------------------------------------------------------------------------------------

    async def find(self, merchant_id: int, store: str, name: str) -> Trip | None:
        """A trip that a retailer may ask about: one that began, with a card of ours.  Another merchant's, or another store's, is not there."""
        found = await self._finding.submit((merchant_id, store, name))
        if type(found) is not TripRow:
            return found
        return await self.begun(found if self.reopen is None else await self.reopen(found))

    async def _found(self, wanted: Sequence[tuple[int, str, str]]) -> list[Trip | TripRow | None]:
        """Trips that are asked about at the same time: stores let many shoppers out at once.  A row is one that is to begin anew first."""
        try:
            async with borrowed(self._pool) as connection:
                found = await rows.together(connection, wanted)
                held = [(row.merchant_id, row.payment_id) for row in found if row and row.payment_id]
                views = dict(zip(held, await self._reading.views(connection, held), strict=True))
        except DatabaseUnavailable as why:
            raise NotFound(str(why)) from why
        now = self._now()
        return [row and self._begun_with(row, views.get((row.merchant_id, row.payment_id)), now) for row in found]

    def _begun_with(self, row: TripRow, beside: tuple[View, StoredCard | None] | None, now: datetime) -> Trip | TripRow | None:
        if row.refused == WAITING and self.reopen is not None:
            return row
        view, card = beside or (None, None)
        return None if row.refused or not row.card_id else _that_began(stand(row, view, now, card))

    async def begun(self, row: TripRow) -> Trip | None:
        """The trip of a row, where it began with a card of ours."""
        if row.refused or not row.card_id:
            return None
        return _that_began(await trip_of(self._reading, row, self._now()))

    async def of_payment(self, merchant_id: int, payment_id: int) -> Trip | None:
        """The trip whose payment this is now."""
        row = await rows.of_payment(self._pool, merchant_id, payment_id)
        return None if row is None or row.payment_id != payment_id else await self.begun(row)

    async def _again(self, trip: Trip) -> Trip:
        row = await rows.trip(self._pool, trip.merchant_id, trip.store, trip.name)
        assert row is not None, "a trip is not removed"
        return await trip_of(self._reading, row, self._now())

    # --- what the retailer asks --------------------------------------------------------------------------------------------

    async def adjust(self, trip: Trip, minor: int, currency: str, actor: str) -> Adjusted | TripRefusal:
        """Have ``minor`` stand, whatever stands now.  The latest target again is the same answer, and nobody is asked."""
        if currency != trip.currency:
            return TripRefusal.CURRENCY
        until, is_late = _soon(), False
        while True:
            if (refused := REFUSED.get((trip.state, Asked.ADJUST))) is not None:
                return refused
            if trip.state is State.ADJUST_PENDING:
                trip, is_settled = await self._settled(trip, until)
                if not is_settled:
                    return Adjusted(Said.PENDING, minor) if trip.adjusting == minor else TripRefusal.STATE
                continue
            if trip.latest is not None and trip.latest.target == minor:
                return self._told(trip, trip.latest)
            if is_late:
                return TripRefusal.UNAVAILABLE
            if (answer := await self._move(trip, minor, actor)) is not None:
                return answer
            trip, is_late = await self._again(trip), _is_past(until)

    async def capture(self, trip: Trip, minor: int, currency: str, actor: str) -> TripRefusal | None:
        """Take ``minor`` and give the rest back, once.  ``None``: it is taken, or will be: it is repeated until the processor has it."""
        if currency != trip.currency:
            return TripRefusal.CURRENCY
        until = _soon()
        while True:
            if trip.captured is not None:
                return None if trip.captured == minor else TripRefusal.STATE
            if trip.state is State.ADJUST_PENDING:
                trip, is_settled = await self._settled(trip, until)
                if not is_settled:
                    return TripRefusal.STATE
                continue
            if (refused := REFUSED.get((trip.state, Asked.CAPTURE))) is not None:
                return refused
            if trip.state is State.HELD and not self._settings(trip).trip_capture_unadjusted:
                return TripRefusal.STATE
            if minor > trip.standing:
                return TripRefusal.AMOUNT
            command = Command(Kind.CAPTURE, minor, currency, self._engine.new_id(), reason=VoidReason.NOT_WANTED)
            result = await self._execute(trip, command, actor, self._content("capture", minor, currency), f"{DOOR}:{trip.payment_id}:capture")
            if result.earlier is not None:
                return None if result.earlier.same_content else TripRefusal.STATE
            if result.refusal is None:
                return _durable(result)
            if result.refusal in REFUSALS or _is_past(until):
                return REFUSALS.get(result.refusal, TripRefusal.UNAVAILABLE)
            trip = await self._again(trip)

    async def cancel(self, trip: Trip, actor: str) -> TripRefusal | None:
        """Give back all that is held.  ``None``: it is given back, or will be; also where nothing is held any more."""
        until = _soon()
        while True:
            if trip.state in (State.CANCELLED, State.EXPIRED):
                return None
            if (refused := REFUSED.get((trip.state, Asked.CANCEL))) is not None:
                return refused
            if trip.state is State.ADJUST_PENDING:
                trip, is_settled = await self._settled(trip, until)
                if not is_settled:
                    return TripRefusal.UNAVAILABLE
                continue
            if not trip.standing:
                await rows.give_up(self._pool, trip.merchant_id, trip.number, self._now())
                return None
            command = Command(Kind.VOID, None, trip.currency, self._engine.new_id(), whole=True)
            result = await self._execute(trip, command, actor, self._content("cancel", 0, trip.currency), f"{DOOR}:{trip.payment_id}:cancel")
            if result.earlier is not None:
                return None
            if result.refusal is None:
                return _durable(result)
            if result.refusal is Refusal.AUTHORIZATION_EXPIRED:
                return None
            if result.refusal in REFUSALS or _is_past(until):
                return REFUSALS.get(result.refusal, TripRefusal.UNAVAILABLE)
            trip = await self._again(trip)

    async def refund(
        self, trip: Trip, minor: int, currency: str, request_id: str, reason: str, actor: str,
    ) -> str | TripRefusal:
        """Give back of what was captured, once for each ``request_id``; the name that it is reconciled under."""
        key, content = f"{DOOR}:{trip.payment_id}:refund:{request_id}", self._content(f"refund {reason}", minor, currency)
        known = any(step.key and (step.key == key or step.key.startswith(key + "#")) for step in (trip.view.steps if trip.view else ()))
        if not known:
            if currency != trip.currency:
                return TripRefusal.CURRENCY
            if (refused := REFUSED.get((trip.state, Asked.REFUND))) is not None:
                return refused
            if self._now() > trip.started_at + timedelta(days=self._settings(trip).trip_refund_days):
                return TripRefusal.LATE
        if trip.view is None:
            return TripRefusal.STATE
        until = _soon()
        while True:
            command = Command(Kind.REFUND, minor, currency, self._engine.new_id())
            result = await self._execute(trip, command, actor, content, key, returned_for(reason))
            if (earlier := result.earlier) is not None:
                if not earlier.same_content:
                    return TripRefusal.CONTENT
                return _reconciled(earlier.operation_id) if earlier.result == "approved" else TripRefusal.UNAVAILABLE
            if result.refusal is None:
                assert result.operation is not None
                return _refunded(result.outcome, result.operation.id)
            if result.refusal in REFUSALS or _is_past(until):
                return REFUSALS.get(result.refusal, TripRefusal.UNAVAILABLE)
            await asyncio.sleep(LOOK_SECONDS)

    async def receipt_data(self, trip: Trip) -> ReceiptData | TripRefusal:
        """What a receipt is made of, once it is captured; before that where the merchant's setting lets it be read."""
        refused = REFUSED.get((trip.state, Asked.DATA))
        if refused is not None and not (
            self._settings(trip).trip_data_before_capture and trip.state in (State.HELD, State.ADJUSTED, State.ADJUST_PENDING)
        ):
            return refused
        if trip.view is None:
            return TripRefusal.STATE
        store, first = await rows.store(self._pool, trip.merchant_id, trip.store), trip.view.first
        return ReceiptData(
            trip.store, trip.name, trip.read, trip.currency, trip.captured or 0, trip.payment.refunded if trip.payment else 0,
            trip.started_at, trip.captured_at, first.approval_code or "", first.processor_reference or str(trip.payment_id),
            first.scheme_reference or first.processor_reference or str(trip.payment_id),
            store.title if store else "", tuple(store.address) if store else (), store.merchant_shown if store else "")

    async def binding(self, intent: Intent) -> Intent:
        """A capture that any door asks of a payment from a store: where it is a trip's, it is the last one."""
        if intent.command.reason is VoidReason.NOT_WANTED:
            return intent
        row = await rows.of_payment(self._pool, intent.merchant_id, intent.payment_id)
        return intent if row is None else replace(intent, command=intent.command._replace(reason=VoidReason.NOT_WANTED))

    # --- how -------------------------------------------------------------------------------------------------------------

    async def _move(self, trip: Trip, minor: int, actor: str) -> Adjusted | TripRefusal | None:
        """Ask for what is between the target and what stands; ``None`` where somebody else has moved it meanwhile."""
        stood = trip.standing
        if minor == stood:
            await rows.note_level(self._pool, trip.merchant_id, trip.number, minor, last_adjust(trip))
            return Adjusted(Said.APPROVED, minor)
        if not stood:
            return await self._begin(trip, minor, actor)
        kind = Kind.INCREMENT if minor > stood else Kind.DECREMENT
        command = Command(
            kind, abs(minor - stood), trip.currency, self._engine.new_id(), accepts_partial=kind is Kind.INCREMENT, standing=stood)
        return self._adjusted(trip, minor, await self._execute(
            trip, command, actor, self._content("adjust", minor, trip.currency), None, details_of(minor, stood)))

    async def _begin(self, trip: Trip, minor: int, actor: str) -> Adjusted | TripRefusal | None:
        """Nothing is held, so that the whole is authorized.  Its key lets one of two callers do so."""
        merchant, card = self._directory.by_id(trip.merchant_id), await self._reading.card(trip.merchant_id, trip.row.card_id)
        if merchant is None or card is None:
            return TripRefusal.STATE
        seconds = 0 if trip.never_expires else max(1, int((trip.expires_at - self._now()).total_seconds()))
        payment_id = self._engine.new_id()
        result = await self._engine.execute(Intent(
            trip.merchant_id, merchant.identifier, payment_id,
            Command(Kind.AUTHORIZATION, minor, trip.currency, payment_id, hold_seconds=seconds), DOOR, actor, "api",
            self._content("adjust", minor, trip.currency), trip.name, f"{DOOR}:{trip.number}:{trip.row.holds}", False, details_of(minor, 0),
            self._processor, card, None, channel=STORE, magic=merchant.settings.magic_amounts))
        begun = result.earlier.payment_id if result.earlier is not None else payment_id
        if result.refusal is None or result.earlier is not None:
            await rows.pay(self._pool, trip.merchant_id, begun, trip.number)
            await rows.adopt(self._pool, trip.row, begun)
        return None if result.earlier is not None else self._adjusted(trip, minor, result)

    def _adjusted(self, trip: Trip, minor: int, result: Result) -> Adjusted | TripRefusal | None:
        """What came of an adjust; ``None`` where it was not taken, and may be at the next look."""
        if result.refusal is not None:
            return REFUSALS.get(result.refusal)
        outcome, standing = result.outcome, standing_of(result.payment)
        match outcome:
            case Approved() if standing == minor:
                return Adjusted(Said.APPROVED, minor)
            case Approved():
                return Adjusted(Said.DECLINED, standing)
            case Declined():
                return self._declined(trip, standing, is_hard(outcome))
            case Unknown() if result.receipt:
                return Adjusted(Said.PENDING, minor)
            case Unknown(why=Silence.SUPERSEDED):       # whoever took it over has ended it, or will
                return None
            case _:
                return TripRefusal.UNAVAILABLE

    def _told(self, trip: Trip, last: Verdict) -> Adjusted:
        """The latest answer again."""
        if last.said is Said.APPROVED:
            return Adjusted(Said.APPROVED, last.target)
        return self._declined(trip, trip.standing, last.hard)

    def _declined(self, trip: Trip, standing: int, hard: bool) -> Adjusted:
        in_words = standing if self._settings(trip).trip_decline_baseline == "preauth" else trip.adjusted or 0
        return Adjusted(Said.DECLINED, in_words, hard)

    async def _settled(self, trip: Trip, until: float) -> tuple[Trip, bool]:
        """Wait until an adjust that is on its way, or in doubt, has ended; the trip as it is then, and whether it has.  A doubt is tried once."""
        is_tried = False
        while not _is_past(until):
            if not is_tried and trip.view is not None and any(step.result == "unknown" for step in trip.view.steps):
                is_tried = True
                try:
                    async with asyncio.timeout_at(until):
                        await self._engine.resolve(trip.merchant_id, trip.payment_id)
                except TimeoutError:
                    break
            trip = await self._again(trip)
            if trip.state is not State.ADJUST_PENDING:
                return trip, True
            await asyncio.sleep(LOOK_SECONDS)
        return trip, False

    async def _execute(
        self, trip: Trip, command: Command, actor: str, content: bytes, key: str | None, details: bytes | None = None,
    ) -> Result:
        """One operation on the trip's payment."""
        view, merchant = trip.view, self._directory.by_id(trip.merchant_id)
        if view is None or view.original is None or merchant is None:
            return Result(refusal=Refusal.PAYMENT_DECLINED)
        return await self._engine.execute(Intent(
            trip.merchant_id, merchant.identifier, trip.payment_id, command, DOOR, actor, "api", content, trip.name, key, key is not None,
            details, view.first.processor, CardInHand(None, stored=trip.card) if trip.card else await self._reading.card_of(view), view.original,
            channel=view.first.channel, magic=merchant.settings.magic_amounts))

    def _content(self, what: str, minor: int, currency: str) -> bytes:
        return blake2b(f"{what} {minor} {currency}".encode(), key=self._content_key, digest_size=16).digest()

    def _settings(self, trip: Trip) -> Settings:
        merchant = self._directory.by_id(trip.merchant_id)
        assert merchant is not None, "whoever has a trip is a merchant"
        return merchant.settings


def _that_began(trip: Trip) -> Trip | None:
    """``None`` where the gate's authorization has no end, or none that opened the gate."""
    return None if trip.row.hold and not trip.preauth else trip


def _durable(result: Result) -> TripRefusal | None:
    """What is repeated until it is acknowledged is done; what was declined, or never stored, may be asked again."""
    if type(result.outcome) is Approved or (type(result.outcome) is Unknown and result.receipt):
        return None
    return TripRefusal.UNAVAILABLE


def _refunded(outcome: Outcome | None, operation_id: int) -> str | TripRefusal:
    match outcome:
        case Approved() | Unknown(why=Silence.PENDING):
            return _reconciled(operation_id)
        case Declined():
            return TripRefusal.STATE
        case _:
            return TripRefusal.UNAVAILABLE


def _reconciled(operation_id: int) -> str:
    return f"RF-{operation_id}"


def _soon() -> float:
    return asyncio.get_running_loop().time() + PATIENCE_SECONDS


def _is_past(until: float) -> bool:
    return asyncio.get_running_loop().time() >= until
