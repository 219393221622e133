"""The pages of receipts: one receipt at an address that nobody can guess, and the look-up for whoever was in a store.

``/r/ADDRESS`` shows a receipt, with its PDF, its text and the refunds that followed.  ``/receipts/MERCHANT`` asks for the card's last digits, the
day of the visit and the amount, and leads to the receipts that fit exactly.  What does not fit gets one and the same answer, however near it
was, and asking is limited.  Looking changes nothing.  Decides what a shopper sees; refuses to know how receipts are made.
"""
from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Awaitable, Callable
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ringfence.core.receipt import Kind
from ringfence.core.receipt_sheet import Sheet, as_text, local, sheet
from ringfence.engine import forms, receipt_forms
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.receipts import Issued, LookUp, Receipts
from ringfence.web import pages

PATH, LOOK_UP = "/r/", "/receipts/"
KINDS = {Kind.SALE: "receipt_sale", Kind.REFUND: "receipt_refund", Kind.NOT_CHARGED: "receipt_not_charged"}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_AMOUNT = re.compile(r"(\d{1,12})(?:[.,\u066b](\d{1,4}))?")
_STORE = re.compile(r"[0-9a-zA-Z_-]{0,255}", re.ASCII)


class Services(NamedTuple):
    """What the pages work with.  ``wait(client, merchant, tail)``: in how many seconds somebody may ask, 0 for now; ``read``: the body of a form;
    ``is_test``: no money moves here; ``press``: one PDF at a time."""

    receipts: Receipts
    directory: Directory
    wait: Callable[[str, int, str], int]
    read: Callable[[Request], Awaitable[bytes]]
    is_test: bool
    press: asyncio.Lock


def routes(services: Services) -> list[Route]:
    """``/r/…`` and ``/receipts/…``."""
    def served(path: str, endpoint: Callable[[Services, Request], Awaitable[Response]], *methods: str) -> Route:
        async def answer(request: Request) -> Response:
            try:
                return await endpoint(services, request)
            except CONNECTION_LOST:
                return pages.message("away_title", _language(request), status=503, said="receipt_away_said")
            except forms.TooLarge:
                return pages.message("bad_form_title", _language(request), status=413, said="bad_form_said")
            except forms.CallerLeft:
                return Response(status_code=499)

        return Route(path, answer, methods=list(methods or ("GET",)))

    return [
        served(PATH + "{address}", _page), served(PATH + "{address}/receipt.pdf", _pdf), served(PATH + "{address}/receipt.txt", _text),
        served(LOOK_UP + "{merchant}", _look_up, "GET", "POST"),
    ]


# ---------------------------------------------------------------------------------------------------------- one receipt

async def _page(services: Services, request: Request) -> Response:
    found = await services.receipts.by_address(request.path_params["address"])
    if found is None:
        return nowhere(_language(request))
    merchant, one = found
    language = _language(request)
    others = [other for other in await services.receipts.beside(merchant, one) if other.address != one.address]
    return pages.render(
        "receipt", language, receipt=receipt_forms.as_fragment(_sheet(services, one, language)), path=PATH + one.address, others=[
            (PATH + other.address, KINDS[other.receipt.kind], other.receipt.minor, other.receipt.currency) for other in others],
        look_up=LOOK_UP + merchant.identifier, other="en" if language == "ar" else "ar")


async def _pdf(services: Services, request: Request) -> Response:
    found = await services.receipts.by_address(request.path_params["address"])
    if found is None:
        return nowhere(_language(request))
    try:
        async with services.press:
            made = await asyncio.to_thread(receipt_forms.as_pdf, _sheet(services, found[1], _language(request)))
    except receipt_forms.PdfMissing:
        return pages.message("receipt_no_pdf", _language(request), status=501)
    return _file(made, found[1], "pdf", "application/pdf", "inline")


async def _text(services: Services, request: Request) -> Response:
    found = await services.receipts.by_address(request.path_params["address"])
    if found is None:
        return nowhere(_language(request))
    return _file(as_text(_sheet(services, found[1], _language(request))).encode(), found[1], "txt", "text/plain; charset=utf-8", "inline")


def _file(content: bytes, one: Issued, kind: str, media_type: str, shown: str) -> Response:
    return Response(content, headers=pages.HEADERS | {
        "content-disposition": f'{shown}; filename="receipt-{one.receipt.number}.{kind}"',
        "content-security-policy": "default-src 'none'"}, media_type=media_type)


def _sheet(services: Services, one: Issued, language: str) -> Sheet:
    return sheet(one.receipt, language, is_test=services.is_test)


def nowhere(language: str) -> Response:
    """The one answer for every address that leads to nothing."""
    return pages.message("receipt_nowhere", language, said="receipt_nowhere_said", status=404)


# ---------------------------------------------------------------------------------------------------------- the look-up

async def _look_up(services: Services, request: Request) -> Response:
    merchant = services.directory.merchant(request.path_params["merchant"])
    if merchant is None or not merchant.active:
        return nowhere(_language(request))
    if request.method == "GET":
        store = request.query_params.get("store", "")
        return _form(services, request, merchant, {"store": store if _STORE.fullmatch(store) else ""})
    typed = forms.decode(await services.read(request), request.headers.get("content-type", ""))
    if typed is None:
        return pages.message("bad_form_title", _language(request), status=400, said="bad_form_said")
    asked, problems = _understood(typed)
    if asked is None:
        return _form(services, request, merchant, typed, problems=problems, status=422)
    if seconds := services.wait(request.client.host if request.client else "", merchant.merchant_id, asked.tail):
        return _form(services, request, merchant, typed, said="look_up_often", status=429, headers={"retry-after": str(seconds)})
    found = await services.receipts.look_up(merchant, asked)
    if not found:
        return _form(services, request, merchant, typed, said="look_up_nothing", status=404)
    if len(found) == 1:
        return RedirectResponse(f"{PATH}{found[0].address}?language={_language(request)}", 303, pages.HEADERS)
    zone = merchant.settings.receipt_zone
    return pages.render("receipts_found", _language(request), merchant=merchant, found=[
        (PATH + one.address, local(one.receipt.visited_at, zone), one.receipt.store.name or one.receipt.store.store) for one in found])


def _form(
    services: Services, request: Request, merchant: Merchant, typed: dict[str, str], *, problems: dict[str, str] | None = None, said: str = "",
    status: int = 200, headers: dict[str, str] | None = None,
) -> Response:
    language = _language(request)
    values = {name: typed.get(name, "")[:255] for name in ("tail", "date", "amount", "store")}
    return pages.render(
        "receipt_look_up", language, status=status, headers=headers, merchant=merchant, typed=values, problems=problems or {}, said=said,
        path=LOOK_UP + merchant.identifier, other="en" if language == "ar" else "ar", is_test=services.is_test)


def _understood(typed: dict[str, str]) -> tuple[LookUp | None, dict[str, str]]:
    """What is asked for, or by field what is wrong with it.  Digits may be of any script."""
    values = {name: _plain(typed.get(name, "")) for name in ("tail", "date", "amount", "store")}
    problems = {}
    if not re.fullmatch(r"\d{4}", values["tail"]):
        problems["tail"] = "tail_invalid"
    day = _day(values["date"])
    if day is None:
        problems["date"] = "date_invalid"
    amount = _AMOUNT.fullmatch(values["amount"].replace(" ", ""))
    if amount is None:
        problems["amount"] = "amount_invalid"
    if not _STORE.fullmatch(values["store"]):
        problems["store"] = "store_invalid"
    if problems or day is None or amount is None:
        return None, problems
    return LookUp(values["tail"], day, Decimal(f"{amount[1]}.{amount[2] or 0}"), values["store"]), {}


def _plain(text: str) -> str:
    """Without space around it, and its digits as ASCII has them."""
    return "".join(sign if (digit := unicodedata.decimal(sign, None)) is None else str(digit) for sign in text.strip())


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return None


def _language(request: Request) -> str:
    """The language that was asked for, else the browser's first."""
    asked = request.query_params.get("language", "")
    if asked in ("en", "ar"):
        return asked
    return "ar" if request.headers.get("accept-language", "").lower().startswith("ar") else "en"
