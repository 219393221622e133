"""Feedback made from rows alone: which events are told, to which address, in which words and formats."""
from __future__ import annotations

import dataclasses
import json
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
from ringfence.engine.directory import Credential, Merchant
from ringfence.engine.feed import Message, Occurred
from ringfence.engine.settings import DEFAULTS
from tests.api.aps.dialogue import golden
from tests.engine.composition import NOW

NOTIFIER = notifications.notifier(10.0)
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
    body = said(occurred("authorization_approved"), dataclasses.replace(MERCHANT, credentials=(other, renewed)))
    assert body["access_code"] == "newcode"
    assert NOTIFIER.messages(dataclasses.replace(MERCHANT, credentials=(other,)), occurred("authorization_approved")) == []


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
    return dataclasses.replace(MERCHANT, settings=dataclasses.replace(DEFAULTS, **changes))


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
