"""The queue of reports: one at a time in a process, and of a merchant."""
from __future__ import annotations

from ringfence.background.worker import Queue
from ringfence.engine.reporting import QUEUE, Maker


def queue(maker: Maker) -> Queue:
    """Every report that waits."""
    return Queue(QUEUE, maker.run, at_once=1, per_merchant=1)
