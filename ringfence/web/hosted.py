"""The hosted page: where a payer types a card, for a payment or to have it kept.

Every step is a plain form and a redirect; the script only helps.  The browser never gets card data back from us.  Decides what a payer sees
at each stage of a session; what may be tried, and what came of it, the door's cashier says.
"""
from __future__ import annotations

import logging
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.engine import forms
from ringfence.engine.browser import Entered, Goto, Return, Told
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.return_address import origin_of
from ringfence.engine.sessions import IN_HAND, PATH, PAYMENT, Cashier, Ending, Form, Session, Sessions, Typed
from ringfence.web import pages

log = logging.getLogger(__name__)

WAITING_SECONDS, BANK_SECONDS = 2, 10
"""A page that waits for an attempt looks again so often; one that leads to the payer's bank leaves time to press its button."""

Enter = Callable[[bytes, str, str], Awaitable[Entered]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Hosted(NamedTuple):
    """What the pages stand on.

    ``entrances``: where shops' forms arrive, and who reads them (body, content type, origin).  ``read``: a request's body; raises
    ``forms.TooLarge`` and ``forms.CallerLeft``.
    ``bank``: merchant and payment -> the page on which its payer is awaited, "" where nobody is.
    ``lease_seconds``: an attempt that nobody was asked for within so long (wall time) will not be made any more.
    """

    sessions: Sessions
    cashiers: Mapping[str, Cashier]
    entrances: Mapping[str, Enter]
    read: Callable[[Request], Awaitable[bytes]]
    bank: Callable[[int, int], Awaitable[str]]
    lease_seconds: float


def routes(hosted: Hosted) -> list[Route]:
    """The entrances, and the pages below ``/pay/``."""
    desk = _Desk(hosted)
    return [
        *(Route(path, _with_a_page(desk.entrance(enter)), methods=["POST"]) for path, enter in hosted.entrances.items()),
        Route(PATH + "{address}", _with_a_page(desk.show), methods=["GET"]),
        Route(PATH + "{address}", _with_a_page(desk.pay), methods=["POST"]),
        Route(PATH + "{address}/cancel", _with_a_page(desk.cancel), methods=["POST"]),
    ]


def _with_a_page(endpoint: Endpoint) -> Endpoint:
    """The endpoint; what goes wrong in it is said on a page, because a person reads it."""
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except CONNECTION_LOST:
            return pages.message("away_title", _language(request), status=503, said="away_said")
        except forms.TooLarge:
            return pages.message("bad_form_title", _language(request), status=413, said="bad_form_said")
        except forms.CallerLeft:
            return Response(status_code=499)
        except Exception:
            log.exception("a page broke")
            return pages.message("broken_title", _language(request), status=500, said="broken_said")

    return answered


class _Open(NamedTuple):
    """A session, its door's cashier, and what its form shows."""

    session: Session
    cashier: Cashier
    form: Form


class _Desk:
    def __init__(self, hosted: Hosted) -> None:
        self._sessions, self._cashiers, _, self._read, self._bank, self._lease = hosted

    def entrance(self, enter: Enter) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of one door's forms."""
        async def entered(request: Request) -> Response:
            body = await self._read(request)
            way, framed_by = await enter(body, request.headers.get("content-type", ""), _came_from(request))
            if isinstance(way, Told):
                facts = [("code", f"{way.code} {way.message}"), *([("reference", way.reference)] if way.reference else [])]
                return pages.message("problem_title", way.language, said="nothing_paid", facts=facts, framed_by=framed_by)
            return pages.go(way, framed_by=framed_by)

        return entered

    async def show(self, request: Request) -> Response:
        """The page as the session stands."""
        found = await self._find(request)
        return _gone(request) if found is None else await self._shown(found)

    async def pay(self, request: Request) -> Response:
        """One attempt, or the form again with what is wrong."""
        found = await self._find(request)
        if found is None:
            return _gone(request)
        fields = await self._posted(request, found.session)
        if fields is None:
            return _not_ours(found)
        session, attempts = found.session, _number(fields.get("attempt", ""))
        if session.state != "open" or session.is_late or attempts != session.attempts:
            return pages.go(Goto(session.path))                 # sent twice, or from a page of before
        typed = typed_of(fields)
        problems = await found.cashier.check(session, typed)
        if problems:
            return self._card_form(found, problems, typed, status=422)
        return pages.go(await found.cashier.attempt(session, typed, attempts))

    async def cancel(self, request: Request) -> Response:
        """The payer gives up."""
        found = await self._find(request)
        if found is None:
            return _gone(request)
        if await self._posted(request, found.session) is None:
            return _not_ours(found)
        if found.session.state == "open" and not found.session.is_late:
            await found.cashier.cancel(found.session)
        return pages.go(Goto(found.session.path))

    async def _find(self, request: Request) -> _Open | None:
        session = await self._sessions.at(request.path_params["address"])
        cashier = session and self._cashiers.get(session.door)
        if session is None or cashier is None:
            return None
        form = await cashier.form(session)
        return None if form is None else _Open(session, cashier, form)

    async def _posted(self, request: Request, session: Session) -> dict[str, str] | None:
        """The fields of a form that our own page of this session sent; else ``None``."""
        fields = forms.decode(await self._read(request), request.headers.get("content-type", ""))
        ours = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
        if not fields or not ours or not compare_digest(fields.get("mark", "").encode(), self._sessions.mark(session).encode()):
            return None
        return fields

    async def _shown(self, found: _Open) -> Response:
        session, cashier, form = found
        language, framed_by = session.asked.language, form.framed_by
        bank = ""
        if session.state in IN_HAND:
            if session.purpose == PAYMENT and session.payment_id is not None:
                bank = await self._bank(session.merchant_id, session.payment_id)
            await cashier.settle(session, self._is_stale(session))
            session = await self._sessions.at(session.path.removeprefix(PATH)) or session
        if session.state in IN_HAND:
            seconds = BANK_SECONDS if bank else WAITING_SECONDS
            return pages.render(
                "waiting", language, framed_by=framed_by, headers={"refresh": str(seconds)}, bank=bank, is_payment=session.purpose == PAYMENT)
        if session.state == "open" and not session.is_late:
            return self._card_form(found._replace(session=session), {}, Typed(remember=form.remembers, saved=form.saved is not None))
        way = cashier.ending(session)
        if isinstance(way, Ending):
            return pages.render("ended", language, framed_by=framed_by, how=way.how, session=session, form=form)
        if session.is_late and isinstance(way, Return):
            title, said = ("expired_title", "expired_said") if session.purpose == PAYMENT else ("expired_card_title", "expired_card_said")
            return pages.leaving(way, framed_by=framed_by, by_itself=False, title=title, said=said)
        return pages.go(way, framed_by=framed_by)

    def _is_stale(self, session: Session) -> bool:
        return session.tried_at is not None and (datetime.now(UTC) - session.tried_at).total_seconds() > self._lease

    def _card_form(self, found: _Open, problems: Mapping[str, str], typed: Typed, *, status: int = 200) -> Response:
        session, _, form = found
        return pages.render(
            "card", session.asked.language, status=status, framed_by=form.framed_by, session=session, asked=session.asked, form=form,
            is_payment=session.purpose == PAYMENT, mark=self._sessions.mark(session), problems=problems, typed=_repeatable(typed))


FIELDS = {"card_number": "number", "expiry_month": "month", "expiry_year": "year", "security_code": "code", "card_holder": "holder"}
_LONGEST = 60


def typed_of(fields: Mapping[str, str]) -> Typed:
    """The card that was typed: digits of any script as ASCII, the number without its spaces and dashes, all else as it is."""
    texts = {ours: " ".join(fields.get(name, "").split())[:_LONGEST] for name, ours in FIELDS.items()}
    for name in ("number", "month", "year", "code"):
        texts[name] = "".join([_ascii(sign) for sign in texts[name] if sign != " " and (name != "number" or sign not in "-\u2010\u2011\u2012\u2013")])
    return Typed(**texts, remember=fields.get("remember") == "yes", saved=fields.get("card") == "saved")


def _repeatable(typed: Typed) -> Typed:
    """What a page may show again of what was typed: no number and no code, also not in another field's place."""
    month, year = (text if len(text) <= 4 else "" for text in (typed.month, typed.year))
    holder = "" if any(sign.isdigit() for sign in typed.holder) else typed.holder
    return Typed(month=month, year=year, holder=holder, remember=typed.remember, saved=typed.saved)


def _ascii(sign: str) -> str:
    digit = unicodedata.decimal(sign, None)
    return sign if digit is None else str(digit)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else -1


def _came_from(request: Request) -> str:
    """The origin of the page that posted a form, "" where the browser keeps it to itself."""
    origin = request.headers.get("origin", "")
    return origin if origin and origin != "null" else origin_of(request.headers.get("referer", "")) or ""


def _language(request: Request) -> str:
    """The language of a page about nothing that has one: the browser's own."""
    return "ar" if request.headers.get("accept-language", "").lower().startswith("ar") else "en"


def _gone(request: Request) -> Response:
    return pages.message("gone_title", _language(request), status=404, said="gone_said")


def _not_ours(found: _Open) -> Response:
    return pages.message(
        "bad_form_title", found.session.asked.language, status=400, said="bad_form_said", framed_by=found.form.framed_by)
