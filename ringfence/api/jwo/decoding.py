"""From bytes to JSON values: strict JSON (RFC 8259) in UTF-8, an object, no name twice, of sane depth; a number stays the text it was written as.

So no amount ever passes through a float, and what is no number (``true``, ``"15.99"``, ``NaN``) cannot be taken for one.
"""
from __future__ import annotations

import json
from typing import Any

NESTING = 12
"""Objects and lists deeper than this are refused."""


class Number(str):
    """A JSON number as it was written.  No text of the request is of this type."""

    __slots__ = ()


def decode(body: bytes) -> dict[str, Any] | None:
    """The object in the body; ``None`` where there is none."""
    try:
        decoded = json.loads(
            body.decode("utf-8"), object_pairs_hook=_once, parse_float=Number, parse_int=Number, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return decoded if type(decoded) is dict and _is_shallow(decoded, NESTING) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return read


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _is_shallow(value: Any, levels: int) -> bool:
    if type(value) is dict:
        inner = value.values()
    elif type(value) is list:
        inner = value
    else:
        return True
    return levels > 0 and all(_is_shallow(one, levels - 1) for one in inner)
