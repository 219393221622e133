"""Payment links: where one stands, and what may be done with it there.  Pure.

A link is an invoice that one payer may pay once.  Two facts are stronger than everything its merchant says: that it was paid, and that a
payment for it is in doubt.  "Expired" is not written anywhere; it is what an unpaid link is from an instant on.  Refuses to know who pays, how,
and where links are kept.
"""
from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a link stands.  Nothing leaves PAID and CANCELLED; an EXPIRED one can only turn out to have been paid in time."""

    OPEN = "open"                   # waits for its payer
    OPENED = "opened"               # someone is paying
    PAID = "paid"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Act(StrEnum):
    """What may be asked of a link."""

    OPEN = "open"                   # a payer wants to pay
    CHANGE = "change"               # its merchant changes it
    RESEND = "resend"               # its merchant has it sent again
    CANCEL = "cancel"               # its merchant takes it back


class Problem(StrEnum):
    """Why a link refuses an act."""

    SOMEONE_IS_PAYING = "someone_is_paying"
    PAID = "paid"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Payment(StrEnum):
    """What the payments of a link's order amount to."""

    NONE = "none"                   # there was none, or all of them were declined
    DOUBT = "doubt"                 # one is under way, or nobody knows what became of it
    APPROVED = "approved"


#: What may be asked where; by whoever holds an opened link it may be opened again.
ALLOWED: dict[State, frozenset[Act]] = {
    State.OPEN: frozenset(Act),
    State.OPENED: frozenset(),
    State.PAID: frozenset(),
    State.EXPIRED: frozenset(),
    State.CANCELLED: frozenset(),
}
NOT_ALLOWED: dict[State, Problem] = {
    State.OPENED: Problem.SOMEONE_IS_PAYING, State.PAID: Problem.PAID, State.EXPIRED: Problem.EXPIRED, State.CANCELLED: Problem.CANCELLED,
}

HOLD = timedelta(minutes=15)
"""How long whoever opened a link has it alone; it lapses by itself."""
LONGEST = timedelta(days=3_653)
"""Ten years: a link lives no longer; further ahead is no date that anybody means."""
HOUR, PER_HOUR, PER_LINK = timedelta(hours=1), 4, 20
"""So many messages about one link in an hour, and in its life: it is an invoice, not a campaign."""


class Standing(NamedTuple):
    """All that a link's state follows from.  Instants are business time; ``holder`` is whoever opened it last, ``b""`` for nobody."""

    expires_at: datetime
    cancelled: bool = False
    payment: Payment = Payment.NONE
    holder: bytes = b""
    held_until: datetime | None = None


def state_at(link: Standing, now: datetime) -> State:
    """Where the link stands at ``now``: what became of its money first, then its merchant's word, then the time."""
    if link.payment is Payment.APPROVED:
        return State.PAID
    if link.payment is Payment.DOUBT:
        return State.OPENED
    if link.cancelled:
        return State.CANCELLED
    if link.expires_at <= now:
        return State.EXPIRED
    return State.OPENED if link.held_until is not None and now < link.held_until else State.OPEN


def problem(link: Standing, act: Act, now: datetime, holder: bytes = b"") -> Problem | None:
    """Why ``act`` is refused at ``now``; ``None`` where it is not.  ``holder`` is who wants to open the link."""
    state = state_at(link, now)
    if act in ALLOWED[state]:
        return None
    if act is Act.OPEN and state is State.OPENED and link.payment is Payment.NONE and holder and holder == link.holder:
        return None
    return NOT_ALLOWED[state]


def opened(link: Standing, holder: bytes, now: datetime) -> Standing | Problem:
    """The link in the hands of ``holder``, until it lapses or the link does; or why not."""
    assert holder, "somebody opens it"
    refused = problem(link, Act.OPEN, now, holder)
    return refused or link._replace(holder=holder, held_until=min(now + HOLD, link.expires_at))


def left_alone(link: Standing, holder: bytes) -> Standing:
    """The link after its holder has given up; nothing changes where another one has it."""
    return link._replace(holder=b"", held_until=None) if holder and holder == link.holder else link


def cancelled(link: Standing, now: datetime) -> Standing | Problem:
    """The link taken back; or why not."""
    return problem(link, Act.CANCEL, now) or link._replace(cancelled=True)


def may_send(asked: list[datetime], now: datetime, media: int) -> bool:
    """Whether so many more messages may go out, of which ``asked`` says when the others were wanted."""
    recent = sum(now - HOUR < at for at in asked)
    return recent + media <= PER_HOUR and len(asked) + media <= PER_LINK
