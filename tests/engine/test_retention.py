"""Retention on a real database: what goes and when, what stays because something needs it, and that nothing else notices."""
from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringfence.background.retention import once_a_day
from ringfence.core.card import check_digit
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from ringfence.engine import retention
from ringfence.engine.key_sources import KeySource
from ringfence.engine.retention import Policy, Refused, Report
from ringfence.engine.rotation import rotate
from ringfence.engine.vault import NotFound, Token
from ringfence.storage import retention as rows
from ringfence.storage.retention import PaymentName
from tests.background.planning import members
from tests.engine.composition import CARD, MASTER_KEY, NOW, Process, Shop, process, shop

pytestmark = pytest.mark.anyio

POLICY = Policy(card_days=100, personal_days=200, delivery_days=10)
DAY = timedelta(days=1)
OTHER = "4000009900000012"
SECRETS = (CARD["card_number"], "TAHIRA EXAMPLE", "tahira@shop.example")


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database) as running:
        yield running


@pytest.fixture
async def here(one: Process) -> Shop:
    return await shop(one)


async def run(one: Process, **options: Any) -> dict[str, int]:
    """One run at the present business time: how many of what went."""
    report = await retention.run(one.pool, POLICY, one.now(), **options)
    assert isinstance(report, Report), report
    return {line.what: line.count for line in report.lines}


async def follow(one: Process) -> None:
    """Every event was handed out."""
    await one.fetch(
        "INSERT INTO follows SELECT lane, max(number) FROM batches GROUP BY lane ON CONFLICT (lane) DO UPDATE SET number = excluded.number")


async def erase(one: Process, payment_id: int, **options: Any) -> Report | Refused:
    """Erase one payment, by its id; its events were handed out."""
    await follow(one)
    (name,) = await retention.named(one.pool, str(payment_id), ())
    return await retention.run(one.pool, POLICY, one.now(), payment=name, **options)


async def erased(one: Process) -> list[bool]:
    """For each card, oldest first, whether it is erased; an erased one has brand and digits left and nothing else."""
    found = []
    for card in await one.fetch("SELECT * FROM cards ORDER BY card_id"):
        gone = [card[name] is None for name in ("ciphertext", "wrapped_key", "key_id", "fingerprint_odd")]
        assert gone in ([True] * 4, [False] * 4) and gone[0] == (card["erased_at"] is not None)
        assert card["brand"] and card["bin"] and card["last4"]
        found.append(gone[0])
    return found


async def everything_stored(one: Process) -> str:
    """Every row of every table, as text; bytes in clear."""
    tables = await one.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    text = []
    for (table,) in tables:
        for row in await one.fetch(f"SELECT * FROM {table}"):
            text += [value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row.values()]
    return "\n".join(text)


async def deliver(one: Process, payment_id: int, sequence: int, state: str, *, body: bytes = b"{}") -> None:
    """A delivery of a payment's event with one attempt behind it, made now; ended now unless it waits."""
    merchant_id = await one.value("SELECT merchant_id FROM operations WHERE payment_id = $1", payment_id)
    await one.fetch(
        "INSERT INTO endpoints (merchant_id, endpoint_id, door, url, schedule, accepts, at_once, in_order, seconds, created_at)"
        " VALUES ($1, 1, 'aps', 'https://shop.example/', '{10}', '{302}', 10, false, 10, $2) ON CONFLICT DO NOTHING", merchant_id, one.now())
    await one.fetch(
        "INSERT INTO deliveries (merchant_id, endpoint_id, payment_id, sequence, event, purpose, content_type, body, state, next_at,"
        " created_at, ended_at) VALUES ($1, 1, $2, $3, 'purchase_approved', 'feedback', 'application/json', $4, $5, $6, $6, $7)",
        merchant_id, payment_id, sequence, body, state, one.now(), None if state == "waiting" else one.now())
    await one.fetch(
        "INSERT INTO delivery_attempts VALUES ($1, 1, $2, $3, 1, $4, 'https://shop.example/', '192.0.2.1', 200, '', 5, $5)",
        merchant_id, payment_id, sequence, one.now(), body)


# -- cards

async def test_a_card_goes_when_nothing_needs_it_and_nothing_else_notices(one: Process, here: Shop):
    """Brand and digits stay.  The proof holds, a refund cites the original, the number pays again under a new record, and a
    rotation passes over what is empty."""
    await here.purchase("OLD-1", "1000")
    assert await run(one) == {
        "cards": 0, "authentications": 0, "details": 0, "holders": 0, "plans": 0, "links": 0, "agreements": 0, "trips": 0, "deliveries": 0, "notices": 0,
        "sdk_tokens": 0, "evidence": 0,
            "reports": 0}
    one.now.now += 101 * DAY
    await one.prove()
    assert (await run(one))["cards"] == 1 and await erased(one) == [True]
    await one.prove()
    assert (await run(one))["cards"] == 0
    assert (await here.refund("OLD-1", "1000"))["response_code"] == "06000"
    assert one.processor.asked[-1].pan is None and one.processor.asked[-1].original is not None
    assert (await here.purchase("NEW-1", "1000"))["response_code"] == "14000"
    assert await erased(one) == [True, False]
    following = KeySource({"RINGFENCE_MASTER_KEY": MASTER_KEY, "RINGFENCE_MASTER_KEY_NEXT": base64.b64encode(os.urandom(32)).decode()})
    assert (await rotate(one.pool, following)).cards == 1
    await one.prove()


async def holds(one: Process, here: Shop) -> None:
    await here.authorize("P-1", "1000")


async def in_doubt(one: Process, here: Shop) -> None:
    one.processor.say(Unknown(Silence.NO_ANSWER))
    await here.purchase("P-1", "1000")


async def under_way(one: Process, here: Shop) -> None:
    """A refund whose owner died: it is pending, and was never answered."""
    await here.purchase("P-1", "1000")
    await one.fetch("UPDATE payments SET pending_refund = 400")


async def never_answered(one: Process, here: Shop) -> None:
    await here.purchase("P-1", "1000")
    await one.fetch("DELETE FROM payments")


async def disputed(one: Process, here: Shop) -> None:
    payment_id = int((await here.purchase("P-1", "1000"))["fort_id"])
    await one.engine.notice(here.account.merchant_id, payment_id, "scripted", Notice(Noticed.CHARGEBACK, "case-1", 400, payment_id))


async def has_a_token(one: Process, here: Shop) -> None:
    await here.token("Kept")
    await here.purchase("P-1", "1000", token_name="Kept")


async def reversal_owed(one: Process, here: Shop) -> None:
    one.processor.acknowledges = False
    one.processor.say(Approved(600, response_code="10"))
    await here.purchase("P-1", "1000")
    await one.engine.idle()


@pytest.mark.parametrize("situation", [holds, in_doubt, under_way, never_answered, disputed, has_a_token, reversal_owed])
async def test_a_card_stays_while_something_needs_it(one: Process, here: Shop, situation: Callable[[Process, Shop], Awaitable[None]]):
    """However old it is: an open hold, a doubt, an operation under way, a dispute, an active token, a reversal that is owed."""
    await situation(one, here)
    one.now.now += 1000 * DAY
    assert (await run(one))["cards"] == 0 and await erased(one) == [False]


async def test_captured_money_keeps_its_card_for_the_days_of_the_policy(one: Process, here: Shop):
    """Counted from the payment's last change, to the day."""
    await here.purchase("P-1", "1000")
    one.now.now += 60 * DAY
    await here.refund("P-1", "400")
    one.now.now += 100 * DAY - timedelta(seconds=1)
    assert (await run(one))["cards"] == 0
    one.now.now += timedelta(seconds=1)
    assert (await run(one))["cards"] == 1


async def test_a_card_nobody_paid_with_stays_for_a_day(one: Process, here: Shop):
    """A declined payment needs nothing any more; but whoever just used a card may use it at once again."""
    one.processor.say(Declined("51"))
    await here.purchase("P-1", "1000")
    one.now.now += DAY - timedelta(seconds=1)
    assert (await run(one))["cards"] == 0
    one.now.now += timedelta(seconds=1)
    assert (await run(one))["cards"] == 1


async def test_a_payment_that_comes_while_cards_are_looked_through_keeps_its_card(
    one: Process, here: Shop, monkeypatch: pytest.MonkeyPatch
):
    """Both are chosen; before they are held one is paid with again, and a token of the other is switched on."""
    await here.purchase("P-1", "1000")
    await here.token("Other", card_number=OTHER)
    await here.purchase("P-3", "1000", card_number="4000009900000020")
    merchant_id = here.account.merchant_id
    await one.vault.update_token(merchant_id, "Other", active=False)
    one.now.now += 101 * DAY
    assert (await run(one, dry_run=True))["cards"] == 3
    hold = rows.hold_cards

    async def interrupted(*args: Any) -> list[int]:
        monkeypatch.setattr(rows, "hold_cards", hold)
        await here.purchase("P-4", "1000")
        assert isinstance(await one.vault.update_token(merchant_id, "Other", active=True), Token)
        return await hold(*args)

    monkeypatch.setattr(rows, "hold_cards", interrupted)
    assert (await run(one))["cards"] == 1
    assert await erased(one) == [False, False, True]


async def test_a_card_that_somebody_holds_waits_for_the_next_run(one: Process, here: Shop):
    """Erasing never waits for a payment's commit."""
    await here.purchase("P-1", "1000")
    one.now.now += 101 * DAY
    async with one.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM cards FOR SHARE")
        assert (await run(one))["cards"] == 0
    assert (await run(one))["cards"] == 1


async def test_a_token_is_not_switched_on_once_its_card_is_erased(one: Process, here: Shop):
    """It is not found; other changes of it are nobody's concern.  Nor does an erased record get another name."""
    await here.token("Gone")
    merchant_id = here.account.merchant_id
    await one.vault.update_token(merchant_id, "Gone", active=False)
    one.now.now += 101 * DAY
    assert (await run(one))["cards"] == 1
    assert await one.vault.update_token(merchant_id, "Gone", active=True) == NotFound("Gone")
    assert isinstance(await one.vault.update_token(merchant_id, "Gone", holder="NOBODY"), Token)
    assert (await here.pay("PURCHASE", "P-2", token_name="Gone"))["status"] == "13"
    assert await one.value("SELECT active FROM tokens") is False


async def test_of_a_number_that_was_never_kept_the_fingerprint_goes(one: Process, here: Shop):
    """Then there is no way back from a record to a number."""
    await here.purchase("P-1", "1000", card_number="4111111111111111")
    one.now.now += 101 * DAY
    assert (await run(one))["cards"] == 1
    assert await erased(one) == [True]


# -- everything else

async def test_what_doors_echo_goes_with_age_and_not_while_somebody_has_to_be_told(one: Process, here: Shop):
    """The details of settled payments; one with a waiting delivery, one in doubt and one that changed lately keep theirs."""
    settled = int((await here.purchase("P-1", "1000"))["fort_id"])
    await here.refund("P-1", "400")
    told = int((await here.purchase("P-2", "1000"))["fort_id"])
    await deliver(one, told, 1, "waiting")
    one.processor.say(Unknown(Silence.NO_ANSWER))
    await here.purchase("P-3", "1000")
    one.now.now += 100 * DAY
    await here.purchase("P-4", "1000")
    one.now.now += 100 * DAY
    assert (await run(one))["details"] == 2
    kept = await one.fetch("SELECT payment_id, reference, details IS NULL AS gone, content FROM operations ORDER BY operation_id")
    assert [(row["reference"], row["gone"]) for row in kept] == [("P-1", True), ("P-1", True), ("P-2", False), ("P-3", False), ("P-4", False)]
    assert kept[0]["payment_id"] == settled and kept[0]["content"]
    await one.prove()
    assert (await here.status("P-1"))["response_code"] == "12000"


async def test_names_behind_tokens_go_once_they_are_switched_off_and_old(one: Process, here: Shop):
    """An active token keeps its holder's name."""
    for name in ("On", "Off", "Young"):
        await here.token(name, card_holder_name="TAHIRA EXAMPLE")
        if name == "Off":
            one.now.now += DAY
    for name in ("Off", "Young"):
        await one.vault.update_token(here.account.merchant_id, name, active=False)
    one.now.now += 200 * DAY - timedelta(hours=1)
    assert (await run(one))["holders"] == 1
    assert {row["token_name"]: row["holder"] for row in await one.fetch("SELECT token_name, holder FROM tokens")} == {
        "On": "TAHIRA EXAMPLE", "Off": "", "Young": "TAHIRA EXAMPLE"}


async def test_the_customer_of_a_plan_is_forgotten_once_it_is_over_and_old(one: Process):
    """One that goes on, or was ended a short while ago, knows whom it charges."""
    club = await members(one)
    for name in ("old", "young", "active"):
        await club.plan(name)
    await club.end("old")
    one.now.now += DAY
    await club.end("young")
    one.now.now += 200 * DAY - timedelta(hours=1)
    assert (await run(one, dry_run=True))["plans"] == (await run(one))["plans"] == 1 and (await run(one))["plans"] == 0
    assert {row["plan_id"]: (row["email"], row["description"]) for row in await one.fetch("SELECT plan_id, email, description FROM plans")} == {
        "old": ("", ""), "young": ("sara@example.com", "Gym one month"), "active": ("sara@example.com", "Gym one month")}


async def test_body_and_log_of_a_delivery_go_after_its_end_and_the_delivery_stays(one: Process, here: Shop):
    """One that waits keeps both, however old it is."""
    payment_id = int((await here.purchase("P-1", "1000"))["fort_id"])
    for sequence, state in enumerate(("delivered", "given_up", "waiting"), 1):
        await deliver(one, payment_id, sequence, state)
    one.now.now += 10 * DAY - timedelta(seconds=1)
    assert (await run(one))["deliveries"] == 0
    one.now.now += timedelta(seconds=1)
    assert (await run(one))["deliveries"] == 2
    assert [row[0] for row in await one.fetch("SELECT body IS NULL FROM deliveries ORDER BY sequence")] == [True, True, False]
    assert [row[0] for row in await one.fetch("SELECT sequence FROM delivery_attempts")] == [3]


async def test_tokens_of_devices_go_a_day_after_their_end(one: Process, here: Shop):
    """By the sandbox's clock."""
    answer = await here.ask(service_command="SDK_TOKEN", device_id="device-1")
    assert answer["status"] == "22"
    (row,) = await one.fetch("SELECT * FROM sdk_tokens")
    one.now.now = row["expires_at"] + DAY - timedelta(seconds=1)
    assert (await run(one))["sdk_tokens"] == 0
    one.now.now += timedelta(seconds=1)
    assert (await run(one))["sdk_tokens"] == 1
    assert await one.fetch("SELECT * FROM sdk_tokens") == []


async def test_a_dry_run_says_the_same_numbers_and_changes_nothing(one: Process, here: Shop, monkeypatch: pytest.MonkeyPatch):
    """Also where there is more of everything than fits in one commit, and for two merchants."""
    monkeypatch.setattr(retention, "CHUNK", 3)
    monkeypatch.setattr(retention, "PAGE", 5)
    other = await shop(one, "OtherOne")
    for merchant in (here, other):
        for n in range(8):
            await merchant.token(f"T{n}", card_number=_number(n), card_holder_name="TAHIRA EXAMPLE")
            made = await merchant.purchase(f"P-{n}", "1000", card_number=_number(n))
            await deliver(one, int(made["fort_id"]), 1, "delivered")
            await merchant.ask(service_command="SDK_TOKEN", device_id=f"device-{n}")
            if n:
                await one.vault.update_token(merchant.account.merchant_id, f"T{n}", active=False)
    one.now.now += 300 * DAY
    before = await everything_stored(one)
    would = await run(one, dry_run=True)
    assert would == {
        "cards": 14, "authentications": 0, "details": 16, "holders": 14, "plans": 0, "links": 0, "agreements": 0, "trips": 0, "deliveries": 16, "notices": 0,
        "sdk_tokens": 16, "evidence": 0,
            "reports": 0}
    shown = await retention.show(one.pool, POLICY, one.now())
    assert {line.what: line.count for line in shown.lines} == would and all(line.reason for line in shown.lines)
    assert await everything_stored(one) == before
    assert await run(one) == would
    assert set((await run(one)).values()) == {0}
    await one.prove()


def _number(n: int) -> str:
    digits = f"400000990001{n:03d}"
    return digits + check_digit(digits)


# -- one payment

async def test_what_was_asked_to_be_forgotten_is_found_nowhere(one: Process, here: Shop):
    """Number, name and e-mail address of a payment that somebody asked to be erased; of another payment nothing is missing."""
    payment_id = int((await here.purchase("P-1", "1000", card_holder_name=SECRETS[1], customer_email=SECRETS[2]))["fort_id"])
    await here.refund("P-1", "400")
    await here.purchase("P-2", "1000", card_number=OTHER, customer_email="other@shop.example")
    await deliver(one, payment_id, 1, "delivered", body=SECRETS[2].encode())
    await follow(one)
    planted = await everything_stored(one)
    assert SECRETS[2] in planted and "other@shop.example" in planted
    would = await erase(one, payment_id, dry_run=True)
    assert await everything_stored(one) == planted
    done = await erase(one, payment_id)
    assert isinstance(done, Report) and isinstance(would, Report) and done.lines == would.lines
    assert [(line.what, line.count) for line in done.lines] == [("cards", 1), ("details", 2), ("deliveries", 1)]
    left = await everything_stored(one)
    assert not [secret for secret in SECRETS if secret in left] and "other@shop.example" in left
    assert await erased(one) == [True, False]
    assert (await here.refund("P-1", "600"))["response_code"] == "06000"
    await one.prove()


@pytest.mark.parametrize(("situation", "why"), [
    (holds, "10.00 AED of its hold are open"), (in_doubt, "1 of its operations are in doubt"), (under_way, "under way"),
    (never_answered, "no outcome yet"), (disputed, "dispute"), (reversal_owed, "has not acknowledged a reversal"),
])
async def test_a_payment_about_which_something_is_open_is_not_erased(
    one: Process, here: Shop, situation: Callable[[Process, Shop], Awaitable[None]], why: str
):
    """The refusal says what; nothing is changed."""
    await situation(one, here)
    payment_id = await one.value("SELECT payment_id FROM operations ORDER BY operation_id LIMIT 1")
    await follow(one)
    before = await everything_stored(one)
    refused = await erase(one, payment_id)
    assert isinstance(refused, Refused) and why in refused.reason, refused
    assert await everything_stored(one) == before


async def test_a_payment_whose_delivery_waits_is_not_erased(one: Process, here: Shop):
    """First it is told, or given up."""
    payment_id = int((await here.purchase("P-1", "1000"))["fort_id"])
    await deliver(one, payment_id, 1, "waiting")
    refused = await erase(one, payment_id)
    assert isinstance(refused, Refused) and "a delivery of it waits" in refused.reason


async def test_a_payment_whose_event_was_not_handed_out_is_not_erased(one: Process, here: Shop):
    """Whoever words it needs what would go: the merchant would never be told."""
    await here.purchase("P-0", "1000")
    await follow(one)
    payment_id = int((await here.purchase("P-1", "1000", customer_email=SECRETS[2]))["fort_id"])
    (name,) = await retention.named(one.pool, str(payment_id), ())
    refused = await retention.run(one.pool, POLICY, one.now(), payment=name)
    assert isinstance(refused, Refused) and "was not handed out yet" in refused.reason
    assert SECRETS[2] in await everything_stored(one)
    assert isinstance(await erase(one, payment_id), Report)


async def test_a_card_that_another_payment_or_a_token_needs_stays_when_one_payment_is_erased(one: Process, here: Shop):
    """The report says so."""
    first = int((await here.purchase("P-1", "1000"))["fort_id"])
    second = int((await here.purchase("P-2", "1000"))["fort_id"])
    report = await erase(one, first)
    assert isinstance(report, Report) and report.lines[0] == ("cards", "another payment or a token needs its card", 0)
    await here.token("Kept", card_number=OTHER)
    await here.purchase("P-3", "1000", card_number=OTHER)
    third = await one.value("SELECT payment_id FROM operations WHERE reference = 'P-3'")
    report = await erase(one, third)
    assert isinstance(report, Report) and report.lines[0].count == 0
    assert await erased(one) == [False, False]
    one.now.now += 101 * DAY
    report = await erase(one, second)
    assert isinstance(report, Report) and report.lines[0] == ("cards", "nothing else needs its card", 1)


async def test_a_payment_is_named_by_its_id_or_by_what_its_door_calls_it(one: Process, here: Shop):
    """Of all merchants or of one; what means nothing means nothing."""
    other = await shop(one, "OtherOne")
    mine, others = [int((await merchant.purchase("SAME", "1000"))["fort_id"]) for merchant in (here, other)]
    numbers = here.account.merchant_id, other.account.merchant_id
    both = [PaymentName(numbers[0], "CycHZxVj", mine), PaymentName(numbers[1], "OtherOne", others)]
    assert await retention.named(one.pool, "SAME", ["aps:SAME"]) == both
    assert await retention.named(one.pool, "SAME", ["aps:SAME"], "OtherOne") == both[1:]
    assert await retention.named(one.pool, str(mine), [f"aps:{mine}"]) == both[:1]
    for nothing in ("", "0", "-1", "9" * 30, "\u0663", "x y"):
        assert await retention.named(one.pool, nothing, [f"aps:{nothing}"]) == []


# -- once a day

async def test_the_chore_erases_once_in_a_business_day(one: Process, here: Shop):
    """The first look begins the day; what becomes due within it waits for the next."""
    assert await once_a_day(one.pool, POLICY, one.now()) == 0
    one.processor.say(Declined("51"))
    await here.purchase("P-1", "1000")
    assert await once_a_day(one.pool, POLICY, one.now() + DAY - timedelta(seconds=1)) == 0
    assert await once_a_day(one.pool, POLICY, one.now() + DAY) == 1
    assert await once_a_day(one.pool, POLICY, one.now() + DAY) == 0
    assert await one.value("SELECT done_until FROM sweeps WHERE job = 'retention'") == NOW + DAY
    assert (await one.value("SELECT erased_at FROM cards")) <= datetime.now(UTC)
