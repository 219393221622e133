"""Forms: from the bytes that a browser posts to names and values.

Strict, because a form may be signed by one and carried by another: one reading only, UTF-8 only, no name twice, nothing that cannot be
seen.  Decides what a form says; refuses to know what the names mean.
"""
from __future__ import annotations

import re

MOST_FIELDS = 200
MEDIA_TYPE = "application/x-www-form-urlencoded"

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class TooLarge(Exception):
    """A body beyond the limit; whoever reads bodies raises it."""


class CallerLeft(Exception):
    """The browser hung up before its form was complete; there is nobody to answer."""


def decode(body: bytes, content_type: str) -> dict[str, str] | None:
    """The fields of a form (URL standard, section 5.1), in the order sent; ``None`` for anything else than one in UTF-8."""
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != MEDIA_TYPE or not _is_utf8(parameters):
        return None
    pairs = [pair for pair in body.split(b"&") if pair]
    if len(pairs) > MOST_FIELDS:
        return None
    fields: dict[str, str] = {}
    for pair in pairs:
        name_octets, _, value_octets = pair.partition(b"=")
        try:
            name, value = _text(name_octets), _text(value_octets)
        except ValueError:
            return None
        if not name or name in fields:
            return None
        fields[name] = value
    return fields


def _is_utf8(parameters: str) -> bool:
    """Whether a charset, where one is named, is UTF-8."""
    for one in parameters.split(";"):
        name, _, value = one.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8"):
            return False
    return True


def _text(written: bytes) -> str:
    """A name or a value; raises ``ValueError`` for an escape that is none, for what is not UTF-8, and for characters that are not seen."""
    text = _ESCAPE.sub(_octet, written.replace(b"+", b" ")).decode("utf-8")
    if _UNSEEN.search(text):
        raise ValueError
    return text


def _octet(escape: re.Match[bytes]) -> bytes:
    if escape[1] is None:
        raise ValueError
    return bytes((int(escape[1], 16),))
