"""Business time: the clock that holds, tokens, schedules and links live by.

In the sandbox it can be moved forward and stopped.  Its whole state is a file of two numbers that every process maps into its
memory, so that a move made by one is seen by all at their very next call, and survives a restart.  Live mode has the plain wall
clock.  What two machines agree on or wait for (signatures, TLS, time-outs, leases, ids) never asks this clock.
"""
from __future__ import annotations

import fcntl
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""Where the clock cannot be moved beyond; card expiries and dates on the wire have two-digit years."""

_MICROSECOND = timedelta(microseconds=1)
_SIZE = 16                                  # two signed 64-bit numbers, native order
_OFFSET, _FROZEN = 0, 1


class ClockError(ValueError):
    """The clock cannot be moved as asked; the message says why."""


class Reading(NamedTuple):
    """What the clock shows: business time, how far it is ahead of the wall clock, and whether it stands."""

    now: datetime
    wall: datetime
    ahead: timedelta
    frozen: bool


class WallClock:
    """Live mode's clock: wall time, and nothing to turn."""

    movable = False

    def now(self) -> datetime:
        """The instant, UTC."""
        return datetime.now(UTC)

    def show(self) -> Reading:
        """The reading."""
        now = datetime.now(UTC)
        return Reading(now, now, timedelta(), False)


class Clock:
    """The sandbox's clock, shared by all processes that open the same file.

    The file holds the offset to wall time in microseconds, and the instant the clock stands at (microseconds since 1970, or 0
    while it runs).  Readers take no lock: each change becomes visible by one write of one aligned number.
    """

    movable = True

    def __init__(self, path: Path) -> None:
        """Open the file, or make it; raises ``OSError`` where the folder does not allow that."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._descriptor).st_size < _SIZE:
            os.ftruncate(self._descriptor, _SIZE)
        self._map = mmap.mmap(self._descriptor, _SIZE)
        self._numbers = memoryview(self._map).cast("q")
        self._offset = 0
        self._ahead = timedelta()

    def now(self) -> datetime:
        """The instant, UTC.  Costs well under a microsecond: the payment path asks it several times."""
        if frozen := self._numbers[_FROZEN]:
            return EPOCH + timedelta(microseconds=frozen)
        offset = self._numbers[_OFFSET]
        if not offset:
            return datetime.now(UTC)
        if offset != self._offset:
            self._offset, self._ahead = offset, timedelta(microseconds=offset)
        return datetime.now(UTC) + self._ahead

    def show(self) -> Reading:
        """The reading."""
        frozen, wall = self._numbers[_FROZEN], datetime.now(UTC)
        ahead = EPOCH + timedelta(microseconds=frozen) - wall if frozen else timedelta(microseconds=self._numbers[_OFFSET])
        return Reading(wall + ahead, wall, ahead, bool(frozen))

    def advance(self, by: timedelta) -> datetime:
        """Move forward, also while it stands; returns the new instant.  Raises ``ClockError`` for a step back or beyond 2100."""
        if by < timedelta():
            raise ClockError("the clock only goes forward")
        with self._changing():
            if by > LATEST - self.now():
                raise ClockError(f"the clock cannot be moved beyond {LATEST:%Y-%m-%d}")
            place = _FROZEN if self._numbers[_FROZEN] else _OFFSET
            self._numbers[place] += by // _MICROSECOND
        return self.now()

    def advance_to(self, instant: datetime) -> datetime:
        """Move forward to an instant (timezone-aware).  Raises ``ClockError`` for one that has passed, or beyond 2100."""
        return self.advance(instant - self.now())

    def freeze(self) -> datetime:
        """Stop; the clock then stands until ``advance`` or ``resume``.  Stopping twice changes nothing."""
        with self._changing():
            if not self._numbers[_FROZEN]:
                self._numbers[_FROZEN] = (self.now() - EPOCH) // _MICROSECOND
        return self.now()

    def resume(self) -> datetime:
        """Run on from where it stands; time never jumps back."""
        with self._changing():
            frozen = self._numbers[_FROZEN]
            if frozen:
                # The offset first: whoever sees the clock running sees the right offset.
                self._numbers[_OFFSET] = frozen - (datetime.now(UTC) - EPOCH) // _MICROSECOND
                self._numbers[_FROZEN] = 0
        return self.now()

    def close(self) -> None:
        """Let go of the file; its state stays in it."""
        self._numbers.release()
        self._map.close()
        os.close(self._descriptor)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One change at a time, over all processes."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def is_moved(path: Path) -> bool:
    """Whether a clock file differs from wall time; live mode refuses to start on such a folder."""
    try:
        return any(path.read_bytes()[:_SIZE])
    except FileNotFoundError:
        return False


_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,6})w)?(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", re.ASCII)


def parse_duration(text: str) -> timedelta | None:
    """A length of time such as ``46h``, ``7d`` or ``1d12h30m`` (weeks, days, hours, minutes, seconds), else ``None``."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        return None
    seconds = sum(int(count or 0) * unit for count, unit in zip(match.groups(), _UNITS.values(), strict=True))
    return timedelta(seconds=seconds)


def parse_instant(text: str) -> datetime | None:
    """An ISO 8601 instant with its offset or ``Z``; a date alone is its midnight, UTC.  Else ``None``."""
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if instant.tzinfo is None:
        return instant.replace(tzinfo=UTC) if len(text.strip()) == 10 else None
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        return None
