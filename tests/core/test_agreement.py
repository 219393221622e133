"""Agreements by their tables: what may follow what, and what may be charged when."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ringfence.core.agreement import (
    AFTER,
    ENDED,
    OPEN,
    REVOKED,
    AmountType,
    Refusal,
    Status,
    Terms,
    What,
    follow,
    may_charge,
    turned_down,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)

ROWS = [
    # from                            what                       to
    (Status.INITIALIZING, What.AWAITED, Status.AUTHENTICATION_PENDING),
    (Status.INITIALIZING, What.AGREED, Status.ACTIVE),
    (Status.AUTHENTICATION_PENDING, What.AGREED, Status.ACTIVE),
    (Status.AUTHENTICATION_PENDING, What.ANSWERED, Status.AUTHORIZATION_PROCESSING),
    (Status.AUTHORIZATION_PROCESSING, What.AGREED, Status.ACTIVE),
    (Status.AUTHENTICATION_PENDING, What.REFUSED, Status.FAILED),
    (Status.ACTIVE, What.REVOKED_BY_MERCHANT, Status.REVOKED_BY_MERCHANT),
    (Status.ACTIVE, What.REVOKED_BY_CONSUMER, Status.REVOKED_BY_CONSUMER),
    (Status.ACTIVE, What.REVOKED_BY_PROVIDER, Status.REVOKED_BY_PROVIDER),
    (Status.ACTIVE, What.UPDATED, Status.ACTIVE),
]


@pytest.mark.parametrize(("before", "what", "after"), ROWS)
def test_what_follows(before: Status, what: What, after: Status):
    """The table of the protocol."""
    assert follow(before, what) is after


def test_nothing_follows_an_end():
    """Whatever is told then was told before, or comes too late."""
    assert not [row for row in AFTER if row[0] in ENDED]
    assert {what for status, what in AFTER if status is Status.ACTIVE} == {What.UPDATED, *REVOKED}


@pytest.mark.parametrize("status", Status)
def test_only_what_is_active_may_be_charged(status: Status):
    """And it is told whether it was active once."""
    said = may_charge(status, Terms(), 1, "USD", NOW)
    expected = None if status is Status.ACTIVE else Refusal.REVOKED if status in REVOKED.values() else Refusal.INACTIVE
    assert said is expected and turned_down(status) is expected


CHARGES = [
    # type                 agreed             charged            refusal
    (AmountType.EXACT, (1000, "USD"), (1000, "USD"), None),
    (AmountType.EXACT, (1000, "USD"), (999, "USD"), Refusal.AMOUNT),
    (AmountType.EXACT, (1000, "USD"), (1001, "USD"), Refusal.AMOUNT),
    (AmountType.EXACT, (1000, "USD"), (1000, "EUR"), Refusal.AMOUNT),
    (AmountType.MAX, (1000, "USD"), (1000, "USD"), None),
    (AmountType.MAX, (1000, "USD"), (1, "USD"), None),
    (AmountType.MAX, (1000, "USD"), (1001, "USD"), Refusal.AMOUNT),
    (AmountType.MAX, (1000, "USD"), (1, "EUR"), Refusal.AMOUNT),
    (AmountType.VARIABLE, (1000, "USD"), (5000, "USD"), None),
    (AmountType.VARIABLE, (None, ""), (5000, "USD"), None),
    ("", (1000, "USD"), (5000, "USD"), None),
]


@pytest.mark.parametrize(("kind", "agreed", "charged", "refusal"), CHARGES)
def test_amounts(kind: str, agreed: tuple[int | None, str], charged: tuple[int, str], refusal: Refusal | None):
    """Exactly, at most, or as it comes."""
    assert may_charge(Status.ACTIVE, Terms(None, None, *agreed, kind), *charged, NOW) is refusal


@pytest.mark.parametrize(("start", "end", "refusal"), [
    (None, None, None), (NOW, None, None), (None, NOW, None), (NOW, NOW, None), (NOW - DAY, NOW + DAY, None),
    (NOW + DAY, None, Refusal.INACTIVE), (None, NOW - DAY, Refusal.INACTIVE), (NOW + timedelta(microseconds=1), None, Refusal.INACTIVE),
])
def test_dates(start: datetime | None, end: datetime | None, refusal: Refusal | None):
    """Both days count."""
    assert may_charge(Status.ACTIVE, Terms(start, end), 1, "USD", NOW) is refusal


class Life(RuleBasedStateMachine):
    """Whatever is told in whatever order: it is active at most once in a row, ends once, and was agreed to before it was ever charged."""

    def __init__(self) -> None:
        super().__init__()
        self.status = Status.INITIALIZING
        self.seen = [self.status]

    @rule(what=st.sampled_from(What))
    def told(self, what: What) -> None:
        after = follow(self.status, what)
        if after is not None:
            assert self.status not in ENDED
            self.status = after
            self.seen.append(after)

    @precondition(lambda self: self.status in ENDED)
    @rule(what=st.sampled_from(What))
    def ended(self, what: What) -> None:
        assert follow(self.status, what) is None

    @invariant()
    def order(self) -> None:
        assert not (self.status in REVOKED.values() and Status.ACTIVE not in self.seen)
        assert not (self.status is Status.FAILED and Status.ACTIVE in self.seen)
        assert not (self.status in OPEN and Status.ACTIVE in self.seen)
        assert (may_charge(self.status, Terms(), 1, "USD", NOW) is None) == (self.status is Status.ACTIVE)


TestLife = Life.TestCase
