"""Why issuers dispute: neutral reasons, and what the schemes call them.

One table, to be read beside the schemes' own lists (Visa 10.1-13.9, Mastercard 4808-4871, Amex and Discover letters).
"""
from __future__ import annotations

from enum import StrEnum

from ringfence.core.card import Brand


class Reason(StrEnum):
    """What the cardholder, or his issuer, says."""

    FRAUD_CARD_ABSENT = "fraud_card_absent"
    FRAUD_CARD_PRESENT = "fraud_card_present"
    AUTHORIZATION = "authorization"                     # missing, declined, or the card was listed
    LATE_PRESENTMENT = "late_presentment"
    PROCESSING_ERROR = "processing_error"               # wrong code, currency, account or amount
    DUPLICATE = "duplicate"
    PAID_BY_OTHER_MEANS = "paid_by_other_means"
    NOT_RECEIVED = "not_received"
    CANCELLED_RECURRING = "cancelled_recurring"
    NOT_AS_DESCRIBED = "not_as_described"
    COUNTERFEIT = "counterfeit"
    CREDIT_NOT_PROCESSED = "credit_not_processed"
    CANCELLED_GOODS = "cancelled_goods"
    GENERAL = "general"


#: reason -> what Visa, Mastercard, Amex and Discover call it.
CODES: dict[Reason, tuple[str, str, str, str]] = {
    Reason.FRAUD_CARD_ABSENT:    ("10.4", "4837", "F29", "UA02"),
    Reason.FRAUD_CARD_PRESENT:   ("10.3", "4870", "F24", "UA01"),
    Reason.AUTHORIZATION:        ("11.3", "4808", "A02", "AT"),
    Reason.LATE_PRESENTMENT:     ("12.1", "4834", "P07", "LP"),
    Reason.PROCESSING_ERROR:     ("12.5", "4834", "P05", "AA"),
    Reason.DUPLICATE:            ("12.6.1", "4834", "P08", "DP"),
    Reason.PAID_BY_OTHER_MEANS:  ("12.6.2", "4834", "C14", "PM"),
    Reason.NOT_RECEIVED:         ("13.1", "4853", "C08", "RG"),
    Reason.CANCELLED_RECURRING:  ("13.2", "4853", "C28", "AP"),
    Reason.NOT_AS_DESCRIBED:     ("13.3", "4853", "C31", "RM"),
    Reason.COUNTERFEIT:          ("13.4", "4853", "C31", "RM"),
    Reason.CREDIT_NOT_PROCESSED: ("13.6", "4853", "C02", "RN2"),
    Reason.CANCELLED_GOODS:      ("13.7", "4853", "C05", "CD"),
    Reason.GENERAL:              ("", "", "", ""),
}

_COLUMN = {Brand.MASTERCARD: 1, Brand.AMEX: 2, Brand.DISCOVER: 3, Brand.DINERS: 3}


def code_of(reason: Reason, brand: str) -> str:
    """What the scheme of a card calls a reason; Visa's name where the brand has no list of its own, nothing without a card."""
    return CODES[reason][_COLUMN.get(brand, 0)] if brand else ""        # type: ignore[call-overload]
