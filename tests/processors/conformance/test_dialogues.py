"""What every processor must do, as dialogues: a message, its answer, and what then stands at the other side."""
from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ringfence.core.commands import Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked, Reversed, Unknown
from ringfence.processors.processor import ask_all
from tests.processors.conformance.conftest import needs
from tests.processors.conformance.dialogue import Bench, told

pytestmark = pytest.mark.anyio

A, P, I, D, C, V, R = (  # noqa: E741
    Kind.AUTHORIZATION, Kind.PURCHASE, Kind.INCREMENT, Kind.DECREMENT, Kind.CAPTURE, Kind.VOID, Kind.REFUND
)

#: Each line: operation, amount, the answer at the end; and what stands then: held, captured, refunded.
DIALOGUES = {
    "an authorization holds": ([(A, 1000, "approved 1000")], (1000, 0, 0)),
    "a capture takes what is held": ([(A, 1000, "approved 1000"), (C, 1000, "approved 1000")], (0, 1000, 0)),
    "captures may be partial and many": ([(A, 1000, "approved 1000"), (C, 300, "approved 300"), (C, 200, "approved 200")], (500, 500, 0)),
    "a void gives the rest back": ([(A, 1000, "approved 1000"), (C, 300, "approved 300"), (V, 700, "approved 700")], (0, 300, 0)),
    "a refund between captures": (
        [(A, 1000, "approved 1000"), (C, 400, "approved 400"), (R, 150, "approved 150"), (C, 600, "approved 600")], (0, 1000, 150)
    ),
    "increments raise the hold, decrements lower it": (
        [(A, 1000, "approved 1000"), (I, 500, "approved 500"), (D, 200, "approved 200"), (C, 1300, "approved 1300")], (0, 1300, 0)
    ),
    "a purchase captures at once": ([(P, 1000, "approved 1000"), (R, 1000, "approved 1000")], (0, 1000, 1000)),
}


@pytest.mark.parametrize("dialogue", DIALOGUES.values(), ids=DIALOGUES)
async def test_a_payment_goes_as_the_dialogue_says(bench: Bench, dialogue: tuple):
    """Every answer as written, and the money where it says; nothing is held any more where an answer said that a capture took all of it."""
    lines, (held, captured, refunded) = dialogue
    payment = await bench.payment("approve", *lines[0][:2])
    for kind, minor, answer in lines:
        assert told(await payment.ended(kind, minor)) == answer
    assert payment.stands == {"held": 0 if payment.hold_gone else held, "captured": captured, "refunded": refunded}


async def test_the_largest_amount_passes(bench: Bench):
    """All of it."""
    payment = await bench.payment("approve", P, bench.largest)
    assert told(await payment.ask(P, bench.largest)) == f"approved {bench.largest}"
    assert payment.stands == {"held": 0, "captured": bench.largest, "refunded": 0}


@pytest.mark.parametrize("kind", [A, P])
async def test_a_decline_moves_nothing(bench: Bench, kind: Kind):
    """And says why, in DE 39; in two ways at least."""
    assert len(set(bench.declines.values())) > 1
    for behaviour, code in bench.declines.items():
        payment = await bench.payment(behaviour, kind)
        assert told(await payment.ask(kind, 1000)) == f"declined {code}"
        assert payment.stands == {"held": 0, "captured": 0, "refunded": 0}


async def test_an_approval_carries_what_later_messages_cite(bench: Bench):
    """Approval code, the processor's reference and the scheme's; a capture keeps the payment's."""
    payment = await bench.payment()
    first = await payment.ask(A, 1000)
    assert isinstance(first, Approved)
    assert len(first.approval_code) == 6
    assert first.scheme_reference
    assert first.processor_reference
    capture = await payment.ask(C, 1000)
    assert isinstance(capture, Approved)
    assert (capture.processor_reference, capture.scheme_reference) == (first.processor_reference, first.scheme_reference)


@needs("deduplicates")
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("script", [[A], [P], [A, C], [A, V], [A, I], [A, D], [P, R]])
async def test_a_repeat_is_answered_from_memory_and_moves_nothing(bench: Bench, script: list[Kind], marked: bool):
    """Where the processor says it deduplicates: the same key, the same answer, one effect; marked as a repeat or not."""
    payment = await bench.payment("approve", script[0])
    for kind in script:
        outcome = await payment.ask(kind, 1000)
    before = payment.stands
    assert payment.last is not None
    again = [await payment.send(payment.last._replace(repeat=marked)) for _ in range(3)]
    assert again == [outcome] * 3
    assert payment.stands == before


async def test_repeats_at_the_same_moment_move_once(bench: Bench):
    """Ten copies of one capture race: one effect, one answer."""
    payment = await bench.payment()
    await payment.ask(A, 1000)
    copy = payment.message(C, 600, repeat=True)
    answers = await asyncio.gather(*(bench.processor.ask(copy) for _ in range(10)))
    assert len(set(answers)) == 1
    assert isinstance(answers[0], Approved)
    assert payment.stands == {"held": 0 if answers[0].hold_gone else 400, "captured": 600, "refunded": 0}


@needs("partial_approval", "partial")
async def test_a_partial_approval_comes_only_where_it_is_accepted(bench: Bench):
    """Half, rounded down, with DE 39 "10"; insufficient funds for those who cannot use it."""
    assert told(await (await bench.payment("partial")).ask(A, 1001)) == "declined 51"
    payment = await bench.payment("partial")
    outcome = await payment.ask(A, 1001, accepts_partial=True)
    assert isinstance(outcome, Approved)
    assert (outcome.minor, outcome.response_code) == (500, "10")
    assert payment.stands["held"] == 500


@pytest.mark.parametrize("card", ["silent", "garbled"])
@pytest.mark.parametrize("kind", [A, P])
async def test_silence_and_garbage_are_unknown_never_a_decline(bench: Bench, card: str, kind: Kind):
    """Nobody is told that nothing happened: here it did."""
    payment = await bench.payment(card, kind)
    assert isinstance(await payment.ask(kind, 1000), Unknown)
    assert sum(payment.stands.values()) == 1000


@pytest.mark.parametrize("card", ["silent", "slow"])
async def test_the_deadline_is_kept(bench: Bench, card: str):
    """However long the other side takes, the answer is there by the deadline."""
    payment = await bench.payment(card, patience=bench.seconds / 3)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while isinstance(outcome := await payment.ask(A, 1000), NotAsked):      # a crowded machine lost the time before it could ask
        assert loop.time() - began < 60
    assert isinstance(outcome, Unknown)
    assert loop.time() - began < 60


async def test_nothing_is_sent_after_the_deadline(bench: Bench):
    """It is certain that nothing happened, and said so."""
    payment = await bench.payment()
    late = payment.message(A, 1000, deadline=datetime.now(UTC) - timedelta(seconds=1))
    assert isinstance(await bench.processor.ask(late), NotAsked)
    assert payment.stands["held"] == 0


@pytest.mark.parametrize(("kind", "card"), [(A, "silent"), (P, "silent"), (A, "garbled"), (A, "approve"), (P, "approve")])
async def test_a_reversal_undoes_exactly_that_message_once(bench: Bench, kind: Kind, card: str):
    """Idempotent: a second one is acknowledged and changes nothing."""
    other = await bench.payment("approve", A, 700)
    await other.ask(A, 700)
    payment = await bench.payment(card, kind)
    await payment.ask(kind, 1000)
    assert await payment.reverse()
    assert await payment.reverse()
    back = 1000 if bench.gives_back and kind is P else 0
    assert payment.stands == {"held": 0, "captured": back, "refunded": back}
    assert other.stands == {"held": 700, "captured": 0, "refunded": 0}


@needs("increments")
async def test_reversing_an_increment_leaves_the_hold_before_it(bench: Bench):
    """Back to the standing amount, never the original hold."""
    payment = await bench.payment()
    await payment.ask(A, 1000)
    await payment.ask(I, 500)
    assert await payment.reverse()
    assert payment.stands["held"] == 1000


async def test_a_reversal_before_its_original_keeps_it_out(bench: Bench):
    """Acknowledged though nothing was there; the original that comes afterwards moves nothing."""
    payment = await bench.payment()
    message = payment.message(A, 1000)
    assert await bench.processor.reverse(message)
    assert isinstance(await bench.processor.ask(message), Declined)
    assert isinstance(await bench.processor.ask(message._replace(repeat=True)), Declined)
    assert payment.stands["held"] == 0


async def test_a_reversed_message_stays_undone_when_it_is_repeated(bench: Bench):
    """A repeat is never a new beginning."""
    payment = await bench.payment()
    await payment.ask(A, 1000)
    await payment.reverse()
    assert not isinstance(await payment.repeat(), Approved)
    assert payment.stands["held"] == 0


async def test_an_inquiry_tells_what_became_of_a_message(bench: Bench):
    """Where the processor can be asked: approved, declined, reversed; unknown for what never arrived.  Elsewhere always unknown."""
    behaviour, code = next(iter(bench.declines.items()))
    silent, declined, never = [await bench.payment(one) for one in (_lost(bench), behaviour, "approve")]
    await silent.ask(A, 1000)
    await declined.ask(A, 1000)
    never.last = never.message(A, 1000)
    told_of = [told(await payment.inquire()) for payment in (silent, declined, never)]
    if not bench.is_able("inquiry"):
        assert told_of == ["unknown no_answer"] * 3
        return
    assert told_of == ["approved 1000", f"declined {code}", "unknown no_answer"]
    await silent.reverse()
    assert await silent.inquire() == Reversed()


def _lost(bench: Bench) -> str:
    """A payment whose answer does not arrive; where none can be lost, one whose answer does."""
    return "silent" if bench.is_able("silent") else "approve"


@needs("book")
async def test_totals_count_what_was_approved_and_not_undone(bench: Bench):
    """By merchant, currency and kind, on the business day of the message."""
    day = datetime.now(UTC).replace(hour=12)
    for behaviour, minor in (("approve", 1000), ("approve", 500), (next(iter(bench.declines)), 50)):
        await (await bench.payment(behaviour, P, minor)).ask(P, minor, at=day)
    undone = await bench.payment(_lost(bench), P, 4000)
    await undone.ask(P, 4000, at=day)
    await undone.reverse()
    await (await bench.payment(currency="KWD")).ask(A, 7, at=day)
    await (await bench.payment()).ask(A, 9, at=day + timedelta(days=3))
    assert await bench.processor.totals(day.date()) == {
        ("merchant-1", "AED", "purchase"): (2, 1500), ("merchant-1", "KWD", "authorization"): (1, 7)}


@pytest.mark.parametrize("fields", [
    {"merchant": 'quote " backslash \\ newline \n é'}, {"key": "ключ \" \\"}, {"expiry": "9999"}, {"expiry": "x"}, {"cited_reference": "x" * 36},
    {"currency": "JPY"}, {"channel": "store"}, {"magic": True}, {"operation_id": 1}, {"pan": None},
])
async def test_nothing_in_a_message_makes_it_raise(bench: Bench, fields: dict[str, object]):
    """Odd texts, odd dates, no card: an outcome each time, and the same again for a repeat."""
    payment = await bench.payment("approve", P)
    outcome = await payment.ask(P, 1000, **fields)
    assert isinstance(outcome, Approved | Declined | Unknown) or (bench.looks_first and isinstance(outcome, NotAsked))
    assert await payment.repeat() == outcome
    assert isinstance(await payment.reverse(), bool)


def test_the_dialogues_cover_every_operation():
    """So that a processor cannot pass with one it never heard of."""
    assert {kind for lines, _ in DIALOGUES.values() for kind, _, _ in lines} == set(Kind)


async def test_many_questions_are_answered_as_each_alone(bench: Bench):
    """In their order, whatever each of them meets: approvals, declines, silence, and what needs the past."""
    before = await bench.payment()
    await before.ask(A, 1000)
    (poor, little), (bad, none) = list(bench.declines.items())[:2]
    payments = [await bench.payment(one, P, 100 + place) for place, one in enumerate(("approve", poor, _lost(bench), "approve", bad))]
    messages = [payment.message(P, 100 + place) for place, payment in enumerate(payments)]
    messages[3:3] = [before.message(C, 400)]
    outcomes = await ask_all(bench.processor, messages)
    assert [told(outcome) for outcome in outcomes] == [
        "approved 100", f"declined {little}", "unknown no_answer" if bench.is_able("silent") else "approved 102", "approved 400",
        "approved 103", f"declined {none}"]
    capture = outcomes[3]
    assert isinstance(capture, Approved)
    assert before.stands == {"held": 0 if capture.hold_gone else 600, "captured": 400, "refunded": 0}
    assert [payment.stands["captured"] for payment in payments[:2] + payments[3:]] == [100, 0, 103, 0]
    assert [told(outcome) for outcome in await ask_all(bench.processor, [one._replace(repeat=True) for one in messages[:2]])] == [
        "approved 100", f"declined {little}"]
    assert await ask_all(bench.processor, []) == []
