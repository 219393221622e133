"""The operator's API: receipts of trips, given out on request.

Parses, calls ``engine/receipts``, and writes what it says in the forms that were asked for.
"""
from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, only, read_object, text_of
from ringfence.api.describing import Schema, answers, fields, operator, rows, text
from ringfence.api.http import error_response, json_response
from ringfence.core.receipt_sheet import as_text, sheet
from ringfence.engine import receipt_forms
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.receipts import Issued, Receipts

FORMS = ("text", "html", "pdf")
LANGUAGES = ("en", "ar")


class Services(NamedTuple):
    """What the endpoint works with.  ``url``: where shoppers read the receipt of an address; ``is_test``: no money moves here; ``press``: one PDF
    at a time."""

    receipts: Receipts
    directory: Directory
    url: Callable[[str], str]
    is_test: bool
    press: asyncio.Lock


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """``/admin/jwo/receipts``."""
    return [Route("/admin/jwo/receipts", guard(lambda request: _receipts(services, request)), methods=["POST"])]


async def _receipts(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "merchant", "store", "trip", "language", "forms")
    merchant = services.directory.merchant(text_of(given, "merchant"))
    if merchant is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    language, forms = text_of(given, "language", "en"), given.get("forms", ["text"])
    if language not in LANGUAGES:
        raise BadInput("language", "must be en or ar")
    if not isinstance(forms, list) or not all(form in FORMS for form in forms):
        raise BadInput("forms", f"must be a list of {', '.join(FORMS)}")
    name, store = text_of(given, "trip"), text_of(given, "store", "")
    stores = [row.store for row in await services.receipts.named(merchant, name) if store in ("", row.store)]
    if not stores:
        return error_response(404, "there is no trip of that name", "trip")
    if len(stores) > 1:
        return error_response(409, "several stores have a trip of that name; say which", "store")
    found = await services.receipts.of(merchant, stores[0], name)
    if not found:
        return error_response(409, "the trip has not ended, so that it has no receipt yet")
    try:
        return json_response({"receipts": [await _shown(services, merchant, one, language, forms) for one in found]})
    except receipt_forms.PdfMissing as missing:
        return error_response(409, str(missing), "forms")


async def _shown(services: Services, merchant: Merchant, one: Issued, language: str, forms: list[str]) -> dict[str, Any]:
    receipt, made = one.receipt, sheet(one.receipt, language, is_test=services.is_test)
    shown: dict[str, Any] = {
        "number": receipt.number, "kind": receipt.kind, "merchant": merchant.identifier, "store": receipt.store.store, "trip": receipt.trip,
        "at": receipt.at, "currency": receipt.currency, "minor": receipt.minor, "total": receipt.total, "outstanding": receipt.outstanding,
        "of": receipt.of or None, "replaces": receipt.replaces or None, "reconciliation_id": receipt.reconciliation_id,
        "issued_at": one.issued_at, "url": services.url(one.address), "text": None, "html": None, "pdf": None}
    if "text" in forms:
        shown["text"] = as_text(made)
    if "html" in forms:
        shown["html"] = receipt_forms.as_html(made).decode()
    if "pdf" in forms:
        async with services.press:
            shown["pdf"] = base64.b64encode(await asyncio.to_thread(receipt_forms.as_pdf, made)).decode()
    return shown


_MINOR = {"type": "integer", "description": "minor units"}
_MAYBE = {"type": ["string", "null"]}
_RECEIPT = {
    "number": text("its own number"), "kind": text("sale, refund or not_charged"), "merchant": text("its identifier"), "store": text("its name"),
    "trip": text("shoppingTripId"), "at": text("when it happened, business time", format="date-time"), "currency": text("ISO 4217"),
    "minor": _MINOR | {"description": "what was charged or given back, minor units"},
    "total": _MINOR | {"description": "what the cart cost, minor units; of a refund what was charged"},
    "outstanding": _MINOR | {"description": "what was taken and not paid, minor units"},
    "of": _MAYBE | {"description": "the number of the receipt whose money a refund gives back"},
    "replaces": _MAYBE | {"description": "the number of the receipt that said less"},
    "reconciliation_id": text("what the back office reconciles by"), "issued_at": text("business time", format="date-time"),
    "url": text("where the shopper reads it"), "text": _MAYBE | {"description": "in columns, where asked for"},
    "html": _MAYBE | {"description": "a page that stands alone, where asked for"}, "pdf": _MAYBE | {"description": "base64, where asked for"},
}

DESCRIBED: dict[str, Schema] = {
    "/admin/jwo/receipts": {"post": operator("The receipts of a trip, given out where they were not yet", answers(
        "what was charged, or that nothing was, and each refund", fields({"receipts": rows(_RECEIPT, tuple(_RECEIPT))}, ("receipts",)),
        "400", "401", "404", "409"), body=fields({
            "merchant": text("its identifier"), "store": text("needed where several stores have a trip of that name"),
            "trip": text("shoppingTripId"), "language": {"type": "string", "enum": list(LANGUAGES), "default": "en"},
            "forms": {"type": "array", "items": {"type": "string", "enum": list(FORMS)}, "description": "default: text"},
        }, ("merchant", "trip"), additionalProperties=False))},
}
