"""Pages: how everything that a buyer's browser shows is written and guarded.

Escaping on, one strict Content-Security-Policy, nothing kept by caches, nothing from elsewhere, nobody may frame it; all works without script.
The only key is a cookie; every form carries a token that belongs to it.  Refuses to know what a page is about.
"""
from __future__ import annotations

import hashlib
import hmac
import secrets
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ringfence.amazon_site.book import Change
from ringfence.amazon_site.buyers import BUYERS, Buyer
from ringfence.amazon_site.desk import Desk
from ringfence.amazon_site.texts import text
from ringfence.core.money import format_minor

COOKIE = "amazon_site"
SIGNED_IN_SECONDS = 12 * 3_600
"""So long a browser stays signed in (wall time)."""
FORM_BYTES = 65_536

HEADERS = {
    "cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff", "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=()", "x-robots-tag": "noindex",
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; "
                               "frame-ancestors 'none'",
}

_STATIC = resources.files(__package__) / "static"
_FILES = {name: ((_STATIC / name).read_bytes(), kind) for name, kind in (("site.css", "text/css"), ("checkout.js", "text/javascript"))}
_TEMPLATES = Environment(
    loader=PackageLoader("ringfence.amazon_site"), autoescape=True, undefined=StrictUndefined, auto_reload=False, trim_blocks=True,
    lstrip_blocks=True)


def files() -> list[Route]:
    """Style, and the stand-in for the browser script, at the address that a merchant's page names."""
    async def served(request: Request) -> Response:
        content, kind = _FILES[request.url.path.rpartition("/")[2]]
        return Response(content, headers={"cache-control": "no-cache", "x-content-type-options": "nosniff"}, media_type=kind)

    return [Route(f"/amazon/{name}", served) for name in _FILES]


def render(name: str, visit: Visit, *, status: int = 200, **values: Any) -> Response:
    """The page of ``templates/NAME.html``.  In templates ``t(key, …)`` is a text, ``amount(minor, currency)`` an amount."""
    def t(key: str, **filled: object) -> str:
        return text(key, visit.language, **filled)

    html = _TEMPLATES.get_template(f"{name}.html").render(
        values, t=t, amount=format_minor, visit=visit, language=visit.language, direction="rtl" if visit.language == "ar" else "ltr")
    answer = Response(html, status, HEADERS, "text/html; charset=utf-8")
    return visit.keep(answer)


def message(visit: Visit, title: str, said: str = "", *, status: int = 200, reason: str = "") -> Response:
    """A page that only says something."""
    return render("message", visit, status=status, title=title, said=said, reason=reason)


def go(path: str, visit: Visit) -> Response:
    """Inside the site."""
    return visit.keep(RedirectResponse(path, 303, HEADERS))


def leave(visit: Visit, url: str, fields: dict[str, str]) -> Response:
    """Away, by a page that leaves by itself: a form here may be answered by redirects inside the site only."""
    return render("leaving", visit, link=with_fields(url, fields)) if url else message(visit, "no_way_title")


def with_fields(url: str, fields: dict[str, str]) -> str:
    """The address with fields behind those that it has, in front of its fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, urlencode(fields)]))))


class Visit:
    """One request of a browser: its cookie, whose it is, its language, and the token of its forms."""

    def __init__(self, desk: Desk, token: str, is_new: bool, buyer: Buyer | None, csrf: str, language: str) -> None:
        self.desk, self.token, self.buyer, self.csrf, self.language = desk, token, buyer, csrf, language
        self._is_new = is_new

    def keep(self, answer: Response) -> Response:
        """Give the browser its cookie, where it has none yet."""
        if self._is_new:
            answer.set_cookie(
                COOKIE, self.token, path="/amazon", secure=self.desk.base_url.startswith("https"), httponly=True, samesite="lax")
        return answer

    def is_genuine(self, form: dict[str, str]) -> bool:
        """Whether a form was shown to this very browser."""
        return hmac.compare_digest(form.get("csrf", "").encode("utf-8", "replace"), self.csrf.encode())

    async def sign_in(self, buyer: Buyer) -> None:
        """It is a buyer's from now on, under another cookie."""
        self.token, self._is_new, self.buyer = secrets.token_urlsafe(24), True, buyer
        until = self.desk.wall() + SIGNED_IN_SECONDS
        await self.desk.book.work(lambda change: change.run("sign_in", _digest(self.token), buyer.email, until))

    async def sign_out(self) -> None:
        """It is nobody's any more."""
        old, self.token, self._is_new, self.buyer = self.token, secrets.token_urlsafe(24), True, None
        await self.desk.book.work(lambda change: change.run("sign_out", _digest(old), self.desk.wall()))


async def visit(desk: Desk, request: Request, language: str = "") -> Visit:
    """Who comes."""
    given = request.cookies.get(COOKIE, "")
    token = given if 16 <= len(given) <= 64 else secrets.token_urlsafe(24)

    def look(change: Change) -> tuple[str, str]:
        row = change.run("signed_in", _digest(token), desk.wall()).fetchone()
        return row[0] if row else "", change.secret("forms", lambda: secrets.token_hex(32))

    email, secret = await desk.book.work(look)
    csrf = hmac.new(secret.encode(), token.encode(), hashlib.sha256).hexdigest()
    return Visit(desk, token, token != given, BUYERS.get(email), csrf, language or spoken(request))


def spoken(request: Request) -> str:
    """The page's language: the one that was asked for, else the browser's first."""
    asked = request.query_params.get("language", "")
    if asked in ("en", "ar"):
        return asked
    return "ar" if request.headers.get("accept-language", "").lower().startswith("ar") else "en"


async def form(request: Request) -> dict[str, str] | None:
    """The fields of a form, each once; ``None`` for what is none, or too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES:
            return None
    return read_fields(body.decode("latin-1"))


def read_fields(encoded: str) -> dict[str, str] | None:
    """The same of a query."""
    try:
        pairs = parse_qsl(encoded, keep_blank_values=True, errors="strict", max_num_fields=32)
    except ValueError:
        return None
    return dict(pairs) if len(dict(pairs)) == len(pairs) else None


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
