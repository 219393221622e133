"""What the simulated issuers do about captured money: every card of the 07NN family, told until it is taken."""
from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringfence.core.commands import Kind
from ringfence.core.dispute import Action, Heard
from ringfence.processors.simulator import Control, Docket, Simulator
from ringfence.processors.simulator.cases import PLANS, TEXTS, convincing
from ringfence.processors.simulator.scenarios import SCENARIOS, VISA
from tests.processors.conformance.dialogue import Bench, Payment

pytestmark = pytest.mark.anyio
DAY = timedelta(days=1)
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Issuer:
    """A card's issuer, whose clock goes on day by day."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.simulator, self.docket = Simulator(folder, seed=7, worker=0, t1_seconds=0.04), Docket(folder)
        self.day, self.names, self.heard = 0, list[str](), list[str]()

    def payment(self, card: str) -> Payment:
        return Payment(Bench(self.simulator, {}, lambda payment: {}, 0.04), VISA.number(card) if len(card) == 4 else card)

    async def pays(self, card: str, minor: int = 1000) -> Payment:
        payment = self.payment(card)
        await payment.ask(Kind.PURCHASE, minor, at=NOW)
        return payment

    async def until(self, day: int) -> list[str]:
        """What is told up to the end of a day, each with its day; taken at once."""
        said = []
        while self.day < day:
            self.day += 1
            words = await self.docket.told(NOW + self.day * DAY)
            for word in words:
                self.names.append(word.case)
                what = word.said.said if isinstance(word.said, Heard) else word.said.noticed
                phase = f" {word.said.phase}" if isinstance(word.said, Heard) and word.said.phase == "pre_arbitration" else ""
                due = f" due {(word.said.due_at - NOW).days}" if isinstance(word.said, Heard) and word.said.due_at else ""
                said.append(f"{self.day}: {what} {word.minor}{phase}{due}")
            await self.docket.taken([word.number for word in words])
        return said

    async def answers(self, action: Action, minor: int = 1000, message: str = "", files: int = 0, round: int = 1) -> bool:
        return await self.docket.answer(self.names[-1], round, action, minor, message, files, NOW + self.day * DAY)


@pytest.fixture
async def issuer(tmp_path: Path, anyio_backend: object) -> AsyncIterator[Issuer]:
    made = Issuer(tmp_path / "simulator")
    yield made
    await made.docket.close()
    await made.simulator.close()


@pytest.mark.parametrize(("card", "told"), [
    ("0700", ["7: reported 1000"]),
    ("0701", ["7: taken 1000 due 32", "37: lost 1000"]),
    ("0702", ["7: taken 1000 due 32", "37: lost 1000"]),
    ("0703", ["7: inquired 1000 due 32", "37: taken 1000 due 62", "67: lost 1000"]),
    ("0704", ["7: taken 1000 due 32", "37: lost 1000"]),
    ("0705", ["7: taken 1000 due 32", "37: lost 1000"]),
    ("0706", ["7: taken 500 due 32", "37: lost 500"]),
    ("0707", ["7: taken 1000 due 32", "10: withdrawn 1000"]),
    ("0710", ["1: capture_rejected 1000"]),
    ("0000", []), ("0709", []), ("4000000000000259", ["7: taken 1000 due 32", "37: lost 1000"]),
])
async def test_nobody_answers(issuer: Issuer, card: str, told: list[str]):
    """The issuer goes on by itself, and comes to an end."""
    await issuer.pays(card)
    assert await issuer.until(80) == told
    assert await issuer.docket.acts(NOW + 400 * DAY) == []


@pytest.mark.parametrize(("card", "answer", "told"), [
    ("0701", {"files": 1}, ["10: won 1000"]),
    ("0701", {}, ["10: lost 1000"]),
    ("0701", {"message": "winning_evidence"}, ["10: won 1000"]),
    ("0701", {"message": "losing_evidence", "files": 3}, ["10: lost 1000"]),
    ("0702", {"files": 1, "minor": 400}, ["10: won 400"]),
    ("0703", {"files": 1}, ["10: won 1000"]),
    ("0703", {}, ["10: taken 1000 due 35", "40: lost 1000"]),
    ("0704", {}, ["10: won 1000"]),
    ("0705", {"files": 5}, ["10: returned 1000", "17: taken 1000 pre_arbitration due 42", "47: lost 1000"]),
    ("0706", {"files": 1, "minor": 500}, ["10: won 500"]),
    ("0707", {}, ["10: won 1000"]),
])
async def test_a_challenge_is_decided_as_the_table_says(issuer: Issuer, card: str, answer: dict, told: list[str]):
    """By the card, or by the evidence."""
    await issuer.pays(card)
    await issuer.until(7)
    assert await issuer.answers(Action.CHALLENGE, **answer)
    assert await issuer.until(80) == told


async def test_pre_arbitration_that_is_challenged_is_lost(issuer: Issuer):
    """The last card of a case that came back."""
    await issuer.pays("0705")
    await issuer.until(7)
    await issuer.answers(Action.CHALLENGE)
    await issuer.until(17)
    await issuer.answers(Action.CHALLENGE, files=1, round=2)
    assert await issuer.until(80) == ["20: lost 1000"]


@pytest.mark.parametrize(("card", "action", "minor", "told"), [
    ("0701", Action.ACCEPT, 1000, []),
    ("0703", Action.ACCEPT, 1000, ["8: taken 1000"]),
    ("0703", Action.OFFER, 500, ["8: offer_accepted 500", "8: taken 500"]),
    ("0703", Action.OFFER, 499, ["8: offer_rejected 1000", "11: taken 1000 due 36", "41: lost 1000"]),
])
async def test_acceptances_and_offers(issuer: Issuer, card: str, action: Action, minor: int, told: list[str]):
    """What is conceded to an inquiry is collected; an offer of half is enough."""
    await issuer.pays(card)
    await issuer.until(7)
    await issuer.answers(action, minor)
    assert await issuer.until(80) == told


async def test_an_answer_counts_once_and_a_late_one_not_at_all(issuer: Issuer):
    """The same round again changes nothing; an unknown case is said to be one."""
    await issuer.pays("0701")
    await issuer.until(7)
    for message in ("winning_evidence", "losing_evidence"):
        assert await issuer.answers(Action.CHALLENGE, message=message)
    assert await issuer.until(10) == ["10: won 1000"]
    assert await issuer.answers(Action.CHALLENGE, round=2) and await issuer.until(60) == []
    issuer.names.append("case-7")
    assert not await issuer.answers(Action.ACCEPT)


async def test_a_word_is_told_until_it_is_taken(issuer: Issuer):
    """Also by another process; and as long as it is not, somebody has something to do."""
    await issuer.pays("0701")
    other, at = Docket(issuer.folder), NOW + 7 * DAY
    first, again = await issuer.docket.told(at), await other.told(at)
    assert first == again and len(first) == 1 and await other.acts(at) == [at]
    await other.taken([first[0].number])
    assert await issuer.docket.told(at) == [] == await issuer.docket.acts(at)
    await other.close()


async def test_captures_are_disputed_one_by_one_and_refunds_come_back(issuer: Issuer):
    """A capture cites only its original; what is reversed before anybody spoke comes to nothing."""
    payment = issuer.payment("0701")
    for kind, minor in ((Kind.AUTHORIZATION, 1000), (Kind.CAPTURE, 300), (Kind.CAPTURE, 400)):
        await payment.ask(kind, minor, at=NOW)
    refunded = await issuer.pays("0708")
    await refunded.ask(Kind.REFUND, 250, at=NOW)
    undone = await issuer.pays("0702")
    assert await undone.reverse()
    assert await issuer.until(7) == ["1: refund_returned 250", "7: taken 300 due 32", "7: taken 400 due 32"]


async def test_a_case_can_be_begun_by_hand(issuer: Issuer):
    """Once for a capture, at once, for a part; and not by a scenario that begins none."""
    control, at = Control(issuer.folder, seed=7), datetime(2026, 1, 5, tzinfo=UTC)
    assert control.raise_case("0704", 5, 5, "M", "AED", 700, at) == "case-5"
    assert control.raise_case("0704", 5, 5, "M", "AED", 700, at) is None
    [word] = await issuer.docket.told(at)
    assert (word.case, word.merchant, word.minor, word.note) == ("case-5", "M", 700, "The goods are not as described.")
    for wrong in ("0708", "0000", "0711"):
        with pytest.raises(ValueError, match="one of 0700"):
            control.raise_case(wrong, 6, 6, "M", "AED", 700, at)
    with pytest.raises(ValueError, match="nothing to dispute"):
        control.raise_case("0706", 6, 6, "M", "AED", 1, at)
    control.close()


async def test_nothing_reaches_an_issuer_that_is_offline(issuer: Issuer):
    """The answer is handed in again later."""
    control = Control(issuer.folder, seed=7)
    await issuer.pays("0701")
    await issuer.until(7)
    control.offline()
    assert not await issuer.answers(Action.ACCEPT)
    control.online()
    assert await issuer.answers(Action.ACCEPT)
    control.close()


def test_every_plan_has_its_words():
    """Cards and plans are the same ones."""
    assert TEXTS.keys() == PLANS.keys() <= SCENARIOS.keys()
    assert convincing("", 1) and not convincing("losing_evidence winning_evidence", 1)
