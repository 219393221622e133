"""The killer: the processes of a running service as the kernel shows them, and how they are killed, at any instant or at a named point.

Knows processes, not payments.  A process is held by a descriptor, so that its number cannot come to mean another one.
"""
from __future__ import annotations

import asyncio
import mmap
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ringfence.engine import points


class Processes(NamedTuple):
    """What ``ringfence up`` consists of."""

    supervisor: int
    workers: tuple[int, ...]
    postmaster: int                 # 0 where none runs
    backends: tuple[int, ...]       # PostgreSQL's own children

    @property
    def all(self) -> tuple[int, ...]:
        """Every one of them."""
        return (self.supervisor, *self.workers, *((self.postmaster,) if self.postmaster else ()), *self.backends)


def processes_of(supervisor: int) -> Processes:
    """The tree below a supervisor."""
    children = _children(supervisor)
    postmaster = next((pid for pid in children if _name(pid) == "postgres"), 0)
    return Processes(supervisor, tuple(pid for pid in children if pid != postmaster), postmaster, tuple(_children(postmaster)))


class Watch:
    """Processes that are about to die."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._files: dict[int, int] = {}
        for pid in pids:
            try:
                self._files[os.pidfd_open(pid)] = pid
            except ProcessLookupError:
                continue

    def kill(self) -> None:
        """SIGKILL for all of them, as near to at once as it gets."""
        for file in self._files:
            try:
                signal.pidfd_send_signal(file, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def alive_after(self, seconds: float) -> list[int]:
        """Wait until all are gone, and say who is not."""
        left, until = dict(self._files), time.monotonic() + seconds
        poll = select.poll()
        for file in left:
            poll.register(file, select.POLLIN)
        while left and (ended := poll.poll(max(0.0, until - time.monotonic()) * 1000)):
            for file, _ in ended:
                poll.unregister(file)
                del left[file]
        self.close()
        return list(left.values())

    async def first(self, seconds: float) -> bool:
        """Returns once one of them is gone: ``True``, or ``False`` where all live on after *seconds*."""
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        for file in self._files:
            loop.add_reader(file, gone.set)
        try:
            await asyncio.wait_for(gone.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            for file in self._files:
                loop.remove_reader(file)
        return True

    def close(self) -> None:
        """Let go of the descriptors."""
        for file in self._files:
            os.close(file)
        self._files = {}


class Page:
    """The page of count-downs that the tortured processes share (``engine.points``).  Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Makes the page, with all points asleep."""
        self.path = path
        path.write_bytes(bytes(points.PAGE_BYTES))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), points.PAGE_BYTES)
        self._counts = memoryview(self._map).cast("q")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self._counts.release()
        self._map.close()

    def arm(self, point: int, count: int) -> None:
        """Whoever passes the point as the *count*-th from now on dies there."""
        self._counts[point] = count

    def disarm(self, point: int) -> bool:
        """Put the point to sleep; whether somebody had died there."""
        died = self._counts[point] == 0
        self._counts[point] = 0
        return died


def left_running(data: Path) -> list[str]:
    """Whatever still runs for a data folder: services by their command line, PostgreSQL by where it works."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if str(data).encode() in words or os.readlink(folder / "cwd") == str(data / "postgres"):
                found.append(f"{folder.name} {b' '.join(words).decode()}")
        except OSError:                 # ended meanwhile
            continue
    return found


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child) for thread in Path(f"/proc/{pid}/task").iterdir() for child in (thread / "children").read_text().split()
        ] if pid else []
    except OSError:                     # ended meanwhile
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
