"""A trip: a shopper goes into a store with a card, takes things and leaves; what may be done about its payment, and until when.

Pure.  Decides nothing about money: a trip's payment is a payment like any other, and what is said here comes on top of its rules.
Source: Just Walk Out payments, states of a trip's payment and its life of 46 hours from the trip's start.
"""
from __future__ import annotations

from enum import StrEnum


class Said(StrEnum):
    """What Adjust tells the retailer."""

    APPROVED = "APPROVED"
    DECLINED = "DECLINED"
    PENDING = "PENDING"


class TripRefusal(StrEnum):
    """Why nothing is done about a trip."""

    UNKNOWN = "unknown"             # no such trip in that store, of that merchant, with a hold of ours
    EXPIRED = "expired"             # its life is over, and nothing can be charged any more
    STATE = "state"                 # not at this point of its payment
    AMOUNT = "amount"               # more than stands, or than is left
    CURRENCY = "currency"           # another one than the hold's
    CONTENT = "content"             # the same name for another request
    LATE = "late"                   # after the refund window
    UNAVAILABLE = "unavailable"     # not known yet, or could not be stored: the same request again will tell
