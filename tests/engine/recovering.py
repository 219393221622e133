"""What the background would do with jobs, done by the test when it wants; and how an operation comes into doubt."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from ringfence.background import abandoned, reversals
from ringfence.core.outcomes import Silence, Unknown
from ringfence.core.recovery import PLAN
from ringfence.engine.desk import PostgresDesk
from ringfence.engine.recovery import Recovery
from ringfence.processors.processor import Ask, Capabilities
from ringfence.processors.simulator import Simulator, standing
from ringfence.storage import jobs
from ringfence.storage.jobs import Job
from tests.engine.composition import Process, Shop, process, recovery_of

T1 = 0.05
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


SILENT = Unknown(Silence.NO_ANSWER)


def able(*, inquiry: bool, deduplicates: bool = True) -> Capabilities:
    return Capabilities(inquiry, deduplicates, True, True, time(0), "UTC")


async def doubt(shop: Shop, what: str, reference: str) -> str:
    """An operation whose answer is lost: purchase, authorization, capture, refund, void; its answer's code."""
    script = shop.process.processor
    if what in ("capture", "void"):
        await shop.authorize(reference)
    if what == "refund":
        await shop.purchase(reference)
    script.say(SILENT)
    answers = {
        "purchase": lambda: shop.purchase(reference), "authorization": lambda: shop.authorize(reference),
        "capture": lambda: shop.capture(reference, 400), "refund": lambda: shop.refund(reference, 300, maintenance_reference=f"{reference}-R"),
        "void": lambda: shop.void(reference),
    }
    return (await answers[what]())["response_code"]


async def results(process: Process, reference: str) -> list[tuple[str, int, str]]:
    """Kind, attempt and result of everything that was asked of a payment."""
    return [tuple(row) for row in await process.fetch(
        "SELECT o.kind, x.attempt, x.result FROM operations o JOIN outcomes x USING (merchant_id, payment_id, operation_id) "
        "JOIN operations f ON f.operation_id = o.payment_id WHERE f.reference = $1 ORDER BY o.operation_id, x.attempt", reference)]


async def owed(process: Process) -> list[tuple[str, bool]]:
    """Why reversals were decided, and whether they are acknowledged."""
    return [tuple(row) for row in await process.fetch("SELECT why, acknowledged_at IS NOT NULL FROM reversals ORDER BY operation_id")]


async def lapse(process: Process) -> None:
    """Every lease runs out."""
    await process.value("UPDATE jobs SET leased_until = '-infinity'")


class Gate:
    """A processor's answer that waits until the test lets it out."""

    def __init__(self, script: Any, method: str, answer: Any) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        carry_out = getattr(script, method)

        async def held(message: Ask) -> Any:
            setattr(script, method, carry_out)
            self.reached.set()
            await self.open.wait()
            return answer

        setattr(script, method, held)


async def gone_owner(here: Shop, one: Process, reference: str, pay: Callable[[str], Awaitable[dict]]) -> tuple[asyncio.Task, Any]:
    """An owner whose processor thinks beyond every deadline: the chore calls it gone, and the operation is in doubt."""
    held = one.processor.hold()
    paying = asyncio.create_task(pay(reference))
    await held.arrived.wait()
    await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE reference = $1", reference)
    await one.value("DELETE FROM sweeps")
    assert await abandoned.sweep(one.pool, one.directory, one.engine) == 1
    return paying, held


class World:
    """A process with two real simulators: merchant One's can never be asked what became of a message, Two's can."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.process, self.folder = process, folder
        self.simulators = {
            name: Simulator(folder / name, seed=7, worker=1, t1_seconds=T1, inquiry=name == "asked") for name in ("plain", "asked")}
        process.engine._processors = self.simulators
        process.api._service = replace(
            process.api._service, route=lambda merchant, brand: "asked" if merchant.identifier == "Two" else "plain")
        process.engine.recovery = Recovery(
            process.engine, desk_of(process), self.simulators, plan=PLAN, now=process.now, wall=lambda: datetime.now(UTC), ask_seconds=5.0,
            day=lambda name, at: at.date(),
            merchants=lambda identifier: (found := process.directory.merchant(identifier)) and found.merchant_id)

    def books(self) -> dict[str, Any]:
        return {name: simulator.totals for name, simulator in self.simulators.items()}

    async def stands(self, payment_id: str) -> tuple[int, int]:
        """Held and captured at the issuer."""
        for name in self.simulators:
            if found := standing(self.folder / name).get(int(payment_id)):
                return found.held, found.captured
        return 0, 0


@asynccontextmanager
async def world(dsn: str, folder: Path) -> AsyncIterator[World]:
    async with process(dsn, recovers=True) as running:
        made = World(running, folder)
        yield made
        for simulator in made.simulators.values():
            await simulator.close()
