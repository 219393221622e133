"""Retention for operators: what is kept how long, what would go, and the order to let it go.

Parses, asks the engine, and writes what it says.  Decides nothing about what goes.
"""
from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, only, read_object, text_of
from ringfence.api.aps.door import order_key, verification_key
from ringfence.api.describing import Schema, answers, fields, operator, rows, text
from ringfence.api.http import error_response, json_response
from ringfence.engine.retention import Desk, Refused


def routes(guard: Callable[[Endpoint], Endpoint], desk: Desk) -> list[Route]:
    """``/admin/retention``."""
    async def answer(request: Request) -> Response:
        return json_response((await desk.show()).as_json()) if request.method != "POST" else await _run(desk, request)

    return [Route("/admin/retention", guard(answer), methods=["GET", "POST"])]


async def _run(desk: Desk, request: Request) -> Response:
    given = await read_object(request)
    only(given, "dry_run", "payment", "merchant")
    dry_run = given.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise BadInput("dry_run", "must be true or false")
    if "payment" not in given:
        if "merchant" in given:
            raise BadInput("merchant", "goes with a payment only")
        report = await desk.run(dry_run=dry_run)
    else:
        name, merchant = text_of(given, "payment"), text_of(given, "merchant", "") or None
        named = await desk.named(name, [order_key(name), verification_key(name)], merchant)
        if not named:
            return error_response(404, "no payment has that id or reference")
        if len(named) > 1:
            several = ", ".join(f"{one.payment_id} of {one.merchant}" for one in named)
            return error_response(409, f"several payments have that name: {several}; say whose, or give the id")
        report = await desk.run(dry_run=dry_run, payment=named[0])
    return error_response(409, report.reason) if isinstance(report, Refused) else json_response(report.as_json())


_REPORT = fields({
    "at": text("business time of the run", format="date-time"),
    "policy": fields({name: {"type": "integer"} for name in ("card_days", "personal_days", "delivery_days", "report_days")}),
    "dry_run": {"type": "boolean"},
    "payment": {"type": ["string", "null"], "description": "the one payment it was about"},
    "lines": rows({
        "what": text("cards, details, holders, plans, links, deliveries, sdk_tokens or reports"), "reason": text("why these go"),
        "count": {"type": "integer"},
    }, ("what", "reason", "count")),
}, ("at", "policy", "dry_run", "payment", "lines"))

#: The paths of this module, for machines.
DESCRIBED: dict[str, Schema] = {
    "/admin/retention": {
        "get": operator("How long what is kept, and what a run would erase now", answers("the policy and the counts", _REPORT, "401")),
        "post": operator(
            "Erase what nothing needs any more, or what can go of one payment",
            answers("what went", _REPORT, "400", "401", "404", "409"), body=fields({
                "dry_run": {"type": "boolean", "description": "only say what would go"},
                "payment": text("a payment's id, or the reference it was begun with: everything of it that can go, whatever its age"),
                "merchant": text("whose payment it is, where several have the name"),
            }, additionalProperties=False)),
    },
}
