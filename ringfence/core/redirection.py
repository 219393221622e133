"""Redirection: a payer who must go somewhere before anybody is asked for money.

What is wished for, what the other side may say of its session, and what follows from that, as one table.  Refuses to know who asks it.
"""
from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Recurrence(NamedTuple):
    """What a payer agrees to beside a payment, as he is told.  ``unit``: Year, Month, Week, Day or Variable; ``minor`` is ``None`` where the
    amount varies."""

    unit: str = "Variable"
    value: int = 0
    minor: int | None = None


#: How often an agreement recurs -> its unit.
UNITS = {"DAILY": "Day", "WEEKLY": "Week", "MONTHLY": "Month", "YEARLY": "Year"}


def recurrence_of(often: str, every: int, minor: int | None) -> Recurrence:
    """As a payer is told: ``often`` is one of ``UNITS`` or "", ``minor`` the amount where it is fixed."""
    unit = UNITS.get(often, "Variable")
    return Recurrence(unit, every if often in UNITS else 0, minor)


class Redirect(NamedTuple):
    """That the payer is sent away first.

    ``method`` is the payment method; ``ways`` how he may act (REDIRECT, SCAN_CODE, MULTI_FACTOR); ``seconds`` how long he has (business time);
    ``leave_url`` where his browser goes behind it, kept only where no payment keeps it; ``agreement_id``: what he agrees to with it, 0 for
    nothing.
    """

    method: str
    seconds: int
    language: str = "en"
    ways: tuple[str, ...] = ("REDIRECT",)
    leave_url: str = ""
    agreement_id: int = 0
    recurrence: Recurrence | None = None


class Stand(StrEnum):
    """What the other side says of a session."""

    SILENT = "silent"               # nothing that can be believed: look again
    FOREIGN = "foreign"             # it is not for this payment, this shop or this amount
    OPEN = "open"                   # its payer has not decided
    APPROVED = "approved"           # its payer has agreed: it can be completed, or was
    CANCELED = "canceled"           # by its payer
    DECLINED = "declined"
    CLOSED = "closed"               # by the other side
    EXPIRED = "expired"


class Why(StrEnum):
    """Why a payment was not asked for whose payer was sent away: the reasons of a ``NotAsked``."""

    CANCELED = "payer_canceled"
    FAILED = "payer_not_authenticated"
    DECLINED = "wallet_declined"
    CLOSED = "wallet_canceled"
    EXPIRED = "payer_timeout"


#: What ends a redirection without a payment.  A stand that is not here ends nothing, but for ``APPROVED``, behind which money is asked for.
ENDS: dict[Stand, Why] = {
    Stand.CANCELED: Why.CANCELED, Stand.DECLINED: Why.DECLINED, Stand.CLOSED: Why.CLOSED, Stand.EXPIRED: Why.EXPIRED,
}
