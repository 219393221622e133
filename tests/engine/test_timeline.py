"""The timeline: what is told of the time ahead, and when all that is due is done."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from ringfence.background import temporary_tokens
from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.engine import timeline
from ringfence.storage import feed, jobs
from ringfence.storage.jobs import JobRow
from tests.engine.composition import DAY, NOW, Process, Shop, Time, process, shop
from tests.engine.expiring import sweeper

pytestmark = pytest.mark.anyio
HOUR = timedelta(hours=1)


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database, now=Time()) as running, sweeper(running) as running.sweeper:
        yield running


@pytest.fixture
async def here(one: Process) -> Shop:
    return await shop(one)


def numbers(one: Process) -> list[int]:
    return [merchant.merchant_id for merchant in one.directory.merchants()]


async def told(one: Process, until: timedelta, since: datetime | None = None) -> dict[str, tuple[int, timedelta, timedelta]]:
    """What becomes due, as distances from the beginning."""
    found = await timeline.upcoming(one.pool, numbers(one), since or one.now(), NOW + until)
    return {each.what: (each.count, each.first - NOW, each.last - NOW) for each in found}


async def settled(one: Process, heads: dict[int, int] | None = None) -> bool:
    return await timeline.is_settled(one.pool, numbers(one), one.now(), heads=heads)


async def test_each_kind_is_counted_with_its_first_and_last_instant(one: Process, here: Shop):
    """Of every merchant that is asked about; the beginning is not counted, the end is."""
    there, merchant_id = await shop(one, "Other", hold_days="2"), here.account.merchant_id
    for reference in ("H-1", "H-2"):
        await here.authorize(reference)
    await there.authorize("H-3")
    await jobs.wake(one.pool, [
        JobRow(merchant_id, "recovery", 1, 1, NOW + 2 * HOUR, NOW + DAY), JobRow(merchant_id, "recovery", 2, 1, NOW + 9 * HOUR, NOW + 9 * DAY),
        JobRow(there.account.merchant_id, "reversal", 3, 1, NOW + 3 * HOUR), JobRow(merchant_id, "delivery", 4, 0, NOW + 4 * HOUR)])
    await one.pool.executemany("INSERT INTO sdk_tokens VALUES ($1, $2, 'device', $3)", [
        (merchant_id, "T-1", NOW + HOUR), (merchant_id, "T-2", NOW + 2 * HOUR)])
    await one.pool.executemany(
        "INSERT INTO deliveries VALUES ($1, 1, 1, $2, 'capture_approved', 'feedback', 'text/plain', '', $3, 0, 0, $4, $4)",
        [(merchant_id, 1, "waiting", NOW + 5 * HOUR), (merchant_id, 2, "delivered", NOW + 6 * HOUR)])
    await one.pool.executemany(
        "INSERT INTO tokens VALUES ($1, $2, 1, '3512', '', $3, 1, $4, $5)", [
            (merchant_id, "A", True, NOW, NOW + 6 * HOUR), (merchant_id, "B", False, NOW, NOW + 7 * HOUR), (merchant_id, "C", True, NOW, None)])
    await one.pool.execute("INSERT INTO sweeps (job, done_until) VALUES ('retention', $1)", NOW - HOUR)
    assert await told(one, 8 * DAY) == {
        "holds expire": (3, 2 * DAY, 7 * DAY), "recoveries of doubts": (2, 2 * HOUR, 9 * HOUR), "doubts go to review": (1, DAY, DAY),
        "reversals": (1, 3 * HOUR, 3 * HOUR), "webhook attempts": (1, 5 * HOUR, 5 * HOUR),
        "temporary tokens end": (1, 6 * HOUR, 6 * HOUR), "SDK tokens end": (2, HOUR, 2 * HOUR),
        "retention runs": (8, 23 * HOUR, 8 * DAY - HOUR)}
    assert await told(one, 2 * HOUR, NOW + HOUR) == {
        "recoveries of doubts": (1, 2 * HOUR, 2 * HOUR), "SDK tokens end": (1, 2 * HOUR, 2 * HOUR)}
    instants, at = [], NOW
    while (due := await timeline.next_due(one.pool, numbers(one), at, NOW + 2 * DAY)) is not None:
        at = due
        instants.append(at - NOW)
    assert instants == [HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR, 6 * HOUR, 9 * HOUR, 23 * HOUR, DAY, DAY + 23 * HOUR, 2 * DAY]
    assert await timeline.upcoming(one.pool, [], NOW, NOW + 10 * HOUR) == []


async def test_nothing_is_settled_while_anything_that_is_due_is_not_done(one: Process, here: Shop):
    """A job that is due, in hand or not; a daily chore; a token; a hold; one that an issuer will drop."""
    assert await settled(one)
    for queue in ("recovery", "reversal", "delivery"):
        row = JobRow(here.account.merchant_id, queue, 1, 1, NOW)
        await jobs.wake(one.pool, [row._replace(due_at=NOW + HOUR)])
        assert await settled(one)
        await jobs.wake(one.pool, [row])
        assert not await settled(one)
        [job] = await jobs.claim(one.pool, queue, now=NOW, holder="x", lease=10, per_merchant=1, limit=1, after=-1)
        assert not await settled(one)
        assert await jobs.done(one.pool, job)
    await one.pool.execute("INSERT INTO sweeps (job, done_until) VALUES ('retention', $1)", NOW - DAY)
    assert not await settled(one)
    await one.pool.execute("UPDATE sweeps SET done_until = $1 WHERE job = 'retention'", NOW)
    await one.pool.execute("INSERT INTO tokens VALUES ($1, 'A', 1, '3512', '', true, 1, $2, $2)", here.account.merchant_id, NOW)
    assert not await settled(one)
    assert await temporary_tokens.retire(one.pool, numbers(one), NOW) == 1

    async def drops(until: datetime) -> list[datetime]:
        return [NOW] if until >= NOW else []

    assert not await timeline.is_settled(one.pool, numbers(one), NOW, drops=drops)
    assert await timeline.is_settled(one.pool, numbers(one), NOW - HOUR, drops=drops)


async def test_a_hold_is_settled_when_its_end_was_tried(one: Process, here: Shop):
    """Voided, refused by the issuer, or in doubt and so recovery's; not while it is asked for, nor where a capture still wants it."""
    for reference in ("H-1", "H-2", "H-3", "H-4"):
        await here.authorize(reference)
    one.processor.say(Unknown(Silence.NO_ANSWER))
    await here.capture("H-4", 100)              # keeps its hold: nobody waits for that
    await one.pool.execute("DELETE FROM jobs")
    one.now.now += 7 * DAY
    assert not await settled(one)
    asking = one.processor.hold()
    one.processor.say(Declined("12"), Unknown(Silence.NO_ANSWER))
    sweep = asyncio.create_task(one.sweeper.sweep())
    await asking.arrived.wait()
    assert not await settled(one)
    asking.release()
    assert await sweep == 1
    await one.pool.execute("DELETE FROM jobs")
    assert await settled(one)
    one.now.now += DAY + HOUR                   # the issuer that said no is asked again
    assert not await settled(one)


async def test_events_are_settled_once_they_were_handed_out(one: Process, here: Shop):
    """Up to the heads that whoever waits has seen; what is committed after that is not waited for."""
    await here.purchase("P-1")
    async with one.pool.acquire() as connection:
        heads = await feed.heads(connection)
        assert heads and not await settled(one, heads)
        await feed.note_followed(connection, heads)
        assert await settled(one, heads)
        await here.purchase("P-2")
        assert await settled(one, heads)
        assert not await settled(one, await feed.heads(connection))


async def test_spans_are_told_together_in_one_order():
    """The same kind once, with all it counts, in the order of the table."""
    one = timeline.Upcoming
    assert timeline.together([
        one("webhook attempts", 1, NOW, NOW), one("holds expire", 2, NOW, NOW + HOUR), one("webhook attempts", 3, NOW + HOUR, NOW + DAY),
        one(timeline.DROPS, 1, NOW, NOW), one("holds expire", 1, NOW - HOUR, NOW)]) == [
        one("holds expire", 3, NOW - HOUR, NOW + HOUR), one("webhook attempts", 4, NOW, NOW + DAY), one(timeline.DROPS, 1, NOW, NOW)]
