"""A retailer of a sandbox that runs: shoppers come to its gate, and it charges them over the signed door."""
from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ringfence.api.jwo.sigv4 import sign
from tests.sandbox import Sandbox

CARD = "4000009900000004"


class Retailer:
    """One store of the sandbox's first merchant; 20.00 USD at its gate."""

    def __init__(self, sandbox: Sandbox, store: str) -> None:
        self.sandbox, self.store = sandbox, store
        self.key = sandbox.description["merchants"][0]["jwo"]
        sandbox.json("jwo", "store", "set", store, "--currency", "USD", "--hold", "20.00", "--title", "Corner Store", "--address", "1 Main Street",
                     "--address", "Springfield", "--merchant-shown", "000012345678901")

    def enter(self, *options: str, card: str = CARD) -> str:
        """Somebody comes in; the trip's name."""
        return self.sandbox.json("jwo", "trip", "open", "--store", self.store, "--card", card, *options)["trip"]

    def ask(self, path: str, trip: str, *, by: str = "shoppingTripId", **fields: Any) -> tuple[int, Any]:
        """Status and answer of one operation, signed."""
        body = json.dumps({"storeId": self.store, by: trip, **fields}).encode()
        headers = {"host": f"127.0.0.1:{self.sandbox.port}", "content-type": "application/json"}
        headers |= sign("POST", path, headers, body, access_key_id=self.key["access_key_id"], secret=self.key["secret_access_key"],
                        region=self.key["region"], at=datetime.now(UTC))
        try:
            with urlopen(Request(f"http://127.0.0.1:{self.sandbox.port}{path}", body, headers)) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def charge(self, trip: str, amount: str) -> None:
        """Adjust, then capture."""
        money = {"amount": float(Decimal(amount)), "code": "USD"}
        assert self.ask("/v1/adjust/charge", trip, amount=money)[1]["status"] == "APPROVED"
        assert self.ask("/v1/capture/charge", trip, amount=money)[0] == 200

    def receipts(self, trip: str, *options: str) -> list[dict[str, Any]]:
        return self.sandbox.json("jwo", "receipt", trip, "--store", self.store, *options)["receipts"]
