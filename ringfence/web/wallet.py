"""Pages of payers who are sent away: what a browser sees between the shop, a wallet and the shop.

``GET /wallet/ADDRESS`` hands the payer over to the wallet's site, or, where a method has none, is the place where he acts; ``POST`` there is
what he does.  ``/wallet/return/ADDRESS`` and ``/wallet/cancel/ADDRESS`` are where the wallet sends the browser back to: its session's name is
all that is read there, and what became of it is asked of the wallet.  The address cannot be guessed and is the only key; there is no cookie.
Every page may be asked for again at any time: it shows where things stand, and behind the end it says how it ended and leads back to the shop.
"""
from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.core.redirection import Stand, Why
from ringfence.engine.browser import Return
from ringfence.engine.invoices import qr_svg
from ringfence.engine.redirects import PAGE, Handover, Progress, RedirectionRow, Redirects, Stands
from ringfence.engine.sessions import Ending
from ringfence.web import pages, small_forms

LOOK_SECONDS = 3
"""Between two looks of a page that waits (wall time)."""
FORM_BYTES = 4_096
SESSION = "amazonCheckoutSessionId"
_SESSION = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
#: What a payer may do on a page of ours -> what that says, and why nobody is asked then.
ACTIONS: dict[str, tuple[Stand, Why | None]] = {
    "succeed": (Stand.APPROVED, None), "fail": (Stand.DECLINED, Why.FAILED), "cancel": (Stand.CANCELED, None)}


class Desk(NamedTuple):
    """What the pages need.  ``way``: where the browser goes behind the end, or how it ended where it may go nowhere; ``how``: the word for how it
    ended; ``is_test``: no money moves here."""

    redirects: Redirects
    way: Callable[[RedirectionRow], Awaitable[Return | Ending | None]]
    how: Callable[[RedirectionRow], Awaitable[str]]
    is_test: bool


def routes(desk: Desk) -> list[Route]:
    """``/wallet/…``."""
    async def shown(request: Request) -> Response:
        row = await desk.redirects.find(request.path_params["address"])
        return _gone() if row is None else await _show(desk, row)

    async def done(request: Request) -> Response:
        row = await desk.redirects.find(request.path_params["address"])
        return _gone() if row is None else await _act(desk, row, await small_forms.read(request, FORM_BYTES))

    async def came_back(request: Request) -> Response:
        row = await desk.redirects.find(request.path_params["address"])
        return _gone() if row is None else await _return(desk, row, _session(request.query_params.getlist(SESSION)))

    async def code(request: Request) -> Response:
        row = await desk.redirects.find(request.path_params["address"])
        if row is None or "SCAN_CODE" not in row.ways.split(","):
            return Response(status_code=404, headers=pages.HEADERS)
        return Response(qr_svg(desk.redirects.url(row.merchant_id, row.subject)), headers=pages.HEADERS, media_type="image/svg+xml")

    return [
        Route(PAGE + "return/{address}", came_back, methods=["GET"]),
        Route(PAGE + "cancel/{address}", came_back, methods=["GET"]),
        Route(PAGE + "code/{address}", code, methods=["GET"]),
        Route(PAGE + "{address}", shown, methods=["GET"]),
        Route(PAGE + "{address}", done, methods=["POST"]),
    ]


def _gone() -> Response:
    """Who knows no address learns nothing."""
    return pages.message("gone_title", "en", status=404, said="gone_said")


def _session(given: list[str]) -> str:
    """The name of a wallet's session; "" for what cannot be one."""
    return given[0] if len(given) == 1 and _SESSION.fullmatch(given[0]) and not given[0].startswith(".") else ""


async def _show(desk: Desk, row: RedirectionRow, *, by_itself: bool = True) -> Response:
    """The way to the wallet, or the page to act on; where it is no longer awaited, what became of it."""
    if row.claim is not None or row.ended_at is not None:
        return await _stands(desk, row, await desk.redirects.carry_on(row.merchant_id, row.subject), is_back=False)
    here = desk.redirects.path(row.merchant_id, row.subject)
    if not desk.redirects.has_guide(row):
        return pages.render("wallet_act", row.language, row=row, here=here, is_test=desk.is_test, ways=row.ways.split(","),
                            code=here.replace(PAGE, f"{PAGE}code/", 1), agrees=not row.payment_id)
    handover = await desk.redirects.hand_over(row)
    if handover is None:
        return pages.message("wallet_away_title", row.language, status=503, said="wallet_away_said")
    return _hand_over(desk, row, handover, by_itself=by_itself)


def _hand_over(desk: Desk, row: RedirectionRow, handover: Handover, *, by_itself: bool) -> Response:
    """The wallet's script runs on this page and no other; its origins, and where the form goes, are all that the page allows beside our own."""
    script, entry = _origin(handover.script), _origin(handover.entry)
    return pages.render(
        "wallet", row.language, posts_to=("'self'", *dict.fromkeys(filter(None, (entry, script)))), scripts=(script,), row=row, handover=handover,
        by_itself=by_itself, is_test=desk.is_test, locale="ar_AE" if row.language == "ar" else "en_US")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


async def _act(desk: Desk, row: RedirectionRow, form: dict[str, str] | None) -> Response:
    """What the payer did on our page."""
    if form is None:
        return pages.message("bad_form_title", row.language, status=400, said="bad_form_said")
    action = ACTIONS.get(form.get("action", ""))
    if action is None or desk.redirects.has_guide(row):
        return await _show(desk, row, by_itself=False)
    return await _stands(desk, row, await desk.redirects.answer(row.merchant_id, row.subject, *action), is_back=True)


async def _return(desk: Desk, row: RedirectionRow, session: str) -> Response:
    """The browser came back from the wallet: go on as far as possible, then on to the shop, or wait."""
    return await _stands(desk, row, await desk.redirects.came_back(row, session), is_back=True)


async def _stands(desk: Desk, row: RedirectionRow, progress: Progress, *, is_back: bool) -> Response:
    """What a browser sees of that.  Who comes back leaves at once; who opens the page later reads how it ended, and may leave."""
    if progress.stands is Stands.AWAITED:
        return await _show(desk, row, by_itself=False)
    here = desk.redirects.path(row.merchant_id, row.subject)
    if progress.stands is not Stands.ENDED:
        back = here.replace(PAGE, f"{PAGE}return/", 1)
        return pages.render("wallet_waits", row.language, back=back, seconds=LOOK_SECONDS)
    row = await desk.redirects.of(row.merchant_id, row.subject) or row
    way, how = await desk.way(row), await desk.how(row)
    if isinstance(way, Return):
        if is_back:
            return pages.leaving(way)
        return pages.leaving(way, by_itself=False, title=f"ended_{how}", said="wallet_over_said")
    return pages.message(f"ended_{how}", row.language, said=f"ended_{how}_said")
