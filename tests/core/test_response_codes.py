"""Response codes: the table, and what the rest of the core takes from it."""
from __future__ import annotations

import pytest

from ringfence.core.outcomes import HARD_ADVICE, HARD_DECLINES, Declined, is_hard
from ringfence.core.response_codes import ADVICE, RESPONSE_CODES, UNLISTED, meaning_of


def test_hard_declines_are_class_h():
    """All of it but "75", which is hard for the PIN only: no merchant-initiated payment has one."""
    assert {code for code, row in RESPONSE_CODES.items() if row.letter == "H"} - {"75"} == HARD_DECLINES


def test_hard_advice_is_the_advice_that_says_stop():
    """"03" says it in other words."""
    assert {code for code, text in ADVICE.items() if "stop" in text or "do not try" in text} == HARD_ADVICE


def test_every_row_is_well_formed():
    """Two characters, a known class, a Visa category; what the schemes never retry is hard or our own setup."""
    for code, row in RESPONSE_CODES.items():
        assert len(code) == 2
        assert row.letter in "ASFPHTX"
        assert row.visa_category in (1, 2, 3, 4)
        assert row.meaning
        assert row.visa_category != 1 or row.letter == "H"


@pytest.mark.parametrize(("code", "letter", "category"), [
    ("00", "A", 4), ("05", "S", 4), ("14", "H", 3), ("41", "H", 1), ("51", "S", 2), ("54", "F", 3), ("57", "H", 1), ("91", "T", 2),
    ("94", "X", 4), ("1A", "P", 3), ("N7", "F", 3), ("R1", "H", 1), ("96", "T", 2), ("25", "X", 4),
])
def test_codes_that_decisions_hang_on(code: str, letter: str, category: int):
    """Proof-read one by one."""
    assert RESPONSE_CODES[code][1:] == (letter, category)


def test_an_unlisted_code_is_generic():
    """It may work later, and the card is not blocked for it."""
    assert meaning_of("ZZ") is UNLISTED
    assert not is_hard(Declined("ZZ"))
    assert is_hard(Declined("05", "03"))
