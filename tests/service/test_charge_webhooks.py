"""Webhooks of the PPRO door from a service that is killed while it delivers, with a receiver that keeps what it hears."""
from __future__ import annotations

import json
import struct
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ringfence.api.ppro.signatures import is_good, is_good_legacy
from ringfence.engine import points
from tests.sandbox import Sandbox
from tests.service.receiving import Receiver

CARD = {"number": "4000009900000004", "cvv": "123", "holderName": "Jane Doe", "expiryMonth": 12, "expiryYear": 2030}
TYPES = ["PAYMENT_CHARGE_CREATED", "PAYMENT_CHARGE_AUTHORIZATION_SUCCEEDED", "PAYMENT_CHARGE_CAPTURE_SUCCEEDED"]


def charge(sandbox: Sandbox, **fields: Any) -> dict[str, Any]:
    """A charge with a card, asked for until a worker answers."""
    shop = sandbox.description["merchants"][0]["ppro"]
    body = json.dumps({
        "paymentMethod": "CARD", "amount": {"value": 1000, "currency": "USD"}, "consumer": {"country": "US"},
        "instrument": {"type": "RAW_CARD", "details": CARD}, **fields}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{sandbox.port}/v1/payment-charges", body, {
        "authorization": f"Bearer {shop['api_key']}", "merchant-id": shop["merchant_id"], "content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=200) as answer:
        return json.load(answer)


def read(sandbox: Sandbox, one: Any) -> dict[str, Any]:
    """An event whose signatures are good."""
    secret = [sandbox.description["merchants"][0]["ppro"]["webhook_secret"]]
    assert is_good(one.headers["ppro-signature"], one.body, secret, int(time.time()))
    assert is_good_legacy(one.headers["webhook-signature"], one.body, secret)
    return json.loads(one.body)


def test_a_worker_that_is_killed_while_it_delivers_loses_nothing(tmp_path: Path):
    """kill -9 right behind the request's bytes: the event may come twice, with the same id and bytes; none is missing."""
    page = tmp_path / "page"
    page.write_bytes(bytes(points.PAGE_BYTES))
    with Receiver() as receiver, Sandbox(workers=1, environment={"RINGFENCE_TORTURE_POINTS": str(page)}) as sandbox:
        assert sandbox.command("merchant", "set", "RingfenceOne", f"ppro_webhook_url={receiver.url}").returncode == 0
        with page.open("r+b") as count_downs:
            count_downs.write(struct.pack(f"={len(points.NAMES)}q", *(int(name == "in_webhook") for name in points.NAMES)))
        made = charge(sandbox)
        heard = receiver.wait_for(3)
        while len({one.body for one in heard}) < 3:
            heard = receiver.wait_for(len(heard) + 1)
        told = [read(sandbox, one) for one in heard]
        assert sorted({one["type"] for one in told}) == sorted(TYPES) and {one["subject"] for one in told} == {made["id"]}
        assert len({one["id"] for one in told}) == len({one.body for one in heard}) == 3
        assert Counter(one["type"] for one in told)["PAYMENT_CHARGE_CREATED"] in (1, 2)
        assert struct.unpack(f"={len(points.NAMES)}q", page.read_bytes()[:8 * len(points.NAMES)])[points.IN_WEBHOOK] <= 0, "somebody was killed"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as running:
        yield running


def test_a_charge_with_an_address_of_its_own(sandbox: Sandbox):
    """The account has none; the first that names one is told too."""
    with Receiver() as receiver:
        made = charge(sandbox, webhooksUrl=receiver.url)
        told = [read(sandbox, one) for one in receiver.wait_for(3)]
    assert [one["type"] for one in told] == TYPES and {one["subject"] for one in told} == {made["id"]}


def test_a_secret_is_replaced_by_command(sandbox: Sandbox):
    """Both sign meanwhile; the new one is shown this once."""
    with Receiver() as receiver:
        made = sandbox.json("webhooks", "rotate-secret", "RingfenceOne", "--keep", "600")
        charge(sandbox, webhooksUrl=receiver.url)
        (first, *_) = receiver.wait_for(3)
    old, now = sandbox.description["merchants"][0]["ppro"]["webhook_secret"], int(time.time())
    assert made["webhook_secret"] != old and first.headers["ppro-signature"].count("s=") == 2
    assert all(is_good(first.headers["ppro-signature"], first.body, [secret], now) for secret in (old, made["webhook_secret"]))
    assert sandbox.command("webhooks", "rotate-secret", "Nobody").returncode == 9


@pytest.mark.parametrize("event", ["PAYMENT_CHARGE_AUTHENTICATION_PENDING", "PAYMENT_CHARGE_REFUND_FAILED", "PAYMENT_CHARGE_DISCARDED"])
def test_a_webhook_is_triggered(sandbox: Sandbox, event: str):
    """By a charge of its own, and its message is in the feed."""
    made = sandbox.json("trigger", event)
    assert any(one["purpose"] == event and json.loads(one["body"])["subject"] == made["charge"] for one in made["event"]["messages"])
