"""Ids: 63-bit integers that grow with time.

Layout: 41 bits of milliseconds since 2020-01-01 UTC, 10 bits of worker number, 12 bits of sequence.  Wall time only, never
the sandbox's clock; a worker's number is leased by the caller.  In decimal an id has 18 or 19 digits until 2089.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
EPOCH_MS = int(EPOCH.timestamp() * 1000)
WORKER_BITS, SEQUENCE_BITS = 10, 12
WORKERS = 1 << WORKER_BITS
_MS_SHIFT, _SEQUENCE = WORKER_BITS + SEQUENCE_BITS, (1 << SEQUENCE_BITS) - 1
LARGEST = (1 << 63) - 1


class IdSource:
    """Makes ids for one worker number.

    Never repeats and never goes back, even when the wall clock does: it then counts on from the last millisecond it used.
    """

    __slots__ = ("_last", "_ms", "_now_ms", "_worker")

    def __init__(self, worker: int, now_ms: Callable[[], int], floor_ms: int = 0) -> None:
        """``now_ms`` is wall time in Unix milliseconds; ``floor_ms`` an instant this number may have used before."""
        if not 0 <= worker < WORKERS:
            raise ValueError(f"worker number {worker} is outside 0..{WORKERS - 1}")
        self._now_ms, self._worker = now_ms, worker << SEQUENCE_BITS
        self._ms = max(EPOCH_MS, floor_ms)
        self._last = self._first_of(self._ms) | _SEQUENCE       # as if it were used up

    def next(self) -> int:
        """The next id."""
        ms = self._now_ms()
        if ms > self._ms:
            self._ms, made = ms, self._first_of(ms)
        else:
            made = self._last + 1
            if not made & _SEQUENCE:                # this millisecond is used up: borrow the next
                self._ms += 1
                made = self._first_of(self._ms)
        self._last = made
        return made

    def _first_of(self, ms: int) -> int:
        """This worker's first id of a millisecond."""
        return ms - EPOCH_MS << _MS_SHIFT | self._worker


def made_at(id: int) -> datetime:
    """When an id was made, UTC, to the millisecond."""
    return EPOCH + timedelta(milliseconds=id >> _MS_SHIFT)


def first_id_at(instant: datetime) -> int:
    """The smallest id that can have been made at ``instant`` or later."""
    return max(0, int(instant.timestamp() * 1000) - EPOCH_MS) << _MS_SHIFT
