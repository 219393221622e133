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
_DECODE, _ENCODE = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
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
    if _is_deep(decoded, NESTING):
        return _DEEP
    # Where no quote is escaped, each name and each text has two of them: a name that stands twice has more than were read.
    if b"\\" in body or body.count(b'"') != _ENCODE(decoded).count(b'"'):
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


def _is_deep(value: Any, levels: int) -> bool:
    """Whether objects and lists stand deeper in this value than so many levels."""
    if levels == 0:
        return bool(value)
    inner = value.values() if type(value) is dict else value
    return any((type(one) is dict or type(one) is list) and _is_deep(one, levels - 1) for one in inner)
