"""Events: what happened, in the past tense.  The outbox and every webhook speak these names."""
from __future__ import annotations

from enum import StrEnum

from ringfence.core.commands import Kind


class Event(StrEnum):
    """One fact about a payment, numbered without a gap per payment by whoever stores it."""

    AUTHORIZATION_APPROVED = "authorization_approved"
    AUTHORIZATION_DECLINED = "authorization_declined"
    AUTHORIZATION_UNKNOWN = "authorization_unknown"
    AUTHORIZATION_REVERSED = "authorization_reversed"
    AUTHORIZATION_NOT_ASKED = "authorization_not_asked"
    AUTHORIZATION_CHALLENGED = "authorization_challenged"   # the payer must act; nobody was asked yet
    AUTHORIZATION_EXPIRED = "authorization_expired"
    PURCHASE_APPROVED = "purchase_approved"
    PURCHASE_DECLINED = "purchase_declined"
    PURCHASE_UNKNOWN = "purchase_unknown"
    PURCHASE_REVERSED = "purchase_reversed"
    PURCHASE_NOT_ASKED = "purchase_not_asked"
    PURCHASE_CHALLENGED = "purchase_challenged"
    INCREMENT_APPROVED = "increment_approved"
    INCREMENT_DECLINED = "increment_declined"
    INCREMENT_UNKNOWN = "increment_unknown"
    INCREMENT_REVERSED = "increment_reversed"
    INCREMENT_NOT_ASKED = "increment_not_asked"
    DECREMENT_APPROVED = "decrement_approved"
    DECREMENT_DECLINED = "decrement_declined"
    DECREMENT_UNKNOWN = "decrement_unknown"
    DECREMENT_NOT_ASKED = "decrement_not_asked"
    CAPTURE_APPROVED = "capture_approved"
    CAPTURE_DECLINED = "capture_declined"
    CAPTURE_UNKNOWN = "capture_unknown"
    CAPTURE_NOT_ASKED = "capture_not_asked"
    VOID_APPROVED = "void_approved"
    VOID_DECLINED = "void_declined"
    VOID_UNKNOWN = "void_unknown"
    VOID_NOT_ASKED = "void_not_asked"
    REFUND_APPROVED = "refund_approved"
    REFUND_DECLINED = "refund_declined"
    REFUND_UNKNOWN = "refund_unknown"
    REFUND_NOT_ASKED = "refund_not_asked"
    REFUND_TAKEN = "refund_taken"               # the processor has it, and it is not final yet

    # notices
    HOLD_DROPPED = "hold_dropped"
    HELD_AGAIN = "held_again"
    CAPTURE_REJECTED = "capture_rejected"
    REFUND_RETURNED = "refund_returned"
    CHARGEBACK_OPENED = "chargeback_opened"
    CHARGEBACK_RETURNED = "chargeback_returned"
    DISPUTE_LOST = "dispute_lost"
    LATE_APPROVAL = "late_approval"
    DEBT_INCURRED = "debt_incurred"
    DEBT_LOWERED = "debt_lowered"
    DEBT_RECOVERED = "debt_recovered"
    DEBT_REOPENED = "debt_reopened"
    DEBT_FORGIVEN = "debt_forgiven"

    # exceptions that a person should see
    OVER_RETURNED = "over_returned"             # more went back than was captured
    NOTICE_UNMATCHED = "notice_unmatched"       # a fact speaks of more than the books hold; the difference is not posted
    POSSIBLE_DUPLICATE = "possible_duplicate"


#: What the end of an operation is called.  Only what we may reverse can end by our reversal: a capture, a void and a
#: decrement are repeated until they are acknowledged, a refund is inquired about or repeated.
APPROVED = {kind: Event[f"{kind.name}_APPROVED"] for kind in Kind}
DECLINED = {kind: Event[f"{kind.name}_DECLINED"] for kind in Kind}
UNKNOWN = {kind: Event[f"{kind.name}_UNKNOWN"] for kind in Kind}
NOT_ASKED = {kind: Event[f"{kind.name}_NOT_ASKED"] for kind in Kind}
REVERSED = {kind: Event[f"{kind.name}_REVERSED"] for kind in (Kind.AUTHORIZATION, Kind.PURCHASE, Kind.INCREMENT)}
CHALLENGED = {kind: Event[f"{kind.name}_CHALLENGED"] for kind in (Kind.AUTHORIZATION, Kind.PURCHASE)}
