"""Carts that were handed in and are not collected yet.  How that is done is for others to know."""
from __future__ import annotations

from collections.abc import Awaitable, Callable

from ringfence.background.worker import Queue
from ringfence.storage.jobs import Job
from ringfence.storage.store_orders import QUEUE

AT_ONCE, PER_MERCHANT = 32, 16
"""Carts in hand together, and of one merchant."""


def queue(settle: Callable[[Job], Awaitable[None]]) -> Queue:
    """Every cart in its time."""
    return Queue(QUEUE, settle, at_once=AT_ONCE, per_merchant=PER_MERCHANT)
