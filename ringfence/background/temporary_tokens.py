"""Temporary tokens: those of tokenizations that no payment succeeded with are switched off when their time is over (business time).

Their cards go with retention, once nothing needs them.  What a tokenization left for its payment is forgotten a day later: until then a
payment that comes too late hears that its session is over, and is never sent without the security code that was entered for it.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg

from ringfence.background.worker import Chore
from ringfence.engine.directory import Directory
from ringfence.engine.settings import LONGEST_FLOW_SECONDS
from ringfence.storage import tokens as rows
from ringfence.storage.borrowing import borrowed

AT_ONCE = 500
"""Rows of one commit."""
FORGOTTEN_AFTER = timedelta(seconds=LONGEST_FLOW_SECONDS) + timedelta(days=1)


def chore(pool: asyncpg.Pool, directory: Directory, now: Callable[[], datetime], pause: float) -> Chore:
    """The chore, by one process at a time; ``now``: business time, ``pause``: seconds of wall time."""
    return Chore("temporary tokens", lambda: retire(pool, [one.merchant_id for one in directory.merchants()], now()), pause)


async def retire(pool: asyncpg.Pool, merchants: list[int], now: datetime) -> int:
    """Switch off what is over, and forget what is long over; how much of both."""
    done = 0
    async with borrowed(pool) as connection:
        while changed := (await rows.retire(connection, merchants, now, AT_ONCE)
                          + await rows.forget_flows(connection, merchants, now - FORGOTTEN_AFTER, AT_ONCE)):
            done += changed
    return done
