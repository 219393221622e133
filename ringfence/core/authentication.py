"""Authentication: what a card's issuer said about the person who pays (EMV 3-D Secure 2), and what may be done with it.

An authentication is a value: for one card, at one merchant, up to one amount in one currency, for one payment, for some time.  Tables decide
what follows from each status; nothing here knows pages, messages, clocks or stores.
"""
from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

GOOD_FOR = timedelta(days=1)
"""How long an authentication may be used behind its end (business time)."""
FIRST_SIGN = timedelta(seconds=30)
"""The payer's browser must have come to the issuer by then; counted from the issuer's wish for a challenge (business time)."""
CHALLENGE = timedelta(minutes=10)
"""A challenge must have ended by then; counted from the same instant."""


class Status(StrEnum):
    """``transStatus``, and two words of our own for what has none."""

    AUTHENTICATED = "Y"
    ATTEMPTED = "A"                 # the issuer takes part, could not answer, and stands by it
    FAILED = "N"
    UNAVAILABLE = "U"
    REJECTED = "R"
    INFORMATIONAL = "I"             # an exemption was acknowledged
    CHALLENGE = "C"                 # the payer must act, on a page
    DECOUPLED = "D"                 # the payer must act, elsewhere; the result comes by itself
    METHOD = "M"                    # ours: the browser must pass by the issuer first (3DS Method)
    ERROR = "E"                     # ours: no answer, or none that can be believed


VERSIONS = ("2.2.0", "2.1.0")
"""Of the protocol (``messageVersion``), as they are spoken here, the newest first."""

#: What an older version has no word for.
_SINCE = {Status.DECOUPLED: "2.2.0", Status.INFORMATIONAL: "2.2.0"}


def agreed(theirs: Collection[str]) -> str:
    """The newest version that we and they speak; "" where there is none."""
    return next((version for version in VERSIONS if version in theirs), "")


def is_believable(status: Status, version: str) -> bool:
    """Whether an answer of that version can have that status.  An answer that names no version contradicts nothing."""
    if version not in VERSIONS:
        return not version
    return VERSIONS.index(version) <= VERSIONS.index(_SINCE.get(status, VERSIONS[-1]))


class Mode(StrEnum):
    """How much a payment needs it."""

    REQUIRED = "required"           # the issuer is asked for money only behind Y or A
    FLEXIBLE = "flexible"           # where the issuer takes part; who cannot be authenticated may pay all the same


class Verdict(StrEnum):
    """What follows from a status."""

    PROCEED = "proceed"             # ask the issuer for the money
    WAIT = "wait"                   # for the payer, and the result message
    STOP = "stop"                   # the issuer must not be asked


PENDING = frozenset({Status.CHALLENGE, Status.DECOUPLED, Status.METHOD})
SECURED = frozenset({Status.AUTHENTICATED, Status.ATTEMPTED})

_AT_ANY_RATE = {
    **dict.fromkeys(PENDING, Verdict.WAIT), **dict.fromkeys(SECURED, Verdict.PROCEED),
    Status.FAILED: Verdict.STOP, Status.REJECTED: Verdict.STOP,
}


def verdict(status: Status, mode: Mode) -> Verdict:
    """What follows: N and R never pay, Y and A always do; what says nothing about the person (U, I, no answer) pays only where that is
    the merchant's own risk."""
    return _AT_ANY_RATE.get(status) or (Verdict.PROCEED if mode is Mode.FLEXIBLE else Verdict.STOP)


class Evidence(NamedTuple):
    """What an authorization carries of an authentication, to the issuer and through the networks.  Shows itself without the cryptogram."""

    status: str
    eci: str = ""                   # 05 06 07; Mastercard 02 01 00
    cavv: str = ""                  # CAVV, AEVV, AAV: 20 bytes in base64, 28 characters
    ds_id: str = ""                 # the directory server's transaction id
    version: str = ""               # of the protocol

    def __repr__(self) -> str:
        return f"Evidence({self.status!r}, eci={self.eci!r}, version={self.version!r})"


class Cancelled(StrEnum):
    """``challengeCancel``: who or what ended a challenge early."""

    NOT = ""
    CARDHOLDER = "01"
    DECOUPLED_TIMEOUT = "03"
    ISSUER_TIMEOUT = "04"
    NO_FIRST_SIGN = "05"
    ERROR = "06"


class Ended(StrEnum):
    """Why a payment was not asked for because of its authentication: the reasons of a ``NotAsked``."""

    FAILED = "authentication_failed"
    CANCELLED = "authentication_cancelled"
    TIMEOUT = "authentication_timeout"
    MISUSED = "authentication_misused"      # another payment was quicker to use it
    CODE_GONE = "security_code_gone"        # it waited for the payer longer than it may be kept: the card is to be entered again


_ENDS = {
    Cancelled.CARDHOLDER: Ended.CANCELLED, Cancelled.DECOUPLED_TIMEOUT: Ended.TIMEOUT, Cancelled.ISSUER_TIMEOUT: Ended.TIMEOUT,
    Cancelled.NO_FIRST_SIGN: Ended.TIMEOUT,
}


def why_stopped(cancelled: str) -> Ended:
    """The reason to keep for a payment that an authentication stopped."""
    return _ENDS.get(cancelled, Ended.FAILED)       # type: ignore[call-overload, no-any-return]


class Authentication(NamedTuple):
    """One authentication.  ``minor`` is in minor units of ``currency`` (ISO 4217 alphabetic); times are business time, UTC."""

    merchant_id: int
    authentication_id: int
    card_id: int                    # the vault's record: one for each number of a merchant, found by its fingerprint
    minor: int
    currency: str
    status: Status
    evidence: Evidence
    made_at: datetime
    expires_at: datetime
    used_by: int | None = None      # the operation that used it


class Misuse(StrEnum):
    """Why an authorization may not use an authentication, in the order in which it is looked at."""

    OTHER_MERCHANT = "other_merchant"
    OTHER_CARD = "other_card"
    OTHER_CURRENCY = "other_currency"
    TOO_MUCH = "too_much"
    USED = "used"
    NOT_ENDED = "not_ended"         # the payer has not acted yet
    NOT_AUTHENTICATED = "not_authenticated"
    EXPIRED = "expired"


def may_use(authentication: Authentication, merchant_id: int, card_id: int | None, minor: int, currency: str, now: datetime) -> Misuse | None:
    """Why an authorization of ``minor`` may not use this authentication; ``None`` where it may.  ``now`` is business time."""
    if merchant_id != authentication.merchant_id:
        return Misuse.OTHER_MERCHANT
    if card_id != authentication.card_id:
        return Misuse.OTHER_CARD
    if currency != authentication.currency:
        return Misuse.OTHER_CURRENCY
    if minor > authentication.minor:
        return Misuse.TOO_MUCH
    if authentication.used_by is not None:
        return Misuse.USED
    if authentication.status in PENDING:
        return Misuse.NOT_ENDED
    if authentication.status not in SECURED:
        return Misuse.NOT_AUTHENTICATED
    return Misuse.EXPIRED if now >= authentication.expires_at else None
