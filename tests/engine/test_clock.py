"""Business time: one file, many processes, and never a step back."""
from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.engine.clock import Clock, ClockError, WallClock, is_moved, parse_duration, parse_instant

SLACK = timedelta(seconds=20)       # between two looks at the wall clock on a busy machine


def advance_elsewhere(path: Path) -> None:
    Clock(path).advance(timedelta(hours=46))


def test_a_new_clock_shows_wall_time(tmp_path: Path):
    """Nothing is ahead of anything before somebody moves it."""
    clock = Clock(tmp_path / "clock")
    assert abs(clock.now() - datetime.now(UTC)) < SLACK
    assert clock.show().ahead == timedelta() and not clock.show().frozen and not is_moved(tmp_path / "clock")


def test_an_advance_in_another_process_is_seen_at_the_next_call(tmp_path: Path):
    """The file is mapped by all: no message is needed."""
    clock = Clock(tmp_path / "clock")
    child = multiprocessing.get_context("spawn").Process(target=advance_elsewhere, args=(tmp_path / "clock",))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert clock.show().ahead == timedelta(hours=46)
    assert clock.now() - datetime.now(UTC) > timedelta(hours=45)


def test_a_move_survives_a_restart(tmp_path: Path):
    """Whoever opens the file later finds it as it was left."""
    first = Clock(tmp_path / "clock")
    first.advance(timedelta(days=7))
    first.close()
    assert Clock(tmp_path / "clock").show().ahead == timedelta(days=7)
    assert is_moved(tmp_path / "clock")


def test_a_frozen_clock_stands_and_can_be_advanced(tmp_path: Path):
    """Two looks show the same instant; an advance moves exactly by its length; running on never jumps back."""
    clock = Clock(tmp_path / "clock")
    stood = clock.freeze()
    assert clock.now() == stood == clock.freeze()
    assert clock.advance(timedelta(hours=1)) == stood + timedelta(hours=1)
    assert clock.resume() >= stood + timedelta(hours=1)
    assert not clock.show().frozen


@pytest.mark.parametrize("by", [timedelta(seconds=-1), timedelta(days=200_000)])
def test_the_clock_goes_neither_back_nor_beyond_2100(tmp_path: Path, by: timedelta):
    """A refused move changes nothing."""
    clock = Clock(tmp_path / "clock")
    with pytest.raises(ClockError):
        clock.advance(by)
    assert clock.show().ahead == timedelta()


def test_live_mode_has_the_wall_clock():
    """It shows wall time and cannot be moved."""
    assert not WallClock.movable and not hasattr(WallClock(), "advance")
    assert abs(WallClock().now() - datetime.now(UTC)) < SLACK


@given(st.lists(st.sampled_from(["advance", "freeze", "resume"]), max_size=12))
def test_time_never_goes_back_whatever_is_turned(tmp_path_factory: pytest.TempPathFactory, turns: list[str]):
    """Any order of moves shows instants that grow."""
    clock = Clock(tmp_path_factory.mktemp("clock") / "clock")
    last = clock.now()
    for turn in turns:
        if turn == "advance":
            clock.advance(timedelta(minutes=1))
        else:
            getattr(clock, turn)()
        now = clock.now()
        assert now >= last
        last = now
    clock.close()


DURATIONS = {
    "46h": timedelta(hours=46), "7d": timedelta(days=7), "1d12h30m": timedelta(days=1, hours=12, minutes=30), " 90S ": timedelta(seconds=90),
    "2w": timedelta(weeks=2), "0s": timedelta(), "": None, "h": None, "-1h": None, "12h1d": None, "1.5h": None, "10": None, "\u0661h": None,
}


@pytest.mark.parametrize(("text", "length"), DURATIONS.items())
def test_lengths_of_time_are_read_exactly_or_not_at_all(text: str, length: timedelta | None):
    """Units go from the largest to the smallest, each once."""
    assert parse_duration(text) == length


INSTANTS = {
    "2026-11-21T12:00:00Z": datetime(2026, 11, 21, 12, tzinfo=UTC), "2026-11-21T15:00:00+03:00": datetime(2026, 11, 21, 12, tzinfo=UTC),
    "2026-11-21": datetime(2026, 11, 21, tzinfo=UTC), "2026-11-21T12:00:00": None, "yesterday": None, "0001-01-01T00:00:00+14:00": None,
}


@pytest.mark.parametrize(("text", "instant"), INSTANTS.items())
def test_instants_need_their_offset(text: str, instant: datetime | None):
    """A local time without an offset is no instant."""
    assert parse_instant(text) == instant
