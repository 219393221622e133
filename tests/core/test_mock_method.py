"""The language in which a caller of the mock method says how a charge shall go."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.mock_method import Descriptor, read_descriptor

SAID = {
    "":                                                                        Descriptor(),
    "Dates & Coffee":                                                          Descriptor(),
    "requiresAuthentication=true":                                             Descriptor(("REDIRECT",)),
    "requiresAuthentication=false;authenticationType=SCAN_CODE":               Descriptor(),
    "requiresAuthentication=true;requiresCapture=false;authenticationType=SCAN_CODE,MULTI_FACTOR":
        Descriptor(("SCAN_CODE", "MULTI_FACTOR"), captures_later=False),
    "requiresAuthentication=true;authenticationType=MOON":                     Descriptor(("REDIRECT",)),
    "providerConfirmation=true":                                               Descriptor(is_late=True),
    "providerConfirmation=true; providerConfirmationDelay=90s":                Descriptor(is_late=True, delay_seconds=90),
    "providerConfirmationDelay=90":                                            Descriptor(),
    "requiresCapture=true":                                                    Descriptor(captures_later=True),
}


@pytest.mark.parametrize("text", SAID)
def test_a_descriptor_says_how_a_charge_goes(text: str):
    assert read_descriptor(text) == SAID[text]


@given(st.text())
def test_any_text_is_a_descriptor(text: str):
    """It is the statement's text after all."""
    assert isinstance(read_descriptor(text), Descriptor)
