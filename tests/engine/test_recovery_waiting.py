"""Who waits for the end of a doubt: the next operation, a person who decides, and whoever lost the database."""
from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringfence.core.outcomes import Approved, Declined
from ringfence.core.recovery import Step
from ringfence.engine import lane, review
from ringfence.engine.lane import CONNECTION_LOST
from tests.engine.composition import CARD, Process, Shop, approve, process, shop
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
    try_due,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(one: Process, two: Process) -> Shop:
    made = await shop(one)
    await two.directory.refresh()
    return made


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
    async with process(database, ask_seconds=2.0) as one:
        here = await shop(one)
        one.processor.hold()
        async with asyncio.timeout(60):
            assert (await here.purchase("N"))["response_code"] == "15777"
        assert await results(one, "N") == [("purchase", 1, "unknown")]
        assert await one.value("SELECT response_code FROM outcomes") == "no_answer"


async def test_a_recovery_message_without_an_answer_ends_in_time(here: Shop, one: Process):
    """Whatever is asked: a processor that never answers gives the job back."""
    await doubt(here, "capture", "N")
    recovers(one)._ask_seconds = 0.05
    one.now.now = await next_due(one)
    one.processor.hold()
    async with asyncio.timeout(60):
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
    monkeypatch.undo()                                  # it may come back slowly
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
