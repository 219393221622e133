"""Feedback through the whole service: whatever a merchant was answered, the event that tells of it says the same, byte for value."""
from __future__ import annotations

import json
from typing import Any

import pytest

from ringfence.api.aps import notifications, signature
from ringfence.api.aps.door import card_facts
from ringfence.core.outcomes import Approved, Declined, NotAsked, Silence, Unknown
from ringfence.engine import feed
from ringfence.engine.directory import NewCredential
from ringfence.engine.feed import Message, Occurred
from tests.api.aps.dialogue import golden
from tests.engine.composition import CARD, NOW, Process, Shop, Time, process

pytestmark = pytest.mark.anyio
NOTIFIER = notifications.notifier(10.0)
EVERYTHING = {}
"""The cursor before the first event."""


async def events(one: Process, payment_id: str) -> list[Occurred]:
    """What was told of a payment, in order."""
    async with one.pool.acquire() as connection:
        page, cursor = await feed.read(connection, EVERYTHING, 1_000)
        found = list(page)
        while page:
            page, cursor = await feed.read(connection, cursor, 1_000)
            found += page
    return [event for event in found if event.payment_id == int(payment_id)]


async def told(here: Shop, payment_id: str) -> list[Message]:
    """The messages about a payment, in order."""
    return [message for event in await events(here.process, payment_id) for message in NOTIFIER.messages(here.account, event)]


async def last_told(here: Shop, payment_id: str) -> tuple[str, dict[str, Any]]:
    """Purpose and body of the last message; its signature is right."""
    message = (await told(here, payment_id))[-1]
    return message.purpose, json.loads(message.body)


# -- the same as the answer

PAYMENTS: dict[str, dict[str, str]] = {
    "card": {},
    "card to keep": {"remember_me": "YES", "card_holder_name": "Sara Ali", "merchant_extra": "x", "order_description": "tea / milk"},
    "card to keep, named": {**CARD, "remember_me": "YES", "token_name": "Kept_{n}"},
    "arabic": {"language": "ar", "customer_name": "عمر", "order_description": "طلب ١"},
    "MOTO": {"eci": "MOTO"},
    "fraud fields": {"device_fingerprint": "abc=", "check_3ds": "NO", "billing_city": "Dubai"},
}


@pytest.mark.parametrize("command", ["AUTHORIZATION", "PURCHASE"])
@pytest.mark.parametrize("how", PAYMENTS)
async def test_direct_feedback_of_a_card_payment_is_its_answer(here: Shop, command: str, how: str):
    """Approved, declined and unknown; echo, card, acquirer's words and signature."""
    for number, outcome in enumerate((Declined("51"), Unknown(Silence.NO_ANSWER), Approved(1000, "742138", "1", "2"))):
        here.process.processor.say(outcome)
        name = f"{command[0]}-{how}-{number}".replace(" ", "-").replace(",", "")
        answer = await here.pay(command, name, **{key: value.replace("{n}", command[0]) for key, value in PAYMENTS[how].items()})
        assert "fort_id" in answer, answer["response_message"]
        assert await last_told(here, answer["fort_id"]) == ("feedback", answer)
    assert ("token_name" in answer) == how.startswith("card to keep")


@pytest.mark.parametrize("fields", [{}, {"eci": "MOTO"}, {"eci": "RECURRING"}, {"language": "ar"}], ids=str)
async def test_direct_feedback_of_a_token_payment_is_its_answer(here: Shop, fields: dict[str, str]):
    """Also where the cardholder is not there."""
    name = f"Token_{'_'.join(fields.values())}"
    await here.token(name, card_holder_name="Sara Ali")
    await here.purchase(f"first-{name}", token_name=name)
    answer = await here.purchase(f"pay-{name}", token_name=name, **fields)
    assert answer["response_code"] == "14000" and answer["card_holder_name"] == "Sara Ali"
    assert await last_told(here, answer["fort_id"]) == ("feedback", answer)


async def test_feedback_tells_the_card_as_it_was_paid_with(here: Shop):
    """A token that is changed or renamed afterwards does not change what was frozen."""
    await here.token("Changes")
    answer = await here.purchase("frozen", token_name="Changes")
    await here.ask(service_command="UPDATE_TOKEN", merchant_reference="U-1", token_name="Changes", expiry_date="3911", card_holder_name="Other")
    assert answer["expiry_date"] == "3512"
    assert await last_told(here, answer["fort_id"]) == ("feedback", answer)
    later = await here.purchase("thawed", token_name="Changes")
    assert (later["expiry_date"], later["card_holder_name"]) == ("3911", "Other")
    [event] = await events(here.process, later["fort_id"])
    assert card_facts(event.details or b"") == ("3911", "Other")


async def test_a_token_that_changed_while_it_was_paid_with_is_told_as_it_was_charged(module_database: str, here: Shop, one: Process):
    """Another process changed it; this one had the old one at hand, and charged the new."""
    await here.token("Moving")
    await here.purchase("known", token_name="Moving")
    async with process(module_database, place=2, now=one.now) as two:
        await here.at(two).ask(service_command="UPDATE_TOKEN", merchant_reference="U-2", token_name="Moving", expiry_date="3911",
                               card_holder_name="Other")
    answer = await here.purchase("moved", token_name="Moving")
    assert (answer["expiry_date"], answer["card_holder_name"], one.processor.asked[-1].expiry) == ("3911", "Other", "3911")
    assert await last_told(here, answer["fort_id"]) == ("feedback", answer)


@pytest.mark.parametrize("sha_type", signature.SHA_TYPES)
async def test_each_credential_signs_its_own_feedback(here: Shop, one: Process, sha_type: str):
    """With its response phrase, in its own way."""
    access_code = f"fb{sha_type.replace('-', '')}"
    assert await one.directory.add_credential(
        here.identifier, NewCredential("aps", access_code, "another-ask", "another-say", sha_type))
    second = Shop(one, here.identifier, access_code, "another-ask", "another-say", sha_type)
    answer = await second.purchase(f"SHA-{sha_type}")
    _, body = await last_told(second, answer["fort_id"])
    assert body == answer and body["signature"] == signature.sign(body, "another-say", sha_type)


async def test_a_partial_approval_is_told_as_the_decline_it_was_answered_with(here: Shop, one: Process):
    """Nobody asked for half."""
    one.processor.say(Approved(400, "742138", "1", "2", response_code="10"))
    answer = await here.purchase("half")
    assert answer["response_code"] == "13029"
    assert await last_told(here, answer["fort_id"]) == ("feedback", answer)


async def test_maintenance_is_notified_as_it_was_answered(here: Shop):
    """Capture, void and refund, by whichever name the order was called."""
    order = await here.authorize("M-1")
    fort_id = order["fort_id"]
    for asked in (
        here.capture("M-1", 400, order_description="part"),
        here.ask(command="CAPTURE", fort_id=fort_id, amount="100", currency="AED", language="ar"),
        here.refund("M-1", 50, maintenance_reference="R-1"),
    ):
        answer = await asked
        assert answer["response_code"][2:] == "000"
        assert await last_told(here, fort_id) == ("notification", answer)
    other = await here.authorize("M-2")
    answer = await here.void("M-2")
    assert await last_told(here, other["fort_id"]) == ("notification", answer)


async def test_what_nobody_waits_for_is_not_told(here: Shop, one: Process):
    """Maintenance that was declined or is unknown has been answered; a payment that was never asked did not happen."""
    order = await here.authorize("Q-1")
    before = await told(here, order["fort_id"])
    one.processor.say(Declined("91"))
    assert (await here.capture("Q-1", 1))["response_code"] == "05666"
    one.processor.say(NotAsked("deadline"))
    assert (await here.capture("Q-1", 1))["response_code"] == "05006"
    one.processor.say(Unknown(Silence.NO_ANSWER))
    assert (await here.capture("Q-1", 1))["response_code"] == "15777"
    assert await told(here, order["fort_id"]) == before
    one.processor.say(NotAsked("deadline"))
    never = await here.purchase("Q-2")
    assert never["response_code"] == "13006" and await told(here, never["fort_id"]) == []


async def test_card_checks_are_not_told(here: Shop):
    """Neither the hold nor its void."""
    answer = await here.ask(service_command="VERIFY_CARD", merchant_reference="V-1", currency="AED", card_number=CARD["card_number"],
                            expiry_date="3512", card_security_code="739")
    assert answer["response_code"] == "80000"
    assert [event.event for event in await events(here.process, answer["fort_id"])] == ["authorization_approved", "void_approved"]
    assert await told(here, answer["fort_id"]) == []


async def test_the_published_exchanges_are_fed_back(database: str):
    """E5 is the direct feedback to E3, E7 the notification of E6, E9 that of E8."""
    exchanges = {name: row["body"] for name, row in golden("exchanges.json").items()}
    async with process(database, now=Time(NOW)) as two:
        published = await two.merchant("CycHZxVj", access_code="zx0IPmPy5jp1vAz8Kpg7", request="reqPhrase01", response="resPhrase01")
        await published.token(exchanges["E3"]["token_name"], card_number="4557012345678902", expiry_date="3005", card_holder_name="Sara Ali")
        two.ids.append(int(exchanges["E5"]["fort_id"]))
        two.processor.say(Approved(10_000, "742138", "012345678901234", "000000000001"))
        for asked in ("E3", "E6", "E8", "E10"):
            await published.post(exchanges[asked])
        messages = await told(published, exchanges["E5"]["fort_id"])
        assert [(message.purpose, json.loads(message.body)) for message in messages] == [
            ("feedback", exchanges["E5"]), ("notification", exchanges["E7"]), ("notification", exchanges["E9"])]
