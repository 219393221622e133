"""A trip's account: what its cart costs, what was captured of it, and what is owed.

One rule makes all of it: everything that is learned (a capture, its rejection by clearing, money that came later, the retailer's word, a
person's mercy) changes a number of the account, and ``settled`` says what must be written into the ledger so that it agrees again.  So
nothing counts twice: what we collected ourselves and what the retailer reports are the same debt, and the higher of both counts.

Pure.  Amounts are minor units of the trip's currency.  Refuses to know who pays, and how.
"""
from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from ringfence.core.notices import Noticed


class Account(NamedTuple):
    """All that a debt follows from.

    ``captured`` is what the trip's payment had captured when the account was closed, ``rejected`` what clearing did not let stand of it;
    ``incurred``, ``recovered`` and ``forgiven`` are in the ledger, or on their way there.
    """

    total: int                  # the price of the cart
    captured: int = 0
    rejected: int = 0
    collected: int = 0          # what we took for it since the account was closed
    reported: int = 0           # what the retailer says was paid beside what we captured
    incurred: int = 0
    recovered: int = 0
    forgiven: int = 0
    settled: int | None = None  # the retailer's latest report, of all that was paid; None: there was none
    known: int = 0              # what we had captured, or were about to, when that came
    is_closed: bool = False

    @property
    def owed(self) -> int:
        """What is still to be paid.  Before the account is closed that is what the retailer says."""
        if self.is_closed:
            return self.incurred - self.recovered - self.forgiven
        return 0 if self.settled is None else max(0, self.total - max(self.settled, self.captured - self.rejected))


Booking = tuple[Noticed, int]
"""What is to be written into the ledger, and of how much (minor units)."""


class Decision(NamedTuple):
    """The account as it stands then, and what is to be written."""

    account: Account
    bookings: tuple[Booking, ...] = ()


class Refusal(StrEnum):
    """Why nothing is done."""

    NOT_CLOSED = "not_closed"           # the trip's own payment has not ended yet
    NOTHING_OWED = "nothing_owed"
    TOO_MUCH = "too_much"               # more than is owed
    NOT_POSITIVE = "not_positive"


def closed(account: Account, total: int, captured: int, rejected: int) -> Decision:
    """The account when the trip's own payment has ended; ``captured`` and ``rejected`` are what its transfers say.  Once."""
    if account.is_closed:
        return Decision(account)
    beside = max(0, (account.settled or 0) - max(captured - rejected, account.known))
    return settled(account._replace(total=total, captured=captured, rejected=rejected, reported=beside, is_closed=True))


def reported(account: Account, total: int, paid: int, known: int) -> Decision:
    """The retailer says that of ``total`` all together ``paid`` was paid; we had captured ``known`` by then, or were about to."""
    account = account._replace(total=total, settled=paid, known=known, reported=max(0, paid - known) if account.is_closed else 0)
    return settled(account)


def collected(account: Account, minor: int) -> Decision:
    """We have taken ``minor`` since the account was closed, all together."""
    return settled(account._replace(collected=minor))


def rejected(account: Account, minor: int) -> Decision:
    """Clearing has not let ``minor`` stand, all together: that is owed as if it had never been captured."""
    return settled(account._replace(rejected=minor))


def forgiven(account: Account, minor: int | None) -> Decision | Refusal:
    """``minor`` is given up, or (``None``) all that is owed."""
    if not account.is_closed:
        return Refusal.NOT_CLOSED
    if not account.owed:
        return Refusal.NOTHING_OWED
    minor = account.owed if minor is None else minor
    if minor <= 0:
        return Refusal.NOT_POSITIVE
    if minor > account.owed:
        return Refusal.TOO_MUCH
    return Decision(account._replace(forgiven=account.forgiven + minor), ((Noticed.DEBT_FORGIVEN, minor),))


def settled(account: Account) -> Decision:
    """What must be written so that the ledger agrees with the account, in an order in which nothing falls below zero.

    A cart costs no less than what was captured for it and forgiven.  What was paid beyond a debt recovers no more than it.
    """
    if not account.is_closed:
        return Decision(account)
    net = account.captured - account.rejected
    total = max(account.total, net + account.forgiven)
    incurred = total - net
    recovered = min(max(account.collected, account.reported), incurred - account.forgiven)
    moved = (
        (Noticed.DEBT_INCURRED, incurred - account.incurred), (Noticed.DEBT_REOPENED, account.recovered - recovered),
        (Noticed.DEBT_LOWERED, account.incurred - incurred), (Noticed.DEBT_RECOVERED, recovered - account.recovered),
    )
    return Decision(
        account._replace(total=total, incurred=incurred, recovered=recovered), tuple((noticed, minor) for noticed, minor in moved if minor > 0))
