"""The pull feed of what is no event of a payment: agreements, instruments, disputes, money, reports, and what a door turned down.

Decides how such an event is written.  Refuses to know who was told of it.
"""
from __future__ import annotations

import logging
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, flag_of, merchant_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, query, rows, text
from ringfence.api.events import MESSAGE, MOST, USUAL, Services, message_json, whole_of
from ringfence.api.http import json_response
from ringfence.engine import door_events
from ringfence.engine.directory import Merchant
from ringfence.engine.door_events import BEGINNING, DoorEvent

log = logging.getLogger(__name__)
PATH = "/admin/events/beside"


def routes(guard: Any, services: Services) -> list[Route]:
    """``/admin/events/beside``."""
    async def events(request: Request) -> Response:
        return await _events(services, request)

    endpoint: Endpoint = guard(events)
    return [Route(PATH, endpoint)]


async def _events(services: Services, request: Request) -> Response:
    identifier, rendered = merchant_of(services.directory, request), flag_of(request, "messages")
    after, limit = _cursor(request.query_params.get("after", "")), whole_of(request, "limit", USUAL, MOST)
    asked = [one for one in services.directory.merchants() if identifier in (None, "", one.identifier)]
    found, cursor = await door_events.read(services.pool, [one.merchant_id for one in asked], after, limit)
    by_number = {one.merchant_id: one for one in asked}
    return json_response({
        "events": [event_json(services, by_number[one.merchant_id], one, rendered=rendered) for one in found], "cursor": str(cursor)})


def _cursor(given: str) -> int | None:
    if not given:
        return None
    if given == BEGINNING:
        return 0
    if not (given.isascii() and given.isdigit() and len(given) < 18):
        raise BadInput("after", f"must be the cursor of an earlier answer, {BEGINNING} for all events, or nothing for those from now on")
    return int(given)


def event_json(services: Services, merchant: Merchant, event: DoorEvent, *, rendered: bool = False) -> dict[str, Any]:
    """An event for machines; ``rendered`` adds what the door says of it."""
    shown = {
        "id": f"{event.kind}-{event.subject_id}-{event.sequence}", "type": event.type, "merchant": merchant.identifier, "door": event.door,
        "kind": event.kind, "subject": str(event.subject_id), "sequence": event.sequence, "occurred_at": event.occurred_at,
    }
    return shown | ({"messages": _messages(services, merchant, event)} if rendered else {})


def _messages(services: Services, merchant: Merchant, event: DoorEvent) -> list[dict[str, Any]]:
    notifier = services.notifiers.get(event.door)
    try:
        return [] if notifier is None else [
            message_json(one, notifier.headers(merchant, one.body)) for one in notifier.beside(merchant, event)]
    except Exception:                   # one event that cannot be put into words must not stop all that come after it
        log.exception("event %s of %s %d cannot be put into words", event.type, event.kind, event.subject_id)
        return []


EVENT: Schema = fields({
    "id": text("kind, subject and sequence"), "type": text("what happened"), "merchant": text("whose"), "door": text("in whose words it is told"),
    "kind": text("what it is about: agr, instr, dispute, report, charge"), "subject": text("that one's number"),
    "sequence": {"type": "integer", "minimum": 1, "description": "counts the subject's events without a gap"},
    "occurred_at": text("business time", format="date-time"), "messages": rows(MESSAGE),
}, ("id", "type", "merchant", "door", "kind", "subject", "sequence", "occurred_at"))

DESCRIBED: dict[str, Schema] = {PATH: {"get": operator(
    "Events that are no payment's, in order, from a cursor on", answers("the next events, and the cursor behind them", fields({
        "events": {"type": "array", "items": EVENT}, "cursor": text("for the next call's `after`")}, ("events", "cursor")), "400", "401"),
    parameters=(
        query("after", "the cursor of the answer before; `begin` for all events, nothing for those from now on"),
        query("limit", "about so many events", {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}),
        OF_MERCHANT, query("messages", "add what the merchant is told", {"type": "boolean"}),
    ))}}
