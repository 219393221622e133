"""Plans by chance: whatever happens, no due date is charged twice, and every one that is owed is charged.

All examples are played on one database, each by a merchant of its own.
"""
from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ringfence.core.outcomes import Declined, NotAsked, Silence, Unknown
from ringfence.core.schedule import Schedule, Unit, due_at, due_date
from tests.background.planning import Members, both, members
from tests.engine.composition import Time, process
from tests.engine.recovering import end_doubts

START = date(2026, 1, 30)
BEGIN = datetime(2026, 1, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
SILENT = Unknown(Silence.NO_ANSWER)
_numbers = itertools.count(1)

STEPS = st.lists(st.one_of(
    st.tuples(st.just("step"), st.integers(1, 24 * 20)),                    # time goes on, everything is done on the way
    st.tuples(st.just("jump"), st.integers(1, 24 * 20)),                    # ... or nobody was there meanwhile
    st.tuples(st.just("answer"), st.sampled_from([Declined("51"), Declined("05", "24"), SILENT, NotAsked("deadline")])),
    st.tuples(st.sampled_from(["pause", "resume", "resume all", "crash before", "crash behind", "two", "doubts end"]), st.just(0)),
), min_size=4, max_size=16)


class Died(Exception):
    """The process is gone, as far as its plan knows."""


async def crash(club: Members, *, behind: bool) -> None:
    """Die at the next charge, before or behind it; nothing happens where nothing is due."""
    charge = club.charge

    async def dying(orders):
        if behind:
            await charge(orders)
        raise Died

    club.charge = dying
    try:
        for job in await club.claimed(lease=0.0):
            try:
                await club.runner.run([job])
            except Died:
                await club.one.value("UPDATE jobs SET leased_until = '-infinity' WHERE merchant_id = $1", club.number)
    finally:
        club.charge = charge


async def play(dsn: str, unit: str, every: int, missed: str, failed: str, steps: list) -> None:
    async with process(dsn, now=Time(), recovers=True, ask_seconds=5.0) as one:
        club = await members(one, f"Club{next(_numbers)}")
        await club.plan(unit=unit, every=every, start=START, missed=missed, failed=failed)
        schedule, has_rested = Schedule(START, every, Unit(unit), START.day), False
        for what, value in steps:
            match what:
                case "step":
                    await club.until(one.now() + value * HOUR)
                case "jump":
                    await club.jump(one.now() + value * HOUR)
                case "answer":
                    one.processor.say(value)
                case "pause":
                    await club.pause()
                    has_rested = True
                case "resume" | "resume all":
                    await club.resume(charge_missed=what == "resume all")
                    await club.work()
                case "crash before" | "crash behind":
                    await crash(club, behind=what == "crash behind")
                case "two":
                    other = Members(one, club.here)
                    several = await club.claimed(lease=0.0) + await other.claimed(lease=0.0)
                    await both(*[(club, other)[place % 2].runner.run([job]) for place, job in enumerate(several)])
                case "doubts end":
                    await end_doubts(one)
            await judge(club, schedule)
        one.processor.forget()                              # from now on everybody is paid
        await club.resume(charge_missed=True)
        await end_doubts(one)
        await club.until(max(one.now(), BEGIN) + 15 * 24 * HOUR)
        await judge(club, schedule)
        await all_is_told_for(club, schedule, one.now(), missed, has_rested)
        await one.value("DELETE FROM jobs WHERE merchant_id = $1 RETURNING 1", club.number)


async def judge(club: Members, schedule: Schedule) -> None:
    """At every moment: at most one payment a due date, none before it, no two tries at once, and what the plan says is what the books say."""
    charged = await club.charged()
    assert len(charged) == len(set(charged)), charged
    days = {f"{day:%Y%m%d}": at for place in range(400) if (day := due_date(schedule, place)) and (at := due_at(schedule, place))}
    assert all(days[day] <= club.one.now() for day in await club.payments())
    running = [day for day, tries in (await club.payments()).items() for result, _ in tries if result in (None, "unknown")]
    assert len(running) <= 1
    shown = await club.plans.show(club.here.account, "gym", 500)
    assert shown is not None
    said = {f"{one.period.due_date:%Y%m%d}" for one in shown.periods if one.period.state == "charged"}
    assert said <= set(charged) and shown.plan.charged == len(said)


async def all_is_told_for(club: Members, schedule: Schedule, now: datetime, missed: str, has_rested: bool) -> None:
    """In the end: every due date stands there once, and each has ended as it may."""
    shown = await club.plans.show(club.here.account, "gym", 500)
    assert shown is not None
    if shown.plan.status != "active":                       # it failed again, and rests as it should
        return
    places = [one.period.place for one in reversed(shown.periods)]
    assert places == list(range(len(places))), "each due date once, and none left out"
    following = due_at(schedule, len(places))
    assert following is not None and following > now, "none is still to come to"
    allowed = {"charged", "failed", "dropped", "open"} | ({"skipped"} if missed == "skip_missed" or has_rested else set())
    assert {one.period.state for one in shown.periods} <= allowed
    for one in shown.periods:
        if one.period.state == "open":                      # declined, and to be tried again
            assert one.period.declines > 0 and one.period.next_at > now
        if one.period.state == "failed":
            assert one.reason


PLAY = settings(
    max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LIVES = given(st.sampled_from(["day", "week", "month"]), st.integers(1, 3), st.sampled_from(["charge_missed", "skip_missed"]),
              st.sampled_from(["skip", "pause", "stop"]), STEPS)


@PLAY
@LIVES
def test_no_due_date_is_charged_twice_and_none_is_forgotten(module_database: str, unit: str, every: int, missed: str, failed: str, steps: list):
    """Pauses, declines, silences, clock jumps, crashes and two workers in any order."""
    asyncio.run(play(module_database, unit, every, missed, failed, steps))


@pytest.mark.wide
@settings(PLAY, max_examples=15)
@LIVES
def test_nor_in_fifteen_lives(module_database: str, unit: str, every: int, missed: str, failed: str, steps: list):
    """The same, more often."""
    asyncio.run(play(module_database, unit, every, missed, failed, steps))


@pytest.mark.long
@settings(PLAY, max_examples=400)
@LIVES
def test_nor_in_four_hundred_lives(module_database: str, unit: str, every: int, missed: str, failed: str, steps: list):
    """The same, at length."""
    asyncio.run(play(module_database, unit, every, missed, failed, steps))
