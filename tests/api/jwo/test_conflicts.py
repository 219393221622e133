"""Where the pages of Just Walk Out payments disagree, a merchant's settings choose (section 13)."""
from __future__ import annotations

from datetime import timedelta

import pytest

from ringfence.core.outcomes import Declined, Silence, Unknown
from tests.api.jwo.asking import Client
from tests.api.jwo.test_checkout import hand_in

pytestmark = pytest.mark.anyio

BAD, UNKNOWN = (400, "BadRequestException"), (400, "UnknownShoppingTrip")
EXPIRED, AGAIN = "ShoppingTripExpiredException", (503, "ServiceUnavailableException")
UUID = "7d1f0c52-6f0e-4a55-9a3e-0d9a4f6a1b20"


async def test_trips_that_must_be_called_by_a_uuid(client: Client):
    await client.enter("plain-words")
    await client.enter(UUID)
    async with client.setting(trip_names="uuid"):
        assert await client.adjust("plain-words") == BAD and await client.cancel("plain-words") == BAD
        assert (await client.charge("adjust", "plain-words")).headers["Ringfence-Reason"].startswith("shoppingTripId must ")
        assert await hand_in(client, "plain-words") == (400, "InvalidRequestException")
        assert await client.adjust(UUID) == ("APPROVED", 15.99)
        assert await client.adjust(UUID.upper()) == UNKNOWN
    assert await client.adjust("plain-words") == ("APPROVED", 15.99)


async def test_an_empty_store_that_fits_its_form_has_no_trip(client: Client):
    await client.enter("whose-store")
    assert await client.adjust("whose-store", storeId="") == BAD
    async with client.setting(store_may_be_empty="on"):
        assert await client.adjust("whose-store", storeId="") == await client.cancel("whose-store", storeId="") == UNKNOWN
        assert await client.adjust("whose-store", storeId=" ") == await client.adjust("whose-store", storeId=None) == BAD
        assert await client.adjust("whose-store", "15.99", storeId="") == BAD
        assert await hand_in(client, "whose-store", storeId="") == (400, "UnknownShoppingTripException")


@pytest.mark.parametrize(("unit", "at", "said"), [
    ("seconds", 1768478400, "2026-01-15T12:00:00+00:00"), ("seconds", 1768478400000, None),
    ("milliseconds", 1768478400000, "2026-01-15T12:00:00+00:00"), ("milliseconds", 1768478400, "1970-01-21T11:14:38.400000+00:00")])
async def test_the_unit_of_a_report_s_time(client: Client, unit: str, at: int, said: str | None):
    await client.enter(f"time-{unit}-{at}")
    async with client.setting(trip_status_unit=unit):
        told = await client.report(f"time-{unit}-{at}", 64.10, 64.10, at)
    assert told == (200 if said else BAD) and [one[3].isoformat() for one in client.debts.heard] == ([said] if said else [])


async def test_an_adjust_that_nobody_knows_the_end_of_is_to_be_sent_again(client: Client):
    await client.enter("pending-or-not")
    client.process.processor.say(Unknown(Silence.NO_ANSWER))
    async with client.setting(trip_pending="off"):
        assert await client.adjust("pending-or-not", 25.50) == AGAIN
    assert await client.adjust("pending-or-not", 25.50) == ("PENDING", 25.5)


@pytest.mark.parametrize("status", ["404", "409", "410"])
async def test_the_status_of_an_expired_trip(client: Client, status: str):
    await client.enter(f"over-{status}")
    began = client.process.now()
    client.process.now.now = began + timedelta(hours=46)
    try:
        async with client.setting(trip_expired_status=status):
            assert await client.adjust(f"over-{status}") == await client.capture(f"over-{status}") == (int(status), EXPIRED)
            assert await hand_in(client, f"over-{status}") == (int(status), EXPIRED)
        assert await client.adjust(f"over-{status}") == (400, EXPIRED)
    finally:
        client.process.now.now = began


async def test_what_a_declined_adjust_tells(client: Client):
    """What stands; or what the last adjust that succeeded left, which is nothing where none did.  The issuer is asked once."""
    await client.enter("baseline")
    client.process.processor.say(Declined("51"))
    for baseline, told in (("preauth", 20), ("zero", 0)):
        async with client.setting(trip_decline_baseline=baseline):
            assert await client.adjust("baseline", 30) == ("DECLINED", told)


async def test_facts_of_the_card_before_the_capture(client: Client):
    await client.enter("early-facts")
    assert (await client.card_facts("early-facts")).error == BAD
    async with client.setting(trip_data_before_capture="on"):
        assert (await client.card_facts("early-facts")).status == 200
