"""Who asks the desk at once shares its look at the database, and each is told of his own operation."""
from __future__ import annotations

import asyncio

import pytest

from ringfence.storage.database import DatabaseUnavailable
from tests.engine.composition import Process, Shop
from tests.engine.recovering import desk_of

pytestmark = pytest.mark.anyio


async def test_each_who_asks_at_once_is_told_of_his_own_operation(one: Process, here: Shop):
    """Also who asks for the same as another, and who asks for what is not there; with its card, but never with a security code."""
    paid = [int((await here.purchase(f"D-{number}", str(1000 + number)))["fort_id"]) for number in range(8)]
    desk, merchant_id = desk_of(one), here.account.merchant_id
    wanted = [*paid, paid[0], paid[-1] + 1, paid[3]]
    told = await asyncio.gather(*(desk.first(merchant_id, number) for number in wanted))
    assert [reserved and (reserved.intent.payment_id, reserved.operation.minor) for reserved in told] == [
        (number, 1000 + paid.index(number)) if number in paid else None for number in wanted]
    assert all(reserved.intent.card.stored is not None and reserved.intent.card.security_code is None for reserved in told if reserved)
    assert await desk.first(merchant_id + 1, paid[0]) is None


async def test_without_a_database_all_who_ask_are_told_so(one: Process, here: Shop):
    """None waits for ever, and the desk serves again once it is back."""
    number, desk, merchant_id = int((await here.purchase("D"))["fort_id"]), desk_of(one), here.account.merchant_id
    await one.lose_the_database()
    told = await asyncio.gather(*(desk.first(merchant_id, number) for _ in range(5)), return_exceptions=True)
    assert [type(why) for why in told] == [DatabaseUnavailable] * 5
    one.find_the_database()
    assert (await desk.first(merchant_id, number)).intent.payment_id == number
