"""A caller's next request mostly begins as its last one did: byte for byte, but for the length of its body and its key.

So the head that the parser read is kept in pieces, what stands around the digits of content-length and the value of the key's header, and a
request that begins with the same pieces is cut without parsing.  Only a head that has a single reading is kept: this module reads it
for itself and compares.  Refuses to know connections and doors.
"""
from __future__ import annotations

from functools import partial
from typing import NamedTuple

#: Headers that ask for more than an answer to a body; a request with one of them is always read by the parser.
SPECIAL = frozenset({b"expect", b"transfer-encoding", b"upgrade", b"idempotency-key"})

LENGTH = b"content-length"

_MOST_DIGITS = 8
_LONGEST = 128
"""Characters of a key that is looked for here."""


class Place(NamedTuple):
    """Where the body of a request begins and ends (the end may not have arrived), and its key, "" for none."""

    start: int
    end: int
    key: str


_place = partial(tuple.__new__, Place)          # all fields at once, at a third of the price of a call


class KnownHead(NamedTuple):
    """The bytes of a head around what varies; ``after`` includes the empty line.

    Without a ``between`` the length alone varies; else the key does, too, and ``length_first`` says which of them comes first.
    """

    before: bytes
    after: bytes
    between: bytes = b""
    length_first: bool = True

    def body_of(self, received: bytes, at: int = 0) -> Place | None:
        """Where the body of the request at this place is; ``None`` for another head."""
        before, after, between, length_first = self
        if not received.startswith(before, at):
            return None
        first = at + len(before)
        end = received.find(b"\r", first, first + _LONGEST + 1)
        if end < 0:
            return None
        length, key = received[first:end], ""
        if between:
            if not received.startswith(between, end):
                return None
            second = end + len(between)
            end = received.find(b"\r", second, second + _LONGEST + 1)
            if end < 0:
                return None
            value = received[second:end]
            if not length_first:
                length, value = value, length
            key = value.decode("latin-1")
            if not _is_plain(key):
                return None
        if not received.startswith(after, end) or not length.isdigit() or len(length) > _MOST_DIGITS:
            return None
        start = end + len(after)
        return _place((start, start + int(length), key))


def _is_plain(value: str) -> bool:
    """Whether a value is what stands in its line: visible characters of ASCII, and spaces only within."""
    return value.isascii() and value.isprintable() and value != "" and value.strip(" ") == value


def known_head(received: bytes, path: bytes, headers: list[tuple[bytes, bytes]], key_name: bytes = b"") -> KnownHead | None:
    """The head at the beginning of ``received``, or ``None`` where it is not to be known again.

    The parser read it as a POST to ``path`` with these headers (names in lower case); what it and the plain reading below do not
    agree on byte by byte stays the parser's.  ``key_name`` is the header whose value is another one in each request, "" for none.
    """
    names = [name for name, _ in headers]
    if names.count(LENGTH) != 1 or names.count(key_name) > 1 or not SPECIAL.isdisjoint(names):
        return None
    head, empty_line, _ = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    if not empty_line or first != b"POST %b HTTP/1.1" % path:
        return None
    if [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)] != headers:
        return None
    length = _span(first, lines, headers, names.index(LENGTH))
    if length is None or not received[slice(*length)].isdigit():
        return None
    end = len(head) + len(empty_line)
    if key_name not in names:
        return KnownHead(received[:length[0]], received[length[1]:end])
    key = _span(first, lines, headers, names.index(key_name))
    if key is None or not _is_plain(received[slice(*key)].decode("latin-1")):
        return None
    one, other = sorted((length, key))
    return KnownHead(received[:one[0]], received[other[1]:end], received[one[1]:other[0]], one is length)


def _span(first: bytes, lines: list[bytes], headers: list[tuple[bytes, bytes]], place: int) -> tuple[int, int] | None:
    """Where the value of a header stands, if its line ends with it."""
    value = headers[place][1]
    if not lines[place].endswith(value):
        return None
    end = len(b"\r\n".join([first, *lines[:place + 1]]))
    return end - len(value), end
