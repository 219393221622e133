"""Agreements as a merchant's server makes them, what it is told of them, and a wallet that says what the test wrote down."""
from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import asyncpg

from ringfence.api.ppro.door import Away
from ringfence.api.ppro.mandates import Mandates
from ringfence.api.ppro.rendering import Facts, Renderer
from ringfence.background.agreements import queue
from ringfence.engine.agreements import Agreements
from ringfence.engine.charges import View
from ringfence.engine.directory import Merchant
from ringfence.storage import agreements as rows
from tests.api.ppro.asking import CONSUMER, Answered, Client, raw_card, service_of
from tests.engine.composition import Process
from tests.engine.recovering import claim_due

BACK = "https://shop.example/return"
REDIRECT = [{"type": "REDIRECT", "settings": {"returnUrl": BACK}}]
FIRST = {"amount": {"value": 1000, "currency": "USD"}, "merchantPaymentChargeReference": "sub-1"}


def agreement(method: str = "CARD", **fields: Any) -> dict[str, Any]:
    """The body of an agreement; a field given as ``None`` is left out."""
    body: dict[str, Any] = {"paymentMethod": method, "consumer": CONSUMER, "startDate": "2023-03-26T20:24:27Z"}
    if method == "CARD":
        body["instrument"] = raw_card()
    if method == "AMAZON_PAY":
        body["authenticationSettings"] = REDIRECT
    return {name: value for name, value in (body | fields).items() if value is not None}


class Wallet:
    """Where payers are sent, and what is told there that an agreement ended."""

    def __init__(self) -> None:
        self.sent: dict[int, Away] = {}
        self.closed: list[tuple[str, str]] = []
        self.is_silent = False
        self.payers: dict[str, str] = {}

    async def payer_email(self, merchant_id: int, method: str, account: str) -> str:
        return self.payers.get(account, "")

    async def send_away(self, merchant: Merchant, agreement_id: int, away: Away) -> bool:
        self.sent[agreement_id] = away
        return True

    def ways(self, merchant_id: int, agreement_id: int, ways: tuple[str, ...], made_at: datetime) -> list[dict[str, Any]]:
        return [{"type": "REDIRECT", "details": {"requestUrl": f"https://pay.example/wallet/{agreement_id}", "requestMethod": "GET"}}]

    async def close(self, merchant_id: int, method: str, account: str) -> bool:
        self.closed.append((method, account))
        return not self.is_silent


class AgreeingClient(Client):
    """A merchant's server whose payment methods all end at the scripted processor."""

    def __init__(self, one: Process, identifier: str) -> None:
        self.wallet, service = Wallet(), service_of(one)
        service.agreements._close = self.wallet.close
        super().__init__(one, identifier, service=service._replace(
            route=lambda merchant, method, brand: one.processor.name, renderer=Renderer(service.names, self._ways),
            send_away=self.wallet.send_away, ways_to_agree=self.wallet.ways,
            payer_email=self.wallet.payer_email))
        self.mandates, self._of_cards = Mandates(self.service), service.renderer

    def _ways(self, view: View, facts: Facts) -> list[dict[str, Any]]:
        """As for agreements; cards go to the page of their issuers."""
        if facts.echo.get("paymentMethod") == "CARD":
            return self._of_cards.methods(view)
        return self.wallet.ways(view.merchant_id, view.payment_id, (), view.first.asked_at) if view.first.result == "challenge" else []

    @property
    def agreements(self) -> Agreements:
        return self.service.agreements

    @property
    def merchant_id(self) -> int:
        merchant = self.process.directory.merchant(self.identifier)
        assert merchant is not None
        return merchant.merchant_id

    def number(self, made: dict[str, Any]) -> int:
        """The number of an agreement."""
        number = self.service.names.read("agr", made["id"])
        assert number is not None
        return number

    async def agree(self, method: str = "CARD", *, key: str = "", **fields: Any) -> dict[str, Any]:
        """An agreement that is answered with 200."""
        answered = await self.post("/payment-agreements", agreement(method, **fields), key=key)
        assert answered.status == 200, answered
        return answered.body

    async def agreement(self, made: dict[str, Any]) -> dict[str, Any]:
        """The agreement as it stands."""
        answered = await self.get(f"/payment-agreements/{made['id']}")
        assert answered.status == 200, answered
        return answered.body

    async def charge_under(self, made: dict[str, Any], minor: int = 900, *, key: str = "", **fields: Any) -> dict[str, Any]:
        """A charge under an agreement that is answered with 200."""
        answered = await self.ask_under(made, {"amount": {"value": minor, "currency": "USD"}, **fields}, key=key)
        assert answered.status == 200, answered
        return answered.body

    async def ask_under(self, made: dict[str, Any], body: Any, *, key: str = "") -> Answered:
        return await self.post(f"/payment-agreements/{made['id']}/payment-charges", body, key=key)

    async def revoke(self, made: dict[str, Any], *, key: str = "") -> dict[str, Any]:
        """The answer to a revocation."""
        answered = await self.post(f"/payment-agreements/{made['id']}/revocations", {}, key=key)
        assert answered.status == 200, answered
        return answered.body

    async def agreed(self, made: dict[str, Any], account: str = "S01-1234567-1234567") -> None:
        """The payer agrees, at the wallet."""
        await self.mandates.agreed(self.merchant_id, self.number(made), account)

    async def told(self, made: dict[str, Any]) -> list[str]:
        """What the merchant is told of it, in order: the events' words."""
        return [row["type"].removeprefix("PAYMENT_AGREEMENT_") for row in await self._events(made)]

    async def data(self, made: dict[str, Any]) -> list[dict[str, Any]]:
        """The same: what the events say."""
        return [json.loads(row["data"]) for row in await self._events(made)]

    async def _events(self, made: dict[str, Any]) -> list[asyncpg.Record]:
        return await self.process.fetch(
            "SELECT type, data FROM door_events WHERE merchant_id = $1 AND door = 'ppro' AND kind = 'agr' AND subject_id = $2 ORDER BY sequence",
            self.merchant_id, self.number(made))

    async def look(self) -> int:
        """One look at every agreement that is due; how many."""
        due, looking = await claim_due(self.process, rows.QUEUE), queue(self.agreements, self.mandates.settle)
        for job in due:
            await looking.run(job)
        return len(due)


def history(told: dict[str, Any]) -> list[str]:
    """Its changes of status."""
    return [entry["status"] for entry in told["history"]]
