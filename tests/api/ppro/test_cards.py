"""Cards at this door: test numbers by their last digits, instruments, network tokens, proofs from elsewhere, mandates from elsewhere."""
from __future__ import annotations

from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from ringfence.core.card import luhn_valid
from ringfence.core.outcomes import Declined
from ringfence.processors.simulator import stand_in
from ringfence.processors.simulator.scenarios import scenario_code
from tests.api.ppro import described
from tests.api.ppro.asking import CARD, Client, charge, raw_card
from tests.engine.composition import FOREIGN, Process

pytestmark = pytest.mark.anyio

TAILS = {
    # number               what stands in     whether the updater has news
    "4000009900510002":    ("0051",           False),      # one of our own scheme stands for itself
    "4111111111111100":    ("0000",           False),
    "5500000000000001":    ("0043",           False),
    "340000000000002":     ("0051",           False),
    "4111111111111110":    ("0000",           True),
    "4111111111111112":    ("0051",           True),
    "4111111111111111":    ("",               False),      # published test numbers of other doors mean nothing here
    "4242424242424242":    ("",               False),
    "9999990000000000":    ("0000",           False),      # nobody's brand
    "4111110100":          ("0000",           False),      # first and last digits are enough
}


@pytest.mark.parametrize("number", TAILS)
def test_the_last_two_digits_decide(number: str):
    """A number of our own scheme stands in, of the same brand."""
    scenario, is_news = TAILS[number]
    found, news = stand_in(number)
    assert (scenario_code(found) if found else "", news) == (scenario, is_news)
    assert not found or luhn_valid(found)


async def test_a_number_that_is_not_kept_pays_again_by_its_last_digits(one: Process, client: Client):
    """Of a stranger's card only the first and last digits are there, and they suffice."""
    made = await client.charge(instrument=raw_card("4111111111111100"))
    kept = await one.fetch("SELECT ciphertext FROM cards WHERE bin = '411111' AND last4 = '1100'")
    assert made["status"] == "CAPTURED" and len(kept) == 1
    assert one.processor.asked[-1].pan.reveal() == stand_in("4111111111111100")[0]
    again = await client.charge(instrument=None, instrumentId=made["instrumentId"])
    assert again["status"] == "CAPTURED" and one.processor.asked[-1].pan.reveal() == stand_in("4111111111111100")[0]


async def test_an_issuer_that_cannot_be_reached_is_an_error_of_ours(one: Process, client: Client):
    """Nobody was asked; it may work later."""
    asked = len(one.processor.asked)
    made = await client.charge(instrument=raw_card(FOREIGN))
    assert made["status"] == "FAILED" and made["failure"]["failureType"] == "INTERNAL_ERROR"
    assert (made["failure"]["failureCode"], made["failure"]["isRetryable"]) == ("INTERNAL_SERVICE_UNAVAILABLE", True)
    assert len(one.processor.asked) == asked


async def test_the_account_updater_renews_a_card(client: Client):
    """The charge says so, and the instrument expires later."""
    made = await client.charge(instrument=raw_card("4111111111111110"))
    assert made["instrumentUpdated"] is True
    shown = (await client.get(f"/payment-instruments/{made['instrumentId']}")).body
    assert (shown["details"]["expiryYear"], shown["details"]["last4Digits"]) == (CARD["expiryYear"] + 3, "1110")


async def test_an_instrument_is_made_read_replaced_and_deleted(client: Client):
    """Exactly id, type and details; nothing is found or charged by it afterwards."""
    made = await client.post("/payment-instruments", raw_card("4000009900008800", expiryMonth="1"), key="i")
    assert made.status == 200 and made.body.keys() == {"id", "type", "details"} and made.body["type"] == "CARD_PPRO_VAULTED"
    path = f"/payment-instruments/{made.body['id']}"
    assert made.body["details"] == {
        "brand": "VISA", "bin": "400000", "last4Digits": "8800", "expiryMonth": 1, "expiryYear": 2030, "holderName": "Jane Doe",
        "panAlias": made.body["id"]}
    again = await client.post("/payment-instruments", raw_card("4000009900008800", expiryMonth="1"), key="i")
    assert again.again and again.body == made.body and (await client.get(path)).body == made.body
    put = await client.send("PUT", f"/v1{path}", b'{"type":"RAW_CARD","details":{"number":"5555009900000000","holderName":"J","expiryMonth":2,"expiryYear":2031}}')
    assert put.status == 200 and (put.body["details"]["last4Digits"], put.body["details"]["expiryMonth"]) == ("0000", 2)
    assert (await client.charge(instrument=None, instrumentId=made.body["id"]))["status"] == "CAPTURED"
    assert client.process.processor.asked[-1].pan.reveal() == "5555009900000000"
    assert (await client.send("PUT", f"/v1{path}", b'{"type":"MOCK"}')).status == 409
    gone = await client.send("DELETE", f"/v1{path}")
    assert gone.status == 204 and gone.body == b""
    for answered in (await client.get(path), await client.send("DELETE", f"/v1{path}"), await client.send("PUT", f"/v1{path}", b'{"type":"MOCK"}')):
        assert answered.status == 404
    failed = await client.charge(instrument=None, instrumentId=made.body["id"])
    assert failed["failure"]["failureCode"] == "INSTRUMENT_NOT_FOUND"


@pytest.mark.parametrize("asked", [
    {"type": "BANK_ACCOUNT", "details": {"iban": "DE02120300000000202051", "holderName": "Jane Doe"}},
    {"type": "AMAZON_PAY", "details": {"consumerEmail": "jane@shop.example"}}, {"type": "PASSTHROUGH_WALLET"}, {"type": "MOCK"},
    {"type": "MOCK", "details": {"any": "map", "of": [1, {"more": None}], "NUL": "\0", "": ["12"], "number": "4000", "tokenNumber": 7}},
    {"type": "UPI_AUTOPAY", "details": {"uniqueMandateNumber": "u"}}, {"type": "TWINT_WALLET"},
], ids=lambda asked: asked["type"])
async def test_an_account_is_an_instrument_too(one: Process, client: Client, asked: dict[str, Any]):
    """Its details are sealed, and gone with it."""
    first = await client.post("/payment-instruments", asked, key=str(asked))
    made = first.body
    assert (await client.post("/payment-instruments", asked, key=str(asked))).body == made and not first.again
    assert made == {"id": made["id"], "type": asked["type"], "details": asked.get("details", {})}
    path, number = f"/payment-instruments/{made['id']}", client.service.names.read("instr", made["id"])
    assert (await client.get(path)).body == made
    sealed = await one.value("SELECT sealed FROM instruments WHERE instrument_id = $1", number)
    assert b"DE02" not in sealed and b"jane" not in sealed
    assert (await client.send("DELETE", f"/v1{path}")).status == 204 and (await client.get(path)).status == 404
    assert await one.value("SELECT sealed FROM instruments WHERE instrument_id = $1", number) == b""


async def test_a_card_may_be_validated_before_it_is_kept(one: Process, client: Client):
    """By a nominal authorization that is given back; a declined card is not kept."""
    asked = len(one.processor.asked)
    good = await client.post("/payment-instruments", raw_card("4000009900001100") | {"validate": {"currency": "USD"}})
    assert good.status == 200 and [one.kind for one in one.processor.asked[asked:]] == ["authorization", "void"]
    one.processor.say(Declined("51"))
    bad = await client.post("/payment-instruments", raw_card("4000009900001100") | {"validate": {"currency": "USD"}})
    assert bad.status == 422 and "Insufficient funds" in bad.body["failureMessage"]
    assert (await client.post("/payment-instruments", {"type": "MOCK", "validate": {"currency": "USD"}})).status == 400
    await one.prove()


async def test_a_network_token_pays_with_its_cryptogram(one: Process, client: Client):
    """Which goes to the issuer, and nowhere else."""
    token = {"type": "CARD_NETWORK_TOKEN", "details": {
        "brand": "VISA", "holderName": "Jane Doe", "expiryMonth": 12, "expiryYear": 2030, "tokenNumber": "4000009900002200", "eci": "7",
        "cryptogram": "AgAAAAAABk4DWZ4C28yUQAAAAAA="}}
    made = await client.charge(instrument=token)
    evidence = one.processor.asked[-1].evidence
    assert made["status"] == "CAPTURED" and evidence is not None and (evidence.cavv, evidence.eci) == ("AgAAAAAABk4DWZ4C28yUQAAAAAA=", "7")
    shown = (await client.get(f"/payment-instruments/{made['instrumentId']}")).body
    assert shown["type"] == "CARD_NETWORK_TOKEN" and "cryptogram" not in shown["details"]
    kept = await one.fetch("SELECT convert_from(details, 'UTF8') AS details FROM operations WHERE door = 'ppro' AND details IS NOT NULL")
    assert all("AgAAAAAA" not in row["details"] for row in kept)


EXTERNAL = {
    # authenticationStatus            what the issuer sees, and what becomes of the charge
    "SUCCESS":                       ("Y", "CAPTURED"),
    "ATTEMPT_ACKNOWLEDGED":          ("A", "CAPTURED"),
    "AUTHENTICATION_UNAVAILABLE":    ("U", "CAPTURED"),
    "FAILED":                        (None, "FAILED"),
}


@pytest.mark.parametrize("status", EXTERNAL)
async def test_a_proof_from_elsewhere_goes_to_the_issuer(one: Process, client: Client, status: str):
    """Who failed there is not asked for money."""
    carried, becomes = EXTERNAL[status]
    asked = len(one.processor.asked)
    made = await client.charge(authenticationSettings=[{"type": "EXTERNAL_3DS", "settings": {
        "authenticationStatus": status, "authenticationValue": "AAECAwQFBgcICQoLDA0ODxAREhM=", "eci": "05", "version": "2.2.0", "externalId": "ds-9"}}])
    assert made["status"] == becomes
    if carried is None:
        assert len(one.processor.asked) == asked and made["failure"]["failureCode"] == "AUTHENTICATION_FAILED"
    else:
        evidence = one.processor.asked[-1].evidence
        assert evidence is not None and (evidence.status, evidence.eci, evidence.ds_id) == (carried, "05", "ds-9")
        assert bool(evidence.cavv) == (carried != "U")


NO_RESULT = {
    # what stands for a result            whether that is enough
    "out of scope":                      ({"outOfScope": {"reason": "ONE_LEG_OUT"}}, True),
    "out of scope, and no word why":     ({"outOfScope": {}}, True),
    "exempt":                            ({"challenge": {"exemptionReason": "LOW_VALUE"}}, True),
    "nothing":                           ({}, False),
    "a challenge that says nothing":     ({"challenge": {"preference": "DATA_ONLY"}, "eci": "05"}, False),
    "null":                              ({"outOfScope": None, "authenticationStatus": None, "challenge": None}, False),
    "no settings":                       (None, False),
}


@pytest.mark.parametrize(("settings", "is_enough"), NO_RESULT.values(), ids=NO_RESULT)
async def test_nobody_need_have_been_authenticated_elsewhere(one: Process, client: Client, settings: dict[str, Any] | None, is_enough: bool):
    """Where strong authentication does not apply there is no result; the issuer is asked without one."""
    asked = len(one.processor.asked)
    answered = await client.post("/payment-charges", charge(authenticationSettings=[{"type": "EXTERNAL_3DS", "settings": settings}]))
    if is_enough:
        assert answered.body["status"] == "CAPTURED" and one.processor.asked[-1].evidence is None
    else:
        assert answered.status == 400 and len(one.processor.asked) == asked
        assert answered.body["failureMessage"] == (
            "authenticationSettings[0].settings.authenticationStatus is required without outOfScope or challenge.exemptionReason")


async def test_what_is_compulsory_is_not_out_of_scope(one: Process, client: Client):
    """Where the merchant wants every cardholder authenticated, a word that nobody need be does not do."""
    asked = len(one.processor.asked)
    await one.directory.change(client.identifier, {"three_d_secure": "required"})
    try:
        scope = {"type": "EXTERNAL_3DS", "settings": {"outOfScope": {"reason": "ANONYMOUS"}}}
        failed = await client.charge(authenticationSettings=[scope])
        assert failed["failure"]["failureCode"] == "INVALID_AUTHENTICATION_SETTINGS" and len(one.processor.asked) == asked
        one.issuers.challenge("c-scope")
        back = {"type": "3DS", "settings": {"returnUrl": "https://shop.example/back"}}
        assert (await client.charge(authenticationSettings=[scope, back]))["status"] == "AUTHENTICATION_PENDING"
        settings = {"outOfScope": {"reason": "MOTO"}}
        by_mail = await client.charge(paymentMedium="MOTO", authenticationSettings=[{"type": "EXTERNAL_3DS", "settings": settings}])
        assert by_mail["status"] == "CAPTURED"
    finally:
        await one.directory.change(client.identifier, {"three_d_secure": "flexible"})


async def test_a_mandate_from_elsewhere_is_cited(one: Process, client: Client):
    """A merchant-initiated charge needs a first payment: ours, or one that the merchant names."""
    card = raw_card("4000009900003300")
    alone = await client.charge(instrument=card, initiator="MERCHANT", scheduleType="SCHEDULED")
    assert alone["status"] == "FAILED" and alone["failure"]["failureCode"] == "INVALID_INPUT_DATA"
    cited = await client.charge(instrument=card, initiator="MERCHANT", scheduleType="SCHEDULED", initialSchemeAuthorizationReference="MCC0815")
    assert cited["status"] == "CAPTURED" and one.processor.asked[-1].cited_reference == "MCC0815"


async def test_a_repeat_makes_no_further_instrument(one: Process, client: Client):
    """However often it comes."""
    before = await one.value("SELECT count(*) FROM tokens")
    made = [await client.charge(instrument=raw_card("4000009900004400"), key="once more") for _ in range(3)]
    assert made[0] == made[1] == made[2] and await one.value("SELECT count(*) FROM tokens") == before + 1
    other = await client.post("/payment-charges", charge(instrument=raw_card("4000009900004400", expiryMonth=11)), key="once more")
    assert other.status == 409


@pytest.mark.parametrize(("settings", "is_enough"), NO_RESULT.values(), ids=NO_RESULT)
def test_the_description_says_the_same_of_results_from_elsewhere(settings: dict[str, Any] | None, is_enough: bool):
    """Who follows it is not refused, and what it forbids is not taken."""
    schema = {"$ref": "#/components/schemas/AuthenticationSetting", "components": described.DOCUMENT["components"]}
    assert Draft202012Validator(schema).is_valid({"type": "EXTERNAL_3DS", **({} if settings is None else {"settings": settings})}) is is_enough
