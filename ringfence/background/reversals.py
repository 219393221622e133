"""Reversals that a processor still owes us an acknowledgement for are sent again until it comes."""
from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg

from ringfence.core.commands import Command, Initiation, Kind
from ringfence.core.payment import Operation, Payment
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.engine import Engine
from ringfence.engine.intent_lane import operation_row
from ringfence.engine.intents import CardInHand, Intent, Reserved
from ringfence.engine.reading import Reading
from ringfence.storage import payments as rows
from ringfence.storage.payments import Held, ReversalDue

AT_ONCE = 100
PAUSE = timedelta(seconds=5)
"""The first try leaves with the answer that made it due; later ones come from here."""


async def sweep(pool: asyncpg.Pool, directory: Directory, reading: Reading, engine: Engine) -> int:
    """Send every reversal that is due once more; how many were."""
    sent = 0
    for merchant in directory.merchants():
        due = await rows.reversals_due(pool, merchant.merchant_id, datetime.now(UTC) - PAUSE, AT_ONCE)
        await asyncio.gather(*(_send(merchant, one, reading, engine) for one in due))
        sent += len(due)
    return sent


async def _send(merchant: Merchant, due: ReversalDue, reading: Reading, engine: Engine) -> None:
    view = await reading.view(merchant.merchant_id, due.payment_id)
    step = next((step for step in view.steps if step.operation_id == due.operation_id), None) if view else None
    if view is None or step is None:
        return
    stored = await reading.stored_card(view)
    operation = Operation(due.operation_id, Kind(step.kind), step.minor, due.attempt)
    intent = Intent(
        merchant.merchant_id, merchant.identifier, due.payment_id,
        Command(operation.kind, step.minor, step.currency, due.operation_id), step.door, "job:reversals", "sweep", b"",
        step.reference, processor=step.processor, card=CardInHand(None, stored=stored) if stored else None,
        original=view.original, initiation=Initiation(step.initiation), channel=step.channel,
    )
    held = Held(view.payment or Payment(due.payment_id, step.currency))
    deadline = datetime.now(UTC) + PAUSE
    row = operation_row(intent, operation, None)
    await engine.reverse(Reserved(intent, operation, held, row, deadline))
