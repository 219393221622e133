"""Lanes: numbers that one connection holds at a time, and chains that go on where they stood."""
from __future__ import annotations

import asyncpg
import pytest

from ringfence.engine import lane as lanes
from ringfence.engine.lane import CommitUncertain, Lane, NotCommitted
from ringfence.storage.database import lock
from tests.engine.composition import Wire, process, shop

pytestmark = pytest.mark.anyio
NUMBERS = range(200, 203)


def lane(dsn: str, name: str = "lane", numbers: range = NUMBERS) -> tuple[Lane, Wire]:
    wire = Wire(dsn, name)
    return Lane(wire.connect, numbers=numbers), wire


async def never(connection: asyncpg.Connection) -> None:
    """Nothing was committed."""


async def test_two_lanes_never_have_one_number(module_database: str):
    """The second takes the next; given back, a number is free again; where none is left a lane does not open."""
    first, second, third = (lane(module_database, f"lane {number}", range(200, 202))[0] for number in range(3))
    await first.open()
    await second.open()
    assert (first.number, second.number) == (200, 201)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(NotCommitted):
        patch.setattr(lanes, "PATIENCE_SECONDS", 0.05)
        await third.open()
    await first.close()
    await third.open()
    assert third.number == 200
    for one in (second, third):
        await one.close()


async def test_a_lane_comes_back_under_its_number_even_if_the_server_did_not_notice_its_loss(module_database: str):
    """The old connection's server process is told to end, so that its commit has ended too."""
    one, wire = lane(module_database)
    await one.open()
    before = wire.current.get_server_pid()

    async def work(connection: asyncpg.Connection) -> int:
        await connection.fetch("SELECT 1 -- work")
        return connection.get_server_pid()

    wire.cut("work", "silently")
    assert await one.run(work, never) != before
    assert one.number == 200
    async with asyncpg.create_pool(module_database, min_size=1, max_size=1) as pool:
        assert await pool.fetch("SELECT FROM pg_stat_activity WHERE pid = $1", before) == []
    await one.close()


async def test_a_number_that_somebody_took_in_an_outage_is_left_to_him(module_database: str):
    """The old connection has ended, so its commit is known; the lane goes on under another number."""
    one, wire = lane(module_database)
    await one.open()
    other = await asyncpg.connect(module_database)
    wire.current.terminate()
    await lock(other, lanes.LANES, 200)                     # as soon as the server has noticed

    async def work(connection: asyncpg.Connection) -> int:
        return await connection.fetchval("SELECT 42")

    assert await one.run(work, never) == 42
    assert one.number == 201
    await other.close()
    await one.close()


async def test_a_lane_says_whether_anything_was_committed(module_database: str, monkeypatch: pytest.MonkeyPatch):
    """Before the first try it is certain that nothing was; after it nobody knows."""
    monkeypatch.setattr(lanes, "PATIENCE_SECONDS", 0.05)
    one, wire = lane(module_database)
    await one.open()

    async def work(connection: asyncpg.Connection) -> None:
        wire.away = True
        await connection.fetch("SELECT 1 -- work")

    wire.cut("work", "after")
    with pytest.raises(CommitUncertain):
        await one.run(work, never)
    assert not one.is_up
    with pytest.raises(NotCommitted):
        await one.run(work, never)
    await one.close()


async def test_a_reply_that_was_read_back_is_not_made_again(module_database: str):
    """The commit happened and its answer was lost: it is looked up, never repeated."""
    one, wire = lane(module_database)
    await one.open()
    runs = []

    async def work(connection: asyncpg.Connection) -> str:
        runs.append(1)
        await connection.fetch("SELECT 1 -- work")
        return "made"

    async def committed(connection: asyncpg.Connection) -> str:
        return "read back"

    wire.cut("work", "after")
    assert await one.run(work, committed) == "read back"
    assert runs == [1]
    await one.close()


async def test_a_mistake_of_ours_is_raised_and_the_lane_goes_on(module_database: str):
    """A statement that is wrong is no lost connection."""
    one, _ = lane(module_database)
    await one.open()
    for statement, values, error in (("SELECT nonsense", (), asyncpg.UndefinedColumnError), ("SELECT $1::integer", ("text",), asyncpg.DataError)):
        with pytest.raises(error):
            await one.run(lambda connection, statement=statement, values=values: connection.fetch(statement, *values), never)
        assert one.is_up
    await one.close()


async def test_a_batch_that_another_transaction_upset_runs_again(module_database: str):
    """A deadlock is nobody's fault: the same batch is tried until it passes."""
    one, _ = lane(module_database)
    await one.open()
    upset = iter((True, True, False))

    async def work(connection: asyncpg.Connection) -> str:
        if next(upset):
            raise asyncpg.DeadlockDetectedError("upset")
        return "done"

    assert await one.run(work, never) == "done"
    await one.close()


async def test_a_chain_goes_on_where_it_stood(database: str):
    """Over a restart and over a change of lanes the numbers have no gap, and every link holds the one before."""
    for restart in range(3):
        async with process(database, restart + 1) as one, process(database, restart + 11) as two:
            if not restart:
                here = await shop(one)
            await two.directory.refresh()
            for side in (one, two):
                assert (await here.at(side).purchase(f"CHAIN-{restart}-{side is one}"))["response_code"] == "14000"
            chains = await one.fetch("SELECT lane, array_agg(number ORDER BY number) FROM batches GROUP BY lane ORDER BY lane")
            assert [tuple(row) for row in chains] == [(number, list(range(1, restart + 2))) for number in (0, 1)]
            await one.prove()


async def test_a_lane_that_lost_its_number_in_doubt_reads_the_old_and_writes_the_new(database: str):
    """The commit under the old number stands, its caller hears so, and the next batch begins the new number's own chain."""
    async with process(database) as one:
        here = await shop(one)
        await here.purchase("MOVED-1")
        other = await asyncpg.connect(database)
        connect = one.outcome_wire.connect

        async def overtaken() -> asyncpg.Connection:
            await lock(other, lanes.LANES, 0)
            return await connect()

        one.outcome_lane._connect = overtaken
        one.outcome_wire.cut("payments.finish", "after")
        assert (await here.purchase("MOVED-2"))["response_code"] == "14000"
        assert one.outcome_lane.number == 1
        assert (await here.purchase("MOVED-3"))["response_code"] == "14000"
        chains = await one.fetch("SELECT lane, count(*) FROM batches GROUP BY lane ORDER BY lane")
        assert [tuple(row) for row in chains] == [(0, 2), (1, 1)]
        await other.close()
        await one.prove()
