"""A keeper of security codes with its loop in a thread, as the supervisor has it in its own, and a clock that a test moves."""
from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ringfence.code_keeper import CodeKeeper


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


class Loop:
    """What the supervisor does with its keeper: wait for its lines, serve; ``halted`` while it does something else."""

    def __init__(self, keeper: CodeKeeper) -> None:
        self.keeper, self.halted = keeper, threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._ends = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends:
            lines = [] if self.halted.is_set() else self.keeper.lines
            select.select([self._woken, *lines], [], [], self.keeper.due_seconds())
            if not self.halted.is_set():
                self.keeper.serve()

    def end(self) -> None:
        """Stop, and give the keeper's memory back."""
        self._ends = True
        self._wake.send(b"!")
        self._thread.join()
        self._wake.close()
        self._woken.close()
        self.keeper.close()


@contextmanager
def kept(folder: Path, **options: Any) -> Iterator[Loop]:
    """A keeper that answers in ``folder``."""
    loop = Loop(CodeKeeper(folder, **options))
    try:
        yield loop
    finally:
        loop.end()
