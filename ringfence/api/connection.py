"""One HTTP connection: the limits that every caller gets, and the short way for the request that comes by the thousand.

uvicorn parses and answers; this counts, looks at the clock, and answers a door's request whose head the connection has seen before
without parsing it again.  Whatever is in any way different goes uvicorn's way.  Refuses to know what bodies say.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Iterable, Mapping
from time import perf_counter
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ringfence.api.http import Door, Learn, Prepared, learning
from ringfence.api.known_head import KnownHead, Place, known_head
from ringfence.engine import points
from ringfence.engine.metrics import CRASHES, Counters

log = logging.getLogger(__name__)

LESSONS = 64
"""So many heads of one connection are looked at; a caller whose heads never repeat is not studied for ever."""

HEADS = 8
"""So many heads of one connection are known at a time: a caller may act for several merchants."""

SLOWEST = 65_536
"""Bytes a second: whoever sends a file this fast is never too slow."""

_REASON = b'{"error":"the head of the request is too large"}'
_TOO_LARGE = (b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
              b"content-length: %d\r\n\r\n%s") % (len(_REASON), _REASON)

_CLOSE = b"connection: close\r\n"
_BROKEN = (b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n"
           b"connection: close\r\n\r\nInternal Server Error")


async def _said(answer: bytes, of: Any) -> tuple[bytes, Any]:
    return answer, of


async def _raising(error: Exception) -> tuple[bytes, Any]:
    raise error


class HeadTooLarge(Exception):
    """Raised inside the parser; the answer has been written."""


class _Nobody:
    """Whom uvicorn wakes when a connection ends: on the short way nobody waits for more of a body."""

    def set(self) -> None:
        """Nothing to wake."""


class Exchange:
    """One request on the short way and its answer: what uvicorn's connection asks of its own ``RequestResponseCycle``."""

    __slots__ = ("began", "body", "connection", "disconnected", "door", "keep_alive", "key", "response_complete")
    message_event = _Nobody()
    more_body = False

    def __init__(self, connection: Any, door: Prepared, body: bytes, key: str) -> None:
        self.connection, self.door, self.body, self.key = connection, door, body, key
        self.disconnected = self.response_complete = False
        self.keep_alive = True
        self.began = 0.0

    def answered(self, answer: bytes, of: Any) -> None:
        """See ``Asking``."""
        self.connection.answered(self, answer, of)

    def goes_on(self, rest: Coroutine[Any, Any, tuple[bytes, Any]]) -> None:
        """See ``Asking``."""
        self.connection.goes_on(self, rest)

    def cancel(self, msg: object = None) -> None:
        """The end of the service waits no longer.  It stands among the tasks that it waits for, as a task does where there is one."""
        asyncio.get_running_loop().call_soon(self.connection.cut_off, self, asyncio.CancelledError(msg))


def connection_class(
    head_limit: int, doors: Mapping[str, Door], counters: Counters, *, long_paths: Iterable[str] = (), learn: Mapping[str, Learn] | None = None,
) -> type[HttpToolsProtocol]:
    """The class of a worker's connections.  ``head_limit`` is in bytes; ``doors`` are those of ``api.http.root``, ``learn`` further paths
    that have a short way; a body sent to one of ``long_paths`` may take longer the more of it has come."""
    long = frozenset(path.encode() for path in long_paths)
    by_path = {path.encode(): learns for path, learns in {**{path: learning(door) for path, door in doors.items()}, **(learn or {})}.items()}

    class Connection(HttpToolsProtocol):
        """See the module.

        ``waiting_since`` is when the present request began to arrive (loop time), ``None`` while none does; ``idle_since`` is when the
        last answer left, ``None`` while anything is under way.
        """

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.waiting_since: float | None = self.loop.time()
            self.idle_since: float | None = None
            self._head_bytes, self._in_head = 0, True
            self._source_ip = self.client[0] if self.client else ""

            # The short way: what is known, and whether the parser stands between two requests, so that it may be passed by.
            self._known: list[tuple[KnownHead, Prepared]] = []
            self._between = True
            self._held, self._needed = bytearray(), 0       # of a request with a known head, until its body is complete
            self._unread: bytes | None = None               # what the parser is given, while its first head is of interest
            # The short way has no place for uvicorn's options of logging, counting and decorating.
            self._lessons = 0 if self.config.access_log or self.limit_concurrency is not None or self.server_state.default_headers else LESSONS

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self.timeout_keep_alive_task is not None:
                self.timeout_keep_alive_task.cancel()

        # -- what arrives --

        def data_received(self, data: bytes) -> None:
            if self._between and self._known:
                data = self._take_known(data)
                if not data:
                    return
            self._parse(data)

        def _take_known(self, data: bytes) -> bytes:
            """Start the requests with known heads at the beginning of *data*; what is left is for the parser."""
            if self._held:
                self._held += data
                if len(self._held) < self._needed:
                    return b""
                data, self._held = bytes(self._held), bytearray()
            at, arrived = 0, len(data)
            while at < arrived and (found := self._found(data, at)) is not None:
                (start, end, key), door = found
                if end - start > door.body_limit:
                    break
                if end > arrived:
                    self._hold(data[at:], end - at)
                    return b""
                self._take(door, data[start:end], key)
                at = end
            return data[at:] if at else data

        def _found(self, data: bytes, at: int) -> tuple[Place, Prepared] | None:
            """Where the request at this place ends, and who answers it, if its head is known."""
            for known, door in self._known:
                if data.startswith(known.before, at) and (place := known.body_of(data, at)) is not None:
                    return place, door
            return None

        def _hold(self, part: bytes, needed: int) -> None:
            self._held, self._needed = bytearray(part), needed
            self.waiting_since, self.idle_since = self.loop.time(), None

        def _take(self, door: Prepared, body: bytes, key: str) -> None:
            """Answer a body, now or when the answers before it have left."""
            self.waiting_since = self.idle_since = None
            previous, exchange = self.cycle, Exchange(self, door, body, key)
            self.cycle = exchange  # type: ignore[assignment]
            if previous is None or previous.response_complete:
                self._start(exchange)
            else:
                self.flow.pause_reading()
                self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]

        def _parse(self, data: bytes) -> None:
            if self.waiting_since is None:
                self.waiting_since = self.loop.time()
            if self._in_head:
                self._head_bytes += len(data)
            self._unread = data if self._between and self._lessons else None
            super().data_received(data)
            if self._in_head and self._head_bytes > head_limit:
                self._refuse()

        # -- what the parser says --

        def on_message_begin(self) -> None:
            self._between = False
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._in_head = False
            if self._head_bytes > head_limit and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > head_limit:
                self._refuse()
                raise HeadTooLarge
            super().on_headers_complete()
            if self._unread is not None:
                self._learn(self._unread)
                self._unread = None

        def on_body(self, body: bytes) -> None:
            if self.waiting_since is not None and self.url in long and not self.cycle.response_complete:
                self.waiting_since = min(self.loop.time(), self.waiting_since + len(body) / SLOWEST)
            super().on_body(body)

        def on_message_complete(self) -> None:
            self.waiting_since, self._head_bytes, self._in_head = None, 0, True
            self._between = True
            super().on_message_complete()

        def _learn(self, received: bytes) -> None:
            """Know the head again that the parser has just read at the beginning of *received*, if it is a door's and asks for nothing else."""
            learns = by_path.get(self.url)
            if learns is None or self.parser.get_method() != b"POST" or self.parser.should_upgrade() or not self.parser.should_keep_alive():
                return
            self._lessons -= 1
            door = learns(self.headers)
            if door is not None and (known := known_head(received, self.url, self.headers, door.key_name)) is not None:
                self._known = [*(one for one in self._known if one[0] != known), (known, door)][-HEADS:]

        # -- what is answered --

        def _start(self, exchange: Exchange) -> None:
            """Carry a body to the door."""
            door, body, exchange.body = exchange.door, exchange.body, b""       # an idle connection remembers no card
            exchange.began = perf_counter()
            try:
                rest = door.begin(body, self._source_ip, exchange.key, exchange)
            except Exception as error:
                rest = _raising(error)
            if rest is None:
                self.tasks.add(exchange)            # type: ignore[arg-type]  # so that the end of the service waits for it
            else:
                self._await(exchange, rest)

        def _await(self, exchange: Exchange, rest: Awaitable[tuple[bytes, Any]]) -> None:
            self.tasks.add(self.loop.create_task(self._answer(exchange, rest)))     # it takes itself out again

        async def _answer(self, exchange: Exchange, rest: Awaitable[tuple[bytes, Any]]) -> None:
            """Carry back the answer that the door is working on, in one write."""
            answer, of = b"", None                  # a head is made of something: nothing is an exception
            try:
                try:
                    answer, of = await rest
                except BaseException as error:      # as uvicorn: also a task that the end of the service cancels answers
                    self._broke(error)
                if self.flow.write_paused and not exchange.disconnected:
                    await self.flow.drain()
                self._end(exchange, answer, of)
            finally:
                self.tasks.discard(asyncio.current_task())      # type: ignore[arg-type]

        def answered(self, exchange: Exchange, answer: bytes, of: Any) -> None:
            """The same for an answer that comes by itself; see ``Asking``."""
            if exchange in self.tasks:              # not cut off meanwhile
                if self.flow.write_paused and not exchange.disconnected:
                    self.goes_on(exchange, _said(answer, of))
                    return
                self.tasks.discard(exchange)        # type: ignore[arg-type]
                try:
                    self._end(exchange, answer, of)
                except Exception as error:          # others are told after this one
                    self._broke(error)
                    self.transport.abort()

        def goes_on(self, exchange: Exchange, rest: Coroutine[Any, Any, tuple[bytes, Any]]) -> None:
            """See ``Asking``."""
            if exchange in self.tasks:
                self._await(exchange, rest)
                self.tasks.discard(exchange)        # type: ignore[arg-type]
            else:
                rest.close()

        def cut_off(self, exchange: Exchange, why: BaseException) -> None:
            """Answer that it broke, where no answer has come."""
            if exchange in self.tasks:
                self.tasks.discard(exchange)        # type: ignore[arg-type]
                self._broke(why)
                self._end(exchange, b"", None)

        def _broke(self, error: BaseException) -> None:
            if isinstance(error, Exception):
                counters.add(CRASHES)
            self.logger.error("Exception in ASGI application\n", exc_info=error)

        def _end(self, exchange: Exchange, answer: bytes, of: Any) -> None:
            if not exchange.disconnected:
                self._send(exchange, answer, of)
            if of is not None:
                counters.observe(exchange.door.seconds, perf_counter() - exchange.began)
                counters.add(exchange.door.requests)

        def _send(self, exchange: Exchange, answer: bytes, of: Any) -> None:
            if of is None:
                exchange.keep_alive = False
                self.transport.write(_BROKEN)
            else:
                written = b"%b%b\r\n%b" % (exchange.door.head(answer, of), b"" if exchange.keep_alive else _CLOSE, answer)
                if points.is_armed(points.IN_ANSWER):
                    half = len(written) // 2
                    self.transport.write(written[:half])
                    points.hit(points.IN_ANSWER)
                    written = written[half:]
                self.transport.write(written)
            exchange.response_complete = True
            if not exchange.keep_alive:
                self.transport.close()
            self.on_response_complete()

        def on_response_complete(self) -> None:
            """Start what is queued; read on only when nothing is, so that a caller cannot queue faster than it is answered."""
            self.server_state.total_requests += 1
            if self.transport.is_closing():
                return
            if self.pipeline:
                cycle, app = self.pipeline.pop()
                if isinstance(cycle, Exchange):
                    self._start(cycle)
                else:
                    self._start_asgi_task(cycle, app)
                return
            self.flow.resume_reading()
            self.idle_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

        # -- how it ends --

        def eof_received(self) -> bool:
            """The caller sends no more.  It still hears the answer to a request that came whole; TLS knows no half of a connection."""
            answering = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
            if not answering or self._held or self.scheme == "https":
                return False
            self.cycle.keep_alive = False
            return True

        def timeout_keep_alive_handler(self) -> None:
            """Close the connection if it was idle for long enough.  One timer serves many requests: it looks, and looks again later."""
            self.timeout_keep_alive_task = None
            if self.idle_since is None:             # something is under way; its answer sets the timer again
                return
            left = self.idle_since + self.timeout_keep_alive - self.loop.time()
            if left > 0:
                self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
            elif not self.transport.is_closing():
                self.transport.close()

        def _unset_keepalive_if_required(self) -> None:
            self.idle_since = None

        def shutdown(self) -> None:
            """Close, or let what is under way be the last; a request whose body is still arriving is under way, and waits at the parser."""
            if self._held:
                held, self._held = bytes(self._held), bytearray()
                self._parse(held)
            super().shutdown()

        def send_400_response(self, msg: str) -> None:
            if not self.transport.is_closing():
                super().send_400_response(msg)

        def _refuse(self) -> None:
            if not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    return Connection


def close_overdue(connections: Iterable[Any], now: float, seconds: float) -> int:
    """Close the connections whose request began to arrive more than ``seconds`` ago and is not complete; how many those were."""
    overdue = [one for one in connections if one.waiting_since is not None and now - one.waiting_since > seconds]
    for connection in overdue:
        connection.transport.close()
    return len(overdue)


async def watch(connections: set[Any], seconds: float) -> None:
    """Close what takes too long to send its request, once a second; runs until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(1)
        if closed := close_overdue(list(connections), loop.time(), seconds):
            log.info("closed %d connections whose request did not arrive in %g s", closed, seconds)
