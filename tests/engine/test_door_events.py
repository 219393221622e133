"""What merchants are told beside payments: written in the commit that it tells of, in one line for each subject."""
from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from ringfence.engine.door_events import read, tell

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
AGREEMENT, OTHER = 7_001, 7_002


async def _tell(connection: asyncpg.Connection, subject: int, what: str) -> int:
    return await tell(connection, 1, "ppro", "agr", subject, what, {"paymentAgreementId": "agr_1"}, "", NOW)


async def test_events_of_a_subject_are_counted_from_one(database: str):
    connection = await asyncpg.connect(database)
    async with connection.transaction():
        told = [await _tell(connection, AGREEMENT, "A"), await _tell(connection, OTHER, "B"), await _tell(connection, AGREEMENT, "C")]
    assert told == [1, 1, 2]
    await connection.close()


async def test_what_was_rolled_back_is_not_told(database: str):
    connection = await asyncpg.connect(database)
    change = connection.transaction()
    await change.start()
    await _tell(connection, AGREEMENT, "A")
    await change.rollback()
    assert await connection.fetchval("SELECT count(*) FROM door_events") == 0
    await connection.close()


async def test_two_who_tell_of_one_subject_at_once_are_told_one_after_the_other(database: str):
    first, second = await asyncpg.connect(database), await asyncpg.connect(database)
    change = first.transaction()
    await change.start()
    assert await _tell(first, AGREEMENT, "A") == 1

    async def behind() -> int:
        async with second.transaction():
            return await _tell(second, AGREEMENT, "B")

    waiting = asyncio.create_task(behind())
    blocked = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
    while not await first.fetchval(blocked):
        assert not waiting.done()
    await change.commit()
    assert await waiting == 2
    await first.close()
    await second.close()


async def test_whoever_follows_misses_nothing_that_is_committed_late(database: str):
    """What was written first and committed last is told first; until then nothing behind it is."""
    slow, quick = await asyncpg.connect(database), await asyncpg.connect(database)
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        _, cursor = await read(pool, [1], None, 10)
        change = slow.transaction()
        await change.start()
        await _tell(slow, AGREEMENT, "A")
        async with quick.transaction():
            await _tell(quick, OTHER, "B")
        assert await read(pool, [1], cursor, 10) == ([], cursor)
        await change.commit()
        first, after = await read(pool, [1], cursor, 1)
        second, end = await read(pool, [1], after, 1)
        assert [one.type for one in (*first, *second)] == ["A", "B"] and await read(pool, [1], end, 10) == ([], end)
        assert [one.type for one in (await read(pool, [1, 2], 0, 10))[0]] == ["A", "B"]
        assert (await read(pool, [2], 0, 10))[0] == []
    await slow.close()
    await quick.close()
