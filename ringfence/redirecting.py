"""What sends payers away and takes them back, put together: the guides of the wallets, the rules of their methods, and who is behind each page."""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import asyncpg

from ringfence.api.ppro.names import Names
from ringfence.api.ppro.returning import Returning
from ringfence.config import Config
from ringfence.core.redirection import Recurrence
from ringfence.engine.browser import Return
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.engine.keys import Keyring
from ringfence.engine.link_addresses import WALLET, Addresses
from ringfence.engine.reading import Reading
from ringfence.engine.redirects import Redirects, Standing
from ringfence.engine.refund_period import RefundPeriod
from ringfence.engine.sessions import Ending
from ringfence.engine.wallet_guide import AmazonGuide
from ringfence.processors.amazon_pay.wallet import Recurrence as AmazonRecurrence
from ringfence.storage.redirections import RedirectionRow
from ringfence.wallets import Amazon
from ringfence.web.wallet import Desk


def redirects_of(
    config: Config, amazon: Amazon, engine: Engine, reading: Reading, pool: asyncpg.Pool, directory: Directory, keyring: Keyring,
    standing: Standing, *, base_url: str, now: Callable[[], datetime], wall: Callable[[], datetime], ask_seconds: float,
) -> Redirects:
    """Built, and known to the engine.  A repeatable run tells the same addresses in every folder."""
    names = Names(keyring.content_key)

    def reference_of(row: RedirectionRow) -> str:
        return names.make("charge", row.payment_id) if row.payment_id else names.make("agr", row.agreement_id)

    guide = AmazonGuide(
        amazon.wallet, amazon.accounts, directory, reference_of=reference_of, recurrence_of=_recurrence, wall=wall, seconds=config.answer_seconds)
    addresses = Addresses(config.seed.to_bytes(8, "big") if config.frozen_at else keyring.content_key, WALLET)
    made = Redirects(
        pool, engine, standing, {"AMAZON_PAY": guide}, addresses, base_url=base_url, now=now, wall=wall, ask_seconds=ask_seconds)
    engine.redirecting = made
    engine.rules = {amazon.processor.name: RefundPeriod(reading, directory, now)}
    return made


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
