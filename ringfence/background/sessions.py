"""Page sessions that are long over are forgotten: decides when, never how an order stands."""
from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from ringfence.background.worker import Chore
from ringfence.engine.directory import Directory
from ringfence.engine.sessions import Sessions

PAUSE_SECONDS = 60.0
"""Between two looks (wall time)."""
CHUNK = 1_000

log = logging.getLogger(__name__)


def chore(sessions: Sessions, directory: Directory, days: int, now: Callable[[], datetime]) -> Chore:
    """The chore.  ``days`` after its time was up a session goes, with what it says of its payer; ``now``: business time."""
    return Chore("page sessions", lambda: forget(sessions, directory, now() - timedelta(days=days)), PAUSE_SECONDS)


async def forget(sessions: Sessions, directory: Directory, before: datetime) -> int:
    """Delete what was over before an instant (business time); how many."""
    merchants, gone = [one.merchant_id for one in directory.merchants()], 0
    while True:
        some = await sessions.forget(merchants, before, CHUNK)
        gone += some
        if some < CHUNK:
            break
    if gone:
        log.info("forgot %d page sessions", gone)
    return gone
