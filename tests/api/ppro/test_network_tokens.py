"""Network tokens as instruments: with their number, without it, and what comes to them later."""
from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.ppro.asking import CONSUMER, Answered, Client, charge, raw_card
from tests.api.ppro.hooking import hooked
from tests.engine.composition import Process

pytestmark = pytest.mark.anyio

KIND = "CARD_NETWORK_TOKEN"
CRYPTOGRAM = "AgAAAAAABk4DWZ4C28yUQAAAAAA="
WHOLE = {"brand": "VISA", "holderName": "Jane Doe", "expiryMonth": 12, "expiryYear": 2030, "tokenNumber": "4000009900000004"}


def token(**details: Any) -> dict[str, Any]:
    return {"type": KIND, "details": details}


async def put(client: Client, made: dict[str, Any], **details: Any) -> Answered:
    return await client.send("PUT", f"/v1/payment-instruments/{made['id']}", json.dumps(token(**details)).encode())


async def kept(client: Client, **details: Any) -> dict[str, Any]:
    answered = await client.post("/payment-instruments", token(**details))
    assert answered.status == 200, answered
    return answered.body


@pytest.mark.parametrize("details", [
    {"brand": "VISA"}, {"brand": "VISA", "holderName": "Jane Doe"}, {"brand": "MASTERCARD", "expiryMonth": 1, "expiryYear": 2031}])
async def test_a_network_token_may_come_without_its_number(client: Client, details: dict[str, Any]):
    """What is told of it is kept sealed, and told again; a cryptogram and what belongs to it are not kept."""
    made = await kept(client, **details, cryptogram=CRYPTOGRAM, eci="07")
    assert made == {"id": made["id"], "type": KIND, "details": details}
    assert (await client.get(f"/payment-instruments/{made['id']}")).body == made
    number = client.service.names.read("instr", made["id"])
    found = await client.service.instruments.find(client.service.directory.merchant(client.identifier).merchant_id, number)
    assert found is not None and found.details == details


async def test_nothing_is_charged_by_a_token_without_a_number(one: Process, client: Client):
    """A charge and an agreement fail, and say why; nobody is asked."""
    made, asked = await kept(client, brand="VISA"), len(one.processor.asked)
    failed = await client.charge(instrument=None, instrumentId=made["id"])
    assert failed["status"] == "FAILED" and failed["failure"] == {
        "failureType": "INTERNAL_DECLINE", "failureCode": "INVALID_INPUT_DATA", "failureMessage": "The number of the network token was never given",
        "isRetryable": False}
    agreed = (await client.post("/payment-agreements", {"paymentMethod": "CARD", "consumer": CONSUMER, "instrumentId": made["id"]})).body
    assert agreed["status"] == "FAILED" and agreed["failure"]["failureCode"] == "INVALID_INPUT_DATA"
    assert len(one.processor.asked) == asked


async def test_a_number_may_be_put_to_a_token_later(one: Process, client: Client):
    """Then it is charged by the same id; its brand stays told as it was given."""
    made = await kept(client, brand="VISA")
    answered = await put(client, made, **WHOLE | {"brand": "ELECTRON"})
    assert answered.status == 200 and answered.body == {"id": made["id"], "type": KIND, "details": {
        "brand": "ELECTRON", "bin": "400000", "last4Digits": "0004", "expiryMonth": 12, "expiryYear": 2030, "holderName": "Jane Doe",
        "panAlias": made["id"]}}
    assert (await client.get(f"/payment-instruments/{made['id']}")).body == answered.body
    assert (await client.charge(instrument=None, instrumentId=made["id"]))["status"] == "CAPTURED"
    assert one.processor.asked[-1].pan.reveal() == WHOLE["tokenNumber"]


async def test_a_number_stays_where_none_is_put(one: Process, client: Client):
    """Nobody can read it back to send it again; what is said of it changes."""
    made = await kept(client, **WHOLE)
    answered = await put(client, made, brand="VISA", expiryYear=2032)
    assert answered.status == 200 and answered.body["details"] == made["details"] | {"expiryYear": 2032}
    assert (await client.charge(instrument=None, instrumentId=made["id"]))["status"] == "CAPTURED"
    assert (one.processor.asked[-1].pan.reveal(), one.processor.asked[-1].expiry) == (WHOLE["tokenNumber"], "3212")


async def test_what_is_put_to_a_token_without_a_number_replaces_it(client: Client):
    """As with any account."""
    made = await kept(client, brand="VISA", holderName="Jane Doe")
    assert (await put(client, made, brand="MASTERCARD")).body == {"id": made["id"], "type": KIND, "details": {"brand": "MASTERCARD"}}
    assert (await client.send("PUT", f"/v1/payment-instruments/{made['id']}", json.dumps(raw_card()).encode())).status == 409


@pytest.mark.parametrize("details", [{"brand": "VISA"}, WHOLE], ids=["without its number", "with it"])
async def test_a_deleted_token_comes_back_by_nothing(client: Client, details: dict[str, Any]):
    made = await kept(client, **details)
    assert (await client.send("DELETE", f"/v1/payment-instruments/{made['id']}")).status == 204
    for answered in (await client.get(f"/payment-instruments/{made['id']}"), await put(client, made, **WHOLE),
                     await client.send("DELETE", f"/v1/payment-instruments/{made['id']}")):
        assert answered.status == 404
    failed = await client.charge(instrument=None, instrumentId=made["id"])
    assert failed["failure"]["failureCode"] == "INSTRUMENT_NOT_FOUND"


async def test_a_number_does_not_bring_back_what_is_deleted_meanwhile(one: Process, client: Client, monkeypatch: pytest.MonkeyPatch):
    """The deletion is committed between the look at the instrument and the number's commit."""
    made, put_card = await kept(client, brand="VISA"), client.service.instruments.put_card

    async def late(*asked: Any) -> bool:
        assert (await client.send("DELETE", f"/v1/payment-instruments/{made['id']}")).status == 204
        return await put_card(*asked)

    monkeypatch.setattr(client.service.instruments, "put_card", late)
    assert (await put(client, made, **WHOLE)).status == 404
    assert (await client.get(f"/payment-instruments/{made['id']}")).status == 404
    assert await one.value("SELECT count(*) FROM tokens WHERE token_name = $1", made["id"]) == 0


@pytest.mark.parametrize("missing", ["brand", "holderName", "expiryMonth", "expiryYear"])
async def test_a_number_needs_what_it_is_charged_with(client: Client, missing: str):
    """Whether it is made with it or put to it."""
    details = {name: value for name, value in WHOLE.items() if name != missing}
    for answered in (await client.post("/payment-instruments", token(**details)), await put(client, await kept(client, brand="VISA"), **details)):
        assert answered.status == 400 and answered.body["extensions"]["fields"][0]["path"] == f"details.{missing}"
        assert answered.body["failureMessage"].startswith(f"details.{missing} is required")


async def test_a_charge_needs_the_whole_token(client: Client):
    """It is only kept without its number, never charged."""
    answered = await client.post("/payment-charges", charge(instrument=token(brand="VISA")))
    assert answered.status == 400 and answered.body["extensions"]["fields"][0]["path"] == "instrument.details.holderName"


async def test_a_token_is_told_of_at_every_change(database: str):
    """Made without its number, given one, deleted."""
    async with hooked(database) as here:
        made = await kept(here.client, brand="VISA")
        await put(here.client, made, **WHOLE)
        await here.client.send("DELETE", f"/v1/payment-instruments/{made['id']}")
        told = await here.told()
    assert [event["type"] for event in told] == [f"PAYMENT_INSTRUMENT_{what}" for what in ("CREATED", "DETAILS_UPDATED", "DELETED")]
    assert [event["data"]["details"]["details"].get("last4Digits") for event in told] == [None, "0004", "0004"]
    assert told[0]["data"]["details"] == made


async def test_a_charge_by_its_id_tells_what_it_is(database: str):
    """In the event as in the instrument itself; the second time it is at hand."""
    async with hooked(database) as here:
        made = await kept(here.client, **WHOLE)
        for _ in range(2):
            await here.client.charge(instrument=None, instrumentId=made["id"])
        told = [event["data"] for event in await here.told() if event["type"] == "PAYMENT_CHARGE_CREATED"]
    assert [one["instrument"]["type"] for one in told] == [KIND] * 2


@pytest.mark.parametrize("asked", [raw_card(), token(**WHOLE)], ids=lambda asked: asked["type"])
async def test_another_number_under_the_same_key_is_another_request(client: Client, asked: dict[str, Any]):
    """It would be told that its number is kept, and another one was."""
    first = await client.post("/payment-instruments", asked, key=f"kept {asked['type']}")
    assert first.status == 200
    name = "number" if "number" in asked["details"] else "tokenNumber"
    other = asked | {"details": asked["details"] | {name: "4000009900007700"}}
    assert (await client.post("/payment-instruments", other, key=f"kept {asked['type']}")).status == 409
    again = await client.post("/payment-instruments", asked, key=f"kept {asked['type']}")
    assert again.again and again.body == first.body
    await client.send("DELETE", f"/v1/payment-instruments/{first.body['id']}")
