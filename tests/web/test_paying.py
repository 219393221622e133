"""Paying on the hosted page: what the payer sees, what the processor is asked, what the shop gets, on good days and bad ones."""
from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from ringfence.api.aps.notifications import notifier
from ringfence.core.outcomes import Approved, Declined, NotAsked, Silence, Unknown
from ringfence.engine import feed
from ringfence.engine.sessions import Asked
from ringfence.web.texts import TEXTS
from tests.engine.composition import CARD, Process, Shop, process, shop
from tests.web.asking import post
from tests.web.paying import RETURN, TYPED, Browser, app_of, sessions_of

pytestmark = pytest.mark.anyio
ORDERS = (f"W-{number}" for number in itertools.count(1))


def said(key: str, language: str = "en", **values: str) -> str:
    return TEXTS[key][language == "ar"].format(**values)


@pytest.fixture
def order() -> str:
    return next(ORDERS)


@pytest.fixture
async def payer(one: Process, here: Shop) -> AsyncIterator[Browser]:
    one.processor.asked.clear()
    yield Browser(app_of(one), here)
    one.processor.forget()


# ---------------------------------------------------------------------------------------------------------- good days

async def test_a_purchase(one, payer, order):
    """The payer types a card, the shop gets the signed answer at its own address, byte for byte."""
    await payer.buy(order, order_description="2 kg of dates", merchant_extra="42")
    assert payer.seen.status == 200 and payer.says("AED 10.00") and payer.says("2 kg of dates") and payer.says(order)
    await payer.type()
    assert payer.target == RETURN
    brought = payer.brought()
    assert brought["response_code"] == "14000" and brought["merchant_reference"] == order and brought["return_url"] == RETURN
    assert (brought["card_number"], brought["expiry_date"], brought["card_holder_name"]) == ("400000******0004", "3512", "Sara Ali")
    assert (brought["amount"], brought["currency"], brought["merchant_extra"], brought["eci"]) == ("1000", "AED", "42", "ECOMMERCE")
    assert brought["payment_option"] == "VISA" and brought["authorization_code"] == "742138"
    assert "card_security_code" not in brought
    [message] = one.processor.asked
    assert (message.pan.reveal(), message.expiry, message.security_code.reveal(), message.minor) == ("4000009900000004", "3512", "739", 1000)
    assert message.channel == "ecommerce"


async def test_an_authorization_is_captured_later(here, payer, order):
    await payer.buy(order, command="AUTHORIZATION")
    await payer.type()
    assert payer.code == "02000"
    assert (await here.capture(order, 400))["response_code"] == "04000"
    assert (await here.status(order))["captured_amount"] == "400"


async def test_a_page_in_arabic(payer, order):
    await payer.buy(order, language="ar", amount="12345", currency="KWD")
    assert '<html lang="ar" dir="rtl">' in payer.seen.text and payer.says("12.345 دينار كويتي")
    await payer.type(card_number="٤٠٠٠ ٠٠٩٩ ٠٠٠٠ ٠٠٠٤", expiry_month="١٢", expiry_year="٣٥", security_code="٧٣٩", card_holder="سارة علي")
    brought = payer.brought()
    assert (brought["response_code"], brought["response_message"], brought["card_holder_name"]) == ("14000", "عملية ناجحة", "سارة علي")


async def test_the_answer_is_the_same_each_time_the_page_is_loaded(one, payer, order):
    await payer.buy(order)
    await payer.type()
    brought = payer.brought()
    await payer.load()
    assert payer.brought() == brought
    await payer.buy(order)
    assert payer.brought() == brought
    assert len(one.processor.asked) == 1


# ---------------------------------------------------------------------------------------------------------- what was typed

@pytest.mark.parametrize(("typed", "field", "text"), [
    ({"card_number": ""}, "number", "problem_number_missing"),
    ({"card_number": "4000009900000005"}, "number", "problem_number_invalid"),
    ({"card_number": "4000 0099 0000 00O4"}, "number", "problem_number_invalid"),
    ({"card_number": "400000990000000"}, "number", "problem_number_invalid"),
    ({"card_number": "9000000000000001"}, "number", "problem_brand_unknown"),
    ({"expiry_month": "", "expiry_year": ""}, "expiry", "problem_expiry_missing"),
    ({"expiry_month": "13"}, "expiry", "problem_expiry_invalid"),
    ({"expiry_month": "00"}, "expiry", "problem_expiry_invalid"),
    ({"expiry_year": "1935"}, "expiry", "problem_expiry_invalid"),
    ({"expiry_year": "5"}, "expiry", "problem_expiry_invalid"),
    ({"expiry_month": "12", "expiry_year": "25"}, "expiry", "problem_expiry_passed"),
    ({"security_code": ""}, "code", "problem_code_missing"),
    ({"security_code": "12"}, "code", "problem_code_invalid"),
    ({"security_code": "1234"}, "code", "problem_code_invalid"),
    ({"card_number": "345678901234564", "security_code": "123"}, "code", "problem_code_invalid"),
    ({"card_holder": ""}, "holder", "problem_holder_missing"),
    ({"card_holder": "<script>"}, "holder", "problem_holder_invalid"),
    ({"card_holder": "4000009900000004"}, "holder", "problem_holder_invalid"),
])
async def test_what_is_wrong_is_said_at_its_field(one, payer, order, typed, field, text):
    """No attempt is made of it, and neither number nor code comes back to the browser."""
    await payer.buy(order)
    await payer.type(**typed)
    assert payer.seen.status == 422
    assert payer.problems()[0] == field and payer.says(said(text)) and f'href="#{field}"' in payer.seen.text
    assert one.processor.asked == []
    assert '<script>' not in payer.seen.text.replace('<script src="/static/', "")
    assert "4000009900000004" not in payer.seen.text and TYPED["card_number"] not in payer.seen.text
    await payer.type()
    assert payer.code == "14000"


async def test_a_year_may_have_four_digits_and_a_number_dashes(payer, order):
    await payer.buy(order)
    await payer.type(card_number="4000-0099-0000-0004", expiry_month="2", expiry_year="2031")
    assert payer.brought()["expiry_date"] == "3102"


@pytest.mark.parametrize(("fields", "number"), [
    ({"payment_option": "MASTERCARD"}, "4000009900000004"),
    ({"command": "AUTHORIZATION"}, "5297412542005689"),
])
async def test_a_kind_of_card_that_will_not_do_is_told_before_it_is_tried(one, payer, order, fields, number):
    """Another brand than the shop asked for; mada, which has no authorizations."""
    await payer.buy(order, **fields)
    await payer.type(card_number=number)
    assert payer.problems()[0] == "number" and payer.says(said("problem_brand_not_taken")) and one.processor.asked == []


async def test_a_shop_that_takes_one_kind_of_card_says_so(one, payer, order):
    here = await shop(one, "OneBrand", payment_options="MASTERCARD")
    payer = await Browser(app_of(one), here).buy(order)
    assert payer.says("Accepted here: MASTERCARD")
    await payer.type()
    assert payer.says(said("problem_brand_not_taken"))
    await payer.type(card_number="5123456789012346")
    assert payer.brought()["payment_option"] == "MASTERCARD"


# ---------------------------------------------------------------------------------------------------------- declines

async def test_a_declined_card_and_then_another_one(one, here, payer, order):
    """The payer stays on the page; the order's last attempt is the one that every look-up finds."""
    one.processor.say(Declined("51"))
    await payer.buy(order)
    await payer.type()
    assert not payer.is_leaving and payer.says(said("problem_insufficient_funds")) and payer.says(said("nothing_paid"))
    assert (await here.status(order))["transaction_code"] == "13029"
    await payer.type()
    brought = payer.brought()
    assert brought["response_code"] == "14000"
    status = await here.status(order)
    assert (status["transaction_code"], status["fort_id"], status["captured_amount"]) == ("14000", brought["fort_id"], "1000")
    assert (await here.refund(order, 300))["response_code"] == "06000"
    assert (await here.status(order))["refunded_amount"] == "300"
    assert await here.code(command="CAPTURE", merchant_reference=order, amount="1", currency="AED", fort_id=brought["fort_id"]) == "05034"
    keys = await one.fetch("SELECT key FROM operations WHERE merchant_id = $1 AND reference = $2 ORDER BY operation_id", here.account.merchant_id, order)
    assert [row["key"] for row in keys[:2]] == [f"aps:{order}", f"aps:{order}#2"]
    await one.prove()


@pytest.mark.parametrize(("answer", "text"), [
    (Declined("05"), "problem_declined"), (Declined("54"), "problem_card_expired"), (Declined("14"), "problem_card_refused"),
    (NotAsked("deadline"), "problem_unavailable"),
    (lambda message: Approved(message.minor - 1, "742138"), "problem_insufficient_funds"),
])
async def test_why_an_attempt_failed_is_said_in_plain_words(one, payer, order, answer, text):
    one.processor.say(answer)
    await payer.buy(order)
    await payer.type()
    assert payer.says(said(text))
    await payer.type()
    assert payer.code == "14000"


async def test_after_nine_declines_the_last_one_goes_to_the_shop(one, here, payer, order):
    one.processor.say(*[Declined("05")] * 8, Declined("51"))
    await payer.buy(order)
    for _ in range(8):
        await payer.type()
        assert not payer.is_leaving
    await payer.type()
    brought = payer.brought()
    assert (brought["response_code"], brought["acquirer_response_code"]) == ("13029", "51")
    assert (await here.status(order))["fort_id"] == brought["fort_id"]
    assert len(one.processor.asked) == 9
    await payer.buy(order)
    assert payer.brought() == brought and len(one.processor.asked) == 9


async def test_an_outcome_that_nobody_knows_goes_to_the_shop_as_such(one, here, payer, order):
    """Never as a decline, and the payer is not asked to pay again."""
    one.processor.say(Unknown(Silence.NO_ANSWER))
    await payer.buy(order)
    await payer.type()
    assert payer.code == "15777"
    assert (await here.status(order))["transaction_code"] == "15777"


async def test_declined_attempts_are_told_as_feedback_at_the_redirection_channel(one, order):
    """Each at once, with the reference of the order; the answer and the feedback are the same."""
    here = await shop(one, "Fed", **{"feedback_url": "https://other.example/", "feedback_url.redirection": "https://shop.example/feed"})
    payer = Browser(app_of(one), here)
    one.processor.say(Declined("05"))
    await payer.buy(order)
    await payer.type()
    await payer.type()
    async with one.pool.acquire() as connection:
        events, cursor = await feed.read(connection, {}, 1_000)
        while (more := await feed.read(connection, cursor, 1_000))[0]:
            events, cursor = events + more[0], more[1]
    ours = [event for event in events if event.merchant_id == here.account.merchant_id]
    told = [message for event in ours for message in notifier(1.0).messages(here.account, event)]
    assert [message.url for message in told] == ["https://shop.example/feed"] * 2
    bodies = [json.loads(message.body) for message in told]
    assert [body["response_code"] for body in bodies] == ["13666", "14000"]
    signed = bodies[1].pop("signature")
    assert bodies[1] == payer.brought() and signed == payer.form()["signature"]
    assert "channel" not in bodies[0]


# ---------------------------------------------------------------------------------------------------------- once

async def test_a_form_sent_twenty_times_at_once_pays_once(one, payer, order):
    await payer.buy(order)
    held = one.processor.hold()
    others = [Browser(payer.app, payer.shop) for _ in range(20)]
    for other in others:
        other.path, other.seen = payer.path, payer.seen
    sending = [asyncio.create_task(other.type()) for other in others]
    await held.arrived.wait()
    done, _ = await asyncio.wait(sending, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert all(task.result().says(said("waiting_title")) for task in done)
    held.release()
    await asyncio.gather(*sending)
    assert len(one.processor.asked) == 1
    for other in others:
        await other.load()
        assert other.code == "14000"


async def test_two_workers_share_the_sessions(one, here, order, module_database):
    """Opened at one, paid at another, asked for at the first."""
    async with process(module_database, 2, now=one.now) as other:
        await other.directory.load()
        payer = await Browser(app_of(one), here).buy(order)
        payer.app = app_of(other)
        await payer.type()
        assert payer.code == "14000" and len(other.processor.asked) == 1
        payer.app = app_of(one)
        await payer.load()
        assert payer.code == "14000"


async def test_a_page_from_before_cannot_be_sent_again(one, payer, order):
    """The back button after a decline: the page of the first attempt leads to the page as it stands."""
    one.processor.say(Declined("05"))
    await payer.buy(order)
    before = payer.form()
    await payer.type()
    await payer.type(attempt=before["attempt"])
    assert not payer.is_leaving and payer.says(said("problem_declined")) and len(one.processor.asked) == 1


async def test_while_an_attempt_is_in_hand_the_page_waits_and_goes_on(one, payer, order):
    held = one.processor.hold()
    await payer.buy(order)
    first = Browser(payer.app, payer.shop)
    first.path, first.seen = payer.path, payer.seen
    task = asyncio.create_task(first.type())
    await held.arrived.wait()
    form = payer.form()
    await payer.load()
    assert payer.says(said("waiting_said")) and payer.seen.headers["refresh"] == "2"
    await payer._arrive(await post(payer.app, f"{payer.path}/cancel", {"mark": form["mark"]}))
    assert payer.says(said("waiting_said"))                     # too late to give up
    held.release()
    await task
    await payer.load()
    assert payer.code == first.code == "14000"


@pytest.mark.parametrize("is_asked", [False, True])
async def test_an_attempt_whose_worker_died_is_looked_after_by_the_next_visit(one, here, order, is_asked):
    """Nothing was asked: the payer may try again, and the order's key is still free.  Approved, and nobody told the session: it is told."""
    payer = await Browser(app_of(one), here).buy(order)
    sessions = sessions_of(one)
    session = await sessions.at(payer.path.removeprefix("/pay/"))
    payment_id = one.new_id()
    if is_asked:
        one.ids.append(payment_id)
        assert (await here.purchase(order))["response_code"] == "14000"
    assert await sessions.begin(session, 0, payment_id)
    await payer.load()
    if is_asked:
        assert (payer.code, payer.brought()["fort_id"]) == ("14000", str(payment_id))
    else:
        assert payer.says(said("waiting_said"))                 # somebody may be about to ask
        payer.app = app_of(one, lease_seconds=0.0)
        await payer.load()
        assert payer.says(said("problem_unavailable"))
        await payer.type()
        assert payer.code == "14000" and (await here.status(order))["fort_id"] == payer.brought()["fort_id"]


async def test_an_attempt_in_doubt_is_told_when_it_is_certain(one, here, order):
    """The session learns how an attempt ended that was asked for, declined by recovery, and never told."""
    payer = await Browser(app_of(one, lease_seconds=0.0), here).buy(order)
    session = await sessions_of(one).at(payer.path.removeprefix("/pay/"))
    one.ids.append(payment_id := one.new_id())
    one.processor.say(Declined("05"))
    await here.purchase(order)
    await sessions_of(one).begin(session, 0, payment_id)
    await payer.load()
    assert payer.says(said("problem_declined"))


async def test_an_order_that_was_paid_without_a_page_is_not_paid_again(one, here, payer, order):
    """Before the page is opened, and behind an open one."""
    await here.purchase(order)
    await payer.buy(order)
    assert payer.code == "00007"
    other = next(ORDERS)
    await payer.buy(other)
    await here.purchase(other)
    await payer.type()
    assert payer.code == "13007"
    assert (await here.status(other))["transaction_code"] == "14000"


async def test_an_order_that_was_tried_on_a_page_is_not_paid_beside_it(one, here, payer, order):
    one.processor.say(Declined("05"))
    await payer.buy(order)
    await payer.type()
    assert (await here.purchase(order))["response_code"] == "13007"


# ---------------------------------------------------------------------------------------------------------- the same order again

async def test_the_same_form_resumes_its_page(payer, order):
    await payer.buy(order)
    path = payer.path
    await payer.buy(order)
    assert payer.path == path


async def test_another_form_takes_the_place_of_one_that_nobody_tried(payer, order):
    await payer.buy(order)
    path = payer.path
    await payer.buy(order, amount="2000")
    assert payer.path != path and payer.says("AED 20.00")
    payer.path, old = path, payer.path
    await payer.load()
    assert payer.seen.status == 404 and payer.says(said("gone_title"))
    payer.path = old
    await payer.load()
    await payer.type()
    assert payer.brought()["amount"] == "2000"


async def test_another_form_for_an_order_that_was_tried_is_refused(one, payer, order):
    one.processor.say(Declined("05"))
    await payer.buy(order)
    await payer.type()
    await payer.buy(order, amount="1")
    assert (payer.code, payer.brought()["amount"]) == ("00007", "1")
    await payer.buy(order)
    assert payer.says(said("problem_declined"))


# ---------------------------------------------------------------------------------------------------------- giving up, being late

async def test_giving_up(one, here, payer, order):
    await payer.buy(order)
    await payer.give_up()
    brought = payer.brought()
    assert (brought["response_code"], brought["status"], brought["response_message"]) == ("00072", "00", "Transaction has been cancelled by the consumer")
    assert "fort_id" not in brought and one.processor.asked == []
    assert await here.code(query_command="CHECK_STATUS", merchant_reference=order) == "12036"
    await payer.buy(order)                                      # changed their mind
    await payer.type()
    assert payer.code == "14000"


async def test_a_page_that_was_open_too_long(one, here, payer, order):
    await payer.buy(order)
    one.now.now += timedelta(seconds=1799)
    await payer.load()
    form = payer.form()
    one.now.now += timedelta(seconds=1)
    await payer._arrive(await post(payer.app, payer.path, form | TYPED))
    assert payer.says(said("expired_title")) and payer.code == "00778" and one.processor.asked == []
    assert "leave." not in payer.seen.text                      # it waits for its button
    await payer.buy(order)
    await payer.type()
    assert payer.code == "14000"


async def test_how_long_a_page_is_open_is_the_merchants_choice(one, order):
    here = await shop(one, "Quick", page_seconds="60")
    payer = await Browser(app_of(one), here).buy(order)
    one.now.now += timedelta(seconds=61)
    await payer.load()
    assert payer.code == "00778"


async def test_a_page_without_a_way_back_says_itself_how_it_ended(one, here, order):
    """As a payment link opens it."""
    sessions, shown = sessions_of(one), []
    for number, play in enumerate(("paid", "declined", "unknown", "cancelled", "expired")):
        given = {"command": "PURCHASE", "merchant_identifier": here.identifier, "access_code": here.access_code, "language": "en",
                 "merchant_reference": f"{order}-{number}", "amount": "1000", "currency": "AED", "customer_email": "a@shop.example"}
        opened = await sessions.open(here.account.merchant_id, "aps", f"{order}-{number}", Asked(given, "en", 1000, "AED"), seconds=600, payment_link_id=7)
        payer = Browser(app_of(one), here)
        payer.path = opened.path
        await payer.load()
        if play == "declined":
            one.processor.say(*[Declined("05")] * 9)
            for _ in range(9):
                await payer.type()
        elif play == "unknown":
            one.processor.say(Unknown(Silence.NO_ANSWER))
            await payer.type()
        elif play == "cancelled":
            await payer.give_up()
        elif play == "expired":
            one.now.now += timedelta(seconds=601)
            await payer.load()
        else:
            await payer.type()
        assert payer.says(said(f"ended_{play}")) and not payer.is_leaving, play
        shown.append(payer.says("AED 10.00"))
    assert all(shown)


async def test_an_address_that_is_allowed_no_more_is_not_led_to(one, order, caplog):
    """A session, most of all a link's, may be older than the list."""
    here = await shop(one, "Moving", return_origins="https://shop.example")
    payer = await Browser(app_of(one), here).buy(order, return_url="https://shop.example/back?secret=1")
    assert payer.says(said("cancel_button"))
    await one.directory.change(here.identifier, {"return_origins": "https://new.example"})
    await payer.load()
    assert payer.says(said("cancel_here_button")) and not payer.says(said("cancel_button")), "nobody goes back to the shop from here"
    await payer.type()
    assert payer.says(said("ended_paid")) and not payer.is_leaving
    assert f"a payer of merchant {here.identifier} is not sent to https://shop.example" in caplog.text and "secret=1" not in caplog.text


@pytest.mark.parametrize(("play", "title"), [("give_up", "ended_cancelled_card"), ("wait", "ended_expired_card"), ("type", "ended_kept")])
async def test_a_page_that_only_keeps_a_card_does_not_speak_of_a_payment(one, order, play, title):
    """Its shop's address was struck off meanwhile, so that our own page says the end."""
    here = await shop(one, f"Keeping{play[:4]}", return_origins="https://shop.example")
    payer = await Browser(app_of(one), here).enter(service_command="TOKENIZATION", merchant_reference=order, return_url="https://shop.example/back")
    await one.directory.change(here.identifier, {"return_origins": "https://new.example"})
    await payer.load()
    if play == "type":
        await payer.type()
    elif play == "give_up":
        await payer.give_up()
    else:
        one.now.now += timedelta(hours=1)
        await payer.load()
    assert payer.says(said(title)) and payer.says(said(f"{title}_said")) and not payer.is_leaving
    assert "payment" not in payer.seen.text


async def test_an_order_that_was_paid_elsewhere_is_not_said_to_be_unpaid(one, here, order):
    """A page without a way back: the payer is not asked for another way to pay what is paid."""
    sessions = sessions_of(one)
    given = {"command": "PURCHASE", "merchant_identifier": here.identifier, "access_code": here.access_code, "language": "en",
             "merchant_reference": order, "amount": "1000", "currency": "AED", "customer_email": "a@shop.example"}
    opened = await sessions.open(here.account.merchant_id, "aps", order, Asked(given, "en", 1000, "AED"), seconds=600, payment_link_id=7)
    payer = Browser(app_of(one), here)
    payer.path = opened.path
    await payer.load()
    await here.purchase(order)
    await payer.type()
    assert payer.says(said("ended_elsewhere")) and payer.says(said("ended_elsewhere_said"))


# ---------------------------------------------------------------------------------------------------------- saved cards

async def test_a_returning_payer_is_asked_only_for_the_code(one, here, payer, order):
    await here.token("Sara", card_holder_name="Sara Ali")
    await payer.buy(order, token_name="Sara")
    assert payer.says("400000******0004") and payer.says("12/35")
    await payer.type(card_number="", expiry_month="", expiry_year="", card_holder="", security_code="")
    assert payer.problems() == ["code"]
    await payer.type(card_number="", expiry_month="", expiry_year="", card_holder="", security_code="739")
    brought = payer.brought()
    assert (brought["response_code"], brought["token_name"], brought["expiry_date"]) == ("14000", "Sara", "3512")
    [message] = one.processor.asked
    assert (message.pan.reveal(), message.security_code.reveal()) == ("4000009900000004", "739")


async def test_a_returning_payer_may_take_another_card(one, here, payer, order):
    """The name that the shop knows stays with its card; the other card gets one of its own."""
    await here.token("Omar")
    await payer.buy(order, token_name="Omar")
    await payer.type(card="new", card_number="5123456789012346", remember="yes")
    brought = payer.brought()
    assert brought["payment_option"] == "MASTERCARD" and brought["token_name"] not in ("", "Omar")
    assert (await one.vault.token(here.account.merchant_id, "Omar", fresh=True)).card.brand == "VISA"


async def test_a_card_that_was_switched_off_is_not_offered(one, here, payer, order):
    await here.token("Gone")
    await here.ask(service_command="UPDATE_TOKEN", merchant_reference="x", token_name="Gone", token_status="INACTIVE")
    await payer.buy(order, token_name="Gone")
    assert not payer.says("400000******0004")
    await payer.type(remember="yes")
    assert payer.brought()["token_name"] != "Gone"


async def test_a_card_switched_off_while_the_page_is_open(one, here, payer, order):
    await here.token("Going")
    await payer.buy(order, token_name="Going")
    await here.ask(service_command="UPDATE_TOKEN", merchant_reference="x", token_name="Going", token_status="INACTIVE")
    await payer.type()
    assert not payer.is_leaving and payer.says(said("problem_card_gone")) and one.processor.asked == []


@pytest.mark.parametrize(("asked", "chosen", "is_kept", "told"), [
    (None, "yes", True, "YES"), (None, "", False, "NO"), ("YES", "yes", True, "YES"), ("YES", "", False, "NO"), ("NO", "yes", False, "NO"),
])
async def test_the_payer_chooses_whether_the_card_is_kept_unless_the_shop_does_not_want_it(one, here, payer, order, asked, chosen, is_kept, told):
    await payer.buy(order, **({"remember_me": asked} if asked else {}))
    assert payer.says("Keep this card") is (asked != "NO")
    await payer.type(remember=chosen)
    brought = payer.brought()
    assert brought["remember_me"] == told and ("token_name" in brought) is is_kept
    if is_kept:
        again = await here.pay("PURCHASE", next(ORDERS), token_name=brought["token_name"], card_security_code="739")
        assert again["response_code"] == "14000"


async def test_a_new_name_for_the_card_is_the_shops_to_choose(payer, order):
    await payer.buy(order, token_name=f"name-{order}")
    await payer.type(remember="yes")
    assert payer.brought()["token_name"] == f"name-{order}"


# ---------------------------------------------------------------------------------------------------------- hostile hands

@pytest.mark.parametrize("change", [
    {"mark": ""}, {"mark": "0" * 32}, {"mark": "é"},
])
async def test_a_form_of_another_page_is_refused(one, payer, order, change):
    await payer.buy(order)
    await payer.type(**change)
    assert payer.seen.status == 400 and one.processor.asked == []


async def test_the_mark_of_one_session_is_none_of_another(one, payer, order):
    other = await Browser(payer.app, payer.shop).buy(next(ORDERS))
    await payer.buy(order)
    await payer.type(mark=other.form()["mark"])
    assert payer.seen.status == 400 and one.processor.asked == []


async def test_a_form_that_another_site_sends_is_refused(one, payer, order):
    """Even with the right mark: the browser says where it comes from."""
    await payer.buy(order)
    form = payer.form()
    await payer.type({"sec-fetch-site": "cross-site"})
    assert payer.seen.status == 400 and one.processor.asked == []
    await payer._arrive(await post(payer.app, payer.path, form | TYPED, {"sec-fetch-site": "same-origin"}))
    assert payer.code == "14000"


@pytest.mark.parametrize("address", ["", "x", "A" * 26, "A" * 27, "A" * 28, "_" * 27, "AAAAAZNTHGsMNW-Bn-OgAf1im3%00", "٠" * 27, "A" * 26 + "!"])
async def test_an_address_of_no_session_leads_nowhere(payer, address):
    payer.path = f"/pay/{address}"
    await payer.load()
    assert payer.seen.status == 404


@pytest.mark.parametrize("body", [b"", b"%", b"a=%zz", b"mark=x&mark=y", b"a=\xff", b"a=%00", b"&" * 100, b"x=1&" * 300])
async def test_a_body_that_is_no_form(one, payer, order, body):
    await payer.buy(order)
    answer = await post(payer.app, payer.path, body)
    assert answer.status == 400 and one.processor.asked == []


async def test_a_form_that_is_too_large(one, payer, order):
    await payer.buy(order)
    answer = await post(payer.app, payer.path, b"a=" + b"1" * 70_000)
    assert answer.status == 413 and said("bad_form_title") in answer.text
    answer = await post(payer.app, "/FortAPI/paymentPage", b"a=" + b"1" * 70_000, {"accept-language": "ar-AE,en"})
    assert answer.status == 413 and said("bad_form_title", "ar") in answer.text


async def test_what_breaks_is_a_page_too(payer, order, monkeypatch, caplog):
    """And the log says what."""
    await payer.buy(order)
    monkeypatch.setattr("ringfence.web.hosted.forms.decode", lambda *_: 1 / 0)
    await payer.type()
    assert payer.seen.status == 500 and payer.says(said("broken_title")) and "ZeroDivisionError" in caplog.text


async def test_the_card_is_nowhere_but_in_the_vault(one, here, payer, order, caplog):
    """Neither in the session's row, nor in a log, nor in an address or a page: not the number, and the code least of all."""
    caplog.set_level(logging.DEBUG)
    one.processor.say(Declined("05"))
    await payer.buy(order)
    pages = [payer.seen.text]
    for typed in ({"security_code": "73"}, {}, {"security_code": "9173"}, {"security_code": "917"}):
        await payer.type(**typed)
        pages.append(payer.seen.text + payer.path)
    rows = await one.value("SELECT string_agg(p::text, '') FROM page_sessions p WHERE reference = $1", order)
    rows += str(await one.value("SELECT string_agg(convert_from(asked, 'UTF8') || convert_from(coalesce(answer, ''), 'UTF8'), '') FROM page_sessions WHERE reference = $1", order))
    rows += str(await one.value("SELECT string_agg(convert_from(details, 'UTF8'), '') FROM operations WHERE reference = $1", order))
    for text in (*pages, caplog.text, rows):
        assert CARD["card_number"] not in text and TYPED["card_number"] not in text and "9900000004" not in text
    assert '"917"' not in rows and '"739"' not in rows
    assert "Sara Ali" in rows


async def test_the_database_is_away(one, here, order):
    """Nobody is told a result; the page says to look again."""
    payer = await Browser(app_of(one), here).buy(order)
    form = payer.form()
    await one.lose_the_database()
    try:
        await payer.load()
        assert payer.seen.status == 503 and payer.says(said("away_title"))
        await payer._arrive(await post(payer.app, payer.path, form | TYPED))
        assert payer.seen.status == 503
    finally:
        one.find_the_database()
    await payer.load()
    assert payer.seen.status == 200


async def test_sessions_that_are_long_over_are_forgotten(one, here, payer, order):
    await payer.buy(order)
    await payer.type()
    sessions = sessions_of(one)
    assert await sessions.forget([here.account.merchant_id], one.now() - timedelta(days=30)) == 0
    one.now.now += timedelta(days=31)
    assert await sessions.forget([here.account.merchant_id], one.now() - timedelta(days=30)) >= 1
    await payer.load()
    assert payer.seen.status == 404
    await payer.buy(order)
    assert payer.code == "00007"
