"""Moving business time as if it had passed: from one due instant to the next, with everything done that is due in between.

So what follows from each other happens in order and at its own time: a webhook's retries, a hold's end, a doubt's deadline.  One
advance at a time, by whichever process was asked; the others see the clock move and look at once (``watch``).
"""
from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import asyncpg

from ringfence.background.worker import Chore
from ringfence.engine import timeline
from ringfence.engine.clock import Clock
from ringfence.engine.timeline import Busy, Drops, Stepped
from ringfence.storage import feed, jobs
from ringfence.storage.borrowing import borrowed

NAME = "advance"
LEASE_SECONDS = 10.0
STEPS = 200
"""At most so many stops: the first half exactly at instants, the others at least so far apart that the way is done."""
POLL_SECONDS, POLL_AT_MOST = 0.01, 0.25
IMPATIENCE_SECONDS = 0.1
"""How long a step waits once another one was not settled in time: nobody is doing the work, or there is too much of it."""
WATCH_SECONDS = 0.05

Nudge = Callable[[], object]


async def advance(
    clock: Clock, pool: asyncpg.Pool, merchants: Sequence[int], until: datetime | timedelta, *, nudge: Nudge, patience: float = 30.0,
    drops: Drops = timeline.none, is_told: Callable[[], bool] = lambda: False,
) -> Stepped:
    """Move the clock to an instant of business time, or by a length.

    ``nudge`` has the background look now; ``patience``: seconds (wall time) that what is due may take; ``is_told``: whether
    anybody is told of events, so that handing them out belongs to what is due.
    Raises ``Busy``, and ``ClockError`` for an instant that cannot be moved to; nothing has moved then.
    """
    clock.check(until)
    holder = secrets.token_hex(8)
    if not await jobs.turn(pool, NAME, holder, LEASE_SECONDS):
        raise Busy()
    move = _Move(clock, pool, merchants, nudge, patience, drops, is_told, holder)
    try:
        return await move.along(until)
    finally:
        await jobs.rest(pool, NAME, holder)


class _Move:
    """One advance."""

    def __init__(
        self, clock: Clock, pool: asyncpg.Pool, merchants: Sequence[int], nudge: Nudge, patience: float, drops: Drops,
        is_told: Callable[[], bool], holder: str,
    ) -> None:
        self._clock, self._pool, self._merchants, self._nudge, self._patience = clock, pool, merchants, nudge, patience
        self._drops, self._is_told, self._holder = drops, is_told, holder
        self._renewed, self._is_ours = time.monotonic(), True
        self._heads: dict[int, int] | None = None       # of the feed, at this stop: up to where events must be handed out

    async def along(self, until: datetime | timedelta) -> Stepped:
        """The whole way.  A clock that runs stands meanwhile, so that what fires does so at its very instant."""
        self._clock.hold(LEASE_SECONDS)
        try:
            return await self._stepped(until)
        finally:
            if self._is_ours:
                self._clock.release()

    async def _stepped(self, until: datetime | timedelta) -> Stepped:
        settled = await self._settled()         # what is due before the first move happens before it
        since = self._clock.now()
        end = since + until if isinstance(until, timedelta) else until
        shortest, steps, fired = (end - since) / (STEPS // 2), 0, []
        while since < end:
            due = await timeline.next_due(self._pool, self._merchants, since, end, drops=self._drops)
            there = end if due is None else due if steps < STEPS // 2 else min(end, max(due, since + shortest))
            fired += await timeline.upcoming(self._pool, self._merchants, since, there, drops=self._drops)
            await self._renew()
            self._clock.advance(max(there - self._clock.now(), timedelta()))    # no further, should anybody else have moved it
            since, steps = there, steps + 1
            settled = await self._settled() and settled
        return Stepped(self._clock.now(), steps, timeline.together(fired), settled)

    async def _settled(self) -> bool:
        """Have all that is due done, by this process and the others; whether it was in time."""
        self._call()
        self._heads = None
        called = began = time.monotonic()
        pause, now = POLL_SECONDS, self._clock.now()
        while not await self._is_settled(now):
            if time.monotonic() >= began + self._patience:
                self._patience = IMPATIENCE_SECONDS
                return False
            await self._renew()
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, POLL_AT_MOST)
            if time.monotonic() >= called + POLL_AT_MOST:       # what was done meanwhile may have made more to do
                self._call()
                called = time.monotonic()
        return True

    def _call(self) -> None:
        self._nudge()
        self._clock.ring()

    async def _is_settled(self, now: datetime) -> bool:
        """First what is due; then the events of it are handed out, and nothing is due because of them.

        The events are those up to the heads as they are then: what others go on committing is not waited for.
        """
        if not await timeline.is_settled(self._pool, self._merchants, now, drops=self._drops, heads=self._heads):
            return False
        if self._heads is not None or not self._is_told():
            return True
        async with borrowed(self._pool) as connection:
            self._heads = await feed.heads(connection)
        if await timeline.is_settled(self._pool, self._merchants, now, drops=self._drops, heads=self._heads):
            return True
        self._call()
        return False

    async def _renew(self) -> None:
        """Keep the turn, and the clock.  Raises ``Busy`` where the turn is another's by now: this process was away for too long."""
        if time.monotonic() > self._renewed + LEASE_SECONDS / 3:
            self._is_ours = await jobs.turn(self._pool, NAME, self._holder, LEASE_SECONDS)
            if not self._is_ours:
                raise Busy()
            self._clock.hold(LEASE_SECONDS)
            self._renewed = time.monotonic()


def nudges(nudge: Callable[[str], None], names: Iterable[str]) -> Nudge:
    """Has every chore and queue of these names look now."""
    several = tuple(names)

    def all_of_them() -> None:
        for name in several:
            nudge(name)

    return all_of_them


def watch(clock: Clock, nudge: Nudge) -> Chore:
    """The look of a process at the clock that all share: when somebody moves it or rings, this one's background looks too."""
    seen = [clock.place()]

    async def look() -> int:
        place = clock.place()
        if place != seen[0]:
            seen[0] = place
            nudge()
        return 0

    return Chore("clock", look, WATCH_SECONDS, alone=False)
