"""Plans: whoever has plans' jobs in hand does what is due of them, a handful of plans together.

Between two transactions lies one question.  The first transaction decides, under the plans' locks, and stores that attempts have begun;
then the money is asked for, under keys that are made of plan, due date and attempt; the second stores what came of it.  Whoever finds an
attempt that has begun looks its key up and carries on from there.  The next attempt begins only once the one before has ended without
money.  So a due date is charged once, however often a process dies, the clock jumps, or two believe that the job is theirs.
Refuses to know what is due when (``core.plan``), what follows from it (``plan_sheet``), and how money is asked for.
"""
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import asyncpg

from ringfence.background.plan_ends import Doubt, End, Nothing, Paid, Unfit, end_of, outcome_of
from ringfence.background.plan_sheet import Begun, Book, Sheet
from ringfence.background.worker import Chore, Queue
from ringfence.core.plan import Kind
from ringfence.core.refusals import Refusal
from ringfence.core.retries import longest
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.plan_notices import Desk
from ringfence.engine.plan_terms import ACTOR, QUEUE, Charge, Charged, Invoice, NoInvoice, Order, when_next
from ringfence.storage import cards, jobs
from ringfence.storage import plans as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.jobs import Job
from ringfence.storage.plans import Asked, PlanKey

AT_ONCE = 1_000
"""Plans of a handful.  One merchant's backlog may fill one; the next handful begins with the merchant behind."""
AT_A_STRETCH = 16
"""Charges of one plan after which others have their turn."""
BETWEEN = 25
"""Plans after which the event loop has its turn."""
INVOICES_AT_ONCE = 4
COUNTED, FORGET_PAUSE = timedelta(days=366), 3_600.0
"""No limit counts declines for longer than a year; seconds from one look for older ones to the next."""
POLITE_SECONDS, POLITE_LOOK_SECONDS = 0.02, 0.002
"""So long a handful waits while live requests queue, and how often it looks."""
IN_DOUBT = "nobody knows yet what became of the charge"


def queue(runner: Runner) -> Queue:
    """The queue of plans."""
    return Queue(QUEUE, runner.run, at_once=AT_ONCE, per_merchant=AT_ONCE, together=True)


def forgetting(pool: asyncpg.Pool, now: Callable[[], datetime]) -> Chore:
    """Forgets declines that no limit reaches back to."""
    async def forget() -> int:
        async with borrowed(pool) as connection:
            return await cards.forget_declines(connection, now() - COUNTED)

    return Chore("old declines", forget, FORGET_PAUSE)


class Runner:
    """One process's plans."""

    def __init__(
        self, pool: asyncpg.Pool, directory: Directory, charge: Charge, invoice: Invoice, desk: Desk, *, key_of: Callable[[str], str],
        now: Callable[[], datetime], waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        """``key_of``: the key that an order's reference claims; ``now`` is business time; ``waiting``: how many live requests wait for a
        commit."""
        self._pool, self._directory, self._charge, self._invoice, self._desk = pool, directory, charge, invoice, desk
        self._now, self._waiting, self._key_of = now, waiting, key_of

    async def run(self, handful: Sequence[Job]) -> None:
        """Do what is due of plans, and give their jobs back."""
        known = {job: merchant for job in handful if (merchant := self._directory.by_id(job.merchant_id)) is not None}
        if len(known) < len(handful):           # made a moment ago, by another process
            at = self._now() + timedelta(seconds=1)
            async with borrowed(self._pool) as connection:
                await jobs.all_later(connection, [(job, at, "") for job in handful if job not in known])
        merchants = {merchant.merchant_id: merchant for merchant in known.values()}
        async with borrowed(self._pool) as connection:
            told_at = await self._desk.endpoints(connection, list(merchants.values()), self._now())
        work = _Work(self._pool, merchants, lambda: Book(self._now(), self._desk, told_at))
        await self._give_way()
        begun, rounds = await work.begin(list(known)), 0
        while begun:
            await self._give_way()
            ends, rounds = await self._carried_out(merchants, begun), rounds + 1
            await self._give_way()
            begun = await work.ended(begun, ends, goes_on=rounds < AT_A_STRETCH)

    async def _give_way(self) -> None:
        until = time.monotonic() + POLITE_SECONDS
        while self._waiting() and time.monotonic() < until:
            await asyncio.sleep(POLITE_LOOK_SECONDS)

    async def _carried_out(self, merchants: dict[int, Merchant], begun: Sequence[Begun]) -> list[End]:
        """Ask for the money, unless that was done already; how each ended."""
        ends: dict[int, End] = {}
        charges: list[tuple[int, Order]] = []
        invoices: list[tuple[int, Begun]] = []
        known = await self._known([one for one in begun if not one.is_new and one.plan.kind == Kind.CHARGE])
        for place, one in enumerate(begun):
            if one.plan.kind == Kind.INVOICE:
                invoices.append((place, one))
            elif (found := known.get(one.job.key)) is not None:
                ends[place] = found
            else:
                charges.append((place, _order(merchants[one.plan.merchant_id], one)))
        if charges:
            charged = await self._charge([order for _, order in charges])
            for (place, _), became in zip(charges, charged, strict=True):
                ends[place] = await self._end(begun[place], became)
        for start in range(0, len(invoices), INVOICES_AT_ONCE):
            some = invoices[start:start + INVOICES_AT_ONCE]
            sent = await asyncio.gather(*(self._invoiced(merchants[one.plan.merchant_id], one) for _, one in some))
            ends.update(zip((place for place, _ in some), sent, strict=True))
        return [ends[place] for place in range(len(begun))]

    async def _invoiced(self, merchant: Merchant, one: Begun) -> End:
        link = await self._invoice(merchant, one.plan, one.period.due_date, one.period.attempts)
        if not isinstance(link, NoInvoice):
            return Paid(None, None, link)
        return Nothing("taken", None, None) if link.is_taken else Unfit(link.why, False, None)

    async def _end(self, begun: Begun, charged: Charged) -> End:
        """How it ended, by what came of the order."""
        result = charged.result
        if result is None:
            return Unfit(charged.refused, False, charged.card_id)
        if result.refusal is not None:
            match result.refusal:
                case Refusal.KEY_USED | Refusal.KEY_IN_PROGRESS | Refusal.KEY_CONTENT_DIFFERS:
                    return (await self._known([begun])).get(begun.job.key) or Doubt()
                case Refusal.SERVICE_UNAVAILABLE:
                    return Doubt()
                case refusal:
                    return Unfit(charged.refused, refusal is Refusal.CARD_BLOCKED, charged.card_id)
        payment = result.payment
        assert result.outcome is not None
        return end_of(
            result.outcome, None if payment is None else payment.status, None if payment is None else payment.id, charged.card_id)

    async def _known(self, begun: Sequence[Begun]) -> dict[jobs.Key, End]:
        """What became of attempts, by their keys; none for those under whose keys nothing was asked."""
        if not begun:
            return {}
        keys = {one.job.key: (one.plan.merchant_id, self._key_of(one.reference)) for one in begun}
        async with borrowed(self._pool) as connection:
            found = await rows.asked_under(connection, sorted(keys.values()))
        return {name: _end_of(found[key]) for name, key in keys.items() if key in found}


class _Work:
    """The transactions of one handful: plans are held in each, decided in turn, and stored together."""

    def __init__(self, pool: asyncpg.Pool, merchants: dict[int, Merchant], book: Callable[[], Book]) -> None:
        self._pool, self._merchants, self._book = pool, merchants, book

    async def begin(self, handful: Sequence[Job]) -> list[Begun]:
        """Do what needs nobody else, up to the next attempt of each; the jobs of all others are given back."""
        async with borrowed(self._pool) as connection, connection.transaction():
            book = self._book()
            sheets = await self._sheets(connection, book, handful)
            begun = []
            for place, job in enumerate(handful):
                if (sheet := sheets.get(job.key)) is None:
                    book.done.append(job)                   # its plan is gone
                elif (one := sheet.next()) is not None:
                    begun.append(one)
                if place % BETWEEN == 0:
                    await asyncio.sleep(0)
            await book.write(connection)
        return begun

    async def ended(self, begun: Sequence[Begun], ends: Sequence[End], *, goes_on: bool) -> list[Begun]:
        """Store what came of attempts, unless somebody else was quicker, and go on as ``begin`` does or leave the rest for later."""
        async with borrowed(self._pool) as connection, connection.transaction():
            book, following = self._book(), []
            sheets = await self._sheets(connection, book, [one.job for one in begun])
            for place, (one, end) in enumerate(zip(begun, ends, strict=True)):
                sheet = sheets.get(one.job.key)
                if place % BETWEEN == 0:
                    await asyncio.sleep(0)
                if isinstance(end, Doubt):
                    book.later.append((one.job, when_next(book.now, one.period.next_at), IN_DOUBT))
                elif sheet is not None:
                    sheet.end(one.period, end)
                    if not goes_on:
                        sheet.leave()
                    elif (after := sheet.next()) is not None:
                        following.append(after)
            await book.write(connection)
        return following

    async def _sheets(self, connection: asyncpg.Connection, book: Book, handful: Sequence[Job]) -> dict[jobs.Key, Sheet]:
        keys = sorted((job.merchant_id, job.subject) for job in handful)
        held = await rows.hold(connection, keys)
        unfinished = await rows.unfinished(connection, keys)
        since = {number: book.now - longest(merchant.settings.plan_retry_limits) for number, merchant in self._merchants.items()}
        tokens = sorted({(plan.merchant_id, plan.token_name) for plan in held.values() if plan.kind == Kind.CHARGE})
        known = await rows.cards(connection, [(*token, since[token[0]]) for token in tokens]) if tokens else {}
        sheets = {}
        for job in handful:
            key: PlanKey = (job.merchant_id, job.subject)
            if (plan := held.get(key)) is not None:
                sheets[job.key] = Sheet(
                    book, job, self._merchants[job.merchant_id], plan, unfinished.get(key, []), known.get((plan.merchant_id, plan.token_name)))
        return sheets


def _order(merchant: Merchant, one: Begun) -> Order:
    plan = one.plan
    return Order(merchant, one.reference, plan.token_name, one.period.minor, plan.currency, plan.email, plan.description)


def _end_of(found: Asked) -> End:
    if found.actor != ACTOR:
        return Nothing("taken", None, None)
    outcome = outcome_of(found)
    return Doubt() if outcome is None else end_of(outcome, found.status, found.payment_id, found.card_id)
