"""A real server on a socket, in the loop of the test, and callers of it.

``Served`` is the server as it is; one that learns no heads goes the long way.
"""
from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.connection import connection_class
from ringfence.api.http import Asking, Door, Prepared, read_body, root
from ringfence.engine.metrics import REQUEST_SECONDS, REQUESTS_OTHER, Metrics
from ringfence.worker import Server

TURNS = 12                                      # of the loop: more than any answer takes that waits for nothing
BODY_LIMIT = 4_096
HEAD_LIMIT = 2_048
KEY = b"x-key"


def head_of_keyed(answer: bytes, status: int) -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\nx-own: yes\r\n" % ({201: b"201 Created", 402: b"402 Payment Required"}[status], len(answer))


class Recorded:
    """A transport that remembers what was written while it was open: what a caller sees who is quick enough to read it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self.written = transport, b""

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self.written += data
        self._transport.write(data)


class Served:
    """A server with one door that says what it was asked, and what the test can see of it."""

    def __init__(self) -> None:
        self.metrics = Metrics(1)
        self.held: dict[bytes, asyncio.Event] = {}
        self.asked: list[bytes] = []
        self.long_way = 0                       # requests that came through the ASGI application
        self.port = 0
        self.taken = asyncio.Event()            # set whenever a connection got bytes, or ended
        self.telling: set[asyncio.Task[None]] = set()

    async def handle(self, body: bytes, source_ip: str, idempotency_key: str) -> tuple[bytes, str]:
        """``crash`` raises, ``hold`` waits for the test, ``large`` answers much; the rest comes back."""
        self.asked.append(body)
        if body.startswith(b"crash"):
            raise RuntimeError("crash")
        if body in self.held:
            await self.held[body].wait()
        elif body.startswith(b"later"):
            await asyncio.sleep(0)
        if body.startswith(b"large"):
            return b"x" * 1_000_000, ""
        return b"%b|%b|%b" % (body, source_ip.encode(), idempotency_key.encode()), "7:abc" if body.startswith(b"receipt") else ""

    def begin(self, body: bytes, source_ip: str, idempotency_key: str, asking: Asking) -> Coroutine[Any, Any, tuple[bytes, str]] | None:
        """The same by itself; ``later`` is to be awaited, ``receipt`` goes on to be."""
        if body.startswith(b"later"):
            return self.handle(body, source_ip, idempotency_key)
        if body.startswith(b"crash"):
            self.asked.append(body)
            raise RuntimeError("crash")
        telling = asyncio.ensure_future(self._tell(body, source_ip, idempotency_key, asking))
        self.telling.add(telling)
        telling.add_done_callback(self.telling.discard)
        return None

    async def _tell(self, body: bytes, source_ip: str, idempotency_key: str, asking: Asking) -> None:
        if body.startswith(b"receipt"):
            asking.goes_on(self.handle(body, source_ip, idempotency_key))
        else:
            asking.answered(*await self.handle(body, source_ip, idempotency_key))

    async def keyed(self, body: bytes, source_ip: str, key: str) -> tuple[bytes, int]:
        """A door with keys and statuses of its own; ``later`` waits for a turn."""
        if body.startswith(b"later"):
            await asyncio.sleep(0)
        return b"%b|%b|%b" % (body, source_ip.encode(), key.encode()), 402 if body.startswith(b"poor") else 201

    async def application(self, scope, receive, send) -> None:
        """The same door the long way."""
        key = next((value.decode("latin-1") for name, value in scope["headers"] if name == KEY), "")
        answer, status = await self.keyed(await read_body(scope, receive, 10 * BODY_LIMIT), scope["client"][0], key)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(answer)), (b"x-own", b"yes")]})
        await send({"type": "http.response.body", "body": answer})

    def hold(self, body: bytes) -> asyncio.Event:
        self.held[body] = asyncio.Event()
        return self.held[body]

    def connections(self) -> list:
        return list(self.server.server_state.connections)

    async def until(self, true: Callable[[], object]) -> None:
        """Wait for something that the server does on its own; the loop turns meanwhile."""
        async with asyncio.timeout(60):
            while not true():
                await asyncio.sleep(0)


@asynccontextmanager
async def serve(*, keep_alive: float = 60, drain: int = 10, host: str = "127.0.0.1", learns: bool = True, tells: bool = False) -> AsyncIterator[Served]:
    """Run a server; at the end it is shut down as in production.  ``tells``: nobody awaits most of its answers."""
    served = Served()
    counters = served.metrics.row(0)

    async def cold(request: Request) -> Response:
        return Response(b"cold:" + await request.body())

    doors = {"/door": Door(served.handle, BODY_LIMIT, served.begin if tells else None)}
    application = root(doors, [Route("/cold", cold, methods=["GET", "POST"])], counters, {"/keyed": served.application})
    prepared = Prepared(lambda body, source_ip, key, asking: served.keyed(body, source_ip, key), head_of_keyed, BODY_LIMIT, REQUESTS_OTHER, REQUEST_SECONDS, KEY)

    async def counted(scope, receive, send) -> None:
        served.long_way += 1
        await application(scope, receive, send)

    class Watched(connection_class(HEAD_LIMIT, doors, counters, learn={"/keyed": lambda headers: prepared})):
        got = 0

        def connection_made(self, transport) -> None:
            super().connection_made(Recorded(transport))
            if not learns:
                self._lessons = 0

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.got += len(data)
            served.taken.set()

        def connection_lost(self, exc) -> None:
            super().connection_lost(exc)
            served.taken.set()

    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    served.port = listener.getsockname()[1]
    started = asyncio.Event()

    async def on_started() -> None:
        started.set()

    served.server = Server(uvicorn.Config(
        counted, http=Watched, ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False, server_header=False,
        date_header=False, proxy_headers=False, timeout_keep_alive=keep_alive, timeout_graceful_shutdown=drain), on_started)
    serving = asyncio.create_task(served.server.serve([listener]))
    await started.wait()
    try:
        yield served
    finally:
        served.server.stop()
        await serving


def post(body: bytes, *more: bytes, path: bytes = b"/door") -> bytes:
    """A request; the head is always the same but for the length, unless there is more."""
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % (path, len(body))
    return head + b"".join(line + b"\r\n" for line in more) + b"\r\n" + body


def chunked(*parts: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
    return b"POST /door HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def keyed(body: bytes, key: bytes, *more: bytes) -> bytes:
    """A request whose key is another one each time."""
    return post(body, b"X-Key: " + key, *more, path=b"/keyed")


LAST = post(b"last", b"Connection: close")


class Caller:
    """One connection to the server."""

    def __init__(self, served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served, self.reader, self.writer = served, reader, writer
        self.sent = 0

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        self.sent += len(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Status, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        return int(head.split()[1]), head, await self.reader.readexactly(length)

    async def ask(self, data: bytes) -> tuple[int, bytes, bytes]:
        await self.say(data)
        return await self.answer()

    async def taught(self) -> Caller:
        """The server knows the head of ``post`` after this."""
        assert (await self.ask(post(b"first")))[0] == 200
        return self

    async def ended(self) -> bytes:
        """Whatever still comes until the server hangs up."""
        async with asyncio.timeout(60):
            return await self.reader.read()


@asynccontextmanager
async def calling(served: Served, host: str = "127.0.0.1") -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection(host, served.port, limit=2**24)
    try:
        yield Caller(served, reader, writer)
    finally:
        writer.close()


async def dialogue(served: Served, pieces: list[bytes]) -> bytes:
    """All that the server answers to these pieces, each of which it reads by itself and answers as far as it can."""
    async with calling(served) as caller:
        name = caller.writer.get_extra_info("sockname")
        await served.until(lambda: any(one.client == name for one in served.connections()))
        at_server = next(one for one in served.connections() if one.client == name)
        for piece in pieces:
            if at_server.transport.is_closing():
                break
            await caller.say(piece)
            while at_server.got < caller.sent and not at_server.transport.is_closing():
                served.taken.clear()
                async with asyncio.timeout(60):
                    await served.taken.wait()
            await turns(TURNS)
        await turns(TURNS * 20)                 # a whole queue
        return at_server.transport.written


async def turns(count: int) -> None:
    """Let the loop turn so often: for what needs nothing but that."""
    for _ in range(count):
        await asyncio.sleep(0)


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(set(at)), len(stream)]
    return [stream[first:last] for first, last in pairwise(places) if first < last]
