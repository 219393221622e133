"""The processes of a running service as the kernel shows them: who they are, how they are killed, and whether all are gone.

Knows processes, not payments.  A process is held by a descriptor, so that its number cannot come to mean another one.
"""
from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Processes(NamedTuple):
    """What ``ringfence up`` consists of."""

    supervisor: int
    workers: tuple[int, ...]
    postmaster: int
    backends: tuple[int, ...]       # PostgreSQL's own children

    @property
    def all(self) -> tuple[int, ...]:
        """Every one of them."""
        return (self.supervisor, *self.workers, self.postmaster, *self.backends)


def processes_of(supervisor: int) -> Processes:
    """The tree below a supervisor."""
    children = _children(supervisor)
    postmaster = next(pid for pid in children if _name(pid) == "postgres")
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
        for file in self._files:
            os.close(file)
        self._files = {}
        return list(left.values())


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


def proportional_bytes(pids: Iterable[int]) -> int:
    """PSS: what the processes take of the machine's memory, shared pages divided among those who share them."""
    return sum(
        int(line.split()[1]) * 1024
        for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")
    )


def _children(pid: int) -> list[int]:
    return [
        int(child) for thread in Path(f"/proc/{pid}/task").iterdir() for child in (thread / "children").read_text().split()
    ]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
