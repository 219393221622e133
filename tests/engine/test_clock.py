"""Business time: one file, many processes, and never a step back."""
from __future__ import annotations

import multiprocessing
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.engine.clock import Clock, ClockError, WallClock, is_moved, parse_duration, parse_instant, stands_from_the_start

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


START = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)


def test_a_new_clock_can_be_made_to_stand_at_any_instant(tmp_path: Path):
    """Before or after wall time; it is advanced from there, and the same beginning is taken again after a restart."""
    for name, start in (("past", datetime(2021, 1, 1, tzinfo=UTC)), ("future", START)):
        clock = Clock(tmp_path / name)
        assert clock.begin_at(start) == clock.now() == start
        assert clock.advance(timedelta(hours=46)) == start + timedelta(hours=46)
        clock.close()
        again = Clock(tmp_path / name)
        assert again.begin_at(start) == again.now() == start + timedelta(hours=46)
        assert again.show().frozen and is_moved(tmp_path / name)


def test_a_clock_that_lived_otherwise_is_not_made_to_begin_anew(tmp_path: Path):
    """It runs, it was stopped at some moment, or it began elsewhere: each is refused, and nothing moves."""
    Clock(tmp_path / "runs").close()
    Clock(tmp_path / "stopped").freeze()
    Clock(tmp_path / "elsewhere").begin_at(START + timedelta(days=1))
    resumed = Clock(tmp_path / "resumed")
    resumed.begin_at(START)
    resumed.resume()
    for name, why in (("runs", "runs"), ("stopped", "stopped later"), ("elsewhere", "began at 2027-03-02"), ("resumed", "runs")):
        clock = Clock(tmp_path / name)
        before = clock.place()
        with pytest.raises(ClockError, match=why):
            clock.begin_at(START)
        assert clock.place() == before
    with pytest.raises(ClockError, match="2020"):
        Clock(tmp_path / "early").begin_at(datetime(2019, 12, 31, tzinfo=UTC))


def test_who_began_at_an_instant_and_still_stands_is_known_without_opening_it(tmp_path: Path):
    """Neither a clock that was stopped later, nor one that was made to stand and runs by now, nor one that is not there."""
    began, stopped = tmp_path / "began", tmp_path / "stopped"
    assert not stands_from_the_start(began) and not began.exists()
    Clock(began).begin_at(datetime(2026, 1, 5, tzinfo=UTC))
    Clock(stopped).freeze()
    assert stands_from_the_start(began) and not stands_from_the_start(stopped)
    Clock(began).resume()
    assert not stands_from_the_start(began)


def test_a_clock_of_two_numbers_is_read_as_it_was_left(tmp_path: Path):
    """A file of the version before has no beginning; what it shows stays."""
    (tmp_path / "clock").write_bytes((7 * 86_400_000_000).to_bytes(8, sys.byteorder) + bytes(8))
    assert Clock(tmp_path / "clock").show().ahead == timedelta(days=7)


def test_a_move_can_be_tried_beforehand_and_leaves_a_mark(tmp_path: Path):
    """What would be refused raises the same, and nothing has moved; whoever compares marks knows of every move."""
    clock = Clock(tmp_path / "clock")
    mark = clock.place()
    for good in (clock.now() + timedelta(days=1), timedelta(days=1), timedelta()):
        clock.check(good)
    for wrong in (clock.now() - timedelta(seconds=5), datetime(2100, 1, 2, tzinfo=UTC), timedelta(seconds=-1), timedelta.max):
        with pytest.raises(ClockError):
            clock.check(wrong)
    assert clock.place() == mark
    for move in (lambda: clock.advance(timedelta(seconds=1)), clock.freeze, lambda: clock.advance(timedelta(seconds=1)), clock.resume):
        move()
        assert clock.place() != mark
        mark = clock.place()


def test_a_clock_that_is_held_stands_and_loses_no_time(tmp_path: Path):
    """It is moved exactly while it stands; let go, it shows what it would if it had run on, and everybody is told of its moves alike."""
    clock, other = Clock(tmp_path / "clock"), Clock(tmp_path / "clock")
    clock.advance(timedelta(days=1))
    other.hold(60)
    stood = clock.now()
    assert clock.now() == stood == other.now()
    other.hold(60)
    assert other.advance(timedelta(hours=46)) == clock.now() == stood + timedelta(hours=46)
    assert (clock.show().ahead, clock.show().frozen) == (timedelta(days=1, hours=46), False)
    other.release()
    assert clock.now() > stood + timedelta(hours=46) and clock.show().ahead == timedelta(days=1, hours=46)


def test_nobody_can_leave_a_clock_standing_by_holding_it(tmp_path: Path):
    """A hold ends by itself; time goes on and nothing of the moves is lost, whoever turns it next."""
    for turn in (lambda clock: clock.release(), lambda clock: clock.resume(), lambda clock: clock.advance(timedelta()), lambda clock: clock.ring()):
        clock = Clock(tmp_path / "clock")
        before = clock.show().ahead
        clock.hold(0.0)
        now = clock.now()
        while clock.now() == now:
            pass                        # two readings may fall into one microsecond; a clock that stood would stand for ever
        assert clock.now() > now
        clock.advance(timedelta(hours=1))
        turn(clock)
        assert (clock.show().ahead - before, clock.show().frozen) == (timedelta(hours=1), False)
        clock.close()


def test_a_person_may_stop_or_start_a_clock_that_is_held(tmp_path: Path):
    """Stopped, it stays so when the hold ends; one that a person stopped is not held at all."""
    clock = Clock(tmp_path / "clock")
    clock.hold(60)
    stood = clock.freeze()
    clock.advance(timedelta(hours=1))
    clock.release()
    assert clock.now() == stood + timedelta(hours=1) and clock.show().frozen
    clock.hold(60)
    clock.release()
    assert clock.show().frozen
    clock.resume()
    clock.hold(60)
    assert clock.resume() >= stood + timedelta(hours=1) and not clock.show().frozen


def test_live_mode_has_the_wall_clock():
    """It shows wall time and cannot be moved."""
    assert not WallClock.movable and not hasattr(WallClock(), "advance")
    assert abs(WallClock().now() - datetime.now(UTC)) < SLACK


@given(st.lists(st.sampled_from(["advance", "freeze", "resume", "hold", "let go", "release", "ring"]), max_size=12))
def test_time_never_goes_back_whatever_is_turned(tmp_path_factory: pytest.TempPathFactory, turns: list[str]):
    """Any order of moves shows instants that grow."""
    clock = Clock(tmp_path_factory.mktemp("clock") / "clock")
    last = clock.now()
    for turn in turns:
        if turn == "advance":
            clock.advance(timedelta(minutes=1))
        elif turn in ("hold", "let go"):
            clock.hold(60 if turn == "hold" else 0)
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
