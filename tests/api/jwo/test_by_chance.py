"""Whatever comes is answered as documented, and what is refused moves nothing."""
from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.jwo.asking import ENDPOINTS, STORE_ID, Answered, Client
from tests.api.jwo.test_checkout import cart

NAMES = {
    "BadRequestException", "UnknownShoppingTrip", "ShoppingTripExpiredException", "InvalidRequestException", "CartContentValidationException",
    "CartOrderTotalInvalidException", "UnknownShoppingTripException"}
CODE = {"amount": 15.99, "code": "USD"}
TRIP = {"storeId": STORE_ID, "shoppingTripId": "chance"}
GOOD: dict[str, dict[str, Any]] = {
    "adjust": TRIP | {"amount": CODE}, "capture": TRIP | {"amount": CODE}, "cancel": TRIP, "transactional-data": TRIP,
    "refund": TRIP | {"amount": CODE, "refundRequestId": "3b2f6a0e-9c41-4d7e-8f10-5a6b7c8d9e0f", "refundReasonCode": "OTHER"},
    "identity": {"storeId": STORE_ID, "shopperId": {"id": "a"}},
    "feedback": TRIP | {"totalAmount": CODE, "settledAmount": CODE, "paymentStatusTime": 1768478400}, "checkout": cart("chance")}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["USD", "15.99", STORE_ID, "1e2", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["amount", "code", "currencyCode", "id", "value"]) | st.text(max_size=5), inner, max_size=3),
    max_leaves=6)


@st.composite
def twisted(draw: st.DrawFn, operation: str) -> bytes:
    """A good request with one member replaced, taken out, or doubled."""
    body = json.loads(json.dumps(GOOD[operation]))
    inner = body
    while True:
        name = draw(st.sampled_from(sorted(inner))) if isinstance(inner, dict) else draw(st.integers(0, len(inner) - 1))
        if not inner[name] or not isinstance(inner[name], (dict, list)) or draw(st.booleans()):
            break
        inner = inner[name]
    if draw(st.integers(0, 3)) or isinstance(inner, list):
        inner[name] = draw(JSON)
    else:
        del inner[name]
    text = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    cut = draw(st.integers(0, 9))
    return text[:draw(st.integers(0, len(text)))] if not cut else text


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def retailer(module_database: str, loop: asyncio.Runner):
    from tests.engine.composition import process, shop
    entered = process(module_database)

    async def begin() -> Client:
        one = await entered.__aenter__()
        client = Client(one, (await shop(one)).identifier)
        await client.enter("chance")
        return client

    client = loop.run(begin())
    yield client
    loop.run(entered.__aexit__(None, None, None))


@pytest.mark.parametrize("operation", ENDPOINTS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_comes(loop: asyncio.Runner, retailer: Client, operation: str, data: st.DataObject):
    body = data.draw(st.binary(max_size=60) | twisted(operation))
    loop.run(one_exchange(retailer, operation, body))


async def one_exchange(client: Client, operation: str, body: bytes) -> None:
    """Answered as described; refused, nothing has moved."""
    before, orders = await client.find("chance"), await client.process.value("SELECT count(*) FROM store_orders")
    told: Answered = await client.send(operation, body)
    assert told.status in (200, 201, 400)
    if told.status == 400:
        assert told.error[1] in NAMES
        after = await client.find("chance")
        assert after.payment == before.payment and await client.process.value("SELECT count(*) FROM store_orders") == orders


def test_and_the_books_are_right(loop: asyncio.Runner, retailer: Client):
    loop.run(retailer.process.prove())
