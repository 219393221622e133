"""The operator's API: disputes, what is known of them, and what a merchant answers through an operator.

Parses, calls ``engine/disputes``, and writes what it says.  In a sandbox it has the issuer raise one.
"""
from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, flag_of, merchant_of, only, read_object, text_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, path, query, rows, text
from ringfence.api.http import error_response, json_response, read_body
from ringfence.core.dispute import Act, Action, Refusal
from ringfence.engine.directory import Directory
from ringfence.engine.dispute_reading import CaseRow, Cases, Shown
from ringfence.engine.disputes import LARGEST_FILE, Desk, Evidence, NotThere, TooMuch, Why
from ringfence.engine.retention import named

FILE_BODY = LARGEST_FILE * 4 // 3 + 4096
"""Bytes of a body that brings a file, as base64."""
MOST = 200


class Services(NamedTuple):
    """What the endpoints work with.

    ``name`` and ``number`` give a dispute its public name and read it, ``charge`` reads a payment's; ``keys``: what a first operation of a
    reference claims; ``begin`` has an issuer raise a case (``None`` in live mode), ``listen`` hears it at once (``None``: a service will).
    """

    pool: asyncpg.Pool
    directory: Directory
    desk: Desk
    cases: Cases
    now: Callable[[], datetime]
    name: Callable[[int], str]
    number: Callable[[str], int | None]
    charge: Callable[[str], int | None]
    keys: Callable[[str], list[str]]
    begin: Callable[[str, int, int, str, str, int], Awaitable[str | None]] | None
    listen: Callable[[], Awaitable[object]] | None


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/disputes``."""
    def guarded(endpoint: Callable[[Services, Request], Awaitable[Response]]) -> Endpoint:
        return guard(lambda request: endpoint(services, request))

    return [
        Route("/admin/disputes", guarded(_all), methods=["GET", "POST"]),
        Route("/admin/disputes/{dispute}", guarded(_one)),
        Route("/admin/disputes/{dispute}/actions", guarded(_act), methods=["POST"]),
        Route("/admin/disputes/{dispute}/messages", guarded(_write), methods=["POST"]),
        Route("/admin/disputes/{dispute}/files", guarded(_attach), methods=["POST"]),
        Route("/admin/disputes/{dispute}/files/{file}", guarded(_file)),
    ]


async def _all(services: Services, request: Request) -> Response:
    if request.method == "POST":
        return await _raise(services, request)
    identifier = merchant_of(services.directory, request)
    merchant = None if identifier is None else services.directory.merchant(identifier)
    found = await services.cases.listed(merchant and merchant.merchant_id, is_open=flag_of(request, "open"), limit=MOST)
    return json_response({"disputes": [shown(services, row) for row in found]})


async def _raise(services: Services, request: Request) -> Response:
    if services.begin is None:
        return error_response(409, "disputes are raised by issuers; only a sandbox can be asked to")
    given = await read_object(request)
    only(given, "payment", "merchant", "scenario", "capture", "amount")
    name = text_of(given, "payment")
    payment_id = services.charge(name)
    reference = name if payment_id is None else str(payment_id)
    found = await named(services.pool, reference, services.keys(reference), text_of(given, "merchant") if "merchant" in given else None)
    if len(found) != 1:
        return error_response(404, "there is no payment of that name" if not found else "several payments have that name; use its id", "payment")
    payment = found[0]
    merchant = services.directory.by_id(payment.merchant_id)
    assert merchant is not None, "its payment was found"
    captures = await services.cases.captured(payment.merchant_id, payment.payment_id)
    if not captures:
        return error_response(409, "nothing was captured of this payment", "payment")
    wanted = given.get("capture")
    capture = next((one for one in captures if wanted in (None, str(one.operation_id))), None)
    if capture is None:
        return error_response(404, "the payment has no such capture", "capture")
    minor = given.get("amount", capture.minor)
    if type(minor) is not int or not 0 < minor <= capture.minor:
        raise BadInput("amount", f"must be 1 to {capture.minor} minor units")
    try:
        case = await services.begin(
            text_of(given, "scenario", "0701"), capture.operation_id, payment.payment_id, merchant.identifier, capture.currency, minor)
    except ValueError as error:
        raise BadInput("scenario", str(error)) from None
    if case is None:
        return error_response(409, "there is a case about this capture already")
    if services.listen is not None:
        await services.listen()
    row = await services.cases.named(payment.merchant_id, capture.processor, case)
    return json_response({"case": case, "dispute": None if row is None else shown(services, row)}, 201)


async def _one(services: Services, request: Request) -> Response:
    number = _number(services, request)
    found = None if number is None else await services.cases.show(None, number)
    return _nothing() if found is None else json_response(in_full(services, found))


async def _act(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "action", "amount", "message", "by")
    action, minor = text_of(given, "action"), given.get("amount")
    if action not in list(Action):
        raise BadInput("action", f"must be one of {', '.join(Action)}")
    if minor is not None and type(minor) is not int:
        raise BadInput("amount", "must be whole minor units")
    row = await _found(services, request)
    if row is None:
        return _nothing()
    by = text_of(given, "by", "operator")
    return _answered(services, await services.desk.act(
        row.merchant_id, row.dispute_id, Act(Action(action), minor), actor=f"person:{by}"[:200], message=_long(given, "message")))


async def _write(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "content")
    row = await _found(services, request)
    if row is None:
        return _nothing()
    done = await services.desk.write(row.merchant_id, row.dispute_id, _long(given, "content"))
    return _refused(done) or json_response({"sender": done.sender, "phase": done.phase, "content": done.content, "at": done.written_at}, 201)     # type: ignore[union-attr]


async def _attach(services: Services, request: Request) -> Response:
    body = await read_body(request.scope, request.receive, FILE_BODY)
    try:
        given = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise BadInput("body", "must be a JSON object")
    only(given, "name", "content_type", "content")
    try:
        content = base64.b64decode(text_of(given, "content"), validate=True)
    except binascii.Error:
        raise BadInput("content", "must be base64") from None
    row = await _found(services, request)
    if row is None:
        return _nothing()
    done = await services.desk.attach(row.merchant_id, row.dispute_id, Evidence(text_of(given, "name"), text_of(given, "content_type"), content))
    return _refused(done) or json_response(_file_json(done), 201)


async def _file(services: Services, request: Request) -> Response:
    row, number = await _found(services, request), request.path_params["file"]
    is_number = number.isascii() and number.isdigit() and len(number) <= 18
    found = await services.cases.file(row.merchant_id, row.dispute_id, int(number)) if row is not None and is_number else None
    if found is None:
        return error_response(404, "there is no such file")
    return json_response({"name": found.name, "content_type": found.content_type, "content": base64.b64encode(found.content).decode()})


# ---------------------------------------------------------------------------------------------------------- reading input

def _number(services: Services, request: Request) -> int | None:
    name = request.path_params["dispute"]
    if name.isascii() and name.isdigit():
        return int(name) if len(name) <= 19 and int(name) < 1 << 63 else None
    return services.number(name)


async def _found(services: Services, request: Request) -> CaseRow | None:
    number = _number(services, request)
    return None if number is None else await services.cases.find(None, number)


def _long(given: dict[str, Any], name: str) -> str:
    """A text that may have several lines."""
    value = given.get(name, "")
    if not isinstance(value, str) or "\0" in value:
        raise BadInput(name, "must be a text")
    return value


# ---------------------------------------------------------------------------------------------------------- answers as JSON

def _nothing() -> Response:
    return error_response(404, "there is no dispute of that id", "dispute")


def _refused(done: object) -> Response | None:
    """The answer to what was not done; ``None`` where it was."""
    match done:
        case NotThere():
            return _nothing()
        case TooMuch(problem):
            return error_response(413, problem)
        case Why(Refusal.AMOUNT_WRONG | None, problem, field) if field:
            return error_response(400, problem, field)
        case Why(_, problem, field):
            return error_response(409, problem, field or None)
    return None


def _answered(services: Services, done: Any) -> Response:
    return _refused(done) or json_response(shown(services, done))


def shown(services: Services, row: CaseRow) -> dict[str, Any]:
    """A case for operators; ids are texts, they have 63 bits."""
    merchant, stands = services.directory.by_id(row.merchant_id), row.stands
    return {
        "dispute": str(row.dispute_id), "name": services.name(row.dispute_id), "merchant": merchant.identifier if merchant else "",
        "payment": str(row.payment_id), "capture": str(row.capture_id), "reference": row.reference, "door": row.door,
        "processor": row.processor, "case": row.case_name, "reason": row.reason, "reason_code": row.reason_code, "note": row.note,
        "phase": stands.phase, "status": stands.status, "minor": stands.minor, "currency": row.currency, "due_at": stands.due_at,
        "held": stands.held, "returned": stands.returned, "lost": stands.lost, "closing": stands.closing, "closing_note": row.closing_note,
        "opened_at": row.opened_at, "changed_at": row.changed_at,
    }


def in_full(services: Services, found: Shown) -> dict[str, Any]:
    """With all that was said about it."""
    return shown(services, found.case) | {
        "actions": list(found.actions), "waits_for": found.case.stands.heard + 1 if found.early else None,
        "answers": [{"round": one.round, "action": one.action, "minor": one.minor, "message": one.message, "by": one.actor, "at": one.asked_at,
                     "sent_at": one.sent_at} for one in found.answers],
        "messages": [{"sender": one.sender, "phase": one.phase, "content": one.content, "at": one.written_at} for one in found.messages],
        "files": [_file_json(one) for one in found.files],
        "bookings": [{"what": one.noticed, "minor": one.minor, "at": one.made_at, "booked_at": one.booked_at} for one in found.bookings],
        "events": [{"event": one.event, "at": one.occurred_at} for one in found.events],
    }


def _file_json(one: Any) -> dict[str, Any]:
    return {"file": str(one.file_id), "name": one.name, "content_type": one.content_type, "bytes": one.bytes, "phase": one.phase,
            "sender": one.sender, "synced": one.synced, "at": one.added_at}


# ---------------------------------------------------------------------------------------------------------- for machines

_INSTANT: Schema = {"type": ["string", "null"], "format": "date-time"}
_AT = text("business time", format="date-time")
_OR_NULL: Schema = {"type": ["string", "null"]}
_MINOR: Schema = {"type": "integer", "description": "minor units"}
_ROW = {
    "dispute": text("the dispute's id"), "name": text("its name at the PPRO door"), "merchant": text("its identifier"),
    "payment": text("the payment's id"), "capture": text("the operation that was captured"), "reference": _OR_NULL, "door": text("of origin"),
    "processor": text("who tells"), "case": text("its name for the case"), "reason": text("why"), "reason_code": text("the scheme's code"),
    "note": text("what it was opened with"), "phase": text("inquiry, chargeback, pre_arbitration or arbitration"), "status": text("where it stands"),
    "minor": _MINOR, "currency": text("ISO 4217"), "due_at": _INSTANT, "held": _MINOR, "returned": _MINOR, "lost": _MINOR,
    "closing": _OR_NULL, "closing_note": text("what was said at the end"), "opened_at": _AT, "changed_at": _AT,
}
_REQUIRED = tuple(_ROW)
_FILE = {"file": text("its id"), "name": text("its name"), "content_type": text("PDF, JPEG or PNG"), "bytes": {"type": "integer"},
         "phase": text("when it was added"), "sender": text("merchant or provider"), "synced": {"type": "boolean"}, "at": _AT}
_MESSAGE = {"sender": text("merchant or provider"), "phase": text("when it was written"), "content": text("what was written"), "at": _AT}
_FULL = {
    **_ROW, "actions": {"type": "array", "items": {"type": "string"}, "description": "what may be done now"},
    "waits_for": {"type": ["integer", "null"], "description": "the number of the notice that is missing, where later ones came"},
    "answers": rows({"round": {"type": "integer"}, "action": text("what was done"), "minor": {"type": ["integer", "null"]},
                     "message": text("with what words"), "by": text("who"), "at": _AT, "sent_at": _INSTANT}, ("round", "action", "at", "sent_at")),
    "messages": rows(_MESSAGE, tuple(_MESSAGE)), "files": rows(_FILE, tuple(_FILE)),
    "bookings": rows({"what": text("the notice"), "minor": _MINOR, "at": _AT, "booked_at": _INSTANT}, ("what", "minor", "at", "booked_at")),
    "events": rows({"event": text("what happened"), "at": _AT}, ("event", "at")),
}
_DISPUTE = path("dispute", "the dispute's id, or its name at the PPRO door")

DESCRIBED: dict[str, Schema] = {
    "/admin/disputes": {
        "get": operator("Disputes, the latest first", answers(
            f"at most {MOST} of them", fields({"disputes": rows(_ROW, _REQUIRED)}, ("disputes",)), "400", "401"),
            parameters=(OF_MERCHANT, query("open", "only those that have not ended", {"type": "boolean"}))),
        "post": operator("Have the simulated issuer raise a dispute", answers(
            "the case, and the dispute where it is known already", fields(
                {"case": text("the issuer's name for it"), "dispute": {"anyOf": [fields(_ROW, _REQUIRED), {"type": "null"}]}}, ("case", "dispute")),
            "400", "401", "404", "409", status="201"), body=fields({
                "payment": text("the payment's id, its reference, or its name at the PPRO door"), "merchant": text("whose reference it is"),
                "scenario": text("which kind, 0700 to 0707; 0701 where it is left out"), "capture": text("the capture's id; the first one otherwise"),
                "amount": _MINOR}, ("payment",), additionalProperties=False)),
    },
    "/admin/disputes/{dispute}": {"get": operator("A dispute with all that was said about it", answers(
        "the dispute", fields(_FULL, tuple(_FULL)), "401", "404"), parameters=(_DISPUTE,))},
    "/admin/disputes/{dispute}/actions": {"post": operator("Answer a dispute", answers(
        "the dispute as it stands then", fields(_ROW, _REQUIRED), "400", "401", "404", "409"), parameters=(_DISPUTE,), body=fields({
            "action": {"type": "string", "enum": list(Action)},
            "amount": {**_MINOR, "description": "of a challenge: what is contested, all of it by default; of an offer: what is offered"},
            "message": text("words for the issuer"), "by": text("who answers")}, ("action",), additionalProperties=False))},
    "/admin/disputes/{dispute}/messages": {"post": operator("Write a message", answers(
        "the message", fields(_MESSAGE, tuple(_MESSAGE)), "400", "401", "404", "409", status="201"), parameters=(_DISPUTE,),
        body=fields({"content": text("what is written")}, ("content",), additionalProperties=False))},
    "/admin/disputes/{dispute}/files": {"post": operator("Add evidence", answers(
        "the file", fields(_FILE, tuple(_FILE)), "400", "401", "404", "409", "413", status="201"), parameters=(_DISPUTE,), body=fields({
            "name": text("its name"), "content_type": text("application/pdf, image/jpeg or image/png"),
            "content": text("base64", contentEncoding="base64")}, ("name", "content_type", "content"), additionalProperties=False))},
    "/admin/disputes/{dispute}/files/{file}": {"get": operator("Read evidence", answers("the file", fields(
        {"name": text("its name"), "content_type": text("what it is"), "content": text("base64", contentEncoding="base64")},
        ("name", "content_type", "content")), "401", "404"), parameters=(_DISPUTE, path("file", "the file's id")))},
}
