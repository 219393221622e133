"""Commands: what a caller may ask of a payment.

A command names the operation and its limits.  It knows nothing of cards, doors or keys: the engine carries those beside it.
"""
from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

MAX_MINOR = 999_999_999_999
"""The largest amount of one payment, in minor units (ISO 8583 DE 4 has twelve digits)."""


class Kind(StrEnum):
    """The operations of a payment."""

    AUTHORIZATION = "authorization"
    PURCHASE = "purchase"           # authorization and capture in one
    INCREMENT = "increment"         # raises the hold by the amount
    DECREMENT = "decrement"         # lowers the hold by the amount (a partial reversal)
    CAPTURE = "capture"
    VOID = "void"                   # gives back what is open; an expiry is a void with that reason
    REFUND = "refund"


class VoidReason(StrEnum):
    """Why a hold is given back.  Of a capture: ``NOT_WANTED`` makes it the last one, so that what it leaves is given back with it."""

    REQUESTED = "requested"
    EXPIRED = "expired"             # the sweep found it past its instant
    NOT_WANTED = "not_wanted"       # a partial approval, or a final capture below the hold


class Initiation(StrEnum):
    """Who started the payment (stored-credential frameworks of the schemes)."""

    CARDHOLDER = "cardholder"       # CIT: present on the page, in the shop, on the phone
    RECURRING = "recurring"         # MIT: agreed schedule
    UNSCHEDULED = "unscheduled"     # MIT: agreed, no schedule


class Command(NamedTuple):
    """One thing asked of a payment.

    ``minor`` is in minor units of ``currency``; ``None`` means all that is open (void only).
    ``hold_seconds`` is how long an approved authorization stays capturable, counted from its approval.
    ``standing``: of an increment or decrement that was worked out from what stood (open and unsecured), that amount: where it is another
    one meanwhile, the command is for a hold that is no more.
    """

    kind: Kind
    minor: int | None
    currency: str
    operation_id: int
    accepts_partial: bool = False   # keep a partial approval; otherwise it is given back at once
    whole: bool = False             # void: only while nothing was captured
    reason: VoidReason = VoidReason.REQUESTED
    hold_seconds: int = 0
    standing: int | None = None
