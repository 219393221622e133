"""Agreements: what a payer agreed to once, so that a merchant may charge later without him.

Two tables decide: what may follow what, and whether an amount may be charged now.  Refuses to know payment methods, wallets, clocks, stores and
the words of doors.
"""
from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """Where an agreement stands."""

    INITIALIZING = "INITIALIZING"
    AUTHENTICATION_PENDING = "AUTHENTICATION_PENDING"       # its payer must act
    AUTHORIZATION_PROCESSING = "AUTHORIZATION_PROCESSING"   # its payer has acted, and the provider has not said
    ACTIVE = "ACTIVE"
    REVOKED_BY_CONSUMER = "REVOKED_BY_CONSUMER"
    REVOKED_BY_MERCHANT = "REVOKED_BY_MERCHANT"
    REVOKED_BY_PROVIDER = "REVOKED_BY_PROVIDER"
    FAILED = "FAILED"                                       # declined, cancelled, or the payer did not act in time


class What(StrEnum):
    """What may happen to an agreement."""

    AWAITED = "awaited"                         # its payer must act
    ANSWERED = "answered"                       # he has, and the provider has not said
    AGREED = "agreed"
    REFUSED = "refused"
    UPDATED = "updated"                         # what it is paid with has changed
    REVOKED_BY_CONSUMER = "revoked_by_consumer"
    REVOKED_BY_MERCHANT = "revoked_by_merchant"
    REVOKED_BY_PROVIDER = "revoked_by_provider"


class AmountType(StrEnum):
    """What an agreement's amount means for a charge."""

    EXACT = "EXACT"
    MAX = "MAX"
    VARIABLE = "VARIABLE"


class Refusal(StrEnum):
    """Why an agreement turns something down."""

    INACTIVE = "AGREEMENT_INACTIVE"             # not yet, not any more, never, or outside of its dates
    REVOKED = "AGREEMENT_REVOKED"
    AMOUNT = "AMOUNT_NOT_SUPPORTED"


_WAYS = {
    What.AWAITED: Status.AUTHENTICATION_PENDING, What.ANSWERED: Status.AUTHORIZATION_PROCESSING, What.AGREED: Status.ACTIVE,
    What.REFUSED: Status.FAILED,
}
REVOKED: dict[What, Status] = {
    What.REVOKED_BY_CONSUMER: Status.REVOKED_BY_CONSUMER, What.REVOKED_BY_MERCHANT: Status.REVOKED_BY_MERCHANT,
    What.REVOKED_BY_PROVIDER: Status.REVOKED_BY_PROVIDER,
}

#: What may follow what.  Whatever is not here changes nothing: it was told before, or comes too late.
AFTER: dict[tuple[Status, What], Status] = {
    **{(Status.INITIALIZING, what): status for what, status in _WAYS.items()},
    **{(Status.AUTHENTICATION_PENDING, what): status for what, status in _WAYS.items() if what is not What.AWAITED},
    (Status.AUTHORIZATION_PROCESSING, What.AGREED): Status.ACTIVE, (Status.AUTHORIZATION_PROCESSING, What.REFUSED): Status.FAILED,
    (Status.ACTIVE, What.UPDATED): Status.ACTIVE,
    **{(Status.ACTIVE, what): status for what, status in REVOKED.items()},
}

OPEN = frozenset({Status.INITIALIZING, Status.AUTHENTICATION_PENDING, Status.AUTHORIZATION_PROCESSING})
"""Nobody knows yet whether there will be an agreement."""
ENDED = frozenset({Status.FAILED, *REVOKED.values()})
"""Nothing follows."""


class Terms(NamedTuple):
    """What was agreed on.  ``minor`` is in minor units of ``currency``, ``None`` where no amount was; dates are business time, both included,
    ``None`` for no limit."""

    start_at: datetime | None = None
    end_at: datetime | None = None
    minor: int | None = None
    currency: str = ""
    amount_type: str = ""


def follow(status: Status, what: What) -> Status | None:
    """The status behind what happened; ``None`` where it changes nothing."""
    return AFTER.get((status, what))


def turned_down(status: Status) -> Refusal | None:
    """Why nothing may be done under an agreement of that status; ``None`` where it is active."""
    if status is Status.ACTIVE:
        return None
    return Refusal.REVOKED if status in REVOKED.values() else Refusal.INACTIVE


def may_charge(status: Status, terms: Terms, minor: int, currency: str, now: datetime) -> Refusal | None:
    """Why a charge of ``minor`` may not be made now; ``None`` where it may.  How often it is charged is not looked at."""
    if (refusal := turned_down(status)) is not None:
        return refusal
    if (terms.start_at is not None and now < terms.start_at) or (terms.end_at is not None and now > terms.end_at):
        return Refusal.INACTIVE
    if terms.minor is None or terms.amount_type not in (AmountType.EXACT, AmountType.MAX):
        return None
    fits = minor == terms.minor if terms.amount_type == AmountType.EXACT else minor <= terms.minor
    return None if fits and currency == terms.currency else Refusal.AMOUNT
