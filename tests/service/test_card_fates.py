"""What becomes of captured and refunded money by the cards of the simulated issuers, as the PPRO door tells it: a real service and its clock."""
from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest

from tests.sandbox import Sandbox


class Door:
    """The first merchant's server at ``/v1``."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self._key = sandbox, sandbox.description["merchants"][0]["ppro"]

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {
            "authorization": f"Bearer {self._key['api_key']}", "merchant-id": self._key["merchant_id"], "content-type": "application/json"}
        with closing(HTTPConnection("127.0.0.1", self.sandbox.port, timeout=90)) as connection:
            connection.request("GET" if body is None else "POST", f"/v1{path}", None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return json.load(answer)

    def pay(self, card: str) -> dict[str, Any]:
        return self.ask("/payment-charges", {
            "paymentMethod": "CARD", "amount": {"value": 1000, "currency": "USD"}, "consumer": {"name": "Jane Doe", "country": "US"},
            "instrument": {"type": "RAW_CARD", "details": {"number": card, "holderName": "Jane Doe", "expiryMonth": 12, "expiryYear": 2039}}})

    def stands(self, made: dict[str, Any]) -> tuple[str, list[str], list[str], list[str]]:
        """Status of the charge, of its captures, of its refunds; and what is known of the funds."""
        now = self.ask(f"/payment-charges/{made['id']}")
        funds = self.ask(f"/payment-charges/{made['id']}/funds-statuses")
        return now["status"], [one["status"] for one in now["captures"]], [one["status"] for one in now["refunds"]], [
            one["fundsStatus"] for one in funds]


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with Sandbox(workers=1) as sandbox:
        yield Door(sandbox)


def card(sandbox: Sandbox, scenario: str) -> str:
    return next(one["number"] for one in sandbox.description["test_cards"] if one["scenario"] == scenario)


def test_a_refund_is_pending_and_then_done(door: Door):
    """0709: taken at once, done an hour later; nothing is refunded twice, and every book agrees."""
    made = door.pay(card(door.sandbox, "0709"))
    refund = door.ask(f"/payment-charges/{made['id']}/refunds", {"amount": 400})
    assert refund["status"] == "PENDING"
    assert door.stands(made)[:3] == ("CAPTURED", ["CAPTURED"], ["PENDING"])
    assert door.ask(f"/payment-charges/{made['id']}/refunds", {"amount": 601})["failure"]["failureCode"] == "EXCEEDS_REFUNDABLE_AMOUNT"
    assert door.sandbox.json("clock", "advance", "30m")["settled"] is True
    assert door.stands(made)[2][0] == "PENDING"
    assert door.sandbox.json("clock", "advance", "2h")["settled"] is True
    assert door.stands(made) == (
        "CAPTURED", ["CAPTURED"], ["REFUNDED", "FAILED"], ["CAPTURE_FUNDS_WAITING", "REFUND_FUNDS_WAITING"])
    assert door.sandbox.command("proof", "--full").returncode == 0


def test_a_refund_comes_back(door: Door):
    """0708: it failed after all, and the charge is captured again."""
    made = door.pay(card(door.sandbox, "0708"))
    assert door.ask(f"/payment-charges/{made['id']}/refunds", {"amount": 1000})["status"] == "REFUNDED"
    assert door.stands(made)[0] == "REFUNDED"
    door.sandbox.json("clock", "advance", "2d")
    assert door.stands(made) == ("CAPTURED", ["CAPTURED"], ["FAILED"], ["CAPTURE_FUNDS_WAITING", "REFUND_FUNDS_REJECTED"])


def test_clearing_rejects_a_capture(door: Door):
    """0710: the capture failed after all, and with it the charge."""
    made = door.pay(card(door.sandbox, "0710"))
    assert door.stands(made)[0] == "CAPTURED"
    door.sandbox.json("clock", "advance", "2d")
    assert door.stands(made) == ("FAILED", ["FAILED"], [], ["CAPTURE_FUNDS_NOT_EXPECTED"])
    assert door.sandbox.command("proof", "--full").returncode == 0
