"""Webhooks of the PPRO door: what a merchant sees of every course that a charge can take, signed, frozen and once."""
from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from ringfence.api.ppro import notifications
from ringfence.api.ppro.failures import OURS
from ringfence.core.dispute import Happened
from ringfence.core.events import Event
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from ringfence.engine import dispute_events, webhooks
from ringfence.engine.door_events import tell
from ringfence.storage import jobs
from ringfence.storage.disputes import EventRow
from tests.api.ppro.asking import CARD, CONSUMER, charge, raw_card
from tests.api.ppro.hooking import EVER, Hooked, hooked
from tests.api.ppro.test_three_d_secure import challenged, page
from tests.background.receiver import OK, REFUSED, receiving
from tests.engine.composition import AUTHENTICATED, REJECTED
from tests.engine.recovering import able, end_doubts

pytestmark = pytest.mark.anyio
SECOND = timedelta(seconds=1)
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


# ------------------------------------------------------------------------------------------------------------- addresses

async def test_a_charge_is_told_at_its_own_address(database: str):
    """Also where the account has none; captures follow to the same place."""
    async with hooked(database, ppro_webhook_url="") as here:
        made = await here.client.charge(autoCapture=False, webhooksUrl=f"http://127.0.0.1:{here.receiver.port}/mine")
        await here.client.capture(made, 2599)
        assert await here.types() == [CREATED, AUTHORIZED, CAPTURED]
        assert {one.line for one in here.receiver.heard} == {"POST /mine HTTP/1.1"}
        await here.client.charge()
        assert await here.types() == []


@pytest.mark.parametrize(("url", "status"), [
    ("https://10.0.0.1/", 422), ("http://user:word@shop.example/", 422), ("https://169.254.169.254/latest", 422), ("https://!6", 422),
    ("https://shop.example/#a", 422), ("https://[::1]:0/", 400), ("ftp://shop.example/", 400)])
async def test_an_address_that_must_not_be_called_is_refused(here: Hooked, url: str, status: int):
    answered = await here.client.post("/payment-charges", charge(webhooksUrl=url))
    assert answered.status == status and answered.body["extensions"]["fields"][0]["path"] == "webhooksUrl"
    assert await here.process.value("SELECT count(*) FROM operations") == 0


async def test_without_any_address_no_event_is_read(database: str):
    """The account has none, and no charge ever named one: nobody looks at events."""
    async with hooked(database, ppro_webhook_url="") as here:
        await here.client.charge()
        await here.tell()
        assert await here.process.value("SELECT count(*) FROM endpoints") == 0
        assert not notifications.wants(here.process.directory.by_id(1))


# ------------------------------------------------------------------------------------------------- signatures and headers

async def test_signatures_can_be_switched_off_and_headers_be_added(here: Hooked):
    await here.set(ppro_webhook_legacy_signature="off", ppro_webhook_headers="X-Shop:one;Authorization:Basic c2hvcDp3b3Jk")
    await here.client.charge()
    await here.tell()
    headers = here.receiver.heard[-1].headers
    assert "webhook-signature" not in headers and "ppro-signature" in headers
    assert (headers["x-shop"], headers["authorization"]) == ("one", "Basic c2hvcDp3b3Jk")
    await here.set(ppro_webhook_signature="off")
    await here.client.charge()
    await here.tell()
    assert "ppro-signature" not in here.receiver.heard[-1].headers


async def test_each_delivery_is_signed_anew_over_the_same_bytes(here: Hooked):
    """The bytes and the older digest stay; the moment and the signature over it do not."""
    here.receiver.replies = [REFUSED] * 3
    await here.client.charge()
    await here.told()
    here.process.now.now += 15 * SECOND
    here.wall += 20 * SECOND
    again = {one["id"]: heard for one, heard in zip(await here.told(), here.receiver.heard[3:], strict=True)}
    for first in here.receiver.heard[:3]:
        second = again[json.loads(first.body)["id"]]
        assert first.body == second.body and first.headers["webhook-signature"] == second.headers["webhook-signature"]
        assert [one.headers["ppro-signature"].partition(",")[0] for one in (first, second)] == ["t=1795262400", "t=1795262420"]


async def test_a_replaced_secret_signs_beside_the_new_one_for_a_while(here: Hooked):
    """Then no more; the older scheme has room for one, which is the new one."""
    from ringfence.api.ppro.signatures import is_good, is_good_legacy
    name, directory = here.client.headers["merchant-id"], here.process.directory
    await directory.replace_secret(here.client.identifier, name, "whsec_new", here.wall, timedelta(hours=1))
    await here.client.charge()
    await here.tell()
    heard, at = here.receiver.heard[-1], int(here.wall.timestamp())
    old = f"whsec_{here.client.identifier}"
    assert heard.headers["ppro-signature"].count("s=") == 2
    assert all(is_good(heard.headers["ppro-signature"], heard.body, [secret], at) for secret in (old, "whsec_new"))
    assert [is_good_legacy(heard.headers["webhook-signature"], heard.body, [secret]) for secret in (old, "whsec_new")] == [False, True]
    here.wall += timedelta(hours=1)
    await here.client.charge()
    await here.tell()
    heard, at = here.receiver.heard[-1], int(here.wall.timestamp())
    assert heard.headers["ppro-signature"].count("s=") == 1 and is_good(heard.headers["ppro-signature"], heard.body, ["whsec_new"], at)


# -------------------------------------------------------------------------------------------------------------- schedule

async def test_fifteen_deliveries_with_pauses_that_double(here: Hooked):
    """Section 15.1's table, walked to the second; a redirect is a failure like any other."""
    here.receiver.reply = b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
    begin, table = here.process.now(), [0, 15, 45, 105, 225, 465, 945, 1905, 3825, 7665, 15345, 30705, 61425, 122865, 245745]
    async with here.process.pool.acquire() as connection, connection.transaction():
        await tell(connection, 1, "ppro", "agr", 77, "PAYMENT_AGREEMENT_ACTIVE", {}, "", begin)
    for number, since in enumerate(table):
        if number:
            here.process.now.now = begin + since * SECOND - SECOND
            await here.tell()
        assert len(here.receiver.heard) == number
        here.process.now.now = begin + since * SECOND
        await here.tell()
    here.process.now.now += timedelta(days=7)
    assert [one["type"] for one in await here.told()] == ["PAYMENT_AGREEMENT_ACTIVE"] * 15
    assert [row[0] for row in await here.process.fetch("SELECT state FROM deliveries")] == ["given_up"]


async def test_where_order_is_asked_for_one_waits_for_the_one_before(here: Hooked):
    await here.set(ppro_webhook_order="strict")
    here.receiver.replies = [REFUSED]
    await here.client.charge()
    await here.tell()
    assert len(here.receiver.heard) == 1
    here.process.now.now += 15 * SECOND
    await here.tell()
    assert [json.loads(one.body)["type"].removeprefix("PAYMENT_") for one in here.receiver.heard] == [CREATED, CREATED, AUTHORIZED, CAPTURED]


# --------------------------------------------------------------------------------------------------------------- replays

async def test_what_is_replayed_has_the_ids_and_bytes_that_it_had(here: Hooked):
    """At another address, which knows nothing of it yet; the first one gets nothing twice."""
    made = await here.client.charge(1000, autoCapture=False)
    await here.client.capture(made, 1000)
    async with here.process.pool.acquire() as connection, connection.transaction():
        await tell(connection, 1, "ppro", "agr", 77, "PAYMENT_AGREEMENT_ACTIVE", {"paymentAgreementStatus": "ACTIVE"}, "", here.process.now())
    first = await here.told()
    assert len(first) == 4
    assert await webhooks.replay(here.process.pool, here.process.now(), here.process.directory, here.notifiers, *EVER) == 0
    async with receiving() as other:
        await here.set(ppro_webhook_url=other.url)
        await here.client.refund(made, 1000)        # what happened since changes nothing of what is told of before
        assert await webhooks.replay(here.process.pool, here.process.now(), here.process.directory, here.notifiers, *EVER) == 5
        await here.tell()
        again = {one.body for one in other.heard}
    assert {one.body for one in here.receiver.heard} < again and len(again) == 5


# ---------------------------------------------------------------------------------------------------------- beside charges

async def test_what_is_no_event_of_a_payment_is_told_in_its_own_words(here: Hooked):
    """Agreements and reports at the account's address or their own, disputes at theirs, in an envelope of their own."""
    agreement, dispute = here.client.service.engine.new_id(), here.client.service.engine.new_id()
    async with receiving() as disputes, receiving() as own:
        await here.set(ppro_dispute_webhook_url=disputes.url)
        async with here.process.pool.acquire() as connection, connection.transaction():
            for kind, subject, what, data, url in (
                ("agr", agreement, "PAYMENT_AGREEMENT_CREATED", {"paymentAgreementStatus": "INITIALIZING"}, ""),
                ("agr", agreement, "PAYMENT_AGREEMENT_ACTIVE", {"paymentAgreementStatus": "ACTIVE"}, own.url),
            ):
                await tell(connection, 1, "ppro", kind, subject, what, data, url, here.process.now())
            values = {"dispute": str(dispute), "payment": "7", "reference": "ORD-1", "moved": 300, "currency": "USD"}
            for number, what, door in (
                (11, Happened.MONEY_TAKEN, "ppro"), (12, Happened.WON, "ppro"), (13, Happened.MONEY_RETURNED, "ppro"), (14, Happened.LOST, "aps"),
            ):
                row = EventRow(number, what, json.dumps({**values, "door": door}).encode(), here.process.now())
                await dispute_events.tell(connection, 1, "dispute", dispute, 7, row)
        created, taken = sorted(await here.told(), key=lambda one: one["type"], reverse=True)
        (active,) = [here.read(one) for one in own.heard]
        (won,) = [here.read(one) for one in disputes.heard]
    name = here.client.service.names.make("agr", agreement)
    assert (created["type"], created["subject"], active["subject"]) == ("PAYMENT_AGREEMENT_CREATED", name, name)
    assert active["data"] == {
        "type": "PAYMENT_AGREEMENT_ACTIVE", "merchantId": here.client.headers["merchant-id"], "paymentAgreementStatus": "ACTIVE"}
    charge, name = here.client.service.names.make("charge", 7), here.client.service.names.make("dispute", dispute)
    assert (won["specversion"], won["source"], won["subject"], won["type"]) == ("0.0.1-SNAPSHOT", "", name, "DISPUTE_WON")
    assert won["data"] == {"eventId": won["id"], "disputeId": name, "paymentChargeId": charge, "merchantPaymentReference": "ORD-1"}
    assert won["id"].startswith("event_") and (taken["type"], taken["subject"]) == ("CHARGEBACK_SUCCEEDED", charge)
    assert taken["data"]["amount"] == {"value": 300, "currency": "USD"}


async def test_what_only_the_door_knows_of_a_charge_stands_beside_its_events(here: Hooked):
    """The first event of both rows, at the same address: neither takes the other's place."""
    made = await here.client.charge()
    payment = here.client.service.names.read("charge", made["id"])
    async with here.process.pool.acquire() as connection, connection.transaction():
        await tell(connection, 1, "ppro", "charge", payment, "CHARGEBACK_SUCCEEDED", {"paymentChargeId": made["id"]}, "", here.process.now())
    told = await here.told()
    assert sorted(one["type"] for one in told) == [
        "CHARGEBACK_SUCCEEDED", *(f"PAYMENT_{what}" for what in (AUTHORIZED, CAPTURED, CREATED))]
    assert len({one["id"] for one in told}) == 4 and {one["subject"] for one in told} == {made["id"]}


# ----------------------------------------------------------------------------------------------------------- killed midway

async def test_a_sender_that_is_killed_while_it_delivers_is_followed_by_another(here: Hooked):
    """The receiver hears one event twice, with one id; each delivery ends once."""
    here.receiver.replies = [OK]
    await here.client.charge()
    await here.follower.run()
    found = await jobs.claim(here.process.pool, "delivery", now=here.process.now(), holder="killed", lease=10.0, per_merchant=8, limit=1, after=-1)
    assert found
    await here.process.pool.execute("UPDATE jobs SET leased_until = '-infinity'")
    told = await here.told()
    assert [one["type"].removeprefix("PAYMENT_") for one in told] == [CREATED, AUTHORIZED, CAPTURED]
    assert await here.process.value("SELECT count(*) FROM deliveries WHERE state = 'delivered'") == 3


# ------------------------------------------------------------------------------------------------------------ instruments

INSTRUMENTS = [
    raw_card(), {"type": "BANK_ACCOUNT", "details": {"iban": "DE89370400440532013000", "holderName": "Jane Doe"}},
    raw_card() | {"validate": {"currency": "USD"}}]


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=["card", "account", "checked card"])
async def test_instruments_are_told_of_from_first_to_last(here: Hooked, instrument: dict[str, Any]):
    """Made, changed, deleted; neither a card's number nor an account's; and no charge, where a card is checked."""
    client = here.client
    made = (await client.post("/payment-instruments", instrument, key="i")).body
    assert (await client.post("/payment-instruments", instrument, key="i")).again
    path = f"/v1/payment-instruments/{made['id']}"
    changed = {name: value for name, value in instrument.items() if name != "validate"}
    assert (await client.send("PUT", path, json.dumps(changed).encode())).status == 200
    assert (await client.send("DELETE", path)).status == 204
    assert (await client.send("DELETE", path)).status == 404
    told = await here.told()
    assert [one["type"] for one in told] == [f"PAYMENT_INSTRUMENT_{what}" for what in ("CREATED", "DETAILS_UPDATED", "DELETED")]
    for one in told:
        assert one["subject"] == one["data"]["paymentInstrumentId"] == one["data"]["details"]["id"] == made["id"]
    assert [{"updateTimestamp", "deleteTimestamp"} & one["data"].keys() for one in told] == [set(), {"updateTimestamp"}, {"deleteTimestamp"}]
    heard = b"".join(one.body for one in here.receiver.heard)
    assert b"DE8937" not in heard and CARD["number"].encode() not in heard
    if instrument["type"] == "RAW_CARD":
        assert told[0]["data"]["details"] == made


async def test_a_card_that_is_refused_when_it_is_checked_is_told_of_nowhere(here: Hooked):
    here.process.processor.say(Declined("05"))
    assert (await here.client.post("/payment-instruments", INSTRUMENTS[2])).status == 422
    assert await here.types() == []


async def test_a_card_that_comes_with_a_charge_is_told_of_with_the_charge(here: Hooked):
    """And a newer one that the account updater knows by itself."""
    await here.client.charge(instrument=raw_card("4012888888881810"))
    assert sorted(await here.types()) == sorted([CREATED, AUTHORIZED, CAPTURED, "INSTRUMENT_DETAILS_UPDATED"])
