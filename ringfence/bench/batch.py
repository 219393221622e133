"""``ringfence bench batch``: how long a service takes for a file of very many recurring purchases.

Makes cards, tokens and a file, hands the file in as a merchant would, has it carried out, and reads its results to the last byte, while one
client goes on buying; workers may be killed on the way.  Then the file, the database and the proof are asked.  Refuses to know how
rows are carried out.
"""
from __future__ import annotations

import asyncio
import csv
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from ringfence.bench import latencies
from ringfence.bench.expiry import Buyer
from ringfence.bench.means import CURRENCY, Scales, kill_worker, paid_once
from ringfence.bench.measuring import CannotMeasure
from ringfence.bench.processor_time import used
from ringfence.bench.service import Service, proof
from ringfence.bench.verification import checkpoint, verify
from ringfence.cli import batch_wire
from ringfence.storage.database import connect, parse_queries

QUERIES = parse_queries(resources.files("ringfence.bench").joinpath("batch.sql").read_text("utf-8"))
REFERENCE = "bench"
LOOK_SECONDS = 0.1
KILLS_OVER = (0.25, 0.65)
"""Kills are spread over this stretch of the rows."""
STUCK_SECONDS = 300.0


class BatchFailed(CannotMeasure):
    """There is nothing to measure; the message is a sentence."""


class Measured(NamedTuple):
    """What was measured.  Seconds from the first uploaded byte; processor time is of service and database."""

    rows: int
    bytes: int
    approved: int
    upload_s: float
    validated_s: float
    processed_s: float
    seconds: float
    cpu_s: tuple[float, float | None]
    peak_pss_mb: float
    live: dict[int, int]
    purchases: int
    killed: int
    codes: dict[str, int]
    faults: list[str]

    @property
    def passed(self) -> bool:
        """Every row was carried out, once, and the books are right."""
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        python, postgres = (None if spent is None else round(spent / max(self.rows, 1) * 1e6, 1) for spent in self.cpu_s)
        p99 = latencies.percentile(self.live, 0.99)
        return {
            "rows": self.rows, "bytes": self.bytes, "approved": self.approved, "seconds": round(self.seconds, 2),
            "rows_per_second": round(self.rows / self.seconds), "peak_pss_mb": round(self.peak_pss_mb, 1),
            "live_p99_ms": None if p99 is None else round(p99, 2), "live_purchases": self.purchases, "killed": self.killed,
            "steps_s": {"upload": round(self.upload_s, 2), "validation": round(self.validated_s - self.upload_s, 2),
                        "processing": round(self.processed_s - self.validated_s, 2), "results": round(self.seconds - self.processed_s, 2)},
            "cpu_us_per_row": {"python": python, "postgres": postgres}, "codes": self.codes, "proof_ok": not self.faults, "faults": self.faults,
        }


def run(count: int, tokens: int, kills: int, service: Service, folder: Path, step: Callable[[str, float], None]) -> Measured:
    """The whole measurement on a running service.  Raises ``BatchFailed``."""
    step(f"Making {tokens:,} tokens and a file of {count:,} rows", tokens / 300 + count / 400_000)
    merchant = service.merchants[0]
    shop = batch_wire.Shop(service.base_url, merchant.identifier, merchant.access_code, merchant.request_phrase, merchant.sha_type)
    file = folder / "bench.csv"
    _write(file, count, paid_once(service, tokens))
    acknowledged = folder / "acknowledged.jsonl"
    acknowledged.touch(mode=0o600)
    postmaster = checkpoint(service.dsn)
    step(f"Carrying out {count:,} rows", count / 15_000)
    with Buyer(service, acknowledged, forgives=kills > 0) as buyer, Scales(service, postmaster) as scales:
        before, began = used(service.pid, postmaster), time.monotonic()
        handed = batch_wire.upload(shop, REFERENCE, file)
        uploaded = time.monotonic()
        if handed.code != "50000":
            raise BatchFailed(f"The file was not taken: {handed.code} {handed.reason}")
        _until(shop, "71138", "70000")
        validated = time.monotonic()
        let_go = batch_wire.ask(shop, "PROCESS_BATCH", REFERENCE)
        if let_go is None or let_go.code != "72147":
            raise BatchFailed(f"The file was not let go: {let_go}")
        killed = _kill(service, kills, handed.fields["batch_id"], count)
        _until(shop, "71140", "")
        processed = time.monotonic()
        told = _results(shop, folder / "results.csv")
        ended = time.monotonic()
        spent = used(service.pid, postmaster).since(before)
    step("Asking the books", count / 20_000)
    codes = _codes(told)
    faults = [*buyer.faults, *_wrong(told, count), *asyncio.run(_verified(service.dsn, count, codes)), *verify(service.dsn, acknowledged)]
    if (said := _agreed(service, handed.fields["batch_id"])) is not None:
        faults.append(said)
    if (said := proof(service, acknowledged)) is not None:
        faults.append(said)
    return Measured(
        count, file.stat().st_size, codes.get("14000", 0), uploaded - began, validated - began, processed - began, ended - began, tuple(spent),
        scales.peak / 2**20, dict(latencies.histogram(buyer.took)), len(buyer.took), killed, dict(codes), faults)


def _write(file: Path, count: int, tokens: list[str]) -> None:
    with file.open("w", encoding="utf-8") as out:
        out.write("command,merchant_reference,amount,currency,customer_email,eci,token_name\n")
        for start in range(0, count, 10_000):
            out.write("".join([
                f"PURCHASE,SUB-{number:09d},{1_000 + number % 9_000},{CURRENCY},payer{number % 997}@shop.example,RECURRING,"
                f"{tokens[number % len(tokens)]}\n" for number in range(start, min(start + 10_000, count))]))


def _until(shop: batch_wire.Shop, while_code: str, then: str) -> None:
    while True:
        said = batch_wire.ask(shop, "GET_BATCH_RESULTS", REFERENCE)
        if said is None and not then:
            return
        code = said.code if said else ""
        if code != while_code:
            if code == then:
                return
            raise BatchFailed(f"The service says {said}.")
        time.sleep(LOOK_SECONDS)


def _results(shop: batch_wire.Shop, file: Path) -> Path:
    """The results to their last byte."""
    with file.open("wb") as out:
        for piece in batch_wire.results(shop, REFERENCE):
            out.write(piece)
    return file


def _codes(told: Path) -> Counter[str]:
    with told.open(newline="", encoding="utf-8") as rows:
        return Counter(row["response_code"] for row in csv.DictReader(rows))


def _wrong(told: Path, count: int) -> list[str]:
    """Whether every line is told of once."""
    with told.open(newline="", encoding="utf-8") as rows:
        lines = Counter(int(row["Line_Number"]) for row in csv.DictReader(rows))
    return [] if lines == Counter(range(2, count + 2)) else [f"The results tell of {len(lines):,} lines of {count:,}, or of some twice."]


async def _verified(dsn: str, count: int, codes: Counter[str]) -> list[str]:
    """Every row is one operation, with one outcome that ended it, one event at least, and the code that was told."""
    connection = await connect(dsn, application_name="ringfence bench")
    try:
        found = await connection.fetchrow(QUERIES["carried_out"].sql, timeout=None)
    finally:
        await connection.close()
    wrong = [f"{name} are {found[name]:,}, not {count:,}" for name in ("operations", "orders", "ends", "told") if found[name] != count]
    if found["approved"] != codes["14000"]:
        wrong.append(f"{found['approved']:,} were approved, and {codes['14000']:,} told so")
    return [f"Of the rows, {'; '.join(wrong)}."] if wrong else []


def _agreed(service: Service, batch_id: str) -> str | None:
    shown = _admin(service, f"/admin/batches/{batch_id}")
    return None if shown["agrees"] else f"The sums do not come to the totals: {shown['sums']}"


def _admin(service: Service, path: str) -> Any:
    token = json.loads((service.data / "sandbox.json").read_text("utf-8"))["admin"]
    asked = urllib.request.Request(service.base_url + path, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=600) as answer:
        return json.loads(answer.read())


def _kill(service: Service, kills: int, batch_id: str, count: int) -> int:
    """Kill a worker process in the middle, so often; how often that was.  The one that has worked most: others only keep things."""
    killed, first, last = 0, *KILLS_OVER
    stuck = time.monotonic() + STUCK_SECONDS
    while killed < kills and time.monotonic() < stuck:
        try:
            done = _admin(service, f"/admin/batches/{batch_id}")["progress"]["done"]
        except (OSError, ValueError):
            done = 0                            # it was that worker's answer
        if done >= count * (first + (last - first) * killed / max(1, kills - 1 or 1)):
            killed += kill_worker(service)
        time.sleep(0.2)
    return killed


def show(measured: Measured, console: Console) -> None:
    """For people."""
    said = measured.as_json()
    cpu, steps = said["cpu_us_per_row"], said["steps_s"]
    console.print(f"{measured.rows:,} rows in {said['seconds']:,} s: {said['rows_per_second']:,} a second, {measured.approved:,} approved")
    console.print(", ".join(f"{name} {seconds} s" for name, seconds in steps.items()))
    console.print(f"processor time of each: {cpu['python']} µs service, {cpu['postgres']} µs PostgreSQL; memory {said['peak_pss_mb']} MB at most")
    console.print(f"purchases meanwhile: {measured.purchases:,}, 99th percentile {said['live_p99_ms']} ms; workers killed: {measured.killed}")
    for wrong in measured.faults:
        console.print(f"[red]{wrong}[/red]")
    console.print("every row was carried out once, and the proof agrees" if not measured.faults else "[red]not as it should be[/red]")
