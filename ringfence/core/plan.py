"""Plans: repeated payments that the service begins by itself, and what is to be done about one now.

A plan opens its due dates one by one, in order, each of them once.  What was opened is a *period*: it waits for its instant, is asked
for, and ends charged, invoiced, failed, skipped or dropped.  While an attempt of a plan is in doubt nothing else of the plan begins.
Decides what comes next; refuses to know clocks, cards, storage and the way the money is asked for.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ringfence.core.schedule import Schedule, due_at, due_date, first_after


class Status(StrEnum):
    """Where a plan stands."""

    ACTIVE = "active"
    PAUSED = "paused"                   # nothing begins until it is resumed
    ENDED = "ended"                     # its last due date is over, or somebody ended it
    STOPPED = "stopped"                 # its card must not be charged any more, or a period failed and the plan says stop


class Kind(StrEnum):
    """What a due date does."""

    CHARGE = "charge"                   # charges the card behind the token
    INVOICE = "invoice"                 # sends an invoice with a payment link


class Missed(StrEnum):
    """What becomes of due dates that a later one has overtaken before anybody came to them."""

    CHARGE = "charge_missed"            # each is charged, in order
    SKIP = "skip_missed"                # only the last of them is charged


class Failed(StrEnum):
    """What follows once a period could not be charged."""

    SKIP = "skip"                       # the next one goes on as if nothing had been
    PAUSE = "pause"
    STOP = "stop"


class State(StrEnum):
    """Where a period stands."""

    OPEN = "open"                       # will be asked for at its instant
    ASKED = "asked"                     # an attempt has begun, and its end is not known here
    CHARGED = "charged"
    INVOICED = "invoiced"
    FAILED = "failed"                   # declined for good, or too often
    SKIPPED = "skipped"                 # missed, or due while the plan was paused
    DROPPED = "dropped"                 # the plan came to its end before


class Period(NamedTuple):
    """One due date that was opened.  ``attempts``: the number of the last that has begun; ``declines``: how many of them were declined.

    ``minor`` is what is charged, in minor units; ``next_at`` (business time) says when, while it is open.
    """

    place: int
    due_date: date
    minor: int
    state: State
    attempts: int
    declines: int
    next_at: datetime
    first_at: datetime | None           # of the first attempt


class Terms(NamedTuple):
    """What was agreed.  ``notice_days``: so long before a due date the merchant is told of it; 0 for never."""

    schedule: Schedule
    missed: Missed
    notice_days: int


class Standing(NamedTuple):
    """How far a plan has come: the place of the next due date to be opened, and of the last one that was announced (-1: none)."""

    status: Status
    place: int
    announced: int


# What comes next, one of these.

class Resolve(NamedTuple):
    """Learn what became of the attempt that has begun."""

    period: Period


class Ask(NamedTuple):
    """Begin an attempt for a period."""

    period: Period


class Open(NamedTuple):
    """Open the next due date."""

    place: int
    due_date: date
    due_at: datetime


class Skip(NamedTuple):
    """Pass over due dates from one place up to another, which is excluded."""

    place: int
    until: int


class Announce(NamedTuple):
    """Tell the merchant of a due date that comes."""

    place: int
    due_date: date


class Finish(NamedTuple):
    """Nothing will be due any more."""


class Wait(NamedTuple):
    """Nothing is to be done before this instant (business time), ``None`` for nothing at all."""

    until: datetime | None


Step = Resolve | Ask | Open | Skip | Announce | Finish | Wait


def next_step(terms: Terms, standing: Standing, unfinished: Sequence[Period], now: datetime) -> Step:
    """What is to be done now.  ``unfinished``: the plan's periods that are open or asked, at most one of them asked."""
    for period in unfinished:
        if period.state is State.ASKED:
            return Resolve(period)
    if standing.status is not Status.ACTIVE:
        return Wait(None)
    schedule, place = terms.schedule, standing.place
    coming = due_at(schedule, place)
    again = min(unfinished, key=lambda period: (period.next_at, period.place), default=None)
    if again is not None and again.next_at <= now and (coming is None or again.next_at <= coming):
        return Ask(again)
    if coming is not None and coming <= now:
        return _opened(terms, place, coming, now)
    if coming is not None and terms.notice_days and standing.announced < place and announced_at(terms, coming) <= now:
        return Announce(place, _date(schedule, place))
    if coming is None and again is None:
        return Finish()
    return Wait(_next_instant(terms, standing, coming, again))


def announced_at(terms: Terms, coming: datetime) -> datetime:
    """When the merchant is told of a due date that begins at ``coming``."""
    return coming - timedelta(days=terms.notice_days)


def _opened(terms: Terms, place: int, coming: datetime, now: datetime) -> Step:
    if terms.missed is Missed.SKIP:
        last = first_after(terms.schedule, now, place) - 1
        if last > place:
            return Skip(place, last)
    return Open(place, _date(terms.schedule, place), coming)


def _date(schedule: Schedule, place: int) -> date:
    found = due_date(schedule, place)
    assert found is not None, "only what is due before the end is opened"
    return found


def _next_instant(terms: Terms, standing: Standing, coming: datetime | None, again: Period | None) -> datetime:
    instants = [] if again is None else [again.next_at]
    if coming is not None:
        is_to_be_told = terms.notice_days and standing.announced < standing.place
        instants.append(announced_at(terms, coming) if is_to_be_told else coming)
    return min(instants)


def reference_of(plan_id: str, day: date, attempt: int) -> str:
    """The name of one attempt: plan, due date, attempt.  ``.`` stands in no plan id, so that no two attempts share one; at most 40
    characters for an id of 24 and a million attempts."""
    return f"{plan_id}.{day:%Y%m%d}.{attempt}"
