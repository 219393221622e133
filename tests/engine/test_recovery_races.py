"""Recovery against time: who comes late, twice or together, and what stalls."""
from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ringfence.background import abandoned
from ringfence.core.outcomes import Approved, Declined, Outcome
from ringfence.core.recovery import Step
from ringfence.engine import review
from ringfence.engine.intents import processor_key
from ringfence.engine.recovery import PREPARING
from ringfence.processors.processor import Ask
from tests.engine.composition import NOW, Process, Shop, approve, process, shop
from tests.engine.recovering import (
    SILENT,
    Gate,
    able,
    claim_due,
    desk_of,
    doubt,
    end_doubts,
    gone_owner,
    lapse,
    next_due,
    owed,
    recovers,
    results,
    reverse_due,
    told,
    try_due,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(one: Process, two: Process) -> Shop:
    made = await shop(one)
    await two.directory.refresh()
    return made


# -- fences

#: Each step of a recoverer that stalls: the kind in doubt, what the processor can do, tries before, the message that stalls and its answer.
STALLS = {
    "inquire": ("purchase", True, 0, "inquire", Approved(1000)),
    "reverse": ("purchase", False, 0, "reverse", True),
    "repeat": ("capture", False, 0, "ask", Approved(400)),
    "return": ("purchase", True, 4, "inquire", Approved(1000)),
}


@pytest.mark.parametrize("step", STALLS)
async def test_a_recoverer_that_stalls_beyond_its_lease_writes_nothing(here: Shop, one: Process, two: Process, step: str):
    """Another took the job over and is still at it: whatever the first one found out is not written, and the job stays the other's."""
    what, inquiry, tries, method, answer = STALLS[step]
    one.processor.capabilities = able(inquiry=inquiry)
    await doubt(here, what, "S")
    one.processor.acknowledges = False
    for _ in range(tries):
        one.now.now = await next_due(one)
        await try_due(one)
    one.now.now = await next_due(one) + (timedelta(days=1) if step == "return" else timedelta(0))
    (job,) = await claim_due(one)
    gate = Gate(one.processor, method, answer)
    stalling = asyncio.create_task(recovers(one).attempt(job))
    await gate.reached.wait()
    await lapse(one)
    (taken,) = await claim_due(two)
    assert taken.tries == job.tries + 1
    before = await results(one, "S")
    gate.open.set()
    assert not await stalling
    assert await results(one, "S") == before
    row = (await one.fetch("SELECT tries, holder, leased_until > now() AS held FROM jobs WHERE queue = 'recovery'"))[0]
    assert tuple(row) == (taken.tries, taken.holder, True)
    one.processor.acknowledges = True
    one.processor.find(Approved(1000), Approved(1000))
    assert await recovers(two).attempt(taken) or await end_doubts(two) >= 1
    assert await one.fetch("SELECT * FROM jobs WHERE queue = 'recovery'") == []
    await one.prove()


async def test_a_stalled_decision_to_reverse_is_not_written(here: Shop, one: Process, two: Process):
    """Two inquiries were in vain, and before the third try's decision is committed another has found the approval."""
    one.processor.capabilities = able(inquiry=True)
    await doubt(here, "purchase", "S")
    for _ in range(2):
        one.now.now = await next_due(one)
        await try_due(one)
    one.now.now = await next_due(one)
    (job,) = await claim_due(one)
    case = await desk_of(one).case(job)
    await lapse(one)
    (taken,) = await claim_due(two)
    one.processor.capabilities = able(inquiry=False)        # ... it would decide to reverse at once
    assert not await recovers(one)._take(Step.REVERSE, case)
    assert await owed(one) == []
    result = await two.engine.finish(two.engine.ended((await desk_of(two).case(taken)).reserved, Approved(1000, "1", "2", "3")))
    assert isinstance(result.outcome, Approved)
    assert (await here.status("S"))["transaction_code"] == "14000"
    await one.prove()


async def test_a_recoverer_that_stalls_before_it_sends_sends_nothing(here: Shop, one: Process, monkeypatch: pytest.MonkeyPatch):
    """Its claim may be another's by then, and what it would do may be wrong by now."""
    await doubt(here, "purchase", "S")
    one.now.now = await next_due(one)
    (job,) = await claim_due(one)
    recovery, desk = recovers(one), desk_of(one)
    case, wall = desk.case, recovery._wall

    async def slow(job: Any) -> Any:
        found = await case(job)
        monkeypatch.setattr(recovery, "_wall", lambda: wall() + PREPARING)
        return found

    monkeypatch.setattr(desk, "case", slow)
    assert not await recovery.attempt(job)
    assert one.processor.reversals == []
    monkeypatch.undo()
    assert await end_doubts(one) == 1
    assert len(one.processor.reversals) == 1


@pytest.mark.parametrize("when", ["before the reversal is sent", "after it was acknowledged"])
async def test_an_owner_that_comes_back_with_an_approval_is_too_late(here: Shop, one: Process, two: Process, when: str):
    """Never approved, reversed once, and told as a late approval, whether its operation has ended or not."""
    paying, held = await gone_owner(here, one, "L", here.at(two).purchase)
    if when == "after it was acknowledged":
        await end_doubts(one)
    held.release()
    assert (await paying)["response_code"] == "15777"
    await end_doubts(one)
    await reverse_due(one)
    assert len(one.processor.reversals) == 1
    assert await owed(one) == [("unknown", True)]
    events = ["purchase_unknown", "late_approval", "purchase_reversed"]
    assert sorted(await told(one, "L")) == sorted(events)
    assert (await here.status("L"))["transaction_code"] == "13666"
    assert await one.fetch("SELECT * FROM jobs") == []
    await one.prove()


async def test_where_recovery_found_the_approval_no_reversal_leaves(here: Shop, one: Process, two: Process):
    """The owner comes back with what an inquiry had found long ago: its approval is not told twice, and nothing undoes it."""
    one.processor.capabilities = able(inquiry=True)
    paying, held = await gone_owner(here, one, "L", here.at(two).purchase)
    found = Approved(1000, "742138", "1", "2")
    one.processor.find(found)
    await end_doubts(one)
    held.release(found)
    assert (await paying)["response_code"] == "15777"
    assert await end_doubts(one) == await reverse_due(one) == 0
    assert one.processor.reversals == [] and await owed(one) == []
    assert await told(one, "L") == ["purchase_unknown", "purchase_approved"]
    assert (await here.status("L"))["transaction_code"] == "14000"
    await one.prove()


async def test_a_late_owner_decides_against_an_inquiry_that_is_on_its_way(here: Shop, one: Process, two: Process):
    """Rule R: the reversal that the late approval is owed is decided first, so what the inquiry finds is not written."""
    one.processor.capabilities = able(inquiry=True)
    paying, held = await gone_owner(here, one, "L", here.at(two).purchase)
    one.now.now = await next_due(one)
    (job,) = await claim_due(one)
    gate = Gate(one.processor, "inquire", Approved(1000, "742138", "1", "2"))
    asking = asyncio.create_task(recovers(one).attempt(job))
    await gate.reached.wait()
    held.release()
    assert (await paying)["response_code"] == "15777"
    assert await owed(one) == [("superseded", False)]
    gate.open.set()
    assert not await asking
    assert await next_due(one) <= one.now(), "woken while it was in hand: tried again at once"
    await end_doubts(one)
    assert (await here.status("L"))["transaction_code"] == "13666"
    assert (len(one.processor.reversals), await owed(one)) == (1, [("superseded", True)])
    await one.prove()


async def test_a_late_approval_of_what_has_ended_declined_is_undone(here: Shop, one: Process, two: Process):
    """The issuer told two stories: the approval is reversed by a job of its own, and told."""
    one.processor.capabilities = able(inquiry=True)
    paying, held = await gone_owner(here, one, "L", here.at(two).purchase)
    one.processor.find(Declined("05"))
    await end_doubts(one)
    held.release()
    assert (await paying)["response_code"] == "15777"
    assert await owed(one) == [("superseded", False)]
    assert await one.value("SELECT queue FROM jobs") == "reversal"
    assert await reverse_due(one) == 1
    assert (await owed(one), await one.fetch("SELECT * FROM jobs")) == ([("superseded", True)], [])
    assert await told(one, "L") == ["purchase_unknown", "purchase_declined", "late_approval"]
    assert (await here.status("L"))["transaction_code"] == "13666"
    await one.prove()


async def test_a_late_approval_of_a_refund_is_evidence_for_whoever_decides(here: Shop, one: Process, two: Process):
    """Nobody may ask about it or repeat it: what its owner heard too late is all that is known, and it undoes nothing."""
    await here.purchase("L")
    one.processor.capabilities = able(inquiry=False, deduplicates=False)
    held = one.processor.hold()
    refunding = asyncio.create_task(here.at(two).refund("L", 300))
    await held.arrived.wait()
    await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE kind = 'refund'")
    await one.value("DELETE FROM sweeps")
    assert await abandoned.sweep(one.pool, one.directory, one.engine) == 1
    held.release()
    assert (await refunding)["response_code"] == "15777"
    assert await told(one, "L") == ["purchase_approved", "refund_unknown", "late_approval"]
    shown = await review.shown(one.pool, str(await one.value("SELECT subject FROM jobs")))
    assert any("Late approval, 3.00 AED" in sentence for sentence in shown.story)
    assert await owed(one) == one.processor.reversals == []
    await one.prove()


@pytest.mark.parametrize("inquiry", [False, True])
async def test_what_a_processor_says_too_late_is_told_and_wakes(here: Shop, one: Process, inquiry: bool):
    """``Recovery.late``: never an approval; told once for an operation, and not where it is approved meanwhile."""
    one.processor.capabilities = able(inquiry=inquiry)
    await doubt(here, "purchase", "T")
    (asked,) = one.processor.asked
    for _ in range(2):
        await recovers(one).late(asked, approve(asked))
    await recovers(one).late(asked._replace(merchant="nobody"), approve(asked))
    await recovers(one).late(asked, Declined("05"))
    assert await told(one, "T") == ["purchase_unknown", "late_approval"]
    assert await next_due(one) == one.now()
    one.processor.find(approve(asked))
    assert await end_doubts(one) == 1
    end = "purchase_approved" if inquiry else "purchase_reversed"
    await recovers(one).late(asked, approve(asked))
    assert await told(one, "T") == ["purchase_unknown", "late_approval", end]
    assert len(one.processor.reversals) == (not inquiry)
    await doubt(here, "purchase", "U")
    asked = one.processor.asked[-1]
    one.processor.find(approve(asked))
    await end_doubts(one)
    await recovers(one).late(asked, approve(asked))
    assert ("late_approval" in await told(one, "U")) == (not inquiry)
    await one.prove()


# -- every order

class Issuer:
    """Carries out one purchase when it is asked, undoes it when that is asked, and remembers; every answer waits at a gate."""

    name = "scripted"

    def __init__(self, inquiry: bool) -> None:
        self.capabilities = able(inquiry=inquiry)
        self.approved = self.undone = False
        self.waiting: list[asyncio.Event] = []

    async def _answered(self, answer: Any) -> Any:
        gate = asyncio.Event()
        self.waiting.append(gate)
        await gate.wait()
        return answer

    async def ask(self, message: Ask) -> Outcome:
        self.approved = not self.undone
        return await self._answered(approve(message) if self.approved else Declined("79"))

    async def inquire(self, message: Ask) -> Outcome:
        return await self._answered(approve(message) if self.approved and not self.undone else SILENT)

    async def reverse(self, message: Ask) -> bool:
        self.undone = True
        return await self._answered(True)

    async def close(self) -> None:
        """Nothing to release."""


_numbers = itertools.count(1)
MOVES = st.lists(st.sampled_from(["claim one", "claim two", "answer first", "answer last", "late"]), min_size=4, max_size=12)


async def _settle(tasks: list[asyncio.Task], issuer: Issuer) -> None:
    """Until every task that is not done waits at a gate of the issuer."""
    async with asyncio.timeout(60):                     # else somebody waits for nothing
        while sum(not task.done() for task in tasks) > sum(not gate.is_set() for gate in issuer.waiting):
            await asyncio.sleep(0.001)


@pytest.fixture(scope="module")
def sides(module_database: str) -> Iterator[tuple[asyncio.Runner, Process, Process]]:
    """Two processes on one clock for all races, and where they run."""
    ends = AsyncExitStack()

    async def opened() -> tuple[Process, Process]:
        one = await ends.enter_async_context(process(module_database, 1))
        return one, await ends.enter_async_context(process(module_database, 2, now=one.now))

    with asyncio.Runner() as runner:
        try:
            yield runner, *runner.run(opened())
        finally:
            runner.run(ends.aclose())


async def _race(one: Process, two: Process, inquiry: bool, moves: list[str], name: str) -> tuple[str, Issuer]:
    """One purchase whose owner was given up while the issuer thinks; two recoverers and the owner go on in this order."""
    issuer = Issuer(inquiry)
    sides = {"claim one": one, "claim two": two}
    one.now.now = NOW                                   # the same morning for each: past midnight a purchase is returned instead
    for side in (one, two):
        side.processor = issuer
        side.engine._processors = {issuer.name: issuer}
        side.engine.recovery = None                     # that of the race before knows the issuer of that race
        recovers(side)
    known = one.directory.merchant("CycHZxVj")
    here = Shop(one, "CycHZxVj", "codeCycHZxVj", "ask-CycHZxVj", "say-CycHZxVj", "SHA-256") if known else await shop(one)
    await two.directory.refresh()
    owner = asyncio.create_task(here.purchase(name))
    tasks = [owner]
    await _settle(tasks, issuer)
    await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE reference = $1", name)
    await one.value("DELETE FROM sweeps")
    await abandoned.sweep(one.pool, one.directory, one.engine)
    for move in moves:
        gates = [gate for gate in issuer.waiting if not gate.is_set()]
        match move:
            case "claim one" | "claim two":     # some time later, whoever had it before
                one.now.now += timedelta(minutes=20)
                await lapse(one)
                for job in await claim_due(sides[move]):
                    tasks.append(asyncio.create_task(recovers(sides[move]).attempt(job)))
            case "answer first" | "answer last":
                if gates:
                    gates[0 if move == "answer first" else -1].set()
            case "late":
                operation = (await one.fetch("SELECT operation_id FROM operations WHERE reference = $1", name))[0][0]
                message = Ask(processor_key(operation), "purchase", 1000, "AED", "CycHZxVj", operation, operation, one.now(), one.now())
                if issuer.approved:
                    await recovers(one).late(message, approve(message))
        await _settle(tasks, issuer)
    await _with_open_gates(issuer, asyncio.wait(tasks))
    await lapse(one)
    await _with_open_gates(issuer, end_doubts(one))
    await _with_open_gates(issuer, reverse_due(one))
    outcome = await one.value(
        "SELECT result FROM outcomes JOIN operations USING (operation_id) WHERE reference = $1 ORDER BY attempt DESC LIMIT 1", name)
    await one.prove()
    return outcome, issuer


async def _with_open_gates(issuer: Issuer, work: Coroutine[Any, Any, Any]) -> None:
    """Do it while every answer comes at once."""
    task = asyncio.create_task(work)
    while not task.done():
        for gate in issuer.waiting:
            gate.set()
        await asyncio.sleep(0)
    await task


@settings(
    max_examples=30, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True,
)
@given(inquiry=st.booleans(), moves=MOVES)
def test_in_every_order_it_is_never_approved_here_and_reversed_there(
    sides: tuple[asyncio.Runner, Process, Process], inquiry: bool, moves: list[str],
):
    """Two recoverers and the owner, whose answers and commits come in any order: ledger and issuer agree in the end."""
    runner, one, two = sides
    outcome, issuer = runner.run(_race(one, two, inquiry, moves, f"RACE-{next(_numbers)}"))
    assert outcome in ("approved", "reversed")
    assert (outcome == "approved") == (issuer.approved and not issuer.undone)
