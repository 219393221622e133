"""Disputes on the real PostgreSQL: what is told, answered and due moves money once, and the proof agrees."""
from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from ringfence.api.aps.door import order_key
from ringfence.background import disputes as queue
from ringfence.background.worker import Background
from ringfence.core.dispute import Act, Action, Heard, Phase, Refusal, Said, Status
from ringfence.core.dispute_reasons import Reason
from ringfence.core.notices import Notice
from ringfence.engine import dispute_reports, disputes, metrics, retention
from ringfence.engine.batcher import CommitFailed
from ringfence.engine.dispute_reading import Cases
from ringfence.engine.disputes import LARGEST_FILE, MOST_FILES, Answer, Case, Desk, Evidence, NotThere, TooMuch, Why, kind_of
from ringfence.engine.evidence import seal_what_is_not
from ringfence.engine.intents import Result
from ringfence.engine.proof import prove
from ringfence.engine.sealing import NotOpened
from ringfence.engine.story import explain
from ringfence.storage.retention import PaymentName
from tests.engine.composition import DAY, NOW, Process, Shop, process, shop

pytestmark = pytest.mark.anyio
DUE = NOW + 25 * DAY
PDF = Evidence("receipt.pdf", "application/pdf", b"%PDF-1.7 signed for")


class Provider:
    """Takes answers; deaf while the test wants it."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.hears = True

    async def send(self, answer: Answer) -> bool:
        if self.hears:
            self.answers.append(answer)
        return self.hears


class Bank:
    """A shop with one payment of 10.00, its disputes, and the provider that raises them."""

    def __init__(self, here: Shop, payment_id: int) -> None:
        self.here, self.process, self.payment_id, self.provider = here, here.process, payment_id, Provider()
        self.merchant_id = here.account.merchant_id
        self.desk = self.desk_of(here.process)
        self.cases = Cases(self.process.pool, self.process.keyring, self.process.now)
        self._numbers = itertools.count(1)

    def desk_of(self, process: Process, book: Callable[..., Awaitable[Result]] | None = None) -> Desk:
        return Desk(
            process.pool, process.keyring, process.now, process.new_id, book=book or process.engine.notice, send={"scripted": self.provider.send})

    def case(self, minor: int = 1000, name: str = "C-1") -> Case:
        return Case("scripted", name, self.payment_id, self.payment_id, minor, Reason.FRAUD_CARD_ABSENT, "not mine")

    async def tell(self, said: Said, minor: int = 0, number: int = 0, **more: Any) -> int:
        heard = Heard(number or next(self._numbers), said, minor, **({"due_at": DUE} if said in (Said.TAKEN, Said.INQUIRED) else {}) | more)
        row = await self.desk.tell(self.merchant_id, self.case(minor or 1000), heard)
        assert row is not None
        return row.dispute_id

    async def act(self, dispute_id: int, action: Action, minor: int | None = None, **more: Any) -> Any:
        return await self.desk.act(self.merchant_id, dispute_id, Act(action, minor), actor="test", **more)

    async def stands(self, dispute_id: int) -> tuple[Status, int, int]:
        """Status, and of the payment what is in dispute and charged back."""
        row = await self.cases.find(self.merchant_id, dispute_id)
        assert row is not None
        [payment] = await self.process.fetch("SELECT disputed, charged_back FROM payments WHERE payment_id = $1", self.payment_id)
        return row.stands.status, *payment

    async def told(self, dispute_id: int) -> list[str]:
        shown = await self.cases.show(self.merchant_id, dispute_id)
        assert shown is not None
        return [one.event for one in shown.events]

    async def work(self) -> None:
        """Do what is due, as a process that has just started does it."""
        background = Background([], [queue.queue(self.desk)], pool=self.process.pool, now=self.process.now, holder="test", pause=0.01)
        background.start()
        for _ in range(2000):
            if not await self.process.value("SELECT count(*) FROM jobs WHERE queue = 'dispute' AND due_at <= $1", self.process.now()):
                break
            await asyncio.sleep(0.005)
        await background.stop()


@pytest.fixture
async def bank(database: str) -> AsyncIterator[Bank]:
    async with process(database) as one:
        here = await shop(one)
        yield Bank(here, int((await here.purchase("ORDER-1", "1000"))["fort_id"]))


async def test_a_chargeback_takes_the_money_and_silence_loses_it(bank: Bank):
    """It stands in dispute until the deadline, which the queue keeps to the instant."""
    dispute = await bank.tell(Said.TAKEN, 600)
    assert await bank.stands(dispute) == (Status.OPEN, 600, 0)
    bank.process.now.now = DUE - timedelta(microseconds=1)
    await bank.work()
    assert await bank.stands(dispute) == (Status.OPEN, 600, 0)
    bank.process.now.now = DUE
    await bank.work()
    assert await bank.stands(dispute) == (Status.LOST, 0, 600)
    assert await bank.told(dispute) == ["money_taken", "action_required", "lost"]
    assert await bank.process.value("SELECT count(*) FROM jobs WHERE queue = 'dispute'") == 0
    await bank.process.prove()


async def test_an_accepted_case_is_lost_once_the_provider_has_the_answer(bank: Bank):
    """While it cannot be reached the answer waits; nothing is decided for it."""
    bank.provider.hears = False
    dispute = await bank.tell(Said.TAKEN, 1000)
    assert (await bank.act(dispute, Action.ACCEPT)).stands.status == Status.ACCEPTING
    assert await bank.stands(dispute) == (Status.ACCEPTING, 1000, 0)
    bank.provider.hears, bank.process.now.now = True, NOW + DAY
    await bank.work()
    assert await bank.stands(dispute) == (Status.LOST, 0, 1000)
    assert [answer.action for answer in bank.provider.answers] == [Action.ACCEPT]
    await bank.process.prove()


async def test_a_challenge_takes_the_evidence_along_and_wins(bank: Bank):
    """Files and words reach the provider; won, the money is back and can be refunded."""
    dispute = await bank.tell(Said.TAKEN, 1000)
    await bank.desk.attach(bank.merchant_id, dispute, PDF)
    assert (await bank.act(dispute, Action.CHALLENGE, message="signed for")).stands.status == Status.UNDER_REVIEW
    [answer] = bank.provider.answers
    assert (answer.case, answer.round, answer.minor, answer.message, answer.evidence) == ("C-1", 1, 1000, "signed for", (PDF,))
    assert (await bank.here.refund("ORDER-1", "1"))["response_code"] == "07048"
    await bank.tell(Said.WON)
    assert await bank.stands(dispute) == (Status.WON, 0, 0)
    assert (await bank.here.refund("ORDER-1", "1000"))["response_code"] == "06000"
    shown = await bank.cases.show(None, dispute)
    assert shown is not None and shown.files[0].synced and shown.answers[0].sent_at == NOW
    await bank.process.prove()


async def test_what_is_not_disputed_stays_refundable(bank: Bank):
    """To the last unit; one more is refused because of the dispute."""
    await bank.tell(Said.TAKEN, 400)
    assert (await bank.here.refund("ORDER-1", "601"))["response_code"] == "07048"
    assert (await bank.here.refund("ORDER-1", "600"))["response_code"] == "06000"
    await bank.process.prove()


async def test_a_chargeback_that_meets_a_refund_is_accepted_and_listed(bank: Bank):
    """More goes back than was captured: the proof says so and passes, and lists what stands in dispute."""
    await bank.here.refund("ORDER-1", "1000")
    dispute = await bank.tell(Said.TAKEN, 1000)
    assert await bank.stands(dispute) == (Status.OPEN, 1000, 0)
    proof = await prove(bank.process.pool, chain_key=bank.process.chain_key, full=True)
    assert proof.ok
    noticed = [(one["what"], one.get("account")) for book in proof.books for one in book.exceptions]
    assert ("over_returned", None) in noticed and ("clearing", "dispute.open") in noticed


async def test_notices_in_any_order_and_number_move_money_once(bank: Bank):
    """Two processes hear them all, twice and shuffled, at once: the end is that of the straight order."""
    straight = [
        Heard(1, Said.INQUIRED, 1000, due_at=DUE), Heard(2, Said.TAKEN, 1000, due_at=DUE), Heard(3, Said.RETURNED, 1000),
        Heard(4, Said.TAKEN, 700, Phase.PRE_ARBITRATION, DUE), Heard(5, Said.LOST)]
    heard = straight * 2
    random.Random(7).shuffle(heard)
    await asyncio.gather(*(bank.desk.tell(bank.merchant_id, bank.case(), one) for one in heard))
    row = await bank.cases.named(bank.merchant_id, "scripted", "C-1")
    assert row is not None
    await bank.work()
    assert await bank.stands(row.dispute_id) == (Status.LOST, 0, 700)
    assert [(one.noticed, one.minor, one.booked_at is None) for one in await bank.cases.bookings(bank.merchant_id)] == [
        ("chargeback", 1000, False), ("chargeback_returned", 1000, False), ("chargeback", 700, False), ("dispute_lost", 700, False)]
    await bank.process.prove()


async def test_an_early_notice_waits_and_is_shown(bank: Bank):
    """Lost, before anybody said that money was taken: nothing happens until that comes."""
    dispute = await bank.tell(Said.LOST, number=2)
    shown = await bank.cases.show(None, dispute)
    assert shown is not None and shown.early == [2] and not shown.bookings
    await bank.tell(Said.TAKEN, 1000, number=1)
    assert await bank.stands(dispute) == (Status.LOST, 0, 1000)


async def test_a_case_about_a_payment_that_is_not_there_is_told_again(bank: Bank):
    """Nothing is kept of it."""
    case = bank.case()._replace(payment_id=7)
    assert await bank.desk.tell(bank.merchant_id, case, Heard(1, Said.TAKEN, 5)) is None
    assert await bank.cases.listed(None) == []


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_who_dies_over_a_booking_leaves_it_to_the_queue(bank: Bank, dies: str):
    """Whether the notice was committed or not, the money moves once."""
    async def book(merchant_id: int, payment_id: int, processor: str, notice: Notice) -> Result:
        if dies == "after":
            await bank.process.engine.notice(merchant_id, payment_id, processor, notice)
        raise CommitFailed("killed by the test")

    dying = bank.desk_of(bank.process, book)
    row = await dying.tell(bank.merchant_id, bank.case(), Heard(1, Said.TAKEN, 600, due_at=DUE))
    assert row is not None and [one.booked_at for one in await bank.cases.bookings(bank.merchant_id)] == [None]
    await bank.work()
    assert await bank.stands(row.dispute_id) == (Status.OPEN, 600, 0)
    assert [one.booked_at for one in await bank.cases.bookings(bank.merchant_id)] == [NOW]
    await bank.process.prove()


async def test_one_answer_is_on_its_way_at_a_time(bank: Bank):
    """Ten at once, some to accept and some to challenge: one is taken, and its repeats are the same one."""
    dispute = await bank.tell(Said.TAKEN, 1000)
    results = await asyncio.gather(*(bank.act(dispute, (Action.ACCEPT, Action.CHALLENGE)[number % 2]) for number in range(10)))
    assert sum(isinstance(result, Why) for result in results) == 5
    assert {result.refusal for result in results if isinstance(result, Why)} <= {Refusal.NOT_YOUR_TURN, Refusal.CLOSED}
    assert len({(answer.action, answer.round) for answer in bank.provider.answers}) == 1


async def test_what_cannot_be_answered_is_refused_with_its_reason(bank: Bank):
    """Field by field."""
    dispute = await bank.tell(Said.TAKEN, 1000)
    assert (await bank.act(dispute, Action.OFFER, 5)).field == "action"
    assert (await bank.act(dispute, Action.CHALLENGE, 1001)).field == "amount"
    assert (await bank.act(dispute, Action.CHALLENGE, message="x" * 2001)).field == "message"
    assert isinstance(await bank.act(7, Action.ACCEPT), NotThere)
    bank.process.now.now = DUE
    assert (await bank.act(dispute, Action.ACCEPT)).refusal is Refusal.TOO_LATE


async def test_evidence_and_messages_have_their_limits(bank: Bank):
    """Type, size, name, number, and their time."""
    dispute = await bank.tell(Said.TAKEN, 1000)
    attach = bank.desk.attach
    assert isinstance(await attach(bank.merchant_id, dispute, PDF._replace(content=b"%PDF-" + bytes(LARGEST_FILE))), TooMuch)
    for wrong in (PDF._replace(content=b"MZ"), PDF._replace(content_type="text/html"), PDF._replace(name="a\0b"), PDF._replace(name="evil/")):
        assert isinstance(await attach(bank.merchant_id, dispute, wrong), Why)
    for _ in range(MOST_FILES):
        file = await attach(bank.merchant_id, dispute, PDF._replace(name="../../receipt.pdf"))
        assert file.name == "receipt.pdf"                                               # type: ignore[union-attr]
    assert isinstance(await attach(bank.merchant_id, dispute, PDF), TooMuch)
    assert await bank.cases.file(bank.merchant_id, dispute, file.file_id) == PDF        # type: ignore[union-attr]
    assert isinstance(await bank.desk.write(bank.merchant_id, dispute, " "), Why)
    written = await bank.desk.write(bank.merchant_id, dispute, "please look again")
    assert written.sender == "merchant"                                                 # type: ignore[union-attr]
    await bank.act(dispute, Action.ACCEPT)
    assert isinstance(await attach(bank.merchant_id, dispute, PDF), Why)
    assert isinstance(await bank.desk.write(bank.merchant_id, dispute, "too late"), Why)


@pytest.mark.parametrize(("said", "content", "kind"), [
    ("application/pdf", b"%PDF-1.7", "application/pdf"), ("application/octet-stream", b"%PDF-1.7", "application/pdf"),
    ("application/octet-stream", b"\x89PNG\r\n\x1a\n...", "image/png"), ("application/octet-stream", b"\xff\xd8\xff...", "image/jpeg"),
    ("application/octet-stream", b"MZ", None), ("application/octet-stream", b"", None), ("image/png", b"%PDF-1.7", None), ("text/html", b"\0", None)])
def test_a_file_is_what_it_begins_like(said: str, content: bytes, kind: str | None):
    """A sender who says nothing is believed his first bytes; one who says something must not contradict them."""
    assert kind_of(Evidence("a", said, content)) == kind


async def test_evidence_lies_sealed_in_its_place(bank: Bank):
    """Nothing of it can be read in the database, and a file that is moved to another's place, or changed, does not open."""
    dispute = await bank.tell(Said.TAKEN, 1000)
    one, other = [(await bank.desk.attach(bank.merchant_id, dispute, PDF)).file_id for _ in range(2)]       # type: ignore[union-attr]
    stored = await bank.process.fetch("SELECT bytes, wrapped_key, content FROM dispute_files ORDER BY file_id")
    assert [row["bytes"] for row in stored] == [len(PDF.content)] * 2
    assert not any(b"PDF" in row["content"] or b"signed" in row["content"] for row in stored)
    assert stored[0]["wrapped_key"] != stored[1]["wrapped_key"] and stored[0]["content"] != stored[1]["content"]
    await bank.process.fetch(
        "UPDATE dispute_files f SET wrapped_key = o.wrapped_key, content = o.content FROM dispute_files o WHERE f.file_id = $1 AND o.file_id = $2",
        one, other)
    with pytest.raises(NotOpened):
        await bank.cases.file(bank.merchant_id, dispute, one)
    assert await bank.cases.file(bank.merchant_id, dispute, other) == PDF
    await bank.process.fetch("UPDATE dispute_files SET content = set_byte(content, 3, 1 + get_byte(content, 3) % 255) WHERE file_id = $1", other)
    with pytest.raises(NotOpened):
        await bank.cases.file(bank.merchant_id, dispute, other)


async def test_what_was_stored_before_files_were_sealed_is_sealed_at_a_start(bank: Bank):
    """Once, and what was there is what is found."""
    dispute = await bank.tell(Said.TAKEN, 1000)
    file = (await bank.desk.attach(bank.merchant_id, dispute, PDF)).file_id         # type: ignore[union-attr]
    await bank.process.fetch("UPDATE dispute_files SET wrapped_key = '', content = $1", PDF.content)
    assert [await seal_what_is_not(bank.process.pool, bank.process.keyring) for _ in range(2)] == [1, 0]
    [stored] = await bank.process.fetch("SELECT content FROM dispute_files")
    assert stored["content"] != PDF.content and await bank.cases.file(bank.merchant_id, dispute, file) == PDF


async def test_events_are_frozen_as_things_stood(bank: Bank):
    """What was told when the case was opened does not change with it."""
    dispute = await bank.tell(Said.TAKEN, 600)
    await bank.act(dispute, Action.ACCEPT)
    shown = await bank.cases.show(None, dispute)
    assert shown is not None
    said = [(one.event, msgspec.json.decode(one.payload)) for one in shown.events]
    assert [(event, values["status"], values["moved"]) for event, values in said] == [
        ("money_taken", "open", 600), ("action_required", "open", 600), ("accept_processing", "accepting", 0), ("lost", "lost", 600)]
    assert said[0][1] | {"due_at": None} == {
        "dispute": str(dispute), "payment": str(bank.payment_id), "capture": str(bank.payment_id), "reference": "ORDER-1", "door": "aps",
        "phase": "chargeback", "status": "open", "amount": 600, "moved": 600, "currency": "AED", "reason": "fraud_card_absent",
        "reason_code": "10.4", "due_at": None, "closing": None}


async def test_the_story_tells_of_disputes(bank: Bank):
    """What happened in its place, and what is waited for."""
    dispute = await bank.tell(Said.TAKEN, 600)
    story = await explain(bank.process.pool, "ORDER-1", keys=lambda name: [order_key(name)])
    assert story is not None
    about = f"Dispute {dispute} (fraud card absent 10.4, chargeback): "
    for sentence in (
        about + "the issuer took 6.00 AED.", about + "the merchant may answer until 2026-01-30 07:09:19 UTC; 6.00 AED are disputed.",
        f"Dispute {dispute} of 6.00 AED waits for the merchant until 2026-01-30 07:09:19 UTC; without an answer it is lost.",
    ):
        assert any(sentence in line for line in story.sentences), sentence
    bank.process.now.now = DUE
    await bank.work()
    story = await explain(bank.process.pool, "ORDER-1", keys=lambda name: [order_key(name)])
    assert story is not None and any(
        line.endswith(about + "it was lost, because nobody answered in time.") for line in story.sentences)
    assert not any("waits for the merchant" in line for line in story.sentences)


async def test_a_card_is_kept_while_a_dispute_is_open(bank: Bank):
    """Also one that has moved no money; evidence goes with everything else once it has ended, and is old."""
    dispute = await bank.tell(Said.INQUIRED, 1000)
    await bank.desk.attach(bank.merchant_id, dispute, PDF)
    await bank.process.fetch(
        "INSERT INTO follows SELECT lane, max(number) FROM batches GROUP BY lane ON CONFLICT (lane) DO UPDATE SET number = excluded.number")
    later, policy = NOW + 2000 * DAY, retention.Policy()
    name = PaymentName(bank.merchant_id, bank.here.identifier, bank.payment_id)
    refused = await retention.run(bank.process.pool, policy, later, payment=name)
    assert isinstance(refused, retention.Refused) and "a dispute about it is open" in refused.reason
    assert await gone(bank, policy, later) == {"cards": 0, "details": 0, "evidence": 0}
    await bank.tell(Said.LOST)
    assert await gone(bank, policy, NOW + 1000 * DAY) == {"cards": 1, "details": 0, "evidence": 0}
    assert await gone(bank, policy, later) == {"cards": 1, "details": 1, "evidence": 1}
    await retention.run(bank.process.pool, policy, later)
    shown = await bank.cases.show(None, dispute)
    assert shown is not None and not shown.files and not shown.messages


async def gone(bank: Bank, policy: retention.Policy, at: datetime) -> dict[str, int]:
    """What a run would take."""
    report = await retention.show(bank.process.pool, policy, at)
    return {line.what: line.count for line in report.lines if line.what in ("cards", "details", "evidence")}


def test_jobs_of_disputes_are_counted():
    """A queue without a counter breaks behind every job."""
    assert {disputes.QUEUE, dispute_reports.QUEUE} <= set(metrics.QUEUES)
