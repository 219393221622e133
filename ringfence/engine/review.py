"""The review: operations in doubt that a person should look at, and what that person decides.

The list is a question to the database, not a state: whatever is in doubt behind its deadline is in it.  A decision is written first;
whoever recovers the operation then commits the outcome, with the same fences as any other.  Refuses to know what a merchant is told.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

import asyncpg

from ringfence.core.commands import Kind
from ringfence.core.payment import FIRST
from ringfence.core.recovery import choices
from ringfence.engine.story import asked_about, explain, id_of
from ringfence.storage import jobs, review
from ringfence.storage.borrowing import borrowed
from ringfence.storage.jobs import JobRow
from ringfence.storage.recovery import RECOVERY
from ringfence.storage.reports import Window
from ringfence.storage.review import Attempt, Row

LONGEST = 1_000
"""Characters of a reason, a piece of evidence or a name; and operations in one list."""


class Why(StrEnum):
    """Why a decision is refused."""

    NOT_THERE = "not_there"             # there is no operation of that id
    ENDED = "ended"                     # it has ended, or somebody has decided already
    WRONG = "wrong"                     # a field is to blame


class Refused(NamedTuple):
    """A decision that is not taken; nothing was changed."""

    why: Why
    field: str
    problem: str


class Shown(NamedTuple):
    """An operation with what is known about it: its attempts, what a person may decide, and its payment's story as sentences."""

    row: Row
    attempts: tuple[Attempt, ...]
    choices: tuple[str, ...]
    story: tuple[str, ...]


async def listed(pool: asyncpg.Pool, now: datetime, merchant: str | None = None, *, every: bool = False) -> list[Row]:
    """What waits for a person at ``now`` (business time), the oldest first; with ``every`` all that is in doubt.  At most ``LONGEST``."""
    async with borrowed(pool) as connection:
        return await review.listed(connection, None if every else now, merchant, LONGEST)


async def shown(pool: asyncpg.Pool, operation: str, *, asked: Callable[[int], Window] = asked_about) -> Shown | None:
    """Everything about one operation; ``None`` where nothing has that id."""
    number = id_of(operation)
    if number is None:
        return None
    async with borrowed(pool) as connection:
        row = await review.find(connection, number, asked(number))
        if row is None:
            return None
        heard = await review.attempts(connection, row)
    story = await explain(pool, str(row.payment_id), row.merchant, keys=lambda name: (), asked=asked)
    return Shown(row, tuple(heard), _choices(row), story.sentences if story else ())


async def decide(
    pool: asyncpg.Pool, now: datetime, operation: str, as_: str, minor: int | None, reason: str, evidence: str, by: str, *,
    asked: Callable[[int], Window] = asked_about,
) -> Row | Refused:
    """Write down how a doubt ends (``as_``: approved, declined or reversed), and wake whoever commits it.

    ``minor``: the approved amount, by default the one that was asked for.  ``now`` is business time.
    """
    number = id_of(operation)
    if problem := _empty(reason=reason, evidence=evidence, by=by):
        return problem
    if number is None:
        return Refused(Why.NOT_THERE, "operation", "there is no operation of that id")
    async with borrowed(pool) as connection, connection.transaction():
        row = await review.find(connection, number, asked(number))
        if row is None:
            return Refused(Why.NOT_THERE, "operation", "there is no operation of that id")
        if not await review.hold(connection, row):
            return Refused(Why.ENDED, "operation", "it is not in doubt: it has an end, or is being asked right now")
        row = await review.find(connection, number, asked(number))      # as it stands now that nobody else can change it
        assert row is not None, "operations stay"
        approved = row.minor if minor is None else minor
        if refused := _refused(row, as_, minor, approved):
            return refused
        if not await review.decide(connection, row, as_, approved if as_ == "approved" else 0, reason, evidence, by, datetime.now(UTC)):
            return Refused(Why.ENDED, "operation", f"somebody has decided already: {row.decided}")
        await jobs.wake(connection, [JobRow(row.merchant_id, RECOVERY, number, row.payment_id, now)])
    return row._replace(decided=as_)


def _choices(row: Row) -> tuple[str, ...]:
    """What a person may decide about it, in the order of the alphabet; nothing once it has ended."""
    return () if row.tries is None or row.decided else tuple(sorted(choices(Kind(row.kind), row.reversal_left)))


def _refused(row: Row, as_: str, minor: int | None, approved: int) -> Refused | None:
    possible = sorted(choices(Kind(row.kind), row.reversal_left))
    if as_ not in possible:
        because = ": a reversal was decided, and may have undone it" if row.reversal_left and as_ == "approved" else ""
        return Refused(Why.WRONG, "as", f"can only be {' or '.join(possible)} here{because}")
    if minor is not None and as_ != "approved":
        return Refused(Why.WRONG, "amount", "belongs to an approval only")
    if approved != row.minor and not (Kind(row.kind) in FIRST and 0 < approved < row.minor):
        return Refused(Why.WRONG, "amount", f"must be {row.minor}, as it was asked for" + (", or a part of it" if Kind(row.kind) in FIRST else ""))
    return None


def _empty(**texts: str) -> Refused | None:
    for field, text in texts.items():
        if not text.strip():
            return Refused(Why.WRONG, field, "must say something: it stands in the payment's story for ever")
        if len(text) > LONGEST:
            return Refused(Why.WRONG, field, f"must have at most {LONGEST} characters")
    return None
