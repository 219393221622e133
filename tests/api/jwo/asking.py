"""A retailer's client at the door of stores, in front of a worker process in miniature.

Every exchange is held against the door's own description: a request that the description calls wrong is refused, an answer is exactly what it says.
"""
from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from jsonschema_rs import Draft202012Validator

from ringfence.api import openapi
from ringfence.api.jwo import checkout, describing, payments
from ringfence.api.jwo.door import Answer, Caller, Request
from ringfence.api.jwo.payments import Service
from ringfence.core.card import Pan
from ringfence.core.emv import CardRead, Presented
from ringfence.core.trip import TripRefusal
from ringfence.engine.credentials import Credential
from ringfence.engine.debts import Debts
from ringfence.engine.directory import Rejected
from ringfence.engine.gates import Coming, Gates
from ringfence.engine.orders import Orders
from ringfence.engine.settings import Settings, as_texts
from ringfence.engine.shoppers import Shoppers
from ringfence.engine.trips import Trip, Trips
from ringfence.storage import trips as rows
from ringfence.storage.trips import StoreRow
from tests.engine.composition import CARD, Process, Script

STORE_ID = "VALID_STORE_ID"
ENDPOINTS = {one.operation: one for one in (*payments.ENDPOINTS, *checkout.ENDPOINTS)}
DOCUMENT = openapi.document()
READ = CardRead(
    "07", "VISA", "0004", "2912", "00", "A0000000031010", "Visa Credit", "80", "0123456789ABCDEF", "1F0002", "0000008000", "E800", "06010A03A0B800",
    "0001", "89ABCDEF", "GATE0007", "00")


class Answered(NamedTuple):
    """What came back; ``body`` is ``None`` where there is truly none."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def error(self) -> tuple[int, str]:
        """Status and name of an error, which is all that its body says."""
        assert list(self.body) == ["errorMsg"], self
        return self.status, self.body["errorMsg"]


class Reports(Debts):
    """The register of debts, which lets tests see what it was told, and says what a test wants it to."""

    says: TripRefusal | None = None

    def __init__(self, one: Process) -> None:
        super().__init__(one.pool, one.directory, one.now, book=one.engine.notice)
        self.heard: list[tuple[str, int, int, datetime, str]] = []

    async def reported(self, trip: Trip, total: int, settled: int, at: datetime, actor: str) -> TripRefusal | None:
        self.heard.append((trip.name, total, settled, at, actor))
        return self.says or await super().reported(trip, total, settled, at, actor)


class Reader:
    """Records the same of every card."""

    async def read(self, pan: Pan, expiry: str, presented: Presented | None, minor: int, terminal: str) -> CardRead:
        return replace(READ, terminal_id=terminal)


class Client:
    """A retailer's server, whose requests are signed and let in."""

    def __init__(self, one: Process, identifier: str, stores: frozenset[str] = frozenset()) -> None:
        self.process, self.identifier, self.stores = one, identifier, stores
        self.debts, self.nudged = Reports(one), list[str]()
        self.trips = Trips(one.pool, one.engine, one.reading, one.directory, processor=Script.name, content_key=one.content_key, now=one.now)
        self.gates = Gates(
            one.pool, one.engine, one.vault, self.trips, Reader(), processor=Script.name, content_key=one.content_key, now=one.now)
        self.orders = Orders(one.pool, new_id=one.new_id, now=one.now, nudge=self.nudged.append)
        self.shoppers = Shoppers(one.pool, one.now)
        self.service = Service(self.trips, self.debts, self.shoppers, self.orders)

    @property
    def merchant_id(self) -> int:
        return self.caller.merchant.merchant_id

    @property
    def caller(self) -> Caller:
        merchant = self.process.directory.merchant(self.identifier)
        assert merchant is not None
        return Caller(merchant, Credential(merchant.merchant_id, self.identifier, "jwo", "AKIDRETAILER", "", "", ""), self.stores)

    async def send(self, operation: str, body: bytes) -> Answered:
        """One exchange."""
        endpoint = ENDPOINTS[operation]
        answer = await endpoint.handle(self.service, Request(endpoint.path, body, self.caller, "r-1"))
        assert wrong(endpoint.path, body, answer) == []
        return Answered(answer.status, json.loads(answer.body) if answer.body else None, dict(answer.headers))

    async def ask(self, operation: str, **fields: Any) -> Answered:
        """One exchange of JSON; a field that is ``...`` is left out."""
        return await self.send(operation, json.dumps({name: value for name, value in fields.items() if value is not ...}).encode())

    async def charge(self, operation: str, trip: str, amount: Any = 15.99, code: Any = "USD", **fields: Any) -> Answered:
        return await self.ask(operation, **{"storeId": STORE_ID, "shoppingTripId": trip, "amount": {"amount": amount, "code": code}, **fields})

    async def adjust(self, trip: str, amount: Any = 15.99, **fields: Any) -> tuple[str, Any] | tuple[int, str]:
        """Status and amount of an adjust that is answered with 200; else status and name of the error."""
        told = await self.charge("adjust", trip, amount, **fields)
        return (told.body["status"], told.body["authorizedAmount"]["amount"]) if told.status == 200 else told.error

    async def capture(self, trip: str, amount: Any = 15.99, **fields: Any) -> int | tuple[int, str]:
        return _plain(await self.charge("capture", trip, amount, **fields))

    async def cancel(self, trip: str, **fields: Any) -> int | tuple[int, str]:
        return _plain(await self.ask("cancel", **{"storeId": STORE_ID, "shoppingTripId": trip, **fields}))

    async def refund(self, trip: str, amount: Any = 4.25, request: str = "3b2f6a0e-9c41-4d7e-8f10-5a6b7c8d9e0f", reason: str = "DAMAGED_ITEM",
                     **fields: Any) -> Answered:
        return await self.charge("refund", trip, amount, refundRequestId=request, refundReasonCode=reason, **fields)

    async def card_facts(self, trip: str, **fields: Any) -> Answered:
        return await self.ask("transactional-data", **{"storeId": STORE_ID, "shoppingTripId": trip, **fields})

    async def report(self, trip: str, total: Any, settled: Any, at: Any = 1768478400, **fields: Any) -> int | tuple[int, str]:
        return _plain(await self.ask("feedback", **{
            "storeId": STORE_ID, "shoppingTripId": trip, "totalAmount": {"amount": total, "code": "USD"},
            "settledAmount": {"amount": settled, "code": "USD"}, "paymentStatusTime": at, **fields}))

    async def enter(self, name: str, hold: int = 2000, *, store: str = STORE_ID, currency: str = "USD") -> Trip:
        """A shopper goes in with a card: a hold of so many minor units, 0 for none."""
        one = self.process
        await rows.put_store(one.pool, StoreRow(
            self.merchant_id, store, "Corner Store", currency, 2000, 500, ("1 Main Street",), "M-4711", ("GATE0007",)), one.now())
        trip = await self.gates.open(Coming(
            self.caller.merchant, store, name, Pan(CARD["card_number"]), "2912", hold=hold))
        assert isinstance(trip, Trip) and trip.preauth == hold, trip
        return trip

    @asynccontextmanager
    async def setting(self, **settings: str) -> AsyncIterator[None]:
        """The merchant has it otherwise for a while."""
        before = as_texts(Settings())
        directory = self.process.directory
        assert not isinstance(await directory.change(self.identifier, settings), Rejected)
        try:
            yield
        finally:
            await directory.change(self.identifier, {name: before[name] for name in settings})

    async def find(self, name: str, store: str = STORE_ID) -> Trip:
        """The trip as it stands."""
        trip = await self.trips.find(self.merchant_id, store, name)
        assert trip is not None
        return trip


def _plain(told: Answered) -> int | tuple[int, str]:
    """200 for an answer without a body; else status and name of the error."""
    if told.status == 200:
        assert told.body is None
        return 200
    return told.error


def wrong(path: str, body: bytes, answer: Answer) -> list[str]:
    """What is not as described in one exchange."""
    row = describing.DESCRIBED[path]["post"]
    told = row["responses"].get(str(answer.status))
    if told is None:
        return [f"{answer.status} is not described"]
    faults = []
    if answer.status < 300:
        schema = row["requestBody"]["content"]["application/json"]["schema"]
        faults = [f"accepted, although {one}" for one in _faults(json.dumps(schema), json.loads(body))]
    if "content" not in told or (path == "/v1/refund" and answer.status == 200 and not answer.body):        # by a setting
        return faults + (["there is a body"] if answer.body else [])
    closed = _closed(told["content"]["application/json"]["schema"])
    return faults + _faults(json.dumps(closed), json.loads(answer.body))


def _faults(schema: str, value: Any) -> list[str]:
    return [f"{'/'.join(map(str, one.instance_path))}: {one.message}" for one in _judge(schema).iter_errors(value)]


@cache
def _judge(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema) | {"components": DOCUMENT["components"]})


def _closed(schema: Any) -> Any:
    """The same, with nothing in objects that is not described."""
    if not isinstance(schema, dict):
        return schema
    inner = {name: _closed(one) for name, one in schema.items()}
    return inner | {"additionalProperties": False} if isinstance(inner.get("properties"), dict) and "type" in inner else inner
