"""The door itself: who may ask, how often, and what is wrong with a request before anybody looks at its fields."""
from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ringfence.engine.rates import Rates
from tests.api.ppro.asking import Client, charge
from tests.engine.composition import Asked, Process

pytestmark = pytest.mark.anyio

WRONG: dict[str, tuple[str, str, dict[str, str | None], int]] = {
    # what is wrong               method   path                      headers                                                  status
    "no key":                     ("GET",  "/v1/payment-charges/x",  {"authorization": None},                                 401),
    "unknown key":                ("GET",  "/v1/payment-charges/x",  {"authorization": "Bearer key_sandbox_nobody"},          401),
    "another scheme":             ("GET",  "/v1/payment-charges/x",  {"authorization": "Basic a2V5"},                         401),
    "no key at an unknown path":  ("GET",  "/v1/nothing",            {"authorization": None},                                 401),
    "an unknown path":            ("GET",  "/v1/nothing",            {},                                                      404),
    "a slash too many":           ("GET",  "/v1/payment-charges/",   {},                                                      404),
    "another method":             ("PUT",  "/v1/payment-charges",    {},                                                      405),
    "no merchant":                ("GET",  "/v1/payment-charges/x",  {"merchant-id": None},                                   400),
    "a foreign merchant":         ("GET",  "/v1/payment-charges/x",  {"merchant-id": "merch_" + "x" * 21},                    403),
    "no content type":            ("POST", "/v1/payment-charges",    {"content-type": None},                                  415),
    "a form":                     ("POST", "/v1/payment-charges",    {"content-type": "application/x-www-form-urlencoded"},   415),
    "a long key":                 ("POST", "/v1/payment-charges",    {"request-idempotency-key": "k" * 513},                  400),
}


@pytest.mark.parametrize("name", WRONG)
async def test_who_asks_wrongly_is_told_so(client: Client, name: str):
    """In the envelope, but for a missing key; the path comes after the key, so that strangers learn no paths."""
    method, path, headers, status = WRONG[name]
    answered = await client.send(method, path, b"{}", headers)
    assert answered.status == status
    if status == 401:
        assert answered.body == {"message": "Unauthorized"}
    if status == 405:
        assert answered.headers["allow"] == "GET, POST"


async def test_the_scheme_of_a_key_is_written_in_any_case(client: Client):
    """HTTP says so (RFC 9110, section 11.1)."""
    for scheme in ("bearer", "BEARER"):
        key = client.headers["authorization"].removeprefix("Bearer ")
        assert (await client.send("GET", "/v1/payment-charges/x", headers={"authorization": f"{scheme} {key}"})).status == 404


BODIES: dict[str, tuple[bytes, str, int]] = {
    # what is wrong          body                                                                path of the field            status
    "nothing":              (b"",                                                                "body",                      400),
    "no JSON":              (b"{'a': 1}",                                                        "body",                      400),
    "a comma too many":     (b'{"paymentMethod": "CARD",}',                                      "body",                      400),
    "a comment":            (b'{"paymentMethod": "CARD" // which\n}',                            "body",                      400),
    "a list":               (b"[]",                                                              "body",                      400),
    "no UTF-8":             (b'{"a": "\xff"}',                                                   "body",                      400),
    "half a character":     (b'{"a": "\\ud800"}',                                                "body",                      400),
    "no number":            (b'{"a": NaN}',                                                      "body",                      400),
    "a name twice":         (b'{"a": 1, "a": 1}',                                                "a",                         400),
    "a name twice, escaped": (b'{"ab": 1, "a\\u0062": 1}',                                       "ab",                        400),
    "a name twice below":   (b'{"a": [{"b": 1, "b": 2}]}',                                       "a[0].b",                    400),
    "a colon in a text":    (b'{"a": "\\":\\":", "paymentMethod": 1}',                           "paymentMethod",             400),
    "deep":                 (b'{"a": ' + b"[" * 50 + b"]" * 50 + b"}",                           "body",                      400),
    "very deep":            (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",                       "body",                      400),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_no_request_names_what_is_wrong(client: Client, name: str):
    body, path, status = BODIES[name]
    answered = await client.post("/payment-charges", body)
    assert answered.status == status and answered.body["extensions"]["fields"][0]["path"] == path


FIELDS: dict[str, tuple[dict[str, Any], str, int]] = {
    # what is wrong         fields                                                              path                                  status
    "no amount":           ({"amount": None},                                                   "amount",                             400),
    "no value":            ({"amount": {"currency": "USD"}},                                    "amount.value",                       400),
    "a text for a number": ({"amount": {"value": "1", "currency": "USD"}},                      "amount.value",                       400),
    "a fraction":          ({"amount": {"value": 1.0, "currency": "USD"}},                      "amount.value",                       400),
    "a flag for a number": ({"amount": {"value": True, "currency": "USD"}},                     "amount.value",                       400),
    "nothing to pay":      ({"amount": {"value": 0, "currency": "USD"}},                        "amount.value",                       422),
    "a negative amount":   ({"amount": {"value": -1, "currency": "USD"}},                       "amount.value",                       422),
    "too much":            ({"amount": {"value": 10**12, "currency": "USD"}},                   "amount.value",                       422),
    "beyond 64 bits":      ({"amount": {"value": 10**30, "currency": "USD"}},                   "amount.value",                       422),
    "a small currency":    ({"amount": {"value": 1, "currency": "usd"}},                        "amount.currency",                    400),
    "nobody's currency":   ({"amount": {"value": 1, "currency": "ABC"}},                        "amount.currency",                    400),
    "no consumer":         ({"consumer": None},                                                 "consumer",                           400),
    "a stateless consumer": ({"consumer": {}},                                                  "consumer.country",                   400),
    "a small country":     ({"consumer": {"country": "us"}},                                    "consumer.country",                   400),
    "a strange medium":    ({"paymentMedium": "FAX"},                                           "paymentMedium",                      400),
    "no flag":             ({"autoCapture": "true"},                                            "autoCapture",                        400),
    "no instrument":       ({"instrument": None},                                               "instrument",                         400),
    "two instruments":     ({"instrumentId": "instr_x"},                                        "instrument",                         400),
    "a strange instrument": ({"instrument": {"type": "GOLD", "details": {}}},                   "instrument.type",                    400),
    "an empty instrument": ({"instrument": {"type": "RAW_CARD"}},                               "instrument.details",                 400),
    "a short card number": ({"instrument": {"type": "RAW_CARD", "details": {
        "number": "4111", "holderName": "J", "expiryMonth": 1, "expiryYear": 2030}}},           "instrument.details.number",          400),
    "a month too many":    ({"instrument": {"type": "RAW_CARD", "details": {
        "number": "4000009900000004", "holderName": "J", "expiryMonth": 13, "expiryYear": 2030}}}, "instrument.details.expiryMonth",  422),
    "NUL":                 ({"merchantPaymentChargeReference": "a\0b"},                         "merchantPaymentChargeReference",     400),
    "a long reference":    ({"merchantPaymentChargeReference": "r" * 513},                      "merchantPaymentChargeReference",     400),
    "many labels":         ({"labels": {str(n): "x" for n in range(51)}},                       "labels",                             400),
    "a label's number":    ({"labels": {"a": 1}},                                               "labels.a",                           400),
    "a strange item":      ({"order": {"orderItems": [{"name": "x", "quantity": 1}]}},          "order.orderItems[0].amount",         400),
}


@pytest.mark.parametrize("name", FIELDS)
async def test_a_wrong_field_is_named_by_its_path(client: Client, name: str):
    """400 for its form, 422 for what makes no sense; nothing is made."""
    fields, path, status = FIELDS[name]
    body = {**charge(), **fields}
    answered = await client.post("/payment-charges", {name: value for name, value in body.items() if value is not None})
    assert (answered.status, answered.body["extensions"]["fields"][0]["path"]) == (status, path), answered.body


async def test_what_nobody_knows_is_passed_over_and_null_is_absent(client: Client):
    made = await client.charge(surprise={"a": [1]}, autoCapture=None, **{"order": {"orderItems": None, "colour": "red"}})
    assert made["status"] == "CAPTURED" and "surprise" not in made and made["order"] == {}


async def test_a_reference_of_the_request_comes_back(client: Client):
    """For support, on every answer."""
    for path in ("/v1/payment-charges/x", "/v1/nothing"):
        assert (await client.send("GET", path, headers={"request-reference": "trace-7"})).headers["request-reference"] == "trace-7"


async def test_the_short_way_says_what_the_long_one_says(one: Process, client: Client, monkeypatch: pytest.MonkeyPatch):
    """Status, headers and body: of a charge, of one that is refused, and where the database is away or something breaks."""
    given = {"request-reference": "50 %d % trace"}
    known = client.api.learning()["/v1/payment-charges"]([(name.encode(), value.encode()) for name, value in {**client.headers, **given}.items()])
    assert known is not None
    client.goes_the_long_way = True
    for place, (body, broken) in enumerate(((charge(), None), (charge(0), None), ({}, None), (charge(), OSError("away")), (charge(), ZeroDivisionError()))):
        if broken is not None:
            monkeypatch.setattr(client, "is_breaking", True)
            monkeypatch.setattr(one.engine, "execute", _raising(broken))
        text, asked = json.dumps(body).encode(), Asked()
        rest = known.begin(text, "192.0.2.7", f"short-{place}", asked)
        said, of = await (asked.coming if rest is None else rest)
        first, *lines = known.head(said, of).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        told = await client.post("/payment-charges", text, headers=given, key=f"long-{place}")
        varying = {"x-ratelimit-remaining": "", "content-length": ""}
        assert first.split()[1] == str(told.status) and headers | varying == told.headers | varying
        assert headers["content-length"] == str(len(said)) and headers.get("x-ratelimit-remaining", "0").isdigit()
        assert json.loads(said).keys() == told.body.keys()


def _raising(broken: Exception) -> Callable[[Any], Awaitable[Any]]:
    async def execute(intent: Any) -> Any:
        raise broken

    return execute


async def test_a_key_may_ask_so_often(one: Process, client: Client, tmp_path: Path):
    """Twice the rate at once, by its key and group; the answer says how many are left, and refuses in the envelope."""
    at = [1_000.0]
    rates = Rates(tmp_path / "rates", lambda: at[0])
    limited = Client(one, client.identifier, rates=rates)
    first = await limited.get("/payment-charges/x")
    assert {name: first.headers[f"x-ratelimit-{name}"] for name in ("remaining", "requested-tokens", "burst-capacity", "replenish-rate")} == {
        "remaining": "99", "requested-tokens": "1", "burst-capacity": "100", "replenish-rate": "50"}
    assert [(await limited.get("/payment-charges/x")).status for _ in range(100)] == [404] * 99 + [429]
    refused = await limited.get("/payment-charges/x")
    assert refused.headers["retry-after"] == "1" and refused.headers["x-ratelimit-remaining"] == "0"
    at[0] += 0.02
    assert [(await limited.get("/payment-charges/x")).status for _ in range(2)] == [404, 429]


def test_two_processes_share_a_bucket(tmp_path: Path):
    """Neither counts for itself."""
    here, there = (Rates(tmp_path / "rates", lambda: 7.0) for _ in range(2))
    assert [one.take(3, 2, 4).granted for one in (here, there, here, there, here)] == [True] * 4 + [False]
    assert here.take(4, 2, 4).granted


def test_where_there_are_thousands_they_are_taken_by_handfuls(tmp_path: Path):
    """Counted when they are taken: two processes never give more than there are, and what is told goes down by one.  The last are taken singly."""
    here, there = (Rates(tmp_path / "rates", lambda: 7.0) for _ in range(2))
    assert [here.take(3, 25_000, 50_000).left for _ in range(8)] == [*range(49_999, 49_991, -1)]
    assert there.take(3, 25_000, 50_000).left == 49_987                 # 12 were taken, 8 of them given
    granted = 9
    while (here, there)[granted % 2].take(3, 25_000, 50_000).granted:
        granted += 1
    while here.take(3, 25_000, 50_000).granted or there.take(3, 25_000, 50_000).granted:
        granted += 1
    assert granted == 50_000


def test_a_bucket_outlives_a_clock_that_goes_back(tmp_path: Path):
    """Nobody waits for longer than it takes to fill."""
    at = [10_000.0]
    rates = Rates(tmp_path / "rates", lambda: at[0])
    for _ in range(4):
        rates.take(1, 2, 4)
    at[0] = time.time() - 10**9
    assert rates.take(1, 2, 4).wait <= 2


async def test_twenty_at_once_make_one_charge(one: Process, client: Client):
    """One is carried out; the others wait for nothing: they are told that it is under way, or get its answer."""
    held = one.processor.hold()
    first = asyncio.create_task(client.post("/payment-charges", charge(), key="race"))
    await held.arrived.wait()
    others = await asyncio.gather(*(client.post("/payment-charges", charge(), key="race") for _ in range(19)))
    assert {answered.status for answered in others} == {409}
    held.release()
    made = await first
    again = await asyncio.gather(*(client.post("/payment-charges", charge(), key="race") for _ in range(20)))
    assert made.status == 200 and not made.again and all(answered.again and answered.body == made.body for answered in again)
    assert await one.value("SELECT count(*) FROM operations WHERE payment_id = $1", client.service.names.read("charge", made.body["id"])) == 1


DOUBLE = {
    # what is asked                                                                          whose name is told
    "/payment-charges?merchantPaymentChargeReference=a&merchantPaymentChargeReference=b":      "merchantPaymentChargeReference",
    "/payment-charges?merchantPaymentChargeReference=a&merchantPaymentChargeReference=a":      "merchantPaymentChargeReference",
    "/payment-charges?page=1&agreementId=a&page=":                                             "page",
    "/disputes?paymentChargeId=a&paymentChargeId=b":                                           "paymentChargeId",
    "/chargebacks?disputeId=a&disputeId=b":                                                    "disputeId",
    "/payment-charges/x?nobody=1&nobody=2":                                                    "nobody",
}


@pytest.mark.parametrize("path", DOUBLE)
async def test_a_parameter_is_given_once(client: Client, path: str):
    """Which of two counts nobody could say."""
    answered = await client.get(path)
    assert answered.status == 400 and answered.body["extensions"]["fields"] == [{"path": DOUBLE[path], "problem": "must be given once"}]
    assert "x-ratelimit-remaining" in answered.headers


async def test_a_body_over_the_limit_is_told_the_limit(client: Client):
    """And one of exactly the limit is read."""
    answered = await client.post("/payment-charges", b" " * 100_001)
    assert answered.status == 413 and answered.body["failureMessage"] == "the body is too large; at most 100000 bytes are taken"
    assert (await client.post("/payment-charges", b" " * 100_000)).status == 400
