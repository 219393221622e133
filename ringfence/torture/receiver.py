"""Where merchants are told: one receiver that takes everything, and one that takes the call and never answers.

Remembers of each delivery what it was and a digest of its bytes, so that the judge can ask whether every attempt said the same.
"""
from __future__ import annotations

import asyncio
from collections import Counter
from hashlib import blake2s

HEAD_LIMIT = 65_536


class Receiver:
    """Two listeners on free ports, while ``async with`` lasts.

    ``times`` counts how often each event came; ``digests`` holds what it said, by its name (payment and sequence).
    """

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.digests: dict[str, set[str]] = {}
        self.unnamed = 0                # deliveries without an event's name
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Receiver:
        self._servers = [await asyncio.start_server(serve, "127.0.0.1", 0, limit=HEAD_LIMIT) for serve in (self._answer, self._ignore)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for writer in list(self._open):
            writer.close()

    @property
    def living(self) -> str:
        """The address that answers."""
        return self._address(0)

    @property
    def dead(self) -> str:
        """The address that never does."""
        return self._address(1)

    def _address(self, place: int) -> str:
        return f"http://127.0.0.1:{self._servers[place].sockets[0].getsockname()[1]}/feedback"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
                body = await reader.readexactly(int(fields.get("content-length", "0")))
                self._note(fields.get("ringfence-event", ""), body)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            return
        finally:
            self._open.discard(writer)
            writer.close()

    def _note(self, event: str, body: bytes) -> None:
        if not event:
            self.unnamed += 1
            return
        self.times[event] += 1
        self.digests.setdefault(event, set()).add(blake2s(body, digest_size=16).hexdigest())

    async def _ignore(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while await reader.read(HEAD_LIMIT):
                continue
        except ConnectionError:
            return
        finally:
            self._open.discard(writer)
            writer.close()
