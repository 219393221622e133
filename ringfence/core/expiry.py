"""How long a hold may be used: the shortest of three promises.

The merchant's own period, the scheme's validity and the door's rule each give a number of seconds from the approval; the earliest
wins.  The tables are defaults: schemes change them every April and October, and every caller may pass its own.  Refuses to know clocks.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ringfence.core.card import Brand
from ringfence.core.commands import Initiation

HOUR = 3600
DAY = 24 * HOUR


class Validity(NamedTuple):
    """Calendar days an authorization of one scheme is good for, by how it was made."""

    card_absent: int                # cardholder-initiated: page, application, mail, telephone
    card_present: int               # cardholder-initiated: in the store
    merchant: int                   # merchant-initiated
    estimated: int                  # pre-authorization of an amount not yet known (lodging, rental)


#: Scheme validity in days.  Where a scheme's figure is a range or not published, the shorter one stands here.
SCHEME_DAYS: Mapping[Brand, Validity] = {
    Brand.VISA:       Validity(10, 5, 5, 30),
    Brand.MASTERCARD: Validity(7, 7, 7, 30),
    Brand.MAESTRO:    Validity(7, 7, 7, 30),
    Brand.AMEX:       Validity(7, 7, 7, 30),
    Brand.DISCOVER:   Validity(10, 10, 10, 30),
    Brand.DINERS:     Validity(10, 10, 10, 30),
    Brand.JCB:        Validity(7, 7, 7, 7),
    Brand.UNIONPAY:   Validity(7, 7, 7, 30),
    Brand.MADA:       Validity(7, 7, 7, 7),
    Brand.MEEZA:      Validity(7, 7, 7, 7),
}

#: What each door promises, in seconds.  "jwo" counts from the trip's start, which the caller subtracts; "ppro" has only the
#: scheme's rule.
DOOR_SECONDS: Mapping[str, int] = {"aps": 7 * DAY, "jwo": 46 * HOUR, "amazon_pay": 30 * DAY}


def scheme_days(
    brand: Brand, initiation: Initiation, channel: str = "ecommerce", *, estimated: bool = False,
    table: Mapping[Brand, Validity] = SCHEME_DAYS,
) -> int:
    """Calendar days an authorization stays good at the scheme.  ``channel`` is ``ecommerce``, ``moto`` or ``store``."""
    validity = table[brand]
    if estimated:
        return validity.estimated
    if initiation is not Initiation.CARDHOLDER:
        return validity.merchant
    return validity.card_present if channel == "store" else validity.card_absent


def hold_seconds(
    *, merchant_days: int | None, door_seconds: int | None, brand: Brand | None, initiation: Initiation = Initiation.CARDHOLDER,
    channel: str = "ecommerce", estimated: bool = False, table: Mapping[Brand, Validity] = SCHEME_DAYS,
) -> int:
    """Seconds from the approval until the hold is given back: the earliest of the merchant's period, the door's rule (see ``DOOR_SECONDS``)
    and the scheme's validity.  ``None`` means no such rule: a wallet has no brand.

    Raises ``ValueError`` where there is no rule at all: a hold that never ends is not made.
    """
    rules = [
        seconds for seconds in (
            None if merchant_days is None else merchant_days * DAY,
            door_seconds,
            None if brand is None else scheme_days(brand, initiation, channel, estimated=estimated, table=table) * DAY,
        ) if seconds is not None
    ]
    if not rules:
        raise ValueError("a hold needs a merchant's period, a door's rule or a scheme")
    return max(0, min(rules))
