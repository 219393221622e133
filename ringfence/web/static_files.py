"""Static files: style and script of the pages, under names that change with their content.

Whoever has one may keep it for ever.  Decides only names and headers.
"""
from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATH = "/static/"
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
HEADERS = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff",
           "cross-origin-resource-policy": "same-origin"}


class File(NamedTuple):
    """One file as it is served."""

    content: bytes
    media_type: str


def _read() -> tuple[dict[str, str], dict[str, File]]:
    """Where each file is reached, and what is there."""
    addresses, files = {}, {}
    for entry in sorted(resources.files("ringfence.web").joinpath("static").iterdir(), key=lambda one: one.name):
        stem, _, kind = entry.name.rpartition(".")
        if kind not in TYPES:
            continue
        content = entry.read_bytes()
        name = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{kind}"
        addresses[entry.name], files[name] = PATH + name, File(content, TYPES[kind])
    return addresses, files


ADDRESSES, FILES = _read()


def address(name: str) -> str:
    """Where ``static/NAME`` is reached.  ``KeyError`` for a file that is not there."""
    return ADDRESSES[name]


def routes() -> list[Route]:
    """``/static/…``."""
    async def served(request: Request) -> Response:
        file = FILES.get(request.path_params["name"])
        return Response(status_code=404) if file is None else Response(file.content, headers=HEADERS, media_type=file.media_type)

    return [Route(PATH + "{name}", served)]
