"""An event loop whose time jumps, and whose chance is a seed: the same seed runs the same history, to the byte.

It has no selector: where nothing is ready, time goes on to the next timer at once.  What is ready together runs in an order that
is drawn from the seed.  Tasks belong to simulated processes (``PROCESS``): a process that dies runs not one line more, not even
its ``finally``; one that stalls runs nothing until it wakes up, while the time goes on for everybody else.
"""
from __future__ import annotations

import asyncio
import random
import sys
from collections import deque
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from typing import Any

PROCESS: ContextVar[Machine | None] = ContextVar("PROCESS", default=None)


class Machine:
    """One simulated process, as the loop sees it: whether it lives, and until when it stands still (loop time)."""

    def __init__(self) -> None:
        self.is_dead, self.stalls_until = False, 0.0


class NothingLeft(Exception):
    """Everybody waits and nothing is due: the simulation is at its end without having ended."""


class SimLoop(asyncio.BaseEventLoop):
    """See the module."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance, self._now = chance, 0.0
        self._selector = self                               # what the base class asks to wait
        self._tasks: list[asyncio.Task[Any]] = []
        self.mistakes: list[BaseException | None] = []
        self.set_exception_handler(self._noticed)
        self.set_task_factory(self._task)

    def time(self) -> float:
        """Seconds since the beginning of the history."""
        return self._now

    def spawn(self, machine: Machine | None, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in a process, or outside of all."""
        context = copy_context()
        context.run(PROCESS.set, machine)
        return context.run(self.create_task, work)

    def history(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run ``work`` to its end; then nothing of the history is left behind."""
        try:
            told = self.run_until_complete(work)
        finally:
            self._bury()
            self.close()
        if self.mistakes:
            raise RuntimeError("a callback raised") from self.mistakes[0]
        return told

    def _noticed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback that raises is a mistake of the simulation; a task whose process died may leave what it likes."""
        if "handle" in context:
            self.mistakes.append(context.get("exception"))

    def _task(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=loop, **options)
        self._tasks.append(task)
        return task

    def _bury(self) -> None:
        """Close what never ended, in order: left to the collector, its ``finally`` would run in another history."""
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            for task in self._tasks:
                if not task.done():
                    task._log_destroy_pending = False       # type: ignore[attr-defined]
                    try:
                        task.get_coro().close()             # type: ignore[union-attr]
                    except (RuntimeError, Exception):       # it went on after its end, without a loop to go on in
                        continue
        finally:
            sys.unraisablehook = hook

    # -- what the base class needs

    def _run_once(self) -> None:
        ready: deque[asyncio.Handle] = self._ready              # type: ignore[attr-defined]
        if len(ready) > 1:
            mixed = list(ready)
            self._chance.shuffle(mixed)
            ready.clear()
            ready.extend(mixed)
        for _ in range(len(ready)):
            handle = ready.popleft()
            machine = handle._context.get(PROCESS)              # type: ignore[attr-defined]
            if machine is None or (not machine.is_dead and machine.stalls_until <= self._now):
                ready.append(handle)
            elif not machine.is_dead and not handle._cancelled:     # type: ignore[attr-defined]
                self.call_at(machine.stalls_until, _later, handle, context=handle._context)     # type: ignore[attr-defined]
        super()._run_once()                                     # type: ignore[misc]

    def select(self, timeout: float | None) -> list[Any]:
        """Wait: let the time go on."""
        if timeout is None:
            raise NothingLeft
        self._now += max(0.0, timeout)
        return []

    def _process_events(self, events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""


def _later(handle: asyncio.Handle) -> None:
    """What a process that stood still does when it wakes up, unless it changed its mind first."""
    if not handle._cancelled:                                   # type: ignore[attr-defined]
        handle._callback(*handle._args)                         # type: ignore[attr-defined]
