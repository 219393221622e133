"""Chance at the wire: any bytes and any parameters end in an answer, and no answer holds a secret."""
from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringfence.api.aps import answers, signature, wire
from ringfence.api.aps.accounts import Settings
from ringfence.api.aps.explain import explain
from ringfence.api.aps.fields import FIELDS
from ringfence.api.aps.operations import ECHO_UNKNOWN, OPERATIONS, TOKENIZATION, UNAVAILABLE
from ringfence.api.aps.wire import ApsRequest, WireError
from tests.api.aps.dialogue import COMMON, CREDENTIAL, EVERY_OPERATION, NOW, read, signed, told

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=6,
)
NAMES = st.sampled_from(sorted(FIELDS)) | st.text(max_size=12)
PARAMS = st.dictionaries(NAMES, JSON, max_size=6)
OPERATION = st.sampled_from([{key: name} for key, name in [*OPERATIONS, *UNAVAILABLE]])


@given(st.binary() | PARAMS.map(lambda params: json.dumps(params).encode()) | JSON.map(lambda value: json.dumps(value).encode("utf-8")))
@example(b'{"a":"\\udc00"}')
@example(b'{"\\u0000":1}')
def test_any_bytes_become_an_answer(body):
    """Never an exception; without a merchant, never a signature."""
    outcome = read(body)
    assert isinstance(outcome, WireError)
    answer = told(outcome, None)
    assert answer["status"] == answer["response_code"][:2] == "00" and "signature" not in answer


@settings(max_examples=200)
@given(st.sampled_from(EVERY_OPERATION), OPERATION | st.just({}), PARAMS, st.booleans())
def test_a_known_merchant_is_always_answered_with_a_right_signature(request_params, operation, changes, correctly_signed):
    """Whatever the parameters: signed, texts only, nothing empty, only keys that the wire knows."""
    params = {**request_params, **operation, **changes, **COMMON}
    texts = wire.decode(json.dumps(params).encode())
    if isinstance(texts, WireError):
        return
    texts["signature"] = signature.sign(texts, CREDENTIAL.request_phrase) if correctly_signed else "00"
    outcome = wire.parse(texts, CREDENTIAL, Settings(), NOW)
    if isinstance(outcome, ApsRequest):
        body = answers.format_answer(outcome, {"fort_id": "169996200024611493"}, outcome.operation.success, CREDENTIAL)
        known = outcome.operation.answers
    else:
        body = answers.format_error(outcome, CREDENTIAL)
        known = ECHO_UNKNOWN | TOKENIZATION.echoes | {"response_code", "response_message", "status", "signature"}
    answer = json.loads(body)
    assert answer["signature"] == signature.sign(answer, CREDENTIAL.response_phrase)
    assert answer.keys() <= known
    assert all(isinstance(value, str) and value for value in answer.values())
    assert len(answer["response_message"]) <= 150
    assert explain(texts, CREDENTIAL).right == correctly_signed


NUMBERS = st.sampled_from(["4005550000000001", "5123456789012346", "345678901234564", "9818950527886700002", "4005550000000002"])
CODES = st.sampled_from(["7391", "739", "7391x", "73 91"])


@given(st.sampled_from(EVERY_OPERATION), NUMBERS, CODES, st.sampled_from(["", " ", "x", "\n", "0"]), st.booleans())
def test_no_answer_explanation_or_repr_holds_card_data(request_params, number, code, spoiled, correctly_signed):
    """The card number is masked or gone and the code gone, whether the request is right or wrong."""
    params = {**request_params, "customer_ip": "::1", "amount": "8", "merchant_reference": "R", "card_number": number + spoiled,
              "card_security_code": code}
    params = signed(params) if correctly_signed else {**params, "signature": "ab" * 32}
    outcome = read(params)
    if isinstance(outcome, ApsRequest):
        shown = answers.format_answer(outcome, {}, outcome.operation.success, CREDENTIAL).decode()
    else:
        shown = answers.format_error(outcome, CREDENTIAL).decode()
    answer = json.loads(shown)
    explained = explain(wire.decode(json.dumps(params).encode()), CREDENTIAL)
    for text in (shown.replace(answer["signature"], ""), repr(outcome), "\n".join(explained.lines()), repr(explained)):
        assert number not in text
        assert f"={code}" not in text and f'"{code}"' not in text and f"'{code}'" not in text
        assert params["signature"] not in text
        assert CREDENTIAL.request_phrase not in text and CREDENTIAL.response_phrase not in text


@given(st.integers(1_577_836_800, 4_070_908_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
@pytest.mark.parametrize("expiry", ["0000", "9913", "0001", "9912", "2602"])
def test_any_expiry_at_any_instant_has_an_answer(expiry, now):
    """A month that is none, one that has passed, or a good one."""
    params = wire.decode(json.dumps(signed({**EVERY_OPERATION[1], "expiry_date": expiry})).encode())
    outcome = wire.parse(params, CREDENTIAL, Settings(), now)
    assert isinstance(outcome, ApsRequest) or outcome.code in ("00100", "00012")
