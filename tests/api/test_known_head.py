"""A head that is known again is cut exactly as the parser would cut it."""
from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.known_head import SPECIAL, KnownHead, known_head

PATH = b"/door"
HEAD = b"POST /door HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\nAccept: */*\r\n\r\n"


class Parsed:
    """What the parser says about the first request of some bytes."""

    def __init__(self, received: bytes) -> None:
        self.url, self.headers, self.body, self.complete, self.refused = b"", [], b"", False, False
        self._parser = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(received)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.refused = True

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def learned(received: bytes, key_name: bytes = b"") -> KnownHead | None:
    """As a connection learns: with what the parser says."""
    parsed = Parsed(received)
    return None if parsed.refused or parsed.url != PATH else known_head(received, PATH, parsed.headers, key_name)


def test_the_same_head_with_another_length_is_known():
    """The body lies where content-length says, at any place of what arrived; also one that has not arrived whole."""
    known = learned(HEAD % 3 + b"abc")
    assert known is not None
    for body in (b"", b"x", b"y" * 12_345):
        request = HEAD % len(body) + body
        start, end, _ = known.body_of(request)
        assert request[start:end] == body and end == len(request)
        assert known.body_of(b"before" + request, 6) == (start + 6, end + 6, "")
        assert known.body_of(request[:start]) == (start, end, "")


@pytest.mark.parametrize("other", [
    b"POST /door HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\nAccept: text\r\n\r\nabc",
    b"POST /Door HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\nAccept: */*\r\n\r\nabc",
    b"GET /door HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\nAccept: */*\r\n\r\nabc",
    b"POST /door HTTP/1.1\r\nHost: shop\r\nContent-Length: +3\r\nAccept: */*\r\n\r\nabc",
    b"POST /door HTTP/1.1\r\nHost: shop\r\nContent-Length: 3 \r\nAccept: */*\r\n\r\nabc",
    b"POST /door HTTP/1.1\r\nHost: shop\r\nContent-Length: \r\nAccept: */*\r\n\r\nabc",
    b"POST /door HTTP/1.1\r\nHost: shop\r\nContent-Length: 0x3\r\nAccept: */*\r\n\r\nabc",
    b"POST /door HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\nAccept: */*\r\n\r\nabc",
    b"POST /door HTTP/1.1\r\nHost: shop\r\nContent-Length: 000000003\r\nAccept: */*\r\n\r\nabc",
    b"POST /door HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\nX: y\r\nAccept: */*\r\n\r\nabc",
    HEAD[:-1] % 3, HEAD[:20], b"", b"\r\n" + HEAD % 3,
], ids=lambda other: repr(other[:90]))
def test_any_other_head_is_left_to_the_parser(other: bytes):
    """Another byte anywhere, or a length that is not plain digits."""
    known = learned(HEAD % 3 + b"abc")
    assert known is not None and known.body_of(other) is None


@pytest.mark.parametrize("more", [
    *(name + b": 1\r\n" for name in sorted(SPECIAL - {b"expect", b"transfer-encoding"})), b"Expect: 100-continue\r\n", b"Transfer-Encoding: chunked\r\n",
    b"IDEMPOTENCY-KEY: k\r\n", b"Content-Length: 3\r\n", b"X-Folded: a\r\n b\r\n",
], ids=repr)
def test_a_head_that_asks_for_more_is_never_known(more: bytes):
    """Whatever changes how a body is read or what is done with it."""
    assert learned((HEAD % 3).replace(b"Accept: */*\r\n", more) + b"abc") is None


@pytest.mark.parametrize("shape", [
    b"POST /door HTTP/1.1\r\nHost: shop\r\nX-Key: %(key)b\r\nContent-Length: %(length)d\r\n\r\n",
    b"POST /door HTTP/1.1\r\nContent-Length:%(length)d\r\nAccept: */*\r\nx-KEY:  %(key)b\r\n\r\n",
], ids=["key first", "length first"])
def test_a_key_may_be_another_one(shape: bytes):
    """What stands in the key's line is the key; nothing else may differ, and no key is a key that the parser would read otherwise."""
    known = learned(shape % {b"key": b"k", b"length": 3} + b"abc", b"x-key")
    assert known is not None
    for key in (b"K", b"order 7 of \"9\"", b"12", b"x" * 128):
        request = shape % {b"key": key, b"length": 4} + b"four"
        start, end, told = known.body_of(b"some" + request, 4)
        assert (told.encode(), (b"some" + request)[start:end]) == (key, b"four")
    for key in (b"", b" k", b"k ", b"k\t", b"\tk", b"a\tb", b"\xe9", b"k\nX: y", b"k\rX: y", b"x" * 129, b"\0", b"\x7f"):
        assert known.body_of(shape % {b"key": key, b"length": 4} + b"four") is None
    assert known.body_of(shape.replace(b"/door", b"/Door") % {b"key": b"k", b"length": 3}) is None
    assert known.body_of((shape % {b"key": b"k", b"length": 3}).replace(b": 3", b": x").replace(b":3", b":x")) is None


def test_a_key_that_stands_twice_or_is_no_plain_text_is_never_known():
    """Which of two counts is the application's business."""
    head = b"POST /door HTTP/1.1\r\nX-Key: %b\r\nContent-Length: 3\r\n%b\r\nabc"
    assert learned(head % (b"k", b""), b"x-key") is not None
    assert learned(head % (b"k", b"X-Key: l\r\n"), b"x-key") is None
    assert learned(head % (b"", b""), b"x-key") is None
    assert learned(head % (b"\xe9", b""), b"x-key") is None


@given(data=st.data())
def test_a_changed_byte_of_a_keyed_head_has_the_parsers_reading(data):
    """As below, with a key: what is still known has the parser's body and the parser's key."""
    shape = b"POST /door HTTP/1.1\r\nX-Key: %b\r\nHost: shop\r\nContent-Length: %d\r\n\r\n"
    known = learned(shape % (b"key", 3) + b"abc", b"x-key")
    assert known is not None
    request = shape % (b"other", 12) + b"twelve bytes"
    at = data.draw(st.integers(0, len(request)))
    changed = request[:at] + data.draw(st.binary(max_size=2)) + request[at + data.draw(st.integers(0, 1)):]
    if (place := known.body_of(changed)) is not None:
        parsed = Parsed(changed[:place.end])
        assert not parsed.refused and parsed.body == changed[place.start:place.end]
        assert dict(parsed.headers)[b"x-key"] == place.key.encode() and parsed.complete == (place.end <= len(changed))


def test_a_head_without_a_length_or_its_end_is_never_known():
    """There is nothing to cut at."""
    assert learned(b"POST /door HTTP/1.1\r\nHost: shop\r\n\r\n") is None
    assert known_head(b"POST /door HTTP/1.1\r\nContent-Length: 3\r\n", PATH, [(b"content-length", b"3")]) is None


def test_a_head_that_the_parser_read_otherwise_is_never_known():
    """The two readings must agree in every name and value."""
    assert known_head(HEAD % 3, PATH, [(b"host", b"shop"), (b"content-length", b"4"), (b"accept", b"*/*")]) is None
    assert known_head(HEAD % 3, PATH, [(b"host", b"shop"), (b"content-length", b"3")]) is None


NAMES = st.sampled_from([
    b"Host", b"Content-Length", b"content-length", b"X-Length", b"Accept", b"Connection", b"Cookie", b"Transfer-Encoding", b"Expect"])
VALUES = st.sampled_from([b"3", b"12", b"0", b"shop", b"keep-alive", b"chunked", b"a: b", b" 3", b"3\t", b"", b"3, 3", b"\xff", b"100-continue"])
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\r\n", b"\r\n "])


@given(
    lines=st.lists(st.tuples(NAMES, st.sampled_from([b":", b": ", b":  ", b" : "]), VALUES, ENDS), max_size=5),
    place=st.integers(0, 5), taught=st.binary(max_size=20), asked=st.binary(max_size=30), colon=st.sampled_from([b": ", b":", b":\t"]),
)
def test_whatever_is_learned_the_parser_agrees_about_every_later_body(lines, place, taught, asked, colon):
    """Any head that is known: the parser cuts the same body out of the same bytes, and nothing is left over or missing."""
    written = [name + between + value + end for name, between, value, end in lines]
    before, after = b"".join(written[:place]), b"".join(written[place:])

    def request(body: bytes) -> bytes:
        return b"POST /door HTTP/1.1\r\n" + before + b"Content-Length" + colon + b"%d\r\n" % len(body) + after + b"\r\n" + body

    known = learned(request(taught))
    if known is None:
        return
    place_of = known.body_of(request(asked))
    assert place_of is not None, "the only difference is the length"
    parsed = Parsed(request(asked))
    assert parsed.complete and not parsed.refused and parsed.body == asked == request(asked)[place_of[0]:place_of[1]]
    assert place_of[1] == len(request(asked))


@given(st.data())
def test_a_changed_byte_is_the_parsers_or_has_the_same_reading(data):
    """One byte of a request is replaced, removed or added: what is still known has exactly the parser's reading."""
    known = learned(HEAD % 3 + b"abc")
    assert known is not None
    request = HEAD % 12 + b"twelve bytes"
    at = data.draw(st.integers(0, len(request)))
    changed = request[:at] + data.draw(st.binary(max_size=1)) + request[at + data.draw(st.integers(0, 1)):]
    if (place := known.body_of(changed)) is not None:
        parsed = Parsed(changed[:place[1]])
        assert not parsed.refused and parsed.body == changed[place[0]:place[1]]
        assert parsed.complete == (place[1] <= len(changed))
