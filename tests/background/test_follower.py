"""The follower: every event has exactly one delivery at every address, whatever dies on the way."""
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from ringfence.background import deliveries
from ringfence.background.follower import Follower, chore
from ringfence.bench.sink import Sink
from ringfence.engine import feed
from ringfence.engine.addresses import rules_for
from ringfence.engine.feed import Notifier
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.storage import database as storage
from ringfence.storage import jobs
from tests.background.receiver import NOTIFIER, Breaking, messages, wants
from tests.engine.composition import Process, Shop, Time, process, shop

pytestmark = pytest.mark.anyio
URL = "http://127.0.0.1:9/hook"
LONG = 3600.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run goes on until all is handed out, however slow the machine is."""
    monkeypatch.setattr("ringfence.background.follower.RUN_SECONDS", LONG)


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database, now=Time()) as running:
        yield running


@pytest.fixture
async def here(one: Process) -> Shop:
    return await shop(one, feedback_url=URL)


def follower(process: Process, pool: asyncpg.Pool | None = None, notifier: Notifier = NOTIFIER, nudged: list[str] | None = None) -> Follower:
    return Follower(pool or process.pool, process.directory, {"aps": notifier}, process.now, (nudged if nudged is not None else []).append)


async def made(process: Process) -> list[tuple[int, int]]:
    """Deliveries as (payment, sequence), sorted."""
    return [tuple(row) for row in await process.fetch("SELECT payment_id, sequence FROM deliveries ORDER BY 1, 2")]


async def events(process: Process) -> list[tuple[int, int]]:
    return [tuple(row) for row in await process.fetch("SELECT payment_id, sequence FROM events ORDER BY 1, 2")]


async def some_payments(here: Shop) -> None:
    for number in range(3):
        await here.authorize(f"W-{number}", 1000)
        await here.capture(f"W-{number}", 400)
    await here.purchase("W-9", 700)


async def test_every_event_becomes_a_delivery_and_wakes_its_endpoint(one: Process, here: Shop):
    """With the bytes that the door made; the endpoint has one job, and a second look finds nothing new."""
    nudged: list[str] = []
    await some_payments(here)
    following = follower(one, nudged=nudged)
    assert await following.run() == 7 and await following.run() == 0
    assert await made(one) == await events(one) and nudged == ["delivery"]
    rows = await one.fetch("SELECT body, state, tried, attempts, content_type, purpose, next_at FROM deliveries ORDER BY payment_id, sequence")
    assert rows[1]["body"].startswith(b"capture_approved") and {tuple(row)[1:] for row in rows} == {
        ("waiting", 0, 0, "text/plain", "feedback", one.now.now)}
    assert [tuple(row) for row in await one.fetch("SELECT queue, subject, due_at FROM jobs")] == [("delivery", 1, one.now.now)]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_follower_that_dies_anywhere_leaves_each_event_exactly_one_delivery(database: str, one: Process, here: Shop, when: str):
    """At every statement of a run, before the server saw it and after; the one that comes next ends the work."""
    async with asyncpg.create_pool(database, min_size=0, max_size=1, connection_class=Breaking, server_settings={"timezone": "UTC"}) as pool:
        place, cuts, orders = 0, 0, 0
        while True:
            orders += 1
            await here.authorize(f"K-{when}-{orders}", 1000)
            await here.capture(f"K-{when}-{orders}", 400)
            Breaking.cut(place, when)
            try:
                await follower(one, pool).run()
            except CONNECTION_LOST:
                cuts += 1
            finally:
                Breaking.cut(-1, when)
            await follower(one).run()
            assert await made(one) == await events(one)
            if place >= cuts:
                break
            place += 1
        assert cuts >= 10


async def test_two_followers_at_once_make_each_delivery_once(database: str, one: Process, here: Shop):
    """One of them throws its page away."""
    await some_payments(here)
    async with process(database, 2, now=one.now) as other:
        counts = await asyncio.gather(follower(one).run(), follower(other).run())
    assert sum(counts) == 7 and await made(one) == await events(one)


async def test_who_sets_an_address_and_pays_at_once_is_told(database: str, one: Process):
    """Although the follower's process has not noticed the change yet."""
    here = await shop(one)
    async with process(database, 2, now=one.now) as other:
        await one.directory.change("CycHZxVj", {"feedback_url": URL})
        await here.purchase("N-1")
        following = follower(other)
        assert not wants(other.directory.merchants()[0]) and await following.run() == 1


async def test_a_change_of_settings_changes_the_endpoint_or_makes_another(one: Process, here: Shop):
    """The address stays one endpoint when its policy changes; another address is another endpoint."""
    await here.purchase("S-1")
    await follower(one).run()
    await one.directory.change("CycHZxVj", {"feedback_attempts": "3", "feedback_tail": "2", "feedback_order": "strict", "feedback_at_once": "1"})
    await here.purchase("S-2")
    await follower(one).run()
    await one.directory.change("CycHZxVj", {"feedback_url": URL + "2"})
    await here.purchase("S-3")
    await follower(one).run()
    rows = await one.fetch("SELECT endpoint_id, url, schedule, accepts, at_once, in_order FROM endpoints ORDER BY 1")
    assert [tuple(row) for row in rows] == [(1, URL, [10, 10, 60, 120], [302], 1, True), (2, URL + "2", [10, 10, 60, 120], [302], 1, True)]
    assert [row[0] for row in await one.fetch("SELECT endpoint_id FROM deliveries ORDER BY payment_id")] == [1, 1, 2]


async def test_where_nobody_listens_no_event_is_read(one: Process, monkeypatch: pytest.MonkeyPatch):
    """The place in the feed moves on, once a second."""
    here = await shop(one)
    await some_payments(here)

    async def never(*args: object) -> None:
        raise AssertionError("an event was read")

    monkeypatch.setattr(feed, "read", never)
    following = follower(one)
    assert await following.run() == 0 and await made(one) == []
    async with one.pool.acquire() as connection:
        assert dict(tuple(row) for row in await one.fetch("SELECT lane, number FROM follows")) == await feed.heads(connection)
    before = await one.fetch("SELECT * FROM follows")
    await here.purchase("Q-1")
    assert await following.run() == 0 and await one.fetch("SELECT * FROM follows") == before


async def test_an_event_without_words_holds_up_no_other(one: Process, here: Shop, caplog: pytest.LogCaptureFixture):
    """It is logged and stored as given up, at no endpoint; everything behind it is told."""
    def stumbling(merchant, occurred):
        if occurred.event == "capture_approved":
            raise ValueError("no words")
        return messages(merchant, occurred)

    await here.authorize("X-1", 1000)
    await here.capture("X-1", 400)
    await here.purchase("X-2")
    assert await follower(one, notifier=Notifier(wants, stumbling)).run() == 3
    rows = await one.fetch("SELECT endpoint_id, event, state, body FROM deliveries ORDER BY endpoint_id, event")
    assert [tuple(row)[:3] for row in rows] == [
        (0, "capture_approved", "given_up"), (1, "authorization_approved", "waiting"), (1, "purchase_approved", "waiting")]
    assert "cannot be told" in caplog.text


async def test_what_a_delivery_costs(database: str, one: Process, capsys: pytest.CaptureFixture[str]):
    """From the committed event to the stored answer, in CPU of this process; printed, and never of the order of a millisecond."""
    with Sink() as sink:
        here = await shop(one, feedback_url=sink.url)
        count = 600
        await asyncio.gather(*(here.purchase(f"C-{number}") for number in range(count)))
        async with storage.pool(database, 4, by_key=True) as pool:
            began = time.process_time()
            assert await follower(one, pool).run() == count
            (job,) = await jobs.claim(pool, "delivery", now=one.now.now, holder="test", lease=10.0, per_merchant=1, limit=1, after=-1)
            await deliveries.queue(pool, rules_for(False), now=one.now, slice_seconds=LONG).run(job)
            cost = (time.process_time() - began) / count
        assert sink.figures()[:2] == (count, count)
    with capsys.disabled():
        print(f" {cost * 1e6:.0f} µs of CPU a delivery ")
    assert cost < 0.001


async def test_a_backlog_of_many_pages_is_handed_out_in_one_run(one: Process, here: Shop, monkeypatch: pytest.MonkeyPatch):
    """Again at once while there is more."""
    monkeypatch.setattr("ringfence.engine.webhooks.PAGE", 2)
    await some_payments(here)
    one_chore = chore(one.pool, one.directory, {"aps": NOTIFIER}, one.now, lambda queue: None)
    assert (one_chore.name, one_chore.alone) == ("follower", True)
    assert await one_chore.run() == 7 and await made(one) == await events(one)
