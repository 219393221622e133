"""The wire: from the bytes of an APS request to a request that can be trusted, or to the error that says what is wrong with it.

First a JSON object, then the merchant (looked up by the caller in between), then either the plan for requests of this shape or the
whole ladder (see ``plans`` and ``ladder``).  Decides what the values of a JSON object mean, and which of the two ways is taken.  Refuses
to know what makes a request right.

What the values of a JSON object mean: a text is itself; an integer is its digits; a fraction is written with 14 significant digits,
as the PHP clients do when they sign; ``true`` and ``false`` are these words (no list allows them); null is an empty value; objects and
lists are written as the signature sees them; of two equal keys the last counts, as in the clients' own parsers, and it is the one signed.
An empty value is a parameter that was not sent.
"""
from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from ringfence.api.aps import plans, signature
from ringfence.api.aps.accounts import Credential, Settings
from ringfence.api.aps.ladder import ApsRequest, WireError, accepted, ambiguous, climb, error, implausible

NESTING = 8
"""Objects and lists deeper than this are not decoded."""


class Address(NamedTuple):
    """Whom a request is for: the keys to look the credential up with.  ``access_code`` may be empty."""

    merchant_identifier: str
    access_code: str


# 1: a JSON object

def _fraction(literal: str) -> str:
    """The text of a JSON number with a fraction or an exponent: 14 significant digits, no trailing zeros, no exponent."""
    number = float(literal)
    if not -1e100 < number < 1e100:
        return literal                              # far beyond every field: refused there by its format
    written = format(Decimal(f"{number:.13e}"), "f")
    return written.rstrip("0").rstrip(".") if "." in written else written


_TEXTS = msgspec.json.Decoder(dict[str, str])
_ANYTHING = msgspec.json.Decoder(float_hook=_fraction)
_INVALID = WireError("00073", "", {}, "en")


def decode(body: bytes) -> dict[str, str] | WireError:
    """The parameters as texts, in the order sent; 00073 for anything but one JSON object in UTF-8 of sane depth."""
    try:
        return _TEXTS.decode(body)                  # what nearly every client sends
    except (ValueError, RecursionError):
        pass
    try:
        decoded = _ANYTHING.decode(body)
    except (ValueError, RecursionError):
        return _INVALID
    if type(decoded) is not dict:
        return _INVALID
    for name, value in decoded.items():
        if type(value) is not str:
            if isinstance(value, dict | list) and _depth(value) > NESTING:
                return _INVALID
            decoded[name] = signature.text(value)
    return decoded


def _depth(value: object, level: int = 1) -> int:
    if level > NESTING or not isinstance(value, dict | list):
        return level
    return max((_depth(inner, level + 1) for inner in (value.values() if isinstance(value, dict) else value)), default=level)


# 2: the merchant

def address(params: dict[str, str]) -> Address | WireError:
    """Whom to look up; 00001 where the merchant is not named.  A missing access code is told after an unknown merchant."""
    merchant_identifier = params.get("merchant_identifier", "")
    if not merchant_identifier:
        return error(params, "00001", "merchant_identifier")
    return Address(merchant_identifier, params.get("access_code", ""))


def unknown_merchant(params: dict[str, str]) -> WireError:
    """No merchant has that identifier."""
    return error(params, "00009")


def unknown_access_code(params: dict[str, str]) -> WireError:
    """The access code is missing, or none of that merchant's."""
    return error(params, "00010") if params.get("access_code") else error(params, "00001", "access_code")


def inactive_merchant(params: dict[str, str]) -> WireError:
    """The account is switched off."""
    return error(params, "00015")


# 3 to 7

def parse(
    params: dict[str, str], credential: Credential, settings: Settings, now: datetime, source_ip: str = "",
) -> ApsRequest | WireError:
    """The request, or what is wrong with it.  ``now`` is UTC; ``source_ip`` is the caller's address, looked at where the account
    restricts them.

    Where a request of this shape was accepted before, its plan and the rungs about values are enough to accept the next; whatever does
    not pass them climbs the whole ladder.
    """
    shape = plans.shape_of(params, settings)
    plan = plans.PLANS.get(shape)
    if plan is None:
        outcome = climb(params, credential, settings, now, source_ip)
        if type(outcome) is ApsRequest:
            plans.remember(shape, params, outcome.operation, outcome.variant)
        return outcome
    pairs = plan.pairs(params, credential)
    if pairs is None or (plan.searched and ambiguous(pairs, params)) or implausible(params, settings, now):
        return climb(params, credential, settings, now, source_ip)
    return accepted(params, plan.operation, plan.variant, settings, repeated_whole=plan.repeated_whole, pairs=pairs)
