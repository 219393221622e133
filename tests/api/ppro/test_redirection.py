"""Charges whose consumer is sent away: AMAZON_PAY and MOCK at the door (PPRO Global API, sections 16.1, 18.2, 19.1)."""
from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ringfence.api.ppro.failures import NOT_ASKED, declined
from ringfence.api.ppro.returning import Returning
from ringfence.core.redirection import Stand, Why
from ringfence.engine.browser import Return
from ringfence.engine.redirects import Seen
from ringfence.engine.sessions import Ending
from ringfence.processors.amazon_pay import codes
from tests.api.ppro.asking import Client
from tests.engine.batching import clerk
from tests.engine.composition import BASE_URL, Process, Shop

pytestmark = pytest.mark.anyio
RETURN = "https://shop.example/return?order=1001"
MOCK = "requiresAuthentication=true;authenticationType="


def redirect(url: str | None = RETURN) -> list[dict[str, Any]]:
    return [{"type": "REDIRECT", "settings": {"returnUrl": url} if url else {}}]


def amazon(minor: int = 1000, **fields: Any) -> dict[str, Any]:
    """The request of section 19.1; a field given as ``None`` is left out."""
    body = {
        "paymentMethod": "AMAZON_PAY", "amount": {"value": minor, "currency": "USD"}, "consumer": {"name": "John Smith", "country": "US"},
        "authenticationSettings": redirect(), "merchantPaymentChargeReference": "order-1001", **fields}
    return {name: value for name, value in body.items() if value is not None}


async def made(client: Client, **fields: Any) -> dict[str, Any]:
    answered = await client.post("/payment-charges", amazon(**fields))
    assert answered.status == 200, answered
    return answered.body


async def returns(one: Process, charge: dict[str, Any], seen: Seen, session: str) -> None:
    one.wallet.sessions[session] = seen
    row = await one.redirects.find(charge["authenticationMethods"][0]["details"]["requestUrl"].rpartition("/")[2])
    assert row is not None
    await one.redirects.came_back(row, session)


async def test_the_worked_example(one: Process, client: Client):
    """Section 19.1, whole: the charge as it is made, its repeat, and as it is after the consumer's approval."""
    answered = await client.post("/payment-charges", amazon(), key="order-1001-attempt-1")
    charge = answered.body
    name, authorization = charge["id"], charge["authorizations"][0]
    url, at = charge["authenticationMethods"][0]["details"]["requestUrl"], charge["createdAt"]
    links = {rel: {"href": f"/v1/payment-charges/{name}/{rel}"} for rel in ("authorizations", "captures", "voids")}
    of_charge = {"payment_charge": {"href": f"/v1/payment-charges/{name}"}}
    assert url.startswith(f"{BASE_URL}/wallet/") and len(url.rpartition("/")[2]) == 38
    assert charge == {
        "id": name, "paymentMethod": "AMAZON_PAY", "paymentMedium": "ECOMMERCE", "scheduleType": "UNSCHEDULED", "currency": "USD", "country": "US",
        "paymentDescriptor": "", "status": "AUTHENTICATION_PENDING", "consumer": {"name": "John Smith", "country": "US"},
        "authenticationMethods": [{"type": "REDIRECT", "details": {"requestUrl": url, "requestMethod": "GET"}}],
        "authorizations": [{
            "id": authorization["id"], "amount": 1000, "status": "AUTHENTICATION_PENDING", "merchantPaymentChargeReference": "order-1001",
            "createdAt": at, "updatedAt": at, "_links": of_charge}],
        "captures": [], "refunds": [], "voids": [], "discards": [], "createdAt": at, "updatedAt": at, "_links": links}
    again = await client.post("/payment-charges", amazon(), key="order-1001-attempt-1")
    assert again.again and again.body == charge
    one.now.now += timedelta(minutes=2)
    await returns(one, charge, Seen(Stand.APPROVED, "S01-1"), "golden")
    after = await client.read(charge)
    (capture,) = after["captures"]
    assert after["status"] == "CAPTURED" and after["authorizations"][0]["status"] == "AUTHORIZED"
    assert (capture["amount"], capture["status"], capture["merchantCaptureReference"]) == (1000, "CAPTURED", "order-1001")
    assert after["authenticationMethods"] == charge["authenticationMethods"]
    number = client.service.names.read("charge", name)
    merchant_id = one.directory.merchant(client.identifier).merchant_id
    way = await Returning(one.reading, one.directory, client.service.names, is_live=False).way(merchant_id, number)
    assert way == Return(RETURN, "GET", {"payment-charge-id": name}, "en")


@pytest.mark.parametrize(("fields", "code"), [
    ({"amount": {"value": 1000, "currency": "EUR"}}, "INVALID_CURRENCY"),
    ({"minor": 49}, "AMOUNT_NOT_SUPPORTED"), ({"minor": 2_000_001}, "AMOUNT_NOT_SUPPORTED"),
    ({"consumer": {"name": "J", "country": "DE"}}, "COUNTRY_NOT_SUPPORTED"),
    ({"authenticationSettings": None}, "INVALID_AUTHENTICATION_SETTINGS"),
    ({"authenticationSettings": redirect(None)}, "INVALID_AUTHENTICATION_SETTINGS"),
    ({"authenticationSettings": [{"type": "3DS", "settings": {"returnUrl": RETURN}}]}, "INVALID_AUTHENTICATION_SETTINGS"),
    ({"authenticationSettings": redirect("javascript:alert(1)")}, "INVALID_AUTHENTICATION_SETTINGS"),
    ({"minor": 50}, ""), ({"minor": 2_000_000}, ""),
])
async def test_what_the_method_takes(one: Process, client: Client, fields: dict[str, Any], code: str):
    """Section 16.1: a charge that breaks a rule is made, has failed, and nobody is sent anywhere."""
    charge = await made(client, **fields)
    if not code:
        assert charge["status"] == "AUTHENTICATION_PENDING"
        return
    assert charge["status"] == "FAILED" and charge["failure"]["failureType"] == "INTERNAL_DECLINE" and charge["failure"]["failureCode"] == code
    assert "authenticationMethods" not in charge and (await client.read(charge))["status"] == "FAILED"


async def test_nothing_is_authorized_while_the_consumer_is_awaited(client: Client):
    """There is nothing to capture, to void or to give back; it is no operation in progress that would be worth another try."""
    charge = await made(client)
    for kind, code in (("captures", "NO_AUTHORIZED_AMOUNT"), ("voids", "NO_AUTHORIZED_AMOUNT"), ("refunds", "EXCEEDS_REFUNDABLE_AMOUNT")):
        told = await client.operate(charge, kind, 1)
        assert (told["status"], told["failure"]["failureCode"], told["failure"]["isRetryable"]) == ("FAILED", code, False)
    assert (await client.read(charge))["status"] == "AUTHENTICATION_PENDING"


@pytest.mark.parametrize("ip", ["203.0.113.7", "2001:db8::1", "::ffff:203.0.113.7", "::"])
@pytest.mark.parametrize("wrong", ["999.1.1.1", "1.2.3", "12", "1.2.3.4.5", "fe80::%1"])
async def test_a_consumers_address_is_one(client: Client, ip: str, wrong: str):
    assert (await made(client, consumer={"name": "J", "country": "US", "client": {"ip": ip}}))["status"] == "AUTHENTICATION_PENDING"
    answered = await client.post("/payment-charges", amazon(consumer={"name": "J", "country": "US", "client": {"ip": wrong}}))
    assert answered.status == 400 and answered.body["failureMessage"] == "consumer.client.ip must be an address of IPv4 or IPv6"


async def test_a_consumer_has_a_name(client: Client):
    """It is required for the method."""
    answered = await client.post("/payment-charges", amazon(consumer={"country": "US"}))
    assert answered.status == 400 and answered.body["extensions"]["fields"][0]["path"] == "consumer.name"


async def test_every_rule_is_the_merchants_to_set(one: Process, client: Client):
    """Limits, currency, countries, times, and whether the method is there at all."""
    change = one.directory.change
    try:
        await change(client.identifier, {"amazon_pay_least": "10", "amazon_pay_most": "20", "amazon_pay_currencies": "EUR",
                                         "amazon_pay_countries": "DE,FR", "amazon_pay_seconds": "60", "redirect_seconds": "90"})
        euros = {"amount": {"value": 10, "currency": "EUR"}, "consumer": {"name": "J", "country": "FR"}}
        charge = await made(client, **euros)
        assert charge["status"] == "AUTHENTICATION_PENDING"
        assert (await made(client))["failure"]["failureCode"] == "INVALID_CURRENCY"
        scan = await made(client, paymentMethod="MOCK", paymentDescriptor=f"{MOCK}SCAN_CODE")
        until = scan["authenticationMethods"][0]["details"]["scanBy"]
        assert until == f"{one.now.now + timedelta(seconds=90):%Y-%m-%dT%H:%M:%S}.000Z"
        await change(client.identifier, {"payment_methods": "CARD"})
        assert (await made(client, **euros))["failure"]["failureCode"] == "INVALID_PAYMENT_METHOD"
    finally:
        await change(client.identifier, {
            "amazon_pay_least": "50", "amazon_pay_most": "2000000", "amazon_pay_currencies": "USD", "amazon_pay_countries": "US",
            "amazon_pay_seconds": "86400", "redirect_seconds": "1800", "payment_methods": ""})


async def test_a_cancelled_charge_names_the_wallets_word(one: Process, client: Client):
    charge = await made(client)
    await returns(one, charge, Seen(Stand.CANCELED), "cancelled")
    after = await client.read(charge)
    assert after["status"] == "FAILED" and after["failure"] == {
        "failureType": "PROVIDER_DECLINE", "failureCode": "CANCELED_BY_CONSUMER", "providerFailureCode": "BuyerCanceled",
        "failureMessage": "The consumer cancelled", "isRetryable": False}
    assert after["authorizations"][0]["status"] == "FAILED" and after["authorizations"][0]["failure"] == after["failure"]


@pytest.mark.parametrize(("reason", "by", "code", "retry"), [
    ("SoftDeclined", "PROVIDER_DECLINE", "GENERIC_DECLINE", True), ("HardDeclined", "PROVIDER_DECLINE", "IS_GENERIC_DECLINE", False),
    ("AmazonRejected", "PROVIDER_DECLINE", "SUS_FRAUD", False), ("ProcessingFailure", "PROVIDER_ERROR", "PROVIDER_PROCESSING_ERROR", True),
    ("TransactionTimedOut", "PROVIDER_ERROR", "UNRESPONSIVE_PROVIDER", True), ("BuyerCanceled", "PROVIDER_DECLINE", "CANCELED_BY_CONSUMER", None),
])
def test_amazons_reasons_are_told_as_section_16_4_says(reason: str, by: str, code: str, retry: bool | None):
    found = codes.declined(reason)
    told = declined(found.response_code, found.advice, reason)
    assert (told.by, told.code, told.provider_code) == (by, code, reason)
    assert retry is None or told.retry is retry


def test_the_words_of_both_sides_are_the_same():
    """The processor's reasons that nobody was asked are those of redirections."""
    assert (codes.CANCELED, codes.SESSION_DECLINED, codes.EXPIRED, codes.BY_AMAZON) == (Why.CANCELED, Why.DECLINED, Why.EXPIRED, Why.CLOSED)
    assert set(Why) <= set(NOT_ASKED)


# --- the mock method

@pytest.mark.parametrize(("asked", "ways"), [
    ("requiresAuthentication=true", ["REDIRECT"]), (f"{MOCK}SCAN_CODE,MULTI_FACTOR", ["SCAN_CODE", "MULTI_FACTOR"]),
])
async def test_the_mock_method_shows_its_ways(client: Client, asked: str, ways: list[str]):
    charge = await made(client, paymentMethod="MOCK", paymentDescriptor=asked, authenticationSettings=None)
    assert [one["type"] for one in charge["authenticationMethods"]] == ways
    assert (await client.read(charge))["authenticationMethods"] == charge["authenticationMethods"]
    for one in charge["authenticationMethods"]:
        if one["type"] == "SCAN_CODE":
            details = one["details"]
            assert details["codeType"] == "QR" and details["codeImage"].startswith(f"{BASE_URL}/wallet/code/") and details["codePayload"]


async def test_the_mock_method_without_authentication_sends_nobody_away(client: Client):
    assert (await made(client, paymentMethod="MOCK", authenticationSettings=None))["status"] == "CAPTURED"


async def test_an_address_that_is_not_allowed_sends_nobody_away(client: Client):
    charge = await made(client, paymentMethod="MOCK", paymentDescriptor="requiresAuthentication=true", authenticationSettings=redirect("//x"))
    assert charge["failure"]["failureCode"] == "INVALID_AUTHENTICATION_SETTINGS"


def code(value: Any, **fields: Any) -> dict[str, Any]:
    return {"authenticationResult": {"details": {"verificationCode": value}, **fields}}


async def test_a_code_completes_the_charge(client: Client):
    """Any six digits but zeros; the answer is the authorization, and a repeat is one."""
    charge = await made(client, paymentMethod="MOCK", paymentDescriptor=f"{MOCK}MULTI_FACTOR", autoCapture=False)
    path = f"/payment-charges/{charge['id']}/authorizations"
    told = await client.post(path, code("123456", type="MULTI_FACTOR"), key="confirm")
    assert told.status == 200 and told.body["status"] == "AUTHORIZED" and told.body["id"] == charge["authorizations"][0]["id"]
    again = await client.post(path, code("123456", type="MULTI_FACTOR"), key="confirm")
    assert again.again and again.body == told.body
    assert (await client.post(path, code("000000"), key="confirm")).status == 409
    assert (await client.post(path, code("000000"))).body["status"] == "AUTHORIZED", "it is over"
    assert (await client.read(charge))["status"] == "CAPTURE_PENDING"
    assert (await client.capture(charge, 1000))["status"] == "CAPTURED"


async def test_a_wrong_code_fails_the_charge(one: Process, client: Client):
    charge = await made(client, paymentMethod="MOCK", paymentDescriptor=f"{MOCK}MULTI_FACTOR")
    asked = len(one.processor.asked)
    told = (await client.post(f"/payment-charges/{charge['id']}/authorizations", code("000000"))).body
    assert told["status"] == "FAILED" and told["failure"]["failureCode"] == "AUTHENTICATION_FAILED"
    assert (await client.read(charge))["status"] == "FAILED" and len(one.processor.asked) == asked


@pytest.mark.parametrize(("body", "status", "path"), [
    (code("12345"), 400, "authenticationResult.details.verificationCode"), (code("١٢٣٤٥٦"), 400, "authenticationResult.details.verificationCode"),
    ({"authenticationResult": {}}, 400, "authenticationResult.details.verificationCode"), ({}, 400, "authenticationResult"),
    (code("123456", type="3DS"), 400, "authenticationResult.type"), (code(123456), 400, "authenticationResult.details.verificationCode"),
])
async def test_what_is_no_code_changes_nothing(client: Client, body: dict[str, Any], status: int, path: str):
    charge = await made(client, paymentMethod="MOCK", paymentDescriptor=f"{MOCK}MULTI_FACTOR")
    told = await client.post(f"/payment-charges/{charge['id']}/authorizations", body)
    assert told.status == status and told.body["extensions"]["fields"][0]["path"] == path
    assert (await client.read(charge))["status"] == "AUTHENTICATION_PENDING"


async def test_who_is_sent_away_brings_no_code(one: Process, here: Shop, client: Client):
    """Nor does a charge by card, nor another merchant's."""
    charges = [await made(client), await client.charge(), await made(client, paymentMethod="MOCK", paymentDescriptor="requiresAuthentication=true")]
    for charge in charges:
        assert (await client.post(f"/payment-charges/{charge['id']}/authorizations", code("123456"))).status == 422
    assert (await client.post(f"/payment-charges/charge_{'x' * 21}/authorizations", code("123456"))).status == 404


# --- how long it gives back

async def test_a_refund_has_six_months_behind_the_last_capture(one: Process, here: Shop, client: Client):
    """At this door and at the other; what was accepted before is answered as it was."""
    before = one.now.now
    charge = await made(client)
    await returns(one, charge, Seen(Stand.APPROVED), "refunded")
    try:
        one.now.now = before + timedelta(days=150)
        early = await client.post(f"/payment-charges/{charge['id']}/refunds", {"amount": 100}, key="early")
        assert early.body["status"] == "REFUNDED"
        number = client.service.names.read("charge", charge["id"])
        one.now.now = before + timedelta(days=190)
        late = await client.refund(charge, 100)
        assert late["status"] == "FAILED" and (late["failure"]["failureType"], late["failure"]["failureCode"]) == (
            "PROVIDER_DECLINE", "REFUND_PERIOD_EXPIRED")
        answer = await here.ask(command="REFUND", fort_id=str(number), amount="100", currency="USD")
        assert answer["response_code"] == "07034"
        await one.directory.change(client.identifier, {"amazon_pay_refund_months": "12"})
        assert (await client.refund(charge, 100))["status"] == "REFUNDED"
    finally:
        await one.directory.change(client.identifier, {"amazon_pay_refund_months": "6"})
        one.now.now = before


async def test_amazon_holds_by_its_own_rule(one: Process, client: Client):
    """30 days for AMAZON_PAY, whatever the merchant's period for other holds is; a period of its own can be set for it."""
    async def days_of(charge: dict[str, Any]) -> int:
        view = await one.reading.view(client.service.directory.merchant(client.identifier).merchant_id,
                                      client.service.names.read("charge", charge["id"]))
        assert view is not None and view.payment is not None and view.payment.expires_at is not None
        return (view.payment.expires_at - one.now.now).days

    for number, (settings, days) in enumerate([({}, 30), ({"amazon_pay_hold_days": "12"}, 12)]):
        try:
            await one.directory.change(client.identifier, settings)
            charge = await made(client, autoCapture=False)
            await returns(one, charge, Seen(Stand.APPROVED), f"held {number}")
            assert (await client.read(charge))["status"] == "CAPTURE_PENDING" and await days_of(charge) == days
            assert await days_of(await client.charge(autoCapture=False)) == 7
        finally:
            await one.directory.change(client.identifier, {"amazon_pay_hold_days": "30"})


async def test_a_row_of_a_file_is_bound_by_it_too(one: Process, here: Shop, client: Client):
    """A refund that is handed in too late is refused by its row; what the same file asks of a card is done."""
    before = one.now.now
    charge = await made(client)
    await returns(one, charge, Seen(Stand.APPROVED), "in a file")
    by_card = (await here.purchase("BY-CARD", "500"))["fort_id"]
    number = client.service.names.read("charge", charge["id"])
    try:
        one.now.now = before + timedelta(days=190)
        async with clerk(one) as desk:
            await desk.let_go(here, "LATE-1", [f"REFUND,,100,USD,,,,{number},RF-1", f"REFUND,,100,AED,,,,{by_card},RF-2"])
            await desk.work()
            assert {line: row["response_code"] for line, row in (await desk.results(here, "LATE-1")).items()} == {2: "07034", 3: "06000"}
        assert (await client.read(charge))["refunds"] == []
    finally:
        one.now.now = before


async def test_cards_are_given_back_whenever(one: Process, client: Client):
    before = one.now.now
    charge = await client.charge()
    try:
        one.now.now = before + timedelta(days=400)
        assert (await client.refund(charge, 100))["status"] == "REFUNDED"
    finally:
        one.now.now = before


@pytest.mark.parametrize(("stand", "how"), [
    (Stand.CANCELED, "cancelled"), (Stand.DECLINED, "declined"), (Stand.EXPIRED, "expired"), (Stand.APPROVED, "paid"),
])
async def test_a_shop_that_is_no_longer_allowed_is_not_left_for(one: Process, client: Client, stand: Stand, how: str):
    """Looked at again on leaving; the page says how it ended instead."""
    charge = await made(client)
    await returns(one, charge, Seen(stand), f"leaving-{stand}")
    returning = Returning(one.reading, one.directory, client.service.names, is_live=False)
    name = one.directory.merchant(client.identifier).merchant_id, client.service.names.read("charge", charge["id"])
    await one.directory.change(client.identifier, {"return_origins": "https://other.example"})
    assert await returning.way(*name) == Ending(how)
    await one.directory.change(client.identifier, {"return_origins": ""})
    assert isinstance(await returning.way(*name), Return) and await returning.how(*name) == how


async def test_a_consumer_is_not_said_to_have_cancelled_what_the_merchant_gave_up(one: Process, client: Client):
    charge = await made(client)
    assert (await client.post(f"/payment-charges/{charge['id']}/discards", {})).body["status"] == "DISCARDED"
    returning = Returning(one.reading, one.directory, client.service.names, is_live=False)
    merchant_id = one.directory.merchant(client.identifier).merchant_id
    assert await returning.how(merchant_id, client.service.names.read("charge", charge["id"])) == "declined"
