"""Exchanges byte by byte, as the pages of Just Walk Out payments print them."""
from __future__ import annotations

import pytest

from ringfence.core.outcomes import Declined
from tests.api.jwo.asking import ENDPOINTS, Client, Request

pytestmark = pytest.mark.anyio

STORE = b'{"storeId":"STORE-001","shoppingTripId":"7d1f0c52-6f0e-4a55-9a3e-0d9a4f6a1b20"'
TRIP = "7d1f0c52-6f0e-4a55-9a3e-0d9a4f6a1b20"


async def exchange(client: Client, operation: str, body: bytes) -> tuple[int, bytes]:
    endpoint = ENDPOINTS[operation]
    answer = await endpoint.handle(client.service, Request(endpoint.path, body, client.caller, "r-1"))
    return answer.status, answer.body


async def test_a_trip_from_the_gate_to_the_refund(client: Client):
    """Adjusted to 18.40, declined at 64.10, captured for 18.40 and not for 20.00, given back in part."""
    await client.enter(TRIP, 1500, store="STORE-001")
    assert await exchange(client, "adjust", STORE + b',"amount":{"amount":18.40,"code":"USD"}}') == (
        200, b'{"status":"APPROVED","authorizedAmount":{"amount":18.40,"code":"USD"}}')
    client.process.processor.say(Declined("51"))
    assert await exchange(client, "adjust", STORE + b',"amount":{"amount":64.10,"code":"USD"}}') == (
        200, b'{"status":"DECLINED","authorizedAmount":{"amount":18.40,"code":"USD"}}')
    assert await exchange(client, "capture", STORE + b',"amount":{"amount":18.40,"code":"USD"}}') == (200, b"")
    assert await exchange(client, "capture", STORE + b',"amount":{"amount":20.00,"code":"USD"}}') == (400, b'{"errorMsg":"BadRequestException"}')
    status, body = await exchange(
        client, "refund", STORE + b',"amount":{"amount":4.25,"code":"USD"},"refundRequestId":"3b2f6a0e-9c41-4d7e-8f10-5a6b7c8d9e0f",'
        b'"refundReasonCode":"UNWANTED_ITEM"}')
    assert status == 200 and body.startswith(b'{"reconciliationId":"RF-') and body.endswith(b'"}')
    assert await exchange(
        client, "feedback", STORE + b',"totalAmount":{"amount":64.10,"code":"USD"},"settledAmount":{"amount":18.40,"code":"USD"},'
        b'"paymentStatusTime":1768478400}') == (200, b"")
    assert await exchange(client, "cancel", STORE + b"}") == (400, b'{"errorMsg":"BadRequestException"}')


async def test_errors(client: Client):
    assert await exchange(client, "cancel", b'{"storeId":"STORE-001","shoppingTripId":"no-such-trip"}') == (400, b'{"errorMsg":"UnknownShoppingTrip"}')
    assert await exchange(client, "cancel", b'{"storeId":"","shoppingTripId":"no-such-trip"}') == (400, b'{"errorMsg":"BadRequestException"}')


async def test_a_shopper(client: Client):
    await client.shoppers.register(client.merchant_id, "STORE-001", "ana-7", "ana@example.org")
    assert await exchange(client, "identity", b'{"storeId":"STORE-001","shopperId":{"id":"ana-7"}}') == (200, b'{"shopperEmail":"ana@example.org"}')


async def test_the_printed_cart(client: Client):
    await client.enter("printed-cart", store="STORE-001")
    status, body = await exchange(client, "checkout", b"""
{"idempotentShoppingTripId":"printed-cart","storeId":"STORE-001",
 "lineItems":[{"productId":"0012345678905","type":"SKU","quantity":{"value":"2.0","unit":"each"},
   "unitPrice":{"price":{"amount":"3.50","currencyCode":"USD"},"salesTax":{"amount":"0.21","currencyCode":"USD"},
    "totalPrice":{"amount":"3.21","currencyCode":"USD"},
    "promotions":[{"promotionAmount":{"amount":"0.50","currencyCode":"USD"},"promotionDescription":"Lunch deal"}]}}],
 "orderTotals":{"subTotal":{"amount":"7.00","currencyCode":"USD"},"promotionsTotal":{"amount":"1.00","currencyCode":"USD"},
   "salesTaxTotal":{"amount":"0.42","currencyCode":"USD"},"priceTotal":{"amount":"6.42","currencyCode":"USD"}}}""")
    order = await client.orders.of_trip(await client.find("printed-cart", "STORE-001"))
    assert order is not None and (status, body) == (201, b'{"orderId":"%d"}' % order.order_id)
