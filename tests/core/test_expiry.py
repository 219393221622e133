"""Expiry: the shortest of the merchant's, the door's and the scheme's promise."""
from __future__ import annotations

import pytest

from ringfence.core.card import Brand
from ringfence.core.commands import Initiation
from ringfence.core.expiry import DAY, DOOR_SECONDS, HOUR, SCHEME_DAYS, hold_seconds, scheme_days

CIT, MIT = Initiation.CARDHOLDER, Initiation.RECURRING


@pytest.mark.parametrize("brand", Brand)
def test_every_brand_has_a_validity(brand: Brand):
    """And an estimated amount never makes it shorter."""
    assert min(SCHEME_DAYS[brand]) > 0
    assert SCHEME_DAYS[brand].estimated >= SCHEME_DAYS[brand].merchant


@pytest.mark.parametrize(("brand", "initiation", "channel", "estimated", "days"), [
    (Brand.VISA, CIT, "ecommerce", False, 10), (Brand.VISA, CIT, "moto", False, 10), (Brand.VISA, CIT, "store", False, 5),
    (Brand.VISA, MIT, "ecommerce", False, 5), (Brand.VISA, CIT, "ecommerce", True, 30), (Brand.MASTERCARD, CIT, "ecommerce", False, 7),
    (Brand.AMEX, MIT, "ecommerce", False, 7), (Brand.DINERS, CIT, "store", False, 10), (Brand.UNIONPAY, CIT, "ecommerce", True, 30),
])
def test_the_scheme_says_how_long(brand: Brand, initiation: Initiation, channel: str, estimated: bool, days: int):
    """By brand, by who started it, by where the card was."""
    assert scheme_days(brand, initiation, channel, estimated=estimated) == days


@pytest.mark.parametrize(("merchant_days", "door", "brand", "initiation", "seconds"), [
    (7, "aps", Brand.VISA, CIT, 7 * DAY),
    (3, "aps", Brand.VISA, CIT, 3 * DAY),
    (30, "aps", Brand.VISA, MIT, 5 * DAY),
    (30, "aps", Brand.VISA, CIT, 7 * DAY),
    (30, "jwo", Brand.VISA, CIT, 46 * HOUR),
    (None, "amazon_pay", None, CIT, 30 * DAY),
    (None, None, Brand.VISA, CIT, 10 * DAY),
])
def test_the_earliest_rule_wins(merchant_days: int | None, door: str | None, brand: Brand | None, initiation: Initiation, seconds: int):
    """Whichever of the three it is."""
    rule = DOOR_SECONDS[door] if door else None
    assert hold_seconds(merchant_days=merchant_days, door_seconds=rule, brand=brand, initiation=initiation) == seconds


def test_a_trip_that_is_over_leaves_no_time():
    """The caller subtracts the trip's age; a hold is never negative."""
    assert hold_seconds(merchant_days=7, door_seconds=46 * HOUR - 50 * HOUR, brand=Brand.VISA) == 0


def test_a_hold_without_any_rule_is_not_made():
    """Something has to end it."""
    with pytest.raises(ValueError, match="needs"):
        hold_seconds(merchant_days=None, door_seconds=None, brand=None)
