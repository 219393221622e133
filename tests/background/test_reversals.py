"""Reversals: sent until somebody acknowledges them."""
from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ringfence.core.outcomes import Approved
from tests.engine import recovering
from tests.engine.composition import Process, process, shop

pytestmark = pytest.mark.anyio
OWED = "SELECT acknowledged_at IS NULL AS open FROM reversals"


async def later(process: Process) -> int:
    """The queue's turn some time later; how many jobs there were."""
    process.now.now += timedelta(minutes=1)
    return await recovering.reverse_due(process)


async def test_a_reversal_is_sent_until_it_is_acknowledged(database: str):
    """At once with the answer, then whenever its job is due; exactly the same message each time, without its security code."""
    async with process(database) as one:
        here = await shop(one)
        one.processor.acknowledges = False
        one.processor.say(Approved(600, "742138", "SCHEME", "RRN"))
        assert (await here.purchase("R-1", remember_me="YES"))["response_code"] == "13029"
        await one.engine.idle()
        assert await later(one) == 1
        assert [row["open"] for row in await one.fetch(OWED)] == [True]
        one.processor.acknowledges = True
        assert await one.value("SELECT note FROM jobs") == "not acknowledged"
        assert await later(one) == 1
        assert [row["open"] for row in await one.fetch(OWED)] == [False]
        assert await later(one) == 0
        asked = one.processor.asked[0]
        assert [(sent.key, sent.kind, sent.minor, sent.operation_id, sent.pan, sent.security_code) for sent in one.processor.reversals] == [
            (asked.key, asked.kind, asked.minor, asked.operation_id, asked.pan, None)] * 3
        await one.prove()


async def test_a_processor_that_breaks_does_not_stop_the_others(database: str):
    """One reversal raises; the next is sent, and the first stays owed."""
    async with process(database) as one:
        here = await shop(one)
        one.processor.acknowledges = False
        one.processor.say(Approved(600), Approved(600))
        for number in range(2):
            assert (await here.purchase(f"R-{number}"))["response_code"] == "13029"
        await one.engine.idle()
        broken = one.processor.asked[0].key
        reverse = one.processor.reverse

        async def sometimes(message):
            if message.key == broken:
                raise ValueError("a bug")
            return await reverse(message)

        one.processor.acknowledges, one.processor.reverse = True, sometimes
        assert await later(one) == 2
        assert [row["open"] for row in await one.fetch(f"{OWED} ORDER BY payment_id")] == [True, False]


async def test_the_end_of_a_reversal_that_cannot_be_noted_is_noted_later(database: str):
    """The database is away when the acknowledgement comes: the reversal is sent again, which changes nothing at the issuer."""
    async with process(database) as one:
        here = await shop(one)
        held = one.processor.hold()

        async def then_the_database_goes(message):
            await one.lose_the_database()
            return True

        paying = asyncio.create_task(here.purchase("R-3"))
        await held.arrived.wait()
        reverse, one.processor.reverse = one.processor.reverse, then_the_database_goes
        held.release(Approved(600))
        assert (await paying)["response_code"] == "13029"
        await one.engine.idle()
        one.find_the_database()
        one.processor.reverse = reverse
        assert [row["open"] for row in await one.fetch(OWED)] == [True]
        assert await later(one) == 1
        assert [row["open"] for row in await one.fetch(OWED)] == [False]


async def test_a_reversal_that_is_sent_again_has_time_to_be_answered(database: str):
    """Not the deadline of the question that it undoes, which is long over; and a processor that never answers is not waited for."""
    async with process(database, ask_seconds=5.0) as one:
        here = await shop(one)
        one.processor.acknowledges = False
        one.processor.say(Approved(600))
        assert (await here.purchase("R-4"))["response_code"] == "13029"
        await one.engine.idle()
        await one.value("UPDATE operations SET ask_deadline = now() - interval '1 hour'")
        sent = datetime.now(UTC)
        assert await later(one) == 1
        assert all(message.deadline > sent for message in one.processor.reversals)

        async def never(message):
            await asyncio.Event().wait()

        one.processor.reverse = never
        one.engine._reversal_seconds = 0.05
        async with asyncio.timeout(10):
            assert await later(one) == 1
        assert [row["open"] for row in await one.fetch(OWED)] == [True]
        assert await one.value("SELECT note FROM jobs") == "not acknowledged"
