"""The account of a trip: as a bookkeeper would read it, and by chance."""
from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.core.debt import Account, Decision, Refusal, closed, collected, forgiven, rejected, reported
from ringfence.core.notices import Noticed

INCURRED, LOWERED, RECOVERED, REOPENED, FORGIVEN = (
    Noticed.DEBT_INCURRED, Noticed.DEBT_LOWERED, Noticed.DEBT_RECOVERED, Noticed.DEBT_REOPENED, Noticed.DEBT_FORGIVEN)

DEBT = closed(Account(6410), 6410, 4400, 0).account


def test_what_was_not_captured_is_owed():
    decision = closed(Account(6410), 6410, 4400, 0)
    assert decision.bookings == ((INCURRED, 2010),) and decision.account.owed == 2010


def test_an_account_is_closed_once():
    """Whatever is said the second time."""
    assert closed(DEBT, 9999, 0, 0) == Decision(DEBT)


def test_a_cart_that_was_paid_owes_nothing():
    assert closed(Account(6410), 6410, 6410, 0) == Decision(Account(6410, 6410, is_closed=True))


@pytest.mark.parametrize(("told", "booked", "owed"), [
    ([("link", 2010)], [(RECOVERED, 2010)], 0),
    ([("link", 2010), ("report", 6410)], [(RECOVERED, 2010)], 0),                                   # the same money
    ([("report", 6410), ("link", 2010)], [(RECOVERED, 2010)], 0),
    ([("report", 5400), ("link", 500)], [(RECOVERED, 1000)], 1010),                                 # the higher counts
    ([("report", 5400), ("link", 1500)], [(RECOVERED, 1000), (RECOVERED, 500)], 510),
    ([("report", 6410), ("report", 4400)], [(RECOVERED, 2010), (REOPENED, 2010)], 2010),            # a report that goes down
    ([("link", 2010), ("report", 4400)], [(RECOVERED, 2010)], 0),                                   # what we hold, we hold
    ([("report", 0)], [], 2010),                                                                    # we did capture
    ([("link", 3000)], [(RECOVERED, 2010)], 0),
    ([("rejected", 4400)], [(INCURRED, 4400)], 6410),
    ([("report", 6410), ("rejected", 4400)], [(RECOVERED, 2010), (INCURRED, 4400)], 4400),          # the report believed our capture
    ([("rejected", 4400), ("report", 6410)], [(INCURRED, 4400), (RECOVERED, 6410)], 0),             # this one did not
    ([("rejected", 4400), ("link", 4400)], [(INCURRED, 4400), (RECOVERED, 4400)], 2010),
])
def test_what_is_learned_later(told: list[tuple[str, int]], booked: list[tuple[Noticed, int]], owed: int):
    """Hold 44.00 captured of 64.10."""
    account, written = DEBT, []
    for what, minor in told:
        match what:
            case "report":
                decision = reported(account, 6410, minor, account.captured - account.rejected)
            case "link":
                decision = collected(account, minor)
            case _:
                decision = rejected(account, minor)
        account = decision.account
        written += decision.bookings
    assert (written, account.owed) == (booked, owed)


def test_a_report_of_another_price_corrects_the_debt():
    """Lower and higher, but never below what was captured and forgiven."""
    lower = reported(DEBT, 5000, 4400, 4400)
    assert lower.bookings == ((LOWERED, 1410),) and lower.account.owed == 600
    assert reported(lower.account, 7000, 4400, 4400).bookings == ((INCURRED, 2000),)
    assert reported(DEBT, 4000, 4000, 4400).account.total == 4400
    mercy = forgiven(DEBT, 2000)
    assert isinstance(mercy, Decision) and reported(mercy.account, 4500, 4400, 4400).account.total == 6400


def test_a_lower_price_gives_a_recovery_back_before_it_lowers_the_debt():
    """So that the debt never falls below what was paid of it."""
    paid = collected(DEBT, 2010).account
    assert reported(paid, 5000, 4400, 4400).bookings == ((REOPENED, 1410), (LOWERED, 1410))


@pytest.mark.parametrize(("paid", "known", "captured", "owed"), [
    (0, 0, 0, 6410),                # written off
    (4400, 4400, 4400, 2010),       # reported behind the capture
    (4400, 0, 4400, 2010),          # reported before it
    (4400, 4400, 0, 6410),          # reported while it was on its way, which it never arrived
    (6410, 4400, 4400, 0),
])
def test_a_report_before_the_account_is_closed_waits_for_it(paid: int, known: int, captured: int, owed: int):
    """What the retailer says counts at the gate at once, and in the books when the trip's own payment has ended."""
    early = reported(Account(6410), 6410, paid, known)
    assert early.bookings == () and early.account.owed == 6410 - paid
    assert closed(early.account, 6410, captured, 0).account.owed == owed


@pytest.mark.parametrize(("account", "minor", "refusal"), [
    (Account(6410), None, Refusal.NOT_CLOSED), (collected(DEBT, 2010).account, None, Refusal.NOTHING_OWED),
    (DEBT, 2011, Refusal.TOO_MUCH), (DEBT, 0, Refusal.NOT_POSITIVE), (DEBT, -5, Refusal.NOT_POSITIVE),
])
def test_what_cannot_be_forgiven(account: Account, minor: int | None, refusal: Refusal):
    assert forgiven(account, minor) is refusal


def test_what_is_forgiven_is_not_recovered_as_well():
    """And money that comes all the same recovers only what is left."""
    mercy = forgiven(DEBT, 2000)
    assert isinstance(mercy, Decision) and mercy.bookings == ((FORGIVEN, 2000),)
    assert collected(mercy.account, 2010).bookings == ((RECOVERED, 10),)


TOLD = st.lists(st.tuples(st.sampled_from(["report", "link", "rejected", "forgive", "close", "price"]), st.integers(0, 12_000)), max_size=12)


@settings(max_examples=300)
@given(st.integers(0, 10_000), st.integers(0, 10_000), TOLD)
def test_whatever_is_told_the_books_agree(total: int, captured: int, told: list[tuple[str, int]]):
    """After every step: the price is what was captured and what is owed for, nothing is negative, and the ledger's sums are the account's."""
    account, sums = Account(total), Counter[Noticed]()
    taken = lost = 0
    for what, minor in [*told, ("close", 0)]:
        match what:
            case "report":
                decision = reported(account, account.total, min(minor, account.total), account.captured - account.rejected)
            case "price":
                decision = reported(account, minor, minor // 2, account.captured - account.rejected)
            case "link" if account.is_closed:
                taken += minor
                decision = collected(account, taken)
            case "rejected" if account.is_closed:
                lost = min(account.captured, lost + minor)
                decision = rejected(account, lost)
            case "forgive":
                mercy = forgiven(account, minor)
                decision = mercy if isinstance(mercy, Decision) else Decision(account)
            case "close":
                decision = closed(account, account.total, captured, 0)
            case _:
                continue
        account = decision.account
        for noticed, booked in decision.bookings:
            assert booked > 0
            sums[noticed] += booked
            owed = sums[INCURRED] - sums[LOWERED] - (sums[RECOVERED] - sums[REOPENED]) - sums[FORGIVEN]
            assert owed >= 0 and sums[RECOVERED] >= sums[REOPENED]
        assert account.owed >= 0
        if account.is_closed:
            assert account.total == account.captured - account.rejected + account.incurred
            assert account.recovered + account.forgiven == account.incurred or account.recovered == max(account.collected, account.reported)
    assert (sums[INCURRED] - sums[LOWERED], sums[RECOVERED] - sums[REOPENED], sums[FORGIVEN]) == (
        account.incurred, account.recovered, account.forgiven)
