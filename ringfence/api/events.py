"""The pull feed: events in the order of the chain's links, for whoever asks with the cursor that the answer before gave.

Decides how an event is written, and how long an empty answer waits for the next one.  Refuses to know who was told of it.
"""
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, flag_of, merchant_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, query, rows, text
from ringfence.api.http import json_response
from ringfence.engine import feed
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.feed import Cursor, Message, Notifier, Occurred

log = logging.getLogger(__name__)

MOST, USUAL = 1_000, 100
"""Events of one answer: at most, and where nobody says.  A batch is never parted, so there may be some more."""
LONGEST_SECONDS = 25.0
LOOK_SECONDS = 0.1
"""How long an empty answer may be held back, and how often it looks meanwhile (wall time)."""


class Services(NamedTuple):
    """What the feed reads.  ``notifiers`` are the doors' words for events, by door."""

    pool: asyncpg.Pool
    directory: Directory
    notifiers: Mapping[str, Notifier]


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """``/admin/events``."""
    async def events(request: Request) -> Response:
        return await _events(services, request)

    return [Route("/admin/events", guard(events))]


async def _events(services: Services, request: Request) -> Response:
    identifier, rendered = merchant_of(services.directory, request), flag_of(request, "messages")
    limit, wait = whole_of(request, "limit", USUAL, MOST), _wait(request)
    merchant = services.directory.merchant(identifier) if identifier else None
    cursor = await _cursor(services, request.query_params.get("after", ""))
    until = time.monotonic() + wait
    while True:
        async with services.pool.acquire() as connection:
            page, cursor = await feed.read(connection, cursor, limit)
        told = [event for event in page if merchant is None or event.merchant_id == merchant.merchant_id]
        if told or time.monotonic() >= until:
            break
        if not page:
            await asyncio.sleep(LOOK_SECONDS)
    shown = [event_json(services, event, rendered=rendered) for event in told]
    return json_response({"events": shown, "cursor": feed.cursor_text(cursor)})


async def _cursor(services: Services, after: str) -> Cursor:
    if not after:
        async with services.pool.acquire() as connection:
            return await feed.heads(connection)
    cursor = feed.parse_cursor(after)
    if cursor is None:
        raise BadInput("after", f"must be the cursor of an earlier answer, {feed.BEGINNING} for all events, or nothing for those from now on")
    return cursor


def whole_of(request: Request, name: str, usual: int, most: int) -> int:
    """A whole number of the query, from 1 to *most*."""
    given = request.query_params.get(name) or str(usual)
    if not (given.isascii() and given.isdigit() and len(given) < 10 and 1 <= int(given) <= most):
        raise BadInput(name, f"must be a whole number from 1 to {most}")
    return int(given)


def _wait(request: Request) -> float:
    given = request.query_params.get("wait") or "0"
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise BadInput("wait", f"must be 0 to {LONGEST_SECONDS:g} seconds")
    return seconds


# ---------------------------------------------------------------------------------------------------------- events as JSON

def event_json(services: Services, event: Occurred, *, rendered: bool = False) -> dict[str, Any]:
    """An event for machines: ids are texts, amounts minor units; ``rendered`` adds what the doors say of it."""
    merchant = services.directory.by_id(event.merchant_id)
    operation = None if event.kind is None else {
        "id": str(event.operation_id), "attempt": event.attempt, "kind": event.kind, "amount": event.minor, "currency": event.currency,
        "reference": event.reference, "door": event.door, "actor": event.actor,
    }
    outcome = None if event.result is None else {
        "result": event.result, "amount": event.approved, "response_code": event.response_code,
    }
    shown = {
        "id": f"{event.payment_id}-{event.sequence}", "type": event.event, "merchant": merchant.identifier if merchant else None,
        "payment": str(event.payment_id), "reference": event.first_reference, "sequence": event.sequence, "occurred_at": event.occurred_at,
        "operation": operation, "outcome": outcome,
    }
    if rendered:
        shown["messages"] = _messages(services, merchant, event) if merchant else []
    return shown


def _messages(services: Services, merchant: Merchant, event: Occurred) -> list[dict[str, Any]]:
    """The words of the door that the payment came by, and of the one that acted; none where they cannot be found."""
    doors = dict.fromkeys((event.origin, event.door))
    try:
        return [message_json(message, services.notifiers[door].headers(merchant, message.body))
                for door in doors if door in services.notifiers for message in services.notifiers[door].messages(merchant, event)]
    except Exception:                   # one event that cannot be put into words must not stop all that come after it
        log.exception("event %s of payment %d, number %d, cannot be put into words", event.event, event.payment_id, event.sequence)
        return []


def message_json(message: Message, headers: Mapping[str, str]) -> dict[str, Any]:
    """What a merchant would be sent now, whether or not it has an address for it."""
    return {"purpose": message.purpose, "url": message.url, "content_type": message.content_type, "headers": headers,
            "body": message.body.decode("utf-8")}


# ---------------------------------------------------------------------------------------------------------- described for machines

_NULLABLE: Schema = {"type": ["string", "null"]}
_COUNT: Schema = {"type": "integer"}
MESSAGE: Schema = {
    "purpose": text("which of the merchant's addresses"), "url": text("empty where it has none"),
    "content_type": text("of the body"), "body": text("as it is sent"),
    "headers": {"type": "object", "additionalProperties": {"type": "string"}, "description": "the door's own, signed now"}}
EVENT: Schema = fields({
    "id": text("payment and sequence"), "type": text("what happened"), "merchant": _NULLABLE, "payment": text("the payment's id"),
    "reference": _NULLABLE, "sequence": {"type": "integer", "minimum": 1, "description": "counts the payment's events without a gap"},
    "occurred_at": text("business time", format="date-time"),
    "operation": {"description": "null for a fact from outside", "oneOf": [{"type": "null"}, fields({
        "id": text("the operation's id"), "attempt": _COUNT, "kind": text("what was asked"), "amount": {"type": ["integer", "null"]},
        "currency": _NULLABLE, "reference": _NULLABLE, "door": _NULLABLE, "actor": _NULLABLE})]},
    "outcome": {"description": "null where the event's commit wrote none", "oneOf": [{"type": "null"}, fields({
        "result": text("how it ended"), "amount": {"type": ["integer", "null"]}, "response_code": _NULLABLE})]},
    "messages": rows(MESSAGE),
}, ("id", "type", "payment", "sequence", "occurred_at", "operation", "outcome"))

DESCRIBED: dict[str, Schema] = {"/admin/events": {"get": operator(
    "Events in order, from a cursor on", answers("the next events, and the cursor behind them", fields({
        "events": {"type": "array", "items": EVENT}, "cursor": text("for the next call's `after`")}, ("events", "cursor")), "400", "401"),
    parameters=(
        query("after", "the cursor of the answer before; `begin` for all events, nothing for those from now on"),
        query("limit", "about so many events", {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}),
        query("wait", "seconds to wait for an event where there is none", {"type": "number", "minimum": 0, "maximum": LONGEST_SECONDS, "default": 0}),
        OF_MERCHANT, query("messages", "add what the merchant is told", {"type": "boolean"}),
    ))}}
