"""Abandoned operations: intents whose owner died before it wrote an outcome.

Once an operation's deadline has passed nobody may ask for it any more; what came of it at the processor is not known.  The
sweep writes exactly that, ``unknown``, so that the doubt stands in the ledger and everybody sees the same.
"""
from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import asyncpg

from ringfence.core.commands import Command, Initiation, Kind, VoidReason
from ringfence.core.outcomes import Silence, Unknown
from ringfence.core.payment import FIRST, Decision, Operation, Payment, decide
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.engine.intents import Ended, Intent, Reserved, Result
from ringfence.engine.lane import LANES
from ringfence.storage import payments as rows
from ringfence.storage.payments import Held, OperationRow

log = logging.getLogger(__name__)

JOB = "abandoned"
AT_ONCE = 500
GRACE = timedelta(seconds=2)
"""Behind the deadline, for an owner whose outcome is just being committed."""
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)


async def sweep(pool: asyncpg.Pool, directory: Directory, engine: Engine) -> int:
    """Write ``unknown`` for every operation whose owner is gone; how many there were."""
    since = await rows.swept_until(pool, JOB) or BEGINNING
    until = datetime.now(UTC) - GRACE
    if oldest := await rows.oldest_commit(pool, LANES):
        until = min(until, oldest)      # its intents may still become visible; their deadlines are later than its beginning
    ended = 0
    while True:
        found = await rows.abandoned(pool, since, until, AT_ONCE)
        results = await asyncio.gather(*(
            engine.finish(Ended(_reserved(row, directory, engine.now()), Unknown(Silence.OWNER_GONE))) for row in found))
        ended += sum(map(_is_written, results))
        if not all(map(_is_written, results)):
            log.warning("operations without an owner wait for the database")
            break                       # and for the next sweep, which begins where this one did
        if len(found) < AT_ONCE:
            await rows.note_swept(pool, JOB, until)
            break
    if ended:
        log.warning("%d operations lost their owner; their outcome is unknown", ended)
    return ended


def _is_written(result: Result) -> bool:
    """Whether the attempt has an outcome now: ours, or one that somebody else was quicker to write."""
    return bool(result.receipt) or result.outcome == Unknown(Silence.SUPERSEDED)


def _reserved(row: OperationRow, directory: Directory, now: datetime) -> Reserved:
    """The intent as it was committed, from its row."""
    merchant = directory.by_id(row.merchant_id)
    kind = Kind(row.kind)
    command = Command(kind, row.minor, row.currency, row.operation_id, row.accepts_partial, reason=VoidReason(row.reason),
                      hold_seconds=row.hold_seconds)
    payment = Payment(row.payment_id, row.currency)
    if kind in FIRST:
        begun = decide(payment, command, now)
        assert isinstance(begun, Decision)
        payment = begun.payment
    numbers = row.allotment or []
    operation = Operation(
        row.operation_id, kind, row.minor, 1, row.accepts_partial, VoidReason(row.reason), row.hold_seconds,
        tuple(zip(numbers[::2], numbers[1::2], strict=True)),
    )
    intent = Intent(
        row.merchant_id, merchant.identifier if merchant else "", row.payment_id, command, row.door, row.actor, row.source,
        row.content, row.reference, row.key, details=row.details, processor=row.processor,
        initiation=Initiation(row.initiation), channel=row.channel,
    )
    assert row.ask_deadline is not None, "a stored operation has one"
    return Reserved(intent, operation, Held(payment), row, row.ask_deadline)
