"""``POST /FortAPI/paymentPage``: what a shop's form asks, and where the payer's browser goes for it.

A payment opens a page of ours; card data in a form is answered at once; whatever is wrong is told at the shop's own address, signed, and
only where there is none on a page of ours.  Refuses to know how pages look.
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from ringfence.api.aps import explain, operations, returns, signature, tokenization
from ringfence.api.aps.accounts import Settings
from ringfence.api.aps.answers import answer, refusal
from ringfence.api.aps.codes import refusal_message, text_of
from ringfence.api.aps.door import DOOR, Account, Reply, Service, order_key
from ringfence.api.aps.fields import CARD_FIELDS, FIELDS, SECRET
from ringfence.api.aps.ladder import ApsRequest, WireError, climb, error, sayable
from ringfence.api.aps.returns import MERCHANT_PAGE, REDIRECTION
from ringfence.core.refusals import Refusal
from ringfence.engine import forms
from ringfence.engine.browser import Entered, Goto, Told
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.return_address import origin_of
from ringfence.engine.sessions import PAYMENT, TOKENIZATION, Asked, Sessions, Taken

log = logging.getLogger(__name__)

PATH = "/FortAPI/paymentPage"
INVALID = WireError("00073", "", {}, "en")
CARD_MANDATORY = ("card_number", "expiry_date", "card_security_code")
CARD_GIVEN = frozenset(CARD_MANDATORY)
#: What is wrong with a card, rather than with the request: a failed tokenization.
ABOUT_THE_CARD = frozenset({"00012", "00016", "00039", "00100"})
DUPLICATE, EXTRA, CHANNEL_OFF, SOURCE, ECI = "00007", "00027", "00046", "00040", "00033"


class PaymentPage:
    """The door for browsers: one of these per process.  ``account`` finds who calls (see ``app.PaymentApi``)."""

    def __init__(
        self, service: Service, sessions: Sessions, account: Callable[[dict[str, str]], Account | WireError], *,
        tokenize: Callable[[Service, Account, ApsRequest], Awaitable[Reply]], sandbox: bool,
    ) -> None:
        self._service, self._sessions, self._account, self._tokenize, self._sandbox = service, sessions, account, tokenize, sandbox

    async def enter(self, body: bytes, content_type: str, origin: str) -> Entered:
        """Where a posted form leads.  ``origin``: that of the page it was posted from, "" where the browser does not say."""
        params = forms.decode(body, content_type)
        if not params:
            return Entered(_told(INVALID))
        account = self._account(params)
        if isinstance(account, WireError):
            return Entered(_told(account))
        is_payment = bool(params.get("command"))
        channel = REDIRECTION if is_payment else MERCHANT_PAGE
        frames = () if is_payment else returns.framed_by(account)
        url, problem = returns.address_of(account, channel, params)
        request = self._request(params, account, origin)
        if problem:
            named = "return_url" if problem == returns.MALFORMED else ""
            return Entered(_told(error(params, problem, named)))
        if isinstance(request, WireError):
            return Entered(returns.back(account, channel, url, refusal(request), request.language), frames)
        try:
            if request.card is not None:
                done = await (self._tokenize if request.operation.name == "TOKENIZATION" else tokenization.create_token)(
                    self._service, account, request)
                return Entered(returns.back(account, channel, url, answer(request, done.fields, done.code), request.language), frames)
            opened = await self._open(account, request, url)
        except CONNECTION_LOST:
            log.warning("the database is away")
            code = request.operation.failure + refusal_message(Refusal.SERVICE_UNAVAILABLE)
            return Entered(returns.back(account, channel, url, answer(request, {}, code), request.language), frames)
        if isinstance(opened, Goto):
            return Entered(opened, frames)
        return Entered(returns.back(account, channel, url, refusal(error(params, opened)), request.language), frames)

    def _request(self, params: dict[str, str], account: Account, origin: str) -> ApsRequest | WireError:
        """The request, from the same ladder as any other, with the rungs that only forms have.

        The address that counts is not the payer's own but that of the page that sent the browser here.
        """
        if not account.merchant.active:
            return error(params, "00015")
        settings: Settings = account.settings._replace(sources=None, return_origins=None)
        request = climb(params, account.credential, settings, self._service.now(), endpoint=operations.PAYMENT_PAGE)
        if isinstance(request, WireError):
            if request.code == "00008" and (added := _added_by_the_browser(params, account)):
                return error(params, EXTRA, added)
            if request.code == "00008":
                log.warning("a form for merchant %s does not carry its signature", account.merchant.identifier)
                if self._sandbox:
                    log.info("%s", "\n".join(explain.explain(params, account.credential).lines()))
            if request.code in ABOUT_THE_CARD and params.get("service_command") == "TOKENIZATION":
                return request._replace(code="17" + request.code[2:])
            return request
        broken = _refused_here(request, params, account, origin)
        return request if broken is None else error(params, *broken)

    async def _open(self, account: Account, request: ApsRequest, url: str) -> Goto | str:
        """The page for a request, new or the one it had before; or the code of why there is none."""
        merchant, given = account.merchant, request.given
        is_payment = bool(request.operation.variants)
        if is_payment and await self._is_used(account, request):
            return DUPLICATE
        asked = asked_of(account, request, url)
        opened = await self._sessions.open(
            merchant.merchant_id, DOOR, request.reference, asked, seconds=merchant.settings.page_seconds,
            purpose=PAYMENT if is_payment else TOKENIZATION)
        if isinstance(opened, Taken):
            log.info("another form for order %s of merchant %s, of which something was tried", given["merchant_reference"], merchant.identifier)
            return DUPLICATE
        return Goto(opened.path)

    async def _is_used(self, account: Account, request: ApsRequest) -> bool:
        """Whether the order was paid without a page, or tried to."""
        merchant_id = account.merchant.merchant_id
        if await self._service.reading.payment_by_key(merchant_id, order_key(request.reference)) is None:
            return False
        session = await self._sessions.of_reference(merchant_id, DOOR, PAYMENT, request.reference)
        return session is None or not session.attempts


def asked_of(account: Account, request: ApsRequest, url: str) -> Asked:
    """What a page is opened for."""
    given, options = request.given, account.settings.payment_options
    remember = given.get("remember_me")
    asked = given.get("payment_option")
    return Asked(
        {name: value for name, value in given.items() if name not in SECRET}, request.language, request.amount or 0, request.currency,
        given.get("order_description", ""), url, request.token_name,
        False if remember == "NO" or not account.merchant.settings.service_tokenization else None,
        (asked,) if asked else tuple(sorted(options or ())))


def _refused_here(request: ApsRequest, params: dict[str, str], account: Account, origin: str) -> tuple[str, ...] | None:
    """What only forms can have wrong: a code, and the parameter it names."""
    settings = account.merchant.settings
    pages = settings.source_urls
    if pages and origin_of(origin) not in {origin_of(one) for one in pages}:
        return (SOURCE,)
    if request.operation.variants:
        return None if request.eci == "ECOMMERCE" else (ECI, "eci")
    if not settings.channel_merchant_page:
        return (CHANNEL_OFF,)
    sent = {name for name, value in params.items() if value}
    typed = CARD_GIVEN & sent
    if request.operation.name != "TOKENIZATION" or not typed:
        return None
    if not settings.merchant_page_custom:
        return EXTRA, ", ".join(sorted(CARD_FIELDS & sent))
    missing = next((name for name in CARD_MANDATORY if name not in sent), None)
    return None if missing is None else ("00001", missing)


def _added_by_the_browser(params: dict[str, str], account: Account) -> str:
    """The names of fields that no operation has, where the signature is right without them: those of buttons, most of all."""
    unknown = sorted(params.keys() - FIELDS.keys())
    if not unknown:
        return ""
    rest = {name: value for name, value in params.items() if name in FIELDS}
    credential = account.credential
    unsigned = () if params.get("command") else CARD_FIELDS
    covered = signature.verify(rest, credential.request_phrase, credential.sha_type, unsigned)
    return ", ".join(map(sayable, unknown)) if covered else ""


def _told(refused: WireError) -> Told:
    return Told(
        refused.code, text_of(refused.code[2:], refused.language, refused.named), refused.language, refused.echo.get("merchant_reference", ""))
