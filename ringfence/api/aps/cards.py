"""Cards on the APS wire: when a number, its expiry date and its security code are worth asking an issuer about.

Decides message codes for cards that cannot be real, and how a number is shown.  Refuses to know whether the account is good.
"""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from ringfence.core.card import Pan, brand_of, expiry_passed, luhn_valid, plausible_expiry, security_code_length, valid_length

#: The published test numbers, and the expiry dates (YYMM) that client test suites send with them for ever.
TEST_EXPIRIES: dict[str, frozenset[str]] = {
    number: frozenset({"2105", printed}) for number, printed in {
        "4005550000000001": "2105", "5123456789012346": "2105", "345678901234564": "2105", "4557012345678902": "2105",
        "5313581000123430": "2105", "374200000000004": "2105", "5297412542005689": "2105", "9818950527886700002": "2310",
        "5078036221028566": "2309", "4215375500883243": "2106", "4000000000000002": "2105", "4724439901004942": "2105",
    }.items()
}


class CardDetails(NamedTuple):
    """A card as typed.  ``expiry`` is YYMM; the number masks itself."""

    number: Pan
    expiry: str
    holder: str = ""


def expiry_message(expiry: str, now: datetime, number: str = "", sandbox: bool = False) -> str | None:
    """100 for a month that is none, 012 for one that has passed, ``None`` for a good date.  ``expiry`` is YYMM, ``now`` UTC."""
    if not plausible_expiry(expiry, now):
        return "100"
    if expiry_passed(expiry, now) and not (sandbox and expiry in TEST_EXPIRIES.get(number, ())):
        return "012"
    return None


def number_message(number: str) -> str | None:
    """016 for a number that no issuer can have given out, 039 for one of no brand that we know, ``None`` for a good one."""
    if not 12 <= len(number) <= 19 or not luhn_valid(number):
        return "016"
    brand = brand_of(number)
    if brand is None:
        return "039"
    return None if valid_length(brand, number) else "016"


def code_fits(code: str, number: str) -> bool:
    """Whether a security code has as many digits as the card's brand prints (four for American Express, else three)."""
    brand = brand_of(number)
    return brand is None or len(code) == security_code_length(brand)


def masked(number: str, first: int = 6) -> str | None:
    """``400555******0001``: the first six (or eight) and the last four digits, or ``None`` for what is no card number at all."""
    if not (12 <= len(number) <= 19 and number.isascii() and number.isdigit()):
        return None
    return f"{number[:first if len(number) > 15 else 6]}******{number[-4:]}"
