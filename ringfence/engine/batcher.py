"""Many callers, one transaction: whoever arrives while a batch is being committed joins the next one.

There is no timer and nothing to tune.  A lone caller is served at once, a crowd is served together: before a commit begins,
those who are at the door already (requests in socket buffers, tasks about to run) are let in, because a commit costs nearly
as much for one as for a hundred.  A batch that raises is halved and tried again, so that a poisoned message fails alone; the
batcher itself never dies.
"""
from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

BATCH_LIMIT = 256

log = logging.getLogger(__name__)

Message = TypeVar("Message")
Reply = TypeVar("Reply")


class CommitFailed(Exception):
    """The whole batch has one fate, and halving it would not help: the database is away, or the end of the commit is
    not known.  Subclasses say which."""


class Waiter(Protocol):
    """Who is told a reply, or why there is none: a future, or somebody who does at once what he would have been woken for.

    Then what he does is short, awaits nothing and never raises; others are told after him.
    """

    def done(self) -> bool:
        """Whether he does not wait any more."""

    def set_result(self, reply: Any, /) -> None:
        """Tell him."""

    def set_exception(self, error: Any, /) -> None:
        """Tell him why he hears nothing."""


Waiting = Sequence[tuple[Message, Waiter]]


def tell(batch: Waiting[Message], replies: Sequence[Reply]) -> None:
    """Give everybody who still waits his reply."""
    for (_, reply), value in zip(batch, replies, strict=True):
        if not reply.done():        # its caller may have gone
            reply.set_result(value)


class Batcher(Generic[Message, Reply]):
    """Collects messages for ``commit``, which takes many and returns a reply for each, in order."""

    def __init__(
        self, commit: Callable[[Sequence[Message]], Awaitable[Sequence[Reply]]], *, limit: int = BATCH_LIMIT,
        turn: asyncio.Lock | None = None, tell: Callable[[Waiting[Message], Sequence[Reply]], None] = tell,
        failed: Callable[[Message], Reply | None] = lambda message: None,
    ) -> None:
        """``turn`` is shared by batchers of which only one shall commit at a time.  ``tell`` hands out the replies of a batch, and never
        raises.  ``failed`` is the reply to a message where the commit failed; without one the failure is raised."""
        self._commit, self._limit, self._turn = commit, limit, turn or asyncio.Lock()
        self._tell, self._failed = tell, failed
        self._waiting: deque[tuple[Message, Waiter]] = deque()
        self._draining: asyncio.Task[None] | None = None

    def submit(self, message: Message) -> asyncio.Future[Reply]:
        """The future reply.  It raises what ``commit`` raised for this message."""
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.join(message, reply)
        return reply

    def join(self, message: Message, reply: Waiter) -> None:
        """The same for somebody who waits already, or in his own way."""
        self._waiting.append((message, reply))
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    @property
    def waiting(self) -> int:
        """Messages that have not joined a batch yet."""
        return len(self._waiting)

    async def idle(self) -> None:
        """Returns once everything submitted so far is answered."""
        while self._draining is not None:
            await asyncio.wait([self._draining])

    async def _drain(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                async with self._turn:
                    await self._let_in()
                    await self._commit_or_halve([waiting.popleft() for _ in range(min(self._limit, len(waiting)))])
        finally:
            self._draining = None
            if waiting:     # only if the drain itself was cancelled: the next caller must find a working batcher
                self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _let_in(self) -> None:
        """Turn the event loop until nobody new came, not even once the processor was left to whoever waits for it."""
        waiting, before = self._waiting, 0
        while before < len(waiting) < self._limit:
            before = len(waiting)
            await asyncio.sleep(0)
            if len(waiting) == before:
                os.sched_yield()
                await asyncio.sleep(0)

    async def _commit_or_halve(self, batch: list[tuple[Message, Waiter]]) -> None:
        try:
            replies = await self._commit([message for message, _ in batch])
        except CommitFailed as failure:
            for message, reply in batch:
                if reply.done():
                    continue
                if (value := self._failed(message)) is None:
                    reply.set_exception(failure)
                else:
                    reply.set_result(value)
        except Exception as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._commit_or_halve(batch[:middle])
                await self._commit_or_halve(batch[middle:])
                return
            log.exception("a message failed alone")
            if not batch[0][1].done():
                batch[0][1].set_exception(error)
        else:
            self._tell(batch, replies)
