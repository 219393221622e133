"""The operator's API: reports of operations, made like those that merchants ask for, and read in three forms.

Parses, calls ``engine/reporting``, and writes what it says; what a report may ask for, and how rows are written, is the door's word.
"""
from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, merchant_of, only, read_object, text_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, path, query, text
from ringfence.api.http import error_response, json_response
from ringfence.api.streaming import streamed
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.reporting import Asked, Refused, Report, Reporting

ACTOR = "operator"
Understood = Callable[[Mapping[str, object]], Callable[[int, str], Asked] | tuple[str, str]]
Written = Callable[[str, str, int, Sequence[str], AsyncIterator[list[list[str]]]], AsyncIterator[bytes]]
REFUSED = {
    Refused.REFERENCE_USED: "this merchant has, or had, a report of that reference",
    Refused.QUEUE_FULL: "this merchant has as many reports as it may have at a time",
}


class Services(NamedTuple):
    """What the endpoints work with.  ``understood``: from a request, without its merchant, to what is asked for, or the field that is wrong;
    ``written(form, reference, count, columns, pages)``; ``content_types`` by form."""

    reporting: Reporting
    directory: Directory
    understood: Understood
    written: Written
    content_types: Mapping[str, str]


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/reports``."""
    async def every(request: Request) -> Response:
        if request.method == "POST":
            return await _asked(services, await read_object(request))
        only_of = merchant_of(services.directory, request)
        found = [(one, report) for one in services.directory.merchants() if only_of in (None, one.identifier)
                 for report in await services.reporting.listed(one.merchant_id)]
        return json_response({"reports": [shown(one, report) for one, report in found]})

    async def one(request: Request) -> Response:
        merchant, report = await _named(services, request)
        return _unknown() if report is None else json_response(shown(merchant, report))

    async def rows(request: Request) -> Response:
        form = request.query_params.get("format", "csv").upper()
        if form not in services.content_types:
            raise BadInput("format", "must be csv, json or xml")
        _, report = await _named(services, request)
        if report is None:
            return _unknown()
        if report.state != "ready":
            return error_response(409, f"the report is not to be had: {report.state}")
        asked = report.asked
        parts = services.written(form, asked.reference, report.rows, asked.columns, services.reporting.pages(report))
        return streamed(parts, services.content_types[form])

    return [
        Route("/admin/reports", guard(every), methods=["GET", "POST"]), Route("/admin/reports/{merchant}/{reference}", guard(one)),
        Route("/admin/reports/{merchant}/{reference}/rows", guard(rows)),
    ]


async def _asked(services: Services, given: dict[str, Any]) -> Response:
    only(given, "merchant", "reference", "from", "to", "columns", "filters", "language")
    merchant = services.directory.merchant(text_of(given, "merchant"))
    if merchant is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    asked = services.understood({name: value for name, value in given.items() if name != "merchant"})
    if isinstance(asked, tuple):
        raise BadInput(*asked)
    made = await services.reporting.ask(asked(merchant.merchant_id, ACTOR))
    if isinstance(made, Refused):
        return error_response(409, REFUSED[made])
    return json_response(shown(merchant, made), 201)


async def _named(services: Services, request: Request) -> tuple[Merchant, Report | None]:
    merchant = services.directory.merchant(request.path_params["merchant"])
    reference = request.path_params["reference"]
    if merchant is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    known = reference.isprintable() and reference.isascii()
    return merchant, await services.reporting.find(merchant.merchant_id, reference) if known else None


def _unknown() -> Response:
    return error_response(404, "this merchant has no report of that reference")


def shown(merchant: Merchant, report: Report) -> dict[str, Any]:
    """A report for operators."""
    asked = report.asked
    return {
        "merchant": merchant.identifier, "reference": asked.reference, "state": report.state, "rows": report.rows, "from": asked.since.isoformat(),
        "until": asked.until.isoformat(), "columns": list(asked.columns), "filters": [{"key": key, "value": value} for key, value in asked.filters],
        "requested_at": asked.requested_at.isoformat(), "requested_by": asked.actor, "ended_at": report.ended_at and report.ended_at.isoformat(),
    }


_FILTERS: Schema = {"type": "array", "maxItems": 10, "items": fields({"key": text("a column"), "value": text("what it must say")}, ("key", "value"))}
_COLUMNS: Schema = {"type": "array", "items": {"type": "string"}}
_REPORT = fields({
    "merchant": text("its identifier"), "reference": text("the report's own"), "state": text("waiting, ready, too_many, failed or erased"),
    "rows": {"type": "integer", "description": "so far, while it waits"}, "from": text("business time, included"),
    "until": text("business time, not included"), "columns": _COLUMNS, "filters": _FILTERS,
    "requested_at": text("business time; the report is as of then"), "requested_by": text("a credential, or the operator"),
    "ended_at": {"type": ["string", "null"], "description": "business time"},
}, ("merchant", "reference", "state", "rows", "from", "until", "columns", "filters", "requested_at", "requested_by", "ended_at"))
_OF = (path("merchant", "the merchant's identifier"), path("reference", "the report's reference"))
_ROWS: Schema = {"200": {"description": "the rows", "content": {
    "text/csv": {"schema": {"type": "string"}}, "application/xml": {"schema": {"type": "string"}},
    "application/json": {"schema": fields({
        "merchant_reference": text("the report's"), "data_count": text("how many rows"), "data": {"type": "array", "items": {"type": "object"}}})},
}}}

DESCRIBED: dict[str, Schema] = {
    "/admin/reports": {
        "get": operator("Reports that are kept", answers("the latest first, merchant by merchant", fields(
            {"reports": {"type": "array", "items": _REPORT}}, ("reports",)), "400", "401"), parameters=(OF_MERCHANT,)),
        "post": operator("Have a report made", answers("the report, which waits", _REPORT, "400", "401", "409", status="201"), body=fields({
            "merchant": text("its identifier"), "reference": text("default: report-NUMBER"), "from": text("ISO 8601 with its offset"),
            "to": text("the same; its second is included"), "columns": _COLUMNS | {"description": "default: all"}, "filters": _FILTERS,
            "language": {"type": "string", "enum": ["en", "ar"]}}, ("merchant", "from", "to"), additionalProperties=False)),
    },
    "/admin/reports/{merchant}/{reference}": {"get": operator(
        "One report, and how far it is", answers("the report", _REPORT, "400", "401", "404"), parameters=_OF)},
    "/admin/reports/{merchant}/{reference}/rows": {"get": operator(
        "The rows of a report", answers("the rows", {}, "400", "401", "404", "409") | _ROWS,
        parameters=(*_OF, query("format", "default: csv", {"type": "string", "enum": ["csv", "json", "xml"]})))},
}
