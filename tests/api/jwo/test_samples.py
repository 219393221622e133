"""The published sample tests of Just Walk Out payments, case by case; what of them is the gateway's stands with its tests."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.core.trip import TripRefusal
from tests.api.jwo.asking import STORE_ID, Client

pytestmark = pytest.mark.anyio

BAD, UNKNOWN, EXPIRED = (400, "BadRequestException"), (400, "UnknownShoppingTrip"), (400, "ShoppingTripExpiredException")
DECLINES, SILENT = Declined("51"), Unknown(Silence.NO_ANSWER)
LONG = "a" * 256

#: What is wrong with the two names that every request about a trip has.
NAMES: dict[str, dict[str, Any]] = {
    "no store": {"storeId": ...}, "null store": {"storeId": None}, "empty store": {"storeId": ""}, "blank store": {"storeId": "   "},
    "store of signs": {"storeId": "INVALID@STORE#ID"}, "long store": {"storeId": LONG}, "store with a space": {"storeId": "STORE 1"},
    "store of digits": {"storeId": 5}, "true store": {"storeId": True}, "store in a list": {"storeId": ["S"]}, "store with a line": {"storeId": "S\n"},
    "no trip": {"shoppingTripId": ...}, "null trip": {"shoppingTripId": None}, "empty trip": {"shoppingTripId": ""},
    "blank trip": {"shoppingTripId": "  "}, "trip of signs": {"shoppingTripId": "trip!"}, "long trip": {"shoppingTripId": LONG},
    "trip of digits": {"shoppingTripId": 12}, "trip in an object": {"shoppingTripId": {}}, "foreign letters": {"shoppingTripId": "trïp"},
}
#: What is wrong with an amount to adjust, capture or give back.
AMOUNTS: dict[str, dict[str, Any]] = {
    "no amount": {"amount": ...}, "null amount": {"amount": None}, "a bare number": {"amount": 15.99}, "an empty amount": {"amount": {}},
    **{f"amount {value!r}": {"amount": {"amount": value, "code": "USD"}} for value in (
        "15.99", "", None, True, False, 0, 0.0, -1, -15.99, 15.999, 1e30, [], {}, 10_000_000_000)},
    **{f"code {code!r}": {"amount": {"amount": 15.99, "code": code}} for code in ("usd", "US", "USDX", "", None, 840, "   ", "EUR", "XXX", ["USD"])},
    "no code": {"amount": {"amount": 15.99}}, "the amount of a cart": {"amount": {"amount": "15.99", "currencyCode": "USD"}},
}


async def asked(client: Client, operation: str, trip: str, **wrong: Any) -> tuple[int, str]:
    """The error that a request with one wrong field meets."""
    fields: dict[str, Any] = {"storeId": STORE_ID, "shoppingTripId": trip}
    if operation not in ("cancel", "transactional-data"):
        fields["amount"] = {"amount": 15.99, "code": "USD"}
    if operation == "refund":
        fields |= {"refundRequestId": "3b2f6a0e-9c41-4d7e-8f10-5a6b7c8d9e0f", "refundReasonCode": "DAMAGED_ITEM"}
    return (await client.ask(operation, **fields | wrong)).error


# ---------------------------------------------------------------------------------------------------------- adjust

async def test_an_adjust_is_approved(client: Client):
    await client.enter("valid-shopping-trip-uuid")
    assert await client.adjust("valid-shopping-trip-uuid", 15.99) == ("APPROVED", 15.99)


async def test_an_adjust_is_declined(client: Client):
    """A trip that never had a hold: nothing stands."""
    await client.enter("declined-payment-trip-uuid", 0)
    client.process.processor.say(DECLINES)
    assert await client.adjust("declined-payment-trip-uuid", 999999.99) == ("DECLINED", 0)


async def test_an_adjust_is_pending(client: Client):
    await client.enter("pending-processing-trip-uuid")
    client.process.processor.say(SILENT)
    assert await client.adjust("pending-processing-trip-uuid", 25.50) == ("PENDING", 25.5)


async def test_a_decline_after_an_approval_says_what_stands(client: Client):
    await client.enter("sample-declined-later", 1000)
    assert await client.adjust("sample-declined-later", 18.40) == ("APPROVED", 18.4)
    client.process.processor.say(DECLINES)
    assert await client.adjust("sample-declined-later", 64.10) == ("DECLINED", 18.4)


@pytest.mark.parametrize("operation", ["adjust", "capture", "cancel", "refund", "transactional-data"])
async def test_a_trip_that_nobody_knows(client: Client, operation: str):
    await client.enter("other-store-trip-" + operation, store="OTHER")
    assert await asked(client, operation, "invalid-shopping-trip-uuid") == UNKNOWN
    assert await asked(client, operation, "other-store-trip-" + operation) == UNKNOWN
    assert await asked(client, operation, "valid-shopping-trip-uuid", storeId="NO_SUCH_STORE") == UNKNOWN


@pytest.mark.parametrize("operation", ["adjust", "capture", "cancel", "refund", "transactional-data"])
@pytest.mark.parametrize("case", NAMES)
async def test_a_name_that_is_wrong(client: Client, operation: str, case: str):
    assert await asked(client, operation, "invalid-shopping-trip-uuid", **NAMES[case]) == BAD


@pytest.mark.parametrize("operation", ["adjust", "capture", "refund"])
@pytest.mark.parametrize("case", AMOUNTS)
async def test_an_amount_that_is_wrong(client: Client, here, operation: str, case: str):
    """On a trip of dollars; nothing moves."""
    name = f"amounts-{operation}"
    if await client.trips.find(client.merchant_id, STORE_ID, name) is None:
        await client.enter(name)
        if operation == "refund":
            assert await client.capture(name, 20) == 200
    before = await client.find(name)
    assert await asked(client, operation, name, **AMOUNTS[case]) == BAD
    assert (await client.find(name)).payment == before.payment


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b'"a"', b"\xff\xfe", b'{"storeId":"A","storeId":"B"}', b'{"amount":NaN}', b"[" * 50_000])
@pytest.mark.parametrize("operation", ["adjust", "capture", "cancel", "refund", "transactional-data", "identity", "feedback"])
async def test_a_body_that_is_no_object(client: Client, operation: str, body: bytes):
    assert (await client.send(operation, body)).error == BAD


# ---------------------------------------------------------------------------------------------------------- capture and cancel

async def test_a_capture(client: Client):
    """Empty, truly; the same again is the same; another amount is refused."""
    await client.enter("sample-capture", 3000)
    assert await client.capture("sample-capture", 25.99) == 200
    assert await client.capture("sample-capture", 25.99) == 200
    assert await client.capture("sample-capture", 20) == BAD
    trip = await client.find("sample-capture")
    assert trip.payment is not None and (trip.payment.captured, trip.payment.open) == (2599, 0)


async def test_a_capture_of_more_than_stands(client: Client):
    await client.enter("sample-capture-more")
    assert await client.capture("sample-capture-more", 20.01) == BAD
    assert await client.capture("sample-capture-more", 20.00) == 200


async def test_a_cancel(client: Client):
    await client.enter("sample-cancel")
    assert await client.cancel("sample-cancel") == 200
    assert await client.cancel("sample-cancel") == 200
    assert await client.capture("sample-cancel", 1) == BAD and await client.adjust("sample-cancel", 1) == BAD
    trip = await client.find("sample-cancel")
    assert trip.payment is not None and trip.payment.open == 0


# ---------------------------------------------------------------------------------------------------------- refund

async def captured(client: Client, name: str, minor: int = 2000) -> None:
    await client.enter(name, minor)
    assert await client.capture(name, minor / 100) == 200


async def test_a_refund_once(client: Client):
    await captured(client, "sample-refund")
    first, again = await client.refund("sample-refund", 4.25), await client.refund("sample-refund", 4.25)
    assert first.status == again.status == 200 and first.body == again.body and first.body["reconciliationId"].startswith("RF-")
    assert (await client.refund("sample-refund", 4.26)).error == BAD
    assert (await client.refund("sample-refund", 4.25, reason="OTHER")).error == BAD
    trip = await client.find("sample-refund")
    assert trip.payment is not None and trip.payment.refunded == 425


async def test_a_refund_without_a_body(client: Client):
    """Where the merchant's clients want an empty answer."""
    await captured(client, "sample-empty-refund")
    async with client.setting(trip_refund_body="off"):
        said = await client.refund("sample-empty-refund", 4.25)
    assert (said.status, said.body) == (200, None)


@pytest.mark.parametrize("reason", ["DAMAGED_ITEM", "EXPIRED_ITEM", "UNWANTED_ITEM", "JWO_TECH_ERROR", "OTHER"])
async def test_every_reason(client: Client, reason: str):
    await captured(client, f"reason-{reason}")
    assert (await client.refund(f"reason-{reason}", 20, reason=reason)).status == 200
    assert (await client.refund(f"reason-{reason}", 0.01, "00000000-0000-0000-8000-000000000001", reason)).error == BAD


@pytest.mark.parametrize("reason", ["damaged_item", "", None, "BROKEN", 5, ...])
async def test_a_reason_that_is_none(client: Client, reason: Any):
    assert await asked(client, "refund", "invalid-shopping-trip-uuid", refundReasonCode=reason) == BAD


@pytest.mark.parametrize("request_id", [
    "3B2F6A0E-9C41-4D7E-8F10-5A6B7C8D9E0F", "0190a5f0-1c3e-7d7e-8f10-5a6b7c8d9e0f", "3b2f6a0e-9c41-4d7e-cf10-5a6b7c8d9e0f", "3b2f6a0e9c414d7e8f105a6b7c8d9e0f",
    "", None, 5, "3b2f6a0e-9c41-4d7e-8f10-5a6b7c8d9e0f ", "3b2f6a0e-9c41-4d7e-8f10-5a6b7c8d9e0", ...])
async def test_a_refund_s_name_is_a_uuid_in_small_letters(client: Client, request_id: Any):
    """A seventh version, or capitals, is none."""
    assert await asked(client, "refund", "invalid-shopping-trip-uuid", refundRequestId=request_id) == BAD


async def test_refunds_stay_within_what_was_captured(client: Client):
    await captured(client, "sample-refunds")
    for place, (amount, status) in enumerate([(15, 200), (5.01, 400), (5, 200), (0.01, 400)]):
        assert (await client.refund("sample-refunds", amount, f"00000000-0000-4000-8000-00000000000{place}")).status == status


async def test_a_refund_before_the_capture(client: Client):
    await client.enter("sample-refund-early")
    assert (await client.refund("sample-refund-early", 1)).error == BAD


async def test_refunds_end_seven_days_after_the_trip_began(client: Client):
    await captured(client, "sample-window")
    began = client.process.now()
    try:
        client.process.now.now = began + timedelta(days=7)
        assert (await client.refund("sample-window", 1)).status == 200
        client.process.now.now += timedelta(seconds=1)
        assert (await client.refund("sample-window", 1, "00000000-0000-4000-8000-000000000009")).error == BAD
        assert (await client.refund("sample-window", 1)).status == 200              # the one that was
    finally:
        client.process.now.now = began


# ---------------------------------------------------------------------------------------------------------- what receipts are made of

async def test_card_facts(client: Client):
    await client.enter("sample-data")
    assert (await client.card_facts("sample-data")).error == BAD
    assert await client.capture("sample-data", 20) == 200
    told = (await client.card_facts("sample-data")).body
    assert told.pop("reconciliationId") and told.pop("cardStatementTransactionId")
    assert told == {
        "brand": "VISA", "posEntryMode": "EMV_9F39_07", "currency": "USD", "authorizationResponseCode": "00", "cryptogramInformationData": "80",
        "tail": "0004", "panSequenceNumber": "00", "applicationId": "A0000000031010",
        "expirationDate": {"expirationYear": "2029", "expirationMonth": "12"}, "cardholderVerificationMethodResult": "1F0002",
        "terminalId": "GATE0007"}


# ---------------------------------------------------------------------------------------------------------- identity

async def test_where_a_shopper_wants_receipts(client: Client):
    await client.shoppers.register(client.merchant_id, STORE_ID, "ana.7", "ana@example.org")
    assert (await client.ask("identity", storeId=STORE_ID, shopperId={"id": "ana.7"})).body == {"shopperEmail": "ana@example.org"}
    await client.shoppers.register(client.merchant_id, STORE_ID, "ana.7", "ana@example.net")
    assert (await client.ask("identity", storeId=STORE_ID, shopperId={"id": "ana.7"})).body == {"shopperEmail": "ana@example.net"}
    assert (await client.ask("identity", storeId="OTHER", shopperId={"id": "ana.7"})).error == BAD
    assert await client.shoppers.forget(client.merchant_id, STORE_ID, "ana.7")
    assert (await client.ask("identity", storeId=STORE_ID, shopperId={"id": "ana.7"})).error == BAD


@pytest.mark.parametrize("fields", [
    {}, {"storeId": STORE_ID}, {"storeId": STORE_ID, "shopperId": "ana"}, {"storeId": STORE_ID, "shopperId": {}},
    {"storeId": STORE_ID, "shopperId": {"id": ""}}, {"storeId": STORE_ID, "shopperId": {"id": LONG}}, {"storeId": STORE_ID, "shopperId": {"id": "a b"}},
    {"storeId": STORE_ID, "shopperId": {"id": 5}}, {"storeId": "", "shopperId": {"id": "a"}},
    {"requestId": "1", "shopperKey": "q", "shopperKeyType": "QR_CODE", "storeId": STORE_ID, "timestamp": "2026-01-01T00:00:00Z"}])
async def test_a_shopper_that_cannot_be_one(client: Client, fields: dict[str, Any]):
    """The last one is the call of the same path in the other direction."""
    assert (await client.ask("identity", **fields)).error == BAD


# ---------------------------------------------------------------------------------------------------------- feedback

@pytest.mark.parametrize("settled", [64.10, 18.40, 0])
async def test_a_report_of_what_is_paid(client: Client, settled: float):
    name = f"feedback-{round(settled * 100)}"
    await client.enter(name)
    assert await client.report(name, 64.10, settled) == 200
    assert client.debts.heard == [(name, 6410, round(settled * 100), datetime(2026, 1, 15, 12, tzinfo=UTC), "jwo:AKIDRETAILER")]


@pytest.mark.parametrize(("at", "said"), [
    (1768478400, "2026-01-15T12:00:00+00:00"), (1768478400000, "2026-01-15T12:00:00+00:00"), (1768478400.5, "2026-01-15T12:00:00.500000+00:00"),
    (1768478400123, "2026-01-15T12:00:00.123000+00:00"), (99999999999, None), (100000000000, "1973-03-03T09:46:40+00:00"), (0, "1970-01-01T00:00:00+00:00")])
async def test_a_time_is_in_seconds_or_milliseconds(client: Client, at: float, said: str | None):
    if await client.trips.find(client.merchant_id, STORE_ID, "feedback-times") is None:
        await client.enter("feedback-times")
    told = await client.report("feedback-times", 64.10, 64.10, at)
    assert [one[3].isoformat() for one in client.debts.heard] == ([said] if said else []) and told == (200 if said else BAD)


@pytest.mark.parametrize("wrong", [
    {"paymentStatusTime": "1768478400"}, {"paymentStatusTime": None}, {"paymentStatusTime": True}, {"paymentStatusTime": -1}, {"paymentStatusTime": ...},
    {"paymentStatusTime": 10 ** 40}, {"paymentStatusTime": {}}, {"paymentStatusTime": 5e30}, {"settledAmount": {"amount": 64.11, "code": "USD"}},
    {"settledAmount": {"amount": 1, "code": "EUR"}}, {"totalAmount": {"amount": 64.10, "code": "EUR"}, "settledAmount": {"amount": 1, "code": "EUR"}},
    {"settledAmount": {"amount": -1, "code": "USD"}}, {"settledAmount": ...}, {"totalAmount": ...}, {"totalAmount": {"amount": 0, "code": "USD"}}])
async def test_a_report_that_cannot_be(client: Client, wrong: dict[str, Any]):
    if await client.trips.find(client.merchant_id, STORE_ID, "feedback-wrong") is None:
        await client.enter("feedback-wrong")
    assert await client.report("feedback-wrong", 64.10, 10, **wrong) == BAD and client.debts.heard == []


@pytest.mark.parametrize("wrong", NAMES.values(), ids=NAMES)
async def test_a_report_with_a_name_that_is_wrong(client: Client, wrong: dict[str, Any]):
    assert await client.report("invalid-shopping-trip-uuid", 64.10, 10, **wrong) == BAD


async def test_a_report_of_a_trip_that_nobody_knows(client: Client):
    assert await client.report("invalid-shopping-trip-uuid", 64.10, 10) == UNKNOWN and client.debts.heard == []


async def test_a_report_that_could_not_be_stored(client: Client):
    await client.enter("feedback-away")
    client.debts.says = TripRefusal.UNAVAILABLE
    assert await client.report("feedback-away", 64.10, 10) == (503, "ServiceUnavailableException")


# ---------------------------------------------------------------------------------------------------------- whatever comes first

async def test_fields_come_before_the_trip_and_the_store_before_it_too(client: Client, one):
    """A malformed request on a trip that nobody knows is malformed; a key for other stores learns nothing of this one's trips."""
    await client.enter("order-of-looks")
    elsewhere = Client(one, client.identifier, frozenset({"STORE-9"}))
    assert await elsewhere.adjust("order-of-looks", -1) == BAD
    for name in ("order-of-looks", "invalid-shopping-trip-uuid"):
        for operation in ("adjust", "capture", "cancel", "refund", "transactional-data", "feedback"):
            fields: dict[str, Any] = {"storeId": STORE_ID, "shoppingTripId": name}
            if operation in ("adjust", "capture", "refund"):
                fields["amount"] = {"amount": 1, "code": "USD"}
            fields |= {"refundRequestId": "3b2f6a0e-9c41-4d7e-8f10-5a6b7c8d9e0f", "refundReasonCode": "OTHER"} if operation == "refund" else {}
            money = {"amount": 1, "code": "USD"}
            fields |= {"totalAmount": money, "settledAmount": money, "paymentStatusTime": 1} if operation == "feedback" else {}
            told = await elsewhere.ask(operation, **fields)
            assert (told.status, told.headers) == (403, {"x-amzn-ErrorType": "AccessDeniedException"}) and list(told.body) == ["Message"]
    assert (await elsewhere.ask("identity", storeId=STORE_ID, shopperId={"id": "a"})).status == 403
    assert await elsewhere.adjust("order-of-looks", 1, storeId="STORE-9") == UNKNOWN


async def test_another_merchant_s_trip_is_not_there(client: Client, one):
    from tests.engine.composition import shop
    await client.enter("whose-trip")
    other = Client(one, (await shop(one, "OtherRetailer")).identifier)
    assert await other.adjust("whose-trip", 1) == UNKNOWN and await other.cancel("whose-trip") == UNKNOWN


async def test_unknown_members_are_passed_over(client: Client):
    await client.enter("unknown-members")
    assert await client.adjust("unknown-members", 15.99, idempotencyKey="x", requestId=None) == ("APPROVED", 15.99)


async def test_after_46_hours_nothing_can_be_charged(client: Client):
    """At the very instant; what was captured is still readable and refundable; a cancel has nothing to do."""
    await client.enter("expired")
    await client.enter("expired-captured")
    assert await client.capture("expired-captured", 20) == 200
    began = client.process.now()
    try:
        client.process.now.now = began + timedelta(hours=46) - timedelta(seconds=1)
        assert await client.adjust("expired", 15.99) == ("APPROVED", 15.99)
        client.process.now.now += timedelta(seconds=1)
        assert await client.adjust("expired", 15.99) == EXPIRED and await client.capture("expired", 15.99) == EXPIRED
        assert await client.adjust("expired", -1) == BAD
        assert await client.cancel("expired") == 200
        assert (await client.card_facts("expired-captured")).status == 200 and (await client.refund("expired-captured", 1)).status == 200
    finally:
        client.process.now.now = began


async def test_a_field_that_is_wrong_is_named_beside_the_answer(client: Client):
    for amount, code, reason in [
        ("15.99", "USD", "amount.amount must be a number, without exponent"), (15.999, "USD", "amount.amount has more decimals than the currency"),
        (None, "USD", "amount.amount must be a number, without exponent"), (1, "usd", "amount.code must be an ISO 4217 code of three capital letters")]:
        assert (await client.charge("adjust", "any-trip", amount, code)).headers == {"Ringfence-Reason": reason}
    assert (await client.charge("adjust", "any-trip", storeId=...)).headers == {"Ringfence-Reason": "storeId is required"}


async def test_the_books_are_right(client: Client, one):
    await one.prove()
