"""Expiry in bulk: many holds in one commit, each asked about once, and nobody held up by it."""
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from ringfence.background import abandoned
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Unknown
from ringfence.engine import bulk, points
from ringfence.engine.intents import Intent
from ringfence.processors.processor import Ask
from ringfence.storage import expiry as storage
from tests.engine.composition import DAY, NOW, Process, Shop, Time, process, shop
from tests.engine.expiring import Sweeper, sweeper

pytestmark = pytest.mark.anyio


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database, now=Time()) as running:
        yield running


@pytest.fixture
async def sweeping(one: Process) -> AsyncIterator[Sweeper]:
    async with sweeper(one) as made:
        yield made


async def authorize_many(shop: Shop, count: int) -> None:
    """Holds of a week, made by the engine alone."""
    merchant, engine = shop.account, shop.process.engine

    async def authorize() -> None:
        number = engine.new_id()
        result = await engine.execute(Intent(
            merchant.merchant_id, merchant.identifier, number,
            Command(Kind.AUTHORIZATION, 1000, "AED", number, hold_seconds=7 * 86_400), "aps", "test", "test", b"", f"M-{number}",
            processor="scripted",
        ))
        assert isinstance(result.outcome, Approved)

    await asyncio.gather(*(authorize() for _ in range(count)))


async def longest_delays(until: asyncio.Task[int]) -> list[float]:
    """Seconds by which the event loop was late, every two milliseconds while a task runs; sorted."""
    delays, loop = [], asyncio.get_running_loop()
    while not until.done():
        began = loop.time()
        await asyncio.sleep(0.002)
        delays.append(loop.time() - began - 0.002)
    return sorted(delays)


async def counts(one: Process) -> tuple[int, int]:
    """Voids asked for, and their outcomes."""
    return tuple(await one.pool.fetchrow(
        "SELECT count(*), (SELECT count(*) FROM outcomes x JOIN operations USING (merchant_id, payment_id, operation_id) WHERE kind = 'void')"
        " FROM operations WHERE kind = 'void'"))


@pytest.mark.new_database
async def test_five_thousand_holds_are_released_quickly_and_hold_up_nobody(one: Process, sweeping: Sweeper, capsys: pytest.CaptureFixture):
    """Each once, in chunks; a merchant with one hold is among the first.  How long it took and how late the loop was is printed."""
    many, few = await shop(one, "Many"), await shop(one, "Few")
    await authorize_many(many, 5_000)
    await authorize_many(few, 1)
    one.now.now += 7 * DAY
    asked = len(one.processor.asked)
    began, cpu = time.perf_counter(), time.process_time()
    sweep = asyncio.create_task(sweeping.sweep())
    delays = await longest_delays(sweep)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert sweep.result() == 5_001
    voids = one.processor.asked[asked:]
    assert len({message.payment_id for message in voids}) == len(voids) == 5_001
    assert [message.merchant for message in voids].index("Few") < bulk.CHUNK
    with capsys.disabled():
        print(f"\n  5,001 holds in {seconds:.2f} s, {cpu / 5_001 * 1e6:.0f} µs of this process each; the loop was late by "
              f"{delays[int(len(delays) * 0.99)] * 1000:.0f} ms at the 99th percentile, {delays[-1] * 1000:.0f} ms at most")
    assert await sweeping.sweep() == 0
    await one.prove()


async def test_merchants_take_turns(one: Process):
    """A chunk holds some of several merchants, and goes on with the next ones until nothing is due."""
    shops = [await shop(one, f"Shop{number}") for number in range(5)]
    for place, each in enumerate(shops):
        await authorize_many(each, 12 if place == 0 else 3)
    one.now.now += 7 * DAY
    asked = len(one.processor.asked)
    async with sweeper(one, chunk=4) as small:
        assert await small.sweep() == 24
    order = [message.merchant for message in one.processor.asked[asked:]]
    assert set(order[:20]) == {each.identifier for each in shops}
    assert await counts(one) == (24, 24)


@pytest.mark.parametrize("when", ["before", "after", "silently"])
async def test_a_lost_connection_does_not_void_twice(one: Process, sweeping: Sweeper, when: str):
    """Whether the reservations were committed is read back; each hold is asked about once."""
    await authorize_many(await shop(one), 40)
    one.now.now += 7 * DAY
    asked = len(one.processor.asked)
    sweeping.wire.cut("COMMIT", when)
    assert await sweeping.sweep() == 40
    assert sweeping.wire.lost == 1
    assert len(one.processor.asked) - asked == 40
    assert await counts(one) == (40, 40)
    await one.prove()


async def test_what_a_killed_process_reserved_is_left_to_recovery_which_repeats_it_once(
    one: Process, database: str, monkeypatch: pytest.MonkeyPatch
):
    """Dead between the reservation and the question: no sweep reserves or asks again; once the intents are found abandoned, recovery
    repeats the void of each under its own key."""
    class Killed(BaseException):
        pass

    def kill(point: int) -> None:
        raise Killed

    here = await shop(one)
    await authorize_many(here, 10)
    one.now.now += 7 * DAY
    asked = len(one.processor.asked)
    with monkeypatch.context() as patch:
        patch.setattr(bulk.points, "hit", kill)
        async with sweeper(one, ask_seconds=0.0) as dying:
            with pytest.raises(Killed):
                await dying.sweep()
    assert await counts(one) == (10, 0)
    assert len(one.processor.asked) == asked
    monkeypatch.setattr(abandoned, "GRACE", timedelta())
    async with process(database, 2, now=one.now, recovers=True) as two, sweeper(two) as other:
        assert await other.sweep() == 0
        assert not two.processor.asked
        assert await abandoned.sweep(two.pool, two.directory, two.engine) == 10
        assert await other.sweep() == 0
        payments = [row[0] for row in await two.fetch("SELECT payment_id FROM payments WHERE pending_void = 1000 AND unknown = 1")]
        assert len(payments) == 10
        assert all(await asyncio.gather(*(two.engine.resolve(here.account.merchant_id, payment) for payment in payments)))
        assert sorted((message.payment_id, message.kind, message.repeat) for message in two.processor.asked) == sorted(
            (payment, "void", True) for payment in payments)
        assert await other.sweep() == 0
        assert await two.value("SELECT count(*) FROM payments WHERE expired = 1000 AND pending_void = 0 AND unknown = 0") == 10
        await two.prove()


async def test_a_sweep_passes_over_what_somebody_has_locked(one: Process, sweeping: Sweeper):
    """It waits for no lock, and finds the hold with a later sweep."""
    here = await shop(one)
    await authorize_many(here, 3)
    one.now.now += 7 * DAY
    async with one.pool.acquire() as connection, connection.transaction():
        await connection.fetch("SELECT FROM payments ORDER BY payment_id LIMIT 1 FOR UPDATE")
        assert await sweeping.sweep() == 2
    assert await sweeping.sweep() == 1


async def test_a_void_that_could_not_be_asked_is_tried_again_after_a_minute(one: Process):
    """Not with every sweep: each try is an operation that stays in the books."""
    await authorize_many(await shop(one), 1)
    one.now.now += 7 * DAY
    async with sweeper(one, ask_seconds=0.0) as late:
        assert [await late.sweep(), await late.sweep()] == [0, 0]
    assert await counts(one) == (1, 1)
    one.now.now += timedelta(seconds=61)
    async with sweeper(one) as sweeping:
        assert await sweeping.sweep() == 1


async def test_in_turn_each_void_has_its_outcome_before_the_next_is_asked(one: Process):
    """So what is stored does not depend on which answer comes first: one batch for each."""
    await authorize_many(await shop(one), 5)
    one.now.now += 7 * DAY
    seen: list[int] = []

    async def approved(message: Ask) -> Approved:
        await asyncio.sleep(0)
        seen.append((await counts(one))[1])
        return Approved(message.minor)

    one.processor.say(*[approved] * 5)
    async with sweeper(one, in_turn=True) as careful:
        assert await careful.sweep() == 5
    assert seen == [0, 1, 2, 3, 4]


async def test_a_stop_ends_a_sweep_behind_the_chunk_in_hand(one: Process, monkeypatch: pytest.MonkeyPatch):
    """Whatever was reserved is asked for and has its outcome; the others are the next sweep's."""
    await authorize_many(await shop(one), 12)
    one.now.now += 7 * DAY
    async with sweeper(one, chunk=4) as small:
        monkeypatch.setattr(points, "hit", lambda point: setattr(small, "is_stopping", small.is_stopping or point == points.IN_EXPIRY))
        assert await small.sweep() == 4
        assert await counts(one) == (4, 4)
        assert await small.sweep() == 0
        monkeypatch.undo()
        small.is_stopping = False
        assert await small.sweep() == 8


async def test_a_sweep_ends_where_outcomes_cannot_be_stored(one: Process, sweeping: Sweeper):
    """It reserves no further holds that nobody could finish; those it did are abandoned intents."""
    async with sweeper(one, chunk=10) as small:
        await authorize_many(await shop(one), 60)
        one.now.now += 7 * DAY
        small.outcome_wire.away = True
        assert await small.sweep() == 0
    asked, answered = await counts(one)
    assert (0 < asked < 60, answered) == (True, 0)
    assert await sweeping.sweep() == 60 - asked


@pytest.mark.new_database
async def test_the_oldest_holds_are_read_from_the_index(one: Process, database: str):
    """Without statistics too, a chunk reads neither the whole table nor all that is due before it sorts."""
    connection = await storage.connect(database, application_name="test")
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE due (integer[], timestamptz[], timestamptz, bigint) AS {storage.SQL.take_due}")
        lines = [row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE due ('{{1}}', '{{2020-01-01}}', '{NOW}', 250)")]
    finally:
        await connection.close()
    plan = "\n".join(lines)
    assert "using payments_expiring" in plan
    assert not [line for line in lines if "Sort" in line or "Seq Scan" in line or "Bitmap" in line], plan


async def test_the_issuer_is_asked_as_by_the_merchant_himself(one: Process, sweeping: Sweeper):
    """Where amounts choose its answer they do so here too."""
    for name in ("Plain", "Magic"):
        await authorize_many(await shop(one, name, magic_amounts="true" if name == "Magic" else "false"), 1)
    one.now.now += 7 * DAY
    asked = len(one.processor.asked)
    assert await sweeping.sweep() == 2
    assert {message.merchant: message.magic for message in one.processor.asked[asked:]} == {"Plain": False, "Magic": True}


async def test_a_void_in_doubt_is_left_to_recovery(one: Process, sweeping: Sweeper):
    """It stays pending, so that neither this sweep nor a merchant's void can ask beside it."""
    await authorize_many(await shop(one), 2)
    one.now.now += 7 * DAY
    one.processor.say(Unknown("no_answer"))
    assert [await sweeping.sweep(), await sweeping.sweep()] == [1, 0]
    assert await one.value("SELECT unknown FROM payments WHERE pending_void > 0") == 1
