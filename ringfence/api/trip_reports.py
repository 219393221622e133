"""The operator's API: reports of trips, as CSV or as JSON, leaving as they are read.

Parses, calls ``engine/trip_reports``, and writes what it says.
"""
from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import fields as members
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint
from ringfence.api.describing import Schema, answers, fields, operator, query, rows, text
from ringfence.api.streaming import streamed
from ringfence.core.money import format_decimal
from ringfence.engine.clock import parse_instant
from ringfence.engine.directory import Directory
from ringfence.engine.trip_reports import AMOUNTS, Ended, Span, Sums, TripLine, lines

CHUNK = 200
"""Lines that leave together."""
COLUMNS = tuple(member.name for member in members(TripLine))
CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
_FORMULAS = ("=", "+", "-", "@")
_ENCODE = msgspec.json.Encoder().encode


class Services(NamedTuple):
    """What the endpoint works with.  ``now``: business time."""

    pool: asyncpg.Pool
    directory: Directory
    now: Callable[[], datetime]


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """``/admin/jwo/report``."""
    return [Route("/admin/jwo/report", guard(lambda request: _report(services, request)))]


async def _report(services: Services, request: Request) -> Response:
    given = request.query_params
    if unknown := set(given) - {"merchant", "from", "to", "store", "format"}:
        raise BadInput(sorted(unknown)[0], "is not known here; there are merchant, from, to, store, format")
    merchant = services.directory.merchant(given.get("merchant", ""))
    if merchant is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    form = given.get("format", "csv")
    if form not in CONTENT_TYPES:
        raise BadInput("format", "must be csv or json")
    now = services.now()
    since, until = _instant(given.get("from"), "from", None), _instant(given.get("to"), "to", now)
    if until < since:
        raise BadInput("to", "must not be before from")
    store = given.get("store", "")
    if "\0" in store:
        raise BadInput("store", "must be a printable text")
    found = lines(services.pool, Span(merchant.merchant_id, since, until, store), now)
    parts = as_csv(found) if form == "csv" else as_json(found, {
        "merchant": merchant.identifier, "from": since, "to": until, "store": store})
    return streamed(parts, CONTENT_TYPES[form])


def _instant(written: str | None, name: str, default: datetime | None) -> datetime:
    if written is None and default is not None:
        return default
    instant = None if written is None else parse_instant(written.replace(" ", "+"))         # what a query makes of an offset's sign
    if instant is None:
        raise BadInput(name, "must be an ISO 8601 instant with its offset, or a day" if written is not None else "is missing")
    return instant


# ---------------------------------------------------------------------------------------------------------- CSV

async def as_csv(found: AsyncIterator[TripLine]) -> AsyncIterator[bytes]:
    """A line of names, one for each trip, and at the end a sum for each currency (RFC 4180, UTF-8).  Amounts have the decimals of their
    currency; what a spreadsheet would compute stands behind an apostrophe."""
    sums = Sums()
    waiting: list[list[str]] = [["row", *COLUMNS]]
    async for line in found:
        sums.add(line)
        waiting.append(["trip", *(_cell(line, name) for name in COLUMNS)])
        if len(waiting) >= CHUNK:
            yield _written(waiting)
            waiting = []
    for currency in sums.currencies:
        totals = {name: format_decimal(minor, currency) for name, minor in sums.amounts[currency].items()} | {"currency": currency}
        waiting.append(["total", *(totals.get(name, "") for name in COLUMNS)])
    yield _written(waiting)


def _cell(line: TripLine, name: str) -> str:
    value = getattr(line, name)
    if name in AMOUNTS:
        return format_decimal(value, line.currency)
    if isinstance(value, datetime):
        return value.isoformat()
    written = "" if value is None else str(value)
    return f"'{written}" if written.startswith(_FORMULAS) else written


def _written(given: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(given)
    return text.getvalue().encode()


# ---------------------------------------------------------------------------------------------------------- JSON

async def as_json(found: AsyncIterator[TripLine], about: dict[str, Any]) -> AsyncIterator[bytes]:
    """One object: what was asked for, ``trips``, and ``totals`` by currency.  Amounts are minor units."""
    sums, between = Sums(), b""
    waiting: list[bytes] = []
    yield _ENCODE(about)[:-1] + b',"trips":['
    async for line in found:
        sums.add(line)
        waiting.append(_ENCODE(line))
        if len(waiting) >= CHUNK:
            yield between + b",".join(waiting)
            waiting, between = [], b","
    if waiting:
        yield between + b",".join(waiting)
    totals = [{"currency": code, "trips": sums.states[code], **sums.amounts[code]} for code in sums.currencies]
    yield b'],"totals":' + _ENCODE(totals) + b"}"


# ---------------------------------------------------------------------------------------------------------- described

_MINOR = {"type": "integer", "description": "minor units"}
_INSTANT = {"type": ["string", "null"], "format": "date-time"}
_LINE: dict[str, Schema] = {
    name: _MINOR if name in AMOUNTS else _INSTANT if name.endswith("_at") else text("") for name in COLUMNS
} | {
    "state": text(", ".join(Ended)), "payment": text("its id, empty where nothing was ever held"),
    "held": _MINOR | {"description": "approved by issuers"},
    "total": _MINOR | {"description": "what the cart cost, 0 where nobody said"}, "charged": _MINOR | {"description": "captured, by the ledger"},
    "tail": text("last four digits"), "reconciliation_id": text("what transactional-data calls so"),
    "statement_id": text("cardStatementTransactionId"), "strategy": text("of a debt"), "reason": text("of a debt"),
}
_TOTAL: dict[str, Schema] = {
    "currency": text("ISO 4217"), "trips": fields({state: {"type": "integer"} for state in Ended}), **dict.fromkeys(AMOUNTS, _MINOR)}

_ANSWER: Schema = {"200": {"description": "the trips, and sums by currency", "content": {
    "text/csv": {"schema": {"type": "string"}},
    "application/json": {"schema": fields({
        "merchant": text("its identifier"), "from": text("business time, included", format="date-time"),
        "to": text("business time, not included", format="date-time"), "store": text("empty for all"),
        "trips": rows(_LINE, COLUMNS), "totals": rows(_TOTAL, tuple(_TOTAL))}, ("merchant", "from", "to", "store", "trips", "totals"))},
}}}

DESCRIBED: dict[str, Schema] = {
    "/admin/jwo/report": {"get": operator("What became of trips", answers("", {}, "400", "401") | _ANSWER, parameters=(
        query("merchant", "its identifier"), query("from", "trips that began then or later: an instant, or a day"),
        query("to", "and before then; default: now"), query("store", "only this one's"),
        query("format", "default: csv", {"type": "string", "enum": ["csv", "json"]})))},
}
