"""``ringfence retention``: show, run."""
from __future__ import annotations

from typing import Any

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_table
from ringfence.cli.service import admin


@click.group(epilog="""\b
Examples:
  ringfence retention show
  ringfence retention run --dry-run
  ringfence retention run --payment ORDER-1""")
def retention() -> None:
    """Show how long what is kept, and erase what nothing needs any more."""


@retention.command(epilog="""\b
Examples:
  ringfence retention show --json""")
@data_option
@json_option
def show(data: str | None, as_json: bool) -> None:
    """Show how long what is kept, and what a run would erase now."""
    _print(admin(configuration(data), "GET", "/admin/retention"), as_json)


@retention.command(epilog="""\b
Examples:
  ringfence retention run                          what is due; the service does so itself once a day
  ringfence retention run --dry-run                only say what would go
  ringfence retention run --payment ORDER-1        what can go of one payment, whatever its age

\b
A payment about which something is open is refused, with the reason. Its money can still be given back afterwards.
Exit codes: 0 done · 6 database · 9 refused""")
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@click.option("--payment", metavar="NAME", help="Only this payment: its id, or the reference it was begun with.")
@click.option("--merchant", metavar="ID", help="Whose payment it is, where several have that reference.")
@data_option
@json_option
def run(dry_run: bool, payment: str | None, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Erase card numbers, personal data and delivery logs that nothing needs any more."""
    if merchant is not None and payment is None:
        raise click.UsageError("--merchant goes with --payment.")
    order = {"dry_run": dry_run, "payment": payment, "merchant": merchant}
    given = {name: value for name, value in order.items() if value is not None}
    _print(admin(configuration(data), "POST", "/admin/retention", given), as_json)


def _print(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    policy = report["policy"]
    click.echo(f"Kept: cards {policy['card_days']}, personal data {policy['personal_days']}, deliveries {policy['delivery_days']}, "
               f"reports {policy['report_days']} days.")
    rows = [(line["what"].replace("_", " "), line["count"], line["reason"]) for line in report["lines"]]
    print_table(("what", "would go" if report["dry_run"] else "gone", "because"), rows, right=("would go", "gone"))
