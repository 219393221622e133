"""Purchases of a day that is closed: what was paid after all is sent back by a refund, once, and never beside a reversal."""
from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringfence.core.card import Pan
from ringfence.core.commands import Kind
from ringfence.core.outcomes import Approved, Declined, Outcome, Reversed
from ringfence.core.recovery import RETURN_SECONDS
from ringfence.engine.proof import prove
from ringfence.engine.recovery import PAID
from ringfence.processors.processor import Ask
from ringfence.processors.simulator import Control, Effect, read_book, standing
from ringfence.processors.simulator.scenarios import VISA
from tests.engine.composition import Process, Shop, shop
from tests.engine.recovering import (
    SILENT,
    able,
    doubt,
    end_doubts,
    next_due,
    owed,
    recovers,
    try_due,
    world,
)

pytestmark = pytest.mark.anyio


async def doubt_of_a_closed_day(here: Shop, one: Process) -> None:
    """A purchase of yesterday, in doubt; its reversal was decided and sent, and never acknowledged."""
    one.processor.capabilities = able(inquiry=True)
    await doubt(here, "purchase", "D")
    one.processor.acknowledges = False
    await end_doubts(one, timedelta(minutes=10))
    one.now.now += timedelta(days=1)


async def test_a_purchase_of_a_closed_day_is_sent_back_by_a_refund(here: Shop, one: Process):
    """What the processor still has is refunded under a key of its own, through suspense; twice asked it is one refund."""
    one.processor.capabilities = able(inquiry=True)
    await doubt(here, "purchase", "D")
    one.processor.acknowledges = False
    await end_doubts(one, timedelta(minutes=10))
    assert await owed(one) == [("unknown", False)]
    one.now.now += timedelta(days=1)
    paid = Approved(1000, "123456", "SCHEME0001", "RRN000001")
    one.processor.find(paid, paid, SILENT, paid)    # noted; refunded, without an answer; in vain; refunded again
    one.processor.say(SILENT)
    one.processor.acknowledges = True
    reversals = len(one.processor.reversals)
    await try_due(one)
    due = one.now() + timedelta(seconds=RETURN_SECONDS)
    assert await one.fetch("SELECT note, due_at FROM jobs") == [(PAID + due.isoformat(), due)]
    assert len(one.processor.asked) == 1, "noted before the refund leaves"
    await end_doubts(one)
    purchase, first, second = one.processor.asked
    assert [(sent.key, sent.kind, sent.minor, sent.original.key, sent.original.approval_code) for sent in (first, second)] == [
        (f"{purchase.key}-return", "refund", 1000, purchase.key, "123456")] * 2
    assert second.repeat
    assert len(one.processor.reversals) == reversals, "behind a refund that may have left no reversal leaves"
    assert [tuple(row) for row in await one.fetch(
        "SELECT kind, minor FROM journal WHERE kind NOT LIKE 'doubt%' ORDER BY leg")] == [("money_in_suspense", 1000), ("suspense_returned", 1000)]
    assert (await here.status("D"))["transaction_code"] == "13666"
    assert await owed(one) == [("unknown", True)]
    await one.prove()


@pytest.mark.parametrize("found", [Reversed(), Declined("79"), SILENT])
async def test_a_purchase_of_a_closed_day_that_was_never_paid_is_not_refunded(here: Shop, one: Process, found: Outcome):
    """Reversed after all, declined, or never seen: nothing is given back that nobody knows was paid."""
    await doubt_of_a_closed_day(here, one)
    one.processor.acknowledges = True
    one.processor.find(found)
    await end_doubts(one)
    assert len(one.processor.asked) == 1
    assert (await here.status("D"))["transaction_code"] == "13666"
    await one.prove()


async def test_a_reversal_that_was_acknowledged_in_vain_does_not_end_a_purchase_of_a_closed_day(here: Shop, one: Process):
    """The inquiry before it was lost; the one after it finds the purchase paid: it goes back by the refund, and is not called reversed."""
    await doubt_of_a_closed_day(here, one)
    one.processor.acknowledges = True
    paid = Approved(1000, "123456", "SCHEME0001", "RRN000001")
    one.processor.find(SILENT, paid, paid)
    await try_due(one)
    reversals = len(one.processor.reversals)
    assert (await here.status("D"))["transaction_code"] == "15777"
    await end_doubts(one)
    assert [sent.kind for sent in one.processor.asked] == ["purchase", "refund"]
    assert len(one.processor.reversals) == reversals
    assert [tuple(row) for row in await one.fetch(
        "SELECT kind, minor FROM journal WHERE kind NOT LIKE 'doubt%' ORDER BY leg")] == [("money_in_suspense", 1000), ("suspense_returned", 1000)]
    assert (await here.status("D"))["transaction_code"] == "13666"
    await one.prove()


async def test_a_reversal_that_arrives_beside_the_refund_leaves_one_of_them(here: Shop, one: Process):
    """Paid, says an inquiry, and then a reversal that was long under way arrives: the refund that may have left is undone."""
    await doubt_of_a_closed_day(here, one)
    paid = Approved(1000, "123456", "SCHEME0001", "RRN000001")
    one.processor.find(paid, paid, Reversed(), Reversed())
    one.processor.say(SILENT)
    for _ in range(3):
        one.now.now = max(one.now(), await next_due(one))
        await try_due(one)
    assert await next_due(one) is not None, "its undoing is not acknowledged yet"
    one.processor.acknowledges = True
    await end_doubts(one)
    purchase, refund = one.processor.asked
    assert [message.key for message in one.processor.reversals[-2:]] == [refund.key] * 2 == [f"{purchase.key}-return"] * 2
    assert (await here.status("D"))["transaction_code"] == "13666"
    assert await one.fetch("SELECT * FROM journal WHERE kind NOT LIKE 'doubt%'") == []
    await one.prove()


@pytest.mark.parametrize("early", ["by a refund that waits for the doubt", "by a late approval"])
async def test_a_reversal_that_is_under_way_has_time_to_arrive_before_the_refund_leaves(here: Shop, one: Process, early: str):
    """Sent a second before the cut-over and not answered; whoever has the doubt tried early does not have it refunded earlier."""
    await doubt_of_a_closed_day(here, one)
    paid = Approved(1000, "123456", "SCHEME0001", "RRN000001")
    one.processor.find(paid, paid, paid, Reversed())        # the reversal arrives at last
    await try_due(one)
    one.processor.acknowledges = True
    for _ in range(2):
        if early == "by a late approval":
            await recovers(one).late(one.processor.asked[0], paid)
            assert await try_due(one) == 1
        else:
            assert (await here.refund("D", 1000))["response_code"] == "07784"
        one.now.now += timedelta(seconds=RETURN_SECONDS / 2 - 1)
    assert len(one.processor.asked) == 1, "no refund left"
    await end_doubts(one)
    assert len(one.processor.asked) == 1, "nor does one when it has arrived"
    assert (await here.status("D"))["transaction_code"] == "13666"
    assert await one.fetch("SELECT * FROM journal WHERE kind NOT LIKE 'doubt%'") == []
    await one.prove()


async def test_a_purchase_of_a_closed_day_is_reversed_on_where_nobody_can_be_asked(here: Shop, one: Process):
    """Without inquiry nobody knows whether it was paid: it is reversed until its deadline, and then a person decides."""
    one.processor.acknowledges = False
    await doubt(here, "purchase", "D")
    await end_doubts(one, timedelta(hours=30))
    assert len(one.processor.asked) == 1 and len(one.processor.reversals) > 100
    assert await one.value("SELECT deadline_at FROM jobs") < one.now()
    await one.prove()


@pytest.mark.parametrize("after", [timedelta(hours=30), timedelta(days=5)])
async def test_the_books_of_a_purchase_that_was_sent_back_agree(database: str, tmp_path: Path, after: timedelta):
    """With a real book beside: the processor has a purchase and a refund, and the proof finds both (P8, P9, P10), on whatever days."""
    async with world(database, tmp_path) as issuer:
        one = issuer.process
        merchant, simulator = await shop(one, "Two"), issuer.simulators["asked"]
        simulator.capabilities = able(inquiry=False)
        answer = await merchant.purchase("D", card_number=VISA.number("0307"))     # decided: a reversal; it is never answered
        await end_doubts(one, after)
        simulator.capabilities = able(inquiry=True)
        assert await end_doubts(one) == 2
        found = standing(tmp_path / "asked")[int(answer["fort_id"])]
        assert (found.captured, found.refunded) == (1000, 1000)
        assert (await merchant.status("D"))["transaction_code"] == "13666"
        proof = await prove(one.pool, chain_key=one.chain_key, full=True, books=issuer.books())
        assert proof.ok, proof.as_json()
        assert all(book.exceptions == [] for book in proof.books)
        # A reversal that was under way for longer than anybody waits arrives now: the money went back twice, and that shows.
        [bought] = [line for line in read_book(tmp_path / "asked") if line.kind is Kind.PURCHASE and line.effect is Effect.APPROVED]
        with closing(Control(tmp_path / "asked", seed=7)) as control:
            control.set_scenario(Pan(VISA.number("0307")), "0000")
            assert await simulator.reverse(Ask(
                bought.key, bought.kind, bought.minor, "AED", bought.merchant, bought.payment, bought.operation, one.now(),
                datetime.now(UTC) + timedelta(minutes=1), Pan(VISA.number("0307"))))
        proof = await prove(one.pool, chain_key=one.chain_key, full=True, books=issuer.books())
        assert [book.checks["P9"].ok for book in proof.books] == [False]
