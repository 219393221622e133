"""What the PPRO door is made of, and how a process serves it.  A part of the composition: built by hand, in reading order."""
from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg

from ringfence.api.aps.door import order_key
from ringfence.api.ppro import (
    agreements,
    charge_list,
    charges,
    dispute_requests,
    instrument_requests,
    instruments,
    openapi,
    operations,
    redirection,
)
from ringfence.api.ppro.app import GlobalApi
from ringfence.api.ppro.door import DOOR, Disputes, Endpoint, Service
from ringfence.api.ppro.mandates import PREFIX, describing
from ringfence.api.ppro.names import Names
from ringfence.api.ppro.notifications import Wording
from ringfence.api.ppro.rendering import Facts, Renderer
from ringfence.config import NO_CARDS
from ringfence.engine import door_events
from ringfence.engine.addresses import Rules, problem
from ringfence.engine.agreements import Agreements, Close
from ringfence.engine.authenticating import PAGE, Address, SecretOf
from ringfence.engine.challenges import Challenges
from ringfence.engine.charges import Charges, View
from ringfence.engine.code_box import CodeBox
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.disputes import LARGEST_FILE
from ringfence.engine.engine import Engine
from ringfence.engine.instruments import Instruments
from ringfence.engine.keyed_requests import KeyedRequests
from ringfence.engine.keys import Keyring
from ringfence.engine.rates import Rates
from ringfence.engine.reading import Reading
from ringfence.engine.redirects import Redirects
from ringfence.engine.vault import Vault
from ringfence.processors.processor import HasAccounts, KnowsPayers, Processor
from ringfence.processors.simulator import stand_in
from ringfence.redirecting import confirming, sending_away, ways_to_agree

if TYPE_CHECKING:
    from ringfence.main import Foundation

_SERVED = (
    *charges.ENDPOINTS, *charge_list.ENDPOINTS, *operations.ENDPOINTS, *redirection.ENDPOINTS, *instrument_requests.ENDPOINTS,
    *agreements.ENDPOINTS, *dispute_requests.ENDPOINTS)
ENDPOINTS: tuple[Endpoint, ...] = (*_SERVED, openapi.endpoint(_SERVED))
"""All that is served below ``/v1``."""


FORM_BYTES = 65_536
"""What a form may have around its file."""


def ppro_service(
    *, is_live: bool, base_url: str, engine: Engine, reading: Reading, vault: Vault, directory: Directory, code_box: CodeBox, keyring: Keyring,
    pool: asyncpg.Pool, processors: Mapping[str, Processor], new_id: Callable[[], int], now: Callable[[], datetime],
    challenges: Challenges, secret_of: SecretOf, disputes: Disputes, rules: Rules, redirects: Redirects,
) -> Service:
    """The service behind the door."""
    names, of_cards = Names(keyring.content_key), next(iter(processors))
    return Service(
        engine=engine, reading=reading, charges=Charges(pool, reading),
        renderer=Renderer(names, methods(base_url, secret_of, redirects.url)), vault=vault,
        instruments=Instruments(pool, keyring, vault, now), at_hand=instruments.AtHand(), directory=directory,
        code_box=code_box, keyed=KeyedRequests(pool, new_id=new_id, now=now, wall=lambda: datetime.now(UTC)), names=names,
        content_key=keyring.content_key,
        agreements=Agreements(
            pool, new_id=new_id, now=now, describe=describing(names), tell=telling, close=closing(processors, directory, of_cards)),
        route=routing(processors, of_cards), house=of_cards, now=now, is_live=is_live,
        disputes=disputes, base_url=base_url, give_up=giving_up(challenges, redirects), redirects=redirects,
        send_away=sending_away(redirects), ways_to_agree=ways_to_agree(redirects, directory),
        payer_email=payers(processors, directory, of_cards), confirm=confirming(redirects),
        not_to_be_called=lambda url: problem(url, rules),
        keys_elsewhere=lambda reference: (order_key(reference),), stand_in=None if is_live else stand_in)


def giving_up(challenges: Challenges, redirects: Redirects) -> Callable[[int, int, str], Awaitable[bool]]:
    """Ends what waits for a payer, at his bank or elsewhere."""
    async def give_up(merchant_id: int, payment_id: int, why: str) -> bool:
        return await challenges.give_up(merchant_id, payment_id, why) or await redirects.discard(merchant_id, payment_id, why)

    return give_up


def methods(base_url: str, secret_of: SecretOf, url: Callable[[int, int], str]) -> Callable[[View, Facts], list[dict[str, Any]]]:
    """The ways in which the payer of a charge can be authenticated."""
    def ways(view: View, facts: Facts) -> list[dict[str, Any]]:
        first = view.first
        if "ways" in facts.echo:
            return redirection.ways(view, facts, url)
        if first.result != "challenge" or facts.echo.get("paymentMethod") != "CARD":
            return []
        number = int(first.processor_reference or 0)
        address = Address(view.merchant_id, number, secret_of(view.merchant_id, number))
        return [{"type": "3DS", "details": {"requestUrl": f"{base_url}{PAGE}{address}", "requestMethod": "GET"}}]

    return ways


def wording(base_url: str, keyring: Keyring, secret_of: SecretOf, url: Callable[[int, int], str]) -> Wording:
    """The door's words for events."""
    return Wording(Names(keyring.content_key), methods(base_url, secret_of, url), base_url)


def routing(processors: Mapping[str, Processor], of_cards: str) -> Callable[[Merchant, str, str], str | None]:
    """Which processor carries out a payment method; ``of_cards`` names that of cards."""
    by_method = {"CARD": of_cards, "AMAZON_PAY": "amazon_pay", "MOCK": "mock"}

    def route(merchant: Merchant, method: str, brand: str) -> str | None:
        name = by_method.get(method)
        allowed = merchant.settings.payment_methods
        return name if name in processors and name != NO_CARDS and (not allowed or method in allowed) else None

    return route


async def telling(
    connection: asyncpg.Connection, merchant_id: int, agreement_id: int, type: str, data: Mapping[str, Any], webhooks_url: str, at: datetime,
) -> int:
    """Tells merchants of their agreements."""
    return await door_events.tell(connection, merchant_id, DOOR, PREFIX, agreement_id, type, data, webhooks_url, at)


def closing(processors: Mapping[str, Processor], directory: Directory, of_cards: str) -> Close:
    """Tells a wallet that nothing will be charged to an account any more."""
    route = routing(processors, of_cards)

    async def close(merchant_id: int, method: str, account: str) -> bool:
        merchant = directory.by_id(merchant_id)
        wallet = processors.get((merchant and route(merchant, method, "")) or "")
        return not isinstance(wallet, HasAccounts) or merchant is None or await wallet.close_account(merchant.identifier, account)

    return close


def payers(processors: Mapping[str, Processor], directory: Directory, of_cards: str) -> Callable[[int, str, str], Awaitable[str]]:
    """Asks a wallet whose account it is."""
    route = routing(processors, of_cards)

    async def payer_email(merchant_id: int, method: str, account: str) -> str:
        merchant = directory.by_id(merchant_id)
        wallet = processors.get((merchant and route(merchant, method, "")) or "")
        return await wallet.payer_email(merchant.identifier, account) if merchant is not None and isinstance(wallet, KnowsPayers) else ""

    return payer_email


def global_api(base: Foundation) -> GlobalApi:
    """The door of a worker."""
    rates = Rates(base.config.data / "rates", time.time)
    base.ends.callback(rates.close)
    return GlobalApi(base.ppro, ENDPOINTS, rates, base.counters, body_limit=base.config.body_limit, file_limit=LARGEST_FILE + FORM_BYTES)
