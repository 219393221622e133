"""The operator's API: shoppers of stores, who want their receipts by mail.

Parses, calls ``engine/shoppers``, and writes what it says.  Values are of the forms that the door of stores tells and is asked for.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, only, read_object
from ringfence.api.describing import Schema, answers, fields, operator, path, query, rows, text
from ringfence.api.events import whole_of
from ringfence.api.http import error_response, json_response
from ringfence.api.jwo.fields import EMAIL, SHOPPER, STORE
from ringfence.api.jwo.kinds import LONGEST, Kind, Wrong
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.shoppers import ShopperRow, Shoppers

USUAL, MOST = 100, 500
PATH = "/admin/jwo/stores/{store}/shoppers"


class Services(NamedTuple):
    """What the endpoints work with."""

    shoppers: Shoppers
    directory: Directory


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/jwo/stores/{store}/shoppers``."""
    def served(where: str, endpoint: Callable[[Services, Request], Any], *methods: str) -> Route:
        return Route(where, guard(lambda request: endpoint(services, request)), methods=list(methods))

    return [served(PATH, _shoppers, "GET"), served(f"{PATH}/{{shopper}}", _shopper, "PUT", "DELETE")]


async def _shoppers(services: Services, request: Request) -> Response:
    merchant, limit = _merchant(services, request), whole_of(request, "limit", USUAL, MOST)
    after = request.query_params.get("after", "")
    if after:
        _read(SHOPPER, "after", after)
    found = await services.shoppers.listed(merchant.merchant_id, _store(request), after, limit)
    return json_response({"shoppers": [_shown(one) for one in found], "next": found[-1].shopper if len(found) == limit else None})


async def _shopper(services: Services, request: Request) -> Response:
    merchant, store, shopper = _merchant(services, request), _store(request), _read(SHOPPER, "shopper", request.path_params["shopper"])
    if request.method == "DELETE":
        if not await services.shoppers.forget(merchant.merchant_id, store, shopper):
            return error_response(404, "there is no such shopper")
        return json_response({"forgotten": shopper})
    given = await read_object(request)
    only(given, "email")
    email = _read(EMAIL, "email", given.get("email"))
    await services.shoppers.register(merchant.merchant_id, store, shopper, email)
    return json_response({"shopper": shopper, "email": email})


def _merchant(services: Services, request: Request) -> Merchant:
    merchant = services.directory.merchant(request.query_params.get("merchant", ""))
    if merchant is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    return merchant


def _store(request: Request) -> str:
    return _read(STORE, "store", request.path_params["store"])


def _read(kind: Kind, name: str, value: Any) -> str:
    read = kind.read(value, name)
    if isinstance(read, Wrong):
        raise BadInput(name, read.problem)
    return str(read)


def _shown(one: ShopperRow) -> dict[str, str]:
    return {"shopper": one.shopper, "email": one.email, "changed_at": one.changed_at.astimezone(UTC).isoformat()}


_OF = query("merchant", "its identifier") | {"required": True}
_STORE, _SHOPPER = path("store", "storeId"), path("shopper", "the id that was given when the shopper registered")
_EMAIL = text("where receipts go", maxLength=EMAIL.schema()["maxLength"])

DESCRIBED: dict[str, Schema] = {
    PATH: {"get": operator(
        "Shoppers of a store, in the order of their ids",
        answers("a page of them", fields({
            "shoppers": rows({
                "shopper": text("the id", maxLength=LONGEST), "email": _EMAIL, "changed_at": text("business time", format="date-time")}),
            "next": {"type": ["string", "null"], "description": "`after` of the next page"}}, ("shoppers", "next")), "400", "401"),
        parameters=(_STORE, _OF, query("after", "only ids behind this one"), query("limit", f"at most {MOST}")))},
    f"{PATH}/{{shopper}}": {
        "put": operator(
            "Register a shopper, or change the address",
            answers("as it is now", fields({"shopper": text("the id"), "email": _EMAIL}, ("shopper", "email")), "400", "401"),
            body=fields({"email": _EMAIL}, ("email",), additionalProperties=False), parameters=(_STORE, _SHOPPER, _OF)),
        "delete": operator(
            "Forget a shopper", answers("it is gone", fields({"forgotten": text("the id")}, ("forgotten",)), "400", "401", "404"),
            parameters=(_STORE, _SHOPPER, _OF)),
    },
}
