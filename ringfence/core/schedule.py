"""Schedules: when something that repeats is due.

Due dates are counted from the first, never from the one before, so that none of them drifts: a month after 31 January is the last of
February, the month after that 31 March again.  A due date begins with its first instant in its own time zone, also where the clocks are
changed at midnight.  Refuses to know what happens then.
"""
from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

LAST_YEAR = 2199
"""No due date is behind this year; the clock itself ends with 2099."""


class Unit(StrEnum):
    """What is counted from one due date to the next."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


class Schedule(NamedTuple):
    """Due dates at places 0, 1, 2 …: from ``start`` on, every so many units, none after ``until``, at most ``count`` of them.

    ``zone`` is the name of a time zone (IANA), in which each due date begins.  With months and years the day is that of ``anchor``, 1 to
    31, or the last one of a month that is shorter; it fits ``start`` (see ``fits``).
    """

    start: date
    every: int
    unit: Unit
    anchor: int
    zone: str = "UTC"
    until: date | None = None
    count: int | None = None


def fits(schedule: Schedule) -> bool:
    """Whether the first due date is a day that the anchor means."""
    is_counted_in_days = schedule.unit in (Unit.DAY, Unit.WEEK)
    return is_counted_in_days or schedule.start.day == _day_in(schedule.start.year, schedule.start.month, schedule.anchor)


def due_date(schedule: Schedule, place: int) -> date | None:
    """The due date at a place, from 0; ``None`` behind the end."""
    assert place >= 0 and schedule.every > 0
    if schedule.count is not None and place >= schedule.count:
        return None
    found = _counted(schedule, place)
    return None if found is None or (schedule.until is not None and found > schedule.until) else found


def due_at(schedule: Schedule, place: int) -> datetime | None:
    """When that due date begins (UTC); ``None`` behind the end."""
    found = due_date(schedule, place)
    return None if found is None else beginning(found, schedule.zone)


def first_after(schedule: Schedule, instant: datetime, place: int = 0) -> int:
    """The first place, not before ``place``, that is due later than ``instant``, or the first behind the end."""
    low, step = place, 1
    while _is_due(schedule, low + step, instant):
        low, step = low + step, step * 2
    if not _is_due(schedule, low, instant):
        return low
    high = low + step                           # low is due, high is not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_due(schedule, middle, instant) else (low, middle)
    return high


def beginning(day: date, zone: str) -> datetime:
    """The first instant of a day in a zone (UTC), or the next there is: midnight may not exist, and may come twice."""
    return datetime.combine(day, time(0), ZoneInfo(zone)).astimezone(UTC)      # fold 0: the first of two; the edge of a gap


def day_of(instant: datetime, zone: str) -> date:
    """The calendar day of an instant (aware) in a zone."""
    return instant.astimezone(ZoneInfo(zone)).date()


def _is_due(schedule: Schedule, place: int, instant: datetime) -> bool:
    at = due_at(schedule, place)
    return at is not None and at <= instant


def _counted(schedule: Schedule, place: int) -> date | None:
    start, units = schedule.start, place * schedule.every
    if schedule.unit in (Unit.DAY, Unit.WEEK):
        days = units * (7 if schedule.unit is Unit.WEEK else 1)
        return start + timedelta(days=days) if days <= (date(LAST_YEAR, 12, 31) - start).days else None
    months = start.year * 12 + start.month - 1 + units * (12 if schedule.unit is Unit.YEAR else 1)
    year, month = divmod(months, 12)
    return date(year, month + 1, _day_in(year, month + 1, schedule.anchor)) if year <= LAST_YEAR else None


def _day_in(year: int, month: int, day: int) -> int:
    """The day, or the month's last."""
    following = date(year + month // 12, month % 12 + 1, 1)
    return min(day, (following - timedelta(days=1)).day)
