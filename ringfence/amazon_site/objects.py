"""Objects: what the site knows of sessions, permissions, charges and refunds.

Values; a row of the book each, column by column.  Amounts are minor units, instants Unix seconds of business time.  ``given`` is what the
merchant said, by its own names; ``due`` is when time changes the object next.
"""
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

DAY = 86_400


class Merchant(NamedTuple):
    """A merchant with an account here.  ``region``: na, eu or jp."""

    merchant_id: str
    name: str
    store_id: str
    region: str
    notify_urls: tuple[str, ...]


class Session(NamedTuple):
    """A checkout session.  ``buyer`` an e-mail, ``card`` the last digits, ``address`` a place in the buyer's book; ``approved``: by the buyer."""

    id: str
    merchant_id: str
    environment: str
    given: dict[str, Any]
    product: str
    language: str
    state: str
    reason: str
    buyer: str
    card: str
    address: int
    approved: bool
    permission: str
    charge: str
    created: int
    updated: int
    expires: int
    due: int | None

    def said(self, group: str, name: str) -> Any:
        """A field inside one of the session's objects; ``None`` where it was not given."""
        return self.given.get(group, {}).get(name)

    @property
    def intent(self) -> str:
        """What is to happen when the session is completed."""
        return self.said("paymentDetails", "paymentIntent") or ""

    @property
    def can_wait(self) -> bool:
        """Whether the merchant can handle an authorization that is decided later."""
        return bool(self.said("paymentDetails", "canHandlePendingAuthorization"))

    @property
    def type(self) -> str:
        """OneTime, Recurring or PaymentMethodOnFile."""
        return self.given.get("chargePermissionType", "OneTime")

    @property
    def is_process_order(self) -> bool:
        """Whether the buyer approves at once, without a review at the merchant's."""
        return self.said("webCheckoutDetails", "checkoutMode") == "ProcessOrder"


class Permission(NamedTuple):
    """A charge permission.  ``amount_limit``: in all, or for a recurring one in a calendar month (UTC)."""

    id: str
    merchant_id: str
    environment: str
    session: str
    type: str
    given: dict[str, Any]
    buyer: str
    card: str
    address: int
    currency: str
    amount_limit: int
    state: str
    reason: str
    created: int
    updated: int
    expires: int
    due: int | None


class Charge(NamedTuple):
    """A charge.  ``amount_captured``: also what a capture that is not decided yet asked for; ``ends_as``: the reason it will be declined with,
    "" where it will succeed."""

    id: str
    merchant_id: str
    environment: str
    permission: str
    given: dict[str, Any]
    currency: str
    amount: int
    amount_captured: int
    state: str
    reason: str
    ends_as: str
    created: int
    updated: int
    expires: int
    due: int | None

    @property
    def takes(self) -> int:
        """What it takes of its permission."""
        if self.state in ("AuthorizationInitiated", "Authorized"):
            return self.amount
        return self.amount_captured if self.state in ("CaptureInitiated", "Captured") else 0

    @property
    def is_open(self) -> bool:
        """Whether it can still come to a capture."""
        return self.state in ("AuthorizationInitiated", "Authorized", "CaptureInitiated")


class Refund(NamedTuple):
    """A refund.  ``ends_as``: the reason it will be declined with."""

    id: str
    merchant_id: str
    environment: str
    charge: str
    given: dict[str, Any]
    currency: str
    amount: int
    state: str
    reason: str
    ends_as: str
    created: int
    updated: int
    due: int | None


def months_later(at: int, months: int) -> int:
    """The same time so many months later, on the last day of a month that is shorter."""
    then = datetime.fromtimestamp(at, UTC)
    year, month = divmod(then.year * 12 + then.month - 1 + months, 12)
    for day in (then.day, 30, 29, 28):
        try:
            return int(then.replace(year=year, month=month + 1, day=day).timestamp())
        except ValueError:
            continue
    raise AssertionError("every month has 28 days")


def month_of(at: int) -> str:
    """The calendar month of an instant, UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m}"
