"""A client of the PPRO door, as a merchant's server has one, in front of a worker process in miniature.

Every exchange is held against ``/v1/openapi.json``, and every answer is looked at: its content type, its envelope where it is an error, and that it holds no card number or code.
"""
from __future__ import annotations

import json
import re
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from ringfence.api.ppro import openapi
from ringfence.api.ppro.app import GlobalApi
from ringfence.api.ppro.disputes import report_words
from ringfence.api.ppro.door import Disputes, Service
from ringfence.api.ppro.names import Names
from ringfence.engine.addresses import rules_for
from ringfence.engine.authenticating import secrets_under
from ringfence.engine.dispute_reading import Cases
from ringfence.engine.dispute_reports import Reports
from ringfence.engine.disputes import Desk
from ringfence.engine.metrics import Metrics
from ringfence.engine.rates import Rates
from ringfence.global_api import ENDPOINTS, ppro_service
from tests.api.ppro import described
from tests.engine.composition import BASE_URL, Asked, Process

BODY_LIMIT = 100_000
CARD = {"brand": "VISA", "number": "4000009900000004", "cvv": "739", "holderName": "Jane Doe", "expiryMonth": 12, "expiryYear": 2030}
CONSUMER = {"name": "Jane Doe", "country": "US"}


def raw_card(number: str = CARD["number"], **changes: Any) -> dict[str, Any]:
    """An instrument of card data."""
    return {"type": "RAW_CARD", "details": {**CARD, "number": number, **changes}}


def charge(minor: int = 2599, currency: str = "USD", **fields: Any) -> dict[str, Any]:
    """The body of a charge by card; a field given as ``None`` is left out."""
    body = {
        "paymentMethod": "CARD", "amount": {"value": minor, "currency": currency}, "consumer": CONSUMER, "instrument": raw_card(), **fields}
    return {name: value for name, value in body.items() if value is not None}


class Answered(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def again(self) -> bool:
        """Whether it says that it is a repeat."""
        return self.headers.get("request-idempotency") == "true"


class Client:
    """A merchant's server."""

    goes_the_long_way = False   #: also where the head is known
    is_breaking = False  #: whether the test breaks the service itself, which the description promises never to happen

    def __init__(self, one: Process, identifier: str, *, rates: Rates | None = None, service: Service | None = None) -> None:
        self.process, self.identifier = one, identifier
        self.service = service or service_of(one)
        self.rates = rates or Rates(Path(tempfile.mkdtemp()) / "rates", time.time)
        self.api = GlobalApi(self.service, ENDPOINTS, self.rates, Metrics(1).row(0), body_limit=BODY_LIMIT)
        self.headers = {
            "authorization": f"Bearer key_sandbox_{identifier}", "merchant-id": f"merch_{identifier:0<21}", "content-type": "application/json"}

    async def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str | None] | None = None, *, key: str = "",
    ) -> Answered:
        """One exchange; a header given as ``None`` is left out."""
        path, _, query = path.partition("?")
        given = {**self.headers, **({"request-idempotency-key": key} if key else {}), **(headers or {})}
        headers_sent = [(name.encode(), value.encode("latin-1")) for name, value in given.items() if value is not None]
        learn = self.api.learning().get(path) if method == "POST" and not query and not self.goes_the_long_way else None
        known = learn(headers_sent) if learn is not None and len(body) <= BODY_LIMIT else None
        if known is not None:
            asked = Asked()
            rest = known.begin(body, "192.0.2.7", given.get("request-idempotency-key") or "", asked)
            text, of = await (asked.coming if rest is None else rest)
            first, *lines = known.head(text, of).decode("latin-1").rstrip().split("\r\n")
            return self._looked_at(
                method, path, query, body, given, int(first.split()[1]), dict(line.split(": ", 1) for line in lines), text)
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.api({
            "type": "http", "method": method, "path": path, "query_string": query.encode(), "client": ("192.0.2.7", 1),
            "headers": headers_sent,
        }, receive, send)
        told = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        text = b"".join(message.get("body", b"") for message in sent[1:])
        return self._looked_at(method, path, query, body, given, sent[0]["status"], told, text)

    def _looked_at(
        self, method: str, path: str, query: str, body: bytes, given: dict[str, str | None], status: int, told: dict[str, str], text: bytes,
    ) -> Answered:
        """An answer, held against the description and looked at for secrets."""
        takes = str(given.get("content-type") or "").partition(";")[0]
        if not (self.is_breaking and status == 500):
            assert described.wrong(method, path, query, body, status, told, text, takes) == []
        if path != openapi.PATH:                                # which names what may be sent
            assert CARD["number"].encode() not in text and b'"cvv"' not in text
            assert not re.search(rb'(?<![0-9A-Za-z])739"', text), "a security code; an id may end in its digits"
        answered = Answered(status, told, json.loads(text) if text and told["content-type"] == "application/json" else text)
        if answered.status >= 400 and answered.status != 401:
            assert answered.body["status"] == answered.status and answered.body["failureMessage"] and answered.body["timestamp"].endswith("Z")
        return answered

    async def post(self, path: str, body: Any, **options: Any) -> Answered:
        return await self.send("POST", f"/v1{path}", body if isinstance(body, bytes) else json.dumps(body).encode(), **options)

    async def get(self, path: str, **options: Any) -> Answered:
        return await self.send("GET", f"/v1{path}", **options)

    async def charge(self, minor: int = 2599, *, key: str = "", **fields: Any) -> dict[str, Any]:
        """A charge that is answered with 200."""
        answered = await self.post("/payment-charges", charge(minor, **fields), key=key)
        assert answered.status == 200, answered
        return answered.body

    async def operate(self, made: dict[str, Any], kind: str, minor: int, *, key: str = "", **fields: Any) -> dict[str, Any]:
        """A capture, void or refund that is answered with 200."""
        answered = await self.post(f"/payment-charges/{made['id']}/{kind}", {"amount": minor, **fields}, key=key)
        assert answered.status == 200, answered
        return answered.body

    async def capture(self, made: dict[str, Any], minor: int, **fields: Any) -> dict[str, Any]:
        return await self.operate(made, "captures", minor, **fields)

    async def void(self, made: dict[str, Any], minor: int, **fields: Any) -> dict[str, Any]:
        return await self.operate(made, "voids", minor, **fields)

    async def refund(self, made: dict[str, Any], minor: int, **fields: Any) -> dict[str, Any]:
        return await self.operate(made, "refunds", minor, **fields)

    async def read(self, made: dict[str, Any]) -> dict[str, Any]:
        """The charge as it stands."""
        answered = await self.get(f"/payment-charges/{made['id']}")
        assert answered.status == 200, answered
        return answered.body


def service_of(one: Process) -> Service:
    """The service behind the door of a process in miniature."""
    return ppro_service(
        is_live=False, base_url=BASE_URL, engine=one.engine, reading=one.reading, vault=one.vault, directory=one.directory,
        code_box=one.code_box, keyring=one.keyring, pool=one.pool, processors=one.processors,
        new_id=one.new_id, now=one.now, challenges=one.challenges, secret_of=secrets_under(one.content_key),
        disputes=disputes_of(one), rules=rules_for(False), redirects=one.redirects)


def disputes_of(one: Process) -> Disputes:
    """Disputes behind the door, whose processor takes every answer."""
    async def send(answer: object) -> bool:
        return True

    return Disputes(
        Desk(one.pool, one.keyring, one.now, one.new_id, book=one.engine.notice, send={one.processor.name: send}), Cases(one.pool, one.keyring, one.now),
        Reports(one.pool, one.now, one.new_id, report_words(Names(one.content_key)), timedelta(days=7)))
