"""Notifications of wallets that were taken in are forgotten once nobody sends them again: decides when, never what they meant."""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import asyncpg

from ringfence.background.worker import Chore
from ringfence.engine.directory import Directory
from ringfence.engine.wallet_notices import KEPT
from ringfence.storage import amazon_objects as rows

AT_ONCE = 1_000
"""Rows of one merchant that go together."""
PAUSE_SECONDS = 60.0
"""Between two looks (wall time)."""


def chore(pool: asyncpg.Pool, directory: Directory, now: Callable[[], datetime]) -> Chore:
    """The chore.  ``now``: business time."""
    return Chore("wallet notices", lambda: forget(pool, [one.merchant_id for one in directory.merchants()], now() - KEPT), PAUSE_SECONDS)


async def forget(pool: asyncpg.Pool, merchants: list[int], before: datetime, at_once: int = AT_ONCE) -> int:
    """Forget what was taken in before an instant (business time); how many."""
    gone = 0
    for merchant_id in merchants:
        while (some := await rows.sweep_notifications(pool, merchant_id, before, at_once)) == at_once:
            gone += some
        gone += some
    return gone
