"""What every operation of the Just Walk Out door has at hand: who calls, what is asked, and the service behind the door."""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from ringfence.engine.directory import Credential, Merchant

DOOR = "jwo"


class Caller(NamedTuple):
    """A merchant whose access key signed the request.  What the key may do was asked before; ``stores``: where, empty for everywhere."""

    merchant: Merchant
    credential: Credential
    stores: frozenset[str] = frozenset()

    @property
    def actor(self) -> str:
        """Who its operations are noted for: never a secret."""
        return f"{DOOR}:{self.credential.public_name}"


class Answer(NamedTuple):
    """A status, the body's bytes (empty for none) and more headers."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Request(NamedTuple):
    """One signed request."""

    path: str
    body: bytes
    caller: Caller
    request_id: str


class Endpoint(NamedTuple):
    """A path that takes POST; ``operation`` is its name in permissions (``adjust``, ``capture``, …)."""

    path: str
    operation: str
    handle: Callable[[Any, Request], Awaitable[Answer]]


Handlers = Mapping[str, Endpoint]
