"""The background of one process: sweeps that run again and again, each in its own time.

A sweep that fails is logged and runs again; none holds up another.  Which process sweeps does not matter for what happens,
only for how often: every effect goes through the engine, which lets it happen once.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ringfence.engine.lane import CONNECTION_LOST

log = logging.getLogger(__name__)


class Sweep(NamedTuple):
    """One kind of work, and the pause between the end of one run and the start of the next, in seconds (wall time)."""

    name: str
    run: Callable[[], Awaitable[int]]
    pause: float


class Background:
    """Runs sweeps until it is stopped."""

    def __init__(self, sweeps: list[Sweep]) -> None:
        self._sweeps = sweeps
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Begin; call it on a running loop."""
        self._tasks = [asyncio.get_running_loop().create_task(self._again(sweep), name=sweep.name) for sweep in self._sweeps]

    async def stop(self) -> None:
        """Let running sweeps finish, and start none."""
        self._stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _again(self, sweep: Sweep) -> None:
        while not self._stopping.is_set():
            try:
                await sweep.run()
            except CONNECTION_LOST as lost:
                log.warning("%s waits for the database: %s", sweep.name, lost)
            except Exception:
                log.exception("%s failed", sweep.name)
            try:
                await asyncio.wait_for(self._stopping.wait(), sweep.pause)
            except TimeoutError:
                continue
