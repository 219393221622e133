"""What a caller of the mock method writes down: ``key=value`` pairs joined by semicolons (PPRO Global API, section 18.2).

Reads it, and refuses to know what follows.  What nobody knows is passed over, as any text of a statement would be.
"""
from __future__ import annotations

import re
from typing import NamedTuple

WAYS = ("REDIRECT", "SCAN_CODE", "MULTI_FACTOR")
_SECONDS = re.compile(r"(\d{1,6})s", re.ASCII)
DELAY_SECONDS = 10


class Descriptor(NamedTuple):
    """How a charge shall go: whether its payer must act and in which ways, whether the provider answers later and when (seconds), and whether
    a capture is asked for separately (``None``: as the charge says)."""

    ways: tuple[str, ...] = ()
    is_late: bool = False
    delay_seconds: int = DELAY_SECONDS
    captures_later: bool | None = None


def read_descriptor(text: str) -> Descriptor:
    """What the text says; a plain one says nothing."""
    said: dict[str, str] = {}
    for part in text.split(";"):
        name, sign, value = part.partition("=")
        if sign:
            said[name.strip()] = value.strip()
    asked = tuple(way for way in (one.strip() for one in said.get("authenticationType", "REDIRECT").split(",")) if way in WAYS)
    delay = _SECONDS.fullmatch(said.get("providerConfirmationDelay", ""))
    captures = said.get("requiresCapture")
    return Descriptor(
        (asked or WAYS[:1]) if said.get("requiresAuthentication") == "true" else (), said.get("providerConfirmation") == "true",
        int(delay[1]) if delay else DELAY_SECONDS, None if captures not in ("true", "false") else captures == "true")
