"""What an administrator of the sandbox may do over HTTP: order faults, read the log of notifications, fetch the certificate (everybody may).

``/amazon/faults``: GET lists, POST orders one (``{"operation", "kind", "value", "times"}``), DELETE ends all.  ``/amazon/notifications``: the
last of them, the newest first.  The token is the sandbox's own: ``authorization: Bearer TOKEN``.
"""
from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.amazon_site import faults, sending
from ringfence.amazon_site.desk import Desk

LOGGED = 200
BODY_BYTES = 16_384


def routes(desk: Desk) -> list[Route]:
    """``/amazon/faults``, ``/amazon/notifications`` and ``/amazon/sns.pem``."""
    def guarded(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            given = request.headers.get("authorization", "").encode("utf-8", "replace")
            if not desk.admin_token or not hmac.compare_digest(given, f"Bearer {desk.admin_token}".encode()):
                return _json({"error": "the token of an administrator is needed"}, 401)
            return await endpoint(request)

        return answer

    async def list_faults(request: Request) -> Response:
        return _json({"faults": await desk.book.work(faults.listed)})

    async def order(request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await _body(request))
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return _json({"error": "the body is not JSON"}, 400)
        except ClientDisconnect:
            return Response(status_code=499)
        if problem := await desk.book.work(lambda change: faults.add(change, asked)):
            return _json({"error": problem}, 400)
        return await list_faults(request)

    async def clear(request: Request) -> Response:
        await desk.book.work(lambda change: change.run("clear_faults"))
        return _json({"faults": []})

    async def log(request: Request) -> Response:
        return _json({"notifications": await desk.book.work(lambda change: [_logged(row) for row in change.run("log", LOGGED).fetchall()])})

    async def certificate(request: Request) -> Response:
        _, pem = await desk.book.work(lambda change: sending.identity(change, desk.wall()))
        return Response(pem, media_type="application/x-pem-file")

    return [
        Route("/amazon/faults", guarded(list_faults), methods=["GET"]), Route("/amazon/faults", guarded(order), methods=["POST"]),
        Route("/amazon/faults", guarded(clear), methods=["DELETE"]), Route("/amazon/notifications", guarded(log), methods=["GET"]),
        Route(sending.PEM_PATH, certificate, methods=["GET"]),
    ]


def _logged(row: tuple[Any, ...]) -> dict[str, Any]:
    number, merchant_id, url, notification_id, message, created, due, attempts, state, said = row
    return {
        "number": number, "merchant_id": merchant_id, "url": url, "notification_id": notification_id, "message": msgspec.json.decode(message),
        "created": _written(created), "due": None if due is None else _written(due), "attempts": attempts, "state": state, "answered": said}


def _written(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            raise ValueError("too large")
    return body


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
