"""Payers who were sent away and do not come back: looked after until they end.  What follows is ``engine.redirects``' to know."""
from __future__ import annotations

from ringfence.background.worker import Queue
from ringfence.engine.redirects import Redirects
from ringfence.storage.redirections import QUEUE

AT_ONCE, PER_MERCHANT = 32, 8
"""Looks in flight together, and of one merchant."""


def queue(redirects: Redirects) -> Queue:
    """Every payer in his time."""
    return Queue(QUEUE, redirects.attempt, at_once=AT_ONCE, per_merchant=PER_MERCHANT)
