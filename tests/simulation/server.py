"""One simulated process: its clock, its way to the database, the real engine and recovery, and what it does in the background."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ringfence.core.outcomes import Outcome, Silence, Unknown
from ringfence.core.recovery import Plan
from ringfence.engine.engine import Engine
from ringfence.engine.lane import CONNECTION_LOST, PATIENCE_SECONDS
from ringfence.engine.recovery import Recovery
from ringfence.engine.reserving import reserved_of
from ringfence.processors.processor import Ask
from ringfence.storage.database import DatabaseUnavailable
from ringfence.storage.jobs import Job
from ringfence.storage.recovery import RECOVERY, REVERSAL
from tests.simulation.counter import Counter, MemoryDesk
from tests.simulation.issuer import Network
from tests.simulation.loop import Machine

if TYPE_CHECKING:
    from tests.simulation.history import History

MERCHANT, NAME, PROCESSOR = 1, "Shop", "issuer"
ASK_SECONDS, WAIT_SECONDS, LEASE_SECONDS, GRACE_SECONDS = 5.0, 2.0, 10.0, 2.0
PLAN = Plan()


class Server:
    """One process: its clock, its connections, its engine, and what it does in the background."""

    def __init__(self, history: History, number: int) -> None:
        chance = history.chance
        self.history, self.number, self.machine = history, number, Machine()
        self.skew = timedelta(seconds=chance.uniform(-20, 20) if chance.random() < 0.15 else 0)
        self.network = Network(history.issuer, chance, lambda: history.weather, WAIT_SECONDS, inquiry=history.inquiry,
                               deduplicates=history.remembers, note=self.note, trouble=self.trouble)
        self.network.on_late = self._late
        self.desk = MemoryDesk(history.database, self, f"process {number}", LEASE_SECONDS)
        counter = Counter(history.database, self, now=self.now, wall=self.now, new_id=history.new_id, ask_seconds=ASK_SECONDS)
        processors = {PROCESSOR: self.network}
        self.engine = Engine(
            intents=_Lane(counter.intents), outcomes=_Lane(counter.outcomes), processors=processors, vault=None,    # type: ignore[arg-type]
            pool=self.desk, new_id=history.new_id, now=self.now, wall=self.now,                                     # type: ignore[arg-type]
        )
        self.recovery = self.engine.recovery = Recovery(
            self.engine, self.desk, processors, plan=PLAN, now=self.now, wall=self.now, ask_seconds=WAIT_SECONDS,
            day=lambda name, at: at.date(), merchants={NAME: MERCHANT}.get,
        )
        for work in (self._queue(RECOVERY, self.recovery.attempt), self._queue(REVERSAL, self._reverse), self._abandoned()):
            history.loop.spawn(self.machine, work)

    def now(self) -> datetime:
        """Business and wall time of this process."""
        return self.history.began + timedelta(seconds=self.history.loop.time()) + self.skew

    def note(self, what: str) -> None:
        self.history.note(f"process {self.number}: {what}")

    def trouble(self, what: str) -> None:
        """Die, and be replaced after a while; or stand still, perhaps beyond deadlines and leases."""
        history, seconds = self.history, self.history.chance.choice((0.5, 4.0, 9.0, 14.0, 30.0))
        if self.machine.is_dead or history.is_over:
            return
        if what == "dies":
            self.note("dies")
            self.machine.is_dead = True
            history.loop.call_later(seconds, history.replace, self, context=Context())
        else:
            self.note(f"stands still for {seconds} s")
            self.machine.stalls_until = history.loop.time() + seconds

    # -- the way to the database

    async def pass_in(self) -> float:
        """See ``counter.Wire``."""
        history, chance = self.history, self.history.chance
        if chance.random() < history.sticking and not history.is_over:      # with something in hand that others may want to write
            self.trouble(chance.choice(("dies", "stands_still", "stands_still", "stands_still")))
        await asyncio.sleep(chance.uniform(0.0005, 0.005))
        away = history.database_back - history.loop.time()
        if away > 0:
            await asyncio.sleep(min(away, PATIENCE_SECONDS))
            if away > PATIENCE_SECONDS:
                raise DatabaseUnavailable("away, says the simulation")
        if chance.random() < history.breaking:
            lost = chance.choice((0.1, 1.0, 2 * PATIENCE_SECONDS))
            self.note(f"a statement's answer is lost for {lost} s")
            return lost
        return 0.0

    async def pass_out(self, lost: float) -> bool:
        """See ``counter.Wire``."""
        await asyncio.sleep(min(lost, PATIENCE_SECONDS) + self.history.chance.uniform(0.0005, 0.005))
        return lost <= PATIENCE_SECONDS

    # -- the background

    async def _queue(self, name: str, run: Callable[[Job], Awaitable[object]]) -> None:
        """Claim what is due, hold it while it runs, and wait for more."""
        database, loop = self.history.database, self.history.loop
        while True:
            try:
                lost = await self.pass_in()
                found = database.claim(name, self.now(), f"process {self.number}", LEASE_SECONDS, 2)
                if not await self.pass_out(lost):
                    continue                                # claimed, and nobody heard: the leases run out
            except DatabaseUnavailable:
                await asyncio.sleep(1)
                continue
            for job in found:
                loop.create_task(self._hold(job, run))
            if not found:
                waits = [
                    max((job.due_at - self.now()).total_seconds(), job.leased_until - loop.time())
                    for job in database.jobs.values() if job.queue == name
                ]
                await database.roused(max(0.001, min([*waits, 7200.0])))

    async def _hold(self, job: Job, run: Callable[[Job], Awaitable[object]]) -> None:
        """One job, its lease renewed while it runs; a lost one is let go at once."""
        loop, until = self.history.loop, self.history.loop.time() + LEASE_SECONDS
        task = loop.create_task(run(job))                   # type: ignore[arg-type]
        while not task.done():
            done, _ = await asyncio.wait([task], timeout=LEASE_SECONDS / 3)
            if done:
                break
            asked = loop.time()
            try:
                lost = await self.pass_in()
                is_mine = self.history.database.renew(job, LEASE_SECONDS)
                if await self.pass_out(lost) and is_mine:
                    until = asked + LEASE_SECONDS
                    continue
            except DatabaseUnavailable:
                is_mine = True
            if not is_mine or loop.time() >= until:
                self.note(f"the lease of {job.subject} is lost")
                task.cancel()
                await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, CONNECTION_LOST):
                self.history.mistakes.append(repr(error))
            try:
                await self.desk.later(job, self.now() + timedelta(seconds=1), "raised")
            except DatabaseUnavailable:
                self.note(f"{job.subject} is left to its lease")

    async def _reverse(self, job: Job) -> None:
        """The queue of reversals, as ``background.reversals`` has it."""
        if self.history.database.reversals.get((MERCHANT, job.subject)) is False:
            reserved = await self.desk.ended(job)
            if reserved is not None and not await self.engine.reverse(reserved):
                await self.desk.later(job, self.now() + timedelta(seconds=5), "not acknowledged")
                return
        await self.desk.done(job)

    async def _abandoned(self) -> None:
        """What its owner left without an outcome is unknown."""
        database = self.history.database
        while True:
            for intent, row in database.abandoned(self.now() - timedelta(seconds=GRACE_SECONDS)):
                self.note(f"{row.operation_id} is abandoned")
                await self.engine.finish(self.engine.ended(reserved_of(row, intent.merchant), Unknown(Silence.OWNER_GONE)))
            await (asyncio.sleep(2.0) if self.history.is_busy() else database.roused(7200.0))

    def _late(self, message: Ask, outcome: Outcome) -> None:
        self.history.loop.create_task(self.recovery.late(message, outcome))


class _Lane:
    """What the engine knows of a lane."""

    def __init__(self, commit: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]) -> None:
        self.commit = commit
