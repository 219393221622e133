"""How one process stands at the database in memory: the counters of its lanes, and the desk of its recovery."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from ringfence.core.outcomes import Approved
from ringfence.core.recovery import attempt_of
from ringfence.engine.intent_lane import Reply
from ringfence.engine.intents import Ended, Intent, Reserved, Result, processor_key
from ringfence.engine.lane import CommitUncertain, NotCommitted
from ringfence.engine.outcome_writing import Told
from ringfence.engine.recovery import Case
from ringfence.engine.reserving import reserved_of
from ringfence.processors.processor import Original
from ringfence.storage import recovery as recovery_rows
from ringfence.storage.database import DatabaseUnavailable
from ringfence.storage.jobs import Job
from ringfence.storage.recovery import RECOVERY
from tests.simulation.store import Database

Answered = TypeVar("Answered")


class Wire(Protocol):
    """How one process reaches the database."""

    async def pass_in(self) -> float:
        """A statement travels in.  Raises ``DatabaseUnavailable`` where it never arrives; else how long its answer is lost, in seconds."""

    async def pass_out(self, lost: float) -> bool:
        """Its answer travels out; false where whoever waits must give up without one."""


class Counter:
    """The lanes of one process: their promise about a connection that breaks."""

    def __init__(self, database: Database, wire: Wire, *, now: Callable[[], datetime], wall: Callable[[], datetime],
                 new_id: Callable[[], int], ask_seconds: float) -> None:
        self._database, self._wire, self._now, self._wall = database, wire, now, wall
        self._new_id, self._ask = new_id, timedelta(seconds=ask_seconds)

    async def intents(self, batch: Sequence[Intent]) -> list[Reply]:
        """``IntentLane.commit``."""
        return await self._commit(lambda: self._database.intend(batch, self._now(), self._wall() + self._ask))

    async def outcomes(self, batch: Sequence[Ended | Told]) -> list[Result]:
        """``OutcomeLane.commit``."""
        return await self._commit(lambda: self._database.conclude(batch, self._now(), self._new_id))

    async def _commit(self, work: Callable[[], Answered]) -> Answered:
        try:
            lost = await self._wire.pass_in()
        except DatabaseUnavailable:
            raise NotCommitted from None
        done = work()
        if not await self._wire.pass_out(lost):
            raise CommitUncertain
        return done


class MemoryDesk:
    """The desk of recovery, see ``engine.recovery.Desk``; and the one statement that the engine sends by itself."""

    def __init__(self, database: Database, wire: Wire, holder: str, lease: float) -> None:
        self._database, self._wire, self._holder, self._lease = database, wire, holder, lease

    async def take(self, merchant_id: int, operation_id: int) -> Job | None:
        return await self._asked(lambda: self._database.claim_one(merchant_id, operation_id, self._holder, self._lease))

    async def case(self, job: Job) -> Case | None:
        return await self._asked(lambda: self._case(job))

    async def ended(self, job: Job) -> Reserved | None:
        return await self._asked(lambda: self._reserved(job, 1, False))

    async def doubts(self, merchant_id: int, payment_id: int) -> list[int]:
        return await self._asked(lambda: sorted(
            subject for (_, queue, subject), job in self._database.jobs.items() if queue == RECOVERY and job.payment == (merchant_id, payment_id)))

    async def later(self, job: Job, due_at: datetime, note: str) -> None:
        await self._asked(lambda: self._database.later(job, due_at, note))

    async def done(self, job: Job) -> None:
        await self._asked(lambda: self._database.done(job))

    async def execute(self, statement: str, merchants: Sequence[int], payments: Sequence[int], operations: Sequence[int], at: datetime) -> None:
        """As a pool: the acknowledgement of reversals."""
        assert statement == recovery_rows.SQL.acknowledge
        await self._asked(lambda: self._database.acknowledge(zip(merchants, operations, strict=True)))

    def _case(self, job: Job) -> Case | None:
        name = job.merchant_id, job.subject
        if name not in self._database.operations or self._database.final(*name) is not None:
            return None
        asked_at = self._database.operations[name][1].asked_at
        assert asked_at is not None
        return Case(job, self._reserved(job, attempt_of(job.tries), True), name in self._database.reversals, asked_at,
                    self._database.decided.get(name))

    def _reserved(self, job: Job, attempt: int, unknown: bool) -> Reserved:
        intent, row = self._database.operations[job.merchant_id, job.subject]
        first, original = self._database.final(job.merchant_id, row.payment_id), None
        if row.operation_id != row.payment_id and first is not None and isinstance(first.outcome, Approved):
            asked = self._database.operations[job.merchant_id, row.payment_id][1].minor
            original = Original(processor_key(row.payment_id), asked, first.outcome.approval_code, first.outcome.processor_reference,
                                first.outcome.scheme_reference)
        payment = self._database.payments.get((job.merchant_id, row.payment_id))
        return reserved_of(row, intent.merchant, attempt=attempt, unknown=unknown, payment=payment, original=original)

    async def _asked(self, work: Callable[[], Any]) -> Any:
        lost = await self._wire.pass_in()
        done = work()
        if not await self._wire.pass_out(lost):
            raise DatabaseUnavailable("away, says the simulation")
        return done
