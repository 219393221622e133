"""A trip: a shopper goes into a store with a card, takes things and leaves; what may be done about its payment, and until when.

Pure.  Decides nothing about money: a trip's payment is a payment like any other, and what is said here comes on top of its rules.
Source: Just Walk Out payments, states of a trip's payment and its life of 46 hours from the trip's start.
"""
from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ringfence.core.standing import Payment, Status


class Said(StrEnum):
    """What Adjust tells the retailer."""

    APPROVED = "APPROVED"
    DECLINED = "DECLINED"
    PENDING = "PENDING"


class TripRefusal(StrEnum):
    """Why nothing is done about a trip."""

    UNKNOWN = "unknown"             # no such trip in that store, of that merchant, with a hold of ours
    EXPIRED = "expired"             # its life is over, and nothing can be charged any more
    STATE = "state"                 # not at this point of its payment
    AMOUNT = "amount"               # more than stands, or than is left
    CURRENCY = "currency"           # another one than the hold's
    CONTENT = "content"             # the same name for another request
    LATE = "late"                   # after the refund window
    UNAVAILABLE = "unavailable"     # not known yet, or could not be stored: the same request again will tell


class Risk(StrEnum):
    """What speaks against letting somebody in."""

    INVALID_CARD = "InvalidCard"
    FRAUD = "CustomerFraud"
    BAD_DEBT = "BadDebt"


class Recommendation(NamedTuple):
    """Whether to open the gate.  ``hold``: let in, but hold this instead (minor units); ``None`` for what the store holds."""

    is_authorized: bool = True
    hold: int | None = None
    risks: tuple[Risk, ...] = ()


class State(StrEnum):
    """Where a trip's payment stands."""

    HELD = "held"                           # entered; its hold, if there is one, is as the gate made it
    ADJUST_PENDING = "adjust_pending"       # an adjust is on its way, or nobody knows what became of it
    ADJUSTED = "adjusted"
    CAPTURED = "captured"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"
    EXPIRED = "expired"                     # its life is over, and nothing was captured


class Asked(StrEnum):
    """What the retailer asks about a trip."""

    ADJUST = "adjust"
    CAPTURE = "capture"
    CANCEL = "cancel"
    REFUND = "refund"
    DATA = "data"                           # what a receipt is made of


_OPEN = (State.HELD, State.ADJUST_PENDING, State.ADJUSTED)
_CAPTURED = (State.CAPTURED, State.PARTIALLY_REFUNDED, State.REFUNDED)

#: Why a state does not take what is asked; what is not here it takes.  A repeat of what was done is known before this is looked at, and an
#: adjust that is pending is waited for before.
REFUSED: dict[tuple[State, Asked], TripRefusal] = {
    **{(state, asked): TripRefusal.STATE for state in _CAPTURED for asked in (Asked.ADJUST, Asked.CAPTURE, Asked.CANCEL)},
    **{(state, asked): TripRefusal.STATE for state in _OPEN for asked in (Asked.REFUND, Asked.DATA)},
    **{(State.CANCELLED, asked): TripRefusal.STATE for asked in Asked if asked is not Asked.CANCEL},
    (State.REFUNDED, Asked.REFUND): TripRefusal.STATE,
    (State.ADJUST_PENDING, Asked.CAPTURE): TripRefusal.STATE,
    (State.EXPIRED, Asked.ADJUST): TripRefusal.EXPIRED,
    (State.EXPIRED, Asked.CAPTURE): TripRefusal.EXPIRED,
    (State.EXPIRED, Asked.REFUND): TripRefusal.STATE,
    (State.EXPIRED, Asked.DATA): TripRefusal.STATE,
}


def state_of(
    payment: Payment | None, *, is_captured: bool, is_voided: bool, is_adjusting: bool, is_adjusted: bool, is_over: bool,
) -> State:
    """Where a trip stands.

    ``payment``: as it is now, ``None`` where it has none, or none with an end.  ``is_captured`` and ``is_voided``: that was asked for and has not
    failed, whatever came of it so far.  ``is_over``: its life is.
    """
    if is_captured:
        if payment is None or not payment.refunded:
            return State.CAPTURED
        return State.PARTIALLY_REFUNDED if payment.refunded < payment.captured else State.REFUNDED
    if payment is not None and payment.status is Status.VOIDED and payment.expired:
        return State.EXPIRED
    if is_voided or (payment is not None and payment.status is Status.VOIDED):
        return State.CANCELLED
    if is_over:
        return State.EXPIRED
    if is_adjusting:
        return State.ADJUST_PENDING
    return State.ADJUSTED if is_adjusted else State.HELD


HOURS = 46
"""A trip's life, counted from its start."""
ALARM_HOURS = (24, 40, 45)
"""When somebody is told that a trip of ``HOURS`` is not charged yet."""


def alarm_at(started_at: datetime, expires_at: datetime, raised: int) -> datetime | None:
    """When the next alarm of a trip that is not charged is due: as far into its life as ``ALARM_HOURS`` are into one of ``HOURS``; the last one
    comes with its end, and ``None`` behind that."""
    if raised >= len(ALARM_HOURS):
        return expires_at if raised == len(ALARM_HOURS) else None
    seconds = (expires_at - started_at).total_seconds() * ALARM_HOURS[raised] / HOURS
    return started_at + timedelta(seconds=round(seconds))
