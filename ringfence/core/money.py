"""Money: a whole number of minor units with a currency.

Decides how amounts are written and read, exactly.  Refuses to know rounding, conversion and limits: nothing here is ever a float.
"""
from __future__ import annotations

import re
from typing import NamedTuple

from ringfence.core.currencies import CURRENCIES, Currency

__all__ = ["CURRENCIES", "Currency", "Money", "format_decimal", "format_minor", "parse"]

_WRITTEN = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,4}))? ([A-Z]{3})", re.ASCII)


class Money(NamedTuple):
    """``minor`` units of ``currency``.  Comparable and addable only with its own kind; prints as ``10.00 AED``."""

    minor: int
    currency: Currency

    def __str__(self) -> str:
        return format_minor(self.minor, self.currency.code)

    def __add__(self, other: Money) -> Money:  # type: ignore[override]  # a sum of money, not a longer tuple
        assert self.currency is other.currency or self.currency == other.currency, "two currencies cannot be added"
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        assert self.currency == other.currency, "two currencies cannot be subtracted"
        return Money(self.minor - other.minor, self.currency)

    def __lt__(self, other: Money) -> bool:  # type: ignore[override]
        assert self.currency == other.currency, "two currencies cannot be compared"
        return self.minor < other.minor

    def __le__(self, other: Money) -> bool:  # type: ignore[override]
        assert self.currency == other.currency, "two currencies cannot be compared"
        return self.minor <= other.minor

    def __gt__(self, other: Money) -> bool:  # type: ignore[override]
        return other < self

    def __ge__(self, other: Money) -> bool:  # type: ignore[override]
        return other <= self


def format_decimal(minor: int, code: str) -> str:
    """The amount alone with the currency's decimals: ``format_decimal(1000, "KWD") == "1.000"``."""
    exponent = CURRENCIES[code].exponent
    if exponent == 0:
        return str(minor)
    digits = str(abs(minor)).rjust(exponent + 1, "0")
    return f"{'-' if minor < 0 else ''}{digits[:-exponent]}.{digits[-exponent:]}"


def format_minor(minor: int, code: str) -> str:
    """The amount and its currency: ``format_minor(1000, "AED") == "10.00 AED"``."""
    return f"{format_decimal(minor, code)} {code}"


def parse(text: str) -> Money:
    """Read what ``str(Money)`` writes: every decimal of the currency, no more and no fewer.

    Raises ``ValueError`` for anything else: an unknown currency, missing or extra decimals, separators, leading zeros.
    """
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise ValueError(f"not an amount with a currency, such as 10.00 AED: {text!r}")
    sign, whole, decimals, code = match.groups()
    currency = CURRENCIES.get(code)
    if currency is None:
        raise ValueError(f"no currency with a minor unit is called {code}")
    if len(decimals or "") != currency.exponent:
        raise ValueError(f"{code} is written with {currency.exponent} decimals")
    minor = int(whole + (decimals or ""))
    if (len(whole) > 1 and whole[0] == "0") or (sign and not minor):
        raise ValueError(f"not written the shortest way: {text!r}")
    return Money(-minor if sign else minor, currency)
