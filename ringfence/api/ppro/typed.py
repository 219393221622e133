"""A body that is as it should be, read at once: the tables of ``fields`` turned into types that msgspec checks while it decodes.

Only what is beyond doubt is read here.  Whatever is in any way different, a name that stands twice or that nobody knows, a null, a character
that is written as an escape, a field whose kind has no such type, is left to ``decoding`` and ``kinds``, which say exactly what is wrong.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Required, TypedDict

import msgspec
from msgspec import Meta

from ringfence.api.ppro.kinds import Flag, Kind, Listed, Map, Object, Problems, Text, Whole

_ENCODE = msgspec.json.Encoder(order="sorted").encode
_decoders: dict[str, Callable[[bytes], Any]] = {}


def read(body: bytes, kind: Object) -> tuple[dict[str, Any], bytes] | None:
    """The object in a body as ``kind`` reads it, and the same in JSON, its names in order; ``None`` where that takes a closer look."""
    decode = _decoders.get(kind.name)
    if decode is None:
        decode = _decoders[kind.name] = msgspec.json.Decoder(_object(kind)).decode
    if b"\\" in body:
        return None
    try:
        found = decode(body)
    except (ValueError, RecursionError):
        return None
    if found is None:
        return None
    # Where no quote is escaped, each name and each text has two of them: what was not read, or read twice, had more.  What was written without
    # a space has lost none where it has its length.
    written = _ENCODE(found)
    if len(written) != len(body) and written.count(b'"') != body.count(b'"'):
        return None
    if kind.judge is not None:
        problems: Problems = []
        kind.judge(found, "", problems)
        if problems:
            return None
    return found, written


def type_of(kind: Kind) -> Any:
    """The type whose values are those that a kind takes, as they are written; ``None``: there is none."""
    match kind:
        case Text(usual=(_, *_)):
            return Literal[kind.usual]
        case Text(longest, least, pattern, ()):
            return Annotated[str, Meta(min_length=least, max_length=longest, pattern=rf"\A(?a:{pattern})\Z" if pattern else None)]
        case Whole(low, high):
            return Annotated[int, Meta(ge=low, le=high)]
        case Flag():
            return bool
        case Map(most, longest_key, longest):
            return Annotated[dict[Annotated[str, Meta(max_length=longest_key)], Annotated[str, Meta(max_length=longest)]], Meta(max_length=most)]
        case Listed(of, most):
            inner = type_of(of)
            return inner and Annotated[list[inner], Meta(max_length=most)]      # type: ignore[valid-type]
        case Object(judge=None):
            return _object(kind)
    words = getattr(kind, "words", ())          # a text of few words, or what else has them
    return Literal[tuple(words)] if words else None


def _object(kind: Object) -> Any:
    """A field without a type is one that nobody knows; an object that needs one has no type either."""
    typed = {name: (type_of(row.kind), row.required) for name, row in kind.rows.items()}
    if any(of is None and required for of, required in typed.values()):
        return None
    return TypedDict(kind.name, {        # type: ignore[misc,operator]
        name: Required[of] if required else of for name, (of, required) in typed.items() if of is not None}, total=False)
