"""Debts: the register of what left stores unpaid, by card.

Every step is one transaction under the account's lock: where it stands, what is to be booked on the trip's payment, what the merchant is to be
told, and the job that goes on from it.  A booking is a notice on the payment, which counts once however often it is tried; whoever dies in
between, the job does the rest.  Decides nothing about what follows from what (``core.debt``), and knows no door's words.
"""
from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import asyncpg

from ringfence.core import debt as core
from ringfence.core.debt import Account, Decision, Refusal
from ringfence.core.money import format_decimal
from ringfence.core.notices import Notice
from ringfence.core.refusals import Refusal as Refused
from ringfence.core.standing import Status
from ringfence.core.trip import TripRefusal
from ringfence.engine import door_events, links
from ringfence.engine.batcher import CommitFailed
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.intents import Result
from ringfence.engine.story import id_of
from ringfence.engine.trips import DOOR, Trip
from ringfence.storage import debts as rows
from ringfence.storage import jobs
from ringfence.storage.borrowing import borrowed
from ringfence.storage.debts import BookingRow, DebtRow, Moved
from ringfence.storage.jobs import Job, JobRow

__all__ = ["QUEUE", "BookingRow", "DebtRow", "Debts", "Refusal", "Shown"]

QUEUE = "debt"
KIND = "trip"
"""What merchants are told about, by its number."""
RETAILER, REPORTED = "retailer", "reported"
"""The strategy of a retailer who decides by himself what is captured, and why something is owed then."""
AGAIN = timedelta(minutes=1)
"""After so long (business time) what could not be booked is tried again, and a payment that should have ended is looked at again."""
NAME = re.compile(r"[0-9A-Za-z_-]{1,255}", re.ASCII)
"""How trips are named."""
PAYABLE = timedelta(days=14)
"""How long a link for a debt can be paid."""
ENDED = (Status.VOIDED, Status.DECLINED)

Book = Callable[[int, int, str, Notice], Awaitable[Result]]
"""``Engine.notice``."""


class Shown(NamedTuple):
    """An account with what it moved, and the links made for it."""

    debt: DebtRow
    bookings: list[BookingRow]
    links: list[links.Link]


class Debts:
    """Everything that is done with debts."""

    def __init__(
        self, pool: asyncpg.Pool, directory: Directory, now: Callable[[], datetime], *, book: Book | None = None, desk: links.Desk | None = None,
        nudge: Callable[[], object] = lambda: None,
    ) -> None:
        """``now`` is business time; ``desk`` makes payment links; ``nudge`` has the queue look now.  Without ``book`` what follows is left to it."""
        self._pool, self._directory, self._now = pool, directory, now
        self._book, self._desk, self._nudge = book, desk, nudge

    # -- what trips and retailers say

    async def incurred(self, trip: Trip, total: int, captured: int, strategy: str, reason: str, actor: str) -> None:
        """Close the account of a trip whose payment has ended: of ``total`` minor units ``captured`` came in, the rest is owed.  Once.

        What counts as captured is what the payment's transfers say; ``captured`` is the caller's own word, and stands with the rest.
        """
        async with self._held(trip, total, actor) as (connection, row, now):
            if row is None or row.account.is_closed:
                return
            moved = await rows.moved(connection, row.merchant_id, row.payment_id)
            note = reason if moved.net == captured else f"{reason} ({captured} was said to be captured, {moved.net} was)".strip()
            row = row._replace(strategy=strategy, reason=reason, actor=actor)
            await self._apply(connection, row, core.closed(row.account, total, moved.captured, moved.rejected), actor, note, now)
        await self._go_on(trip.merchant_id, trip.payment_id)

    async def reported(self, trip: Trip, total: int, settled: int, at: datetime, actor: str) -> TripRefusal | None:
        """The retailer says that of ``total`` minor units ``settled`` is paid by now, all together; the latest ``at`` counts.

        Of a trip whose payment has not ended this counts at the gate at once, and in the books with the payment's end.
        """
        if not 0 <= settled <= total:
            return TripRefusal.AMOUNT
        async with self._held(trip, total, actor) as (connection, row, now):
            if row is None:
                return TripRefusal.UNKNOWN
            if row.reported_at is not None and at < row.reported_at:
                return None                             # overtaken by a later one
            moved = await rows.moved(connection, row.merchant_id, row.payment_id)
            row = row._replace(reported_at=at, actor=actor, strategy=row.strategy or RETAILER, reason=row.reason or REPORTED)
            decision = core.reported(row.account, total, settled, moved.net + moved.pending)
            if not row.account.is_closed and _has_ended(moved):
                decision = core.closed(decision.account, total, moved.captured, moved.rejected)
            await self._apply(connection, row, decision, actor, REPORTED, now, moved.expires_at)
        await self._go_on(trip.merchant_id, trip.payment_id)
        return None

    # -- what a gate asks

    async def owed(self, merchant_id: int, card_fingerprint: bytes) -> dict[str, int]:
        """What a card owes a merchant: minor units by currency, only what is above zero."""
        if not card_fingerprint:
            return {}
        async with borrowed(self._pool) as connection:
            return await rows.owed(connection, merchant_id, card_fingerprint)

    # -- what people do

    async def forgive(self, merchant_id: int, payment_id: int, minor: int | None, by: str, why: str = "") -> DebtRow | Refusal | None:
        """``by`` gives up ``minor`` units of a debt, or (``None``) all of it; ``None`` where there is no such debt."""
        async with self._locked(merchant_id, payment_id) as (connection, row, now):
            if row is None:
                return None
            decision = core.forgiven(row.account, minor)
            if not isinstance(decision, Decision):
                return decision
            await self._apply(connection, row, decision, f"person:{by}", why, now)
        await self._go_on(merchant_id, payment_id)
        return await self.find(merchant_id, payment_id)

    async def link(
        self, merchant: Merchant, payment_id: int, by: str, email: str = "", media: tuple[str, ...] = (),
    ) -> links.Link | links.Refused | Refusal | None:
        """A payment link over what is owed; the one that is there, where that is over the same amount.  ``None``: there is no such debt."""
        assert self._desk is not None, "whoever makes links has a desk"
        shown = await self.show(merchant.merchant_id, payment_id)
        if shown is None:
            return None
        row = shown.debt
        if not row.account.is_closed:
            return Refusal.NOT_CLOSED
        if not row.account.owed:
            return Refusal.NOTHING_OWED
        for one in shown.links:
            if one.state in (links.State.OPEN, links.State.OPENED) and one.terms.minor == row.account.owed:
                return one
        reference = f"DEBT-{payment_id}-{len(shown.links) + 1}"
        made = await links.invoice(
            self._desk, merchant, reference=reference, minor=row.account.owed, currency=row.currency, email=email, due_at=self._now(), media=media,
            description=f"Left unpaid in {row.store}", payable=PAYABLE, actor=f"person:{by}")
        if isinstance(made, links.Refused):
            return made
        async with borrowed(self._pool) as connection:
            await rows.link(connection, merchant.merchant_id, payment_id, made.link_id, self._now(), by)
        await self._take_back(merchant.merchant_id, payment_id, but=made.link_id)
        return made

    # -- looking

    async def find(self, merchant_id: int, payment_id: int) -> DebtRow | None:
        """The account of a trip's payment."""
        async with borrowed(self._pool) as connection:
            return await rows.one(connection, merchant_id, payment_id)

    async def named(self, merchant_id: int | None, name: str) -> list[DebtRow]:
        """Accounts by the trip's name or its payment's id, of a merchant or (``None``) any, the latest first."""
        if not NAME.fullmatch(name):
            return []
        async with borrowed(self._pool) as connection:
            return await rows.named(connection, merchant_id, name, id_of(name))

    async def listed(self, merchant_id: int | None, *, is_owed: bool, limit: int) -> list[DebtRow]:
        """Accounts, the latest first; with ``is_owed`` those that owe something."""
        async with borrowed(self._pool) as connection:
            return await rows.listed(connection, merchant_id, is_owed, limit)

    async def show(self, merchant_id: int, payment_id: int) -> Shown | None:
        """An account with all about it."""
        async with borrowed(self._pool) as connection:
            row = await rows.one(connection, merchant_id, payment_id)
            if row is None:
                return None
            booked = await rows.bookings(connection, merchant_id, payment_id)
            made = await rows.links(connection, merchant_id, payment_id)
        found = await links.by_numbers(self._desk, merchant_id, made) if self._desk is not None and made else []
        return Shown(row, booked, sorted(found, key=lambda one: one.link_id))

    # -- what nobody tells

    async def look(self, merchants: Sequence[int]) -> int:
        """Close accounts whose trip's payment has ended; write down what links brought in, and what the trips' own payments captured later.  How
        many accounts that changed."""
        async with borrowed(self._pool) as connection:
            ended = await rows.ended(connection, merchants)
            waiting = await rows.waiting_links(connection, merchants)
        for merchant_id, payment_id in ended:
            await self._close(merchant_id, payment_id)
            await self._go_on(merchant_id, payment_id)
        for merchant_id, made in groupby(waiting, itemgetter(0)):
            if self._desk is not None:
                await links.by_numbers(self._desk, merchant_id, [number for _, number in made])     # notes which of them are paid
        async with borrowed(self._pool) as connection:
            behind = await rows.behind(connection, merchants)
        for merchant_id, payment_id in behind:
            await self.recount(merchant_id, payment_id)
        return len(ended) + len(behind)

    async def recount(self, merchant_id: int, payment_id: int) -> None:
        """Count anew what was captured, rejected by clearing and collected for a payment; nothing where it has no account that is closed."""
        async with self._locked(merchant_id, payment_id) as (connection, row, now):
            if row is None or not row.account.is_closed:
                return
            moved = await rows.moved(connection, merchant_id, payment_id)
            later = moved.captured - row.account.captured + await rows.collected(connection, merchant_id, payment_id)
            account = core.rejected(row.account, moved.rejected)
            after = core.collected(account.account, later)
            await self._apply(connection, row, Decision(after.account, (*account.bookings, *after.bookings)), "books", "counted", now)
        await self._go_on(merchant_id, payment_id)

    async def run(self, job: Job) -> None:
        """What is due of an account: its end, its bookings, links over what is not owed any more."""
        merchant_id, payment_id = job.merchant_id, job.subject
        expires_at = await self._close(merchant_id, payment_id)
        is_done = await self._booked(merchant_id, payment_id)
        await self._take_back(merchant_id, payment_id)
        row = await self.find(merchant_id, payment_id)
        async with borrowed(self._pool) as connection:
            if row is None or (is_done and row.account.is_closed):
                await jobs.done(connection, job)
            elif not is_done:
                await jobs.later(connection, job, self._now() + AGAIN, "could not be booked")
            else:
                await jobs.later(connection, job, _later(self._now(), expires_at, row.changed_at), "its payment has no end yet")

    async def _close(self, merchant_id: int, payment_id: int) -> datetime | None:
        """Close an account, if its payment has ended; until when that can be captured."""
        async with self._locked(merchant_id, payment_id) as (connection, row, now):
            if row is None or row.account.is_closed:
                return None
            moved = await rows.moved(connection, merchant_id, payment_id)
            if _has_ended(moved):
                decision = core.closed(row.account, row.account.total, moved.captured, moved.rejected)
                await self._apply(connection, row, decision, row.actor, "ended", now)
            return moved.expires_at

    # -- what holds together

    @asynccontextmanager
    async def _held(self, trip: Trip, total: int, actor: str) -> AsyncIterator[tuple[asyncpg.Connection, DebtRow | None, datetime]]:
        """A transaction with a trip's account held in it, made where it is not there; ``None`` where nothing was ever asked for the trip."""
        async with borrowed(self._pool) as connection, connection.transaction():
            now = self._now()
            processor = await rows.processor_of(connection, trip.merchant_id, trip.payment_id)
            if processor is None:
                yield connection, None, now
                return
            yield connection, await rows.opened(connection, DebtRow(
                trip.merchant_id, trip.payment_id, trip.number, processor, trip.store, trip.name, trip.card_fingerprint, trip.currency,
                Account(total), "", "", actor, None, now, None, now)), now

    @asynccontextmanager
    async def _locked(self, merchant_id: int, payment_id: int) -> AsyncIterator[tuple[asyncpg.Connection, DebtRow | None, datetime]]:
        """A transaction with an account held in it, where there is one."""
        async with borrowed(self._pool) as connection, connection.transaction():
            yield connection, await rows.lock(connection, merchant_id, payment_id), self._now()

    async def _apply(
        self, connection: asyncpg.Connection, row: DebtRow, decision: Decision, actor: str, note: str, now: datetime,
        expires_at: datetime | None = None,
    ) -> None:
        """Store what was decided of an account that is held, and all that follows.  ``expires_at``: when an open one's payment ends by itself."""
        was_closed, account = row.account.is_closed, decision.account
        row = row._replace(account=account, changed_at=now, closed_at=row.closed_at or (now if account.is_closed else None))
        await rows.save(connection, row)
        for noticed, minor in decision.bookings:
            await rows.book(connection, row, noticed, minor, actor, note, now)
            await door_events.tell(
                connection, row.merchant_id, DOOR, KIND, row.number, noticed.replace("_", ".", 1), _told(row, minor, actor, note), "", now)
        if decision.bookings or not account.is_closed or not was_closed:
            due = now if account.is_closed else _later(now, expires_at, now)
            await jobs.wake(connection, [JobRow(row.merchant_id, QUEUE, row.payment_id, row.payment_id, due)])

    async def _go_on(self, merchant_id: int, payment_id: int) -> None:
        """What follows at once; the job is there for what does not come about."""
        if self._book is not None and payment_id:
            await self._booked(merchant_id, payment_id)
        self._nudge()

    async def _booked(self, merchant_id: int, payment_id: int) -> bool:
        """Book what is not booked; whether nothing is left."""
        async with borrowed(self._pool) as connection:
            row = await rows.one(connection, merchant_id, payment_id)
            left = [one for one in await rows.bookings(connection, merchant_id, payment_id) if one.booked_at is None] if row is not None else []
        for one in left:
            if self._book is None or row is None:
                return False
            notice = Notice(one.noticed, f"debt:{payment_id}:{one.place}", one.minor)
            try:
                result = await self._book(merchant_id, payment_id, row.processor, notice)
            except CommitFailed:
                return False
            if result.refusal is Refused.PAYMENT_NOT_FOUND:
                return False
            async with borrowed(self._pool) as connection:
                await rows.note_booked(connection, merchant_id, payment_id, one.place, self._now())
        return True

    async def _take_back(self, merchant_id: int, payment_id: int, but: int = 0) -> None:
        """Take back links over more than is owed, and with ``but`` all but that one; one that is being paid stays."""
        shown, merchant = await self.show(merchant_id, payment_id), self._directory.by_id(merchant_id)
        for one in shown.links if shown is not None else ():
            if one.link_id != but and (but or one.terms.minor > shown.debt.account.owed) and self._desk is not None and merchant is not None:
                await links.cancel(self._desk, merchant, one.link_id, "debt")


def _has_ended(moved: Moved) -> bool:
    """Whether no more can come of a payment by itself."""
    return not moved.pending and (moved.captured > 0 or moved.status in ENDED)


def _later(now: datetime, expires_at: datetime | None, since: datetime) -> datetime:
    """When an open account is looked at again, should nobody close it before: at its payment's end; behind that twice as long each time."""
    return expires_at if expires_at is not None and expires_at > now else now + max(AGAIN, now - since)


def _told(row: DebtRow, minor: int, actor: str, note: str) -> dict[str, object]:
    """What an event says, as it stands at its instant."""
    def amount(of: int) -> dict[str, str]:
        return {"amount": format_decimal(of, row.currency), "code": row.currency}

    return {
        "storeId": row.store, "shoppingTripId": row.trip, "amount": amount(minor), "outstandingAmount": amount(row.account.owed),
        "totalAmount": amount(row.account.total), "strategy": row.strategy, "reason": row.reason, "by": actor, "note": note}
