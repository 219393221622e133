"""Reversals of operations that have ended: sent until the processor acknowledges.

What a partial approval nobody wants, or an approval that came too late, still owes us.  (An operation in doubt is reversed by its
recovery.)  A reversal undoes exactly one message, so that whatever made it due, one acknowledgement answers all of it; a processor
that refuses for good is asked again and again, at the pace of the plan, and the job's note says so.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import asyncpg

from ringfence.background.worker import Queue
from ringfence.core.recovery import Plan, pause
from ringfence.engine.desk import PostgresDesk
from ringfence.engine.engine import Engine
from ringfence.storage import jobs
from ringfence.storage import recovery as rows
from ringfence.storage.jobs import Job
from ringfence.storage.recovery import REVERSAL


def queue(pool: asyncpg.Pool, desk: PostgresDesk, engine: Engine, plan: Plan, now: Callable[[], datetime]) -> Queue:
    """Every reversal in its time (``now``: business time)."""
    async def run(job: Job) -> None:
        name = job.merchant_id, job.payment_id, job.subject
        if await rows.is_owed(pool, name):
            reserved = await desk.ended(job)
            if reserved is not None and not await engine.reverse(reserved):
                await jobs.later(pool, job, now() + pause(plan, job.tries, job.subject), "not acknowledged")
                return
        await jobs.done(pool, job)

    return Queue(REVERSAL, run)
