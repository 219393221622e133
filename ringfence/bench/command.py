"""``ringfence bench``: the command line of the benchmark."""
from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from ringfence.bench.bench import Plan, alone, run
from ringfence.bench.measuring import measuring, tell
from ringfence.bench.neighbour import Neighbour
from ringfence.bench.report import Report, show
from ringfence.bench.service import running, started
from ringfence.bench.sink import Figures as Arrived
from ringfence.bench.sink import Sink, receiving
from ringfence.failures import Exit
from ringfence.storage.postgres import find_binaries

WEBHOOK_SECONDS = 30.0                  # without anything new, until what has not come counts as missing


def _number(context: click.Context, option: click.Parameter, seconds: float) -> float:
    if seconds != seconds:                      # "nan", which lies in no range and in every one
        raise click.BadParameter("'nan' is not a number of seconds.")
    return seconds


@click.group(name="bench", invoke_without_command=True, epilog="""\b
Examples:
  ringfence bench                             a fresh service, three rounds, about two minutes
  ringfence bench --json                      the same for machines
  ringfence bench --rounds 5 --seconds 15     longer, for a noisy machine
  ringfence bench --endpoint                  with merchants that are told of every purchase
  ringfence bench --sandbox data/sandbox.json the service that already runs there

Ends with 0 when every acknowledged payment is there exactly once, 1 where anything was wrong, 2 for a wrong command line.""")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Rounds of the service, each between two of pgbench.")
@click.option("--seconds", default=8.0, show_default=True, type=click.FloatRange(1, 3600), callback=_number, help="How long each side runs.")
@click.option("--connections", default=256, show_default=True, type=click.IntRange(1, 10_000), help="Kept connections.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Worker processes of the service.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False),
              help="Data folder to start a service on; a new one otherwise, removed at the end.")
@click.option("--sandbox", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="Its sandbox.json: measure a service that already runs.")
@click.option("--scale", default=50, show_default=True, type=click.IntRange(1), help="Scale of pgbench's TPC-B.")
@click.option("--skip-pgbench", is_flag=True, help="The service alone; there is no ratio then.")
@click.option("--endpoint", is_flag=True, help="The merchants are told of every purchase meanwhile, at a receiver of ours.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.pass_context
def bench_command(context: click.Context, rounds: int, seconds: float, connections: int, workers: int, data: Path | None, sandbox: Path | None,
                  scale: int, skip_pgbench: bool, endpoint: bool, as_json: bool) -> None:
    """Measure durable payments a second beside pgbench, on the same server and disk.

    Purchases with stored cards go over the APS API as merchants send them: signed, each with a new reference, over kept connections.
    Afterwards the database and the proof are asked for every payment that was acknowledged.
    """
    if context.invoked_subcommand is not None:
        return
    if data and sandbox:
        raise click.UsageError("--data starts a service and --sandbox names one that runs: give one of them.")
    console = Console(stderr=as_json)
    plan = Plan(rounds=rounds, seconds=seconds, warm_up=min(2.0, seconds / 4), connections=connections)
    with measuring(console, as_json, {"errors": 1, "verified": False}, "failures") as bench:
        service = running(sandbox) if sandbox else bench.stack.enter_context(started(data or bench.folder / "data", workers))
        if not skip_pgbench:
            bench.step(f"Filling pgbench's tables, scale {scale}", scale / 6)
        neighbour = alone() if skip_pgbench else Neighbour(service.dsn, find_binaries(), scale)
        sink = bench.stack.enter_context(receiving(service)) if endpoint else None
        report = run(plan, service, neighbour, bench.folder / "acknowledged.jsonl", bench.step)
        told = arrived(sink, report.acknowledged, bench.step) if sink else None
    if told and told.distinct < report.acknowledged:
        report = report._replace(faults=[*report.faults, f"Of {report.acknowledged:,} purchases, {told.distinct:,} were told of."])
    announce(report, console, as_json, told)
    if not report.passed:
        context.exit(Exit.CHECK_FAILED)


@bench_command.command(name="expiry", epilog="""\b
Examples:
  ringfence bench expiry --count 20000            a fresh service, about half a minute
  ringfence bench expiry --count 1000000 --json   the whole, for machines: some fifteen minutes, 3 GB of disk

Ends with 0 when every hold was given back exactly once and the proof agrees, 1 otherwise, 2 for a wrong command line.""")
@click.option("--count", default=100_000, show_default=True, type=click.IntRange(1, 10_000_000), help="Holds that expire together.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Worker processes of the service.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def expiry_command(count: int, workers: int, as_json: bool) -> None:
    """Measure how long very many authorizations take that expire together.

    They are made through the engine, the sandbox's clock is moved by seven days, and the service gives them back while one client
    goes on buying.  Afterwards the database and the proof are asked.
    """
    from ringfence.bench import expiry
    console = Console(stderr=as_json)
    with measuring(console, as_json, {"count": count, "voided": 0, "proof_ok": False}) as bench:
        service = bench.stack.enter_context(started(bench.folder / "data", workers))
        expired = expiry.run(count, workers, service, bench.folder / "acknowledged.jsonl", bench.step)
    tell(expired, expiry.show, console, as_json)


@bench_command.command(name="batch", epilog="""\b
Examples:
  ringfence bench batch --rows 100000            a fresh service, about half a minute
  ringfence bench batch --rows 1000000 --json    the whole, for machines
  ringfence bench batch --rows 200000 --kill 2   with workers killed in the middle

Ends with 0 when every row was carried out exactly once and the proof agrees, 1 otherwise, 2 for a wrong command line.""")
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(1, 10_000_000), help="Recurring purchases in the file.")
@click.option("--tokens", default=1_000, show_default=True, type=click.IntRange(1, 1_000), help="Stored cards they are paid with.")
@click.option("--kill", "kills", default=0, show_default=True, type=click.IntRange(0, 20), help="Kill a worker so often in the middle.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Worker processes of the service.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def batch_command(rows: int, tokens: int, kills: int, workers: int, as_json: bool) -> None:
    """Measure a batch file, from the first uploaded byte to the last byte of its results.

    One client goes on buying meanwhile.  Afterwards the results, the database and the proof are asked.
    """
    from ringfence.bench import batch
    console = Console(stderr=as_json)
    with measuring(console, as_json, {"rows": rows, "proof_ok": False}) as bench:
        service = bench.stack.enter_context(started(bench.folder / "data", workers, batch_limit=str(2**30), batch_rows=str(10_000_000)))
        measured = batch.run(rows, tokens, kills, service, bench.folder, bench.step)
    tell(measured, batch.show, console, as_json)


@bench_command.command(name="plans", epilog="""\b
Examples:
  ringfence bench plans --count 20000             a fresh service, about half a minute
  ringfence bench plans --count 1000000 --json    the whole, for machines
  ringfence bench plans --count 100000 --kill 2   with workers killed in the middle

Ends with 0 when every plan was charged exactly once and the proof agrees, 1 otherwise, 2 for a wrong command line.""")
@click.option("--count", default=100_000, show_default=True, type=click.IntRange(1, 10_000_000), help="Plans that are due on one day.")
@click.option("--tokens", default=1_000, show_default=True, type=click.IntRange(1, 1_000), help="Stored cards they charge.")
@click.option("--kill", "kills", default=0, show_default=True, type=click.IntRange(0, 20), help="Kill a worker so often in the middle.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Worker processes of the service.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def plans_command(count: int, tokens: int, kills: int, workers: int, as_json: bool) -> None:
    """Measure how long very many plans take that are due on one day.

    The sandbox's clock is moved to the day, and the service charges them while one client goes on buying.  Afterwards the plans, the
    payments and the proof are asked.
    """
    from ringfence.bench import plans
    console = Console(stderr=as_json)
    with measuring(console, as_json, {"count": count, "charged": 0, "proof_ok": False}) as bench:
        service = bench.stack.enter_context(started(bench.folder / "data", workers))
        charged = plans.run(count, tokens, kills, service, bench.folder / "acknowledged.jsonl", bench.step)
    tell(charged, plans.show, console, as_json)


@bench_command.command(name="jwo", epilog="""\b
Examples:
  ringfence bench jwo                            a thousand shoppers, about half a minute
  ringfence bench jwo --shoppers 200 --json      fewer, for machines

Ends with 0 when every answer was right and within a second and the proof agrees, 1 otherwise, 2 for a wrong command line.""")
@click.option("--shoppers", default=1_000, show_default=True, type=click.IntRange(1, 4_000), help="How many leave at once, each on a connection.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Worker processes of the service.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def jwo_command(shoppers: int, workers: int, as_json: bool) -> None:
    """Measure how long shoppers wait who leave a store at once.

    All Adjusts are sent within 100 ms, and each Capture right after its Adjust was answered.  Afterwards the trips, the payments and the
    proof are asked.
    """
    from ringfence.bench import leaving
    console = Console(stderr=as_json)
    with measuring(console, as_json, {"shoppers": shoppers, "passed": False}) as bench:
        service = bench.stack.enter_context(started(bench.folder / "data", workers))
        left = leaving.run(shoppers, service, bench.step)
    tell(left, leaving.show, console, as_json)


def arrived(sink: Sink, count: int, step: Callable[[str, float], None]) -> Arrived:
    """What the merchants were told once they know of so many payments, or nothing new came for a while."""
    step(f"Waiting for the webhooks of {count:,} purchases", count / 5_000)
    told = sink.figures()
    came = time.monotonic()
    while told.distinct < count and time.monotonic() < came + WEBHOOK_SECONDS:
        time.sleep(0.25)
        before, told = told, sink.figures()
        if told.distinct > before.distinct:
            came = time.monotonic()
    return told


def announce(report: Report, console: Console, as_json: bool, told: Arrived | None = None) -> None:
    """Prints the report, and what merchants were told where they were: one JSON object, or tables."""
    if as_json:
        click.echo(json.dumps(report.as_json() | ({"webhooks": told._asdict()} if told else {}), indent=2))
        return
    show(report, console)
    if told:
        console.print(f"webhooks: {told.received:,} received, {told.distinct:,} different ones; a purchase and its first one took "
                      f"{told.lag_p50_ms} ms, 99th percentile {told.lag_p99_ms} ms")
