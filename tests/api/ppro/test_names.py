"""Names: a prefix and 21 characters, read without a table."""
from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.ppro.names import ALPHABET, Names

NAMES, OTHERS = Names(b"k" * 32), Names(b"l" * 32)
NUMBERS = st.integers(0, 2**63 - 1)
PREFIXES = st.sampled_from(("charge", "authz", "capture", "refund", "void", "agr", ""))


@given(PREFIXES, NUMBERS)
def test_a_name_says_its_number(prefix: str, number: int):
    """To whoever has the key, and as an object of its own kind only."""
    name = NAMES.make(prefix, number)
    assert re.fullmatch(rf"{prefix + '_' if prefix else ''}[0-9A-Za-z]{{21}}", name)
    assert NAMES.read(prefix, name) == number
    assert OTHERS.read(prefix, name) is None
    assert NAMES.read("dispute", f"dispute_{name[-21:]}") is None


@given(st.lists(PREFIXES, unique=True), NUMBERS)
def test_names_that_share_a_number_are_made_together(prefixes: list[str], number: int):
    names = NAMES.several(number, *prefixes)
    assert [NAMES.read(prefix, name) for prefix, name in zip(prefixes, names, strict=True)] == [number] * len(prefixes)


@given(PREFIXES, NUMBERS, st.integers(0, 20), st.sampled_from(ALPHABET))
def test_a_name_that_was_changed_is_nobodys(prefix: str, number: int, place: int, sign: str):
    """A guess is right once in 2 ** 62 times."""
    name = NAMES.make(prefix, number)
    at = len(name) - 21 + place
    changed = name[:at] + sign + name[at + 1:]
    assert changed == name or NAMES.read(prefix, changed) is None


@given(PREFIXES, st.text(max_size=40))
def test_any_text_may_be_asked_for(prefix: str, text: str):
    """It is nobody's."""
    assert NAMES.read(prefix, text) is None and NAMES.read(prefix, f"{prefix}_{text}") is None


def test_a_name_that_was_given_out_stays():
    """Callers keep it."""
    assert NAMES.make("charge", 123456789012345678) == "charge_0o6sTiLEwEbJH9SDfSw2Y"
