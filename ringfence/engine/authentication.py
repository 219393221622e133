"""What a door may demand of a payment: that its payer is authenticated (3-D Secure), and how.

A value and the two judges of settings behind it; whoever carries it out is ``authenticating``.  Refuses to know cards and issuers.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ringfence.core.authentication import Evidence, Mode
from ringfence.processors.authenticator import AccessControl, Screen

__all__ = ["FLEXIBLE", "OFF", "REQUIRED", "AccessControl", "Demand", "Mode", "Screen", "ruled"]

OFF = "off"


class Demand(NamedTuple):
    """A cardholder's payment in a shop on the web is to be authenticated.

    ``ahead`` is an authentication of our own that was made for it before; ``external`` the result of the merchant's own 3DS server.
    ``language`` (``en``, ``ar``) is that of the page the payer may see.
    """

    mode: Mode
    language: str = "en"
    ahead: int = 0
    external: Evidence | None = None


#: The plain demands by mode and language, made once: a door hands one to every payment.
FLEXIBLE, REQUIRED = ({language: Demand(mode, language) for language in ("en", "ar")} for mode in (Mode.FLEXIBLE, Mode.REQUIRED))


def ruled(rules: Sequence[tuple[str, str]], value: str) -> str | None:
    """What the first rule says whose pattern fits ``value``; ``None`` where none does.  A pattern ends in ``*`` for whatever follows."""
    for pattern, mode in rules:
        if value == pattern or (pattern.endswith("*") and value.startswith(pattern[:-1])):
            return mode
    return None
