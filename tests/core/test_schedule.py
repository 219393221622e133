"""Schedules: due dates by tables, and by chance against a calendar that walks day by day and hour by hour."""
from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.schedule import LAST_YEAR, Schedule, Unit, beginning, day_of, due_at, due_date, first_after, fits

DAY, MONTH, YEAR = Unit.DAY, Unit.MONTH, Unit.YEAR

#: A schedule, and its first due dates.
DATES = [
    (Schedule(date(2026, 1, 31), 1, MONTH, 31), "2026-01-31 2026-02-28 2026-03-31 2026-04-30 2026-05-31"),
    (Schedule(date(2028, 1, 31), 1, MONTH, 31), "2028-01-31 2028-02-29 2028-03-31"),
    (Schedule(date(2026, 2, 28), 1, MONTH, 31), "2026-02-28 2026-03-31 2026-04-30"),
    (Schedule(date(2026, 2, 28), 1, MONTH, 28), "2026-02-28 2026-03-28 2026-04-28"),
    (Schedule(date(2026, 11, 30), 1, MONTH, 30), "2026-11-30 2026-12-30 2027-01-30 2027-02-28 2027-03-30"),
    (Schedule(date(2028, 2, 29), 1, YEAR, 29), "2028-02-29 2029-02-28 2030-02-28 2031-02-28 2032-02-29"),
    (Schedule(date(2026, 1, 31), 3, MONTH, 31), "2026-01-31 2026-04-30 2026-07-31 2026-10-31 2027-01-31"),
    (Schedule(date(2026, 12, 30), 1, DAY, 30), "2026-12-30 2026-12-31 2027-01-01"),
    (Schedule(date(2026, 12, 25), 2, Unit.WEEK, 25), "2026-12-25 2027-01-08 2027-01-22"),
    (Schedule(date(2026, 1, 31), 1, MONTH, 31, until=date(2026, 3, 30)), "2026-01-31 2026-02-28"),
    (Schedule(date(2026, 1, 31), 1, MONTH, 31, count=2), "2026-01-31 2026-02-28"),
]


@pytest.mark.parametrize(("schedule", "dates"), DATES, ids=[dates for _, dates in DATES])
def test_due_dates_follow_the_anchor_and_do_not_drift(schedule, dates):
    """Also across the ends of months and leap years; behind the end there are none."""
    expected = dates.split()
    assert [str(due_date(schedule, place)) for place in range(len(expected))] == expected
    if schedule.until or schedule.count:
        assert due_date(schedule, len(expected)) is None and due_at(schedule, len(expected)) is None


#: A day and a zone, and its first instant: no midnight there, two midnights, a day that was left out.
BEGINNINGS = [
    ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00"), ("2026-03-30", "Europe/Berlin", "2026-03-29T22:00"),
    ("2026-03-08", "America/Havana", "2026-03-08T05:00"), ("2026-11-01", "America/Havana", "2026-11-01T04:00"),
    ("2026-09-06", "America/Santiago", "2026-09-06T04:00"), ("2011-12-30", "Pacific/Apia", "2011-12-30T10:00"),
    ("2011-12-31", "Pacific/Apia", "2011-12-30T10:00"), ("2026-11-21", "Asia/Dubai", "2026-11-20T20:00"),
]


@pytest.mark.parametrize(("day", "zone", "instant"), BEGINNINGS)
def test_a_day_begins_with_its_first_instant(day, zone, instant):
    """By the clocks of its own zone."""
    assert beginning(date.fromisoformat(day), zone) == datetime.fromisoformat(instant).replace(tzinfo=UTC)


def test_the_end_of_time_is_the_end():
    """No due date behind the last year, however many there may be."""
    assert due_date(Schedule(date(2026, 1, 1), 1000, YEAR, 1), 1) is None
    assert due_date(Schedule(date(2026, 1, 1), 1000, Unit.WEEK, 1), 10**9) is None
    assert due_date(Schedule(date(LAST_YEAR, 12, 31), 1, DAY, 31), 0) == date(LAST_YEAR, 12, 31)


# ------------------------------------------------------------------------------------------------------ by chance

ZONES = ["UTC", "Asia/Dubai", "Europe/Berlin", "America/Havana", "America/Santiago", "Africa/Cairo", "Pacific/Chatham", "America/St_Johns",
         "Australia/Lord_Howe", "Asia/Beirut"]


@st.composite
def schedules(draw):
    """A schedule whose start fits its anchor."""
    unit = draw(st.sampled_from(list(Unit)))
    year, month, anchor = draw(st.integers(2026, 2032)), draw(st.integers(1, 12)), draw(st.integers(1, 31))
    start = date(year, month, min(anchor, monthrange(year, month)[1]))
    made = Schedule(
        start, draw(st.integers(1, 7)), unit, anchor, draw(st.sampled_from(ZONES)),
        draw(st.none() | st.integers(0, 900).map(lambda days: start + timedelta(days=days))), draw(st.none() | st.integers(1, 12)))
    assert fits(made)
    return made


def walked(schedule: Schedule, days: int) -> list[date]:
    """Due dates found by walking over every single day of a time, and asking of each whether it is one."""
    found, month_of_start = [], schedule.start.year * 12 + schedule.start.month
    for day in (schedule.start + timedelta(days=passed) for passed in range(days)):
        passed, months = (day - schedule.start).days, day.year * 12 + day.month - month_of_start
        is_last_of_its_month = (day + timedelta(days=1)).month != day.month
        is_meant = day.day == schedule.anchor or (is_last_of_its_month and day.day < schedule.anchor)
        is_due = {
            Unit.DAY: passed % schedule.every == 0, Unit.WEEK: passed % (7 * schedule.every) == 0,
            Unit.MONTH: is_meant and months % schedule.every == 0, Unit.YEAR: is_meant and months % (12 * schedule.every) == 0,
        }[schedule.unit]
        if is_due and (schedule.until is None or day <= schedule.until) and (schedule.count is None or len(found) < schedule.count):
            found.append(day)
    return found


@given(schedules())
def test_due_dates_are_those_of_a_calendar_walked_day_by_day(schedule):
    """The same days in the same order, and the same end."""
    expected = walked(schedule, 900)
    assert [due_date(schedule, place) for place in range(len(expected))] == expected
    following = due_date(schedule, len(expected))
    assert following is None or following >= schedule.start + timedelta(days=900)


@given(st.dates(date(2026, 1, 1), date(2032, 12, 31)), st.sampled_from(ZONES))
def test_a_day_begins_where_a_walk_over_its_minutes_meets_it(day, zone):
    """A quarter of an hour after the other, from well before, the first one whose calendar shows that day or a later one."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=16)
    while at.astimezone(ZoneInfo(zone)).date() < day:
        at += timedelta(minutes=15)
    assert beginning(day, zone) == at
    assert day_of(at, zone) == day and day_of(at - timedelta(minutes=15), zone) < day


@given(schedules(), st.integers(0, 5), st.integers(-24 * 5, 24 * 900))
def test_the_first_one_after_an_instant_is_the_first_of_all_that_are(schedule, place, hours):
    """Found by looking at one after the other."""
    instant = datetime(schedule.start.year, schedule.start.month, schedule.start.day, tzinfo=UTC) + timedelta(hours=hours)
    expected = place
    while (at := due_at(schedule, expected)) is not None and at <= instant:
        expected += 1
    assert first_after(schedule, instant, place) == expected
