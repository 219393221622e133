"""Payments and notices that this service makes by itself for a merchant's plans, as the APS door would have made them.

A charge is a RECURRING purchase like any that a merchant's server asks for: it climbs the same ladder but for the signature, is carried
out by the same functions, keeps the same details, and so is told of in the same feedback.  Refuses to know when something is due.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from ringfence.api.aps import codes, ladder, signature
from ringfence.api.aps.app import account_of
from ringfence.api.aps.door import DOOR, Account, Reply, Service
from ringfence.api.aps.ladder import ApsRequest, WireError
from ringfence.api.aps.payments import KINDS, card_fields, intent_of, with_token
from ringfence.engine.directory import Credential, Merchant
from ringfence.engine.intents import CardInHand, Intent, Result
from ringfence.engine.plan_terms import ACTOR, Charge, Charged, Judge, Order, Render

_ENCODE = msgspec.json.Encoder().encode
BETWEEN = 25
"""Orders after which the event loop has its turn."""
SOURCE = "plan"
"""Where the operations of plans come from, in their rows."""


def charger(service: Service, *, sandbox: bool) -> Charge:
    """What carries out orders, through the engine of ``service``."""
    async def prepared(order: Order) -> Charged | tuple[ApsRequest, CardInHand, Intent]:
        asked = _asked(order, service.now(), sandbox=sandbox, takes_cards=service.takes_cards)
        if isinstance(asked, str):
            return Charged(None, asked)
        account, request = asked
        card = await with_token(service, account, request)
        if isinstance(card, Reply):
            return Charged(None, _in_words(card.code))
        assert card.stored is not None
        intent = intent_of(service, account, request, card, card_fields(service, account, card), SOURCE)
        return Charged(None, _in_words(intent.code), card.stored.card_id) if isinstance(intent, Reply) else (request, card, intent)

    async def charge(orders: Sequence[Order]) -> list[Charged]:
        wanted = {(order.merchant.merchant_id, order.token_name) for order in orders}
        unknown = [name for name in sorted(wanted) if service.vault.cached_token(*name) is None]
        await asyncio.gather(*(service.vault.token(*name) for name in unknown))         # read together, and then at hand
        ready = []
        for place, order in enumerate(orders):
            ready.append(await prepared(order))
            if place % BETWEEN == 0:
                await asyncio.sleep(0)
        results = iter(await service.engine.execute_many([one[2] for one in ready if not isinstance(one, Charged)]))
        return [one if isinstance(one, Charged) else _charged(*one[:2], next(results)) for one in ready]

    return charge


def _charged(request: ApsRequest, card: CardInHand, result: Result) -> Charged:
    why = "" if result.refusal is None else _in_words(
        request.operation.failure + codes.refusal_message(result.refusal, KINDS[request.operation.name]))
    used = card if result.card is None else result.card
    return Charged(result, why, used.stored.card_id if used.stored else None)


def judge(now: Callable[[], datetime], *, sandbox: bool, takes_cards: bool = True) -> Judge:
    """Why an order could not be carried out whatever the card."""
    def judged(order: Order) -> str | None:
        asked = _asked(order, now(), sandbox=sandbox, takes_cards=takes_cards)
        return asked if isinstance(asked, str) else None

    return judged


def notices() -> Render:
    """Notices of plans as flat JSON of texts, signed like every answer of this door: under the response phrase of the merchant's first
    access code, which the notice names."""
    def rendered(merchant: Merchant, said: Mapping[str, str]) -> bytes | None:
        credential = _credential(merchant)
        if credential is None:
            return None
        body = {"merchant_identifier": merchant.identifier, "access_code": credential.public_name, **said}
        return _ENCODE(body | {"signature": signature.sign(body, credential.response_phrase, credential.algorithm)})

    return rendered


def _asked(order: Order, now: datetime, *, sandbox: bool, takes_cards: bool) -> tuple[Account, ApsRequest] | str:
    """The request that an order is, or why it cannot be one."""
    merchant, credential = order.merchant, _credential(order.merchant)
    if not merchant.active:
        return _in_words("00015")
    if credential is None:
        return "the merchant has no access code at this door"
    account = account_of(merchant, credential, ACTOR, sandbox=sandbox, takes_cards=takes_cards)
    params = {
        "command": "PURCHASE", "eci": "RECURRING", "merchant_identifier": merchant.identifier, "access_code": credential.public_name,
        "language": "en", "merchant_reference": order.reference, "amount": str(order.minor), "currency": order.currency,
        "customer_email": order.email, "token_name": order.token_name, "order_description": order.description,
    }
    request = ladder.unsigned(params, account.settings, now)
    return _in_words(request.code, request.named) if isinstance(request, WireError) else (account, request)


def _credential(merchant: Merchant) -> Credential | None:
    return next((one for one in merchant.credentials if one.door == DOOR), None)


def _in_words(code: str, named: str = "") -> str:
    """A code and its text."""
    return f"{code} {codes.text_of(code[2:], 'en', named)}"
