"""The proof's arithmetic: what the sums of a ledger must agree with.

Pure comparisons of aggregates that somebody else read: balances with transfers (P7), doubt accounts with operations in doubt
(P6), our operations with a processor's own book (P9), receipts with links.  Refuses to know where the sums come from.
"""
from __future__ import annotations

import hmac
import re
from collections import defaultdict
from collections.abc import Mapping
from datetime import date, timedelta
from types import MappingProxyType
from typing import NamedTuple

from ringfence.core.chain import Link
from ringfence.core.commands import Kind
from ringfence.core.ledger import KINDS

#: The checks, and what each of them says.
CHECKS: dict[str, str] = {
    "P1": "authorized = open + unsecured + captured + voided + expired, none negative",
    "P2": "holds used = money captured",
    "P3": "stored amounts = sums of transfers",
    "P4": "reservations = operations without a final outcome, and they fit",
    "P5": "no more went back than was captured, per payment and per capture",
    "P6": "doubt accounts = operations in doubt, each with a job that ends it",
    "P7": "stored balances = sums of transfers",
    "P8": "every approved operation has exactly its transfers, every operation at most one final outcome",
    "P9": "the processor's own book agrees",
    "P10": "clearing accounts, item by item",
    "P11": "price of a cart = captured + owed, and the register of debts = its transfers",
}

#: Clearing accounts with one legal sign per payment (debits minus credits); the others may stand on either side.
SIGN: dict[str, int] = {"dispute.open": 1, "refund.pending": -1}

Accounts = dict[str, int]


def accounts_of(sums: Mapping[int, int]) -> Accounts:
    """Balances (debits minus credits, minor units) by account, from sums of transfers by kind.  Unknown kinds are left out."""
    accounts: Accounts = defaultdict(int)
    for number, minor in sums.items():
        if number in _KINDS:
            debit, credit = _KINDS[number]
            accounts[debit] += minor
            accounts[credit] -= minor
    return dict(sorted(accounts.items()))


_KINDS = {kind.value: pair for kind, pair in KINDS.items()}
TABLE_OF_KINDS = frozenset((kind.value, kind.name.lower(), *pair) for kind, pair in KINDS.items())
"""What the table ``transfer_kinds`` must hold: number, name, debit, credit."""


class Unequal(NamedTuple):
    """Two sums that should be the same."""

    name: str
    expected: int
    found: int


def unequal(expected: Mapping[str, int], found: Mapping[str, int]) -> list[Unequal]:
    """Where two sets of sums differ; what is missing counts as 0."""
    return [
        Unequal(name, expected.get(name, 0), found.get(name, 0))
        for name in sorted(expected.keys() | found.keys()) if expected.get(name, 0) != found.get(name, 0)
    ]


def doubts_of(accounts: Mapping[str, int]) -> dict[str, int]:
    """What the doubt accounts say, by kind of operation."""
    return {kind.value: accounts.get(f"doubt.{kind}", 0) for kind in Kind}


# --- the outside witness ------------------------------------------------------------------------------------------------


class Total(NamedTuple):
    """How many operations, and of how much together (minor units)."""

    count: int = 0
    minor: int = 0

    def plus(self, other: Total) -> Total:
        """Both together."""
        return Total(self.count + other.count, self.minor + other.minor)

    def minus(self, other: Total) -> Total:
        """The difference."""
        return Total(self.count - other.count, self.minor - other.minor)


class Side(NamedTuple):
    """A kind of operation of one merchant at one processor."""

    processor: str
    merchant: str
    currency: str
    kind: str


class Difference(NamedTuple):
    """A business day on which a processor's book and ours differ."""

    side: Side
    day: date
    ours: Total
    theirs: Total


def differences(
    ours: Mapping[tuple[Side, date], Total], theirs: Mapping[tuple[Side, date], Total], *,
    more: Mapping[Side, Total], fewer: Mapping[Side, Total], elsewhere: Mapping[Side, Total] = MappingProxyType({}),
) -> list[Difference]:
    """Where the books differ beyond what is explained.

    ``more``: what a processor may have done without our knowing the end (operations in doubt or on their way).  ``fewer``: what
    was committed here after its book was read.  ``elsewhere``: what both have, perhaps on days far apart: it may be too much on one
    only where it is too little on another.  An operation that the two sides count to neighbouring days, asked before a
    cut-over and answered after it, is no difference.
    """
    days: dict[Side, set[date]] = defaultdict(set)
    for side, day in (*ours, *theirs):
        days[side].add(day)
    found: list[Difference] = []
    for side in sorted(days):
        gaps = {
            day: theirs.get((side, day), Total()).minus(ours.get((side, day), Total())) for day in sorted(days[side])
        }
        _pass_on(gaps, {day: (ours.get((side, day), Total()).count, theirs.get((side, day), Total()).count) for day in gaps})
        _carry_over(gaps)
        above, below = _sum_of(gaps, 1), _sum_of(gaps, -1)
        allowed, late, apart = more.get(side, Total()), fewer.get(side, Total()), elsewhere.get(side, Total())
        both = Total(min(apart.count, above.count, -below.count), min(apart.minor, above.minor, -below.minor))
        above, below = above.minus(both), below.plus(both)
        if above.count > allowed.count or above.minor > allowed.minor or -below.count > late.count or -below.minor > late.minor:
            found += [
                Difference(side, day, ours.get((side, day), Total()), theirs.get((side, day), Total()))
                for day, gap in gaps.items() if gap != Total()
            ]
    return found


class Balance(NamedTuple):
    """What a processor kept of a merchant's payments, and what went back (minor units), where its book says no more than that."""

    captured: int = 0
    refunded: int = 0

    @property
    def net(self) -> int:
        """What the merchant has of it."""
        return self.captured - self.refunded


def is_explained(ours: Balance, theirs: Balance, *, more: Balance, fewer: Balance) -> bool:
    """Whether two balances differ by no more than what cannot be known yet.

    ``more``: what has no end here and may have one there; ``fewer``: what was committed here after the other book was read.  What was undone by
    giving it back is in the other book twice, and so in the difference not at all.
    """
    return -(fewer.captured + more.refunded) <= theirs.net - ours.net <= more.captured + fewer.refunded


def _pass_on(gaps: dict[date, Total], counts: Mapping[date, tuple[int, int]]) -> None:
    """What several days in a row give to their next ones, and all of it arrives, is no difference.

    At every midnight something may be under way: a day then has what the one before began, and not what it began itself.  No day
    gives more than it had: ``counts`` are what either side booked on it.
    """
    for first in gaps:
        left, day, passed = gaps[first], first, [first]
        while left.count and abs(left.count) <= counts[day][left.count > 0] and day + timedelta(days=1) in gaps:
            day += timedelta(days=1)
            left = left.plus(gaps[day])
            passed.append(day)
        if left == Total():
            gaps.update(dict.fromkeys(passed, Total()))


def _carry_over(gaps: dict[date, Total]) -> None:
    """What one day has too much of and the next too little counts for the next."""
    for day in list(gaps):
        gap, next_gap = gaps[day], gaps.get(day + timedelta(days=1))
        if next_gap is None or gap.count * next_gap.count >= 0:
            continue
        both = gap.plus(next_gap)
        smaller = abs(gap.count) <= abs(next_gap.count)
        gaps[day], gaps[day + timedelta(days=1)] = (Total(), both) if smaller else (both, Total())


def _sum_of(gaps: Mapping[date, Total], sign: int) -> Total:
    return Total(
        sum(gap.count for gap in gaps.values() if gap.count * sign > 0),
        sum(gap.minor for gap in gaps.values() if gap.minor * sign > 0),
    )


# --- receipts and heads --------------------------------------------------------------------------------------------------

_RECEIPT = re.compile(r"([0-9]{1,9})\.([1-9][0-9]{0,17})\.([0-9a-f]{16})", re.ASCII)


class Receipt(NamedTuple):
    """What an answer's ``Ringfence-Receipt`` header names: a batch, and the beginning of its digest (16 hexadecimal digits)."""

    lane: int
    number: int
    digest: str


def receipt_text(link: Link) -> str:
    """The receipt of a link: ``lane.number.`` and the first 8 bytes of its digest in hexadecimal."""
    return f"{link.lane}.{link.number}.{link.digest[:8].hex()}"


def parse_receipt(text: str) -> Receipt | None:
    """Read what ``receipt_text`` writes; ``None`` for anything else."""
    match = _RECEIPT.fullmatch(text)
    return Receipt(int(match[1]), int(match[2]), match[3]) if match else None


def mark_of(key: bytes, lane: int, number: int, digest: bytes) -> bytes:
    """The mark that says "proved up to here": keyed like the chain, so that nobody else can set one."""
    return hmac.digest(key, f"proved {lane} {number} ".encode("ascii") + digest, "sha256")


class Head(NamedTuple):
    """The last link of a lane, as it is kept outside the database."""

    lane: int
    number: int
    digest: bytes


def heads_of(saved: object) -> list[Head]:
    """Heads from what was saved as JSON: a proof (``{"heads": […]}``) or the list alone.

    Raises ``ValueError`` where it is neither.
    """
    heads = saved.get("heads") if isinstance(saved, dict) else saved
    try:
        if not isinstance(heads, list):
            raise TypeError
        return [Head(_whole(head["lane"]), _whole(head["number"]), bytes.fromhex(head["digest"])) for head in heads]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError('no saved heads: expected {"heads": [{"lane": 0, "number": 1, "digest": "…"}]}') from error


def _whole(number: object) -> int:
    if type(number) is not int:
        raise TypeError
    return number
