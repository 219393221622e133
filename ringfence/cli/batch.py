"""``ringfence batch``: batch files from the command line: look a file through, hand it in, let it go, watch it, read what became of it."""
from __future__ import annotations

import secrets
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import Running, admin, credential, needed, sandbox, segment
from ringfence.config import Config
from ringfence.core.money import format_minor
from ringfence.failures import Exit, Failure

LOOK_SECONDS = 0.2
ENDED = ("done", "cancelled", "invalid")
_merchant = click.option("--merchant", metavar="ID", help="Whose file.  [default: the sandbox's first merchant]")


@click.group(epilog="""\b
Examples:
  ringfence batch submit payments.csv
  ringfence batch list
  ringfence batch status 911974485626720256
  ringfence batch results 911974485626720256 > results.csv
  ringfence batch cancel 911974485626720256""")
def batch() -> None:
    """Hand in batch files, watch them, and read what became of every row."""


@batch.command(epilog="""\b
Examples:
  ringfence batch submit payments.csv
  ringfence batch submit payments.csv --reference MARCH --yes
  ringfence batch submit payments.csv --check          look through, move nothing
  ringfence batch submit payments.csv --force --yes    although its content was processed before

\b
Exit codes: 0 every row was carried out · 1 the file or some of its rows were refused · 8 no service runs · 9 not taken""")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--reference", metavar="NAME", help="The batch_reference.  [default: a random one]")
@click.option("--check", is_flag=True, help="Hand it in and have it looked through; no money moves.")
@click.option("--yes", is_flag=True, help="Let it go without asking.")
@click.option("--force", is_flag=True, help="Let it go although the same content was processed in the last 30 days.")
@_merchant
@data_option
@json_option
def submit(file: Path, reference: str | None, check: bool, yes: bool, force: bool, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Hand a file in, show what it comes to, have it carried out, and wait for it.

    Errors are told by line and column before any money moves, and so are the totals by kind and currency.
    """
    from ringfence.cli import batch_wire
    config = configuration(data)
    shop, name = _shop(config, merchant), reference or f"B-{secrets.token_hex(6)}"
    with _bar(file.stat().st_size, "handed in", as_json) as moved:
        answer = batch_wire.upload(shop, name, file, moved)
    if answer.code != "50000":
        _refused(answer, as_json)
    number = answer.fields["batch_id"]
    shown = _until(config, number, "validating")
    if not as_json:
        _show_totals(shown)
    if shown["state"] == "invalid":
        _show(shown, as_json)
        sys.exit(Exit.CHECK_FAILED)
    if shown["repeats"] and not force:
        if as_json:
            print_json(shown)
        else:
            click.echo(f"The same content was processed as batch {shown['repeats']}. What it would newly move: "
                       f"{_sum_up(shown['new_totals'])}. To do so: --force")
        sys.exit(Exit.CHECK_FAILED)
    if check or not (yes or as_json or click.confirm("Carry this out?")):
        _show(shown, as_json)
        return
    let_go = batch_wire.ask(shop, "PROCESS_BATCH", name, force=number if force else "")
    if let_go is not None and let_go.code != "72147":
        _refused(let_go, as_json)
    with _bar(shown["rows"], "carried out", as_json) as moved:
        while (shown := _shown(config, number))["state"] not in ENDED:
            moved(shown["progress"]["done"])
            time.sleep(LOOK_SECONDS)
        moved(shown["rows"])
    _show(shown, as_json)
    sys.exit(Exit.OK if shown["agrees"] and all(one["ended"] == "approved" for one in shown["sums"]) else Exit.CHECK_FAILED)


@batch.command(name="list", epilog="""\b
Examples:
  ringfence batch list
  ringfence batch list --merchant RingfenceOne --json""")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="So many, newest first.")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def list_(limit: int, merchant: str | None, data: str | None, as_json: bool) -> None:
    """List the newest files."""
    given = {"limit": str(limit)} | ({"merchant": merchant} if merchant else {})
    found = admin(configuration(data), "GET", f"/admin/batches?{urlencode(given)}")
    if as_json:
        print_json(found)
        return
    print_table(("batch", "merchant", "reference", "rows", "state", "handed in"), [
        (one["batch_id"], one["merchant"], one["batch_reference"], one["rows"], one["state"], one["uploaded_at"][:19])
        for one in found["batches"]], right=("rows",))


@batch.command(epilog="""\b
Examples:
  ringfence batch status 911974485626720256
  ringfence batch status MARCH --json""")
@click.argument("name")
@_merchant
@data_option
@json_option
def status(name: str, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Show how far a file has come, what it comes to, and what is wrong with it.

    NAME is its number or its batch_reference.
    """
    config = configuration(data)
    _show(_shown(config, _number(config, name, merchant)), as_json)


@batch.command(epilog="""\b
Examples:
  ringfence batch results 911974485626720256 > results.csv""")
@click.argument("name")
@_merchant
@data_option
def results(name: str, merchant: str | None, data: str | None) -> None:
    """Write what became of every row as CSV to standard output.

    NAME is its number or its batch_reference.
    """
    config = configuration(data)
    service, number = needed(config), _number(config, name, merchant)
    shown = _shown(config, number)
    if shown["state"] not in ("done", "cancelled"):
        raise Failure(Exit.REFUSED, f"The batch is {shown['state']}: its results are not all known.")
    asked = urllib.request.Request(f"{service.base_url}/admin/batches/{number}/results", headers={"authorization": f"Bearer {service.token}"})
    try:
        with urllib.request.urlopen(asked, timeout=600, context=_trust(service)) as answer:
            shutil.copyfileobj(answer, sys.stdout.buffer)
    except urllib.error.HTTPError as error:
        raise Failure(Exit.REFUSED, f"The service answered {error.code}.") from error


@batch.command(epilog="""\b
Examples:
  ringfence batch cancel 911974485626720256""")
@click.argument("name")
@_merchant
@data_option
@json_option
def cancel(name: str, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Stop a file at a row's boundary; its results say which rows moved money.

    NAME is its number or its batch_reference.
    """
    config = configuration(data)
    number = _number(config, name, merchant)
    admin(config, "POST", f"/admin/batches/{number}/cancel")
    _show(_until(config, number, "cancelling"), as_json)


# -- what they share

def _shop(config: Config, merchant: str | None) -> Any:
    from ringfence.cli.batch_wire import Shop
    service, known = needed(config), sandbox(config)
    if known is None:
        raise Failure(Exit.NOT_RUNNING, "There is no sandbox.json: only a sandbox gives its credentials away.")
    one = credential(config, known, merchant)
    return Shop(service.base_url, one["merchant_identifier"], one["access_code"], one["sha_request_phrase"], one["sha_type"], service.authority)


def _trust(service: Running) -> Any:
    import ssl
    return ssl.create_default_context(cafile=str(service.authority)) if service.authority else None


def _number(config: Config, name: str, merchant: str | None) -> str:
    if name.isdecimal() and name.isascii() and len(name) >= 15:
        return name
    identifier = merchant or (sandbox(config) or {"merchants": [{"aps": {"merchant_identifier": ""}}]})["merchants"][0]["aps"]["merchant_identifier"]
    found = admin(config, "GET", "/admin/batches?" + urlencode({"merchant": identifier, "reference": name}))["batches"]
    if not found:
        raise Failure(Exit.REFUSED, f"{identifier} has no batch called {name!r}.")
    return found[0]["batch_id"]


def _shown(config: Config, number: str) -> dict[str, Any]:
    return admin(config, "GET", f"/admin/batches/{segment(number)}")


def _until(config: Config, number: str, while_state: str) -> dict[str, Any]:
    while (shown := _shown(config, number))["state"] == while_state:
        time.sleep(LOOK_SECONDS)
    return shown


def _refused(answer: Any, as_json: bool) -> None:
    if as_json:
        print_json(answer.fields | {"reason": answer.reason})
        sys.exit(Exit.CHECK_FAILED)
    raise Failure(Exit.REFUSED, f"{answer.code} {answer.fields.get('response_message', '')}" + (f": {answer.reason}" if answer.reason else ""))


def _sum_up(totals: list[dict[str, Any]] | None) -> str:
    return ", ".join(f"{one['rows']:,} {one['kind']}" + (f" {format_minor(one['minor'], one['currency'])}" if one["minor"] else "")
                     + (f" {one['ended']}" if "ended" in one else "") for one in totals or []) or "nothing"


def _show_totals(shown: dict[str, Any]) -> None:
    click.echo(f"batch {shown['batch_id']} ({shown['batch_reference']}): {shown['rows']:,} rows: {_sum_up(shown['totals'])}")


def _show(shown: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(shown)
        return
    progress = shown["progress"]
    lines: list[tuple[str, object]] = [("merchant", shown["merchant"]), ("reference", shown["batch_reference"]), ("state", shown["state"]),
             ("rows", f"{shown['rows']:,}"), ("totals", _sum_up(shown["totals"]))]
    if shown["processed_at"]:
        lines.append(("carried out", f"{progress['done']:,} rows, {progress['failed']:,} failed, {progress['unknown']:,} in doubt at first; "
                                     f"{progress['per_second']:,} a second"))
    if progress["seconds_left"] is not None:
        lines.append(("time left", f"{progress['seconds_left']:,.0f} s"))
    if shown["sums"] is not None:
        lines += [("came to", _sum_up(shown["sums"])), ("agrees", "yes" if shown["agrees"] else "NO: the sums do not come to the totals")]
    if shown["repeats"]:
        lines += [("repeats", shown["repeats"]), ("would newly move", _sum_up(shown["new_totals"]))]
    print_pairs(lines, title=f"batch {shown['batch_id']}")
    if shown["faults"]:
        from ringfence.api.aps.codes import text_of
        click.echo(f"\n{shown['wrong_rows']:,} rows are wrong; the first faults:")
        print_table(("line", "column", "what is wrong"), [
            (one["line"], one["column"] or "", text_of(one["message"], "en")) for one in shown["faults"][:50]], right=("line",))


class _bar:     # read as a verb: with _bar(...) as moved
    """A progress bar on standard error; nothing where machines read."""

    def __init__(self, total: int, what: str, is_quiet: bool) -> None:
        self._total, self._what, self._quiet = total, what, is_quiet

    def __enter__(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        self._bars = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                              console=Console(stderr=True), disable=self._quiet, transient=True)
        self._bars.start()
        task = self._bars.add_task(self._what, total=self._total)
        return lambda done: self._bars.update(task, completed=done)

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
