"""The operator's API: payment links without any protocol of a door, and the sandbox's inbox.

Parses, calls ``engine/links`` and ``engine/inbox``, and writes what they say.  Values are written as in the APS dictionary, so that whatever is
made here can be asked about there.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any, NamedTuple

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, merchant_of, only, read_object, text_of
from ringfence.api.aps.fields import CHECKS
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, path, query, rows, text
from ringfence.api.events import whole_of
from ringfence.api.http import error_response, json_response
from ringfence.core.ids import LARGEST
from ringfence.core.money import CURRENCIES
from ringfence.engine import inbox, links
from ringfence.engine.clock import parse_duration, parse_instant
from ringfence.engine.directory import Directory
from ringfence.engine.inbox import Arrived
from ringfence.engine.links import MEDIA, Desk, Link, Order, Refused, Terms, Why

ACTOR = "operator"
USUAL, MOST = 100, 500


class Services(NamedTuple):
    """What the endpoints work with; ``inbox`` is ``None`` in live mode, which has none."""

    desk: Desk
    directory: Directory
    inbox: asyncpg.Pool | None


#: Member of the body -> parameter of the APS dictionary that says how it is written; its default.
TEXTS: dict[str, tuple[str, str]] = {
    "email": ("customer_email", ""), "phone": ("customer_phone", ""), "name": ("customer_name", ""),
    "description": ("order_description", ""), "return_url": ("return_url", ""), "command": ("link_command", "PURCHASE"),
    "language": ("language", "en"), "payment_option": ("payment_option", ""),
}
#: Refusals in words: status, sentence.
SAID: dict[Why, tuple[int, str]] = {
    Why.SOMEONE_IS_PAYING: (409, "someone is paying it at this moment"),
    Why.PAID: (409, "it was paid"),
    Why.EXPIRED: (409, "it has expired"),
    Why.CANCELLED: (409, "it was cancelled"),
    Why.NOT_FOUND: (404, "there is no such link"),
    Why.REFERENCE_USED: (409, "names another link or an order already"),
    Why.REFERENCE_DIFFERS: (409, "cannot change"),
    Why.AMOUNT: (400, "must be a whole number of minor units, at least 1"),
    Why.PAST: (400, "must lie in the future"),
    Why.TOO_FAR: (400, "must lie within ten years"),
    Why.MEDIUM_OFF: (409, "names what this merchant or this installation does not send"),
    Why.NO_RECIPIENT: (400, "is missing: there is nowhere to send it to"),
    Why.TOO_MANY_MESSAGES: (409, "it was sent too often; wait an hour"),
    Why.TOO_MANY_TRIES: (409, "it was tried too often"),
    Why.TERMS_MISSING: (409, "the merchant requires terms and conditions and link_terms_url is not set"),
    Why.RETURN_URL: (400, "is not an address of this merchant"),
    Why.PAYMENT_OPTION: (400, "must be a card brand that this merchant takes"),
}
#: What the engine calls a field, and what this API calls it.
NAMES = {"merchant_reference": "reference", "request_expiry_date": "expires", "notification_type": "send", "customer_email": "email",
         "customer_phone": "phone"}


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/links`` and ``/admin/inbox``."""
    def served(where: str, endpoint: Callable[[Services, Request], Any], *methods: str) -> Route:
        return Route(f"/admin/{where}", guard(lambda request: endpoint(services, request)), methods=list(methods or ("GET",)))

    return [
        served("links", _links, "GET", "POST"), served("links/{link}", _link), served("links/{link}/resend", _resend, "POST"),
        served("links/{link}/cancel", _cancel, "POST"), served("inbox", _inbox), served("inbox/{message}", _message),
    ]


# ---------------------------------------------------------------------------------------------------------- links

async def _links(services: Services, request: Request) -> Response:
    if request.method == "POST":
        return await _create(services, request)
    named, directory = merchant_of(services.directory, request), services.directory
    merchants = [one.merchant_id for one in directory.merchants() if named in (None, one.identifier)]
    limit, before = whole_of(request, "limit", USUAL, MOST), request.query_params.get("before") or str(LARGEST)
    below = _number(before)
    if below is None:
        raise BadInput("before", "must be the id of a link")
    found = await links.listed(services.desk, merchants, below=below, limit=limit)
    return json_response({
        "links": [shown(services, one) for one in found], "next": str(found[-1].link_id) if len(found) == limit else None})


async def _create(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "merchant", "reference", "amount", "currency", "expires", "send", *TEXTS)
    merchant = services.directory.merchant(text_of(given, "merchant"))
    if merchant is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    values = {name: _written(given, name, *TEXTS[name]) for name in TEXTS}
    reference = text_of(given, "reference", "") or f"LINK-{services.desk.new_id()}"
    _check("reference", "merchant_reference", reference)
    currency = text_of(given, "currency")
    if currency not in (merchant.settings.currencies or CURRENCIES):
        raise BadInput("currency", "must be an ISO 4217 code that this merchant takes")
    if type(given.get("amount")) is not int:
        raise BadInput("amount", SAID[Why.AMOUNT][1])
    terms = Terms(
        values["command"], given["amount"], currency, values["language"], "", values["email"], values["phone"], values["name"],
        values["description"], values["payment_option"], values["return_url"], _media(given, "send"), _expires(services, given))
    return _answer(services, await links.create(services.desk, merchant, Order(reference, terms, ACTOR)), 201)


async def _link(services: Services, request: Request) -> Response:
    link = await _found(services, request)
    if link is None:
        return _answer(services, Refused(Why.NOT_FOUND))
    return json_response(shown(services, link) | {"messages": [{
        "id": str(one.message_id), "medium": one.medium, "to": one.recipient, "asked_at": one.asked_at, "state": one.state, "note": one.note,
        "ended_at": one.ended_at,
    } for one in await links.messages(services.desk, link)]})


async def _resend(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "by")
    media, link = _media(given, "by"), await _found(services, request)
    merchant = link and services.directory.by_id(link.merchant_id)
    if link is None or merchant is None:
        return _answer(services, Refused(Why.NOT_FOUND))
    return _answer(services, await links.resend(services.desk, merchant, link.link_id, media))


async def _cancel(services: Services, request: Request) -> Response:
    link = await _found(services, request)
    merchant = link and services.directory.by_id(link.merchant_id)
    if link is None or merchant is None:
        return _answer(services, Refused(Why.NOT_FOUND))
    return _answer(services, await links.cancel(services.desk, merchant, link.link_id, ACTOR))


async def _found(services: Services, request: Request) -> Link | None:
    """The link that a path names."""
    number = _number(request.path_params["link"])
    merchant_id = None if number is None else await links.merchant_of(services.desk, number)
    return None if number is None or merchant_id is None else await links.by_number(services.desk, merchant_id, number)


def _answer(services: Services, done: Link | Refused, status: int = 200) -> Response:
    if isinstance(done, Link):
        return json_response(shown(services, done), status)
    code, problem = SAID[done.why]
    return error_response(code, problem, NAMES.get(done.field, done.field) or None)


def shown(services: Services, link: Link) -> dict[str, Any]:
    """A link for operators; ids are texts, they have 63 bits."""
    merchant, terms = services.directory.by_id(link.merchant_id), link.terms
    return {
        "id": str(link.link_id), "merchant": merchant.identifier if merchant else "", "merchant_name": merchant.name if merchant else "",
        "reference": link.reference, "state": link.state, "minor": terms.minor, "currency": terms.currency, "command": terms.command,
        "language": terms.language, "email": terms.email, "phone": terms.phone, "name": terms.name, "description": terms.description,
        "url": link.url, "expires_at": terms.expires_at, "created_at": link.created_at, "created_by": link.created_by, "paid_at": link.paid_at,
        "payment": None if link.payment_id is None else str(link.payment_id),
    }


# ---------------------------------------------------------------------------------------------------------- reading input

def _number(name: str) -> int | None:
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 20 else 0
    return number if 0 < number <= LARGEST else None


def _written(given: dict[str, Any], name: str, parameter: str, default: str) -> str:
    value = text_of(given, name, default)
    if value:
        _check(name, parameter, value)
    return value


def _check(name: str, parameter: str, value: str) -> None:
    if not CHECKS[parameter](value):
        raise BadInput(name, f"must be written as {parameter} of the APS dictionary")


def _media(given: dict[str, Any], name: str) -> tuple[str, ...]:
    value = given.get(name, [])
    if not isinstance(value, list) or not all(medium in MEDIA for medium in value):
        raise BadInput(name, f"must be a list of {', '.join(MEDIA)}")
    return tuple(medium for medium in MEDIA if medium in value)


def _expires(services: Services, given: dict[str, Any]) -> Any:
    """An instant, or a length of time from now (business time); three days where nothing is said."""
    value = text_of(given, "expires", "3d")
    length = parse_duration(value)
    instant = parse_instant(value) if length is None else services.desk.now() + min(length, timedelta(days=36_500))
    if instant is None:
        raise BadInput("expires", "must be an ISO 8601 instant with its offset, or a length of time such as 3d")
    return instant.astimezone(UTC)


# ---------------------------------------------------------------------------------------------------------- the inbox

NO_INBOX = "only a sandbox has an inbox"


async def _inbox(services: Services, request: Request) -> Response:
    if services.inbox is None:
        return error_response(404, NO_INBOX)
    found = await inbox.listed(
        services.inbox, merchant_of(services.directory, request), whole_of(request, "limit", USUAL, inbox.MOST))
    return json_response({"messages": [_arrived(one) for one in found]})


async def _message(services: Services, request: Request) -> Response:
    if services.inbox is None:
        return error_response(404, NO_INBOX)
    letter = await inbox.find(services.inbox, request.path_params["message"])
    return error_response(404, "there is no such message") if letter is None else json_response(
        _arrived(letter) | {"text": letter.text, "html": letter.html})


def _arrived(letter: Arrived) -> dict[str, Any]:
    return {"id": str(letter.message_id), "merchant": letter.merchant, "medium": letter.medium, "from": letter.sender, "to": letter.recipient,
            "subject": letter.subject, "received_at": letter.received_at}


# ---------------------------------------------------------------------------------------------------------- described

_INSTANT = {"type": ["string", "null"], "format": "date-time"}
_SENT = rows({
    "id": text("its number"), "medium": text("email or sms"), "to": text("the recipient"), "asked_at": text("business time", format="date-time"),
    "state": text("waiting, sent, failed or needless"), "note": text("what the last try met"), "ended_at": _INSTANT,
}, ("id", "medium", "to", "asked_at", "state", "note", "ended_at"))
_LINK = {
    "id": text("its number, payment_link_id over APS"), "merchant": text("its identifier"), "merchant_name": text("what people call it"),
    "reference": text("the order's"), "state": text("open, opened, paid, expired or cancelled"),
    "minor": {"type": "integer", "description": "minor units"}, "currency": text("ISO 4217"), "command": text("PURCHASE or AUTHORIZATION"),
    "language": text("en or ar"), "email": text("of the customer"), "phone": text("of the customer"), "name": text("of the customer"),
    "description": text("what it is for"), "url": text("what the payer opens"), "expires_at": text("business time", format="date-time"),
    "created_at": text("business time", format="date-time"), "created_by": text("who made it"), "paid_at": _INSTANT,
    "payment": {"type": ["string", "null"], "description": "the payment's id"},
}
_REQUIRED = tuple(_LINK)
_MESSAGE = {
    "id": text("its number"), "merchant": text("its identifier"), "medium": text("email or sms"), "from": text("the sender's name"),
    "to": text("the recipient"), "subject": text("empty for an SMS"), "received_at": text("business time", format="date-time"),
}
_WHICH = path("link", "the link's number")
_BY = {"type": "array", "items": {"type": "string", "enum": list(MEDIA)}}

DESCRIBED: dict[str, Schema] = {
    "/admin/links": {
        "get": operator("Payment links, the newest first", answers("so many of them", fields(
            {"links": rows(_LINK, _REQUIRED), "next": {"type": ["string", "null"], "description": "`before` for the next page"}},
            ("links", "next")), "400", "401"), parameters=(
                OF_MERCHANT, query("before", "only with numbers below this one"),
                query("limit", f"at most {MOST}", {"type": "integer", "default": USUAL}))),
        "post": operator("Make a payment link", answers("the link", fields(_LINK, _REQUIRED), "400", "401", "409", status="201"), body=fields({
            "merchant": text("its identifier"), "reference": text("the order's; one is made where it is left out"),
            "amount": {"type": "integer", "description": "minor units"}, "currency": text("ISO 4217"),
            "expires": text("an instant, or a length of time such as 3d (the default)"), "send": _BY,
            **{name: text(f"as {parameter} over APS") for name, (parameter, _) in TEXTS.items()},
        }, ("merchant", "amount", "currency"), additionalProperties=False)),
    },
    "/admin/links/{link}": {"get": operator("One payment link, and what was sent about it", answers(
        "the link", fields(_LINK | {"messages": _SENT}, (*_REQUIRED, "messages")), "401", "404"), parameters=(_WHICH,))},
    "/admin/links/{link}/resend": {"post": operator(
        "Send a payment link again", answers("the link", fields(_LINK, _REQUIRED), "400", "401", "404", "409"), parameters=(_WHICH,),
        body=fields({"by": _BY}, additionalProperties=False))},
    "/admin/links/{link}/cancel": {"post": operator(
        "Take a payment link back", answers("the link", fields(_LINK, _REQUIRED), "401", "404", "409"), parameters=(_WHICH,))},
    "/admin/inbox": {"get": operator("The sandbox's inbox: letters and SMS to payers, the newest first", answers(
        "the messages", fields({"messages": rows(_MESSAGE, tuple(_MESSAGE))}, ("messages",)), "400", "401", "404"), parameters=(
            OF_MERCHANT, query("limit", f"at most {inbox.MOST}", {"type": "integer", "default": USUAL})))},
    "/admin/inbox/{message}": {"get": operator("One message of the inbox", answers("the message", fields(
        _MESSAGE | {"text": text("as it arrived"), "html": text("as it arrived; empty for an SMS")}, (*_MESSAGE, "text", "html")), "401", "404"),
        parameters=(path("message", "the message's number"),))},
}
