"""Calling a merchant: one POST over HTTP/1.1, to an address that was checked, with an end to everything.

At every new connection the name is resolved once, every address that it has is judged, and one of those very addresses is called;
the TLS name and the ``Host`` are the URL's.  An answer is whatever status comes: no redirect is followed, nothing is repeated.
Refuses to know what is told, and whether a status is good news.
"""
from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools

from ringfence.engine import points
from ringfence.engine.addresses import Rules, forbidden, port_of, problem

CONNECT_SECONDS = 5.0
MAX_HEAD = 16_384
MAX_BODY = 65_536
"""So much of an answer is read; then the connection is closed."""
MAX_BEHIND_HEAD = 8 * MAX_BODY
"""So many bytes, however little of them is body: sizes and extensions of chunks, and trailers, which the parser gathers."""
KEEP_SECONDS = 30.0
MAX_KEPT = 50


class Answered(NamedTuple):
    """What came back: status, the beginning of the body, and the address that was called."""

    status: int
    body: bytes
    address: str


class CallFailed(Exception):
    """No answer; ``reason`` is a sentence, ``address`` the one that was called, empty where none was."""

    def __init__(self, reason: str, address: str = "") -> None:
        super().__init__(reason)
        self.reason, self.address = reason, address


Resolve = Callable[[str, int], Awaitable[list[str]]]
Origin = tuple[str, str, int]
"""Scheme, host and port."""


class Caller:
    """Posts, over connections that it keeps for a while.  One of them serves one drain: what is kept was checked a moment ago."""

    def __init__(self, rules: Rules, *, trust: ssl.SSLContext | None = None, resolve: Resolve | None = None) -> None:
        """``trust``: whose certificates are good; the system's authorities where it is not given."""
        self._rules, self._trust, self._resolve = rules, trust, resolve or resolved
        self._kept: dict[Origin, deque[tuple[float, _Line]]] = {}
        self._resolving: dict[tuple[str, int], asyncio.Future[list[str]]] = {}
        self._places: dict[str, tuple[Origin, str]] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Answered:
        """Post, and wait for the answer, ``seconds`` for all of it.  Raises ``CallFailed``."""
        origin, begin = self._places.get(url) or self._place(url)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{begin}content-length: {len(body)}\r\n{lines}\r\n"
        began = asyncio.get_running_loop().time()
        line = self._waiting_line(origin) or await self._connected(origin, min(CONNECT_SECONDS, seconds))
        try:
            answer = line.exchange(head.encode("ascii") + body, began + seconds)
            if points.is_armed(points.IN_WEBHOOK):
                await asyncio.sleep(0)                  # the loop sends what was written when it turns
                points.hit(points.IN_WEBHOOK)
            status, said = await answer
        except TimeoutError:
            raise CallFailed(f"No answer from {line.address} within {seconds:g} seconds.", line.address) from None
        finally:
            self._keep(origin, line)
        return Answered(status, said, line.address)

    async def close(self) -> None:
        """Close every connection that is kept."""
        for lines in self._kept.values():
            for _, line in lines:
                line.close()
        self._kept.clear()

    def _place(self, url: str) -> tuple[Origin, str]:
        """Where a URL leads, and how a request to it begins.  Raises ``CallFailed`` for one that must not be called."""
        if why := problem(url, self._rules):
            raise CallFailed(f"The address {why}.")
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        place = (parts.scheme, parts.hostname or "", port_of(parts)), f"POST {target} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
        self._places[url] = place
        return place

    def _waiting_line(self, origin: Origin) -> _Line | None:
        """A connection from before that is still good."""
        lines, now = self._kept.get(origin), asyncio.get_running_loop().time()
        while lines:
            since, line = lines.pop()           # the one that was used last
            if line.is_idle and now - since < KEEP_SECONDS:
                return line
            line.close()
        return None

    def _keep(self, origin: Origin, line: _Line) -> None:
        lines = self._kept.setdefault(origin, deque())
        if not line.is_idle or len(lines) >= MAX_KEPT:
            line.close()
        else:
            lines.append((asyncio.get_running_loop().time(), line))

    async def _connected(self, origin: Origin, seconds: float) -> _Line:
        scheme, host, port = origin
        try:
            async with asyncio.timeout(seconds):
                addresses = await self._addresses(host, port)
                context = (self._trust or system_trust()) if scheme == "https" else None
                return await _connect(addresses, port, context, host.rstrip("."))
        except TimeoutError:
            raise CallFailed(f"No connection within {seconds:g} seconds.") from None

    async def _addresses(self, host: str, port: int) -> list[str]:
        """What a name means now, each judged: one that is forbidden spoils all.  Who asks for the same meanwhile waits along."""
        try:
            found = [str(ipaddress.ip_address(host))]
        except ValueError:
            asked = self._resolving.get((host, port))
            if asked is None:
                asked = self._resolving[host, port] = asyncio.ensure_future(self._resolve(host, port))
                asked.add_done_callback(lambda done: self._was_resolved(host, port, done))
            try:
                found = await asyncio.shield(asked)
            except (OSError, UnicodeError) as error:
                raise CallFailed(f"The name {host} cannot be resolved: {getattr(error, 'strerror', None) or error}.") from error
        if not found:
            raise CallFailed(f"The name {host} has no address.")
        for address in found:
            if why := forbidden(address, self._rules):
                raise CallFailed(f"{host} is {address}, which {why}.", address)
        return found

    def _was_resolved(self, host: str, port: int, done: asyncio.Future[list[str]]) -> None:
        del self._resolving[host, port]
        if not done.cancelled():
            done.exception()                            # whoever waited has heard it, and perhaps nobody waits any more


async def _connect(addresses: list[str], port: int, context: ssl.SSLContext | None, name: str) -> _Line:
    """A connection to the first address that takes one."""
    loop = asyncio.get_running_loop()
    failed = CallFailed("There is no address.")
    for address in addresses:
        try:
            _, line = await loop.create_connection(
                lambda address=address: _Line(address), address, port, ssl=context, server_hostname=name if context else None)
            return line
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason or "the handshake failed"
            failed = CallFailed(f"No TLS with {address}: {why}.", address)
        except OSError as error:
            failed = CallFailed(f"No connection to {address}: {error.strerror or error}.", address)
    raise failed


async def resolved(host: str, port: int) -> list[str]:
    """The addresses of a name, as this machine sees them.  Raises ``OSError``.

    On a thread of its own: a name server that does not answer holds up nobody else, and not the end of the process.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def tell(result: list[str] | BaseException) -> None:
        if answer.done():
            return
        if isinstance(result, BaseException):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    def ask() -> None:
        result: list[str] | BaseException
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            result = list(dict.fromkeys(str(one[4][0]) for one in found))
        except Exception as error:
            result = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=ask, name="ringfence resolver", daemon=True).start()
    return await answer


@cache
def system_trust() -> ssl.SSLContext:
    """The system's authorities, read once."""
    return ssl.create_default_context()


class _Line(asyncio.Protocol):
    """One connection: a request at a time, and what is read of its answer."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._head = self._behind_head = 0      # bytes of the answer so far, by the pieces in which they came
        self._status = 0
        self._framed = self._in_body = self._keeps = False
        self._body = bytearray()
        self._loop = asyncio.get_running_loop()
        self._deadline = 0.0                    # loop time
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it can take the next request."""
        return self._keeps and self._transport is not None and not self._transport.is_closing()

    def exchange(self, request: bytes, deadline: float) -> asyncio.Future[tuple[int, bytes]]:
        """Send a request; the future status and body, until ``deadline`` (loop time).  Raises ``CallFailed`` or ``TimeoutError``."""
        assert self._transport is not None
        self._parser, self._answer = httptools.HttpResponseParser(self), self._loop.create_future()
        if self._timer is None or deadline < self._deadline:
            self._stop_timer()
            self._timer = self._loop.call_at(deadline, self._time_is_up)
        self._deadline = deadline
        self._head, self._behind_head, self._status, self._framed, self._in_body, self._keeps = 0, 0, 0, False, False, False
        self._body.clear()
        if self._transport.is_closing():
            self._fail("closed the connection before it was asked")
        else:
            self._transport.write(request)
        return self._answer

    def close(self) -> None:
        self._keeps = False
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def _time_is_up(self) -> None:
        """One timer serves many requests: it looks, and looks again later."""
        self._timer = None
        if self._answer is None or self._answer.done():
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._time_is_up)
        else:
            self._answer.set_exception(TimeoutError())
            self.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- what the connection says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport             # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()                        # it speaks without having been asked
            return
        if self._in_body:
            self._behind_head += len(data)
            if self._behind_head > MAX_BEHIND_HEAD:
                self._fail(f"sent more than {MAX_BEHIND_HEAD // 1024} KB and no answer in them")
                return
        else:
            self._head += len(data)
            if self._head > MAX_HEAD and self._head - len(data) + _end_of_head(data) > MAX_HEAD:
                self._fail(f"sent a head of more than {MAX_HEAD // 1024} KB")
                return
        try:
            assert self._parser is not None
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("wants to speak another protocol")
        except httptools.HttpParserError:
            if not self._answer.done():
                self._fail("sent what is not an HTTP answer")

    def eof_received(self) -> None:
        return None                             # close

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is None or self._answer.done():
            return
        if self._in_body and not self._framed and error is None:
            self._done(False)                   # an answer without a length ends with its connection
        else:
            self._fail("closed the connection " + ("in the middle of its answer" if self._head else "without an answer"))

    # -- what the parser finds

    def on_message_begin(self) -> None:
        self._framed = False
        if self._answer is None or self._answer.done():
            self.close()                        # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self._status = self._parser.get_status_code()
        if self._status >= 200:
            self._in_body = True

    def on_body(self, data: bytes) -> None:
        if self._in_body and len(self._body) < MAX_BODY:
            self._body += data[:MAX_BODY - len(self._body)]
            if len(self._body) == MAX_BODY:
                self._done(False)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._status >= 200:
            self._done(self._parser.should_keep_alive())

    def _done(self, keeps: bool) -> None:
        if self._answer is not None and not self._answer.done():
            self._keeps = keeps
            self._answer.set_result((self._status, bytes(self._body)))
            if not keeps:
                self.close()

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(CallFailed(f"{self.address} {why}.", self.address))
        self.close()


def _end_of_head(data: bytes) -> int:
    """How much of a piece belongs to the head, as far as it tells."""
    end = data.find(b"\r\n\r\n")
    return len(data) if end < 0 else end + 4
