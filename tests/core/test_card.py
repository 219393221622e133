"""Cards: numbers, brands, masks and dates."""
from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.card import (
    RULES,
    Brand,
    Pan,
    SecurityCode,
    brand_of,
    check_digit,
    expiry_passed,
    luhn_valid,
    plausible_expiry,
    security_code_length,
    unlike_a_card,
    valid_length,
)

NUMBER = "4005550000000001"

BRANDS = [
    ("4005550000000001", Brand.VISA), ("5123450000000008", Brand.MASTERCARD), ("2223000000000007", Brand.MASTERCARD),
    ("2221000000000009", Brand.MASTERCARD), ("2720990000000007", Brand.MASTERCARD), ("2220990000000007", None),
    ("2721000000000004", None), ("345678901234564", Brand.AMEX), ("370000990000004", Brand.AMEX), ("6011009900000006", Brand.DISCOVER),
    ("6440000000000000", Brand.DISCOVER), ("6500000000000000", Brand.DISCOVER), ("6221260000000000", Brand.DISCOVER),
    ("6221250000000000", Brand.UNIONPAY), ("6229250000000000", Brand.DISCOVER), ("6229260000000000", Brand.UNIONPAY),
    ("6200009900000007", Brand.UNIONPAY), ("8100000000000000", Brand.UNIONPAY), ("36000099000000", Brand.DINERS),
    ("30950000000000", Brand.DINERS), ("30600000000000", None), ("3528000000000000", Brand.JCB), ("3589000000000000", Brand.JCB),
    ("3590000000000000", None), ("6759009900000002", Brand.MAESTRO), ("6304000000000000", Brand.MAESTRO), ("5000000000000000", Brand.MAESTRO),
    ("4464040000000007", Brand.MADA), ("5297412542005689", Brand.MADA), ("9682050000000000", Brand.MADA), ("5888480000000000", Brand.MADA),
    ("5078036246600381", Brand.MEEZA), ("5078090000000000", Brand.MEEZA), ("9818950527886700002", Brand.MEEZA),
    ("0000000001", None), ("", None), ("9999999999999999", None),
]


def test_a_number_that_is_trusted_is_one_like_any_other():
    """Equal, hashed alike, and masked."""
    trusted = Pan.trusted(NUMBER)
    assert trusted == Pan(NUMBER)
    assert hash(trusted) == hash(Pan(NUMBER))
    assert f"{trusted} {trusted!r}" == "400555******0001 400555******0001"


@pytest.mark.parametrize(("digits", "brand"), BRANDS)
def test_the_first_digits_name_the_brand(digits: str, brand: Brand | None):
    """mada and Meeza are found inside the other schemes' ranges; elsewhere the longest prefix wins."""
    assert brand_of(digits) is brand
    assert brand_of(digits[:6]) is brand


@pytest.mark.parametrize("brand", Brand)
def test_every_brand_has_a_rule(brand: Brand):
    """No brand without prefixes, lengths and a security code."""
    assert RULES[brand].prefixes
    assert RULES[brand].lengths
    assert security_code_length(brand) == (4 if brand is Brand.AMEX else 3)


@pytest.mark.parametrize(("brand", "length", "valid"), [
    (Brand.VISA, 16, True), (Brand.VISA, 13, True), (Brand.VISA, 15, False), (Brand.AMEX, 15, True), (Brand.AMEX, 16, False),
    (Brand.MEEZA, 19, True), (Brand.MADA, 16, True), (Brand.MADA, 19, False), (Brand.DINERS, 14, True), (Brand.DINERS, 15, False),
    (Brand.MAESTRO, 12, True), (Brand.MASTERCARD, 19, False),
])
def test_a_number_has_the_length_of_its_brand(brand: Brand, length: int, valid: bool):
    """Visa 13, 16 or 19; American Express 15; and so on."""
    assert valid_length(brand, "4" * length) is valid


def test_only_one_check_digit_fits():
    """The check digit of a published test number, and nothing else, is right."""
    assert [d for d in "0123456789" if luhn_valid(NUMBER[:-1] + d)] == ["1"]
    for text in ("", "4005 5500 0000 0001", "abc", "4005550000000001\n"):
        assert not luhn_valid(text)


@given(st.text("0123456789", min_size=11, max_size=18), st.data())
def test_any_single_wrong_digit_breaks_the_check(body: str, data: st.DataObject):
    """ISO/IEC 7812-1 annex B: every single substitution is found."""
    good = body + check_digit(body)
    assert luhn_valid(good)
    at = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != good[at]]))
    assert not luhn_valid(good[:at] + other + good[at + 1:])


def test_an_id_that_could_be_a_card_number_is_passed_over():
    """The first that fails Luhn is taken, and nothing else is changed about the order."""
    ids = iter([int(NUMBER), 4111111111111111, 4111111111111112, 4111111111111113])
    assert unlike_a_card(lambda: next(ids)) == 4111111111111112 and next(ids) == 4111111111111113


def _seen(secret: object) -> list[str]:
    return [
        repr(secret), str(secret), f"{secret}", f"{secret!r}", f"{secret:>40}", "%s %r" % (secret, secret), "{}".format(secret),  # noqa: UP031, UP032
        repr([secret]), repr({"card": secret}), json.dumps({"card": secret}, default=str), repr((secret, copy.deepcopy(secret))),
        msgspec.json.encode({"card": secret}, enc_hook=str).decode(), repr(vars(type(secret)).keys()),
    ]


@pytest.mark.parametrize(("secret", "digits", "mask"), [
    (Pan(NUMBER), NUMBER, "400555******0001"), (Pan("345678901234564"), "345678901234564", "345678******4564"),
    (Pan("9818950527886700002"), "9818950527886700002", "981895******0002"), (SecurityCode("350"), "350", "***"),
    (SecurityCode("1234"), "1234", "***"),
])
def test_secrets_mask_themselves_however_they_are_printed(secret: Pan | SecurityCode, digits: str, mask: str):
    """Formatting, containers, JSON and copies show the mask; only ``reveal`` gives the digits."""
    assert str(secret) == mask
    assert secret.reveal() == digits
    for text in _seen(secret):
        assert digits not in text


@pytest.mark.parametrize("secret", [Pan(NUMBER), SecurityCode("123")])
def test_secrets_are_not_serialised_by_accident(secret: object):
    """Pickle, plain JSON and msgspec refuse them."""
    for encode in (pickle.dumps, json.dumps, msgspec.json.encode, msgspec.to_builtins):
        with pytest.raises(TypeError) as caught:
            encode(secret)
        assert NUMBER not in str(caught.value)
    with pytest.raises(TypeError):
        vars(secret)


@pytest.mark.parametrize("digits", ["", "4005", "4" * 11, "4" * 20, "4005 5500 0000 0001", "400555000000000x", "٤٠٠٥٥٥٠٠٠٠٠٠٠٠٠١"])
def test_what_is_no_card_number_is_refused_without_showing_it(digits: str):
    """The exception says what a number looks like, not what came."""
    with pytest.raises(ValueError, match="12 to 19 digits") as caught:
        Pan(digits)
    assert not digits or digits not in str(caught.value)


@pytest.mark.parametrize("digits", ["", "12", "12345", "12a", "١٢٣"])
def test_what_is_no_security_code_is_refused(digits: str):
    """Three or four ASCII digits."""
    with pytest.raises(ValueError, match="3 or 4 digits"):
        SecurityCode(digits)


def test_a_number_is_equal_by_its_digits_and_knows_its_ends():
    """Equality, hash, last four, and the prefix: eight digits of a 19-digit Meeza number, six of every other."""
    assert Pan(NUMBER) == Pan(NUMBER) != Pan("4111111111111111")
    assert len({Pan(NUMBER), Pan(NUMBER)}) == 1
    assert (Pan(NUMBER).bin, Pan(NUMBER).last4, Pan(NUMBER).brand) == ("400555", "0001", Brand.VISA)
    assert Pan("9818950527886700002").bin == "98189505"
    assert Pan("5078036246600381").bin == "507803"


@pytest.mark.parametrize(("yymm", "now", "passed"), [
    ("2611", datetime(2026, 11, 30, 23, 59, tzinfo=UTC), False),
    ("2611", datetime(2026, 12, 1, 23, 59, tzinfo=UTC), False),     # still the 30th somewhere, and a day of slack
    ("2611", datetime(2026, 12, 2, 0, 0, tzinfo=UTC), True),
    ("2612", datetime(2027, 1, 1, 12, 0, tzinfo=UTC), False),
    ("2612", datetime(2027, 1, 2, 0, 0, tzinfo=UTC), True),
    ("2105", datetime(2026, 11, 21, tzinfo=UTC), True),
    ("3912", datetime(2026, 11, 21, tzinfo=UTC), False),
])
def test_a_card_is_good_through_the_last_day_of_its_month(yymm: str, now: datetime, passed: bool):
    """In the issuer's zone, which is not known: one day of slack."""
    assert expiry_passed(yymm, now) is passed


@pytest.mark.parametrize(("yymm", "plausible"), [
    ("2611", True), ("2105", True), ("4612", True), ("4701", False), ("2613", False), ("2600", False), ("261", False), ("26111", False),
    ("26 1", False), ("٢٦١١", False), ("", False), ("2611\n", False),
])
def test_an_expiry_is_a_month_within_twenty_years(yymm: str, plausible: bool):
    """Month 01 to 12, at most twenty years ahead; the past is plausible, if of no use."""
    assert plausible_expiry(yymm, datetime(2026, 11, 21, tzinfo=UTC)) is plausible
