"""The sandbox's clock for operators: what it shows, what will fire by when, and moving it.

Parses, asks, and writes what it is told.  How the clock is moved, and what is due, is known below.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, only, read_object, text_of
from ringfence.api.describing import Schema, answers, fields, operator, query, rows, text
from ringfence.api.http import error_response, json_response
from ringfence.engine.clock import LATEST, Clock, ClockError, WallClock, parse_duration, parse_instant
from ringfence.engine.timeline import Busy, Stepped, Upcoming

IS_LIVE = "the clock of live mode cannot be moved"


class Services(NamedTuple):
    """What the endpoints work with.

    ``due(now, until)``: what becomes due between two instants of business time.  ``advance`` moves the clock to an instant or by a
    length, with all that fires on the way; it raises ``ClockError`` and ``Busy``.
    """

    clock: Clock | WallClock
    due: Callable[[datetime, datetime], Awaitable[Sequence[Upcoming]]]
    advance: Callable[[datetime | timedelta], Awaitable[Stepped]]


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """``/admin/clock`` and below."""
    async def clock(request: Request) -> Response:
        return await _moved(services, request) if request.method == "POST" else json_response(_reading(services.clock))

    async def due(request: Request) -> Response:
        return await _due(services, request)

    return [Route("/admin/clock", guard(clock), methods=["GET", "POST"]), Route("/admin/clock/due", guard(due))]


def _reading(clock: Clock | WallClock) -> dict[str, Any]:
    reading = clock.show()
    return {
        "now": reading.now, "wall": reading.wall, "ahead_seconds": reading.ahead // timedelta(microseconds=1) / 1e6,
        "frozen": reading.frozen, "movable": clock.movable,
    }


async def _moved(services: Services, request: Request) -> Response:
    clock, order = services.clock, await read_object(request)
    if not isinstance(clock, Clock):
        return error_response(409, IS_LIVE)
    only(order, "advance", "to", "freeze", "resume")
    if len(order) != 1:
        raise BadInput("body", "must name one of advance, to, freeze, resume")
    name, value = next(iter(order.items()))
    if name in ("freeze", "resume"):
        if value is not True:
            raise BadInput(name, "must be true")
        clock.freeze() if name == "freeze" else clock.resume()
        return json_response(_reading(clock))
    until = _instant("to", text_of(order, "to")) if name == "to" else _length("advance", value)
    try:
        stepped = await services.advance(until)
    except ClockError as refused:
        raise BadInput(name, str(refused)) from refused
    except Busy:
        return error_response(409, "the clock is being moved already; wait until that has ended")
    return json_response(_reading(clock) | {
        "fired": _listed(stepped.fired), "steps": stepped.steps, "settled": stepped.settled,
    })


async def _due(services: Services, request: Request) -> Response:
    given = request.query_params
    if len(given) != 1 or next(iter(given)) not in ("by", "to"):
        raise BadInput("by", "say by which length of time (by=46h), or to which instant (to=2027-01-01T00:00:00Z)")
    name, value = next(iter(given.items()))
    now = services.clock.now()
    try:
        until = _instant("to", value) if name == "to" else now + _length("by", value)
    except OverflowError:
        until = LATEST + timedelta(days=1)
    if until > LATEST:
        raise BadInput(name, f"the clock cannot be moved beyond {LATEST:%Y-%m-%d}")
    if until < now:
        raise BadInput(name, "the clock only goes forward")
    return json_response({"now": now, "until": until, "due": _listed(await services.due(now, until))})


def _length(name: str, value: object) -> timedelta:
    try:
        by = timedelta(seconds=value) if type(value) is int else parse_duration(value) if isinstance(value, str) else None
    except OverflowError:
        by = None
    if by is None:
        raise BadInput(name, "must be a length of time such as 46h or 7d12h, or whole seconds")
    return by


def _instant(name: str, value: str) -> datetime:
    instant = parse_instant(value)
    if instant is None:
        raise BadInput(name, "must be an ISO 8601 instant with its offset")
    return instant


def _listed(told: Sequence[Upcoming]) -> list[dict[str, Any]]:
    return [one._asdict() for one in told]


_CLOCK = {
    "now": text("business time", format="date-time"), "wall": text("wall time", format="date-time"), "ahead_seconds": {"type": "number"},
    "frozen": {"type": "boolean", "description": "whether it stands"},
    "movable": {"type": "boolean", "description": "false in live mode"},
}
_SHOWN = ("now", "wall", "ahead_seconds", "frozen", "movable")
_DUE = rows({
    "what": text("what becomes due"), "count": {"type": "integer"}, "first": text("the first instant", format="date-time"),
    "last": text("the last instant", format="date-time"),
}, ("what", "count", "first", "last"))
_FIRED = {
    "fired": _DUE, "steps": {"type": "integer", "description": "stops on the way, one for each due instant unless there are very many"},
    "settled": {"type": "boolean", "description": "whether all that became due was done in time"},
}
_ORDERS = {
    "advance": {"type": ["string", "integer"], "description": "a length such as 46h or 7d12h, or whole seconds"},
    "to": text("an instant (ISO 8601 with its offset)", format="date-time"),
    "freeze": {"const": True, "description": "let it stand"}, "resume": {"const": True, "description": "let it run on"},
}

#: The paths of this module, for machines.
DESCRIBED: dict[str, Schema] = {
    "/admin/clock": {
        "get": operator("Business time", answers("the clock", fields(_CLOCK, _SHOWN), "401")),
        "post": operator(
            "Move the sandbox's clock: everything that is due on the way fires, in order",
            answers("the clock, and after a move what fired", fields(_CLOCK | _FIRED, _SHOWN), "400", "401", "409"),
            body=fields(_ORDERS, minProperties=1, maxProperties=1, additionalProperties=False)),
    },
    "/admin/clock/due": {
        "get": operator(
            "What will fire if the clock is moved",
            answers("the list", fields({
                "now": text("business time", format="date-time"), "until": text("the end of the way", format="date-time"), "due": _DUE,
            }, ("now", "until", "due")), "400", "401"),
            parameters=(query("by", "a length of time such as 46h; this or `to`"), query("to", "an instant; this or `by`"))),
    },
}
