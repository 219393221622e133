"""Recovery against time: who comes late, twice or together; what stalls, what is lost; and who waits for it."""
from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ringfence.background import abandoned
from ringfence.core.outcomes import Approved, Declined, Outcome
from ringfence.core.recovery import Step
from ringfence.engine import lane, review
from ringfence.engine.intents import processor_key
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.recovery import PREPARING
from ringfence.processors.processor import Ask
from tests.engine.composition import CARD, Process, Shop, approve, process, shop
from tests.engine.recovering import claim_due, desk_of, end_doubts, next_due, recovers, reverse_due, told, try_due
from tests.engine.test_recovery import SILENT, able, doubt, lapse, owed, results

pytestmark = pytest.mark.anyio


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database, recovers=True, ask_seconds=5.0) as running:
        yield running


@pytest.fixture
async def two(database: str, one: Process) -> AsyncIterator[Process]:
    """Another process on the same database and clock; its issuer is the first one's."""
    async with process(database, 2, now=one.now) as running:
        running.processor = one.processor
        running.engine._processors = one.engine._processors
        recovers(running)
        yield running


@pytest.fixture
async def here(one: Process, two: Process) -> Shop:
    made = await shop(one)
    await two.directory.refresh()
    return made


class Gate:
    """A processor's answer that waits until the test lets it out."""

    def __init__(self, script: Any, method: str, answer: Any) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        carry_out = getattr(script, method)

        async def held(message: Ask) -> Any:
            setattr(script, method, carry_out)
            self.reached.set()
            await self.open.wait()
            return answer

        setattr(script, method, held)


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


async def gone_owner(here: Shop, one: Process, reference: str, pay: Callable[[str], Awaitable[dict]]) -> tuple[asyncio.Task, Any]:
    """An owner whose processor thinks beyond every deadline: the chore calls it gone, and the operation is in doubt."""
    held = one.processor.hold()
    paying = asyncio.create_task(pay(reference))
    await held.arrived.wait()
    await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE reference = $1", reference)
    await one.value("DELETE FROM sweeps")
    assert await abandoned.sweep(one.pool, one.directory, one.engine) == 1
    return paying, held


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
    for _ in range(2_000):
        waiting = sum(not gate.is_set() for gate in issuer.waiting)
        if sum(not task.done() for task in tasks) <= waiting:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("somebody waits for nothing")


async def _race(dsn: str, inquiry: bool, moves: list[str], name: str) -> tuple[str, Issuer]:
    """One purchase whose owner was given up while the issuer thinks; two recoverers and the owner go on in this order."""
    issuer = Issuer(inquiry)
    async with process(dsn, 1) as one, process(dsn, 2, now=one.now) as two:
        sides = {"claim one": one, "claim two": two}
        for side in (one, two):
            side.processor = issuer
            side.engine._processors = {issuer.name: issuer}
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
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(inquiry=st.booleans(), moves=MOVES)
def test_in_every_order_it_is_never_approved_here_and_reversed_there(module_database: str, inquiry: bool, moves: list[str]):
    """Two recoverers and the owner, whose answers and commits come in any order: ledger and issuer agree in the end."""
    outcome, issuer = asyncio.run(_race(module_database, inquiry, moves, f"RACE-{next(_numbers)}"))
    assert outcome in ("approved", "reversed")
    assert (outcome == "approved") == (issuer.approved and not issuer.undone)


# -- on the fly

async def test_a_capture_first_ends_the_doubt_before_it(here: Shop, one: Process):
    """Nobody has to wait for the background: the capture in doubt is repeated, and then this one is decided."""
    await doubt(here, "capture", "F")
    assert (await here.capture("F", 600))["response_code"] == "04000"
    assert [(message.minor, message.repeat) for message in one.processor.asked[1:]] == [(400, False), (400, True), (600, False)]
    assert (await here.status("F"))["captured_amount"] == "1000"
    assert await one.fetch("SELECT * FROM jobs") == []


async def test_a_doubt_that_stays_is_told_as_before(here: Shop, one: Process):
    """One try in vain: 784, and the try after that keeps its time."""
    await doubt(here, "capture", "F")
    due = await next_due(one)
    one.processor.say(SILENT)
    assert (await here.capture("F", 600))["response_code"] == "05784"
    assert await next_due(one) == due
    assert await one.value("SELECT leased_until FROM jobs") is not None
    assert len(one.processor.asked) == 3
    assert (await here.capture("F", 600))["response_code"] == "04000"


async def test_a_refund_first_ends_the_doubt_of_its_purchase(here: Shop, one: Process):
    """Where the purchase can be asked about, the refund passes at once; where it is reversed, nothing is left to refund."""
    one.processor.capabilities = able(inquiry=True)
    await doubt(here, "purchase", "F")
    one.processor.find(Approved(1000, "742138", "SCHEME", "RRN"))
    assert (await here.refund("F", 300))["response_code"] == "06000"
    one.processor.capabilities = able(inquiry=False)
    await doubt(here, "purchase", "G")
    assert (await here.refund("G", 300))["response_code"] == "07662"
    await one.prove()


@pytest.mark.parametrize(("answer", "code", "sent"), [(approve, "07066", 1), (Declined("05"), "06000", 2)])
async def test_the_same_maintenance_reference_ends_the_doubt_and_pays_once(here: Shop, one: Process, answer: Any, code: str, sent: int):
    """Approved after all it was used; declined it is asked anew, as a new operation under a new key."""
    await doubt(here, "refund", "M")
    one.processor.say(answer)
    said = await here.refund("M", 300, maintenance_reference="M-R")
    assert said["response_code"] == code
    keys = [message.key for message in one.processor.asked[1:]]
    assert len(set(keys)) == sent and keys[0] == keys[1]
    assert (await here.status("M"))["refunded_amount"] == "300"
    await one.prove()


async def test_64_racing_operations_make_one_try(here: Shop, one: Process):
    """All wait for the same doubt; the processor hears of it once, and then the captures share what is left."""
    await doubt(here, "capture", "W")
    gate = Gate(one.processor, "ask", Approved(400, "1", "2", "3"))
    racing = [asyncio.create_task(here.capture("W", 10, order_description=str(number))) for number in range(64)]
    await gate.reached.wait()
    gate.open.set()
    codes = [answer["response_code"] for answer in await asyncio.gather(*racing)]
    repeats = [message for message in one.processor.asked if message.repeat]
    assert len(repeats) == 0, "the one that was held, and no other"
    assert (codes.count("04000"), codes.count("05042")) == (60, 4)
    assert (await here.status("W"))["captured_amount"] == "1000"
    await one.prove()


async def test_a_processor_that_ignores_its_deadline_does_not_hold_its_caller(database: str):
    """Half a second behind its deadline nobody waits any longer; the outcome is unknown like any other silence."""
    async with process(database, ask_seconds=0.2) as one:
        here = await shop(one)
        one.processor.hold()
        async with asyncio.timeout(5):
            assert (await here.purchase("N"))["response_code"] == "15777"
        assert await results(one, "N") == [("purchase", 1, "unknown")]
        assert await one.value("SELECT response_code FROM outcomes") == "no_answer"


async def test_a_recovery_message_without_an_answer_ends_in_time(here: Shop, one: Process):
    """Whatever is asked: a processor that never answers gives the job back."""
    await doubt(here, "capture", "N")
    recovers(one)._ask_seconds = 0.05
    one.now.now = await next_due(one)
    one.processor.hold()
    async with asyncio.timeout(5):
        assert await try_due(one) == 1
    assert await one.value("SELECT note FROM jobs") == "repeat: no_answer"


async def test_a_recovered_approval_is_a_whole_one(here: Shop, one: Process):
    """The token that was asked for is made, the card's first reference noted: a recurring payment can follow."""
    one.processor.capabilities = able(inquiry=True)
    one.processor.say(SILENT)
    number = "5123450000000008"
    assert (await here.purchase("K", card_number=number, remember_me="YES", token_name="KEPT", card_holder_name="A Person"))["response_code"] == "15777"
    assert (await here.purchase("K-2", token_name="KEPT"))["response_code"][2:] != "000", "no token before its payment is approved"
    one.processor.find(Approved(1000, "742138", "FIRST00000001", "RRN"))
    await end_doubts(one)
    assert (await here.status("K"))["transaction_code"] == "14000"
    token = (await one.fetch("SELECT expiry, holder FROM tokens WHERE token_name = 'KEPT'"))[0]
    assert tuple(token) == (CARD["expiry_date"], "A Person")
    answer = await here.pay("PURCHASE", "K-3", token_name="KEPT", eci="RECURRING")
    assert answer["response_code"] == "14000"
    assert one.processor.asked[-1].cited_reference == "FIRST00000001"
    await one.prove()


# -- persons, and a database that is away

@pytest.mark.parametrize(("what", "as_", "code", "amounts"), [
    ("capture", "approved", "04000", "400"), ("capture", "declined", "02000", "0"),
    ("purchase", "reversed", "13666", "0"), ("purchase", "declined", "13666", "0"),
])
async def test_what_a_person_decides_is_committed_once(here: Shop, one: Process, what: str, as_: str, code: str, amounts: str):
    """The decision wakes the job; whoever recovers it commits that outcome, and says nothing to the processor any more."""
    one.processor.acknowledges = False
    await doubt(here, what, "Y")
    operation = await one.value("SELECT subject FROM jobs")
    sent = len(one.processor.asked)
    row = await review.decide(one.pool, one.now(), str(operation), as_, None, "the issuer's report", "page 3", "A Person")
    assert not isinstance(row, review.Refused), row
    assert await next_due(one) == one.now()
    assert await end_doubts(one) == 1
    assert (len(one.processor.asked), len(one.processor.reversals)) == (sent, 0)
    status = await here.status("Y")
    assert (status["transaction_code"], status["captured_amount"]) == (code, amounts)
    assert await one.fetch("SELECT * FROM jobs") == []
    await one.prove()


@pytest.mark.parametrize("who", ["the try in hand", "its owner, late"])
async def test_behind_a_persons_approval_no_reversal_is_decided(here: Shop, one: Process, two: Process, who: str):
    """Else neither could end it: the approval may not be written behind the reversal, and nobody may decide a second time."""
    one.processor.capabilities = able(inquiry=True)
    paying, held = await gone_owner(here, one, "Y", here.at(two).purchase)
    for _ in range(2):
        one.now.now = await next_due(one)
        await try_due(one)
    one.now.now = await next_due(one)
    (job,) = await claim_due(one)
    case = await desk_of(one).case(job)
    row = await review.decide(one.pool, one.now(), str(job.subject), "approved", None, "the issuer's report", "page 3", "A Person")
    assert not isinstance(row, review.Refused), row
    if who == "the try in hand":
        assert not await recovers(one)._take(Step.REVERSE, case)
    held.release()
    assert (await paying)["response_code"] == "15777"
    await lapse(one)
    assert await end_doubts(one) == 1
    assert await owed(one) == one.processor.reversals == []
    assert (await here.status("Y"))["transaction_code"] == "14000"
    await one.prove()


async def test_a_database_that_goes_away_during_recovery_loses_nothing(here: Shop, one: Process, monkeypatch: pytest.MonkeyPatch):
    """The answer cannot be stored: the same is asked again when the lease has run out, and ends then."""
    monkeypatch.setattr(lane, "PATIENCE_SECONDS", 0.05)
    await doubt(here, "capture", "B")
    one.now.now = await next_due(one)
    (job,) = await claim_due(one)
    gate = Gate(one.processor, "ask", Approved(400, "1", "2", "3"))
    trying = asyncio.create_task(recovers(one).attempt(job))
    await gate.reached.wait()
    await one.lose_the_database()
    gate.open.set()
    with pytest.raises(CONNECTION_LOST):
        await trying
    one.find_the_database()
    assert await results(one, "B") == [("authorization", 1, "approved"), ("capture", 1, "unknown")]
    await lapse(one)
    assert await end_doubts(one) == 1
    assert (await here.status("B"))["transaction_code"] == "04000"
    await one.prove()


async def test_a_doubt_found_while_the_database_is_away_is_told_as_before(here: Shop, one: Process, monkeypatch: pytest.MonkeyPatch):
    """The try on the fly fails: the caller hears 784, not an error."""
    await doubt(here, "capture", "B")

    async def away(merchant_id: int, payment_id: int) -> list[int]:
        raise ConnectionRefusedError("away, says the test")

    monkeypatch.setattr(desk_of(one), "doubts", away)
    assert (await here.capture("B", 1))["response_code"] == "05784"
    monkeypatch.undo()
    assert (await here.capture("B", 1))["response_code"] == "04000"


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
