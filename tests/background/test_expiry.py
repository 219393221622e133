"""Expiry: holds that are past their instant are given back, whole or in part, by nobody but the sweep."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from tests.engine.composition import DAY, Process, Shop, Time, process, shop
from tests.engine.expiring import sweeper

pytestmark = pytest.mark.anyio
ALMOST = 7 * DAY - timedelta(seconds=1)


@pytest.fixture(scope="module")
async def one(module_database: str) -> AsyncIterator[Process]:
    async with process(module_database, now=Time()) as running, sweeper(running) as running.sweeper:
        yield running


@pytest.fixture(scope="module")
async def here(one: Process) -> Shop:
    return await shop(one)


async def sweep(process: Process) -> int:
    return await process.sweeper.sweep()


async def standing(here: Shop, reference: str) -> tuple[str, ...]:
    """What CHECK_STATUS says: the last operation's code, authorized, captured, refunded."""
    said = await here.status(reference)
    return said["transaction_code"], said["authorized_amount"], said["captured_amount"], said["refunded_amount"]


async def test_an_authorization_nobody_captured_is_voided_after_seven_days(here: Shop, one: Process):
    """Not a second before; afterwards the order is voided and still shows what was approved."""
    await here.authorize("E-1", 1000)
    one.now.now += ALMOST
    assert await sweep(one) == 0
    assert await standing(here, "E-1") == ("02000", "1000", "0", "0")
    one.now.now += timedelta(seconds=1)
    assert (await here.capture("E-1", 1))["response_code"] == "05773"
    assert await sweep(one) == 1
    assert await standing(here, "E-1") == ("08000", "1000", "0", "0")
    message = one.processor.asked[-1]
    assert (message.kind, message.minor, message.held, message.original.approval_code) == ("void", 1000, 1000, "742138")
    codes = [(await answer)["response_code"] for answer in (here.capture("E-1", 1), here.void("E-1"), here.refund("E-1", 1))]
    assert codes == ["05773", "09047", "07773"]
    assert await sweep(one) == 0
    assert await one.value("SELECT actor FROM operations WHERE reason = 'expired'") == "job:expiry"


async def test_after_a_partial_capture_only_the_rest_is_released(here: Shop, one: Process):
    """The capture stays the last operation, then the refund; captured money is still refundable."""
    await here.authorize("E-2", 1000)
    await here.capture("E-2", 400)
    one.now.now += 7 * DAY
    assert await sweep(one) == 1
    assert one.processor.asked[-1].minor == 600
    assert await standing(here, "E-2") == ("04000", "1000", "400", "0")
    assert (await here.refund("E-2", 150))["response_code"] == "06000"
    assert await standing(here, "E-2") == ("06000", "1000", "400", "150")
    assert (await here.capture("E-2", 1))["response_code"] == "05042"
    assert (await here.void("E-2"))["response_code"] == "09034"


async def test_a_fully_captured_payment_has_nothing_to_expire(here: Shop, one: Process):
    """Purchases and full captures are left alone."""
    await here.authorize("E-3", 1000)
    await here.capture("E-3", 1000)
    await here.purchase("E-4")
    one.now.now += 8 * DAY
    assert await sweep(one) == 0


async def test_expiry_waits_for_a_capture_in_flight(here: Shop, one: Process):
    """The capture was asked in time: it may still be approved, then the rest goes."""
    await here.authorize("E-5", 1000)
    held = one.processor.hold()
    capturing = asyncio.create_task(here.capture("E-5", 300))
    await held.arrived.wait()
    one.now.now += 8 * DAY
    assert await sweep(one) == 0
    held.release()
    assert (await capturing)["response_code"] == "04000"
    assert await sweep(one) == 1
    assert await standing(here, "E-5") == ("04000", "1000", "300", "0")


async def test_expiry_waits_for_a_capture_in_doubt_and_not_for_a_refund_in_doubt(here: Shop, one: Process):
    """Only what may still take from the hold keeps it."""
    for reference in ("E-6", "E-7"):
        await here.authorize(reference, 1000)
    await here.capture("E-7", 400)
    one.processor.say(Unknown(Silence.NO_ANSWER), Unknown(Silence.NO_ANSWER))
    assert (await here.capture("E-6", 300))["response_code"] == "15777"
    assert (await here.refund("E-7", 100))["response_code"] == "15777"
    one.now.now += 8 * DAY
    assert await sweep(one) == 1
    assert await standing(here, "E-6") == ("15777", "1000", "0", "0")
    rows = await one.fetch(
        "SELECT o.reference, p.expired FROM payments p JOIN operations o ON o.operation_id = p.payment_id"
        " WHERE reference IN ('E-6', 'E-7') ORDER BY 1")
    assert [tuple(row) for row in rows] == [("E-6", 0), ("E-7", 600)]


async def test_two_processes_that_sweep_at_once_release_a_hold_once(here: Shop, one: Process, module_database: str):
    """What one of them has reserved, or is about to, the other passes over."""
    for number in range(20):
        await here.authorize(f"E-8{number}", 1000)
    one.now.now += 7 * DAY
    async with process(module_database, 2, now=one.now) as two, sweeper(two, chunk=7) as two.sweeper:
        asked = len(one.processor.asked)
        assert sum(await asyncio.gather(sweep(one), sweep(two))) == 20
        assert len(one.processor.asked) + len(two.processor.asked) == asked + 20


async def test_an_issuer_that_says_no_is_asked_again_the_next_day(here: Shop, one: Process):
    """The sweep ends, others are released, and the refused one is not asked about with every sweep."""
    for reference in ("E-9", "E-10"):
        await here.authorize(reference, 1000)
    one.now.now += 7 * DAY
    one.processor.say(lambda message: Declined("12"), lambda message: Approved(message.minor))
    asked = len(one.processor.asked)
    assert [await sweep(one), await sweep(one)] == [1, 0]
    assert len(one.processor.asked) == asked + 2
    assert sorted([(await standing(here, reference))[0] for reference in ("E-9", "E-10")]) == ["02000", "08000"]
    one.now.now += DAY + timedelta(seconds=1)
    assert await sweep(one) == 1
    assert sorted([(await standing(here, reference))[0] for reference in ("E-9", "E-10")]) == ["08000", "08000"]


async def test_a_void_without_an_answer_is_left_in_doubt(here: Shop, one: Process):
    """It is not sent again by this sweep, and nothing else moves the hold."""
    await here.authorize("E-11", 1000)
    one.now.now += 7 * DAY
    one.processor.say(Unknown(Silence.NO_ANSWER))
    assert [await sweep(one), await sweep(one)] == [0, 0]
    assert (await standing(here, "E-11"))[0] == "15777"
    assert (await here.void("E-11"))["response_code"] == "09784"


async def test_the_shortest_promise_counts(one: Process):
    """A merchant's own period ends a hold before the door's seven days."""
    quick = await shop(one, "Quick", hold_days="2")
    await quick.authorize("E-12", 1000)
    one.now.now += 2 * DAY
    assert await sweep(one) == 1
    assert await standing(quick, "E-12") == ("08000", "1000", "0", "0")


async def test_what_expired_is_in_the_books(one: Process):
    """All of the above is proved."""
    await one.prove()
