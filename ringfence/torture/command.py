"""``ringfence torture``: the command line of the torture suite."""
from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console

from ringfence import __version__
from ringfence.bench.measuring import disk_folder, steps
from ringfence.failures import Exit, Failure
from ringfence.torture.report import Report, show
from ringfence.torture.tally import MOST, Tally, TallyUnreadable, choose


@click.command(name="torture", epilog="""\b
Examples:
  ringfence torture                                    20 kills and 2 of the database, about two minutes
  ringfence torture --kills 0 --database-kills 0       the same load and judgement, and nobody dies
  ringfence torture --kills 100 --seed 7 --json        the same for machines
  ringfence torture --kills 100 --seed 1 --tally torture.json, then --seed 2, …    runs add up

Ends with 0 when nothing is lost, duplicated or unresolved and the proof passes, 1 where anything was wrong, 2 for a wrong command
line.""")
@click.option("--kills", default=20, show_default=True, type=click.IntRange(0, MOST),
              help="Kills of the service: its processes, at any moment or at named points.")
@click.option("--database-kills", default=2, show_default=True, type=click.IntRange(0, MOST), help="Kills of PostgreSQL, between the others.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0, 2**62), help="What chance follows from: orders, cards, victims.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 16), help="Worker processes of the service.")
@click.option("--separate-worker", is_flag=True, help="A `ringfence worker` beside, which dies too.")
@click.option("--tally", "tally_file", type=click.Path(path_type=Path, dir_okay=False),
              help="Add this run to those of a file, and choose the kinds of kills that are missing there.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False),
              help="An empty folder to run in, kept afterwards; a new one otherwise, removed at the end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.pass_context
def torture(context: click.Context, kills: int, database_kills: int, seed: int, workers: int, separate_worker: bool, tally_file: Path | None,
            data: Path | None, as_json: bool) -> None:
    """Kill the service under load, again and again, and prove that nothing is lost.

    Starts a sandbox of its own and pays over the APS API, with cards that lose, delay and garble answers, while it kills processes
    at random and at named points, and PostgreSQL.  Afterwards the ledger, the simulator's book and what clients saw acknowledged
    must tell one story.
    """
    try:
        tally = Tally(tally_file.absolute()) if tally_file else None
    except TallyUnreadable as why:
        raise click.UsageError(str(why)) from why
    if data and data.exists() and any(data.iterdir()):
        raise click.UsageError(f"--data {data} is not empty: the torture runs on an installation of its own.")
    console = Console(stderr=as_json)
    if tally and (had := tally.run_of(seed, __version__)):
        click.echo(f"Seed {seed} has had its run with version {__version__}; its report stands in {tally.path}.", err=True)
        context.exit(Exit.OK if had["passed"] else Exit.CHECK_FAILED)
    report = _run(kills, database_kills, seed, workers, separate_worker, tally, data, console, as_json)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        show(report, console)
    if tally:
        tally.add(report.as_json())
    if not report.passed:
        context.exit(Exit.CHECK_FAILED)


def _run(kills: int, database_kills: int, seed: int, workers: int, separate: bool, tally: Tally | None, data: Path | None, console: Console,
         as_json: bool) -> Report:
    from ringfence.torture.load import chances
    from ringfence.torture.service import ServiceFailed
    from ringfence.torture.trial import Plan, tortured
    kinds = choose(kills, tally.kinds if tally else {}, chances(seed, "kinds"))
    try:
        with ExitStack() as stack:
            if data is None:
                new = tempfile.TemporaryDirectory(prefix="ringfence-torture-", dir=disk_folder(), ignore_cleanup_errors=True)
                folder = Path(stack.enter_context(new))
            else:
                folder = data.absolute()
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            step = stack.enter_context(steps(console, quiet=as_json))
            return asyncio.run(tortured(Plan(tuple(kinds), database_kills, seed, workers, separate), folder, step))
    except ServiceFailed as why:
        raise Failure(Exit.CHECK_FAILED, str(why)) from why
