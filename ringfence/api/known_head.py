"""A caller's next request mostly begins as its last one did: byte for byte, but for the length of its body.

So the head that the parser read is kept in two pieces, what stands before the digits of content-length and what follows them, and a
request that begins with the same pieces is cut without parsing.  Only a head that has a single reading is kept: this module reads it
for itself and compares.  Refuses to know connections and doors.
"""
from __future__ import annotations

from typing import NamedTuple

#: Headers that ask for more than an answer to a body; a request with one of them is always read by the parser.
SPECIAL = frozenset({b"expect", b"transfer-encoding", b"upgrade", b"idempotency-key"})

_MOST_DIGITS = 8


class KnownHead(NamedTuple):
    """The bytes of a head around the digits of content-length; ``after`` includes the empty line."""

    before: bytes
    after: bytes

    def body_of(self, received: bytes, at: int = 0) -> tuple[int, int] | None:
        """Where the body of the request at this place begins and ends (the end may not have arrived); ``None`` for another head."""
        before, after = self
        if not received.startswith(before, at):
            return None
        digits = at + len(before)
        line_end = received.find(b"\r", digits, digits + _MOST_DIGITS + 1)
        if line_end < 0 or not received.startswith(after, line_end):
            return None
        length = received[digits:line_end]
        if not length.isdigit():
            return None
        start = line_end + len(after)
        return start, start + int(length)


def known_head(received: bytes, path: bytes, headers: list[tuple[bytes, bytes]]) -> KnownHead | None:
    """The head at the beginning of ``received``, or ``None`` where it is not to be known again.

    The parser read it as a POST to ``path`` with these headers (names in lower case); what it and the plain reading below do not
    agree on byte by byte stays the parser's.
    """
    names = [name for name, _ in headers]
    if names.count(b"content-length") != 1 or not SPECIAL.isdisjoint(names):
        return None
    head, empty_line, _ = received.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    if not empty_line or first != b"POST %b HTTP/1.1" % path:
        return None
    if [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)] != headers:
        return None
    place = names.index(b"content-length")
    length = headers[place][1]
    if not length.isdigit() or not lines[place].endswith(length):
        return None
    digits_end = len(b"\r\n".join([first, *lines[:place + 1]]))
    return KnownHead(received[:digits_end - len(length)], received[digits_end:len(head) + len(empty_line)])
