"""What becomes due as business time goes on: the sources, as a table of queries.

It counts and compares instants; what is done about them is not known here.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries

SQL = load_queries("timeline")

Connection = asyncpg.Connection | asyncpg.Pool


class Source(NamedTuple):
    """One kind of what becomes due.

    ``count`` and ``next`` are queries over a span of time (``next`` empty: another source has the same instants).  ``due``: a query
    whether something is due that is not done yet; empty where nobody does anything about it.  ``of`` is their last parameter (of ``jobs_due``, one of
    several in it).
    """

    what: str
    count: str
    next: str = ""
    due: str = ""
    of: tuple[str, ...] = ()


#: Everything, in the order in which it is told.
SOURCES = (
    Source("holds expire", SQL.holds, SQL.next_hold, SQL.holds_due),
    Source("recoveries of doubts", SQL.jobs, SQL.next_job, SQL.jobs_due, ("recovery",)),
    Source("doubts go to review", SQL.deadlines, SQL.next_deadline),
    Source("3-D Secure challenges", SQL.jobs, SQL.next_job, SQL.jobs_due, ("challenge",)),
    Source("payers who are away", SQL.jobs, SQL.next_job, SQL.jobs_due, ("redirection",)),
    Source("reversals", SQL.jobs, SQL.next_job, SQL.jobs_due, ("reversal",)),
    Source("rests of holds", SQL.jobs, SQL.next_job, SQL.jobs_due, ("hold rest",)),
    Source("plans", SQL.jobs, SQL.next_job, SQL.jobs_due, ("plan",)),
    Source("agreements that wait", SQL.jobs, SQL.next_job, SQL.jobs_due, ("agreement",)),
    Source("disputes", SQL.jobs, SQL.next_job, SQL.jobs_due, ("dispute",)),
    Source("trips that are not charged", SQL.trips, SQL.next_trip, SQL.trips_due),
    Source("orders of stores", SQL.jobs, SQL.next_job, SQL.jobs_due, ("store_order",)),
    Source("carts of stores", SQL.jobs, SQL.next_job, SQL.jobs_due, ("collect",)),
    Source("debts", SQL.jobs, SQL.next_job, SQL.jobs_due, ("debt",)),
    Source("carts that retailers are told of", SQL.jobs, SQL.next_job, SQL.jobs_due, ("purchase",)),
    Source("webhook attempts", SQL.attempts),
    Source("looks at webhook endpoints", "", SQL.next_job, SQL.jobs_due, ("delivery",)),
    Source("temporary tokens end", SQL.temporary_tokens, SQL.next_temporary_token, SQL.temporary_tokens_due),
    Source("reports", SQL.jobs, SQL.next_job, SQL.jobs_due, ("report",)),
    Source("dispute reports", SQL.jobs, SQL.next_job, SQL.jobs_due, ("dispute_report",)),
    Source("messages", SQL.jobs, SQL.next_job, SQL.jobs_due, ("message",)),
    Source("payment links expire", SQL.links, SQL.next_link),
    Source("SDK tokens end", SQL.sdk_tokens, SQL.next_sdk_token),
    Source("retention runs", SQL.daily, "", SQL.daily_due, ("retention",)),
)

QUEUES = [name for source in SOURCES if source.due == SQL.jobs_due for name in source.of]


async def span(
    connection: Connection, source: Source, merchants: Sequence[int], now: datetime, until: datetime
) -> tuple[int, datetime | None, datetime | None]:
    """How many of a source become due behind ``now`` up to ``until`` (business time), the first and the last."""
    row = await connection.fetchrow(source.count, merchants, now, until, *source.of)
    return row[0], row[1], row[2]


async def next_at(connection: Connection, source: Source, merchants: Sequence[int], now: datetime, until: datetime) -> datetime | None:
    """The next instant of a source behind ``now`` up to ``until``."""
    return await connection.fetchval(source.next, merchants, now, until, *source.of)


async def is_due(connection: Connection, merchants: Sequence[int], now: datetime) -> bool:
    """Whether anything of any source is due by ``now`` and not done; the queues, which are most of them, are asked together."""
    if await connection.fetchval(SQL.jobs_due, merchants, now, QUEUES):
        return True
    for source in SOURCES:
        if source.due and source.due != SQL.jobs_due and await connection.fetchval(source.due, merchants, now, *source.of):
            return True
    return False
