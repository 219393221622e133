"""Charges whose consumer is authenticated here: challenge, return, discard."""
from __future__ import annotations

from typing import Any

import pytest

from ringfence.api.ppro.returning import Returning
from ringfence.core.authentication import Status
from ringfence.engine.authenticating import read_address
from ringfence.engine.browser import Return
from ringfence.engine.sessions import Ending
from ringfence.processors.authenticator import Said
from tests.api.ppro.asking import Client, raw_card
from tests.engine.composition import AUTHENTICATED, BASE_URL, REJECTED, Process

pytestmark = pytest.mark.anyio
RETURN = "https://shop.example/return?order=1#top"


def three_d_secure(**settings: str) -> list[dict[str, Any]]:
    return [{"type": "3DS", "settings": {"returnUrl": RETURN, **settings}}]


async def challenged(one: Process, client: Client, acs_id: str, **fields: Any) -> dict[str, Any]:
    one.issuers.challenge(acs_id)
    made = await client.charge(authenticationSettings=three_d_secure(), **fields)
    assert made["status"] == "AUTHENTICATION_PENDING" and made["authorizations"][0]["status"] == "AUTHENTICATION_PENDING"
    return made


def page(made: dict[str, Any]):
    method, = made["authenticationMethods"]
    assert (method["type"], method["details"]["requestMethod"]) == ("3DS", "GET")
    assert method["details"]["requestUrl"].startswith(f"{BASE_URL}/3ds/")
    return read_address(method["details"]["requestUrl"].rsplit("/", 1)[1])


async def test_a_consumer_who_proves_himself_pays(one: Process, client: Client):
    """The address is bound to the charge, and the same at every look; behind it the browser goes where the merchant said."""
    made = await challenged(one, client, "c-good")
    assert (await client.read(made))["authenticationMethods"] == made["authenticationMethods"]
    address = page(made)
    assert await one.challenges.find(address) is not None
    one.issuers.results["c-good"] = AUTHENTICATED
    await one.challenges.carry_on(address.merchant_id, address.authentication_id)
    assert (await client.read(made))["status"] == "CAPTURED"
    returning = Returning(one.reading, one.directory, client.service.names, is_live=False)
    number = client.service.names.read("charge", made["id"])
    assert await returning.way(address.merchant_id, number) == Return(RETURN, "GET", {"payment-charge-id": made["id"]}, "en")


async def test_a_consumer_who_does_not_is_declined(one: Process, client: Client):
    made = await challenged(one, client, "c-bad")
    one.issuers.results["c-bad"] = REJECTED
    address = page(made)
    await one.challenges.carry_on(address.merchant_id, address.authentication_id)
    after = await client.read(made)
    assert after["status"] == "FAILED" and after["failure"]["failureCode"] == "AUTHENTICATION_FAILED"
    assert after["failure"]["failureType"] == "PROVIDER_DECLINE"


async def test_a_charge_that_waits_for_its_consumer_can_be_discarded(one: Process, client: Client):
    """Once; who comes back then finds it over."""
    made = await challenged(one, client, "c-late")
    path = f"/payment-charges/{made['id']}/discards"
    told = await client.post(path, {"merchantDiscardReference": "d-1"}, key="d")
    assert told.status == 200 and told.body["status"] == "DISCARDED" and told.body["merchantDiscardReference"] == "d-1"
    assert told.body["type"] == "MERCHANT_INITIATED_DISCARD" and "amount" not in told.body
    after = await client.read(made)
    assert after["status"] == "DISCARDED" and after["discards"] == [told.body] and "failure" not in after
    again = await client.post(path, {"merchantDiscardReference": "d-1"}, key="d")
    assert again.again and again.body == told.body
    one.issuers.results["c-late"] = AUTHENTICATED
    address = page(made)
    await one.challenges.carry_on(address.merchant_id, address.authentication_id)
    assert (await client.read(made))["status"] == "DISCARDED"
    await one.prove()


async def test_what_is_decided_is_not_discarded(one: Process, client: Client):
    made = await client.charge()
    told = (await client.post(f"/payment-charges/{made['id']}/discards", {})).body
    assert told["status"] == "FAILED" and told["failure"]["failureCode"] == "GENERIC_DECLINE"
    assert (await client.read(made))["status"] == "CAPTURED"


async def test_who_could_not_come_back_is_not_sent_away(one: Process, client: Client):
    """Without an address, or with one that the merchant does not allow."""
    asked = len(one.issuers.asked)
    for settings in ([{"type": "3DS"}], [{"type": "3DS", "settings": {"returnUrl": "javascript:alert(1)"}}]):
        made = await client.charge(authenticationSettings=settings)
        assert made["failure"]["failureCode"] == "INVALID_AUTHENTICATION_SETTINGS"
    assert len(one.issuers.asked) == asked


async def test_an_origin_that_is_no_longer_allowed_is_not_left_for(one: Process, client: Client):
    """The consumer is told how it ended instead."""
    made = await challenged(one, client, "c-moved", instrument=raw_card("4000009900006600"))
    address = page(made)
    one.issuers.results["c-moved"] = AUTHENTICATED
    await one.challenges.carry_on(address.merchant_id, address.authentication_id)
    returning = Returning(one.reading, one.directory, client.service.names, is_live=False)
    number = client.service.names.read("charge", made["id"])
    await one.directory.change(client.identifier, {"return_origins": "https://other.example"})
    assert await returning.way(address.merchant_id, number) == Ending("paid")
    await one.directory.change(client.identifier, {"return_origins": ""})
    assert isinstance(await returning.way(address.merchant_id, number), Return)


async def test_a_challenge_is_asked_for_where_the_merchant_prefers_one(one: Process, client: Client):
    """The issuer hears of it; else it is free to pass the consumer by."""
    for preference, indicator in (("CHALLENGE", "04"), ("FRICTIONLESS", "01")):
        one.issuers.say(Said(Status.AUTHENTICATED, eci="05", cavv=AUTHENTICATED.cavv, ds_id="d", version="2.2.0"))
        assert (await client.charge(authenticationSettings=three_d_secure(preference=preference)))["status"] == "CAPTURED"
        assert one.issuers.asked[-1].indicator == indicator
