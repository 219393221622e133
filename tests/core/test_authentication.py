"""Authentications: what follows from each status, and who may use one."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.authentication import (
    PENDING,
    SECURED,
    Authentication,
    Cancelled,
    Ended,
    Evidence,
    Misuse,
    Mode,
    Status,
    Verdict,
    agreed,
    is_believable,
    may_use,
    verdict,
    why_stopped,
)

NOW = datetime(2026, 1, 5, 7, 9, 19, tzinfo=UTC)
GOOD = Authentication(7, 1, 40, 1000, "AED", Status.AUTHENTICATED, Evidence("Y", "05", "c" * 28), NOW, NOW + timedelta(days=1))

@pytest.mark.parametrize(("theirs", "version"), [
    (("2.2.0", "2.1.0"), "2.2.0"), (("2.1.0", "2.2.0", "2.3.1"), "2.2.0"), (("2.1.0",), "2.1.0"), (("1.0.2", "2.0.0"), ""), ((), ""),
])
def test_the_newest_version_that_both_speak(theirs: tuple[str, ...], version: str):
    """In whatever order they name them; nobody speaks what is retired."""
    assert agreed(theirs) == version


@pytest.mark.parametrize(("status", "version", "is_so"), [
    *((status, "2.2.0", True) for status in Status), *((status, "", True) for status in Status),
    *((status, "2.1.0", status not in "DI") for status in Status), *((status, "1.0.2", False) for status in Status),
    ("Y", "2.3.1", False), ("Y", "2.2", False),
])
def test_an_answer_has_a_version_that_we_speak_and_a_word_of_it(status: str, version: str, is_so: bool):
    """Decoupled and informational are of 2.2."""
    assert is_believable(Status(status), version) is is_so


FOLLOWS = {
    # status    required            flexible
    "Y": (Verdict.PROCEED, Verdict.PROCEED),
    "A": (Verdict.PROCEED, Verdict.PROCEED),
    "N": (Verdict.STOP,    Verdict.STOP),
    "R": (Verdict.STOP,    Verdict.STOP),
    "U": (Verdict.STOP,    Verdict.PROCEED),
    "I": (Verdict.STOP,    Verdict.PROCEED),
    "E": (Verdict.STOP,    Verdict.PROCEED),
    "C": (Verdict.WAIT,    Verdict.WAIT),
    "D": (Verdict.WAIT,    Verdict.WAIT),
    "M": (Verdict.WAIT,    Verdict.WAIT),
}


@pytest.mark.parametrize("status", Status)
def test_what_follows_from_each_status(status: Status):
    """The table, for a merchant who insists and for one who does not."""
    assert (verdict(status, Mode.REQUIRED), verdict(status, Mode.FLEXIBLE)) == FOLLOWS[status]


@pytest.mark.parametrize(("changed", "asked", "why"), [
    ({}, {}, None),
    ({}, {"minor": 999}, None),
    ({"status": Status.ATTEMPTED}, {}, None),
    ({}, {"merchant_id": 8}, Misuse.OTHER_MERCHANT),
    ({}, {"card_id": 41}, Misuse.OTHER_CARD),
    ({}, {"card_id": None}, Misuse.OTHER_CARD),
    ({}, {"currency": "SAR"}, Misuse.OTHER_CURRENCY),
    ({}, {"minor": 1001}, Misuse.TOO_MUCH),
    ({"used_by": 3}, {}, Misuse.USED),
    ({"status": Status.CHALLENGE}, {}, Misuse.NOT_ENDED),
    ({"status": Status.FAILED}, {}, Misuse.NOT_AUTHENTICATED),
    ({"status": Status.UNAVAILABLE}, {}, Misuse.NOT_AUTHENTICATED),
    ({}, {"now": NOW + timedelta(days=1)}, Misuse.EXPIRED),
])
def test_who_may_use_an_authentication(changed, asked, why):
    """Once, for the same card and merchant, for at most that amount in that currency, in its time."""
    request = {"merchant_id": 7, "card_id": 40, "minor": 1000, "currency": "AED", "now": NOW, **asked}
    assert may_use(GOOD._replace(**changed), **request) is why


@given(
    one=st.builds(
        Authentication, st.integers(1, 2), st.just(1), st.integers(1, 2), st.integers(1, 5), st.sampled_from(("AED", "SAR")), st.sampled_from(Status),
        st.just(Evidence("Y")), st.just(NOW), st.integers(-2, 2).map(lambda days: NOW + timedelta(days=days)), st.sampled_from((None, 9)),
    ),
    merchant=st.integers(1, 2), card=st.integers(1, 2), minor=st.integers(1, 5), currency=st.sampled_from(("AED", "SAR")),
)
def test_whatever_chance_asks_only_a_perfect_match_is_used(one, merchant, card, minor, currency):
    """No order of the rungs lets anything through that breaks one of them."""
    allowed = (
        merchant == one.merchant_id and card == one.card_id and currency == one.currency and minor <= one.minor and one.used_by is None
        and one.status in SECURED and one.expires_at > NOW
    )
    assert (may_use(one, merchant, card, minor, currency, NOW) is None) == allowed


def test_why_a_payment_was_stopped():
    """What the person did is told from what took too long, and both from a failure."""
    assert {code: why_stopped(code) for code in Cancelled} == {
        "": Ended.FAILED, "01": Ended.CANCELLED, "03": Ended.TIMEOUT, "04": Ended.TIMEOUT, "05": Ended.TIMEOUT, "06": Ended.FAILED}
    assert why_stopped("99") is Ended.FAILED


def test_the_cryptogram_does_not_show_itself():
    """Neither in a log nor in an error's text."""
    assert "c" * 28 not in repr(GOOD)
    assert PENDING.isdisjoint(SECURED)
