"""Jobs that failed so often that nobody tries them any more: looked at, and tried again once somebody has mended what they met.

Nothing of what they are about is lost: whatever is owed stays owed, and more work for one has it tried once more.  Decides nothing about
what jobs do.
"""
from __future__ import annotations

from datetime import datetime

import asyncpg

from ringfence.storage import jobs
from ringfence.storage.borrowing import borrowed
from ringfence.storage.jobs import SetAside

__all__ = ["MOST_LISTED", "SetAside", "listed", "retry"]

MOST_LISTED = 500


async def listed(pool: asyncpg.Pool, merchant_id: int | None, limit: int = MOST_LISTED) -> list[SetAside]:
    """Those of one merchant or of all, at most ``MOST_LISTED``."""
    async with borrowed(pool) as connection:
        return await jobs.set_aside(connection, merchant_id, min(limit, MOST_LISTED))


async def retry(
    pool: asyncpg.Pool, now: datetime, merchant_id: int | None = None, queue: str | None = None, subject: int | None = None,
) -> int:
    """Have them tried again at once (``now``: business time): one, a queue's, a merchant's or all; how many."""
    async with borrowed(pool) as connection:
        return await jobs.retry(connection, now, merchant_id, queue, subject)
