"""The page of a payment link: ``/p/ADDRESS``, its QR code, its invoice, and the way to the card page.

Looking changes nothing: mail programs and messengers open every link they see, so only the page's button takes the link into a payer's hands.
An address that nobody gave out gets one and the same answer, whatever is wrong with it, and the database is not asked.  Decides what a payer
sees of a link; refuses to know cards.
"""
from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ringfence.core.link import State
from ringfence.engine import invoices, links
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.links import PATH, Desk, Link, Opened, Refused, Why
from ringfence.web import pages

COOKIE = "ringfence_payer"
HOLDER = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)
SECONDS = 3_600

Begin = Callable[[Opened], Awaitable[str | None]]
"""Opens the card page for a link that is in its payer's hands: a path of ours; ``None`` where it cannot be paid there any more."""


class Tried(NamedTuple):
    """What became of the payment that a link's payer began.  ``path``: where it goes on, "" where it ended; ``at_bank``: the payer's bank
    waits there; ``problem``: why it paid nothing, a word of ours, "" where it did not end so."""

    path: str
    at_bank: bool = False
    problem: str = ""


Look = Callable[[Link, str], Awaitable[Tried | None]]
"""A link and the secret of a browser -> what that browser began there; ``None`` for every browser but the payer's, and before it did."""


class Services(NamedTuple):
    """What the pages work with.

    ``look``: what a payer who comes back began.  ``is_test``: no money moves here; ``is_secure``: payers come over https; ``press``: one
    invoice at a time.
    """

    desk: Desk
    directory: Directory
    begin: Begin
    look: Look
    is_test: bool
    is_secure: bool
    press: asyncio.Lock


def routes(services: Services) -> list[Route]:
    """``/p/…``."""
    def served(end: str, endpoint: Callable[[Services, Request], Awaitable[Response]], *methods: str) -> Route:
        async def answer(request: Request) -> Response:
            return await endpoint(services, request)

        return Route(f"{PATH}{{address}}{end}", answer, methods=list(methods or ("GET",)))

    return [served("", _page, "GET", "POST"), served("/qr.svg", _qr), served("/invoice.pdf", _pdf)]


async def _page(services: Services, request: Request) -> Response:
    found = await _found(services, request)
    if found is None:
        return nowhere(_language(request))
    link, merchant = found
    language = _language(request, link.terms.language)
    tried = await services.look(link, _holder(request)) if link.state in (State.OPEN, State.OPENED) and _holder(request) else None
    if request.method == "POST":
        if tried is not None and tried.path:
            return RedirectResponse(tried.path, 303, pages.HEADERS)
        return await _open(services, request, link, merchant, language)
    if tried is not None and not tried.path:            # it may have ended just now, because we looked
        link = await links.by_number(services.desk, link.merchant_id, link.link_id) or link
    return _shown(services, link, merchant, language, tried=tried)


def _holder(request: Request) -> str:
    """The secret of the browser, as this page gave it; "" where it has none."""
    given = request.cookies.get(COOKIE, "")
    return given if HOLDER.fullmatch(given) else ""


def _shown(
    services: Services, link: Link, merchant: Merchant, language: str, *, problem: str = "", tried: Tried | None = None, status: int = 200,
) -> Response:
    return pages.render(
        "link", language, status=status, link=link, terms=link.terms, merchant=merchant, state=str(link.state), problem=problem, tried=tried,
        until=_written(link.terms.expires_at), paid=link.paid_at and _written(link.paid_at), path=PATH + link.url.rpartition("/")[2],
        other="en" if language == "ar" else "ar", terms_url=merchant.settings.link_terms_url, is_test=services.is_test,
        payable=link.state in (State.OPEN, State.OPENED) and not link.in_doubt)         # whoever has it open may come back to it


async def _open(services: Services, request: Request, link: Link, merchant: Merchant, language: str) -> Response:
    """Somebody wants to pay: whose browser it is says a cookie for this very path."""
    holder = _holder(request) or secrets.token_urlsafe(16)
    opened = await links.open_(services.desk, merchant, link.link_id, holder)
    if isinstance(opened, Refused):
        now = await links.by_number(services.desk, link.merchant_id, link.link_id) or link
        busy = opened.why is Why.SOMEONE_IS_PAYING
        return _shown(services, now, merchant, language, problem="" if not busy else "link_busy", status=409)
    path = await services.begin(opened)
    if path is None:
        await links.leave(services.desk, link.merchant_id, link.link_id, holder)
        return _shown(services, link, merchant, language, problem="link_stuck", status=409)
    answer = RedirectResponse(path, 303, pages.HEADERS)
    answer.set_cookie(
        COOKIE, holder, max_age=SECONDS, path=request.url.path, secure=services.is_secure, httponly=True, samesite="lax")
    return answer


async def _qr(services: Services, request: Request) -> Response:
    found = await _found(services, request)
    if found is None:
        return nowhere(_language(request))
    return Response(invoices.qr_svg(found[0].url), headers=pages.HEADERS | {"content-security-policy": "default-src 'none'"},
                    media_type="image/svg+xml")


async def _pdf(services: Services, request: Request) -> Response:
    found = await _found(services, request)
    if found is None:
        return nowhere(_language(request))
    link, merchant = found
    try:
        async with services.press:
            made = await asyncio.to_thread(invoices.pdf, invoices.of(link, merchant.name))
    except invoices.PdfMissing:
        return pages.message("link_no_pdf", _language(request, link.terms.language), status=501)
    return Response(made, headers=pages.HEADERS | {"content-disposition": f'inline; filename="invoice-{link.link_id}.pdf"'},
                    media_type="application/pdf")


def nowhere(language: str) -> Response:
    """The one answer for every address that opens nothing."""
    return pages.message("link_nowhere", language, said="link_nowhere_said", status=404)


async def _found(services: Services, request: Request) -> tuple[Link, Merchant] | None:
    link = await links.by_address(services.desk, request.path_params["address"])
    merchant = link and services.directory.by_id(link.merchant_id)
    return None if link is None or merchant is None or not merchant.active else (link, merchant)


def _language(request: Request, usual: str = "") -> str:
    """The page's language: the one that was asked for, the link's, else the browser's first."""
    asked = request.query_params.get("language", "")
    if asked in ("en", "ar"):
        return asked
    return usual or ("ar" if request.headers.get("accept-language", "").lower().startswith("ar") else "en")


def _written(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
