"""Trips on a real database: adjusted to totals, captured once, cancelled, refunded; what races, what nobody knows, what expires."""
from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from ringfence.core.card import Pan
from ringfence.core.commands import Kind
from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from ringfence.core.trip import Recommendation, Risk, Said, State, TripRefusal
from ringfence.engine import trips as under_test
from ringfence.engine.gates import Question, Shut, Why
from ringfence.engine.seeding import STORE, TRIPS, WAITING, seed_trips
from ringfence.engine.trips import Adjusted
from ringfence.processors.processor import Ask
from ringfence.storage import trips as rows
from tests.engine.composition import Process, Shop
from tests.engine.stores import Store

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
SILENT = Unknown(Silence.NO_ANSWER)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is waited for; what stays in doubt is said at once by the tests about it."""
    monkeypatch.setattr(under_test, "PATIENCE_SECONDS", 30.0)


@pytest.fixture
async def store(here: Shop) -> Store:
    return await Store(here).built()


def part_of(minor: int) -> object:
    return lambda message: Approved(minor, "742138", "n", "r", "10")


# --- the gate ---------------------------------------------------------------------------------------------------------


async def test_a_shopper_enters_on_the_store_s_hold(store: Store, one: Process) -> None:
    trip = await store.enter()
    assert (trip.state, trip.preauth, trip.standing, trip.currency) == (State.HELD, 2000, 2000, "USD")
    message = one.processor.asked[0]
    assert (message.kind, message.minor, message.channel, message.accepts_partial) == (Kind.AUTHORIZATION, 2000, "store", True)
    assert trip.expires_at == trip.started_at + 46 * HOUR == trip.payment.expires_at
    assert (trip.read.entry_mode, trip.read.tail, trip.read.response_code) == ("07", "0004", "00")
    assert len(trip.card_fingerprint) == 8
    await one.prove()


async def test_a_declined_card_makes_no_trip(store: Store, one: Process) -> None:
    one.processor.say(Declined("51"))
    assert await store.come(name="a") == Shut(Why.DECLINED, "51")
    assert await store.trips.find(store.merchant_id, "STORE-1", "a") is None


async def test_too_little_is_given_back_and_the_gate_stays_shut(store: Store, one: Process) -> None:
    one.processor.say(part_of(499))
    assert await store.come(name="a") == Shut(Why.TOO_LITTLE, "10")
    assert [(message.kind, message.minor) for message in one.processor.asked] == [(Kind.AUTHORIZATION, 2000), (Kind.VOID, 499)]
    assert await store.trips.find(store.merchant_id, "STORE-1", "a") is None
    await one.prove()


async def test_a_part_that_is_enough_opens_the_gate(store: Store, one: Process) -> None:
    one.processor.say(part_of(500))
    assert (await store.enter()).standing == 500


async def test_nobody_enters_on_silence(store: Store, one: Process) -> None:
    one.processor.say(SILENT)
    assert (await store.come(name="a")).why is Why.UNKNOWN
    assert await store.trips.find(store.merchant_id, "STORE-1", "a") is None


async def test_a_name_is_one_trip_s(store: Store, one: Process) -> None:
    await store.enter(name="a")
    assert await store.come(name="a") == Shut(Why.NAME_TAKEN)
    assert len(one.processor.asked) == 1


async def test_a_debtor_is_not_let_in(store: Store, one: Process) -> None:
    trip = await store.enter()

    async def owed(merchant_id: int, card: bytes) -> dict[str, int]:
        return {"USD": 1} if card == trip.card_fingerprint else {}

    store.gates.owed = owed
    assert await store.come() == Shut(Why.DEBT)
    assert len(one.processor.asked) == 1
    assert (await store.enter(pan=Pan("5555009900000000"))).standing == 2000


async def test_a_condition_holds_another_amount(store: Store) -> None:
    assert (await store.enter(condition=700)).preauth == 700


DEBTOR = Recommendation(False, None, (Risk.BAD_DEBT,))


@pytest.mark.parametrize(("strategy", "owes", "retailer", "opened", "recommended"), [
    ("managed",        True,  Recommendation(), Why.DEBT,       None),
    ("managed",        False, Recommendation(False), 2000,      None),
    ("recommendation", True,  Recommendation(), 2000,           DEBTOR),
    ("recommendation", True,  None,             Why.DEBT,       DEBTOR),
    ("recommendation", False, Recommendation(False), Why.NOT_WANTED, Recommendation()),
    ("recommendation", False, Recommendation(True, 700), 700,   Recommendation()),
    ("retailer",       True,  Recommendation(), 2000,           Recommendation()),
    ("retailer",       True,  None,             Why.DEBT,       Recommendation()),
    ("none",           True,  Recommendation(False), 2000,      None),
])
async def test_who_decides_at_the_gate(store: Store, one: Process, strategy, owes, retailer, opened, recommended) -> None:
    await one.directory.change(store.shop.identifier, {"trip_risk": strategy})
    asked: list[Question] = []

    async def owed(merchant_id: int, card: bytes) -> dict[str, int]:
        return {"USD": 100} if owes else {}

    async def asks(question: Question) -> Recommendation | None:
        asked.append(question)
        return retailer

    store.gates.owed, store.gates.asks = owed, asks
    came = await store.come(name="a")
    assert (came.why if isinstance(came, Shut) else came.preauth) == opened
    assert [question.recommended for question in asked] == ([] if recommended is None else [recommended])
    assert all((question.name, question.minor, question.currency) == ("a", 2000, "USD") for question in asked)


async def test_a_card_that_has_expired_is_not_asked_about(store: Store, one: Process) -> None:
    assert await store.come(expiry="2001") == Shut(Why.INVALID_CARD)
    assert one.processor.asked == []


async def test_an_entry_without_a_card_is_nobody_s_to_charge(store: Store) -> None:
    await store.come(name="a", pan=None)
    assert await store.trips.find(store.merchant_id, "STORE-1", "a") is None


async def test_another_store_and_another_merchant_see_nothing(store: Store, one: Process) -> None:
    trip = await store.enter()
    assert await store.trips.find(store.merchant_id, "STORE-2", trip.name) is None
    assert await store.trips.find(store.merchant_id + 1, "STORE-1", trip.name) is None


# --- adjust -----------------------------------------------------------------------------------------------------------


async def test_adjust_moves_what_stands_by_the_difference(store: Store, one: Process) -> None:
    trip = await store.enter()
    assert await store.adjust(trip, 6410) == Adjusted(Said.APPROVED, 6410)
    assert await store.adjust(trip, 1599) == Adjusted(Said.APPROVED, 1599)
    assert await store.adjust(trip, 1599) == Adjusted(Said.APPROVED, 1599)
    assert [(message.kind, message.minor) for message in one.processor.asked[1:]] == [(Kind.INCREMENT, 4410), (Kind.DECREMENT, 4811)]
    found = await store.find(trip)
    assert (found.state, found.standing, found.adjusted) == (State.ADJUSTED, 1599, 1599)
    await one.prove()


async def test_what_stands_already_is_asked_of_nobody(store: Store, one: Process) -> None:
    trip = await store.enter()
    assert await store.adjust(trip, 2000) == Adjusted(Said.APPROVED, 2000)
    assert len(one.processor.asked) == 1
    assert (await store.find(trip)).state is State.ADJUSTED


async def test_a_declined_adjust_leaves_the_hold_and_says_so_again(store: Store, one: Process) -> None:
    trip = await store.enter()
    one.processor.say(Declined("51"))
    assert await store.adjust(trip, 6410) == Adjusted(Said.DECLINED, 2000)
    assert await store.adjust(trip, 6410) == Adjusted(Said.DECLINED, 2000)
    assert len(one.processor.asked) == 2
    assert (await store.find(trip)).state is State.HELD
    assert await store.adjust(trip, 2000) == Adjusted(Said.APPROVED, 2000)
    assert await store.adjust(trip, 6410) == Adjusted(Said.APPROVED, 6410), "the latest adjust is another one now"
    await one.prove()


async def test_a_hard_decline_says_so(store: Store, one: Process) -> None:
    trip = await store.enter()
    one.processor.say(Declined("43"))
    assert await store.adjust(trip, 6410) == Adjusted(Said.DECLINED, 2000, True)
    assert await store.adjust(trip, 6410) == Adjusted(Said.DECLINED, 2000, True)


async def test_a_part_of_an_increment_stands(store: Store, one: Process) -> None:
    trip = await store.enter()
    one.processor.say(part_of(1000))
    assert await store.adjust(trip, 6410) == Adjusted(Said.DECLINED, 3000)
    assert await store.adjust(trip, 6410) == Adjusted(Said.DECLINED, 3000)
    assert await store.capture(trip, 3000) is None
    await one.prove()


async def test_the_other_baseline_tells_the_last_success(store: Store, one: Process) -> None:
    await one.directory.change(store.shop.identifier, {"trip_decline_baseline": "zero"})
    trip = await store.enter()
    one.processor.say(Declined("51"), Approved(840, "1", "2", "3"), Declined("51"))
    assert await store.adjust(trip, 6410) == Adjusted(Said.DECLINED, 0)
    assert await store.adjust(trip, 2840) == Adjusted(Said.APPROVED, 2840)
    assert await store.adjust(trip, 6410) == Adjusted(Said.DECLINED, 2840)


async def test_silence_is_pending_and_ends_declined_by_our_reversal(store: Store, one: Process) -> None:
    trip = await store.enter()
    one.processor.say(SILENT)
    one.processor.acknowledges = False
    assert await store.adjust(trip, 2550) == Adjusted(Said.PENDING, 2550)
    found = await store.find(trip)
    assert (found.state, found.adjusting) == (State.ADJUST_PENDING, 2550)
    one.processor.acknowledges = True
    assert await store.adjust(trip, 2550) == Adjusted(Said.DECLINED, 2000)
    assert await store.adjust(trip, 2550) == Adjusted(Said.DECLINED, 2000)
    await one.prove()


async def test_while_nobody_knows_another_amount_and_a_capture_have_to_wait(
    store: Store, one: Process, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(under_test, "PATIENCE_SECONDS", 0.2)
    trip = await store.enter()
    one.processor.say(SILENT)
    one.processor.acknowledges = False
    await store.adjust(trip, 2550)
    assert await store.adjust(trip, 2551) is TripRefusal.STATE
    assert await store.capture(trip, 1000) is TripRefusal.STATE
    assert await store.cancel(trip) is TripRefusal.UNAVAILABLE
    assert await store.adjust(trip, 2550) == Adjusted(Said.PENDING, 2550)
    one.processor.acknowledges = True
    monkeypatch.setattr(under_test, "PATIENCE_SECONDS", 30.0)
    assert await store.cancel(trip) is None
    assert (await store.find(trip)).state is State.CANCELLED
    await one.prove()


async def test_currency_must_be_the_hold_s(store: Store) -> None:
    trip = await store.enter()
    assert await store.trips.adjust(trip, 100, "EUR", "t") is TripRefusal.CURRENCY
    assert await store.trips.capture(trip, 100, "EUR", "t") is TripRefusal.CURRENCY


async def test_without_a_hold_the_whole_is_authorized(store: Store, one: Process) -> None:
    trip = await store.enter(hold=0)
    assert (trip.payment_id, trip.standing) == (0, 0)
    one.processor.say(Declined("51"))
    assert await store.adjust(trip, 99_999_999) == Adjusted(Said.DECLINED, 0)
    assert await store.adjust(trip, 99_999_999) == Adjusted(Said.DECLINED, 0)
    assert len(one.processor.asked) == 1
    assert await store.adjust(trip, 700) == Adjusted(Said.APPROVED, 700)
    assert await store.capture(trip, 700) is None
    await one.prove()


async def test_two_first_adjusts_without_a_hold_make_one_hold(store: Store, one: Process) -> None:
    trip = await store.enter(hold=0)
    said = await asyncio.gather(*(store.adjust(trip, 700) for _ in range(4)))
    assert set(said) == {Adjusted(Said.APPROVED, 700)}
    assert [message.kind for message in one.processor.asked] == [Kind.AUTHORIZATION]


# --- capture, cancel, refund ------------------------------------------------------------------------------------------


async def test_a_lower_capture_gives_the_rest_back_in_the_same_commit(store: Store, one: Process) -> None:
    trip = await store.enter()
    assert await store.capture(trip, 1840) is None
    found = await store.find(trip)
    assert (found.state, found.captured, found.payment.captured, found.payment.voided, found.standing) == (
        State.CAPTURED, 1840, 1840, 160, 0)
    kinds = await one.fetch(
        "SELECT k.name, t.minor, t.batch_id FROM transfers t JOIN transfer_kinds k USING (kind) WHERE operation_id <> payment_id ORDER BY leg")
    assert [(row[0], row[1]) for row in kinds] == [("use", 1840), ("capture", 1840), ("void", 160)]
    assert len({row[2] for row in kinds}) == 1
    assert one.processor.asked[-1].final
    await one.prove()


async def test_a_trip_is_captured_once(store: Store, one: Process) -> None:
    trip = await store.enter()
    assert await store.capture(trip, 1000) is None
    assert await store.capture(trip, 1000) is None
    assert await store.capture(trip, 999) is TripRefusal.STATE
    assert await store.adjust(trip, 1000) is TripRefusal.STATE
    assert await store.cancel(trip) is TripRefusal.STATE
    assert len(one.processor.asked) == 2


async def test_more_than_stands_is_not_captured(store: Store) -> None:
    trip = await store.enter()
    assert await store.capture(trip, 2001) is TripRefusal.AMOUNT


async def test_a_merchant_may_want_an_adjust_before(store: Store, one: Process) -> None:
    await one.directory.change(store.shop.identifier, {"trip_capture_unadjusted": "off"})
    trip = await store.enter()
    assert await store.capture(trip, 1000) is TripRefusal.STATE
    await store.adjust(trip, 1000)
    assert await store.capture(trip, 1000) is None


async def test_a_capture_that_nobody_answers_is_taken_and_comes_about(store: Store, one: Process) -> None:
    trip = await store.enter()
    one.processor.say(SILENT, SILENT)
    assert await store.capture(trip, 1000) is None
    assert await store.capture(trip, 1000) is None
    assert (await store.find(trip)).state is State.CAPTURED
    await one.engine.resolve(trip.merchant_id, trip.payment_id)
    await one.engine.resolve(trip.merchant_id, trip.payment_id)
    found = await store.find(trip)
    assert (found.payment.unknown, found.payment.captured, found.payment.voided) == (0, 1000, 1000)
    assert [message.final for message in one.processor.asked[1:]] == [True] * len(one.processor.asked[1:])
    await one.prove()


async def test_a_declined_capture_may_be_asked_again(store: Store, one: Process) -> None:
    trip = await store.enter()
    one.processor.say(Declined("12"))
    assert await store.capture(trip, 1000) is TripRefusal.UNAVAILABLE
    assert await store.capture(trip, 1000) is None


async def test_cancel_gives_all_back_and_may_be_repeated(store: Store, one: Process) -> None:
    trip = await store.enter()
    await store.adjust(trip, 3000)
    assert await store.cancel(trip) is None
    assert await store.cancel(trip) is None
    found = await store.find(trip)
    assert (found.state, found.standing) == (State.CANCELLED, 0)
    assert await store.adjust(trip, 1000) is TripRefusal.STATE
    assert await store.capture(trip, 1000) is TripRefusal.STATE
    await one.prove()


async def test_refunds_go_up_to_what_was_captured_each_once(store: Store, one: Process) -> None:
    trip = await store.enter()
    assert await store.refund(trip, 100) is TripRefusal.STATE
    await store.capture(trip, 1000)
    first = await store.refund(trip, 400, "a")
    assert first == await store.refund(trip, 400, "a") and str(first).startswith("RF-")
    assert (await store.find(trip)).state is State.PARTIALLY_REFUNDED
    assert await store.refund(trip, 401, "a") is TripRefusal.CONTENT
    assert await store.refund(trip, 400, "a", "DAMAGED_ITEM") is TripRefusal.CONTENT
    assert await store.refund(trip, 601, "b") is TripRefusal.AMOUNT
    assert await store.refund(trip, 600, "c") != first
    assert (await store.find(trip)).state is State.REFUNDED
    assert await store.refund(trip, 1, "d") is TripRefusal.STATE
    assert await store.refund(trip, 400, "a") == first
    await one.prove()


async def test_refunds_are_taken_for_a_week_from_the_trip_s_start(store: Store, one: Process) -> None:
    trip = await store.enter()
    await store.capture(trip, 1000)
    one.now.now += timedelta(days=7)
    first = await store.refund(trip, 100, "a")
    assert isinstance(first, str) and first.startswith("RF-")
    one.now.now += timedelta(seconds=1)
    assert await store.refund(trip, 100, "b") is TripRefusal.LATE
    assert await store.refund(trip, 100, "a") == first


async def test_a_refund_that_nobody_answers_is_joined(store: Store, one: Process) -> None:
    trip = await store.enter()
    await store.capture(trip, 1000)
    one.processor.say(SILENT)
    assert await store.refund(trip, 100, "a") is TripRefusal.UNAVAILABLE
    assert str(await store.refund(trip, 100, "a")).startswith("RF-")
    assert (await store.find(trip)).payment.refunded == 100
    await one.prove()


async def test_receipt_data_comes_with_the_capture(store: Store, one: Process) -> None:
    trip = await store.enter()
    assert await store.trips.receipt_data(trip) is TripRefusal.STATE
    await store.capture(trip, 1840)
    data = await store.trips.receipt_data(await store.find(trip))
    assert not isinstance(data, TripRefusal)
    assert (data.captured, data.read.tail, data.store_name, data.merchant_shown) == (1840, "0004", "Corner Store", "M-4711")
    assert data.approval_code == "742138" and data.reconciliation_id and data.card_statement_id


# --- time -------------------------------------------------------------------------------------------------------------


async def test_behind_46_hours_nothing_is_charged(store: Store, one: Process) -> None:
    trip = await store.enter()
    one.now.now = trip.expires_at - timedelta(seconds=1)
    assert await store.adjust(trip, 2100) == Adjusted(Said.APPROVED, 2100)
    one.now.now = trip.expires_at
    assert await store.adjust(trip, 2200) is TripRefusal.EXPIRED
    assert await store.capture(trip, 2100) is TripRefusal.EXPIRED
    assert await store.refund(trip, 1) is TripRefusal.STATE
    assert await store.cancel(trip) is None
    assert len(one.processor.asked) == 2


async def test_a_captured_trip_stays_readable_behind_its_life(store: Store, one: Process) -> None:
    trip = await store.enter()
    await store.capture(trip, 1000)
    one.now.now = trip.expires_at + HOUR
    found = await store.find(trip)
    assert found.state is State.CAPTURED
    assert not isinstance(await store.trips.receipt_data(found), TripRefusal)
    assert str(await store.refund(trip, 100)).startswith("RF-")


async def test_a_trip_that_never_expires_begins_anew_when_it_is_asked_for(store: Store, one: Process) -> None:
    trip = await store.enter(never_expires=True)
    one.now.now += timedelta(days=400)
    assert await store.adjust(trip, 2100) == Adjusted(Said.APPROVED, 2100)
    assert await rows.wait(one.pool, trip.merchant_id, trip.number, WAITING) == 1
    found = await store.find(trip)
    assert (found.state, found.standing, found.name) == (State.HELD, 2000, trip.name)
    assert found.payment_id != trip.payment_id
    assert await store.adjust(trip, 2100) == Adjusted(Said.APPROVED, 2100)
    old = await one.reading.view(trip.merchant_id, trip.payment_id)
    assert old is not None and old.payment is not None and old.payment.open == 0
    await one.prove()


# --- races ------------------------------------------------------------------------------------------------------------


async def test_a_call_that_meets_a_pending_one_waits_for_it(store: Store, one: Process) -> None:
    trip = await store.enter()
    held = one.processor.hold()
    first = asyncio.create_task(store.adjust(trip, 3000))
    await held.arrived.wait()
    same, other = asyncio.create_task(store.adjust(trip, 3000)), asyncio.create_task(store.adjust(trip, 2500))
    capture = asyncio.create_task(store.capture(trip, 2500))
    await asyncio.wait([same, other, capture], timeout=0.1)
    assert not same.done() and not other.done() and not capture.done()
    held.release()
    assert await first == Adjusted(Said.APPROVED, 3000)
    assert await same in (Adjusted(Said.APPROVED, 3000), TripRefusal.STATE)
    assert await capture is None
    assert await other in (Adjusted(Said.APPROVED, 2500), TripRefusal.STATE)
    assert (await store.find(trip)).payment.captured == 2500
    await one.prove()


async def test_racing_targets_end_at_one_of_them(store: Store, one: Process) -> None:
    trip = await store.enter()

    async def slowly(message: Ask) -> Approved:
        await asyncio.sleep(0.01)
        return Approved(message.minor, "1", "2", "3")

    one.processor.say(*[slowly] * 12)
    targets = (2500, 3000, 1500, 2800, 900)
    said = await asyncio.gather(*(store.adjust(trip, minor) for minor in targets))
    assert all(isinstance(one, Adjusted) and one.said is Said.APPROVED for one in said), said
    found = await store.find(trip)
    assert found.standing in targets and found.payment.pending_increment == found.payment.pending_decrement == 0
    await one.prove()


async def test_racing_captures_take_one_amount(store: Store, one: Process, two: Process) -> None:
    trip, beside = await store.enter(), Store(store.shop, two)
    said = await asyncio.gather(*(place.capture(trip, minor) for minor in (1000, 1001, 1000) for place in (store, beside)))
    found = await store.find(trip)
    assert found.payment.captured in (1000, 1001)
    wins = [minor for minor, answer in zip((1000, 1000, 1001, 1001, 1000, 1000), said, strict=True) if answer is None]
    assert set(wins) == {found.payment.captured}
    assert sum(message.kind is Kind.CAPTURE for message in one.processor.asked) == 1
    await one.prove()


async def test_adjust_racing_capture_is_one_of_the_two_orders(store: Store, one: Process, two: Process) -> None:
    for _ in range(5):
        trip, beside = await store.enter(), Store(store.shop, two)
        adjusted, captured = await asyncio.gather(store.adjust(trip, 2500), beside.capture(trip, 1500))
        assert captured is None
        assert adjusted in (Adjusted(Said.APPROVED, 2500), TripRefusal.STATE)
        found = await store.find(trip)
        assert (found.payment.captured, found.standing) == (1500, 0)
    await one.prove()


async def test_any_door_s_capture_is_the_last(store: Store, one: Process) -> None:
    one.engine.binding = store.trips.binding
    trip = await store.enter()
    answer = await store.shop.ask(
        command="CAPTURE", fort_id=str(trip.payment_id), amount="1500", currency="USD")
    assert answer["response_code"] == "04000", answer
    again = await store.shop.ask(command="CAPTURE", fort_id=str(trip.payment_id), amount="100", currency="USD")
    assert again["status"] != "04"
    found = await store.find(trip)
    assert (found.captured, found.standing, found.payment.voided) == (1500, 0, 500)
    assert await store.capture(trip, 1500) is None
    await one.prove()


async def test_a_trip_that_several_ask_for_at_once_begins_anew_once(store: Store, one: Process, two: Process) -> None:
    trip, beside = await store.enter(never_expires=True), Store(store.shop, two)
    await rows.wait(one.pool, trip.merchant_id, 0, WAITING)
    found = await asyncio.gather(*(place.trips.find(trip.merchant_id, "STORE-1", trip.name) for place in (store, beside) * 3))
    assert len({each.payment_id for each in found if each is not None}) == 1 and None not in found
    holds = await one.value("SELECT count(*) FROM operations WHERE kind = 'authorization'")
    assert holds == 2, "the first one's, and one more"
    await one.prove()


async def test_a_trip_without_a_hold_begins_anew_without_one(store: Store, one: Process) -> None:
    trip = await store.enter(never_expires=True, hold=0)
    await store.adjust(trip, 700)
    await rows.wait(one.pool, trip.merchant_id, 0, WAITING)
    found = await store.find(trip)
    assert (found.payment_id, found.standing, found.state) == (0, 0, State.HELD)
    assert await store.adjust(trip, 800) == Adjusted(Said.APPROVED, 800)
    assert await store.capture(trip, 800) is None
    await one.prove()


async def test_a_trip_without_a_hold_is_cancelled_without_asking_anybody(store: Store, one: Process) -> None:
    trip = await store.enter(hold=0)
    assert await store.cancel(trip) is None
    assert (await store.find(trip)).state is State.CANCELLED
    assert await store.adjust(trip, 100) is TripRefusal.STATE
    assert one.processor.asked == []


async def test_each_start_of_a_sandbox_has_its_sample_trips_begin_anew(one: Process) -> None:
    """They are there once, whatever became of them; other merchants have none, and what an operator changed of the store stays."""
    shop = await one.merchant("RingfenceOne", access_code="RingfenceSandboxOne1", request="phrase-in", response="phrase-out")
    other = await one.merchant("Elsewhere", access_code="RingfenceSandboxTwo2", request="phrase-in", response="phrase-out")
    store = Store(shop)
    await seed_trips(one.pool, one.directory.merchants(), one.now())
    first = await store.trips.find(store.merchant_id, STORE, TRIPS[0].name)
    assert first is not None and (first.standing, first.state, first.read.tail) == (10_000, State.HELD, "0004")
    assert await store.trips.capture(first, 2599, "USD", "t") is None
    row = await rows.store(one.pool, store.merchant_id, STORE)
    assert row is not None
    await rows.put_store(one.pool, row._replace(title="Mine"), one.now())
    one.now.now += timedelta(days=3)
    await seed_trips(one.pool, one.directory.merchants(), one.now())
    again = await store.trips.find(store.merchant_id, STORE, TRIPS[0].name)
    assert again is not None and (again.standing, again.state, again.started_at) == (10_000, State.HELD, one.now())
    assert (again.number, again.payment_id != first.payment_id) == (first.number, True)
    assert await store.trips.adjust(again, 1599, "USD", "t") == Adjusted(Said.APPROVED, 1599)
    declined = await store.trips.find(store.merchant_id, STORE, TRIPS[1].name)
    one.processor.say(Declined("51"))
    assert declined is not None and await store.trips.adjust(declined, 99_999_999, "USD", "t") == Adjusted(Said.DECLINED, 0)
    kept = await rows.store(one.pool, store.merchant_id, STORE)
    assert kept is not None and kept.title == "Mine"
    assert await rows.stores(one.pool, other.account.merchant_id) == []
    await one.prove()
