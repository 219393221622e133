"""Files of payment links: each row makes its link, once, whoever dies when."""
from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from ringfence.engine import links
from tests.engine.batching import Clerk, clerk
from tests.engine.composition import Shop

pytestmark = pytest.mark.anyio
HEADER = "command,merchant_reference,amount,currency,customer_email,notification_type,request_expiry_date,customer_phone,order_description"
UNTIL = "2026-01-20T00:00:00+00:00"


def row(reference: str, media: str = "EMAIL", minor: int = 1000, until: str = UNTIL, phone: str = "") -> str:
    return f"PAYMENT_LINK,{reference},{minor},AED,sara@shop.example,{media},{until},{phone},Dates"


async def links_and_messages(one) -> tuple[int, int]:
    return await one.value("SELECT count(*) FROM links"), await one.value("SELECT count(*) FROM messages")


async def codes(desk: Clerk, here: Shop, reference: str) -> list[str]:
    return [row["response_code"] for _, row in sorted((await desk.results(here, reference)).items())]


async def test_each_row_makes_its_link_and_is_told_with_its_code(one, here):
    """As PAYMENT_LINK would answer; a row that is refused makes nothing, and the sums come to what was handed in."""
    async with clerk(one, links=True) as desk:
        await here.purchase("paid", "900")
        rows = [row("a"), row("b", "NONE", 2500), row("paid"), row("d", "SMS", phone="00971501234567"), row("e", '"NONE,SMS"')]
        await desk.let_go(here, "L-1", rows, HEADER)
        assert (await desk.ask(here, "GET_BATCH_RESULTS", "L-1"))[0] == "71140"
        await desk.work()
        assert await codes(desk, here, "L-1") == ["48000", "48000", "49066", "48000", "48000"]
        file = await desk.desk.named(here.account.merchant_id, "L-1")
        assert file.agrees and {(one.ended, one.rows, one.minor) for one in file.sums} == {("approved", 4, 5500), ("refused", 1, 1000)}
        assert await links_and_messages(one) == (4, 2)
        stands = await here.ask(query_command="CHECK_PAYMENT_LINK_STATUS", merchant_reference="b")
        assert (stands["response_code"], stands["payment_link_status"], stands["amount"]) == ("12000", "Open", "2500")
    await one.prove()


async def test_what_can_be_told_of_a_link_is_told_before_it_is_made(one, here):
    """By line and column: a day that is over at business time, one that is none, a message by SMS and no number."""
    async with clerk(one, links=True) as desk:
        one.now.now += timedelta(days=10)
        rows = [row("a"), row("b", "SMS"), row("c", until="2026-01-15T07:09:19+00:00"), row("d", until="2026-02-30T00:00:00+00:00"),
                row("e", '"EMAIL,SMS"', phone="00971501234567"), row("f", '"EMAIL,SMS"')]
        await desk.upload(here, "L-1", "\n".join([HEADER, *rows, ""]))
        file = await desk.desk.named(here.account.merchant_id, "L-1")
        assert (file.state, file.faults) == ("invalid", 4)
        assert await desk.desk.faults(file) == [
            (3, "customer_phone", "001"), (4, "request_expiry_date", "002"), (5, "request_expiry_date", "002"), (7, "customer_phone", "001")]
        assert (await desk.ask(here, "PROCESS_BATCH", "L-1"))[0] == "73136"
    assert await links_and_messages(one) == (0, 0)


async def test_a_chunk_of_links_is_one_commit(one, here, monkeypatch):
    """However many rows it has."""
    made = []
    create_many = links.create_many

    async def counted(desk, merchant, orders):
        made.append(len(orders))
        return await create_many(desk, merchant, orders)

    monkeypatch.setattr(links, "create_many", counted)
    async with clerk(one, chunk=50, links=True) as desk:
        await desk.let_go(here, "L-1", [row(f"o-{number}") for number in range(100)], HEADER)
        await desk.work()
        assert await codes(desk, here, "L-1") == ["48000"] * 100
    assert made == [50, 50] and await links_and_messages(one) == (100, 100)


@pytest.mark.parametrize("when", ["before", "after", "silently"])
async def test_a_lost_answer_makes_no_link_twice(one, here, when):
    """The commit that takes the rows is lost when their links are made already: each row finds its own again."""
    async with clerk(one, chunk=3, links=True) as desk:
        await desk.let_go(here, "L-1", [row(f"o-{number}") for number in range(7)], HEADER)
        desk.wire.cut("COMMIT", when)
        await desk.work()
        assert await codes(desk, here, "L-1") == ["48000"] * 7
    assert await links_and_messages(one) == (7, 7)


async def test_killed_between_its_links_every_row_makes_one(one, two, here, monkeypatch):
    """Another process carries on; what was handed in under another name finds the references used."""
    async with clerk(one, chunk=8, links=True) as desk, clerk(two, chunk=8, links=True) as other:
        await two.directory.refresh()
        rows = [row(f"o-{number}") for number in range(20)]
        await desk.let_go(here, "L-1", rows, HEADER)
        dying = asyncio.create_task(desk.carrier.run())
        while not dying.done() and not await one.value("SELECT count(*) FROM links"):
            pass
        dying.cancel()
        await asyncio.wait([dying])
        assert 0 < (await links_and_messages(one))[0] < 20
        await desk.lanes[0].close()
        await other.work()
        assert await codes(other, here, "L-1") == ["48000"] * 20
        assert await links_and_messages(one) == (20, 20)
        await other.let_go(here, "L-2", [*rows, row("new")], HEADER)
        await other.work()
        assert await codes(other, here, "L-2") == ["49066"] * 20 + ["48000"]


async def test_a_file_of_links_is_refused_where_nobody_makes_them(one, here):
    """As a file that is none."""
    async with clerk(one) as desk:
        code, reason, _ = await desk.upload(here, "L-1", "command,merchant_reference,amount,currency\nPAYMENT_LINK,a,1,AED\n")
        assert code == "51144" and "payment links are not made from files here" in reason
