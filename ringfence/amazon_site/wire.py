"""The wire: which fields each request has, and what may stand in them.

Tables, to be read beside Amazon's own pages.  A field that is not in the table is refused, ``null`` is the same as a field that is not there.
Decides the shape of a request; whether it is possible belongs to the operations.  Money is read from decimal text into minor units.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from ringfence.amazon_site.problems import Problem
from ringfence.core.currencies import CURRENCIES
from ringfence.core.money import format_decimal

Rule = Callable[[Any, str], Problem | None]

_AMOUNT = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,4}))?", re.ASCII)
_URL = re.compile(r"https?://[^\s\"<>\\^`{|}]{1,2000}", re.ASCII)


class Field(NamedTuple):
    """One field of a request."""

    rule: Rule
    is_needed: bool = False


class Price(NamedTuple):
    """An amount: minor units, and the code of their currency."""

    minor: int
    currency: str


Fields = Mapping[str, Field]


def read_price(price: Mapping[str, str]) -> Price:
    """A price that the wire let pass."""
    match = _AMOUNT.fullmatch(price["amount"])
    assert match is not None, "it was checked at the edge"
    exponent = CURRENCIES[price["currencyCode"]].exponent
    return Price(int(match[1] + (match[2] or "").rstrip("0").ljust(exponent, "0")), price["currencyCode"])


def write_price(minor: int, currency: str) -> dict[str, str]:
    """A price as it travels: decimal text."""
    return {"amount": format_decimal(minor, currency), "currencyCode": currency}


# ------------------------------------------------------------------------------------------------------ rules

def text(at_most: int) -> Rule:
    """A text of so many characters."""
    def check(value: Any, where: str) -> Problem | None:
        return None if isinstance(value, str) and len(value) <= at_most else _wrong(where, f"must be a text of at most {at_most} characters")

    return check


def one_of(*words: str) -> Rule:
    """One of these words."""
    def check(value: Any, where: str) -> Problem | None:
        return None if isinstance(value, str) and value in words else _wrong(where, f"must be one of {', '.join(words)}")

    return check


def flag(value: Any, where: str) -> Problem | None:
    """True or false."""
    return None if isinstance(value, bool) else _wrong(where, "must be true or false")


def anything(value: Any, where: str) -> Problem | None:
    """What this site keeps and does not look at."""
    return None


def url(value: Any, where: str) -> Problem | None:
    """An address that a browser can be sent to."""
    return None if isinstance(value, str) and _URL.fullmatch(value) else _wrong(where, "must be an http or https URL")


def words_of(*words: str) -> Rule:
    """A list of these words."""
    def check(value: Any, where: str) -> Problem | None:
        fits = isinstance(value, list) and all(isinstance(one, str) and one in words for one in value)
        return None if fits else _wrong(where, f"must be a list of {', '.join(words)}")

    return check


def shape(fields: Fields) -> Rule:
    """An object of these fields."""
    def check(value: Any, where: str) -> Problem | None:
        return check_fields(value, fields, where)

    return check


def price(value: Any, where: str) -> Problem | None:
    """An amount above zero with its currency, as decimal text."""
    if problem := check_fields(value, _PRICE, where):
        return problem
    currency = CURRENCIES.get(value["currencyCode"])
    if currency is None:
        return _wrong(f"{where}.currencyCode", "must be an ISO 4217 code")
    match = _AMOUNT.fullmatch(value["amount"])
    if match is None or len((match[2] or "").rstrip("0")) > currency.exponent:
        return _wrong(f"{where}.amount", f"must be a decimal number with at most {currency.exponent} decimals, as text")
    return None if read_price(value).minor else _wrong(f"{where}.amount", "must be above zero")


def check_fields(value: Any, fields: Fields, where: str = "") -> Problem | None:
    """The first thing that is wrong with an object; ``None`` for nothing."""
    if not isinstance(value, dict):
        return _wrong(where, "must be an object") if where else Problem("InvalidRequestFormat", "The body must be a JSON object.")
    prefix = f"{where}." if where else ""
    for name in value:
        if name not in fields:
            return Problem("UnrecognizedField", f"The field {prefix}{name[:64]} is not recognized.")
    for name, field in fields.items():
        given = value.get(name)
        if given is None:
            if field.is_needed:
                return Problem("MissingParameterValue", f"The field {prefix}{name} is missing.")
        elif problem := field.rule(given, prefix + name):
            return problem
    return None


def _wrong(where: str, problem: str) -> Problem:
    return Problem("InvalidParameterValue", f"The field {where} {problem}.")


def read_body(body: bytes, fields: Fields) -> dict[str, Any] | Problem:
    """The object of a body, without its nulls."""
    try:
        value = msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Problem("InvalidRequestFormat", "The body is not JSON.")
    return check_fields(value, fields) or without_nulls(value)


def without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    """The same object; what is null in it, or in an object of it, is not there."""
    return {name: without_nulls(one) if isinstance(one, dict) else one for name, one in value.items() if one is not None}


# ------------------------------------------------------------------------------------------------------ tables

_PRICE = {"amount": Field(text(16), True), "currencyCode": Field(text(3), True)}
_NEEDED_PRICE, _SOME_PRICE = Field(price, True), Field(price)
_CURRENCY = one_of(*CURRENCIES)

METADATA = Field(shape({
    "merchantReferenceId": Field(text(256)), "merchantStoreName": Field(text(50)), "noteToBuyer": Field(text(255)),
    "customInformation": Field(text(4096))}))
PROVIDER = Field(shape({"providerReferenceId": Field(text(256))}))
RECURRING = Field(shape({
    "frequency": Field(shape({"unit": Field(one_of("Year", "Month", "Week", "Day", "Variable"), True), "value": Field(text(3), True)})),
    "amount": _SOME_PRICE}))
ADDRESS = Field(shape({name: Field(text(255)) for name in (
    "name", "addressLine1", "addressLine2", "addressLine3", "city", "county", "district", "stateOrRegion", "postalCode", "countryCode",
    "phoneNumber")}))
DESCRIPTOR = Field(text(16))
PLATFORM = Field(text(64))

PAYMENT_DETAILS = Field(shape({
    "paymentIntent": Field(one_of("Confirm", "Authorize", "AuthorizeWithCapture")), "canHandlePendingAuthorization": Field(flag),
    "chargeAmount": _SOME_PRICE, "totalOrderAmount": _SOME_PRICE, "presentmentCurrency": Field(_CURRENCY), "allowOvercharge": Field(flag),
    "extendExpiration": Field(flag), "softDescriptor": DESCRIPTOR, "estimateOrderTotal": _SOME_PRICE}))
WEB_CHECKOUT = Field(shape({
    "checkoutReviewReturnUrl": Field(url), "checkoutResultReturnUrl": Field(url), "checkoutCancelUrl": Field(url),
    "checkoutMode": Field(one_of("ProcessOrder"))}))
SCOPES = ("name", "email", "postalCode", "shippingAddress", "phoneNumber", "primeStatus", "billingAddress")

CHANGE_SESSION: Fields = {
    "webCheckoutDetails": WEB_CHECKOUT, "paymentDetails": PAYMENT_DETAILS, "merchantMetadata": METADATA, "recurringMetadata": RECURRING,
    "chargePermissionType": Field(one_of("OneTime", "Recurring", "PaymentMethodOnFile")), "supplementaryData": Field(text(4096)),
    "platformId": PLATFORM, "providerMetadata": PROVIDER,
}
CREATE_SESSION: Fields = {
    **CHANGE_SESSION, "webCheckoutDetails": WEB_CHECKOUT._replace(is_needed=True), "storeId": Field(text(255), True),
    "scopes": Field(words_of(*SCOPES)), "deliverySpecifications": Field(anything), "addressDetails": ADDRESS,
    "paymentMethodOnFileMetadata": Field(anything),
}
SIGN_IN: Fields = {
    "signInReturnUrl": Field(url, True), "signInCancelUrl": Field(url), "storeId": Field(text(255), True),
    "signInScopes": Field(words_of(*SCOPES)),
}
COMPLETE: Fields = {"chargeAmount": _NEEDED_PRICE, "totalOrderAmount": _SOME_PRICE}
FINALIZE: Fields = {
    "chargeAmount": _NEEDED_PRICE, "totalOrderAmount": _SOME_PRICE, "paymentIntent": Field(one_of("Confirm", "Authorize", "AuthorizeWithCapture")),
    "canHandlePendingAuthorization": Field(flag), "supplementaryData": Field(text(4096)), "shippingAddress": ADDRESS, "billingAddress": ADDRESS,
}
CHANGE_PERMISSION: Fields = {"merchantMetadata": METADATA, "recurringMetadata": RECURRING}
CLOSE: Fields = {"closureReason": Field(text(255), True), "cancelPendingCharges": Field(flag)}
CREATE_CHARGE: Fields = {
    "chargePermissionId": Field(text(64), True), "chargeAmount": _NEEDED_PRICE, "captureNow": Field(flag),
    "canHandlePendingAuthorization": Field(flag), "softDescriptor": DESCRIPTOR, "merchantMetadata": METADATA, "platformId": PLATFORM,
    "providerMetadata": PROVIDER, "chargeInitiator": Field(one_of("CITU", "MITU", "CITR", "MITR")),
    "channel": Field(one_of("Web", "Phone", "App", "Alexa", "PointOfSale", "FireTv", "Offline", "Amazon")), "webCheckoutDetails": WEB_CHECKOUT,
}
CAPTURE: Fields = {"captureAmount": _NEEDED_PRICE, "softDescriptor": DESCRIPTOR}
CANCEL: Fields = {"cancellationReason": Field(text(255), True)}
REFUND: Fields = {"chargeId": Field(text(64), True), "refundAmount": _NEEDED_PRICE, "softDescriptor": DESCRIPTOR}
NOTHING: Fields = {}
