"""Retention, once in a business day: decides when, never what."""
from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

import asyncpg

from ringfence.background.worker import Chore
from ringfence.engine import retention
from ringfence.engine.retention import DAY, JOB, Policy, Report
from ringfence.storage import retention as rows
from ringfence.storage.borrowing import borrowed

PAUSE_SECONDS = 60.0
"""Between two looks whether a day has passed (wall time)."""

log = logging.getLogger(__name__)


def chore(pool: asyncpg.Pool, policy: Policy, now: Callable[[], datetime]) -> Chore:
    """The chore; ``now``: business time."""
    return Chore(JOB, lambda: once_a_day(pool, policy, now()), PAUSE_SECONDS, is_cut=True)


async def once_a_day(pool: asyncpg.Pool, policy: Policy, now: datetime) -> int:
    """Erase what nothing needs, unless that was done less than a day ago (business time); how much went."""
    async with borrowed(pool) as connection:
        before = await rows.done_until(connection, JOB)
    if before is not None and now < before + DAY:
        return 0
    report = await retention.run(pool, policy, now)
    assert isinstance(report, Report), "only a payment can be refused"
    async with borrowed(pool) as connection:
        await rows.note_done(connection, JOB, now)
    if gone := sum(line.count for line in report.lines):
        log.info("erased: %s", ", ".join(f"{line.count} {line.what}" for line in report.lines if line.count))
    return gone
