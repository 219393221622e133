"""Abandoned operations: what an owner left without an outcome becomes a doubt that everybody sees."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from ringfence.background import abandoned
from ringfence.engine import intent_lane, lane
from ringfence.storage import payments as rows
from tests.engine.composition import CARD, Process, Shop, process, shop

pytestmark = pytest.mark.anyio
#: What is left behind, each after the operations it needs: command, amount, what the payment then reserves.
LEFT = {
    "purchase": ("PURCHASE", 1000, "pending_authorization"),
    "authorization": ("AUTHORIZATION", 1000, "pending_authorization"),
    "capture": ("CAPTURE", 400, "pending_capture"),
    "void": ("VOID_AUTHORIZATION", 1000, "pending_void"),
    "refund": ("REFUND", 250, "pending_refund"),
}


@pytest.fixture(scope="module")
async def one(module_database: str) -> AsyncIterator[Process]:
    async with process(module_database) as running:
        await shop(running)
        yield running


@pytest.fixture
def here(one: Process) -> Shop:
    return Shop(one, "CycHZxVj", "codeCycHZxVj", "ask-CycHZxVj", "say-CycHZxVj", "SHA-256")


async def sweep(process: Process) -> int:
    return await abandoned.sweep(process.pool, process.directory, process.engine)


async def leave(here: Shop, dead: Process, what: str, reference: str) -> None:
    """An operation whose owner dies while the processor thinks."""
    command, minor, _ = LEFT[what]
    if what in ("capture", "void", "refund"):
        await here.authorize(reference)
    if what == "refund":
        await here.capture(reference, 300)
        await here.capture(reference, 200)
    fields = {"command": command, "merchant_reference": reference}
    if what != "void":
        fields |= {"amount": str(minor), "currency": "AED"}
    if what in ("purchase", "authorization"):
        fields |= {**CARD, "customer_email": "a@shop.example", "customer_ip": "::1"}
    held = dead.processor.hold()
    asking = asyncio.create_task(here.at(dead).ask(**fields))
    await held.arrived.wait()
    asking.cancel()
    await asyncio.wait([asking])


@pytest.mark.parametrize("what", LEFT)
async def test_what_a_dead_owner_left_becomes_unknown(here: Shop, one: Process, module_database: str, what: str):
    """The reservation stays, the doubt is in the books, everybody hears 15777 and 784; it is written once."""
    async with process(module_database, 2) as dead:
        await leave(here, dead, what, f"A-{what}")
    await one.value("DELETE FROM sweeps")
    assert await sweep(one) == 0                       # its owner may still write the outcome
    await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE processor = 'scripted'")
    await one.value("DELETE FROM sweeps")
    assert await sweep(one) == 1
    assert await sweep(one) == 0
    _, minor, pending = LEFT[what]
    row = (await one.fetch(
        "SELECT p.*, o.details FROM payments p JOIN operations o ON o.operation_id = p.payment_id WHERE o.reference = $1", f"A-{what}"))[0]
    assert (row[pending], row["unknown"]) == (minor, 1)
    if what == "refund":
        captures = row["captures"]                      # id, minor, refunded, pending, ...: the oldest that can take all of it
        assert [captures[3], captures[9]] == [250, 0]
    assert (await here.status(f"A-{what}"))["transaction_code"] == "15777"
    assert (await here.capture(f"A-{what}", 1))["response_code"] == "05784"
    events = [row[0] for row in await one.fetch("SELECT event FROM events WHERE payment_id = $1 ORDER BY sequence", row["payment_id"])]
    assert events[-1] == f"{what}_unknown"
    await one.prove()


async def test_many_are_found_in_several_helpings(here: Shop, one: Process, module_database: str, monkeypatch: pytest.MonkeyPatch):
    """Two processes that sweep at once write each doubt once, however many fit into one look."""
    monkeypatch.setattr(abandoned, "AT_ONCE", 4)
    async with process(module_database, 2) as dead:
        for number in range(10):
            await leave(here, dead, "purchase", f"A-MANY-{number}")
        await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE reference LIKE 'A-MANY-%'")
        await one.value("DELETE FROM sweeps")
        assert sum(await asyncio.gather(sweep(one), sweep(dead))) >= 10
    assert await one.value(
        "SELECT count(*) FROM outcomes JOIN operations USING (operation_id) WHERE reference LIKE 'A-MANY-%' AND result = 'unknown'") == 10
    await one.prove()


async def test_what_cannot_be_written_now_is_found_by_the_next_sweep(here: Shop, one: Process, module_database: str, monkeypatch: pytest.MonkeyPatch):
    """The lane is down while the rest of the database answers: the sweep does not call it done."""
    async with process(module_database, 2) as dead:
        await leave(here, dead, "purchase", "A-LATER")
    await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE reference = 'A-LATER'")
    await one.value("DELETE FROM sweeps")
    one.outcome_wire.away = True
    one.outcome_wire.current.terminate()
    with monkeypatch.context() as patch:
        patch.setattr(lane, "PATIENCE_SECONDS", 0.05)
        assert await sweep(one) == 0
    one.outcome_wire.away = False
    assert await sweep(one) == 1
    assert (await here.status("A-LATER"))["transaction_code"] == "15777"


async def test_the_sweep_never_passes_a_commit_that_is_still_open(here: Shop, one: Process, module_database: str, monkeypatch: pytest.MonkeyPatch):
    """However far it looks ahead: an intent that becomes visible later is still before it."""
    monkeypatch.setattr(abandoned, "GRACE", timedelta(seconds=-60))
    await here.authorize("A-OPEN")
    payment_id = await one.value("SELECT payment_id FROM operations WHERE reference = 'A-OPEN'")
    async with process(module_database, 3, ask_seconds=10) as slow, one.pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await rows.lock(other, [(here.account.merchant_id, payment_id)])
        capturing = asyncio.create_task(here.at(slow).capture("A-OPEN", 100))
        while not await one.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'intents 3' AND wait_event_type = 'Lock'"):
            await asyncio.sleep(0)
        assert await sweep(one) == 0
        await transaction.rollback()
        assert (await capturing)["response_code"] == "04000"
    deadline = await one.value("SELECT ask_deadline FROM operations WHERE payment_id = $1 AND kind = 'capture'", payment_id)
    assert await one.value("SELECT done_until FROM sweeps") < deadline


async def test_an_owner_whose_clock_is_behind_is_found_out_when_it_dies(here: Shop, one: Process, module_database: str, monkeypatch: pytest.MonkeyPatch):
    """Its deadline was over before the intent was stored, and the sweep had passed it: it counts from the database's clock."""
    assert await sweep(one) == 0

    class Behind(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) - timedelta(hours=1)

    async with process(module_database, 2) as dead:
        monkeypatch.setattr(intent_lane, "datetime", Behind)
        dead.engine.wall = lambda: Behind.now(UTC)
        await leave(here, dead, "purchase", "A-BEHIND")
        monkeypatch.undo()
    monkeypatch.setattr(abandoned, "GRACE", timedelta(0))
    assert await sweep(one) == 1
    assert (await here.status("A-BEHIND"))["transaction_code"] == "15777"


async def test_a_sweep_that_looked_too_far_ahead_looks_there_again(here: Shop, one: Process, module_database: str, monkeypatch: pytest.MonkeyPatch):
    """The clock was an hour ahead and was set right: what is left behind within that hour is found."""
    await sweep(one)
    await one.value("UPDATE sweeps SET done_until = now() + interval '1 hour'")
    assert await sweep(one) == 0
    async with process(module_database, 2) as dead:
        await leave(here, dead, "purchase", "A-AHEAD")
    monkeypatch.setattr(abandoned, "GRACE", timedelta(minutes=-1))      # its time is over
    assert await sweep(one) == 1
    assert (await here.status("A-AHEAD"))["transaction_code"] == "15777"
