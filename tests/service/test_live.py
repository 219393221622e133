"""Live mode with a wallet alone: a real service that takes no cards, and says so in the words of each door."""
from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence.failures import Exit
from tests.sandbox import Client, Sandbox, command, request

CARD = {"card_number": "4005550000000001", "expiry_date": "3512", "card_security_code": "123"}
PAYMENT = {"merchant_reference": "L-1", "amount": "1000", "currency": "AED", "customer_email": "sara@shop.example"}


def environment(folder: Path) -> dict[str, str]:
    """What a live installation with Amazon Pay alone is told."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "amazon.json").write_text(json.dumps({"environment": "live", "accounts": [{
        "merchant": "Shop", "merchant_id": "A1", "store_id": "amzn1.application-oa2-client.0", "region": "na", "public_key_id": "LIVE-1",
        "private_key_file": "key.pem"}]}))
    return {
        "RINGFENCE_MODE": "live", "RINGFENCE_PROCESSOR": "none", "RINGFENCE_AMAZON_PAY_FILE": str(folder / "amazon.json"),
        "RINGFENCE_ADMIN_TOKEN": "a-token-of-the-operator-1", "RINGFENCE_MASTER_KEY": base64.b64encode(os.urandom(32)).decode()}


class Live(Sandbox):
    """A service in live mode, with one merchant."""

    def __init__(self, folder: Path) -> None:
        super().__init__(workers=1, environment=environment(folder))
        self._environment["RINGFENCE_BASE_URL"] = f"http://127.0.0.1:{self.port}"
        self.shop: dict[str, Any] = {}

    def start(self) -> Live:
        super().start()
        made = self.command("merchant", "create", "Shop", "--set", "channel_trusted=on", "--set", "service_verify_card=on", "--json")
        described = json.loads(made.stdout)
        self.shop = {"aps": described["credentials"][0], "ppro": described["ppro"][0]}
        return self

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """A request at the PPRO door."""
        key = self.shop["ppro"]
        headers = {"authorization": f"Bearer {key['api_key']}", "merchant-id": key["merchant_id"], "content-type": "application/json"}
        status, text = self.call(path, None if body is None else json.dumps(body), headers)
        return status, json.loads(text)

    def call(self, path: str, body: str | None = None, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and text of anything that is served."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=90)) as connection:
            connection.request("GET" if body is None else "POST", path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live(tmp_path_factory.mktemp("live")) as running:
        yield running


@pytest.mark.parametrize("fields", [
    {"command": "PURCHASE", **PAYMENT, **CARD}, {"command": "PURCHASE", **PAYMENT, "token_name": "T-1", "eci": "RECURRING"},
    {"service_command": "VERIFY_CARD", "merchant_reference": "V-1", "currency": "AED", **CARD},
])
def test_cards_are_no_payment_option_at_the_door_of_aps(live: Live, fields: dict[str, str]):
    """003, whatever the card; nothing is asked of anybody, and the reference is not used up."""
    async def ask() -> dict[str, Any]:
        client = Client(live.port, live.shop["aps"])
        try:
            return await client.post(request(client.merchant, **fields))
        finally:
            await client.close()

    answers = [asyncio.run(ask()) for _ in range(2)]
    assert [answer["response_code"] for answer in answers] == ["00003", "00003"], answers


def test_cards_are_no_payment_method_at_the_door_of_ppro(live: Live):
    """A failed charge, as of any method that the merchant has not; and the mock is a sandbox's."""
    for method in ("CARD", "MOCK"):
        status, charge = live.ask("/v1/payment-charges", {
            "paymentMethod": method, "amount": {"value": 2599, "currency": "USD"}, "consumer": {"name": "Jane Doe", "country": "US"},
            **({"instrument": {"type": "RAW_CARD", "details": {
                "number": "4005550000000001", "cvv": "123", "holderName": "Jane Doe", "expiryMonth": 12, "expiryYear": 2030}}} if method == "CARD" else {})})
        assert (status, charge["status"], charge["failure"]["failureCode"]) == (200, "FAILED", "INVALID_PAYMENT_METHOD"), charge


def test_the_wallet_is_asked_where_its_owner_says(live: Live):
    """A charge with Amazon Pay waits for its payer; the way leads to Amazon's own page, and no simulated site is there.  Nothing is asked of Amazon yet."""
    live.command("merchant", "set", "Shop", "return_origins=https://shop.example")
    status, charge = live.ask("/v1/payment-charges", {
        "paymentMethod": "AMAZON_PAY", "amount": {"value": 1000, "currency": "USD"}, "consumer": {"name": "John Smith", "country": "US"},
        "authenticationSettings": [{"type": "REDIRECT", "settings": {"returnUrl": "https://shop.example/return"}}]})
    assert (status, charge["status"]) == (200, "AUTHENTICATION_PENDING"), charge
    [way] = charge["authenticationMethods"]
    status, text = live.call(urlsplit(way["details"]["requestUrl"]).path)
    assert status == 200 and "static-na.payments-amazon.com/checkout.js" in text and "LIVE-1" in text
    for nowhere in ("/sandbox/inbox", "/amazon/consent", "/sandbox/v2/checkoutSessions"):
        assert live.call(nowhere)[0] == 404


def test_nobody_could_pay_a_link(live: Live):
    """So none is made."""
    refused = live.command("link", "create", "--merchant", "Shop", "--reference", "LINK-1", "--amount", "10.00", "--currency", "USD")
    assert refused.returncode == Exit.REFUSED and "Traceback" not in refused.stderr


def test_the_proof_holds_and_nothing_of_a_sandbox_is_in_the_folder(live: Live):
    """No book of issuers, no clock, no key."""
    assert live.command("proof", "--full").returncode == 0
    assert not {"simulator", "clock", "keys", "sandbox.json", "admin.token"} & {one.name for one in live.data.iterdir()}


@pytest.mark.parametrize(("changed", "reason"), [
    ({"RINGFENCE_PROCESSOR": "simulator"}, "the issuer simulator moves no money"),
    ({"RINGFENCE_AMAZON_PAY_FILE": ""}, "a wallet is needed"),
    ({"RINGFENCE_MODE": "sandbox"}, "in live mode only"),
])
def test_without_a_wallet_or_with_a_simulator_nothing_starts(tmp_path: Path, changed: dict[str, str], reason: str):
    """And the reason is said."""
    done = command("up", "--data", str(tmp_path / "data"), "--port", "0", environment={**environment(tmp_path), **changed})
    assert done.returncode == Exit.CONFIGURATION and reason in done.stderr and "Traceback" not in done.stderr, done.stderr
