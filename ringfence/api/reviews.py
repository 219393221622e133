"""The operator's API: operations in doubt, and what a person decides about them.

Parses, calls ``engine/review``, and writes what it says.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, flag_of, merchant_of, only, read_object, text_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, path, query, rows, text
from ringfence.api.http import error_response, json_response
from ringfence.engine import review
from ringfence.engine.directory import Directory
from ringfence.engine.review import Refused, Why
from ringfence.engine.story import Window


class Services(NamedTuple):
    """What the endpoints work with; ``now`` is business time, ``asked`` says when an operation of an id was asked."""

    pool: asyncpg.Pool
    directory: Directory
    now: Callable[[], datetime]
    asked: Callable[[int], Window]


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/reviews``."""
    async def listed(request: Request) -> Response:
        found = await review.listed(
            services.pool, services.now(), merchant_of(services.directory, request), every=flag_of(request, "all"))
        return json_response({"reviews": [shown(row, services.now()) for row in found]})

    async def one(request: Request) -> Response:
        operation = request.path_params["operation"]
        if request.method == "POST":
            given = await read_object(request)
            only(given, "as", "amount", "reason", "evidence", "by")
            amount = given.get("amount")
            if amount is not None and type(amount) is not int:
                raise BadInput("amount", "must be whole minor units")
            decided = await review.decide(
                services.pool, services.now(), operation, text_of(given, "as"), amount, text_of(given, "reason"),
                text_of(given, "evidence"), text_of(given, "by"), asked=services.asked)
            if isinstance(decided, Refused):
                return error_response(STATUS[decided.why], decided.problem, decided.field)
            return json_response(shown(decided, services.now()))
        found = await review.shown(services.pool, operation, asked=services.asked)
        if found is None:
            return error_response(404, "there is no operation of that id", "operation")
        attempts = [{"attempt": one.attempt, "result": one.result, "code": one.code, "at": one.at} for one in found.attempts]
        return json_response(shown(found.row, services.now()) | {
            "attempts": attempts, "choices": list(found.choices), "story": list(found.story)})

    return [
        Route("/admin/reviews", guard(listed)),
        Route("/admin/reviews/{operation}", guard(one), methods=["GET", "POST"]),
    ]


STATUS = {Why.NOT_THERE: 404, Why.ENDED: 409, Why.WRONG: 400}


def shown(row: review.Row, now: datetime) -> dict[str, Any]:
    """An operation for operators; ids are texts, they have 63 bits."""
    return {
        "merchant": row.merchant, "payment": str(row.payment_id), "operation": str(row.operation_id), "kind": row.kind, "minor": row.minor,
        "currency": row.currency, "door": row.door, "reference": row.reference, "processor": row.processor, "asked_at": row.asked_at,
        "age_seconds": int((now - row.asked_at).total_seconds()), "tries": row.tries, "note": row.note, "due_at": row.due_at,
        "deadline_at": row.deadline_at, "reversal_left": row.reversal_left, "decided": row.decided, "ended": row.ended,
    }


_INSTANT: Schema = {"type": ["string", "null"], "format": "date-time"}
_ROW = {
    "merchant": text("its identifier"), "payment": text("the payment's id"), "operation": text("the operation's id"), "kind": text("what was asked"),
    "minor": {"type": "integer", "description": "minor units"}, "currency": text("ISO 4217"), "door": text("where it was asked"),
    "reference": {"type": ["string", "null"]}, "processor": text("who was asked"), "asked_at": text("business time", format="date-time"),
    "age_seconds": {"type": "integer", "description": "business time"}, "tries": {"type": ["integer", "null"]}, "note": {"type": ["string", "null"]},
    "due_at": _INSTANT, "deadline_at": _INSTANT, "reversal_left": {"type": "boolean"}, "decided": {"type": ["string", "null"]},
    "ended": {"type": ["string", "null"], "description": "how it ended, where it has"},
}
_REQUIRED = tuple(_ROW)
_OPERATION = path("operation", "the operation's id")

DESCRIBED: dict[str, Schema] = {
    "/admin/reviews": {"get": operator(
        "Operations in doubt that wait for a person, the oldest first",
        answers("at most 1000 of them", fields({"reviews": rows(_ROW, _REQUIRED)}, ("reviews",)), "400", "401"),
        parameters=(OF_MERCHANT, query("all", "every operation in doubt, also before its deadline", {"type": "boolean"})))},
    "/admin/reviews/{operation}": {
        "get": operator("One operation in doubt, with its evidence", answers("the operation", fields({
            **_ROW, "attempts": rows({"attempt": {"type": "integer"}, "result": {"type": "string"}, "code": {"type": "string"},
                                      "at": text("business time", format="date-time")}, ("attempt", "result", "code", "at")),
            "choices": {"type": "array", "items": {"type": "string"}, "description": "what a person may decide"},
            "story": {"type": "array", "items": {"type": "string"}, "description": "the payment's story, a sentence each"},
        }, (*_REQUIRED, "attempts", "choices", "story")), "401", "404"), parameters=(_OPERATION,)),
        "post": operator("Decide how a doubt ends", answers("the operation, as it was", fields(_ROW, _REQUIRED), "400", "401", "404", "409"),
                         parameters=(_OPERATION,), body=fields({
                             "as": {"type": "string", "enum": ["approved", "declined", "reversed"]},
                             "amount": {"type": "integer", "description": "approved minor units, where they differ from those asked for"},
                             "reason": text("why"), "evidence": text("what it rests on"), "by": text("who decides"),
                         }, ("as", "reason", "evidence", "by"), additionalProperties=False)),
    },
}
