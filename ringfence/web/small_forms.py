"""Small forms: the few fields that a page of ours, or a bank's, posts back.

Decides how much is read; how it is read, ``engine/forms`` decides.
"""
from __future__ import annotations

from starlette.requests import Request

from ringfence.engine import forms


async def read(request: Request, longest: int) -> dict[str, str] | None:
    """The fields of a form of at most ``longest`` bytes, each once; ``None`` for what is none, or longer."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > longest:
            return None
    return forms.decode(body, request.headers.get("content-type", ""))
