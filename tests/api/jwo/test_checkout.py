"""A priced cart is handed in: what is taken, what is refused and by which name, and that it is collected once."""
from __future__ import annotations

import asyncio
import copy
from datetime import timedelta
from typing import Any

import pytest

from ringfence.engine.collecting import Collecting
from ringfence.engine.debts import QUEUE as DEBTS
from ringfence.engine.orders import QUEUE, TRIP_GONE
from ringfence.engine.trip_reading import Trip
from ringfence.storage import jobs
from ringfence.stores import Stores
from tests.api.jwo.asking import STORE_ID, Client

pytestmark = pytest.mark.anyio

INVALID, CONTENT, TOTALS = (
    (400, name) for name in ("InvalidRequestException", "CartContentValidationException", "CartOrderTotalInvalidException"))
UNKNOWN, EXPIRED = (400, "UnknownShoppingTripException"), (400, "ShoppingTripExpiredException")


def usd(amount: str) -> dict[str, str]:
    return {"amount": amount, "currencyCode": "USD"}


LINE: dict[str, Any] = {
    "productId": "0012345678905", "type": "SKU", "quantity": {"value": "2.0", "unit": "each"}, "unitPrice": {
        "price": usd("3.50"), "salesTax": usd("0.21"), "totalPrice": usd("3.21"),
        "promotions": [{"promotionAmount": usd("0.50"), "promotionDescription": "Lunch deal"}]}}
CART: dict[str, Any] = {
    "storeId": STORE_ID, "lineItems": [LINE], "orderTotals": {
        "subTotal": usd("7.00"), "promotionsTotal": usd("1.00"), "salesTaxTotal": usd("0.42"), "priceTotal": usd("6.42")}}


def cart(trip: str, **changes: Any) -> dict[str, Any]:
    """The published cart; ``a__b__0`` names a member of a member, ``...`` leaves it out."""
    made = copy.deepcopy(CART) | {"idempotentShoppingTripId": trip}
    for path, value in changes.items():
        inner, *names = [made, *path.split("__")]
        for name in names[:-1]:
            inner = inner[int(name)] if isinstance(inner, list) else inner[name]
        last: Any = int(names[-1]) if isinstance(inner, list) else names[-1]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    return made


async def hand_in(client: Client, trip: str, **changes: Any) -> str | tuple[int, str]:
    """The order's id, or the error."""
    told = await client.ask("checkout", **cart(trip, **changes))
    if told.status != 201:
        return told.error
    assert list(told.body) == ["orderId"]
    return str(told.body["orderId"])


class Collector:
    """Has carts collected as the background would, and says of each what the test wrote down."""

    def __init__(self, client: Client, *says: str) -> None:
        self.client, self.says, self.collected = client, [*says], list[tuple[str, int, str]]()

    async def __call__(self, trip: Trip, minor: int, currency: str, actor: str) -> str:
        self.collected.append((trip.name, minor, actor))
        return self.says.pop(0) if self.says else "collected"

    async def work(self) -> int:
        """Everything that is due; how much it was."""
        client, count = self.client, 0
        claimed = await jobs.claim(
            client.process.pool, QUEUE, now=client.process.now(), holder="h", lease=10.0, per_merchant=100, limit=100, after=-1)
        for job in claimed:
            await client.orders.settle(job, client.trips.find, self)
            count += 1
        return count


async def test_a_cart_is_taken_and_collected_once(client: Client):
    await client.enter("cart")
    order = await hand_in(client, "cart")
    assert isinstance(order, str) and order.isdigit() and client.nudged == [QUEUE]
    assert await hand_in(client, "cart") == order and client.nudged == [QUEUE]
    assert await hand_in(client, "cart", orderTotals=CART["orderTotals"], unknownMember=1) == order
    collector = Collector(client)
    assert (await collector.work(), await collector.work()) == (1, 0)
    assert collector.collected == [("cart", 642, "jwo:AKIDRETAILER")]
    kept = await client.orders.of_trip(await client.find("cart"))
    assert kept is not None and (str(kept.order_id), kept.ending, kept.cart.total) == (order, "collected", 642)
    assert kept.cart.lines[0].promotions[0].words == "Lunch deal" and kept.cart.lines[0].hundredths == 200


async def test_another_cart_for_the_same_trip_is_refused(client: Client):
    await client.enter("other-cart")
    await hand_in(client, "other-cart")
    assert await hand_in(client, "other-cart", lineItems__0__productId="9") == INVALID
    assert await Collector(client).work() == 1


async def test_many_at_once_are_one_order(client: Client):
    await client.enter("cart-at-once")
    orders = await asyncio.gather(*(hand_in(client, "cart-at-once") for _ in range(12)))
    assert len(set(orders)) == 1 and isinstance(orders[0], str)
    assert await Collector(client).work() == 1


async def test_what_is_not_known_yet_is_looked_at_again(client: Client):
    await client.enter("cart-unknown")
    await hand_in(client, "cart-unknown")
    collector = Collector(client, "")
    assert (await collector.work(), await collector.work()) == (1, 0)
    began = client.process.now()
    try:
        client.process.now.now = began + timedelta(seconds=5)
        assert (await collector.work(), await collector.work()) == (1, 0)
    finally:
        client.process.now.now = began
    assert [one[0] for one in collector.collected] == ["cart-unknown"] * 2


async def test_a_cart_that_comes_to_be_collected_too_late_is_owed(client: Client):
    """Whoever should have collected it was away until the trip was over; or the retailer has captured less by himself meanwhile."""
    one = client.process
    stores = Stores(
        client.trips, client.debts, Collecting(one.pool, client.trips, client.debts, one.directory, one.now), client.shoppers, client.orders,
        one.directory)
    for name in ("cart-late", "cart-taken"):
        await client.enter(name)
        assert isinstance(await hand_in(client, name), str)
    assert await client.capture("cart-taken", 5) == 200
    late, taken = [await client.find(name) for name in ("cart-late", "cart-taken")]
    began = one.now()
    try:
        one.now.now = began + timedelta(hours=46)
        for job in await jobs.claim(one.pool, QUEUE, now=one.now(), holder="h", lease=10.0, per_merchant=100, limit=100, after=-1):
            await stores.collect(job)
        assert [(await client.orders.of_trip(trip)).ending for trip in (late, taken)] == ["expired", "state"]
        for job in await jobs.claim(one.pool, DEBTS, now=one.now(), holder="h", lease=10.0, per_merchant=100, limit=100, after=-1):
            await client.debts.run(job)
        assert [(await client.debts.find(client.merchant_id, trip.payment_id)).account.owed for trip in (late, taken)] == [642, 142]
    finally:
        one.now.now = began


async def test_a_cart_may_cost_nothing(client: Client):
    await client.enter("cart-free")
    free = {"lineItems__0__unitPrice__totalPrice": usd("0"), "lineItems__0__unitPrice__salesTax": usd("0.00"),
            "lineItems__0__unitPrice__promotions__0__promotionAmount": usd("3.50"), "orderTotals": {
                "subTotal": usd("7.00"), "promotionsTotal": usd("7.00"), "salesTaxTotal": usd("0"), "priceTotal": usd("0.00")}}
    assert isinstance(await hand_in(client, "cart-free", **free), str)
    collector = Collector(client)
    assert await collector.work() == 1 and collector.collected == [("cart-free", 0, "jwo:AKIDRETAILER")]


async def test_a_trip_that_began_anew_is_left_alone(client: Client):
    await client.enter("cart-anew")
    await hand_in(client, "cart-anew")
    await client.process.fetch("UPDATE trips SET started_at = started_at + interval '1 hour' WHERE name = 'cart-anew'")
    collector = Collector(client)
    assert await collector.work() == 1 and collector.collected == []
    assert await client.process.value("SELECT ending FROM store_orders WHERE trip = 'cart-anew'") == TRIP_GONE
    assert isinstance(await hand_in(client, "cart-anew"), str)
    assert await Collector(client).work() == 1


REFUSED: dict[str, tuple[dict[str, Any], tuple[int, str]]] = {
    "no line": ({"lineItems": []}, CONTENT),
    "no total": ({"orderTotals__priceTotal": ...}, TOTALS), "a null total": ({"orderTotals__priceTotal": None}, TOTALS),
    "no totals": ({"orderTotals": ...}, TOTALS),
    "a total that is wrong": ({"orderTotals__priceTotal": usd("6.41")}, TOTALS), "a total of nothing": ({"orderTotals__priceTotal": usd("0")}, TOTALS),
    "a sum of lines": ({"orderTotals__subTotal": usd("7.02"), "orderTotals__priceTotal": usd("6.44")}, TOTALS),
    "a unit's price": ({"lineItems__0__unitPrice__totalPrice": usd("3.71")}, CONTENT),
    **{f"without {path}": ({path: ...}, INVALID) for path in (
        "idempotentShoppingTripId", "storeId", "lineItems", "lineItems__0__productId", "lineItems__0__type", "lineItems__0__quantity",
        "lineItems__0__quantity__value", "lineItems__0__quantity__unit", "lineItems__0__unitPrice", "lineItems__0__unitPrice__price",
        "lineItems__0__unitPrice__salesTax", "lineItems__0__unitPrice__totalPrice", "orderTotals__subTotal", "orderTotals__promotionsTotal",
        "orderTotals__salesTaxTotal", "lineItems__0__unitPrice__promotions__0__promotionAmount",
        "lineItems__0__unitPrice__promotions__0__promotionDescription", "orderTotals__priceTotal__amount", "orderTotals__priceTotal__currencyCode")},
    **{f"an amount of {value!r}": ({"orderTotals__priceTotal__amount": value}, INVALID) for value in (
        "6.420", "6.4200001", "-6.42", "", "6,42", "NaN", 6.42, True, "1e1", " 6.42")},
    **{f"a quantity of {value!r}": ({"lineItems__0__quantity__value": value}, INVALID) for value in (
        "0", "0.00", "-1", "1.005", "", "two", 2, "1e3", "9999999")},
    "the other money": ({"orderTotals__priceTotal": {"amount": 6.42, "code": "USD"}}, INVALID),
    "two currencies": ({"lineItems__0__unitPrice__price__currencyCode": "EUR"}, INVALID),
    "a kind that is none": ({"lineItems__0__type": "BOX"}, INVALID), "no list": ({"lineItems": {}}, INVALID), "a line of text": ({"lineItems": ["x"]}, INVALID),
    "a product without name": ({"lineItems__0__productId": " "}, INVALID), "a product with a zero": ({"lineItems__0__productId": "a\0"}, INVALID),
    "half a sign": ({"lineItems__0__unitPrice__promotions__0__promotionDescription": "\ud800"}, INVALID),
    "a store of signs": ({"storeId": "INVALID@STORE#ID"}, INVALID), "a long trip": ({"idempotentShoppingTripId": "a" * 256}, INVALID),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_cart_that_is_wrong(client: Client, case: str):
    changes, error = REFUSED[case]
    if await client.trips.find(client.merchant_id, STORE_ID, "cart-wrong") is None:
        await client.enter("cart-wrong")
    assert await hand_in(client, "cart-wrong", **changes) == error
    assert await client.orders.of_trip(await client.find("cart-wrong")) is None


async def test_a_body_that_is_no_object(client: Client):
    for body in (b"", b"[]", b"{", b"null"):
        assert (await client.send("checkout", body)).error == INVALID


async def test_what_an_unknown_trip_is_called(client: Client):
    """As the payment service says it, where the merchant's clients want that."""
    async with client.setting(checkout_unknown_trip="UnknownShoppingTrip"):
        assert await hand_in(client, "invalid-shopping-trip-uuid") == (400, "UnknownShoppingTrip")
    assert await hand_in(client, "invalid-shopping-trip-uuid") == UNKNOWN


async def test_trips_that_take_no_cart(client: Client):
    """One that nobody knows, another store's, one in other money, one captured, cancelled, or over; and a cart that is wrong comes before them."""
    assert await hand_in(client, "invalid-shopping-trip-uuid") == UNKNOWN
    assert await hand_in(client, "invalid-shopping-trip-uuid", lineItems=[]) == CONTENT
    await client.enter("cart-euros", currency="EUR")
    assert await hand_in(client, "cart-euros") == INVALID
    for name in ("cart-elsewhere", "cart-captured", "cart-cancelled", "cart-over", "cart-before"):
        await client.enter(name, store="OTHER" if name == "cart-elsewhere" else STORE_ID)
    assert await hand_in(client, "cart-elsewhere") == UNKNOWN
    assert await client.capture("cart-captured", 6.42) == 200 and await hand_in(client, "cart-captured") == INVALID
    assert await client.cancel("cart-cancelled") == 200 and await hand_in(client, "cart-cancelled") == INVALID
    order, began = await hand_in(client, "cart-before"), client.process.now()
    try:
        client.process.now.now = began + timedelta(hours=46)
        assert await hand_in(client, "cart-over") == EXPIRED
        assert await hand_in(client, "cart-before") == order                    # the repeat of what was taken in time
    finally:
        client.process.now.now = began


async def test_a_key_for_other_stores(client: Client, one):
    await client.enter("cart-denied")
    told = await Client(one, client.identifier, frozenset({"STORE-9"})).ask("checkout", **cart("cart-denied"))
    assert told.status == 403 and list(told.body) == ["Message"]


async def test_a_strict_merchant_wants_every_cent(client: Client, one):
    off = {"orderTotals__subTotal": usd("7.01"), "orderTotals__priceTotal": usd("6.43")}
    await client.enter("cart-cents")
    try:
        assert await one.directory.change(client.identifier, {"checkout_sums": "strict"})
        assert await hand_in(client, "cart-cents", **off) == TOTALS
    finally:
        assert await one.directory.change(client.identifier, {"checkout_sums": "lenient"})
    assert isinstance(await hand_in(client, "cart-cents", **off), str)


async def test_fees_and_scan_codes(client: Client):
    await client.enter("cart-fees")
    fee = {"depositAndFeeAmount": usd("0.10"), "depositAndFeeDescription": "Deposit", "salesTax": usd("0.01")}
    assert isinstance(await hand_in(
        client, "cart-fees", lineItems__0__type="SCANCODE", lineItems__0__unitPrice__depositsAndFees=[fee],
        lineItems__0__unitPrice__totalPrice=usd("3.32"), orderTotals__salesTaxTotal=usd("0.44"), orderTotals__priceTotal=usd("6.64")), str)
    kept = await client.orders.of_trip(await client.find("cart-fees"))
    assert kept is not None and kept.cart.fees == 20 and kept.cart.lines[0].fees[0].tax == 1
