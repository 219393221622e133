"""The background of one process: chores that run again and again, and queues of jobs that are due.

Decides who does what, and when: one process at a time has a job or a chore in hand, under a lease that is renewed while it works.
What breaks is logged and comes again; nothing holds up another.  Refuses to know what the work is: every effect lets itself happen
only once, whoever tries it.
"""
from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

from ringfence.engine.lane import CONNECTION_LOST
from ringfence.storage import jobs as rows
from ringfence.storage.jobs import Job

log = logging.getLogger(__name__)

TURN_SECONDS = 5.0
"""The lease of a chore: how long nobody does it after its process died."""
RENEWALS = 3
"""A lease is renewed so often in its time."""
FAILED_SECONDS, FAILED_AT_MOST = 5.0, 300.0
"""A job that raised, or whose statement took too long, comes again after so long, twice as long each time (business time)."""
MOST_FAILURES = 12
"""... and is set aside after so many failures in a row."""
LOST_SECONDS = 1.0
"""... and one that lost the database (business time)."""


class Chore(NamedTuple):
    """Work that has no row for each item; returns how much there was.  ``pause`` is from one run to the next, in seconds (wall time)."""

    name: str
    run: Callable[[], Awaitable[int]]
    pause: float
    alone: bool = True                  # one process at a time, by a lease
    is_cut: bool = False                # a stop does not wait for it: it may be long, and every commit of it stands for itself


class Queue(NamedTuple):
    """Jobs of one kind.  ``run`` gives its job back itself (``later``, ``done``, or in a commit that ends it).

    ``at_once``: jobs in hand together in this process, ``per_merchant`` of them of one merchant; ``lease`` in seconds (wall time).
    ``together``: ``run`` is given a list, all that was claimed at once; the next handful is claimed when it is done.
    """

    name: str
    run: Callable[[Any], Awaitable[object]]
    at_once: int = 16
    per_merchant: int = 4
    lease: float = 10.0
    together: bool = False


class _Held:
    """Something in hand: its task, and until when it is certainly ours (monotonic)."""

    __slots__ = ("lease", "task", "until")

    def __init__(self, task: asyncio.Task[Any], lease: float, since: float) -> None:
        self.task, self.lease, self.until = task, lease, since + lease


class Background:
    """Runs chores and queues until it is stopped."""

    def __init__(
        self, chores: Sequence[Chore], queues: Sequence[Queue], *, pool: asyncpg.Pool, now: Callable[[], datetime], holder: str,
        pause: float, sequential: bool = False, count: Callable[[str, bool], None] = lambda queue, done: None,
        note_set_aside: Callable[[], None] = lambda: None,
    ) -> None:
        """``now`` is business time; ``holder`` names this process among all; ``pause``: between two looks at a queue (wall seconds).

        ``sequential``: one thing at a time, in the given order, so that a run can be repeated.  ``count`` is told of every job that
        ended well or raised, ``note_set_aside`` when one failed too often.
        """
        self._chores, self._queues, self._pool, self._now, self._holder = chores, queues, pool, now, holder
        self._pause, self._sequential, self._count, self._note_set_aside = pause, sequential, count, note_set_aside
        self._jobs: dict[Job, _Held] = {}
        self._turns: dict[Chore, _Held] = {}
        self._ours: dict[str, float] = {}       # chore -> until when it is certainly ours (monotonic)
        self._others: set[str] = set()          # chores that were another's when we looked last
        self._looks = {one.name: asyncio.Event() for one in (*chores, *queues)}
        self._stopping = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._renewing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; call it on a running loop."""
        if self._sequential:
            self._loops = [_task(self._in_order(), "background")]
        else:
            self._loops = [_task(self._again(chore), chore.name) for chore in self._chores]
            self._loops += [_task(self._work(queue), queue.name) for queue in self._queues]
            self._loops.append(_task(self._scout(), "what is due"))
        self._renewing = _task(self._renew_always(), "leases")

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop; what goes on for long looks now and then."""
        return self._stopping.is_set()

    async def stop(self) -> None:
        """Let what is in hand finish, and take nothing new."""
        self._stopping.set()
        for chore, held in self._turns.items():
            if chore.is_cut:
                held.task.cancel()
        for look in self._looks.values():
            look.set()
        if self._loops:
            await asyncio.wait(self._loops)
        while self._jobs:
            await asyncio.wait([held.task for held in self._jobs.values()])
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])

    def nudge(self, name: str) -> None:
        """Look at this queue, or do this chore, now instead of after its pause; nothing happens where it is not done here."""
        if look := self._looks.get(name):
            look.set()

    # -- chores

    async def _again(self, chore: Chore) -> None:
        while not self._stopping.is_set():
            self._looks[chore.name].clear()
            await self._do(chore)
            await self._looked(self._looks[chore.name], chore.pause)
        if chore.alone:
            await self._guarded(chore.name, rows.rest(self._pool, chore.name, self._holder))

    async def _do(self, chore: Chore) -> int:
        """One run of a chore, if it is this process's turn; how much there was."""
        began = time.monotonic()
        if not chore.alone:
            return await self._guarded(chore.name, chore.run()) or 0
        if chore.name in self._others or not await self._has_turn(chore.name, began):
            return 0
        task = _task(self._guarded(chore.name, chore.run()), chore.name)
        self._turns[chore] = _Held(task, TURN_SECONDS, self._ours[chore.name] - TURN_SECONDS)
        try:
            await asyncio.wait([task])
            return 0 if task.cancelled() else task.result() or 0
        finally:
            del self._turns[chore]

    async def _has_turn(self, name: str, began: float) -> bool:
        """Whether a chore is this process's now.  The database is asked when half of our lease is over, and where nobody had one."""
        if self._ours.get(name, 0.0) - began > TURN_SECONDS / 2:
            return True
        self._ours.pop(name, None)
        taken = await self._guarded(name, rows.turn(self._pool, name, self._holder, TURN_SECONDS))
        if taken:
            self._ours[name] = began + TURN_SECONDS
        return bool(taken)

    async def _guarded(self, name: str, work: Awaitable[Any]) -> Any:
        """The result of the work; ``None`` where it broke, which is logged."""
        try:
            return await work
        except asyncpg.QueryCanceledError:
            log.exception("%s failed: its statement takes too long", name)
        except CONNECTION_LOST as lost:
            log.warning("%s waits for the database: %s", name, lost)
        except Exception:
            log.exception("%s failed", name)
        return None

    # -- queues

    async def _work(self, queue: Queue) -> None:
        look, after = self._looks[queue.name], -1
        while not self._stopping.is_set():
            look.clear()
            after = await self._take(queue, after)
            await look.wait()

    async def _scout(self) -> None:
        """Look whether anything is due, for all queues at once, and which chores are done elsewhere."""
        names, alone = [queue.name for queue in self._queues], any(chore.alone for chore in self._chores)
        while not self._stopping.is_set():
            if names:
                for name in await self._guarded("what is due", rows.due(self._pool, names, self._now())) or ():
                    self._looks[name].set()
            if alone:
                self._others = await self._guarded("what others do", rows.others(self._pool, self._holder)) or set()
            await self._looked(self._stopping, self._pause)

    async def _take(self, queue: Queue, after: int) -> int:
        """Claim as many jobs as there are hands free, and start them; the merchant that was served last."""
        mine = Counter(job.merchant_id for job in self._jobs if job.queue == queue.name)
        if free := queue.at_once - mine.total():
            if queue.together and mine:
                return after
            began = time.monotonic()
            claimed = await self._claimed(queue, after, free, mine)
            for some in [claimed] if queue.together and claimed else [[job] for job in claimed]:
                self._start(queue, some, began)
                after = some[-1].merchant_id
        return after

    async def _claimed(self, queue: Queue, after: int, limit: int, mine: Counter[int]) -> list[Job]:
        return await self._guarded(queue.name, rows.claim(
            self._pool, queue.name, now=self._now(), holder=self._holder, lease=queue.lease, per_merchant=queue.per_merchant,
            limit=limit, after=after, held=mine)) or []

    def _start(self, queue: Queue, some: list[Job], claimed_at: float) -> asyncio.Task[None]:
        name = f"{queue.name} {some[0].subject}" + (f" and {len(some) - 1} more" if len(some) > 1 else "")
        task = _task(self._run(queue, some), name)
        held = _Held(task, queue.lease, claimed_at)
        self._jobs.update(dict.fromkeys(some, held))
        task.add_done_callback(lambda ended: self._ended(queue, some))
        return task

    def _ended(self, queue: Queue, some: Sequence[Job]) -> None:
        """Hands are free."""
        for job in some:
            self._jobs.pop(job, None)
        self._looks[queue.name].set()

    async def _run(self, queue: Queue, some: list[Job]) -> None:
        try:
            await queue.run(some if queue.together else some[0])
        except asyncpg.QueryCanceledError as error:     # the server's word for our own statement_timeout, and nothing else is lost
            await self._failed(queue, some, error)
        except CONNECTION_LOST as lost:
            log.warning("%s %d waits for the database: %s", queue.name, some[0].subject, lost)
            await self._guarded(queue.name, self._lost(queue, some))
        except Exception as error:
            await self._failed(queue, some, error)
        else:
            for _ in some:
                self._count(queue.name, True)

    async def _lost(self, queue: Queue, some: Sequence[Job]) -> None:
        """For later; where even that fails, the lease ends by itself."""
        for _ in some:
            self._count(queue.name, False)
        at = self._now() + timedelta(seconds=LOST_SECONDS)
        await rows.all_lost(self._pool, [(job, at, "the database was lost") for job in some])

    async def _failed(self, queue: Queue, some: list[Job], error: Exception) -> None:
        """A handful that failed is halved, so that one that cannot be done fails alone; it comes again, each time later, and is set aside
        once it has failed too often."""
        if len(some) > 1:
            log.warning("%s %d and %d more failed together: %s", queue.name, some[0].subject, len(some) - 1, type(error).__name__)
            middle = len(some) // 2
            await self._run(queue, some[:middle])
            await self._run(queue, some[middle:])
            return
        (job,) = some
        log.error("%s %d failed", queue.name, job.subject, exc_info=error)
        self._count(queue.name, False)
        failures = job.failures + 1
        pause = min(FAILED_AT_MOST, FAILED_SECONDS * 2 ** min(failures - 1, 16))
        at = self._now() + timedelta(seconds=pause) if failures < MOST_FAILURES else None
        if await self._guarded(queue.name, rows.failed(self._pool, job, at, f"failed: {type(error).__name__}")) and at is None:
            self._note_set_aside()
            log.error(
                "%s %d of merchant %d failed %d times in a row and is set aside; see what it needs, then: ringfence jobs retry",
                queue.name, job.subject, job.merchant_id, failures)

    # -- everything in order

    async def _in_order(self) -> None:
        """Chores and queues in turn, one job at a time, until a whole turn found nothing."""
        after = dict.fromkeys((queue.name for queue in self._queues), -1)
        while not self._stopping.is_set():
            for look in self._looks.values():
                look.clear()
            found = 0
            for chore in self._chores:
                if not self._stopping.is_set():
                    found += await self._do(chore)
            for queue in self._queues:
                while not self._stopping.is_set():
                    began = time.monotonic()
                    jobs = await self._claimed(queue, after[queue.name], 1, Counter())
                    if not jobs:
                        break
                    found += 1
                    after[queue.name] = jobs[0].merchant_id
                    await asyncio.wait([self._start(queue, jobs, began)])
            if not found:
                await self._any_looked()
        for chore in self._chores:
            if chore.alone:
                await self._guarded(chore.name, rows.rest(self._pool, chore.name, self._holder))

    async def _any_looked(self) -> None:
        waits = [_task(look.wait(), "look") for look in self._looks.values()]
        try:
            await asyncio.wait(waits, timeout=self._pause, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    async def _looked(self, look: asyncio.Event, pause: float) -> None:
        """Until somebody says look, or the pause is over."""
        if not self._stopping.is_set():
            try:
                await asyncio.wait_for(look.wait(), pause)
            except TimeoutError:
                return

    # -- leases

    async def _renew_always(self) -> None:
        tick = min([TURN_SECONDS, *(queue.lease for queue in self._queues)]) / RENEWALS
        while True:
            await asyncio.sleep(tick)
            await self._renew(tick)

    async def _renew(self, patience: float) -> None:
        """Hold on to what is in hand; whatever is another's by now, or may be, is let go of."""
        for lease in {held.lease for held in self._jobs.values()}:
            jobs = [job for job, held in self._jobs.items() if held.lease == lease]
            began = time.monotonic()
            ours = await self._in_time(rows.renew(self._pool, jobs, lease), patience)
            if ours is not None:
                self._renewed(jobs, ours, began)
        for chore, held in list(self._turns.items()):
            began = time.monotonic()
            ours = await self._in_time(rows.turn(self._pool, chore.name, self._holder, TURN_SECONDS), patience)
            if ours is not None:
                self._ours[chore.name] = began + TURN_SECONDS if ours else 0.0
                self._keep(chore.name, held, ours, began)
        for held in {id(held): held for held in (*self._jobs.values(), *self._turns.values())}.values():
            if held.until <= time.monotonic():
                self._let_go(held.task.get_name(), held)

    def _renewed(self, jobs: Sequence[Job], ours: set[Job], began: float) -> None:
        """What others have by now is let go of.  Of a handful the rest goes on: whoever has one of them too does nothing twice."""
        kept = {id(self._jobs[job]) for job in jobs if job in ours and job in self._jobs}
        for job in jobs:
            held = self._jobs.get(job)
            if held is not None and job not in ours and id(held) in kept:
                del self._jobs[job]
            else:
                self._keep(f"{job.queue} {job.subject}", held, job in ours, began)

    def _keep(self, name: str, held: _Held | None, is_ours: bool, since: float) -> None:
        if held is None:
            return                      # it ended while we asked
        if is_ours:
            held.until = since + held.lease
        else:
            self._let_go(name, held)

    def _let_go(self, name: str, held: _Held) -> None:
        if held.task.cancel():
            log.warning("%s is another's by now; let go of it", name)

    async def _in_time(self, work: Awaitable[Any], seconds: float) -> Any:
        """The result, or ``None`` where it did not come in time."""
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            log.warning("leases are not renewed: the database does not answer")
        except CONNECTION_LOST as lost:
            log.warning("leases are not renewed: %s", lost)
        except Exception:
            log.exception("leases are not renewed")
        return None


def _task(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(work, name=name)
