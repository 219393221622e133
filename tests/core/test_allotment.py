"""Which captures a refund returns."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.allotment import Capture, allot, enter, excess, release, reserve, settle, shift

ALLOTTED = {
    # captures by id and amount              minor   parts
    "the oldest that can take all of it":   (((1, 300), (2, 500), (3, 900)), 400, ((2, 400),)),
    "the oldest of equals":                 (((1, 500), (2, 500)), 500, ((1, 500),)),
    "a larger one is passed by":            (((1, 100), (2, 900)), 100, ((1, 100),)),
    "else the fewest, largest first":       (((1, 300), (2, 500), (3, 400)), 800, ((2, 500), (3, 300))),
    "among equals the oldest":              (((1, 400), (2, 400), (3, 400)), 900, ((1, 400), (2, 400), (3, 100))),
    "all there is":                         (((1, 1), (2, 1)), 2, ((1, 1), (2, 1))),
    "more than there is":                   (((1, 300), (2, 500)), 801, None),
    "nothing was captured":                 ((), 1, None),
}


@pytest.mark.parametrize("case", ALLOTTED)
def test_a_refund_is_allotted(case):
    """To the oldest capture that can take all of it; where none can, to the fewest, largest first."""
    captures, minor, parts = ALLOTTED[case]
    assert allot(tuple(Capture(*capture) for capture in captures), minor) == parts


def test_what_is_refunded_pending_disputed_or_charged_back_cannot_be_refunded_again():
    """Each of them lowers what a capture can take, and no fact makes that negative."""
    assert Capture(1, 1000, refunded=100, pending=200, disputed=300, charged_back=50).refundable == 350
    assert Capture(1, 1000, refunded=800, disputed=800).refundable == 0
    assert allot((Capture(1, 1000, pending=600), Capture(2, 500)), 500) == ((2, 500),)


def test_a_refund_is_reserved_and_then_settled_or_released():
    """Only the captures of the allotment change, by their parts."""
    captures = (Capture(1, 300), Capture(2, 500), Capture(3, 400))
    parts = ((2, 500), (3, 300))
    reserved = reserve(captures, parts)
    assert reserved == (Capture(1, 300), Capture(2, 500, pending=500), Capture(3, 400, pending=300))
    assert release(reserved, parts) == captures
    assert settle(reserved, parts) == (Capture(1, 300), Capture(2, 500, refunded=500), Capture(3, 400, refunded=300))


def test_numbers_are_shifted_by_name():
    """A lost dispute moves from one number to another."""
    lost = shift((Capture(1, 500, disputed=300),), ((1, 200),), disputed=-1, charged_back=+1)
    assert lost == (Capture(1, 500, disputed=100, charged_back=200),)


def test_a_capture_is_entered_once():
    """A capture that a fact spoke of before gets its amount, and keeps its place."""
    assert enter((), 7, 300) == (Capture(7, 300),)
    assert enter((Capture(7, 300),), 8, 200) == (Capture(7, 300), Capture(8, 200))
    assert enter((Capture(7, 0, disputed=300), Capture(8, 1)), 7, 300) == (Capture(7, 300, disputed=300), Capture(8, 1))


def test_the_excess_is_counted_per_capture():
    """What one capture has to spare does not hide what another returned too much."""
    assert excess((Capture(1, 500, refunded=300, disputed=300), Capture(2, 500))) == 100
    assert excess((Capture(1, 500, refunded=500), Capture(2, 500, charged_back=500))) == 0


captures_by_chance = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20)), max_size=6
).map(lambda rows: tuple(Capture(at + 1, *row) for at, row in enumerate(rows)))


@given(captures_by_chance, st.integers(1, 200))
def test_an_allotment_is_whole_possible_and_as_short_as_can_be(captures, minor):
    """Whatever the captures: the parts make up the refund, none is too large, and no fewer captures could do."""
    parts, able = allot(captures, minor), sorted((capture.refundable for capture in captures), reverse=True)
    if parts is None:
        assert sum(able) < minor
        return
    of = {capture.id: capture for capture in captures}
    assert sum(part for _, part in parts) == minor
    assert all(0 < part <= of[capture_id].refundable for capture_id, part in parts)
    assert len({capture_id for capture_id, _ in parts}) == len(parts)
    assert sum(able[:len(parts) - 1]) < minor
    if len(parts) == 1:
        assert parts[0][0] == next(capture.id for capture in captures if capture.refundable >= minor)
    assert settle(reserve(captures, parts), parts) == shift(captures, parts, refunded=+1)
