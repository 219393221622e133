"""Charges of the benchmark: what a request says, and which answers count."""
from __future__ import annotations

import json

import pytest

from ringfence.bench.charges import template
from ringfence.bench.purchases import Merchant

ORDER = template(Merchant("Shop", "", "", "", "", "key_x", "merch_x"), "instr_1", "127.0.0.1")("0123456789abcdef", "1234")
GOOD = {
    "id": "charge_" + "A" * 21, "status": "CAPTURED", "currency": "AED", "captures": [{"amount": 1234, "status": "CAPTURED"}],
    "authorizations": [{"amount": 1234, "status": "AUTHORIZED", "merchantPaymentChargeReference": "0123456789abcdef"}]}


def test_a_request_says_how_long_it_is_and_has_a_key():
    head, _, body = ORDER.request.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head and b"Request-Idempotency-Key: 0123456789abcdef" in head
    assert json.loads(body)["amount"] == {"value": 1234, "currency": "AED"}
    assert json.loads(ORDER.line) | {"amount": 1234} == json.loads(ORDER.line)


@pytest.mark.parametrize(("changes", "thoroughly", "wrong"), [
    ({}, False, False), ({}, True, False), ({"status": "FAILED"}, False, True), ({"currency": "USD"}, False, True),
    ({"authorizations": []}, False, True), ({"captures": []}, True, True), ({"captures": []}, False, False), ({"id": "1"}, True, True),
    ({"authorizations": [{"amount": 1, "merchantPaymentChargeReference": "0123456789abcdef"}]}, False, True),
])
def test_an_answer_counts_where_it_captures_exactly_that_charge(changes: dict[str, object], thoroughly: bool, wrong: bool):
    assert bool(ORDER.judge(ORDER, json.dumps(GOOD | changes).encode(), thoroughly)) == wrong


def test_what_is_no_charge_does_not_count():
    assert ORDER.judge(ORDER, b"[]", False)
