"""One HTTP connection with the limits that every caller gets: how large a request's head may be, and how long it may take.

uvicorn parses and answers; this only counts and looks at the clock.  Refuses to know paths and bodies: a body's size is the
business of whoever reads it.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = logging.getLogger(__name__)

_REASON = b'{"error":"the head of the request is too large"}'
_TOO_LARGE = (b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
              b"content-length: %d\r\n\r\n%s") % (len(_REASON), _REASON)


class HeadTooLarge(Exception):
    """Raised inside the parser; the answer has been written."""


def limited(head_limit: int) -> type[HttpToolsProtocol]:
    """The connection class for one limit, in bytes of a request's head."""

    class Connection(HttpToolsProtocol):
        """See the module.  ``waiting_since`` is when the present request began to arrive (loop time), ``None`` while none does."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.waiting_since: float | None = self.loop.time()
            self._head_bytes, self._in_head = 0, True

        def data_received(self, data: bytes) -> None:
            if self.waiting_since is None:
                self.waiting_since = self.loop.time()
            if self._in_head:
                self._head_bytes += len(data)
            super().data_received(data)
            if self._in_head and self._head_bytes > head_limit:
                self._refuse()

        def on_headers_complete(self) -> None:
            self._in_head = False
            if self._head_bytes > head_limit and len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > head_limit:
                self._refuse()
                raise HeadTooLarge
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self.waiting_since, self._head_bytes, self._in_head = None, 0, True
            super().on_message_complete()

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
