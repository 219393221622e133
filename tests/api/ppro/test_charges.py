"""Charges by card: made, captured, voided, refunded and read, with failures inside of a 200."""
from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from tests.api.ppro.asking import CARD, Client, charge, raw_card
from tests.engine.composition import Process, process, shop
from tests.engine.recovering import able, end_doubts

pytestmark = pytest.mark.anyio


def failed(told: dict[str, Any], code: str, by: str = "INTERNAL_DECLINE") -> bool:
    return told["status"] == "FAILED" and (told["failure"]["failureType"], told["failure"]["failureCode"]) == (by, code)


def statuses(told: dict[str, Any]) -> dict[str, list[str]]:
    return {kind: [one["status"] for one in told[kind]] for kind in ("authorizations", "captures", "refunds", "voids", "discards")}


async def test_a_charge_captures_by_itself(client: Client):
    """Unless it says otherwise; its capture bears its reference, and there is no amount beside its operations."""
    made = await client.charge(1000, merchantPaymentChargeReference="order-1", labels={"shop": "north"})
    assert (made["status"], made["paymentMethod"], made["paymentMedium"], made["scheduleType"]) == ("CAPTURED", "CARD", "ECOMMERCE", "UNSCHEDULED")
    assert "amount" not in made and made["labels"] == {"shop": "north"} and made["paymentDescriptor"] == ""
    assert statuses(made) == {"authorizations": ["AUTHORIZED"], "captures": ["CAPTURED"], "refunds": [], "voids": [], "discards": []}
    assert made["captures"][0]["merchantCaptureReference"] == "order-1" and made["captures"][0]["amount"] == 1000
    assert made["authorizations"][0]["schemeAuthorizationReference"]
    assert await client.read(made) == made


@pytest.mark.parametrize("said", [
    Declined("51"), Declined("05", advice="03"), Declined("57", provider_code="HardDeclined"), Declined("05", provider_code="MockDecline"),
    Declined("14", "", "REF-1", "their own word")], ids=str)
async def test_a_decline_is_answered_as_it_is_read_later(one: Process, client: Client, said: Declined):
    """A wallet's own word included."""
    one.processor.say(said)
    made = await client.charge(1000)
    assert made["status"] == "FAILED" and made["failure"]["providerFailureCode"] == (said.provider_code or said.response_code)
    assert made == await client.read(made)


async def test_a_charge_is_captured_in_parts_and_its_rest_given_back(client: Client):
    """While a part is open the charge is CAPTURE_PENDING; all that was captured returned, it is REFUNDED."""
    made = await client.charge(2599, autoCapture=False)
    assert made["status"] == "CAPTURE_PENDING" and made["captures"] == []
    first = await client.capture(made, 1500, merchantCaptureReference="ship-1")
    assert (first["status"], first["amount"], first["merchantCaptureReference"]) == ("CAPTURED", 1500, "ship-1")
    assert (await client.read(made))["status"] == "CAPTURE_PENDING"
    assert (await client.refund(made, 1500))["status"] == "REFUNDED"
    assert (await client.read(made))["status"] == "CAPTURE_PENDING"         # money is still capturable
    assert (await client.void(made, 1099))["status"] == "VOIDED"
    assert (await client.read(made))["status"] == "REFUNDED"


async def test_a_void_of_everything_leaves_it_voided(client: Client):
    """In parts or at once."""
    made = await client.charge(1000, autoCapture=False)
    assert (await client.void(made, 400))["status"] == "VOIDED" and (await client.read(made))["status"] == "CAPTURE_PENDING"
    assert (await client.void(made, 600))["status"] == "VOIDED" and (await client.read(made))["status"] == "VOIDED"


async def test_a_decline_is_told_with_200(one: Process, client: Client):
    """In the charge and its authorization, with the issuer's code and whether it may work later."""
    one.processor.say(Declined("51"))
    made = await client.charge()
    assert failed(made, "INSUFFICIENT_FUNDS", "PROVIDER_DECLINE") and failed(made["authorizations"][0], "INSUFFICIENT_FUNDS", "PROVIDER_DECLINE")
    assert made["failure"] == {
        "failureType": "PROVIDER_DECLINE", "failureCode": "INSUFFICIENT_FUNDS", "providerFailureCode": "51", "failureMessage": "Insufficient funds",
        "isRetryable": True}
    one.processor.say(Declined("05", "03"))
    hard = (await client.charge())["failure"]
    assert (hard["failureCode"], hard["isRetryable"], hard["additionalData"]["merchantAdviceCode"]) == ("IS_GENERIC_DECLINE", False, "03")


REFUSED = {
    # what follows a charge of 1000                                                     the last one's failure
    "capture too much":      (False, [("captures", 1001)],                              "EXCEEDS_AUTHORIZED_AMOUNT"),
    "capture the rest twice": (False, [("captures", 1000), ("captures", 1)],            "NO_AUTHORIZED_AMOUNT"),
    "void too much":         (False, [("captures", 400), ("voids", 601)],               "EXCEEDS_AUTHORIZED_AMOUNT"),
    "void nothing":          (True, [("voids", 1)],                                     "NO_AUTHORIZED_AMOUNT"),
    "capture a void":        (False, [("voids", 1000), ("captures", 1)],                "NO_AUTHORIZED_AMOUNT"),
    "refund nothing":        (False, [("refunds", 1)],                                  "EXCEEDS_REFUNDABLE_AMOUNT"),
    "refund too much":       (True, [("refunds", 1001)],                                "EXCEEDS_CAPTURED_AMOUNT"),
    "refund the rest twice": (True, [("refunds", 1000), ("refunds", 1)],                "EXCEEDS_REFUNDABLE_AMOUNT"),
    "refund more than left": (True, [("refunds", 600), ("refunds", 500)],               "EXCEEDS_REFUNDABLE_AMOUNT"),
    "refund everything twice": (True, [("refunds", 1000), ("refunds", 1001)],           "EXCEEDS_REFUNDABLE_AMOUNT"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_the_amounts_do_not_allow_is_an_operation_that_failed(client: Client, name: str):
    """It has an id, is listed and found, and is mirrored to the charge; nothing moved."""
    captures, operations, code = REFUSED[name]
    made = await client.charge(1000, autoCapture=captures)
    for kind, minor in operations[:-1]:
        assert (await client.operate(made, kind, minor))["status"] != "FAILED"
    before = await client.read(made)
    kind, minor = operations[-1]
    told = await client.operate(made, kind, minor, labels={"a": "b"})
    assert failed(told, code) and told["amount"] == minor and told["labels"] == {"a": "b"}
    after = await client.read(made)
    assert after["status"] == before["status"] and after["failure"]["failureCode"] == code and after[kind] == [*before[kind], told]
    assert (await client.get(f"/payment-charges/{made['id']}/{kind}/{told['id']}")).body == told
    assert (await client.get(f"/payment-charges/{made['id']}/{kind}")).body["data"] == after[kind]


async def test_nobody_knows_of_a_capture_whose_answer_was_lost(one: Process, client: Client):
    """504, and the same key joins it: again while nobody knows."""
    made = await client.charge(1000, autoCapture=False)
    one.processor.say(Unknown(Silence.NO_ANSWER))
    for _ in range(2):
        answered = await client.post(f"/payment-charges/{made['id']}/captures", {"amount": 600}, key="ship")
        assert answered.status == 504 and not answered.again
    assert (await client.read(made))["status"] == "CAPTURE_PROCESSING" and (await client.read(made))["captures"] == []
    assert failed(await client.capture(made, 400), "SIMULTANEOUS_OPERATION_IN_PROGRESS")


@pytest.mark.parametrize(("kind", "end", "status"), [
    ("captures", lambda message: Approved(message.minor), "CAPTURED"), ("captures", Declined("05"), "FAILED"),
    ("voids", lambda message: Approved(message.minor), "VOIDED")])
async def test_a_key_whose_operation_was_in_doubt_is_told_how_it_ended(database: str, kind: str, end: Any, status: str):
    """What was said with 504 is no answer that is kept: the same key gets the operation once its end is known, and nothing is asked twice."""
    async with process(database) as one:
        one.processor.capabilities = able(inquiry=True)
        client = Client(one, (await shop(one)).identifier)
        made = await client.charge(1000, autoCapture=False)
        one.processor.say(Unknown(Silence.PENDING))
        one.processor.find(Unknown(Silence.PENDING), end)
        path, body = f"/payment-charges/{made['id']}/{kind}", {"amount": 600, "labels": {"a": "b"}}
        assert (await client.post(path, body, key="ship")).status == 504
        await end_doubts(one)
        ended = await client.post(path, body, key="ship")
        assert (ended.status, ended.again, ended.body["status"], ended.body["amount"]) == (200, True, status, 600)
        assert (await client.post(path, body, key="ship")).body == ended.body and (await client.read(made))[kind] == [ended.body]
        assert (await client.post(path, {"amount": 601}, key="ship")).status == 409


async def test_an_authorization_whose_answer_was_lost_is_told_as_asynchronous(one: Process, client: Client):
    """Never as a decline."""
    one.processor.say(Unknown(Silence.NO_ANSWER))
    made = await client.charge(autoCapture=False)
    assert made["status"] == "AUTHORIZATION_ASYNC" and statuses(made)["authorizations"] == ["PROVIDER_CONFIRMATION_PENDING"]
    assert failed(await client.capture(made, 1), "SIMULTANEOUS_OPERATION_IN_PROGRESS")


async def test_a_refund_whose_answer_was_lost_is_pending(one: Process, client: Client):
    """And the charge stays CAPTURED meanwhile."""
    made = await client.charge(1000)
    one.processor.say(Unknown(Silence.NO_ANSWER))
    assert (await client.refund(made, 1000))["status"] == "PENDING" and (await client.read(made))["status"] == "CAPTURED"


async def test_a_repeat_gets_the_first_answer(one: Process, client: Client):
    """Whatever became of the charge since; another body is a conflict, another path another request."""
    made = await client.charge(1000, key="k", autoCapture=False)
    await client.capture(made, 1000, key="k")
    again = await client.post("/payment-charges", charge(1000, autoCapture=False), key="k")
    assert again.status == 200 and again.again and again.body == made
    again = await client.post(f"/payment-charges/{made['id']}/captures", b'{ "amount" : 1000 }', key="k")
    assert again.status == 200 and again.again and again.body["status"] == "CAPTURED"
    assert (await client.post("/payment-charges", charge(1001, autoCapture=False), key="k")).status == 409
    assert (await client.post(f"/payment-charges/{made['id']}/captures", {"amount": 999}, key="k")).status == 409
    refused = await client.refund(made, 1001, key="r")
    again = await client.post(f"/payment-charges/{made['id']}/refunds", {"amount": 1001}, key="r")
    assert again.again and again.body == refused
    assert (await client.post(f"/payment-charges/{made['id']}/refunds", {"amount": 1000}, key="r")).status == 409


async def test_a_wrong_request_leaves_its_key_unused(client: Client):
    """It may be used again with a corrected body."""
    assert (await client.post("/payment-charges", charge(0), key="fresh")).status == 422
    assert (await client.post("/payment-charges", charge(1), key="fresh")).status == 200


async def test_a_key_is_free_again_a_day_after_its_operation_ended(database: str):
    """Business time; an operation in doubt keeps it."""
    async with process(database) as one:
        here = await shop(one)
        client = Client(one, here.identifier)
        made = await client.charge(1000, key="k")
        refused = await client.refund(made, 1001, key="r")
        one.now.now += timedelta(hours=23, minutes=59)
        assert (await client.charge(1000, key="k")) == made
        assert (await client.refund(made, 1001, key="r")) == refused
        one.now.now += timedelta(minutes=1)
        second = await client.charge(1000, key="k")
        assert second["id"] != made["id"] and await client.charge(1000, key="k") == second
        anew = await client.refund(made, 1001, key="r")
        assert anew["id"] != refused["id"] and await client.refund(made, 1001, key="r") == anew
        one.processor.say(Unknown(Silence.NO_ANSWER))
        doubtful = await client.charge(1000, key="d")
        one.now.now += timedelta(days=30)
        assert (await client.charge(1000, key="d"))["id"] == doubtful["id"]
        await one.prove()


async def test_charges_are_listed_by_their_reference(client: Client):
    """Which several may share; newest first, a page at a time."""
    made = [(await client.charge(100 + number, merchantPaymentChargeReference="shared"))["id"] for number in range(52)]
    first = (await client.get("/payment-charges?merchantPaymentChargeReference=shared")).body
    assert [one["id"] for one in first["data"]] == made[:1:-1]
    second = (await client.get(f"/payment-charges?merchantPaymentChargeReference=shared&page={first['nextPage']}")).body
    assert [one["id"] for one in second["data"]] == made[1::-1] and "nextPage" not in second
    itself = first["_links"]["self"]["href"].removeprefix("/v1")
    assert (await client.get(itself)).body == first and itself == "/payment-charges?merchantPaymentChargeReference=shared"
    assert (await client.get("/payment-charges?merchantPaymentChargeReference=nobody")).body["data"] == []
    for wrong in ("", "?agreementId=x&merchantPaymentChargeReference=y", "?merchantPaymentChargeReference=", "?page=x"):
        assert (await client.get(f"/payment-charges{wrong}")).status == 400
    assert (await client.get("/payment-charges?merchantPaymentChargeReference=shared&page=x")).status == 404


async def test_a_stored_instrument_pays_again(client: Client):
    """Cardholder with a fresh code, and the merchant citing the first payment; another merchant's instrument is not there."""
    made = await client.charge(instrument=raw_card("4000009900007777"))
    again = await client.charge(instrument=None, instrumentId=made["instrumentId"], instrumentUpdateDetails={"type": "RAW_CARD", "details": {"cvv": "123"}})
    assert again["status"] == "CAPTURED" and again["instrumentId"] == made["instrumentId"]
    merchants = await client.charge(instrument=None, instrumentId=made["instrumentId"], initiator="MERCHANT", scheduleType="SCHEDULED")
    assert (merchants["status"], merchants["initiator"], merchants["scheduleType"]) == ("CAPTURED", "MERCHANT", "SCHEDULED")
    asked = client.process.processor.asked[-1]
    assert asked.initiation == "recurring" and asked.cited_reference == made["authorizations"][0]["schemeAuthorizationReference"]
    for nobody in ("instr_" + "0" * 21, "instr_x", "charge_" + made["id"][7:]):
        assert failed(await client.charge(instrument=None, instrumentId=nobody), "INSTRUMENT_NOT_FOUND")


async def test_an_instrument_that_is_at_hand_is_charged_as_it_is_now(one: Process, client: Client):
    """Its next charge finds the card that was put behind it meanwhile; once deleted it pays nothing."""
    made = await client.charge(instrument=raw_card("4000009900007777"))
    named = {"instrument": None, "instrumentId": made["instrumentId"]}
    for _ in range(2):
        assert (await client.charge(**named))["status"] == "CAPTURED"
        assert one.processor.asked[-1].pan.reveal() == "4000009900007777"
    number, other = client.service.names.read("instr", made["instrumentId"]), Client(one, client.identifier)
    assert client.service.at_hand.find(client.service.vault, one.directory.merchant(client.identifier).merchant_id, made["instrumentId"]) is not None
    path = f"/v1/payment-instruments/{made['instrumentId']}"
    body = b'{"type":"RAW_CARD","details":{"number":"4000009900000004","holderName":"J","expiryMonth":2,"expiryYear":2031}}'
    assert number is not None and (await other.send("PUT", path, body)).status == 200
    assert (await client.charge(**named))["status"] == "CAPTURED"
    asked = one.processor.asked[-1]
    assert (asked.pan.reveal(), asked.expiry) == ("4000009900000004", "3102")
    assert (await other.send("DELETE", path)).status == 204
    assert failed(await client.charge(**named), "INSTRUMENT_NOT_FOUND")


async def test_another_merchants_charge_is_as_unknown_as_any(one: Process, client: Client):
    """Also under a key that acts for both, when the other is named."""
    other = await one.merchant("Other", access_code="Other1", request="PASSin", response="PASSout")
    made = await client.charge()
    for path in (made["id"], made["id"].replace("charge_", "authz_"), "charge_" + "0" * 21, "x", f"{made['id']}/captures/capture_x"):
        answered = await Client(one, other.identifier).get(f"/payment-charges/{path}")
        assert answered.status == 404
    assert (await Client(one, other.identifier).post(f"/payment-charges/{made['id']}/refunds", {"amount": 1})).status == 404


async def test_what_the_method_cannot_do_is_a_charge_that_failed(client: Client):
    """It can be read; nobody was asked."""
    asked = len(client.process.processor.asked)
    made = await client.charge(paymentMethod="PAY_BY_MOON")
    assert failed(made, "INVALID_PAYMENT_METHOD") and await client.read(made) == made
    assert len(client.process.processor.asked) == asked
    assert (await client.post("/payment-charges", charge(instrument=None))).body["failureMessage"] == "instrument is required"


async def test_no_answer_and_no_table_holds_the_card(one: Process, client: Client):
    """The number is the vault's alone, the code is nowhere."""
    await client.charge()
    kept = await one.fetch("SELECT convert_from(details, 'UTF8') AS details FROM operations WHERE door = 'ppro'")
    assert kept and all(CARD["number"] not in row["details"] and '"739"' not in row["details"] for row in kept)
    await one.prove()
