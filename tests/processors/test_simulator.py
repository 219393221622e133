"""The issuer simulator: every row of its tables, and a book that no crash can falsify."""
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.card import Brand, Pan, SecurityCode, brand_of, luhn_valid
from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Approved, Declined, Outcome, Unknown
from ringfence.processors.processor import RETURN, Ask
from ringfence.processors.simulator import Control, Effect, Simulator, double_effects, is_test_number, read_book, standing, test_cards, totals
from ringfence.processors.simulator.book import Entry, encode
from ringfence.processors.simulator.finding import search
from ringfence.processors.simulator.issuer import Seal
from ringfence.processors.simulator.scenarios import EXACT, RANGES, SCENARIOS, VISA, magic_code, scenario_code, scenario_named
from tests.processors.conformance.dialogue import Bench, Payment, initiated, told

pytestmark = pytest.mark.anyio

A, P, I, D, C, V, R = (  # noqa: E741
    Kind.AUTHORIZATION, Kind.PURCHASE, Kind.INCREMENT, Kind.DECREMENT, Kind.CAPTURE, Kind.VOID, Kind.REFUND
)
T1, SEED = 0.04, 7
LEISURE = 0.75
"""A T1 within which a reversal is done on any machine: the late approval comes as long after the silence."""


class Issuer:
    """One or more workers over one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.open = folder, []

    def worker(self, number: int = 0, **more: object) -> Simulator:
        """Another worker process's simulator."""
        simulator = Simulator(self.folder, seed=SEED, worker=number, **{"t1_seconds": T1, **more})  # type: ignore[arg-type]
        self.open.append(simulator)
        return simulator

    def payment(self, card: str, simulator: Simulator | None = None, **more: object) -> Payment:
        """A payment with a card, or with a Visa card of a scenario, at the first worker."""
        simulator = simulator or (self.open[0] if self.open else self.worker())
        number = VISA.number(card) if len(card) == 4 else card
        return Payment(Bench(simulator, {}, self.stands, T1), number, **more)  # type: ignore[arg-type]

    def stands(self, payment: int) -> dict[str, int]:
        now = standing(self.folder).get(payment)
        return {"held": now.held, "captured": now.captured, "refunded": now.refunded} if now else {"held": 0, "captured": 0, "refunded": 0}


@pytest.fixture
async def issuer(tmp_path: Path, anyio_backend: object) -> AsyncIterator[Issuer]:
    made = Issuer(tmp_path / "simulator")
    yield made
    for simulator in made.open:
        await simulator.close()


# --- the tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scenario", "number"), [
    ("0000", "4000009900000004"), ("0051", "4000009900510002"), ("0601", "4000009906010007"), ("0005", "4000009900050009"),
    ("0101", "4000009901010002"), ("0203", "4000009902030009"), ("0411", VISA.number("0411")), ("1005", "4000009910050007"),
    ("1010", "4000009910100000"), ("2001", "4000009920010009"), ("0901", "4000009909010004"),
])
def test_a_scenario_has_its_published_number(scenario: str, number: str):
    """The numbers that people copy from the documentation."""
    assert VISA.number(scenario) == number
    assert scenario_code(number) == scenario


@pytest.mark.parametrize(("prefix", "approve", "insufficient"), [
    ("55550099", "5555009900000000", "5555009900510008"), ("22230099", "2223009900000009", "2223009900510007"),
    ("37000099", "370000990000004", "370000990051007"), ("44640499", "4464049900000009", "4464049900510007"),
    ("52974199", "5297419900000004", "5297419900510002"), ("50780399", "5078039900000005", "5078039900510003"),
    ("60110099", "6011009900000006", "6011009900510004"), ("36000099", "36000099000000", "36000099005108"),
    ("35660099", "3566009900000002", "3566009900510000"), ("62000099", "6200009900000007", "6200009900510005"),
    ("67590099", "6759009900000002", "6759009900510000"),
])
def test_every_brand_has_its_published_numbers(prefix: str, approve: str, insufficient: str):
    """Approved and insufficient funds, instance 0."""
    [row] = [row for row in RANGES if row.prefix == prefix]
    assert (row.number("0000"), row.number("0051")) == (approve, insufficient)


def test_instances_are_different_accounts_of_one_scenario():
    """Three digits of instance; two on American Express, one on Diners."""
    for row in RANGES:
        digits = row.length - 13
        numbers = {row.number("0501", instance) for instance in range(10 ** digits)}
        assert len(numbers) == 10 ** digits
        assert all(luhn_valid(number) and len(number) == row.length and scenario_code(number) == "0501" for number in numbers)
        with pytest.raises(ValueError, match="digits"):
            row.number("0501", 10 ** digits)


def test_every_test_card_is_one():
    """The list for people: valid numbers, known brands, codes of the right length, no number twice, every kind of row."""
    cards = test_cards()
    assert all(luhn_valid(card["number"]) and is_test_number(card["number"]) for card in cards)
    assert all(brand_of(card["number"]) == card["brand"] and card["behaviour"] for card in cards)
    assert all(len(card["security_code"]) == (4 if card["brand"] == Brand.AMEX else 3) for card in cards)
    assert len({card["number"] for card in cards}) == len(cards)
    assert {card["brand"] for card in cards} == set(Brand)
    shown = {card["scenario"] for card in cards}
    assert {code for code, scenario in SCENARIOS.items() if code[:2] in ("03", "04", "05", "08", "09") and not scenario.special} <= shown
    assert not is_test_number("4000009900000005")
    assert not is_test_number("4539578763621486")


@pytest.mark.parametrize(("number", "answer"), [
    *[(number, "approved 1000") for number, code in EXACT.items() if not SCENARIOS[code].answers[0].strip("0")],
    ("4000000000000002", "declined 05"), ("4000000000009995", "declined 51"), ("4000000000000069", "declined 54"),
    ("4000000000000127", "declined N7"), ("4000000000000119", "declined 96"), ("4000000000009987", "declined 41"),
    ("4000000000009979", "declined 43"), ("4000000000000341", "declined 05"), ("4201320000311101", "declined 51"),
    ("4201320131000508", "declined 41"),
])
async def test_well_known_numbers_keep_their_meaning(issuer: Issuer, number: str, answer: str):
    """Integrators' habits work: the exact table is looked up before our own scheme."""
    assert told(await issuer.payment(number).ask(P, 1000)) == answer


FINAL = [
    # scenario, what the caller sees, reversal acknowledged, held before and after it
    ("0000", "approved 1000", True, 1000, 0),
    ("0300", "unknown no_answer", True, 1000, 0),
    ("0301", "unknown no_answer", True, 1000, 0),
    ("0302", "approved 1000", True, 1000, 0),
    ("0303", "unknown connection_lost", True, 0, 0),
    ("0304", "unknown connection_lost", True, 1000, 0),
    ("0305", "unknown no_answer", True, 1000, 0),
    ("0306", "unknown no_answer", False, 1000, 1000),
    ("0307", "unknown no_answer", False, 1000, 1000),
    ("0308", "unknown no_answer", True, 0, 0),
    ("0309", "unknown no_answer", True, 0, 0),
    ("0310", "approved 1000", True, 1000, 0),
    *[(f"040{n}", "unknown not_believable", True, 1000, 0) for n in (0, 1, 2, 3, 4, 5, 7, 8)],
    ("0406", "approved 1000", True, 1000, 0),
    ("0409", "approved 1000", True, 1000, 0),
    ("0410", "unknown not_believable", True, 1000, 0),
    ("0411", "approved 1000", True, 1000, 0),
    ("0500", "approved 1000", True, 1000, 0),
    ("0506", "approved 1000", True, 1000, 1000),
    ("0508", "approved 1000", True, 1000, 0),
    ("0510", "approved 1000", True, 1000, 0),
    *[(f"05{n}", "approved 1000", n != 13, 1000, 1000 if n == 13 else 0) for n in (11, 12, 13, 14)],
    ("0601", "approved 1000", True, 1000, 0),
    ("0701", "approved 1000", True, 1000, 0),
    ("2001", "approved 1000", True, 1000, 0),
    ("1999", "approved 1000", True, 1000, 0),
]


@pytest.mark.parametrize(("scenario", "answer", "acknowledged", "held", "left"), FINAL)
@pytest.mark.parametrize("with_card", [True, False])
async def test_what_a_scenario_leaves_behind(
    issuer: Issuer, scenario: str, answer: str, acknowledged: bool, held: int, left: int, with_card: bool
):
    """The answer, what is held at the issuer, whether the reversal is acknowledged and what is held then; also where the reversal
    no longer has the card number."""
    payment = issuer.payment(scenario)
    assert told(await payment.ask(A, 1000)) == answer
    assert payment.stands["held"] == held
    if not with_card:
        assert payment.last is not None
        payment.last = payment.last._replace(pan=None, security_code=None)
    assert await payment.reverse() is acknowledged
    assert payment.stands["held"] == left


@pytest.mark.parametrize(("scenario", "answer"), [
    *[(f"00{code}", f"declined {code}") for code in ("01", "05", "14", "41", "43", "51", "54", "57", "59", "61", "65", "68", "85", "91", "96", "99")],
    ("0011", "approved 1000"), ("0087", "approved 1000"),
    ("0101", "declined 1A"), ("0102", "declined N7"), ("0103", "declined R0"), ("0104", "declined R1"), ("0105", "declined R3"),
    ("0106", "declined 6P"), ("0010", "declined 51"), ("1000", "declined 51"), ("0999", "approved 1000"),
])
async def test_a_response_code_card_always_answers_it(issuer: Issuer, scenario: str, answer: str):
    """DE 39 is in the number; twice the same."""
    payment = issuer.payment(scenario)
    assert told(await payment.ask(P, 1000)) == answer
    assert told(await issuer.payment(scenario).ask(A, 1000)) == answer


@pytest.mark.parametrize("advice", ["01", "02", "03", "21", "24", "30", "40"])
async def test_an_advice_card_says_what_the_merchant_shall_do(issuer: Issuer, advice: str):
    """Visa declines 05, Mastercard 79; both carry the advice."""
    visa = await issuer.payment(f"02{advice}").ask(P, 1000)
    mastercard = await issuer.payment(RANGES[1].number(f"02{advice}")).ask(P, 1000)
    assert isinstance(visa, Declined)
    assert isinstance(mastercard, Declined)
    assert (visa.response_code, visa.advice) == ("05", advice)
    assert (mastercard.response_code, mastercard.advice) == ("79", advice)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
async def test_an_outdated_card_is_declined_with_advice(issuer: Issuer, n: int):
    """54, and "new account information"."""
    outcome = await issuer.payment(f"090{n}").ask(P, 1000)
    assert isinstance(outcome, Declined)
    assert (outcome.response_code, outcome.advice) == ("54", "01")


@pytest.mark.parametrize(("scenario", "security_code", "address"), [
    ("0800", "M", ""), ("0801", "N", ""), ("0802", "U", ""), ("0803", "M", "N"), ("0804", "M", "A"), ("0805", "M", "Z"),
])
async def test_verification_results_are_told_and_decline_nothing(issuer: Issuer, scenario: str, security_code: str, address: str):
    """The merchant's rule decides, not the issuer."""
    outcome = await issuer.payment(scenario).ask(A, 1000)
    assert isinstance(outcome, Approved)
    assert (outcome.security_code_result, outcome.address_result) == (security_code, address)


@pytest.mark.parametrize(("card", "sent", "answer", "result"), [
    ("0000", "123", "approved 1000", "M"), ("0000", "999", "declined N7", ""), ("0000", "998", "approved 1000", "P"),
    ("370000990000004", "9999", "declined N7", ""), ("370000990000004", "1234", "approved 1000", "M"), ("0801", "999", "approved 1000", "N"),
    ("0000", "", "approved 1000", ""),
])
async def test_the_security_code_chooses_its_result(issuer: Issuer, card: str, sent: str, answer: str, result: str):
    """999 (9999) does not match and is declined, 998 is not processed, any other matches; none sent, none said."""
    outcome = await issuer.payment(card).ask(P, 1000, security_code=SecurityCode(sent) if sent else None)
    assert told(outcome) == answer
    assert not isinstance(outcome, Approved) or outcome.security_code_result == result


@pytest.mark.parametrize(("card", "expiry", "answer"), [
    ("0000", "2001", "declined 54"), ("0000", "9913", "declined 54"), ("0000", "", "approved 1000"),
    ("4005550000000001", "2105", "approved 1000"), ("4005550000000001", "2104", "declined 54"), ("4242424242424242", "2105", "declined 54"),
])
async def test_a_card_past_its_month_is_declined(issuer: Issuer, card: str, expiry: str, answer: str):
    """But for the long expired test cards of the published tables."""
    assert told(await issuer.payment(card).ask(P, 1000, expiry=expiry)) == answer


async def test_an_unknown_number_is_approved_or_declined_by_choice(issuer: Issuer):
    """A Luhn-valid number of nobody's table; one that is not valid is declined always."""
    strict = issuer.worker(1, unknown_cards=False)
    assert told(await issuer.payment("4539578763621486", issuer.worker(2)).ask(P, 1000)) == "approved 1000"
    assert told(await issuer.payment("4539578763621486", strict).ask(P, 1000)) == "declined 14"
    assert told(await issuer.payment("4539578763621487").ask(P, 1000)) == "declined 14"


@pytest.mark.parametrize("by", [Initiation.RECURRING, Initiation.UNSCHEDULED])
async def test_a_merchant_initiated_payment_must_cite_the_first(issuer: Issuer, by: Initiation):
    """Without the reference it lacks authentication: 1A, at Mastercard 65; with it, approved."""
    first = await issuer.payment("0000").ask(P, 1000)
    assert isinstance(first, Approved)
    assert told(await issuer.payment("0000").ask(P, 1000, **initiated(by))) == "declined 1A"
    assert told(await issuer.payment(RANGES[1].number("0000")).ask(P, 1000, **initiated(by))) == "declined 65"
    assert told(await issuer.payment("0000").ask(P, 1000, **initiated(by, first.scheme_reference))) == "approved 1000"


@pytest.mark.parametrize(("kind", "minor", "answer", "stands"), [
    (P, 19051, "declined 51", 0), (P, 9014, "declined 14", 0), (P, 9000, "approved 9000", 9000), (P, 9100, "unknown no_answer", 9100),
    (P, 9103, "unknown connection_lost", 0), (P, 9200, "unknown not_believable", 9200), (P, 9301, "approved 9301", 9301),
    (P, 1051, "approved 1051", 1051), (A, 9057, "declined 57", 0),
])
async def test_a_magic_amount_chooses_the_outcome(issuer: Issuer, kind: Kind, minor: int, answer: str, stands: int):
    """By its last four digits, on approving cards of a merchant that asked for it; elsewhere it is an amount like any other."""
    payment = issuer.payment("0000")
    assert told(await payment.ask(kind, minor, magic=True)) == answer
    assert sum(payment.stands.values()) == stands
    plain = issuer.payment("0000")
    assert told(await plain.ask(kind, minor)) == f"approved {minor}"
    assert told(await issuer.payment("0043").ask(kind, minor, magic=True)) == "declined 43"


async def test_later_amounts_are_magic_too(issuer: Issuer):
    """A refund of 90.57 is declined 57; a capture of 91.00 is carried out and its answer lost, until it is repeated."""
    payment = issuer.payment("0000")
    await payment.ask(A, 50_000)
    assert told(await payment.ask(C, 9100, magic=True)) == "unknown no_answer"
    assert told(await payment.repeat()) == "approved 9100"
    assert told(await payment.ask(C, 9103, magic=True)) == "unknown connection_lost"
    assert told(await payment.repeat()) == "approved 9103"
    assert told(await payment.ask(R, 9057, magic=True)) == "declined 57"
    assert payment.stands == {"held": 50_000 - 9100 - 9103, "captured": 9100 + 9103, "refunded": 0}


def test_magic_amounts_name_scenarios_of_their_families():
    """Five families, by the last four digits; a number that no family has is none."""
    assert [magic_code(minor) for minor in (9051, 19051, 9101, 9200, 9301, 9350, 9401, 9499, 51, 9199)] == [
        "0051", "0051", "0301", "0400", "0701", "", "0601", "", "", ""]


# --- timing ---------------------------------------------------------------------------------------------------------------


async def test_a_late_approval_is_written_down_and_offered_but_changes_nothing(issuer: Issuer):
    """0301: unknown at T1; the approval comes afterwards, is in the book as late, and reaches whoever listens."""
    heard: asyncio.Queue[tuple[Ask, Outcome]] = asyncio.Queue()
    simulator = issuer.worker(0, t1_seconds=LEISURE, on_late=lambda message, outcome: heard.put_nowait((message, outcome)))
    payment = issuer.payment("0301", simulator)
    assert told(await payment.ask(A, 1000)) == "unknown no_answer"
    assert await payment.reverse()
    message, outcome = await heard.get()
    assert payment.last is not None
    assert message.key == payment.last.key
    assert told(outcome) == "approved 1000"
    effects = [entry.effect for entry in read_book(issuer.folder)]
    assert effects == [Effect.APPROVED, Effect.REVERSED, Effect.LATE]
    assert payment.stands["held"] == 0


@pytest.mark.parametrize(("scenario", "answers"), [
    ("0300", ["unknown no_answer"] * 2), ("0305", ["unknown no_answer", "approved 1000", "approved 1000"]),
    ("0304", ["unknown connection_lost", "approved 1000"]), ("0302", ["approved 1000", "approved 1000"]),
    ("0400", ["unknown not_believable"] * 2), ("0303", ["unknown connection_lost"] * 2),
])
async def test_a_repeat_of_an_unanswered_request(issuer: Issuer, scenario: str, answers: list[str]):
    """0305 gets the stored approval; 0300 never gets one; nothing moves twice."""
    payment = issuer.payment(scenario)
    seen = [told(await payment.ask(A, 1000))]
    seen += [told(await payment.repeat()) for _ in answers[1:]]
    assert seen == answers
    assert payment.stands["held"] == (0 if scenario == "0303" else 1000)
    assert double_effects(issuer.folder) == []


async def test_a_reversal_may_need_three_tries(issuer: Issuer):
    """0306: the first two are lost; the third is acknowledged, and so is every other."""
    payment = issuer.payment("0306")
    await payment.ask(P, 1000)
    assert [await payment.reverse() for _ in range(4)] == [False, False, True, True]
    assert payment.stands["captured"] == 0


async def test_a_reversal_may_never_be_answered_until_switched_off(issuer: Issuer):
    """0307 stays silent until the control interface gives the card another behaviour."""
    payment = issuer.payment("0307")
    await payment.ask(A, 1000)
    assert [await payment.reverse() for _ in range(3)] == [False] * 3
    control = Control(issuer.folder, seed=SEED)
    control.set_scenario(Pan(payment.card), "0300")
    control.close()
    assert await payment.reverse()
    assert payment.stands["held"] == 0


async def test_a_capture_may_need_three_tries(issuer: Issuer):
    """0310: carried out at once, acknowledged at the second repeat; other captures count for themselves."""
    payment = issuer.payment("0310")
    await payment.ask(A, 1000)
    for _ in range(2):
        seen = [told(await payment.ask(C, 400)), told(await payment.repeat()), told(await payment.repeat()), told(await payment.repeat())]
        assert seen == ["unknown no_answer", "unknown no_answer", "approved 400", "approved 400"]
    assert payment.stands == {"held": 200, "captured": 800, "refunded": 0}


async def test_an_original_overtaken_by_its_reversal_is_declined(issuer: Issuer):
    """0309: both are in the book, in that order."""
    payment = issuer.payment("0309")
    await payment.ask(A, 1000)
    assert await payment.reverse()
    assert [(entry.effect, entry.response) for entry in read_book(issuer.folder)] == [(Effect.NOTHING, "25"), (Effect.DECLINED, "79")]


# --- accounts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scenario", "answers"), [
    ("0501", ["declined 51", "approved 10", "approved 10"]), ("0503", ["declined 51"] * 3 + ["approved 10"] * 2),
    ("0504", ["approved 10", "declined 41", "declined 41"]),
])
async def test_a_card_may_change_its_mind(issuer: Issuer, scenario: str, answers: list[str]):
    """Counted per account: another instance starts anew, another worker goes on."""
    two = issuer.worker(0), issuer.worker(1)
    for instance in (0, 1):
        number = VISA.number(scenario, instance)
        assert [told(await issuer.payment(number, two[n % 2]).ask(P, 10)) for n in range(len(answers))] == answers


async def test_only_the_named_operation_is_refused(issuer: Issuer):
    """0502 increments 51, 0505 captures 12 with an alarm, 0507 refunds 57; 0508 answers 94 once and 00 then."""
    payment = issuer.payment("0502")
    assert [told(await payment.ask(kind, 100)) for kind in (A, I, C)] == ["approved 100", "declined 51", "approved 100"]
    payment = issuer.payment("0505")
    assert [told(await payment.ask(kind, 100)) for kind in (A, C)] == ["approved 100", "declined 12"]
    assert [entry.kind for entry in read_book(issuer.folder) if entry.alarm] == [C]
    payment = issuer.payment("0507")
    assert [told(await payment.ask(kind, 100)) for kind in (P, R)] == ["approved 100", "declined 57"]
    codes = [await issuer.payment("0508").ask(A, 100) for _ in range(2)]
    assert [outcome.response_code for outcome in codes if isinstance(outcome, Approved)] == ["94", "00"]


async def test_a_void_may_be_answered_as_if_there_were_nothing(issuer: Issuer):
    """0506: acknowledged with 21, the hold stands, an alarm says so."""
    payment = issuer.payment("0506")
    await payment.ask(A, 100)
    outcome = await payment.ask(V, 100)
    assert isinstance(outcome, Approved)
    assert outcome.response_code == "21"
    assert payment.stands["held"] == 100
    assert await payment.repeat() == outcome
    assert [entry.kind for entry in read_book(issuer.folder) if entry.alarm] == [V]


async def test_a_contradicted_approval_raises_an_alarm(issuer: Issuer):
    """0411: the first answer counts."""
    assert told(await issuer.payment("0411").ask(P, 100)) == "approved 100"
    assert [entry.alarm != "" for entry in read_book(issuer.folder)] == [True]


async def test_one_payment_in_ten_is_declined_by_the_seed(issuer: Issuer):
    """0509: a mix for soak tests, the same every time."""
    payments = [issuer.payment("0509") for _ in range(300)]
    first = [told(await payment.ask(P, 10)) for payment in payments]
    declined = [answer for answer in first if answer != "approved 10"]
    assert 10 <= len(declined) <= 55
    assert set(declined) <= {"declined 51", "declined 05", "declined 91", "declined 61", "declined 54"}
    assert [told(await payment.repeat()) for payment in payments] == first


async def test_a_real_account_never_gives_more_than_it_has(issuer: Issuer):
    """50.00 AED: holds, captures, refunds and voids move the balance; a reversal gives back."""
    def pay(**more: object) -> Payment:
        return issuer.payment("1005", **more)

    one, two, three = pay(), pay(), pay()
    assert told(await one.ask(A, 3000)) == "approved 3000"
    assert told(await two.ask(A, 2001)) == "declined 51"
    assert told(await two.ask(A, 2000)) == "approved 2000"
    assert told(await three.ask(P, 1)) == "declined 51"
    assert told(await one.ask(C, 1000)) == "approved 1000"
    assert told(await three.ask(P, 1)) == "declined 51"             # the rest of the hold stays until the last capture or a void
    assert told(await one.ask(V, 2000)) == "approved 2000"
    assert told(await two.ask(I, 2001)) == "declined 51"
    assert told(await two.ask(I, 500)) == "approved 500"
    assert await two.reverse()                                      # the increment
    assert told(await three.ask(P, 2000)) == "approved 2000"
    assert told(await three.ask(R, 700)) == "approved 700"
    assert told(await pay().ask(P, 701)) == "declined 51"
    assert told(await pay().ask(P, 700)) == "approved 700"
    assert told(await pay(currency="KWD").ask(P, 50_000)) == "approved 50000"       # 50.000 KWD are another account
    assert told(await pay(currency="JPY").ask(P, 51)) == "declined 51"


async def test_a_real_account_gives_what_is_left_where_partial_is_accepted(issuer: Issuer):
    """DE 39 "10" for the rest; nothing left is 51."""
    assert told(await issuer.payment("1005").ask(A, 4000)) == "approved 4000"
    rest = await issuer.payment("1005").ask(A, 4000, accepts_partial=True)
    assert isinstance(rest, Approved)
    assert (rest.minor, rest.response_code) == (1000, "10")
    assert told(await issuer.payment("1005").ask(A, 1, accepts_partial=True)) == "declined 51"


async def test_two_workers_share_one_account(issuer: Issuer):
    """Sixty-four payments of 1.00 race for 50.00 over two workers: fifty are approved."""
    workers = issuer.worker(0), issuer.worker(1)
    payments = [issuer.payment("1005", workers[n % 2]) for n in range(64)]
    answers = await asyncio.gather(*(payment.ask(P, 100) for payment in payments))
    assert sorted(told(answer) for answer in answers) == ["approved 100"] * 50 + ["declined 51"] * 14


async def test_an_issuer_may_drop_a_hold_early(issuer: Issuer):
    """0510: after a day of business time the hold is gone, told until it was noted; a capture, being an advice, is carried out all the
    same."""
    simulator = issuer.worker()
    kept, dropped = issuer.payment("0510"), issuer.payment("0510")
    now = datetime.now(UTC)
    await dropped.ask(A, 1000, at=now)
    await kept.ask(A, 500, at=now + timedelta(hours=2))
    assert await simulator.dropped(now + timedelta(hours=23)) == []
    told_ahead = [at - now.replace(microsecond=0) for at in await simulator.drops(now + timedelta(hours=30))]
    assert told_ahead == [timedelta(hours=24), timedelta(hours=26)]
    assert len(await simulator.drops(now + timedelta(hours=25))) == 1
    [gone] = await simulator.dropped(now + timedelta(hours=25))
    assert (gone.payment, gone.merchant, gone.currency, gone.minor) == (dropped.id, "merchant-1", "AED", 1000)
    assert await simulator.dropped(now + timedelta(hours=25)) == [gone]     # until whoever asks has noted it
    assert await simulator.dropped(now + timedelta(hours=25), gone.number) == []
    assert len(await simulator.drops(now + timedelta(hours=30))) == 1
    assert (dropped.stands["held"], kept.stands["held"]) == (0, 500)
    assert told(await dropped.ask(C, 1000)) == "approved 1000"
    assert dropped.stands["captured"] == 1000


# --- control --------------------------------------------------------------------------------------------------------------


async def test_control_reaches_every_worker_at_once(issuer: Issuer):
    """Overrides, outage, latency and reset, set from outside, hold for the next message of both workers."""
    workers = issuer.worker(0), issuer.worker(1)
    control = Control(issuer.folder, seed=SEED)

    async def answers(card: str = "0500") -> list[str]:
        return [told(await issuer.payment(card, worker).ask(P, 1000)) for worker in workers]

    assert await answers() == ["approved 1000"] * 2
    control.set_scenario(Pan(VISA.number("0500")), "0041")
    assert await answers() == ["declined 41"] * 2
    assert await answers("0000") == ["approved 1000"] * 2
    control.set_scenario(Pan(VISA.number("0500")), None)
    control.offline()
    assert await answers() == ["unknown connection_lost"] * 2
    assert not await issuer.payment("0000").bench.processor.reverse(issuer.payment("0000").message(A, 1))
    control.online()
    control.set_latency(T1 * 2)
    assert await answers() == ["unknown no_answer"] * 2
    control.set_latency(T1 / 4)
    assert await answers() == ["approved 1000"] * 2
    control.offline()
    control.reset()
    assert await answers() == ["approved 1000"] * 2
    assert control.settings() == {"offline": False, "latency": 0.0, "overrides": {}}
    control.close()


async def test_control_sets_and_lists_balances(issuer: Issuer):
    """In minor units of one currency; numbers are listed masked; reset forgets."""
    control = Control(issuer.folder, seed=SEED)
    card = Pan(VISA.number("1005"))
    control.set_balance(card, "AED", 700)
    payment = issuer.payment("1005")
    assert told(await payment.ask(A, 600)) == "approved 600"
    [row] = control.accounts()
    assert {key: row[key] for key in ("card", "currency", "balance", "held", "posted", "available")} == {
        "card": "400000******0007", "currency": "AED", "balance": 700, "held": 600, "posted": 0, "available": 100,
    }
    assert told(await issuer.payment("1005").ask(A, 101)) == "declined 51"
    control.reset()
    assert control.accounts() == []
    assert told(await issuer.payment("1005").ask(A, 5000)) == "approved 5000"
    control.set_balance(Pan(VISA.number("0000")), "AED", 10)
    assert told(await issuer.payment("0000").ask(P, 11)) == "declined 51"
    for wrong in (lambda: control.set_balance(card, "AED", -1), lambda: control.set_scenario(card, "51"), lambda: control.set_latency(-1.0)):
        with pytest.raises(ValueError, match=r"balance|four digits|latency"):
            wrong()
    control.close()


# --- the book -------------------------------------------------------------------------------------------------------------


async def test_the_same_seed_gives_the_same_marks(tmp_path: Path, anyio_backend: object):
    """Approval code, scheme reference and processor reference follow from seed, card and key; another seed gives others."""
    answers = []
    template: Ask | None = None
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulator = Simulator(tmp_path / folder, seed=seed, worker=0)
        template = template or Issuer(tmp_path / "d").payment("0000", simulator).message(P, 1000)
        answers.append(await simulator.ask(template))
        await simulator.close()
    assert answers[0] == answers[1] != answers[2]
    assert isinstance(answers[0], Approved)
    assert [len(text) for text in answers[0][1:4]] == [6, 15, 12]


@given(st.integers(-(2 ** 63), 2 ** 63 - 1), st.text("0123456789", min_size=12, max_size=19), st.text(max_size=40))
def test_marks_are_always_well_formed(seed: int, digits: str, key: str):
    """Six, fifteen and twelve digits, a draw below a hundred, and an account name that does not show the number."""
    marks = Seal(seed).marks(digits, key, "0051")
    assert (len(marks.approval_code), len(marks.scheme_reference), len(marks.reference)) == (6, 15, 12)
    assert (marks.approval_code + marks.scheme_reference + marks.reference).isdigit()
    assert marks.reference.endswith("0051")
    assert 0 <= marks.draw < 100
    assert digits not in Seal(seed).account(digits)


async def test_no_card_number_and_no_security_code_is_ever_written(issuer: Issuer):
    """Book and accounts of a run with every kind of card are searched for the digits; only their owner may read them."""
    control = Control(issuer.folder, seed=SEED)
    numbers = [VISA.number(code) for code in ("0000", "0051", "0304", "0310", "0501", "1005", "0510", "0308", "0506")]
    for number in numbers:
        control.set_balance(Pan(number), "AED", 10_000)
        control.set_scenario(Pan(number), None)
        payment = issuer.payment(number)
        for kind in (A, C, R):
            await payment.ask(kind, 10, pan=Pan(number), security_code=SecurityCode("7391"))
        await payment.reverse()
    control.close()
    written = b"".join(path.read_bytes() for path in issuer.folder.iterdir())
    assert len(written) > 10_000
    for number in numbers:
        assert number.encode() not in written
    assert b'"7391"' not in written
    assert all(path.stat().st_mode & 0o077 == 0 for path in issuer.folder.iterdir())


async def test_the_book_has_what_a_judge_needs(issuer: Issuer):
    """One line of an approval, field by field."""
    payment = issuer.payment("0000")
    at = datetime(2026, 3, 1, 21, 30, tzinfo=UTC)
    outcome = await payment.ask(P, 1000, at=at)
    [entry] = read_book(issuer.folder)
    assert payment.last is not None
    assert isinstance(outcome, Approved)
    assert (entry.key, entry.operation, entry.payment) == (payment.last.key, payment.last.operation_id, payment.id)
    assert (entry.kind, entry.effect, entry.minor, entry.currency, entry.response) == (P, Effect.APPROVED, 1000, "AED", "00")
    assert (entry.approval, entry.nti, entry.reference) == outcome[1:4]
    assert (entry.at, entry.day, entry.card, entry.merchant) == (at, date(2026, 3, 1), "400000******0004", "merchant-1")
    assert abs(entry.wall / 1_000_000 - datetime.now(UTC).timestamp()) < 60


async def test_the_business_day_ends_at_the_cut_over(issuer: Issuer):
    """What comes at or after it belongs to the next day; totals follow."""
    simulator = issuer.worker(0, cut_over=time(20, 0))
    for hour, minor in ((19, 1), (20, 10), (23, 100)):
        await issuer.payment("0000", simulator).ask(P, minor, at=datetime(2026, 3, 1, hour, 0, tzinfo=UTC))
    assert totals(issuer.folder, date(2026, 3, 1)) == {("merchant-1", "AED", "purchase"): (1, 1)}
    assert await simulator.totals(date(2026, 3, 2)) == {("merchant-1", "AED", "purchase"): (2, 110)}
    assert await simulator.totals(date(2026, 3, 3)) == {}


async def test_books_of_all_workers_are_one(issuer: Issuer):
    """Merged by time; a repeat at another worker finds the first one's line."""
    workers = issuer.worker(0), issuer.worker(1)
    payment = issuer.payment("0000", workers[0])
    outcome = await payment.ask(P, 1000)
    other = issuer.payment("0000", workers[1])
    await other.ask(P, 5)
    assert payment.last is not None
    assert await workers[1].ask(payment.last._replace(repeat=True)) == outcome
    assert [entry.worker for entry in read_book(issuer.folder)] == [0, 1]
    assert await workers[1].reverse(payment.last)
    assert payment.stands["captured"] == 0


async def test_a_reversal_at_one_worker_keeps_the_original_out_at_the_other(issuer: Issuer):
    """And one that comes between an approval and its answer wins over it."""
    one, two = issuer.worker(0), issuer.worker(1)
    early = issuer.payment("0000", one)
    message = early.message(A, 1000)
    assert await two.reverse(message)
    assert told(await one.ask(message)) == "declined 79"
    assert early.stands["held"] == 0


async def test_a_reversal_that_races_its_original_always_wins(issuer: Issuer):
    """The reversal is carried out by another worker right after the line was written, too early to see it: the line is undone."""
    one, two = issuer.worker(0), issuer.worker(1)
    message = issuer.payment("0000", one).message(A, 1000)
    real = one._book

    class Book:
        def append_all(self, entries: Sequence[Entry]) -> None:
            (entry,) = entries
            two._memory.reverse(message, scenario_named("0000"), False, lambda effect, response, minor, alarm: Entry(
                entry.wall, 1, message.key, message.operation_id, message.payment_id, "merchant-1", A, effect, minor, "AED", response,
                entry.at, entry.day))
            real.append_all(entries)

        def close(self) -> None:
            real.close()

    one._book = Book()      # type: ignore[assignment]
    assert told(await one.ask(message)) == "declined 79"
    assert standing(issuer.folder)[message.payment_id].held == 0
    assert [entry.effect for entry in read_book(issuer.folder) if entry.effect is not Effect.NOTHING] == [Effect.APPROVED, Effect.REVERSED]


async def test_a_line_written_after_its_message_was_answered_again_moves_nothing(issuer: Issuer):
    """A worker stands still before its line; recovery repeats the message at another one, which answers it: it moved once."""
    one, two = issuer.worker(0), issuer.worker(1)
    message = issuer.payment("0000", one).message(P, 1000)
    real = one._book
    again: list[Outcome] = []

    class Book:
        def append_all(self, entries: Sequence[Entry]) -> None:
            again.append(asyncio.run_coroutine_threadsafe(two.ask(message._replace(repeat=True)), elsewhere).result())
            real.append_all(entries)

        def close(self) -> None:
            real.close()

    elsewhere = asyncio.new_event_loop()
    thread = Thread(target=elsewhere.run_forever)
    thread.start()
    one._book = Book()      # type: ignore[assignment]
    try:
        first = await one.ask(message)
    finally:
        elsewhere.call_soon_threadsafe(elsewhere.stop)
        thread.join()
        elsewhere.close()
    assert again == [first]
    assert sorted(entry.effect for entry in read_book(issuer.folder)) == [Effect.APPROVED, Effect.LATE]
    assert double_effects(issuer.folder) == []
    assert standing(issuer.folder)[message.payment_id].captured == 1000
    assert totals(issuer.folder, message.at.date()) == {("merchant-1", "AED", "purchase"): (1, 1000)}
    assert await two.reverse(message)
    assert standing(issuer.folder)[message.payment_id].captured == 0
    assert totals(issuer.folder, message.at.date()) == {}


async def test_a_torn_last_line_is_passed_over_and_the_next_start_goes_on(issuer: Issuer):
    """A process killed in the middle of a write leaves a piece; it is no effect, and hides none."""
    simulator = issuer.worker()
    await issuer.payment("0000").ask(P, 1)
    await simulator.close()
    issuer.open.clear()
    path = issuer.folder / "book-0.jsonl"
    whole = path.read_bytes()
    for cut in (1, 50, len(whole) - 2, len(whole) - 1):
        path.write_bytes(whole + whole[:cut])
        assert [entry.minor for entry in read_book(issuer.folder)] == [1]
    path.write_bytes(whole + whole[:100])
    payment = issuer.payment("0000", issuer.worker())
    await payment.ask(P, 2)
    assert [entry.minor for entry in read_book(issuer.folder)] == [1, 2]
    assert payment.stands["captured"] == 2


async def test_the_judge_sees_what_moved_twice(issuer: Issuer):
    """Two lines of one key, or two keys of one operation, none of them undone."""
    payment = issuer.payment("0000")
    await payment.ask(P, 1000)
    [entry] = read_book(issuer.folder)
    assert double_effects(issuer.folder) == []
    twice = [entry, entry]
    assert double_effects(twice) == [f"key {entry.key} moved 2 times"]
    other_key = changed(entry, key="other")
    assert double_effects([entry, other_key]) == [f"operation {entry.operation} moved under 2 keys"]
    assert double_effects([entry, changed(entry, effect=Effect.REVERSED), other_key]) == []


async def test_the_judge_lets_pass_one_refund_that_gave_a_purchase_back_and_nothing_like_it(issuer: Issuer):
    """Under the purchase's key with its ending, of the same amount, once: everything else under a second key moved twice."""
    await issuer.payment("0000").ask(P, 1000)
    [purchase] = read_book(issuer.folder)
    given_back = changed(purchase, kind=Kind.REFUND, key=purchase.key + RETURN)
    assert double_effects([purchase, given_back]) == []
    assert double_effects([purchase, given_back, given_back]) == [f"key {given_back.key} moved 2 times"]
    under_two = [f"operation {purchase.operation} moved under 2 keys"]
    for other in (changed(given_back, minor=999), changed(given_back, kind=P), changed(given_back, key="other" + RETURN)):
        assert double_effects([purchase, other]) == under_two
    assert double_effects([changed(purchase, kind=Kind.AUTHORIZATION), given_back]) == under_two


def changed(entry: Entry, **fields: object) -> Entry:
    """The same line of a book with other fields."""
    return Entry(**{**{name: getattr(entry, name) for name in entry.__struct_fields__}, **fields})


@pytest.mark.parametrize("since", ["long before", "at its time", "far after"])
def test_a_search_finds_a_key_from_any_earlier_instant(tmp_path: Path, since: str):
    """In a file of thousands of lines, by halving on their times."""
    line = Entry(0, 0, "", 1, 1, "m", P, Effect.APPROVED, 1, "AED", "00", datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1))
    fields = {name: getattr(line, name) for name in line.__struct_fields__}
    wall, step = 1_795_000_000_000_000, 1_000_000
    (tmp_path / "book-3.jsonl").write_bytes(
        b"".join(encode(Entry(**{**fields, "wall": wall + n * step, "key": f"k{n}"})) + b"\n" for n in range(4000))
    )
    instant = {"long before": 0, "at its time": wall + 2500 * step, "far after": wall + 3900 * step}[since]
    found = [entry.key for entry in search(tmp_path, "k2500", instant)]
    assert found == ([] if since == "far after" else ["k2500"])
    assert [entry.key for entry in search(tmp_path, "k3999", instant)] == ["k3999"]
    assert search(tmp_path, "k", 0) == []


PAYING = """
import asyncio, sys, time
from pathlib import Path
from datetime import UTC, datetime, timedelta
from ringfence.core.card import Pan
from ringfence.core.commands import Kind
from ringfence.core.ids import IdSource
from ringfence.processors.processor import RETURN, Ask
from ringfence.processors.simulator import Simulator

async def pay():
    ids = IdSource(5, lambda: time.time_ns() // 1_000_000)
    simulator = Simulator(Path(sys.argv[1]), seed=7, worker=4)
    cards = [Pan(number) for number in sys.argv[2:]]
    for n in range(10**9):
        now = datetime.now(UTC)
        message = Ask(f"k{n}", Kind.PURCHASE, 1, "AED", "m", ids.next(), ids.next(), now, now + timedelta(seconds=30), cards[n % len(cards)])
        outcome = await simulator.ask(message)
        print(n, outcome.approval_code, flush=True)

asyncio.run(pay())
"""


def test_what_was_answered_survives_the_killing_of_the_process(tmp_path: Path):
    """A process pays with plain and real accounts and is killed: every answer it gave is in the book, once."""
    folder = tmp_path / "simulator"
    paying = subprocess.Popen(
        [sys.executable, "-c", PAYING, str(folder), VISA.number("0000"), VISA.number("1999")], stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert paying.stdout is not None
    answered = [paying.stdout.readline().split() for _ in range(200)]
    paying.send_signal(signal.SIGKILL)
    answered += [line.split() for line in paying.stdout if line.endswith("\n")]
    paying.wait()
    paying.stdout.close()
    book = {entry.key: entry.approval for entry in read_book(folder)}
    assert {f"k{n}": approval for n, approval in answered}.items() <= book.items()
    assert len(book) - len(answered) in (0, 1)
    assert double_effects(folder) == []


async def test_a_folder_that_is_full_makes_the_issuer_silent(issuer: Issuer):
    """What cannot be written down is not answered, and nothing raises."""
    simulator = issuer.worker()

    class Full:
        def append_all(self, entries: Sequence[Entry]) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            real.close()

    real, simulator._book = simulator._book, Full()     # type: ignore[assignment]
    assert isinstance(await issuer.payment("0000", simulator).ask(P, 1), Unknown)


# --- stores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scenario", "answer", "held"), [
    ("0000", "approved 500", 1500), ("0502", "declined 51", 1000), ("0511", "unknown no_answer", 1500), ("0512", "unknown no_answer", 1500),
    ("0513", "unknown connection_lost", 1500), ("0514", "approved 250", 1250),
])
async def test_an_increment_meets_its_card(issuer: Issuer, scenario: str, answer: str, held: int):
    """Only increments: the authorization before and the capture behind it are as of any card."""
    payment = issuer.payment(scenario)
    assert told(await payment.ask(A, 1000)) == "approved 1000"
    assert told(await payment.ask(I, 500, accepts_partial=True)) == answer
    assert payment.stands["held"] == held
    assert told(await payment.ask(C, 100)) == "approved 100"


async def test_half_an_increment_is_not_approved_to_whoever_wants_all(issuer: Issuer):
    payment = issuer.payment("0514")
    await payment.ask(A, 1000)
    assert told(await payment.ask(I, 500)) == "declined 51"


async def test_an_increment_takes_what_a_balance_has_left(issuer: Issuer):
    """50.00 in the account: 20.00 held, 40.00 more wanted, 30.00 approved; and nothing for whoever wants all."""
    payment = issuer.payment("1005")
    assert told(await payment.ask(A, 2000)) == "approved 2000"
    assert told(await payment.ask(I, 4000)) == "declined 51"
    assert told(await payment.ask(I, 4000, accepts_partial=True)) == "approved 3000"
    assert told(await payment.ask(I, 1, accepts_partial=True)) == "declined 51"
    assert told(await payment.ask(D, 1000)) == "approved 1000"
    assert told(await payment.ask(I, 1000)) == "approved 1000"
    assert payment.stands["held"] == 5000


@pytest.mark.parametrize("scenario", ["0000", "1005"])
async def test_behind_the_last_capture_nothing_is_held(issuer: Issuer, scenario: str):
    payment = issuer.payment(scenario)
    await payment.ask(A, 2000)
    assert told(await payment.ask(C, 1500, final=True)) == "approved 1500"
    assert payment.stands == {"held": 0, "captured": 1500, "refunded": 0}
    if scenario == "1005":
        assert told(await issuer.payment(scenario).ask(A, 3500)) == "approved 3500", "the rest can be spent again"


async def test_a_lost_increment_is_undone_by_its_reversal_alone(issuer: Issuer):
    payment = issuer.payment("0512")
    await payment.ask(A, 1000)
    await payment.ask(I, 500)
    assert await payment.reverse()
    assert payment.stands["held"] == 1000


@pytest.mark.parametrize(("scenario", "at_a_gate"), [
    ("2000", "approved 1000"), ("2001", "approved 1000"), ("2002", "approved 1000"), ("2003", "approved 1000"), ("2004", "declined 55"),
    ("2005", "declined 75"),
])
async def test_cards_of_gates_behave_at_gates_only(issuer: Issuer, scenario: str, at_a_gate: str):
    assert told(await issuer.payment(scenario).ask(A, 1000, channel="store")) == at_a_gate
    assert told(await issuer.payment(scenario).ask(A, 1000)) == "approved 1000"
