"""Plans for those who keep them: made, looked at, changed, paused, resumed and ended.

Every change is one transaction with what the merchant is told of it and with the job that goes on from it.  Decides what a plan may be
and what may follow what; how money is asked for is handed in as plain functions, and who does it later is not known here.
"""
from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import asyncpg

from ringfence.core.plan import Failed, Kind, Missed, Period, State, Status, reference_of
from ringfence.core.schedule import Schedule, Unit, day_of, due_at, due_date, first_after, fits
from ringfence.engine.directory import Merchant
from ringfence.engine.plan_notices import Desk
from ringfence.engine.plan_terms import Judge, Order, schedule_of, wake
from ringfence.storage import plans as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.plans import AttemptRow, PlanRow, Told

MOST_MINOR, MOST_EVERY, MOST_NOTICE_DAYS, MOST_LISTED = 9_999_999_999, 1_000, 60, 500
_PLAN_ID = re.compile(r"[A-Za-z0-9_-]{1,24}", re.ASCII)


class Wish(NamedTuple):
    """A plan to be made.  ``minor`` in minor units; the anchor is the start's day where it is ``None``."""

    plan_id: str
    kind: str
    token_name: str
    minor: int
    currency: str
    email: str
    description: str
    start: date | None
    every: int
    unit: str
    anchor: int | None
    zone: str
    until: date | None
    count: int | None
    missed: str
    failed: str
    notice_days: int


class Change(NamedTuple):
    """What shall be different; ``None`` leaves as it is."""

    token_name: str | None = None
    minor: int | None = None
    email: str | None = None
    description: str | None = None
    until: date | None = None
    count: int | None = None
    missed: str | None = None
    failed: str | None = None
    notice_days: int | None = None


class Wrong(NamedTuple):
    """A field that cannot be so, and what to do about it."""

    field: str
    problem: str


class NotThere(NamedTuple):
    """The merchant has no plan of that name."""


class NotNow(NamedTuple):
    """The plan stands where this cannot be done, and what can."""

    problem: str


Answer = PlanRow | list[Wrong] | NotThere | NotNow


class Shown(NamedTuple):
    """A plan with its last periods and their attempts."""

    plan: PlanRow
    periods: list[Told]
    attempts: list[AttemptRow]
    invoices: Mapping[str, str]             # how those that were sent stand, by their references


Standings = Callable[[Merchant, Sequence[str]], Awaitable[Mapping[str, str]]]
"""How a merchant's payment links with these references stand: open, opened, paid, expired or cancelled."""


class Due(NamedTuple):
    """Something of a plan that comes: ``what`` is charge, retry or invoice; ``at`` business time."""

    plan: PlanRow
    at: datetime
    due_date: date
    minor: int
    what: str


class Plans:
    """Everything that a merchant or an operator does with plans."""

    def __init__(
        self, pool: asyncpg.Pool, now: Callable[[], datetime], desk: Desk, judge: Judge, invoices: Standings,
    ) -> None:
        """``invoices``: how those stand that were sent."""
        self._pool, self._now, self._desk, self._judge, self._invoices = pool, now, desk, judge, invoices

    async def create(self, merchant: Merchant, wish: Wish) -> PlanRow | list[Wrong] | NotNow:
        """Make a plan, active from its start."""
        now = self._now()
        wrong = self._wrong(merchant, wish, now)
        async with borrowed(self._pool) as connection:
            if not wrong and wish.kind == Kind.CHARGE:
                wrong = await _card_problem(connection, merchant, wish.token_name)
            if wrong:
                return wrong
            assert wish.start is not None
            row = PlanRow(
                merchant.merchant_id, 0, wish.plan_id, 0, Status.ACTIVE, "", wish.kind, wish.token_name, wish.minor, wish.currency, wish.email,
                wish.description, wish.start, wish.every, wish.unit, wish.anchor or wish.start.day, wish.zone, wish.until, wish.count,
                wish.missed, wish.failed, wish.notice_days, 0, -1, 0, 0, None, None, now, now)
            async with connection.transaction():
                made = await rows.insert(connection, row)
                if made is None:
                    return NotNow(f"there is a plan {wish.plan_id} already; change it with PATCH, or choose another id")
                await wake(connection, made, now)
                return made

    async def change(self, merchant: Merchant, plan_id: str, change: Change) -> Answer:
        """Change what may change.  An amount counts for due dates that are opened from now on; a token at once."""
        async with self._held(merchant, plan_id) as (connection, row, _):
            if row is None:
                return NotThere()
            if row.status == Status.ENDED:
                return NotNow("it has ended; make another plan")
            new = row._replace(**{name: value for name, value in change._asdict().items() if value is not None}, changed_at=self._now())
            wrong = self._changed_wrong(merchant, row, new)
            if not wrong and row.kind == Kind.CHARGE and change.token_name is not None:
                wrong = await _card_problem(connection, merchant, new.token_name)
            if wrong:
                return wrong
            if new.token_name != row.token_name:
                await rows.hasten_open(connection, new, self._now())
            await rows.save(connection, new)
            await wake(connection, new, self._now())
            return new

    async def pause(self, merchant: Merchant, plan_id: str, reason: str) -> Answer:
        """Let nothing begin until it is resumed; an attempt that has begun is finished."""
        async with self._held(merchant, plan_id) as (connection, row, endpoint):
            if row is None:
                return NotThere()
            if row.status != Status.ACTIVE:
                return NotNow(f"it is {row.status}; only an active plan can be paused")
            now = self._now()
            row = row._replace(status=Status.PAUSED, reason=reason, paused_at=now, changed_at=now)
            row = await self._desk.tell(connection, merchant, endpoint, row, now, "paused", reason=reason)
            await rows.save(connection, row)
            return row

    async def resume(self, merchant: Merchant, plan_id: str, *, charge_missed: bool) -> Answer:
        """Go on.  What fell due meanwhile is skipped, or charged at once where that is asked for."""
        async with self._held(merchant, plan_id) as (connection, row, endpoint):
            if row is None:
                return NotThere()
            if row.status not in (Status.PAUSED, Status.STOPPED):
                return NotNow(f"it is {row.status}; only a paused or stopped plan can be resumed")
            if row.kind == Kind.CHARGE:
                card = await rows.card(connection, row.merchant_id, row.token_name)
                if row.hard_card is not None and (card is None or card[0] == row.hard_card):
                    return NotNow(f"{row.reason}; give it another card first, by the token of one")
            now = self._now()
            if not charge_missed:
                row = await self._pass_over(connection, row, now)
            row = row._replace(status=Status.ACTIVE, reason="", hard_card=None, paused_at=None, changed_at=now)
            row = await self._desk.tell(connection, merchant, endpoint, row, now, "resumed")
            await rows.save(connection, row)
            await wake(connection, row, now)
            return row

    async def end(self, merchant: Merchant, plan_id: str, reason: str) -> Answer:
        """Let nothing be due any more; an attempt that has begun is finished, what is still to be tried again is dropped."""
        async with self._held(merchant, plan_id) as (connection, row, endpoint):
            if row is None:
                return NotThere()
            if row.status == Status.ENDED:
                return NotNow("it has ended already")
            now = self._now()
            row = row._replace(status=Status.ENDED, reason=reason, paused_at=None, changed_at=now)
            await rows.drop_open(connection, row, "the plan was ended", now)
            row = await self._desk.tell(connection, merchant, endpoint, row, now, "ended", reason=reason)
            await rows.save(connection, row)
            await wake(connection, row, now)
            return row

    async def show(self, merchant: Merchant, plan_id: str, limit: int) -> Shown | None:
        """A plan with its last periods."""
        async with borrowed(self._pool) as connection:
            row = await rows.plan(connection, merchant.merchant_id, plan_id)
            if row is None:
                return None
            periods = await rows.periods(connection, row, limit)
            attempts = await rows.attempts(connection, row, periods[-1].period.place) if periods else []
        sent = [reference_of(row.plan_id, one.period.due_date, one.period.attempts) for one in periods if one.period.state is State.INVOICED]
        return Shown(row, periods, attempts, await self._invoices(merchant, sent) if sent else {})

    async def number(self, merchant: Merchant, plan_id: str) -> int | None:
        """The number of a plan, by which its notices are known."""
        async with borrowed(self._pool) as connection:
            row = await rows.plan(connection, merchant.merchant_id, plan_id)
            return row and row.number

    async def list(
        self, merchant: int | None, status: str | None, after: tuple[int, int] | None, limit: int
    ) -> Sequence[PlanRow]:
        """Plans of one merchant (its number) or of all, behind ``after``, at most ``MOST_LISTED``."""
        async with borrowed(self._pool) as connection:
            return await rows.plans(connection, merchant, status, after, min(limit, MOST_LISTED))

    async def due(self, merchant: int | None, until: datetime, limit: int) -> list[Due]:
        """What comes up to an instant (business time), the next first: as it stands, without what declines will add."""
        found: list[Due] = []
        async with borrowed(self._pool) as connection:
            active = [row for _, row in await rows.due(connection, merchant, until, limit) if row.status == Status.ACTIVE]
            unfinished = await rows.unfinished(connection, [(row.merchant_id, row.number) for row in active])
        for row in active:
            found += [
                Due(row, period.next_at, period.due_date, period.minor, "retry")
                for period in unfinished.get((row.merchant_id, row.number), ()) if period.state is State.OPEN and period.next_at <= until]
            found += coming(row, until, limit)
        return sorted(found, key=lambda one: (one.at, one.plan[:2]))[:limit]

    # -- what holds together

    @asynccontextmanager
    async def _held(self, merchant: Merchant, plan_id: str) -> AsyncIterator[tuple[asyncpg.Connection, PlanRow | None, int | None]]:
        """A transaction with the plan held in it (``None``: there is none), and where the merchant is told."""
        async with borrowed(self._pool) as connection:
            endpoint = await self._desk.endpoint(connection, merchant, self._now())
            async with connection.transaction():
                found = await rows.plan(connection, merchant.merchant_id, plan_id)
                yield connection, found and await rows.lock(connection, merchant.merchant_id, found.number), endpoint

    async def _pass_over(self, connection: asyncpg.Connection, row: PlanRow, now: datetime) -> PlanRow:
        """Skip what fell due since the plan was paused; what was due before, and nobody had come to, is opened."""
        schedule = schedule_of(row)
        first = first_after(schedule, row.paused_at or now, row.place)
        until = first_after(schedule, now, first)
        begin = row.place if row.missed == Missed.CHARGE else max(row.place, first - 1)
        for place in range(begin, first):
            at, day = due_at(schedule, place), due_date(schedule, place)
            assert at is not None and day is not None, "it was due"
            await rows.save_period(connection, row, Period(place, day, row.minor, State.OPEN, 0, 0, at, None), now)
        days = [(place, day) for place in (*range(row.place, begin), *range(first, until)) if (day := due_date(schedule, place))]
        await rows.pass_over(connection, row, days, "due while the plan was paused", now)
        return row._replace(place=until)

    def _wrong(self, merchant: Merchant, wish: Wish, now: datetime) -> list[Wrong]:
        """Every field that cannot be so, as far as that needs no look at the card."""
        wrong = [Wrong(field, problem) for field, problem, is_so in (
            ("plan_id", "must be 1 to 24 letters, digits, hyphens and underscores", not _PLAN_ID.fullmatch(wish.plan_id)),
            ("kind", "must be charge or invoice", wish.kind not in list(Kind)),
            ("every", f"must be 1 to {MOST_EVERY}", not 1 <= wish.every <= MOST_EVERY),
            ("unit", f"must be {', '.join(Unit)}", wish.unit not in list(Unit)),
            ("anchor", "must be a day of the month, 1 to 31", wish.anchor is not None and not 1 <= wish.anchor <= 31),
            ("zone", "must be the name of a time zone such as Asia/Dubai", not _is_zone(wish.zone)),
            ("start", "is missing; the first due date, YYYY-MM-DD", wish.start is None),
        ) if is_so]
        if wish.kind == Kind.INVOICE and wish.token_name:
            wrong.append(Wrong("token_name", "goes with kind charge only"))
        if wrong:
            return wrong
        assert wish.start is not None
        if wish.start < day_of(now, wish.zone):
            return [Wrong("start", f"is past; today is {day_of(now, wish.zone)} in {wish.zone}")]
        if not fits(Schedule(wish.start, 1, Unit(wish.unit), wish.anchor or wish.start.day)):
            return [Wrong("anchor", f"does not fit the start; with anchor {wish.anchor} it must be that day of its month, or the month's last")]
        return self._agreed_wrong(merchant, wish, wish.start)

    def _agreed_wrong(self, merchant: Merchant, of: Wish | PlanRow, start: date) -> list[Wrong]:
        """What holds of a new plan and of a changed one."""
        wrong = [Wrong(field, problem) for field, problem, is_so in (
            ("amount", f"must be 1 to {MOST_MINOR} minor units", not 1 <= of.minor <= MOST_MINOR),
            ("missed", f"must be {' or '.join(Missed)}", of.missed not in list(Missed)),
            ("failed", f"must be {', '.join(Failed)}", of.failed not in list(Failed)),
            ("notice_days", f"must be 0 to {MOST_NOTICE_DAYS}", not 0 <= of.notice_days <= MOST_NOTICE_DAYS),
            ("count", "must be 1 or more", of.count is not None and not 1 <= of.count <= 1_000_000),
            ("until", "is before the start", of.until is not None and of.until < start),
        ) if is_so]
        if not wrong:
            order = Order(merchant, reference_of(of.plan_id, start, 1), of.token_name or "INVOICE", of.minor, of.currency, of.email, of.description)
            if problem := self._judge(order):
                wrong.append(Wrong("plan", f"could not be charged: {problem}"))
        return wrong

    def _changed_wrong(self, merchant: Merchant, row: PlanRow, new: PlanRow) -> list[Wrong]:
        wrong = self._agreed_wrong(merchant, new, row.start)
        if row.kind == Kind.INVOICE and new.token_name:
            wrong.append(Wrong("token_name", "goes with kind charge only"))
        if new.count is not None and new.count != row.count and new.count < row.place:
            wrong.append(Wrong("count", f"is less than the {row.place} due dates there were; end the plan instead"))
        return wrong


async def _card_problem(connection: asyncpg.Connection, merchant: Merchant, token_name: str) -> list[Wrong]:
    """Why a token cannot be charged by the merchant alone."""
    found = await rows.chargeable(connection, merchant.merchant_id, token_name)
    if found is None:
        return [Wrong("token_name", "names no token of this merchant")]
    if not found.active:
        return [Wrong("token_name", "names a token that is switched off; switch it on with UPDATE_TOKEN, or give another")]
    if found.brand in ("MADA", "MEEZA"):
        return [Wrong("token_name", f"names a {found.brand} card, which takes no recurring payments (113); give another")]
    if not found.first_reference:
        return [Wrong("token_name", "names a card that its holder has not paid with yet (088); charge it once with eci ECOMMERCE first")]
    if found.blocked:
        return [Wrong("token_name", "names a card that was declined for good; give another")]
    return []


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def coming(row: PlanRow, until: datetime, limit: int) -> list[Due]:
    """Due dates that are still to be opened, up to an instant."""
    schedule, found = schedule_of(row), list[Due]()
    for place in range(row.place, row.place + limit):
        at, day = due_at(schedule, place), due_date(schedule, place)
        if at is None or day is None or at > until:
            break
        found.append(Due(row, at, day, row.minor, row.kind))
    return found
