"""Retention: what is kept no longer than it is needed, and how it goes.

Decides what nothing needs any more: numbers of cards, proofs of authentications, what doors echo, names behind tokens, bodies and log of
deliveries, tokens of devices, reports.  The ledger, the chain and the proof stay whole, because none of this is covered by them.  Everything
goes in small commits, looked at again under its lock; what somebody holds at the moment waits for the next run.  Refuses to know what it
erases: nothing is opened, nothing is read.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

from ringfence.core.ids import first_id_at, made_at
from ringfence.core.money import format_minor
from ringfence.core.payment import Payment
from ringfence.storage import agreements, door_events, links, payments, trips
from ringfence.storage import retention as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.retention import FreeCard, PaymentName, Terms

JOB = "retention"
"""Its row among the sweeps."""
CHUNK = 500
"""Rows of one commit."""
PAGE = 50_000
"""Cards judged by one pass over a merchant's operations."""
DAY = timedelta(days=1)
CLOCKS_APART = timedelta(hours=1)
"""How much earlier than the newest payment the id of one may look that was committed after it."""


class Policy(NamedTuple):
    """How long what is kept, in days of business time."""

    card_days: int = 540            # a card, after the last change of a payment whose money may come back
    personal_days: int = 1095       # what doors echo after a payment's last change; the name behind a token, after it was made
    delivery_days: int = 30         # body and log of a delivery, after its end
    report_days: int = 7            # the rows of a report, after it was made


class Line(NamedTuple):
    """One kind of thing: how many go, and why."""

    what: str
    reason: str
    count: int


class Report(NamedTuple):
    """What went, or with ``dry_run`` what would go.  ``at``: business time, UTC.  ``payment``: the one it was about."""

    at: datetime
    policy: Policy
    dry_run: bool
    lines: tuple[Line, ...]
    payment: int | None = None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "at": self.at.isoformat(), "policy": self.policy._asdict(), "dry_run": self.dry_run,
            "payment": None if self.payment is None else str(self.payment), "lines": [line._asdict() for line in self.lines],
        }


class Refused(NamedTuple):
    """Nothing went; the reason is a sentence."""

    reason: str


async def show(pool: asyncpg.Pool, policy: Policy, now: datetime) -> Report:
    """The policy, and what a run would take.  ``now``: business time.  Raises ``DatabaseUnavailable``."""
    return await _Run(pool, policy, now, dry_run=True).everything()


async def run(
    pool: asyncpg.Pool, policy: Policy, now: datetime, *, dry_run: bool = False, payment: PaymentName | None = None
) -> Report | Refused:
    """Erase what nothing needs; with ``payment`` everything of that payment that can go, whatever its age.

    Only a payment about which nothing is open can be asked for.  Its money may still be given back: a refund cites the original.
    Raises ``DatabaseUnavailable``; what was committed until then has gone, and the next run goes on.
    """
    one = _Run(pool, policy, now, dry_run=dry_run)
    return await (one.everything() if payment is None else one.payment(payment))


async def named(
    pool: asyncpg.Pool, name: str, keys: Sequence[str], merchant: str | None = None
) -> list[PaymentName]:
    """The payments that a name means: a payment's id, or the name under which a door began it, whose ``keys`` are given.

    ``merchant``: an identifier, where only its payments count.
    """
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 20 else 0
    async with borrowed(pool) as connection:
        return await rows.payments_named(connection, number if 0 < number < 1 << 63 else None, keys, merchant)


class Desk(NamedTuple):
    """The same for one installation, as doors use it.  ``now``: business time."""

    pool: asyncpg.Pool
    policy: Policy
    now: Callable[[], datetime]

    async def show(self) -> Report:
        """See ``show``."""
        return await show(self.pool, self.policy, self.now())

    async def run(self, *, dry_run: bool, payment: PaymentName | None = None) -> Report | Refused:
        """See ``run``."""
        return await run(self.pool, self.policy, self.now(), dry_run=dry_run, payment=payment)

    async def named(self, name: str, keys: Sequence[str], merchant: str | None = None) -> list[PaymentName]:
        """See ``named``."""
        return await named(self.pool, name, keys, merchant)


class _Run:
    """One run over everything, or over one payment."""

    def __init__(self, pool: asyncpg.Pool, policy: Policy, now: datetime, *, dry_run: bool) -> None:
        self._pool, self._policy, self._now, self._dry = pool, policy, now, dry_run
        self._terms = Terms(now - timedelta(days=policy.card_days), now - DAY)

    async def everything(self) -> Report:
        """All kinds, merchant by merchant."""
        async with borrowed(self._pool) as connection:
            merchants = await rows.merchants(connection)
        policy, personal = self._policy, self._now - timedelta(days=self._policy.personal_days)
        ended = self._now - timedelta(days=policy.delivery_days)
        kinds: tuple[tuple[str, str, Callable[[int], Awaitable[int]]], ...] = (
            ("cards", f"no active token, and no payment that is open, in doubt, disputed or changed within {policy.card_days} days "
                      "with money that may come back", self._cards),
            ("authentications", "the payment needs its card no more, as above; or the authentication expired more than a day ago, and none used it",
             self._authentications),
            ("details", f"the payment is settled and has not changed for {policy.personal_days} days",
             lambda merchant_id: self._details(merchant_id, personal)),
            ("holders", f"the token is switched off and was made more than {policy.personal_days} days ago",
             lambda merchant_id: self._chunks(rows.count_holders, rows.erase_holders, merchant_id, personal)),
            ("plans", f"the plan is over and has not changed for {policy.personal_days} days",
             lambda merchant_id: self._chunks(rows.count_plans, rows.erase_plans, merchant_id, personal)),
            ("links", f"the payment link can be paid no more and was made more than {policy.personal_days} days ago",
             lambda merchant_id: self._chunks(links.count_personal, links.erase_personal, merchant_id, personal)),
            ("agreements", f"the payment agreement failed or was revoked more than {policy.personal_days} days ago",
             lambda merchant_id: self._chunks(agreements.count_personal, agreements.erase_personal, merchant_id, personal)),
            ("trips", f"the trip ended more than {policy.personal_days} days ago",
             lambda merchant_id: self._chunks(trips.count_personal, trips.erase_personal, merchant_id, personal)),
            ("deliveries", f"the delivery ended more than {policy.delivery_days} days ago",
             lambda merchant_id: self._chunks(rows.count_deliveries, rows.erase_deliveries, merchant_id, ended)),
            ("notices", f"it was handed to the merchant's address, and happened more than {policy.delivery_days} days ago",
             lambda merchant_id: self._chunks(door_events.count_old, door_events.erase_old, merchant_id, ended)),
            ("sdk_tokens", "the token ended more than a day ago",
             lambda merchant_id: self._chunks(rows.count_sdk_tokens, rows.erase_sdk_tokens, merchant_id, self._now - DAY)),
            ("evidence", f"the dispute ended more than {policy.personal_days} days ago",
             lambda merchant_id: self._chunks(
                 rows.count_evidence, rows.erase_evidence, merchant_id, self._now - timedelta(days=policy.personal_days))),
            ("reports", f"the report was made more than {policy.report_days} days ago",
             lambda merchant_id: self._chunks(rows.count_reports, rows.erase_reports, merchant_id, self._now - timedelta(days=policy.report_days))),
        )
        lines = [Line(what, reason, sum([await take(one) for one in merchants])) for what, reason, take in kinds]
        return Report(self._now, policy, self._dry, tuple(lines))

    async def payment(self, name: PaymentName) -> Report | Refused:
        """All that can go of one payment, in one commit, under the payment's lock."""
        merchant_id, payment_id = name.merchant_id, name.payment_id
        async with borrowed(self._pool) as connection, connection.transaction():
            held = (await payments.lock(connection, [(merchant_id, payment_id)])).get((merchant_id, payment_id))
            why = await _open(connection, merchant_id, payment_id, held and held.payment)
            if why is not None:
                return Refused(f"Payment {payment_id} of {name.merchant} cannot be erased: {why}.")
            details = [one for one in await rows.details_due(connection, merchant_id, self._now, payment_id - 1, 1) if one[0] == payment_id]
            deliveries = await rows.count_deliveries(connection, merchant_id, self._now, payment_id)
            evidence = await rows.count_evidence(connection, merchant_id, self._now, payment_id)
            invoices = await links.of_payment(connection, merchant_id, payment_id)
            cards = await rows.cards_of(connection, merchant_id, payment_id)
            if not self._dry:
                cards = await rows.hold_cards(connection, merchant_id, cards)
            proofs = await rows.authentications_of(connection, merchant_id, payment_id)
            free = [one.card_id for one in await rows.cards_of_nobody(connection, merchant_id, cards, self._terms, but=payment_id)]
            if not self._dry:
                await rows.erase_authentications_of(connection, merchant_id, proofs)
                await rows.erase_details(connection, merchant_id, [payment_id], self._now)
                await links.erase_links(connection, merchant_id, invoices)
                await rows.erase_deliveries(connection, merchant_id, self._now, max(1, deliveries), payment_id)
                await rows.erase_evidence(connection, merchant_id, self._now, max(1, evidence), payment_id)
                await rows.erase_cards(connection, merchant_id, free, datetime.now(UTC))
        needed = len(free) < len(cards)
        return Report(self._now, self._policy, self._dry, (
            Line("cards", "another payment or a token needs its card" if needed else "nothing else needs its card", len(free)),
            *([Line("authentications", "it was asked for", len(proofs))] if proofs else []),
            Line("details", "it was asked for", sum(count for _, count in details)),
            *([Line("links", "it was asked for", len(invoices))] if invoices else []),
            *([Line("evidence", "it was asked for", evidence)] if evidence else []),
            Line("deliveries", "it was asked for", deliveries),
        ), payment_id)

    async def _cards(self, merchant_id: int) -> int:
        """Page by page: one pass over the merchant's operations says which cards of a page nothing needs."""
        count, after = 0, -1
        while True:
            async with borrowed(self._pool) as connection:
                newest = await rows.newest_payment(connection, merchant_id)
                page = await rows.cards_to_judge(connection, merchant_id, self._terms.used, after, PAGE)
                free = await rows.cards_of_nobody(connection, merchant_id, page, self._terms) if page else []
            if not page:
                return count
            after = page[-1]
            if self._dry:
                count += len(free)
                continue
            since = first_id_at(made_at(newest) - CLOCKS_APART)
            for at in range(0, len(free), CHUNK):
                count += await self._erase_cards(merchant_id, free[at:at + CHUNK], since)

    async def _erase_cards(self, merchant_id: int, free: Sequence[FreeCard], since: int) -> int:
        """One commit.  Under the cards' locks it is looked again at the payments that were seen, and for newer ones."""
        async with borrowed(self._pool) as connection, connection.transaction():
            held = set(await rows.hold_cards(connection, merchant_id, [one.card_id for one in free]))
            known = [one for one in free if one.card_id in held]
            still = await rows.cards_of_nobody(connection, merchant_id, sorted(held), self._terms, newer_than=since, known=known)
            return await rows.erase_cards(connection, merchant_id, [one.card_id for one in still], datetime.now(UTC))

    async def _authentications(self, merchant_id: int) -> int:
        """Page by page, so that those of before are not looked at again and again."""
        if self._dry:
            async with borrowed(self._pool) as connection:
                return await rows.count_authentications(connection, merchant_id, self._terms)
        count, after, took = 0, -1, [0] * CHUNK
        while len(took) == CHUNK:
            async with borrowed(self._pool) as connection:
                took = await rows.erase_authentications(connection, merchant_id, self._terms, after, CHUNK)
            count, after = count + len(took), max(took, default=after)
        return count

    async def _details(self, merchant_id: int, changed_by: datetime) -> int:
        count, after = 0, -1
        while True:
            async with borrowed(self._pool) as connection:
                due = await rows.details_due(connection, merchant_id, changed_by, after, CHUNK)
                if not due:
                    return count
                after = due[-1][0]
                if self._dry:
                    count += sum(operations for _, operations in due)
                else:
                    count += await rows.erase_details(connection, merchant_id, [one[0] for one in due], changed_by)

    async def _chunks(
        self, counted: Callable[..., Awaitable[int]], erased: Callable[..., Awaitable[int]], merchant_id: int, by: datetime
    ) -> int:
        """What one statement finds and another takes."""
        if self._dry:
            async with borrowed(self._pool) as connection:
                return await counted(connection, merchant_id, by)
        count = 0
        while True:
            async with borrowed(self._pool) as connection:
                took = await erased(connection, merchant_id, by, CHUNK)
            count += took
            if took < CHUNK:
                return count


async def _open(connection: asyncpg.Connection, merchant_id: int, payment_id: int, payment: Payment | None) -> str | None:
    """What is open about a payment; ``None`` where nothing is."""
    if payment is None:
        return "its first operation has no outcome yet"
    if payment.unknown:
        return f"{payment.unknown} of its operations are in doubt"
    pending = sum(getattr(payment, name) for name in Payment._fields if name.startswith("pending_"))
    if pending:
        return "an operation on it is under way"
    if rest := payment.open + payment.unsecured:
        return f"{format_minor(rest, payment.currency)} of its hold are open; void or capture them first"
    if payment.disputed or await rows.disputes_open(connection, merchant_id, payment_id):
        return "a dispute about it is open"
    if await rows.reversals_owed(connection, merchant_id, payment_id):
        return "the processor has not acknowledged a reversal of it"
    if await rows.events_to_tell(connection, merchant_id, payment_id):
        return "an event of it was not handed out yet; that takes a moment, while the service or a worker runs"
    if await rows.deliveries_waiting(connection, merchant_id, payment_id):
        return "a delivery of it waits"
    return None
