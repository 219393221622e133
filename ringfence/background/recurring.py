"""Plans: whoever has a plan's job in hand does what is due of it, one thing after the other.

Between two transactions lies one question.  The first transaction decides, under the plan's lock, and stores that an attempt has begun;
then the money is asked for, under a key that is made of plan, due date and attempt; the second stores what came of it.  Whoever finds an
attempt that has begun looks its key up and carries on from there.  The next attempt begins only once the one before has ended without
money.  So a due date is charged once, however often a process dies, the clock jumps, or two believe that the job is theirs.
Refuses to know what is due when (``core.plan``), and how money is asked for.
"""
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.background.plan_ends import Doubt, End, Nothing, Paid, Refused, Unfit, end_of, outcome_of
from ringfence.background.worker import Queue
from ringfence.core import plan as core
from ringfence.core.outcomes import Declined
from ringfence.core.plan import Failed, Kind, Period, State, Status, reference_of
from ringfence.core.refusals import Refusal
from ringfence.core.retries import Again, Over, allowed_at, longest, verdict
from ringfence.core.schedule import due_date
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.plan_notices import Desk, about
from ringfence.engine.plan_terms import ACTOR, QUEUE, Charge, Invoice, NoInvoice, Order, rules_of, schedule_of, standing_of, terms_of, when_next
from ringfence.storage import jobs
from ringfence.storage import plans as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.jobs import Job
from ringfence.storage.plans import AttemptRow, PlanRow

log = logging.getLogger(__name__)

AT_ONCE, PER_MERCHANT = 32, 16
"""Plans in hand together in this process, and of one merchant: a million due on one day are taken in such handfuls."""
AT_A_STRETCH = 16
"""Charges of one plan after which others have their turn."""
POLITE_SECONDS, POLITE_LOOK_SECONDS = 0.02, 0.002
"""So long a charge waits while live requests queue, and how often it looks."""
NOT_ASKED_PAUSE, NOT_ASKED_AT_MOST = timedelta(minutes=15), timedelta(days=1)
"""An attempt that nobody could be asked for is repeated after so long, twice as long each time."""

UNANSWERED = Declined("68")
"""What follows from an attempt that nobody answered, and that was reversed: as from a decline that was nobody's word."""


class Begun(NamedTuple):
    """An attempt that has begun.  ``is_new``: by us, just now."""

    plan: PlanRow
    period: Period
    is_new: bool

    @property
    def reference(self) -> str:
        """What names it at the door."""
        return reference_of(self.plan.plan_id, self.period.due_date, self.period.attempts)


def queue(runner: Runner) -> Queue:
    """The queue of plans."""
    return Queue(QUEUE, runner.run, at_once=AT_ONCE, per_merchant=PER_MERCHANT)


class Runner:
    """One process's plans."""

    def __init__(
        self, pool: asyncpg.Pool, directory: Directory, charge: Charge, desk: Desk, *, key_of: Callable[[str], str], now: Callable[[], datetime],
        waiting: Callable[[], int] = lambda: 0, invoice: Invoice | None = None,
    ) -> None:
        """``key_of``: the key that an order's reference claims; ``now`` is business time; ``waiting``: how many live requests wait for a
        commit; ``invoice`` sends invoices, where anybody does."""
        self.pool, self._directory, self._charge, self.desk = pool, directory, charge, desk
        self.now, self._waiting, self._invoice, self._key_of = now, waiting, invoice, key_of

    async def run(self, job: Job) -> None:
        """Do what is due of a plan, and give its job back."""
        merchant = self._directory.by_id(job.merchant_id)
        if merchant is None:            # made a moment ago, by another process
            await jobs.later(self.pool, job, self.now() + timedelta(seconds=1))
            return
        endpoint = await self.desk.endpoint_of(self.pool, merchant, self.now())
        begun, charges = await _Look(self, job, merchant, endpoint).begin(), 0
        while begun is not None:
            await self._give_way()
            end, charges = await self._carried_out(merchant, begun), charges + 1
            if isinstance(end, Doubt):
                asked_at = begun.period.next_at
                await jobs.later(self.pool, job, when_next(self.now(), asked_at), "nobody knows yet what became of the charge")
                return
            begun = await _Look(self, job, merchant, endpoint).ended(begun, end, goes_on=charges < AT_A_STRETCH)

    async def _give_way(self) -> None:
        until = time.monotonic() + POLITE_SECONDS
        while self._waiting() and time.monotonic() < until:
            await asyncio.sleep(POLITE_LOOK_SECONDS)

    async def _carried_out(self, merchant: Merchant, begun: Begun) -> End:
        """Ask for the money, unless that was done already; how it ended."""
        plan, period = begun.plan, begun.period
        if plan.kind == Kind.INVOICE:
            if self._invoice is None:
                return Unfit("nobody sends invoices here", False, None)
            link = await self._invoice(merchant, plan, period.due_date)
            return Unfit(link.why, False, None) if isinstance(link, NoInvoice) else Paid(None, None, link)
        if not begun.is_new and (known := await self._known(begun)) is not None:
            return known
        charged = await self._charge(Order(
            merchant, begun.reference, plan.token_name, period.minor, plan.currency, plan.email, plan.description))
        result = charged.result
        if result is None:
            return Unfit(charged.refused, False, charged.card_id)
        if result.refusal is not None:
            match result.refusal:
                case Refusal.KEY_USED | Refusal.KEY_IN_PROGRESS | Refusal.KEY_CONTENT_DIFFERS:
                    return await self._known(begun) or Doubt()
                case Refusal.SERVICE_UNAVAILABLE:
                    return Doubt()
                case refusal:
                    return Unfit(charged.refused, refusal is Refusal.CARD_BLOCKED, charged.card_id)
        payment = result.payment
        assert result.outcome is not None
        return end_of(
            result.outcome, None if payment is None else payment.status, None if payment is None else payment.id, charged.card_id)

    async def _known(self, begun: Begun) -> End | None:
        """What became of the attempt, by its key; ``None`` where nothing was asked under it."""
        async with borrowed(self.pool) as connection:
            found = await rows.asked_under(connection, begun.plan.merchant_id, self._key_of(begun.reference))
        if found is None:
            return None
        if found.actor != ACTOR:
            return Nothing("taken", None, None)
        outcome = outcome_of(found)
        return Doubt() if outcome is None else end_of(outcome, found.status, found.payment_id, found.card_id)


class _Look:
    """One transaction with a plan held in it."""

    def __init__(self, runner: Runner, job: Job, merchant: Merchant, endpoint: int | None) -> None:
        self._runner, self._job, self._merchant, self._endpoint = runner, job, merchant, endpoint
        self._now = runner.now()

    async def begin(self) -> Begun | None:
        """Do what needs nobody else, up to the next attempt; ``None``: there is nothing to be done now, and the job was given back."""
        async with borrowed(self._runner.pool) as self._connection, self._connection.transaction():
            plan = await rows.lock(self._connection, self._job.merchant_id, self._job.subject)
            if plan is None:
                await jobs.done(self._connection, self._job)
                return None
            return await self._next(plan, plan)

    async def _next(self, plan: PlanRow, stored: PlanRow) -> Begun | None:
        """See ``begin``; the plan is saved where it differs from what is ``stored``."""
        while True:
            unfinished = await rows.unfinished(self._connection, plan)
            match core.next_step(terms_of(plan), standing_of(plan), unfinished, self._now):
                case core.Resolve(period):
                    begun: Begun | None = Begun(plan, period, False)
                case core.Wait(until):
                    await (jobs.done(self._connection, self._job) if until is None else jobs.later(self._connection, self._job, until))
                    begun = None
                case core.Finish():
                    plan = plan._replace(status=Status.ENDED, reason="its last due date is over", changed_at=self._now)
                    plan = await self._tell(plan, "ended", reason=plan.reason)
                    continue
                case core.Announce(place, day):
                    plan = plan._replace(announced=place)
                    plan = await self._tell(plan, "upcoming", due_date=day, amount=plan.minor)
                    continue
                case core.Skip(place, until):
                    plan = await self._skip(plan, place, until)
                    continue
                case core.Open(place, day, at):
                    plan = plan._replace(place=place + 1)
                    begun = await self._attempt(plan, Period(place, day, plan.minor, State.OPEN, 0, 0, at, None))
                    if begun is None:
                        continue
                case core.Ask(period):
                    begun = await self._attempt(plan, period)
                    if begun is None:
                        continue
            if plan != stored:
                await rows.save(self._connection, plan)
            return begun and begun._replace(plan=plan)

    async def _attempt(self, plan: PlanRow, period: Period) -> Begun | None:
        """Begin an attempt, unless the scheme's limits make it wait."""
        if plan.kind == Kind.CHARGE and self._merchant.settings.plan_retry_limits and (at := await self._allowed_at(plan)) > self._now:
            reason = "waits: the card was declined as often as its scheme allows"
            await rows.save_period(self._connection, plan, period._replace(next_at=at), self._now, reason=reason)
            return None
        asked = period._replace(
            state=State.ASKED, attempts=period.attempts + 1, next_at=self._now, first_at=period.first_at or self._now)
        await rows.save_period(self._connection, plan, asked, self._now)
        return Begun(plan, asked, True)

    async def _allowed_at(self, plan: PlanRow) -> datetime:
        limits = self._merchant.settings.plan_retry_limits
        brand, declines = await rows.declines(self._connection, plan.merchant_id, plan.token_name, self._now - longest(limits))
        return allowed_at(brand, declines, self._now, limits)

    async def _skip(self, plan: PlanRow, place: int, until: int) -> PlanRow:
        days = [(at, day) for at in range(place, until) if (day := due_date(schedule_of(plan), at))]
        await rows.pass_over(self._connection, plan, days, "a later due date had overtaken it", self._now)
        plan = plan._replace(place=until, changed_at=self._now)
        return await self._tell(plan, "skipped", due_date=days[0][1], until=days[-1][1], count=len(days))

    # -- the second transaction

    async def ended(self, begun: Begun, end: Paid | Refused | Nothing | Unfit, *, goes_on: bool) -> Begun | None:
        """Store what came of an attempt, unless somebody else was quicker, and go on as ``begin`` does or leave the rest for later."""
        async with borrowed(self._runner.pool) as self._connection, self._connection.transaction():
            plan = await rows.lock(self._connection, self._job.merchant_id, self._job.subject)
            if plan is None:
                return None
            stored, asked = plan, begun.period
            period = next((one for one in await rows.unfinished(self._connection, plan) if one.place == asked.place), None)
            if period is not None and period.state is State.ASKED and period.attempts == asked.attempts:
                plan = await self._applied(plan._replace(changed_at=self._now), period, end)
            if goes_on:
                return await self._next(plan, stored)
            await rows.save(self._connection, plan)
            await jobs.later(self._connection, self._job, self._now)
            return None

    async def _applied(self, plan: PlanRow, period: Period, end: Paid | Refused | Nothing | Unfit) -> PlanRow:
        match end:
            case Paid():
                return await self._paid(plan, period, end)
            case Refused():
                return await self._refused(plan, period, end)
            case Nothing():
                return await self._nothing(plan, period, end)
            case Unfit():
                return await self._unfit(plan, period, end)

    async def _paid(self, plan: PlanRow, period: Period, end: Paid) -> PlanRow:
        is_invoice = plan.kind == Kind.INVOICE
        state = State.INVOICED if is_invoice else State.CHARGED
        await rows.save_period(
            self._connection, plan, period._replace(state=state), self._now, payment_id=end.payment_id, link=end.link)
        await self._note(plan, period, end, "approved")
        plan = plan._replace(charged=plan.charged + 1)
        return await self._tell(
            plan, "invoiced" if is_invoice else "charged", **about(plan, period), attempt=period.attempts, fort_id=end.payment_id, link=end.link)

    async def _refused(self, plan: PlanRow, period: Period, end: Refused) -> PlanRow:
        await self._note(plan, period, end, "declined", end.declined)
        declines = period.declines + 1
        return await self._after(plan, period._replace(declines=declines), end.declined, end.card_id, payment_id=end.payment_id)

    async def _nothing(self, plan: PlanRow, period: Period, end: Nothing) -> PlanRow:
        """A reversal ends a try like a decline that was nobody's word; what was not asked is no try at all."""
        await self._note(plan, period, end, end.result)
        if end.result == "reversed":
            return await self._after(
                plan, period._replace(declines=period.declines + 1), UNANSWERED, end.card_id, payment_id=end.payment_id)
        pause = timedelta() if end.result == "taken" else min(NOT_ASKED_PAUSE * 2 ** min(period.attempts - 1, 10), NOT_ASKED_AT_MOST)
        return await self._open_again(plan, period, self._now + pause, f"attempt {period.attempts}: {end.result}")

    async def _unfit(self, plan: PlanRow, period: Period, end: Unfit) -> PlanRow:
        """Nothing was asked, so that the attempt's number is free; somebody has to mend it first."""
        if end.blocked:
            return await self._stopped(plan, period, end.why, end.card_id)
        plan = await self._open_again(plan, period._replace(attempts=period.attempts - 1), self._now, end.why)
        return await self._paused(plan, end.why)

    async def _after(
        self, plan: PlanRow, period: Period, declined: Declined, card_id: int | None, *, payment_id: int | None
    ) -> PlanRow:
        """What follows from a decline."""
        assert period.first_at is not None
        judged = verdict(
            declined, first_at=period.first_at, now=self._now, declines=period.declines, rules=rules_of(self._merchant.settings))
        is_over = plan.status in (Status.ENDED, Status.STOPPED)
        said = {**about(plan, period), "attempt": period.attempts, "fort_id": payment_id, "acquirer_response_code": declined.response_code,
                "merchant_advice_code": declined.advice}
        match judged:
            case Again(at) if not is_over:
                plan = await self._open_again(plan, period, at, _in_short(declined))
                return await self._tell(plan, "failed", **said, next_attempt_at=at.isoformat())
            case Again():
                await self._failed(plan, period, f"{_in_short(declined)}; the plan is over")
                return await self._tell(plan, "failed", **said)
            case Over(hard, reason):
                plan = await self._tell(plan, "failed", **said, reason=reason)
                if hard:
                    return await self._stopped(plan, period, reason, card_id)
                await self._failed(plan, period, reason)
                why = f"due date {period.due_date}: {reason}"
                match Failed(plan.failed):
                    case Failed.SKIP:
                        return plan
                    case Failed.PAUSE:
                        return await self._paused(plan, why)
                    case Failed.STOP:
                        return await self._stop(plan, why, None)
        raise AssertionError("a decline has one of two verdicts")

    async def _open_again(self, plan: PlanRow, period: Period, at: datetime, reason: str) -> PlanRow:
        state = State.DROPPED if plan.status in (Status.ENDED, Status.STOPPED) else State.OPEN
        await rows.save_period(self._connection, plan, period._replace(state=state, next_at=at), self._now, reason=reason)
        return plan

    async def _failed(self, plan: PlanRow, period: Period, reason: str) -> None:
        await rows.save_period(self._connection, plan, period._replace(state=State.FAILED), self._now, reason=reason)

    async def _stopped(self, plan: PlanRow, period: Period, reason: str, card_id: int | None) -> PlanRow:
        """A card that must not be charged any more."""
        await self._failed(plan, period, reason)
        if card_id is None and (found := await rows.card(self._connection, plan.merchant_id, plan.token_name)):
            card_id = found[0]
        return await self._stop(plan, reason, card_id)

    async def _stop(self, plan: PlanRow, reason: str, hard_card: int | None) -> PlanRow:
        if plan.status == Status.ENDED:
            return plan
        await rows.drop_open(self._connection, plan, "the plan was stopped", self._now)
        plan = plan._replace(status=Status.STOPPED, reason=reason, hard_card=hard_card, paused_at=self._now)
        return await self._tell(plan, "stopped", reason=reason)

    async def _paused(self, plan: PlanRow, reason: str) -> PlanRow:
        if plan.status != Status.ACTIVE:
            return plan
        plan = plan._replace(status=Status.PAUSED, reason=reason, paused_at=self._now)
        return await self._tell(plan, "paused", reason=reason)

    async def _note(self, plan: PlanRow, period: Period, end: Paid | Refused | Nothing, result: str, declined: Declined | None = None) -> None:
        await rows.note_attempt(self._connection, AttemptRow(
            plan.merchant_id, plan.number, period.place, period.attempts, reference_of(plan.plan_id, period.due_date, period.attempts),
            end.card_id, end.payment_id, result, declined.response_code if declined else "", declined.advice if declined else "", self._now))

    async def _tell(self, plan: PlanRow, event: str, **more: object) -> PlanRow:
        return await self._runner.desk.tell(self._connection, self._merchant, self._endpoint, plan, self._now, event, **more)


def _in_short(declined: Declined) -> str:
    return "nobody answered, and it was reversed" if declined is UNANSWERED else f"declined with {declined.response_code}"
