"""Expiry in bulk: holds past their instant are given back, many in one commit, on connections of their own.

A hold is found, decided and reserved in one transaction, and found locked by whoever looks at the same time: the reservation is
the claim.  From its commit on the void is pending, so that no process finds the hold again; should this one die, it leaves an
abandoned intent like any other.  Live requests come first: they have lanes of their own, and every chunk waits for them a moment.
"""
from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter

import asyncpg

from ringfence.core.commands import Command, Kind, VoidReason
from ringfence.core.outcomes import Approved
from ringfence.core.payment import Decision, decide
from ringfence.engine import points
from ringfence.engine.batcher import CommitFailed
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.engine import Engine, processor_key
from ringfence.engine.intent_lane import operation_row
from ringfence.engine.intents import CardInHand, Intent, Reserved, Result
from ringfence.engine.lane import Lane
from ringfence.engine.vault import stored_card
from ringfence.processors.processor import Original
from ringfence.storage import expiry as storage
from ringfence.storage import payments as rows
from ringfence.storage.expiry import DueHold
from ringfence.storage.payments import Held

log = logging.getLogger(__name__)

CHUNK = 250
"""Holds in one commit, and questions in flight together."""
LEAST = 25
"""What each merchant may have of a chunk, however many there are: nobody's backlog holds up another's."""
BETWEEN = 50
"""Holds after which the event loop has its turn."""
POLITE_SECONDS = 0.02
"""How long a chunk waits for live requests at most, and how often it looks."""
LOOK_SECONDS = 0.002
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)

_of_key = attrgetter("intent.merchant_id", "intent.payment_id")


class Expirer:
    """The sweep of one process."""

    def __init__(
        self, lane: Lane, bulk: Engine, live: Engine, directory: Directory, *, now: Callable[[], datetime],
        new_id: Callable[[], int], ask_seconds: float, chunk: int = CHUNK, in_turn: bool = False,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """``lane`` commits the reservations, ``bulk`` asks and finishes them on an outcome lane of its own, ``live`` goes first.

        ``now``: business time.  ``ask_seconds``: how long a void may take to be asked and to have its outcome written.
        ``in_turn``: one question after the other, so that a run can be repeated.  ``is_stopping``: whether a sweep ends behind the
        chunk that it has in hand.
        """
        self._lane, self._bulk, self._live, self._directory = lane, bulk, live, directory
        self._now, self._new_id, self._ask, self._size = now, new_id, timedelta(seconds=ask_seconds), chunk
        self._in_turn, self._is_stopping = in_turn, is_stopping

    async def sweep(self) -> int:
        """Give back every hold that is past its instant; how many were.

        A stop ends it behind the chunk in hand: whatever was reserved is finished.  What is left waits for the next sweep, as do holds
        that somebody else has locked, and those a void of which did not come about.
        """
        ended = 0
        try:
            waiting = dict.fromkeys(await self._owing(), BEGINNING)
            while waiting and not self._is_stopping():
                await give_way(self._live)
                turn = dict(list(waiting.items())[:max(1, self._size // LEAST)])
                chunk = _Chunk(self._merchant, turn, max(min(LEAST, self._size), self._size // len(turn)), self._now(), self._new_id, self._ask)
                reserved = await self._lane.run(chunk.commit, chunk.committed)
                for merchant_id in turn:        # to the end of the line, or out of it
                    del waiting[merchant_id]
                waiting |= chunk.unfinished
                if reserved:
                    points.hit(points.IN_EXPIRY)
                    ended += await self._carry_out(reserved)
        except CommitFailed:
            log.warning("holds past their instant wait for the database")
        if ended:
            log.info("expired %d authorizations", ended)
        return ended

    async def _owing(self) -> list[int]:
        merchants = [merchant.merchant_id for merchant in self._directory.merchants()]
        return await self._lane.run(lambda connection: storage.owing(connection, merchants, self._now()), _never)

    def _merchant(self, merchant_id: int) -> Merchant:
        merchant = self._directory.by_id(merchant_id)
        assert merchant is not None, "only merchants of the directory are looked at"
        return merchant

    async def _carry_out(self, reserved: Sequence[Reserved]) -> int:
        """Ask for all of them together; how many voids were approved.  Raises ``CommitFailed`` where no outcome could be stored."""
        asked: list[asyncio.Task[Result]] = []
        for some in _slices(reserved, 1 if self._in_turn else BETWEEN):
            asked += [asyncio.create_task(self._bulk.carry_out(one)) for one in some]
            await (asyncio.wait(asked) if self._in_turn else asyncio.sleep(0))
        results = await asyncio.gather(*asked, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                log.error("a void could not be finished", exc_info=result)
        ended = [result for result in results if isinstance(result, Result)]
        if not any(result.receipt for result in ended):
            raise CommitFailed()
        return sum(isinstance(result.outcome, Approved) for result in ended)


class _Chunk:
    """Some holds on their way through one commit."""

    def __init__(
        self, merchant: Callable[[int], Merchant], since: dict[int, datetime], limit: int, now: datetime, new_id: Callable[[], int],
        ask: timedelta,
    ) -> None:
        self._merchant, self._since, self._limit = merchant, since, limit
        self._now, self._new_id, self._ask = now, new_id, ask
        self._reserved: list[Reserved] = []
        self.unfinished: dict[int, datetime] = {}   # merchants with more, and the instant to go on from

    async def commit(self, connection: asyncpg.Connection) -> list[Reserved]:
        """Find, decide and reserve."""
        self._reserved, self.unfinished = [], {}
        deadline = datetime.now(UTC) + self._ask        # of this try: never before its transaction began
        async with connection.transaction():
            due = await storage.take_due(connection, self._since, self._now, self._limit)
            for some in _slices(due):
                self._reserved += [one for hold in some if (one := self._decided(hold, deadline))]
                await asyncio.sleep(0)
            if self._reserved:
                self._reserved.sort(key=_of_key)
                await rows.claim(connection, [one.row for one in self._reserved], self._now, deadline)
                await rows.reserve(connection, {_of_key(one): one.held for one in self._reserved}, self._now)
            self._note_unfinished(due)
        return self._reserved

    async def committed(self, connection: asyncpg.Connection) -> list[Reserved] | None:
        """After a lost answer: the chunk was stored if any of its operations is there."""
        if not self._reserved:
            return None
        keys = [(*_of_key(one), one.operation.id) for one in self._reserved]
        return self._reserved if await rows.present(connection, keys) else None

    def _note_unfinished(self, due: Sequence[DueHold]) -> None:
        found: dict[int, list[DueHold]] = {}
        for hold in due:
            found.setdefault(hold.merchant_id, []).append(hold)
        served = {one.intent.merchant_id for one in self._reserved}
        self.unfinished = {
            merchant_id: max(hold.held.payment.expires_at for hold in holds)        # type: ignore[type-var]  # it is past
            for merchant_id, holds in found.items() if len(holds) == self._limit and merchant_id in served
        }

    def _decided(self, hold: DueHold, deadline: datetime) -> Reserved | None:
        """The void as it is reserved.  What cannot be decided is a mistake of ours, and must not hold up the others."""
        payment, operation_id = hold.held.payment, self._new_id()
        command = Command(Kind.VOID, None, payment.currency, operation_id, reason=VoidReason.EXPIRED)
        verdict = decide(payment, command, self._now)
        if not isinstance(verdict, Decision) or verdict.operation is None:
            log.error("hold %d is past its instant and cannot be voided: %s", payment.id, verdict)
            return None
        merchant = self._merchant(hold.merchant_id)
        intent = Intent(
            hold.merchant_id, merchant.identifier, payment.id, command, hold.door, "job:expiry", "sweep",
            hashlib.sha256(b"expire %d" % payment.id).digest()[:16], hold.reference, processor=hold.processor,
            card=hold.card and CardInHand(None, stored=stored_card(hold.card)), original=_original(hold), channel=hold.channel,
            magic=merchant.settings.magic_amounts,
        )
        held = Held(verdict.payment, *hold.held[1:])
        return Reserved(intent, verdict.operation, held, operation_row(intent, verdict.operation, None), deadline)


async def give_way(live: Engine) -> None:
    """Wait while live requests queue, but not for ever."""
    loop = asyncio.get_running_loop()
    until = loop.time() + POLITE_SECONDS
    while live.waiting != (0, 0) and loop.time() < until:
        await asyncio.sleep(LOOK_SECONDS)


def _original(hold: DueHold) -> Original:
    return Original(
        processor_key(hold.held.payment.id, hold.resubmitted), hold.minor, hold.approval_code, hold.processor_reference, hold.scheme_reference)


def _slices(many: Sequence, size: int = BETWEEN) -> Iterator[Sequence]:
    return (many[start:start + size] for start in range(0, len(many), size))


async def _never(connection: asyncpg.Connection) -> None:
    """A read whose answer was lost is simply read again."""
