"""What sends payers away and takes them back, put together: the guides of the wallets, the rules of their methods, and who is behind each page."""
from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from ringfence.api.ppro import redirection
from ringfence.api.ppro.door import Away
from ringfence.api.ppro.names import Names
from ringfence.api.ppro.returning import Returning
from ringfence.config import Config
from ringfence.core.redirection import Recurrence, Redirect, recurrence_of
from ringfence.engine.browser import Return
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.engine import Engine
from ringfence.engine.keys import Keyring
from ringfence.engine.link_addresses import WALLET, Addresses
from ringfence.engine.reading import Reading
from ringfence.engine.redirects import Redirects, Standing
from ringfence.engine.refund_period import RefundPeriod
from ringfence.engine.sessions import Ending
from ringfence.engine.wallet_guide import AmazonGuide
from ringfence.processors.amazon_pay.wallet import Recurrence as AmazonRecurrence
from ringfence.storage.database import DatabaseUnavailable
from ringfence.storage.redirections import RedirectionRow
from ringfence.wallets import Amazon
from ringfence.web.wallet import Desk


def redirects_of(
    config: Config, amazon: Amazon, engine: Engine, reading: Reading, pool: asyncpg.Pool, directory: Directory, keyring: Keyring,
    standing: Standing, *, key: bytes, base_url: str, now: Callable[[], datetime], wall: Callable[[], datetime], ask_seconds: float,
) -> Redirects:
    """Built, and known to the engine.  ``key``: what the addresses of pages are made under."""
    names = Names(keyring.content_key)

    def reference_of(row: RedirectionRow) -> str:
        return names.make("charge", row.payment_id) if row.payment_id else names.make("agr", row.agreement_id)

    guide = AmazonGuide(
        amazon.wallet, amazon.accounts, directory, reference_of=reference_of, recurrence_of=_recurrence, wall=wall, seconds=config.answer_seconds)
    addresses = Addresses(key, WALLET)
    made = Redirects(
        pool, engine, standing, {"AMAZON_PAY": guide}, addresses, base_url=base_url, now=now, wall=wall, ask_seconds=ask_seconds)
    engine.redirecting = made
    engine.rules = {amazon.processor.name: RefundPeriod(reading, directory, now)}
    return made




def sending_away(redirects: Redirects) -> Callable[[Merchant, int, Away], Awaitable[bool]]:
    """Sends the payer of an agreement away; whether that could be stored."""
    async def send_away(merchant: Merchant, agreement_id: int, away: Away) -> bool:
        settings = merchant.settings
        redirect = Redirect(
            away.method, settings.amazon_pay_seconds if away.method == "AMAZON_PAY" else settings.redirect_seconds, away.language, away.ways,
            away.leave_url, agreement_id, recurrence_of(away.often, away.every, away.minor))
        currency = away.currency or min(settings.amazon_pay_currencies, default="USD")
        try:
            await redirects.begin(merchant.merchant_id, agreement_id, redirect, away.minor or 0, currency)
        except DatabaseUnavailable:
            return False
        return True

    return send_away


def ways_to_agree(
    redirects: Redirects, directory: Directory,
) -> Callable[[int, int, tuple[str, ...], datetime], list[dict[str, Any]]]:
    """``authenticationMethods`` of an agreement that nothing is charged with: its number, its ways and when it was made (business time)."""
    def ways(merchant_id: int, agreement_id: int, named: tuple[str, ...], made_at: datetime) -> list[dict[str, Any]]:
        merchant = directory.by_id(merchant_id)
        seconds = merchant.settings.redirect_seconds if merchant is not None else 0
        return redirection.told_ways(named, redirects.url(merchant_id, agreement_id), made_at + timedelta(seconds=seconds))

    return ways


def confirming(redirects: Redirects) -> Callable[[int, int, str], Awaitable[bool]]:
    """Takes a code for a payment or an agreement; whether one was awaited."""
    async def confirm(merchant_id: int, subject: int, code: str) -> bool:
        return await redirection.brought(redirects, merchant_id, subject, code)

    return confirm


def _recurrence(agreed: Recurrence) -> AmazonRecurrence:
    return AmazonRecurrence(*agreed)


def wallet_desk(redirects: Redirects, returning: Returning, *, is_live: bool) -> Desk:
    """What the pages need."""
    async def way(row: RedirectionRow) -> Return | Ending | None:
        if row.payment_id:
            return await returning.way(row.merchant_id, row.payment_id)
        return await returning.way_of_agreement(row.merchant_id, row.agreement_id, row.leave_url, row.language)

    async def how(row: RedirectionRow) -> str:
        return await returning.how(row.merchant_id, row.payment_id) if row.payment_id else ("agreed" if row.why == "approved" else "cancelled")

    return Desk(redirects, way, how, not is_live)
