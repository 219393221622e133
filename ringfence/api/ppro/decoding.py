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
_BEYOND = Problem("body", "holds a number beyond all ranges")
_TWICE = "stands twice in one object"


class _Twice(ValueError):
    """A name stood twice in an object."""


class _Doubled(str):
    """In place of an object: the name that stood twice in it."""


def decode(body: bytes) -> dict[str, Any] | Problem:
    """The object in the body, or what is wrong with the body.  Numbers with a fraction stay floats: no field takes one."""
    try:
        decoded = _DECODE(body)
    except RecursionError:
        return _DEEP
    except ValueError as error:
        return _malformed(error)
    if type(decoded) is not dict:
        return _MALFORMED
    if _is_deep(decoded, NESTING):
        return _DEEP
    # Where no quote is escaped, each name and each text has two of them: a name that stands twice has more than were read.
    if b"\\" in body or body.count(b'"') != _ENCODE(decoded).count(b'"'):
        try:
            json.loads(body, object_pairs_hook=_once)
        except _Twice:
            return Problem(_path_of_doubled(json.loads(body, object_pairs_hook=_noted)) or "", _TWICE)
        except ValueError:                          # a number that only one of the two readers takes
            return _BEYOND
    return decoded


def _malformed(error: ValueError) -> Problem:
    """What the reader stumbled over, and where; nothing of the body itself."""
    if isinstance(error, msgspec.ValidationError):
        return _BEYOND
    if isinstance(error, UnicodeDecodeError):
        return Problem("body", "is not UTF-8")
    return Problem("body", f"is not a JSON object: {str(error).removeprefix('JSON is malformed: ').lower()}")


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise _Twice(name)
        seen.add(name)


def _noted(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Doubled:
    """The object, or which of its names stands twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            return _Doubled(name)
        found[name] = value
    return found


def _path_of_doubled(value: Any, path: str = "") -> str | None:
    """The path of a name that stands twice."""
    if type(value) is _Doubled:
        return f"{path}.{value}" if path else str(value)
    if type(value) is dict:
        inner = ((one, f"{path}.{name}" if path else name) for name, one in value.items())
    else:
        inner = ((one, f"{path}[{place}]") for place, one in enumerate(value if type(value) is list else ()))
    return next((found for one, below in inner if (found := _path_of_doubled(one, below)) is not None), None)


def _is_deep(value: Any, levels: int) -> bool:
    """Whether objects and lists stand deeper in this value than so many levels."""
    if levels == 0:
        return bool(value)
    inner = value.values() if type(value) is dict else value
    return any((type(one) is dict or type(one) is list) and _is_deep(one, levels - 1) for one in inner)
