"""The rest of a hold that went with its capture, held again where the merchant wants that.

At Amazon Pay a charge is captured once, and its rest is released with it; what is captured later is a charge of its own, which may be
declined.  A merchant who would rather know at once has the rest authorized again.  The job is made in the commit that says the hold is gone,
so that a crash forgets nothing; the fact that it is held again is booked once, under the new charge's name.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg

from ringfence.core.commands import Initiation, Kind
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved, Declined, NotAsked, Silence, Unknown
from ringfence.core.recovery import PENDING, PLAN, pause
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.processors.amazon_pay.objects import CHARGE, TOO_MUCH, Objects, Thing, is_held
from ringfence.processors.processor import Ask, Processor
from ringfence.storage import jobs, reading
from ringfence.storage.jobs import Job
from ringfence.storage.recovery import HOLD_REST

__all__ = ["HOLD_REST", "RestHolder"]

EXCEEDED = "exceeded"
"""How a try stands that asked for more than was left."""
TRIES = 3
"""How often a rest is asked for that a capture has made smaller meanwhile."""


class RestHolder:
    """Holds rests again."""

    def __init__(
        self, engine: Engine, processor: Processor, objects: Objects, directory: Directory, pool: asyncpg.Pool,
        now: Callable[[], datetime], wall: Callable[[], datetime], ask_seconds: float,
    ) -> None:
        """``now``: business time; ``wall``: the machine's; ``ask_seconds`` bounds a message (wall time)."""
        self._engine, self._processor, self._objects, self._directory, self._pool = engine, processor, objects, directory, pool
        self._now, self._wall, self._ask_seconds = now, wall, ask_seconds

    async def attempt(self, job: Job) -> bool:
        """One try at a claimed job; whether it is over."""
        merchant = self._directory.by_id(job.merchant_id)
        payment = await reading.payment(self._pool, job.merchant_id, job.payment_id)
        if merchant is None or not merchant.settings.amazon_pay_hold_rest or payment is None:
            return await self._over(job)
        things = await self._objects.of_payment(merchant.identifier, job.payment_id)
        tried = [thing for thing in things if thing.key == f"{job.subject}-hold" or thing.key.startswith(f"{job.subject}-hold-")]
        begun = next((thing for thing in tried if thing.state != EXCEEDED), None)
        key = begun.key if begun else f"{job.subject}-hold-{len(tried) + 1}" if tried else f"{job.subject}-hold"
        permission = next((thing.permission_id for thing in things if thing.permission_id), "")
        minor = begun.minor if begun else min(payment.unsecured, payment.capturable)
        if not permission or not minor or (payment.expires_at is not None and payment.expires_at <= self._now()):
            return await self._over(job)
        message = Ask(
            key, Kind.AUTHORIZATION, minor, payment.currency, merchant.identifier, job.payment_id, job.subject, self._now(),
            self._wall() + timedelta(seconds=self._ask_seconds), initiation=Initiation.UNSCHEDULED, repeat=begun is not None,
            account=permission)
        outcome = await self._processor.ask(message)
        if type(outcome) is Approved:
            if not is_held(await self._objects.of_payment(merchant.identifier, job.payment_id)):
                return await self._over(job)                # a capture was quicker, and took it
            notice = Notice(Noticed.HELD_AGAIN, f"held:{outcome.processor_reference}", minor)
            await self._engine.notice(job.merchant_id, job.payment_id, self._processor.name, notice)
            return await self._over(job)
        if type(outcome) is Declined and outcome.provider_code == TOO_MUCH and len(tried) < TRIES:
            # a capture was quicker, and less is left: the next try asks for that, under a key of its own
            await self._objects.know(Thing(merchant.identifier, key, job.payment_id, job.subject, CHARGE, minor, state=EXCEEDED))
            await jobs.later(self._pool, job, self._now() + pause(PLAN, job.tries, job.subject), "more than what is left")
            return False
        if type(outcome) in (Declined, NotAsked):       # it stays unsecured; a capture asks for itself
            return await self._over(job)
        plan = PENDING if outcome == Unknown(Silence.PENDING) else PLAN
        await jobs.later(self._pool, job, self._now() + pause(plan, job.tries, job.subject), "the rest is not held yet")
        return False

    async def _over(self, job: Job) -> bool:
        await jobs.done(self._pool, job)
        return True
