"""Money as this door writes it, which is in three ways (Just Walk Out payments, section 3):

    payments and feedback       {"amount": 15.99, "code": "USD"}                a number
    checkout                    {"amount": "15.99", "currencyCode": "USD"}      a text, at most two decimals
    shopper authorization       {"value": 20, "currencyCode": "USD"}            a number

A number is read by its value, as JSON has it: ``25.5``, ``25.50`` and ``25.500`` are one amount.  What is smaller than the currency's minor unit
is refused, never rounded; so are exponents, signs, and whatever is no number.  Refuses to know which currency is wanted.
"""
from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from ringfence.api.jwo.decoding import Number
from ringfence.core.commands import MAX_MINOR
from ringfence.core.money import CURRENCIES, format_decimal

NO_OBJECT = "must be an object"
NO_NUMBER = "must be a number, without exponent"
NO_TEXT = "must be a number in a text, with at most two decimals"
TOO_FINE = "has more decimals than the currency"
TOO_MUCH = "is too much"
NO_CURRENCY = "must be an ISO 4217 code of three capital letters"

_NUMBER = re.compile(r"(0|[1-9][0-9]{0,14})(?:\.([0-9]{1,20}))?", re.ASCII)
_TEXT = re.compile(r"(0|[1-9][0-9]{0,14})(?:\.([0-9]{1,2}))?", re.ASCII)
_ZERO = re.compile(r"-0(?:\.0{1,20})?", re.ASCII)


class Amount(NamedTuple):
    """``minor`` units of ``currency``."""

    minor: int
    currency: str


class BadAmount(NamedTuple):
    """Which member is wrong, and what with it."""

    member: str
    problem: str


def read_payment(value: Any, least: int = 1) -> Amount | BadAmount:
    """``{"amount": 15.99, "code": "USD"}`` of at least so many minor units."""
    return _read(value, "amount", "code", Number, least)


def read_checkout(value: Any, least: int = 0) -> Amount | BadAmount:
    """``{"amount": "15.99", "currencyCode": "USD"}`` of at least so many minor units."""
    return _read(value, "amount", "currencyCode", str, least)


def read_authorization(value: Any, least: int = 0) -> Amount | BadAmount:
    """``{"value": 20, "currencyCode": "USD"}`` of at least so many minor units."""
    return _read(value, "value", "currencyCode", Number, least)


def payment(minor: int, currency: str) -> dict[str, Any]:
    """``{"amount": 15.99, "code": "USD"}``, to be encoded by msgspec."""
    return {"amount": _number(minor, currency), "code": currency}


def checkout(minor: int, currency: str) -> dict[str, Any]:
    """``{"amount": "15.99", "currencyCode": "USD"}``, to be encoded by msgspec."""
    return {"amount": format_decimal(minor, currency), "currencyCode": currency}


def authorization(minor: int, currency: str) -> dict[str, Any]:
    """``{"value": 20.00, "currencyCode": "USD"}``, to be encoded by msgspec."""
    return {"value": _number(minor, currency), "currencyCode": currency}


def _number(minor: int, currency: str) -> msgspec.Raw:
    return msgspec.Raw(format_decimal(minor, currency).encode())


def _read(value: Any, amount: str, code: str, form: type[str], least: int) -> Amount | BadAmount:
    if type(value) is not dict:
        return BadAmount("", NO_OBJECT)
    currency, written = value.get(code), value.get(amount)
    if type(currency) is not str or currency not in CURRENCIES:
        return BadAmount(code, NO_CURRENCY)
    minor = _minor(written, currency) if form is Number else _minor_of_text(written, currency)
    if isinstance(minor, str):
        return BadAmount(amount, minor)
    if minor < least:
        return BadAmount(amount, "must be more than zero" if least else "must not be negative")
    return Amount(minor, currency) if minor <= MAX_MINOR else BadAmount(amount, TOO_MUCH)


def _minor(written: Any, currency: str) -> int | str:
    if type(written) is not Number:
        return NO_NUMBER
    if _ZERO.fullmatch(written):
        return 0
    return _scaled(_NUMBER.fullmatch(written), currency, NO_NUMBER)


def _minor_of_text(written: Any, currency: str) -> int | str:
    if type(written) is not str:
        return NO_TEXT
    return _scaled(_TEXT.fullmatch(written), currency, NO_TEXT)


def _scaled(match: re.Match[str] | None, currency: str, otherwise: str) -> int | str:
    if match is None:
        return otherwise
    whole, decimals = match[1], (match[2] or "").rstrip("0")
    exponent = CURRENCIES[currency].exponent
    if len(decimals) > exponent:
        return TOO_FINE
    return int(whole + decimals.ljust(exponent, "0"))
