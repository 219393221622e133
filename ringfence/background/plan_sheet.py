"""One plan while it is held: what comes next of it, and what follows from how an attempt ended.

A handful of plans is decided in one transaction: each on its own ``Sheet``, all of them in one ``Book``, which gathers what shall be stored
and stores it with one statement for each table.  Decides what becomes of a plan and its periods; refuses to know how rows are read, and how
money is asked for.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.background.plan_ends import Nothing, Paid, Refused, Unfit
from ringfence.core import plan as core
from ringfence.core.outcomes import Declined
from ringfence.core.plan import Failed, Kind, Period, State, Status, reference_of
from ringfence.core.retries import Again, Over, allowed_at, verdict
from ringfence.core.schedule import due_date
from ringfence.engine import webhooks
from ringfence.engine.directory import Merchant
from ringfence.engine.plan_notices import Desk, about
from ringfence.engine.plan_terms import rules_of, schedule_of, standing_of, terms_of
from ringfence.storage import jobs
from ringfence.storage import plans as rows
from ringfence.storage.jobs import Job
from ringfence.storage.plans import AttemptRow, Card, PeriodRow, PlanKey, PlanRow
from ringfence.storage.webhooks import DeliveryRow

NOT_ASKED_PAUSE, NOT_ASKED_AT_MOST = timedelta(minutes=15), timedelta(days=1)
"""An attempt that nobody could be asked for is repeated after so long, twice as long each time."""

UNANSWERED = Declined("68")
"""What follows from an attempt that nobody answered, and that was reversed: as from a decline that was nobody's word."""


class Begun(NamedTuple):
    """An attempt that has begun.  ``is_new``: by us, just now."""

    job: Job
    plan: PlanRow
    period: Period
    is_new: bool

    @property
    def reference(self) -> str:
        """What names it at the door."""
        return reference_of(self.plan.plan_id, self.period.due_date, self.period.attempts)


class Book:
    """What one transaction decides of a handful of plans.  ``now`` is business time; ``endpoints``: where merchants are told, by number."""

    def __init__(self, now: datetime, desk: Desk, endpoints: Mapping[int, int | None]) -> None:
        self.now, self.desk, self.endpoints = now, desk, endpoints
        self.begun: Counter[int] = Counter()            # attempts that begin here, by card
        self.plans: dict[PlanKey, PlanRow] = {}
        self.periods: dict[tuple[int, int, int], PeriodRow] = {}
        self.attempts: list[AttemptRow] = []
        self.notices: list[DeliveryRow] = []
        self.later: list[tuple[Job, datetime, str]] = []
        self.done: list[Job] = []

    async def write(self, connection: asyncpg.Connection) -> None:
        """Store all of it, within the transaction that holds the plans."""
        if self.plans:
            await rows.save_all(connection, list(self.plans.values()))
        if self.periods:
            await rows.save_periods(connection, list(self.periods.values()))
        if self.attempts:
            await rows.note_attempts(connection, self.attempts)
        if self.later:
            await jobs.all_later(connection, self.later)
        if self.done:
            await jobs.all_done(connection, self.done)
        if self.notices:
            await webhooks.hand_in_many(connection, self.now, self.notices)


class Sheet:
    """One plan in a book."""

    def __init__(
        self, book: Book, job: Job, merchant: Merchant, plan: PlanRow, unfinished: list[Period], card: Card | None,
    ) -> None:
        self._book, self._job, self._merchant, self._card, self._now = book, job, merchant, card, book.now
        self._plan, self._stored = plan, plan
        self._unfinished = {period.place: period for period in unfinished}
        self._is_left = False

    def next(self) -> Begun | None:
        """Do what needs nobody else, up to the next attempt; ``None``: there is nothing to be done now, and the job is given back."""
        begun = self._next()
        self._keep()
        return begun and begun._replace(plan=self._plan)

    def leave(self) -> None:
        """Give the job back as it is, due at once: others have their turn."""
        self._keep()
        self._is_left = True
        self._book.later.append((self._job, self._now, ""))

    def end(self, asked: Period, end: Paid | Refused | Nothing | Unfit) -> None:
        """What came of an attempt, unless somebody else was quicker."""
        period = self._unfinished.get(asked.place)
        if period is not None and period.state is State.ASKED and period.attempts == asked.attempts:
            self._plan = self._plan._replace(changed_at=self._now)
            match end:
                case Paid():
                    self._paid(period, end)
                case Refused():
                    self._refused(period, end)
                case Nothing():
                    self._nothing(period, end)
                case Unfit():
                    self._unfit(period, end)

    def _keep(self) -> None:
        if self._plan != self._stored:
            self._book.plans[self._plan[:2]] = self._plan

    # -- what comes next

    def _next(self) -> Begun | None:
        while not self._is_left:
            match core.next_step(terms_of(self._plan), standing_of(self._plan), list(self._unfinished.values()), self._now):
                case core.Resolve(period):
                    return Begun(self._job, self._plan, period, False)
                case core.Wait(until):
                    if until is None:
                        self._book.done.append(self._job)
                    else:
                        self._book.later.append((self._job, until, ""))
                    return None
                case core.Finish():
                    self._plan = self._plan._replace(status=Status.ENDED, reason="its last due date is over", changed_at=self._now)
                    self._tell("ended", reason=self._plan.reason)
                case core.Announce(place, day):
                    self._plan = self._plan._replace(announced=place)
                    self._tell("upcoming", due_date=day, amount=self._plan.minor)
                case core.Skip(place, until):
                    self._skip(place, until)
                case core.Open(place, day, at):
                    self._plan = self._plan._replace(place=place + 1)
                    if (begun := self._begin(Period(place, day, self._plan.minor, State.OPEN, 0, 0, at, None))) is not None:
                        return begun
                case core.Ask(period):
                    if (begun := self._begin(period)) is not None:
                        return begun
        return None

    def _begin(self, period: Period) -> Begun | None:
        """Begin an attempt, unless the scheme's limits make it wait."""
        if self._plan.kind == Kind.CHARGE and self._card is not None and (limits := self._merchant.settings.plan_retry_limits):
            card_id, brand, declines = self._card
            at = allowed_at(brand, declines, self._now, limits)
            if at > self._now:
                self._save(period._replace(next_at=at), reason="waits: the card was declined as often as its scheme allows")
                return None
            # Each of those that have just begun may be declined: where that would be too many, this one is for the next handful.
            if under_way := self._book.begun[card_id]:
                at = allowed_at(brand, [*declines, *[self._now] * under_way], self._now, limits)
                if at > self._now:
                    self._save(period)
                    self.leave()
                    return None
            self._book.begun[card_id] += 1
        asked = period._replace(
            state=State.ASKED, attempts=period.attempts + 1, next_at=self._now, first_at=period.first_at or self._now)
        self._save(asked)
        return Begun(self._job, self._plan, asked, True)

    def _skip(self, place: int, until: int) -> None:
        days = [(at, day) for at in range(place, until) if (day := due_date(schedule_of(self._plan), at))]
        for at, day in days:
            self._save(Period(at, day, self._plan.minor, State.SKIPPED, 0, 0, self._now, None), reason="a later due date had overtaken it")
        self._plan = self._plan._replace(place=until, changed_at=self._now)
        self._tell("skipped", due_date=days[0][1], until=days[-1][1], count=len(days))

    # -- what came of an attempt

    def _paid(self, period: Period, end: Paid) -> None:
        is_invoice = self._plan.kind == Kind.INVOICE
        self._save(period._replace(state=State.INVOICED if is_invoice else State.CHARGED), payment_id=end.payment_id, link=end.link)
        self._note(period, end, "sent" if is_invoice else "approved")
        self._plan = self._plan._replace(charged=self._plan.charged + 1)
        self._tell(
            "invoiced" if is_invoice else "charged", **about(self._plan, period), attempt=period.attempts, fort_id=end.payment_id,
            link=end.link)

    def _refused(self, period: Period, end: Refused) -> None:
        self._note(period, end, "declined", end.declined)
        self._after(period._replace(declines=period.declines + 1), end.declined, end.card_id, end.payment_id)

    def _nothing(self, period: Period, end: Nothing) -> None:
        """A reversal ends a try like a decline that was nobody's word; what was not asked is no try at all."""
        self._note(period, end, end.result)
        match end.result:
            case "reversed":
                self._after(period._replace(declines=period.declines + 1), UNANSWERED, end.card_id, end.payment_id)
            case "taken":
                name = reference_of(self._plan.plan_id, period.due_date, period.attempts)
                why = f"the reference {name} is another order's; goes on under the next number"
                self._open_again(period, self._now, why)
                self._tell("renumbered", **about(self._plan, period), attempt=period.attempts, reason=why)
            case _:
                pause = min(NOT_ASKED_PAUSE * 2 ** min(period.attempts - 1, 10), NOT_ASKED_AT_MOST)
                self._open_again(period, self._now + pause, f"attempt {period.attempts}: {end.result}")

    def _unfit(self, period: Period, end: Unfit) -> None:
        """Nothing was asked, so that the attempt's number is free; somebody has to mend it first."""
        if end.blocked:
            self._stopped(period, end.why, end.card_id)
            return
        self._open_again(period._replace(attempts=period.attempts - 1), self._now, end.why)
        self._paused(end.why)

    def _after(self, period: Period, declined: Declined, card_id: int | None, payment_id: int | None) -> None:
        """What follows from a decline."""
        assert period.first_at is not None
        judged = verdict(
            declined, first_at=period.first_at, now=self._now, declines=period.declines, rules=rules_of(self._merchant.settings))
        said = {**about(self._plan, period), "attempt": period.attempts, "fort_id": payment_id,
                "acquirer_response_code": declined.response_code, "merchant_advice_code": declined.advice}
        match judged:
            case Again(at) if not self._is_over:
                self._open_again(period, at, _in_short(declined))
                self._tell("failed", **said, next_attempt_at=at.isoformat())
            case Again():
                self._save(period._replace(state=State.FAILED), reason=f"{_in_short(declined)}; the plan is over")
                self._tell("failed", **said)
            case Over(hard, reason):
                self._tell("failed", **said, reason=reason)
                if hard:
                    self._stopped(period, reason, card_id)
                    return
                self._save(period._replace(state=State.FAILED), reason=reason)
                why = f"due date {period.due_date}: {reason}"
                match Failed(self._plan.failed):
                    case Failed.PAUSE:
                        self._paused(why)
                    case Failed.STOP:
                        self._stop(why, None)

    @property
    def _is_over(self) -> bool:
        return self._plan.status in (Status.ENDED, Status.STOPPED)

    def _open_again(self, period: Period, at: datetime, reason: str) -> None:
        self._save(period._replace(state=State.DROPPED if self._is_over else State.OPEN, next_at=at), reason=reason)

    def _stopped(self, period: Period, reason: str, card_id: int | None) -> None:
        """A card that must not be charged any more."""
        self._save(period._replace(state=State.FAILED), reason=reason)
        self._stop(reason, self._card.card_id if card_id is None and self._card is not None else card_id)

    def _stop(self, reason: str, hard_card: int | None) -> None:
        if self._plan.status == Status.ENDED:
            return
        for period in [one for one in self._unfinished.values() if one.state is State.OPEN]:
            self._save(period._replace(state=State.DROPPED), reason="the plan was stopped")
        self._plan = self._plan._replace(status=Status.STOPPED, reason=reason, hard_card=hard_card, paused_at=self._now)
        self._tell("stopped", reason=reason)

    def _paused(self, reason: str) -> None:
        if self._plan.status == Status.ACTIVE:
            self._plan = self._plan._replace(status=Status.PAUSED, reason=reason, paused_at=self._now)
            self._tell("paused", reason=reason)

    # -- what shall be stored

    def _save(self, period: Period, *, payment_id: int | None = None, link: str = "", reason: str = "") -> None:
        if period.state in (State.OPEN, State.ASKED):
            self._unfinished[period.place] = period
        else:
            self._unfinished.pop(period.place, None)
        merchant_id, number = self._plan[:2]
        self._book.periods[merchant_id, number, period.place] = PeriodRow(
            merchant_id, number, *period, payment_id, link, reason, self._now)

    def _note(self, period: Period, end: Paid | Refused | Nothing, result: str, declined: Declined | None = None) -> None:
        self._book.attempts.append(AttemptRow(
            *self._plan[:2], period.place, period.attempts, reference_of(self._plan.plan_id, period.due_date, period.attempts), end.card_id,
            end.payment_id, result, declined.response_code if declined else "", declined.advice if declined else "", self._now))

    def _tell(self, event: str, **more: object) -> None:
        book = self._book
        self._plan, notice = book.desk.worded(self._merchant, book.endpoints.get(self._plan.merchant_id), self._plan, self._now, event, **more)
        if notice is not None:
            book.notices.append(notice)


def _in_short(declined: Declined) -> str:
    return "nobody answered, and it was reversed" if declined is UNANSWERED else f"declined with {declined.response_code}"
