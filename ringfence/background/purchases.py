"""Telling retailers of carts: each is a job, told until the retailer takes it, refuses it, or the trip's life is over.

A retailer that heard us and whose answer was lost hears it again, under the same ``idempotentShoppingTripId``.  Refuses to know prices.
"""
from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg

from ringfence.background.worker import Chore, Queue
from ringfence.engine.connector import Answer, Connector, attempt_body, purchase_id
from ringfence.engine.directory import Directory
from ringfence.engine.purchases import QUEUE
from ringfence.storage import jobs
from ringfence.storage import purchases as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.jobs import Job
from ringfence.storage.purchases import PurchaseRow

log = logging.getLogger(__name__)

PAUSES = (1, 2, 4, 8, 16, 32, 60, 120, 300, 600, 1_800, 3_600)
"""Seconds of business time before the next try; the last one repeats."""
BUSY_SECONDS = 600
"""... behind a 429."""
AT_ONCE, PER_MERCHANT = 32, 8
LEASE_SECONDS = 40.0
"""Longer than a connector may ever think."""
FORGET_SECONDS = 3_600.0


def queue(pool: asyncpg.Pool, directory: Directory, connector: Connector, now: Callable[[], datetime]) -> Queue:
    """Every purchase in its time; ``now`` is business time."""
    async def run(job: Job) -> None:
        row = await rows.purchase(pool, job.merchant_id, job.subject)
        if row is None or row.state != "waiting":
            await jobs.done(pool, job)
            return
        if row.deadline_at <= now():
            await _end(job, row, None, "given_up", row.note or "nobody took it in time")
            return
        merchant = directory.by_id(row.merchant_id)
        answer = None if merchant is None else await connector.tell(
            merchant, row.store, attempt_body(row.body, row.merchant_id, row.number, row.attempts + 1))
        if answer is None:
            await _end(job, row, None, "given_up", "its store has no address for purchases any more")
            return
        state, note, name = verdict(answer)
        if state != "waiting":
            await _end(job, row, answer.status, state, note, name)
            return
        pause = timedelta(seconds=BUSY_SECONDS if answer.status == 429 else PAUSES[min(row.attempts, len(PAUSES) - 1)])
        async with borrowed(pool) as connection, connection.transaction():
            await rows.note(connection, row, answer.status or None, "waiting", note, "", now())
            await jobs.later(connection, job, min(now() + pause, row.deadline_at), note)

    async def _end(job: Job, row: PurchaseRow, status: int | None, state: str, note: str, name: str = "") -> None:
        async with borrowed(pool) as connection, connection.transaction():
            if await jobs.done(connection, job):
                await rows.note(connection, row, status, state, note, name, now())
        log.log(logging.INFO if state == "taken" else logging.WARNING, "purchase of trip %s in store %s: %s%s", row.trip, row.store, state,
                note and f", {note}")

    return Queue(QUEUE, run, AT_ONCE, PER_MERCHANT, LEASE_SECONDS)


def verdict(answer: Answer) -> tuple[str, str, str]:
    """State, note and the retailer's name for it.  Malformed or unauthorised stays that; what is busy, broken or away is asked again."""
    if answer.status in (200, 201):
        name = purchase_id(answer.body)
        return ("taken", "", name) if name is not None else ("waiting", "the answer has no purchaseId", "")
    if 400 <= answer.status < 500 and answer.status not in (404, 408, 425, 429):
        return "refused", f"status {answer.status}", ""
    return "waiting", answer.reason or f"status {answer.status}", ""


def forgetting(pool: asyncpg.Pool, directory: Directory, days: int, now: Callable[[], datetime]) -> Chore:
    """What was told is forgotten ``days`` behind its end."""
    async def run() -> int:
        before = now() - timedelta(days=days)
        return sum([await rows.forget(pool, one.merchant_id, before) for one in directory.merchants()])

    return Chore("forget purchases", run, FORGET_SECONDS)
