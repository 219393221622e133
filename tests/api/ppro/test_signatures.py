"""Signatures of webhooks: the vectors of section 15.7, and what a verifier takes and does not."""
from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.ppro.names import Names
from ringfence.api.ppro.signatures import TOLERANCE, current, is_good, is_good_legacy, legacy

SECRET, BODY, AT = "whsec_test", b'{"id":"evt1","type":"PAYMENT_CHARGE_CAPTURE_SUCCEEDED"}', 1_760_000_000
LEGACY = "bc0a88cc84429e41ea455f8a518a44fbcd93ba50fd0807c6a8c23b36dad1d32b"
KEYED = "8b083ff940343af74925f6f4cff4b16c336c24840ff7f2989b2c61f7b11f24b7"


def test_the_vectors():
    assert legacy(BODY, SECRET) == LEGACY
    assert current(BODY, [SECRET], AT) == f"t={AT},s={KEYED}"
    assert is_good_legacy(LEGACY, BODY, ["other", SECRET]) and is_good(f"t={AT},s={KEYED}", BODY, [SECRET], AT)


@pytest.mark.parametrize(("header", "good"), [
    (f"t={AT},s={KEYED}", True), (f"s={KEYED},t={AT}", True), (f"t={AT}, s={'0' * 64}, s={KEYED}, v=2", True),
    (f"t={AT},s={KEYED.upper()}", False), (f"t={AT + 1},s={KEYED}", False), (f"s={KEYED}", False), (f"t={AT}", False),
    (f"t={AT},t={AT},s={KEYED}", False), ("", False), ("t=,s=", False), (f"t=-1,s={KEYED}", False), (f"t={AT},s=\u00e9", False),
])
def test_what_a_verifier_takes(header: str, good: bool):
    """Parts in any order, several signatures; not another moment, none, or two."""
    assert is_good(header, BODY, [SECRET], AT) is good


@pytest.mark.parametrize(("apart", "good"), [(TOLERANCE, True), (-TOLERANCE, True), (TOLERANCE + 1, False), (-TOLERANCE - 1, False)])
def test_how_old_it_may_be(apart: int, good: bool):
    assert is_good(f"t={AT},s={KEYED}", BODY, [SECRET], AT + apart) is good


@given(st.binary(max_size=200), st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=3, unique=True), st.integers(0, 2**40))
def test_each_secret_in_force_signs(body: bytes, secrets: list[str], at: int):
    """As anybody would make it by the book; one byte more and it is another's."""
    header = current(body, secrets, at)
    for secret in secrets:
        assert hmac.new(secret.encode(), str(at).encode() + b"." + body, hashlib.sha256).hexdigest() in header
        assert is_good(header, body, [secret], at) and not is_good(header, body + b" ", [secret], at)
        assert is_good_legacy(legacy(body, secret), body, [secret]) and not is_good_legacy(legacy(body, secret), body + b" ", [secret])


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["payment", "beside"]), st.integers(0, 2**63 - 1), st.integers(0, 2**31)),
                min_size=2, max_size=2, unique=True))
def test_a_message_has_one_id_and_no_other_has_it(pair: list[tuple[int, str, int, int]]):
    names, others = Names(b"k" * 32), Names(b"l" * 32)
    first, second = (names.event(*one) for one in pair)
    assert first != second and first == names.event(*pair[0]) != others.event(*pair[0])
    assert len(first) == 21 and first.isalnum() and first.isascii() and names.event(*pair[0], "event") == f"event_{first}"
