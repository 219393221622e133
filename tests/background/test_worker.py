"""The background: one holder for each job and chore, and nothing that holds up another."""
from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest

from ringfence.background import deliveries, recovery, reversals, worker
from ringfence.background.worker import Background, Chore, Queue
from ringfence.engine.addresses import rules_for
from ringfence.storage import jobs
from ringfence.storage.database import DatabaseUnavailable, pool
from ringfence.storage.jobs import Job, JobRow
from tests.engine.composition import NOW, Time

pytestmark = pytest.mark.anyio
SOON = 0.02
"""Pauses of these backgrounds, so that what should not happen has many chances to."""
LONG = 60.0
"""A lease that does not end by itself however long a crowded machine lets this process stand."""


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed every half second, so that what is another's by now is soon noticed, although they are long."""
    monkeypatch.setattr(worker, "RENEWALS", 2 * worker.TURN_SECONDS)


@pytest.fixture
async def db(database: str) -> AsyncIterator[asyncpg.Pool]:
    async with pool(database, 6, by_key=True) as made:
        yield made


@asynccontextmanager
async def running(db: asyncpg.Pool, *parts: Chore | Queue, holder: str = "a", **options: Any) -> AsyncIterator[Background]:
    made = background(db, *parts, holder=holder, **options)
    made.start()
    try:
        yield made
    finally:
        await made.stop()


def background(db: asyncpg.Pool, *parts: Chore | Queue, holder: str = "a", pause: float = SOON, now: Any = NOW, **options: Any) -> Background:
    return Background(
        [part for part in parts if isinstance(part, Chore)], [part for part in parts if isinstance(part, Queue)],
        pool=db, now=now if callable(now) else lambda: now, holder=holder, pause=pause, **options)


async def make(db: asyncpg.Pool, *rows: tuple[int, int], queue: str = "work") -> None:
    await jobs.wake(db, [JobRow(merchant, queue, subject, 0, NOW) for merchant, subject in rows])


async def until(condition: Callable[[], Any]) -> None:
    """Wait for it; the test's own limit is the limit."""
    while not condition():
        await asyncio.sleep(0.001)


async def until_there(db: asyncpg.Pool, question: str) -> Any:
    """Wait until a question about the database has an answer."""
    while not (answer := await db.fetchval(question)):
        await asyncio.sleep(0.005)
    return answer


class Work:
    """Notes what is run, and removes it; what is in ``hold`` waits for its event, what is in ``breaks`` raises."""

    def __init__(self, db: asyncpg.Pool) -> None:
        self.db = db
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.hold: dict[int, asyncio.Event] = {}
        self.breaks: dict[int, Exception] = {}

    async def __call__(self, job: Job) -> None:
        self.begun.append(job.subject)
        try:
            if wait := self.hold.get(job.subject):
                await wait.wait()
        except asyncio.CancelledError:
            self.cancelled.append(job.subject)
            raise
        if (error := self.breaks.pop(job.subject, None)) is not None:
            raise error
        await jobs.done(self.db, job)
        self.ended.append(job.subject)


async def test_jobs_are_run_and_new_ones_at_the_next_look(db: asyncpg.Pool):
    """A nudge is a look; so is the end of the pause."""
    work = Work(db)
    await make(db, (1, 1), (2, 2))
    async with running(db, Queue("work", work), pause=3600) as one:
        await until(lambda: sorted(work.ended) == [1, 2])
        await make(db, (1, 3))
        one.nudge("work")
        one.nudge("nothing of ours")
        await until(lambda: 3 in work.ended)
    async with running(db, Queue("work", work)):
        await make(db, (1, 4))
        await until(lambda: 4 in work.ended)


async def test_as_many_as_allowed_are_in_hand_and_the_next_begins_when_one_ends(db: asyncpg.Pool):
    """Over all, and of one merchant; without waiting for the pause."""
    work = Work(db)
    work.hold = {subject: asyncio.Event() for subject in range(20)}
    await make(db, *((1, subject) for subject in range(10)), *((2, subject) for subject in range(10, 12)))
    async with running(db, Queue("work", work, at_once=4, per_merchant=3), pause=3600):
        await until(lambda: len(work.begun) == 4)
        assert sorted(work.begun) == [0, 1, 2, 10]
        work.hold[1].set()
        await until(lambda: len(work.begun) == 5)
        assert sorted(work.begun) == [0, 1, 2, 3, 10]
        for event in work.hold.values():
            event.set()
        await until(lambda: len(work.ended) == 12)


EVERY_QUEUE = [
    recovery.queue(cast(Any, SimpleNamespace(attempt=None))), reversals.queue(*cast(Any, [None] * 5)),
    deliveries.queue(cast(Any, None), rules_for(False), now=lambda: NOW),
]


@pytest.mark.parametrize("queue", EVERY_QUEUE, ids=lambda queue: queue.name)
async def test_in_no_queue_a_merchants_backlog_holds_up_anothers_single_job(db: asyncpg.Pool, queue: Queue):
    """A thousand of the first are due for longer, and the ones in hand do not end; the second merchant's is run, by the same process."""
    work = Work(db)
    work.hold = {subject: asyncio.Event() for subject in range(1_000)}
    await make(db, *((1, subject) for subject in range(1_000)), queue=queue.name)
    async with running(db, queue._replace(run=work)) as one:
        try:
            await until(lambda: len(work.begun) == queue.per_merchant)
            await make(db, (2, 5_000), queue=queue.name)
            await until(lambda: work.ended == [5_000])
            assert len(work.begun) == queue.per_merchant + 1 < queue.at_once
        finally:
            one._stopping.set()             # take nothing new
            for event in work.hold.values():
                event.set()


async def test_a_job_that_raises_comes_back_later_and_others_run(db: asyncpg.Pool):
    """After five seconds, then ten; of a lost database only one second is waited."""
    work, now, counted = Work(db), Time(), []
    work.breaks = {1: ValueError("broken"), 2: DatabaseUnavailable("away")}
    await make(db, (1, 1), (1, 2), (1, 3))
    async with running(db, Queue("work", work), now=now, count=lambda queue, done: counted.append(done)) as one:
        await until_there(db, "SELECT count(*) = 2 AND bool_and(leased_until = '-infinity') FROM jobs")
        rows = await db.fetch("SELECT subject, due_at, note FROM jobs ORDER BY 1")
        assert [tuple(row) for row in rows] == [
            (1, NOW + timedelta(seconds=5), "failed: ValueError"), (2, NOW + timedelta(seconds=1), "the database was lost")]
        await until(lambda: work.ended == [3])
        work.breaks = {1: KeyError("again")}
        now.now += timedelta(seconds=5)
        one.nudge("work")
        due = now.now + timedelta(seconds=10)
        await until_there(db, f"SELECT true FROM jobs WHERE due_at = '{due.isoformat()}'")
        now.now = due
        await until(lambda: work.ended == [3, 2, 1])
    assert sorted(counted) == [False, False, False, True, True, True]


async def test_a_job_whose_statement_takes_too_long_is_tried_so_often_and_set_aside(db: asyncpg.Pool, caplog: pytest.LogCaptureFixture):
    """Each time later; then it says so, nobody tries it, and nothing of it is lost: retry or more work for it has it tried again."""
    now, tries, alarms = Time(), [], []

    async def slow(job: Job) -> None:
        tries.append(now())
        async with db.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 1")
            await connection.execute("SELECT pg_sleep(60)")

    async def tried(times: int) -> None:
        one.nudge("work")
        await until(lambda: len(tries) >= times)
        await until_there(db, f"SELECT true FROM jobs WHERE failures = {min(times, worker.MOST_FAILURES)} AND leased_until = '-infinity'")

    await make(db, (1, 1))
    async with running(db, Queue("work", slow), now=now, note_set_aside=lambda: alarms.append(now())) as one:
        for times in range(1, worker.MOST_FAILURES + 1):
            await tried(times)
            now.now = (await db.fetchval("SELECT due_at FROM jobs")) if times < worker.MOST_FAILURES else now.now
        await until(lambda: alarms)             # the row says so before the worker has heard its answer
        assert alarms == [now()] and len(tries) == worker.MOST_FAILURES
        pauses = [after - before for before, after in itertools.pairwise(tries)]
        assert pauses[:3] == [timedelta(seconds=seconds) for seconds in (5, 10, 20)] and max(pauses) == timedelta(minutes=5)
        (aside,) = await jobs.set_aside(db, None, 10)
        assert (aside.queue, aside.subject, aside.failures, aside.note) == ("work", 1, worker.MOST_FAILURES, "failed: QueryCanceledError")
        now.now += timedelta(days=365)
        one.nudge("work")
        await make(db, (1, 2))
        await until(lambda: len(tries) == worker.MOST_FAILURES + 1)             # the other one: this one is nobody's
        assert await db.fetchval("SELECT due_at = 'infinity' FROM jobs WHERE subject = 1")
        assert await jobs.retry(db, now(), 2, None, None) == await jobs.retry(db, now(), 1, "other", None) == 0
        assert await jobs.retry(db, now(), 1, "work", 1) == 1 and await jobs.set_aside(db, None, 10) == []
        one.nudge("work")
        await until(lambda: len(tries) == worker.MOST_FAILURES + 2)
    assert "work 1 of merchant 1 failed 12 times in a row and is set aside" in caplog.text


async def test_failures_count_only_in_a_row(db: asyncpg.Pool):
    """Neither a lost database nor a try that went well adds to them."""
    (job,) = await claimed_after(db, 1)
    assert await jobs.failed(db, job, NOW, "failed: ValueError")
    (job,) = await claim(db)
    assert job.failures == 1
    await jobs.all_lost(db, [(job, NOW, "the database was lost")])
    (job,) = await claim(db)
    assert (job.failures, job.note) == (1, "the database was lost")
    assert await jobs.later(db, job, NOW)
    (job,) = await claim(db)
    assert job.failures == 0


async def claim(db: asyncpg.Pool) -> list[Job]:
    return await jobs.claim(db, "work", now=NOW, holder="x", lease=10.0, per_merchant=100, limit=100, after=-1)


async def claimed_after(db: asyncpg.Pool, subject: int) -> list[Job]:
    await make(db, (1, subject))
    return await claim(db)


async def test_a_handful_is_run_together_and_one_that_cannot_be_done_fails_alone(db: asyncpg.Pool):
    """The others of its handful are done; what is lost of one to another process stops nobody."""
    handfuls, ended = [], []

    async def together(handful: list[Job]) -> None:
        handfuls.append(len(handful))
        if any(job.subject == 7 for job in handful):
            raise ValueError("seven")
        await jobs.all_done(db, handful)
        ended.extend(job.subject for job in handful)

    await make(db, *((1, subject) for subject in range(20)))
    async with running(db, Queue("work", together, at_once=20, per_merchant=20, together=True)):
        await until(lambda: len(ended) == 19)
        await until_there(db, "SELECT failures = 1 AND leased_until = '-infinity' FROM jobs")
    assert handfuls[:3] == [20, 10, 5] and 7 not in ended
    assert await db.fetchval("SELECT note FROM jobs") == "failed: ValueError"


@pytest.mark.usefixtures("often")
async def test_of_a_handful_one_may_be_anothers_and_the_rest_goes_on(db: asyncpg.Pool):
    """Its task is not cancelled for that; where all are others', it is."""
    hold, done, cancelled = asyncio.Event(), [], []

    async def together(handful: list[Job]) -> None:
        try:
            await hold.wait()
        except asyncio.CancelledError:
            cancelled.append(len(handful))
            raise
        await jobs.all_later(db, [(job, NOW + timedelta(days=1), "") for job in handful])
        done.append(len(handful))

    await make(db, (1, 1), (1, 2), (1, 3))
    async with running(db, Queue("work", together, at_once=9, per_merchant=9, lease=LONG, together=True)) as one:
        await until(lambda: len(one._jobs) == 3)
        await db.execute("UPDATE jobs SET tries = 99, holder = 'b', leased_until = now() + interval '1 hour' WHERE subject = 2")
        await until(lambda: len(one._jobs) == 2)
        hold.set()
        await until(lambda: done == [3])
    assert await db.fetch("SELECT subject FROM jobs WHERE due_at > $1 ORDER BY 1", NOW) == [(1,), (3,)] and cancelled == []


@pytest.mark.usefixtures("often")
async def test_a_lost_lease_cancels(db: asyncpg.Pool):
    """Another took the job: its task here is cancelled, and neither gives it back nor removes it."""
    work = Work(db)
    work.hold[1] = asyncio.Event()
    await make(db, (1, 1))
    async with running(db, Queue("work", work, lease=LONG)):
        await until(lambda: work.begun)
        await db.execute("UPDATE jobs SET tries = 99, holder = 'b', leased_until = now() + interval '1 hour'")
        await until(lambda: work.cancelled == [1])
    assert await db.fetchval("SELECT tries FROM jobs WHERE holder = 'b' AND leased_until > now()") == 99


async def test_whoever_cannot_renew_lets_go(db: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch):
    """Once the lease may have ended, although nobody said so."""
    work = Work(db)
    work.hold[1] = asyncio.Event()
    await make(db, (1, 1))

    async def away(*arguments: Any) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(jobs, "renew", away)
    async with running(db, Queue("work", work, lease=0.3), pause=3600):
        await until(lambda: work.cancelled)


@pytest.mark.usefixtures("often")
async def test_a_lease_is_renewed_for_as_long_as_the_job_runs(db: asyncpg.Pool):
    """Another process that looks all the time gets it only when the first one's lease is over, which is never."""
    mine, others, lease = Work(db), Work(db), 3.0
    mine.hold[1] = asyncio.Event()
    await make(db, (1, 1))
    async with running(db, Queue("work", mine, lease=lease)):
        await until(lambda: mine.begun)
        first = await db.fetchval("SELECT leased_until FROM jobs")
        async with running(db, Queue("work", others), holder="b"):
            await until_there(db, f"SELECT true FROM jobs WHERE leased_until >= '{first.isoformat()}'::timestamptz + interval '{lease} s'")
            assert others.begun == []
            mine.hold[1].set()
            await until(lambda: mine.ended == [1])
    assert (mine.begun, others.begun) == ([1], [])


async def test_a_chore_runs_in_one_process_at_a_time_and_moves_on_when_its_owner_dies(
    db: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch,
):
    """Two would like to: one does.  Its renewals end, as by death, and the other goes on."""
    monkeypatch.setattr(worker, "TURN_SECONDS", 3.0)        # longer than a crowded machine lets either stand
    ran = {"a": 0, "b": 0}

    def chore(name: str) -> Chore:
        async def run() -> int:
            ran[name] += 1
            return 0
        return Chore("follower", run, SOON)

    owner = background(db, chore("a"))
    owner.start()
    await until(lambda: ran["a"])
    async with running(db, chore("b"), holder="b"):
        count = ran["a"]
        await until(lambda: ran["a"] > count + 5)
        assert ran["b"] == 0
        for task in owner._loops:                       # the process dies: nothing of it runs on, and nothing is said
            task.cancel()
        await until(lambda: ran["b"] > 2)
    await owner.stop()


async def test_a_chore_that_is_stopped_is_left_to_others_at_once(db: asyncpg.Pool):
    """Without waiting for its lease."""
    ran = asyncio.Event()

    async def run() -> int:
        ran.set()
        return 1

    async with running(db, Chore("follower", run, SOON)):
        await ran.wait()
        assert not await jobs.turn(db, "follower", "b", 1.0)
    assert await jobs.turn(db, "follower", "b", 1.0)


async def test_a_chore_for_every_process_runs_in_each_and_goes_on_after_a_failure(db: asyncpg.Pool):
    """What it raises is logged."""
    ran = {"a": 0, "b": 0}

    def chore(name: str) -> Chore:
        async def run() -> int:
            ran[name] += 1
            if ran[name] % 2:
                raise ValueError("broken")
            return 0
        return Chore("directory", run, SOON, alone=False)

    async with running(db, chore("a")), running(db, chore("b"), holder="b"):
        await until(lambda: min(ran.values()) > 4)


async def test_a_stopped_background_finished_what_it_had_and_took_nothing_new(db: asyncpg.Pool):
    """The job in hand ends; the one behind it is left."""
    work = Work(db)
    work.hold[1] = asyncio.Event()
    await make(db, (1, 1), (1, 2))
    one = background(db, Queue("work", work, at_once=1))
    one.start()
    await until(lambda: work.begun)
    stopping = asyncio.create_task(one.stop())
    await until(one._stopping.is_set)
    work.hold[1].set()
    await stopping
    assert work.ended == [1]
    assert await db.fetch("SELECT subject FROM jobs WHERE leased_until < now()") == [(2,)]


async def test_a_stop_does_not_wait_for_what_may_be_cut(db: asyncpg.Pool):
    """A chore that is long and can be begun anew at any time ends at once, and is left to others."""
    begun = asyncio.Event()

    async def run() -> int:
        begun.set()
        await asyncio.Event().wait()
        return 1

    one = background(db, Chore("retention", run, SOON, is_cut=True))
    one.start()
    await begun.wait()
    await one.stop()
    assert one.is_stopping
    assert await jobs.turn(db, "retention", "b", 1.0)


@pytest.mark.usefixtures("often")
async def test_whoever_claims_anew_what_he_held_lets_go_of_the_old_claim(db: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch):
    """After a standstill a process may find a job of its own free and take it again: it goes on with the new claim only."""
    async def standstill(pool: asyncpg.Pool, held: list[Job], lease: float) -> set[Job]:
        return set(held)

    work = Work(db)
    work.hold[1] = asyncio.Event()
    await make(db, (1, 1))
    renew = jobs.renew
    async with running(db, Queue("work", work, lease=LONG)) as one:
        await until(lambda: work.begun == [1])
        monkeypatch.setattr(jobs, "renew", standstill)
        await db.execute("UPDATE jobs SET leased_until = now() - interval '1 second'")
        await until(lambda: work.begun == [1, 1])
        monkeypatch.setattr(jobs, "renew", renew)
        await until(lambda: work.cancelled == [1] and len(one._jobs) == 1)
        work.hold[1].set()
        await until(lambda: work.ended == [1])


async def test_in_order_everything_happens_one_after_the_other_the_same_way_every_time(db: asyncpg.Pool):
    """Chores first, then the queues as given, merchant after merchant; until a whole turn found nothing."""
    def script() -> tuple[list[str], list[Chore | Queue]]:
        told: list[str] = []
        left = itertools.chain([2, 0], itertools.repeat(0))
        inside = 0

        async def sweep() -> int:
            told.append("sweep")
            return next(left)

        def runs(name: str) -> Callable[[Job], Any]:
            async def run(job: Job) -> None:
                nonlocal inside
                inside += 1
                assert inside == 1
                told.append(f"{name} {job.merchant_id}.{job.subject}")
                await jobs.done(db, job)
                if (name, job.subject) == ("first", 4):
                    await make(db, (9, 9), queue="second")
                inside -= 1
            return run

        return told, [Chore("sweep", sweep, 3600), Queue("first", runs("first")), Queue("second", runs("second"))]

    stories = []
    for _ in range(2):
        told, parts = script()
        await make(db, (2, 4), (1, 3), (1, 1), queue="first")
        await make(db, (5, 5), queue="second")
        async with running(db, *parts, sequential=True, pause=3600) as one:
            await until(lambda told=told: told.count("sweep") == 2)
            one.nudge("second")
            await until(lambda told=told: told.count("sweep") == 3)
        stories.append(told)
    assert stories[0] == stories[1] == [
        "sweep", "first 1.1", "first 2.4", "first 1.3", "second 5.5", "second 9.9", "sweep", "sweep"]
