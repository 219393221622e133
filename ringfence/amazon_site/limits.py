"""Limits: how much may be charged and refunded, and how often.

Arithmetic on what the book has.  Source: Amazon Pay, charge permission, charge and refund; the monthly limit of a recurring permission is
Amazon's to set and not printed anywhere, so it is a number of our own.
"""
from __future__ import annotations

from ringfence.amazon_site.book import Change
from ringfence.amazon_site.objects import Charge, Permission, month_of

#: Region -> currencies of its ledger.
LEDGERS = {"na": ("USD",), "eu": ("EUR", "GBP"), "jp": ("JPY",)}
ALIASES = {"us": "na", "uk": "eu", "de": "eu"}
#: Region -> second and third character of a permission's identifier.
NUMBERS = {"na": "01", "eu": "02", "jp": "03"}

MOST_CHARGES = 25
"""On a one-time permission, declined ones not counted."""
MONTHLY = 2_000_000
"""What a recurring permission allows in a calendar month: 20,000.00, or so many yen."""


def most(currency: str) -> int:
    """The highest amount of one charge."""
    return 10_000_000 if currency == "JPY" else 150_000_00




def balance(change: Change, permission: Permission, now: int) -> int:
    """What may still be charged on a permission."""
    charges = change.charges_of(permission.id)
    if permission.type != "OneTime":
        charges = [one for one in charges if month_of(one.created) == month_of(now)]
    return permission.amount_limit - sum(one.takes for one in charges)


def count(change: Change, permission: Permission) -> int:
    """How many charges there are."""
    return sum(one.state != "Declined" for one in change.charges_of(permission.id))


def refunded(change: Change, charge: Charge, *, decided: bool = False) -> int:
    """What was given back of a charge; with ``decided`` only what has arrived."""
    states = ("Refunded",) if decided else ("Refunded", "RefundInitiated")
    return sum(one.amount for one in change.refunds_of(charge.id) if one.state in states)


def refundable(change: Change, charge: Charge) -> int:
    """What may still be given back: up to 15 % above the capture, at most 75.00 (8,400 yen) above it."""
    above = min(charge.amount_captured * 15 // 100, 8_400 if charge.currency == "JPY" else 75_00)
    return charge.amount_captured + above - refunded(change, charge)
