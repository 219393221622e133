"""The proof's arithmetic, without a database: receipts, marks, sums, and two books that should agree."""
from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.chain import Link
from ringfence.core.ledger import KINDS, Transferred
from ringfence.core.proof import (
    TABLE_OF_KINDS,
    Balance,
    Difference,
    Side,
    Total,
    accounts_of,
    differences,
    doubts_of,
    is_explained,
    mark_of,
    parse_receipt,
    receipt_text,
    unequal,
)

SIDE = Side("simulator", "One", "AED", "purchase")
DAY = date(2026, 3, 1)


@given(st.integers(0, 999_999_999), st.integers(1, 10**18 - 1), st.binary(min_size=32, max_size=32))
def test_a_receipt_is_read_as_it_was_written(lane: int, number: int, digest: bytes):
    """Lane, number and the first eight bytes of the digest."""
    text = receipt_text(Link(lane, number, 1, datetime(2026, 1, 1, tzinfo=UTC), 1, digest))
    assert parse_receipt(text) == (lane, number, digest.hex()[:16])


@pytest.mark.parametrize("text", [
    "", "1.2", "1.0.0123456789abcdef", "1.2.0123456789ABCDEF", "1.2.0123456789abcde", "-1.2.0123456789abcdef",
    "\u0661.2.0123456789abcdef", "1.2.0123456789abcdef\n",
])
def test_anything_else_is_no_receipt(text: str):
    """Nothing is guessed."""
    assert parse_receipt(text) is None


def test_a_mark_depends_on_everything_it_says():
    """Another key, lane, number or digest makes another mark."""
    marks = {mark_of(key, lane, number, digest) for key in (b"a", b"b") for lane in (1, 11) for number in (1, 12) for digest in (b"x", b"2x")}
    assert len(marks) == 16


def test_accounts_follow_from_sums_by_kind():
    """Every kind moves its amount from one account to another, so that each book sums to zero."""
    sums = {kind.value: 10 ** (place % 12) for place, kind in enumerate(Transferred)}
    accounts = accounts_of(sums)
    assert sum(accounts.values()) == 0
    assert accounts_of({Transferred.AUTHORIZE: 100, Transferred.USE: 30}) == {"hold.captured": 30, "hold.open": 70, "hold.promised": -100}
    assert accounts_of({999: 5}) == {}
    assert len(TABLE_OF_KINDS) == len(KINDS)


def test_sums_that_differ_are_named():
    """What one side does not have counts as nothing."""
    assert unequal({"a": 1, "b": 2, "c": 0}, {"a": 1, "b": 3, "d": 4}) == [("b", 2, 3), ("d", 0, 4)]
    assert doubts_of({"doubt.capture": 7})["capture"] == 7


def _days(*totals: tuple[int, int]) -> dict[tuple[Side, date], Total]:
    return {(SIDE, DAY + timedelta(days=place)): Total(*total) for place, total in enumerate(totals)}


@pytest.mark.parametrize(("ours", "theirs", "more", "fewer", "days"), [
    # ours by day, theirs by day, what they may have more, what they may have less; on which days a difference is found
    ([(2, 200)], [(2, 200)], (0, 0), (0, 0), []),
    ([(2, 200)], [(3, 300)], (0, 0), (0, 0), [0]),
    ([(2, 200)], [(3, 300)], (1, 100), (0, 0), []),
    ([(2, 200)], [(3, 301)], (1, 100), (0, 0), [0]),
    ([(2, 200)], [(1, 100)], (9, 900), (0, 0), [0]),
    ([(2, 200)], [(1, 100)], (0, 0), (1, 100), []),
    ([(2, 200)], [(2, 199)], (0, 0), (0, 0), [0]),
    ([(2, 200), (1, 50)], [(1, 100), (2, 150)], (0, 0), (0, 0), []),        # answered a day earlier than booked there
    ([(1, 100), (2, 150)], [(2, 200), (1, 50)], (0, 0), (0, 0), []),        # ... and the other way round
    ([(2, 200), (1, 50)], [(1, 100), (2, 160)], (0, 0), (0, 0), [1]),       # the amount changed on the way
    ([(2, 200), (0, 0), (1, 50)], [(1, 100), (0, 0), (2, 150)], (0, 0), (0, 0), [0, 2]),    # two days are no cut-over
    ([(3, 300), (1, 50)], [(1, 100), (2, 150)], (0, 0), (0, 0), [0]),       # one crossed, one is missing
    ([(2, 200), (5, 500), (5, 500)], [(3, 300), (5, 500), (4, 400)], (0, 0), (0, 0), []),   # one crossed on each of two midnights
    ([(2, 200), (5, 500), (5, 500)], [(3, 300), (5, 500), (3, 300)], (0, 0), (0, 0), [0, 2]),   # ... and another is missing
])
def test_two_books_agree_but_for_what_is_explained(ours: list, theirs: list, more: tuple, fewer: tuple, days: list):
    """Doubts may be in the other book, late commits may be missing there, a cut-over may lie between the two sides."""
    found = differences(_days(*ours), _days(*theirs), more={SIDE: Total(*more)}, fewer={SIDE: Total(*fewer)})
    assert [(one.day - DAY).days for one in found] == days


@pytest.mark.parametrize(("ours", "theirs", "elsewhere", "days"), [
    ([(2, 200), (0, 0), (1, 70)], [(3, 270), (0, 0), (0, 0)], (1, 70), []),         # done on one day, known two days later
    ([(2, 200), (0, 0), (1, 70)], [(2, 200), (0, 0), (0, 0)], (1, 70), [2]),        # ... and never done
    ([(2, 200), (0, 0), (0, 0)], [(3, 270), (0, 0), (0, 0)], (1, 70), [0]),         # another one
    ([(2, 200), (0, 0), (1, 70)], [(3, 280), (0, 0), (0, 0)], (1, 70), [0, 2]),     # for more
    ([(2, 200), (0, 0), (2, 140)], [(4, 340), (0, 0), (0, 0)], (1, 70), [0, 2]),    # two of them, and one is explained
])
def test_what_was_long_in_doubt_may_stand_on_another_day_but_not_be_missing(ours: list, theirs: list, elsewhere: tuple, days: list):
    """Too much on one day only with too little on another."""
    found = differences(_days(*ours), _days(*theirs), more={}, fewer={}, elsewhere={SIDE: Total(*elsewhere)})
    assert [(one.day - DAY).days for one in found] == days


def test_a_difference_shows_both_sides():
    """What is reported is what the books say, not what was left after explaining."""
    assert differences(_days((2, 200)), {}, more={}, fewer={}) == [Difference(SIDE, DAY, Total(2, 200), Total())]


@pytest.mark.parametrize(("theirs", "more", "fewer", "fits"), [
    ((900, 100), (0, 0), (0, 0), True),
    ((1100, 300), (0, 0), (0, 0), True),        # a purchase that was undone by giving it back
    ((901, 100), (0, 0), (0, 0), False),        # captured there, and nobody here knows
    ((900, 99), (0, 0), (0, 0), False),         # given back here, and never there
    ((901, 100), (1, 0), (0, 0), True),         # a capture in doubt
    ((900, 101), (1, 0), (0, 0), False),
    ((900, 101), (0, 1), (0, 0), True),         # a refund in doubt
    ((850, 100), (0, 0), (50, 0), True),        # captured here after their book was read
    ((849, 100), (0, 0), (50, 0), False),
    ((900, 70), (0, 0), (0, 30), True),         # refunded here after their book was read
    ((900, 69), (0, 0), (0, 30), False),
])
def test_balances_differ_only_by_what_cannot_be_known_yet(
    theirs: tuple[int, int], more: tuple[int, int], fewer: tuple[int, int], fits: bool,
):
    """Nine hundred captured here and one hundred given back, against a book that knows sums only."""
    assert is_explained(Balance(900, 100), Balance(*theirs), more=Balance(*more), fewer=Balance(*fewer)) is fits
