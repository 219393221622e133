"""Places where a trial may kill this process: named, counted down, and asleep everywhere else.

A trial writes a page of count-downs, one for each point, and the processes of a sandbox share it: whoever passes a point counts it
down, and whoever brings it to nothing is killed by SIGKILL on the spot.  Unarmed, a point costs one comparison.
"""
from __future__ import annotations

import fcntl
import mmap
import os
import signal
from pathlib import Path

(BEFORE_INTENT, AFTER_INTENT, BEFORE_ASK, AFTER_ASK, BEFORE_OUTCOME, AFTER_OUTCOME, IN_ANSWER, IN_WEBHOOK, IN_EXPIRY) = range(9)

#: The points by number: where in the life of a payment they lie.
NAMES = ("before_intent_commit", "after_intent_commit", "before_ask", "after_ask", "before_outcome_commit", "after_outcome_commit",
         "in_answer", "in_webhook", "in_expiry")

PAGE_BYTES = 8 * len(NAMES)
"""The page: one signed 64-bit count-down for each point in this machine's byte order, 0 for off."""

_counts: memoryview | None = None
_lock = -1                              # the page's file: counting down is done under its lock


def arm(path: Path) -> None:
    """Map the page at ``path``.  Raises ``ValueError`` or ``OSError`` where there is none of ``PAGE_BYTES`` bytes."""
    global _counts, _lock
    _lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    _counts = memoryview(mmap.mmap(_lock, PAGE_BYTES)).cast("q")


def is_armed(point: int) -> bool:
    """Whether somebody is waiting for this point to be passed."""
    return _counts is not None and _counts[point] > 0


def hit(point: int) -> None:
    """Pass a point: counts it down, and ends this process where that was the last."""
    if _counts is not None and _counts[point] > 0:
        _count_down(_counts, point)


def hit_each(point: int, times: int) -> None:
    """Pass a point several times."""
    if _counts is not None:
        for _ in range(times):
            hit(point)


def _count_down(counts: memoryview, point: int) -> None:
    """Under the lock, so that of several processes exactly one reaches the end; it is ours no longer once we are dead."""
    fcntl.lockf(_lock, fcntl.LOCK_EX)
    try:
        if counts[point] > 0:
            counts[point] -= 1
            if counts[point] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    finally:
        fcntl.lockf(_lock, fcntl.LOCK_UN)
