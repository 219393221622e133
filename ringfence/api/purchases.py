"""The operator's API: carts that retailers are told of, and the cart that a shopper leaves with."""
from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BODY_LIMIT, BadInput, Endpoint, merchant_of, only, read_object, text_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, query, rows, text
from ringfence.api.http import json_response, read_body
from ringfence.engine.connector import MOST_ITEMS, Item
from ringfence.engine.directory import Directory
from ringfence.engine.purchases import Purchases

STATES = ("waiting", "taken", "refused", "given_up")
TYPES = ("SKU", "SCANCODE")
_QUANTITY = re.compile(r"(0|[1-9][0-9]{0,6})(\.[0-9]{1,4})?", re.ASCII)


class Services(NamedTuple):
    """What the endpoints work with."""

    purchases: Purchases
    directory: Directory


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/jwo/purchases``."""
    def guarded(endpoint: Callable[[Services, Request], Awaitable[Response]]) -> Endpoint:
        return guard(lambda request: endpoint(services, request))

    return [
        Route("/admin/jwo/purchases", guarded(_purchases)),
        Route("/admin/jwo/purchases/again", guarded(_again), methods=["POST"]),
    ]


async def _purchases(services: Services, request: Request) -> Response:
    identifier, state = merchant_of(services.directory, request), request.query_params.get("state", "")
    if state not in ("", *STATES):
        raise BadInput("state", f"must be one of {', '.join(STATES)}")
    found = [
        {"merchant": one.identifier, "store": row.store, "trip": row.trip, "number": str(row.number), "state": row.state, "attempts": row.attempts,
         "status": row.status, "note": row.note, "purchase_id": row.purchase_id, "asked_at": row.asked_at, "ended_at": row.ended_at}
        for one in services.directory.merchants() if identifier in (None, one.identifier)
        for row in await services.purchases.of(one.merchant_id, state)]
    return json_response({"purchases": found})


async def _again(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "merchant", "trip", "store")
    merchants = services.directory.merchants()
    if "merchant" in given:
        merchants = [one for one in merchants if one.identifier == text_of(given, "merchant")]
        if not merchants:
            raise BadInput("merchant", "there is no merchant of that identifier")
    count = 0
    for one in merchants:
        if "trip" not in given:
            count += await services.purchases.again(one.merchant_id)
            continue
        for row in await services.purchases.of(one.merchant_id):
            if row.trip == text_of(given, "trip") and given.get("store", row.store) == row.store:
                count += await services.purchases.again(one.merchant_id, row.number)
    return json_response({"again": count})


async def read_items(request: Request) -> list[Item]:
    """The cart in a body that may be missing.  Raises ``BadInput``."""
    body = await read_body(request.scope, request.receive, BODY_LIMIT)
    if not body:
        return []
    try:
        given = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        raise BadInput("body", "must be a JSON object") from None
    if not isinstance(given, dict):
        raise BadInput("body", "must be a JSON object")
    only(given, "items")
    items = given.get("items", [])
    if not isinstance(items, list) or len(items) > MOST_ITEMS:
        raise BadInput("items", f"must be a list of at most {MOST_ITEMS}")
    return [_item(one) for one in items]


def _item(given: object) -> Item:
    if not isinstance(given, dict):
        raise BadInput("items", "must be objects")
    only(given, "id", "quantity", "unit", "type", "upcs", "line")
    upcs = given.get("upcs", [])
    if not isinstance(upcs, list) or len(upcs) > 20 or not all(isinstance(one, str) and 0 < len(one) <= 64 and one.isprintable() for one in upcs):
        raise BadInput("upcs", "must be at most 20 texts")
    item = Item(text_of(given, "id"), text_of(given, "quantity", "1"), text_of(given, "unit", "each"), text_of(given, "type", "SKU"),
                tuple(upcs), text_of(given, "line", ""))
    if not 0 < len(item.id) <= 255 or len(item.line) > 255:
        raise BadInput("id", "must have 1 to 255 characters, and line at most 255")
    if not _QUANTITY.fullmatch(item.quantity) or float(item.quantity) == 0:
        raise BadInput("quantity", "must be a number above 0 as a text, such as 2 or 0.450")
    if item.type not in TYPES:
        raise BadInput("type", f"must be one of {', '.join(TYPES)}")
    if not 0 < len(item.unit) <= 20:
        raise BadInput("unit", "must have 1 to 20 characters")
    return item


# ---------------------------------------------------------------------------------------------------------- described

ITEMS: Schema = fields({"items": {"type": "array", "maxItems": MOST_ITEMS, "items": fields({
    "id": text("the article, as the retailer knows it"), "quantity": text("a number as a text; default 1"), "unit": text("default each"),
    "type": {"type": "string", "enum": list(TYPES), "default": "SKU"}, "upcs": {"type": "array", "items": {"type": "string"}},
    "line": text("names the line; default its place"),
}, ("id",), additionalProperties=False)}}, additionalProperties=False)

_PURCHASE: dict[str, Any] = {
    "merchant": text("its identifier"), "store": text("its name"), "trip": text("its name"), "number": text("the trip's number"),
    "state": {"type": "string", "enum": list(STATES)}, "attempts": {"type": "integer"}, "status": {"type": ["integer", "null"]},
    "note": text("why it is not taken"), "purchase_id": text("the retailer's name for it"),
    "asked_at": text("business time", format="date-time"), "ended_at": {"type": ["string", "null"], "format": "date-time"},
}

DESCRIBED: dict[str, Schema] = {
    "/admin/jwo/purchases": {"get": operator(
        "Carts that retailers are told of, the newest first", answers("at most 1000 of each merchant", fields(
            {"purchases": rows(_PURCHASE, tuple(_PURCHASE))}, ("purchases",)), "400", "401"),
        parameters=(OF_MERCHANT, query("state", "only those", {"type": "string", "enum": list(STATES)})))},
    "/admin/jwo/purchases/again": {"post": operator(
        "Tell again what was refused or given up", answers("how many", fields({"again": {"type": "integer"}}, ("again",)), "400", "401"),
        body=fields({"merchant": text("only its"), "trip": text("only this trip's"), "store": text("... of this store")},
                    additionalProperties=False))},
}
