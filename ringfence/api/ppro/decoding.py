"""From bytes to JSON values: strict JSON (RFC 8259) in UTF-8, an object, no name twice, of sane depth.

A name that stands twice in one object is refused: two readers would not agree on what was asked.  Refuses to know fields.
"""
from __future__ import annotations

import json
from typing import Any

import msgspec

from ringfence.api.ppro.kinds import Problem

NESTING = 12
"""Objects and lists deeper than this are refused."""
_DECODE = msgspec.json.Decoder().decode
_MALFORMED = Problem("body", "is not a JSON object")
_DEEP = Problem("body", f"is nested deeper than {NESTING}")


class _Twice(ValueError):
    """A name stood twice in an object."""


def decode(body: bytes) -> dict[str, Any] | Problem:
    """The object in the body, or what is wrong with the body.  Numbers with a fraction stay floats: no field takes one."""
    try:
        decoded = _DECODE(body)
    except (ValueError, RecursionError):
        return _MALFORMED
    if type(decoded) is not dict:
        return _MALFORMED
    names = _names(decoded, NESTING)
    if names < 0:
        return _DEEP
    # Behind a name stands a colon.  In a text `":` cannot stand without a backslash, so that without one the marks are the names.
    if b"\\" in body or body.count(b'":') != names:
        try:
            json.loads(body, object_pairs_hook=_once)
        except _Twice as twice:
            return Problem(str(twice), "stands twice in one object")
        except ValueError:                          # a number that only one of the two readers takes
            return _MALFORMED
    return decoded


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise _Twice(name)
        seen.add(name)


def _names(value: Any, levels: int) -> int:
    """How many names stand in the objects of this value; negative where it is too deep."""
    if levels == 0:
        return -1 if value else 0
    count = 0
    if type(value) is dict:
        count, inner = len(value), value.values()
    else:
        inner = value
    for one in inner:
        if type(one) is dict or type(one) is list:
            below = _names(one, levels - 1)
            if below < 0:
                return -1
            count += below
    return count
