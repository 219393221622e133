"""Allotment: which captures a refund returns.

Refunds and disputes belong to captures.  A refund is allotted to the oldest capture that can take all of it; where none
can, to the fewest, largest first.  The allotment is stored with the refund, so that every later step means the same parts.

Where a refund takes its time its parts end one by one.  A part that came about nowhere is allotted anew, to captures that did not fail it
before; where none has room it is stuck, and a person decides.
"""
from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import partial
from typing import NamedTuple


class Capture(NamedTuple):
    """One capture (or the purchase itself), in minor units.  ``id`` is its operation's.

    ``minor`` is 0 once clearing rejected it, and as long as only facts speak of it.
    """

    id: int
    minor: int
    refunded: int = 0
    pending: int = 0                # reserved by refunds without a final outcome
    disputed: int = 0
    charged_back: int = 0

    @property
    def returned(self) -> int:
        """What has gone back, or is with an issuer."""
        return self.refunded + self.disputed + self.charged_back

    @property
    def refundable(self) -> int:
        """What a further refund may take from this capture; never negative, whatever facts did to it."""
        return max(0, self.minor - self.returned - self.pending)


_capture = partial(tuple.__new__, Capture)      # all fields at once, at a third of the price of a call
Captures = tuple[Capture, ...]
Allotment = tuple[tuple[int, int], ...]


class PartState(StrEnum):
    """Where a part of a refund stands."""

    ASKED = "asked"
    DONE = "done"
    MOVED = "moved"                 # it failed, and others were asked for instead
    STUCK = "stuck"                 # it failed, and no capture has room


class Part(NamedTuple):
    """A part of a refund: so much of one capture.  Numbers begin with 0, in the order of the allotment."""

    number: int
    capture_id: int
    minor: int
    state: PartState = PartState.ASKED


Parts = tuple[Part, ...]


def allot(captures: Captures, minor: int) -> Allotment | None:
    """(capture id, minor units) per part, or ``None`` where the captures together cannot take it.  Oldest first in."""
    for capture in captures:
        if capture.refundable >= minor:
            return ((capture.id, minor),)
    parts, rest = [], minor
    for capture in sorted(captures, key=lambda capture: (-capture.refundable, capture.id)):
        part = min(rest, capture.refundable)
        if not part:
            break
        parts.append((capture.id, part))
        rest -= part
    return None if rest else tuple(parts)


def shift(captures: Captures, allotment: Allotment, **signs: int) -> Captures:
    """The captures with the numbers named moved by their parts: ``shift(c, a, pending=-1, refunded=+1)``."""
    parts = dict(allotment)
    return tuple(
        capture._replace(**{name: getattr(capture, name) + sign * parts[capture.id] for name, sign in signs.items()})
        if capture.id in parts else capture
        for capture in captures
    )


def reserve(captures: Captures, allotment: Allotment) -> Captures:
    """The refund is asked for."""
    return shift(captures, allotment, pending=+1)


def release(captures: Captures, allotment: Allotment) -> Captures:
    """The refund did not come about."""
    return shift(captures, allotment, pending=-1)


def settle(captures: Captures, allotment: Allotment) -> Captures:
    """The refund was approved: what it reserved has gone back."""
    return shift(captures, allotment, pending=-1, refunded=+1)


def enter(captures: Captures, capture_id: int, minor: int) -> Captures:
    """The captures with one more, or with its amount where a fact spoke of it before."""
    for capture in captures:
        if capture.id == capture_id:
            return shift(captures, ((capture_id, minor),), minor=+1)
    return (*captures, _capture((capture_id, minor, 0, 0, 0, 0)))


def excess(captures: Captures) -> int:
    """By how much more went back than was captured, in minor units: only a fact can do that."""
    return sum(max(0, capture.returned - capture.minor) for capture in captures)


def parts_of(allotment: Allotment) -> Parts:
    """The parts of a refund as it is asked for."""
    return tuple(Part(number, capture_id, minor) for number, (capture_id, minor) in enumerate(allotment))


def open_parts(parts: Parts) -> Parts:
    """The parts whose amount is still reserved."""
    return tuple(part for part in parts if part.state in (PartState.ASKED, PartState.STUCK))


def together(parts: Iterable[Part]) -> Allotment:
    """The parts by capture."""
    sums: dict[int, int] = {}
    for part in parts:
        sums[part.capture_id] = sums.get(part.capture_id, 0) + part.minor
    return tuple(sums.items())


def proceed(captures: Captures, parts: Parts, done: Iterable[int], failed: Iterable[int]) -> tuple[Captures, Parts]:
    """What becomes of a refund's parts: the captures after it, and the parts that changed or are new.

    Only what was asked can be done or fail; other numbers say nothing.
    """
    finished, broken = frozenset(done), frozenset(failed)
    asked = [part for part in parts if part.state is PartState.ASKED]
    changed = [part._replace(state=PartState.DONE) for part in asked if part.number in finished]
    captures = settle(captures, together(changed))
    lost = [part for part in asked if part.number in broken - finished]
    avoided = {part.capture_id for part in lost} | {
        part.capture_id for part in parts if part.state in (PartState.MOVED, PartState.STUCK)}
    number = len(parts)
    for part in lost:
        instead = allot(tuple(capture for capture in captures if capture.id not in avoided), part.minor)
        if instead is None:
            changed.append(part._replace(state=PartState.STUCK))
            continue
        captures = reserve(release(captures, ((part.capture_id, part.minor),)), instead)
        changed.append(part._replace(state=PartState.MOVED))
        for capture_id, minor in instead:
            changed.append(Part(number, capture_id, minor))
            number += 1
    return captures, tuple(changed)


def after(parts: Parts, changed: Iterable[Part]) -> Parts:
    """The parts as they stand once some have changed, in the order of their numbers."""
    now = {part.number: part for part in (*parts, *changed)}
    return tuple(now[number] for number in sorted(now))
