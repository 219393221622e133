"""Notices: facts from outside are booked once, on the real PostgreSQL, and the proof agrees."""
from __future__ import annotations

import asyncio

import pytest

from ringfence.background.dropped import DroppedHolds
from ringfence.core.notices import Notice, Noticed
from ringfence.core.refusals import Refusal
from tests.engine.composition import process, shop

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


async def test_a_dropped_hold_can_be_captured_without_the_issuer_behind_it(database: str):
    """What the issuer gave up stands as unsecured; a capture takes it from there, and the events say what happened."""
    class Gone:
        merchant = "CycHZxVj"

        def __init__(self, payment: int) -> None:
            self.payment = payment

    async with process(database) as one:
        here = await shop(one)
        payment_id = int((await here.authorize("DROPPED-1", "1000"))["fort_id"])
        told = [Gone(payment_id)]

        async def noticed(at):
            return [told.pop()] if told else []

        holds = DroppedHolds("scripted", noticed, one.directory, one.engine)
        assert [await holds.sweep(), await holds.sweep()] == [1, 0]
        assert await one.value("SELECT unsecured FROM payments WHERE payment_id = $1", payment_id) == 1000
        assert (await here.capture("DROPPED-1", "400"))["response_code"] == "04000"
        kinds = await one.fetch("SELECT kind FROM journal WHERE payment_id = $1 ORDER BY batch_id, leg", payment_id)
        assert [row[0] for row in kinds] == ["authorize", "unsecure", "use_unsecured", "capture"]
        await one.prove()


async def test_a_dropped_hold_that_cannot_be_booked_now_is_told_again(database: str):
    """An authorization whose outcome is still on its way is not there yet; the next sweep books it."""
    class Gone:
        merchant, payment = "CycHZxVj", 0

    async with process(database) as one:
        here = await shop(one)
        early = Gone()
        held = one.processor.hold()
        paying = asyncio.ensure_future(here.authorize("EARLY-1", "1000"))
        while not one.processor.asked:
            await asyncio.sleep(0)
        early.payment = one.processor.asked[-1].payment_id
        told = [early]

        async def noticed(at):
            return [told.pop()] if told else []

        holds = DroppedHolds("scripted", noticed, one.directory, one.engine)
        assert await holds.sweep() == 0
        held.release()
        assert (await paying)["response_code"] == "02000"
        assert await holds.sweep() == 1
        await one.prove()
