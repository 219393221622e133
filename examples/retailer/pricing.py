"""Carts become prices: what a retailer's till does.  Amounts are decimals with two places; nothing here is a float."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

CENT = Decimal("0.01")


class Article(NamedTuple):
    """``price`` of one unit before tax; ``tax`` is a share, such as 0.06; ``promotion``: taken off the price of one unit."""

    price: Decimal
    tax: Decimal = Decimal(0)
    promotion: Decimal = Decimal(0)
    says: str = ""


class Line(NamedTuple):
    """A line of a cart with its price.  ``unit_tax`` is the tax on one unit, ``total`` of the whole line."""

    id: str
    quantity: Decimal
    unit: str
    article: Article
    unit_tax: Decimal
    total: Decimal


class UnknownArticle(Exception):
    """A cart has what has no price."""


def articles_of(listed: Mapping[str, Mapping[str, str]]) -> dict[str, Article]:
    """The price list as it stands in JSON."""
    return {name: Article(Decimal(one["price"]), Decimal(one.get("tax", "0")), Decimal(one.get("promotion", "0")), one.get("says", ""))
            for name, one in listed.items()}


def priced(items: Sequence[Mapping[str, Any]], articles: Mapping[str, Article]) -> list[Line]:
    """The lines of a cart; weights count by hundredths, since the checkout service knows no third decimal.  Raises ``UnknownArticle``."""
    lines = []
    for item in items:
        article, quantity = articles.get(item["id"]), rounded(Decimal(item["quantity"]["value"]))
        if article is None:
            raise UnknownArticle(item["id"])
        tax = rounded((article.price - article.promotion) * article.tax)
        lines.append(Line(
            item["id"], quantity, item["quantity"]["unit"], article, tax, rounded((article.price - article.promotion + tax) * quantity)))
    return lines


def rounded(amount: Decimal) -> Decimal:
    """To the cent."""
    return amount.quantize(CENT, ROUND_HALF_UP)


def total(lines: Sequence[Line]) -> Decimal:
    """What the whole cart costs."""
    return sum((line.total for line in lines), Decimal("0.00"))


def checkout_body(store: str, trip: str, lines: Sequence[Line], currency: str) -> dict[str, Any]:
    """A cart as the checkout service takes it: every amount a text with two decimals."""
    def money(amount: Decimal) -> dict[str, str]:
        return {"amount": str(rounded(amount)), "currencyCode": currency}

    sub = sum((rounded(line.article.price * line.quantity) for line in lines), Decimal(0))
    off = sum((rounded(line.article.promotion * line.quantity) for line in lines), Decimal(0))
    return {
        "idempotentShoppingTripId": trip, "storeId": store,
        "lineItems": [{
            "productId": line.id, "type": "SKU", "quantity": {"value": str(line.quantity), "unit": line.unit},
            "unitPrice": {
                "price": money(line.article.price), "salesTax": money(line.unit_tax),
                "totalPrice": money(line.article.price - line.article.promotion + line.unit_tax),
                "promotions": [{"promotionAmount": money(line.article.promotion), "promotionDescription": line.article.says}]
                if line.article.promotion else []},
        } for line in lines],
        "orderTotals": {
            "subTotal": money(sub), "promotionsTotal": money(off), "salesTaxTotal": money(total(lines) - sub + off),
            "priceTotal": money(total(lines))},
    }
