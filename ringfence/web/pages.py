"""Pages: how everything that a payer's browser shows is written and guarded.

One environment of templates with escaping on, one strict Content-Security-Policy, nothing kept by caches, nothing from anywhere else.
Decides how a page is sent, and how a browser is sent away; refuses to know what a page is about.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import RedirectResponse, Response

from ringfence.engine.browser import Goto, Return, Way
from ringfence.engine.return_address import with_query
from ringfence.web.amounts import shown
from ringfence.web.static_files import address
from ringfence.web.texts import text

ANY = ("http:", "https:")
"""May be framed by whoever likes."""

HEADERS = {
    "cache-control": "no-store", "referrer-policy": "no-referrer", "x-content-type-options": "nosniff",
    "permissions-policy": "camera=(), geolocation=(), microphone=()", "x-robots-tag": "noindex",
}

_TEMPLATES = Environment(
    loader=PackageLoader("ringfence.web"), autoescape=True, undefined=StrictUndefined, auto_reload=False, trim_blocks=True, lstrip_blocks=True)
_TEMPLATES.globals["static"] = address


def render(
    name: str, language: str, *, status: int = 200, framed_by: Sequence[str] = (), posts_to: Sequence[str] = ("'self'",),
    headers: dict[str, str] | None = None, scripts: Sequence[str] = (), **values: Any,
) -> Response:
    """The page of ``templates/NAME.html`` in ``en`` or ``ar``.

    ``framed_by``: origins whose pages may show this one in a frame, nobody's by default.  ``posts_to``: where its forms may go, also by
    redirects behind them.  ``scripts``: origins whose script the page runs and may ask.  In templates ``t(key, …)`` is a text,
    ``amount(minor, currency)`` an amount, ``static(name)`` a file's address.
    """
    def t(key: str, **filled: object) -> str:
        return text(key, language, **filled)

    def amount(minor: int, currency: str) -> str:
        return shown(minor, currency, language)

    html = _TEMPLATES.get_template(f"{name}.html").render(
        values, t=t, amount=amount, language=language, direction="rtl" if language == "ar" else "ltr")
    return Response(html, status, HEADERS | _policy(framed_by, posts_to, scripts) | (headers or {}), "text/html; charset=utf-8")


def _policy(framed_by: Sequence[str], posts_to: Sequence[str], scripts: Sequence[str] = ()) -> dict[str, str]:
    """Content-Security-Policy, and for old browsers what it says about frames."""
    ancestors = " ".join(framed_by) or "'none'"
    from_there = "".join(f" {origin}" for origin in scripts)
    asks = f"connect-src{from_there}; frame-src{from_there}; " if scripts else ""
    policy = {"content-security-policy": (
        f"default-src 'none'; style-src 'self'; script-src 'self'{from_there}; img-src 'self' data:{from_there}; {asks}base-uri 'none'; "
        f"form-action {' '.join(posts_to)}; frame-ancestors {ancestors}")}
    return policy if framed_by else policy | {"x-frame-options": "DENY"}


def go(way: Way, *, framed_by: Sequence[str] = ()) -> Response:
    """Send the browser on.  To a shop by a page that leaves by itself, or by its button where there is no script: a form may be
    answered by a redirect anywhere, so its own page forbids only what is no address of a page."""
    if isinstance(way, Goto):
        return RedirectResponse(way.path, 303, HEADERS)
    return leaving(way, framed_by=framed_by)


def leaving(
    way: Return, *, framed_by: Sequence[str] = (), by_itself: bool = True, title: str = "return_title", said: str = "return_said",
) -> Response:
    """The page between us and the shop; ``by_itself``: it does not wait for its button."""
    link = with_query(way.url, way.fields) if way.method == "GET" else ""
    return render(
        "return", way.language, framed_by=framed_by, posts_to=ANY, way=way, link=link, by_itself=by_itself, title=title, said=said)


def message(
    title: str, language: str, *, status: int = 200, said: str = "", facts: Sequence[tuple[str, str]] = (), framed_by: Sequence[str] = (),
) -> Response:
    """A page that only says something.  ``title``, ``said`` and the names of ``facts`` are keys of texts; the values of facts stand as they are."""
    return render("message", language, status=status, framed_by=framed_by, title=title, said=said, facts=facts)
