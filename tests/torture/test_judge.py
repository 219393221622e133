"""The judge finds what was doctored: in the ledger, in the issuer's book, or in what was acknowledged."""
from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from ringfence.core.commands import Kind
from ringfence.engine.acknowledged import Line
from ringfence.processors.simulator import Effect, Entry
from ringfence.torture.judge import Findings, Row, compared, found

MERCHANT = "RingfenceOne"
AT = datetime(2026, 11, 21, tzinfo=UTC)


def row(operation: int, kind: str, minor: int, *, payment: int = 1, result: str = "approved", reference: str = "A", held: int = 0, captured: int = 0,
        refunded: int = 0) -> Row:
    return Row(payment, MERCHANT, operation, kind, minor, "AED", reference, result, True, held, captured, refunded, 0)


def entry(operation: int, kind: Kind, minor: int, *, payment: int = 1, effect: Effect = Effect.APPROVED, key: str = "") -> Entry:
    return Entry(operation, 0, key or f"{operation}-1", operation, payment, MERCHANT, kind, effect, minor, "AED", "00", AT, date(2026, 11, 21))


def line(kind: Kind, minor: int, reference: str = "A") -> Line:
    return Line(MERCHANT, "aps", reference, kind, minor, "AED")


# One order: 1000 authorized, 700 captured, 200 of it refunded, and a purchase of 500 under another number.
STANDS = {"held": 300, "captured": 700, "refunded": 200}
ROWS = [
    row(1, "authorization", 1000, **STANDS), row(2, "capture", 700, **STANDS), row(3, "refund", 200, **STANDS),
    row(9, "purchase", 500, payment=9, reference="B", captured=500),
]
BOOK = [
    entry(1, Kind.AUTHORIZATION, 1000), entry(2, Kind.CAPTURE, 700), entry(3, Kind.REFUND, 200), entry(9, Kind.PURCHASE, 500, payment=9),
]
SEEN = [line(Kind.AUTHORIZATION, 1000), line(Kind.CAPTURE, 700), line(Kind.REFUND, 200), line(Kind.PURCHASE, 500, "B")]


def test_three_witnesses_that_agree_are_believed():
    """Nothing is found where nothing is wrong."""
    assert found(ROWS, BOOK, SEEN) == Findings((), (), (), ())


def without(rows: list, operation: int) -> list:
    return [one for one in rows if one.operation != operation]


UNDONE = [*BOOK, entry(9, Kind.PURCHASE, 500, payment=9, effect=Effect.REVERSED)]
TWICE = [*ROWS, row(10, "purchase", 500, payment=10, reference="B", captured=500)]

DOCTORED = {
    "a line lost from the ledger": (without(ROWS, 3), BOOK, SEEN, "lost", "the ledger has it 0 times"),
    "a line lost from the book": (ROWS, without(BOOK, 3), SEEN, "lost", "book has it 0 times"),
    "acknowledged, and nobody else knows it": (ROWS, BOOK, [*SEEN, line(Kind.PURCHASE, 77, "C")], "lost", "C: purchase of 77"),
    "acknowledged twice, and there once": (ROWS, BOOK, [*SEEN, line(Kind.CAPTURE, 700)], "lost", "acknowledged 2 times"),
    "acknowledged for another amount": (ROWS, BOOK, [*SEEN[:3], line(Kind.PURCHASE, 501, "B")], "lost", "purchase of 501"),
    "a line doubled in the book": (ROWS, [*BOOK, entry(3, Kind.REFUND, 200)], SEEN, "duplicated", "moved 2 times"),
    "moved again under another key": (ROWS, [*BOOK, entry(3, Kind.REFUND, 200, key="3-2")], SEEN, "duplicated", "under 2 keys"),
    "a reference paid twice": (TWICE, [*BOOK, entry(10, Kind.PURCHASE, 500, payment=10)], SEEN, "duplicated", "B was paid 2 times"),
    "approved here and reversed there": (ROWS, UNDONE, SEEN, "differences", "undone at the issuer"),
    "approved here and unknown there": (ROWS, without(BOOK, 9), [], "differences", "does not have it"),
    "reversed here and standing there": (
        [*ROWS[:3], row(9, "purchase", 500, payment=9, reference="B", result="reversed")], BOOK, SEEN[:3], "differences", "ended as reversed here"),
    "declined here and standing there": (
        [*ROWS[:3], row(9, "purchase", 500, payment=9, reference="B", result="declined")], BOOK, SEEN[:3], "differences", "ended as declined here"),
    "only there": (ROWS, [*BOOK, entry(11, Kind.PURCHASE, 1, payment=11)], SEEN, "differences", "payment 11 (not here)"),
    "another amount here": ([*ROWS[:3], ROWS[3]._replace(captured=499)], BOOK, SEEN, "differences", "payment 9"),
    "an end that nobody knows": (
        [*ROWS[:3], row(9, "purchase", 500, payment=9, reference="B", result="")], BOOK, SEEN[:3], "unresolved", "the purchase 9 is not known"),
}


@pytest.mark.parametrize("name", DOCTORED)
def test_whatever_is_doctored_is_found(name):
    """Each forgery is found under its name."""
    rows, book, lines, where, words = DOCTORED[name]
    findings = found(rows, book, lines)._asdict()
    assert any(words in sentence for sentence in findings[where]), findings


def test_a_doubt_explains_both_ends_and_nothing_else():
    """What is unknown here may have happened there or not; for another amount it may not."""
    doubtful = [row(9, "purchase", 500, payment=9, result="")]
    assert compared(doubtful, [BOOK[3]]).wrong == compared(doubtful, []).wrong == ()
    assert compared(doubtful, [entry(9, Kind.PURCHASE, 499, payment=9)]).wrong != ()


RETURN = entry(9, Kind.REFUND, 500, payment=9, key="9-1-return")
ENDED = [row(9, "purchase", 500, payment=9, reference="B", result="reversed")]


def test_a_purchase_that_recovery_gave_back_is_no_effect():
    """The refund under the purchase's own key undoes it, where our ledger says reversed."""
    assert found(ENDED, [BOOK[3], RETURN], []) == Findings((), (), (), ())


def test_a_purchase_that_was_given_back_and_is_approved_here_is_found():
    """Money that went back may not stand as paid."""
    assert any("undone at the issuer" in one for one in found([ROWS[3]], [BOOK[3], RETURN], []).differences)


def test_half_a_return_is_an_effect():
    """Another amount than was paid, or no purchase at all, is no undoing."""
    short = entry(9, Kind.REFUND, 499, payment=9, key="9-1-return")
    for book in ([BOOK[3], short], [RETURN]):
        findings = found(ENDED, book, [])
        assert findings.differences or findings.duplicated


def test_money_that_went_back_twice_is_found():
    """By a refund, and by a reversal of the purchase that arrived all the same; a refund that was undone gave nothing back."""
    reversed_purchase = entry(9, Kind.PURCHASE, 500, payment=9, effect=Effect.REVERSED)
    reversed_refund = entry(9, Kind.REFUND, 500, payment=9, effect=Effect.REVERSED, key=RETURN.key)
    for undone in (reversed_purchase, reversed_refund):
        assert any("stands at the issuer" in one for one in found(ENDED, [BOOK[3], RETURN, undone], []).differences)
    assert found(ENDED, [BOOK[3], RETURN, reversed_purchase, reversed_refund], []) == Findings((), (), (), ())
