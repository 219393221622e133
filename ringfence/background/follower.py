"""The follower: it hands every committed event to the endpoints of its merchant, once.

A page of the feed is read in one snapshot and put into words with no transaction open.  Then one transaction stores the deliveries
and how far the feed was followed, if nobody followed it meanwhile; else the page is thrown away.  So a crash at any moment leaves
either both or neither, and two followers do no harm.  While no merchant has an address, no event is read.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime

import asyncpg

from ringfence.background.worker import Chore
from ringfence.engine import feed, webhooks
from ringfence.engine.directory import Directory
from ringfence.engine.feed import Notifier
from ringfence.engine.wording import beside
from ringfence.storage import door_events
from ringfence.storage import feed as rows
from ringfence.storage.borrowing import borrowed

PAUSE = 0.2
"""Seconds between two looks, when the last one found little."""
RUN_SECONDS = 2.0
"""A run ends after this time even where more is waiting: who does it, and whether it goes on, is looked at between runs."""
IDLE_SECONDS = 1.0
"""How often the place in the feed is moved on while nobody is to be told of anything."""


def chore(
    pool: asyncpg.Pool, directory: Directory, notifiers: Mapping[str, Notifier], now: Callable[[], datetime], nudge: Callable[[str], None],
) -> Chore:
    """``notifiers`` by door; ``now`` is business time; ``nudge`` is told the queue that has more to do."""
    return Chore("follower", Follower(pool, directory, notifiers, now, nudge).run, PAUSE)


class Follower:
    """One process's follower."""

    def __init__(
        self, pool: asyncpg.Pool, directory: Directory, notifiers: Mapping[str, Notifier], now: Callable[[], datetime],
        nudge: Callable[[str], None],
    ) -> None:
        self._pool, self._directory, self._notifiers, self._now, self._nudge = pool, directory, notifiers, now, nudge
        self._moved_at = -IDLE_SECONDS
        self._wanted = (-1, False)              # by the directory's version

    async def run(self) -> int:
        """Hand out what was committed since; how many deliveries that made."""
        made, until = await self._beside(), time.monotonic() + RUN_SECONDS
        if not self._is_wanted() and time.monotonic() < self._moved_at + IDLE_SECONDS:
            return made
        while True:
            new, more = await self._page()
            if new:
                made += new
                self._nudge(webhooks.QUEUE)
            if not more or time.monotonic() >= until:
                return made

    async def _page(self) -> tuple[int, bool]:
        """One page: deliveries made, and whether there may be more of it."""
        async with borrowed(self._pool) as connection:
            cursor, heads = await rows.followed(connection), await feed.heads(connection)
            if cursor == heads:
                return 0, False
            # Read behind the heads: whoever set an address before he paid is known to want what is told of the payment.
            await self._directory.refresh()
            if not self._is_wanted():
                self._moved_at = time.monotonic()
                async with connection.transaction():
                    if await rows.lock_followed(connection) == cursor:
                        await rows.note_followed(connection, heads)
                return 0, False
            events, reached = await feed.read(connection, cursor, webhooks.PAGE)
            await self._directory.refresh()
            told = await webhooks.in_words(events, self._directory, self._notifiers)
            now = self._now()
            placed = await webhooks.placed_at(connection, now, told)
            async with connection.transaction():
                if await rows.lock_followed(connection) != cursor:
                    return 0, True              # another follower was quicker
                made = await webhooks.handed_out(connection, now, placed)
                await rows.note_followed(connection, reached)
            return made, any(reached.get(lane, 0) < number for lane, number in heads.items())

    async def _beside(self) -> int:
        """What was written beside the events of payments; handed out in the transaction that says so."""
        async with borrowed(self._pool) as connection:
            events = await door_events.waiting(connection, webhooks.PAGE)
            if not events:
                return 0
            await self._directory.refresh()
            now, told = self._now(), beside(events, self._directory, self._notifiers)
            placed = await webhooks.placed_at(connection, now, told)
            async with connection.transaction():
                await door_events.hand(connection, events)      # what another follower did first the address has already
                made = await webhooks.handed_out(connection, now, placed)
        if made:
            self._nudge(webhooks.QUEUE)
        return made

    def _is_wanted(self) -> bool:
        """Whether any merchant has any address."""
        version = self._directory.version
        if self._wanted[0] != version:
            self._wanted = version, any(
                notifier.wants(merchant) for merchant in self._directory.merchants() for notifier in self._notifiers.values())
        return self._wanted[1]
