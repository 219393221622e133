"""Deliveries: order, limits, retries and the circuit of one endpoint, and that no endpoint holds up another."""
from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from ringfence.background import deliveries
from ringfence.background.worker import Background
from ringfence.engine.addresses import rules_for
from ringfence.storage import database as storage
from ringfence.storage import jobs
from ringfence.storage import webhooks as rows
from ringfence.storage.jobs import Job, JobRow
from ringfence.storage.webhooks import AttemptRow, DeliveryRow, PolicyRow
from tests.background.receiver import OK, REFUSED, Receiver, receiving
from tests.engine.composition import NOW, Time

pytestmark = pytest.mark.anyio

RULES = rules_for(False)
POLICY = PolicyRow([10] * 10, [302], 10, False, 60.0)
SECOND = timedelta(seconds=1)


class Desk:
    """An installation that has nothing but deliveries."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool, self.now = pool, Time()

    async def endpoint(self, url: str, policy: PolicyRow = POLICY, merchant_id: int = 1) -> int:
        async with self.pool.acquire() as connection:
            return await rows.keep_endpoint(connection, (merchant_id, "aps", url), policy, NOW)

    async def put(self, endpoint_id: int, events: Sequence[tuple[int, int]], merchant_id: int = 1) -> None:
        """Deliveries of events (payment, sequence), as the follower makes them."""
        async with self.pool.acquire() as connection, connection.transaction():
            await jobs.wake(connection, [JobRow(merchant_id, "delivery", endpoint_id, 0, self.now.now)])
            await rows.keep_deliveries(connection, [
                DeliveryRow(merchant_id, endpoint_id, payment, sequence, "purchase_approved", "feedback", "application/json",
                            f"{payment}-{sequence}".encode(), "waiting", 0, 0, self.now.now, self.now.now, None)
                for payment, sequence in events])

    async def drain(self, endpoint_id: int = 1, merchant_id: int = 1, **options: Any) -> bool:
        """What a worker does that finds the endpoint's job, and that may take as long as it needs; false where it is not due."""
        job = await self.claim()
        if job is None:
            return False
        assert (job.merchant_id, job.subject) == (merchant_id, endpoint_id)
        await deliveries.queue(self.pool, RULES, now=self.now, slice_seconds=3600.0, **options).run(job)
        return True

    async def claim(self, holder: str = "test") -> Job | None:
        found = await jobs.claim(self.pool, "delivery", now=self.now.now, holder=holder, lease=10.0, per_merchant=8, limit=1, after=-1)
        return found[0] if found else None

    async def states(self) -> dict[tuple[int, int], tuple[str, int]]:
        """By payment and sequence: state, and attempts ever."""
        return {(row[0], row[1]): (row[2], row[3]) for row in await self.pool.fetch(
            "SELECT payment_id, sequence, state, attempts FROM deliveries ORDER BY 1, 2")}

    async def due_in(self) -> float | None:
        """Business seconds until the job is due; none where it is gone."""
        due_at = await self.pool.fetchval("SELECT due_at FROM jobs WHERE queue = 'delivery'")
        return due_at and (due_at - self.now.now).total_seconds()

    async def log(self) -> list[tuple[int, int, int, int | None]]:
        return [tuple(row) for row in await self.pool.fetch(
            "SELECT payment_id, sequence, attempt, status FROM delivery_attempts ORDER BY at, payment_id, sequence, attempt")]


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Desk]:
    async with storage.pool(database, 4, by_key=True) as pool:
        yield Desk(pool)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


async def test_what_is_due_is_posted_with_its_bytes_and_its_headers(desk: Desk, receiver: Receiver):
    """Afterwards it is delivered, logged, and the endpoint has no job any more."""
    await desk.put(await desk.endpoint(receiver.url), [(7, 1)])
    assert await desk.drain()
    (heard,) = receiver.heard
    assert heard.line == "POST /hook?shop=1 HTTP/1.1" and heard.body == b"7-1"
    assert heard.headers == {
        "host": f"127.0.0.1:{receiver.port}", "content-length": "3", "content-type": "application/json", "user-agent": "Ringfence",
        "ringfence-event": "7-1", "ringfence-sequence": "1", "ringfence-attempt": "1"}
    assert await desk.states() == {(7, 1): ("delivered", 1)} and await desk.due_in() is None
    row = await desk.pool.fetchrow("SELECT * FROM delivery_attempts")
    assert (row["url"], row["address"], row["status"], row["error"], row["answer"]) == (receiver.url, "127.0.0.1", 200, "", b"OK")
    standing = await desk.pool.fetchrow("SELECT * FROM endpoints")
    assert (standing["failures"], standing["delivered_at"], standing["last_status"]) == (0, NOW, 200)


async def test_first_attempts_of_a_payment_are_made_in_its_order(desk: Desk, receiver: Receiver):
    """Whatever goes on beside them, and although the receiver answers the first one late."""
    async def slowly(one: Receiver, writer: asyncio.StreamWriter) -> None:
        if one.heard[-1].event == "1-1":
            await one.until(3)
        writer.write(OK)

    receiver.reply = slowly
    await desk.put(await desk.endpoint(receiver.url), [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)])
    await desk.drain()
    heard = [one.event for one in receiver.heard]
    assert sorted(heard[:3]) == ["1-1", "2-1", "3-1"] and heard[3:] == ["1-2", "1-3"]


async def test_an_event_that_failed_no_longer_holds_back_the_next(desk: Desk, receiver: Receiver):
    """It has been tried, and comes again in its own time."""
    receiver.replies = [REFUSED]
    await desk.put(await desk.endpoint(receiver.url), [(1, 1), (1, 2)])
    await desk.drain()
    assert [one.event for one in receiver.heard] == ["1-1", "1-2"]
    assert await desk.states() == {(1, 1): ("waiting", 1), (1, 2): ("delivered", 1)} and await desk.due_in() == 10
    assert not await desk.drain()
    desk.now.now += 10 * SECOND
    await desk.drain()
    assert [one.event for one in receiver.heard][2:] == ["1-1"] and set((await desk.states()).values()) == {("delivered", 2), ("delivered", 1)}


async def test_in_strict_order_an_event_waits_for_the_end_of_the_one_before(desk: Desk, receiver: Receiver):
    """Delivered or given up; other payments are not held up."""
    receiver.replies = [REFUSED]
    await desk.put(await desk.endpoint(receiver.url, POLICY._replace(in_order=True, schedule=[10], at_once=1)), [(1, 1), (1, 2), (2, 1)])
    await desk.drain()
    assert [one.event for one in receiver.heard] == ["1-1", "2-1"] and await desk.due_in() == 10
    desk.now.now += 10 * SECOND
    receiver.replies = [REFUSED]
    await desk.drain()
    assert [one.event for one in receiver.heard][2:] == ["1-1", "1-2"]
    assert await desk.states() == {(1, 1): ("given_up", 2), (1, 2): ("delivered", 1), (2, 1): ("delivered", 1)}


@pytest.mark.parametrize("at_once", [1, 3])
async def test_no_more_than_so_many_are_in_flight(desk: Desk, receiver: Receiver, at_once: int):
    """And all of them are used."""
    async def when_full(one: Receiver, writer: asyncio.StreamWriter) -> None:
        await one.until(at_once)
        writer.write(OK)

    receiver.reply = when_full
    await desk.put(await desk.endpoint(receiver.url, POLICY._replace(at_once=at_once)), [(payment, 1) for payment in range(20)])
    await desk.drain()
    assert receiver.most_at_once == at_once and len(receiver.heard) == 20 and receiver.connections <= at_once


async def test_after_five_failures_one_attempt_is_made_in_a_pause_until_one_arrives(desk: Desk, receiver: Receiver):
    """The circuit opens, is probed with what is due, and closes at the first success; then everything goes out."""
    receiver.reply = REFUSED
    await desk.put(await desk.endpoint(receiver.url, POLICY._replace(at_once=1)), [(payment, 1) for payment in range(8)])
    await desk.drain()
    assert len(receiver.heard) == 5 and await desk.due_in() == 10
    for probe in range(1, 4):
        desk.now.now += 9 * SECOND
        assert not await desk.drain()
        desk.now.now += SECOND
        assert await desk.drain() and len(receiver.heard) == 5 + probe
    assert [one.event for one in receiver.heard][5:] == ["5-1", "6-1", "7-1"]
    receiver.reply = OK
    desk.now.now += 10 * SECOND
    await desk.drain()
    assert set(await desk.states()) == {(payment, 1) for payment in range(8)} and {state for state, _ in (await desk.states()).values()} == {"delivered"}
    assert tuple(await desk.pool.fetchrow("SELECT failures, probe_at FROM endpoints")) == (0, None)


async def test_news_for_an_endpoint_that_fails_does_not_shorten_its_pause(desk: Desk, receiver: Receiver):
    """Whoever wakes it finds the circuit open."""
    receiver.reply = REFUSED
    await desk.put(await desk.endpoint(receiver.url, POLICY._replace(at_once=1)), [(payment, 1) for payment in range(5)])
    await desk.drain()
    desk.now.now += SECOND
    await desk.put(1, [(9, 1)])
    assert await desk.drain() and len(receiver.heard) == 5 and await desk.due_in() == 9


async def test_a_single_event_is_tried_exactly_as_its_schedule_says(desk: Desk, receiver: Receiver):
    """Eleven attempts ten seconds apart, then the tail, then it is given up; the bytes of all attempts are the same."""
    receiver.reply = REFUSED
    schedule = [10] * 10 + [60, 120, 240]
    await desk.put(await desk.endpoint(receiver.url, POLICY._replace(schedule=schedule)), [(1, 1)])
    pauses = []
    while await desk.drain():
        due = await desk.due_in()
        if due is None:
            break
        pauses.append(due)
        desk.now.now += due * SECOND - SECOND
        assert not await desk.drain()
        desk.now.now += SECOND
    assert pauses == schedule and await desk.states() == {(1, 1): ("given_up", 14)}
    assert len(receiver.heard) == 14 and {one.body for one in receiver.heard} == {b"1-1"}
    assert [one.headers["ringfence-attempt"] for one in receiver.heard] == [str(number) for number in range(1, 15)]


@pytest.mark.parametrize(("status", "state"), [(200, "delivered"), (204, "delivered"), (302, "delivered"), (301, "waiting"), (404, "waiting")])
async def test_what_counts_as_received(desk: Desk, receiver: Receiver, status: int, state: str):
    """2xx, and what the door says beside it; a redirect is an answer and not a way."""
    receiver.reply = b"HTTP/1.1 %d X\r\nlocation: http://127.0.0.1:%d/elsewhere\r\ncontent-length: 0\r\n\r\n" % (status, receiver.port)
    await desk.put(await desk.endpoint(receiver.url), [(1, 1)])
    await desk.drain()
    assert (await desk.states())[1, 1] == (state, 1) and len(receiver.heard) == 1


async def test_an_address_that_became_forbidden_is_a_failed_attempt(desk: Desk):
    """Nothing is called, and the log says why."""
    await desk.put(await desk.endpoint("http://10.0.0.1/"), [(1, 1)])
    await desk.drain()
    row = await desk.pool.fetchrow("SELECT status, error, address FROM delivery_attempts")
    assert tuple(row) == (None, "The address names 10.0.0.1, which is not a public address, and in none of RINGFENCE_WEBHOOK_NETWORKS.", "")


async def test_a_killed_holders_endpoint_goes_on_elsewhere(desk: Desk, receiver: Receiver):
    """The one that was slow writes nothing any more: each attempt stands once in the log."""
    asked, let_go = asyncio.Event(), asyncio.Event()

    async def held(one: Receiver, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await let_go.wait()
        writer.write(OK)

    receiver.replies = [held]
    await desk.put(await desk.endpoint(receiver.url), [(1, 1), (2, 1)])
    slow = await desk.claim("slow")
    assert slow is not None
    working = asyncio.create_task(deliveries.queue(desk.pool, RULES, now=desk.now).run(slow))
    await asked.wait()
    await receiver.until(2)
    await desk.pool.execute("UPDATE jobs SET leased_until = '-infinity'")      # as if its process had been killed
    other = await desk.claim("other")
    assert other is not None and other.tries == slow.tries + 1
    await deliveries.queue(desk.pool, RULES, now=desk.now).run(other)
    let_go.set()
    await working
    assert await desk.log() == [(1, 1, 1, 200), (2, 1, 1, 200)] and set((await desk.states()).values()) == {("delivered", 1)}


async def test_a_drain_that_is_cancelled_lets_go_of_everything(desk: Desk, receiver: Receiver):
    """A lost lease: no attempt of it goes on."""
    gone = asyncio.Event()

    async def never(one: Receiver, writer: asyncio.StreamWriter) -> None:
        while not writer.transport.is_closing():
            await asyncio.sleep(0)
        gone.set()

    receiver.reply = never
    await desk.put(await desk.endpoint(receiver.url), [(1, 1), (2, 1)])
    job = await desk.claim()
    assert job is not None
    working = asyncio.create_task(deliveries.queue(desk.pool, RULES, now=desk.now).run(job))
    await receiver.until(2)
    working.cancel()
    await asyncio.wait([working])
    receiver.hang_up()
    await gone.wait()
    assert working.cancelled() and await desk.log() == []


@pytest.mark.parametrize(("queued", "patience", "pause"), [(3, 60.0, deliveries.POLITE_LOOK_SECONDS), (1_000_000, 2.0, 0.2)])
async def test_an_attempt_lets_live_requests_go_first_but_not_for_ever(
    desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, queued: int, patience: float, pause: float,
):
    """It looks whether any still wait for their commit, and after a moment goes all the same."""
    looks = 0

    def waiting() -> int:
        nonlocal looks
        looks += 1
        return max(0, queued - looks)

    monkeypatch.setattr(deliveries, "POLITE_SECONDS", patience)
    monkeypatch.setattr(deliveries, "POLITE_LOOK_SECONDS", pause)
    await desk.put(await desk.endpoint(receiver.url), [(1, 1)])
    await desk.drain(waiting=waiting)
    assert len(receiver.heard) == 1 and 1 < looks <= min(queued, 20)


async def test_on_a_busy_loop_an_attempt_waits_no_longer(desk: Desk, receiver: Receiver):
    """However long a turn of the loop takes: what is waited for is time, not turns, else a crowd of payments stops all webhooks."""
    looks = 0

    def waiting() -> int:
        nonlocal looks
        looks += 1
        busy = time.monotonic() + deliveries.POLITE_SECONDS      # as if others had the loop so long
        while time.monotonic() < busy:
            pass
        return 1

    await desk.put(await desk.endpoint(receiver.url), [(1, 1)])
    await desk.drain(waiting=waiting)
    assert len(receiver.heard) == 1 and looks == 1


async def test_every_attempt_is_counted(desk: Desk, receiver: Receiver):
    """What arrived, and what did not."""
    counted: list[bool] = []
    receiver.replies = [REFUSED]
    await desk.put(await desk.endpoint(receiver.url, POLICY._replace(at_once=1)), [(1, 1), (2, 1)])
    await desk.drain(count=counted.append)
    assert counted == [False, True]


async def test_the_results_of_many_attempts_share_their_commits(desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    """A page is not as many transactions as it has lines."""
    commits = []
    note = rows.note_attempts

    async def counted(connection, attempts, *others):
        commits.append(len(attempts))
        return await note(connection, attempts, *others)

    monkeypatch.setattr(rows, "note_attempts", counted)
    await desk.put(await desk.endpoint(receiver.url, POLICY._replace(at_once=50)), [(payment, 1) for payment in range(300)])
    await desk.drain()
    assert sum(commits) == 300 and len(commits) < 100


@pytest.mark.new_database
async def test_a_result_is_stored_by_its_key_however_much_waits(desk: Desk):
    """A backlog of thousands is not read for every attempt: the index of what waits would find a delivery, too, by reading it all."""
    await desk.put(await desk.endpoint("http://127.0.0.1:9/"), [(payment, 1) for payment in range(5_000)])
    attempts = [AttemptRow(1, 1, payment, 1, 1, NOW, "http://127.0.0.1:9/", "127.0.0.1", 200, "", 3, b"") for payment in range(100)]
    async with desk.pool.acquire() as connection:
        plan = await connection.fetch(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {rows.SQL.note_attempts}", attempts, ["delivered"] * 100, [NOW] * 100, [])
        due = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {rows.SQL.due}", 1, 1, NOW, True, 256)
    for said, most in ((plan, 4_000), (due, 6_000)):
        blocks = json.loads(said[0][0])[0]["Plan"]["Shared Hit Blocks"]
        assert blocks < most, said[0][0]


async def test_in_strict_order_a_backlog_behind_others_does_not_fill_the_page(desk: Desk, receiver: Receiver):
    """Three hundred payments whose second event waits for a first one that begins anew: every event still goes out, in its order."""
    await desk.put(await desk.endpoint(receiver.url, POLICY._replace(in_order=True, at_once=50)), [(payment, 2) for payment in range(300)])
    desk.now.now += SECOND
    await desk.put(1, [(payment, 1) for payment in range(300)])
    while await desk.drain():
        pass
    assert set((await desk.states()).values()) == {("delivered", 1)} and len(receiver.heard) == 600
    place = {one.event: number for number, one in enumerate(receiver.heard)}
    assert all(place[f"{payment}-1"] < place[f"{payment}-2"] for payment in range(300))


@pytest.fixture
async def background(desk: Desk) -> AsyncIterator[Background]:
    one = Background([], [deliveries.queue(desk.pool, RULES, now=desk.now)], pool=desk.pool, now=desk.now, holder="test", pause=0.1)
    yield one
    await one.stop()


async def test_one_dead_endpoint_among_a_hundred_holds_up_no_other(desk: Desk, receiver: Receiver, background: Background):
    """One takes connections and never answers, one refuses them, each with a backlog; all others receive everything before the first
    attempt at the dead one has been given up."""
    async def never(one: Receiver, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with receiving() as gone:
        refusing = gone.url
    async with receiving() as dead:
        dead.reply = never
        urls = [dead.url, refusing] + [receiver.url + f"&place={number}" for number in range(98)]
        for number, url in enumerate(urls):
            merchant_id = 1 + number % 20
            endpoint = await desk.endpoint(url, POLICY._replace(seconds=60.0) if url == dead.url else POLICY, merchant_id)
            await desk.put(endpoint, [(payment, 1) for payment in range(400 if url in (dead.url, refusing) else 3)], merchant_id)
        background.start()
        await asyncio.wait_for(dead.until(10), 60)
        await asyncio.wait_for(receiver.until(98 * 3), 60)
        assert dead.most_at_once == len(dead.heard) == 10
        assert await desk.pool.fetchval("SELECT count(*) FROM delivery_attempts WHERE url = $1", dead.url) == 0
        dead.hang_up()
