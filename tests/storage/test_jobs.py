"""Jobs: one holder at a time, every merchant its turn, and no work that is slept over."""
from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from ringfence.storage import jobs
from ringfence.storage.database import pool
from ringfence.storage.jobs import SQL, Job, JobRow

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 5, 7, 9, 19, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@pytest.fixture
async def db(database: str) -> AsyncIterator[asyncpg.Pool]:
    async with pool(database, 6, by_key=True, settings=jobs.IN_ORDER) as made:
        yield made


async def make(db: asyncpg.Pool, *rows: tuple[int, int], queue: str = "recovery", due: datetime = NOW) -> None:
    """Jobs of (merchant, subject)."""
    await jobs.wake(db, [JobRow(merchant, queue, subject, 0, due) for merchant, subject in rows])


async def claim(db: asyncpg.Pool, holder: str = "a", **changed: Any) -> list[Job]:
    return await jobs.claim(db, **{
        "queue": "recovery", "now": NOW, "holder": holder, "lease": 60.0, "per_merchant": 4, "limit": 16, "after": -1} | changed)


async def lapse(db: asyncpg.Pool) -> None:
    """Every lease ends now."""
    await db.execute("UPDATE jobs SET leased_until = now() - interval '1 second' WHERE leased_until > now()")


async def left(db: asyncpg.Pool) -> list[tuple[int, int]]:
    return [tuple(row) for row in await db.fetch("SELECT merchant_id, subject FROM jobs ORDER BY 1, 2")]


async def test_a_job_is_claimed_with_all_that_is_known_of_it(db: asyncpg.Pool):
    """The first claim is try 1; due and deadline are as they were made."""
    await jobs.wake(db, [JobRow(3, "recovery", 7, 5, NOW, NOW + HOUR)])
    assert await claim(db) == [Job(3, "recovery", 7, 5, NOW, NOW + HOUR, 1, 0, "", "a")]


async def test_what_is_not_due_or_of_another_queue_is_left(db: asyncpg.Pool):
    """Due means by the caller's clock, to the instant."""
    await make(db, (1, 1), due=NOW + SECOND)
    await make(db, (1, 2), queue="delivery")
    assert await claim(db) == []
    assert [job.subject for job in await claim(db, now=NOW + SECOND)] == [1]


async def test_two_claimers_never_hold_one_job(db: asyncpg.Pool):
    """Six claim at the same time, again and again: each job goes to one of them."""
    await make(db, *((merchant, subject) for merchant in range(5) for subject in range(40)))

    async def take(holder: str) -> list[Job]:
        taken: list[Job] = []
        while found := await claim(db, holder, limit=7, per_merchant=3):
            taken += found
        return taken

    taken = [job for jobs_of_one in await asyncio.gather(*(take(f"process {number}") for number in range(6))) for job in jobs_of_one]
    assert len({job.key for job in taken}) == len(taken) == 200


async def test_one_merchants_ten_thousand_do_not_hold_up_anothers_single_one(db: asyncpg.Pool):
    """A claim takes few of each merchant, so the single one is in the very first."""
    await make(db, *((1, subject) for subject in range(10_000)), (2, 1))
    assert Counter(job.merchant_id for job in await claim(db, limit=16, per_merchant=4)) == {1: 4, 2: 1}


async def test_what_is_in_hand_of_a_merchant_counts(db: asyncpg.Pool):
    """A process that has three of four takes one more, and none where it has all."""
    await make(db, *((merchant, subject) for merchant in (1, 2, 3) for subject in range(10)))
    assert Counter(job.merchant_id for job in await claim(db, held={1: 3, 2: 5})) == {1: 1, 3: 4}


async def test_every_merchant_has_its_turn_when_all_have_more_than_fits(db: asyncpg.Pool):
    """Each claim starts behind the merchant that was served last, and wraps around."""
    await make(db, *((merchant, subject) for merchant in range(10) for subject in range(100)))
    served, after = [], -1
    for _ in range(6):
        got = await claim(db, limit=5, per_merchant=1, after=after)
        after = got[-1].merchant_id
        served += [job.merchant_id for job in got]
    assert served == list(range(10)) * 3


async def test_of_one_merchant_the_longest_due_come_first(db: asyncpg.Pool):
    """By due time, then by subject."""
    for subject, due in ((5, NOW), (6, NOW - SECOND), (4, NOW), (7, NOW - HOUR)):
        await make(db, (1, subject), due=due)
    assert [job.subject for job in await claim(db, per_merchant=3)] == [7, 6, 4]


async def test_where_a_lease_ends_another_takes_over_and_the_former_holder_changes_nothing(db: asyncpg.Pool):
    """Neither ``later`` nor ``done`` nor a renewal of the old claim does anything; those of the new one do."""
    await make(db, (1, 1))
    [old] = await claim(db, "a")
    assert await claim(db, "b") == []
    await lapse(db)
    [new] = await claim(db, "b")
    assert (new.tries, new.holder) == (2, "b")
    assert await jobs.renew(db, [old], 60.0) == set()
    assert not await jobs.later(db, old, NOW, "too late")
    assert not await jobs.done(db, old)
    assert await left(db) == [(1, 1)]
    assert await jobs.renew(db, [new], 60.0) == {new}
    assert await jobs.done(db, new)
    assert await left(db) == []


async def test_a_holder_from_before_the_row_was_made_anew_changes_nothing_either(db: asyncpg.Pool):
    """The tries of a new row begin at one again; the holder's name tells them apart."""
    await make(db, (1, 1))
    [old] = await claim(db, "a")
    await lapse(db)
    [new] = await claim(db, "b")
    assert await jobs.done(db, new)
    await make(db, (1, 1))
    [newest] = await claim(db, "c")
    assert newest.tries == old.tries
    assert not await jobs.done(db, old)
    assert not await jobs.later(db, old, NOW)
    assert await jobs.renew(db, [old, newest], 60.0) == {newest}
    assert await claim(db, "d") == []


async def test_a_renewed_lease_goes_on(db: asyncpg.Pool):
    """It lasts from the renewal, by the database's clock."""
    await make(db, (1, 1))
    [job] = await claim(db, lease=0.0)
    assert await jobs.renew(db, [job], 60.0) == {job}
    assert await claim(db, "b") == []


async def test_a_job_given_back_comes_when_it_is_due_with_what_it_met(db: asyncpg.Pool):
    """And not leased any more; its tries go on."""
    await make(db, (1, 1))
    [job] = await claim(db)
    assert await jobs.later(db, job, NOW + HOUR, "nobody answers")
    assert await jobs.renew(db, [job], 60.0) == {job}            # nobody else's; and not leased by that
    assert await claim(db, "b") == []
    [again] = await claim(db, "b", now=NOW + HOUR)
    assert (again.tries, again.note, again.due_at) == (2, "nobody answers", NOW + HOUR)


@pytest.mark.parametrize("ending", ["done", "later"])
async def test_work_that_arrives_while_a_job_is_held_is_never_slept_over(db: asyncpg.Pool, ending: str):
    """The job is there and due at once, whether it was to be removed or to come in an hour."""
    await make(db, (1, 1))
    [job] = await claim(db)
    await make(db, (1, 1))
    assert await claim(db, "b") == []                    # the nudge does not break the lease
    assert await (jobs.done(db, job) if ending == "done" else jobs.later(db, job, NOW + HOUR))
    [again] = await claim(db, "b")
    assert again.nudges == job.nudges + 1


@pytest.mark.parametrize("ending", ["done", "later"])
@pytest.mark.parametrize("first", ["the work", "the end"])
async def test_neither_is_work_of_an_open_transaction(db: asyncpg.Pool, ending: str, first: str):
    """Whoever comes second waits for the other's commit, and the job is due once both are through."""
    await make(db, (1, 1))
    [job] = await claim(db)

    async def end(connection: asyncpg.Connection) -> None:
        assert await (jobs.done(connection, job) if ending == "done" else jobs.later(connection, job, NOW + HOUR))

    async def work(connection: asyncpg.Connection) -> None:
        await jobs.wake(connection, [JobRow(1, "recovery", 1, 0, NOW)])

    before, behind = (work, end) if first == "the work" else (end, work)
    async with db.acquire() as one, db.acquire() as other:
        async with one.transaction():
            await before(one)
            waiting = asyncio.create_task(behind(other))
            while not await db.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $1", other.get_server_pid()):
                await asyncio.sleep(0)
        await waiting
    assert [found.key for found in await claim(db, "b")] == [job.key]


async def test_a_job_that_is_woken_is_due_by_the_earlier_time(db: asyncpg.Pool):
    """A later wish changes nothing, an earlier one does; the deadline stays the first one."""
    await jobs.wake(db, [JobRow(1, "recovery", 1, 9, NOW + HOUR, NOW + 2 * HOUR)])
    await jobs.wake(db, [JobRow(1, "recovery", 1, 9, NOW + 2 * HOUR, NOW + 9 * HOUR)])
    assert await claim(db) == []
    await jobs.wake(db, [JobRow(1, "recovery", 1, 9, NOW), JobRow(1, "recovery", 1, 9, NOW + HOUR)])
    [job] = await claim(db)
    assert (job.due_at, job.deadline_at, job.payment_id) == (NOW, NOW + 2 * HOUR, 9)


async def test_one_job_can_be_taken_before_it_is_due_but_not_out_of_anothers_hands(db: asyncpg.Pool):
    """On the fly; what is gone is nobody's."""
    await make(db, (1, 1), due=NOW + HOUR)
    taken = await jobs.claim_one(db, "recovery", 1, 1, holder="a", lease=60.0)
    assert taken is not None
    assert taken.tries == 1
    assert await jobs.claim_one(db, "recovery", 1, 1, holder="b", lease=60.0) is None
    assert await jobs.done(db, taken)
    assert await jobs.claim_one(db, "recovery", 1, 1, holder="b", lease=60.0) is None


async def test_a_renewal_does_not_wait_for_a_transaction_that_ends_the_job(db: asyncpg.Pool):
    """Its lease is another matter then; the others of the same renewal are renewed."""
    await make(db, (1, 1), (1, 2))
    mine = await claim(db, lease=0.0)
    async with db.acquire() as one, one.transaction():
        assert await jobs.done(one, mine[0])
        assert await jobs.renew(db, mine, 60.0) == set(mine)
        assert await claim(db, "b") == []                # the one is locked, the other renewed
    assert await left(db) == [(1, 2)]


async def test_a_queue_is_due_where_a_merchant_has_a_job_that_is_and_that_nobody_holds(db: asyncpg.Pool):
    """Behind the first merchant too; not what is due later, in hand, or set aside."""
    asked = ["a", "b", "c", "d", "e"]
    assert await jobs.due(db, asked, NOW) == []
    await jobs.wake(db, [
        JobRow(1, "a", 1, 0, NOW + SECOND), JobRow(9, "a", 1, 0, NOW), JobRow(1, "b", 1, 0, NOW + SECOND), JobRow(2, "c", 1, 0, NOW),
        JobRow(2, "d", 1, 0, NOW), JobRow(2, "f", 1, 0, NOW)])
    assert await jobs.due(db, asked, NOW) == ["a", "c", "d"]
    (held,) = await claim(db, queue="c")
    (failed,) = await claim(db, queue="d")
    assert await jobs.failed(db, failed, None, "never again")
    assert await jobs.due(db, asked, NOW) == ["a"]
    assert await jobs.due(db, asked, NOW + SECOND) == ["a", "b"]
    assert await jobs.later(db, held, NOW)
    assert await jobs.due(db, ["c"], NOW) == ["c"]


async def test_a_chore_is_one_holders_until_its_lease_ends_or_it_rests(db: asyncpg.Pool):
    """Its holder may go on; another's turn comes afterwards."""
    assert await jobs.turn(db, "follower", "a", 60.0)
    assert not await jobs.turn(db, "follower", "b", 60.0)
    assert (await jobs.others(db, "a"), await jobs.others(db, "b")) == (set(), {"follower"})
    assert await jobs.turn(db, "follower", "a", 0.0)
    assert await jobs.turn(db, "follower", "b", 60.0)
    await jobs.rest(db, "follower", "a")                 # not a's any more
    assert not await jobs.turn(db, "follower", "a", 60.0)
    await jobs.rest(db, "follower", "b")
    assert await jobs.turn(db, "follower", "a", 60.0)


async def test_how_far_a_chore_has_come_never_goes_back(db: asyncpg.Pool):
    """And has nothing to do with whose turn it is."""
    assert await jobs.reached(db, "dropped") == 0
    assert await jobs.turn(db, "dropped", "a", 60.0)
    for number in (7, 3):
        await jobs.note_reached(db, "dropped", number)
    assert await jobs.reached(db, "dropped") == 7
    assert not await jobs.turn(db, "dropped", "b", 60.0)


@pytest.mark.new_database
async def test_a_claim_reads_few_rows_of_many(db: asyncpg.Pool):
    """With 100,000 jobs of 50 merchants, a fifth of them due: a few hundred rows, by the index, with and without statistics."""
    await db.execute(
        "INSERT INTO jobs (merchant_id, queue, subject, payment_id, due_at)"
        " SELECT n % 50, 'recovery', n, 0, $1::timestamptz + n * interval '1 second' FROM generate_series(1, 100000) n", NOW)
    for statistics in (False, True):
        if statistics:
            await db.execute("ANALYZE jobs")
        now = NOW + 20_000 * SECOND
        [(plan,)] = await db.fetch(
            "EXPLAIN (ANALYZE, FORMAT JSON) " + SQL.claim, "recovery", now, "a", 4, 16, -1, jobs.HIGHEST, 10.0, [], [])
        nodes = list(every(json.loads(plan)[0]["Plan"]))
        assert not [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "jobs"]
        read = sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes if "Relation Name" in node)
        assert 16 <= read < 500


def every(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(found for child in node.get("Plans", ()) for found in every(child))]
