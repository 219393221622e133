"""What the PPRO door is made of, and how a process serves it.  A part of the composition: built by hand, in reading order."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from ringfence.api.ppro import charges, dispute_requests, operations
from ringfence.api.ppro.app import GlobalApi
from ringfence.api.ppro.door import Disputes, Endpoint, Service
from ringfence.api.ppro.names import Names
from ringfence.api.ppro.rendering import Renderer
from ringfence.engine.charges import Charges
from ringfence.engine.code_box import CodeBox
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.disputes import LARGEST_FILE
from ringfence.engine.engine import Engine
from ringfence.engine.keyed_requests import KeyedRequests
from ringfence.engine.rates import Rates
from ringfence.engine.reading import Reading
from ringfence.engine.vault import Vault
from ringfence.processors.processor import Processor

if TYPE_CHECKING:
    from ringfence.main import Foundation

ENDPOINTS: tuple[Endpoint, ...] = (*charges.ENDPOINTS, *operations.ENDPOINTS, *dispute_requests.ENDPOINTS)
"""All that is served below ``/v1``."""


FORM_BYTES = 65_536
"""What a form may have around its file."""


def ppro_service(
    *, is_live: bool, base_url: str, engine: Engine, reading: Reading, vault: Vault, directory: Directory, code_box: CodeBox, content_key: bytes,
    pool: asyncpg.Pool, processors: Mapping[str, Processor], new_id: Callable[[], int], now: Callable[[], datetime],
    disputes: Disputes,
) -> Service:
    """The service behind the door."""
    names, of_cards = Names(content_key), next(iter(processors))
    return Service(
        engine=engine, reading=reading, charges=Charges(pool, reading), renderer=Renderer(names), vault=vault, directory=directory,
        code_box=code_box, keyed=KeyedRequests(pool, new_id=new_id, now=now, wall=lambda: datetime.now(UTC)), names=names,
        content_key=content_key, route=routing(processors, of_cards), house=of_cards, now=now, is_live=is_live,
        disputes=disputes, base_url=base_url)


def routing(processors: Mapping[str, Processor], of_cards: str) -> Callable[[Merchant, str, str], str | None]:
    """Which processor carries out a payment method; ``of_cards`` names that of cards."""
    by_method = {"CARD": of_cards, "AMAZON_PAY": "amazon_pay", "MOCK": "mock"}

    def route(merchant: Merchant, method: str, brand: str) -> str | None:
        name = by_method.get(method)
        allowed = merchant.settings.payment_methods
        return name if name in processors and (not allowed or method in allowed) else None

    return route


def global_api(base: Foundation) -> GlobalApi:
    """The door of a worker."""
    rates = Rates(base.config.data / "rates", time.time)
    base.ends.callback(rates.close)
    return GlobalApi(base.ppro, ENDPOINTS, rates, base.counters, body_limit=base.config.body_limit, file_limit=LARGEST_FILE + FORM_BYTES)
