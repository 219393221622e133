"""Money: exact to the minor unit, in every currency that has one."""
from __future__ import annotations

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.money import CURRENCIES, Currency, Money, format_decimal, format_minor, parse

AED, JPY, KWD, CLF = (CURRENCIES[code] for code in ("AED", "JPY", "KWD", "CLF"))

money = st.builds(Money, st.integers(-999_999_999_999, 999_999_999_999), st.sampled_from(sorted(CURRENCIES.values())))


def test_the_table_is_iso_4217():
    """Every currency with a minor unit is here with its numbers; those without one are not."""
    published = {c.code: Currency(c.code, c.number, c.exponent) for c in iso4217.Currency if c.exponent is not None}
    assert published == CURRENCIES
    assert {c.exponent for c in CURRENCIES.values()} == {0, 2, 3, 4}


@pytest.mark.parametrize("code", ["XAU", "XDR", "XXX", "XTS", "aed", "AE", ""])
def test_what_has_no_minor_unit_is_no_currency(code: str):
    """Metals, funds of account and test codes are refused, and codes are upper case."""
    assert code not in CURRENCIES
    with pytest.raises(ValueError, match=r"no currency|not an amount"):
        parse(f"10.00 {code}")


@pytest.mark.parametrize(("minor", "currency", "text"), [
    (1000, AED, "10.00 AED"), (1000, JPY, "1000 JPY"), (1000, KWD, "1.000 KWD"), (1000, CLF, "0.1000 CLF"),
    (5, AED, "0.05 AED"), (0, AED, "0.00 AED"), (0, JPY, "0 JPY"), (-5, KWD, "-0.005 KWD"),
    (999_999_999_999, AED, "9999999999.99 AED"),
])
def test_an_amount_is_written_with_the_decimals_of_its_currency(minor: int, currency: Currency, text: str):
    """Two decimals for the dirham, none for the yen, three for the Kuwaiti dinar, four for the unidad de fomento."""
    assert str(Money(minor, currency)) == format_minor(minor, currency.code) == text
    assert format_decimal(minor, currency.code) == text.split()[0]
    assert parse(text) == Money(minor, currency)


@given(money)
def test_what_is_written_reads_back_the_same(amount: Money):
    """Nothing is rounded on the way out or in."""
    assert parse(str(amount)) == amount


@pytest.mark.parametrize("text", [
    "10 AED", "10.0 AED", "10.000 AED", "10.5 JPY", "1,000.00 AED", "10.00AED", " 10.00 AED", "10.00 AED\n", "010.00 AED", "-0.00 AED",
    "1e3 JPY", "٣٠ JPY", "10.00", "", "+10.00 AED", "10.00 aed",
])
def test_anything_else_is_refused(text: str):
    """Too few or too many decimals, separators, other digits: none of it is guessed at."""
    with pytest.raises(ValueError, match=r"."):
        parse(text)


def test_two_currencies_are_never_mixed():
    """Adding and comparing across currencies is a bug of the caller, found at once."""
    assert Money(1, AED) + Money(2, AED) == Money(3, AED)
    assert Money(1, AED) - Money(2, AED) == Money(-1, AED)
    assert Money(1, AED) < Money(2, AED) >= Money(2, AED)
    for mix in (lambda: Money(1, AED) + Money(1, KWD), lambda: Money(1, AED) - Money(1, KWD), lambda: Money(1, AED) < Money(1, KWD)):
        with pytest.raises(AssertionError):
            mix()
