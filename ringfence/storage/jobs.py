"""Work that is due: jobs, which one holder at a time has in hand, and turns at chores.

A job's row is there as long as something is to be done.  Whoever claims it holds it for a lease, by the database's clock, and then
gives it back with ``later`` or removes it with ``done``; both do nothing once another has it.  Whatever makes more work for a job
says so with ``wake``, in the transaction that stores the work: so the job is there whenever work is, and nobody sleeps over it.
Refuses to know what the work is.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries

SQL = load_queries("jobs")

Connection = asyncpg.Connection | asyncpg.Pool
Key = tuple[int, str, int]

#: For connections that claim: while the server has no statistics of the table, it would rather sort all that is due of a merchant
#: than read the few first of it from the index.
IN_ORDER = {"enable_sort": "off"}

HIGHEST = 2**31 - 1
"""No merchant's number is above it."""
_NOTHING: Mapping[int, int] = {}


class Job(NamedTuple):
    """A claimed job.  ``tries`` is this claim's number, from 1: whoever holds an older one writes nothing any more.

    ``due_at`` and ``deadline_at`` are business time; ``payment_id`` is 0 for none; ``note`` is what the try before met; ``failures``: how
    many tries in a row have failed.
    """

    merchant_id: int
    queue: str
    subject: int
    payment_id: int
    due_at: datetime
    deadline_at: datetime | None
    tries: int
    nudges: int
    note: str
    holder: str = ""
    failures: int = 0

    @property
    def key(self) -> Key:
        """What names it: merchant, queue and subject."""
        return self.merchant_id, self.queue, self.subject


class SetAside(NamedTuple):
    """A job that failed so often that nobody tries it any more."""

    merchant_id: int
    queue: str
    subject: int
    payment_id: int
    failures: int
    note: str


class JobRow(NamedTuple):
    """A job to be made, or woken where it is there.  Times are business time."""

    merchant_id: int
    queue: str
    subject: int
    payment_id: int
    due_at: datetime
    deadline_at: datetime | None = None


async def claim(
    pool: asyncpg.Pool, queue: str, *, now: datetime, holder: str, lease: float, per_merchant: int, limit: int, after: int,
    held: Mapping[int, int] = _NOTHING,
) -> list[Job]:
    """Take up to ``limit`` jobs that are due by ``now`` (business time), for ``lease`` seconds (wall time).

    Merchants with a higher number than ``after`` come first, then the others, so that every merchant has its turn; of one merchant
    at most ``per_merchant``, less what ``held`` says that the caller has of it already.  In the order of their turn.
    """
    async def among(above: int, up_to: int, many: int) -> list[Job]:
        rows = await pool.fetch(
            SQL.claim, queue, now, holder, per_merchant, many, above, up_to, lease, list(held), list(held.values()))
        return sorted((Job(*row) for row in rows), key=lambda job: (job.merchant_id, job.due_at, job.subject))

    jobs = await among(after, HIGHEST, limit)
    if len(jobs) < limit and after > -1:
        jobs += await among(-1, after, limit - len(jobs))
    return jobs


async def due(pool: Connection, queues: Sequence[str], now: datetime) -> list[str]:
    """Those of these queues that have jobs due by ``now`` (business time) and in nobody's hands."""
    return [row[0] for row in await pool.fetch(SQL.due, queues, now)]


async def claim_one(pool: Connection, queue: str, merchant_id: int, subject: int, *, holder: str, lease: float) -> Job | None:
    """Take this job, whenever it is due; ``None`` while another holds it, or where it is gone."""
    row = await pool.fetchrow(SQL.claim_one, merchant_id, queue, subject, holder, lease)
    return Job(*row) if row else None


async def renew(pool: Connection, jobs: Sequence[Job], lease: float) -> set[Job]:
    """Hold jobs for ``lease`` more seconds; returns those that nobody has taken since, the holder himself included.

    A job that its holder has just ended or given back counts among them: he may be finishing his last lines.
    """
    columns = ([job.merchant_id for job in jobs], [job.queue for job in jobs], [job.subject for job in jobs],
               [job.tries for job in jobs], [job.holder for job in jobs])
    return {jobs[row[0] - 1] for row in await pool.fetch(SQL.renew, *columns, lease)}


async def later(connection: Connection, job: Job, due_at: datetime, note: str = "") -> bool:
    """Give a job back, due at ``due_at``, or at once where more was asked for meanwhile.  False: it is no longer ours."""
    return bool(await connection.fetchval(SQL.later, *job.key, job.tries, job.holder, due_at, job.nudges, note))


async def all_later(connection: Connection, given_back: Sequence[tuple[Job, datetime, str]]) -> None:
    """Give jobs back, each with when it is due and its note; see ``later``."""
    await connection.execute(SQL.all_later, *zip(
        *((*job.key, job.tries, job.holder, job.nudges, due_at, note) for job, due_at, note in sorted(given_back, key=_in_key_order)), strict=True))


async def all_lost(connection: Connection, given_back: Sequence[tuple[Job, datetime, str]]) -> None:
    """Give jobs back whose holder lost the database: no try of theirs, and so no failure."""
    await connection.execute(SQL.all_lost, *zip(
        *((*job.key, job.tries, job.holder, due_at, note) for job, due_at, note in given_back), strict=True))


async def failed(connection: Connection, job: Job, due_at: datetime | None, note: str) -> bool:
    """Give a job back that failed once more, due at ``due_at``; ``None`` sets it aside, until somebody wakes it.  False: it is no longer ours."""
    return bool(await connection.fetchval(SQL.failed, *job.key, job.tries, job.holder, due_at, note))


async def set_aside(connection: Connection, merchant_id: int | None, limit: int) -> list[SetAside]:
    """Jobs that failed too often, of one merchant or of all."""
    return [SetAside(*row) for row in await connection.fetch(SQL.set_aside, merchant_id, limit)]


async def retry(connection: Connection, now: datetime, merchant_id: int | None, queue: str | None, subject: int | None) -> int:
    """Have jobs that were set aside tried again at once: one, a queue's, a merchant's or all; how many."""
    return int((await connection.execute(SQL.retry, now, merchant_id, queue, subject)).rpartition(" ")[2])


async def all_done(connection: Connection, ended: Sequence[Job]) -> None:
    """Remove jobs; see ``done``."""
    keys = list(zip(*((*job.key, job.tries, job.holder, job.nudges) for job in ended), strict=True))
    await connection.execute(SQL.all_done, *keys)
    await connection.execute(SQL.all_again, *keys[:5])


def _in_key_order(given_back: tuple[Job, datetime, str]) -> Key:
    return given_back[0].key


async def done(connection: Connection, job: Job) -> bool:
    """Remove a job; where more was asked for meanwhile it stays, due at once.  False: it is no longer ours."""
    return bool(
        await connection.fetchval(SQL.done, *job.key, job.tries, job.holder, job.nudges)
        or await connection.fetchval(SQL.again, *job.key, job.tries, job.holder))


async def wake(connection: Connection, rows: Sequence[JobRow]) -> None:
    """Make these jobs; where one is there it is due by the earlier of both times, and its holder will notice."""
    if rows:
        await connection.execute(SQL.wake, *map(list, zip(*rows, strict=True)))


async def turn(pool: Connection, chore: str, holder: str, lease: float) -> bool:
    """Whether this holder does the chore now, for ``lease`` seconds (wall time); call it again to go on."""
    return bool(await pool.fetchval(SQL.turn, chore, holder, lease))


async def others(pool: Connection, holder: str) -> set[str]:
    """The chores that others than this holder do now."""
    return {row[0] for row in await pool.fetch(SQL.others, holder)}


async def rest(pool: Connection, chore: str, holder: str) -> None:
    """Leave a chore to whoever asks next."""
    await pool.execute(SQL.rest, chore, holder)


async def reached(connection: Connection, chore: str) -> int:
    """How far a chore has come, by a count of its own; 0 at the beginning."""
    return await connection.fetchval(SQL.reached, chore) or 0


async def note_reached(connection: Connection, chore: str, number: int) -> None:
    """Note how far a chore has come; a lower number than the noted one changes nothing."""
    await connection.execute(SQL.note_reached, chore, number)
