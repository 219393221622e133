"""Webhooks for operators: where merchants are told, what they were told and how that went, and telling them again.

Parses, calls the engine, and writes what it says.  A delivery is named ``merchant:endpoint:payment:sequence``, the merchant by its
identifier.  Refuses to know how anything is sent.
"""
from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, merchant_of, only, read_object, text_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, path, query, rows, text
from ringfence.api.events import whole_of
from ringfence.api.http import error_response, json_response
from ringfence.core.ids import LARGEST
from ringfence.engine import webhooks
from ringfence.engine.addresses import Rules, problem
from ringfence.engine.clock import parse_instant
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.feed import Notifier
from ringfence.engine.plan_notices import Desk
from ringfence.engine.webhooks import MAX_LISTED, STATES, AttemptRow, Delivery, Failed, One, Range, Refused, Selection

USUAL = 100
_ID = re.compile(r"([A-Za-z0-9]{1,20}):(\d{1,9}):(\d{1,19}):(\d{1,9})", re.ASCII)
_INSTANT = "must be an ISO 8601 instant with its offset, such as 2026-11-21T12:00:00Z"


PlanNumber = Callable[[Merchant, str], Awaitable[int | None]]


class Services(NamedTuple):
    """What the endpoints work with.  ``now``: business time; ``rules``: which addresses this installation may call; ``notices``: what tells of
    plans, which are found by ``plan_number``."""

    pool: asyncpg.Pool
    directory: Directory
    notifiers: Mapping[str, Notifier]
    rules: Rules
    now: Callable[[], datetime]
    notices: Desk
    plan_number: PlanNumber


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/webhooks``."""
    def served(path: str, endpoint: Callable[[Services, Request], Any], *methods: str) -> Route:
        return Route(f"/admin/webhooks/{path}", guard(lambda request: endpoint(services, request)), methods=list(methods or ("GET",)))

    return [
        served("endpoints", _endpoints), served("deliveries", _deliveries), served("deliveries/{id}", _delivery),
        served("redeliver", _redeliver, "POST"), served("replay", _replay, "POST"),
    ]


# ---------------------------------------------------------------------------------------------------------- looking

async def _endpoints(services: Services, request: Request) -> Response:
    found = await webhooks.endpoints(services.pool, _number(services, merchant_of(services.directory, request)))
    return json_response({"endpoints": [endpoint_json(services, one) for one in found]})


async def _deliveries(services: Services, request: Request) -> Response:
    given = request.query_params
    state = given.get("state") or None
    if state is not None and state not in STATES:
        raise BadInput("state", f"must be {' or '.join(STATES)}")
    since, until = _instant(given.get("since"), "since"), _instant(given.get("until"), "until")
    _in_order(since, until)
    limit, after = whole_of(request, "limit", USUAL, MAX_LISTED), None
    if given.get("after"):
        behind = await _found(services, given["after"])
        if behind is None:
            raise BadInput("after", "must be the id of a delivery")
        after = behind.delivery
    found = await webhooks.deliveries(
        services.pool, merchant=_number(services, merchant_of(services.directory, request)), state=state, since=since, until=until,
        after=after, limit=limit)
    return json_response({
        "deliveries": [delivery_json(services, one) for one in found],
        "next": _id(services, found[-1]) if len(found) == limit else None,
    })


async def _delivery(services: Services, request: Request) -> Response:
    shown = await _found(services, request.path_params["id"])
    if shown is None:
        return error_response(404, "there is no such delivery")
    body = None if shown.body is None else shown.body.decode("utf-8", "replace")
    return json_response(delivery_json(services, shown.delivery) | {"body": body, "log": [_attempt_json(one) for one in shown.log]})


# ---------------------------------------------------------------------------------------------------------- telling again

async def _redeliver(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "delivery", "failed", "since", "until", "merchant", "url")
    url = text_of(given, "url") if "url" in given else None
    if url is not None and (why := problem(url, services.rules)):
        raise BadInput("url", why)
    selection = await _selection(services, given)
    if selection is None:
        return error_response(404, "there is no such delivery", "delivery")
    return _told(await webhooks.redeliver(services.pool, services.now(), selection, url, rules=services.rules))


async def _selection(services: Services, given: dict[str, Any]) -> Selection | None:
    """What a body chooses; ``None`` for a delivery that is not there."""
    ways = [way for way, names in (("delivery", {"delivery"}), ("failed", {"failed"}), ("since", {"since", "until"})) if names & given.keys()]
    if len(ways) != 1:
        raise BadInput("body", "must name one of delivery, failed, or since with until")
    if ways == ["delivery"]:
        if "merchant" in given:
            raise BadInput("merchant", "does not go with a delivery: its id names the merchant")
        shown = await _found(services, text_of(given, "delivery"))
        return shown and One(*shown.delivery.key)
    merchant = _given_merchant(services, given)
    if ways == ["since"]:
        return Range(*_range(given), merchant)
    if given["failed"] is not True:
        raise BadInput("failed", "must be true")
    return Failed(merchant)


async def _replay(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "since", "until", "merchant", "plan", "event")
    event = text_of(given, "event", "") or None
    if "plan" in given:
        return await _replay_plan(services, given, event)
    since, until = _range(given)
    merchant = _given_merchant(services, given)
    made = await webhooks.replay(services.pool, services.now(), services.directory, services.notifiers, since, until, merchant, event)
    if isinstance(made, int):
        told = [one for one in services.directory.merchants() if merchant in (None, one.merchant_id)]
        made += await services.notices.replay(services.pool, told, services.now(), since=since, until=until, event=event)
    return _told(made)


async def _replay_plan(services: Services, given: dict[str, Any], event: str | None) -> Response:
    """The notices of one plan, of any time unless one is given."""
    since, until = (_instant(text_of(given, name, "") or None, name) for name in ("since", "until"))
    _in_order(since, until)
    merchant = services.directory.merchant(text_of(given, "merchant"))
    if merchant is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    number = await services.plan_number(merchant, text_of(given, "plan"))
    if number is None:
        raise BadInput("plan", "there is no plan of that merchant and id")
    return _told(await services.notices.replay(
        services.pool, [merchant], services.now(), since=since, until=until, number=number, event=event))


def _told(done: int | Refused) -> Response:
    return error_response(409, done.problem) if isinstance(done, Refused) else json_response({"deliveries": done})


# ---------------------------------------------------------------------------------------------------------- reading input

async def _found(services: Services, name: str) -> webhooks.Shown | None:
    """The delivery of that id; ``None`` where there is none, or the text is no id."""
    parts = _ID.fullmatch(name)
    merchant = parts and services.directory.merchant(parts[1])
    if not parts or not merchant or (payment := int(parts[3])) > LARGEST:
        return None
    return await webhooks.delivery(services.pool, merchant.merchant_id, int(parts[2]), payment, int(parts[4]))


def _number(services: Services, identifier: str | None) -> int | None:
    merchant = services.directory.merchant(identifier) if identifier else None
    return merchant.merchant_id if merchant else None


def _given_merchant(services: Services, given: dict[str, Any]) -> int | None:
    if "merchant" not in given:
        return None
    identifier = text_of(given, "merchant")
    if services.directory.merchant(identifier) is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    return _number(services, identifier)


def _instant(given: str | None, name: str) -> datetime | None:
    instant = parse_instant(given) if given else None
    if given and instant is None:
        raise BadInput(name, _INSTANT)
    return instant


def _range(given: dict[str, Any]) -> tuple[datetime, datetime]:
    since, until = _instant(text_of(given, "since"), "since"), _instant(text_of(given, "until"), "until")
    for name, instant in (("since", since), ("until", until)):
        if instant is None:
            raise BadInput(name, _INSTANT)
    _in_order(since, until)
    assert since is not None and until is not None
    return since, until


def _in_order(since: datetime | None, until: datetime | None) -> None:
    if since is not None and until is not None and until <= since:
        raise BadInput("until", "must be after since")


# ---------------------------------------------------------------------------------------------------------- as JSON

def _identifier(services: Services, merchant_id: int) -> str:
    merchant = services.directory.by_id(merchant_id)
    return merchant.identifier if merchant else str(merchant_id)


def _id(services: Services, of: Delivery) -> str:
    return f"{_identifier(services, of.merchant_id)}:{of.endpoint_id}:{of.payment_id}:{of.sequence}"


def endpoint_json(services: Services, one: webhooks.Endpoint) -> dict[str, Any]:
    """An endpoint for machines; times are business time."""
    return {
        "merchant": _identifier(services, one.merchant_id), "endpoint": one.endpoint_id, "door": one.door, "url": one.url,
        "waiting": one.waiting, "given_up": one.given_up, "failures": one.failures, "probe_at": one.probe_at,
        "delivered_at": one.delivered_at, "failed_at": one.failed_at, "last_status": one.last_status, "last_error": one.last_error,
        "created_at": one.created_at, "schedule": one.policy.schedule, "accepts": sorted(one.policy.accepts), "at_once": one.policy.at_once,
        "in_order": one.policy.in_order, "seconds": one.policy.seconds,
    }


def delivery_json(services: Services, one: Delivery) -> dict[str, Any]:
    """A delivery for machines, without its bytes; times are business time."""
    return {
        "id": _id(services, one), "merchant": _identifier(services, one.merchant_id), "endpoint": one.endpoint_id, "url": one.url,
        "payment": str(one.payment_id), "sequence": one.sequence, "event": one.event, "purpose": one.purpose, "content_type": one.content_type,
        "state": one.state, "tried": one.tried, "attempts": one.attempts, "next_at": one.next_at if one.state == "waiting" else None,
        "created_at": one.created_at, "ended_at": one.ended_at,
    }


def _attempt_json(one: AttemptRow) -> dict[str, Any]:
    return {
        "attempt": one.attempt, "at": one.at, "url": one.url, "address": one.address, "status": one.status, "error": one.error,
        "milliseconds": one.milliseconds, "answer": one.answer.decode("utf-8", "replace"),
    }


# ---------------------------------------------------------------------------------------------------------- described for machines

_AT, _NEVER = text("business time", format="date-time"), {"type": ["string", "null"], "format": "date-time"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_ENDPOINT = {
    "merchant": text("its identifier"), "endpoint": _COUNT, "door": text("whose words are told there"), "url": text("the address"),
    "waiting": _COUNT, "given_up": _COUNT, "failures": {**_COUNT, "description": "in a row"},
    "probe_at": {**_NEVER, "description": "the circuit is open: one attempt, not before"}, "delivered_at": _NEVER, "failed_at": _NEVER,
    "last_status": {"type": ["integer", "null"]}, "last_error": text("empty where the last attempt went well"), "created_at": _AT,
    "schedule": {"type": "array", "items": _COUNT, "description": "seconds from one attempt to the next"},
    "accepts": {"type": "array", "items": _COUNT, "description": "statuses that count as received beside 2xx"},
    "at_once": _COUNT, "in_order": {"type": "boolean"}, "seconds": {"type": "number", "description": "one attempt"},
}
_DELIVERY = {
    "id": text("merchant:endpoint:payment:sequence"), "merchant": text("its identifier"), "endpoint": _COUNT, "url": text("the address"),
    "payment": text("the payment's id"), "sequence": _COUNT, "event": text("what happened"), "purpose": text("feedback or notification"),
    "content_type": text("of the body"), "state": {"type": "string", "enum": list(STATES)},
    "tried": {**_COUNT, "description": "since it was made, or asked for again"}, "attempts": {**_COUNT, "description": "ever"},
    "next_at": _NEVER, "created_at": _AT, "ended_at": _NEVER,
}
_LOG = rows({
    "attempt": _COUNT, "at": _AT, "url": text("the address then"), "address": text("the IP address that was called"),
    "status": {"type": ["integer", "null"]}, "error": text("empty where an answer came"), "milliseconds": _COUNT,
    "answer": text("its beginning"),
})
_MANY = fields({"deliveries": _COUNT}, ("deliveries",))


def _instants(clock: str) -> dict[str, Schema]:
    return {
        "since": text(f"an instant ({clock})", format="date-time"),
        "until": text(f"an instant ({clock}), itself excluded", format="date-time"),
    }


_RANGE: tuple[Schema, ...] = (
    query("since", "made since (business time)", {"type": "string", "format": "date-time"}),
    query("until", "made before (business time)", {"type": "string", "format": "date-time"}),
)

DESCRIBED: dict[str, Schema] = {
    "/admin/webhooks/endpoints": {"get": operator("Where merchants are told, and how that goes", answers(
        "the endpoints", fields({"endpoints": rows(_ENDPOINT)}, ("endpoints",)), "400", "401"), parameters=(OF_MERCHANT,))},
    "/admin/webhooks/deliveries": {"get": operator("What merchants were told, newest first", answers("one page", fields({
        "deliveries": rows(_DELIVERY), "next": {"type": ["string", "null"], "description": "the next page's `after`"}}, ("deliveries", "next")),
        "400", "401"), parameters=(
            OF_MERCHANT, query("state", "only these", {"type": "string", "enum": list(STATES)}), *_RANGE,
            query("after", "the page behind this delivery"),
            query("limit", "so many", {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": USUAL})))},
    "/admin/webhooks/deliveries/{id}": {"get": operator("One delivery with its bytes and its log", answers("the delivery", fields({
        **_DELIVERY, "body": {"type": ["string", "null"], "description": "null once it was erased"}, "log": _LOG}), "401", "404"),
        parameters=(path("id", "merchant:endpoint:payment:sequence"),))},
    "/admin/webhooks/redeliver": {"post": operator(
        "Tell again: one delivery, all that were given up, or those made in a range",
        answers("how many deliveries begin anew", _MANY, "400", "401", "404", "409"), body=fields({
            "delivery": text("the id of one"), "failed": {"const": True}, **_instants("business time"),
            "merchant": text("only this merchant's; not with delivery"), "url": text("tell copies at this address instead")},
            additionalProperties=False))},
    "/admin/webhooks/replay": {"post": operator(
        "Hand events committed in a range (wall time) to the addresses of today that did not get them",
        answers("how many deliveries were made", _MANY, "400", "401", "409"), body=fields({
            **_instants("wall time; of notices of plans business time; not needed with plan"), "merchant": text("only this merchant's"),
            "plan": text("only the notices of this plan of the merchant's"), "event": text("only events or notices of this name"),
            }, additionalProperties=False))},
}
