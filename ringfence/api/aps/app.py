"""``POST /FortAPI/paymentApi``: bytes in, bytes out.

Each business result, errors included, is HTTP 200 with a JSON object; other statuses are left for what no APS client asks.
Refuses to know how bodies travel.
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from ringfence.api.aps import explain, links, maintenance, payments, services, three_d_secure, tokenization, wire
from ringfence.api.aps.accounts import Credential, Settings
from ringfence.api.aps.answers import format_answer, format_error
from ringfence.api.aps.codes import UNKNOWN_OUTCOME, refusal_message
from ringfence.api.aps.door import DOOR, Account, Reply, Service
from ringfence.api.aps.operations import ELSEWHERE
from ringfence.api.aps.wire import ApsRequest, WireError
from ringfence.api.http import Asking
from ringfence.core.refusals import Refusal
from ringfence.engine import directory
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.intents import Result
from ringfence.engine.lane import CONNECTION_LOST

log = logging.getLogger(__name__)

Handler = Callable[[Service, Account, ApsRequest], Awaitable[Reply]]

#: Which function serves which operation.
HANDLERS: dict[str, Handler] = {
    "AUTHORIZATION": payments.pay,
    "PURCHASE": payments.pay,
    "CAPTURE": maintenance.operate,
    "VOID_AUTHORIZATION": maintenance.operate,
    "REFUND": maintenance.operate,
    "CHECK_STATUS": maintenance.check_status,
    "CREATE_TOKEN": tokenization.create_token,
    "UPDATE_TOKEN": services.update_token,
    "GET_TOKENS": services.get_tokens,
    "SDK_TOKEN": services.sdk_token,
    "VERIFY_CARD": services.verify_card,
    "CHECK_VERIFY_CARD_STATUS": services.check_verification,
    "3DS_ENROLLMENT": three_d_secure.enrol,
    "3DS_AUTHENTICATION": three_d_secure.authenticate,
    "PAYMENT_LINK": links.payment_link,
    "CHECK_PAYMENT_LINK_STATUS": links.check_payment_link,
}
MOVES_MONEY = frozenset({"AUTHORIZATION", "PURCHASE", "CAPTURE", "VOID_AUTHORIZATION", "REFUND", "VERIFY_CARD"})


class PaymentApi:
    """The door: one of these per process."""

    def __init__(self, service: Service, directory: Directory, *, sandbox: bool) -> None:
        self._service, self._directory, self._sandbox = service, directory, sandbox
        self._accounts: dict[tuple[str, str], Account] = {}

    async def handle(self, body: bytes, source_ip: str = "", idempotency_key: str = "") -> tuple[bytes, str]:
        """The answer to a body, and the receipt of what was committed for it ("" for nothing)."""
        asked = self._asked(body, source_ip)
        return (asked, "") if type(asked) is bytes else await self._answered(*asked, self._reply(*asked, idempotency_key))

    def begin(self, body: bytes, source_ip: str, idempotency_key: str, asking: Asking) -> Coroutine[Any, Any, tuple[bytes, str]] | None:
        """The same for whoever is told (see ``Begin``): a payment of a cardholder whose token is at hand waits for nothing of its own."""
        asked = self._asked(body, source_ip)
        if type(asked) is bytes:
            return _said(asked)
        try:
            begun = payments.begun(self._service, *asked) if HANDLERS[asked[1].operation.name] is payments.pay else None
        except Exception:               # ``pay`` meets it again, where it has an answer
            begun = None
        if begun is not None and self._service.engine.begin(begun.intent, partial(self._heard, begun, asking)):
            return None
        return self._answered(*asked, self._reply(*asked, idempotency_key))

    def _heard(self, begun: payments.Begun, asking: Asking, result: Result | Awaitable[Result]) -> None:
        """What became of a payment, or what is to be awaited for it."""
        request, credential = begun.request, begun.account.credential
        if type(result) is not Result:
            asking.goes_on(self._answered(begun.account, request, payments.after(begun, result)))       # type: ignore[arg-type]
            return
        try:
            code, fields, receipt = begun.reply(result)
            answer = format_answer(request, fields, code, credential)
        except Exception:
            log.exception("%s broke", request.operation.name)
            answer, receipt = format_answer(request, {}, UNKNOWN_OUTCOME, credential), ""
        asking.answered(answer, receipt)

    def _asked(self, body: bytes, source_ip: str) -> tuple[Account, ApsRequest] | bytes:
        """Who asks, and for what; or the answer to what cannot be asked here."""
        params = wire.decode(body)
        if type(params) is WireError:
            return format_error(params, None)
        admitted = self.admit(params, source_ip)
        if type(admitted) is bytes or admitted[1].operation.name in HANDLERS:
            return admitted
        return format_error(wire.error(params, ELSEWHERE), admitted[0].credential)

    def _reply(self, account: Account, request: ApsRequest, idempotency_key: str) -> Awaitable[Reply]:
        name = request.operation.name
        if idempotency_key and name in ("CAPTURE", "REFUND"):
            return maintenance.operate(self._service, account, request, idempotency_key)
        return HANDLERS[name](self._service, account, request)

    async def _answered(self, account: Account, request: ApsRequest, coming: Awaitable[Reply]) -> tuple[bytes, str]:
        """The answer that a reply makes, and its receipt; whatever breaks on the way to it has an answer too."""
        name = request.operation.name
        try:
            reply = await coming
        except CONNECTION_LOST:
            # The engine has its own answers once something was committed; here only a look-up can have failed.
            log.warning("the database is away")
            reply = Reply(request.operation.failure + refusal_message(Refusal.SERVICE_UNAVAILABLE))
        except Exception:
            log.exception("%s broke", name)
            failed = UNKNOWN_OUTCOME if name in MOVES_MONEY else request.operation.failure + refusal_message(Refusal.SERVICE_UNAVAILABLE)
            reply = Reply(failed)
        code, fields, receipt = reply
        return format_answer(request, fields, code, account.credential), receipt

    def admit(self, params: dict[str, str], source_ip: str) -> tuple[Account, ApsRequest] | bytes:
        """Who asks, and the request; or the answer that refuses it."""
        account = self.account(params)
        if type(account) is WireError:
            return format_error(account, None)
        if not account.merchant.active:
            return format_error(wire.inactive_merchant(params), account.credential)
        request = wire.parse(params, account.credential, account.settings, self._service.now(), source_ip)
        if type(request) is WireError:
            if self._sandbox and request.code == "00008":
                log.info("%s", "\n".join(explain.explain(params, account.credential).lines()))
            return format_error(request, account.credential)
        return account, request

    async def account_named(self, merchant_identifier: str, access_code: str) -> Account | None:
        """The account of a credential set; ``None`` where it is none any more, and the directory has just been asked."""
        named = {"merchant_identifier": merchant_identifier, "access_code": access_code}
        found = self.account(named)
        if isinstance(found, WireError):
            await self._directory.refresh()
            found = self.account(named)
        return None if isinstance(found, WireError) else found

    def account(self, params: dict[str, str]) -> Account | WireError:
        """Who calls, from the directory; made anew where the merchant or its credential changed."""
        known = self._accounts.get((params.get("merchant_identifier", ""), params.get("access_code", "")))
        if known is not None and self._directory.merchant(known.merchant.identifier) is known.merchant:
            return known
        address = wire.address(params)
        if isinstance(address, WireError):
            return address
        merchant = self._directory.merchant(address.merchant_identifier)
        if merchant is None:
            return wire.unknown_merchant(params)
        if not address.access_code:
            return wire.error(params, "00001", "access_code")
        credential = self._directory.credential(*address)
        if credential is None or credential.door != DOOR:
            return wire.unknown_access_code(params)
        made = account_of(
            merchant, credential, f"{DOOR}:{credential.public_name}", sandbox=self._sandbox, takes_cards=self._service.takes_cards)
        self._accounts[address] = made
        return made


async def _said(answer: bytes) -> tuple[bytes, str]:
    return answer, ""


def account_of(merchant: Merchant, credential: directory.Credential, actor: str, *, sandbox: bool, takes_cards: bool = True) -> Account:
    """A merchant as the wire wants it, speaking with one of its credentials; ``actor`` is who its operations are noted for."""
    spoken = Credential(
        merchant.identifier, credential.public_name, credential.request_phrase, credential.response_phrase, credential.algorithm)
    return Account(merchant, spoken, wire_settings(merchant, sandbox=sandbox, takes_cards=takes_cards), actor)


def wire_settings(merchant: Merchant, *, sandbox: bool, takes_cards: bool = True) -> Settings:
    """A merchant's settings as the wire wants them; no brand may pay where the installation takes no cards."""
    of = merchant.settings
    channels = {name for name in ("redirection", "merchant_page", "trusted", "moto", "recurring") if getattr(of, f"channel_{name}")}
    on = {"tokenization": of.service_tokenization, "verify_card": of.service_verify_card, "mobile_sdk": of.channel_mobile_sdk,
          "reporting": of.service_reporting, "three_d_secure": of.service_three_d_secure, "batch": of.channel_batch,
          "payment_links": of.service_payment_links and of.channel_invoicing}
    return Settings(
        sandbox=sandbox, fraud=of.service_fraud, channels=frozenset(channels),
        services=frozenset(name for name, switched in on.items() if switched),
        statement_descriptor=of.statement_descriptor, currencies=of.currencies or None,
        payment_options=(of.payment_options or None) if takes_cards else frozenset(), sources=of.source_ips or None,
        return_origins=of.return_origins or (None if sandbox else ()), mask_first=int(of.card_mask[0]),
    )
