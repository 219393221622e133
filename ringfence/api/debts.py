"""The operator's API: what left stores unpaid, by trip; given up by a person, or asked for by a payment link.

Parses, calls ``engine/debts``, and writes what it says.  Amounts are minor units of the trip's currency.
"""
from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, flag_of, merchant_of, only, read_object, text_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, path, query, rows, text
from ringfence.api.http import error_response, json_response
from ringfence.engine import links
from ringfence.engine.debts import DebtRow, Debts, Refusal, Shown
from ringfence.engine.directory import Directory

MOST, LONGEST = 200, 200
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,180}\.[^@\s.]{1,60}", re.ASCII)

#: How a refusal is said: its status, the field to blame, and the words.
REFUSED: dict[Refusal, tuple[int, str, str]] = {
    Refusal.NOT_CLOSED: (409, "", "the trip's own payment has not ended yet"),
    Refusal.NOTHING_OWED: (409, "", "nothing is owed"),
    Refusal.TOO_MUCH: (409, "amount", "is more than is owed"),
    Refusal.NOT_POSITIVE: (400, "amount", "must be at least 1 minor unit"),
}


class Services(NamedTuple):
    """What the endpoints work with."""

    debts: Debts
    directory: Directory


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/jwo/debts``."""
    def guarded(endpoint: Callable[[Services, Request], Awaitable[Response]]) -> Endpoint:
        return guard(lambda request: endpoint(services, request))

    return [
        Route("/admin/jwo/debts", guarded(_all)),
        Route("/admin/jwo/debts/{debt}", guarded(_one)),
        Route("/admin/jwo/debts/{debt}/forgive", guarded(_forgive), methods=["POST"]),
        Route("/admin/jwo/debts/{debt}/link", guarded(_link), methods=["POST"]),
    ]


async def _all(services: Services, request: Request) -> Response:
    found = await services.debts.listed(_merchant_id(services, request), is_owed=not flag_of(request, "all"), limit=MOST)
    return json_response({"debts": [_row(services, row) for row in found]})


async def _one(services: Services, request: Request) -> Response:
    row = await _found(services, request)
    if isinstance(row, Response):
        return row
    shown = await services.debts.show(row.merchant_id, row.payment_id)
    assert shown is not None, "accounts stay"
    return json_response(_in_full(services, shown))


async def _forgive(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "by", "why", "amount")
    by, why, minor = _who(given), text_of(given, "why", ""), given.get("amount")
    if minor is not None and type(minor) is not int:
        raise BadInput("amount", "must be whole minor units")
    if len(why) > LONGEST:
        raise BadInput("why", f"must have at most {LONGEST} characters")
    row = await _found(services, request)
    if isinstance(row, Response):
        return row
    after = await services.debts.forgive(row.merchant_id, row.payment_id, minor, by, why)
    assert after is not None, "accounts stay"
    return _refused(after) if isinstance(after, Refusal) else json_response(_row(services, after))


async def _link(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "by", "email")
    by, email = _who(given), text_of(given, "email", "")
    if email and not EMAIL.fullmatch(email):
        raise BadInput("email", "must be an e-mail address")
    row = await _found(services, request)
    if isinstance(row, Response):
        return row
    merchant = services.directory.by_id(row.merchant_id)
    assert merchant is not None, "whoever has an account is a merchant"
    made = await services.debts.link(merchant, row.payment_id, by, email, (links.EMAIL,) if email else ())
    match made:
        case links.Link():
            return json_response(_link_json(made), 201)
        case links.Refused(why=why, field=field):
            return error_response(409, f"no link could be made: {why.replace('_', ' ')}", field or None)
        case Refusal():
            return _refused(made)
        case _:
            raise AssertionError("accounts stay")


def _who(given: dict[str, Any]) -> str:
    by = text_of(given, "by").strip()
    if not 0 < len(by) <= 64:
        raise BadInput("by", "must name a person, in 1 to 64 characters")
    return by


def _merchant_id(services: Services, request: Request) -> int | None:
    identifier = merchant_of(services.directory, request)
    merchant = None if identifier is None else services.directory.merchant(identifier)
    return merchant and merchant.merchant_id


async def _found(services: Services, request: Request) -> DebtRow | Response:
    """The account that the path names: by the trip's name, where one trip has it, or by its payment."""
    found = await services.debts.named(_merchant_id(services, request), request.path_params["debt"])
    if len(found) == 1:
        return found[0]
    return error_response(404, "there is no account of that trip or payment" if not found else "several trips have that name; use the payment")


def _refused(why: Refusal) -> Response:
    status, field, problem = REFUSED[why]
    return error_response(status, problem, field or None)


def _row(services: Services, row: DebtRow) -> dict[str, Any]:
    merchant, account = services.directory.by_id(row.merchant_id), row.account
    return {
        "payment": str(row.payment_id), "merchant": merchant and merchant.identifier, "store": row.store, "trip": row.trip,
        "currency": row.currency, "closed": account.is_closed, "total": account.total, "captured": account.captured - account.rejected,
        "rejected": account.rejected, "incurred": account.incurred, "recovered": account.recovered, "collected": account.collected,
        "reported": account.reported, "forgiven": account.forgiven, "owed": account.owed, "settled": account.settled, "strategy": row.strategy,
        "reason": row.reason, "by": row.actor, "reported_at": row.reported_at, "opened_at": row.opened_at, "closed_at": row.closed_at,
        "changed_at": row.changed_at,
    }


def _in_full(services: Services, shown: Shown) -> dict[str, Any]:
    return _row(services, shown.debt) | {
        "bookings": [{"what": one.noticed, "minor": one.minor, "by": one.actor, "note": one.note, "at": one.made_at, "booked_at": one.booked_at}
                     for one in shown.bookings],
        "links": [_link_json(one) for one in shown.links],
    }


def _link_json(one: links.Link) -> dict[str, Any]:
    return {"link": str(one.link_id), "url": one.url, "state": one.state, "minor": one.terms.minor, "currency": one.terms.currency,
            "expires_at": one.terms.expires_at, "paid_at": one.paid_at, "payment": None if one.payment_id is None else str(one.payment_id)}


# ---------------------------------------------------------------------------------------------------------- for machines

_MINOR: Schema = {"type": "integer", "description": "minor units"}
_MINOR_OR_NULL: Schema = {"type": ["integer", "null"], "description": "minor units"}
_INSTANT: Schema = {"type": ["string", "null"], "format": "date-time"}
_AT = text("business time", format="date-time")
_ROW = {
    "payment": text("the trip's payment, which names the account"), "merchant": {"type": ["string", "null"]}, "store": text("where it was left"),
    "trip": text("the trip's name"), "currency": text("ISO 4217"),
    "closed": {"type": "boolean", "description": "whether the trip's own payment has ended; before, only the retailer's report counts"},
    "total": _MINOR | {"description": "the price of the cart, minor units"}, "captured": _MINOR | {"description": "what stands of the capture"},
    "rejected": _MINOR, "incurred": _MINOR, "recovered": _MINOR,
    "collected": _MINOR | {"description": "by links and later captures; of this and what is reported the higher is recovered"},
    "reported": _MINOR, "forgiven": _MINOR, "owed": _MINOR, "settled": _MINOR_OR_NULL | {"description": "the retailer's latest report"},
    "strategy": text("write_off, take_standing, search, retailer"),
    "reason": text("why something is owed"), "by": text("who said last what it costs"),
    "reported_at": _INSTANT, "opened_at": _AT, "closed_at": _INSTANT, "changed_at": _AT,
}
_LINK = {"link": text("its id"), "url": text("where it is paid"), "state": text("open, opened, paid, expired, cancelled"), "minor": _MINOR,
         "currency": text("ISO 4217"), "expires_at": _AT, "paid_at": _INSTANT, "payment": {"type": ["string", "null"]}}
_FULL = {
    **_ROW, "links": rows(_LINK, tuple(_LINK)),
    "bookings": rows({"what": text("the notice"), "minor": _MINOR, "by": text("whose word it follows from"), "note": text("why"), "at": _AT,
                      "booked_at": _INSTANT}, ("what", "minor", "by", "at", "booked_at")),
}
_WHICH = (path("debt", "the trip's name, or its payment's id"), OF_MERCHANT)
_BY = text("the person who does it")

DESCRIBED: dict[str, Schema] = {
    "/admin/jwo/debts": {"get": operator("What is owed by those who left stores, the latest first", answers(
        f"at most {MOST} of them", fields({"debts": rows(_ROW, tuple(_ROW))}, ("debts",)), "400", "401"),
        parameters=(OF_MERCHANT, query("all", "also what is paid, forgiven, or was never owed", {"type": "boolean"})))},
    "/admin/jwo/debts/{debt}": {"get": operator("A trip's account", answers(
        "the account", fields(_FULL, tuple(_FULL)), "400", "401", "404"), parameters=_WHICH)},
    "/admin/jwo/debts/{debt}/forgive": {"post": operator("Give up a debt", answers(
        "the account as it stands then", fields(_ROW, tuple(_ROW)), "400", "401", "404", "409"), parameters=_WHICH, body=fields(
            {"by": _BY, "why": text("why"), "amount": _MINOR | {"description": "minor units; all that is owed where it is left out"}},
            ("by",), additionalProperties=False))},
    "/admin/jwo/debts/{debt}/link": {"post": operator("Make a payment link over what is owed; the one that is there, over the same amount", answers(
        "the link", fields(_LINK, tuple(_LINK)), "400", "401", "404", "409", status="201"), parameters=_WHICH, body=fields(
            {"by": _BY, "email": text("where it is sent to; nowhere where it is left out")}, ("by",), additionalProperties=False))},
}
