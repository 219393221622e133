"""How an attempt of a plan ended: from what the engine answered, or from what is stored of it.

Decides what counts as paid, declined, nothing at all, or not known yet.  Refuses to know what follows.
"""
from __future__ import annotations

from typing import NamedTuple

from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Reversed
from ringfence.storage.plans import Asked

PARTLY = Declined("51")
"""A partial approval, which nobody asked for, and which is given back: the money was not there."""


class Paid(NamedTuple):
    """The money was taken, or the invoice sent."""

    payment_id: int | None
    card_id: int | None
    link: str = ""


class Refused(NamedTuple):
    """The issuer said no."""

    declined: Declined
    payment_id: int | None
    card_id: int | None


class Nothing(NamedTuple):
    """It is certain that nothing happened; ``result`` says how: reversed, not_asked, taken (the reference was another's)."""

    result: str
    payment_id: int | None
    card_id: int | None


class Unfit(NamedTuple):
    """The door does not even ask, and why; ``blocked``: because the card was declined for good before."""

    why: str
    blocked: bool
    card_id: int | None


class Doubt(NamedTuple):
    """Nobody knows yet."""


End = Paid | Refused | Nothing | Unfit | Doubt


def outcome_of(found: Asked) -> Outcome | None:
    """The stored outcome, as far as it matters here; ``None`` while nobody knows."""
    match found.result:
        case "approved":
            return Approved(0)
        case "declined":
            return Declined(found.response_code or "", found.advice or "")
        case "reversed":
            return Reversed(found.response_code or "")
        case "not_asked":
            return NotAsked(found.response_code or "")
        case _:
            return None


def end_of(outcome: Outcome, status: str | None, payment_id: int | None, card_id: int | None) -> End:
    """What an outcome, and the status of its payment, mean for a plan."""
    match outcome:
        case Approved():
            return Refused(PARTLY, payment_id, card_id) if status == "declined" else Paid(payment_id, card_id)
        case Declined():
            return Refused(outcome, payment_id, card_id)
        case Reversed():
            return Nothing("reversed", payment_id, card_id)
        case NotAsked():
            return Nothing("not_asked", payment_id, card_id)
        case _:
            return Doubt()
