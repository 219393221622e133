"""An operator in front of some of the admin routes, without a service."""
from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.routing import BaseRoute

TOKEN = "the-admin-token-of-this-test"


class Operator:
    """Asks routes that are guarded by ``TOKEN``."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._app = Starlette(routes=list(routes))

    async def ask(self, path: str, body: object = None, *, token: str = TOKEN, method: str = "") -> tuple[int, Any]:
        """Status and decoded answer: POST where there is a body, else GET, unless the method is given."""
        sent: list[Any] = []
        asked = [{"type": "http.request", "body": b"" if body is None else json.dumps(body).encode(), "more_body": False}]
        path, _, query = path.partition("?")

        async def receive() -> dict[str, Any]:
            return asked.pop() if asked else await asyncio.Event().wait()           # this caller stays until it is answered

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app({
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method or ("GET" if body is None else "POST"), "path": path,
            "raw_path": quote(path).encode(), "query_string": query.encode(), "root_path": "", "scheme": "http", "server": None, "client": None,
            "headers": [(b"authorization", f"Bearer {token}".encode())],
        }, receive, send)
        return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent))
