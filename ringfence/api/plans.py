"""Plans for operators: payments that the service repeats by itself.

Reads what is wished, asks the engine, and writes what it says.  Decides nothing about plans.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, merchant_of, only, read_object, text_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, path, query, rows, text
from ringfence.api.http import error_response, json_response
from ringfence.core.link import State as LinkState
from ringfence.core.plan import Failed, Kind, Missed, Period, State, Status, reference_of
from ringfence.core.schedule import Unit
from ringfence.engine.clock import parse_duration, parse_instant
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.plan_terms import schedule_of
from ringfence.engine.plans import MOST_LISTED, MOST_NOTICE_DAYS, Change, Due, NotNow, NotThere, Plans, Shown, Wish, coming

PAGE = 100
SOON = timedelta(days=30)
"""How far ahead is looked where nobody says."""
FAR = timedelta(days=366 * 10)
NEXT = 5
"""So many due dates ahead are shown with a plan."""


class Services(NamedTuple):
    """What the endpoints work with; ``now`` is business time."""

    directory: Directory
    plans: Plans
    now: Callable[[], datetime]


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/plans``."""
    def guarded(endpoint: Callable[[Services, Request], Awaitable[Response]]) -> Endpoint:
        return guard(lambda request: endpoint(services, request))

    one = "/admin/plans/{merchant}/{plan}"
    return [
        Route("/admin/plans", guarded(_plans), methods=["GET", "POST"]),
        Route("/admin/plans/due", guarded(_due)),
        Route(one, guarded(_plan), methods=["GET", "PATCH"]),
        Route(one + "/pause", guarded(_pause), methods=["POST"]),
        Route(one + "/resume", guarded(_resume), methods=["POST"]),
        Route(one + "/end", guarded(_end), methods=["POST"]),
    ]


# ---------------------------------------------------------------------------------------------------------- endpoints

async def _plans(services: Services, request: Request) -> Response:
    return await (_create if request.method == "POST" else _list)(services, request)


async def _list(services: Services, request: Request) -> Response:
    merchant = _number_of(services, request)
    status = request.query_params.get("status")
    if status is not None and status not in list(Status):
        raise BadInput("status", f"must be {', '.join(Status)}")
    limit, after = _limit(request), _after(services, request.query_params.get("after"))
    found = await services.plans.list(merchant, status, after, limit)
    names = {one.merchant_id: one.identifier for one in services.directory.merchants()}
    more = f"{names[found[-1].merchant_id]}:{found[-1].number}" if len(found) == limit else None
    return json_response({"plans": [shown(services, one) for one in found], "next": more})


async def _create(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "merchant", *_WISHED)
    merchant = services.directory.merchant(text_of(given, "merchant"))
    if merchant is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    wish = Wish(
        text_of(given, "plan_id"), text_of(given, "kind", Kind.CHARGE), text_of(given, "token_name", ""), _whole(given, "amount"),
        text_of(given, "currency"), text_of(given, "customer_email"), text_of(given, "description", ""), _day(given, "start"),
        _whole(given, "every", 1), text_of(given, "unit", Unit.MONTH), _whole_or_none(given, "anchor"), text_of(given, "zone", "UTC"),
        _day(given, "until"), _whole_or_none(given, "count"), text_of(given, "missed", Missed.CHARGE), text_of(given, "failed", Failed.PAUSE),
        _whole(given, "notice_days", 0))
    if wish.kind == Kind.CHARGE and not wish.token_name:
        raise BadInput("token_name", "is missing; a plan of kind charge needs the token of a card")
    return _answered(services, await services.plans.create(merchant, wish), 201)


async def _plan(services: Services, request: Request) -> Response:
    merchant, plan_id = _named(services, request)
    if merchant is None:
        return _nothing()
    if request.method != "PATCH":
        found = await services.plans.show(merchant, plan_id, _limit(request))
        return _nothing() if found is None else json_response(_in_full(services, found))
    given = await read_object(request)
    only(given, *_CHANGED)
    if not given:
        raise BadInput("body", f"changes nothing; there are {', '.join(_CHANGED)}")
    change = Change(
        _text_or_none(given, "token_name"), _whole_or_none(given, "amount"), _text_or_none(given, "customer_email"),
        _text_or_none(given, "description"), _day(given, "until"), _whole_or_none(given, "count"), _text_or_none(given, "missed"),
        _text_or_none(given, "failed"), _whole_or_none(given, "notice_days"))
    return _answered(services, await services.plans.change(merchant, plan_id, change))


async def _pause(services: Services, request: Request) -> Response:
    return await _told_why(services, request, services.plans.pause, "it was paused by hand")


async def _end(services: Services, request: Request) -> Response:
    return await _told_why(services, request, services.plans.end, "it was ended by hand")


async def _told_why(services: Services, request: Request, act: Callable[[Merchant, str, str], Awaitable[Any]], default: str) -> Response:
    given = await read_object(request)
    only(given, "reason")
    reason = text_of(given, "reason", default)
    if len(reason) > 200:
        raise BadInput("reason", "must be at most 200 characters")
    merchant, plan_id = _named(services, request)
    return _nothing() if merchant is None else _answered(services, await act(merchant, plan_id, reason))


async def _resume(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "charge_missed")
    charge_missed = given.get("charge_missed", False)
    if not isinstance(charge_missed, bool):
        raise BadInput("charge_missed", "must be true or false")
    merchant, plan_id = _named(services, request)
    if merchant is None:
        return _nothing()
    return _answered(services, await services.plans.resume(merchant, plan_id, charge_missed=charge_missed))


async def _due(services: Services, request: Request) -> Response:
    now, given = services.now(), request.query_params.get("until")
    length = parse_duration(given) if given else SOON
    until = now + min(length, 2 * FAR) if length is not None else parse_instant(given or "")
    if until is None or not now <= until <= now + FAR:
        raise BadInput("until", "must be an instant such as 2026-11-21T12:00:00Z, or a length such as 40d, at most ten years ahead")
    found = await services.plans.due(_number_of(services, request), until, _limit(request))
    return json_response({"until": until, "due": [_due_json(services, one) for one in found]})


# ---------------------------------------------------------------------------------------------------------- reading input

_WISHED = ("plan_id", "kind", "token_name", "amount", "currency", "customer_email", "description", "start", "every", "unit", "anchor", "zone",
           "until", "count", "missed", "failed", "notice_days")
_CHANGED = ("token_name", "amount", "customer_email", "description", "until", "count", "missed", "failed", "notice_days")


def _named(services: Services, request: Request) -> tuple[Merchant | None, str]:
    plan_id = request.path_params["plan"]
    merchant = services.directory.merchant(request.path_params["merchant"])
    return (merchant if plan_id.isprintable() and plan_id.isascii() else None), plan_id


def _number_of(services: Services, request: Request) -> int | None:
    identifier = merchant_of(services.directory, request)
    merchant = None if identifier is None else services.directory.merchant(identifier)
    return merchant and merchant.merchant_id


def _after(services: Services, given: str | None) -> tuple[int, int] | None:
    if given is None:
        return None
    identifier, _, number = given.rpartition(":")
    merchant = services.directory.merchant(identifier)
    if merchant is None or not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise BadInput("after", "must be the next of the page before")
    return merchant.merchant_id, int(number)


def _limit(request: Request) -> int:
    given = request.query_params.get("limit", str(PAGE))
    if not (given.isascii() and given.isdigit() and len(given) <= 3 and 1 <= int(given) <= MOST_LISTED):
        raise BadInput("limit", f"must be 1 to {MOST_LISTED}")
    return int(given)


def _whole(given: dict[str, Any], name: str, default: int | None = None) -> int:
    value = given.get(name, default)
    if value is None:
        raise BadInput(name, "is missing")
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**31 * 1000:
        raise BadInput(name, "must be a whole number" + (" of minor units" if name == "amount" else ""))
    return value


def _whole_or_none(given: dict[str, Any], name: str) -> int | None:
    return _whole(given, name) if given.get(name) is not None else None


def _text_or_none(given: dict[str, Any], name: str) -> str | None:
    return text_of(given, name) if given.get(name) is not None else None


def _day(given: dict[str, Any], name: str) -> date | None:
    value = _text_or_none(given, name)
    try:
        day = None if value is None else date.fromisoformat(value)
    except ValueError:
        day = date.min
    if day is not None and (len(value or "") != 10 or not 2000 <= day.year < 2200):
        raise BadInput(name, "must be a day such as 2026-11-30")
    return day


# ---------------------------------------------------------------------------------------------------------- answers as JSON

def _nothing() -> Response:
    return error_response(404, "there is no plan of that merchant and id")


def _answered(services: Services, answer: Any, status: int = 200) -> Response:
    match answer:
        case NotThere():
            return _nothing()
        case NotNow(problem):
            return error_response(409, problem)
        case list():
            return json_response({"error": answer[0].problem, "field": answer[0].field,
                                  "errors": [{"field": one.field, "error": one.problem} for one in answer]}, 400)
    return json_response(shown(services, answer), status)


def shown(services: Services, plan: Any) -> dict[str, Any]:
    """A plan for operators, with its next due dates as they stand."""
    merchant = services.directory.by_id(plan.merchant_id)
    active = plan.status == Status.ACTIVE
    ahead = coming(plan, services.now() + FAR, NEXT) if active else []
    return {
        "merchant": merchant.identifier if merchant else "", "plan_id": plan.plan_id, "status": plan.status, "reason": plan.reason,
        "kind": plan.kind, "token_name": plan.token_name, "amount": plan.minor, "currency": plan.currency, "customer_email": plan.email,
        "description": plan.description, "start": plan.start, "every": plan.every, "unit": plan.unit, "anchor": schedule_of(plan).anchor,
        "zone": plan.zone, "until": plan.until, "count": plan.count, "missed": plan.missed, "failed": plan.failed,
        "notice_days": plan.notice_days, "charged": plan.charged, "created_at": plan.created_at, "changed_at": plan.changed_at,
        "next": [{"due_date": one.due_date, "at": one.at} for one in ahead],
    }


def _in_full(services: Services, found: Shown) -> dict[str, Any]:
    attempts: dict[int, list[dict[str, Any]]] = {}
    for one in found.attempts:
        attempts.setdefault(one.place, []).append({
            "attempt": one.attempt, "reference": one.reference, "payment": str(one.payment_id) if one.payment_id else None,
            "result": "sent" if found.plan.kind == Kind.INVOICE and one.result == "approved" else one.result,
            "response_code": one.response_code, "advice": one.advice, "at": one.ended_at})
    return shown(services, found.plan) | {"periods": [{
        "due_date": one.period.due_date, "amount": one.period.minor, "state": one.period.state,
        "next_at": one.period.next_at if one.period.state == "open" else None,
        "reference": reference_of(found.plan.plan_id, one.period.due_date, one.period.attempts) if one.period.attempts else None,
        "payment": str(one.payment_id) if one.payment_id else None, "link": one.link, "invoice": _invoice(found, one.period),
        "reason": one.reason, "changed_at": one.changed_at, "attempts": attempts.get(one.period.place, []),
    } for one in found.periods]}


def _invoice(found: Shown, period: Period) -> str | None:
    """How a sent invoice stands: until somebody pays it, it was only sent."""
    if period.state != State.INVOICED:
        return None
    stands = found.invoices.get(reference_of(found.plan.plan_id, period.due_date, period.attempts), "")
    return stands if stands in (LinkState.PAID, LinkState.EXPIRED, LinkState.CANCELLED) else "sent"


def _due_json(services: Services, one: Due) -> dict[str, Any]:
    merchant = services.directory.by_id(one.plan.merchant_id)
    return {"merchant": merchant.identifier if merchant else "", "plan_id": one.plan.plan_id, "at": one.at, "due_date": one.due_date,
            "what": one.what, "amount": one.minor, "currency": one.plan.currency}


# ---------------------------------------------------------------------------------------------------------- for machines

def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


_DATE: Schema = {"type": ["string", "null"], "format": "date"}
_INTEGER: Schema = {"type": "integer"}
_PLAN = {
    "merchant": text("its identifier"), "plan_id": text("the merchant's name for it", pattern="^[A-Za-z0-9_-]{1,24}$"),
    "status": _one_of(*Status), "reason": text("why it stands so"), "kind": _one_of(*Kind), "token_name": text("the card's token"),
    "amount": {"type": "integer", "description": "minor units, of due dates from the next on"}, "currency": text("ISO 4217"),
    "customer_email": text("the customer's"), "description": text("order_description of every charge"),
    "start": text("the first due date", format="date"), "every": _INTEGER, "unit": _one_of(*Unit),
    "anchor": {"type": "integer", "description": "the day of the month that is meant, 1 to 31"}, "zone": text("where a due date begins"),
    "until": _DATE, "count": {"type": ["integer", "null"]}, "missed": _one_of(*Missed), "failed": _one_of(*Failed),
    "notice_days": {"type": "integer", "description": f"0 to {MOST_NOTICE_DAYS}; 0 for no notice before a due date"},
    "charged": {"type": "integer", "description": "due dates that were charged or invoiced"},
    "created_at": text("business time", format="date-time"), "changed_at": text("business time", format="date-time"),
    "next": {**rows({"due_date": text("the day", format="date"), "at": text("when it begins", format="date-time")}, ("due_date", "at")),
             "description": f"the next {NEXT} due dates"},
}
_REQUIRED = tuple(_PLAN)
_OR_NULL: Schema = {"type": ["string", "null"]}
_PERIOD = {
    "due_date": text("the day", format="date"), "amount": _INTEGER, "state": text("open, asked, charged, invoiced, failed, skipped or dropped"),
    "next_at": _OR_NULL, "reference": _OR_NULL, "payment": _OR_NULL, "link": text("of its invoice"),
    "invoice": {"type": ["string", "null"], "enum": ["sent", "paid", "expired", "cancelled", None]}, "reason": text("why it stands so"),
    "changed_at": text("business time", format="date-time"), "attempts": rows({
        "attempt": _INTEGER, "reference": text("merchant_reference"), "payment": _OR_NULL,
        "result": text("approved, sent (an invoice), declined, reversed, not_asked, or taken: the reference is another order's"),
        "response_code": text("DE 39"), "advice": text("merchant advice code"),
        "at": text("business time", format="date-time"),
    }, ("attempt", "reference", "payment", "result", "response_code", "advice", "at")),
}
_NAMED = (path("merchant", "the merchant's identifier"), path("plan", "the plan's id"))
_LIMIT = query("limit", f"1 to {MOST_LISTED}", _INTEGER)
_WHY = fields({"reason": text("kept with the plan, and told")}, additionalProperties=False)
_CHANGES = {name: _PLAN[name] for name in _CHANGED} | {"until": {"type": "string", "format": "date"}, "count": _INTEGER}
_WISHES = {name: _PLAN[name] for name in _WISHED} | {"merchant": _PLAN["merchant"], "until": {"type": "string", "format": "date"}, "count": _INTEGER}


def _act(summary: str, body: Schema) -> Schema:
    return {"post": operator(summary, answers("the plan", fields(_PLAN, _REQUIRED), "400", "401", "404", "409"), parameters=_NAMED, body=body)}


DESCRIBED: dict[str, Schema] = {
    "/admin/plans": {
        "get": operator("Plans, in the order they were made", answers("a page of them", fields(
            {"plans": rows(_PLAN, _REQUIRED), "next": {"type": ["string", "null"], "description": "`after` of the next page"}},
            ("plans", "next")), "400", "401"),
            parameters=(OF_MERCHANT, query("status", "only those", _one_of(*Status)), query("after", "the page behind this one"), _LIMIT)),
        "post": operator("Make a plan", answers("the plan", fields(_PLAN, _REQUIRED), "400", "401", "409", status="201"), body=fields(
            _WISHES, ("merchant", "plan_id", "amount", "currency", "customer_email", "start"), additionalProperties=False)),
    },
    "/admin/plans/due": {"get": operator("What is due up to an instant, as it stands", answers("the next first", fields({
        "until": text("business time", format="date-time"), "due": rows({
            "merchant": _PLAN["merchant"], "plan_id": _PLAN["plan_id"], "at": text("business time", format="date-time"),
            "due_date": text("the day", format="date"), "what": text("charge, retry or invoice"), "amount": _INTEGER, "currency": text("ISO 4217"),
        }, ("merchant", "plan_id", "at", "due_date", "what", "amount", "currency")),
    }, ("until", "due")), "400", "401"), parameters=(OF_MERCHANT, query("until", "an instant, or a length such as 40d"), _LIMIT))},
    "/admin/plans/{merchant}/{plan}": {
        "get": operator("A plan with its last due dates and their attempts", answers("the plan", fields(
            {**_PLAN, "periods": rows(_PERIOD, tuple(_PERIOD))}, (*_REQUIRED, "periods")), "400", "401", "404"), parameters=(*_NAMED, _LIMIT)),
        "patch": operator("Change a plan: its card at once, its amount from the next due date", answers(
            "the plan", fields(_PLAN, _REQUIRED), "400", "401", "404", "409"), parameters=_NAMED, body=fields(_CHANGES, additionalProperties=False)),
    },
    "/admin/plans/{merchant}/{plan}/pause": _act("Let nothing of a plan begin", _WHY),
    "/admin/plans/{merchant}/{plan}/resume": _act("Go on with a paused or stopped plan", fields(
        {"charge_missed": {"type": "boolean", "description": "charge what fell due meanwhile, instead of skipping it"}}, additionalProperties=False)),
    "/admin/plans/{merchant}/{plan}/end": _act("End a plan", _WHY),
}
