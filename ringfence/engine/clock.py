"""Business time: the clock that holds, tokens, schedules and links live by.

In the sandbox it can be moved forward and stopped.  Its whole state is a file of five numbers that every process maps into its
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
from time import time
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
"""Where the clock cannot be moved beyond; card expiries and dates on the wire have two-digit years."""

_EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)       # ids count from there
_MICROSECOND = timedelta(microseconds=1)
_SIZE = 40                                  # five signed 64-bit numbers, native order
_OFFSET, _FROZEN, _BEGAN, _RINGS, _HELD = range(5)


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

    The file holds the offset to wall time in microseconds, the instant the clock stands at (microseconds since 1970, or 0
    while it runs), the one it began to stand at where it was made to (see ``begin_at``), a count of ``ring``, and until when
    somebody holds it (wall time, see ``hold``).  Readers take no lock: each change becomes visible by one write of one aligned number.
    """

    movable = True

    def __init__(self, path: Path) -> None:
        """Open the file, or make it; raises ``OSError`` where the folder does not allow that."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._descriptor).st_size
        self._is_new = not size
        if size < _SIZE:
            os.ftruncate(self._descriptor, _SIZE)
        self._map = mmap.mmap(self._descriptor, _SIZE)
        self._numbers = memoryview(self._map).cast("q")
        self._offset = 0
        self._ahead = timedelta()

    def now(self) -> datetime:
        """The instant, UTC.  Costs well under a microsecond: the payment path asks it several times."""
        if (frozen := self._numbers[_FROZEN]) and not self._is_let_go():
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
        if self._numbers[_HELD]:            # for a moment: what it will show is what its offset says
            frozen = 0
        ahead = EPOCH + timedelta(microseconds=frozen) - wall if frozen else timedelta(microseconds=self._numbers[_OFFSET])
        return Reading(wall + ahead, wall, ahead, bool(frozen))

    def check(self, until: datetime | timedelta) -> None:
        """Raises ``ClockError`` unless the clock can be moved to this instant (timezone-aware), or by this length."""
        now = self.now()
        _check(until - now if isinstance(until, datetime) else until, now)

    def place(self) -> tuple[int, int, int]:
        """What changes with every move and every ``ring``, and only then; to be compared, not to be read."""
        return self._numbers[_OFFSET], self._numbers[_FROZEN], self._numbers[_RINGS]

    def ring(self) -> None:
        """Have whoever compares places look, though the clock was not moved."""
        with self._changing():
            self._numbers[_RINGS] += 1

    def advance(self, by: timedelta) -> datetime:
        """Move forward, also while it stands; returns the new instant.  Raises ``ClockError`` for a step back or beyond 2100."""
        with self._changing():
            _check(by, self.now())
            length = by // _MICROSECOND
            if not self._numbers[_FROZEN] or self._numbers[_HELD]:
                self._numbers[_OFFSET] += length
            if self._numbers[_FROZEN]:
                self._numbers[_FROZEN] += length
        return self.now()

    def advance_to(self, instant: datetime) -> datetime:
        """Move forward to an instant (timezone-aware).  Raises ``ClockError`` for one that has passed, or beyond 2100."""
        return self.advance(instant - self.now())

    def freeze(self) -> datetime:
        """Stop; the clock then stands until ``advance`` or ``resume``.  Stopping twice changes nothing."""
        with self._changing():
            if not self._numbers[_FROZEN]:
                self._numbers[_FROZEN] = (self.now() - EPOCH) // _MICROSECOND
            self._numbers[_HELD] = 0
        return self.now()

    def resume(self) -> datetime:
        """Run on from where it stands; time never jumps back."""
        with self._changing():
            frozen = self._numbers[_FROZEN]
            if self._numbers[_HELD]:
                self._let_go()
            elif frozen:
                # The offset first: whoever sees the clock running sees the right offset.
                self._numbers[_OFFSET] = frozen - (datetime.now(UTC) - EPOCH) // _MICROSECOND
                self._numbers[_FROZEN] = 0
        return self.now()

    def hold(self, seconds: float) -> None:
        """Let a clock that runs stand while it is moved step by step, for so many seconds of wall time or until ``release``.

        Call it again to go on.  Then it shows what it would if it had run on all the time: nobody can leave it standing.
        """
        with self._changing():
            if self._numbers[_FROZEN] and not self._numbers[_HELD]:
                return                      # it stands already, and stays so
            now = self.now()
            self._numbers[_HELD] = int(time() * 1e6 + seconds * 1e6)
            self._numbers[_FROZEN] = (now - EPOCH) // _MICROSECOND

    def release(self) -> None:
        """Let a clock that is held run on."""
        with self._changing():
            if self._numbers[_HELD]:
                self._let_go()

    def begin_at(self, instant: datetime) -> datetime:
        """Make a new clock stand at an instant (timezone-aware); where it stands now.

        One that was made so before stays where it is, wherever it was advanced to.  Raises ``ClockError`` for a clock that
        existed and runs or began otherwise, and for an instant before 2020 or beyond 2100.
        """
        began = (instant - EPOCH) // _MICROSECOND
        with self._changing():
            if self._is_new and not self._numbers[_FROZEN] and not self._numbers[_OFFSET]:
                if not _EARLIEST <= instant < LATEST:
                    raise ClockError(f"the clock can begin from {_EARLIEST:%Y-%m-%d} until {LATEST:%Y-%m-%d}")
                self._numbers[_FROZEN] = self._numbers[_BEGAN] = began
            elif not self._numbers[_FROZEN]:
                raise ClockError("the clock of this data folder runs already; take a new folder")
            elif (was := self._numbers[_BEGAN]) != began:
                said = f"began at {EPOCH + was * _MICROSECOND:%Y-%m-%dT%H:%M:%SZ}" if was else "was stopped later"
                raise ClockError(f"the clock of this data folder {said}; take a new folder, or that instant")
        return self.now()

    def close(self) -> None:
        """Let go of the file; its state stays in it."""
        self._numbers.release()
        self._map.close()
        os.close(self._descriptor)

    def _is_let_go(self) -> bool:
        """Whether it was held, and whoever did that is gone."""
        held = self._numbers[_HELD]
        return held > 0 and time() * 1e6 >= held

    def _let_go(self) -> None:
        self._numbers[_FROZEN] = 0          # the offset was moved along
        self._numbers[_HELD] = 0

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One change at a time, over all processes."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            if self._is_let_go():
                self._let_go()
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _check(by: timedelta, now: datetime) -> None:
    if by < timedelta():
        raise ClockError("the clock only goes forward")
    if by > LATEST - now:
        raise ClockError(f"the clock cannot be moved beyond {LATEST:%Y-%m-%d}")


def is_moved(path: Path) -> bool:
    """Whether a clock file differs from wall time; live mode refuses to start on such a folder."""
    try:
        return any(path.read_bytes()[:8 * _BEGAN])
    except FileNotFoundError:
        return False


def stands_from_the_start(path: Path) -> bool:
    """Whether a clock file was made to stand (see ``begin_at``) and still does: its sandbox shall repeat itself."""
    try:
        content = path.read_bytes()[:_SIZE]
    except FileNotFoundError:
        return False
    numbers = memoryview(content.ljust(_SIZE, b"\0")).cast("q")
    return bool(numbers[_BEGAN] and numbers[_FROZEN])


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
