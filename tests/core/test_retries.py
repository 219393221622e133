"""Retries: what a decline means for the next try, and the limits of schemes."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.outcomes import HARD_ADVICE, HARD_DECLINES, Declined
from ringfence.core.retries import ADVISED, MENDING_ADVICE, NEEDS_MENDING, Again, Limit, Over, Rules, allowed_at, longest, verdict

FIRST = datetime(2026, 1, 5, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
RULES = Rules((2, 6, 13), (Limit("VISA", 15, 30), Limit("MASTERCARD", 10, 1), Limit("MASTERCARD", 35, 30)))


def judged(code: str, advice: str = "", *, now: datetime = FIRST, declines: int = 1):
    return verdict(Declined(code, advice), first_at=FIRST, now=now, declines=declines, rules=RULES)


#: What came back, when, as which decline, and what follows.
VERDICTS = [
    ("51", "", FIRST, 1, Again(FIRST + 2 * DAY)),
    ("51", "", FIRST + 2 * DAY, 2, Again(FIRST + 6 * DAY)),
    ("51", "", FIRST + 6 * DAY, 3, Again(FIRST + 13 * DAY)),
    ("05", "", FIRST + 13 * DAY, 4, Over(False, "declined 4 times, the last time with response code 05")),
    ("51", "", FIRST + 20 * DAY, 2, Again(FIRST + 21 * DAY)),               # late: still not twice in 24 hours
    ("79", "24", FIRST, 1, Again(FIRST + HOUR)),
    ("79", "30", FIRST, 1, Again(FIRST + 10 * DAY)),
    ("79", "02", FIRST, 1, Again(FIRST + 72 * HOUR)),
    ("79", "24", FIRST, 4, Over(False, "declined 4 times, the last time with response code 79, advice 24")),
    ("41", "", FIRST, 1, Over(True, "declined for good (response code 41)")),
    ("05", "03", FIRST, 1, Over(True, "declined for good (response code 05, advice 03)")),
    ("54", "", FIRST, 1, Over(False, "declined until the card or the set-up is mended (response code 54)")),
    ("54", "01", FIRST, 1, Over(False, "declined until the card or the set-up is mended (response code 54, advice 01)")),
    ("59", "", FIRST, 1, Over(False, "declined until the card or the set-up is mended (response code 59)")),
]


@pytest.mark.parametrize(("code", "advice", "now", "declines", "follows"), VERDICTS)
def test_a_decline_has_its_verdict(code, advice, now, declines, follows):
    """The schedule counts from the first try; the scheme's advice comes before it; what is hard ends it."""
    assert judged(code, advice, now=now, declines=declines) == follows


def test_no_code_is_in_two_classes():
    """Hard, to be mended, to be tried again."""
    assert not HARD_DECLINES & NEEDS_MENDING
    assert not HARD_ADVICE & (MENDING_ADVICE | ADVISED.keys()) and not MENDING_ADVICE & ADVISED.keys()


#: Brand, declines in hours after the first, and in how many hours the next try is allowed, asked 40 hours after it.
LIMITS = [
    ("VISA", [0] * 14, 40), ("VISA", [0] * 15, 30 * 24), ("VISA", [*range(0, 40, 2)], 10 + 30 * 24), ("AMEX", [0] * 100, 40),
    ("MASTERCARD", [17] * 10, 41), ("MASTERCARD", [16] * 10, 40), ("MASTERCARD", [0] * 35, 30 * 24), ("MASTERCARD", [], 40),
]


@pytest.mark.parametrize(("brand", "hours", "allowed"), LIMITS)
def test_a_scheme_allows_so_many_declines(brand, hours, allowed):
    """What is beyond waits until the oldest that counts has left the window."""
    declines = [FIRST + hour * HOUR for hour in hours]
    assert allowed_at(brand, declines, FIRST + 40 * HOUR, RULES.limits) == FIRST + allowed * HOUR
    assert longest(RULES.limits) == 30 * DAY and longest(()) == timedelta()


@given(st.lists(st.integers(0, 2_000), max_size=60), st.integers(0, 2_000), st.lists(
    st.tuples(st.integers(1, 20), st.integers(1, 40)), min_size=1, max_size=3))
def test_no_window_holds_more_than_a_scheme_allows(hours, wanted, pairs):
    """Once allowed, a try and all that were declined before it fit; and there is no earlier hour at which they would."""
    limits = [Limit("VISA", *pair) for pair in pairs]
    declines = sorted(FIRST + min(hour, wanted) * HOUR for hour in hours)

    def fits(at: datetime) -> bool:
        return all(sum(one > at - limit.days * DAY for one in declines) < limit.most for limit in limits)

    at = allowed_at("VISA", declines, FIRST + wanted * HOUR, limits)
    assert fits(at)
    assert at == FIRST + wanted * HOUR or not fits(at - HOUR)
