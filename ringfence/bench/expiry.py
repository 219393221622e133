"""``ringfence bench expiry``: how long a service takes to give back very many holds that expire together.

Makes them, moves the sandbox's clock to the first of their instants, and from there past the last while it watches the ledger until
none is left and one client buys all the time.  Then the database and the proof are asked.  Refuses to know how the sweep works.
"""
from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import resources
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from ringfence.bench import latencies
from ringfence.bench.holds import MINOR, Wanted, make, shares
from ringfence.bench.load import Shop
from ringfence.bench.loops import Connection, parse
from ringfence.bench.measuring import CannotMeasure
from ringfence.bench.processor_time import used
from ringfence.bench.purchases import fault
from ringfence.bench.service import Service, proof
from ringfence.bench.verification import checkpoint, verify
from ringfence.storage.database import connect, parse_queries

QUERIES = parse_queries(resources.files("ringfence.bench").joinpath("expiry.sql").read_text("utf-8"))
PAUSE_SECONDS = 0.02
"""Between two purchases of the client that buys all the while: enough to see what the sweep does to others, and hardly a load."""
STUCK_SECONDS = 60.0
TOKENS = 20
BEFORE = timedelta(minutes=1)
"""How long before the first hold expires the measurement begins: the clock runs on while the client is started."""


class ExpiryFailed(CannotMeasure):
    """There is nothing to measure; the message is a sentence."""


class Expired(NamedTuple):
    """What was measured.  ``left`` is what was left at the end of each second; processor time is of service and database."""

    count: int
    voided: int
    seconds: float
    cpu_s: tuple[float, float | None]           # service, PostgreSQL
    live: dict[int, int]                        # histogram of the client's latencies
    purchases: int
    left: list[int]
    faults: list[str]

    @property
    def passed(self) -> bool:
        """Every hold was given back, once, and the books are right."""
        return self.voided == self.count and not self.faults

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        python, postgres = (None if spent is None else round(spent / max(self.voided, 1) * 1e6, 1) for spent in self.cpu_s)
        p99 = latencies.percentile(self.live, 0.99)
        return {
            "count": self.count, "voided": self.voided, "seconds": round(self.seconds, 2), "per_second": round(self.voided / self.seconds),
            "cpu_us_per_void": {"python": python, "postgres": postgres}, "live_p99_ms": None if p99 is None else round(p99, 2),
            "live_purchases": self.purchases, "left": self.left, "proof_ok": not self.faults, "faults": self.faults,
        }


def run(count: int, workers: int, service: Service, acknowledged: Path, step: Callable[[str, float], None]) -> Expired:
    """The whole measurement on a running service.  Raises ``ExpiryFailed``, and ``HoldsFailed`` where the holds were not made."""
    identifiers = [merchant.identifier for merchant in service.merchants]
    step(f"Making {count:,} holds", count / 2_500)
    make([Wanted(str(service.data), service.dsn, place, share, identifiers) for place, share in enumerate(shares(count, workers)) if share])
    acknowledged.touch(mode=0o600)
    postmaster = checkpoint(service.dsn)
    first, last = asyncio.run(_instants(service.dsn))
    step("Moving the clock", 5)
    if why := advance(service, to=(first - BEFORE).isoformat()):       # six days of other work are not what is measured
        raise ExpiryFailed(why)
    step(f"Expiring {count:,} holds", count / 5_000)
    with Buyer(service, acknowledged) as buyer, ThreadPoolExecutor(1) as hand:
        before, began = used(service.pid, postmaster), time.monotonic()
        moving = hand.submit(advance, service, advance=ceil((last - first + BEFORE).total_seconds()))
        left = asyncio.run(_watch(service.dsn, count, began))
        seconds = time.monotonic() - began
        spent = used(service.pid, postmaster).since(before)
        if why := moving.result():
            raise ExpiryFailed(why)
    step("Asking the books", count / 20_000)
    return Expired(
        count, count - left[-1], seconds, tuple(spent), dict(latencies.histogram(buyer.took)), len(buyer.took), left,
        [*buyer.faults, *asyncio.run(_verified(service.dsn, count)), *verify(service.dsn, acknowledged), *_proved(service, acknowledged)],
    )


def _proved(service: Service, acknowledged: Path) -> list[str]:
    said = proof(service, acknowledged)
    return [] if said is None else [said]


async def _instants(dsn: str) -> tuple[datetime, datetime]:
    """When the first of the holds expires, and the last."""
    connection = await connect(dsn, application_name="ringfence bench")
    try:
        first, last = await connection.fetchrow(QUERIES["instants"].sql, timeout=None)
    finally:
        await connection.close()
    return first, last


def advance(service: Service, **how: str | int) -> str | None:
    """Move the sandbox's clock, ``to`` an instant or by the seconds of ``advance``; why it did not, or ``None``."""
    token = json.loads((service.data / "sandbox.json").read_text("utf-8"))["admin"]
    asked = urllib.request.Request(
        f"{service.base_url}/admin/clock", json.dumps(how).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {token}"}, method="POST")
    try:
        with urllib.request.urlopen(asked, timeout=600):
            return None
    except (OSError, urllib.error.HTTPError) as why:
        return f"The clock could not be moved: {why}"


async def _watch(dsn: str, count: int, began: float) -> list[int]:
    """How many are left at the end of each second, until none is, or nothing has moved for a minute."""
    connection = await connect(dsn, application_name="ringfence bench")
    try:
        left, moved = [count], time.monotonic()
        while left[-1] and time.monotonic() < moved + STUCK_SECONDS:
            await asyncio.sleep(max(0.05, (len(left) if count > 50_000 else len(left) / 20) - (time.monotonic() - began)))
            left.append(count - int(await connection.fetchval(QUERIES["expired"].sql)) // MINOR)
            if left[-1] != left[-2]:
                moved = time.monotonic()
        return left[1:]
    finally:
        await connection.close()


async def _verified(dsn: str, count: int) -> list[str]:
    """Every hold was voided exactly once, by an operation of its own that was approved."""
    connection = await connect(dsn, application_name="ringfence bench")
    try:
        found = await connection.fetchrow(QUERIES["voids"].sql, timeout=None)
    finally:
        await connection.close()
    wrong = [f"{name} are {found[name]:,}, not {count:,}" for name in ("operations", "payments", "approvals") if found[name] != count]
    return [f"Of the voids, {'; '.join(wrong)}."] if wrong else []


class Buyer(threading.Thread):
    """A client that buys one thing after the other, over one connection, until the block ends.  ``took``: milliseconds."""

    def __init__(self, service: Service, acknowledged: Path, *, forgives: bool = False) -> None:
        """``forgives``: a connection that breaks, because its worker is killed, is opened anew."""
        super().__init__(daemon=True)
        self._forgives = forgives
        self.took: list[float] = []
        self.faults: list[str] = []
        self._acknowledged, self._ended = acknowledged, threading.Event()
        self._shop = Shop(service.base_url, service.merchants)
        self._shop.make_tokens(TOKENS, f"{(datetime.now(UTC).year + 3) % 100:02}12")
        self._connection = self._shop.connect()

    def __enter__(self) -> Buyer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self._connection.socket.close()

    def run(self) -> None:
        """The thread."""
        with self._acknowledged.open("ab") as file:
            while not self._ended.wait(PAUSE_SECONDS):
                order, began = self._shop.order("aps"), time.perf_counter()
                body = self._answered(order.request)
                if body is None and self._forgives:
                    self._connection.socket.close()
                    self._connection = self._shop.connect()
                    continue
                self.took.append((time.perf_counter() - began) * 1000)
                if wrong := "no answer" if body is None else fault(order, body, thoroughly=False):
                    self.faults.append(f"A purchase during the sweep: {wrong}.")
                    return
                file.write(order.line)


    def _answered(self, request: bytes) -> bytes | None:
        try:
            return answered(self._connection, request)
        except OSError:
            return None


def answered(connection: Connection, request: bytes) -> bytes | None:
    """The body of an answer 200; ``None`` for any other end."""
    connection.send(request)
    received = b""
    while (answer := parse(received)) is None:
        more = connection.receive(65_536)
        if not more:
            return None
        received += more
    return answer[1] if answer[0] else None


def show(expired: Expired, console: Console) -> None:
    """For people."""
    said = expired.as_json()
    cpu = said["cpu_us_per_void"]
    console.print(f"{expired.voided:,} of {expired.count:,} holds given back in {said['seconds']:,} s: {said['per_second']:,} a second")
    console.print(f"processor time of each: {cpu['python']} µs service, {cpu['postgres']} µs PostgreSQL")
    console.print(f"purchases meanwhile: {expired.purchases:,}, 99th percentile {said['live_p99_ms']} ms")
    for wrong in expired.faults:
        console.print(f"[red]{wrong}[/red]")
    console.print("every hold was given back once, and the proof agrees" if expired.passed else "[red]not as it should be[/red]")
