"""Reports: asked for, made as of the instant of the request, read in pages.

Decides how many a merchant may have, when one is too large, and what becomes of one that cannot be made.  Refuses to know what a row
says: columns and filters are a door's words, handed in as plain functions.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import asyncpg
import msgspec

from ringfence.engine.lane import CONNECTION_LOST
from ringfence.storage import reporting as rows
from ringfence.storage.jobs import Job
from ringfence.storage.reporting import QUEUE, Asked, Narrow, Operated, Report

__all__ = ["QUEUE", "Asked", "Gone", "Maker", "Narrow", "Operated", "Refused", "Report", "Reporting", "Words"]

WAITING_MOST = 10
"""Reports of one merchant that wait to be made."""
KEPT_MOST = 200
"""Reports of one merchant that are kept at a time."""
ROWS_MOST = 200_000
"""Rows of one report."""
LOOKED_MOST = 2_000_000
"""Operations that are looked through for one report, where its filters need the door's words."""
CHUNK = 200
"""Rows that are stored together."""
MAKING_SECONDS = 900
"""How long making one may take (wall time)."""
TRIES = 5
"""How often making one may fail."""
TOO_SLOW = (TimeoutError, asyncpg.QueryCanceledError)
"""Our own limits of time; both look like a lost database, for which a report is never given up."""

log = logging.getLogger(__name__)
_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(list[list[str]]).decode


class Refused(StrEnum):
    """Why a report is not made."""

    REFERENCE_USED = "reference_used"
    QUEUE_FULL = "queue_full"


class Gone(Exception):
    """A report was erased while somebody read it."""


class Words(NamedTuple):
    """A door's words.  ``narrow``: which of the filters the database can look after; ``line``: makes the function that gives an
    operation's cells, in the order of the columns, or ``None`` where a filter leaves it out."""

    narrow: Callable[[Asked], Narrow]
    line: Callable[[Asked], Callable[[Operated], list[str] | None]]


class Reporting:
    """What doors and operators do with reports.  ``now`` is business time; ``nudge`` has whoever makes them look now."""

    def __init__(self, pool: asyncpg.Pool, now: Callable[[], datetime], nudge: Callable[[], object]) -> None:
        self._pool, self._now, self._nudge = pool, now, nudge

    async def ask(self, asked: Asked) -> Report | Refused:
        """Have a report made.  Its number and the instant are given here; an empty reference becomes ``report-NUMBER``."""
        async with rows.asking(self._pool, asked.merchant_id) as connection:
            waiting, kept, number = await rows.counted(connection, asked.merchant_id)
            if waiting >= WAITING_MOST or kept >= KEPT_MOST:
                used = await rows.is_used(connection, asked.merchant_id, asked.reference)
                return Refused.REFERENCE_USED if used else Refused.QUEUE_FULL
            now = self._now()
            asked = asked._replace(report_id=number, requested_at=now)
            for name in (asked.reference,) if asked.reference else (f"report-{number}", f"report-{number}-{now:%Y%m%d%H%M%S%f}"):
                asked = asked._replace(reference=name)
                if await rows.ask(connection, asked):
                    break
            else:
                return Refused.REFERENCE_USED
        self._nudge()
        return Report(asked, "waiting", 0, 0, None)

    async def find(self, merchant_id: int, reference: str) -> Report | None:
        """A merchant's own report; ``None`` where it has none of that reference."""
        return await rows.by_reference(self._pool, merchant_id, reference)

    async def listed(self, merchant_id: int, limit: int = KEPT_MOST) -> list[Report]:
        """Those that are kept, the latest first."""
        return await rows.listed(self._pool, merchant_id, limit)

    async def pages(self, report: Report) -> AsyncIterator[list[list[str]]]:
        """The rows of one that is ready, a chunk at a time.  Raises ``Gone`` where it is erased meanwhile."""
        for number in range(1, report.chunks + 1):
            body = await rows.chunk(self._pool, report.asked, number)
            if body is None:
                raise Gone
            yield _DECODE(body)


class Maker:
    """Makes reports, each as one claim of its job; what an earlier claim left half done is begun anew."""

    def __init__(self, pool: asyncpg.Pool, words: Words, now: Callable[[], datetime]) -> None:
        self._pool, self._words, self._now = pool, words, now

    async def run(self, job: Job) -> None:
        """Make one.  Whatever raises is tried again, some times."""
        report = await rows.by_number(self._pool, job.merchant_id, job.subject)
        if report is None or not await rows.begin(self._pool, job):
            await rows.end(self._pool, job, "failed", self._now())      # nothing is left to do but the job itself
            return
        try:
            async with asyncio.timeout(MAKING_SECONDS):
                state = await self._made(job, report.asked)
        except Exception as error:
            if job.tries < TRIES or (isinstance(error, CONNECTION_LOST) and not isinstance(error, TOO_SLOW)):
                raise
            log.exception("report %d of merchant %d cannot be made", job.subject, job.merchant_id)
            state = "failed"
        if state is not None:
            await rows.end(self._pool, job, state, self._now())

    async def _made(self, job: Job, asked: Asked) -> str | None:
        """Store all rows; how it ended, ``None`` where a later claim makes it."""
        line, waiting, count, looked = self._words.line(asked), list[list[str]](), 0, 0
        async with rows.operated(self._pool, asked, self._words.narrow(asked), LOOKED_MOST + 1) as pages:
            async for page in pages:
                looked += len(page)
                waiting += [cells for one in page if (cells := line(one)) is not None]
                if count + len(waiting) > ROWS_MOST or looked > LOOKED_MOST:
                    return "too_many"
                while len(waiting) >= CHUNK:
                    if not await rows.append(self._pool, job, CHUNK, _ENCODE(waiting[:CHUNK])):
                        return None
                    del waiting[:CHUNK]
                    count += CHUNK
        if waiting and not await rows.append(self._pool, job, len(waiting), _ENCODE(waiting)):
            return None
        return "ready"
