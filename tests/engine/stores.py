"""A store with a gate, on a process in miniature: its reader records the same of every card, and its issuer says what the test wrote down."""
from __future__ import annotations

import itertools
from typing import Any

from ringfence.core.card import Pan
from ringfence.core.emv import CardRead, Presented
from ringfence.core.trip import TripRefusal
from ringfence.engine.gates import Coming, Gates, Shut
from ringfence.engine.trips import Adjusted, Trip, Trips
from ringfence.storage import trips as rows
from ringfence.storage.trips import StoreRow
from tests.engine.composition import Process, Shop

CARD = "4000009900000004"
KEY = b"k" * 32
GUEST = "guest"


class Reader:
    """Records what every contactless card has."""

    async def read(self, pan: Pan, expiry: str, presented: Presented | None, minor: int, terminal: str) -> CardRead:
        return CardRead(
            entry_mode="07", brand="VISA", tail=pan.reveal()[-4:], expiry=expiry, application_id="A0000000031010", cryptogram_information="80",
            cvm_result="1F0302", terminal_id=terminal)


class Store:
    """STORE-1 of a merchant: 20.00 USD at the gate, and nothing below 5.00."""

    def __init__(self, shop: Shop, process: Process | None = None) -> None:
        self.process, self.shop = process or shop.process, shop
        one = self.process
        self.trips = Trips(
            one.pool, one.engine, one.reading, one.directory, processor="scripted", content_key=KEY, now=one.now)
        self.gates = Gates(
            one.pool, one.engine, one.vault, self.trips, Reader(), processor="scripted", content_key=KEY, now=one.now)
        self.trips.reopen = lambda row: self.gates.reopen(shop.account, row)
        self._names = (f"trip-{number}" for number in itertools.count(1))

    @property
    def merchant_id(self) -> int:
        return self.shop.account.merchant_id

    async def built(self, **changed: Any) -> Store:
        row = StoreRow(self.merchant_id, "STORE-1", "Corner Store", "USD", 2000, 500, ("1 Main Street", "Springfield"), "M-4711", ("GATE0007",))
        await rows.put_store(self.process.pool, row._replace(**changed), self.process.now())
        return self

    async def come(self, **coming: Any) -> Trip | Shut | Any:
        """Somebody comes to the gate."""
        given = {"name": next(self._names), "pan": Pan(CARD), "expiry": "3912"} | coming
        return await self.gates.open(Coming(self.shop.account, "STORE-1", **given))

    async def enter(self, **coming: Any) -> Trip:
        """... who is let in."""
        trip = await self.come(**coming)
        assert isinstance(trip, Trip), trip
        return trip

    async def find(self, trip: Trip) -> Trip:
        found = await self.trips.find(self.merchant_id, "STORE-1", trip.name)
        assert found is not None
        return found

    async def adjust(self, trip: Trip, minor: int) -> Adjusted | TripRefusal:
        return await self.trips.adjust(await self.find(trip), minor, "USD", "test")

    async def capture(self, trip: Trip, minor: int) -> TripRefusal | None:
        return await self.trips.capture(await self.find(trip), minor, "USD", "test")

    async def cancel(self, trip: Trip) -> TripRefusal | None:
        return await self.trips.cancel(await self.find(trip), "test")

    async def refund(self, trip: Trip, minor: int, request_id: str = "r1", reason: str = "OTHER") -> str | TripRefusal:
        return await self.trips.refund(await self.find(trip), minor, "USD", request_id, reason, "test")
