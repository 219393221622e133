"""TOKENIZATION and the payment that follows (6.2, 6.3, 7): temporary tokens, codes that wait, one token for a card."""
from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ringfence.api.aps.notifications import notifier
from ringfence.background import temporary_tokens
from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from ringfence.engine import feed
from ringfence.engine.code_box import LocalCodeBox, SocketCodeBox
from ringfence.engine.retention import Policy
from ringfence.engine.retention import run as erase
from tests.api.aps.tokenizing import token_of, tokenize
from tests.engine.code_keeping import kept
from tests.engine.composition import CARD, FOREIGN, Process, Shop, Time, process, shop

pytestmark = pytest.mark.anyio

OTHER = "5123450000000008"
THIRD = "5123450000000040"
HOUR = timedelta(hours=1)


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database, now=Time(), recovers=True) as running:
        yield running


@pytest.fixture
async def two(database: str, one: Process) -> AsyncIterator[Process]:
    """Another worker on the same database, box and clock; its issuer is the first one's."""
    async with process(database, 2, now=one.now, code_box=one.code_box) as running:
        running.processor = one.processor
        running.engine._processors = one.engine._processors
        yield running


@pytest.fixture
async def here(one: Process) -> Shop:
    return await shop(one)


@pytest.fixture
async def there(here: Shop, two: Process) -> Shop:
    """The same shop, its requests reaching the other worker."""
    await two.directory.refresh()
    return here.at(two)


@pytest.fixture
async def single(one: Process) -> Shop:
    """A shop where one card has one token."""
    return await shop(one, "Single", unique_token="on")


async def pay(shop: Shop, reference: str, token: str, **fields: Any) -> str:
    return (await shop.purchase(reference, token_name=token, **fields))["response_code"]


async def listed(shop: Shop) -> dict[str, str]:
    """Names and masked numbers of the tokens that are the merchant's."""
    answer = await shop.ask(query_command="GET_TOKENS")
    return {row["token_name"]: row["card_number"] for row in answer.get("data", [])}


async def retire(one: Process) -> int:
    """What the background does."""
    return await temporary_tokens.retire(one.pool, [merchant.merchant_id for merchant in one.directory.merchants()], one.now())


def codes(one: Process) -> list[str | None]:
    """The security codes that the issuer was asked with."""
    return [message.security_code and message.security_code.reveal() for message in one.processor.asked]


# -- the flow

async def test_the_answer_shows_the_token_and_the_card_masked(here: Shop):
    """6.2: everything a shop goes on with, and nothing secret."""
    made = await tokenize(here, "ORD-1", card_holder_name="A. Payer", remember_me="YES", return_url="https://shop.example/back?a=1&b=2")
    assert made == {
        "service_command": "TOKENIZATION", "access_code": here.access_code, "merchant_identifier": here.identifier, "language": "en",
        "merchant_reference": "ORD-1", "token_name": made["token_name"], "card_number": "400000******0004", "expiry_date": "3512",
        "card_bin": "400000", "card_holder_name": "A. Payer", "remember_me": "YES", "return_url": "https://shop.example/back?a=1&b=2",
        "response_code": "18000", "response_message": "Success", "status": "18",
    }
    assert len(made["token_name"]) == 32


async def test_the_payment_that_follows_is_sent_with_the_code_of_the_form(here: Shop, there: Shop, one: Process):
    """On whichever worker, with the same reference, once; then the token is a saved card like any other."""
    token = await token_of(here, "ORD-1")
    assert await listed(here) == {}, "not the merchant's before a payment succeeded"
    assert await pay(there, "ORD-1", token) == "14000"
    assert await pay(here, "ORD-2", token) == "14000"
    assert codes(one) == ["739", None]
    assert list(await listed(here)) == [token]
    assert await pay(there, "ORD-1", token) == "13007", "the order was paid: nobody is told that it was not"


@pytest.mark.parametrize("command", ["AUTHORIZATION", "PURCHASE"])
async def test_a_temporary_token_is_good_for_its_own_order(here: Shop, one: Process, command: str):
    """A token used without having been created for this flow: 088; nobody is asked, and its own order can still be paid."""
    token = await token_of(here, "ORD-1")
    failure = {"AUTHORIZATION": "03", "PURCHASE": "13"}[command]
    assert (await here.pay(command, "ORD-2", token_name=token))["response_code"] == failure + "088"
    assert (await here.pay(command, "ORD-1", token_name=token, eci="RECURRING"))["response_code"] == {"AUTHORIZATION": "00112", "PURCHASE": "13088"}[command]
    assert one.processor.asked == []
    assert (await here.pay(command, "ORD-1", token_name=token))["response_code"][2:] == "000"


async def test_a_tokenization_does_not_use_up_the_reference(here: Shop, one: Process):
    """The payer corrects the number: each form makes its token, and each code belongs to its own."""
    first = await token_of(here, "ORD-1", card_security_code="111")
    second = await token_of(here, "ORD-1", card_number=OTHER, card_security_code="222")
    assert await pay(here, "ORD-1", second) == "14000"
    assert (codes(one), one.processor.asked[0].pan.reveal()) == (["222"], OTHER)
    assert await pay(here, "ORD-1", first) == "13007"


async def test_a_code_in_the_payment_itself_comes_first(here: Shop, one: Process):
    token = await token_of(here, "ORD-1")
    assert await pay(here, "ORD-1", token, card_security_code="555") == "14000"
    assert codes(one) == ["555"]


async def test_a_form_without_a_code_needs_none(here: Shop, one: Process):
    token = await token_of(here, "ORD-1", card_security_code=None)
    assert await pay(here, "ORD-1", token) == "14000"
    assert codes(one) == [None]


async def test_a_code_that_is_gone_ends_the_payment_before_it_is_sent(here: Shop, one: Process):
    """The supervisor was started anew, or a quarter of an hour has passed: the card is entered again, for the same order."""
    token = await token_of(here, "ORD-1")
    one.code_box._codes.clear()
    assert await pay(here, "ORD-1", token) == "13778"
    assert one.processor.asked == [] and (await here.status("ORD-1"))["response_code"] == "12036"
    again = await token_of(here, "ORD-1")
    assert await pay(here, "ORD-1", again) == "14000"


async def test_a_refusal_of_the_brand_leaves_the_code_where_it_waits(here: Shop, one: Process):
    """Nobody is asked, and the payment that says it right is sent with the code."""
    token = await token_of(here, "ORD-1")
    assert await pay(here, "ORD-1", token, payment_option="MASTERCARD") == "13110"
    assert await pay(here, "ORD-1", token, payment_option="VISA") == "14000"
    assert codes(one) == ["739"]


async def test_without_a_box_no_token_is_made(here: Shop, one: Process, tmp_path: Path):
    """A code that cannot wait is never simply left out: the payer hears at once that it did not work."""
    one.api._service = replace(one.api._service, code_box=SocketCodeBox(tmp_path))
    assert (await tokenize(here, "ORD-1"))["response_code"] == "17006"
    assert await one.value("SELECT count(*) FROM tokens") == 0
    assert await pay(here, "ORD-2", await token_of(here, "ORD-2", card_security_code=None)) == "14000"


async def test_two_workers_share_the_supervisors_box(database: str, short_folder: Path):
    """Over the real socket: the form reaches one worker, fifty payments of the order both; one is sent, with the code."""
    with kept(short_folder):
        async with process(database, 1, code_box=SocketCodeBox(short_folder, seconds=30)) as one:
            here = await shop(one)
            async with process(database, 2, now=one.now, code_box=SocketCodeBox(short_folder, seconds=30)) as two:
                two.engine._processors = one.engine._processors
                there = here.at(two)
                token = await token_of(here, "ORD-1")
                told = await asyncio.gather(*(pay((here, there)[n % 2], "ORD-1", token) for n in range(50)))
                assert set(told) <= {"13778", "13007", "14000"} and told.count("14000") == 1
                assert codes(one) == ["739"]


# -- which tokens stay

@pytest.mark.parametrize(("form", "payment", "stays"), [
    ({}, {}, True), ({"remember_me": "YES"}, {"remember_me": "YES"}, True), ({}, {"remember_me": "NO"}, False), ({"remember_me": "NO"}, {}, False),
])
async def test_a_token_stays_once_it_was_paid_with_and_the_payer_does_not_mind(here: Shop, form: dict, payment: dict, stays: bool):
    token = await token_of(here, "ORD-1", **form)
    assert await pay(here, "ORD-1", token, **payment) == "14000"
    assert (token in await listed(here)) is stays
    assert await pay(here, "ORD-2", token) == ("14000" if stays else "13088")


async def test_a_declined_payment_leaves_the_token_temporary(here: Shop, one: Process):
    token = await token_of(here, "ORD-1")
    one.processor.say(Declined("05"))
    assert await pay(here, "ORD-1", token) == "13666"
    assert await listed(here) == {} and await pay(here, "ORD-2", token) == "13088"


async def test_a_payment_in_doubt_decides_when_the_doubt_ends(here: Shop, one: Process):
    """Nobody knows at first; recovery finds the approval, long after the token was retired: it is there to stay."""
    one.processor.capabilities = one.processor.capabilities._replace(inquiry=True)
    one.processor.say(Unknown(Silence.NO_ANSWER))
    token = await token_of(here, "ORD-1", card_holder_name="A. Payer")
    assert await pay(here, "ORD-1", token) == "15777"
    one.now.now += 2 * HOUR
    assert await retire(one) == 1
    assert await pay(here, "ORD-2", token) == "13044"
    one.processor.find(Approved(1000, "123456", "ref", "scheme"))
    view = await one.reading.view_by_key(here.account.merchant_id, "aps:ORD-1")
    assert view is not None and await one.engine.resolve(here.account.merchant_id, view.payment_id)
    assert (await here.status("ORD-1"))["transaction_code"] == "14000"
    assert await pay(here, "ORD-2", token) == "14000" and list(await listed(here)) == [token]


async def test_a_token_nobody_paid_with_is_retired_and_its_card_erased(here: Shop, one: Process):
    """After the merchant's time for it, in business time; retention then takes the number.  What was paid with stays."""
    lost, used = await token_of(here, "ORD-1"), await token_of(here, "ORD-2", card_number=OTHER)
    assert await pay(here, "ORD-2", used) == "14000"
    one.now.now += HOUR - timedelta(seconds=1)
    assert await retire(one) == 0
    one.now.now += timedelta(seconds=1)
    assert await retire(one) == 1
    assert await pay(here, "ORD-1", lost) == "13044" and await pay(here, "ORD-3", used) == "14000"
    one.now.now += timedelta(days=2)
    assert await retire(one) == 2, "what the two tokenizations left"
    await erase(one.pool, Policy(), one.now())
    assert [tuple(row) for row in await one.fetch("SELECT last4, erased_at IS NULL FROM cards ORDER BY card_id")] == [("0004", False), ("0008", True)]
    assert await here.code(service_command="UPDATE_TOKEN", merchant_reference="U", token_name=lost, token_status="ACTIVE") == "59044"


async def test_a_merchant_may_give_a_tokenization_less_time(one: Process):
    hasty = await shop(one, "Hasty", temporary_token_seconds="60")
    await token_of(hasty, "ORD-1")
    one.now.now += timedelta(minutes=1)
    assert await retire(one) == 1


async def test_a_temporary_token_is_not_the_merchants_to_switch_on(here: Shop):
    """Switched off it is off, also for its own payment; a new name takes along what waits for the payment."""
    token = await token_of(here, "ORD-1")
    update = {"service_command": "UPDATE_TOKEN", "merchant_reference": "U"}
    assert await here.code(**update, token_name=token, token_status="ACTIVE") == "59044"
    assert await here.code(**update, token_name=token, new_token_name="mine") == "58000"
    assert await pay(here, "ORD-1", token) == "13044"
    assert await pay(here, "ORD-1", "mine") == "14000"
    off = await token_of(here, "ORD-2")
    assert await here.code(**update, token_name=off, token_status="INACTIVE") == "58000"
    assert await pay(here, "ORD-2", off) == "13044"


# -- a name that is there

async def test_a_name_that_is_there_gets_the_card(here: Shop, there: Shop, one: Process):
    """18063; what was cached elsewhere is not paid with, and the code of the form is sent also there."""
    await here.token("saved")
    assert await pay(there, "ORD-1", "saved") == "14000"
    made = await tokenize(here, "ORD-2", token_name="saved", card_number=OTHER, expiry_date="3601", card_security_code="222", card_holder_name="B. Payer")
    assert (made["response_code"], made["token_name"], made["card_number"]) == ("18063", "saved", "512345******0008")
    answer = await there.purchase("ORD-2", token_name="saved")
    assert (answer["response_code"], answer["card_number"], answer["expiry_date"]) == ("14000", "512345******0008", "3601")
    assert (codes(one)[-1], one.processor.asked[-1].pan.reveal()) == ("222", OTHER)
    assert await pay(there, "ORD-3", "saved") == "14000", "a saved card is good for any order"
    assert [tuple(row) for row in await one.fetch("SELECT token_name, event, source, reference FROM token_events")] == [
        ("saved", "updated", f"aps:{here.access_code}", "ORD-2")]


async def test_a_saved_card_needs_its_code_where_one_was_entered(here: Shop, there: Shop, one: Process):
    """The other worker has the token cached from before the form: it still does not send the payment without the code."""
    await here.token("saved")
    assert await pay(there, "ORD-1", "saved") == "14000"
    assert (await tokenize(here, "ORD-2", token_name="saved"))["response_code"] == "18063"
    one.code_box._codes.clear()
    asked = len(one.processor.asked)
    assert await pay(there, "ORD-2", "saved") == "13778"
    assert len(one.processor.asked) == asked
    assert await pay(there, "ORD-3", "saved") == "14000", "another order was not waited for"


async def test_a_name_given_to_another_card_meanwhile_is_not_charged(here: Shop, one: Process):
    """Two forms under one name: who entered the first card does not pay with the second."""
    first = await tokenize(here, "ORD-1", token_name="shared", card_security_code="111")
    second = await tokenize(here, "ORD-2", token_name="shared", card_number=OTHER, card_security_code="222")
    assert [first["response_code"], second["response_code"]] == ["18000", "18063"]
    assert await pay(here, "ORD-1", "shared") == "13088" and one.processor.asked == []
    assert await pay(here, "ORD-2", "shared") == "14000" and codes(one) == ["222"]


async def test_a_token_that_was_switched_off_is_as_good_as_new(here: Shop):
    """Entered again, the card is good for its payment, and saved again when that succeeds."""
    await here.token("saved")
    await here.ask(service_command="UPDATE_TOKEN", merchant_reference="U", token_name="saved", token_status="INACTIVE")
    assert (await tokenize(here, "ORD-1", token_name="saved"))["response_code"] == "18063"
    assert await pay(here, "ORD-2", "saved") == "13088" and await pay(here, "ORD-1", "saved") == "14000"
    assert await pay(here, "ORD-2", "saved") == "14000"


async def test_a_token_tokenized_anew_in_the_moment_of_its_payment(here: Shop, there: Shop, one: Process):
    """The code that was taken already is kept in hand; the payment is sent with it, once."""
    token = await token_of(here, "ORD-1")
    commit = one.engine._intents.submit
    turns = iter([True])

    async def submit(intent: Any) -> Any:
        if next(turns, False):
            await tokenize(there, "ORD-9", token_name=token, card_security_code="999")
        return await commit(intent)

    one.engine._intents.submit = submit                     # type: ignore[method-assign]
    assert await pay(here, "ORD-1", token) == "14000"
    assert codes(one) == ["739"]


async def test_a_number_that_is_not_kept_gets_no_token(here: Shop):
    assert (await tokenize(here, "ORD-1", card_number=FOREIGN))["response_code"] == "17061"


# -- one token for a card

async def test_one_card_has_one_token(single: Shop):
    """18000 the first, 18063 the second and the same token, whatever name was wished for; each pays its own order."""
    first = await tokenize(single, "ORD-1", card_security_code="111")
    second = await tokenize(single, "ORD-2", card_security_code="222", card_holder_name="Somebody Else", token_name="wish")
    assert [first["response_code"], second["response_code"]] == ["18000", "18063"]
    token = first["token_name"]
    assert second["token_name"] == token
    assert [await pay(single, order, token) for order in ("ORD-2", "ORD-1")] == ["14000", "14000"]
    assert codes(single.process) == ["222", "111"]
    assert list(await listed(single)) == [token]


async def test_a_stranger_with_the_number_changes_nothing_of_the_token(single: Shop, one: Process):
    """It keeps its holder and its expiry date; what was entered is what is paid with, and it is noted who presented the card."""
    await single.token("mine", card_holder_name="The Owner", expiry_date="3512")
    made = await tokenize(single, "ORD-1", card_holder_name="A Stranger", expiry_date="3011")
    assert (made["response_code"], made["token_name"], made["card_holder_name"], made["expiry_date"]) == ("18063", "mine", "A Stranger", "3011")
    assert await one.fetch("SELECT expiry, holder FROM tokens") == [("3512", "The Owner")]
    one.processor.say(Declined("54"))
    assert await pay(single, "ORD-1", "mine") == "13012"
    assert one.processor.asked[-1].expiry == "3011"
    assert await one.fetch("SELECT expiry, holder, active FROM tokens") == [("3512", "The Owner", True)]
    assert await one.fetch("SELECT token_name, event, reference FROM token_events") == [("mine", "found", "ORD-1")]


async def test_a_new_expiry_date_counts_once_it_was_paid_with(single: Shop, one: Process):
    await single.token("mine", card_holder_name="The Owner", expiry_date="3512")
    await tokenize(single, "ORD-1", expiry_date="3609")
    assert await pay(single, "ORD-1", "mine") == "14000"
    assert await one.fetch("SELECT expiry, holder FROM tokens") == [("3609", "The Owner")]


async def test_the_name_of_another_token_is_refused(single: Shop, one: Process):
    """114: which of the two was meant cannot be told; the code that was posted does not stay."""
    await single.token("mine")
    await single.token("other", card_number=OTHER)
    assert (await tokenize(single, "ORD-1", token_name="other"))["response_code"] == "17114"
    assert repr(one.code_box) == "LocalCodeBox(0 codes)"
    assert (await tokenize(single, "ORD-1", token_name="mine"))["response_code"] == "18063"


async def test_fifty_tokenizations_at_once_in_two_workers_make_one_token(single: Shop, two: Process):
    """One is told 18000, all others 18063; all name the same token."""
    await two.directory.refresh()
    other = single.at(two)
    made = await asyncio.gather(*(
        tokenize((single, other)[n % 2], f"ORD-{n}", token_name=None if n % 3 else f"wish-{n}") for n in range(50)))
    assert sorted(one["response_code"] for one in made) == ["18000"] + ["18063"] * 49
    assert len({one["token_name"] for one in made}) == 1


async def test_create_token_gives_the_token_that_is_there(single: Shop):
    """52063 rather than 52062; a name that is taken stays refused, and a reference is used once."""
    first = await single.token("mine")
    assert (first["response_code"], first["token_name"]) == ("52062", "mine")
    again = await single.token("another")
    assert (again["response_code"], again["token_name"]) == ("52063", "mine")
    assert (await single.token("mine", merchant_reference="N"))["response_code"] == "53114"
    assert (await single.token("another"))["response_code"] == "53066"


async def test_create_token_of_a_temporary_one_makes_it_stay(single: Shop):
    token = await token_of(single, "ORD-1", card_holder_name="First")
    made = await single.token("wish", card_holder_name="Second")
    assert (made["response_code"], made["token_name"]) == ("52063", token)
    assert list(await listed(single)) == [token]


async def test_a_paid_card_keeps_its_token(single: Shop, one: Process):
    """remember_me makes no second token; answer, feedback and later queries name the one that is there."""
    await single.token("mine", card_holder_name="The Owner")
    answer = await single.purchase("ORD-1", **{**CARD, "remember_me": "YES"}, token_name="wish", card_holder_name="A Stranger")
    assert (answer["response_code"], answer["token_name"]) == ("14000", "mine")
    assert list(await listed(single)) == ["mine"]
    assert await one.fetch("SELECT holder FROM tokens") == [("The Owner",)]
    assert [told["token_name"] for told in await feedback(single)] == ["mine"]


async def test_payments_at_once_with_one_card_make_one_token(single: Shop, two: Process):
    await two.directory.refresh()
    two.processor, other = single.process.processor, single.at(two)
    two.engine._processors = single.process.engine._processors
    answers = await asyncio.gather(*(
        (single, other)[n % 2].purchase(f"ORD-{n}", **{**CARD, "remember_me": "YES"}) for n in range(20)))
    assert {answer["response_code"] for answer in answers} == {"14000"}
    assert len({answer["token_name"] for answer in answers}) == 1 == len(await listed(single))


async def test_switched_on_late_the_oldest_token_counts(here: Shop, one: Process):
    """Where a card has several already, those go on as they are; a further tokenization is told of the oldest that is switched on."""
    for name in ("oldest", "older", "newest"):
        await here.token(name)
        one.now.now += timedelta(seconds=1)
    await one.directory.change(here.identifier, {"unique_token": "on"})
    update = {"service_command": "UPDATE_TOKEN", "merchant_reference": "U"}
    assert (await tokenize(here, "ORD-1"))["token_name"] == "oldest"
    assert await here.code(**update, token_name="oldest", token_status="INACTIVE") == "58000"
    assert (await tokenize(here, "ORD-2"))["token_name"] == "older"
    assert await here.code(**update, token_name="oldest", token_status="ACTIVE") == "59114", "the card has its token"
    assert await pay(here, "ORD-3", "newest") == "14000"


# -- two payments that name one new token

async def feedback(shop: Shop) -> list[dict[str, Any]]:
    """The fields of what was told of each payment so far."""
    one = shop.process
    await one.directory.change(shop.identifier, {"feedback_url": "https://shop.example/feedback", "feedback_format": "json"})
    tell = notifier(1.0)
    async with one.pool.acquire() as connection:
        events, _ = await feed.read(connection, {}, 1_000)
    return [json.loads(message.body) for occurred in events for message in tell.messages(shop.account, occurred)]


@pytest.mark.parametrize("together", [True, False])
async def test_who_comes_second_with_a_name_does_not_claim_the_token(here: Shop, there: Shop, one: Process, together: bool):
    """Both payments are good; the token is one card's, and only that payment's answer and feedback show it."""
    held = [one.processor.hold(), one.processor.hold()]
    card = {**CARD, "remember_me": "YES"}
    payments = [
        asyncio.create_task((here, here if together else there)[n].purchase(f"ORD-{n}", **{**card, "card_number": number}, token_name="wish"))
        for n, number in enumerate((THIRD, OTHER))]
    for hold in held:
        await hold.arrived.wait()
    for hold in held:
        hold.release()
    answers = await asyncio.gather(*payments)
    assert [answer["response_code"] for answer in answers] == ["14000"] * 2
    [(name, number)] = (await listed(here)).items()
    assert name == "wish"
    assert [answer.get("token_name") for answer in answers] == ["wish" if answer["card_number"] == number else None for answer in answers]
    told = await feedback(here)
    assert sorted((one["card_number"], one.get("token_name")) for one in told) == sorted(
        (answer["card_number"], answer.get("token_name")) for answer in answers)


async def test_a_list_that_is_too_long_is_refused_and_never_cut(here: Shop, monkeypatch: pytest.MonkeyPatch):
    """134; a shorter time is listed whole."""
    monkeypatch.setattr("ringfence.api.aps.services.TOKENS_LIMIT", 2)
    for n in range(3):
        here.process.now.now += timedelta(seconds=10)
        await here.token(f"T{n}")
    assert await here.code(query_command="GET_TOKENS") == "55134"
    since = (here.process.now() - timedelta(seconds=15)).isoformat(timespec="seconds")
    assert (await here.ask(query_command="GET_TOKENS", from_date=since))["data_count"] == "2"


async def test_no_table_holds_a_security_code_or_says_which(here: Shop, one: Process):
    """Only that one was posted."""
    await token_of(here, "ORD-1", card_security_code="7391")
    rows = str(await one.fetch("SELECT f.*, t.*, c.bin, c.last4 FROM tokenizations f, tokens t, cards c"))
    assert not re.search(r"(?<!\d)7391(?!\d)", rows), "a security code; an id or an instant may hold its digits"
    assert "code_waits=True" in rows
    assert isinstance(one.code_box, LocalCodeBox)
