"""Recovery in the background: the queue of operations in doubt.  What is done with one is ``engine.recovery``'s to know."""
from __future__ import annotations

from ringfence.background.worker import Queue
from ringfence.engine.recovery import Recovery
from ringfence.storage.recovery import RECOVERY

AT_ONCE, PER_MERCHANT = 64, 32
"""Messages in flight together, and of one merchant: a processor that is away for one holds up no other."""


def queue(recovery: Recovery) -> Queue:
    """Every doubt in its time."""
    return Queue(RECOVERY, recovery.attempt, at_once=AT_ONCE, per_merchant=PER_MERCHANT)
