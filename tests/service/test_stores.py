"""The door of stores from outside: a retailer whose server signs with an AWS library, in front of the service as a person starts it."""
from __future__ import annotations

import itertools
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ringfence.engine.trips import PATIENCE_SECONDS
from ringfence.processors.simulator.scenarios import VISA
from tests.api.jwo.test_checkout import cart, usd
from tests.sandbox import Sandbox

STORE = "STORE-001"
_numbers = itertools.count(1)


class Answered(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.body["errorMsg"]


class Retailer:
    """A merchant with stores, its server, and somebody at its gates."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.jwo = sandbox.description["merchants"][0]["jwo"]

    def send(self, path: str, body: bytes, *, secret: str = "", spoil: bytes = b"", unsigned: bool = False) -> Answered:
        """``spoil`` is sent behind the body that was signed."""
        asked = AWSRequest("POST", f"http://127.0.0.1:{self.sandbox.port}{path}", data=body, headers={"Content-Type": "application/json"})
        if not unsigned:
            SigV4Auth(Credentials(self.jwo["access_key_id"], secret or self.jwo["secret_access_key"]), "execute-api", self.jwo["region"]).add_auth(asked)
        try:
            with urllib.request.urlopen(urllib.request.Request(asked.url, body + spoil, dict(asked.headers)), timeout=200) as answer:
                return _answered(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return _answered(error.code, error.read(), error.headers)

    def ask(self, path: str, trip: str, amount: float | None = None, **fields: Any) -> Answered:
        given = {"storeId": STORE, "shoppingTripId": trip} | ({} if amount is None else {"amount": {"amount": amount, "code": "USD"}}) | fields
        return self.send(path, json.dumps(given).encode())

    def adjust(self, trip: str, amount: float, **fields: Any) -> tuple[str, float]:
        told = self.ask("/v1/adjust/charge", trip, amount, **fields)
        assert told.status == 200, told
        return told.body["status"], told.body["authorizedAmount"]["amount"]

    def operate(self, path: str, order: dict[str, Any] | None = None) -> Any:
        """What an operator is answered: POST where something is ordered, else GET."""
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.sandbox.port}/admin/{path}", None if order is None else json.dumps(order).encode(),
            {"Authorization": f"Bearer {self.sandbox.description['admin']}"})
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return json.load(answer)

    def enter(self, card: str = "4000009900000004") -> str:
        """A shopper goes in, on a hold of 20.00."""
        name, merchant = f"trip-{next(_numbers)}", self.sandbox.merchant()["merchant_identifier"]
        self.operate("jwo/stores", {"merchant": merchant, "store": STORE, "currency": "USD", "hold": 2000, "least": 500})
        assert self.operate("jwo/trips", {"merchant": merchant, "store": STORE, "card": card, "trip": name})["opened"]
        return name

    def trip(self, name: str) -> dict[str, Any]:
        """A trip as operators see it."""
        return self.operate(f"jwo/trips/{name}")

    def wait(self, **length: int) -> None:
        """Business time passes, and what is due on the way is done."""
        self.operate("clock", length)

    def proves(self) -> None:
        told = self.operate("proof")
        assert told["ok"], told


def _answered(status: int, body: bytes, headers: Any) -> Answered:
    assert headers["x-amzn-requestid"]
    return Answered(status, json.loads(body) if body else None, {name.lower(): value for name, value in headers.items()})


@pytest.fixture(scope="module")
def retailer() -> Iterator[Retailer]:
    with Sandbox() as running:
        yield Retailer(running)


def test_a_trip_that_the_retailer_charges(retailer: Retailer):
    """Adjust, capture, what a receipt shows, refund, report; and the second thoughts that come too late."""
    trip = retailer.enter()
    assert retailer.adjust(trip, 64.10) == ("APPROVED", 64.1)
    captured = retailer.ask("/v1/capture/charge", trip, 60)
    assert (captured.status, captured.body, captured.headers["content-length"]) == (200, None, "0")
    assert retailer.ask("/v1/capture/charge", trip, 59).error == (400, "BadRequestException")
    assert retailer.ask("/v1/cancel/charge", trip).error == (400, "BadRequestException")
    facts = retailer.ask("/v1/payment/transactional-data", trip).body
    assert (facts["tail"], facts["posEntryMode"], facts["currency"]) == ("0004", "EMV_9F39_07", "USD")
    refund = {"refundRequestId": "3b2f6a0e-9c41-4d7e-8f10-5a6b7c8d9e0f", "refundReasonCode": "UNWANTED_ITEM"}
    first, again = (retailer.ask("/v1/refund", trip, 4.25, **refund) for _ in range(2))
    assert first.status == 200 and first.body == again.body
    money = {"amount": 60, "code": "USD"}
    assert retailer.ask("/v1/feedback/payment-status", trip, totalAmount=money, settledAmount=money, paymentStatusTime=1768478400).status == 200
    shown = retailer.trip(trip)
    assert shown["state"] == "partially_refunded"
    retailer.proves()


def test_a_cart_that_the_service_charges(retailer: Retailer):
    """201 at once; then it is captured, whoever looks."""
    trip = retailer.enter()
    body = json.dumps(cart(trip, storeId=STORE)).encode()
    first, again = (retailer.send("/v1/checkout/carts", body) for _ in range(2))
    assert (first.status, first.body) == (again.status, again.body) and first.status == 201 and first.body["orderId"]
    retailer.wait(advance=60)
    assert retailer.trip(trip)["state"] == "captured"
    assert retailer.ask("/v1/capture/charge", trip, 6.42).status == 200           # the same amount: it is taken already
    dear = retailer.enter()
    dearer = cart(dear, storeId=STORE, orderTotals__priceTotal=usd("6.43"))
    assert retailer.send("/v1/checkout/carts", json.dumps(dearer).encode()).error == (400, "CartOrderTotalInvalidException")
    retailer.proves()


def test_what_is_wrong_moves_nothing(retailer: Retailer):
    """Fields, trips and signatures."""
    trip = retailer.enter()
    before = retailer.trip(trip)
    assert retailer.ask("/v1/adjust/charge", trip, 15.999).error == (400, "BadRequestException")
    assert retailer.ask("/v1/adjust/charge", "invalid-shopping-trip-uuid", 1).error == (400, "UnknownShoppingTrip")
    assert retailer.ask("/v1/adjust/charge", trip, 1, storeId="INVALID@STORE#ID").error == (400, "BadRequestException")
    good = json.dumps({"storeId": STORE, "shoppingTripId": trip, "amount": {"amount": 64.1, "code": "USD"}}).encode()
    for told, name in [
        (retailer.send("/v1/adjust/charge", good, unsigned=True), "MissingAuthenticationTokenException"),
        (retailer.send("/v1/adjust/charge", good, secret="another"), "InvalidSignatureException"),
        (retailer.send("/v1/adjust/charge", good, spoil=b" "), "InvalidSignatureException"),
        (retailer.send("/v1/no/such/path", good), "MissingAuthenticationTokenException")]:
        assert (told.status, told.headers["x-amzn-errortype"]) == (403, name) and list(told.body) == ["message"]
    assert retailer.trip(trip) == before


def test_two_doors_share_one_port(retailer: Retailer):
    """What nobody owns below /v1 is answered in the words of the scheme that was used."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{retailer.sandbox.port}/v1/payment-charges")
    with refused.value as error:
        assert error.code == 401
    assert retailer.send("/v1/payment-charges-no", b"{}").status == 403


def test_an_adjust_and_a_capture_race(retailer: Retailer):
    """One of the two orders, never both halves: what is captured was authorized then.  Who waited for the other one for too long asks again."""
    trips = [retailer.enter() for _ in range(4)]

    def timed(asked: tuple[str, str, int]) -> tuple[Answered, float]:
        began = time.monotonic()
        return retailer.ask(*asked), time.monotonic() - began

    with ThreadPoolExecutor(8) as together:
        raced = list(together.map(timed, [
            asked for trip in trips for asked in (("/v1/adjust/charge", trip, 30), ("/v1/capture/charge", trip, 18))]))
    assert {told.status for told, _ in raced[::2]} <= {200, 400}
    for trip, (told, seconds) in zip(trips, raced[1::2], strict=True):
        if told.status != 200:
            assert seconds >= PATIENCE_SECONDS, told
            assert retailer.ask("/v1/capture/charge", trip, 18).status == 200
        assert retailer.trip(trip)["state"] == "captured"
    retailer.proves()


def test_after_46_hours_it_is_over(retailer: Retailer):
    trip, taken = retailer.enter(), retailer.enter()
    assert retailer.ask("/v1/capture/charge", taken, 20).status == 200
    retailer.wait(advance=46 * 3600)
    assert retailer.ask("/v1/adjust/charge", trip, 1).error == (400, "ShoppingTripExpiredException")
    assert retailer.send("/v1/checkout/carts", json.dumps(cart(trip, storeId=STORE)).encode()).error == (400, "ShoppingTripExpiredException")
    assert retailer.ask("/v1/cancel/charge", trip).status == 200 and retailer.trip(trip)["state"] == "expired"
    assert retailer.ask("/v1/payment/transactional-data", taken).status == 200
    retailer.proves()


def test_a_shopper_is_found_until_forgotten(retailer: Retailer):
    sandbox, asked = retailer.sandbox, json.dumps({"storeId": STORE, "shopperId": {"id": "ana-7"}}).encode()
    sandbox.json("jwo", "shopper", "add", "--store", STORE, "--shopper", "ana-7", "--email", "ana@example.org")
    assert retailer.send("/v1/identity/shopper", asked).body == {"shopperEmail": "ana@example.org"}
    assert [one["shopper"] for one in sandbox.json("jwo", "shopper", "list", "--store", STORE)["shoppers"]] == ["ana-7"]
    sandbox.json("jwo", "shopper", "forget", "--store", STORE, "--shopper", "ana-7")
    assert retailer.send("/v1/identity/shopper", asked).error == (400, "BadRequestException")


def test_a_declined_cart_becomes_a_debt(retailer: Retailer):
    """The issuer promises what it holds and no more: that is captured, and the rest is owed."""
    trip = retailer.enter(VISA.number("0502"))
    priced = cart(trip, storeId=STORE, lineItems__0__quantity__value="20", orderTotals={
        "subTotal": usd("70.00"), "promotionsTotal": usd("10.00"), "salesTaxTotal": usd("4.20"), "priceTotal": usd("64.20")})
    assert retailer.send("/v1/checkout/carts", json.dumps(priced).encode()).status == 201
    retailer.wait(advance=60)
    shown = retailer.trip(trip)
    assert shown["state"] == "captured"
    retailer.proves()


@pytest.mark.parametrize(("trip", "amount", "answer"), [
    ("valid-shopping-trip-uuid", 15.99, ("APPROVED", 15.99)), ("declined-payment-trip-uuid", 999999.99, ("DECLINED", 0)),
    ("pending-processing-trip-uuid", 25.50, ("PENDING", 25.5))])
def test_trips_that_are_always_there(retailer: Retailer, trip: str, amount: float, answer: tuple[str, float]):
    """Behind the tests that move the clock: what nobody ever answers is asked again and again on its way."""
    assert retailer.adjust(trip, amount, storeId="VALID_STORE_ID") == answer
