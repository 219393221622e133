"""The run: pgbench and the service in turn on one server, then half load, then the question whether everything is there.

The order is pgbench, service, pgbench, service, …, pgbench: each round of the service stands between two neighbours, so that a slow minute of
the machine slows both sides of its ratio.  While one side runs the other is idle.  In a round the service takes purchases at the APS door and
charges at the PPRO door; in every other one charges come first, for tables grow.
"""
from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol

from ringfence.bench import disk, latencies
from ringfence.bench.load import Load
from ringfence.bench.measuring import CannotMeasure
from ringfence.bench.processor_time import used
from ringfence.bench.report import Report, Round
from ringfence.bench.service import Service, proof, raised_limits
from ringfence.bench.verification import checkpoint, verify

MERCHANTS = 4
CALLED = {"aps": "Purchases", "ppro": "Charges"}


class Plan(NamedTuple):
    """How much of everything.  Times are seconds."""

    rounds: int = 3
    seconds: float = 8
    warm_up: float = 2
    connections: int = 256
    tokens: int = 1000
    disk_seconds: float = 2             # of durable writes, before and after half load


class Yardstick(Protocol):
    """What the service is compared with."""

    def run(self, seconds: float) -> float:
        """Transactions a second."""


class BenchFailed(CannotMeasure):
    """There is nothing to measure; the message is a sentence."""


def run(plan: Plan, service: Service, neighbour: AbstractContextManager[Yardstick | None], acknowledged: Path,
        step: Callable[[str, float], None], verifications: tuple[Callable[[], list[str]], ...] | None = None) -> Report:
    """A whole run against a running *service*; *step* is told what happens next and how many seconds it should take.

    *acknowledged* receives every approved purchase.  Raises ``BenchFailed`` where nothing can be measured; what goes wrong while
    measuring is in the report.
    """
    if len(service.merchants) < MERCHANTS:
        raise BenchFailed(f"The benchmark needs {MERCHANTS} merchants, and the service has {len(service.merchants)}.")
    acknowledged.touch(mode=0o600)
    with raised_limits(service), neighbour as yardstick, Load(service.base_url, service.merchants[:MERCHANTS], acknowledged) as load:
        step(f"Making {plan.tokens:,} tokens", 1)
        expiry = f"{(datetime.now(UTC).year + 3) % 100:02}12"
        load.tokens(plan.tokens, expiry)
        charges = all(one.api_key for one in service.merchants[:MERCHANTS])
        if charges:
            load.instruments(plan.tokens, expiry)
        rounds: list[Round] = []
        tps: list[float] = []
        best = 0.0
        for number in range(plan.rounds + 1):
            if yardstick:
                step(f"pgbench, run {number + 1} of {plan.rounds + 1}", plan.seconds)
                tps.append(yardstick.run(plan.seconds))
            if number == plan.rounds:
                break
            stock = round((best * 1.2 or (tps[0] * 3 if tps else 5_000)) * (plan.warm_up + plan.seconds))
            measured = {}
            for door in (("aps", "ppro") if number % 2 == 0 else ("ppro", "aps")) if charges else ("aps",):
                step(f"{CALLED[door]}, round {number + 1} of {plan.rounds}", plan.warm_up + plan.seconds)
                postmaster = checkpoint(service.dsn)    # both sides begin right after one: the worst moment for random pages
                figures, before, after = load.run(partial(used, service.pid, postmaster), connections=plan.connections, warm_up=plan.warm_up,
                                                  seconds=plan.seconds, stock=stock, door=door)
                if not figures.counted:
                    raise BenchFailed(f"{CALLED[door]}: none was approved: {figures.faults}")
                measured[door] = figures, after.since(before)
            best = max(best, *(figures.counted / figures.seconds for figures, _ in measured.values()))
            rounds.append(Round(*measured["aps"], None, *measured.get("ppro", (None, None))))
        if yardstick:
            rounds = [one._replace(tps=(tps[place], tps[place + 1])) for place, one in enumerate(rounds)]
        rate = median(one.figures.counted / one.figures.seconds for one in rounds) / 2
        step(f"Half load, {rate:,.0f} purchases a second", plan.warm_up + plan.seconds + 2 * plan.disk_seconds)
        writes = disk.durable_writes(service.data, plan.disk_seconds)
        half, _, _ = load.run(lambda: None, connections=plan.connections, warm_up=plan.warm_up, seconds=plan.seconds,
                              stock=round(rate * (plan.warm_up + plan.seconds)), rate=rate)
        writes += disk.durable_writes(service.data, plan.disk_seconds)
    count = sum(one.figures.approved + (one.charges.approved if one.charges else 0) for one in rounds) + half.approved
    step(f"Looking for {count:,} payments", count / 50_000)
    faults = [fault for ask in verifications or asked_of(service, acknowledged) for fault in ask()]
    return Report(rounds, half, rate, latencies.histogram(writes), count, faults)


def asked_of(service: Service, acknowledged: Path) -> tuple[Callable[[], list[str]], ...]:
    """The two ways of asking whether everything is there: SQL of our own, and the service's proof."""
    def by_proof() -> list[str]:
        said = proof(service, acknowledged)
        return [] if said is None else [said]
    return partial(verify, service.dsn, acknowledged), by_proof


def alone() -> AbstractContextManager[None]:
    """No neighbour: the ratio stays unknown."""
    return nullcontext()
