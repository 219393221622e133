"""Expiry: authorizations that were neither captured nor given back in time.

Finds them in sets and sends each a void with that reason, as any caller would; it has no rules of its own.  An authorization
with a capture in flight waits.
"""
from __future__ import annotations

import asyncio
import hashlib
import logging

import asyncpg

from ringfence.core.commands import Command, Kind, VoidReason
from ringfence.core.outcomes import Approved, Declined
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.engine import Engine
from ringfence.engine.intents import Intent, Result
from ringfence.engine.reading import Reading
from ringfence.storage import payments as rows

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Voids in flight together; they share batches with live requests, and must not crowd them out."""


async def sweep(pool: asyncpg.Pool, directory: Directory, reading: Reading, engine: Engine) -> int:
    """Give back every hold that is past its instant; how many were."""
    ended = 0
    for merchant in directory.merchants():
        while due := await rows.expiring(pool, merchant.merchant_id, engine.now(), AT_ONCE):
            results = await asyncio.gather(*(_expire(merchant, payment_id, currency, reading, engine) for payment_id, currency in due))
            ended += sum(isinstance(result.outcome, Approved) for result in results)
            if not all(isinstance(result.outcome, Approved | Declined) for result in results):
                break                       # what is still due as it was is tried again with the next sweep
    if ended:
        log.info("expired %d authorizations", ended)
    return ended


async def _expire(merchant: Merchant, payment_id: int, currency: str, reading: Reading, engine: Engine) -> Result:
    view = await reading.view(merchant.merchant_id, payment_id)
    assert view is not None, "a payment has a first operation"
    operation_id = engine.new_id()
    return await engine.execute(Intent(
        merchant.merchant_id, merchant.identifier, payment_id,
        Command(Kind.VOID, None, currency, operation_id, reason=VoidReason.EXPIRED), view.first.door, "job:expiry", "sweep",
        hashlib.sha256(b"expire %d" % payment_id).digest()[:16], view.first.reference, f"expiry:{payment_id}", True,
        processor=view.first.processor, card=await reading.card_of(view), original=view.original, channel=view.first.channel,
    ))
