"""Recovery on a real database: every unknown ends, once, and as its kind wants it; nothing is approved here and undone there."""
from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ringfence.core.card import Pan
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Declined, Outcome
from ringfence.engine.intents import Intent, processor_key
from ringfence.engine.proof import prove
from ringfence.processors.simulator import Control, double_effects
from ringfence.processors.simulator.scenarios import VISA
from tests.engine.composition import Process, Script, Shop, shop
from tests.engine.recovering import (
    SILENT,
    able,
    doubt,
    end_doubts,
    next_due,
    owed,
    results,
    told,
    try_due,
    world,
)

pytestmark = pytest.mark.anyio


# -- each row of the simulator's tables, with and without inquiry

LOST = ("0300", "0301", "0304", "0305", "0306", "0400", "0401", "0402", "0403", "0404", "0405", "0407", "0408", "0410")
NEVER_THERE = ("0303", "0308", "0309")
SCENARIOS: list[tuple[str, str, str]] = [       # scenario, how it ends without inquiry, and with it
    *((code, "reversed", "approved") for code in LOST),
    *((code, "reversed", "reversed") for code in NEVER_THERE),
    *((code, "approved", "approved") for code in ("0302", "0310", "0406", "0409", "0411")),
    ("0307", "open", "approved"),
]
#: What the merchant sees and what stands in the issuer's book, by the end and the kind.
ENDS = {
    ("approved", "authorization"): ("02000", (1000, 0)), ("approved", "purchase"): ("14000", (0, 1000)),
    ("reversed", "authorization"): ("03666", (0, 0)), ("reversed", "purchase"): ("13666", (0, 0)),
    ("open", "authorization"): ("15777", (1000, 0)), ("open", "purchase"): ("15777", (0, 1000)),
}


async def test_every_row_of_the_simulator_ends_as_its_table_says(database: str, tmp_path: Path):
    """Without inquiry what was lost is reversed, with it what was approved stays; the merchant sees it, and the book agrees."""
    async with world(database, tmp_path) as issuer:
        one = issuer.process
        shops = {"One": await shop(one, "One"), "Two": await shop(one, "Two")}
        expected, answers = {}, []
        for code, without, asked in SCENARIOS:
            for kind in ("authorization", "purchase"):
                for place, name in enumerate(shops):
                    reference = f"{name}-{code}-{kind}"
                    expected[reference] = (without, asked)[place], kind
                    number = VISA.number(code, len(expected))
                    command = kind.upper()
                    answers.append(shops[name].pay(command, reference, card_number=number, remember_me="NO"))
        said = dict(zip(expected, await asyncio.gather(*answers), strict=True))
        at_once = {reference for reference, answer in said.items() if answer["response_code"] != "15777"}
        assert {reference.split("-")[1] for reference in at_once} == {"0302", "0310", "0406", "0409", "0411"}
        await end_doubts(one, timedelta(hours=2))
        for reference, (end, kind) in expected.items():
            merchant = shops[reference.split("-")[0]]
            code, stands = ENDS[end, kind]
            status = await merchant.status(reference, return_third_party_response_codes="YES")
            assert (reference, status["transaction_code"]) == (reference, code)
            assert (reference, await issuer.stands(said[reference]["fort_id"])) == (reference, stands)
            if end == "reversed":
                assert status["processor_response_code"] == "68"
                assert (status["authorized_amount"], status["captured_amount"]) == ("0", "0")
                assert (await merchant.refund(reference, 1))["response_code"] == "07662"
                assert (await merchant.pay(kind.upper(), reference))["response_code"][2:] == "007"
        assert [row[0] for row in await one.fetch("SELECT DISTINCT o.reference FROM jobs j JOIN operations o ON o.operation_id = j.subject "
                                                  "ORDER BY 1")] == ["One-0307-authorization", "One-0307-purchase"]
        assert double_effects(tmp_path / "plain") == double_effects(tmp_path / "asked") == []
        await one.engine.idle()
        proof = await prove(one.pool, chain_key=one.chain_key, full=True, books=issuer.books())
        assert proof.ok, proof.as_json()


async def test_a_capture_that_is_unanswered_twice_ends_captured(database: str, tmp_path: Path):
    """0310: the same capture is sent again until somebody answers, and taken once."""
    async with world(database, tmp_path) as issuer:
        one = issuer.process
        merchant = await shop(one, "One")
        first = await merchant.authorize("O-310", card_number=VISA.number("0310"))
        assert (await merchant.capture("O-310", 400))["response_code"] == "15777"
        assert (await merchant.status("O-310"))["transaction_code"] == "15777"
        assert await end_doubts(one) == 2
        status = await merchant.status("O-310")
        assert (status["transaction_code"], status["captured_amount"]) == ("04000", "400")
        assert await issuer.stands(first["fort_id"]) == (600, 400)
        assert double_effects(tmp_path / "plain") == []


async def test_a_reversal_that_is_never_answered_stands_in_review_and_ends_when_it_is(database: str, tmp_path: Path):
    """0307: tried on and on, behind its deadline once an hour; the day the issuer answers again it is over."""
    async with world(database, tmp_path) as issuer:
        one = issuer.process
        merchant, number = await shop(one, "One"), VISA.number("0307")
        answer = await merchant.purchase("O-307", card_number=number)
        deadline = await one.value("SELECT deadline_at FROM jobs")
        assert deadline == one.now() + timedelta(days=1)
        tries = await end_doubts(one, timedelta(hours=27))
        assert 100 < tries < 130
        job = (await one.fetch("SELECT * FROM jobs"))[0]
        assert job["deadline_at"] == deadline <= one.now()
        assert job["due_at"] - one.now() <= timedelta(hours=1)
        assert job["note"] == "reverse: no_answer"
        assert (await merchant.status("O-307"))["transaction_code"] == "15777"
        control = Control(tmp_path / "plain", seed=7)
        control.set_scenario(Pan(number), "0300")
        assert await end_doubts(one) == 1
        control.close()
        assert (await merchant.status("O-307"))["transaction_code"] == "13666"
        assert await issuer.stands(answer["fort_id"]) == (0, 0)
        await one.prove()


# -- one commit

CUTS = [(statement, when) for statement in ("payments.finish", "jobs.wake", "payments.owe_reversals", "COMMIT") for when in ("before", "after")]


@pytest.mark.parametrize(("statement", "when"), CUTS, ids=["-".join(cut) for cut in CUTS])
async def test_a_doubt_its_job_and_its_reversal_are_one_commit(here: Shop, one: Process, statement: str, when: str):
    """Wherever the connection is cut: all of it is stored, once."""
    one.outcome_wire.cut(statement, when)
    assert await doubt(here, "purchase", "CUT") == "15777"
    assert one.outcome_wire.lost == 1
    assert await results(one, "CUT") == [("purchase", 1, "unknown")]
    assert await owed(one) == [("unknown", False)]
    assert await one.fetch("SELECT queue, tries FROM jobs") == [("recovery", 0)]
    await one.prove()


ENDING = [
    (statement, when)
    for statement in ("payments.lock", "recovery.standing", "recovery.decided", "recovery.end_doubts", "recovery.acknowledge",
                      "payments.finish", "COMMIT")
    for when in ("before", "after")
]


@pytest.mark.parametrize(("statement", "when"), ENDING, ids=["-".join(cut) for cut in ENDING])
async def test_the_end_of_a_doubt_is_one_commit(here: Shop, one: Process, statement: str, when: str):
    """Wherever the connection is cut: it ended once, its job is gone, its reversal acknowledged."""
    await doubt(here, "purchase", "CUT")
    one.outcome_wire.cut(statement, when)
    assert await end_doubts(one) == 1
    assert one.outcome_wire.lost == 1
    assert await results(one, "CUT") == [("purchase", 1, "unknown"), ("purchase", 2, "reversed")]
    assert await owed(one) == [("unknown", True)]
    assert await one.fetch("SELECT * FROM jobs") == []
    await one.prove()


async def test_an_approved_first_operation_is_one_statement(here: Shop, one: Process):
    """What recovery needs costs an approval nothing: no transaction, no job, no look at anything."""
    await here.purchase("COST-0")           # the first payment with a card also notes its reference
    seen: list[str] = []
    passed = one.outcome_wire.passed

    async def noting(statement: str, carry_out: Any) -> Any:
        seen.append(statement.split("\n")[0])
        return await passed(statement, carry_out)

    one.outcome_wire.passed = noting
    await here.purchase("COST")
    await here.authorize("COST-2")
    assert seen == ["-- payments.finish"] * 2
    one.processor.say(Declined("51"))
    await here.purchase("COST-3")
    assert seen == ["-- payments.finish"] * 3


# -- each kind's way

async def test_an_unknown_purchase_is_reversed_exactly(here: Shop, one: Process):
    """The reversal is about that very message, carries no security code, and leaves until it is acknowledged; nothing is sent again."""
    one.processor.acknowledges = False
    await doubt(here, "purchase", "P")
    due = await next_due(one)
    assert timedelta(seconds=0.9) <= due - one.now() <= timedelta(seconds=1.1)
    assert await try_due(one) == 0, "not before its time"
    await end_doubts(one, timedelta(seconds=20))
    one.processor.acknowledges = True
    await end_doubts(one)
    (asked,) = one.processor.asked
    assert asked.security_code is not None
    assert len(one.processor.reversals) == 5        # after 1, 3, 8, 18 and 48 seconds
    assert {(sent.key, sent.kind, sent.minor, sent.pan, sent.security_code) for sent in one.processor.reversals} == {
        (asked.key, asked.kind, asked.minor, asked.pan, None)}
    assert await told(one, "P") == ["purchase_unknown", "purchase_reversed"]
    assert (await here.status("P"))["transaction_code"] == "13666"
    await one.prove()


@pytest.mark.parametrize(("found", "code"), [(Approved(1000, "123456", "SCHEME0001", "RRN000001"), "14000"), (Declined("51"), "13029")])
async def test_what_an_inquiry_finds_is_the_end(here: Shop, one: Process, found: Outcome, code: str):
    """Asked about under the first message's key; no reversal was decided, none leaves."""
    one.processor.capabilities = able(inquiry=True)
    await doubt(here, "purchase", "Q")
    one.processor.find(SILENT, found)
    assert await end_doubts(one) == 2
    assert [message.key for message in one.processor.inquired] == [one.processor.asked[0].key] * 2
    assert one.processor.reversals == [] and await owed(one) == []
    status = await here.status("Q")
    assert status["transaction_code"] == code
    assert len(one.processor.asked) == 1, "a purchase is never sent again"
    if code == "14000":
        assert status["authorization_code"] == "123456"
        assert (await here.refund("Q", 100))["response_code"] == "06000"
        original = one.processor.asked[-1].original
        assert (original.key, original.approval_code) == (one.processor.asked[0].key, "123456")
    await one.prove()


async def test_two_inquiries_in_vain_then_a_reversal(here: Shop, one: Process):
    """The decision to reverse is committed before the reversal leaves; its attempt is used up."""
    one.processor.capabilities = able(inquiry=True)
    await doubt(here, "authorization", "V")
    assert await owed(one) == []
    for _ in range(3):
        one.now.now = await next_due(one)
        await try_due(one)
    assert (len(one.processor.inquired), await owed(one), one.processor.reversals) == (2, [("unknown", False)], [])
    assert await next_due(one) == one.now()
    assert await end_doubts(one) == 1
    assert await results(one, "V") == [("authorization", 1, "unknown"), ("authorization", 4, "unknown"), ("authorization", 5, "reversed")]
    assert await owed(one) == [("unknown", True)]
    await one.prove()


@pytest.mark.parametrize("what", ["capture", "void"])
async def test_captures_and_voids_are_repeated_under_their_first_key(here: Shop, one: Process, what: str):
    """Marked as repeats, citing the first message, until they are acknowledged; never reversed, never asked about."""
    one.processor.capabilities = able(inquiry=True)
    await doubt(here, what, "C")
    one.processor.say(SILENT, SILENT)
    assert await end_doubts(one) == 3
    first, *repeats = one.processor.asked[1:]
    assert [(one_.key, one_.repeat, one_.minor, one_.original) for one_ in repeats] == [(first.key, True, first.minor, first.original)] * 3
    assert first.key == processor_key(first.operation_id) and not first.repeat
    assert one.processor.inquired == one.processor.reversals == []
    assert (await here.status("C"))["transaction_code"] == {"capture": "04000", "void": "08000"}[what]
    await one.prove()


async def test_a_declined_repeat_is_final(here: Shop, one: Process):
    """The issuer never took it: what it reserved is free again."""
    await doubt(here, "capture", "C")
    one.processor.say(Declined("05"))
    assert await end_doubts(one) == 1
    assert (await here.capture("C", 1000))["response_code"] == "04000"
    await one.prove()


@pytest.mark.parametrize(("inquiry", "deduplicates", "inquiries", "sent"), [
    (True, True, 2, 1), (False, True, 0, 1), (True, False, 4, 0), (False, False, 0, 0)])
async def test_a_refund_is_sent_again_only_where_that_cannot_pay_twice(
    here: Shop, one: Process, inquiry: bool, deduplicates: bool, inquiries: int, sent: int,
):
    """Asked about where the processor can be asked, repeated where it answers from memory, else nobody but a person ends it."""
    one.processor.capabilities = able(inquiry=inquiry, deduplicates=deduplicates)
    await doubt(here, "refund", "R")
    before = len(one.processor.asked)
    for _ in range(4):
        if (due := await next_due(one)) is not None:
            one.now.now = due
            await try_due(one)
    assert (len(one.processor.inquired), len(one.processor.asked) - before) == (inquiries, sent)
    assert all(message.repeat and message.key == one.processor.asked[before - 1].key for message in one.processor.asked[before:])
    job = await one.fetch("SELECT * FROM jobs")
    assert len(job) == (not sent)
    if not (inquiry or deduplicates):
        assert job[0]["deadline_at"] < one.now(), "it stands in review since its first try"
        assert job[0]["note"] == "nothing may be sent; a person decides"
    assert (await here.status("R"))["transaction_code"] == ("06000" if sent else "15777")
    await one.prove()


async def test_an_increment_is_reversed_down_to_what_stood_before(here: Shop, one: Process):
    """The first hold is not touched: the reversal names the increment's own message."""
    await here.authorize("I")
    view = await one.reading.view_by_key(here.account.merchant_id, "aps:I")
    one.processor.say(SILENT)
    operation_id = one.new_id()
    result = await one.engine.execute(Intent(
        here.account.merchant_id, here.identifier, view.payment_id, Command(Kind.INCREMENT, 500, "AED", operation_id), "jwo", "test", "test",
        b"content", processor=Script.name, card=await one.reading.card_of(view), original=view.original))
    assert result.outcome == SILENT
    assert await end_doubts(one) == 1
    (reversal,) = one.processor.reversals
    assert (reversal.key, reversal.kind, reversal.minor) == (processor_key(operation_id), "increment", 500)
    status = await here.status("I")
    assert (status["transaction_code"], status["authorized_amount"]) == ("02000", "1000")
    assert (await here.capture("I", 1000))["response_code"] == "04000"
    await one.prove()


async def test_an_answer_about_another_amount_is_a_try_in_vain(here: Shop, one: Process):
    """Nobody believes it, and the next try waits its turn: neither a question a second nor an outcome a second."""
    await doubt(here, "capture", "Z")
    one.processor.say(*[Approved(401)] * 20)
    assert await end_doubts(one, timedelta(minutes=30)) <= 11
    assert await results(one, "Z") == [("authorization", 1, "approved"), ("capture", 1, "unknown")]
    assert await one.value("SELECT note FROM jobs") == "repeat: not_believable"
    one.processor.forget()
    assert await end_doubts(one) == 1
    assert (await here.status("Z"))["transaction_code"] == "04000"
    await one.prove()
