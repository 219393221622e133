"""What a batch of outcomes leaves to be done, and what it ends: jobs, and acknowledgements of reversals."""
from __future__ import annotations

from datetime import UTC, datetime

import asyncpg

from ringfence.storage import jobs, recovery
from ringfence.storage.jobs import JobRow
from ringfence.storage.recovery import Name


class Work:
    """As it gathers."""

    __slots__ = ("ended", "given_back", "superseded", "woken")

    def __init__(self) -> None:
        self.woken: list[JobRow] = []           # made, or due earlier
        self.given_back: list[Name] = []        # recovery whose try ended by deciding a reversal
        self.ended: list[Name] = []             # doubts
        self.superseded = 0                     # messages that were not written

    async def apply(self, connection: asyncpg.Connection, now: datetime) -> None:
        """Store it: jobs first, as the order of locks wants it.  A doubt that begins and ends in one batch leaves no job."""
        if self.woken:
            await jobs.wake(connection, self.woken)
        if self.given_back:
            await recovery.give_back(connection, self.given_back, now)
        if self.ended:
            await recovery.end_doubts(connection, self.ended)
            await recovery.acknowledge(connection, self.ended, datetime.now(UTC))
