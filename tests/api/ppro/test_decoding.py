"""Strict JSON: what two readers would not agree on is refused."""
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.ppro.decoding import NESTING, decode
from ringfence.api.ppro.kinds import Problem

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**63 - 1) | TEXTS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12)


@given(st.dictionaries(TEXTS, VALUES, max_size=6), st.booleans(), st.sampled_from((None, 1)))
def test_an_object_is_read_however_it_is_written(value: dict[str, Any], ascii_only: bool, indent: int | None):
    """With escapes or without, with blanks or without."""
    if depth(value) <= NESTING:
        assert decode(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()) == value


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4), st.booleans(), st.data())
def test_a_name_that_stands_twice_is_found(value: dict[str, Any], ascii_only: bool, data: st.DataObject):
    """Wherever the object stands, however the second one is spelt, and whatever blanks stand around its colon."""
    name = data.draw(st.sampled_from(sorted(value)))
    pairs = [(one, json.dumps(value[one], ensure_ascii=ascii_only)) for one in value] + [(name, "1")]
    joints = data.draw(st.lists(st.sampled_from((":", " :", "\t: ")), min_size=len(pairs), max_size=len(pairs)))
    written = "{" + ",".join(
        f"{json.dumps(one, ensure_ascii=ascii_only)}{joint}{text}" for (one, text), joint in zip(pairs, joints, strict=True)) + "}"
    for body, path in ((written, name), (f'{{"outer":[{{"a":1}},{written}]}}', f"outer[1].{name}"), (f'{{"one":{{"two":{written}}}}}', f"one.two.{name}")):
        found = decode(body.encode())
        assert isinstance(found, Problem) and found.path in (path, "body")


@pytest.mark.parametrize(("body", "path", "problem"), [
    (b'{"amount":{"value":1,"currency":"USD","value":2}}', "amount.value", "stands twice in one object"),
    (b'{"amount":{"value":1,"v\\u0061lue":2}}', "amount.value", "stands twice in one object"),
    (b'{"amount":{"value":1,"value" :2}}', "amount.value", "stands twice in one object"),
    (b'{"a":[[{"b":1,"b":1}]]}', "a[0][0].b", "stands twice in one object"),
    (b'{"amount":{"value":1},}', "body", "is not a JSON object: trailing comma in object (byte 22)"),
    (b'{} // a note', "body", "is not a JSON object: trailing characters (byte 4)"),
    (b"", "body", "is not a JSON object: input data was truncated"), (b"[]", "body", "is not a JSON object"),
    (b'{"a":"\xff"}', "body", "is not UTF-8"),
    (b'{"a":1e5000}', "body", "holds a number beyond all ranges"),
    (b'{"a":' + b"9" * 5000 + b"}", "body", "holds a number beyond all ranges"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, "body", f"is nested deeper than {NESTING}"),
    (b'{"a":' + b"[" * 600 + b"]" * 600 + b"}", "body", f"is nested deeper than {NESTING}"),
])
def test_what_is_wrong_is_said_with_its_path(body: bytes, path: str, problem: str):
    assert decode(body) == Problem(path, problem)


@given(st.binary(max_size=40))
def test_any_bytes_may_come(body: bytes):
    """They are an object or a problem, never an exception."""
    assert isinstance(decode(body), dict | Problem)


def depth(value: Any) -> int:
    if isinstance(value, dict | list) and value:
        return 1 + max(depth(one) for one in (value.values() if isinstance(value, dict) else value))
    return 0
