"""``ringfence report``: generate, download, list."""
from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import IO, Any

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_table
from ringfence.cli.service import Running, admin, needed, segment
from ringfence.config import Config
from ringfence.failures import Exit, Failure

LOOK_SECONDS, LOOK_AT_MOST = 0.05, 1.0


@click.group(epilog="""\b
Examples:
  ringfence report generate --from 2026-11-01T00:00:00Z --to 2026-11-30T23:59:59Z
  ringfence report download report-1 --output november.csv
  ringfence report list""")
def report() -> None:
    """Have reports of operations made, and download them."""


@report.command(epilog="""\b
Examples:
  ringfence report generate --from 2026-11-01T00:00:00+03:00 --to 2026-11-30T23:59:59+03:00
  ringfence report generate --reference NOV --columns fort_id,operation,amount,currency --filter currency=AED --filter status=14
  ringfence report generate --no-wait --json

\b
Filters of one key name alternatives; all keys must agree.  Columns and keys: docs/reporting.md.
Exit codes: 0 made, or waiting with --no-wait · 1 it cannot be had · 2 usage · 8 the service is not running · 9 refused""")
@click.option("--merchant", metavar="ID", help="Whose operations.  [default: the only merchant, or the sandbox's first]")
@click.option("--from", "since", metavar="INSTANT", default="2000-01-01T00:00:00Z", show_default=True,
              help="ISO 8601 with its offset, in which the report's times are written.")
@click.option("--to", "until", metavar="INSTANT", help="The last second that counts.  [default: now]")
@click.option("--columns", metavar="A,B,…", help="What to say of each operation.  [default: everything]")
@click.option("--filter", "filters", metavar="KEY=VALUE", multiple=True, help="Only operations whose column says so; up to ten times.")
@click.option("--reference", metavar="NAME", help="The report's name.  [default: report-NUMBER]")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is made.")
@data_option
@json_option
def generate(merchant: str | None, since: str, until: str | None, columns: str | None, filters: tuple[str, ...], reference: str | None,
             wait: bool, data: str | None, as_json: bool) -> None:
    """Have a report made of the operations that were asked in an interval of business time."""
    config = configuration(data)
    needed(config)
    order: dict[str, Any] = {
        "merchant": _merchant(config, merchant), "from": since, "to": until or _now(config), "filters": list(map(_filter, filters))}
    if columns is not None:
        order["columns"] = [name.strip() for name in columns.split(",")]
    if reference is not None:
        order["reference"] = reference
    made = admin(config, "POST", "/admin/reports", order)
    if wait:
        made = _made(config, made)
    if as_json:
        print_json(made)
    else:
        click.echo(f"Report {made['reference']} of {made['merchant']} {_state(made)}.")
    sys.exit(Exit.OK if made["state"] in ("waiting", "ready") else Exit.CHECK_FAILED)


@report.command(epilog="""\b
Examples:
  ringfence report download NOV                              a table
  ringfence report download NOV --format csv > november.csv
  ringfence report download NOV --format xml --output november.xml

\b
In CSV a cell that a spreadsheet would compute stands behind an apostrophe.
Exit codes: 0 done · 4 the file cannot be written · 8 the service is not running · 9 refused""")
@click.argument("reference")
@click.option("--merchant", metavar="ID", help="Whose report.  [default: the only merchant, or the sandbox's first]")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json", "xml"]), help="[default: csv with --output, else a table]")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file instead of standard output.")
@data_option
@json_option
def download(reference: str, merchant: str | None, form: str | None, output: Path | None, data: str | None, as_json: bool) -> None:
    """Print the rows of a report, or write them to a file."""
    config = configuration(data)
    service = needed(config)
    form = "json" if as_json else form or ("table" if output is None else "csv")
    address = f"/admin/reports/{segment(_merchant(config, merchant))}/{segment(reference)}"
    if form == "table":
        if output is not None:
            raise click.UsageError("--output goes with --format csv, json or xml.")
        _table(service, address)
    elif output is None:
        _copy(service, f"{address}/rows?format={form}", sys.stdout.buffer)
    else:
        _save(service, f"{address}/rows?format={form}", output, admin(config, "GET", address)["rows"])


@report.command(name="list", epilog="""\b
Examples:
  ringfence report list
  ringfence report list --merchant RingfenceOne --json""")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def list_(merchant: str | None, data: str | None, as_json: bool) -> None:
    """List the reports that are kept, the latest first."""
    answer = admin(configuration(data), "GET", "/admin/reports" + (f"?merchant={segment(merchant)}" if merchant is not None else ""))
    if as_json:
        print_json(answer)
        return
    if not answer["reports"]:
        click.echo("There are no reports.")
        return
    print_table(("reference", "merchant", "state", "rows", "from", "until", "requested"), [
        (one["reference"], one["merchant"], one["state"], one["rows"], one["from"], one["until"], one["requested_at"])
        for one in answer["reports"]], right=("rows",))


def _merchant(config: Config, merchant: str | None) -> str:
    return merchant if merchant is not None else admin(config, "GET", "/admin/merchants")["merchants"][0]["identifier"]


def _now(config: Config) -> str:
    """The instant of business time, to the second that has begun."""
    return admin(config, "GET", "/admin/clock")["now"][:19] + "Z"


def _filter(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--filter {text!r} is not KEY=VALUE.")
    return {"key": key, "value": value}


def _made(config: Config, report: dict[str, Any]) -> dict[str, Any]:
    """The report once it is made, with its rows counted on a terminal meanwhile."""
    address, pause = f"/admin/reports/{segment(report['merchant'])}/{segment(report['reference'])}", LOOK_SECONDS
    shows = sys.stderr.isatty()
    while report["state"] == "waiting":
        time.sleep(pause)
        pause = min(pause * 1.5, LOOK_AT_MOST)
        report = admin(config, "GET", address)
        if shows:
            click.echo(f"\r{report['rows']} rows", nl=False, err=True)
    if shows:
        click.echo("\r\033[K", nl=False, err=True)
    return report


def _state(report: dict[str, Any]) -> str:
    rows = "1 row" if report["rows"] == 1 else f"{report['rows']} rows"
    return {
        "waiting": "waits to be made", "ready": f"is ready: {rows}", "too_many": "cannot be made: it would have more than 200000 rows",
        "failed": "could not be made; the service's log says why", "erased": "is erased",
    }[report["state"]]


def _table(service: Running, address: str) -> None:
    status, one = service.call("GET", address)
    if status >= 400:
        raise Failure(Exit.REFUSED, one["error"])
    status, answer = service.call("GET", f"{address}/rows?format=json")
    if status >= 400:
        raise Failure(Exit.REFUSED, answer["error"])
    rows = answer.get("data", [])
    if not rows:
        click.echo("The report has no rows.")
        return
    shown = [name for name in one["columns"] if any(name in row for row in rows)]
    print_table(shown, [[row.get(name, "") for name in shown] for row in rows], right=("amount",))


def _copy(service: Running, address: str, file: IO[bytes], told: Any = None) -> int:
    written = 0
    for part in service.stream(address):
        file.write(part)
        written += len(part)
        if told is not None:
            told(written)
    file.flush()
    return written


def _save(service: Running, address: str, path: Path, rows: int) -> None:
    """Whole or not at all; how much has come is told on a terminal."""
    beside = path.with_name(f".{path.name}.part")
    shows = sys.stderr.isatty()
    try:
        with beside.open("wb") as file:
            size = _copy(service, address, file, (lambda many: click.echo(f"\r{many >> 10} kB", nl=False, err=True)) if shows else None)
        os.replace(beside, path)
    except OSError as error:
        raise Failure(Exit.DATA_FOLDER, f"{path} cannot be written: {error.strerror}.") from error
    finally:
        beside.unlink(missing_ok=True)
    if shows:
        click.echo("\r\033[K", nl=False, err=True)
    click.echo(f"{path}: {rows} rows, {size} bytes")
