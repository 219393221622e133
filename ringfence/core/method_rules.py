"""Rules of payment methods: what one takes, from whom, and how long it gives back.

They bind the payment at whatever door it is asked for.  Values come in and words come out; refuses to know settings and doors.
"""
from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple


class Broken(StrEnum):
    """Which rule a payment breaks, in the order in which they are looked at."""

    CURRENCY = "currency"
    AMOUNT = "amount"
    COUNTRY = "country"


class Rules(NamedTuple):
    """Of one method at one merchant.  Amounts are minor units, both limits included; an empty set takes all."""

    currencies: Collection[str]
    countries: Collection[str]
    least: int
    most: int

    def broken(self, minor: int, currency: str, country: str | None) -> Broken | None:
        """The first rule that a payment breaks; a ``country`` that is not known breaks none."""
        if self.currencies and currency not in self.currencies:
            return Broken.CURRENCY
        if not self.least <= minor <= self.most:
            return Broken.AMOUNT
        if country is not None and self.countries and country not in self.countries:
            return Broken.COUNTRY
        return None


def months_after(at: datetime, months: int) -> datetime:
    """The same day and time so many months later; the last day of a month that is too short for it."""
    place = at.month - 1 + months
    first = at.replace(year=at.year + place // 12, month=place % 12 + 1, day=1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(at.day, last.day))


def may_refund(captured_at: datetime | None, months: int, now: datetime) -> bool:
    """Whether a method that gives back for so many months behind the last capture still does; all in business time."""
    return captured_at is None or now < months_after(captured_at, months)
