"""The business day: which day an amount belongs to, by a processor's cut-over hour and zone."""
from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def business_day(at: datetime, cut_over: time, zone: str) -> date:
    """The day that ``at`` (aware) belongs to: what happens at or after the cut-over counts for the next day.

    A cut-over at midnight makes it the calendar day of the zone.
    """
    local = at.astimezone(ZoneInfo(zone))
    late = cut_over != time(0) and local.timetz().replace(tzinfo=None) >= cut_over
    return local.date() + timedelta(days=late)
