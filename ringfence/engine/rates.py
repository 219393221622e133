"""How often a caller may ask: token buckets, one set for all processes of a data folder.

A bucket is one number in a page of shared memory: the instant at which it will be full again (the generic cell rate algorithm, ITU-T I.371).
Each change holds a lock of its slot, so that two workers never count one request twice or not at all.  Refuses to know callers: a bucket is a
digest.
"""
from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

SLOTS = 4096
"""Buckets of one page.  Two callers that fall on one slot share it: rare, and harmless where few have keys."""
_SLOT = struct.Struct("=d")


class Taken(NamedTuple):
    """What came of asking: whether there was a token, how many are left, and in how many seconds there will be one."""

    granted: bool
    left: int
    wait: float


_taken = partial(tuple.__new__, Taken)       # all fields at once, at a third of the price of a call


class Rates:
    """The buckets of one data folder.  ``clock`` is wall time in seconds."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < SLOTS * _SLOT.size:
            os.ftruncate(self._file, SLOTS * _SLOT.size)
        self._page = mmap.mmap(self._file, SLOTS * _SLOT.size)

    def take(self, slot: int, per_second: float, burst: int) -> Taken:
        """Take one token of a bucket that gets ``per_second`` of them and holds ``burst``."""
        offset = slot % SLOTS * _SLOT.size
        # Locks of a range are per process and take no turn within it: one event loop asks here.
        fcntl.lockf(self._file, fcntl.LOCK_EX, _SLOT.size, offset)
        try:
            now = self._clock()
            full_at, = _SLOT.unpack_from(self._page, offset)
            full_at = min(max(full_at, now), now + burst / per_second)      # a clock that went back leaves nobody waiting for long
            after = full_at + 1 / per_second
            missing = (after - now) * per_second
            if missing > burst + 1e-6:
                return Taken(False, 0, (missing - burst) / per_second)
            _SLOT.pack_into(self._page, offset, after)
            return _taken((True, int(burst - missing + 1e-6), 0.0))
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _SLOT.size, offset)

    def close(self) -> None:
        """Let go of the page."""
        self._page.close()
        os.close(self._file)
