"""The sandbox's inbox as pages: ``/sandbox/inbox``, for a person with a browser and the admin token.

The browser asks for the token itself (HTTP Basic, any user name), so that it stands in no address.  A letter's HTML is shown as a mail program
would, in a frame that may run nothing and load nothing.
"""
from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Awaitable, Callable

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.engine import inbox
from ringfence.web import pages

INBOX = "/sandbox/inbox"
LETTER = {"content-security-policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'", "x-frame-options": "SAMEORIGIN"}

Endpoint = Callable[[Request], Awaitable[Response]]


def routes(pool: asyncpg.Pool, token: str) -> list[Route]:
    """The routes below ``/sandbox/inbox``; a live installation has none of them."""
    expected = token.encode()

    def guarded(endpoint: Endpoint) -> Endpoint:
        async def answer(request: Request) -> Response:
            if not hmac.compare_digest(_given(request), expected):
                return Response("The admin token, please: as password, with any user name.\n", 401, pages.HEADERS | {
                    "www-authenticate": 'Basic realm="Ringfence sandbox", charset="UTF-8"'}, "text/plain")
            return await endpoint(request)
        return answer

    async def listed(request: Request) -> Response:
        return pages.render("inbox", "en", letters=await inbox.listed(pool), path=INBOX)

    async def one(request: Request) -> Response:
        letter = await inbox.find(pool, request.path_params["message"])
        return pages.message("gone_title", "en", status=404) if letter is None else pages.render(
            "inbox_message", "en", letter=letter, path=INBOX, headers={"content-security-policy": FRAMING})

    async def html(request: Request) -> Response:
        letter = await inbox.find(pool, request.path_params["message"])
        return pages.message("gone_title", "en", status=404) if letter is None else Response(
            letter.html, headers=pages.HEADERS | LETTER, media_type="text/html; charset=utf-8")

    return [Route(INBOX, guarded(listed)), Route(INBOX + "/{message}", guarded(one)), Route(INBOX + "/{message}/html", guarded(html))]


FRAMING = ("default-src 'none'; style-src 'self'; img-src data:; frame-src 'self'; base-uri 'none'; form-action 'none'; "
           "frame-ancestors 'none'")


def _given(request: Request) -> bytes:
    """The token that a request carries, as Bearer or as the password of Basic (RFC 7617)."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.encode("utf-8")
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2] if kind.lower() == "basic" else b""
    except binascii.Error:
        return b""
