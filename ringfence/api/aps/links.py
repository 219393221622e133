"""PAYMENT_LINK and CHECK_PAYMENT_LINK_STATUS, and the payment that a link asks its payer for, in the words of this door."""
from __future__ import annotations

from datetime import UTC, datetime

from ringfence.api.aps import codes
from ringfence.api.aps.door import DOOR, Account, Reply, Service
from ringfence.api.aps.ladder import ApsRequest
from ringfence.api.aps.services import ZONE
from ringfence.core.ids import LARGEST
from ringfence.core.link import State
from ringfence.engine import links
from ringfence.engine.directory import Merchant
from ringfence.engine.links import Link, Order, Refused, Terms, Why

#: Messages of refusals; five digits where the request itself is at fault.
LINK_CODES: dict[Why, str] = {
    Why.SOMEONE_IS_PAYING: "150",
    Why.PAID: "125",
    Why.EXPIRED: "115",
    Why.CANCELLED: "117",
    Why.NOT_FOUND: "149",
    Why.REFERENCE_USED: "066",
    Why.REFERENCE_DIFFERS: "126",
    Why.AMOUNT: "00005",
    Why.PAST: "122",
    Why.TOO_FAR: "122",
    Why.MEDIUM_OFF: "116",
    Why.NO_RECIPIENT: "00001",
    Why.TOO_MANY_MESSAGES: "123",
    Why.TOO_MANY_TRIES: "123",
    Why.TERMS_MISSING: "120",
    Why.RETURN_URL: "00040",
    Why.PAYMENT_OPTION: "00003",
}

#: ``payment_link_status``.  Only ``Paid`` is known of the real service.
STATES: dict[State, str] = {
    State.OPEN: "Open", State.OPENED: "Opened", State.PAID: "Paid", State.EXPIRED: "Expired", State.CANCELLED: "Cancelled",
}


async def payment_link(service: Service, account: Account, request: ApsRequest) -> Reply:
    """PAYMENT_LINK: make a link or, with ``payment_link_id``, change that one and send it again."""
    assert service.links is not None
    merchant, order = account.merchant, order_of(account, request)
    if (named := request.given.get("payment_link_id")) is None:
        made = await links.create(service.links, merchant, order)
    else:
        made = await links.change(service.links, merchant, min(int(named), LARGEST), order)
    if isinstance(made, Refused):
        return refused(request, made)
    return Reply(request.operation.success, {"payment_link_id": str(made.link_id), "payment_link": made.url})


def order_of(account: Account, request: ApsRequest) -> Order:
    """What a PAYMENT_LINK asks for."""
    given = request.given
    assert request.amount is not None
    terms = Terms(
        given.get("link_command", "PURCHASE"), request.amount, request.currency, request.language, account.credential.access_code,
        given["customer_email"], given.get("customer_phone", ""), given.get("customer_name", ""), given.get("order_description", ""),
        given.get("payment_option", ""), given.get("return_url", ""), media_of(given["notification_type"]),
        datetime.fromisoformat(given["request_expiry_date"]).astimezone(UTC),
    )
    return Order(request.reference, terms, account.actor)


async def check_payment_link(service: Service, account: Account, request: ApsRequest) -> Reply:
    """CHECK_PAYMENT_LINK_STATUS: how a link stands, by its number, its order's reference, or both."""
    assert service.links is not None
    number = request.given.get("payment_link_id")
    if number is not None:
        link = await links.by_number(service.links, account.merchant.merchant_id, min(int(number), LARGEST))
    else:
        link = await links.by_reference(service.links, account.merchant, request.reference)
    if link is None or request.reference not in ("", link.reference):
        return refused(request, Refused(Why.NOT_FOUND))
    return Reply(request.operation.success, {
        "payment_link_id": str(link.link_id), "merchant_reference": link.reference, "payment_link": link.url,
        "payment_link_status": STATES[link.state], "amount": str(link.terms.minor), "currency": link.terms.currency,
        "request_expiry_date": link.terms.expires_at.astimezone(ZONE).isoformat(timespec="seconds"),
    })


def media_of(notification_type: str) -> tuple[str, ...]:
    """The media that ``EMAIL,SMS`` names; NONE wins."""
    named = notification_type.split(",")
    return () if "NONE" in named else tuple(medium for medium in links.MEDIA if medium.upper() in named)


def refused(request: ApsRequest, why: Refused) -> Reply:
    """A refusal in APS's words."""
    code = LINK_CODES[why.why]
    return Reply(code if len(code) == 5 else request.operation.failure + code)


def payment_of(link: Link, merchant: Merchant) -> dict[str, str]:
    """The AUTHORIZATION or PURCHASE that a link's page makes, as a shop would have asked for it; ``payment_link_id`` is told beside it.

    All of it is from our own store; the payer's browser has no say in it.
    """
    terms = link.terms
    codes_of = [one.public_name for one in merchant.credentials if one.door == DOOR]
    access_code = terms.access_code if terms.access_code in codes_of else next(iter(codes_of), "")
    params = {
        "command": terms.command, "merchant_identifier": merchant.identifier, "access_code": access_code, "merchant_reference": link.reference,
        "amount": str(terms.minor), "currency": terms.currency, "language": terms.language, "customer_email": terms.email,
        "customer_name": terms.name, "order_description": terms.description, "payment_option": terms.payment_option,
        "return_url": terms.return_url, "eci": "ECOMMERCE",
    }
    return {name: value for name, value in params.items() if value}


assert {message[-3:] for message in LINK_CODES.values()} <= codes.MESSAGES.keys()
