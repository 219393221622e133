"""The reference model by itself: a good end is legal, and whatever is changed about it is told."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.model import End, Line, Ours, Seen, Standing, judge

LEDGER = {"AUTHORIZE": 1000, "USE": 600, "CAPTURE": 600, "REFUND": 200, "VOID": 400, "DOUBT_CAPTURE": 600, "DOUBT_CAPTURE_ENDED": 600}


def good() -> End:
    """An authorization of 1000, a capture of 600 that was in doubt, a void of the rest, a refund of 200, and a purchase undone."""
    return End(
        [Seen(1, 1, "authorization", 1000, "order-1", "approved", 1000), Seen(1, 2, "capture", 600, "", "unknown", 0),
         Seen(1, 3, "void", 0, "", "approved", 400), Seen(1, 4, "refund", 200, "refund-1", "nothing", 0),
         Seen(1, 5, "refund", 200, "refund-1", "refused", 0), Seen(6, 6, "purchase", 500, "order-2", "declined", 0)],
        [Ours(1, 1, "authorization", 1000, False, "order-1", "approved", 1000, 0), Ours(1, 2, "capture", 600, False, "", "approved", 600, 0),
         Ours(1, 3, "void", 400, False, "", "approved", 400, 0), Ours(1, 4, "refund", 200, False, "refund-1", "approved", 200, 0),
         Ours(6, 6, "purchase", 500, False, "order-2", "reversed", 0, 0)],
        {1: Standing(1000, 600, 400, 200, 0, 0, dict(LEDGER)), 6: Standing(0, 0, 0, 0, 0, 0, {})},
        [Line("1-1", 1, 1, "authorization", 1000, True), Line("2-1", 1, 2, "capture", 600, True), Line("3-1", 1, 3, "void", 400, True),
         Line("4-1", 1, 4, "refund", 200, True), Line("6-1", 6, 6, "purchase", 500, False)],
        0, 0, [], set(), True,
    )


def test_a_good_end_is_legal():
    """Nothing is said about it."""
    assert judge(good()) == []


def test_money_that_was_returned_after_the_cut_over_is_legal():
    """The purchase stands at the issuer, and so does the refund that gave it back."""
    end = good()
    end.book[4] = end.book[4]._replace(stands=True)
    end.book.append(Line("6-1-return", 6, 6, "refund", 500, True))
    end.ours[4] = end.ours[4]._replace(returned=500)
    end.payments[6].ledger.update(MONEY_IN_SUSPENSE=500, SUSPENSE_RETURNED=500)
    assert judge(end) == []


def test_a_part_that_nobody_wanted_is_legal_when_it_is_given_back():
    """Approved for half, voided at once, and undone at the issuer."""
    end = good()
    end.ours[4] = end.ours[4]._replace(result="approved", approved=250)
    end.payments[6] = Standing(250, 0, 250, 0, 0, 0, {"AUTHORIZE": 250, "VOID": 250})
    end.book[4] = end.book[4]._replace(minor=250)
    end.seen[5] = end.seen[5]._replace(said="approved", approved=250)
    assert judge(end) == []
    end.book[4] = end.book[4]._replace(stands=True)
    assert judge(end)


def change(where: str, place: int, **changed: Any) -> Callable[[End], End]:
    """The end with one value changed."""
    def apply(end: End) -> End:
        found = getattr(end, where)
        found[place] = found[place]._replace(**changed)
        return end
    return apply


def ledger(**changed: int) -> Callable[[End], End]:
    def apply(end: End) -> End:
        end.payments[1].ledger.update(changed)
        return end
    return apply


BROKEN: list[tuple[str, Callable[[End], End]]] = [
    ("an acknowledged capture is lost", change("ours", 2, result="declined", approved=0)),
    ("an acknowledged amount is another", change("seen", 0, approved=900)),
    ("what was declined stands", change("seen", 3, said="declined")),
    ("what was refused was stored", change("seen", 3, said="refused")),
    ("an operation is unknown for ever", change("ours", 1, result="unknown", approved=0)),
    ("an operation has no outcome", change("ours", 1, result="", approved=0)),
    ("approved here and undone there", change("book", 0, stands=False)),
    ("undone here and standing there", change("book", 4, stands=True)),
    ("approved for another amount there", change("book", 1, minor=500)),
    ("a capture is reversed", change("ours", 1, result="reversed", approved=0)),
    ("a purchase was returned and nobody knows", lambda end: end._replace(book=[*end.book, Line("6-1-return", 6, 6, "refund", 500, True)])),
    ("one operation moved money twice", lambda end: end._replace(book=[*end.book, Line("4-2", 1, 4, "refund", 200, True)])),
    ("one intention moved money twice",
     lambda end: end._replace(ours=[*end.ours, Ours(1, 7, "refund", 200, False, "refund-1#2", "approved", 200, 0)])),
    ("more is reserved than nothing", change("payments", 1, pending=100)),
    ("a doubt is left", change("payments", 1, doubts=1)),
    ("captured differs", change("payments", 1, captured=500)),
    ("refunded more than captured", change("payments", 1, refunded=700)),
    ("the ledger has posted a capture twice", ledger(CAPTURE=1200)),
    ("the ledger has lost a refund", ledger(REFUND=0)),
    ("a doubt did not end in the ledger", ledger(DOUBT_CAPTURE_ENDED=0)),
    ("money hangs in suspense", ledger(MONEY_IN_SUSPENSE=5)),
    ("a payment stands there only", lambda end: end._replace(payments={6: end.payments[6]})),
    ("a job is left", lambda end: end._replace(jobs=1)),
    ("a reversal is owed", lambda end: end._replace(owed=1)),
    ("a person had to decide about a capture", lambda end: end._replace(reviewed=[("capture", 2)], remembers=False)),
    ("a person had to decide about a refund that could be repeated", lambda end: end._replace(reviewed=[("refund", 4)])),
    ("a person had to decide about a purchase that could be given back", lambda end: end._replace(reviewed=[("purchase", 6)])),
]


@pytest.mark.parametrize("broken", [broken for _, broken in BROKEN], ids=[name for name, _ in BROKEN])
def test_whatever_is_wrong_is_told(broken: Callable[[End], End]):
    """One change, at least one complaint."""
    assert judge(broken(good()))


def test_a_person_may_have_to_decide_where_nothing_can_be_sent():
    """About a refund that would pay twice, and about a purchase that the issuer would not take back."""
    assert judge(good()._replace(reviewed=[("refund", 4)], remembers=False)) == []
    assert judge(good()._replace(reviewed=[("purchase", 6)], refused={6})) == []
