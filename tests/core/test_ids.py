"""Ids: unique, growing, and dated."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.ids import EPOCH, EPOCH_MS, LARGEST, SEQUENCE_BITS, WORKERS, IdSource, first_id_at, made_at

NOW_MS = EPOCH_MS + 217_000_000_000


@given(st.lists(st.integers(-5_000, 5_000), min_size=1, max_size=50), st.integers(0, WORKERS - 1))
def test_ids_grow_whatever_the_clock_does(steps: list[int], worker: int):
    """A clock that stands still or is set back makes no id twice and none smaller."""
    clock = [NOW_MS]
    source = IdSource(worker, lambda: clock[0])
    made = []
    for step in steps:
        clock[0] += step
        made += [source.next() for _ in range(3)]
    assert made == sorted(set(made))
    assert all(0 < id <= LARGEST for id in made)


def test_a_millisecond_that_is_used_up_borrows_the_next():
    """4096 ids a millisecond, then on without a gap or a repeat."""
    source = IdSource(0, lambda: NOW_MS)
    made = [source.next() for _ in range((1 << SEQUENCE_BITS) + 1)]
    assert len(set(made)) == len(made)
    assert made_at(made[-1]) - made_at(made[0]) == timedelta(milliseconds=1)


def test_two_workers_never_make_the_same_id():
    """The worker's number is part of it."""
    one, two = IdSource(1, lambda: NOW_MS), IdSource(2, lambda: NOW_MS)
    assert not {one.next() for _ in range(100)} & {two.next() for _ in range(100)}


def test_a_restarted_worker_starts_above_what_it_may_have_used():
    """``floor_ms`` wins over a clock that was set back meanwhile."""
    before = IdSource(1, lambda: NOW_MS).next()
    assert IdSource(1, lambda: NOW_MS - 60_000, floor_ms=NOW_MS + 1).next() > before
    assert IdSource(1, lambda: NOW_MS - 60_000, floor_ms=NOW_MS).next() > before       # the instant itself may have been used too


@pytest.mark.parametrize("worker", [-1, WORKERS])
def test_a_worker_number_out_of_range_is_refused(worker: int):
    """Ten bits."""
    with pytest.raises(ValueError, match="outside"):
        IdSource(worker, lambda: NOW_MS)


def test_an_id_tells_when_it_was_made():
    """To the millisecond, and it is not smaller than the first id of that instant; decimals have 18 or 19 digits."""
    id = IdSource(7, lambda: NOW_MS).next()
    assert made_at(id) == EPOCH + timedelta(milliseconds=217_000_000_000)
    assert first_id_at(made_at(id)) <= id < first_id_at(made_at(id) + timedelta(milliseconds=1))
    assert first_id_at(datetime(1999, 1, 1, tzinfo=UTC)) == 0
    for day in (datetime(2025, 1, 1, tzinfo=UTC), datetime(2088, 12, 31, tzinfo=UTC)):
        assert len(str(first_id_at(day))) in (18, 19)
