"""Ids that are counted: the same every time, and never the same twice."""
from __future__ import annotations

import time

import pytest

from ringfence.core.ids import IdSource
from ringfence.engine.numbering import FIRST_COUNTED, Counted
from tests.engine.composition import process, shop

pytestmark = pytest.mark.anyio


async def test_counted_ids_begin_at_a_constant_and_go_on_behind_the_highest_stored(database: str):
    """In an empty database always with the same one; after a restart behind every operation, card and batch."""
    async with process(database) as one:
        ids = Counted(one.pool, 7)
        await ids.take()
        assert [ids.next(), ids.next()] == [FIRST_COUNTED + 1, FIRST_COUNTED + 2]
        assert (ids.number, await ids.renew()) == (0, 0)
        for place, table in enumerate(("operations.operation_id", "cards.card_id", "batches.batch_id", "notices.operation_id"), 50):
            name, column = table.split(".")
            await one.pool.execute({
                "operations": "INSERT INTO operations SELECT 1, $1, $1, 'purchase', 1, 'AED', 'aps', NULL, NULL, '', NULL, '', '', '', NULL,"
                              " NULL, NULL, '', '', false, '', 0, NULL, now(), now()",
                "cards": "INSERT INTO cards (merchant_id, card_id, brand, bin, last4, first_reference, blocked, created_at)"
                         " VALUES (1, $1, '', '', '', '', '', now())",
                "batches": "INSERT INTO batches VALUES (1, 1, $1, now(), 0, '')",
                "notices": "INSERT INTO notices VALUES (1, 1, 'x', $1, '', 0, 0, now(), 0)",
            }[name], FIRST_COUNTED + place)
            again = Counted(one.pool, 7)
            await again.take()
            assert again.next() == FIRST_COUNTED + place + 1, column


async def test_counted_ids_are_far_behind_those_made_by_time(database: str):
    """So a sandbox can be counted first and timed later."""
    assert IdSource(0, lambda: time.time_ns() // 1_000_000).next() - FIRST_COUNTED > 2**52
    async with process(database) as one:
        here = await shop(one)
        made = int((await here.purchase("P-1"))["fort_id"])
        later = Counted(one.pool, 7)
        await later.take()
        assert later.next() > made


async def test_a_name_is_never_given_twice_whatever_else_is_stored_of_its_request(database: str):
    """The id that a name was made of is behind the last one for the next start, although no row has it; a merchant's own name is not."""
    async with process(database) as one:
        before = Counted(one.pool, 7)
        await before.take()
        names = [before.new_name() for _ in range(3)]
        assert len(set(names)) == 3
        for place, name in enumerate([names[0], names[1], "F" * 32, "merchants-own"]):
            if place % 2:
                await one.pool.execute("INSERT INTO sdk_tokens VALUES (1, $1, 'device', now())", name)
            else:
                await one.pool.execute("INSERT INTO tokens VALUES (1, $1, 1, '3012', '', true, 1, now())", name)
        again, other = Counted(one.pool, 7), Counted(one.pool, 8)
        await again.take()
        await other.take()
        assert again.new_name() == names[2]
        assert other.next() == FIRST_COUNTED + 1
