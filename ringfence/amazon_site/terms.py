"""Terms: what a buyer agrees to be charged again and again, in words."""
from __future__ import annotations

from typing import Any

from ringfence.amazon_site.texts import period, text
from ringfence.amazon_site.wire import read_price
from ringfence.core.money import format_minor


def terms_of(permission_type: str, given: dict[str, Any], language: str) -> str:
    """``90.00 USD every month``; "" where nothing recurs."""
    if permission_type == "OneTime":
        return ""
    said = given.get("recurringMetadata", {})
    frequency = said.get("frequency", {})
    price = read_price(said["amount"]) if "amount" in said else None
    amount = _apart(format_minor(*price), language) if price is not None else text("any_amount", language)
    unit = frequency.get("unit", "Variable")
    if unit == "Variable":
        return text("at_times", language, amount=amount)
    return text("every", language, amount=amount, period=period(unit, frequency.get("value", "1"), language))


def _apart(amount: str, language: str) -> str:
    """An amount that keeps its order inside a line that runs from right to left (Unicode's left-to-right isolate)."""
    return f"\u2066{amount}\u2069" if language == "ar" else amount
