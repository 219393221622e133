"""What retailers may send, as tables: one request a table, one field a row (Just Walk Out payments, sections 3, 4 and 9).

Decides names, forms and limits.  Where Amazon's own pages disagree about one (section 13), the merchant's settings choose the table.  Refuses to
know what a field means, and in which words a door refuses it.
"""
from __future__ import annotations

from functools import cache
from typing import NamedTuple

from ringfence.api.jwo.kinds import Instant, Kind, Listed, Object, OneOf, Paid, Priced, Quantity, Row, Said, Word
from ringfence.engine.settings import Settings

REFUND_REASONS = ("DAMAGED_ITEM", "EXPIRED_ITEM", "UNWANTED_ITEM", "JWO_TECH_ERROR", "OTHER")
LINE_TYPES = ("SKU", "SCANCODE")
MOST_LINES, MOST_PARTS = 2_000, 100
"""Lines of a cart; promotions, deposits and fees of one line."""

NAME = "[0-9a-zA-Z_-]+"
STORE = Word(NAME)
#: How trips may be called, by the setting ``trip_names``.
TRIPS = {"any": Word(NAME), "uuid": Word("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", 36)}
REQUEST_ID = Word("[0-9a-f]{8}-[0-9a-f]{4}-[0-5][0-9a-f]{3}-[089ab][0-9a-f]{3}-[0-9a-f]{12}", 36)
"""A UUID in lower case, of the versions 0 to 5."""
SHOPPER = Word("[0-9a-zA-Z_.-]+")
EMAIL = Word(r"[A-Z0-9a-z._%+-]+@[A-Za-z0-9.-]+[.]+[A-Za-z]+", 128)

_PRICED = Priced()
_TOTALS = Object(priceTotal=_PRICED, subTotal=_PRICED, promotionsTotal=_PRICED, salesTaxTotal=_PRICED)
_LINES = Listed(Object(
    productId=Said(), type=OneOf(*LINE_TYPES), quantity=Object(value=Quantity(), unit=Said(64)),
    unitPrice=Object(
        price=_PRICED, salesTax=_PRICED, totalPrice=_PRICED,
        promotions=Row(Listed(Object(promotionAmount=_PRICED, promotionDescription=Said(1_000)), MOST_PARTS), False),
        depositsAndFees=Row(Listed(Object(
            depositAndFeeAmount=_PRICED, depositAndFeeDescription=Said(1_000), salesTax=Row(_PRICED, False)), MOST_PARTS), False),
    ),
), MOST_LINES, 1)


class Tables(NamedTuple):
    """The requests, as one merchant's callers write them."""

    charge: Kind
    trip_only: Kind
    refund: Kind
    identity: Kind
    feedback: Kind
    cart: Kind


def tables(settings: Settings) -> Tables:
    """The forms that these settings choose."""
    return _tables(settings.store_may_be_empty, settings.trip_names, settings.trip_status_unit)


@cache
def _tables(empty: bool, names: str, unit: str) -> Tables:
    store = Word(NAME, least=0) if empty else STORE
    of_trip = {"storeId": store, "shoppingTripId": TRIPS[names]}
    return Tables(
        charge=Object(**of_trip, amount=Paid()),
        trip_only=Object(**of_trip),
        refund=Object(**of_trip, amount=Paid(), refundRequestId=REQUEST_ID, refundReasonCode=OneOf(*REFUND_REASONS)),
        identity=Object(storeId=store, shopperId=Object(id=SHOPPER)),
        feedback=Object(**of_trip, totalAmount=Paid(), settledAmount=Paid(0), paymentStatusTime=Instant(unit)),
        cart=Object(idempotentShoppingTripId=TRIPS[names], storeId=store, lineItems=_LINES, orderTotals=_TOTALS),
    )
