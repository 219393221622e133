"""The root of everything served over HTTP: which path goes where, and the answers that belong to no door.

A payment path is found by one dictionary look-up, and its door takes a body and gives one back; everything else is Starlette.
Refuses to know what doors do.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ringfence.engine import points
from ringfence.engine.metrics import CRASHES, REQUEST_SECONDS, REQUESTS_APS, REQUESTS_OTHER, Counters, Metrics, exposition

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

class Asking(Protocol):
    """A request whose answer nobody waits for in a task.  One of the two is called, once, and raises nothing."""

    def answered(self, answer: bytes, of: Any) -> None:
        """The answer, and what its head is made of."""

    def goes_on(self, rest: Coroutine[Any, Any, tuple[bytes, Any]]) -> None:
        """What is to be awaited for it."""


Handle = Callable[[bytes, str, str], Awaitable[tuple[bytes, Any]]]
"""Takes a body, the caller's address and a key; gives an answer and what its head is made of (never ``None``)."""

Begin = Callable[[bytes, str, str, Asking], Coroutine[Any, Any, tuple[bytes, Any]] | None]
"""The same for a request whose answer comes by itself, later; or what is to be awaited for it."""


class Door(NamedTuple):
    """A path that takes POST and answers every body with 200 and a JSON text.

    ``handle`` (see ``Handle``) gives the answer and its receipt ("" for none), ``begin``, where there is one, the same in its way;
    ``body_limit`` is in bytes.
    """

    handle: Handle
    body_limit: int
    begin: Begin | None = None


class Prepared(NamedTuple):
    """What answers the requests that begin with one head, without anybody parsing it again.

    The key of ``begin`` is what the header ``key_name`` (b"": none) says in that request, "" for nothing.  ``head(answer, of)``
    is the head of the answer but for its empty line.  ``body_limit`` is in bytes; ``requests`` and ``seconds`` are where it is counted.
    """

    begin: Begin
    head: Callable[[bytes, Any], bytes]
    body_limit: int
    requests: int
    seconds: int
    key_name: bytes = b""


Learn = Callable[[list[tuple[bytes, bytes]]], Prepared | None]
"""Who answers requests with these headers on the short way; ``None``: nobody."""

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b"
_RECEIPT = b"ringfence-receipt: %b\r\n"


def _door_head(answer: bytes, receipt: str) -> bytes:
    return _HEAD % (len(answer), _RECEIPT % receipt.encode() if receipt else b"")


def learning(door: Door) -> Learn:
    """A door answers alike whatever the head says."""
    begin: Begin = door.begin or (lambda body, source_ip, key, asking: door.handle(body, source_ip, key))     # type: ignore[assignment,return-value]
    prepared = Prepared(begin, _door_head, door.body_limit, REQUESTS_APS, REQUEST_SECONDS)
    return lambda headers: prepared


DRAINED = 8 * 2**20
"""So many bytes of a body that is too large are still taken off the caller, who would otherwise not read the answer."""


class BodyTooLarge(Exception):
    """A body over the limit, in bytes; the answer is 413."""

    def __init__(self, limit: int) -> None:
        self.problem = f"the body is too large; at most {limit} bytes are taken"
        super().__init__(self.problem)


class CallerGone(Exception):
    """The caller hung up before the body was complete; there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body.  Raises ``BodyTooLarge`` above ``limit`` bytes, ``CallerGone`` when the connection ends first."""
    message = await receive()
    if message["type"] != "http.request":
        raise CallerGone
    body = message["body"]
    if not message.get("more_body"):            # the usual case: one packet held it all
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        if size > limit + DRAINED or (size > limit and _announced(scope) > limit + DRAINED):
            raise BodyTooLarge(limit)
        message = await receive()
        if message["type"] != "http.request":
            raise CallerGone
        size += len(message["body"])
        if size <= limit:
            parts.append(message["body"])
    if size > limit:
        raise BodyTooLarge(limit)
    return b"".join(parts)


def _announced(scope: Scope) -> int:
    return next((int(value) for name, value in scope["headers"] if name == b"content-length" and value.isdigit()), 0)


JSON = b"application/json"


async def send_json(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Answer with a JSON text."""
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", JSON), (b"content-length", b"%d" % len(body)), *headers]})
    if points.is_armed(points.IN_ANSWER):
        half = len(body) // 2
        await send({"type": "http.response.body", "body": body[:half], "more_body": True})
        points.hit(points.IN_ANSWER)
        body = body[half:]
    await send({"type": "http.response.body", "body": body})


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The same for a Starlette endpoint."""
    return Response(msgspec.json.encode(content), status, headers, JSON.decode())


def error_response(status: int, problem: str, field: str | None = None) -> Response:
    """A refusal outside of any door: what is wrong and, where one is to blame, which field."""
    return json_response({"error": problem} | ({"field": field} if field else {}), status)


def service_routes(*, ready: Callable[[], Awaitable[list[str]]], metrics: Metrics) -> list[Route]:
    """``/healthz`` (this process lives), ``/readyz`` (it can take payments, or why not) and ``/metrics`` (of all processes)."""
    async def healthz(request: Request) -> Response:
        return json_response({"status": "ok"})

    async def readyz(request: Request) -> Response:
        missing = await ready()
        return json_response({"status": "ready"} if not missing else {"status": "not ready", "missing": missing}, 503 if missing else 200)

    async def numbers(request: Request) -> Response:
        return Response(exposition(metrics), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", numbers)]


def root(doors: Mapping[str, Door], routes: Sequence[BaseRoute], counters: Counters, below: Mapping[str, App] | None = None) -> App:
    """The ASGI application of one worker.  ``doors`` are found by their exact paths, applications by the first part of theirs (``/v1``)."""
    rest, applications = _rest(routes), below or {}

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        door = doors.get(scope["path"])
        if door is None:
            path = scope["path"]
            end = path.find("/", 1)
            below = applications.get(path if end < 0 else path[:end])       # it counts its own
            if below is not None:
                await below(scope, receive, send)
                return
            await rest(scope, receive, send)
            counters.add(REQUESTS_OTHER)
            return
        if scope["method"] != "POST":
            await send_json(send, 405, b'{"error":"only POST is possible here"}', (b"allow", b"POST"))
            return
        began = perf_counter()
        try:
            body = await read_body(scope, receive, door.body_limit)
            client = scope.get("client")
            answer, receipt = await door.handle(body, client[0] if client else "", _idempotency_key(scope["headers"]))
            await send_json(send, 200, answer, *((b"ringfence-receipt", receipt.encode()),) if receipt else ())
        except BodyTooLarge as error:
            await send_json(send, 413, msgspec.json.encode({"error": error.problem}), (b"connection", b"close"))
        except CallerGone:
            return
        except Exception:
            counters.add(CRASHES)
            raise                               # uvicorn logs it and answers 500, where nothing was answered yet
        counters.observe(REQUEST_SECONDS, perf_counter() - began)
        counters.add(REQUESTS_APS)

    return application


def _idempotency_key(headers: Sequence[tuple[bytes, bytes]]) -> str:
    return next((value.decode("latin-1") for name, value in headers if name == b"idempotency-key"), "")


def _rest(routes: Sequence[BaseRoute]) -> App:
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        problem = {404: "there is nothing at this path", 405: "this method is not possible here"}.get(error.status_code, error.detail)
        return json_response({"error": problem}, error.status_code, error.headers)

    async def too_large(request: Request, error: Exception) -> Response:
        assert isinstance(error, BodyTooLarge)
        return json_response({"error": error.problem}, 413, {"connection": "close"})

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=499)

    async def crashed(request: Request, error: Exception) -> Response:
        return json_response({"error": "something is broken here; the log says what"}, 500)

    app = Starlette(routes=list(routes), exception_handlers={
        HTTPException: refused, BodyTooLarge: too_large, CallerGone: gone, Exception: crashed})
    app.router.redirect_slashes = False         # a path with a slash too many names nothing; it is not sent elsewhere
    return app
