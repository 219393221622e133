"""``ringfence bench jwo``: a thousand shoppers leave a store at once.

Each has a connection of its own, kept open: all Adjusts are sent within a moment, and each Capture right after its Adjust was answered.  What
counts is measured at the client: how long every answer took, and that none is an error.  Then the trips, the payments and the proof are asked.
Signs, sends and reads with code of its own; refuses to know how a trip is charged.
"""
from __future__ import annotations

import asyncio
import gc
import hashlib
import hmac
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import resources
from math import ceil
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import uvloop
from rich.console import Console

from ringfence.bench.load import card_number
from ringfence.bench.measuring import CannotMeasure
from ringfence.bench.processor_time import used
from ringfence.bench.service import Service, proof
from ringfence.bench.verification import checkpoint
from ringfence.storage.database import connect, parse_queries

QUERIES = parse_queries(resources.files("ringfence.bench").joinpath("leaving.sql").read_text("utf-8"))
STORE, CURRENCY = "STORE-001", "USD"
WITHIN_SECONDS = 0.1
"""All Adjusts are sent within this time."""
LIMIT_SECONDS = 1.0
"""What every answer must be within."""
GIVE_UP_SECONDS = 60.0
SLICES = 20
IDLE_SECONDS = 2.0
TOGETHER = 8
"""Gates that open at the same time."""
HOLD = 2_000


class LeavingFailed(CannotMeasure):
    """There is nothing to measure; the message is a sentence."""


class Key(NamedTuple):
    """A merchant's access key.  Prints without its secret."""

    merchant: str
    access_key_id: str
    secret: str
    region: str

    def __repr__(self) -> str:
        return f"Key({self.access_key_id})"

    __str__ = __repr__


class Shopper(NamedTuple):
    """Who leaves, what the cart costs (minor units), and both requests, ready to be sent."""

    trip: str
    minor: int
    adjust: bytes
    capture: bytes


class Left(NamedTuple):
    """What was measured; times in seconds, counts of answers by what was wrong with them."""

    count: int
    sent_within: float
    adjusts: list[float]
    captures: list[float]
    load: float
    cpu_s: tuple[float | None, ...]         # of service and database, while they left, beyond what both use when nobody does
    faults: list[str]

    @property
    def slowest(self) -> float:
        """The slowest answer."""
        return max([*self.adjusts, *self.captures], default=0.0)

    @property
    def passed(self) -> bool:
        """Every answer was right and in time, and the books agree."""
        return not self.faults and len(self.adjusts) == len(self.captures) == self.count and self.slowest <= LIMIT_SECONDS

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        python, postgres = (None if spent is None else round(spent / max(2 * self.count, 1) * 1e6) for spent in self.cpu_s)
        return {
            "shoppers": self.count, "sent_within_ms": round(self.sent_within * 1000, 1), "adjust_ms": _percentiles(self.adjusts),
            "capture_ms": _percentiles(self.captures), "slowest_ms": round(self.slowest * 1000, 1), "limit_ms": LIMIT_SECONDS * 1000,
            "cpu_us_per_answer": {"python": python, "postgres": postgres}, "load_average": round(self.load, 2),
            "passed": self.passed, "faults": self.faults,
        }


def run(count: int, service: Service, step: Callable[[str, float], None]) -> Left:
    """The whole measurement on a running service.  Raises ``LeavingFailed``."""
    keys = access_keys(service)
    step(f"Letting {count:,} shoppers in", count / 60)
    shoppers = entered(count, service, keys)
    step("Leaving", 2)
    load, postmaster = os.getloadavg()[0], checkpoint(service.dsn)
    idle = _idle(service.pid, postmaster)
    before, began = used(service.pid, postmaster), time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        crowd = runner.run(_leave(shoppers, urlsplit(service.base_url)))
    seconds = time.monotonic() - began
    spent = tuple(None if ours is None or rest is None else ours - rest * seconds for ours, rest in zip(
        used(service.pid, postmaster).since(before), idle, strict=True))
    step("Asking the books", 3)
    faults = [*crowd.faults(), *asyncio.run(verified(service.dsn, shoppers))]
    acknowledged = service.data / "leaving.jsonl"
    acknowledged.touch(mode=0o600)
    said = proof(service, acknowledged)
    faults += [] if said is None else [said]
    return Left(count, crowd.sent_within, crowd.took["adjust"], crowd.took["capture"], load, spent, faults)


def _idle(service: int, postmaster: int | None) -> tuple[float | None, ...]:
    """The share of a processor that service and database use while nobody asks."""
    before = used(service, postmaster)
    time.sleep(IDLE_SECONDS)
    return tuple(None if spent is None else spent / IDLE_SECONDS for spent in used(service, postmaster).since(before))


def access_keys(service: Service) -> list[Key]:
    """The keys that the sandbox's file shows."""
    written = json.loads((service.data / "sandbox.json").read_text())
    keys = [
        Key(one["aps"]["merchant_identifier"], one["jwo"]["access_key_id"], one["jwo"]["secret_access_key"], one["jwo"]["region"])
        for one in written["merchants"] if one.get("jwo")]
    if not keys:
        raise LeavingFailed("The sandbox shows no access key of the door of stores.")
    return keys


# ---------------------------------------------------------------------------------------------------------- going in

def entered(count: int, service: Service, keys: Sequence[Key]) -> list[Shopper]:
    """So many shoppers in the merchants' stores, each on a card of his own as far as there are so many."""
    for key in keys:
        _operate(service, "/admin/jwo/stores", {"merchant": key.merchant, "store": STORE, "currency": CURRENCY, "hold": HOLD})
    host, run_name = urlsplit(service.base_url).netloc, os.urandom(4).hex()

    def several(start: int) -> list[Shopper]:
        made = []
        for number in range(start, count, TOGETHER):
            key, trip, minor = keys[number % len(keys)], f"leaving-{run_name}-{number}", HOLD + 1 + number * 7 % 4_000
            _operate(service, "/admin/jwo/trips", {"merchant": key.merchant, "store": STORE, "trip": trip, "card": card_number(number)})
            made.append(Shopper(trip, minor, *(charge(key, host, f"/v1/{what}/charge", trip, minor) for what in ("adjust", "capture"))))
        return made

    with ThreadPoolExecutor(TOGETHER) as together:
        return [one for made in together.map(several, range(TOGETHER)) for one in made]


def _operate(service: Service, path: str, order: dict[str, Any]) -> None:
    asked = urllib.request.Request(f"{service.base_url}{path}", json.dumps(order).encode(), {
        "Authorization": f"Bearer {service.admin}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            told = json.load(answer)
    except OSError as why:
        raise LeavingFailed(f"{path} was refused: {why}.") from why
    if told.get("opened") is False:
        raise LeavingFailed(f"A gate stayed shut: {told.get('why')}.")


def charge(key: Key, host: str, path: str, trip: str, minor: int, at: datetime | None = None) -> bytes:
    """A signed request (AWS Signature Version 4) to charge a trip so many minor units."""
    body = f'{{"storeId":"{STORE}","shoppingTripId":"{trip}","amount":{{"amount":{minor // 100}.{minor % 100:02},"code":"{CURRENCY}"}}}}'.encode()
    moment = f"{at or datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    scope, names = f"{moment[:8]}/{key.region}/execute-api/aws4_request", "content-type;host;x-amz-date"
    canonical = (f"POST\n{path}\n\ncontent-type:application/json\nhost:{host}\nx-amz-date:{moment}\n\n{names}\n{hashlib.sha256(body).hexdigest()}")
    secret = f"AWS4{key.secret}".encode()
    for part in scope.split("/"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    signature = hmac.new(
        secret, f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}".encode(), "sha256").hexdigest()
    head = (f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nX-Amz-Date: {moment}\r\nContent-Length: {len(body)}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={key.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}\r\n\r\n")
    return head.encode() + body


# ---------------------------------------------------------------------------------------------------------- going out

class Crowd:
    """Everybody who leaves, and what came of it."""

    def __init__(self, count: int) -> None:
        self.waits, self.done = count, asyncio.Event()
        self.took: dict[str, list[float]] = {"adjust": [], "capture": []}
        self.sent_within = 0.0
        self.wrong: dict[str, int] = {}

    def fault(self, what: str) -> None:
        """Count something that should not be."""
        self.wrong[what] = self.wrong.get(what, 0) + 1

    def faults(self) -> list[str]:
        """All of it."""
        slow = sum(took > LIMIT_SECONDS for times in self.took.values() for took in times)
        late = [f"the Adjusts were sent within {self.sent_within * 1000:.0f} ms only"] if self.sent_within > WITHIN_SECONDS else []
        return [*(f"{count} times: {what}" for what, count in sorted(self.wrong.items())), *late,
                *([f"{slow} answers took longer than {LIMIT_SECONDS:g} s"] if slow else [])]

    def left(self) -> None:
        """One more is out, or will never be."""
        self.waits -= 1
        if not self.waits:
            self.done.set()


class Leaving(asyncio.Protocol):
    """One shopper's connection: an Adjust, its answer, a Capture, its answer."""

    def __init__(self, shopper: Shopper, crowd: Crowd) -> None:
        self._shopper, self._crowd, self._received = shopper, crowd, b""
        self._what, self._since, self._is_over = "", 0.0, False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def begin(self) -> None:
        """Send the Adjust."""
        self._send("adjust", self._shopper.adjust)

    def data_received(self, data: bytes) -> None:
        self._received += data
        found = answer_in(self._received)
        if found is None:
            return
        status, body = found
        self._received = b""
        self._crowd.took[self._what].append(time.perf_counter() - self._since)
        if (wrong := fault_in(self._what, status, body, self._shopper.minor)) is not None:
            self._crowd.fault(wrong)
            self._over()
        elif self._what == "adjust":
            self._send("capture", self._shopper.capture)
        else:
            self._over()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._is_over:
            self._crowd.fault("the connection was closed before an answer")
            self._over()

    def _send(self, what: str, request: bytes) -> None:
        self._what, self._since = what, time.perf_counter()
        if self._transport is not None:
            self._transport.write(request)

    def _over(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._crowd.left()


def answer_in(received: bytes) -> tuple[int, bytes] | None:
    """Status and body, once both are there."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    return (int(head[9:12]), body) if len(body) >= length else None


def fault_in(what: str, status: int, body: bytes, minor: int) -> str | None:
    """What is wrong with an answer, in a few words."""
    if status != 200:
        return f"{what} answered {status} {body[:100].decode('utf-8', 'replace')}"
    if what == "capture":
        return "a capture with a body" if body else None
    told = json.loads(body)
    if told.get("status") != "APPROVED":
        return f"an adjust that is {told.get('status')}"
    return None if told["authorizedAmount"] == {"amount": minor / 100, "code": CURRENCY} else "an adjust to another amount"


async def _leave(shoppers: Sequence[Shopper], address: Any) -> Crowd:
    loop, crowd = asyncio.get_running_loop(), Crowd(len(shoppers))
    leaving = []
    for shopper in shoppers:
        _, one = await loop.create_connection(lambda shopper=shopper: Leaving(shopper, crowd), address.hostname, address.port)
        leaving.append(one)
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    for place, several in enumerate(_sliced(leaving, SLICES)):
        await asyncio.sleep(max(0.0, began + place * WITHIN_SECONDS * 0.9 / SLICES - time.perf_counter()))
        for one in several:
            one.begin()
    crowd.sent_within = time.perf_counter() - began
    try:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            await crowd.done.wait()
    except TimeoutError:
        crowd.wrong[f"no answer within {GIVE_UP_SECONDS:g} s"] = crowd.waits
    gc.enable()
    return crowd


def _sliced(all_of_them: Sequence[Leaving], slices: int) -> Iterator[Sequence[Leaving]]:
    size = -(-len(all_of_them) // slices)
    for start in range(0, len(all_of_them), size):
        yield all_of_them[start:start + size]


# ---------------------------------------------------------------------------------------------------------- afterwards

async def verified(dsn: str, shoppers: Sequence[Shopper]) -> list[str]:
    """What the database says about the trips: each captured once, in full, and nothing held any more."""
    connection = await connect(dsn, application_name="ringfence bench")
    try:
        rows = await connection.fetch(QUERIES["captured"].sql, [one.trip for one in shoppers])
    finally:
        await connection.close()
    captured = {row["name"]: (row["captured"], row["open"], row["captures"]) for row in rows}
    wrong = sum(captured.get(one.trip) != (one.minor, 0, 1) for one in shoppers)
    return [f"{wrong} trips are not captured once and in full"] if wrong else []


def _percentiles(took: Sequence[float]) -> dict[str, float | None]:
    ranked = [round(one * 1000, 1) for one in sorted(took)]
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: ranked[ceil(share * len(ranked)) - 1] if ranked else None for name, share in shares.items()}


def show(left: Left, console: Console) -> None:
    """For people."""
    said = left.as_json()
    console.print(f"{left.count:,} shoppers left; their Adjusts were sent within {said['sent_within_ms']} ms (load average {said['load_average']})")
    for name in ("adjust", "capture"):
        figures = said[f"{name}_ms"]
        console.print(f"{name}: half within {figures['p50']} ms, 99 of 100 within {figures['p99']} ms, all within {figures['max']} ms")
    cpu = said["cpu_us_per_answer"]
    console.print(f"processor time of each answer: {cpu['python']} µs service, {cpu['postgres']} µs PostgreSQL")
    for wrong in left.faults:
        console.print(f"[red]{wrong}[/red]")
    console.print("every answer was right and within a second, and the proof agrees" if left.passed else "[red]not as it should be[/red]")
