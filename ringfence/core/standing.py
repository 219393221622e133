"""Where a payment stands: its status, its amounts, and the values that ``decide`` takes and gives.

Values only.  What may become of them is decided in ``payment`` (commands and answers) and in ``facts`` (notices).
"""
from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from ringfence.core.allotment import Allotment, Captures, Parts, parts_of
from ringfence.core.commands import Kind, VoidReason
from ringfence.core.events import Event
from ringfence.core.ledger import Transfer
from ringfence.core.outcomes import Outcome


class Status(StrEnum):
    """Where a payment stands.  No command and no answer leaves VOIDED or DECLINED."""

    NEW = "new"                     # nothing asked yet
    CREATED = "created"             # the first operation is asked, its outcome is not known
    CHALLENGED = "challenged"       # the first operation waits for the payer
    AUTHORIZED = "authorized"
    CAPTURED = "captured"           # something was captured, the rest may still be open
    VOIDED = "voided"               # all was given back before anything was captured
    DECLINED = "declined"           # the first operation did not come about


class Payment(NamedTuple):
    """Amounts are minor units of ``currency``.

    *Posted*: what transfers say.  *Pending*: asked, and not finally answered (unknown included).
    """

    id: int
    currency: str
    status: Status = Status.NEW
    purchase: bool = False          # it began as a purchase: there is no hold to capture, change or void
    authorized: int = 0
    captured: int = 0
    voided: int = 0
    expired: int = 0
    unsecured: int = 0              # may still be captured by contract, but no hold stands behind it
    refunded: int = 0
    disputed: int = 0
    charged_back: int = 0
    pending_authorization: int = 0  # the first operation, purchase included
    pending_increment: int = 0
    pending_decrement: int = 0
    pending_capture: int = 0
    pending_void: int = 0
    pending_refund: int = 0
    unknown: int = 0                # how many operations are in doubt
    expires_at: datetime | None = None
    captures: Captures = ()

    @property
    def open(self) -> int:
        """Promised by the issuer, neither used nor given back."""
        return self.authorized - self.captured - self.voided - self.expired - self.unsecured

    @property
    def capturable(self) -> int:
        """What a further capture may take."""
        return self.open + self.unsecured - self.pending_capture - self.pending_void - self.pending_decrement

    @property
    def refundable(self) -> int:
        """What a further refund may return: what the captures can take, and never more than the payment as a whole can."""
        rest = self.captured - self.refunded - self.disputed - self.charged_back - self.pending_refund
        return max(0, min(rest, sum(capture.refundable for capture in self.captures)))

    @property
    def refundable_undisputed(self) -> int:
        """What a further refund could return, had no issuer taken anything: without disputes, open or lost."""
        captures = tuple(capture._replace(disputed=0, charged_back=0) for capture in self.captures)
        return self._replace(disputed=0, charged_back=0, captures=captures).refundable

    @property
    def hold_is_moving(self) -> bool:
        """Whether an operation that changes the hold as a whole is pending."""
        return bool(self.pending_increment or self.pending_decrement or self.pending_void)


class Operation(NamedTuple):
    """One thing asked of a payment, as it was accepted; what its answer is matched with.

    ``attempt`` grows when recovery takes it over; ``allotment`` says which captures a refund returns, and how much of each, as it was
    accepted.
    """

    id: int
    kind: Kind
    minor: int
    attempt: int = 1
    accepts_partial: bool = False
    reason: VoidReason = VoidReason.REQUESTED
    hold_seconds: int = 0
    allotment: Allotment = ()
    unknown: bool = False           # an earlier attempt ended in doubt, or the other side took it
    taken: bool = False             # refund: the other side has it, which the ledger says
    standing_parts: Parts = ()         # refund: its parts as they stand; empty: all of the allotment is asked for

    @property
    def parts(self) -> Parts:
        """The parts of a refund."""
        return self.standing_parts or parts_of(self.allotment)


class Answer(NamedTuple):
    """The outcome of one operation."""

    operation: Operation
    outcome: Outcome


class Decision(NamedTuple):
    """What shall be stored, all of it in one commit.

    ``operation`` is set for an accepted command: the processor shall be asked.  ``outcome`` is what an answer counts as: one
    that cannot be believed counts as ``Unknown``.  ``reverse``: the processor still owes us the undoing of what it approved (a
    partial approval nobody wants).
    """

    payment: Payment
    operation: Operation | None = None
    outcome: Outcome | None = None
    transfers: tuple[Transfer, ...] = ()
    events: tuple[Event, ...] = ()
    reverse: bool = False
    parts: Parts = ()               # of a refund: those that changed, and new ones
