"""Rests of holds in the background: the queue of captures that took all of theirs.  What is done is ``engine.holding``'s to know."""
from __future__ import annotations

from ringfence.background.worker import Queue
from ringfence.engine.holding import HOLD_REST, RestHolder


def queue(holder: RestHolder) -> Queue:
    """Every rest in its time."""
    return Queue(HOLD_REST, holder.attempt, at_once=8, per_merchant=4)
