"""Notices: facts from outside that nobody asked for.

A notice is never refused.  It posts the transfers of its kind once per outside identity (whoever stores it sees to
that), and where it breaks a limit it says so as an exception event.
"""
from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Noticed(StrEnum):
    """What was noticed, and what its amount means (minor units)."""

    HOLD_DROPPED = "hold_dropped"                   # the issuer or wallet no longer stands behind what is open, all of it
    HELD_AGAIN = "held_again"                       # this much of what no hold stood behind is held again
    CAPTURE_REJECTED = "capture_rejected"           # clearing refused the capture named, all of it
    REFUND_RETURNED = "refund_returned"             # a refund that was final came back; amount returned
    CHARGEBACK = "chargeback"                       # the issuer took this much of the capture named
    CHARGEBACK_RETURNED = "chargeback_returned"     # ... and gave this much back
    DISPUTE_LOST = "dispute_lost"                   # ... and keeps this much
    LATE_APPROVAL = "late_approval"                 # an approval after our reversal left
    DEBT_INCURRED = "debt_incurred"                 # goods of this much left a store unpaid
    DEBT_LOWERED = "debt_lowered"                   # ... and it was this much less: they had a lower price
    DEBT_RECOVERED = "debt_recovered"               # this much of it was paid later
    DEBT_REOPENED = "debt_reopened"                 # ... and was not, after all
    DEBT_FORGIVEN = "debt_forgiven"                 # this much of it is given up


#: What is said of a debt.  It stands in a book of its own, and moves nothing of the payment it is written down with.
DEBTS = frozenset({Noticed.DEBT_INCURRED, Noticed.DEBT_LOWERED, Noticed.DEBT_RECOVERED, Noticed.DEBT_REOPENED, Noticed.DEBT_FORGIVEN})


class Notice(NamedTuple):
    """``identity`` is the sender's own name for the fact; the same identity counts once."""

    noticed: Noticed
    identity: str
    minor: int = 0
    capture_id: int = 0             # the operation id of the capture concerned; 0: the payment as a whole
