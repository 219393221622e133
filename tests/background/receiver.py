"""Merchants' ends of webhooks: what doors say in tests, a server that answers as it is told, and a connection that breaks."""
from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg

from ringfence.engine.directory import Merchant
from ringfence.engine.feed import Message, Notifier, Occurred
from ringfence.engine.settings import policy_of

SECONDS = 60.0
"""An attempt's; nobody here waits for it to end."""


def messages(merchant: Merchant, occurred: Occurred) -> list[Message]:
    """One message for every event, in words that name it."""
    body = f"{occurred.event} {occurred.payment_id}-{occurred.sequence} {occurred.minor}".encode()
    return [Message("feedback", merchant.settings.at("feedback_url", ""), "text/plain", body,
                    policy_of(merchant.settings, accepts=frozenset({302}), seconds=SECONDS))]


def wants(merchant: Merchant) -> bool:
    return bool(merchant.settings.at("feedback_url", ""))


NOTIFIER = Notifier(wants, messages)


class Received(NamedTuple):
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> str:
        """Payment and sequence."""
        return self.headers["ringfence-event"]


Reply = bytes | Callable[["Receiver", asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK"
REFUSED = b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops"


class Receiver:
    """Keeps what it hears; answers with ``reply``, or with what ``replies`` says next."""

    def __init__(self) -> None:
        self.port = 0
        self.scheme = "http"
        self.heard: list[Received] = []
        self.connections = 0
        self.reply: Reply = OK
        self.replies: list[Reply] = []
        self.now_at_once = self.most_at_once = 0
        self._news = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook?shop=1"

    async def until(self, count: int) -> list[Received]:
        """What was heard, once there is so much of it."""
        while len(self.heard) < count:
            self._news.clear()
            await self._news.wait()
        return self.heard

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
                line, *rest = head.strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.now_at_once += 1
                self.most_at_once = max(self.most_at_once, self.now_at_once)
                self.heard.append(Received(line, headers, body))
                self._news.set()
                reply = self.replies.pop(0) if self.replies else self.reply
                try:
                    if isinstance(reply, bytes):
                        writer.write(reply)
                        await writer.drain()
                    else:
                        await reply(self, writer)
                finally:
                    self.now_at_once -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()


@asynccontextmanager
async def receiving(context: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()
    tasks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(receiver.serve(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=context)
    receiver.port = server.sockets[0].getsockname()[1]
    receiver.scheme = "https" if context else "http"
    try:
        yield receiver
    finally:
        server.close()
        receiver.hang_up()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class Breaking(asyncpg.Connection):
    """A connection that is lost at the statement where the test wants it, ``before`` or ``after`` the server carried it out."""

    __slots__ = ()
    left = -1                               # statements until then; below nothing: never
    when = "before"
    seen = 0

    @classmethod
    def cut(cls, statements: int, when: str) -> None:
        cls.left, cls.when, cls.seen = statements, when, 0

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        return await self._passed(lambda: super(Breaking, self).execute(query, *args, timeout=timeout))

    async def _execute(self, *args: Any, **options: Any) -> Any:
        return await self._passed(lambda: super(Breaking, self)._execute(*args, **options))

    async def _passed(self, carry_out: Callable[[], Awaitable[Any]]) -> Any:
        kind = type(self)
        kind.seen += 1
        kind.left -= 1
        if kind.left != -1:
            return await carry_out()
        if kind.when == "after":
            await carry_out()
        self.terminate()
        raise asyncpg.ConnectionDoesNotExistError("cut by the test")
