"""Recovery: what is unknown ends.

Takes an operation in doubt from its job, does the one thing that ``core.recovery`` says comes next, and hands what it found
out to the engine to be committed, or gives the job back.  It holds no transaction while a processor thinks, and keeps nothing in
memory: whoever claims the job next goes on from the rows.  What it found out counts only while its claim is the latest one
(``engine.outcome_writing``), so that a recoverer that stalled does no harm.

No security code is needed here: authorizations and purchases are never sent again, only asked about or undone, and what is sent
again cites the payment's first message.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple, Protocol

from ringfence.core.allotment import Parts, PartState, proceed
from ringfence.core.commands import Kind
from ringfence.core.outcomes import Approved, Declined, Outcome, Reversed, Silence, Unknown
from ringfence.core.payment import is_believable
from ringfence.core.recovery import PENDING, RETURN_SECONDS, REVIEW_SECONDS, Plan, Step, next_step, pause
from ringfence.engine.batcher import CommitFailed
from ringfence.engine.engine import Engine
from ringfence.engine.intents import Ended, Reserved
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.outcome_lane import late_approval
from ringfence.processors.processor import RETURN, Ask, Original, Processor
from ringfence.storage import recovery as rows
from ringfence.storage.jobs import Job

log = logging.getLogger(__name__)

Decided = rows.Decision

PAID = "paid: sent back by a refund from "
"""Begins the note of a job whose purchase turned out to be paid behind its business day; the instant follows.  It is stored before the
refund leaves, so that without it no refund has left, and with it no reversal leaves any more: one of both gives the money back, never
both.  What was under way by then has until that instant to arrive.  Nothing that fails meanwhile may write another note over it."""


PREPARING = timedelta(seconds=5)
"""How long a try may take until it sends something (wall time): behind that its claim may be another's.  A lease is so much longer than
one message takes, at least."""


class _Paid(NamedTuple):
    """What an inquiry found that nobody had noted yet."""


class Case(NamedTuple):
    """An operation in doubt, with what its next step needs.  ``asked_at`` is the business time of its first message."""

    job: Job
    reserved: Reserved              # its attempt is the job's, and it is marked as unknown
    reversal_left: bool
    asked_at: datetime
    decided: Decided | None
    is_pending: bool = False        # the other side has it, and will tell


class Desk(Protocol):
    """Where doubts are kept."""

    async def take(self, merchant_id: int, operation_id: int) -> Job | None:
        """Claim the job of an operation, whenever it is due; ``None`` while another has it, or where it is gone."""

    async def case(self, job: Job) -> Case | None:
        """The case behind a job; ``None``: it has ended."""

    async def doubts(self, merchant_id: int, payment_id: int) -> list[int]:
        """The operations of a payment that are in doubt."""

    async def later(self, job: Job, due_at: datetime, note: str) -> None:
        """Give a job back, due at ``due_at`` (business time)."""

    async def done(self, job: Job) -> None:
        """Remove a job."""


class Recovery:
    """Ends doubts: those whose jobs are due, and those that somebody waits for."""

    def __init__(
        self, engine: Engine, desk: Desk, processors: Mapping[str, Processor], *, plan: Plan, now: Callable[[], datetime],
        wall: Callable[[], datetime], ask_seconds: float, day: Callable[[str, datetime], date],
        merchants: Callable[[str], int | None],
    ) -> None:
        """``now`` is business time, ``wall`` the machine's.  ``ask_seconds`` bounds each message (wall time).  ``day``: processor
        and business time to its business day.  ``merchants``: a merchant's number by its identifier."""
        self._engine, self._desk, self._processors, self._plan = engine, desk, processors, plan
        self._now, self._wall, self._ask_seconds, self._day, self._merchants = now, wall, ask_seconds, day, merchants
        self._resolving: dict[tuple[int, int], asyncio.Task[bool]] = {}

    async def attempt(self, job: Job) -> bool:
        """One try at a claimed job, which is given back or gone afterwards; whether the doubt ended.

        Raises what breaks, so that the background gives the job back; but under the note ``PAID`` the lease runs out instead.
        """
        try:
            return await self._attempt(job)
        except Exception:
            if not job.note.startswith(PAID):
                raise
            log.exception("the refund of operation %d waits", job.subject)
            return False

    async def _attempt(self, job: Job) -> bool:
        began = self._wall()
        case = await self._desk.case(job)
        if case is None:
            await self._desk.done(job)
            return True
        if case.decided is not None and not (case.reversal_left and case.decided.outcome == "approved"):
            return await self._end(case, _chosen(case.decided))
        if self._wall() - began >= PREPARING:
            return await self._in_vain(case, "not sent: it came too late", job)
        return await self._take(self._step(case), case)

    async def resolve(self, merchant_id: int, payment_id: int) -> bool:
        """Try now to end what is in doubt about a payment; whether any of it ended.

        Callers that come meanwhile share one try.  Takes no longer than one message to a processor may.
        """
        key = merchant_id, payment_id
        task = self._resolving.get(key)
        if task is None:
            task = self._resolving[key] = asyncio.ensure_future(self._resolve(*key))
            task.add_done_callback(lambda _: self._resolving.pop(key))
        return await asyncio.shield(task)       # a caller that goes away takes the try with it from nobody

    async def late(self, message: Ask, outcome: Outcome) -> None:
        """A processor's approval that came after its caller had been told that nobody knows.

        It never becomes one.  It is noted, unless the operation is approved meanwhile, and in the same commit the job is woken.
        """
        merchant_id = self._merchants(message.merchant)
        if merchant_id is None or type(outcome) is not Approved:
            return
        notice = late_approval(message.operation_id, outcome.minor)
        try:
            await self._engine.notice(merchant_id, message.payment_id, "", notice)      # it posts nothing at any processor
        except CommitFailed:
            log.warning("the late approval of operation %d could not be noted", message.operation_id)

    async def _resolve(self, merchant_id: int, payment_id: int) -> bool:
        try:
            found = await self._desk.doubts(merchant_id, payment_id)
            if not found:
                return True                     # whoever asks was told before the doubt ended
            if any(await asyncio.gather(*(self._try_one(merchant_id, operation_id) for operation_id in found))):
                return True
            return len(await self._desk.doubts(merchant_id, payment_id)) < len(found)
        except CONNECTION_LOST as lost:
            log.warning("doubts of payment %d are left for later: %s", payment_id, lost)
        except Exception:
            log.exception("doubts of payment %d could not be tried", payment_id)
        return False

    async def _try_one(self, merchant_id: int, operation_id: int) -> bool:
        job = await self._desk.take(merchant_id, operation_id)
        return job is not None and await self.attempt(job)

    def _step(self, case: Case) -> Step:
        reserved, able = case.reserved, self._processor(case).capabilities
        name = reserved.intent.processor
        return next_step(
            reserved.operation.kind, tries=case.job.tries, inquiry=able.inquiry, deduplicates=able.deduplicates,
            reversal_left=case.reversal_left, past_cut_over=self._day(name, self._now()) > self._day(name, case.asked_at), plan=self._plan,
            pending=case.is_pending,
        )

    async def _take(self, step: Step, case: Case) -> bool:
        """Do what comes next, within the time of one message."""
        if step is Step.REVIEW:                 # nothing can be sent: from now on it is a person's business
            return await self._in_vain(case, "nothing may be sent; a person decides", case.job._replace(deadline_at=self._now()))
        if step is Step.REVERSE and not case.reversal_left:
            # Decided before it is sent: from this commit on no approval counts any more, whoever brings it.
            return await self._end(case, Unknown(Silence.NO_ANSWER), reverse=True)
        try:
            async with asyncio.timeout(self._ask_seconds):
                outcome: Outcome | _Paid = await self._send(step, case)
        except TimeoutError:
            outcome = Unknown(Silence.NO_ANSWER)
        if isinstance(outcome, Approved | Declined | Reversed):
            if is_believable(case.reserved.operation, outcome):
                return await self._end(case, outcome)
            outcome = Unknown(Silence.NOT_BELIEVABLE)
        if type(outcome) is Unknown and outcome.why is Silence.PENDING and not case.reversal_left:
            return await self._pending(case, outcome)
        if isinstance(outcome, _Paid):
            due = self._now() + timedelta(seconds=RETURN_SECONDS)
            await self._desk.later(case.job, due, PAID + due.isoformat())
            return False
        why = outcome.why if type(outcome) is Unknown else "not sent"
        return await self._in_vain(case, f"{step}: {why}", case.job)

    async def _send(self, step: Step, case: Case) -> Outcome | _Paid:
        match step:
            case Step.INQUIRE:
                return await self._processor(case).inquire(self._message(case))
            case Step.REPEAT:
                return await self._processor(case).ask(self._message(case, repeat=True))
            case Step.RETURN:
                return await self._return(case)
            case _:
                return await self._reverse(case)

    async def _reverse(self, case: Case) -> Outcome:
        acknowledged = await self._processor(case).reverse(self._message(case))
        return Reversed() if acknowledged else Unknown(Silence.NO_ANSWER)

    async def _return(self, case: Case) -> Outcome | _Paid:
        """A purchase of a business day that is over.  What the processor still has is given back by a refund under a key of its
        own, which makes a second one harmless; what it does not know is reversed, so that it never will be.  See ``PAID``."""
        processor, message, paid = self._processor(case), self._message(case), case.job.note.startswith(PAID)
        found = await processor.inquire(message)
        if self._wall() >= message.deadline:        # it stalled: others may have gone on, and a second message is no longer due
            return Unknown(Silence.NO_ANSWER)
        if type(found) is Unknown:
            if paid:
                return found
            undone = await self._reverse(case)
            # Was it only that nobody answered?  What is settled may stand, whatever its reversal was answered.
            return undone if type(undone) is Unknown or type(await processor.inquire(message)) is not Approved else _Paid()
        if type(found) is Approved and not paid:
            return _Paid()
        said = found if type(found) is Approved else Approved(message.minor)
        original = Original(message.key, message.minor, said.approval_code, said.processor_reference, said.scheme_reference)
        refund = message._replace(
            key=message.key + RETURN, kind=Kind.REFUND, minor=said.minor, original=original, accepts_partial=False, repeat=True)
        if type(found) is not Approved:
            # Gone by itself, or by a reversal of ours that was long under way: then no refund may stand beside it.
            return Reversed() if not paid or await processor.reverse(refund) else Unknown(Silence.NO_ANSWER)
        if self._now() < datetime.fromisoformat(case.job.note.removeprefix(PAID)):      # somebody waits for it, or woke the job
            return Unknown(Silence.NO_ANSWER)
        refunded = await processor.ask(refund)
        if type(refunded) is Approved and refunded.minor == said.minor:
            return Reversed(returned=said.minor)
        return refunded if type(refunded) is Unknown else Unknown(Silence.NOT_BELIEVABLE)

    async def _end(self, case: Case, outcome: Outcome, *, reverse: bool = False) -> bool:
        """Commit what was found out; the job goes with a final outcome, and is given back with the decision to reverse."""
        result = await self._engine.finish(Ended(case.reserved, outcome, reverse))
        if type(result.outcome) is not Unknown:
            return True
        if not (reverse and result.receipt):
            due = self._now() + pause(self._plan, 0, case.job.subject)
            await self._desk.later(case.job, due, self._note(case.job, f"not committed: {result.outcome.why}"))
        return False

    async def _pending(self, case: Case, outcome: Unknown) -> bool:
        """The other side has it.  That is committed once, and whatever part of a refund has ended since; a part that no capture has room
        for, and what takes longer than the processor says, is a person's business."""
        reserved, job = case.reserved, case.job
        changed: Parts = ()
        if reserved.operation.kind is Kind.REFUND:
            _, changed = proceed(reserved.held.payment.captures, reserved.operation.parts, outcome.done, outcome.failed)
        if changed or not case.is_pending:
            result = await self._engine.finish(Ended(reserved, outcome))
            if not result.receipt:
                return await self._in_vain(case, "not committed", job)
        limit = case.asked_at + timedelta(seconds=self._processor(case).capabilities.pending_seconds)
        if any(part.state is PartState.STUCK for part in (*reserved.operation.parts, *changed)):
            limit = min(limit, self._now())
        if job.deadline_at is None or limit < job.deadline_at:
            job = job._replace(deadline_at=limit)
        return await self._in_vain(case._replace(is_pending=True), "the processor has it, and has not decided", job)

    async def _in_vain(self, case: Case, note: str, job: Job) -> bool:
        """Nothing was found out: try again later.  A try before its time (somebody waited for it) leaves that time as it is."""
        now = self._now()
        overdue = job.deadline_at is not None and job.deadline_at <= now
        plan = PENDING if case.is_pending else self._plan
        wait = timedelta(seconds=REVIEW_SECONDS) if overdue else pause(plan, job.tries, job.subject)
        await self._desk.later(job, job.due_at if job.due_at > now else now + wait, self._note(job, note))
        return False

    @staticmethod
    def _note(job: Job, note: str) -> str:
        return job.note if job.note.startswith(PAID) else note

    def _processor(self, case: Case) -> Processor:
        return self._processors[case.reserved.intent.processor]

    def _message(self, case: Case, *, repeat: bool = False) -> Ask:
        reserved = case.reserved._replace(deadline=self._wall() + timedelta(seconds=self._ask_seconds))
        return self._engine.message(reserved, repeat=repeat)


def _chosen(decided: Decided) -> Outcome:
    """A person's decision as an outcome."""
    match decided.outcome:
        case "approved":
            return Approved(decided.minor)
        case "reversed":
            return Reversed()
        case _:
            return Declined("05")
