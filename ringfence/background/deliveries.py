"""Deliveries: whoever has an endpoint's job in hand tells it what it has not been told.

One endpoint is one job, however much waits there.  So how much goes to it at once is exact, its backlog holds up nobody else's, and
one drain may say in its own memory what began and what ended.  First attempts begin in the order of a payment's events; after
failures in a row the endpoint is asked one thing at a time, and not sooner than its shortest pause, until something arrives.
Refuses to know what is told: the bytes were made with the delivery, and what goes beside them is the door's.
"""
from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.background.calling import Caller, CallFailed
from ringfence.background.worker import Queue
from ringfence.engine.addresses import Rules
from ringfence.engine.batcher import Batcher, CommitFailed
from ringfence.engine.feed import Policy
from ringfence.engine.lane import CONNECTION_LOST, TRY_AGAIN
from ringfence.engine.webhooks import QUEUE, policy_from
from ringfence.storage import jobs
from ringfence.storage import webhooks as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import DatabaseUnavailable
from ringfence.storage.jobs import Job
from ringfence.storage.webhooks import AttemptRow, Due, Standing

log = logging.getLogger(__name__)

SLICE_SECONDS = 2.0
"""How long a drain begins new attempts; then others have their turn."""
PAGE = 256
LOOK_SECONDS = 0.25
"""How often a drain that waits for slow answers looks for more to send meanwhile."""
TOGETHER = 64
"""Results that a drain gathers before it lets them be stored, so that they share a commit; at the next look it does so in any case."""
FAILURES_TO_OPEN = 5
SHORTEST_PAUSE = 10
"""Seconds between attempts at an endpoint that fails and has no schedule."""
KEPT_BYTES = 2_048
"""So much of an answer goes into the log."""
POLITE_SECONDS, POLITE_LOOK_SECONDS = 0.005, 0.001
"""So long an attempt waits while live requests queue, and how often it looks; by the clock, because a turn of a busy loop is long."""


class DeliveriesLost(CommitFailed, DatabaseUnavailable):
    """The results of attempts could not be stored; they are made again."""


Headers = Callable[[int, str, bytes], Mapping[str, str]]
"""Merchant, door and body -> what the door adds to a request at the moment of sending, such as signatures."""


class Result(NamedTuple):
    """What came of one attempt.  ``state`` and ``next_at``: how its delivery goes on."""

    attempt: AttemptRow
    state: str
    next_at: datetime
    standing: Standing


class Sender:
    """One process's deliveries."""

    def __init__(
        self, pool: asyncpg.Pool, rules: Rules, *, now: Callable[[], datetime], waiting: Callable[[], int], count: Callable[[bool], None],
        trust: ssl.SSLContext | None, slice_seconds: float, headers: Headers,
    ) -> None:
        self.pool, self.rules, self.now, self.waiting, self.count, self.headers = pool, rules, now, waiting, count, headers
        self.trust, self.slice_seconds = trust, slice_seconds
        self.results: Batcher[Result, bool] = Batcher(self._note)

    async def run(self, job: Job) -> None:
        """Tell an endpoint what is due there, and give its job back."""
        known = await rows.endpoint(self.pool, job.merchant_id, job.subject)
        if known is not None:
            policy = policy_from(known.policy)
            drain = _Drain(self, job, known.url, policy, known.failures, known.probe_at, known.door)
            await drain.run()
            next_at = await rows.next_due(self.pool, job.merchant_id, job.subject, policy.in_order)
            if next_at is not None:
                await jobs.later(self.pool, job, max(next_at, drain.not_before or next_at))
                return
        await jobs.done(self.pool, job)

    async def _note(self, results: Sequence[Result]) -> list[bool]:
        """Store what came of attempts: whether each counted, or its delivery had gone on without it."""
        in_order = sorted(results, key=lambda one: one.attempt[:5])
        standing: dict[tuple[int, int], Standing] = {}
        for *_, last in results:
            before = standing.get(last[:2], last)
            standing[last[:2]] = last._replace(
                delivered_at=last.delivered_at or before.delivered_at, failed_at=last.failed_at or before.failed_at)
        while True:
            try:
                async with borrowed(self.pool) as connection:
                    went = await rows.note_attempts(
                        connection, [one.attempt for one in in_order], [one.state for one in in_order], [one.next_at for one in in_order],
                        [standing[key] for key in sorted(standing)])
                return [one.attempt[:5] in went for one in results]
            except TRY_AGAIN:
                continue
            except asyncpg.QueryCanceledError:
                raise
            except CONNECTION_LOST as lost:
                raise DeliveriesLost(str(lost)) from lost


def queue(
    pool: asyncpg.Pool, rules: Rules, *, now: Callable[[], datetime], waiting: Callable[[], int] = lambda: 0,
    count: Callable[[bool], None] = lambda delivered: None, trust: ssl.SSLContext | None = None, slice_seconds: float = SLICE_SECONDS,
    headers: Headers = lambda merchant_id, door, body: {},
) -> Queue:
    """``now`` is business time; ``waiting``: how many live requests wait for a commit; ``count`` is told of every attempt; ``headers`` are
    the door's own."""
    sender = Sender(pool, rules, now=now, waiting=waiting, count=count, trust=trust, slice_seconds=slice_seconds, headers=headers)
    return Queue(QUEUE, sender.run, at_once=64, per_merchant=8, lease=10.0)


class _Drain:
    """One endpoint, as long as this process has it in hand."""

    def __init__(self, sender: Sender, job: Job, url: str, policy: Policy, failures: int, probe_at: datetime | None, door: str) -> None:
        self._sender, self._job, self._url, self._policy, self._door = sender, job, url, policy, door
        self._failures, self._probe_at = failures, probe_at
        self._pause = timedelta(seconds=min(policy.schedule, default=SHORTEST_PAUSE))
        self._caller = Caller(sender.rules, trust=sender.trust)
        self._until = time.monotonic() + sender.slice_seconds
        self._ready: deque[Due] = deque()
        self._behind: dict[tuple[int, int], list[Due]] = {}     # payment and sequence -> who waits for it
        self._begun: set[tuple[int, int]] = set()               # in flight now
        self._gathered: dict[tuple[int, int], Result] = {}      # ended, and not given to be stored yet
        self._settling: dict[asyncio.Future[bool], tuple[int, int]] = {}    # ended, and being stored
        self._ended: set[tuple[int, int]] = set()               # stored since the last look began: what it saw may be older
        self._lost: BaseException | None = None                 # why a result could not be stored
        self._is_full = False                                   # the last look found a whole page

    @property
    def not_before(self) -> datetime | None:
        """When the endpoint may be asked again, while its circuit is open."""
        return self._probe_at if self._failures >= FAILURES_TO_OPEN else None

    async def run(self) -> None:
        """Attempt what is due, until nothing is or the slice is over."""
        sending: set[asyncio.Task[None]] = set()
        try:
            while time.monotonic() < self._until and self._lost is None:
                if self._settling and not sending:
                    await asyncio.wait(self._settling)      # what it stores would only be read again, and may set others free
                await self._look()
                hands = min(self._hands() - len(sending), len(self._ready))
                sending |= {asyncio.create_task(self._send()) for _ in range(hands)}
                if not sending:
                    break
                sending = await _some(sending, LOOK_SECONDS)
                self._store()
                if not sending and not self._is_full and not self._policy.in_order:
                    break                                       # whatever came meanwhile has woken the job
            while sending:
                sending = await _some(sending, LOOK_SECONDS)
                self._store()
        finally:
            for task in sending:
                task.cancel()
            if sending:
                await asyncio.wait(sending)
            await self._caller.close()
            self._store()
            while self._settling:
                await asyncio.wait(self._settling)
        if self._lost is not None:
            raise self._lost

    async def _look(self) -> None:
        """Read what is due now."""
        self._ended.clear()
        page = await rows.due(self._sender.pool, self._job.merchant_id, self._job.subject, self._sender.now(), self._policy.in_order, PAGE)
        self._is_full = len(page) == PAGE
        over = {*self._gathered, *self._settling.values(), *self._ended}
        here = {(one.payment_id, one.sequence) for one in page} | self._begun
        self._ready.clear()
        self._behind.clear()
        for one in page:
            key = one.payment_id, one.sequence
            if key in self._begun or key in over:
                continue
            before = one.payment_id, one.behind
            if one.behind is None or (before in over and not self._policy.in_order):
                self._ready.append(one)
            elif before in here:
                self._behind.setdefault(before, []).append(one)     # type: ignore[arg-type]

    def _hands(self) -> int:
        """How many attempts may be in flight now."""
        if self._failures < FAILURES_TO_OPEN:
            return self._policy.at_once
        return 0 if self._probe_at is not None and self._sender.now() < self._probe_at else 1

    async def _send(self) -> None:
        """Attempt one after the other, as long as there is one to begin."""
        while self._ready and time.monotonic() < self._until and len(self._begun) < self._hands() and self._lost is None:
            one = self._ready.popleft()
            key = one.payment_id, one.sequence
            self._begun.add(key)
            try:
                is_over = await self._attempt(one)
            finally:
                self._begun.discard(key)
            while len(self._settling) >= PAGE:
                await asyncio.wait(self._settling, return_when=asyncio.FIRST_COMPLETED)
            for after in self._behind.pop(key, ()):
                if is_over or not self._policy.in_order:
                    self._ready.appendleft(after)

    async def _attempt(self, one: Due) -> bool:
        """One attempt, its result on the way to be stored; whether that was the delivery's last."""
        until = time.monotonic() + POLITE_SECONDS
        while self._sender.waiting() and time.monotonic() < until:
            await asyncio.sleep(POLITE_LOOK_SECONDS)
        began, attempt = time.perf_counter(), one.attempts + 1
        status, answer, address, error = None, b"", "", ""
        try:
            status, answer, address = await self._caller.post(
                self._url, _headers(one, attempt) | self._sender.headers(self._job.merchant_id, self._door, one.body), one.body,
                self._policy.seconds)
        except CallFailed as failed:
            address, error = failed.address, failed.reason
        milliseconds, now = round((time.perf_counter() - began) * 1000), self._sender.now()
        is_delivered = status is not None and (200 <= status < 300 or status in self._policy.accepts)
        state, next_at = self._goes_on(one, is_delivered, now)
        self._learn(is_delivered, now)
        key = self._job.merchant_id, self._job.subject, one.payment_id, one.sequence
        self._sender.count(is_delivered)
        self._gathered[key[2:]] = Result(
            AttemptRow(*key, attempt, now, self._url, address, status, error, milliseconds, answer[:KEPT_BYTES]), state, next_at,
            Standing(self._job.merchant_id, self._job.subject, self._failures, self._probe_at, now if is_delivered else None,
                     None if is_delivered else now, status, error),
        )
        if len(self._gathered) >= TOGETHER:
            self._store()
        return state != "waiting"

    def _store(self) -> None:
        """Let what was gathered be stored; it joins a commit with what other endpoints' drains give at the same time."""
        for key, result in self._gathered.items():
            settled = self._sender.results.submit(result)
            self._settling[settled] = key
            settled.add_done_callback(self._settled)
        self._gathered.clear()

    def _settled(self, settled: asyncio.Future[bool]) -> None:
        self._ended.add(self._settling.pop(settled))
        if not settled.cancelled() and (error := settled.exception()) is not None:
            self._lost = error

    def _goes_on(self, one: Due, is_delivered: bool, now: datetime) -> tuple[str, datetime]:
        """The delivery's state after this attempt, and when it is tried again (now, where it is not)."""
        if is_delivered:
            return "delivered", now
        if one.tried >= len(self._policy.schedule):
            return "given_up", now
        return "waiting", now + timedelta(seconds=self._policy.schedule[one.tried])

    def _learn(self, is_delivered: bool, now: datetime) -> None:
        """Open the circuit, or close it."""
        before = self._failures
        self._failures = 0 if is_delivered else before + 1
        self._probe_at = now + self._pause if self._failures >= FAILURES_TO_OPEN else None
        if (before >= FAILURES_TO_OPEN) != (self._failures >= FAILURES_TO_OPEN):
            log.info("endpoint %d of merchant %d %s", self._job.subject, self._job.merchant_id, "is back" if is_delivered else "does not answer")


def _headers(one: Due, attempt: int) -> dict[str, str]:
    """What travels beside the bytes, and with the door's own headers is the only thing that differs between two attempts."""
    return {
        "content-type": one.content_type, "user-agent": "Ringfence", "ringfence-event": f"{one.payment_id}-{one.sequence}",
        "ringfence-sequence": str(one.sequence), "ringfence-attempt": str(attempt),
    }


async def _some(tasks: set[asyncio.Task[None]], seconds: float) -> set[asyncio.Task[None]]:
    """Those that still run once all have ended or the time is up.  Raises what one of them raised."""
    done, pending = await asyncio.wait(tasks, timeout=seconds)
    errors = [error for task in done if (error := task.exception())]
    if errors:
        raise errors[0]
    return pending
