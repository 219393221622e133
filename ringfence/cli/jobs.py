"""``ringfence jobs``: what failed too often in the background, and trying it again."""
from __future__ import annotations

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_table
from ringfence.cli.service import admin
from ringfence.engine.metrics import QUEUES

_merchant = click.option("--merchant", metavar="ID", help="Only this merchant's.")


@click.group(epilog="""\b
Examples:
  ringfence jobs list
  ringfence jobs retry --queue report""")
def jobs() -> None:
    """Look at jobs that were set aside, and have them tried again."""


@jobs.command(name="list", epilog="""\b
Examples:
  ringfence jobs list
  ringfence jobs list --merchant RingfenceOne --json""")
@_merchant
@data_option
@json_option
def list_(merchant: str | None, data: str | None, as_json: bool) -> None:
    """List jobs that failed so often that nobody tries them any more."""
    found = admin(configuration(data), "GET", "/admin/jobs" + (f"?merchant={merchant}" if merchant else ""))
    if as_json:
        print_json(found)
    elif not found["jobs"]:
        click.echo("No job was set aside.")
    else:
        print_table(("merchant", "queue", "subject", "payment", "failures", "what it met"), [
            (one["merchant"], one["queue"], one["subject"], one["payment"] or "", one["failures"], one["note"]) for one in found["jobs"]],
            right=("failures",), folds=("what it met",))


@jobs.command(epilog="""\b
Examples:
  ringfence jobs retry                                      all of them
  ringfence jobs retry --queue plan --merchant RingfenceOne
  ringfence jobs retry --queue plan --subject 7

\b
Exit codes: 0 done · 2 usage · 9 refused""")
@click.option("--queue", type=click.Choice(QUEUES), help="Only those of this kind.")
@click.option("--subject", metavar="NUMBER", help="Only this one, with --queue.")
@_merchant
@data_option
@json_option
def retry(queue: str | None, subject: str | None, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Have jobs that were set aside tried again at once."""
    if subject is not None and queue is None:
        raise click.UsageError("--subject goes with --queue.")
    given = {"queue": queue, "subject": subject, "merchant": merchant}
    done = admin(configuration(data), "POST", "/admin/jobs/retry", {name: value for name, value in given.items() if value is not None})
    if as_json:
        print_json(done)
    else:
        click.echo("1 job is tried again." if done["jobs"] == 1 else f"{done['jobs']} jobs are tried again.")
