"""Receipts and reports of trips as an installation serves them."""
from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime

import asyncpg
from starlette.requests import Request
from starlette.routing import BaseRoute

from ringfence.api import receipts as operators
from ringfence.config import Config
from ringfence.engine.directory import Directory
from ringfence.engine.keys import Keyring
from ringfence.engine.link_addresses import RECEIPT, Addresses
from ringfence.engine.look_up_rates import LookUpRates
from ringfence.engine.orders import Orders
from ringfence.engine.rates import Rates
from ringfence.engine.reading import Reading
from ringfence.engine.receipts import Receipts
from ringfence.engine.vault import Vault
from ringfence.linking import reached_at
from ringfence.web import receipts as pages


def receipts_of(
    pool: asyncpg.Pool, keyring: Keyring, directory: Directory, now: Callable[[], datetime], new_id: Callable[[], int],
) -> Receipts:
    """The receipts of this installation."""
    vault = Vault(pool, keyring, new_id=new_id, keeps=lambda pan: False, now=now)
    return Receipts(
        pool, Reading(pool, vault), directory, Addresses(keyring.content_key, RECEIPT), Orders(pool, new_id=new_id, now=now), now=now,
        new_id=new_id)


def for_operators(config: Config, receipts: Receipts, directory: Directory) -> operators.Services:
    """What the admin API works with."""
    reached = reached_at(config)
    return operators.Services(
        receipts, directory, lambda address: f"{reached()}{pages.PATH}{address}", not config.is_live, asyncio.Lock())


def pages_of(
    config: Config, receipts: Receipts, directory: Directory, read: Callable[[Request], Awaitable[bytes]], ends: AsyncExitStack,
) -> list[BaseRoute]:
    """What shoppers see."""
    rates = Rates(config.data / "look-up-rates", time.time)
    ends.callback(rates.close)
    return [*pages.routes(pages.Services(receipts, directory, LookUpRates(rates).wait, read, not config.is_live, asyncio.Lock()))]
