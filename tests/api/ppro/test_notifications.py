"""Webhooks of the PPRO door: what a merchant sees of every course that a charge can take, signed, frozen and once."""
from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ringfence.api.ppro import notifications
from ringfence.api.ppro.failures import OURS
from ringfence.core.events import Event
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from tests.api.ppro.asking import CONSUMER
from tests.api.ppro.hooking import Hooked, hooked
from tests.api.ppro.test_three_d_secure import challenged, page
from tests.engine.composition import AUTHENTICATED, REJECTED
from tests.engine.recovering import able, end_doubts

pytestmark = pytest.mark.anyio
CREATED, PENDING, ASYNC = "CHARGE_CREATED", "CHARGE_AUTHENTICATION_PENDING", "CHARGE_PROVIDER_CONFIRMATION_PENDING"
AUTHORIZED, REFUSAL, CAPTURED = "CHARGE_AUTHORIZATION_SUCCEEDED", "CHARGE_AUTHORIZATION_FAILED", "CHARGE_CAPTURE_SUCCEEDED"
SILENT = Unknown(Silence.NO_ANSWER)


@pytest.fixture
async def here(database: str) -> AsyncIterator[Hooked]:
    async with hooked(database) as one:
        yield one


def test_every_event_of_the_core_is_told_or_is_known_to_be_silent():
    told, silent = set(notifications.TOLD), set(notifications.UNTOLD)
    assert told | silent == {*Event} and not told & silent


# ------------------------------------------------------------------------------------------- section 15.8, row by row

async def test_approved_at_once(here: Hooked):
    """The whole of it: order, envelope, statuses, amounts."""
    made = await here.client.charge(
        1000, merchantPaymentChargeReference="order-1001",
        order={"orderItems": [{"name": "Dates", "quantity": 2, "amount": 500, "sku": "d-1"}], "orderReferenceNumber": "O-7"})
    created, authorized, captured = await here.told()
    assert len({one["id"] for one in (created, authorized, captured)}) == 3
    common = {
        "paymentChargeId": made["id"], "paymentMethod": "CARD", "merchantId": here.client.headers["merchant-id"],
        "merchantPaymentChargeReference": "order-1001", "orderReferenceNumber": "O-7"}
    money = {"value": 1000, "currency": "USD"}
    assert {one["subject"] for one in (created, authorized, captured)} == {made["id"]}
    instrument = created["data"].pop("instrument")
    assert instrument["id"] == made["instrumentId"] and "number" not in instrument["details"]
    assert created["data"] == {
        **common, "type": "PAYMENT_CHARGE_CREATED", "paymentChargeStatus": "AUTHORIZATION_PROCESSING", "amount": money, "consumer": CONSUMER, "paymentMedium": "ECOMMERCE",
        "order": {"orderItems": [{"name": "Dates", "quantity": 2, "amount": 500}], "orderReferenceNumber": "O-7"}}
    assert authorized["data"] == {
        **common, "type": "PAYMENT_CHARGE_AUTHORIZATION_SUCCEEDED", "paymentChargeStatus": "CAPTURE_PROCESSING", "amount": money,
        "isMultiStep": False, "authorizationId": made["authorizations"][0]["id"]}
    assert captured["data"] == {
        **common, "type": "PAYMENT_CHARGE_CAPTURE_SUCCEEDED", "paymentChargeStatus": "CAPTURED", "amount": money,
        "captureId": made["captures"][0]["id"], "merchantCaptureReference": "order-1001"}


async def test_the_golden_webhook(here: Hooked):
    """Section 19.5: value for value, ids and instants supplied."""
    made = await here.client.charge(1000, autoCapture=False, merchantPaymentChargeReference="order-1001")
    capture = await here.client.capture(made, 1000, merchantCaptureReference="order-1001")
    *_, event = await here.told()
    assert event == {
        "specversion": "1.0.2", "id": event["id"], "source": "https://www.ppro.com", "type": "PAYMENT_CHARGE_CAPTURE_SUCCEEDED",
        "subject": made["id"], "time": capture["createdAt"], "datacontenttype": "application/json",
        "data": {
            "type": "PAYMENT_CHARGE_CAPTURE_SUCCEEDED", "paymentChargeId": made["id"], "paymentChargeStatus": "CAPTURED", "paymentMethod": "CARD",
            "merchantId": here.client.headers["merchant-id"], "merchantPaymentChargeReference": "order-1001", "captureId": capture["id"],
            "merchantCaptureReference": "order-1001", "amount": {"value": 1000, "currency": "USD"}}}


@pytest.mark.parametrize(("auto", "types"), [
    (True, [(AUTHORIZED, "CAPTURE_PROCESSING", False), (CAPTURED, "CAPTURED", None)]),
    (False, [(AUTHORIZED, "CAPTURE_PENDING", True)]),
])
async def test_a_payer_who_acts(here: Hooked, auto: bool, types: list[Any]):
    """That the payer must act is told at once, with the ways; the rest when he has."""
    made = await challenged(here.process, here.client, "c-1", autoCapture=auto)
    created, pending = await here.told()
    assert [created["type"], pending["type"]] == [f"PAYMENT_{CREATED}", f"PAYMENT_{PENDING}"]
    assert pending["data"]["paymentChargeStatus"] == "AUTHENTICATION_PENDING"
    assert pending["data"]["authenticationMethods"] == made["authenticationMethods"]
    assert created["data"]["authenticationSettings"] == [{"type": "3DS", "settings": {"returnUrl": "https://shop.example/return?order=1#top"}}]
    here.process.issuers.results["c-1"] = AUTHENTICATED
    address = page(made)
    await here.process.challenges.carry_on(address.merchant_id, address.authentication_id)
    told = await here.told()
    assert [(one["type"].removeprefix("PAYMENT_"), one["data"]["paymentChargeStatus"], one["data"].get("isMultiStep")) for one in told] == types


async def test_a_payer_who_is_not_believed(here: Hooked):
    made = await challenged(here.process, here.client, "c-2")
    here.process.issuers.results["c-2"] = REJECTED
    address = page(made)
    await here.process.challenges.carry_on(address.merchant_id, address.authentication_id)
    *before, failed = await here.told()
    assert [one["type"].removeprefix("PAYMENT_") for one in before] == [CREATED, PENDING]
    assert (failed["type"], failed["data"]["paymentChargeStatus"]) == (f"PAYMENT_{REFUSAL}", "FAILED")
    assert failed["data"]["failure"] == {
        "failureType": "PROVIDER_DECLINE", "failureCode": "AUTHENTICATION_FAILED", "failureMessage": "The consumer was not authenticated"}


@pytest.mark.parametrize(("why", "kind"), [(f"{OURS}timeout", "AUTHENTICATION_TIMEOUT"), (f"{OURS}discarded", "MERCHANT_INITIATED_DISCARD")])
async def test_a_payer_who_vanishes(here: Hooked, why: str, kind: str):
    made = await challenged(here.process, here.client, "c-3")
    await here.process.challenges.give_up(1, here.client.service.names.read("charge", made["id"]), why)
    *_, discarded = await here.told()
    assert (discarded["type"], discarded["data"]["paymentChargeStatus"]) == ("PAYMENT_CHARGE_DISCARDED", "DISCARDED")
    assert discarded["data"]["discardType"] == kind and discarded["data"]["authorizationId"] == made["authorizations"][0]["id"]
    assert discarded["data"]["amount"] == {"value": 2599, "currency": "USD"}


async def test_declined(here: Hooked):
    here.process.processor.say(Declined("51"))
    await here.client.charge()
    created, failed = await here.told()
    assert [created["type"], failed["type"]] == [f"PAYMENT_{CREATED}", f"PAYMENT_{REFUSAL}"]
    assert failed["data"]["failure"]["failureCode"] == "INSUFFICIENT_FUNDS" and "isRetryable" not in failed["data"]["failure"]


async def test_what_the_door_turns_down_is_told_too(here: Hooked):
    """A charge that nobody was asked for has an id, and so it has events."""
    await here.client.charge(instrument=None, instrumentId="instr_000000000000000000000")
    assert await here.types() == [CREATED, REFUSAL]


@pytest.mark.parametrize(("end", "types"), [
    (lambda message: Approved(message.minor), [AUTHORIZED, CAPTURED]), (Declined("05"), [REFUSAL]),
])
async def test_a_provider_who_answers_later(here: Hooked, end: Any, types: list[str]):
    here.process.processor.capabilities = able(inquiry=True)
    here.process.processor.say(SILENT)
    here.process.processor.find(end)
    made = await here.client.charge()
    assert made["status"] == "AUTHORIZATION_ASYNC"
    assert await here.types() == [CREATED, ASYNC]
    await end_doubts(here.process)
    assert await here.types() == types


async def test_a_provider_who_never_answers(here: Hooked):
    """It ends with our reversal: nothing is held anywhere."""
    here.process.processor.say(SILENT)
    await here.client.charge()
    assert await here.types() == [CREATED, ASYNC]
    await end_doubts(here.process)
    (discarded,) = await here.told()
    assert (discarded["type"], discarded["data"]["discardType"]) == ("PAYMENT_CHARGE_DISCARDED", "PROVIDER_CONFIRMATION_TIMEOUT")


# --------------------------------------------------------------------------------------------------- section 10.1, later

async def test_captures_voids_and_refunds_with_the_status_of_their_time(here: Hooked):
    """All are told when everything is over: each still says what stood at its own end."""
    made = await here.client.charge(1000, autoCapture=False)
    capture = await here.client.capture(made, 400, merchantCaptureReference="c-1")
    void = await here.client.void(made, 100, merchantVoidReference="v-1")
    await here.client.capture(made, 300)
    await here.client.void(made, 200)
    refund = await here.client.refund(made, 500, merchantRefundReference="r-1")
    await here.client.refund(made, 200)
    _, _, *later = await here.told()
    assert [(one["type"], one["data"]["paymentChargeStatus"], one["data"]["amount"]["value"]) for one in later] == [
        ("PAYMENT_CHARGE_CAPTURE_SUCCEEDED", "CAPTURE_PENDING", 400), ("PAYMENT_CHARGE_VOID_SUCCEEDED", "CAPTURE_PENDING", 100),
        ("PAYMENT_CHARGE_CAPTURE_SUCCEEDED", "CAPTURE_PENDING", 300), ("PAYMENT_CHARGE_VOID_SUCCEEDED", "CAPTURED", 200),
        ("PAYMENT_CHARGE_REFUND_SUCCEEDED", "CAPTURED", 500), ("PAYMENT_CHARGE_REFUND_SUCCEEDED", "REFUNDED", 200)]
    data = [one["data"] for one in later]
    assert (data[0]["captureId"], data[0]["merchantCaptureReference"]) == (capture["id"], "c-1")
    assert (data[1]["voidId"], data[1]["merchantVoidReference"]) == (void["id"], "v-1")
    assert (data[4]["refundId"], data[4]["merchantRefundReference"]) == (refund["id"], "r-1")
    assert "merchantCaptureReference" not in data[2]


async def test_all_of_it_voided(here: Hooked):
    made = await here.client.charge(1000, autoCapture=False)
    await here.client.void(made, 1000)
    *_, voided = await here.told()
    assert (voided["type"], voided["data"]["paymentChargeStatus"]) == ("PAYMENT_CHARGE_VOID_SUCCEEDED", "VOIDED")


@pytest.mark.parametrize(("kind", "status"), [("captures", "CAPTURE_PENDING"), ("voids", "CAPTURE_PENDING"), ("refunds", "CAPTURED")])
async def test_what_the_provider_turned_down(here: Hooked, kind: str, status: str):
    made = await here.client.charge(1000, autoCapture=kind == "refunds")
    await here.types()
    here.process.processor.say(Declined("05"))
    operated = await here.client.operate(made, kind, 1000)
    assert operated["status"] == "FAILED"
    (failed,) = await here.told()
    assert failed["type"] == f"PAYMENT_CHARGE_{kind[:-1].upper()}_FAILED" and failed["data"]["paymentChargeStatus"] == status
    assert failed["data"][f"{kind[:-1]}Id"] == operated["id"] and failed["data"]["failure"]["failureType"] == "PROVIDER_DECLINE"


@pytest.mark.parametrize(("kind", "minor", "code"), [
    ("captures", 2_000, "EXCEEDS_AUTHORIZED_AMOUNT"), ("voids", 2_000, "EXCEEDS_AUTHORIZED_AMOUNT"), ("refunds", 500, "EXCEEDS_REFUNDABLE_AMOUNT")])
async def test_what_the_door_turned_down_has_a_name_and_an_event(here: Hooked, kind: str, minor: int, code: str):
    """Nobody was asked; a repeat under the same key tells nothing again."""
    made = await here.client.charge(1000, autoCapture=False, merchantPaymentChargeReference="order-3")
    await here.types()
    reference = f"merchant{kind[:-1].capitalize()}Reference"
    first = await here.client.operate(made, kind, minor, key="k", **{reference: "mine"})
    assert await here.client.operate(made, kind, minor, key="k", **{reference: "mine"}) == first
    (failed,) = await here.told()
    assert failed["type"] == f"PAYMENT_CHARGE_{kind[:-1].upper()}_FAILED" and failed["subject"] == made["id"]
    assert failed["data"]["failure"]["failureCode"] == code == first["failure"]["failureCode"]
    assert (failed["data"][f"{kind[:-1]}Id"], failed["data"][reference]) == (first["id"], "mine")
    assert failed["data"]["paymentChargeStatus"] == "CAPTURE_PENDING" and failed["data"]["merchantPaymentChargeReference"] == "order-3"


async def test_a_discard_is_told_with_its_reference(here: Hooked):
    """The one that it was asked with, also where another one was in vain before; without one there is none."""
    for number, asked in enumerate(({"merchantDiscardReference": "d-2"}, {})):
        made = await challenged(here.process, here.client, f"c-{number}")
        await here.types()
        done = (await here.client.post(f"/payment-charges/{made['id']}/discards", asked)).body
        (discarded,) = await here.told()
        assert (discarded["type"], discarded["data"]["discardType"]) == ("PAYMENT_CHARGE_DISCARDED", "MERCHANT_INITIATED_DISCARD")
        assert discarded["data"].get("merchantDiscardReference") == asked.get("merchantDiscardReference")
        after = await here.client.read(made)
        assert (after["status"], [one["id"] for one in after["discards"]]) == ("DISCARDED", [done["id"]])
        again = await here.client.post(f"/payment-charges/{made['id']}/discards", {"merchantDiscardReference": "d-3"})
        assert again.body["status"] == "FAILED"


async def test_a_capture_that_clearing_rejects_failed_after_all(here: Hooked):
    """The capture, its charge, its funds and what is told agree; what is left can be captured by contract."""
    made = await here.client.charge(1000, autoCapture=False, merchantPaymentChargeReference="order-1")
    capture = await here.client.capture(made, 600, merchantCaptureReference="ship-1")
    await here.types()
    payment, operation = (here.client.service.names.read(*name) for name in (("charge", made["id"]), ("capture", capture["id"])))
    await here.process.engine.notice(1, payment, here.process.processor.name, Notice(Noticed.CAPTURE_REJECTED, f"r:{operation}", 600, operation))
    failed, funds = await here.told()
    failure = {"failureType": "PROVIDER_DECLINE", "failureCode": "GENERIC_DECLINE", "failureMessage": "Clearing rejected the capture"}
    amount = {"value": 600, "currency": "USD"}
    assert (failed["type"], funds["type"]) == ("PAYMENT_CHARGE_CAPTURE_FAILED", "FUNDS_STATE_CHANGED")
    assert failed["data"] | {"captureId": capture["id"], "merchantCaptureReference": "ship-1", "failure": failure, "amount": amount} == failed["data"]
    assert funds["data"] | {
        "paymentOperationId": capture["id"], "paymentOperationType": "CAPTURE", "fundsState": "CAPTURE_FUNDS_NOT_EXPECTED",
        "amount": amount, "paymentChargeId": made["id"]} == funds["data"]
    assert {one["data"]["paymentChargeStatus"] for one in (failed, funds)} == {"CAPTURE_PENDING"}
    after = await here.client.read(made)
    assert (after["status"], [one["status"] for one in after["captures"]]) == ("CAPTURE_PENDING", ["FAILED"])
    assert after["failure"]["failureMessage"] == after["captures"][0]["failure"]["failureMessage"] == failure["failureMessage"]
    assert (await here.client.get(f"/payment-charges/{made['id']}/captures/{capture['id']}")).body["status"] == "FAILED"


async def test_a_charge_whose_only_capture_clearing_rejects_failed(here: Hooked):
    """Of what was captured at once nothing is left to be captured; the authorization was one."""
    made = await here.client.charge(1000, merchantPaymentChargeReference="order-1")
    await here.types()
    payment = here.client.service.names.read("charge", made["id"])
    await here.process.engine.notice(1, payment, here.process.processor.name, Notice(Noticed.CAPTURE_REJECTED, "r", 1000, payment))
    failed, _ = await here.told()
    assert (failed["data"]["captureId"], failed["data"]["merchantCaptureReference"]) == (made["captures"][0]["id"], "order-1")
    after = await here.client.read(made)
    assert (after["status"], failed["data"]["paymentChargeStatus"]) == ("FAILED", "FAILED")
    assert (after["authorizations"][0]["status"], after["captures"][0]["status"]) == ("AUTHORIZED", "FAILED")


async def test_a_refund_that_comes_back_failed_after_all(here: Hooked):
    """It can be asked for again, and is then another one."""
    made = await here.client.charge(1000)
    refund = await here.client.refund(made, 1000, merchantRefundReference="rma-1")
    await here.types()
    payment, operation = (here.client.service.names.read(*name) for name in (("charge", made["id"]), ("refund", refund["id"])))
    notice = Notice(Noticed.REFUND_RETURNED, f"refund_returned:{operation}", 1000)
    for _ in range(2):
        await here.process.engine.notice(1, payment, here.process.processor.name, notice)
    failed, funds = await here.told()
    assert (failed["type"], failed["data"]["refundId"]) == ("PAYMENT_CHARGE_REFUND_FAILED", refund["id"])
    assert (failed["data"]["merchantRefundReference"], failed["data"]["failure"]["failureMessage"]) == ("rma-1", "The refund came back")
    assert (funds["data"]["fundsState"], funds["data"]["paymentOperationId"], funds["data"]["merchantRefundReference"]) == (
        "REFUND_FUNDS_REJECTED", refund["id"], "rma-1")
    assert {one["data"]["paymentChargeStatus"] for one in (failed, funds)} == {"CAPTURED"}
    after = await here.client.read(made)
    assert (after["status"], after["refunds"][0]["status"]) == ("CAPTURED", "FAILED")
    again = await here.client.refund(made, 1000)
    assert (again["status"], (await here.client.read(made))["status"]) == ("REFUNDED", "REFUNDED")


async def test_a_discard_that_comes_too_late_is_told(here: Hooked):
    made = await here.client.charge()
    await here.types()
    await here.client.post(f"/payment-charges/{made['id']}/discards", {"merchantDiscardReference": "d-1"})
    (failed,) = await here.told()
    assert (failed["type"], failed["data"]["paymentChargeStatus"]) == ("PAYMENT_CHARGE_DISCARD_FAILED", "CAPTURED")
    assert (failed["data"]["discardType"], failed["data"]["merchantDiscardReference"]) == ("MERCHANT_INITIATED_DISCARD", "d-1")


async def test_a_wallets_word_is_told_as_in_the_charge(here: Hooked):
    """What the provider itself said decides, here as there."""
    made = await here.client.charge(1000, autoCapture=False)
    await here.types()
    for word, code in (("HardDeclined", "IS_GENERIC_DECLINE"), ("TransactionTimedOut", "UNRESPONSIVE_PROVIDER")):
        here.process.processor.say(Declined("57", provider_code=word))
        failure = (await here.client.capture(made, 1))["failure"]
        (told,) = await here.told()
        assert told["data"]["failure"] == {name: failure[name] for name in ("failureType", "failureCode", "providerFailureCode", "failureMessage")}
        assert (failure["failureCode"], failure["providerFailureCode"]) == (code, word)


@pytest.mark.parametrize(("end", "event", "status"), [
    (lambda message: Approved(message.minor), "REFUND_SUCCEEDED", "REFUNDED"), (Declined("05"), "REFUND_FAILED", "CAPTURED")])
async def test_a_refund_that_ends_later(here: Hooked, end: Any, event: str, status: str):
    here.process.processor.capabilities = able(inquiry=True)
    made = await here.client.charge(1000)
    await here.types()
    here.process.processor.say(Unknown(Silence.PENDING))
    here.process.processor.find(Unknown(Silence.PENDING), end)
    assert (await here.client.refund(made, 1000))["status"] == "PENDING"
    (pending,) = await here.told()
    assert (pending["type"], pending["data"]["paymentChargeStatus"]) == ("PAYMENT_CHARGE_REFUND_PENDING", "CAPTURED")
    await end_doubts(here.process)
    (ended,) = await here.told()
    assert (ended["type"], ended["data"]["paymentChargeStatus"]) == (f"PAYMENT_CHARGE_{event}", status)
    assert ended["data"]["refundId"] == pending["data"]["refundId"] and ended["id"] != pending["id"]
