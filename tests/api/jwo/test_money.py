"""Three ways to write an amount, each exact, none taken for another."""
from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.jwo import money
from ringfence.api.jwo.decoding import decode
from ringfence.api.jwo.money import Amount, BadAmount
from ringfence.core.commands import MAX_MINOR
from ringfence.core.money import CURRENCIES


def read(written: str, currency: str = "USD") -> Amount | BadAmount:
    decoded = decode(f'{{"amount":{written},"code":"{currency}"}}'.encode())
    return money.read_payment(decoded) if decoded is not None else BadAmount("", "no JSON")


@pytest.mark.parametrize(("written", "currency", "minor"), [
    ("15.99", "USD", 1599), ("25.5", "USD", 2550), ("25.50", "USD", 2550), ("25.500", "USD", 2550), ("64", "USD", 6400), ("0.01", "USD", 1),
    ("100", "JPY", 100), ("100.0", "JPY", 100), ("1.234", "KWD", 1234), ("1.2", "KWD", 1200), ("0.0001", "CLF", 1),
    ("9999999999.99", "USD", MAX_MINOR), ("999999.99", "USD", 99999999),
])
def test_a_number_is_an_amount_by_its_value(written, currency, minor):
    assert read(written, currency) == Amount(minor, currency)


@pytest.mark.parametrize("written", [
    "15.999", "0.001", "0", "0.00", "-0", "-0.0", "-1", "-15.99", "1e2", "1E2", "1.5e1", "15.99e0", '"15.99"', '"15"', "true", "false", "null", "[]",
    "[15.99]", "{}", "NaN", "Infinity", "-Infinity", "10000000000.00", "1" * 30, "1" * 5000, "0." + "0" * 30 + "1", "1e999999999", "01", ".5", "5.", "+5", "0x10",
    "1_000", "１",
])
def test_what_is_no_amount_is_refused(written):
    assert isinstance(read(written), BadAmount)


@pytest.mark.parametrize("currency", ["usd", "US", "USDX", "", "XXX", "ZZZ", "U$D", " USD", "USD ", "ＵＳＤ"])
def test_a_currency_is_three_capital_letters_of_a_currency(currency):
    assert read("15.99", currency) == BadAmount("code", money.NO_CURRENCY)


def test_decimals_are_the_currency_s():
    assert read("1.5", "JPY") == BadAmount("amount", money.TOO_FINE)
    assert read("1.2345", "KWD") == BadAmount("amount", money.TOO_FINE)


@pytest.mark.parametrize(("written", "minor"), [("15.99", 1599), ("15.9", 1590), ("15", 1500), ("0", 0), ("0.00", 0), ("0.5", 50)])
def test_a_cart_writes_texts(written, minor):
    assert money.read_checkout({"amount": written, "currencyCode": "USD"}) == Amount(minor, "USD")


@pytest.mark.parametrize("written", ["15.999", "15.990", "-1", "+1", " 1", "1 ", "", "1,00", "1e2", "NaN", "٣", "1.", ".1", "01", None, 15.99, 15, True, ["1"]])
def test_what_a_cart_may_not_write(written):
    decoded = decode(json.dumps({"amount": written, "currencyCode": "USD"}).encode())
    assert isinstance(money.read_checkout(decoded), BadAmount)


def test_no_shape_is_taken_for_another():
    for shape in ('{"amount":15.99,"code":"USD"}', '{"amount":"15.99","currencyCode":"USD"}', '{"value":15.99,"currencyCode":"USD"}'):
        decoded = decode(shape.encode())
        taken = [isinstance(reader(decoded), Amount) for reader in (money.read_payment, money.read_checkout, money.read_authorization)]
        assert sum(taken) == 1


AMOUNTS = st.builds(Amount, st.integers(1, MAX_MINOR), st.sampled_from(sorted(CURRENCIES)))


@given(AMOUNTS)
def test_what_is_written_is_read_again(amount):
    for write, reader in ((money.payment, money.read_payment), (money.authorization, money.read_authorization)):
        assert reader(decode(msgspec.json.encode(write(*amount)))) == amount
    if CURRENCIES[amount.currency].exponent <= 2:
        assert money.read_checkout(decode(msgspec.json.encode(money.checkout(*amount)))) == amount


def test_numbers_go_out_as_numbers():
    assert msgspec.json.encode(money.payment(1840, "USD")) == b'{"amount":18.40,"code":"USD"}'
    assert msgspec.json.encode(money.payment(18, "JPY")) == b'{"amount":18,"code":"JPY"}'
    assert msgspec.json.encode(money.checkout(5, "USD")) == b'{"amount":"0.05","currencyCode":"USD"}'
    assert msgspec.json.encode(money.authorization(2000, "USD")) == b'{"value":20.00,"currencyCode":"USD"}'


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b"5", b'"a"', b'{"a":1,"a":2}', b'{"a":{"b":1,"b":1}}', b'{"a":NaN}', b'{"a":"\xff"}', b'\xef\xbb\xbf{}', b'{"a":01}',
    '{"a":1}'.encode("utf-16"), b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"[" * 13 + b"]" * 13 + b"}", b'{"a":"\n"}', b"{'a':1}", b'{"a":1,}',
])
def test_what_is_no_object_of_json(body):
    assert decode(body) is None
