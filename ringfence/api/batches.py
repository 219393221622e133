"""Batch files for operators: which there are, how far they have come, what is wrong with them, their results, and an end to them.

Parses, asks the desk, and writes what it says.
"""
from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint
from ringfence.api.describing import OF_MERCHANT, REFUSALS, Schema, answers, content, fields, operator, path, query, ref, rows, text
from ringfence.api.http import error_response, json_response
from ringfence.core.ids import LARGEST
from ringfence.engine.batches import CANCELLED, DONE, PROCESSING, Batches, File, Total
from ringfence.engine.directory import Directory

FAULTS_SHOWN = 200


class Services(NamedTuple):
    """``results(desk, file)``: the door's own CSV, piece by piece."""

    desk: Batches
    directory: Directory
    results: Callable[[Batches, File], AsyncIterator[bytes]]


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """Below ``/admin/batches``."""
    desk = services.desk

    async def listed(request: Request) -> Response:
        given = request.query_params
        merchant_id = None
        if "merchant" in given:
            merchant = services.directory.merchant(given["merchant"])
            if merchant is None:
                return error_response(404, "there is no merchant of that identifier")
            merchant_id = merchant.merchant_id
        before = _number(given["after"], "after") if "after" in given else None
        limit = _number(given.get("limit", "20"), "limit")
        if not 1 <= limit <= 200:
            raise BadInput("limit", "must be 1 to 200")
        if "reference" in given:
            if merchant_id is None:
                raise BadInput("reference", "goes with a merchant")
            one = await desk.named(merchant_id, given["reference"])
            return json_response({"batches": [] if one is None else [_shown(one)]})
        return json_response({"batches": [_shown(one) for one in await desk.newest(merchant_id, before, limit)]})

    async def shown(request: Request) -> Response:
        file = await _named(request)
        return _none() if file is None else json_response(await _whole(desk, file))

    async def cancelled(request: Request) -> Response:
        file = await _named(request)
        if file is None:
            return _none()
        after = await desk.cancel(file)
        if after.cancelled_at is None:
            return error_response(409, f"the batch is {after.state}: there is nothing to cancel")
        return json_response(await _whole(desk, after))

    async def results(request: Request) -> Response:
        file = await _named(request)
        if file is None:
            return _none()
        if file.state not in (DONE, CANCELLED):
            return error_response(409, f"the batch is {file.state}: its results are not all known")
        return StreamingResponse(services.results(desk, file), media_type="text/csv; charset=utf-8")

    async def _named(request: Request) -> File | None:
        return await desk.numbered(_number(request.path_params["batch"], "batch"))

    return [
        Route("/admin/batches", guard(listed)),
        Route("/admin/batches/{batch}", guard(shown)),
        Route("/admin/batches/{batch}/cancel", guard(cancelled), methods=["POST"]),
        Route("/admin/batches/{batch}/results", guard(results)),
    ]


def _none() -> Response:
    return error_response(404, "there is no batch of that number")


def _number(given: str, field: str) -> int:
    if not given.isdecimal() or not given.isascii() or len(given) > 19 or int(given) > LARGEST:
        raise BadInput(field, "must be a whole number")
    return int(given)


def _totals(totals: list[Total] | None) -> list[dict[str, object]] | None:
    return None if totals is None else [
        {"kind": one.kind, "currency": one.currency or None, "rows": one.rows, "minor": one.minor} | ({"ended": one.ended} if one.ended else {})
        for one in totals]


def _shown(file: File) -> dict[str, object]:
    return {
        "batch_id": str(file.batch_id), "merchant": file.merchant, "batch_reference": file.reference, "file_name": file.file_name,
        "bytes": file.bytes, "rows": file.rows, "state": file.state, "wrong_rows": file.faults, "totals": _totals(file.totals),
        "uploaded_at": _at(file.uploaded_at), "processed_at": _at(file.processed_at), "cancelled_at": _at(file.cancelled_at),
        "ended_at": _at(file.ended_at),
        "repeats": None if file.repeats is None else str(file.repeats), "new_totals": _totals(file.new_totals), "forced": file.forced,
        "sums": _totals(file.sums), "agrees": file.agrees,
    }


async def _whole(desk: Batches, file: File) -> dict[str, object]:
    approved, failed, unknown = await desk.progress(file)
    done, rate, left = approved + failed + unknown, 0.0, None
    if file.began is not None:
        rate = done / max(0.001, ((file.ended or datetime.now(UTC)) - file.began).total_seconds())
    if file.state == PROCESSING and rate:
        left = round((file.rows - done) / rate, 1)
    faults = [{"line": line, "column": column or None, "message": message} for line, column, message in await desk.faults(file, FAULTS_SHOWN)]
    return _shown(file) | {
        "progress": {"done": done, "approved": approved, "failed": failed, "unknown": unknown, "per_second": round(rate), "seconds_left": left},
        "faults": faults,
    }


def _at(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


_TOTALS: Schema = {"type": ["array", "null"], "items": fields({
    "kind": text("purchase, capture, void or refund"), "currency": {"type": ["string", "null"]}, "rows": {"type": "integer"},
    "minor": {"type": "integer", "description": "minor units"}, "ended": text("approved, declined, refused or waiting"),
}, ("kind", "currency", "rows", "minor"))}
_INSTANT: Schema = {"type": ["string", "null"], "format": "date-time"}
_BATCH = {
    "batch_id": text("its number"), "merchant": text("whose"), "batch_reference": text("the merchant's name for it"),
    "file_name": text("of the file"), "bytes": {"type": "integer"}, "rows": {"type": "integer"},
    "state": text("validating, invalid, valid, processing, cancelling, done or cancelled"),
    "wrong_rows": {"type": "integer"}, "totals": _TOTALS, "uploaded_at": _INSTANT, "processed_at": _INSTANT, "cancelled_at": _INSTANT,
    "ended_at": _INSTANT, "repeats": {"type": ["string", "null"], "description": "a batch of the same content"}, "new_totals": _TOTALS,
    "forced": {"type": "boolean"}, "sums": _TOTALS, "agrees": {"type": ["boolean", "null"], "description": "whether the sums come to the totals"},
}
_WHOLE = fields(_BATCH | {
    "progress": fields({
        **{name: {"type": "integer"} for name in ("done", "approved", "failed", "unknown", "per_second")},
        "seconds_left": {"type": ["number", "null"]},
    }),
    "faults": rows({"line": {"type": "integer"}, "column": {"type": ["string", "null"]}, "message": text("three digits of the code list")},
                   ("line", "column", "message")),
}, (*_BATCH, "progress", "faults"))
_ID = path("batch", "its number")

DESCRIBED: dict[str, Schema] = {
    "/admin/batches": {"get": operator("The newest batch files", answers("the files", fields({
        "batches": rows(_BATCH, tuple(_BATCH)),
    }, ("batches",)), "400", "401", "404"), parameters=(
        OF_MERCHANT, query("reference", "only the one of that name"), query("limit", "1 to 200"), query("after", "those before this number")))},
    "/admin/batches/{batch}": {"get": operator(
        "One batch file: how far it has come, and what is wrong with it", answers("the file", _WHOLE, "400", "401", "404"), parameters=(_ID,))},
    "/admin/batches/{batch}/cancel": {"post": operator(
        "Stop a batch at a row's boundary", answers("the file", _WHOLE, "400", "401", "404", "409"), parameters=(_ID,))},
    "/admin/batches/{batch}/results": {"get": operator("What became of every row, as CSV", {
        "200": {"description": "the rows", "content": {"text/csv": {"schema": {"type": "string"}}}},
        **{code: {"description": REFUSALS[code], "content": content(ref("Error"))} for code in ("400", "401", "404", "409")},
    }, parameters=(_ID,))},
}
