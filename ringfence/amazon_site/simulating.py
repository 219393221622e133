"""Simulation: which answers can be asked for, by a header, by a card, or by an administrator.

Tables.  Source: Amazon Pay, sandbox simulations; the names for captures, refunds and charges that are decided later are our own, as its
documents leave them open.  An order from outside (``faults``) wins over the header, the header over the card.
"""
from __future__ import annotations

from typing import NamedTuple

from ringfence.amazon_site.problems import Problem

SECONDS = 30
"""After so long (business time) what was only initiated is decided."""


class Outcome(NamedTuple):
    """What a code means for a charge, capture or refund: declined at once, or decided later and then declined for ``ends_as`` ("": not)."""

    declined: str = ""
    later: bool = False
    ends_as: str = ""


GOOD = Outcome()

_DECLINED = ("SoftDeclined", "HardDeclined", "AmazonRejected", "TransactionTimedOut", "ProcessingFailure")

CHARGE = {code: Outcome(declined=code) for code in _DECLINED} | {
    "AuthorizationInitiated": Outcome(later=True),
} | {f"Pending{code}": Outcome(later=True, ends_as=code) for code in _DECLINED}

CAPTURE = {
    "AmazonRejected": Outcome(declined="AmazonRejected"), "ProcessingFailure": Outcome(declined="ProcessingFailure"),
    "CaptureInitiated": Outcome(later=True),
    "PendingAmazonRejected": Outcome(later=True, ends_as="AmazonRejected"),
    "PendingProcessingFailure": Outcome(later=True, ends_as="ProcessingFailure"),
}
REFUND = {
    "AmazonRejected": Outcome(later=True, ends_as="AmazonRejected"), "ProcessingFailure": Outcome(later=True, ends_as="ProcessingFailure"),
}

#: Operation -> the codes it takes.
CODES: dict[str, tuple[str, ...]] = {
    "completeCheckoutSession": ("BuyerCanceled", "AmazonCanceled", "Declined", "AuthorizationInitiated"),
    "finalizeCheckoutSession": ("BuyerCanceled", "AmazonCanceled", "Declined", "AuthorizationInitiated"),
    "createCharge": (*CHARGE, "CaptureInitiated"),
    "captureCharge": tuple(CAPTURE),
    "createRefund": tuple(REFUND),
    "closeChargePermission": ("AmazonClosed",),
}

#: Card -> why a session that its buyer approved ends Canceled.
CANCELS = {"3064": "BuyerCanceled", "3434": "Declined"}
#: Card -> how a charge that is decided later ends.
WAITS = {"0701": Outcome(later=True), "4354": Outcome(later=True, ends_as="HardDeclined")}


def check(operation: str, code: str) -> Problem | None:
    """Whether a code can be asked of an operation."""
    if not code or code in CODES.get(operation, ()):
        return None
    return Problem("InvalidSandboxSimulationSpecified", f"The simulation code {code[:64]} is not one of this operation.")
