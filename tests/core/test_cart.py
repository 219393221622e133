"""A cart adds up, or it is said what does not."""
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.cart import Cart, Fault, Found, Line, Part, fault

LINE = Line("0012345678905", "SKU", 200, "each", 350, 21, 321, (Part(50, "Lunch deal"),))
CART = Cart("USD", (LINE,), 700, 100, 42, 642)


def test_the_published_cart_adds_up():
    assert fault(CART, strict=True) is None and fault(CART, strict=False) is None and CART.fees == 0


@pytest.mark.parametrize(("changes", "found"), [
    ({"subtotal": 702, "total": 644}, Found(Fault.SUBTOTAL)), ({"promotions": 90, "total": 652}, Found(Fault.PROMOTIONS)),
    ({"tax": 52, "total": 652}, Found(Fault.TAX)), ({"total": 643}, Found(Fault.TOTAL)), ({"total": 641}, Found(Fault.TOTAL)),
    ({"total": 0}, Found(Fault.TOTAL)), ({"lines": (replace(LINE, total=325),)}, Found(Fault.UNIT, 0)),
    ({"lines": (LINE, replace(LINE, total=371))}, Found(Fault.UNIT, 1)),
])
def test_what_does_not_add_up_is_named(changes, found):
    assert fault(replace(CART, **changes), strict=False) == found


def test_a_cent_a_line_is_forgiven_unless_strict():
    """Three at 3.33 and a third of a cent of tax each: a retailer that rounds at the end has 10.00 and 1 where we have 9.99 and 0."""
    off = replace(CART, subtotal=701, total=643)
    assert fault(off, strict=False) is None and fault(off, strict=True) == Found(Fault.SUBTOTAL)
    two = replace(CART, lines=(LINE, LINE), subtotal=1402, promotions=200, tax=84, total=1286)
    assert fault(two, strict=False) is None and fault(replace(two, subtotal=1403, total=1287), strict=False) == Found(Fault.SUBTOTAL)


def test_fees_stand_between_the_totals():
    """A deposit of 10 a bottle, taxed or not, is in the total and in no other sum."""
    line = Line("B", "SKU", 300, "each", 100, 5, 115, (), (Part(10, "Deposit"),))
    cart = Cart("USD", (line,), 300, 0, 15, 345)
    assert fault(cart, strict=True) is None and cart.fees == 30
    assert fault(replace(cart, total=315), strict=True) == Found(Fault.TOTAL)
    taxed = replace(line, fees=(Part(10, "Deposit", 1),), total=116)
    for tax, total in ((15, 345), (18, 348), (15, 348)):
        assert fault(replace(cart, lines=(taxed,), tax=tax, total=total), strict=True) is None


def test_a_weight_is_rounded_once():
    """0.35 kg at 9.99 is 3.4965: 3.50."""
    line = Line("W", "SKU", 35, "kg", 999, 0, 999)
    assert fault(Cart("USD", (line,), 350, 0, 0, 350), strict=True) is None
    assert fault(Cart("USD", (line,), 349, 0, 0, 349), strict=True) == Found(Fault.SUBTOTAL)


PARTS = st.lists(st.builds(Part, st.integers(0, 50), st.just("x")), max_size=3).map(tuple)


@st.composite
def lines(draw):
    price, tax, fees = draw(st.integers(150, 10_000)), draw(st.integers(0, 900)), draw(PARTS)
    promotions = draw(PARTS)
    total = price - sum(one.minor for one in promotions) + sum(one.minor for one in fees) + tax
    return Line("P", "SKU", draw(st.integers(1, 5_000)), "each", price, tax, total, promotions, fees)


def priced(bought: list[Line]) -> Cart:
    def each(of_unit):
        return sum(line.times(of_unit(line)) for line in bought)

    subtotal, off, tax = each(lambda line: line.price), each(lambda line: line.off), each(lambda line: line.tax)
    return Cart("USD", tuple(bought), subtotal, off, tax, subtotal - off + tax + each(lambda line: line.added))


@given(st.lists(lines(), min_size=1, max_size=8))
def test_a_cart_priced_line_by_line_always_adds_up(bought):
    assert fault(priced(bought), strict=True) is None


@given(st.lists(lines(), min_size=1, max_size=8), st.sampled_from(["subtotal", "promotions", "tax", "total"]), st.integers(1, 10_000))
def test_what_is_off_by_more_than_a_cent_a_line_never_does(bought, name, more):
    cart = priced(bought)
    slack = len(bought) + 1                 # and one for the two ways of rounding
    assert fault(replace(cart, **{name: getattr(cart, name) + slack + more}), strict=False) is not None
