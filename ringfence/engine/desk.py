"""Doubts in PostgreSQL: the desk at which recovery works.

Many who ask for their case at once share one look at the database.  Decides nothing.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.commands import Kind
from ringfence.core.payment import FIRST, Payment
from ringfence.core.recovery import attempt_of
from ringfence.engine.directory import Directory
from ringfence.engine.intents import CardInHand, Reserved, processor_key
from ringfence.engine.recovery import Case
from ringfence.engine.reserving import reserved_of
from ringfence.engine.shared import Shared
from ringfence.engine.vault import StoredCard, Vault
from ringfence.processors.processor import Original
from ringfence.storage import jobs, reading, refund_parts
from ringfence.storage import recovery as rows
from ringfence.storage.jobs import Job
from ringfence.storage.payments import OperationRow
from ringfence.storage.recovery import RECOVERY, CaseRow, Name

CardFacts = Mapping[str, Callable[[bytes], tuple[str, str]]]
"""By door: a card's expiry (YYMM) and holder, from the details that the door stored with an operation."""


class _Known(NamedTuple):
    """An operation as it is stored; its payment (``None`` before the first outcome) and its card."""

    found: CaseRow
    payment: Payment | None
    card: StoredCard | None


class PostgresDesk:
    """Doubts in PostgreSQL."""

    def __init__(
        self, pool: asyncpg.Pool, directory: Directory, vault: Vault, holder: str, lease: float, card_facts: CardFacts
    ) -> None:
        """``holder`` names this process, ``lease`` is for what it takes while somebody waits (seconds, wall time)."""
        self._pool, self._directory, self._vault = pool, directory, vault
        self._holder, self._lease, self._card_facts = holder, lease, card_facts
        self._known: Shared[Name, _Known | None] = Shared(pool, self._look)

    async def take(self, merchant_id: int, operation_id: int) -> Job | None:
        """See ``Desk``."""
        return await jobs.claim_one(self._pool, RECOVERY, merchant_id, operation_id, holder=self._holder, lease=self._lease)

    async def case(self, job: Job) -> Case | None:
        """See ``Desk``."""
        known = await self._known.ask((job.merchant_id, job.payment_id, job.subject))
        if known is None or known.found.ended is not None:
            return None
        found, reserved = known.found, await self._reserved(known, attempt_of(job.tries), unknown=True)
        assert found.operation.asked_at is not None, "a stored operation has one"
        return Case(job, reserved, found.reversal_left, found.operation.asked_at, found.decided, found.is_pending)

    async def ended(self, job: Job) -> Reserved | None:
        """The operation of a job whatever became of it, so that its reversal can be sent; ``None`` where it is not stored."""
        known = await self._known.ask((job.merchant_id, job.payment_id, job.subject))
        return None if known is None else await self._reserved(known, 1, unknown=False)

    async def first(self, merchant_id: int, payment_id: int) -> Reserved | None:
        """The first operation of a payment as it was accepted; ``None`` where there is no such payment."""
        known = await self._known.ask((merchant_id, payment_id, payment_id))
        return None if known is None else await self._reserved(known, 1, unknown=False)

    async def doubts(self, merchant_id: int, payment_id: int) -> list[int]:
        """See ``Desk``."""
        return await rows.doubts(self._pool, merchant_id, payment_id)

    async def later(self, job: Job, due_at: datetime, note: str) -> None:
        """See ``Desk``."""
        if job.deadline_at is not None and job.deadline_at < due_at:
            await rows.before_a_person(self._pool, job, job.deadline_at)
        await jobs.later(self._pool, job, due_at, note)

    async def done(self, job: Job) -> None:
        """See ``Desk``."""
        await jobs.done(self._pool, job)

    async def _look(self, connection: asyncpg.Connection, names: Sequence[Name]) -> list[_Known | None]:
        """What is known of each operation; ``None`` for one that is not stored."""
        cases = {_name(found.operation): found for found in await rows.cases(connection, names)}
        stored = [cases[name].operation for name in cases]
        payments = await reading.payments_of(connection, [(row.merchant_id, row.payment_id) for row in stored])
        with_card = [(row.merchant_id, row.card_id) for row in stored if row.card_id is not None]
        cards = dict(zip(with_card, await self._vault.cards(connection, with_card), strict=True)) if with_card else {}
        known = {
            name: _Known(found, payment, cards.get((found.operation.merchant_id, found.operation.card_id or 0)))
            for (name, found), payment in zip(cases.items(), payments, strict=True)
        }
        return [known.get(name) for name in names]

    async def _reserved(self, known: _Known, attempt: int, *, unknown: bool) -> Reserved:
        found, row = known.found, known.found.operation
        merchant = self._directory.by_id(row.merchant_id)
        original = None
        if found.approval_code is not None:
            assert found.first_minor is not None
            original = Original(
                processor_key(row.payment_id, found.resubmitted), found.first_minor, found.approval_code, found.processor_reference or "",
                found.scheme_reference or "",
            )
        taken, changed = found.is_pending and row.kind == Kind.REFUND, ()
        if taken:
            changed = await refund_parts.changes(self._pool, row.merchant_id, row.payment_id, row.operation_id)
        return reserved_of(
            row, merchant.identifier if merchant else "", attempt=attempt, unknown=unknown, payment=known.payment, original=original,
            card=self._card(row, known.card), magic=merchant is not None and merchant.settings.magic_amounts,
            resubmitted=found.resubmitted and row.operation_id == row.payment_id, taken=taken, changed=changed,
        )

    def _card(self, row: OperationRow, stored: StoredCard | None) -> CardInHand | None:
        """The means of payment as it was in hand, but for its security code; a token that was to be made still is."""
        if stored is None:
            return None
        facts = self._card_facts.get(row.door) if row.kind in FIRST and row.details else None
        expiry, holder = facts(row.details) if facts and row.details else ("", "")
        keep_as = row.token_name if row.token_version is None and row.token_name else ""
        merchant = self._directory.by_id(row.merchant_id)
        one_token = merchant is not None and merchant.settings.unique_token
        return CardInHand(None, expiry, stored=stored, keep_as=keep_as, holder=holder, one_token=one_token)


def _name(row: OperationRow) -> Name:
    return row.merchant_id, row.payment_id, row.operation_id
