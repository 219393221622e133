"""PAYMENT_LINK and CHECK_PAYMENT_LINK_STATUS over the wire: every field, state and code."""
from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from ringfence.api.aps import signature
from ringfence.api.aps.links import LINK_CODES, STATES, media_of, payment_of
from ringfence.api.aps.messages import MESSAGES
from ringfence.api.aps.wire import ApsRequest
from ringfence.core.link import State
from ringfence.engine import links
from ringfence.engine.links import Opened, Why
from tests.api.aps.dialogue import NOW, PAYMENT_LINK, SETTINGS, ask, read, signed, told, without
from tests.engine.composition import Process, Shop, process, shop
from tests.engine.test_links import pay

pytestmark = pytest.mark.anyio
V14 = "e5a6d88067c3b75c14ad04bd71c79c29b73e14157d75e1b354ea036ab9f526b7"
PUBLISHED = {**PAYMENT_LINK, "request_expiry_date": "2030-01-31T15:36:55+03:00"}
LINK = without(PAYMENT_LINK, "merchant_identifier", "access_code", "language") | {"request_expiry_date": "2026-01-31T15:36:55+03:00"}
CHECK = {"query_command": "CHECK_PAYMENT_LINK_STATUS"}


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database) as running:
        yield running


@pytest.fixture
async def here(one: Process) -> Shop:
    return await shop(one)


def test_the_published_request_is_read_and_signed_as_published():
    """V14."""
    assert signature.sign(PUBLISHED, "reqPhrase01", "SHA-256") == V14
    request = read(signed(PUBLISHED))
    assert isinstance(request, ApsRequest) and (request.amount, request.currency, request.reference) == (10_000, "AED", "INV-7")
    assert request.echo == PUBLISHED


@pytest.mark.parametrize(("change", "code", "named"), [
    ({"request_expiry_date": "2026-01-05T10:09:19+03:00"}, "00002", "request_expiry_date"),         # this very second
    ({"request_expiry_date": "2026-02-30T10:09:19+03:00"}, "00002", "request_expiry_date"),
    ({"request_expiry_date": "2026-01-31"}, "00002", "request_expiry_date"),
    ({"request_expiry_date": "9999-12-31T23:59:59-23:59"}, "00002", "request_expiry_date"),
    ({"request_expiry_date": "0001-01-01T00:00:00+23:59"}, "00002", "request_expiry_date"),
    ({"request_expiry_date": "2026-01-31T15:36:55.1+03:00"}, "00032", "request_expiry_date"),
    ({"request_expiry_date": ""}, "00001", "request_expiry_date"),
    ({"notification_type": ""}, "00001", "notification_type"),
    ({"notification_type": "PIGEON"}, "00033", "notification_type"),
    ({"notification_type": "EMAIL,EMAIL"}, "00033", "notification_type"),
    ({"notification_type": "email"}, "00002", "notification_type"),
    ({"notification_type": "EMAIL, SMS"}, "00002", "notification_type"),
    ({"notification_type": "EMAIL,EMAIL,EMAIL,SMS"}, "00032", "notification_type"),
    ({"customer_phone": ""}, "00001", "customer_phone"),
    ({"customer_phone": "+962"}, "00002", "customer_phone"),
    ({"customer_phone": "1" * 20}, "00032", "customer_phone"),
    ({"customer_email": ""}, "00001", "customer_email"),
    ({"link_command": "REFUND"}, "00033", "link_command"),
    ({"amount": "0"}, "00005", ""),
    ({"currency": "XXX"}, "00013", ""),
    ({"payment_link_id": "x"}, "00002", "payment_link_id"),
    ({"card_number": "4005550000000001"}, "00027", "card_number"),
])
def test_what_is_wrong_with_a_request_is_named(change: dict[str, str], code: str, named: str):
    """In the order of the ladder, with status 00."""
    error = ask({**PAYMENT_LINK, **change})
    assert not isinstance(error, ApsRequest) and (error.code, error.named) == (code, named)
    assert "payment_link" not in told(error)


@pytest.mark.parametrize(("notification_type", "media"), [
    ("EMAIL", ("email",)), ("SMS", ("sms",)), ("EMAIL,SMS", ("email", "sms")), ("SMS,EMAIL", ("email", "sms")), ("NONE", ()),
    ("EMAIL,NONE", ()), ("NONE,SMS,EMAIL", ()),
])
def test_none_wins(notification_type: str, media: tuple[str, ...]):
    """Wherever it stands; and then nobody's number is needed."""
    assert media_of(notification_type) == media
    assert isinstance(ask({**without(PAYMENT_LINK, "customer_phone"), "notification_type": notification_type}), ApsRequest) == ("sms" not in media)


def test_a_service_that_is_off_says_so():
    """For both requests."""
    off = SETTINGS._replace(services=frozenset())
    for params in (PAYMENT_LINK, {**without(PAYMENT_LINK), **CHECK}):
        assert ask({name: value for name, value in params.items() if name in (*PAYMENT_LINK, *CHECK)} if params is PAYMENT_LINK else
                   {"access_code": "zx0IPmPy5jp1vAz8Kpg7", "merchant_identifier": "CycHZxVj", "language": "en", "merchant_reference": "INV-7", **CHECK},
                   settings=off).code == "00093"


def test_every_refusal_and_every_state_has_a_row():
    """And every row a text."""
    assert set(LINK_CODES) == set(Why) and set(STATES) == set(State)
    assert all(code[-3:] in MESSAGES for code in LINK_CODES.values())


async def made(here: Shop, **changes: Any) -> dict[str, Any]:
    return await here.ask(**{**LINK, **changes})


async def test_a_link_is_made_told_of_and_paid(one: Process, here: Shop):
    """The answer holds what was asked, 18 digits and an address of at most 150 signs; the link then says what became of it."""
    answer = await made(here)
    assert answer["response_code"] == "48000" and LINK.items() <= answer.items()
    assert answer["payment_link_id"].isdigit() and 18 <= len(answer["payment_link_id"]) <= 19
    assert answer["payment_link"].startswith("https://pay.example/p/") and len(answer["payment_link"]) <= 150
    for named in ({"payment_link_id": answer["payment_link_id"]}, {"merchant_reference": "INV-7"},
                  {"payment_link_id": answer["payment_link_id"], "merchant_reference": "INV-7"}):
        status = await here.ask(**CHECK, **named)
        assert {name: status[name] for name in (
            "response_code", "payment_link_id", "payment_link", "payment_link_status", "amount", "currency", "request_expiry_date")} == {
            "response_code": "12000", "payment_link_id": answer["payment_link_id"], "payment_link": answer["payment_link"],
            "payment_link_status": "Open", "amount": "10000", "currency": "AED", "request_expiry_date": "2026-01-31T15:36:55+03:00"}
    opened = await links.open_(one.links, here.account, int(answer["payment_link_id"]), "sara")
    assert isinstance(opened, Opened) and await state(here) == "Opened"
    await pay(here, opened)
    assert await state(here) == "Paid"
    assert (await made(here, payment_link_id=answer["payment_link_id"]))["response_code"] == "49125"


async def state(here: Shop) -> str:
    return (await here.ask(**CHECK, merchant_reference="INV-7"))["payment_link_status"]


async def test_the_payment_of_a_link_is_what_the_shop_would_have_asked_for(one: Process, here: Shop):
    """In the link's own credential and language, from our own store."""
    answer = await made(here, link_command="AUTHORIZATION", language="ar", customer_name="Sara", payment_option="VISA")
    link = await links.by_number(one.links, here.account.merchant_id, int(answer["payment_link_id"]))
    assert payment_of(link, here.account) == {
        "command": "AUTHORIZATION", "merchant_identifier": here.identifier, "access_code": here.access_code, "merchant_reference": "INV-7",
        "amount": "10000", "currency": "AED", "language": "ar", "customer_email": LINK["customer_email"], "customer_name": "Sara",
        "payment_option": "VISA", "eci": "ECOMMERCE"}


async def test_the_states_and_codes_of_the_reference(one: Process, here: Shop):
    """066 for a used reference, 149 for an unknown link, 126 for another's reference, 150 while someone pays, 115 when it is too late."""
    answer = await made(here)
    again = {"payment_link_id": answer["payment_link_id"]}
    assert (await made(here))["response_code"] == "49066"
    assert (await made(here, payment_link_id="9" * 20))["response_code"] == "49149"
    assert (await made(here, payment_link_id="7"))["response_code"] == "49149"
    assert (await here.ask(**CHECK, payment_link_id="7"))["response_code"] == "11149"
    assert (await here.ask(**CHECK, merchant_reference="INV-8"))["response_code"] == "11149"
    assert (await here.ask(**CHECK, **again, merchant_reference="INV-8"))["response_code"] == "11149"
    assert (await made(here, **again, merchant_reference="INV-8"))["response_code"] == "49126"
    changed = await made(here, **again, amount="500", notification_type="NONE")
    assert (changed["response_code"], changed["payment_link"], changed["payment_link_id"]) == (
        "48000", answer["payment_link"], answer["payment_link_id"])
    assert (await here.ask(**CHECK, **again))["amount"] == "500"
    await links.open_(one.links, here.account, int(answer["payment_link_id"]), "sara")
    assert (await made(here, **again))["response_code"] == "49150"
    one.now.now += timedelta(days=40)
    late = {"request_expiry_date": "2026-12-31T00:00:00Z"}
    assert (await made(here, **again, **late))["response_code"] == "49115"
    assert await state(here) == "Expired"


async def test_a_taken_back_link_is_processed(one: Process, here: Shop):
    """117."""
    answer = await made(here)
    await links.cancel(one.links, here.account, int(answer["payment_link_id"]), "test")
    assert (await made(here, payment_link_id=answer["payment_link_id"]))["response_code"] == "49117"
    assert await state(here) == "Cancelled"


@pytest.mark.parametrize(("settings", "changes", "code"), [
    ({"link_sms": "off"}, {}, "49116"),
    ({"link_email": "off"}, {"notification_type": "EMAIL"}, "49116"),
    ({"link_email": "off"}, {"notification_type": "EMAIL,NONE"}, "48000"),
    ({"link_terms_required": "on"}, {}, "49120"),
    ({"link_terms_required": "on", "link_terms_url": "https://shop.example/terms"}, {}, "48000"),
    ({"service_payment_links": "off"}, {}, "00093"),
    ({"channel_invoicing": "off"}, {}, "00093"),
    ({}, {"payment_option": "KNET"}, "00003"),
    ({"payment_options": "VISA"}, {"payment_option": "AMEX"}, "00003"),
    ({"payment_options": "VISA"}, {"payment_option": "VISA"}, "48000"),
    ({}, {"request_expiry_date": "2036-06-01T00:00:00Z"}, "49122"),
])
async def test_what_an_account_may_do(one: Process, here: Shop, settings: dict[str, str], changes: dict[str, str], code: str):
    """116 for a type that is off, 120 without terms, 122 for a date beyond ten years."""
    await one.directory.change(here.identifier, settings)
    assert (await made(here, **changes))["response_code"] == code


async def test_a_link_is_another_merchant_s_business(one: Process, here: Shop):
    """Not found, whoever asks."""
    answer, stranger = await made(here), await shop(one, "Stranger")
    for asked in ({**CHECK, "payment_link_id": answer["payment_link_id"]}, {**LINK, "payment_link_id": answer["payment_link_id"]}):
        assert (await stranger.ask(**asked))["response_code"][2:] == "149"
    assert (await made(stranger))["response_code"] == "48000"
    assert NOW
