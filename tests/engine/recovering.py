"""What the background would do with jobs, done by the test when it wants: due jobs are claimed and tried, and time goes on."""
from __future__ import annotations

from datetime import datetime, timedelta

from ringfence.background import reversals
from ringfence.core.recovery import PLAN
from ringfence.engine.recovery import PostgresDesk, Recovery
from ringfence.storage import jobs
from ringfence.storage.jobs import Job
from tests.engine.composition import Process, recovery_of

LEASE = 10.0


def recovers(process: Process, ask_seconds: float = 5.0) -> Recovery:
    """The process's recovery; made where it has none."""
    if process.engine.recovery is None:
        process.engine.recovery = recovery_of(process, ask_seconds)
    return process.engine.recovery


def desk_of(process: Process) -> PostgresDesk:
    """Where its doubts are kept."""
    desk = recovers(process)._desk
    assert isinstance(desk, PostgresDesk)
    return desk


async def claim_due(process: Process, queue: str = "recovery") -> list[Job]:
    """Jobs that are due, in this process's hands."""
    return await jobs.claim(
        process.pool, queue, now=process.now(), holder=f"tests {id(process)}", lease=LEASE, per_merchant=100, limit=100, after=-1)


async def try_due(process: Process) -> int:
    """One try at every doubt that is due; how many."""
    recovery = recovers(process)
    due = await claim_due(process)
    for job in due:
        await recovery.attempt(job)
    return len(due)


async def reverse_due(process: Process) -> int:
    """One try at every owed reversal of ended operations that is due; how many."""
    queue = reversals.queue(process.pool, desk_of(process), process.engine, PLAN, process.now)
    due = await claim_due(process, "reversal")
    for job in due:
        await queue.run(job)
    return len(due)


async def next_due(process: Process) -> datetime | None:
    """When the next doubt is due (business time); ``None`` where nothing is in doubt."""
    return await process.value("SELECT min(due_at) FROM jobs WHERE queue = 'recovery'")


async def end_doubts(process: Process, limit: timedelta = timedelta(days=2)) -> int:
    """Let business time go on from try to try until nothing is in doubt, or the limit is reached; how many tries it took."""
    tries, until = 0, process.now() + limit
    while (due := await next_due(process)) is not None and due <= until:
        process.now.now = max(process.now.now, due)
        tries += await try_due(process)
    return tries


async def told(process: Process, reference: str) -> list[str]:
    """The events of the payment with this reference, in order."""
    return [row[0] for row in await process.fetch(
        "SELECT e.event FROM events e JOIN operations o ON o.payment_id = e.payment_id AND o.operation_id = o.payment_id "
        "WHERE o.reference = $1 ORDER BY e.sequence", reference)]


