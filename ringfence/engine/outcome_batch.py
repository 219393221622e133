"""One batch of outcomes on its way through its commit: what must be locked, what may be written, and what its owners hear.

First operations are most of what a service does, and nobody else can know their payments yet: they need no lock, and all
they write travels as one row.  Everything else is decided on payments that are locked.  What the rows are is ``outcome_writing``'s to say.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime

import asyncpg
from msgspec.structs import replace

from ringfence.core.chain import Link
from ringfence.core.commands import Kind
from ringfence.core.payment import Status
from ringfence.core.proof import receipt_text
from ringfence.core.recovery import Plan
from ringfence.engine.card_effects import CardEffects
from ringfence.engine.intents import Ended, Reserved, Result
from ringfence.engine.lane import Lane
from ringfence.engine.outcome_work import Work
from ringfence.engine.outcome_writing import SUPERSEDED, End, Told, Writing, fenced, key_of
from ringfence.storage import alike, recovery, refund_parts
from ringfence.storage import payments as rows
from ringfence.storage.payments import Finished, Held, Key
from ringfence.storage.recovery import Fence, Name

_FIRST_KINDS = (Kind.AUTHORIZATION, Kind.PURCHASE)          # a tuple: compared by identity, which hashing a StrEnum is not
_CHALLENGED = Status.CHALLENGED


class OutcomeBatch:
    """One batch on its way through one commit; made once, and tried again where that is safe."""

    def __init__(
        self, lane: Lane, messages: Sequence[Ended | Told], now: datetime, batch_id: int, chain_key: bytes,
        value_date: Callable[[str, datetime], date], plan: Plan, new_id: Callable[[], int], *, in_bulk: bool = False,
    ) -> None:
        """``in_bulk``: see ``OutcomeLane``."""
        self._in_bulk = in_bulk
        self._lane, self._messages, self._now, self._batch_id = lane, messages, now, batch_id
        self._chain_key, self._value_date, self._plan = chain_key, value_date, plan
        self._begins = [type(message) is Ended and is_first(message.reserved) for message in messages]
        self._days: dict[str, tuple[date, int]] = {}
        self._new_id, self._spare = new_id, {}
        self._results: list[Result] = []
        self.link: Link | None = None

    async def commit(self, connection: asyncpg.Connection) -> list[Result]:
        """Store the batch; a result for each message, in order."""
        later = [] if all(self._begins) else sorted({
            key_of(message) for message, begins in zip(self._messages, self._begins, strict=True) if not begins
        })
        effects = CardEffects.of(self._messages)
        finish = alike.finish if self._in_bulk and not later else rows.finish
        if not later and not effects:
            written, work = self._write({}, frozenset(), {})
            if not work.woken and not written.reversals:    # one statement is a transaction of its own
                await finish(connection, written, self._now)
                return self._results
        async with connection.transaction():
            held = await rows.lock(connection, later) if later else {}
            names = sorted({name for message in self._messages if (name := fenced(message)) is not None}) if later else []
            fences = await recovery.fences(connection, names) if names else {}
            told = {key_of(message) for message in self._messages if type(message) is Told}
            known = await rows.known_notices(connection, sorted(told)) if told else frozenset()
            written, work = self._write(held, known, fences)
            await work.apply(connection, self._now)
            if effects and work.superseded:
                effects = CardEffects.of([
                    message for message, result in zip(self._messages, self._results, strict=True) if result.outcome is not SUPERSEDED
                ])
            if effects and (others := await effects.apply(connection, self._now)):
                self._results = [
                    replace(result, kept_as=others[operation.id]) if (operation := result.operation) and operation.id in others else result
                    for result in self._results
                ]
            if written.reversals:
                await rows.owe_reversals(connection, written.reversals)
            if written.parts:
                await refund_parts.note(connection, written.parts)
            await finish(connection, written, self._now)
        return self._results

    async def committed(self, connection: asyncpg.Connection) -> list[Result] | None:
        """After a lost answer: the batch was stored if its link is there."""
        if self.link is None:
            return None
        row = await connection.fetchrow(rows.SQL.batch_at, self.link.lane, self.link.number)
        return self._results if row and row["batch_id"] == self._batch_id else None

    def _write(
        self, held: dict[Key, Held], known: frozenset[tuple[Key, str]], fences: dict[Name, Fence]
    ) -> tuple[Finished, Work]:
        """Decide every message in turn, and say what shall be stored."""
        writing = Writing(self._now, self._batch_id, self._day, self._plan, fences, self._spare_id)
        ends: list[End] = []
        for message, begins in zip(self._messages, self._begins, strict=True):
            if begins:
                ends.append(writing.first(*message))
            elif type(message) is Told:
                ends.append(writing.notice(message, held, known))
            else:
                ends.append(writing.later(*message, held))
        self.link = writing.linked(self._lane, self._chain_key)
        receipt = receipt_text(self.link)
        self._results = [
            Result(
                payment, operation, outcome, refusal, None, "" if refusal else receipt, self._now,
                asked_at=None if type(message) is Told else message[0].asked_at)
            for (payment, operation, outcome, refusal), message in zip(ends, self._messages, strict=True)
        ]
        if writing.work.superseded:         # nothing was written for these, so they have no receipt
            self._results = [replace(one, receipt="") if one.outcome is SUPERSEDED else one for one in self._results]
        return writing.finished(self.link), writing.work

    def _spare_id(self, operation_id: int) -> int:
        """An id for the fact that comes with an operation's outcome: the same one however often the batch is tried."""
        if operation_id not in self._spare:
            self._spare[operation_id] = self._new_id()
        return self._spare[operation_id]

    def _day(self, processor: str) -> tuple[date, int]:
        """The business day, as the ledger has it and as the chain does."""
        day = self._days.get(processor)
        if day is None:
            value_date = self._value_date(processor, self._now)
            day = self._days[processor] = value_date, value_date.toordinal()
        return day


def is_first(reserved: Reserved) -> bool:
    """Whether nobody but its owner can know the payment yet: its first operation, asked for the first time, its payer not challenged."""
    operation = reserved.operation
    return operation.attempt == 1 and operation.kind in _FIRST_KINDS and reserved.held.payment.status is not _CHALLENGED
