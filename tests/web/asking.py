"""One request to an ASGI application, without a network."""
from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlencode


class Answer(NamedTuple):
    """Status, headers by small names, and the body as text."""

    status: int
    headers: dict[str, str]
    text: str


async def get(app, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    """GET."""
    return await _ask(app, "GET", path, b"", headers or {})


async def post(app, path: str, fields: Mapping[str, str] | bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """POST of a form: of ``fields``, or of a body as it stands."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    return await _ask(app, "POST", path, body, {"content-type": "application/x-www-form-urlencoded", **(headers or {})})


async def _ask(app, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    told: list[dict] = []
    sent = [{"type": "http.request", "body": body, "more_body": False}]
    where, _, query = path.partition("?")

    async def receive():
        return sent.pop(0) if sent else {"type": "http.disconnect"}

    async def send(message):
        told.append(message)

    await app({
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": unquote(where),
        "raw_path": where.encode(), "query_string": query.encode(), "root_path": "", "server": ("127.0.0.1", 80), "client": ("192.0.2.7", 1),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in {"host": "ringfence", **headers}.items()],
    }, receive, send)
    start = told[0]
    return Answer(
        start["status"], {name.decode(): value.decode("latin-1") for name, value in start["headers"]},
        b"".join(part.get("body", b"") for part in told[1:]).decode())
