"""Receipts and reports of trips over the operator's API: given out, written in every form, and what is wrong is named."""
from __future__ import annotations

import asyncio
import base64
import csv
import io
import sys
from typing import Any

import pytest

from ringfence.api import openapi, receipts, trip_reports
from ringfence.api.admin import guard
from ringfence.core.receipt_sheet import as_text, sheet
from ringfence.engine import receipt_forms
from tests.api.asking import TOKEN, Operator
from tests.engine.composition import NOW, Process, Shop, shop
from tests.engine.stores import Store
from tests.engine.test_receipts import REFUND, Till
from tests.service.test_described import differences

pytestmark = pytest.mark.anyio
RECEIPTS, REPORT = "/admin/jwo/receipts", "/admin/jwo/report"


class Desk:
    """An operator; every answer is held against its description."""

    def __init__(self, till: Till) -> None:
        self.till, self.identifier = till, till.here.identifier
        guarded, one = guard(TOKEN), till.one
        self._operator = Operator([
            *receipts.routes(guarded, receipts.Services(till.receipts, one.directory, lambda address: f"https://x/r/{address}", True, asyncio.Lock())),
            *trip_reports.routes(guarded, trip_reports.Services(one.pool, one.directory, one.now))])

    async def receipts(self, **given: Any) -> tuple[int, Any]:
        return self._held(RECEIPTS, "post", *await self._operator.ask(RECEIPTS, {"merchant": self.identifier, **given}, method="POST"))

    async def report(self, query: str) -> tuple[int, Any]:
        return self._held(REPORT, "get", *await self._operator.ask(f"{REPORT}?{query}", method="GET"))

    def _held(self, where: str, method: str, status: int, told: Any) -> tuple[int, Any]:
        described = openapi.document()["paths"][where][method]["responses"][str(status)]["content"]["application/json"]["schema"]
        if status == 200:
            assert list(differences(described, told)) == []
        return status, told


@pytest.fixture(scope="module")
async def desk(here: Shop, one: Process) -> Desk:
    return Desk(Till(await Store(here).built(), one, here))


async def test_the_receipts_of_a_trip(desk: Desk):
    """In columns unless another form is asked for; the same every time."""
    trip = await desk.till.charged(1840)
    await desk.till.store.refund(trip, 425, REFUND)
    status, told = await desk.receipts(trip=trip.name)
    sale, refund = told["receipts"]
    issued = await desk.till.of(trip)
    assert status == 200 and sale["text"] == as_text(sheet(issued[0].receipt, is_test=True)) and sale["html"] is sale["pdf"] is None
    assert (sale["kind"], sale["minor"], refund["kind"], refund["minor"], refund["of"]) == ("sale", 1840, "refund", 425, sale["number"])
    assert sale["url"] == f"https://x/r/{issued[0].address}"
    assert await desk.receipts(trip=trip.name, store="STORE-1") == (200, told)


async def test_in_every_form_and_language(desk: Desk):
    trip = await desk.till.charged(1840)
    sale, = await desk.till.of(trip)
    for language in ("en", "ar"):
        one = (await desk.receipts(trip=trip.name, language=language, forms=["html", "pdf"]))[1]["receipts"][0]
        made = sheet(sale.receipt, language, is_test=True)
        assert one["text"] is None and one["html"].encode() == receipt_forms.as_html(made)
        assert base64.b64decode(one["pdf"]) == receipt_forms.as_pdf(made)


async def test_what_has_no_receipt(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    trip = await desk.till.store.enter()
    assert (await desk.receipts(trip=trip.name))[0] == 409
    assert (await desk.receipts(trip="nobody"))[0] == 404 == (await desk.receipts(trip=trip.name, store="STORE-2"))[0]
    await desk.till.store.capture(trip, 700)
    monkeypatch.setitem(sys.modules, "typst", None)
    status, told = await desk.receipts(trip=trip.name, forms=["pdf"])
    assert (status, told["field"]) == (409, "forms")
    assert (await desk.receipts(trip=trip.name))[0] == 200


@pytest.mark.parametrize(("given", "field"), [
    ({}, "trip"), ({"trip": 5}, "trip"), ({"trip": "a", "merchant": "nobody"}, "merchant"), ({"trip": "a", "language": "fr"}, "language"),
    ({"trip": "a", "forms": "pdf"}, "forms"), ({"trip": "a", "forms": ["png"]}, "forms"), ({"trip": "a", "colour": "red"}, "colour"),
    ({"trip": "a\0"}, "trip"), ({"trip": "a", "store": 7}, "store")])
async def test_what_is_wrong_with_the_question_is_named(desk: Desk, given: dict, field: str):
    status, told = await desk.receipts(**given)
    assert (status, told["field"]) == (400, field)


async def test_a_report(one: Process):
    seller = await shop(one, "Reported")
    desk = Desk(Till(await Store(seller).built(), one, seller))
    await desk.till.charged(1840)
    await desk.till.store.enter()
    status, told = await desk.report(f"merchant={desk.identifier}&from=2020-01-01&to=2100-01-01&format=json")
    assert status == 200 and [one["state"] for one in told["trips"]] == ["charged", "uncharged"]
    assert told["totals"][0]["charged"] == 1840 and told["merchant"] == desk.identifier
    parts = trip_reports.as_csv(trip_reports.lines(desk.till.one.pool, trip_reports.Span(
        desk.till.store.merchant_id, NOW.replace(year=2020), NOW.replace(year=2100)), NOW))
    rows = list(csv.reader(io.StringIO(b"".join([part async for part in parts]).decode())))
    assert rows[0] == ["row", *trip_reports.COLUMNS] and len(rows) == 4


@pytest.mark.parametrize(("query", "field"), [
    ("", "merchant"), ("merchant=nobody", "merchant"), ("merchant=M", "from"), ("merchant=M&from=yesterday", "from"),
    ("merchant=M&from=2026-01-01&to=x", "to"), ("merchant=M&from=2026-02-01&to=2026-01-01", "to"),
    ("merchant=M&from=2026-01-01&format=xml", "format"), ("merchant=M&from=2026-01-01&since=x", "since"),
    ("merchant=M&from=2026-01-01&store=%00", "store")])
async def test_what_is_wrong_with_a_report_is_named(desk: Desk, query: str, field: str):
    status, told = await desk.report(query.replace("merchant=M", f"merchant={desk.identifier}"))
    assert (status, told["field"]) == (400, field)
