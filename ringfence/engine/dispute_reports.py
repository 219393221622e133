"""Reports of disputes: asked for, made later as a CSV file, kept for some days.

Decides how many a merchant may have waiting, when one is too large, and when it goes.  Refuses to know what a row says: columns and cells are
a door's words, handed in.
"""
from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg
import msgspec

from ringfence.engine import dispute_events
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.storage import disputes as rows
from ringfence.storage import jobs
from ringfence.storage.borrowing import borrowed
from ringfence.storage.disputes import CaseRow, EventRow, ReportRow
from ringfence.storage.jobs import Job, JobRow

__all__ = ["CaseRow", "ReportRow", "Reports", "Words"]

QUEUE = "dispute_report"
WAITING_MOST = 10
"""Reports of one merchant that wait to be made."""
ROWS_MOST = 100_000
TRIES = 5
"""How often making one may fail."""

log = logging.getLogger(__name__)
_ENCODE = msgspec.json.Encoder().encode


class Words(NamedTuple):
    """A door's words: the columns, and a case's cells in their order."""

    columns: Sequence[str]
    cells: Callable[[CaseRow], Sequence[str]]


class Reports:
    """What doors do with reports, and what makes them.  ``now`` is business time; ``nudge`` has whoever makes them look now."""

    def __init__(
        self, pool: asyncpg.Pool, now: Callable[[], datetime], new_id: Callable[[], int], words: Words, kept: timedelta,
        nudge: Callable[[], object] = lambda: None,
    ) -> None:
        self._pool, self._now, self._new_id, self._words, self._kept, self._nudge = pool, now, new_id, words, kept, nudge

    async def ask(self, merchant_id: int, report_id: int, since: datetime, until: datetime, webhook_url: str = "") -> ReportRow | None:
        """Have a report made of disputes opened from ``since`` (included) to ``until`` (not); ``None``: too many wait.

        Asked for again under the same number it is the one that was asked for.
        """
        async with borrowed(self._pool) as connection, connection.transaction():
            if (before := await rows.report(connection, merchant_id, report_id)) is not None:
                return before
            if await rows.reports_waiting(connection, merchant_id) >= WAITING_MOST:
                return None
            now = self._now()
            report = ReportRow(report_id, since, until, webhook_url, "pending", 0, 0, now, now, None)
            await rows.ask_report(connection, merchant_id, report)
            await jobs.wake(connection, [JobRow(merchant_id, QUEUE, report_id, 0, now)])
        self._nudge()
        return report

    async def find(self, merchant_id: int, report_id: int) -> ReportRow | None:
        """A merchant's own report."""
        async with borrowed(self._pool) as connection:
            return await rows.report(connection, merchant_id, report_id)

    async def content(self, merchant_id: int | None, report_id: int) -> bytes | None:
        """The CSV file of one that is ready; with ``None`` of any merchant."""
        async with borrowed(self._pool) as connection:
            return await rows.report_content(connection, merchant_id, report_id)

    async def run(self, job: Job) -> None:
        """Make a report, or let it go when its time is over; then give its job back."""
        try:
            ended = await self._made(job)
        except Exception as error:
            if job.tries < TRIES or isinstance(error, CONNECTION_LOST):
                raise
            log.exception("report %d of merchant %d cannot be made", job.subject, job.merchant_id)
            ended = ("failed", 0, None)
        async with borrowed(self._pool) as connection, connection.transaction():
            report = await rows.report(connection, job.merchant_id, job.subject, held=True)
            now = self._now()
            if report is not None and report.state == "pending" and ended is not None:
                state, count, content = ended
                expires_at = now + self._kept if state == "processed" else None
                await self._end(connection, job, report._replace(state=state, rows=count, changed_at=now, expires_at=expires_at), content)
            elif report is not None and report.state == "processed" and report.expires_at is not None and report.expires_at <= now:
                expires_at = None
                await self._end(connection, job, report._replace(state="expired", changed_at=now), None)
            else:
                expires_at = report and report.expires_at if report is not None and report.state == "processed" else None
            await (jobs.done(connection, job) if expires_at is None else jobs.later(connection, job, expires_at))

    async def _made(self, job: Job) -> tuple[str, int, bytes | None] | None:
        """How making it ended: state, number of rows, and the file; ``None`` where it is made already."""
        async with borrowed(self._pool) as connection:
            report = await rows.report(connection, job.merchant_id, job.subject)
            if report is None or report.state != "pending":
                return None
            cases = await rows.opened_between(connection, job.merchant_id, report.since, report.until, ROWS_MOST + 1)
        if len(cases) > ROWS_MOST:
            return "failed", 0, None
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(self._words.columns)
        writer.writerows(self._words.cells(case) for case in cases)
        return "processed", len(cases), text.getvalue().encode()

    async def _end(self, connection: asyncpg.Connection, job: Job, report: ReportRow, content: bytes | None) -> None:
        """Store how it stands, and that the merchant is to be told."""
        await rows.end_report(
            connection, job.merchant_id, report.report_id, report.state, report.rows, content, report.changed_at, report.expires_at)
        said = EventRow(self._new_id(), f"report_{report.state}", _ENCODE({
            "report": str(report.report_id), "status": report.state, "since": report.since, "until": report.until,
            "webhook_url": report.webhook_url, "bytes": len(content or b""),
        }), report.changed_at)
        await dispute_events.tell(connection, job.merchant_id, "report", report.report_id, 0, said, report.webhook_url)
