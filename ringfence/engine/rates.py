"""How often a caller may ask: token buckets, one set for all processes of a data folder.

A bucket is one number in a page of shared memory: the instant at which it will be full again (the generic cell rate algorithm, ITU-T I.371).
Each change holds a lock of its slot, so that two workers never count one request twice or not at all.  Where a second brings thousands of
tokens a process takes a few more than it needs, a five-thousandth of them, for its next requests: they are counted when they are taken.  Refuses
to know callers: a bucket is a digest.
"""
from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

SLOTS = 4096
"""Buckets of one page.  Two callers that fall on one slot share it: rare, and harmless where few have keys."""
_WIDTH = 8
"""Bytes of a bucket: a float of double precision."""


class Taken(NamedTuple):
    """What came of asking: whether there was a token, how many are left, and in how many seconds there will be one."""

    granted: bool
    left: int
    wait: float


HANDFUL = 5000
"""So many times a handful may be taken in a second."""
_lock, _EXCLUSIVE, _UNLOCK = fcntl.lockf, fcntl.LOCK_EX, fcntl.LOCK_UN
_NOTHING: Iterator[int] = iter(())
_taken = partial(tuple.__new__, Taken)       # all fields at once, at a third of the price of a call


class Rates:
    """The buckets of one data folder.  ``clock`` is wall time in seconds."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < SLOTS * _WIDTH:
            os.ftruncate(self._file, SLOTS * _WIDTH)
        self._page = mmap.mmap(self._file, SLOTS * _WIDTH)
        self._full_at = memoryview(self._page).cast("d")
        self._in_hand: dict[int, Iterator[int]] = {}            # by slot: of each token that is left of a handful, how many are left behind it

    def take(self, slot: int, per_second: float, burst: int) -> Taken:
        """Take one token of a bucket that gets ``per_second`` of them and holds ``burst``."""
        slot %= SLOTS
        if (left := next(self._in_hand.get(slot, _NOTHING), -1)) >= 0:
            return _taken((True, left, 0.0))
        # Locks of a range are per process and take no turn within it: one event loop asks here.
        _lock(self._file, _EXCLUSIVE, _WIDTH, slot * _WIDTH)
        try:
            now, full_at = self._clock(), self._full_at[slot]
            if full_at < now:
                full_at = now
            elif full_at > (latest := now + burst / per_second):        # a clock that went back leaves nobody waiting for long
                full_at = latest
            after = full_at + 1 / per_second
            missing = (after - now) * per_second
            if missing > burst + 1e-6:
                return Taken(False, 0, (missing - burst) / per_second)
            left, more = int(burst - missing + 1e-6), int(per_second) // HANDFUL
            if 0 < more <= left:
                after += more / per_second
                self._in_hand[slot] = iter(range(left - 1, left - 1 - more, -1))
            self._full_at[slot] = after
            return _taken((True, left, 0.0))
        finally:
            _lock(self._file, _UNLOCK, _WIDTH, slot * _WIDTH)

    def close(self) -> None:
        """Let go of the page."""
        self._full_at.release()
        self._page.close()
        os.close(self._file)
