"""Feedback is the answer again: whatever a merchant was answered, the event that tells of it says the same, byte for value."""
from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.aps import notifications, signature
from ringfence.api.aps.door import card_facts
from ringfence.api.aps.operations import OPERATIONS
from ringfence.core.events import Event
from ringfence.core.outcomes import Approved, Declined, NotAsked, Silence, Unknown
from ringfence.engine import feed
from ringfence.engine.directory import Credential, Merchant
from ringfence.engine.feed import Message, Occurred
from ringfence.engine.settings import DEFAULTS
from tests.api.aps.dialogue import golden
from tests.engine.composition import CARD, NOW, Process, Shop, Time, process, shop

anyio = pytest.mark.anyio
NOTIFIER = notifications.notifier(10.0)
EVERYTHING = {}
"""The cursor before the first event."""


@pytest.fixture(scope="module")
async def one(module_database: str) -> AsyncIterator[Process]:
    async with process(module_database, now=Time()) as running:
        yield running


@pytest.fixture(scope="module")
async def here(one: Process) -> Shop:
    return await shop(one)


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


@anyio
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


@anyio
@pytest.mark.parametrize("fields", [{}, {"eci": "MOTO"}, {"eci": "RECURRING"}, {"language": "ar"}], ids=str)
async def test_direct_feedback_of_a_token_payment_is_its_answer(here: Shop, fields: dict[str, str]):
    """Also where the cardholder is not there."""
    name = f"Token_{'_'.join(fields.values())}"
    await here.token(name, card_holder_name="Sara Ali")
    await here.purchase(f"first-{name}", token_name=name)
    answer = await here.purchase(f"pay-{name}", token_name=name, **fields)
    assert answer["response_code"] == "14000" and answer["card_holder_name"] == "Sara Ali"
    assert await last_told(here, answer["fort_id"]) == ("feedback", answer)


@anyio
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


@anyio
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


@anyio
@pytest.mark.parametrize("sha_type", signature.SHA_TYPES)
async def test_each_credential_signs_its_own_feedback(here: Shop, one: Process, sha_type: str):
    """With its response phrase, in its own way."""
    access_code = f"fb{sha_type.replace('-', '')}"
    assert await one.directory.add_credential(here.identifier, access_code, "another-ask", "another-say", sha_type)
    second = Shop(one, here.identifier, access_code, "another-ask", "another-say", sha_type)
    answer = await second.purchase(f"SHA-{sha_type}")
    _, body = await last_told(second, answer["fort_id"])
    assert body == answer and body["signature"] == signature.sign(body, "another-say", sha_type)


@anyio
async def test_a_partial_approval_is_told_as_the_decline_it_was_answered_with(here: Shop, one: Process):
    """Nobody asked for half."""
    one.processor.say(Approved(400, "742138", "1", "2", response_code="10"))
    answer = await here.purchase("half")
    assert answer["response_code"] == "13029"
    assert await last_told(here, answer["fort_id"]) == ("feedback", answer)


@anyio
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


@anyio
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


@anyio
async def test_card_checks_are_not_told(here: Shop):
    """Neither the hold nor its void."""
    answer = await here.ask(service_command="VERIFY_CARD", merchant_reference="V-1", currency="AED", card_number=CARD["card_number"],
                            expiry_date="3512", card_security_code="739")
    assert answer["response_code"] == "80000"
    assert [event.event for event in await events(here.process, answer["fort_id"])] == ["authorization_approved", "void_approved"]
    assert await told(here, answer["fort_id"]) == []


@anyio
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


# -- made from rows alone

MERCHANT = Merchant(7, "CycHZxVj", "Shop", DEFAULTS, True, (
    Credential(7, "CycHZxVj", "aps", "zx0IPmPy5jp1vAz8Kpg7", "reqPhrase01", "resPhrase01", "SHA-256"),))
FIRST = {
    "command": "AUTHORIZATION", "access_code": "zx0IPmPy5jp1vAz8Kpg7", "merchant_identifier": "CycHZxVj", "language": "en",
    "merchant_reference": "ORD-2001", "amount": "10000", "currency": "JOD", "customer_email": "sara@shop.example", "token_name": "T",
}
SHOWN = {"payment_option": "VISA", "card_number": "455701******8902", "expiry_date": "3005", "card_holder_name": "Sara Ali"}


def occurred(event: str, **facts: Any) -> Occurred:
    """An event of a payment that began with ``FIRST``; of that operation itself, unless told otherwise."""
    first = json.dumps({**facts.pop("first", FIRST), "card": SHOWN}).encode()
    return Occurred(**{
        "merchant_id": 7, "payment_id": 169996200024611493, "sequence": 1, "event": event, "occurred_at": NOW,
        "operation_id": 169996200024611493, "attempt": 1, "batch_id": 1, "kind": "authorization", "minor": 10_000, "currency": "JOD",
        "door": "aps", "reference": "ORD-2001", "details": first, "token_name": "T", "token_version": 1, "reason": "requested", "actor": "aps:x",
        "result": "approved", "approved": 10_000, "response_code": "00", "advice": "", "approval_code": "742138", "scheme_reference": "",
        "processor_reference": "", "origin": "aps", "first_kind": "authorization", "first_reference": "ORD-2001", "first_details": first, **facts,
    })


def said(event: Occurred, merchant: Merchant = MERCHANT) -> dict[str, Any]:
    """The body of the only message about an event."""
    [message] = NOTIFIER.messages(merchant, event)
    body = json.loads(message.body)
    assert body["signature"] == signature.sign(body, "resPhrase01", "SHA-256")
    return body


def test_the_published_vector_of_feedback_is_signed_so():
    """V12, from the rows that such a payment leaves."""
    vector = next(one for one in golden("vectors.json") if one["name"] == "V12")
    params = vector["params"]
    card = {name: params[name] for name in ("payment_option", "card_number", "expiry_date", "card_holder_name")}
    echo = {name: params[name] for name in params.keys() & OPERATIONS["command", "PURCHASE"].echoes - card.keys()}
    details = json.dumps({**echo, "card": card}).encode()
    event = occurred("purchase_approved", kind="purchase", minor=1_000, approved=1_000, details=details)._replace(first_details=details)
    assert said(event) == {**params, "signature": vector["signature"]}


@pytest.mark.parametrize(("command", "code"), [("AUTHORIZATION", "03666"), ("PURCHASE", "13666")])
def test_what_our_reversal_ended_is_a_decline_that_no_plugin_waits_for(command: str, code: str):
    """Acquirer code 68, as a notification."""
    kind = command.lower()
    event = occurred(f"{kind}_reversed", first={**FIRST, "command": command}, kind=kind, attempt=4, result="reversed", response_code="68", approved=0)
    [message] = NOTIFIER.messages(MERCHANT, event)
    assert message.purpose == "notification"
    assert (said(event)["response_code"], said(event)["acquirer_response_code"]) == (code, "68")


@pytest.mark.parametrize(("attempt", "purpose"), [(1, "feedback"), (2, "notification")])
def test_the_end_of_a_doubt_is_a_notification(attempt: int, purpose: str):
    """The first outcome is direct feedback."""
    [message] = NOTIFIER.messages(MERCHANT, occurred("authorization_approved", attempt=attempt))
    assert message.purpose == purpose


def test_a_doubt_is_told_once():
    """However often it is asked about in vain."""
    unknown = occurred("authorization_unknown", result="unknown", response_code="no_answer", approved=0)
    assert said(unknown)["response_code"] == "15777"
    assert NOTIFIER.messages(MERCHANT, unknown._replace(attempt=2)) == []


def test_maintenance_that_was_declined_after_a_doubt_is_told():
    """The merchant was answered 15777."""
    own = json.dumps({**{name: FIRST[name] for name in ("access_code", "merchant_identifier", "language")}, "command": "CAPTURE",
                      "merchant_reference": "ORD-2001", "amount": "4000", "currency": "JOD"}).encode()
    event = occurred("capture_declined", kind="capture", minor=4_000, details=own, attempt=3, result="declined", response_code="51", approved=0)
    assert (said(event)["response_code"], said(event)["acquirer_response_code"], said(event)["amount"]) == ("05029", "51", "4000")
    assert NOTIFIER.messages(MERCHANT, event._replace(attempt=1)) == []


JOB: dict[str, Any] = {"kind": "void", "details": None, "reason": "expired", "actor": "job:expiry", "token_name": None, "token_version": None}


def test_an_expiry_is_a_void():
    """08000 without an amount, and nothing of the card."""
    common = {name: FIRST[name] for name in ("access_code", "merchant_identifier", "language", "merchant_reference")}
    body = said(occurred("authorization_expired", **JOB))
    del body["signature"]
    assert body == common | {
        "command": "VOID_AUTHORIZATION", "fort_id": "169996200024611493", "response_code": "08000", "response_message": "Success", "status": "08"}


def test_the_rest_of_a_captured_order_lapses_without_a_word():
    """CHECK_STATUS goes on telling of the capture."""
    assert NOTIFIER.messages(MERCHANT, occurred("authorization_expired", minor=6_000, approved=6_000, **JOB)) == []
    assert NOTIFIER.messages(MERCHANT, occurred("void_declined", result="declined", response_code="51", attempt=2, **JOB)) == []


def test_what_another_door_did_is_told_in_the_words_of_the_first_request():
    """A capture over another door, of a payment that began here."""
    body = said(occurred("capture_approved", kind="capture", minor=2_500, approved=2_500, door="ppro", details=b'{"any": "thing"}'))
    assert (body["command"], body["amount"], body["currency"], body["merchant_reference"], body["response_code"]) == (
        "CAPTURE", "2500", "JOD", "ORD-2001", "04000")


def test_a_payment_of_another_door_is_told_only_of_what_was_asked_here():
    """Its own request is all that an APS answer can repeat."""
    foreign: dict[str, Any] = {"origin": "ppro", "first_details": b'{"what": ["ever"]}'}
    assert NOTIFIER.messages(MERCHANT, occurred("authorization_approved", **foreign | {"door": "ppro", "details": foreign["first_details"]})) == []
    own = json.dumps({**{name: FIRST[name] for name in ("access_code", "merchant_identifier", "language")}, "command": "VOID_AUTHORIZATION",
                      "fort_id": "169996200024611493"}).encode()
    assert said(occurred("void_approved", **foreign, kind="void", details=own))["response_code"] == "08000"
    assert NOTIFIER.messages(MERCHANT, occurred("capture_approved", **foreign, kind="capture", door="ppro", details=b"{}")) == []


def test_a_credential_that_is_gone_is_replaced_by_the_first_in_force():
    """Signed with its phrase, and naming it; without any there is nothing to sign with."""
    other = Credential(7, "CycHZxVj", "ppro", "p", "x", "y", "SHA-256")
    renewed = MERCHANT.credentials[0]._replace(public_name="newcode")
    body = said(occurred("authorization_approved"), MERCHANT._replace(credentials=(other, renewed)))
    assert body["access_code"] == "newcode"
    assert NOTIFIER.messages(MERCHANT._replace(credentials=(other,)), occurred("authorization_approved")) == []


def test_what_was_erased_is_not_told():
    """Without the request there is no answer to it."""
    assert NOTIFIER.messages(MERCHANT, occurred("authorization_approved", details=None, first_details=None)) == []
    assert NOTIFIER.messages(MERCHANT, occurred("authorization_expired", **JOB | {"first_details": None})) == []


def test_a_payment_of_the_version_before_is_told_with_what_it_kept():
    """Its details hold the echo alone."""
    details = json.dumps(FIRST).encode()
    body = said(occurred("authorization_approved", details=details, first_details=details))
    assert body["response_code"] == "02000" and "card_number" not in body
    assert card_facts(json.dumps({**FIRST, "expiry_date": "3005"}).encode()) == ("3005", "")


# -- where to, and how written

def with_settings(**changes: Any) -> Merchant:
    return MERCHANT._replace(settings=dataclasses.replace(DEFAULTS, **changes))


CHANNELS = {
    "merchant_page": {}, "trusted": {"card_number": "455701******8902", "expiry_date": "3005"}, "moto": {"eci": "MOTO"},
    "recurring": {"eci": "RECURRING"},
}


@pytest.mark.parametrize("channel", CHANNELS)
def test_each_channel_has_its_own_addresses(channel: str):
    """By the payment's first request, for what follows as well."""
    merchant = with_settings(
        feedback_url=MappingProxyType({"": "https://all.example/f", channel: "https://own.example/f"}),
        notification_url=MappingProxyType({"": "https://all.example/n", channel: "https://own.example/n"}))
    first = {**FIRST, **CHANNELS[channel]}
    for event, url in ((occurred("authorization_approved", first=first), "f"), (occurred("authorization_expired", first=first, **JOB), "n")):
        [message] = NOTIFIER.messages(merchant, event)
        assert message.url == f"https://own.example/{url}"
        assert (302 in message.policy.accepts, message.policy.seconds) == (True, 10.0)


def test_a_merchant_wants_feedback_where_any_address_is_set():
    """In any channel, for either purpose; else a message has no address."""
    assert not NOTIFIER.wants(MERCHANT)
    assert NOTIFIER.messages(MERCHANT, occurred("authorization_approved"))[0].url == ""
    for name in ("feedback_url", "notification_url"):
        assert NOTIFIER.wants(with_settings(**{name: MappingProxyType({"": "", "moto": "https://own.example"})}))


def decoded(message: Message) -> dict[str, str]:
    """A body as its receiver reads it."""
    match message.content_type:
        case "application/json":
            return json.loads(message.body)
        case "application/x-www-form-urlencoded":
            return dict(parse_qsl(message.body.decode("ascii"), strict_parsing=True))
        case _:
            root = ElementTree.fromstring(message.body)
            assert (message.content_type, root.tag) == ("application/xml", "response")
            return {child.tag: child.text or "" for child in root}


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=40) | st.text("&<>\"'=+% ;طلب]", min_size=1)


@given(reference=TEXT, description=TEXT)
def test_every_format_says_the_same(reference: str, description: str):
    """Whatever is written into it, the receiver reads one signed set."""
    first = {**FIRST, "merchant_reference": reference, "order_description": description}
    event, bodies = occurred("authorization_approved", first=first), []
    for written in notifications.FORMATS:
        [message] = NOTIFIER.messages(with_settings(feedback_format=written), event)
        body = decoded(message)
        assert body["signature"] == signature.sign(body, "resPhrase01", "SHA-256")
        bodies.append(body)
    assert bodies[0] == bodies[1] == bodies[2]
    assert (bodies[0]["merchant_reference"], bodies[0]["order_description"]) == (reference, description)


def test_xml_leaves_out_what_it_cannot_say():
    """A name that begins with a digit, and a character that XML 1.0 does not have; the signature covers the rest."""
    merchant = with_settings(feedback_format="xml")
    first = {**FIRST, "3ds_url": "https://gw.example/3ds", "order_description": "a\ufffeb", "customer_name": "here"}
    [message] = NOTIFIER.messages(merchant, occurred("authorization_approved", first=first))
    body = decoded(message)
    assert body["customer_name"] == "here" and not {"3ds_url", "order_description"} & body.keys()
    assert body["signature"] == signature.sign(body, "resPhrase01", "SHA-256")


def test_every_event_has_a_row_or_is_known_to_be_untold():
    """A new event must be decided about."""
    assert notifications.TOLD.keys() | notifications.UNTOLD == set(Event)
    assert not notifications.TOLD.keys() & notifications.UNTOLD


def test_formats_are_those_of_the_setting():
    """One writer for each word that the setting takes."""
    from ringfence.engine.settings import changed
    for written in notifications.FORMATS:
        assert not isinstance(changed(DEFAULTS, {"feedback_format": written}), list)
    assert isinstance(changed(DEFAULTS, {"feedback_format": "yaml"}), list)


def test_a_body_holds_only_keys_that_the_clients_know():
    """Whatever the event."""
    for event in notifications.TOLD:
        kind = event.partition("_")[0]
        kind, facts = ("void", JOB) if event == "authorization_expired" else (kind, {})
        first = {**FIRST, "command": "PURCHASE" if kind == "purchase" else "AUTHORIZATION"}
        for attempt in (1, 2):
            result = event.rpartition("_")[2].replace("expired", "approved")
            for message in NOTIFIER.messages(MERCHANT, occurred(event, first=first, **{"kind": kind, "attempt": attempt, "result": result, **facts})):
                body = json.loads(message.body)
                assert body.keys() <= OPERATIONS["command", body["command"]].answers, event
                assert all(isinstance(value, str) and value for value in body.values())


def test_deliveries_of_a_week_ago_are_rendered_alike():
    """The same rows make the same bytes, whenever."""
    event = occurred("authorization_approved")
    assert NOTIFIER.messages(MERCHANT, event) == NOTIFIER.messages(MERCHANT, event._replace(occurred_at=NOW + timedelta(days=7)))
