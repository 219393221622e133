"""How long tasks wait for a processor: those that it keeps beyond their time are cancelled, and can tell that from another's cancelling.

One timer looks at all of them, for every payment waits: ``asyncio.timeout`` or a timer for each would cost the payment path several
microseconds.  Knows nothing of processors.
"""
from __future__ import annotations

import asyncio

OVERTIME_SECONDS = 0.5
"""How long after its deadline a processor is waited for that should have answered by then."""


class Patience:
    """The tasks of one event loop that wait now."""

    def __init__(self) -> None:
        self._until: dict[asyncio.Task[object], float] = {}         # loop time
        self._ended: set[asyncio.Task[object]] = set()
        self._timer: asyncio.Handle | None = None
        self._looks = 0.0               # when it does, where there is a timer

    def begin(self, seconds: float) -> asyncio.Task[object]:
        """The present task waits for so long at most; it says ``end`` when it waits no longer."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None, "an engine runs in tasks"
        self._until[task] = until = loop.time() + seconds
        if self._timer is None or until < self._looks:
            self._look_at(until)
        return task

    def end(self, task: asyncio.Task[object]) -> None:
        """The task waits no longer."""
        del self._until[task]
        self._ended.discard(task)

    def ended_alone(self, task: asyncio.Task[object]) -> bool:
        """Whether it was this that cancelled the task, and nobody else did; the task goes on then."""
        return task in self._ended and task.uncancel() == 0

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._looks = asyncio.get_running_loop().call_at(when, self._look), when

    def _look(self) -> None:
        self._timer, now = None, asyncio.get_running_loop().time()
        for task, until in self._until.items():
            if until <= now and task not in self._ended:
                self._ended.add(task)
                task.cancel()
        if waiting := self._until.keys() - self._ended:
            self._look_at(min(self._until[task] for task in waiting))
