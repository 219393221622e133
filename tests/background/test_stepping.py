"""Moving business time: what is due on the way happens in order, each at its own instant."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from ringfence.background import expiry, stepping
from ringfence.background.stepping import Busy, advance
from ringfence.background.worker import Background, Chore, Queue
from ringfence.engine import clock as clocks
from ringfence.engine import timeline
from ringfence.engine.clock import Clock, ClockError
from ringfence.storage import feed, jobs
from ringfence.storage.jobs import Job, JobRow
from tests.engine.composition import DAY, NOW, Process, Time, process, shop
from tests.engine.expiring import sweeper

pytestmark = pytest.mark.anyio
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


class ClockTime(Time):
    """Business time by a real clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def __call__(self) -> datetime:
        return self.clock.now()


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    made = Clock(tmp_path / "clock")
    made.begin_at(NOW)
    return made


@pytest.fixture
async def one(database: str, clock: Clock) -> AsyncIterator[Process]:
    async with process(database, now=ClockTime(clock)) as running, sweeper(running) as running.sweeper:
        yield running


class Recoveries:
    """A queue of jobs that are tried again and again, each time a little later, and a note of when."""

    def __init__(self, one: Process, pauses: Sequence[int]) -> None:
        self.one, self.pauses = one, pauses
        self.tried: list[tuple[int, datetime]] = []

    async def run(self, job: Job) -> None:
        now = self.one.now()
        self.tried.append((job.subject, now))
        if job.tries <= len(self.pauses):
            await jobs.later(self.one.pool, job, now + timedelta(seconds=self.pauses[job.tries - 1]))
        else:
            await jobs.done(self.one.pool, job)


@asynccontextmanager
async def background(one: Process, *queues: Queue, chores: Sequence[Chore] = ()) -> AsyncIterator[stepping.Nudge]:
    """The background of that process, which looks only when it is nudged."""
    several = [expiry.chore(one.sweeper.expirer, 60.0), *chores]
    running = Background(several, queues, pool=one.pool, now=one.now, holder="this one", pause=60.0)
    running.start()
    try:
        yield stepping.nudges(running.nudge, [each.name for each in (*several, *queues)])
    finally:
        await running.stop()


def merchants(one: Process) -> list[int]:
    return [merchant.merchant_id for merchant in one.directory.merchants()]


async def test_everything_fires_in_order_and_at_its_own_instant(one: Process, clock: Clock):
    """A retry series, a hold's end and a doubt's deadline: each attempt at the very instant of its schedule, and the hold between them."""
    here = await shop(one, hold_days="1")
    await here.authorize("HOLD-1", 1000)
    merchant_id = here.account.merchant_id
    await jobs.wake(one.pool, [JobRow(merchant_id, "recovery", 7, 7, NOW + 5 * SECOND, NOW + DAY + HOUR)])
    recoveries = Recoveries(one, [10, 60, 3_600, 90_000])
    async with background(one, Queue("recovery", recoveries.run)) as nudge:
        stepped = await advance(clock, one.pool, merchants(one), NOW + 46 * HOUR, nudge=nudge)
    assert clock.now() == stepped.now == NOW + 46 * HOUR
    at = [NOW + 5 * SECOND]
    for pause in recoveries.pauses:
        at.append(at[-1] + timedelta(seconds=pause))
    assert recoveries.tried == [(7, instant) for instant in at]
    expired = await one.value("SELECT occurred_at FROM events WHERE event = 'authorization_expired'")
    assert expired == NOW + DAY
    assert [(one.what, one.count, one.first, one.last) for one in stepped.fired] == [
        ("holds expire", 1, NOW + DAY, NOW + DAY), ("recoveries of doubts", 5, at[0], at[-1]),
        ("doubts go to review", 1, NOW + DAY + HOUR, NOW + DAY + HOUR)]
    assert (stepped.steps, stepped.settled) == (8, True)


async def test_what_was_told_beforehand_is_what_fires(one: Process, clock: Clock):
    """Where nothing follows from what fires, both lists are the same; what lies behind the way is in neither."""
    merchant_id = (await shop(one)).account.merchant_id
    at = {queue: [NOW + hours * HOUR for hours in (2, 5, 200)] for queue in ("recovery", "reversal")}
    await jobs.wake(one.pool, [
        JobRow(merchant_id, queue, number, 0, due_at) for queue, instants in at.items() for number, due_at in enumerate(instants)])
    await one.pool.execute("INSERT INTO sdk_tokens VALUES ($1, 'T-1', 'device', $2)", merchant_id, NOW + 3 * HOUR)

    async def drops(until: datetime) -> list[datetime]:
        return [instant for instant in (NOW + 4 * HOUR, NOW + 90 * HOUR) if clock.now() < instant <= until]

    recoveries, reversals = Recoveries(one, ()), Recoveries(one, ())
    told = await timeline.upcoming(one.pool, merchants(one), clock.now(), NOW + 46 * HOUR, drops=drops)
    async with background(one, Queue("recovery", recoveries.run), Queue("reversal", reversals.run)) as nudge:
        stepped = await advance(clock, one.pool, merchants(one), NOW + 46 * HOUR, nudge=nudge, drops=drops)
    assert stepped.fired == told
    assert [(each.what, each.count) for each in told] == [
        ("recoveries of doubts", 2), ("reversals", 2), ("SDK tokens end", 1), ("issuer acts by itself", 1)]
    assert [instant for _, instant in recoveries.tried] == at["recovery"][:2] == [instant for _, instant in reversals.tried]


async def test_one_advance_at_a_time(one: Process, clock: Clock):
    """Whoever asks while another one is under way is refused, and moves nothing."""
    merchant_id = (await shop(one)).account.merchant_id
    await jobs.wake(one.pool, [JobRow(merchant_id, "recovery", 1, 1, NOW + HOUR)])
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(job: Job) -> None:
        begun.set()
        await go_on.wait()
        await jobs.done(one.pool, job)

    async with background(one, Queue("recovery", slow)) as nudge:
        first = asyncio.create_task(advance(clock, one.pool, merchants(one), NOW + 2 * HOUR, nudge=nudge))
        await begun.wait()
        with pytest.raises(Busy):
            await advance(clock, one.pool, merchants(one), NOW + 9 * HOUR, nudge=nudge)
        assert clock.now() == NOW + HOUR
        go_on.set()
        assert (await first).now == NOW + 2 * HOUR
        assert (await advance(clock, one.pool, merchants(one), NOW + 9 * HOUR, nudge=nudge)).now == NOW + 9 * HOUR


async def test_a_clock_that_runs_is_held_however_many_stops_there_are(one: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each takes four seconds of wall time here: each is at its very instant all the same, because the hold is renewed on the way."""
    merchant_id, clock, wall = (await shop(one)).account.merchant_id, Clock(tmp_path / "other"), [1e9]
    monkeypatch.setattr(clocks, "time", lambda: wall[0])
    monkeypatch.setattr(stepping, "time", SimpleNamespace(monotonic=lambda: wall[0]))
    ends = [clock.now() + number * HOUR for number in range(1, 11)]
    for number, at in enumerate(ends):
        await one.pool.execute("INSERT INTO sdk_tokens VALUES ($1, $2, 'device', $3)", merchant_id, f"token {number}", at)
    stops: list[datetime] = []

    def nudge() -> None:
        stops.append(clock.now())
        wall[0] += 4.0

    assert (await advance(clock, one.pool, merchants(one), ends[-1], nudge=nudge)).steps == 10
    assert stops[1:] == ends


async def test_whoever_lost_his_turn_moves_no_further(one: Process, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    """He was away for longer than his lease, and another one moves the clock by now."""
    wall, stops = [1e9], 0
    monkeypatch.setattr(stepping, "time", SimpleNamespace(monotonic=lambda: wall[0]))

    async def drops(until: datetime) -> Sequence[datetime]:
        nonlocal stops
        if clock.now() == NOW + HOUR and not stops:
            stops, wall[0] = 1, wall[0] + 15.0
            await one.pool.execute("UPDATE sweeps SET leased_until = now() WHERE job = $1", stepping.NAME)
            assert await jobs.turn(one.pool, stepping.NAME, "another", 60.0)
        return [at for at in (NOW + HOUR, NOW + 2 * HOUR) if clock.now() < at <= until]

    with pytest.raises(Busy):
        await advance(clock, one.pool, merchants(one), NOW + 3 * HOUR, nudge=lambda: None, drops=drops)
    assert clock.now() == NOW + HOUR


async def test_an_instant_that_cannot_be_moved_to_moves_nothing(one: Process, clock: Clock):
    """A step back and one beyond 2100 are refused before anything is looked at."""
    for wrong in (NOW - SECOND, datetime(2100, 1, 2, tzinfo=UTC)):
        with pytest.raises(ClockError):
            await advance(clock, one.pool, merchants(one), wrong, nudge=lambda: None)
    assert clock.now() == NOW
    assert (await advance(clock, one.pool, merchants(one), NOW + HOUR, nudge=lambda: None)).steps == 1


async def test_many_instants_are_passed_in_few_steps(one: Process, clock: Clock):
    """A thousand doubts at a thousand instants cost two hundred steps at most, and all of them are tried."""
    merchant_id = (await shop(one)).account.merchant_id
    await jobs.wake(one.pool, [JobRow(merchant_id, "recovery", number, 1, NOW + number * SECOND) for number in range(1, 1_001)])
    recoveries = Recoveries(one, ())
    async with background(one, Queue("recovery", recoveries.run, at_once=64, per_merchant=64)) as nudge:
        stepped = await advance(clock, one.pool, merchants(one), NOW + 1_000 * SECOND, nudge=nudge)
    assert 100 < stepped.steps <= stepping.STEPS
    assert sorted(number for number, _ in recoveries.tried) == list(range(1, 1_001))
    assert [instant for _, instant in recoveries.tried[:100]] == [NOW + number * SECOND for number in range(1, 101)]
    assert stepped.fired[0].count == 1_000


async def test_what_nobody_does_is_said_and_does_not_stop_the_clock(one: Process, clock: Clock):
    """Without anybody to do the work the clock moves on after its patience."""
    merchant_id = (await shop(one)).account.merchant_id
    await jobs.wake(one.pool, [JobRow(merchant_id, "recovery", number, 1, NOW + number * HOUR) for number in range(1, 4)])
    stepped = await advance(clock, one.pool, merchants(one), NOW + 9 * HOUR, nudge=lambda: None, patience=0.05)
    assert (stepped.now, stepped.settled) == (NOW + 9 * HOUR, False)


async def test_events_are_handed_out_at_the_stop_where_they_happened(one: Process, clock: Clock):
    """Before the clock goes on; what others commit meanwhile is not waited for, else a busy service could never be moved."""
    here = await shop(one, hold_days="1")
    await here.authorize("HOLD-4", 1000)
    await jobs.wake(one.pool, [JobRow(here.account.merchant_id, "recovery", 1, 1, NOW + 2 * DAY)])
    handed: list[datetime] = []

    async def follow() -> int:
        async with one.pool.acquire() as connection:
            cursor, heads = await feed.followed(connection), await feed.heads(connection)
            if heads != cursor:
                await here.purchase(f"BUSY-{len(handed)}", 100)
                handed.append(one.now())
                await feed.note_followed(connection, heads)
        return 0

    async with background(one, Queue("recovery", Recoveries(one, ()).run), chores=[Chore("follower", follow, 60.0)]) as nudge:
        stepped = await advance(clock, one.pool, merchants(one), 3 * DAY, nudge=nudge, is_told=lambda: True)
    assert (stepped.settled, stepped.steps) == (True, 3)
    assert {NOW, NOW + DAY} <= set(handed)


async def test_a_running_clock_is_moved_the_same_way(one: Process, clock: Clock):
    """It stands while it is moved, so that everything fires at its very instant; afterwards it runs on, and no time is lost."""
    clock.resume()
    here, ahead = await shop(one, hold_days="1"), clock.show().ahead
    for reference in ("HOLD-2", "HOLD-3"):
        await here.authorize(reference, 1000)
    due = [row[0] for row in await one.fetch("SELECT expires_at FROM payments ORDER BY 1")]
    async with background(one) as nudge:
        stepped = await advance(clock, one.pool, merchants(one), 3 * DAY, nudge=nudge)
    assert [(each.what, each.count, each.first, each.last) for each in stepped.fired] == [("holds expire", 2, *due)]
    assert due == [row[0] for row in await one.fetch("SELECT occurred_at FROM events WHERE event = 'authorization_expired' ORDER BY 1")]
    assert clock.show().ahead - ahead == 3 * DAY and not clock.show().frozen
    before = clock.now()
    while clock.now() == before:
        pass
    assert clock.now() > before


async def test_other_processes_see_the_clock_move(one: Process, clock: Clock, tmp_path: Path):
    """Their look at the shared clock has their background look, once for each move."""
    nudged: list[int] = []
    look = stepping.watch(Clock(tmp_path / "clock"), lambda: nudged.append(1)).run
    assert [await look(), nudged] == [0, []]
    clock.advance(HOUR)
    await look()
    await look()
    assert nudged == [1]
    clock.ring()                        # what fell due while the clock ran by itself
    assert [await look(), await look(), nudged] == [0, 0, [1, 1]]


async def test_work_that_falls_due_without_a_move_is_done_too(one: Process, clock: Clock, tmp_path: Path):
    """Another process does it: it hears of every stop on the way, also of one at which the clock need not be moved any more."""
    merchant_id = (await shop(one)).account.merchant_id
    await jobs.wake(one.pool, [JobRow(merchant_id, "recovery", 1, 1, NOW - SECOND)])
    recoveries, other = Recoveries(one, ()), Clock(tmp_path / "clock")
    async with background(one, Queue("recovery", recoveries.run)) as nudge:
        looks = Background([stepping.watch(other, nudge)], [], pool=one.pool, now=one.now, holder="the other", pause=60.0)
        looks.start()
        while not recoveries.tried:         # its own first look
            await asyncio.sleep(0)
        await jobs.wake(one.pool, [JobRow(merchant_id, "recovery", 2, 1, NOW)])
        stepped = await advance(clock, one.pool, merchants(one), NOW, nudge=lambda: None)
        await looks.stop()
    assert (stepped.settled, recoveries.tried) == (True, [(1, NOW), (2, NOW)])
