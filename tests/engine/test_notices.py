"""Notices: facts from outside are booked once, on the real PostgreSQL, and the proof agrees."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

import pytest

from ringfence.background import dropped
from ringfence.core.notices import Notice, Noticed
from ringfence.core.refusals import Refusal
from tests.engine.composition import Process, process, shop

pytestmark = pytest.mark.anyio


async def test_a_fact_is_booked_once_whoever_tells_it_again(database: str):
    """Ten chargebacks with one identity, half of them at once through another process, take the money once."""
    async with process(database) as one, process(database, 2) as two:
        here = await shop(one)
        answer = await here.purchase("DISPUTED-1", "1000")
        payment_id = int(answer["fort_id"])
        merchant_id = here.account.merchant_id
        notice = Notice(Noticed.CHARGEBACK, "case-7", 400, payment_id)
        results = await asyncio.gather(*(
            engine.notice(merchant_id, payment_id, "scripted", notice) for engine in (one.engine, two.engine) * 5
        ))
        assert sorted(result.refusal or "" for result in results) == ["", *[Refusal.KEY_USED] * 9]
        assert await one.value("SELECT disputed FROM payments WHERE payment_id = $1", payment_id) == 400
        assert (await here.refund("DISPUTED-1", "601"))["response_code"] == "07048"
        assert (await here.refund("DISPUTED-1", "600"))["response_code"] == "06000"
        await one.prove()


async def test_a_fact_about_a_payment_without_outcome_waits(database: str):
    """Nothing is booked on what is not there; the teller hears so and tells it again."""
    async with process(database) as one:
        here = await shop(one)
        result = await one.engine.notice(here.account.merchant_id, 7, "scripted", Notice(Noticed.HOLD_DROPPED, "x"))
        assert result.refusal is Refusal.PAYMENT_NOT_FOUND and not result.receipt
        await one.prove()


class Issuer:
    """Tells the holds it dropped, as long as they are asked for."""

    def __init__(self) -> None:
        self.dropped: list[Gone] = []
        self.asked: list[int] = []

    def drop(self, payment: int, merchant: str = "CycHZxVj") -> None:
        self.dropped.append(Gone(len(self.dropped) + 5, payment, merchant))

    async def told(self, at: datetime, after: int) -> list[Gone]:
        self.asked.append(after)
        return [gone for gone in self.dropped if gone.number > after]


class Gone(NamedTuple):
    number: int
    payment: int
    merchant: str


def sweep_of(process: Process, issuer: Issuer) -> Callable[[], Awaitable[int]]:
    """The sweep as a process that has just started does it."""
    return dropped.chore("scripted", issuer.told, process.directory, process.engine, process.pool, 1.0).run


async def test_a_dropped_hold_can_be_captured_without_the_issuer_behind_it(database: str):
    """What the issuer gave up stands as unsecured; a capture takes it from there, and the events say what happened."""
    async with process(database) as one:
        here, issuer = await shop(one), Issuer()
        payment_id = int((await here.authorize("DROPPED-1", "1000"))["fort_id"])
        issuer.drop(payment_id)
        sweep = sweep_of(one, issuer)
        assert [await sweep(), await sweep()] == [1, 0]
        assert issuer.asked == [0, 5]
        assert await one.value("SELECT unsecured FROM payments WHERE payment_id = $1", payment_id) == 1000
        assert (await here.capture("DROPPED-1", "400"))["response_code"] == "04000"
        kinds = await one.fetch("SELECT kind FROM journal WHERE payment_id = $1 ORDER BY batch_id, leg", payment_id)
        assert [row[0] for row in kinds] == ["authorize", "unsecure", "use_unsecured", "capture"]
        await one.prove()


async def test_a_dropped_hold_that_cannot_be_booked_now_is_told_again(database: str):
    """An authorization whose outcome is still on its way is not there yet; the next sweep books it, and nobody is told twice."""
    async with process(database) as one:
        here, issuer = await shop(one), Issuer()
        held = one.processor.hold()
        paying = asyncio.ensure_future(here.authorize("EARLY-1", "1000"))
        while not one.processor.asked:
            await asyncio.sleep(0)
        issuer.drop(one.processor.asked[-1].payment_id)
        issuer.drop(int((await here.authorize("EARLY-2", "1000"))["fort_id"]))
        sweep = sweep_of(one, issuer)
        assert [await sweep(), await sweep()] == [1, 0]
        held.release()
        assert (await paying)["response_code"] == "02000"
        assert [await sweep(), await sweep()] == [1, 0]
        assert issuer.asked == [0, 0, 0, 6]
        assert await one.value("SELECT count(*) FROM notices") == 2
        await one.prove()


async def test_what_a_crash_left_is_told_again_after_the_restart(database: str):
    """A process that dies between a booking and its note leaves no hold untold, and none is booked twice."""
    async with process(database) as one:
        here, issuer = await shop(one), Issuer()
        for number in range(3):
            issuer.drop(int((await here.authorize(f"CRASH-{number}", "1000"))["fort_id"]))
        issuer.drop(7, "nobody")

        async def dies(at: datetime, after: int) -> list[Gone]:
            first, *_ = await issuer.told(at, after)
            return [first, None]                # type: ignore[list-item]  # what comes next, it does not live to see

        with pytest.raises(AttributeError):
            await dropped.chore("scripted", dies, one.directory, one.engine, one.pool, 1.0).run()
        assert await one.value("SELECT count(*) FROM notices") == 1
    async with process(database, 2) as two:
        sweep = sweep_of(two, issuer)
        assert [await sweep(), await sweep()] == [4, 0]
        assert issuer.asked == [0, 0, 8]
        assert await two.value("SELECT count(*) FROM notices") == 3
        assert await two.value("SELECT sum(unsecured) FROM payments") == 3000
        await two.prove()
