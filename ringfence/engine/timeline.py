"""The timeline: what becomes due as business time goes on, when the next of it is, and whether all that is due is done.

One table of sources answers for the database (``storage.timeline``), a function that is handed in for what only an issuer knows of.
Decides nothing and moves nothing.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage import door_events, feed
from ringfence.storage import timeline as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.timeline import SOURCES

DROPS = "issuer acts by itself"

Drops = Callable[[datetime], Awaitable[Sequence[datetime]]]
"""When an issuer will drop holds, or go on with disputes, and a wallet will decide, up to an instant, the next one first; nothing that is done."""


class Upcoming(NamedTuple):
    """So much of one kind becomes due; the first and the last of it (business time)."""

    what: str
    count: int
    first: datetime
    last: datetime


class Stepped(NamedTuple):
    """Where business time is after a move, in how many steps, what became due on the way, and whether all of it is done."""

    now: datetime
    steps: int
    fired: list[Upcoming]
    settled: bool


class Busy(Exception):
    """Somebody else is moving the clock."""


async def none(until: datetime) -> Sequence[datetime]:
    """No issuer does anything."""
    return ()


async def upcoming(pool: asyncpg.Pool, merchants: Sequence[int], now: datetime, until: datetime, *, drops: Drops = none) -> list[Upcoming]:
    """What becomes due behind ``now`` up to ``until`` (business time), as it stands: what follows from it is not counted."""
    found: list[Upcoming] = []
    async with borrowed(pool) as connection:
        for source in SOURCES:
            if source.count:
                count, first, last = await rows.span(connection, source, merchants, now, until)
                if first is not None and last is not None:
                    found.append(Upcoming(source.what, count, first, last))
    if dropping := [at for at in await drops(until) if at > now]:
        found.append(Upcoming(DROPS, len(dropping), dropping[0], dropping[-1]))
    return found


async def next_due(
    pool: asyncpg.Pool, merchants: Sequence[int], now: datetime, until: datetime, *, drops: Drops = none
) -> datetime | None:
    """The next instant behind ``now`` up to ``until`` at which anything becomes due; ``None`` where nothing does."""
    instants: list[datetime | None] = [next((at for at in await drops(until) if at > now), None)]
    async with borrowed(pool) as connection:
        for source in SOURCES:
            if source.next:
                instants.append(await rows.next_at(connection, source, merchants, now, until))
            elif source.due:
                instants.append((await rows.span(connection, source, merchants, now, until))[1])
    return min((at for at in instants if at is not None), default=None)


async def is_settled(
    pool: asyncpg.Pool, merchants: Sequence[int], now: datetime, *, drops: Drops = none, heads: Mapping[int, int] | None = None
) -> bool:
    """Whether nothing is left to do that is due by ``now`` (business time).

    With ``heads``, a cursor of the feed, everything up to there must have been handed out as well, and all that is told beside it.
    """
    if await drops(now):
        return False
    async with borrowed(pool) as connection:
        if await rows.is_due(connection, merchants, now):
            return False
        if heads:
            followed = await feed.followed(connection)
            return all(followed.get(lane, 0) >= number for lane, number in heads.items()) and not await door_events.waiting(connection, 1)
    return True


def together(told: Iterable[Upcoming]) -> list[Upcoming]:
    """The same kinds of several spans of time as one."""
    sums: dict[str, Upcoming] = {}
    for one in told:
        before = sums.get(one.what)
        sums[one.what] = one if before is None else Upcoming(
            one.what, before.count + one.count, min(before.first, one.first), max(before.last, one.last))
    order = [source.what for source in SOURCES] + [DROPS]
    return sorted(sums.values(), key=lambda one: order.index(one.what))
