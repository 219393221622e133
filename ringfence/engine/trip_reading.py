"""A trip as it stands: its row and its payment put together.

Reads the primary; changes nothing.  What was adjusted is not kept anywhere else than in the operations that did it: each of them says in its
details which target it was for, and what stood before.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import msgspec

from ringfence.core.commands import Kind, VoidReason
from ringfence.core.emv import CardRead
from ringfence.core.outcomes import HARD_ADVICE, HARD_DECLINES
from ringfence.core.payment import FIRST, Payment, Status
from ringfence.core.trip import Said, State, state_of
from ringfence.engine.reading import Reading, Step, View
from ringfence.engine.vault import StoredCard
from ringfence.storage.trips import TripRow

_READ = msgspec.json.Decoder(CardRead).decode
_WRITE = msgspec.json.Encoder().encode
_WITHOUT_HOLD = (Status.NEW, Status.CREATED, Status.CHALLENGED, Status.DECLINED)


class Target(msgspec.Struct, frozen=True):
    """The details of an operation that adjusts: the target, and what stood before (minor units)."""

    target: int
    stood: int


class Returned(msgspec.Struct, frozen=True):
    """The details of a refund: why, a word of the protocol."""

    reason: str = ""


_TARGET = msgspec.json.Decoder(Target).decode
_RETURNED = msgspec.json.Decoder(Returned).decode


class Verdict(NamedTuple):
    """The latest adjust, as far as it has ended.  ``hard``: the issuer wants not to be asked again."""

    target: int
    said: Said
    hard: bool = False


@dataclass(frozen=True, slots=True)
class Trip:
    """A trip.  Amounts are minor units of ``currency``; times are business time, UTC.

    ``captured`` is what its capture asked for, unless that has failed: also while nobody knows, and where clearing refused it later.
    ``card_fingerprint`` is the same for one card of one merchant, and survives a change of keys; empty without a card of ours.
    """

    merchant_id: int
    store: str
    name: str
    number: int
    payment_id: int                     # 0: nothing was ever held
    started_at: datetime
    expires_at: datetime
    never_expires: bool
    currency: str
    preauth: int                        # what the gate held
    payment: Payment | None
    read: CardRead
    adjusted: int | None                # what the latest adjust that moved the hold, or confirmed it, left standing
    adjusting: int | None               # the target of an adjust that nobody knows the end of
    captured: int | None
    captured_at: datetime | None
    shopper: str
    card_fingerprint: bytes
    group: str
    state: State
    latest: Verdict | None
    view: View | None
    row: TripRow
    card: StoredCard | None = None      # its payment's, where that was read with it

    @property
    def standing(self) -> int:
        """What may be captured without asking anybody."""
        return standing_of(self.payment)


def standing_of(payment: Payment | None) -> int:
    """What stands of a hold, as far as it was given."""
    return 0 if payment is None or payment.status in _WITHOUT_HOLD else payment.open + payment.unsecured


def details_of(target: int, stood: int) -> bytes:
    """What an operation that adjusts keeps."""
    return _WRITE(Target(target, stood))


def returned_for(reason: str) -> bytes:
    """What a refund keeps."""
    return _WRITE(Returned(reason))


def reason_of(step: Step) -> str:
    """Why a refund was asked for; "" where nobody said, or another door's did."""
    try:
        return _RETURNED(step.details).reason if step.details else ""
    except msgspec.MsgspecError:
        return ""


def card_read(read: CardRead) -> bytes:
    """What a reader recorded, as it is stored."""
    return _WRITE(read)


def read_of(row: TripRow) -> CardRead:
    """The same again."""
    return _READ(row.card_read)


def fingerprint(card_id: int) -> bytes:
    """The record of a card as eight octets, empty for none."""
    return card_id.to_bytes(8, "big") if card_id else b""


async def trip_of(reading: Reading, row: TripRow, now: datetime) -> Trip:
    """A row's trip as it stands now."""
    return stand(row, await reading.view(row.merchant_id, row.payment_id) if row.payment_id else None, now)


def stand(row: TripRow, view: View | None, now: datetime, card: StoredCard | None = None) -> Trip:
    """Row and payment put together.  ``view`` is ``None`` where nothing was asked yet."""
    payment = view.payment if view else None
    steps: Sequence[Step] = view.steps if view else ()
    capture = next((step for step in reversed(steps) if step.kind == Kind.CAPTURE and _came_about(step)), None)
    is_voided = row.cancelled_at is not None or any(
        step.kind == Kind.VOID and step.reason != VoidReason.EXPIRED and _came_about(step) for step in steps)
    adjusting, adjusted, latest = _adjusts(row, steps)
    is_over = not row.never_expires and now >= row.expires_at
    state = state_of(
        payment, is_captured=capture is not None, is_voided=is_voided, is_adjusting=adjusting is not None, is_adjusted=adjusted is not None,
        is_over=is_over)
    gate = view.first if view is not None and row.hold and view.first.result == "approved" else None
    return Trip(
        row.merchant_id, row.store, row.name, row.number, row.payment_id, row.started_at, row.expires_at, row.never_expires, row.currency,
        gate.answered_minor or 0 if gate else 0, payment, _READ(row.card_read), adjusted, adjusting,
        capture.minor if capture else None, capture.answered_at or capture.asked_at if capture else None,
        row.shopper, fingerprint(row.card_id), row.company, state, latest, view, row, card)


def _came_about(step: Step) -> bool:
    """Whether an operation has not failed, as far as anybody knows."""
    return step.result in (None, "unknown", "approved")


def _adjusts(row: TripRow, steps: Sequence[Step]) -> tuple[int | None, int | None, Verdict | None]:
    """The target of an adjust without an end; what the last one that came about left standing; and the latest one that has ended."""
    adjusting: int | None = None
    adjusted: int | None = None
    latest: Verdict | None = None
    if row.level is not None and not row.level_behind:
        adjusted, latest = row.level, Verdict(row.level, Said.APPROVED)
    for step in steps:
        target = _target_of(step)
        if target is None:
            continue
        adjusting = None
        match step.result:
            case None | "unknown" | "challenge":
                adjusting = target.target
            case "approved":
                moved = step.answered_minor or 0
                adjusted = target.stood + (-moved if step.kind == Kind.DECREMENT else moved)
                latest = Verdict(target.target, Said.APPROVED if adjusted == target.target else Said.DECLINED)
            case "not_asked":
                latest = None               # nobody said anything: it is asked again
            case _:
                latest = Verdict(target.target, Said.DECLINED, is_hard_step(step))
        if row.level is not None and row.level_behind == step.operation_id and adjusting is None:
            adjusted, latest = row.level, Verdict(row.level, Said.APPROVED)
    return adjusting, adjusted, latest


def _target_of(step: Step) -> Target | None:
    if step.kind not in (*FIRST, Kind.INCREMENT, Kind.DECREMENT) or not step.details:
        return None
    try:
        return _TARGET(step.details)
    except msgspec.ValidationError:
        return None                         # the gate's own, or another door's


def is_hard_step(step: Step) -> bool:
    """Whether a declined operation says that asking again is not wanted."""
    return step.result == "declined" and (step.response_code in HARD_DECLINES or step.advice in HARD_ADVICE)


def last_adjust(trip: Trip) -> int:
    """The operation of the latest adjust that somebody was asked for, 0 for none."""
    return next((step.operation_id for step in reversed(trip.view.steps if trip.view else ()) if _target_of(step)), 0)
