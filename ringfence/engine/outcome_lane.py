"""The counter where outcomes are committed: reservations posted or released, the ledger written, the chain lengthened.

An attempt has one outcome, and whoever writes it first owns its end: an approval that finds the attempt taken is late, is
never told as an approval, and is owed a reversal where one can undo it, unless the operation is approved all the same.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime

import asyncpg

from ringfence.core.chain import Link
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved, Outcome, Silence, Unknown
from ringfence.core.recovery import PLAN, REVERSIBLE, Plan
from ringfence.engine.intents import Ended, Reserved, Result, processor_key
from ringfence.engine.lane import Lane
from ringfence.engine.outcome_batch import OutcomeBatch, is_first
from ringfence.engine.outcome_writing import Told
from ringfence.engine.sheet import Sheet
from ringfence.engine.whole import Also, WholeBatch
from ringfence.storage import payments as rows


class OutcomeLane:
    """Commits batches of outcomes and notices on one lane."""

    def __init__(
        self, lane: Lane, *, now: Callable[[], datetime], new_id: Callable[[], int], chain_key: bytes,
        value_date: Callable[[str, datetime], date], committed: Callable[[Link, int], None] = lambda link, size: None,
        plan: Plan = PLAN, in_bulk: bool = False,
    ) -> None:
        """``value_date``: processor and business time to its business day.  ``committed``: told of every link.  ``plan``: when
        recovery begins with what is unknown.  ``in_bulk``: batches are large, and most of what is in one is of one sort."""
        self._lane, self._now, self._new_id, self._chain_key = lane, now, new_id, chain_key
        self._value_date, self._told, self._plan, self._in_bulk = value_date, committed, plan, in_bulk

    async def commit(self, batch: Sequence[Ended | Told]) -> list[Result]:
        """A result for each message, in order."""
        try:
            return await self._commit(batch)
        except asyncpg.UniqueViolationError:
            return await self._without_superseded(batch)

    async def commit_whole(self, sheet: Sheet, outcomes: Sequence[Outcome], deadline: datetime, asked_at: datetime, also: Also | None) -> None:
        """Commit the outcomes of purchases of one sort that were all approved whole, see ``whole``; ``also`` is done in the same transaction.

        Raises ``NotAlike`` where their outcomes are not of one sort, ``UniqueViolationError`` where some attempt has its outcome already;
        nothing is stored then, and ``commit`` takes them as it takes all others.
        """
        one = WholeBatch(
            self._lane, sheet, outcomes, deadline, asked_at, self._now(), self._new_id(), self._chain_key, self._value_date, self._plan, also)
        await self._lane.run(one.commit, one.committed)
        assert one.link is not None, "it was committed"
        self._linked(one.link, len(outcomes))

    def _linked(self, link: Link, size: int) -> None:
        if link.lane == self._lane.number:          # else another was taken after a lost answer, with its own head
            self._lane.head = link
        self._told(link, size)

    async def _commit(self, batch: Sequence[Ended | Told]) -> list[Result]:
        one = OutcomeBatch(
            self._lane, batch, self._now(), self._new_id(), self._chain_key, self._value_date, self._plan, self._new_id, in_bulk=self._in_bulk)
        results = await self._lane.run(one.commit, one.committed)
        if one.link is not None:
            self._linked(one.link, len(batch))
        return results

    async def _without_superseded(self, batch: Sequence[Ended | Told]) -> list[Result]:
        """Some attempt in this batch has its outcome already: find out which, tell their owners, commit the rest.

        Approvals among them are late: the rest takes notices of them along, which decide under the payments' locks whether
        they are to be undone.  What a reversal cannot undo is told all the same: it may be all that is known.
        """
        taken = await self._lane.run(lambda connection: _taken(connection, batch), _never)
        rest = [message for message in batch if _attempt(message) not in taken]
        if len(rest) == len(batch):
            raise RuntimeError("a batch broke a unique rule, and no attempt in it has an outcome")
        late = [
            self._late(message.reserved, message.outcome) for message in batch
            if isinstance(message, Ended) and _attempt(message) in taken and isinstance(message.outcome, Approved)
            and message.reserved.operation.attempt == 1
        ]
        done = iter(await self.commit([*rest, *late]) if rest or late else ())
        return [
            Result(message.reserved.held.payment, message.reserved.operation, Unknown(Silence.SUPERSEDED), at=self._now())
            if isinstance(message, Ended) and _attempt(message) in taken else next(done)
            for message in batch
        ]

    def _late(self, reserved: Reserved, outcome: Approved) -> Told:
        """An owner's approval, of an attempt that was given up before it came."""
        intent, operation = reserved.intent, reserved.operation
        notice = late_approval(operation.id, outcome.minor)
        return Told(intent.merchant_id, intent.payment_id, self._new_id(), intent.processor, notice, reverse=operation.kind in REVERSIBLE)


def unwritten(message: Ended | Told) -> Result | None:
    """What the owner of an outcome hears that could not be committed; whoever tells of a fact hears of the failure itself."""
    if type(message) is not Ended:
        return None
    return Result(message.reserved.held.payment, message.reserved.operation, Unknown(Silence.OWNER_GONE))


def late_approval(operation_id: int, minor: int) -> Notice:
    """The notice of an approval that came after its attempt was given up: one for an operation, whoever heard of it."""
    return Notice(Noticed.LATE_APPROVAL, f"late:{processor_key(operation_id)}", minor, operation_id)


async def _taken(connection: asyncpg.Connection, batch: Sequence[Ended | Told]) -> set[tuple[int, int]]:
    """The attempts (operation id, number) that have an outcome."""
    keys = [
        (one.reserved.intent.merchant_id, one.reserved.intent.payment_id, *_attempt(one), is_first(one.reserved))
        for one in batch if isinstance(one, Ended)
    ]
    return {tuple(row) for row in await connection.fetch(rows.SQL.answered, *rows.columns(keys, 5))}


def _attempt(message: Ended | Told) -> tuple[int, int]:
    if isinstance(message, Told):
        return message.operation_id, 0          # no attempt at anything: never among those taken
    return message.reserved.operation.id, message.reserved.operation.attempt


async def _never(connection: asyncpg.Connection) -> None:
    return None
