"""``ringfence bench plans``: how long a service takes to charge very many plans that are due on one day.

Makes cards, tokens and plans, moves the sandbox's clock to the day, and watches until all are charged, while one client goes on buying;
workers may be killed on the way.  Then the plans, the payments and the proof are asked.  Refuses to know how plans are charged.
"""
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
from rich.console import Console

from ringfence.bench import latencies
from ringfence.bench.expiry import Buyer, advance
from ringfence.bench.means import Scales, kill_worker, paid_once
from ringfence.bench.measuring import CannotMeasure
from ringfence.bench.processor_time import used
from ringfence.bench.service import Service, proof
from ringfence.bench.verification import checkpoint, verify
from ringfence.storage.database import connect, parse_queries

QUERIES = parse_queries(resources.files("ringfence.bench").joinpath("plans.sql").read_text("utf-8"))
BEFORE = timedelta(minutes=1)
"""How long before the day begins the measurement does."""
LOOKS_AT_MOST = 0.05
"""The share of the time that looking may take."""
KILLS_OVER = (0.25, 0.65)
"""Kills are spread over this stretch of the plans."""
STUCK_SECONDS = 60.0


class PlansFailed(CannotMeasure):
    """There is nothing to measure; the message is a sentence."""


class Charged(NamedTuple):
    """What was measured.  ``left`` is what was left whenever somebody looked; processor time is of service and database."""

    count: int
    charged: int
    seconds: float
    cpu_s: tuple[float, float | None]
    peak_pss_mb: float
    live: dict[int, int]
    purchases: int
    killed: int
    left: list[int]
    faults: list[str]

    @property
    def passed(self) -> bool:
        """Every plan was charged, once, and the books are right."""
        return self.charged == self.count and not self.faults

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        python, postgres = (None if spent is None else round(spent / max(self.charged, 1) * 1e6, 1) for spent in self.cpu_s)
        p99 = latencies.percentile(self.live, 0.99)
        return {
            "count": self.count, "charged": self.charged, "seconds": round(self.seconds, 2), "per_second": round(self.charged / self.seconds),
            "cpu_us_per_charge": {"python": python, "postgres": postgres}, "peak_pss_mb": round(self.peak_pss_mb, 1),
            "live_p99_ms": None if p99 is None else round(p99, 2), "live_purchases": self.purchases, "killed": self.killed,
            "left": self.left, "proof_ok": not self.faults, "faults": self.faults,
        }


def run(count: int, tokens: int, kills: int, service: Service, acknowledged: Path, step: Callable[[str, float], None]) -> Charged:
    """The whole measurement on a running service.  Raises ``PlansFailed``, and ``LoadFailed`` where its means could not be made."""
    step(f"Making {tokens:,} tokens and {count:,} plans", tokens / 300 + count / 40_000)
    acknowledged.touch(mode=0o600)
    day = datetime.combine(datetime.now(UTC).date() + timedelta(days=2), datetime.min.time(), UTC)
    asyncio.run(_make(service, count, paid_once(service, tokens), day))
    postmaster = checkpoint(service.dsn)
    if why := advance(service, to=(day - BEFORE).isoformat()):
        raise PlansFailed(why)
    step(f"Charging {count:,} plans", count / 3_000)
    with Buyer(service, acknowledged, forgives=kills > 0) as buyer, Scales(service, postmaster) as scales, ThreadPoolExecutor(1) as hand:
        before, began = used(service.pid, postmaster), time.monotonic()
        moving = hand.submit(advance, service, advance=int((2 * BEFORE).total_seconds()))
        left, killed = asyncio.run(_watch(service, count, kills))
        seconds = time.monotonic() - began
        spent = used(service.pid, postmaster).since(before)
        if (why := moving.result()) and not kills:          # it may have been the worker that was asked
            raise PlansFailed(why)
    step("Asking the books", count / 20_000)
    said = proof(service, acknowledged)
    faults = [*buyer.faults, *asyncio.run(_verified(service.dsn, count)), *verify(service.dsn, acknowledged), *([] if said is None else [said])]
    return Charged(
        count, count - left[-1], seconds, tuple(spent), scales.peak / 2**20, dict(latencies.histogram(buyer.took)), len(buyer.took), killed,
        left, faults)


async def _make(service: Service, count: int, tokens: list[str], day: datetime) -> None:
    """As their keepers would have made them one by one."""
    connection = await connect(service.dsn, application_name="ringfence bench")
    try:
        merchant_id = await connection.fetchval("SELECT merchant_id FROM merchants WHERE identifier = $1", service.merchants[0].identifier)
        await connection.execute(QUERIES["make_plans"].sql, merchant_id, tokens, count, day.date(), day, datetime.now(UTC), timeout=None)
    finally:
        await connection.close()


async def _watch(service: Service, count: int, kills: int) -> tuple[list[int], int]:
    """How many are left from look to look, until none is, or nothing has moved for long; and how many workers were killed."""
    connection = await connect(service.dsn, application_name="ringfence bench")
    try:
        left, killed, moved = [count], 0, time.monotonic()
        while left[-1] and time.monotonic() < moved + STUCK_SECONDS:
            looked = time.monotonic()
            left.append(count - await connection.fetchval(QUERIES["charged"].sql))
            first, last = KILLS_OVER
            if killed < kills and count - left[-1] >= count * (first + (last - first) * killed / max(1, kills - 1)):
                killed += kill_worker(service)
            if left[-1] != left[-2]:
                moved = time.monotonic()
            await asyncio.sleep(max(0.1, (time.monotonic() - looked) / LOOKS_AT_MOST))
        return left[1:], killed
    finally:
        await connection.close()


async def _verified(dsn: str, count: int) -> list[str]:
    """Every plan was charged exactly once, by an operation of its own that was approved."""
    connection: asyncpg.Connection = await connect(dsn, application_name="ringfence bench")
    try:
        found = await connection.fetchrow(QUERIES["attempts"].sql, timeout=None)
        resting = [f"Plans rest: {row[0]}." for row in await connection.fetch(QUERIES["why_not"].sql, timeout=None)]
    finally:
        await connection.close()
    wrong = [f"{name} are {found[name]:,}, not {count:,}" for name in ("operations", "orders", "approvals", "plans", "attempts")
             if found[name] != count]
    return [*([f"Of the plans, {'; '.join(wrong)}."] if wrong else []), *resting]


def show(charged: Charged, console: Console) -> None:
    """For people."""
    said = charged.as_json()
    cpu = said["cpu_us_per_charge"]
    console.print(f"{charged.charged:,} of {charged.count:,} plans charged in {said['seconds']:,} s: {said['per_second']:,} a second")
    console.print(f"processor time of each: {cpu['python']} µs service, {cpu['postgres']} µs PostgreSQL; memory {said['peak_pss_mb']} MB at most")
    console.print(f"purchases meanwhile: {charged.purchases:,}, 99th percentile {said['live_p99_ms']} ms; workers killed: {charged.killed}")
    for wrong in charged.faults:
        console.print(f"[red]{wrong}[/red]")
    console.print("every plan was charged once, and the proof agrees" if charged.passed else "[red]not as it should be[/red]")
