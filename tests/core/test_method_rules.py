"""Rules of payment methods, by tables."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.method_rules import Broken, Rules, may_refund, months_after

RULES = Rules({"USD"}, {"US"}, 50, 2_000_000)


@pytest.mark.parametrize(("minor", "currency", "country", "found"), [
    (50, "USD", "US", None), (2_000_000, "USD", "US", None), (1_000, "USD", None, None),
    (49, "USD", "US", Broken.AMOUNT), (2_000_001, "USD", "US", Broken.AMOUNT), (1_000, "EUR", "US", Broken.CURRENCY),
    (1_000, "USD", "DE", Broken.COUNTRY), (49, "EUR", "DE", Broken.CURRENCY), (49, "USD", "DE", Broken.AMOUNT),
])
def test_the_first_broken_rule_is_told(minor: int, currency: str, country: str | None, found: Broken | None):
    """Both limits are inside."""
    assert RULES.broken(minor, currency, country) is found


def test_empty_sets_take_all():
    assert Rules((), (), 1, 10).broken(5, "JPY", "JP") is None


@pytest.mark.parametrize(("at", "months", "later"), [
    ("2026-01-05T10:00:00", 6, "2026-07-05T10:00:00"), ("2026-08-31T23:59:59", 6, "2027-02-28T23:59:59"),
    ("2023-08-31T00:00:00", 6, "2024-02-29T00:00:00"), ("2026-12-31T12:00:00", 2, "2027-02-28T12:00:00"), ("2026-01-31T00:00:00", 12, "2027-01-31T00:00:00"),
])
def test_months_end_on_the_same_day_or_the_last(at: str, months: int, later: str):
    assert months_after(datetime.fromisoformat(at), months) == datetime.fromisoformat(later)


@given(st.integers(0, 36_500), st.integers(1, 120))
def test_a_refund_is_in_time_until_that_instant_and_not_at_it(days: int, months: int):
    at = datetime(2000, 1, 1, 13, tzinfo=UTC) + timedelta(days=days)
    end = months_after(at, months)
    assert may_refund(at, months, end - timedelta(microseconds=1)) and not may_refund(at, months, end)
    assert may_refund(None, months, end)
