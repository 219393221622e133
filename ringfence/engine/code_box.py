"""The code box: where a security code waits that must outlive its request.

A 3-D Secure challenge or a TOKENIZATION ends one request, and the payment comes with another, perhaps in another process.  The code in
between lies in one place, the supervising process's memory (see ``ringfence.code_keeper``), and is reached over a Unix socket in the data
folder.  Decides how a code travels there, and that a box that is away, full or slow is one that has nothing.  Refuses to know what a
code is for: whoever put it says under which attempt, and whoever takes it ends the attempt where it is gone.

A code is never written anywhere.  The bytes it travels in are zeroed; a ``SecurityCode`` itself is Python's and ends with its request.
"""
from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ringfence.core.card import SecurityCode

WAITS_SECONDS = 15 * 60.0
"""Wall time from ``put``; then the code is gone."""
ANSWER_SECONDS = 1.0
"""How long a box may take before it counts as away."""
CAPACITY = 16_384
"""Codes that wait at once.  At ten a second for fifteen minutes there are 9,000."""
PER_MERCHANT = CAPACITY // 4
"""... of one merchant: nobody fills the box for the others."""
ATTEMPT_BYTES = 200

SOCKET = "codes.socket"
PUT, TAKE = b"P", b"T"
HEAD = struct.Struct("!ciBB")
"""What is asked, the merchant, and how many bytes of attempt and of code follow.  The answer is one byte, how many bytes of code follow
it; to a ``PUT`` 1 for kept, 0 for not."""
FRAME_BYTES = HEAD.size + ATTEMPT_BYTES + 4
_PATH_BYTES = 100                       # a Unix socket's address holds 107


class CodeBox(Protocol):
    """Keeps security codes by merchant and attempt.  An attempt is any text of at most 200 bytes; begin it with what it is for."""

    async def put(self, merchant_id: int, attempt: str, code: SecurityCode) -> bool:
        """Keep the code for at most 15 minutes, instead of one that waits there already; whether it is kept.  Raises nothing."""

    async def take(self, merchant_id: int, attempt: str) -> SecurityCode | None:
        """The code, once: to nobody else and never again.  ``None`` where there is none (any more).  Raises nothing."""


class LocalCodeBox:
    """A box in this process's own memory, where there is only one."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._codes: dict[tuple[int, str], tuple[float, bytearray]] = {}        # in the order in which they go

    async def put(self, merchant_id: int, attempt: str, code: SecurityCode) -> bool:
        """See ``CodeBox``."""
        self._drop(merchant_id, attempt)
        while self._codes and next(iter(self._codes.values()))[0] <= self._now():
            self._drop(*next(iter(self._codes)))
        if len(self._codes) >= CAPACITY or len(attempt.encode()) > ATTEMPT_BYTES:
            return False
        self._codes[merchant_id, attempt] = self._now() + WAITS_SECONDS, bytearray(code.reveal().encode())
        return True

    async def take(self, merchant_id: int, attempt: str) -> SecurityCode | None:
        """See ``CodeBox``."""
        until, digits = self._codes.get((merchant_id, attempt), (0.0, bytearray()))
        code = SecurityCode(digits.decode()) if digits and until > self._now() else None
        self._drop(merchant_id, attempt)
        return code

    def _drop(self, merchant_id: int, attempt: str) -> None:
        _, digits = self._codes.pop((merchant_id, attempt), (0.0, bytearray()))
        digits[:] = bytes(len(digits))

    def __repr__(self) -> str:
        return f"LocalCodeBox({len(self._codes)} codes)"


class SocketCodeBox:
    """The box of the service on a data folder.  Where no supervisor runs there, it never has anything."""

    def __init__(self, folder: Path, *, seconds: float = ANSWER_SECONDS) -> None:
        self._path, self._seconds = folder / SOCKET, seconds

    async def put(self, merchant_id: int, attempt: str, code: SecurityCode) -> bool:
        """See ``CodeBox``."""
        digits = bytearray(code.reveal(), "ascii")
        answer = await self._asked(PUT, merchant_id, attempt, digits)
        digits[:] = bytes(len(digits))
        return answer[:1] == b"\1"

    async def take(self, merchant_id: int, attempt: str) -> SecurityCode | None:
        """See ``CodeBox``."""
        answer = await self._asked(TAKE, merchant_id, attempt, bytearray())
        try:
            return SecurityCode(answer[1:].decode("ascii")) if answer and answer[0] == len(answer) - 1 > 0 else None
        except ValueError:
            return None
        finally:
            answer[:] = bytes(len(answer))

    async def _asked(self, what: bytes, merchant_id: int, attempt: str, digits: bytearray) -> bytearray:
        """The answer, whole; empty where there is none in time.  What was sent is zeroed."""
        name = attempt.encode()
        if len(name) > ATTEMPT_BYTES:
            return bytearray()
        frame = bytearray(HEAD.pack(what, merchant_id, len(name), len(digits))) + name + digits
        try:
            async with asyncio.timeout(self._seconds):
                return await self._exchange(frame)
        except OSError:                 # refused, away, or too slow
            return bytearray()
        finally:
            frame[:] = bytes(len(frame))

    async def _exchange(self, frame: bytearray) -> bytearray:
        loop, heard, got = asyncio.get_running_loop(), bytearray(8), 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line, reachable(self._path) as address:
            line.setblocking(False)
            await loop.sock_connect(line, address)
            await loop.sock_sendall(line, frame)
            while got < len(heard) and (more := await loop.sock_recv_into(line, memoryview(heard)[got:])):
                got += more
        answer = heard[:got]
        heard[:] = bytes(len(heard))
        return answer

    def __repr__(self) -> str:
        return f"SocketCodeBox({str(self._path)!r})"


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """An address of a Unix socket's path that is short enough: by way of its opened folder where the path itself is too long."""
    if len(os.fsencode(path)) <= _PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
