"""The cashier of APS's pages: what the card form shows, whether a typed card is worth an attempt, and what an attempt came to.

An attempt is a payment like any other, made by the same function, under a key of its own.  Decides which declines a payer may answer with
another card, and the words in which the shop hears of the end.  Refuses to know how pages look.
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from ringfence.api.aps import cards, payments, returns
from ringfence.api.aps.accounts import Settings
from ringfence.api.aps.answers import answer
from ringfence.api.aps.codes import UNKNOWN_OUTCOME
from ringfence.api.aps.door import CHANNEL, Account, Reply, Service, attempt_key
from ringfence.api.aps.fields import CHECKS
from ringfence.api.aps.ladder import ApsRequest, WireError, accepted
from ringfence.api.aps.maintenance import PAGE
from ringfence.api.aps.operations import PAYMENT_PAGE, Operation, brand_message, variant_of
from ringfence.api.aps.returning import answer_again
from ringfence.api.aps.returns import MERCHANT_PAGE, REDIRECTION
from ringfence.core.card import brand_of
from ringfence.engine.browser import Goto, Way
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.sessions import PAYMENT, Answer, Cashier, Ending, Form, SavedCard, Session, Sessions, Typed
from ringfence.engine.vault import Token

log = logging.getLogger(__name__)

ATTEMPTS = 9
"""Cards may be tried so often for one order."""
CANCELLED, TIMED_OUT, DUPLICATE = "00072", "00778", "007"

#: What an attempt met, as a word for the payer; any other message is a plain decline.
PROBLEMS = {
    "029": "insufficient_funds", "012": "card_expired", "016": "card_refused", "006": "unavailable", "030": "not_authenticated",
    "072": "not_authenticated", "778": "not_authenticated",         # given up at the payer's bank, and too late there
    "044": "card_gone", "114": "unavailable", "061": "card_not_kept",
}
NUMBER_PROBLEMS = {"016": "number_invalid", "039": "brand_unknown"}
BRAND_PROBLEMS = {"110": "brand_not_taken", "003": "brand_not_taken", "049": "brand_not_taken", "113": "brand_not_taken"}
EXPIRY_PROBLEMS = {"100": "expiry_invalid", "012": "expiry_passed"}


class Desk:
    """What stands behind the pages of this door; ``cashier`` is what pages see of it."""

    def __init__(
        self, service: Service, sessions: Sessions, account: Callable[[dict[str, str]], Account | WireError], *,
        tokenize: Callable[[Service, Account, ApsRequest], Awaitable[Reply]],
    ) -> None:
        self._service, self._sessions, self._account, self._tokenize = service, sessions, account, tokenize
        self.cashier = Cashier(self._form, self._check, self._attempt, self._settle, self._cancel, self._ending)

    # -- before an attempt

    async def _form(self, session: Session) -> Form | None:
        account = self._account_of(session)
        if account is None:
            return None
        token = await self._token_of(session)
        card, asked = token and token.card, session.asked
        saved = card and card.brand in (asked.payment_options or (card.brand,)) and session.purpose == PAYMENT
        framed_by = () if session.purpose == PAYMENT else returns.framed_by(account)
        return Form(
            account.merchant.name, SavedCard(card.brand, card.masked, token.expiry) if token and card and saved else None,
            asked.remember is None, True, framed_by, account.settings.sandbox, self._goes_back(session, account))

    async def _token_of(self, session: Session) -> Token | None:
        """The token that the shop named, where it may be charged."""
        name = session.asked.token_name
        token = await self._service.vault.token(session.merchant_id, name) if name else None
        return token if token is not None and token.active and not token.temporary else None

    async def _check(self, session: Session, typed: Typed) -> Mapping[str, str]:
        account, now = self._account_of(session), self._service.now()
        assert account is not None, "the form was shown"
        problems: dict[str, str] = {}
        if typed.saved:
            token = await self._token_of(session)
            if token is None:
                return {"number": "card_gone"}
            # The number is not at hand; its brand says how long the code is.
            if len(typed.code) != (4 if token.card.brand == "AMEX" else 3) or not _digits(typed.code):
                problems["code"] = "code_invalid"
            return problems
        if not typed.number:
            problems["number"] = "number_missing"
        elif not _digits(typed.number):
            problems["number"] = "number_invalid"
        elif message := cards.number_message(typed.number):
            problems["number"] = NUMBER_PROBLEMS[message]
        elif message := _brand_message(session, account, str(brand_of(typed.number))):
            problems["number"] = BRAND_PROBLEMS[message]
        expiry = _expiry(typed)
        if not (typed.month or typed.year):
            problems["expiry"] = "expiry_missing"
        elif not expiry:
            problems["expiry"] = "expiry_invalid"
        elif message := cards.expiry_message(expiry, now, typed.number, account.settings.sandbox):
            problems["expiry"] = EXPIRY_PROBLEMS[message]
        if not (_digits(typed.code) and CHECKS["card_security_code"](typed.code) and cards.code_fits(typed.code, typed.number)):
            problems["code"] = "code_invalid" if typed.code else "code_missing"
        if not typed.holder or not CHECKS["card_holder_name"](typed.holder):
            problems["holder"] = "holder_invalid" if typed.holder else "holder_missing"
        return problems

    # -- an attempt

    async def _attempt(self, session: Session, typed: Typed, attempts: int) -> Way:
        account, page = self._account_of(session), Goto(session.path)
        assert account is not None, "the form was shown"
        request, payment_id = await self._request(session, account, typed), self._service.engine.new_id()
        try:
            if not await self._sessions.begin(session, attempts, payment_id):
                return page
            if session.purpose != PAYMENT:
                reply = await self._tokenize(self._service, account, request)
                stored = False
            else:
                told: dict[str, object] = {CHANNEL: REDIRECTION}
                if session.payment_link_id is not None:
                    told["payment_link_id"] = str(session.payment_link_id)
                reply = await payments.pay(
                    self._service, account, request, payments.Attempt(payment_id, attempt_key(session.reference, attempts + 1), PAGE, told))
                stored = "fort_id" in reply.fields
            if "3ds_url" in reply.fields:
                await self._sessions.challenge(session, payment_id)
                return Goto(urlsplit(str(reply.fields["3ds_url"])).path)
            body = answer(request, reply.fields, reply.code)
            await self._note(session, payment_id, reply.code, body, attempts + 1, stored=stored)
        except CONNECTION_LOST:
            log.warning("the database went away in an attempt on a page")
        except Exception:
            log.exception("an attempt on a page broke")         # it is looked after by whoever comes to the page later
        return page

    async def _request(self, session: Session, account: Account, typed: Typed) -> ApsRequest:
        """The request that the shop and the payer made together."""
        given = dict(session.asked.given)
        name = given.pop("token_name", "")
        if typed.saved:
            given |= {"token_name": name, "card_security_code": typed.code}
        else:
            given |= {
                "card_number": typed.number, "expiry_date": _expiry(typed), "card_security_code": typed.code, "card_holder_name": typed.holder}
            if name and (session.purpose != PAYMENT or await self._service.vault.token(session.merchant_id, name, fresh=True) is None):
                given["token_name"] = name
        if session.asked.remember is None and not typed.saved:
            given["remember_me"] = "YES" if typed.remember else "NO"
        operation = _operation(session)
        return accepted(given | {"signature": ""}, operation, variant_of(operation, given), account.settings)

    async def _note(self, session: Session, payment_id: int, code: str, body: Mapping[str, object], tries: int, *, stored: bool) -> None:
        """What an attempt came to: the end, or another try.  ``stored``: somebody was asked for it, so it counts."""
        operation = _operation(session)
        went_well = code[:2] == operation.success[:2] or code == UNKNOWN_OUTCOME
        may_try_again = code[2:] != DUPLICATE and not (stored and tries >= ATTEMPTS)
        if went_well or not may_try_again:
            await self._sessions.finish(session, payment_id, Answer(code, {name: str(value) for name, value in body.items()}))
        else:
            await self._sessions.fail(session, payment_id, PROBLEMS.get(code[2:], "declined"), counts=stored)

    # -- after it

    async def _settle(self, session: Session, is_stale: bool) -> None:
        assert session.payment_id is not None
        view = None
        if session.purpose == PAYMENT:
            view = await self._service.reading.view(session.merchant_id, session.payment_id)
        if view is None and not is_stale:
            return
        if view is None:                        # whoever tried it died before anything was asked
            await self._sessions.fail(session, session.payment_id, "unavailable", counts=False)
            return
        if view.first.result in (None, "challenge"):
            return
        code, body = answer_again(view)
        await self._note(session, session.payment_id, code, body, session.attempts, stored=True)

    async def _cancel(self, session: Session) -> bool:
        body = answer(self._bare(session), {}, CANCELLED)
        return await self._sessions.cancel(session, Answer(CANCELLED, {name: str(value) for name, value in body.items()}))

    def _ending(self, session: Session) -> Way | Ending:
        account = self._account_of(session)
        if session.answer is not None:
            code, body = session.answer.code, dict(session.answer.fields)
        else:
            code, body = TIMED_OUT, {name: str(value) for name, value in answer(self._bare(session), {}, TIMED_OUT).items()}
        channel = REDIRECTION if session.purpose == PAYMENT else MERCHANT_PAGE
        if account is None or not self._goes_back(session, account):
            if account is not None and session.asked.return_url:
                returns.note_barred(account.merchant.identifier, session.asked.return_url)
            return _ending(session, code)
        return returns.back(account, channel, session.asked.return_url, dict(body), session.asked.language)

    def _goes_back(self, session: Session, account: Account) -> bool:
        """Whether the browser leaves for the shop's own address, as the account is now."""
        channel = REDIRECTION if session.purpose == PAYMENT else MERCHANT_PAGE
        return bool(session.asked.return_url) and returns.may_go(account, channel, session.asked.return_url)

    def _bare(self, session: Session) -> ApsRequest:
        """The shop's request, without a card."""
        operation, given = _operation(session), session.asked.given
        return accepted(given | {"signature": ""}, operation, variant_of(operation, given), Settings())

    def _account_of(self, session: Session) -> Account | None:
        account = self._account(session.asked.given)
        return None if isinstance(account, WireError) or not account.merchant.active else account


def _operation(session: Session) -> Operation:
    given = session.asked.given
    key = "command" if "command" in given else "service_command"
    return PAYMENT_PAGE.operations[key, given[key]]


def _brand_message(session: Session, account: Account, brand: str) -> str | None:
    """Why a card of this brand cannot be used here: a message code."""
    if session.purpose != PAYMENT:
        return None
    options = account.settings.payment_options
    if options is not None and brand not in options:
        return "003"
    return brand_message(_operation(session), "ECOMMERCE", brand, session.asked.given.get("payment_option", ""))


def _expiry(typed: Typed) -> str:
    """YYMM, "" for what is no month and year; the year in two digits or in four."""
    month, year = typed.month, typed.year
    if not (_digits(month) and len(month) <= 2 and _digits(year) and len(year) in (2, 4)) or (len(year) == 4 and year[:2] != "20"):
        return ""
    return year[-2:] + month.zfill(2)


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _ending(session: Session, code: str) -> Ending:
    """How a session ended, for a page that says it itself."""
    went_well = code[:2] == _operation(session).success[:2]
    return Ending("kept") if went_well and session.purpose != PAYMENT else returns.ending(code, went_well=went_well)
