"""Nobody loses a hold over a rate: what is asked about a trip near its end is answered all the same."""
from __future__ import annotations

import json
from datetime import timedelta

import pytest

from ringfence.api.jwo.door import Request
from ringfence.stores import SPARED, near_its_end
from tests.api.jwo.asking import STORE_ID, Client

pytestmark = pytest.mark.anyio


async def test_a_trip_near_its_end_is_spared(client: Client):
    trip, now = await client.enter("near-its-end"), client.process.now
    spared = near_its_end(client.trips, now)

    async def asked(body: bytes) -> bool:
        return await spared(Request("/v1/capture/charge", body, client.caller, "r-1"))

    good = json.dumps({"storeId": STORE_ID, "shoppingTripId": "near-its-end", "amount": {"amount": 1, "code": "USD"}}).encode()
    began = now()
    try:
        now.now = trip.expires_at - SPARED - timedelta(seconds=1)
        assert not await asked(good)
        now.now = trip.expires_at - SPARED
        assert await asked(good)
        for other in (b"", b"{}", good.replace(b"near-its-end", b"nobody"), good.replace(STORE_ID.encode(), b"OTHER")):
            assert not await asked(other)
    finally:
        now.now = began
