"""The database in memory: what ``IntentLane``, ``OutcomeLane`` and the desk of recovery promise, on dictionaries.

``test_contract`` holds it, with its counters (``counter``), against PostgreSQL.  A commit takes effect at one instant between two
delays, which is what the lanes' locks come to; on its way in or out the connection may be lost, and then the lanes' own promise
holds: not committed, committed and read back, or nobody knows.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ringfence.core.notices import Noticed
from ringfence.core.outcomes import Approved, Outcome, Silence, Unknown
from ringfence.core.payment import FIRST, Answer, Decision, Payment, decide
from ringfence.core.recovery import REVERSIBLE, Plan, attempt_of, pause
from ringfence.core.refusals import Refusal
from ringfence.engine.intent_lane import FINAL, Reply, operation_row
from ringfence.engine.intents import Earlier, Ended, Intent, Reserved, Result
from ringfence.engine.outcome_lane import late_approval
from ringfence.engine.outcome_writing import REVERSAL_PAUSE, Told, outcome_values
from ringfence.engine.recovery import Decided
from ringfence.storage.jobs import Job
from ringfence.storage.payments import Held, OperationRow
from ringfence.storage.recovery import RECOVERY, REVERSAL

Key = tuple[int, int]
SUPERSEDED = Unknown(Silence.SUPERSEDED)


class JobState:
    """A row of ``jobs``."""

    def __init__(self, queue: str, payment: Key, subject: int, due_at: datetime, deadline_at: datetime | None) -> None:
        self.queue, self.payment, self.subject, self.due_at, self.deadline_at = queue, payment, subject, due_at, deadline_at
        self.tries = self.nudges = 0
        self.note, self.holder, self.leased_until = "", "", -1.0        # database time, in seconds


class Ending(NamedTuple):
    """A row of ``outcomes``."""

    result: str
    minor: int
    code: str
    outcome: Outcome


class Rules(NamedTuple):
    """The fences; each can be taken away, to see whether anybody notices."""

    reversed_stays_reversed: bool = True        # rule R
    job_fence: bool = True
    one_attempt_one_end: bool = True


ALL_RULES, PLAN = Rules(), Plan()


class Database:
    """The rows, and what one statement or transaction does to them at one instant."""

    def __init__(self, seconds: Callable[[], float], rules: Rules = ALL_RULES, plan: Plan = PLAN) -> None:
        """``seconds``: the database's own clock."""
        self.seconds, self.rules, self.plan = seconds, rules, plan
        self.operations: dict[tuple[int, int], tuple[Intent, OperationRow]] = {}       # by merchant and operation
        self.keys: dict[tuple[int, str], int] = {}
        self.payments: dict[Key, Payment] = {}
        self.endings: dict[tuple[int, int, int], Ending] = {}                          # by merchant, operation and attempt
        self.transfers: list[tuple[int, int, int, str, int]] = []                      # merchant, payment, operation, kind, minor
        self.reversals: dict[tuple[int, int], bool] = {}                               # by merchant and operation; acknowledged?
        self.notices: set[tuple[int, int, str]] = set()
        self.jobs: dict[tuple[int, str, int], JobState] = {}
        self.decided: dict[tuple[int, int], Decided] = {}
        self.commits = 0
        self._sleepers: list[asyncio.Future[None]] = []

    # -- intents

    def intend(self, intents: Sequence[Intent], now: datetime, deadline: datetime) -> list[Reply]:
        """What one batch of intents does."""
        self.commits += 1
        return [self._begin(one, now, deadline) if one.command.kind in FIRST else self._operate(one, now, deadline) for one in intents]

    def _begin(self, intent: Intent, now: datetime, deadline: datetime) -> Reply:
        verdict = decide(Payment(intent.payment_id, intent.command.currency), intent.command, now)
        if isinstance(verdict, Refusal):
            return Result(refusal=verdict)
        if intent.key is not None and (owner := self.keys.get((intent.merchant_id, intent.key))) is not None:
            held = self.operations[intent.merchant_id, owner][1]
            return Result(refusal=Refusal.KEY_USED, earlier=Earlier(held.payment_id, owner, None, None, False))
        return self._claimed(intent, verdict, intent.key, now, deadline)

    def _operate(self, intent: Intent, now: datetime, deadline: datetime) -> Reply:
        key = intent.merchant_id, intent.payment_id
        payment = self.payments.get(key)
        if payment is None:
            begun = (intent.merchant_id, intent.payment_id) in self.operations
            return Result(refusal=Refusal.OPERATION_IN_PROGRESS if begun else Refusal.PAYMENT_NOT_FOUND)
        name = intent.key
        if intent.key is not None:
            earlier = [one for one in self._keyed(key) if one[0] == intent.key or (intent.asks_again and one[0].startswith(f"{intent.key}#"))]
            standing = [one for one in earlier if one[2] not in FINAL or one[2] == "approved"]
            if earlier:
                _, operation_id, result, code = (standing or earlier[-1:])[0]
                told = Earlier(intent.payment_id, operation_id, result, code,
                               self.operations[key[0], operation_id][1].content == intent.content)
                if result not in FINAL:
                    return Result(payment, refusal=Refusal.KEY_IN_PROGRESS, earlier=told)
                if not intent.asks_again or result == "approved":
                    same = told.same_content or intent.asks_again
                    return Result(payment, refusal=Refusal.KEY_USED if same else Refusal.KEY_CONTENT_DIFFERS, earlier=told)
                name = f"{intent.key}#{len(earlier) + 1}"
        verdict = decide(payment, intent.command, now)
        if isinstance(verdict, Refusal):
            return Result(payment, refusal=verdict)
        self.payments[key] = verdict.payment
        return self._claimed(intent, verdict, name, now, deadline)

    def _keyed(self, key: Key) -> list[tuple[str, int, str | None, str | None]]:
        """The keyed operations of a payment, oldest first: key, id, latest result and code."""
        found = []
        for (merchant_id, operation_id), (intent, row) in sorted(self.operations.items()):
            if (merchant_id, intent.payment_id) == key and row.key is not None:
                last = self.latest(merchant_id, operation_id)
                found.append((row.key, operation_id, last and last.result, last and last.code))
        return found

    def _claimed(self, intent: Intent, verdict: Decision, key: str | None, now: datetime, deadline: datetime) -> Reserved:
        assert verdict.operation is not None
        row = operation_row(intent, verdict.operation, key)
        stored = row._replace(asked_at=now, ask_deadline=deadline)
        self.operations[intent.merchant_id, verdict.operation.id] = intent, stored
        if key is not None:
            self.keys[intent.merchant_id, key] = verdict.operation.id
        self._rouse()
        return Reserved(intent, verdict.operation, Held(verdict.payment), row, deadline)

    # -- outcomes

    def conclude(self, batch: Sequence[Ended | Told], now: datetime, new_id: Callable[[], int]) -> list[Result]:
        """What one batch of outcomes does."""
        self.commits += 1
        return [self._notice(one, now) if isinstance(one, Told) else self._end(one, now, new_id) for one in batch]

    def _end(self, ended: Ended, now: datetime, new_id: Callable[[], int]) -> Result:
        (intent, operation, held, *_), outcome, undo = ended
        key, name = (intent.merchant_id, intent.payment_id), (intent.merchant_id, operation.id)
        if operation.unknown:
            job = self.jobs.get((intent.merchant_id, RECOVERY, operation.id))
            stale = self.rules.job_fence and (job is None or attempt_of(job.tries) != operation.attempt)
            gone = self.rules.reversed_stays_reversed and (
                name in self.reversals if type(outcome) is Approved else undo and self._is_approved(*name))
            if stale or gone:
                return Result(self.payments[key], operation, SUPERSEDED, at=now)
        if (*name, operation.attempt) in self.endings and self.rules.one_attempt_one_end:
            if type(outcome) is Approved and operation.attempt == 1:
                late = late_approval(operation.id, outcome.minor)
                self._notice(Told(*key, new_id(), intent.processor, late, reverse=operation.kind in REVERSIBLE), now)
            return Result(held.payment, operation, SUPERSEDED, at=now)
        decision = decide(self.payments.get(key, held.payment), Answer(operation, outcome), now)
        assert isinstance(decision, Decision) and decision.outcome is not None
        said = outcome_values(decision.outcome)
        self.endings[*name, operation.attempt] = Ending(said[0], said[1], said[2], decision.outcome)
        self.payments[key] = decision.payment
        self.transfers += [(*key, operation.id, transfer.kind.name, transfer.minor) for transfer in decision.transfers]
        if type(decision.outcome) is Unknown:
            self._doubted(key, operation.id, operation.unknown, undo, now)
        elif operation.unknown:
            self.jobs.pop((intent.merchant_id, RECOVERY, operation.id), None)
            if name in self.reversals:
                self.reversals[name] = True
        if decision.reverse:
            self.reversals.setdefault(name, False)
            self.wake(REVERSAL, key, operation.id, now + REVERSAL_PAUSE)
        return Result(decision.payment, operation, decision.outcome, receipt=f"receipt {self.commits}", at=now)

    def _doubted(self, key: Key, operation_id: int, before: bool, undo: bool, now: datetime) -> None:
        """The job with the first unknown, the reversal where it was decided."""
        if undo:
            self.reversals.setdefault((key[0], operation_id), False)
        if not before:
            deadline = now + timedelta(seconds=self.plan.deadline)
            self.wake(RECOVERY, key, operation_id, now + pause(self.plan, 0, operation_id), deadline)
        elif undo and (job := self.jobs.get((key[0], RECOVERY, operation_id))) is not None:
            job.due_at, job.leased_until, job.note = now, -1.0, "a reversal was decided"
            self._rouse()

    def _notice(self, told: Told, now: datetime) -> Result:
        key, notice = (told.merchant_id, told.payment_id), told.notice
        payment = self.payments.get(key)
        if payment is None:
            return Result(refusal=Refusal.PAYMENT_NOT_FOUND)
        name = told.merchant_id, notice.capture_id
        if notice.noticed is Noticed.LATE_APPROVAL and notice.capture_id:
            if self.rules.reversed_stays_reversed and self._is_approved(*name):
                return Result(payment, refusal=Refusal.KEY_USED, at=now)
            doubted = (told.merchant_id, RECOVERY, notice.capture_id) in self.jobs
            if doubted:
                self.wake(RECOVERY, key, notice.capture_id, now)
            if told.reverse and name not in self.reversals:
                self.reversals[name] = False
                if not doubted:
                    self.wake(REVERSAL, key, notice.capture_id, now)
        if (*key, notice.identity) in self.notices:
            return Result(payment, refusal=Refusal.KEY_USED, at=now)
        decision = decide(payment, notice, now)
        assert isinstance(decision, Decision)
        self.notices.add((*key, notice.identity))
        self.payments[key] = decision.payment
        self.transfers += [(*key, told.operation_id, transfer.kind.name, transfer.minor) for transfer in decision.transfers]
        return Result(decision.payment, receipt=f"receipt {self.commits}", at=now)

    def acknowledge(self, names: Iterable[tuple[int, int]]) -> None:
        """What was to be undone of these operations is."""
        self.reversals.update({name: True for name in names if name in self.reversals})

    # -- looking

    def latest(self, merchant_id: int, operation_id: int) -> Ending | None:
        """What was heard of an operation last."""
        found = [(attempt, ending) for (one, two, attempt), ending in self.endings.items() if (one, two) == (merchant_id, operation_id)]
        return max(found)[1] if found else None

    def final(self, merchant_id: int, operation_id: int) -> Ending | None:
        """How an operation ended; ``None`` while it has not."""
        last = self.latest(merchant_id, operation_id)
        return last if last is not None and last.result in FINAL else None

    def _is_approved(self, merchant_id: int, operation_id: int) -> bool:
        """Or will be, as a person decided."""
        last, decided = self.final(merchant_id, operation_id), self.decided.get((merchant_id, operation_id))
        return (last is not None and last.result == "approved") or (decided is not None and decided.outcome == "approved")

    def abandoned(self, until: datetime) -> list[tuple[Intent, OperationRow]]:
        """Operations without any outcome whose deadline (wall time) is before an instant."""
        return [
            one for (merchant_id, operation_id), one in sorted(self.operations.items())
            if one[1].ask_deadline < until and self.latest(merchant_id, operation_id) is None     # type: ignore[operator]
        ]

    # -- jobs

    def wake(self, queue: str, payment: Key, subject: int, due_at: datetime, deadline_at: datetime | None = None) -> None:
        """Make a job, or say that more is to be done."""
        job = self.jobs.get((payment[0], queue, subject))
        if job is None:
            self.jobs[payment[0], queue, subject] = JobState(queue, payment, subject, due_at, deadline_at)
        else:
            job.due_at, job.nudges = min(job.due_at, due_at), job.nudges + 1
        self._rouse()

    def claim(self, queue: str, now: datetime, holder: str, lease: float, limit: int) -> list[Job]:
        """Take jobs that are due and in nobody's hands."""
        due = sorted(
            (job.due_at, name) for name, job in self.jobs.items()
            if job.queue == queue and job.due_at <= now and job.leased_until <= self.seconds()
        )
        return [self._taken(name, holder, lease) for _, name in due[:limit]]

    def claim_one(self, merchant_id: int, operation_id: int, holder: str, lease: float) -> Job | None:
        """Take one, whenever it is due."""
        name = merchant_id, RECOVERY, operation_id
        job = self.jobs.get(name)
        return None if job is None or job.leased_until > self.seconds() else self._taken(name, holder, lease)

    def _taken(self, name: tuple[int, str, int], holder: str, lease: float) -> Job:
        job = self.jobs[name]
        job.tries, job.holder, job.leased_until = job.tries + 1, holder, self.seconds() + lease
        return Job(name[0], job.queue, job.subject, job.payment[1], job.due_at, job.deadline_at, job.tries, job.nudges, job.note, holder)

    def renew(self, job: Job, lease: float) -> bool:
        """Hold it for longer; false where another has it.  One that has just gone is nobody's."""
        state = self._mine(job)
        if state is not None and state.leased_until > -1.0:
            state.leased_until = self.seconds() + lease
        return state is not None or job.key not in self.jobs

    def later(self, job: Job, due_at: datetime, note: str) -> None:
        """Give it back."""
        state = self._mine(job)
        if state is not None:
            if job.deadline_at is not None and job.deadline_at < due_at:
                state.deadline_at = min(state.deadline_at or job.deadline_at, job.deadline_at)
            state.due_at = due_at if state.nudges == job.nudges else min(due_at, state.due_at)
            state.note, state.leased_until = note, -1.0
            self._rouse()

    def done(self, job: Job) -> None:
        """Remove it; where more was asked for meanwhile, give it back."""
        state = self._mine(job)
        if state is not None and state.nudges == job.nudges:
            del self.jobs[job.key]
        elif state is not None:
            state.leased_until = -1.0
            self._rouse()

    def _mine(self, job: Job) -> JobState | None:
        state = self.jobs.get(job.key)
        return state if state is not None and (state.tries, state.holder) == (job.tries, job.holder) else None

    async def roused(self, seconds: float) -> None:
        """Returns when an operation was accepted, or a job made or given back; at most after so long."""
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.append(sleeper)
        await asyncio.wait([sleeper], timeout=seconds)

    def _rouse(self) -> None:
        sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
