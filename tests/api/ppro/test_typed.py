"""What is read at once is read as the tables say it, and everything else is left to them."""
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.ppro import fields, typed
from ringfence.api.ppro.decoding import decode
from ringfence.api.ppro.kinds import Object, Problem, Problems, Text
from ringfence.core.commands import MAX_MINOR

INSTRUMENT = "instr_" + "0" * 21
ORDINARY: dict[str, Any] = {
    "paymentMethod": "CARD", "amount": {"value": 1000, "currency": "AED"}, "instrumentId": INSTRUMENT, "initiator": "CONSUMER", "autoCapture": True,
    "consumer": {"name": "Zoë Doe", "country": "AE", "email": "buyer@shop.example", "client": {"ip": "203.0.113.7"}},
    "merchantPaymentChargeReference": "order-1", "labels": {"shop": "3"},
    "order": {"orderItems": [{"name": "Shoe", "quantity": 1, "amount": 1000}], "shippingAddress": {"city": "Dubai", "country": "AE"}}}
ODD = st.sampled_from((
    None, True, 0, -1, 1.0, 1.5, 10**30, "", "1", "x" * 513, "x\0", 'a"b', "a\\b", "\u20ac", "ae", "AED", "MOTO", "POS", "a@b.c", "MERCHANT", [], {}, ["x"], {"a": 1},
    {"a": "b"}, INSTRUMENT, {"value": MAX_MINOR, "currency": "USD"}, {"value": MAX_MINOR + 1, "currency": "USD"}, {"value": "5", "currency": "USD"}))
NAMES = st.sampled_from((*fields.CHARGE.rows, "paymentChargeMerchantReference", "unknown"))
INNER = st.sampled_from((*fields.CONSUMER.rows, "value", "currency", "ip", "unknown"))


def by_the_tables(body: bytes, kind: Object) -> tuple[Any, Problems]:
    decoded, problems = decode(body), []
    return (None, [decoded]) if isinstance(decoded, Problem) else (kind.read(decoded, "", problems), problems)


def in_order(asked: dict[str, Any]) -> bytes:
    return json.dumps(asked, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def test_an_ordinary_charge_is_read_at_once():
    for form in ({"indent": 1}, {}, {"separators": (",", ":")}):
        assert typed.read(json.dumps(ORDINARY, ensure_ascii=False, **form).encode(), fields.CHARGE) == (ORDINARY, in_order(ORDINARY))


@given(
    st.dictionaries(NAMES, ODD, max_size=3), st.dictionaries(INNER, ODD, max_size=2), st.dictionaries(INNER, ODD, max_size=1), st.booleans(),
    st.sampled_from(({}, {"indent": 1}, {"separators": (",", ":")})),
    st.sampled_from(("", ',"labels" : {}', ',"amount":{"value":2,"currency":"EUR"}', ',"autoCapture" :true', '   ')))
def test_it_is_read_as_the_tables_read_it(
    changed: dict[str, Any], consumer: dict[str, Any], money: dict[str, Any], ascii_only: bool, form: dict[str, Any], more: str,
):
    """Or not at all, and whatever the tables find fault with is not."""
    charge = ORDINARY | {"consumer": ORDINARY["consumer"] | consumer, "amount": ORDINARY["amount"] | money} | changed
    body = (json.dumps(charge, ensure_ascii=ascii_only, **form)[:-1] + more + "}").encode()
    at_once = typed.read(body, fields.CHARGE)
    if at_once is not None:
        assert by_the_tables(body, fields.CHARGE) == (at_once[0], [])
        assert at_once[1] == in_order(at_once[0])


@pytest.mark.parametrize("kind", [fields.COUNTRY, fields.METHOD.kind], ids=["country", "method"])
def test_what_a_text_usually_is_it_may_be(kind: Text):
    problems: Problems = []
    assert [kind.read(word, "x", problems) for word in kind.usual] == [*kind.usual] and not problems


@pytest.mark.parametrize("method", ["CARD", "KLARNA"])
def test_a_text_that_is_not_usual_is_read_all_the_same(method: str):
    """By the tables: a method that nobody knows is refused later, in the words of the API."""
    body = json.dumps(ORDINARY | {"paymentMethod": method}, ensure_ascii=False).encode()
    assert (typed.read(body, fields.CHARGE) is None) == (method == "KLARNA")
    assert by_the_tables(body, fields.CHARGE)[1] == []


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"\xff"', b"{}", b'{"a":' * 5000, b"{" * 100_000])
def test_what_is_no_charge_is_left_to_them(body: bytes):
    assert typed.read(body, fields.CHARGE) is None


@pytest.mark.parametrize("kind", [*fields.OPERATIONS.values(), fields.AGREEMENT, fields.AGREEMENT_CHARGE, fields.REVOCATION], ids=lambda one: one.name)
def test_every_table_may_be_asked(kind: Object):
    """Also one that has a field without a type."""
    for body in (b"{}", b'{"amount":5}', b'{"amount":5,"labels":{"a":"b"}}'):
        at_once = typed.read(body, kind)
        if at_once is not None:
            assert by_the_tables(body, kind) == (at_once[0], [])
