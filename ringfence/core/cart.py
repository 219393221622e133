"""A cart as a retailer priced it, and whether its sums are right.

Pure and exact: quantities are hundredths, so that every product is a whole number of hundredths of a minor unit, and nothing is rounded but where
a sum is compared.  Refuses to know who sent the cart, and who pays for it.
Source: Just Walk Out payments, CheckoutCart (section 9).
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

HUNDRED = 100


class Part(NamedTuple):
    """A promotion, deposit or fee of one unit; ``tax`` is that of a fee."""

    minor: int
    words: str
    tax: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One line; the amounts are those of one unit, in minor units of the cart's currency."""

    product: str
    kind: str                           # SKU, SCANCODE
    hundredths: int                     # how many, in hundredths of ``unit``
    unit: str
    price: int                          # on the shelf
    tax: int
    total: int                          # price - promotions + fees + taxes
    promotions: tuple[Part, ...] = ()
    fees: tuple[Part, ...] = ()

    @property
    def off(self) -> int:
        """What the promotions of one unit take off."""
        return sum(one.minor for one in self.promotions)

    @property
    def added(self) -> int:
        """The deposits and fees of one unit, without their taxes."""
        return sum(one.minor for one in self.fees)

    @property
    def fee_tax(self) -> int:
        """The taxes of the fees of one unit."""
        return sum(one.tax for one in self.fees)

    def times(self, minor: int) -> int:
        """So much for each unit: the line's amount, rounded to the minor unit half up."""
        return (minor * self.hundredths + HUNDRED // 2) // HUNDRED


@dataclass(frozen=True, slots=True)
class Cart:
    """What was bought and what it costs, in minor units of ``currency``."""

    currency: str
    lines: tuple[Line, ...]
    subtotal: int                       # of shelf prices
    promotions: int
    tax: int
    total: int                          # what is charged

    @property
    def fees(self) -> int:
        """What the total holds beside shelf prices, promotions and taxes: deposits and fees."""
        return self.total - self.subtotal + self.promotions - self.tax


class Fault(StrEnum):
    """What does not add up."""

    UNIT = "unit"                       # the price of one unit of a line
    SUBTOTAL = "subtotal"
    PROMOTIONS = "promotions"
    TAX = "tax"
    TOTAL = "total"


class Found(NamedTuple):
    """What does not add up, and in which line: 0 is the first, ``None`` the cart."""

    fault: Fault
    line: int | None = None


def fault(cart: Cart, *, strict: bool) -> Found | None:
    """The first sum that is not right; ``None`` where all are.

    A sum may be off by a minor unit for each line, and a unit's price by one, unless the merchant is ``strict``.  What no fee blurs must add up
    exactly either way.  Whether the tax of a fee is part of its line's tax is not said anywhere: both count as right.
    """
    unit, slack = (0, 0) if strict else (1, len(cart.lines))
    for place, line in enumerate(cart.lines):
        plain = line.price - line.off + line.added + line.tax
        if not _near(line.total, (plain, plain + line.fee_tax), unit):
            return Found(Fault.UNIT, place)
    sums = [
        (Fault.SUBTOTAL, cart.subtotal, _each(cart, lambda line: line.price)),
        (Fault.PROMOTIONS, cart.promotions, _each(cart, lambda line: line.off)),
        (Fault.TAX, cart.tax, [*_each(cart, lambda line: line.tax), *_each(cart, lambda line: line.tax + line.fee_tax)]),
    ]
    for what, told, wanted in sums:
        if not _near(told, wanted, slack):
            return Found(what)
    fees, more = _each(cart, lambda line: line.added), _each(cart, lambda line: line.added + line.fee_tax)
    return None if _near(cart.fees, [*fees, *more], slack if any(line.fees for line in cart.lines) else 0) else Found(Fault.TOTAL)


def _each(cart: Cart, of_unit: Callable[[Line], int]) -> list[int]:
    """The sum over all lines: of amounts rounded line by line, and rounded once at the end."""
    whole = sum(of_unit(line) * line.hundredths for line in cart.lines)
    return [sum(line.times(of_unit(line)) for line in cart.lines), (whole + HUNDRED // 2) // HUNDRED]


def _near(told: int, wanted: Iterable[int], slack: int) -> bool:
    return any(abs(told - one) <= slack for one in wanted)
