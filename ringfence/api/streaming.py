"""Doors whose answers may be long: the same as ``api.http.Door``, off the short way, with a body that leaves as it is made.

Refuses to know what is answered.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ringfence.api.http import Receive, Scope, Send, read_body

READING_SECONDS = 900.0
"""How long a caller may take over one answer; whoever reads no more holds nothing any longer."""

log = logging.getLogger(__name__)

Handler = Callable[[bytes, str], Awaitable[tuple[str, bytes | AsyncIterator[bytes]]]]
"""From body and caller's address to content type and answer."""


def door(path: str, handle: Handler, body_limit: int) -> Route:
    """A path that takes POST and answers every body up to ``body_limit`` bytes with 200."""
    async def answer(request: Request) -> Response:
        body = await read_body(request.scope, request.receive, body_limit)
        content_type, said = await handle(body, request.client.host if request.client else "")
        return Response(said, media_type=content_type) if isinstance(said, bytes) else streamed(said, content_type)

    return Route(path, answer, methods=["POST"])


def streamed(parts: AsyncIterator[bytes], content_type: str) -> Response:
    """An answer that leaves as it is made; where that breaks, the connection breaks off."""
    return _Streamed(parts, media_type=content_type)


class _Streamed(StreamingResponse):
    """One that ends in time."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(READING_SECONDS):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            log.warning("%s: the caller did not read the answer in %g s", scope["path"], READING_SECONDS)
