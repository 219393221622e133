"""Webhooks of the PPRO door about what is no charge: agreements, disputes, reports, instruments."""
from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ringfence.core.dispute import Happened
from ringfence.core.outcomes import Declined
from ringfence.engine import dispute_events
from ringfence.engine.door_events import tell
from ringfence.storage.disputes import EventRow
from tests.api.ppro.asking import CARD, raw_card
from tests.api.ppro.hooking import AUTHORIZED, CAPTURED, CREATED, Hooked, hooked
from tests.background.receiver import receiving

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(database: str) -> AsyncIterator[Hooked]:
    async with hooked(database) as one:
        yield one


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
