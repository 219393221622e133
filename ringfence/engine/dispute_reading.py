"""Disputes as they are looked at: cases with what was said about them, evidence, what they moved, and what is known of funds.

Reads, and changes nothing; who may see what is the caller's to say.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.dispute import Action, actions
from ringfence.engine import evidence
from ringfence.engine.keys import Keyring
from ringfence.storage import disputes as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.disputes import AnswerRow, BookingRow, Captured, CaseRow, EventRow, Evidence, FileRow, FundsRow, MessageRow

__all__ = ["BookingRow", "Captured", "CaseRow", "Cases", "Evidence", "FileRow", "FundsRow", "MessageRow", "Shown"]


class Shown(NamedTuple):
    """A case with all that was said about it, and what may be done now."""

    case: CaseRow
    actions: tuple[Action, ...]
    answers: list[AnswerRow]
    messages: list[MessageRow]
    files: list[FileRow]
    bookings: list[BookingRow]
    events: list[EventRow]
    early: list[int]                        # notices that wait for their predecessors, by their numbers


class Cases:
    """Everything that is asked about disputes.  ``now`` is business time."""

    def __init__(self, pool: asyncpg.Pool, keyring: Keyring, now: Callable[[], datetime]) -> None:
        self._pool, self._keyring, self._now = pool, keyring, now

    async def find(self, merchant_id: int | None, dispute_id: int) -> CaseRow | None:
        """A case of a merchant; with ``None`` of any."""
        async with borrowed(self._pool) as connection:
            return await rows.one(connection, merchant_id, dispute_id)

    async def named(self, merchant_id: int, processor: str, name: str) -> CaseRow | None:
        """A case by its processor's name for it."""
        async with borrowed(self._pool) as connection:
            return await rows.named(connection, merchant_id, processor, name)

    async def show(self, merchant_id: int | None, dispute_id: int) -> Shown | None:
        """A case with all that was said about it."""
        async with borrowed(self._pool) as connection:
            row = await rows.one(connection, merchant_id, dispute_id)
            return row and await self._shown(connection, row)

    async def about(self, merchant_id: int, payment_id: int) -> list[Shown]:
        """The cases about a payment, in the order they came."""
        async with borrowed(self._pool) as connection:
            return [await self._shown(connection, row) for row in await rows.of_payment(connection, merchant_id, payment_id)]

    async def listed(self, merchant_id: int | None, *, is_open: bool = False, limit: int = 200) -> list[CaseRow]:
        """Cases, the latest first; with ``is_open`` those that have not ended."""
        async with borrowed(self._pool) as connection:
            return await rows.listed(connection, merchant_id, is_open, limit)

    async def file(self, merchant_id: int, dispute_id: int, file_id: int) -> Evidence | None:
        """A file with what is in it."""
        async with borrowed(self._pool) as connection:
            return await evidence.find(connection, self._keyring, merchant_id, dispute_id, file_id)

    async def bookings(
        self, merchant_id: int, *, dispute_id: int | None = None, payment_id: int | None = None, booking_id: int | None = None
    ) -> list[BookingRow]:
        """What cases moved, in order: of one, of a payment, or the one of an id."""
        async with borrowed(self._pool) as connection:
            return await rows.bookings(connection, merchant_id, dispute_id=dispute_id, payment_id=payment_id, booking_id=booking_id)

    async def funds(self, merchant_id: int, payment_id: int) -> list[FundsRow]:
        """What is known of the money of a payment's captures and refunds, oldest first."""
        async with borrowed(self._pool) as connection:
            return await rows.funds(connection, merchant_id, payment_id)

    async def captured(self, merchant_id: int, payment_id: int) -> list[Captured]:
        """What was captured of a payment, oldest first."""
        async with borrowed(self._pool) as connection:
            return await rows.captured(connection, merchant_id, payment_id)

    async def _shown(self, connection: asyncpg.Connection, row: CaseRow) -> Shown:
        early = [heard.number for heard, _, _ in await rows.heard(connection, row, row.stands.heard)]
        return Shown(
            row, actions(row.stands, self._now()), await rows.answers(connection, row), await rows.messages(connection, row),
            await rows.files(connection, row), await rows.bookings(connection, row.merchant_id, dispute_id=row.dispute_id),
            await rows.events(connection, row.merchant_id, row.dispute_id), early)
