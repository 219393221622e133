"""Abandoned operations: intents whose owner died before it wrote an outcome.

Once an operation's deadline has passed nobody may ask for it any more; what came of it at the processor is not known.  The
chore writes exactly that, ``unknown``, so that the doubt stands in the ledger, everybody sees the same, and recovery has its job:
both are one commit.
"""
from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import asyncpg

from ringfence.background.worker import Chore
from ringfence.core.outcomes import Silence, Unknown
from ringfence.core.payment import Payment, Status
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.engine.intents import Reserved, Result
from ringfence.engine.lane import LANES
from ringfence.engine.reserving import reserved_of
from ringfence.storage import payments as rows
from ringfence.storage.payments import OperationRow

log = logging.getLogger(__name__)

JOB = "abandoned"
AT_ONCE = 500
GRACE = timedelta(seconds=2)
"""Behind the deadline, for an owner whose outcome is just being committed."""
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)


def chore(pool: asyncpg.Pool, directory: Directory, engine: Engine, pause: float) -> Chore:
    """The sweep, by one process at a time; ``pause`` in seconds (wall time).  ``pool`` looks up by key."""
    return Chore("abandoned operations", lambda: sweep(pool, directory, engine), pause)


async def sweep(pool: asyncpg.Pool, directory: Directory, engine: Engine) -> int:
    """Write ``unknown`` for every operation whose owner is gone; how many there were."""
    since = await rows.swept_until(pool, JOB) or BEGINNING
    now, oldest = await rows.oldest_commit(pool, LANES)     # of two clocks that differ, the one that all have in common
    until = now - GRACE
    if oldest:
        until = min(until, oldest)      # its intents may still become visible; their deadlines are not before its beginning
    ended = 0
    while True:
        found = await rows.abandoned(pool, since, until, AT_ONCE)
        results = await asyncio.gather(*(
            engine.finish(engine.ended(_reserved(row, directory, is_challenged), Unknown(Silence.OWNER_GONE)))
            for row, is_challenged in found))
        ended += sum(map(_is_written, results))
        if not all(map(_is_written, results)):
            log.warning("operations without an owner wait for the database")
            break                       # and for the next sweep, which begins where this one did
        if len(found) < AT_ONCE:
            await rows.note_swept(pool, JOB, until)
            break
        since = found[-1][0].ask_deadline or since      # what lies before it has ended
    if ended:
        log.warning("%d operations lost their owner; their outcome is unknown", ended)
    return ended


def _is_written(result: Result) -> bool:
    """Whether the attempt has an outcome now: ours, or one that somebody else was quicker to write."""
    return bool(result.receipt) or result.outcome == Unknown(Silence.SUPERSEDED)


def _reserved(row: OperationRow, directory: Directory, is_challenged: bool) -> Reserved:
    """The intent as it was committed, from its row.  A challenged payment is there already: it is decided on as it stands there."""
    merchant = directory.by_id(row.merchant_id)
    payment = Payment(row.payment_id, row.currency, Status.CHALLENGED) if is_challenged else None
    return reserved_of(row, merchant.identifier if merchant else "", payment=payment)
