"""Exchanges of the API's description, equal in structure and value; what the service makes up is supplied: ids, instants, references.

Where an answer holds more than the description shows, it is what the description leaves out of its example.
"""
from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ringfence.core.outcomes import Declined
from tests.api.ppro.asking import Client
from tests.engine.composition import Process

pytestmark = pytest.mark.anyio
ID = {prefix: re.compile(rf"{prefix}_[0-9A-Za-z]{{21}}") for prefix in ("charge", "authz", "capture", "void", "refund", "instr")}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

CARD_CHARGE = b"""
{"paymentMethod":"CARD","amount":{"value":2599,"currency":"USD"},"initiator":"CONSUMER","scheduleType":"UNSCHEDULED",
 "consumer":{"name":"Jane Doe","country":"US","client":{"ip":"203.0.113.7","userAgent":"Mozilla/5.0"}},
 "instrument":{"type":"RAW_CARD","details":{"brand":"VISA","number":"4000000000000000","cvv":"123","holderName":"Jane Doe","expiryMonth":12,"expiryYear":2030}},
 "autoCapture":false,"merchantPaymentChargeReference":"order-1002"}
"""


def moments(told: Any) -> set[str]:
    """Every instant in an answer."""
    if isinstance(told, dict):
        found = {told[name] for name in ("createdAt", "updatedAt") if name in told}
        return found.union(*map(moments, told.values())) if told else found
    return set().union(*map(moments, told)) if isinstance(told, list) else set()


def without_moments(told: Any) -> Any:
    if isinstance(told, dict):
        return {name: without_moments(one) for name, one in told.items() if name not in ("createdAt", "updatedAt")}
    return [without_moments(one) for one in told] if isinstance(told, list) else told


async def made(client: Client, body: bytes = CARD_CHARGE) -> dict[str, Any]:
    answered = await client.post("/payment-charges", body)
    assert answered.status == 200
    return answered.body


async def test_a_card_charge_that_is_approved(one: Process, client: Client):
    """19.2: CAPTURE_PENDING, an instrument, an authorization with the scheme's reference."""
    told = await made(client)
    assert ID["charge"].fullmatch(told["id"]) and ID["instr"].fullmatch(told["instrumentId"])
    assert all(MOMENT.fullmatch(one) for one in moments(told))
    authorization, path = told["authorizations"][0], f"/v1/payment-charges/{told['id']}"
    assert without_moments(told) == {
        "id": told["id"], "paymentMethod": "CARD", "paymentMedium": "ECOMMERCE", "scheduleType": "UNSCHEDULED", "currency": "USD", "country": "US",
        "paymentDescriptor": "", "status": "CAPTURE_PENDING", "initiator": "CONSUMER", "instrumentId": told["instrumentId"],
        "consumer": {"name": "Jane Doe", "country": "US", "client": {"ip": "203.0.113.7", "userAgent": "Mozilla/5.0"}},
        "authorizations": [{
            "id": authorization["id"], "amount": 2599, "status": "AUTHORIZED", "merchantPaymentChargeReference": "order-1002",
            "schemeAuthorizationReference": authorization["schemeAuthorizationReference"],
            "transactionLinkReference": authorization["transactionLinkReference"], "_links": {"payment_charge": {"href": path}}}],
        "captures": [], "refunds": [], "voids": [], "discards": [],
        "_links": {rel: {"href": f"{path}/{rel}"} for rel in ("authorizations", "captures", "voids")},
    }


async def test_a_card_charge_that_is_declined(client: Client):
    """19.2: a number that ends 02 is poor; still 200."""
    client.process.processor.say(Declined("51"))
    told = await made(client, CARD_CHARGE.replace(b"4000000000000000", b"4000000000000002"))
    failure = {"failureType": "PROVIDER_DECLINE", "failureCode": "INSUFFICIENT_FUNDS", "providerFailureCode": "51",
               "failureMessage": "Insufficient funds", "isRetryable": True}
    assert {name: told[name] for name in ("status", "currency", "country", "failure", "captures", "refunds", "voids", "discards")} == {
        "status": "FAILED", "currency": "USD", "country": "US", "failure": failure, "captures": [], "refunds": [], "voids": [], "discards": []}
    authorization, = told["authorizations"]
    assert (authorization["amount"], authorization["status"]) == (2599, "FAILED") and authorization["failure"] == failure


async def test_operations_on_a_charge(client: Client):
    """19.3: a capture in part, the rest given back, a refund in part, and one of too much."""
    told = await made(client)
    path = f"/payment-charges/{told['id']}"
    link = {"_links": {"payment_charge": {"href": f"/v1{path}"}}}

    async def asked(kind: str, body: str) -> dict[str, Any]:
        answered = await client.post(f"{path}/{kind}", body.encode())
        assert answered.status == 200 and ID[kind[:-1]].fullmatch(answered.body["id"])
        return {name: one for name, one in without_moments(answered.body).items() if name != "id"}

    assert await asked("captures", '{"amount":1500,"merchantCaptureReference":"ship-1"}') == {
        "amount": 1500, "status": "CAPTURED", "merchantCaptureReference": "ship-1", **link}
    assert (await client.read(told))["status"] == "CAPTURE_PENDING"
    assert await asked("voids", '{"amount":1099}') == {"amount": 1099, "status": "VOIDED", **link}
    assert (await client.read(told))["status"] == "CAPTURED"
    assert await asked("refunds", '{"amount":500,"refundReason":"CUSTOMER_REQUEST","merchantRefundReference":"rma-9"}') == {
        "amount": 500, "status": "REFUNDED", "refundReason": "CUSTOMER_REQUEST", "merchantRefundReference": "rma-9", **link}
    assert (await client.read(told))["status"] == "CAPTURED"
    assert await asked("refunds", '{"amount":5000}') == {
        "amount": 5000, "status": "FAILED", **link, "failure": {
            "failureType": "INTERNAL_DECLINE", "failureCode": "EXCEEDS_CAPTURED_AMOUNT", "failureMessage": "Refund exceeds the captured amount",
            "isRetryable": False}}


async def test_errors(client: Client):
    """19.6: the envelope with the path of the field, and a key that was used for another request."""
    body = json.loads(CARD_CHARGE)
    del body["amount"]["value"]
    answered = await client.post("/payment-charges", body)
    assert answered.status == 400 and MOMENT.fullmatch(answered.body.pop("timestamp"))
    assert answered.body == {
        "status": 400, "failureMessage": "amount.value is required", "extensions": {"fields": [{"path": "amount.value", "problem": "required"}]}}
    await client.post("/payment-charges", CARD_CHARGE, key="used")
    answered = await client.post("/payment-charges", CARD_CHARGE.replace(b"2599", b"2600"), key="used")
    assert (answered.status, answered.body["status"]) == (409, 409)
    assert answered.body["failureMessage"] == "Request-Idempotency-Key was used for another request"
    answered = await client.get("/payment-charges/charge_" + "0" * 21)
    assert (answered.status, answered.body["failureMessage"]) == (404, "Payment charge not found")
