"""Answers that were kept for repeats go a day after they were given: their keys are free again then anyway."""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import asyncpg

from ringfence.background.worker import Chore
from ringfence.engine.directory import Directory
from ringfence.engine.keyed_requests import KEPT
from ringfence.storage import keyed_requests as rows

AT_ONCE = 1_000
"""Rows of one merchant that go together."""


PAUSE = 60.0
"""Seconds between two looks."""


def chore(pool: asyncpg.Pool, directory: Directory, now: Callable[[], datetime]) -> Chore:
    """``now``: business time."""
    async def run() -> int:
        lapsed, dropped = now() - KEPT, 0
        for merchant in directory.merchants():
            while (count := await rows.sweep(pool, merchant.merchant_id, lapsed, AT_ONCE)) == AT_ONCE:
                dropped += count
            dropped += count
        return dropped

    return Chore("keyed requests", run, PAUSE)
