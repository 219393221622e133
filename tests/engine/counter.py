"""A counter for tests of the proof and the story: the engine's own lanes, with the test in the processor's place.

What stands in the database afterwards was written by the same code as in the service; only facts from outside, which no lane
commits yet, are written here, as their own batch of the chain.
"""
from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg

from ringfence.core.chain import Link
from ringfence.core.commands import Command, Kind, VoidReason
from ringfence.core.ids import IdSource
from ringfence.core.ledger import KINDS
from ringfence.core.notices import Notice
from ringfence.core.outcomes import Approved, Outcome
from ringfence.core.payment import Decision, decide
from ringfence.core.standing import Payment
from ringfence.engine.chaining import digest
from ringfence.engine.intent_lane import IntentLane
from ringfence.engine.intents import Ended, Intent, Reserved, Result
from ringfence.engine.lane import Lane
from ringfence.engine.outcome_lane import OutcomeLane
from ringfence.storage import jobs, reports
from ringfence.storage import payments as rows
from ringfence.storage.database import Connection
from ringfence.storage.payments import Held
from tests import kept
from tests.engine.composition import Wire

KEY = b"a chain key for tests, 32 bytes!"
START = datetime(2026, 3, 1, 10, tzinfo=UTC)


class Counter:
    """Asks and answers.  ``now`` is business time; set it to let time pass."""

    def __init__(self, pool: asyncpg.Pool, new_id: IdSource) -> None:
        self.pool, self.new_id, self.now = pool, new_id.next, START
        self.payments: dict[int, tuple[int, str]] = {}          # payment id -> merchant id, currency
        self._lanes: list[Lane] = []

    async def open(self, dsn: str) -> None:
        """Two lanes for outcomes and one for intents."""
        for _ in range(3):
            lane = Lane(Wire(dsn, "tests").connect, numbers=range(1, 9))
            await lane.open()
            self._lanes.append(lane)
        self._intents = IntentLane(self._lanes[2], now=lambda: self.now, ask_seconds=10)
        self._outcomes = [
            OutcomeLane(lane, now=lambda: self.now, new_id=self.new_id, chain_key=KEY, value_date=lambda name, at: at.date())
            for lane in self._lanes[:2]
        ]

    async def close(self) -> None:
        """Give the lanes back."""
        for lane in self._lanes:
            await lane.close()

    async def ask(
        self, kind: Kind, minor: int | None, payment_id: int = 0, *, merchant_id: int = 1, currency: str = "AED",
        reference: str | None = None, accepts_partial: bool = False, reason: VoidReason = VoidReason.REQUESTED,
    ) -> Reserved | Result:
        """Commit an intent: reserved, or refused.  Without a payment id it begins a payment."""
        operation_id = self.new_id()
        if payment_id:
            merchant_id, currency = self.payments[payment_id]
        intent = Intent(
            merchant_id, "merchant", payment_id or operation_id,
            Command(kind, minor, currency, operation_id, accepts_partial, reason=reason, hold_seconds=7 * 86_400),
            "aps", "test-access", "192.0.2.7", b"content %d" % operation_id, reference=reference,
            key=f"aps:{reference}" if reference and not payment_id else None, processor="simulator",
        )
        (reply,) = await self._intents.commit([intent])
        if isinstance(reply, Reserved):
            self.payments[intent.payment_id] = (merchant_id, currency)
        return reply

    async def answer(self, *ended: tuple[Reserved, Outcome], lane: int = 0) -> list[Result]:
        """Commit outcomes as one batch of a lane."""
        return await self._outcomes[lane].commit([Ended(reserved, outcome) for reserved, outcome in ended])

    async def do(self, kind: Kind, minor: int | None, payment_id: int = 0, outcome: Outcome | None = None, **more: object) -> Reserved:
        """Ask and answer; approved in full where no outcome is given."""
        reserved = await self.ask(kind, minor, payment_id, **more)
        assert isinstance(reserved, Reserved), reserved
        await self.answer((reserved, outcome or Approved(reserved.operation.minor, "123456", "900000000000001", "RRN1")))
        return reserved

    async def again(self, reserved: Reserved, outcome: Outcome, *, lane: int = 0) -> Reserved:
        """Recovery takes an operation in doubt over, and writes what it found out."""
        intent = reserved.intent
        job = await jobs.claim_one(self.pool, "recovery", intent.merchant_id, reserved.operation.id, holder="tests", lease=0)
        assert job is not None, "an operation in doubt has a job"
        operation = reserved.operation._replace(attempt=job.tries + 1, unknown=True)
        taken = reserved._replace(operation=operation)
        await self.answer((taken, outcome), lane=lane)
        return taken

    async def standing(self, payment_id: int) -> Held:
        """A payment as stored."""
        async with self.pool.acquire() as connection:
            key = (self.payments[payment_id][0], payment_id)
            return (await rows.lock(connection, [key]))[key]

    async def fact(self, payment_id: int, notice: Notice) -> Decision:
        """Commit a fact from outside as a batch of its own."""
        lane, fact_id, batch_id = self._lanes[0], self.new_id(), self.new_id()
        merchant_id, currency = self.payments[payment_id]
        held = await self.standing(payment_id)
        decision = decide(held.payment, notice, self.now)
        assert isinstance(decision, Decision)
        transfers = [
            (merchant_id, payment_id, fact_id, leg, kind.value, minor, currency, self.now.date())
            for leg, (kind, minor) in enumerate(decision.transfers)
        ]
        noted = (merchant_id, payment_id, notice.identity, fact_id, notice.noticed.value, notice.minor, notice.capture_id)
        previous, number, at = lane.next_link(batch_id)
        covered = [(*row[:7], row[7].toordinal()) for row in transfers]
        made = digest(KEY, previous, lane.number, number, batch_id, at, [], [], covered, [noted])
        balances: dict[str, int] = defaultdict(int)
        for kind, minor in decision.transfers:
            debit, credit = KINDS[kind]
            balances[debit] += minor
            balances[credit] -= minor
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.executemany("INSERT INTO transfers VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)", [(*row, batch_id) for row in transfers])
            await connection.execute("INSERT INTO notices VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9)", *noted, self.now, batch_id)
            await connection.execute("INSERT INTO batches VALUES ($1,$2,$3,$4,0,$5)", lane.number, number, batch_id, at, made)
            await self._store(connection, merchant_id, decision.payment)
            for account, minor in balances.items():
                await connection.execute(
                    "INSERT INTO balances AS b VALUES ($1,$2,$3,$4,$5) "
                    "ON CONFLICT (merchant_id, currency, account, lane) DO UPDATE SET balance = b.balance + excluded.balance",
                    merchant_id, currency, account, lane.number, minor,
                )
        lane.head = await self._head(lane.number)
        return decision

    async def _store(self, connection: asyncpg.Connection, merchant_id: int, payment: Payment) -> None:
        names = ("status", "authorized", "captured", "voided", "expired", "unsecured", "refunded", "disputed", "charged_back")
        values = [getattr(payment, name) for name in names]
        captures = [number for capture in payment.captures for number in capture]
        await connection.execute(
            f"UPDATE payments SET captures = $1, {', '.join(f'{name} = ${at}' for at, name in enumerate(names, 4))} "
            "WHERE merchant_id = $2 AND payment_id = $3", captures, merchant_id, payment.id, *values,
        )

    async def _head(self, number: int) -> Link:
        return next(head for head in await reports.heads(self.pool) if head.lane == number)


@asynccontextmanager
async def counter(dsn: str) -> AsyncIterator[Counter]:
    """A counter on a migrated database; the first one on it makes the merchants One and Two."""
    connect = functools.partial(kept.take, asyncpg.connect, words="counter")
    async with asyncpg.create_pool(dsn, min_size=1, max_size=3, connect=connect, connection_class=Connection, server_settings={"timezone": "UTC"}) as pool:
        await pool.execute(
            "INSERT INTO merchants (merchant_id, identifier, name, created_at) VALUES (1, 'One', 'One', now()), (2, 'Two', 'Two', now()) "
            "ON CONFLICT DO NOTHING"
        )
        made = Counter(pool, IdSource(3, lambda: time.time_ns() // 1_000_000))
        await made.open(dsn)
        try:
            yield made
        finally:
            await made.close()
            if connections := kept.here():
                await connections.give_all(pool)


def later(counter: Counter, **passed: float) -> datetime:
    """Let business time pass."""
    counter.now += timedelta(**passed)
    return counter.now
