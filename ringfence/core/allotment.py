"""Allotment: which captures a refund returns.

Refunds and disputes belong to captures.  A refund is allotted to the oldest capture that can take all of it; where none
can, to the fewest, largest first.  The allotment is stored with the refund, so that every later step means the same parts.
"""
from __future__ import annotations

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


Captures = tuple[Capture, ...]
Allotment = tuple[tuple[int, int], ...]


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
    return (*captures, Capture(capture_id, minor))


def excess(captures: Captures) -> int:
    """By how much more went back than was captured, in minor units: only a fact can do that."""
    return sum(max(0, capture.returned - capture.minor) for capture in captures)
