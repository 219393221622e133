"""Plans: each due date is charged once, whatever happens on the way."""
from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import pytest

from ringfence.api import plans
from ringfence.api.admin import guard
from ringfence.api.aps import signature
from ringfence.background.recurring import queue
from ringfence.core.outcomes import Approved, Declined, NotAsked, Silence, Unknown
from ringfence.engine import links
from ringfence.engine.plans import NotNow, NotThere, Wrong
from ringfence.storage import jobs
from tests.api.asking import TOKEN, Operator
from tests.background.planning import BEGIN, DAY, PLAN_URL, START, Members, both, members, reference, wish
from tests.engine.composition import NOW, Process, Time, process, shop
from tests.engine.recovering import able, end_doubts
from tests.engine.test_links import pay

pytestmark = pytest.mark.anyio
SILENT = Unknown(Silence.NO_ANSWER)
MADA = "4464040000000007"


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database, now=Time(), recovers=True, ask_seconds=5.0) as running:
        yield running


@pytest.fixture
async def club(one: Process) -> Members:
    return await members(one)


def on(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


# ------------------------------------------------------------------------------------------------------ charging

async def test_every_due_date_is_charged_once_and_at_its_instant(club: Members, one: Process):
    """From the end of January over the end of February to that of March; nothing comes before, and nothing twice."""
    await club.plan()
    await club.until(BEGIN - timedelta(seconds=1))
    assert club.orders == []
    await club.until(on(4, 15))
    assert await club.periods() == ["01-31 charged", "02-28 charged", "03-31 charged"]
    assert await club.charged() == ["20260131", "20260228", "20260331"]
    assert [row["asked_at"] for row in await one.fetch("SELECT asked_at FROM operations WHERE source = 'plan' ORDER BY 1")] == [
        BEGIN, on(2, 28), on(3, 31)]
    await one.prove()


async def test_a_charge_is_what_a_recurring_purchase_would_have_been(club: Members, one: Process):
    """The same row, details included, so that feedback and CHECK_STATUS tell the same; the cardholder's payment is cited."""
    await club.plan()
    await club.until(BEGIN)
    mine = one.processor.asked[-1]
    answer = await club.here.ask(
        command="PURCHASE", eci="RECURRING", merchant_reference="by-hand", amount="2500", currency="AED", customer_email="sara@example.com",
        token_name="T1", order_description="Gym one month")
    assert answer["response_code"] == "14000"
    theirs = one.processor.asked[-1]
    assert (mine.initiation, mine.channel, mine.cited_reference) == (theirs.initiation, theirs.channel, theirs.cited_reference)
    assert mine.cited_reference and mine.security_code is None
    mine_row, theirs_row = [dict(row) for row in await one.fetch(
        "SELECT kind, minor, currency, door, details, processor, card_id, token_name, token_version, initiation, channel FROM operations "
        "WHERE reference = ANY($1) ORDER BY operation_id", [reference("20260131"), "by-hand"])]
    mine_details, theirs_details = json.loads(mine_row.pop("details")), json.loads(theirs_row.pop("details"))
    assert mine_row == theirs_row
    assert mine_details | {"merchant_reference": "by-hand"} == theirs_details
    status = await club.here.status(reference("20260131"))
    assert (status["transaction_status"], status["captured_amount"]) == ("14", "2500")


async def test_a_clock_jump_charges_each_or_only_the_last(one: Process):
    """As the plan says of due dates that a later one has overtaken."""
    each, last = await members(one, "Each"), await members(one, "Last")
    await each.plan(unit="day", start=date(2026, 1, 6))
    await last.plan(unit="day", start=date(2026, 1, 6), missed="skip_missed")
    one.now.now = NOW + 40 * DAY
    await both(each.work(), last.work())
    assert len(await each.charged()) == 40 and len(set(await each.charged())) == 40
    assert await last.charged() == ["20260214"]
    assert (await last.periods())[-2:] == ["02-13 skipped", "02-14 charged"] and len(await last.periods()) == 40
    assert [told["notice"] for told in await last.notices()] == ["plan_skipped", "plan_charged"]


async def test_a_plan_ends_with_its_count_or_its_last_day(club: Members):
    """And nothing is left to be done."""
    await club.plan("two", count=2)
    await club.plan("march", until=date(2026, 3, 30))
    await club.until(on(12, 31))
    assert await club.charged("two") == await club.charged("march") == ["20260131", "20260228"]
    assert await club.standing("two") == await club.standing("march") == ("ended", "its last due date is over")
    assert await club.one.value("SELECT count(*) FROM jobs WHERE queue = 'plan'") == 0


# ------------------------------------------------------------------------------------------------------ declines

async def test_a_soft_decline_is_tried_again_on_the_schedule(club: Members, one: Process):
    """Every try is a payment of its own, and the first that is approved is the last."""
    await club.plan()
    one.processor.say(Declined("51"), Declined("05"))
    await club.until(BEGIN + 20 * DAY)
    assert await club.payments() == {"20260131": [("declined", 2500), ("declined", 2500), ("approved", 2500)]}
    assert club.orders == [reference("20260131", attempt) for attempt in (1, 2, 3)]
    assert [(told["notice"], told["occurred_at"][:10], told.get("next_attempt_at", "")[:10]) for told in await club.notices()] == [
        ("plan_failed", "2026-01-31", "2026-02-02"), ("plan_failed", "2026-02-02", "2026-02-06"), ("plan_charged", "2026-02-06", "")]


@pytest.mark.parametrize(("failed", "status", "charged"), [
    ("skip", "active", ["20260228"]), ("pause", "paused", []), ("stop", "stopped", []),
])
async def test_after_the_last_try_the_plan_goes_on_as_agreed(club: Members, one: Process, failed: str, status: str, charged: list[str]):
    """Four tries on days 1, 3, 7 and 14, and then what the plan says."""
    await club.plan(failed=failed)
    one.processor.say(*[Declined("51")] * 4)
    await club.until(on(3, 1))
    assert (await club.periods())[0] == "01-31 failed" and len((await club.payments())["20260131"]) == 4
    assert (await club.standing())[0] == status and await club.charged() == charged
    last = {"skip": "plan_charged", "pause": "plan_paused", "stop": "plan_stopped"}[failed]
    assert (await club.notices())[-1]["notice"] == last


async def test_a_hard_decline_stops_the_plan_until_it_has_another_card(club: Members, one: Process):
    """The same card is not asked again, by nobody; with another one the plan goes on."""
    await club.plan()
    one.processor.say(Declined("41"))
    await club.until(on(3, 15))
    assert await club.standing() == ("stopped", "declined for good (response code 41)")
    assert len(club.orders) == 1
    assert isinstance(await club.resume(), NotNow)
    assert await club.change(token_name="T1", minor=100) == [
        Wrong("token_name", "names a card that was declined for good; give another")]
    await club.card("T2", card_number="5555009900000000")
    await club.change(token_name="T2")
    assert (await club.resume()).status == "active"
    await club.until(on(4, 1))
    assert await club.charged() == ["20260331"]
    assert [told["notice"] for told in await club.notices()] == ["plan_failed", "plan_stopped", "plan_resumed", "plan_charged"]


async def test_the_schemes_advice_comes_before_the_schedule(club: Members, one: Process):
    """MAC 25 asks for 24 hours, MAC 28 for six days."""
    await club.plan()
    one.processor.say(Declined("79", "25"), Declined("79", "28"))
    await club.until(BEGIN + 10 * DAY)
    asked = [row["asked_at"] for row in await one.fetch("SELECT asked_at FROM operations WHERE source = 'plan' ORDER BY 1")]
    assert asked == [BEGIN, BEGIN + DAY, BEGIN + 7 * DAY]


async def test_no_card_is_declined_more_often_than_its_scheme_allows(one: Process):
    """Over all plans of a merchant: what is beyond waits until the first decline has left the window."""
    club = await members(one, plan_retry_limits="VISA:3/30", plan_retry_days="")
    for name in ("a", "b", "c", "d"):
        await club.plan(name, failed="skip", unit="year")
    one.processor.say(*[Declined("51")] * 3)
    await club.until(BEGIN + 29 * DAY)
    assert len(club.orders) == 3
    assert sorted([(await club.periods(name))[0] for name in "abcd"]) == ["01-31 failed"] * 3 + ["01-31 open"]
    await club.until(BEGIN + 31 * DAY)
    assert len(club.orders) == 4 and sum([len(await club.charged(name)) for name in "abcd"]) == 1


@pytest.mark.parametrize("door", ["api", "plan"])
async def test_every_decline_of_the_merchants_own_counts_against_the_schemes_limit(one: Process, door: str):
    """Whatever door it came through: what the cardholder tries is his own affair, and so is what another card was declined for."""
    club = await members(one, plan_retry_limits="VISA:2/30", plan_retry_days="")
    await club.card("T2", card_number="4000009900000012")
    await club.plan("late", start=date(2026, 2, 1), failed="skip")
    one.processor.say(*[Declined("51")] * 2)
    if door == "plan":
        for name in ("a", "b"):
            await club.plan(name, start=date(2026, 1, 6), unit="year", failed="skip")
        await club.until(datetime(2026, 1, 6, tzinfo=UTC))
    else:
        one.now.now = datetime(2026, 1, 6, tzinfo=UTC)
        for number in (1, 2):
            declined = await club.here.ask(
                command="PURCHASE", eci="RECURRING", merchant_reference=f"mine-{number}", amount="100", currency="AED",
                customer_email="sara@example.com", token_name="T1")
            assert declined["status"] == "13"
    one.processor.say(Declined("51"), Declined("51"))
    assert (await club.here.purchase("his", token_name="T1"))["status"] == "13"
    assert (await club.here.ask(
        command="PURCHASE", eci="RECURRING", merchant_reference="other", amount="100", currency="AED", customer_email="sara@example.com",
        token_name="T2"))["status"] == "13"
    await club.until(on(2, 4))
    assert await club.charged("late") == [] and (await club.periods("late"))[0] == "02-01 open"
    shown = await club.plans.show(club.here.account, "late", 1)
    assert shown.periods[0].reason.startswith("waits: the card was declined") and shown.periods[0].period.next_at == on(2, 5)
    await club.until(on(2, 6))
    assert await club.charged("late") == ["20260201"]


async def test_of_one_handful_no_more_begin_than_may_be_declined(one: Process):
    """Six plans of one card, of which three may be declined: the others wait for what becomes of those."""
    club = await members(one, plan_retry_limits="VISA:3/30", plan_retry_days="")
    for name in "abcdef":
        await club.plan(name, unit="year", failed="skip")
    one.now.now = BEGIN
    held = one.processor.hold()
    running = asyncio.create_task(club.work())
    await held.arrived.wait()
    assert len(club.orders) == 3
    held.release()
    await running
    assert len(club.orders) == 6 and [await club.charged(name) for name in "abcdef"] == [["20260131"]] * 6


async def test_a_handful_of_many_plans_is_a_few_statements(one: Process):
    """Forty plans of two merchants, approved, declined, silent and refused, are what they would be one by one."""
    north, south = [await members(one, name, plan_retry_limits="") for name in ("North", "South")]
    for club in (north, south):
        for number in range(20):
            await club.plan(f"p{number}", unit="year")
    await south.here.ask(service_command="UPDATE_TOKEN", merchant_reference="off", token_name="T1", token_status="INACTIVE")
    one.processor.say(Declined("51"), SILENT, NotAsked("deadline"), lambda message: Approved(message.minor // 2, "111111"))
    one.now.now = BEGIN
    await north.runner.run(await north.claimed())
    shown = [await north.plans.show(north.here.account, f"p{number}", 1) for number in range(20)]
    states = Counter(one.periods[0].period.state for one in shown)
    assert states == {"charged": 16, "open": 3, "asked": 1}
    assert await one.value("SELECT count(DISTINCT batch_id) FROM outcomes x JOIN operations o USING (merchant_id, payment_id, operation_id) "
                           "WHERE o.source = 'plan'") == 1
    assert {(await south.standing(f"p{number}"))[0] for number in range(20)} == {"paused"} and await south.payments("p1") == {}
    assert len(await north.notices()) == 18 and len(await south.notices()) == 20
    await one.engine.idle()
    await one.prove()


async def test_a_partial_approval_is_a_decline(club: Members, one: Process):
    """Half of a month is not what was agreed: it is given back, and tried again."""
    await club.plan()
    one.processor.say(lambda message: Approved(message.minor // 2, "111111"))
    await club.until(BEGIN + 3 * DAY)
    await one.engine.idle()
    assert (await club.notices())[0]["acquirer_response_code"] == "51" and await club.periods() == ["01-31 charged"]
    assert len(one.processor.reversals) == 1
    assert await one.value("SELECT sum(captured)::bigint FROM payments p JOIN operations o USING (merchant_id, payment_id) "
                           "WHERE o.operation_id = o.payment_id AND o.source = 'plan'") == 2500


async def test_what_nobody_was_asked_for_is_no_try(club: Members, one: Process):
    """It comes again, and neither counts as a decline nor as a charge."""
    await club.plan()
    one.processor.say(NotAsked("deadline"), NotAsked("deadline"))
    await club.until(BEGIN + DAY)
    assert [result for result, _ in (await club.payments())["20260131"]] == ["not_asked", "not_asked", "approved"]
    assert [told["notice"] for told in await club.notices()] == ["plan_charged"]


# ------------------------------------------------------------------------------------------------------ the unknown

@pytest.mark.parametrize("is_found", [True, False])
async def test_while_nobody_knows_nothing_else_of_the_plan_begins(club: Members, one: Process, is_found: bool):
    """Not even the next due date; once the doubt has ended it is charged, or tried again, but never twice."""
    one.processor.capabilities = able(inquiry=True)
    await club.plan(unit="day")
    one.processor.say(SILENT)
    await club.until(BEGIN + 3 * DAY)
    assert club.orders == [reference("20260131")] and await club.periods() == ["01-31 asked"]
    one.processor.find(Approved(2500, "742138") if is_found else Declined("51"))
    await end_doubts(one)
    await club.until(BEGIN + 4 * DAY)
    days = ["20260131", "20260201", "20260202", "20260203", "20260204"]
    assert await club.charged() == days if is_found else days[1:]
    assert all(len([result for result, _ in tries if result == "approved"]) <= 1 for tries in (await club.payments()).values())
    await one.prove()


async def test_what_our_reversal_ended_is_tried_again(club: Members, one: Process):
    """On the schedule, like a decline that was nobody's word."""
    await club.plan()
    one.processor.say(SILENT)
    await club.until(BEGIN)
    await end_doubts(one)
    await club.until(BEGIN + 3 * DAY)
    assert [result for result, _ in (await club.payments())["20260131"]] == ["reversed", "approved"]


class Died(Exception):
    """The process is gone, as far as its plan knows."""


@pytest.mark.parametrize("when", ["before the intent", "before the outcome is told"])
async def test_a_crash_between_two_commits_charges_once(club: Members, one: Process, when: str):
    """Whoever comes next finds the attempt that had begun, looks its key up, and carries on from there."""
    await club.plan()
    charge, asked = club.charge, len(one.processor.asked)

    async def dying(orders):
        if when != "before the intent":
            await charge(orders)
        raise Died

    club.charge = dying
    one.now.now = BEGIN
    (job,) = await club.claimed()
    with pytest.raises(Died):
        await club.runner.run([job])
    assert await club.periods() == ["01-31 asked"]
    club.charge = charge
    await one.value("UPDATE jobs SET leased_until = '-infinity'")
    await club.work()
    assert await club.periods() == ["01-31 charged"] and await club.charged() == ["20260131"]
    assert len(one.processor.asked) == asked + 1


async def test_two_who_believe_that_the_job_is_theirs_charge_once(club: Members, one: Process):
    """At the same time, again and again; the second one learns of the first one's payment."""
    await club.plan(unit="day", count=10)
    other = Members(one, club.here)
    one.now.now = BEGIN + 20 * DAY
    held = one.processor.hold()
    (mine,) = await club.claimed("the first", lease=0.0)
    (theirs,) = await other.claimed("the second", lease=0.0)
    first = asyncio.create_task(club.runner.run([mine]))
    await held.arrived.wait()
    await other.runner.run([theirs])                          # nobody knows yet, says the key
    assert await one.value("SELECT count(*) FROM operations WHERE source = 'plan'") == 1
    held.release()
    await first
    for _ in range(20):
        await one.value("UPDATE jobs SET leased_until = '-infinity', due_at = $1 WHERE queue = 'plan'", one.now())
        several = await club.claimed(lease=0.0) + await other.claimed(lease=0.0)
        await both(*[(club, other)[place % 2].runner.run([job]) for place, job in enumerate(several)])
    assert await club.charged() == [f"{START + place * DAY:%Y%m%d}" for place in range(10)]
    assert (await club.standing())[0] == "ended"
    await one.prove()


async def test_who_comes_back_late_changes_nothing(club: Members, one: Process):
    """The decline that it brings was noted by another, who is at the next attempt already."""
    await club.plan()
    one.processor.say(Declined("51"))
    one.now.now = BEGIN
    charge, reached, going_on = club.charge, asyncio.Event(), asyncio.Event()

    async def sleepy(orders):
        charged = await charge(orders)
        reached.set()
        await going_on.wait()
        return charged

    club.charge = sleepy
    (job,) = await club.claimed(lease=0.0)
    late = asyncio.create_task(club.runner.run([job]))
    await reached.wait()
    club.charge = charge
    other = Members(one, club.here)
    await other.work()                                      # notes the decline
    one.now.now = BEGIN + 2 * DAY
    held = one.processor.hold()
    (job,) = await other.claimed()
    second = asyncio.create_task(other.runner.run([job]))
    await held.arrived.wait()
    going_on.set()
    await late
    assert await club.periods() == ["01-31 asked"] and len(await club.notices()) == 1
    held.release()
    await second
    assert await club.payments() == {"20260131": [("declined", 2500), ("approved", 2500)]}
    assert [told["notice"] for told in await club.notices()] == ["plan_failed", "plan_charged"]


async def test_a_reference_that_the_merchant_used_itself_is_not_taken_for_ours(club: Members, one: Process):
    """The plan goes on under the next number; the merchant's payment is neither counted nor charged again."""
    assert (await club.here.purchase(reference("20260131"), 100))["response_code"] == "14000"
    await club.plan()
    await club.until(BEGIN)
    assert await club.payments() == {"20260131": [("approved", 100), ("approved", 2500)]}
    assert club.orders == [reference("20260131"), reference("20260131", 2)] and await club.periods() == ["01-31 charged"]


async def test_a_database_that_is_away_is_waited_for(club: Members, one: Process):
    """The attempt had begun; it is carried out once the database is back, and only once."""
    await club.plan()
    one.now.now = BEGIN
    (job,) = await club.claimed()
    one.intent_wire.cut("INSERT INTO operations", "silently")
    await club.runner.run([job])
    await club.until(BEGIN + DAY)
    assert await club.charged() == ["20260131"] and await club.periods() == ["01-31 charged"]


# ------------------------------------------------------------------------------------------------------ keeping

async def test_a_paused_plan_skips_what_falls_due_or_charges_it_when_asked(one: Process):
    """Nothing happens meanwhile."""
    skips, charges = await members(one, "Skips"), await members(one, "Charges")
    for club in (skips, charges):
        await club.plan(unit="week")
    await skips.until(BEGIN + DAY)
    for club in (skips, charges):
        assert (await club.pause()).status == "paused" and isinstance(await club.pause(), NotNow)
    await skips.until(BEGIN + 20 * DAY)
    assert await skips.charged() == await charges.charged() == ["20260131"]
    await skips.resume()
    await charges.resume(charge_missed=True)
    await skips.until(BEGIN + 21 * DAY)
    assert await skips.periods() == ["01-31 charged", "02-07 skipped", "02-14 skipped", "02-21 charged"]
    assert await charges.periods() == ["01-31 charged", "02-07 charged", "02-14 charged", "02-21 charged"]


async def test_what_was_due_before_the_pause_is_not_skipped(club: Members, one: Process):
    """Nobody had come to it; its money is owed."""
    await club.plan(unit="week")
    one.now.now = BEGIN + 8 * DAY                           # a night without anybody, two due dates
    await club.pause()
    one.now.now = BEGIN + 15 * DAY
    await club.resume()
    await club.work()
    assert await club.periods() == ["01-31 charged", "02-07 charged", "02-14 skipped"]


async def test_an_amount_counts_from_the_next_due_date_a_card_at_once(club: Members, one: Process):
    """What is still to be tried again keeps its amount, and is tried with the new card without waiting."""
    await club.plan()
    one.processor.say(Declined("51"))
    await club.until(BEGIN + timedelta(hours=1))
    await club.card("T2", card_number="5555009900000000")
    await club.change(minor=3_000, token_name="T2")
    await club.work()
    assert await club.payments() == {"20260131": [("declined", 2500), ("approved", 2500)]}
    assert one.processor.asked[-1].pan.reveal() == "5555009900000000"
    await club.until(on(3, 1))
    assert (await club.payments())["20260228"] == [("approved", 3000)]


async def test_an_ended_plan_is_over(club: Members, one: Process):
    """What was still to be tried is dropped; nothing can bring it back."""
    await club.plan()
    one.processor.say(Declined("51"))
    await club.until(BEGIN)
    assert (await club.end()).reason == "says the test"
    await club.until(on(5, 1))
    assert await club.periods() == ["01-31 dropped"] and len(club.orders) == 1
    for refused in (await club.resume(), await club.pause(), await club.end(), await club.change(minor=1)):
        assert isinstance(refused, NotNow)
    assert isinstance(await club.end("none"), NotThere)


async def test_an_attempt_that_has_begun_is_finished_also_when_the_plan_was_ended(club: Members, one: Process):
    """Its money is told of."""
    await club.plan()
    one.now.now = BEGIN
    held = one.processor.hold()
    (job,) = await club.claimed()
    running = asyncio.create_task(club.runner.run([job]))
    await held.arrived.wait()
    await club.end()
    held.release()
    await running
    await club.work()
    assert await club.periods() == ["01-31 charged"] and (await club.standing())[0] == "ended"
    assert [told["notice"] for told in await club.notices()] == ["plan_ended", "plan_charged"]


async def test_what_the_door_refuses_pauses_the_plan_and_is_charged_once_it_is_mended(club: Members, one: Process):
    """A token that was switched off, a channel that is off: somebody has to do something, and hears what."""
    await club.plan()
    await club.here.ask(service_command="UPDATE_TOKEN", merchant_reference="off", token_name="T1", token_status="INACTIVE")
    await club.until(on(2, 3))
    status, reason = await club.standing()
    assert status == "paused" and reason.startswith("13044 ")
    assert await club.periods() == ["01-31 open"] and await club.payments() == {}
    await club.here.ask(service_command="UPDATE_TOKEN", merchant_reference="on", token_name="T1", token_status="ACTIVE")
    await one.directory.change("Club", {"channel_recurring": "off"})
    await club.resume()
    await club.work()
    assert (await club.standing())[1].startswith("00046")
    await one.directory.change("Club", {"channel_recurring": "on"})
    await club.resume()
    await club.work()
    assert await club.charged() == ["20260131"] and club.orders[-1] == reference("20260131")


#: What is wished for, and the field that is to blame.
WRONG = [
    ({"plan_id": "a.b"}, "plan_id"), ({"plan_id": "x" * 25}, "plan_id"), ({"kind": "barter"}, "kind"), ({"every": 0}, "every"),
    ({"unit": "fortnight"}, "unit"), ({"zone": "Mars/Olympus"}, "zone"), ({"zone": "../etc/passwd"}, "zone"), ({"start": None}, "start"),
    ({"start": date(2026, 1, 4)}, "start"), ({"anchor": 30}, "anchor"), ({"anchor": 32}, "anchor"), ({"minor": 0}, "amount"),
    ({"minor": 10**10}, "amount"), ({"missed": "perhaps"}, "missed"), ({"failed": "cry"}, "failed"), ({"notice_days": 61}, "notice_days"),
    ({"count": 0}, "count"), ({"until": date(2026, 1, 30)}, "until"), ({"currency": "XXL"}, "plan"), ({"email": "nobody"}, "plan"),
    ({"description": "a=b"}, "plan"), ({"token_name": "T9"}, "token_name"), ({"token_name": "FRESH"}, "token_name"),
    ({"token_name": "MADA"}, "token_name"), ({"kind": "invoice"}, "token_name"),
]


async def test_a_plan_that_could_not_be_charged_is_not_made(club: Members):
    """Each field by its name, with what it must be; and no plan twice."""
    await club.here.token("FRESH", card_number="5555009900000000")
    await club.here.token("MADA", card_number=MADA)
    await club.here.purchase("first-mada", token_name="MADA")
    for different, field in WRONG:
        answer = await club.plans.create(club.here.account, wish(**different))
        assert isinstance(answer, list) and [one.field for one in answer] == [field], (different, answer)
        assert answer[0].problem
    await club.plan()
    assert isinstance(await club.plans.create(club.here.account, wish()), NotNow)
    assert await club.one.value("SELECT count(*) FROM plans") == 1


# ------------------------------------------------------------------------------------------------------ invoices and notices

async def test_a_plan_may_send_invoices_instead(one: Process):
    """Each due date once, through a function that is handed in; asked again after a crash it gives the same link."""
    sent: list[date] = []

    async def invoice(merchant, plan, due_date: date, number: int) -> str:
        sent.append(due_date)
        if len(sent) == 1:
            raise Died
        return f"https://pay.example/{plan.plan_id}/{due_date}"

    club = await members(one, invoice=invoice)
    await club.plan(kind="invoice", token_name="", count=2)
    one.now.now = BEGIN
    (job,) = await club.claimed()
    with pytest.raises(Died):
        await club.runner.run([job])
    await one.value("UPDATE jobs SET leased_until = '-infinity'")
    await club.until(on(3, 1))
    assert sent == [START, START, date(2026, 2, 28)] and club.orders == []
    assert [(told["notice"], told.get("link")) for told in await club.notices()] == [
        ("plan_invoiced", "https://pay.example/gym/2026-01-31"), ("plan_invoiced", "https://pay.example/gym/2026-02-28"), ("plan_ended", None)]


async def test_an_invoice_whose_reference_is_anothers_goes_on_under_the_next(one: Process):
    """As a charge does: told, seen in the plan, and sent once; the merchant's own order stays what it is."""
    club = await members(one)
    await club.here.purchase(reference("20260131"), 100)
    await club.plan(kind="invoice", token_name="", count=1)
    await club.until(BEGIN)
    assert await club.periods() == ["01-31 invoiced"] and (await club.standing())[0] == "ended"
    shown = await club.plans.show(club.here.account, "gym", 1)
    assert [(each.attempt, each.result) for each in shown.attempts] == [(2, "sent"), (1, "taken")]
    assert [(told["notice"], told.get("merchant_reference"), told.get("attempt")) for told in await club.notices()] == [
        ("plan_renumbered", reference("20260131"), "1"), ("plan_invoiced", reference("20260131", 2), "2"), ("plan_ended", None, None)]
    assert "is another order's" in (await club.notices())[0]["reason"]
    assert await one.fetch("SELECT reference FROM links") == [(reference("20260131", 2),)]


async def test_a_plan_that_rested_over_a_taken_reference_goes_on_when_it_is_resumed(one: Process):
    """As one does that was paused when nobody knew how to go on."""
    club = await members(one)
    await club.plan(kind="invoice", token_name="", count=1)
    await one.directory.change("Club", {"link_email": "off"})
    await club.until(BEGIN)
    assert (await club.standing())[0] == "paused" and await club.periods() == ["01-31 open"]
    await club.here.purchase(reference("20260131"), 100)
    await one.directory.change("Club", {"link_email": "on"})
    await club.resume()
    await club.work()
    assert await club.periods() == ["01-31 invoiced"]


async def test_how_an_invoice_stands_is_shown(one: Process):
    """Sent, paid, expired: nothing of it is called approved."""
    club = await members(one)
    await club.plan(kind="invoice", token_name="", unit="week", count=3)
    await club.until(BEGIN)
    operator = Operator(plans.routes(guard(TOKEN), plans.Services(one.directory, club.plans, one.now)))

    async def stand() -> list[tuple[str, list[str]]]:
        periods = (await operator.ask("/admin/plans/Club/gym"))[1]["periods"]
        return [(period["invoice"], [attempt["result"] for attempt in period["attempts"]]) for period in periods]

    assert await stand() == [("sent", ["sent"])]
    await club.until(BEGIN + 7 * DAY)
    link = await links.by_reference(one.links, club.here.account, reference("20260131"))
    await pay(club.here, await links.open_(one.links, club.here.account, link.link_id, "Sara"))
    await club.until(BEGIN + 30 * DAY)
    assert await stand() == [("expired", ["sent"]), ("expired", ["sent"]), ("paid", ["sent"])]


async def test_a_notice_is_signed_and_told_once_and_in_order(club: Members, one: Process):
    """Before the due date, so many days as was asked for, and after it; the endpoint's job is woken with it."""
    await club.plan(notice_days=5, count=2)
    await club.until(on(3, 1))
    told = await club.notices()
    assert [(one["notice"], one["occurred_at"][:10], one["sequence"]) for one in told] == [
        ("plan_upcoming", "2026-01-26", "1"), ("plan_charged", "2026-01-31", "2"), ("plan_upcoming", "2026-02-23", "3"),
        ("plan_charged", "2026-02-28", "4"), ("plan_ended", "2026-02-28", "5")]
    assert all(one["signature"] == signature.sign(one, "say-Club") for one in told)
    charged = told[1]
    assert charged["fort_id"] == str(await one.value("SELECT payment_id FROM operations WHERE reference = $1", reference("20260131")))
    assert (charged["amount"], charged["currency"], charged["due_date"], charged["merchant_reference"]) == (
        "2500", "AED", "2026-01-31", reference("20260131"))
    assert await one.value("SELECT url FROM endpoints WHERE door = 'plans'") == PLAN_URL
    assert await one.value("SELECT count(*) FROM jobs WHERE queue = 'delivery'") == 1


async def test_who_has_no_address_is_told_nothing(one: Process):
    """And is charged all the same."""
    club = await members(one, "Silent", plan_url="")
    await club.plan(notice_days=5)
    await club.until(BEGIN)
    assert await club.notices() == [] and await club.charged() == ["20260131"]


async def test_what_comes_is_shown_as_it_stands(club: Members, one: Process):
    """Due dates and retries, the next first, over all plans."""
    await club.plan()
    await club.plan("weekly", unit="week", count=2)
    one.processor.say(Declined("51"))
    await club.until(BEGIN)
    found = await club.plans.due(None, on(3, 1), 100)
    assert [(each.plan.plan_id, f"{each.at:%m-%d}", each.what) for each in found] == [
        ("gym", "02-02", "retry"), ("weekly", "02-07", "charge"), ("gym", "02-28", "charge")]


async def test_no_merchant_waits_for_anothers_plans(one: Process):
    """Of thousands due at once, the other merchant's one is in the second handful at the latest."""
    crowd, single = await members(one, "Crowd"), await members(one, "Single")
    await single.plan()
    await one.value("INSERT INTO jobs (merchant_id, queue, subject, payment_id, due_at) "
                    "SELECT $1, 'plan', n, 0, $2 FROM generate_series(1000, 3999) n RETURNING 1", crowd.number, BEGIN)
    one.now.now = BEGIN
    as_run, handfuls, after = queue(crowd.runner), [], -1
    for _ in range(2):
        taken = await jobs.claim(
            one.pool, "plan", now=BEGIN, holder="x", lease=10.0, per_merchant=as_run.per_merchant, limit=as_run.at_once, after=after)
        after = taken[-1].merchant_id
        handfuls.append({job.merchant_id for job in taken})
    assert crowd.number < single.number and handfuls == [{crowd.number}, {single.number, crowd.number}]


async def test_two_merchants_may_call_their_plans_the_same(one: Process):
    """Names, numbers and references are a merchant's own."""
    for identifier in ("North", "South"):
        club = await members(one, identifier)
        await club.plan()
        await club.until(BEGIN)
        assert await club.charged() == ["20260131"]
        one.now.now = NOW
    other = await shop(one, "West")
    assert isinstance(await club.plans.pause(other.account, "gym", "not mine"), NotThere)
