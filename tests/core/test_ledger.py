"""The table of transfers: every kind has its two accounts, and every account its book."""
from __future__ import annotations

from collections import Counter

import pytest

from ringfence.core.commands import Kind
from ringfence.core.events import APPROVED, DECLINED, NOT_ASKED, REVERSED, UNKNOWN, Event
from ringfence.core.ledger import ACCOUNTS, DOUBT, DOUBT_ENDED, KINDS, Transferred, book_of

#: The chart of accounts, by book.
CHART = {
    "hold": "captured expired open promised unsecured voided",
    "doubt": "asked authorization capture decrement increment purchase refund void",
    "debt": "forgiven incurred owed recovered",
    "processor": "receivable reserve settling",
    "merchant": "payable reserve",
    "refund": "pending",
    "dispute": "open",
    "fee": "cost income",
    "fx": "position",
}
ALONE = {"bank", "suspense", "loss"}

#: A kind and the kind that undoes it: the same accounts, the other way round.
REVERSES = [
    ("USE_UNSECURED", "UNUSE"), ("UNSECURE", "RESECURE"), ("CAPTURE", "CAPTURE_REJECTED"), ("REFUND", "REFUND_RETURNED"),
    ("REFUND_ASKED", "REFUND_FAILED"), ("MONEY_IN_SUSPENSE", "SUSPENSE_RETURNED"), ("CHARGEBACK", "CHARGEBACK_BACK"),
    ("SETTLE_IN", "SETTLE_OUT"), ("UNMATCHED_IN", "UNMATCHED_OUT"), ("RESERVE", "RESERVE_BACK"), ("FX_OUT", "FX_IN"),
    ("DEBT_RECOVERED", "DEBT_REOPENED"), ("DEBT", "DEBT_LOWERED"),
]


def test_every_kind_has_its_two_accounts():
    """The table knows every kind, and nothing else."""
    assert set(KINDS) == set(Transferred)
    assert all(debit != credit for debit, credit in KINDS.values())


def test_the_accounts_are_those_of_the_chart():
    """No account is misspelt, and none of the chart is missing."""
    assert set(ACCOUNTS) == ALONE | {f"{book}.{name}" for book, names in CHART.items() for name in names.split()}


@pytest.mark.parametrize("kind", Transferred)
def test_no_transfer_crosses_books(kind):
    """Promises, doubts and debts are memo books: no money can come from them or go to them."""
    debit, credit = KINDS[kind]
    assert book_of(debit) == book_of(credit)


def test_the_books_are_four():
    """Hold, doubt and debt stand beside the money."""
    assert Counter(map(book_of, ACCOUNTS)) == {"hold": 6, "doubt": 8, "debt": 4, "money": len(ACCOUNTS) - 18}


def test_the_numbers_of_the_kinds_are_stored_and_stay():
    """Each number has one name (an enumeration would quietly make a second one an alias), and fits a smallint."""
    assert len(Transferred.__members__) == len(Transferred) == len({kind.value for kind in Transferred})
    assert all(0 < kind.value < 2**15 for kind in Transferred)


@pytest.mark.parametrize(("done", "undone"), REVERSES)
def test_a_reverse_has_the_same_accounts_the_other_way_round(done, undone):
    """What is done and undone leaves every balance as it was."""
    assert KINDS[Transferred[done]] == KINDS[Transferred[undone]][::-1]


@pytest.mark.parametrize("kind", Kind)
def test_every_operation_can_be_in_doubt_and_out_of_it(kind):
    """A doubt and its end name the account of their operation."""
    assert KINDS[DOUBT[kind]] == (f"doubt.{kind}", "doubt.asked")
    assert KINDS[DOUBT_ENDED[kind]] == ("doubt.asked", f"doubt.{kind}")


def test_every_end_of_an_operation_has_its_event():
    """The tables of events name their operation, and only what we may reverse can be reversed."""
    for table, how in ((APPROVED, "approved"), (DECLINED, "declined"), (UNKNOWN, "unknown"), (NOT_ASKED, "not_asked")):
        assert table == {kind: Event(f"{kind}_{how}") for kind in Kind}
    assert {kind: Event(f"{kind}_reversed") for kind in (Kind.AUTHORIZATION, Kind.PURCHASE, Kind.INCREMENT)} == REVERSED
