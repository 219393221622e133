"""CheckoutCart: a priced cart is handed in, and the service collects it by itself (Just Walk Out payments, section 9).

Answered with 201 as soon as the cart is kept; what becomes of the charge afterwards is not told here.  The names of three errors are not known
from any page and are chosen (``CONTENT``, ``TOTALS``, ``INVALID``).  Refuses to know how an amount is collected.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ringfence.api.jwo import answers
from ringfence.api.jwo.door import Answer, Endpoint, Request
from ringfence.api.jwo.fields import tables
from ringfence.api.jwo.kinds import REQUIRED, Wrong
from ringfence.api.jwo.money import Amount
from ringfence.api.jwo.payments import Service, read
from ringfence.core.cart import Cart, Fault, Found, Line, Part, fault
from ringfence.core.trip import State, TripRefusal

UNKNOWN_TRIPS = ("UnknownShoppingTripException", answers.UNKNOWN_TRIP)
"""By the setting ``checkout_unknown_trip``."""
INVALID, CONTENT, TOTALS = "InvalidRequestException", "CartContentValidationException", "CartOrderTotalInvalidException"

#: Fields whose absence has a name of its own.
MISSING = {"orderTotals": TOTALS, "orderTotals.priceTotal": TOTALS}
#: What does not add up: the error's name, the field.
FAULTS = {
    Fault.UNIT: (CONTENT, "unitPrice.totalPrice"), Fault.SUBTOTAL: (TOTALS, "orderTotals.subTotal"),
    Fault.PROMOTIONS: (TOTALS, "orderTotals.promotionsTotal"), Fault.TAX: (TOTALS, "orderTotals.salesTaxTotal"),
    Fault.TOTAL: (TOTALS, "orderTotals.priceTotal"),
}


async def checkout(service: Service, request: Request) -> Answer:
    """Take a cart in hand.  The same cart again is the same order; another one for the same trip is refused."""
    caller = request.caller
    given = read(tables(caller.merchant.settings).cart, request.body)
    if type(given) is Wrong:
        return answers.bad(given, MISSING.get(given.field, INVALID) if given.problem == REQUIRED else INVALID)
    if not given["lineItems"]:
        return answers.bad(Wrong("lineItems", "has no line"), CONTENT)
    cart = cart_of(given)
    if type(cart) is Wrong:
        return answers.bad(cart, INVALID)
    if (found := fault(cart, strict=caller.merchant.settings.checkout_sums == "strict")) is not None:
        return _does_not_add_up(found)
    if (no := answers.denied(caller, given["storeId"])) is not None:
        return no
    trip = await service.trips.find(caller.merchant.merchant_id, given["storeId"], given["idempotentShoppingTripId"])
    if trip is None:
        return answers.error(400, caller.merchant.settings.checkout_unknown_trip)
    earlier = await service.orders.of_trip(trip)
    if earlier is None:
        if trip.state is State.EXPIRED:
            return answers.refused(TripRefusal.EXPIRED, caller)
        if trip.state not in (State.HELD, State.ADJUST_PENDING, State.ADJUSTED):
            return answers.error(400, INVALID, "not at this point of the trip's payment")
        if cart.currency != trip.currency:
            return answers.bad(Wrong("orderTotals.priceTotal.currencyCode", "is not the currency of the authorization"), INVALID)
        earlier = await service.orders.place(trip, cart, caller.actor)
    if earlier.cart != cart:
        return answers.error(400, INVALID, "another cart was handed in for this trip")
    return answers.ok({"orderId": str(earlier.order_id)}, 201)


def cart_of(given: dict[str, Any]) -> Cart | Wrong:
    """The cart in fields that were read."""
    currency = given["orderTotals"]["priceTotal"].currency
    for path, amount in _amounts(given):
        if amount.currency != currency:
            return Wrong(f"{path}.currencyCode", "is not the currency of orderTotals.priceTotal")
    totals = {name: amount.minor for name, amount in given["orderTotals"].items()}
    return Cart(
        currency, tuple(_line(one) for one in given["lineItems"]),
        totals["subTotal"], totals["promotionsTotal"], totals["salesTaxTotal"], totals["priceTotal"])


def _line(given: dict[str, Any]) -> Line:
    unit = given["unitPrice"]
    return Line(
        given["productId"], given["type"], given["quantity"]["value"], given["quantity"]["unit"],
        unit["price"].minor, unit["salesTax"].minor, unit["totalPrice"].minor,
        tuple(Part(one["promotionAmount"].minor, one["promotionDescription"]) for one in unit.get("promotions", ())),
        tuple(Part(one["depositAndFeeAmount"].minor, one["depositAndFeeDescription"], one["salesTax"].minor if "salesTax" in one else 0)
              for one in unit.get("depositsAndFees", ())))


def _amounts(value: Any, path: str = "") -> Iterator[tuple[str, Amount]]:
    """Every amount in fields that were read, with its path."""
    if type(value) is Amount:
        yield path, value
    elif type(value) is dict:
        for name, one in value.items():
            yield from _amounts(one, f"{path}.{name}" if path else name)
    elif type(value) is list:
        for place, one in enumerate(value):
            yield from _amounts(one, f"{path}[{place}]")


def _does_not_add_up(found: Found) -> Answer:
    name, field = FAULTS[found.fault]
    return answers.bad(Wrong(field if found.line is None else f"lineItems[{found.line}].{field}", "does not add up"), name)


ENDPOINTS = (Endpoint("/v1/checkout/carts", "checkout", checkout),)
