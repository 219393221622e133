"""Retries of merchant-initiated payments: what a decline means for the next try, and how many tries a scheme allows.

A hard decline ends a series, a soft one is tried again on a schedule, and what the cardholder or the merchant must mend first is not
tried again by itself.  Merchant advice codes of the scheme come before the schedule.  Refuses to know clocks, plans and tokens.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ringfence.core.outcomes import Declined, is_hard

DAY = timedelta(days=1)

#: DE 39 values that a repetition does not help: the data, the set-up or the cardholder's authentication must be mended first (classes F
#: and P of the code table), and suspected fraud.
NEEDS_MENDING = frozenset("03 13 23 30 54 55 58 59 64 70 82 89 1A 6P B1 B2 N7 N8 R2".split())
#: Merchant advice codes that say the same: new account data, token data, cards that are none for repeated payments.
MENDING_ADVICE = frozenset({"01", "04", "40", "41"})

#: How long an advice code asks to wait.
ADVISED: dict[str, timedelta] = {
    "02": timedelta(hours=72), "24": timedelta(hours=1), "25": timedelta(hours=24), "26": 2 * DAY, "27": 4 * DAY, "28": 6 * DAY,
    "29": 8 * DAY, "30": 10 * DAY,
}


class Limit(NamedTuple):
    """At most so many declined tries of one card of a brand at one merchant, in so many days."""

    brand: str
    most: int
    days: int


class Rules(NamedTuple):
    """``days``: when a declined payment is tried again, counted from its first try; as many tries more as there are entries."""

    days: tuple[int, ...]
    limits: tuple[Limit, ...]


class Again(NamedTuple):
    """Try again, not before this instant."""

    at: datetime


class Over(NamedTuple):
    """No further try.  ``hard``: the card must not be charged again without its cardholder."""

    hard: bool
    reason: str


def verdict(declined: Declined, *, first_at: datetime, now: datetime, declines: int, rules: Rules) -> Again | Over:
    """What follows from a decline at ``now``; ``declines`` is how many tries were declined, this one included."""
    if is_hard(declined):
        return Over(True, f"declined for good ({said(declined)})")
    if declined.response_code in NEEDS_MENDING or declined.advice in MENDING_ADVICE:
        return Over(False, f"declined until the card or the set-up is mended ({said(declined)})")
    if declines > len(rules.days):
        return Over(False, f"declined {declines} times, the last time with {said(declined)}")
    wait = ADVISED.get(declined.advice)
    return Again(now + wait if wait else max(first_at + timedelta(days=rules.days[declines - 1]), now + DAY))


def allowed_at(brand: str, declines: Sequence[datetime], wanted: datetime, limits: Sequence[Limit]) -> datetime:
    """The first instant from ``wanted`` on at which the scheme's limits allow a try; ``declines`` are those of the card, in order."""
    at = wanted
    for limit in limits:
        if limit.brand == brand and len(declines) >= limit.most:
            at = max(at, declines[-limit.most] + timedelta(days=limit.days))
    return at


def longest(limits: Sequence[Limit]) -> timedelta:
    """How far back declines count."""
    return timedelta(days=max((limit.days for limit in limits), default=0))


def said(declined: Declined) -> str:
    """Response and advice code of a decline, in words."""
    return f"response code {declined.response_code}" + (f", advice {declined.advice}" if declined.advice else "")
