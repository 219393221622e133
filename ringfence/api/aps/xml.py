"""XML as APS writes it: ``response`` with a child for each parameter; a list ``NAME`` is ``NAME_list`` with children ``NAME``.

Decides what XML 1.0 can say at all.  What it cannot is left out before anything is signed, so that a signature covers what is there.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_TEXT = re.compile("[\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")

BEGIN, END = '<?xml version="1.0" encoding="UTF-8"?><response>', "</response>"


def can_say(text: str) -> bool:
    """Whether a text can stand in a document (XML 1.0, 2.2)."""
    return _TEXT.fullmatch(text) is not None


def sayable(body: Mapping[str, object]) -> dict[str, object]:
    """Without what has no element's name, or holds a character that no document may."""
    return {name: value for name, value in body.items() if _NAME.fullmatch(name) and all(map(can_say, _texts(value)))}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from (name, *_texts(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    else:
        yield str(value)


def elements(body: Mapping[str, object]) -> Iterator[str]:
    """The children of an element; everything in them is ``sayable``."""
    for name, value in body.items():
        if isinstance(value, list | tuple):
            yield f"<{name}_list>{''.join([element(name, inner) for inner in value])}</{name}_list>"
        else:
            yield element(name, value)


def element(name: str, value: object) -> str:
    """One element around a text, or around children."""
    inner = "".join(elements(value)) if isinstance(value, Mapping) else escape(str(value))
    return f"<{name}>{inner}</{name}>"


def document(children: str) -> bytes:
    """The whole document."""
    return f"{BEGIN}{children}{END}".encode()
