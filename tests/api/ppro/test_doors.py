"""One payment, two doors: begun at one, seen, captured and refunded at the other; what each says in every state."""
from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ringfence.api.ppro.names import Names
from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.engine.story import explain
from ringfence.operators import first_keys
from tests.api.ppro.asking import Client, charge
from tests.engine.composition import Process, Shop

pytestmark = pytest.mark.anyio


async def test_a_payment_of_aps_is_a_charge_here(one: Process, here: Shop, client: Client):
    """By its charge id and by the list's filter; what is done to it here, its own door tells."""
    answer = await here.authorize("both-1", "1000")
    name = client.service.names.make("charge", int(answer["fort_id"]))
    listed = (await client.get("/payment-charges?merchantPaymentChargeReference=both-1")).body["data"]
    made = (await client.get(f"/payment-charges/{name}")).body
    assert listed == [made] and made["status"] == "CAPTURE_PENDING" and made["currency"] == "AED" and made["paymentMethod"] == "CARD"
    assert made["authorizations"][0]["merchantPaymentChargeReference"] == "both-1"
    assert (await client.capture(made, 600))["status"] == "CAPTURED"
    status = await here.status("both-1")
    assert (status["captured_amount"], status["transaction_code"]) == ("600", "04000")
    assert (await here.refund("both-1", "100"))["response_code"] == "06000"
    assert (await client.void(made, 400))["status"] == "VOIDED" and (await client.read(made))["status"] == "CAPTURED"
    assert (await client.refund(made, 500))["status"] == "REFUNDED" and (await client.read(made))["status"] == "REFUNDED"
    assert (await here.status("both-1"))["refunded_amount"] == "600"
    await one.prove()


async def test_a_charge_is_a_payment_of_aps(here: Shop, client: Client):
    """By its ``fort_id`` alone: a reference belongs to its door."""
    made = await client.charge(1000, currency="AED", autoCapture=False, merchantPaymentChargeReference="both-2")
    fort_id = str(client.service.names.read("charge", made["id"]))
    assert (await here.status("both-2"))["response_code"] == "12036"
    told = await here.ask(query_command="CHECK_STATUS", fort_id=fort_id)
    assert (told["transaction_code"], told["authorized_amount"]) == ("02000", "1000")
    assert (await here.ask(command="CAPTURE", fort_id=fort_id, amount="1000", currency="AED"))["response_code"] == "04000"
    assert (await client.read(made))["status"] == "CAPTURED"
    assert (await here.ask(command="REFUND", fort_id=fort_id, amount="1000", currency="AED"))["response_code"] == "06000"
    assert (await client.read(made))["status"] == "REFUNDED"


async def test_the_same_reference_at_two_doors_is_two_payments(here: Shop, client: Client):
    """Neither stands in the other's way; the list shows both, newest first."""
    first = await here.purchase("both-3", "500")
    second = await client.charge(700, merchantPaymentChargeReference="both-3")
    listed = (await client.get("/payment-charges?merchantPaymentChargeReference=both-3")).body["data"]
    assert [one["id"] for one in listed] == [second["id"], client.service.names.make("charge", int(first["fort_id"]))]


async def test_a_story_is_found_by_either_name(one: Process, client: Client):
    """And tells both."""
    made = await client.charge(700, merchantPaymentChargeReference="both-4")
    names: Names = client.service.names
    number = names.read("charge", made["id"])
    assert number is not None
    for name in (made["id"], made["authorizations"][0]["id"], made["captures"][0]["id"], str(number), "both-4"):
        story = await explain(one.pool, name, keys=first_keys, number_of=names.operation, names_of=lambda number: {"charge": names.make("charge", number)})
        assert story is not None and [chapter.payment_id for chapter in story.chapters] == [number]
        assert made["id"] in story.sentences[0]


async def _refund_all(here: Shop, client: Client, made: dict[str, Any]) -> None:
    await client.refund(made, 1000)


async def _half(here: Shop, client: Client, made: dict[str, Any]) -> None:
    await client.capture(made, 400)


async def _half_and_back(here: Shop, client: Client, made: dict[str, Any]) -> None:
    await client.capture(made, 400)
    await client.refund(made, 400)


async def _half_and_rest(here: Shop, client: Client, made: dict[str, Any]) -> None:
    await client.capture(made, 400)
    await client.void(made, 600)


async def _all(here: Shop, client: Client, made: dict[str, Any]) -> None:
    await client.capture(made, 1000)


async def _void(here: Shop, client: Client, made: dict[str, Any]) -> None:
    await client.void(made, 1000)


async def _lost(here: Shop, client: Client, made: dict[str, Any]) -> None:
    here.process.processor.say(Unknown(Silence.NO_ANSWER))
    await client.post(f"/payment-charges/{made['id']}/captures", {"amount": 1000})


async def _nothing(here: Shop, client: Client, made: dict[str, Any]) -> None:
    pass


#: What happens to a charge of 1000 -> what PPRO and APS (CHECK_STATUS) say then.  docs/doors.md shows this table.
STATES: dict[str, tuple[bool, Any, Callable[[Shop, Client, dict[str, Any]], Awaitable[None]], str, str]] = {
    "authorized":                       (False, None, _nothing, "CAPTURE_PENDING", "02000"),
    "purchased":                        (True, None, _nothing, "CAPTURED", "14000"),
    "declined":                         (True, Declined("51"), _nothing, "FAILED", "13029"),
    "nobody knows":                     (True, Unknown(Silence.NO_ANSWER), _nothing, "AUTHORIZATION_ASYNC", "15777"),
    "captured in part":                 (False, None, _half, "CAPTURE_PENDING", "04000"),
    "captured in part, that returned":  (False, None, _half_and_back, "CAPTURE_PENDING", "06000"),
    "captured in part, the rest given back": (False, None, _half_and_rest, "CAPTURED", "04000"),
    "captured":                         (False, None, _all, "CAPTURED", "04000"),
    "given back":                       (False, None, _void, "VOIDED", "08000"),
    "returned":                         (True, None, _refund_all, "REFUNDED", "06000"),
    "nobody knows of its capture":      (False, None, _lost, "CAPTURE_PROCESSING", "15777"),
}


@pytest.mark.parametrize("name", STATES)
async def test_each_door_says_what_is_nearest_to_the_truth(here: Shop, client: Client, name: str):
    """APS never 08 where something was captured, PPRO never REFUNDED while money is still capturable."""
    captures, said, happens, ppro, aps = STATES[name]
    if said is not None:
        here.process.processor.say(said)
    made = (await client.post("/payment-charges", charge(1000, autoCapture=captures))).body
    await happens(here, client, made)
    fort_id = str(client.service.names.read("charge", made["id"]))
    told = await here.ask(query_command="CHECK_STATUS", fort_id=fort_id)
    assert ((await client.read(made))["status"], told["transaction_code"]) == (ppro, aps)
