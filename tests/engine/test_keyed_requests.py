"""Requests that are carried out once under their callers' keys, also where whoever carried one out died over it."""
from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from ringfence.background.keyed_requests import chore
from ringfence.engine.keyed_requests import KeyedRequests, Said, Stands
from tests.engine.composition import NOW, Process, Shop, Time

pytestmark = pytest.mark.anyio


class Counter:
    """Makes something under a number, and knows how often."""

    def __init__(self, *answers: Said | Exception) -> None:
        self.numbers: list[int] = []
        self._answers = list(answers)

    async def __call__(self, number: int) -> Said:
        self.numbers.append(number)
        answer = self._answers.pop(0) if self._answers else Said(200, b"made %d" % number)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
async def pool(database: str) -> Any:
    from ringfence.storage import database as storage
    async with storage.pool(database, 4) as pool:
        yield pool


class Wall(Time):
    """The machine's time."""


def counter(pool: asyncpg.Pool, now: Time, wall: Wall) -> KeyedRequests:
    numbers = iter(range(1, 10**6))
    return KeyedRequests(pool, new_id=lambda: next(numbers), now=now, wall=wall)


async def test_a_repeat_gets_the_first_answer(pool: asyncpg.Pool):
    """The same content only, at the same merchant and door."""
    once, work = counter(pool, Time(), Wall()), Counter()
    first = await once.once(1, "ppro", "POST /x k", b"a", work)
    again = await once.once(1, "ppro", "POST /x k", b"a", work)
    assert (first.said, first.again) == (Said(200, b"made 1"), False) and (again.said, again.again) == (Said(200, b"made 1"), True)
    assert (await once.once(1, "ppro", "POST /x k", b"b", work)).stands is Stands.OTHER_CONTENT
    for place in ((2, "ppro", "POST /x k"), (1, "jwo", "POST /x k"), (1, "ppro", "POST /y k")):
        assert not (await once.once(*place, b"a", work)).again
    assert len(work.numbers) == 4


async def test_of_twenty_at_once_one_is_carried_out(pool: asyncpg.Pool):
    """The others hear that it is under way."""
    once, begun, end = counter(pool, Time(), Wall()), asyncio.Event(), asyncio.Event()
    count = 0

    async def slow(number: int) -> Said:
        nonlocal count
        count += 1
        begun.set()
        await end.wait()
        return Said(201, b"done")

    first = asyncio.create_task(once.once(1, "ppro", "k", b"a", slow))
    await begun.wait()
    others = await asyncio.gather(*(once.once(1, "ppro", "k", b"a", slow) for _ in range(19)))
    assert {one.stands for one in others} == {Stands.IN_FLIGHT}
    end.set()
    assert (await first).said == Said(201, b"done") and count == 1


async def test_who_comes_after_a_death_goes_on_under_the_same_number(pool: asyncpg.Pool):
    """Once its time is over, and not before."""
    now, wall = Time(), Wall(datetime.now(UTC))
    once, work = counter(pool, now, wall), Counter(RuntimeError("killed here"))
    with pytest.raises(RuntimeError):
        await once.once(1, "ppro", "k", b"a", work)
    assert (await once.once(1, "ppro", "k", b"a", work)).stands is Stands.IN_FLIGHT
    wall.now += timedelta(seconds=61)
    assert (await once.once(1, "ppro", "k", b"other", work)).stands is Stands.OTHER_CONTENT
    assert (await once.once(1, "ppro", "k", b"a", work)).said == Said(200, b"made 1")
    assert work.numbers == [1, 1]


async def test_what_was_refused_leaves_its_key_and_what_broke_does_not(pool: asyncpg.Pool):
    """4xx: another body may follow.  5xx: the same request goes on."""
    wall = Wall(datetime.now(UTC))
    once, work = counter(pool, Time(), wall), Counter(Said(422, b"no"), Said(504, b"?"))
    assert (await once.once(1, "ppro", "k", b"a", work)).said == Said(422, b"no")
    assert (await once.once(1, "ppro", "k", b"b", work)).said == Said(504, b"?")
    wall.now += timedelta(seconds=61)
    last = await once.once(1, "ppro", "k", b"b", work)
    assert last.said is not None and last.said.status == 200 and work.numbers[1] == work.numbers[2]


async def test_a_key_is_free_again_a_day_after_its_answer(pool: asyncpg.Pool, one: Process, here: Shop):
    """And the answer is dropped then."""
    now, wall = Time(NOW), Wall(datetime.now(UTC))
    once, work = counter(pool, now, wall), Counter()
    await once.once(here.account.merchant_id, "ppro", "k", b"a", work)
    sweep = chore(pool, one.directory, now)
    now.now += timedelta(hours=23, minutes=59)
    assert (await once.once(here.account.merchant_id, "ppro", "k", b"a", work)).again and await sweep.run() == 0
    now.now += timedelta(minutes=1)
    assert not (await once.once(here.account.merchant_id, "ppro", "k", b"b", work)).again and len(set(work.numbers)) == 2
    now.now += timedelta(days=1)
    assert await sweep.run() == 1 and await pool.fetchval("SELECT count(*) FROM keyed_requests") == 0
