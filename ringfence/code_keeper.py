"""The keeper of security codes: the supervisor's side of the code box.

Serves a Unix socket inside the supervisor's own loop, without a thread and without ever waiting: one short frame in, one short answer
out, and the line is closed (``engine.code_box`` has the frame).  The codes lie in memory that is locked where the limit allows, that no
core dump holds and no forked process gets.  Decides who may ask (the user that the service runs as), how much one may ask, and when a
code is gone: at its first taking, after 15 minutes, with the supervisor.  Refuses to know payments.
"""
from __future__ import annotations

import contextlib
import ctypes
import logging
import mmap
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ringfence.engine.code_box import (
    ATTEMPT_BYTES,
    CAPACITY,
    FRAME_BYTES,
    HEAD,
    PER_MERCHANT,
    PUT,
    SOCKET,
    TAKE,
    WAITS_SECONDS,
    reachable,
)

CALLERS = 64
"""Lines open at once; who comes then waits in the kernel's queue."""
CALLER_SECONDS = 1.0
"""How long one may take to say what it wants."""
SLOT_BYTES = 8
"""One byte of length, up to four digits."""
_BUFFER_BYTES = 256
_PEER = struct.Struct("3i")             # struct ucred: process, user, group (unix(7))
assert FRAME_BYTES <= _BUFFER_BYTES

Key = tuple[int, bytes]

log = logging.getLogger(__name__)


@dataclass
class Caller:
    """One line, and where in the memory its frame is being read to."""

    line: socket.socket
    at: int
    until: float
    got: int = 0


class CodeKeeper:
    """Keeps the codes, and answers whoever has a ready line when ``serve`` is called."""

    def __init__(
        self, folder: Path, *, now: Callable[[], float] = time.monotonic, user: int | None = None, capacity: int = CAPACITY,
        per_merchant: int = PER_MERCHANT,
    ) -> None:
        """Listens in ``folder``, mode 0600; raises ``OSError`` where it cannot.  ``user``: who may ask, by default our own."""
        self._now, self._user = now, os.geteuid() if user is None else user
        self._per_merchant = per_merchant
        buffers = capacity * SLOT_BYTES
        self._memory = _private_memory(buffers + CALLERS * _BUFFER_BYTES)
        self._slots = list(range(0, buffers, SLOT_BYTES))                           # those that are free
        self._buffers = [buffers + number * _BUFFER_BYTES for number in range(CALLERS)]
        self._codes: dict[Key, tuple[float, int]] = {}                              # until when, and where; in the order in which they go
        self._held: Counter[int] = Counter()                                        # codes by merchant
        self._callers: list[Caller] = []
        self._path = folder / SOCKET
        self._listener = _listening(self._path)

    # -- in the supervisor's loop

    @property
    def lines(self) -> list[socket.socket]:
        """What to wait for until it can be read."""
        return [*((self._listener,) if self._buffers else ()), *(caller.line for caller in self._callers)]

    def due_seconds(self) -> float | None:
        """Seconds until something ends although nobody asks, ``None`` for never."""
        ends = [caller.until for caller in self._callers] + [until for until, _ in list(self._codes.values())[:1]]
        return max(0.0, min(ends) - self._now()) if ends else None

    def serve(self) -> None:
        """Answer whom there is something to answer, let go what has ended; never waits."""
        while self._codes:
            key, (until, _) = next(iter(self._codes.items()))
            if until > self._now():
                break
            self._drop(key)
        while self._buffers and self._accept():
            pass
        for caller in list(self._callers):
            if self._heard(caller) or caller.until <= self._now():
                self._hang_up(caller)

    def close(self) -> None:
        """The end: every code is gone."""
        for caller in list(self._callers):
            self._hang_up(caller)
        for key in list(self._codes):
            self._drop(key)
        self._listener.close()
        self._path.unlink(missing_ok=True)
        self._memory.close()

    def leave(self) -> None:
        """In a process that was forked: let go of the lines.  The memory did not come along."""
        self._listener.close()
        for caller in self._callers:
            caller.line.close()
        self._callers.clear()
        self._codes.clear()

    # -- lines

    def _accept(self) -> bool:
        try:
            line, _ = self._listener.accept()
        except OSError:                         # nobody is there, or no longer
            return False
        line.setblocking(False)
        if _user_of(line) != self._user:
            log.warning("user %d asked for security codes and was sent away", _user_of(line))
            line.close()
        else:
            self._callers.append(Caller(line, self._buffers.pop(), self._now() + CALLER_SECONDS))
        return True

    def _heard(self, caller: Caller) -> bool:
        """Read what there is; whether the line can be closed."""
        start, end = caller.at, caller.at + _BUFFER_BYTES
        try:
            got = caller.line.recv_into(memoryview(self._memory)[start + caller.got:end])
        except BlockingIOError:
            return False
        except OSError:
            return True
        caller.got += got
        if not got or caller.got < HEAD.size:
            return not got
        what, merchant_id, name_bytes, code_bytes = HEAD.unpack_from(self._memory, start)
        whole = HEAD.size + name_bytes + code_bytes
        if what not in (PUT, TAKE) or name_bytes > ATTEMPT_BYTES or whole > FRAME_BYTES or caller.got > whole:
            return True
        if caller.got < whole:
            return False
        code_at = start + whole - code_bytes
        key = merchant_id, self._memory[start + HEAD.size:code_at]
        with contextlib.suppress(OSError):      # a line that has just been opened has room for five bytes
            if what == PUT:
                caller.line.send(b"\1" if self._put(key, code_at, code_bytes) else b"\0")
            else:
                self._take(key, caller.line)
        return True

    def _hang_up(self, caller: Caller) -> None:
        caller.line.close()
        self._memory[caller.at:caller.at + _BUFFER_BYTES] = bytes(_BUFFER_BYTES)
        self._buffers.append(caller.at)
        self._callers.remove(caller)

    # -- codes; they move within the memory, and never become an object of Python's

    def _put(self, key: Key, code_at: int, code_bytes: int) -> bool:
        self._drop(key)
        if code_bytes not in (3, 4) or not self._slots or self._held[key[0]] >= self._per_merchant:
            return False
        slot = self._slots.pop()
        self._memory[slot] = code_bytes
        self._memory.move(slot + 1, code_at, code_bytes)
        self._codes[key] = self._now() + WAITS_SECONDS, slot
        self._held[key[0]] += 1
        return True

    def _take(self, key: Key, line: socket.socket) -> None:
        if key not in self._codes:
            line.send(b"\0")
            return
        try:
            slot = self._codes[key][1]
            line.send(memoryview(self._memory)[slot:slot + 1 + self._memory[slot]])
        finally:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        _, slot = self._codes.pop(key, (0.0, None))
        if slot is None:
            return
        self._memory[slot:slot + SLOT_BYTES] = bytes(SLOT_BYTES)
        self._slots.append(slot)
        self._held[key[0]] -= 1
        if not self._held[key[0]]:
            del self._held[key[0]]

    def __repr__(self) -> str:
        return f"CodeKeeper({len(self._codes)} codes)"


def _private_memory(length: int) -> mmap.mmap:
    """Memory of this process alone: never swapped where the limit allows, in no core dump, in no forked process."""
    memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for advice in ("MADV_DONTDUMP", "MADV_DONTFORK"):
        if hasattr(mmap, advice):
            memory.madvise(getattr(mmap, advice))
    start = ctypes.c_char.from_buffer(memory)
    if ctypes.CDLL(None, use_errno=True).mlock(ctypes.byref(start), ctypes.c_size_t(length)):
        log.warning("the memory for security codes could not be locked (%s); give the service %d bytes with ulimit -l, or switch swap off",
                    os.strerror(ctypes.get_errno()), length)
    del start
    return memory


def _listening(path: Path) -> socket.socket:
    """A new socket at a path, for its owner alone.  Whoever holds the data folder's lock may take an old one away."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with reachable(path) as address:
            listener.bind(address)
    finally:
        os.umask(before)
    listener.setblocking(False)
    listener.listen(256)
    return listener


def _user_of(line: socket.socket) -> int:
    """Who is at the other end: what the kernel says, not what it says itself (unix(7), SO_PEERCRED)."""
    return int(_PEER.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1])
