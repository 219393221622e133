"""HTTP/1.1 to one provider: requests over connections that are kept, with an end to everything.

An answer is whatever status comes; nothing is repeated here and no redirect is followed.  What went wrong says whether the request can have
arrived: ``NotSent`` where nothing of it left, ``Lost`` behind that.  Refuses to know what is asked.
"""
from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools

KEEP_SECONDS = 20.0
"""An idle connection is used again for so long; the other side may have closed it by then."""
MAX_KEPT = 16
MAX_ANSWER = 1 << 20
"""Bytes of an answer, head and body; a provider that sends more is not believed."""
PIECE = 65_536


class Origin(NamedTuple):
    """Where a provider listens."""

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """As it stands in ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"https": 443, "http": 80}[self.scheme] else f"{host}:{self.port}"


class Answer(NamedTuple):
    """Status, headers (names in small letters), body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotSent(Exception):
    """There was no connection: nothing of the request left."""


class Lost(Exception):
    """It may have arrived, and no believable answer came back."""


def origin_of(url: str) -> tuple[Origin, str]:
    """Where a base URL leads, and its path without a slash at the end.  Raises ``ValueError``."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError(f"not a base URL: {url!r}")
    return Origin(parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}[parts.scheme]), parts.path.rstrip("/")


@cache
def system_trust() -> ssl.SSLContext:
    """The system's authorities, read once."""
    return ssl.create_default_context()


class Connections:
    """Connections to any number of origins, kept while they are good.  For one event loop."""

    def __init__(self, trust: ssl.SSLContext | None = None) -> None:
        """``trust``: whose certificates are good; the system's authorities where it is not given."""
        self._trust = trust
        self._idle: dict[Origin, deque[tuple[float, _Line]]] = {}

    async def exchange(self, origin: Origin, head: str, body: bytes, seconds: float) -> Answer:
        """Send a request and wait for its answer, ``seconds`` for both.

        ``head``: request line and headers, each ended by CR LF, without ``Host`` and length.  Raises ``NotSent`` and ``Lost``.
        """
        line, sent = self._waiting(origin), False
        method, _, rest = head.partition("\r\n")
        request = f"{method}\r\nhost: {origin.netloc}\r\ncontent-length: {len(body)}\r\n{rest}\r\n".encode("ascii") + body
        try:
            async with asyncio.timeout(seconds):
                if line is None:
                    line = await self._connected(origin)
                sent = True
                answer = await line.exchange(request)
        except TimeoutError as error:
            self._drop(line)
            raise (Lost if sent else NotSent)(f"no answer within {seconds:.1f} seconds") from error
        except (OSError, Lost) as error:
            self._drop(line)
            raise (Lost if sent else NotSent)(str(error) or type(error).__name__) from error
        except BaseException:
            self._drop(line)
            raise
        self._keep(origin, line)
        return answer

    async def close(self) -> None:
        """Close every connection that is kept."""
        for lines in self._idle.values():
            for _, line in lines:
                line.close()
        self._idle.clear()

    async def _connected(self, origin: Origin) -> _Line:
        context = (self._trust or system_trust()) if origin.scheme == "https" else None
        reader, writer = await asyncio.open_connection(origin.host, origin.port, ssl=context)
        return _Line(reader, writer)

    def _waiting(self, origin: Origin) -> _Line | None:
        lines, now = self._idle.get(origin), asyncio.get_running_loop().time()
        while lines:
            since, line = lines.pop()
            if line.is_open and now - since < KEEP_SECONDS:
                return line
            line.close()
        return None

    def _keep(self, origin: Origin, line: _Line) -> None:
        lines = self._idle.setdefault(origin, deque())
        if line.is_open and len(lines) < MAX_KEPT:
            lines.append((asyncio.get_running_loop().time(), line))
        else:
            line.close()

    @staticmethod
    def _drop(line: _Line | None) -> None:
        if line is not None:
            line.close()


class _Line:
    """One connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._keeps = reader, writer, True

    @property
    def is_open(self) -> bool:
        """Whether it can take the next request."""
        return self._keeps and not self._reader.at_eof() and not self._writer.is_closing()

    def close(self) -> None:
        self._keeps = False
        self._writer.transport.abort()

    async def exchange(self, request: bytes) -> Answer:
        said = _Said()
        parser = said.parser = httptools.HttpResponseParser(said)
        self._writer.write(request)
        read = 0
        while not said.complete:
            piece = await self._reader.read(PIECE)
            read += len(piece)
            if not piece:
                if said.ends_with_its_connection:
                    break
                raise Lost("the connection was closed " + ("in the middle of the answer" if read else "without an answer"))
            if read > MAX_ANSWER:
                raise Lost("the answer is too long")
            try:
                parser.feed_data(piece)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade, UnicodeDecodeError) as error:
                raise Lost("what came back is not an HTTP answer") from error
        self._keeps = said.keeps
        return Answer(said.status, said.headers, bytes(said.body))


class _Said:
    """What the parser finds of one answer; interim ones (1xx) are passed over."""

    parser: httptools.HttpResponseParser

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body, self.status = bytearray(), 0
        self.complete = self.keeps = self._in_body = False

    @property
    def ends_with_its_connection(self) -> bool:
        """Whether an answer without a length has come so far that the end of its connection is its end."""
        return self._in_body and not {"content-length", "transfer-encoding"} & self.headers.keys()

    def on_message_begin(self) -> None:
        self.headers.clear()
        self._in_body = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("ascii").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()
        self._in_body = self.status >= 200

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = self.status >= 200
        self.keeps = self.complete and self.parser.should_keep_alive()      # asked later it has forgotten
