"""Amazon Pay's objects as values: what is read of an answer, and how a request is written.

A table of fields each way, to be read beside Amazon's pages.  What does not have the shape that it should is ``None``: nothing follows from it.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ringfence.core.currencies import CURRENCIES
from ringfence.core.money import format_decimal

_AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,4}))?", re.ASCII)
_EMAIL = re.compile(r"[^@\s\0]+@[^@\s\0]+")
LONGEST_EMAIL = 254
_ID = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)


class Price(NamedTuple):
    """Minor units of a currency."""

    minor: int
    currency: str


class Session(NamedTuple):
    """A checkout session.  ``price`` is what its payload was sealed with, ``None`` where it has none."""

    id: str
    state: str                      # Open, Completed, Canceled
    reason: str                     # BuyerCanceled, Declined, AmazonCanceled, Expired
    store_id: str
    intent: str                     # Confirm, Authorize, AuthorizeWithCapture
    price: Price | None
    reference: str                  # merchantReferenceId
    is_ready: bool                  # nothing is missing for it to be completed
    permission_id: str
    charge_id: str


class Charge(NamedTuple):
    """A charge: authorized, and perhaps captured."""

    id: str
    permission_id: str
    state: str                      # AuthorizationInitiated, Authorized, CaptureInitiated, Captured, Canceled, Declined
    reason: str
    price: Price
    captured: Price | None


class Refund(NamedTuple):
    """A refund of one charge."""

    id: str
    charge_id: str
    state: str                      # RefundInitiated, Refunded, Declined
    reason: str
    price: Price


class Permission(NamedTuple):
    """What a buyer agreed to."""

    id: str
    state: str                      # Chargeable, NonChargeable, Closed
    reasons: tuple[str, ...]
    kind: str                       # OneTime, Recurring, PaymentMethodOnFile
    balance: Price | None


def price(minor: int, currency: str) -> dict[str, str]:
    """An amount as it travels: decimal text."""
    return {"amount": format_decimal(minor, currency), "currencyCode": currency}


def price_of(value: object) -> Price | None:
    """An amount from the wire, exactly; ``None`` for what is none, or has more decimals than its currency."""
    if not isinstance(value, Mapping):
        return None
    amount, code = value.get("amount"), value.get("currencyCode")
    if not isinstance(amount, str) or not isinstance(code, str) or code not in CURRENCIES:
        return None
    match = _AMOUNT.fullmatch(amount)
    exponent = CURRENCIES[code].exponent
    decimals = (match[2] or "").rstrip("0") if match else ""
    if match is None or len(decimals) > exponent:
        return None
    return Price(int(match[1] + decimals.ljust(exponent, "0")), code)


def session_of(value: Mapping[str, Any]) -> Session | None:
    """A checkout session from the wire."""
    found, details = _text(value, "checkoutSessionId"), _inside(value, "paymentDetails")
    state = _text(_inside(value, "statusDetails"), "state")
    if not is_id(found) or state not in ("Open", "Completed", "Canceled"):
        return None
    return Session(
        found, state, _text(_inside(value, "statusDetails"), "reasonCode"), _text(value, "storeId"), _text(details, "paymentIntent"),
        price_of(details.get("chargeAmount")), _text(_inside(value, "merchantMetadata"), "merchantReferenceId"), not value.get("constraints"),
        _text(value, "chargePermissionId"), _text(value, "chargeId"))


def charge_of(value: Mapping[str, Any]) -> Charge | None:
    """A charge from the wire."""
    found, amount, status = _text(value, "chargeId"), price_of(value.get("chargeAmount")), _inside(value, "statusDetails")
    if not is_id(found) or amount is None or not _text(status, "state"):
        return None
    return Charge(
        found, _text(value, "chargePermissionId"), _text(status, "state"), _text(status, "reasonCode"), amount,
        price_of(value.get("captureAmount")))


def refund_of(value: Mapping[str, Any]) -> Refund | None:
    """A refund from the wire."""
    found, amount, status = _text(value, "refundId"), price_of(value.get("refundAmount")), _inside(value, "statusDetails")
    if not is_id(found) or amount is None or not _text(status, "state"):
        return None
    return Refund(found, _text(value, "chargeId"), _text(status, "state"), _text(status, "reasonCode"), amount)


def permission_of(value: Mapping[str, Any]) -> Permission | None:
    """A charge permission from the wire; its reasons are a list, unlike those of everything else."""
    found, status = _text(value, "chargePermissionId"), _inside(value, "statusDetails")
    state, reasons = _text(status, "state"), status.get("reasons")
    if not is_id(found) or state not in ("Chargeable", "NonChargeable", "Closed"):
        return None
    codes = tuple(_text(one, "reasonCode") for one in reasons if isinstance(one, Mapping)) if isinstance(reasons, list) else ()
    balance = price_of(_inside(value, "limits").get("amountBalance"))
    return Permission(found, state, codes, _text(value, "chargePermissionType"), balance)


def email_of(value: Mapping[str, Any]) -> str:
    """The e-mail address of the buyer of a session or a permission, "" where none is shown."""
    found = _text(_inside(value, "buyer"), "email")
    return found if len(found) <= LONGEST_EMAIL and _EMAIL.fullmatch(found) else ""


def is_id(text: str) -> bool:
    """Whether this can be the name of an object, and safely a part of a path."""
    return bool(_ID.fullmatch(text)) and not text.startswith(".")


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _inside(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}
