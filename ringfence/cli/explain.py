"""``ringfence explain``."""
from __future__ import annotations

from urllib.parse import urlencode

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json
from ringfence.cli.service import admin, segment


@click.command(epilog="""\b
Examples:
  ringfence explain ORD-1002
  ringfence explain 169996200024611493 --json
  ringfence explain ORD-1002 --merchant RingfenceOne

\b
Exit codes: 0 told · 6 database · 9 no payment has that name""")
@click.argument("name", metavar="REFERENCE_OR_ID")
@click.option("--merchant", metavar="ID", help="Only among this merchant's payments.")
@data_option
@json_option
def explain(name: str, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Tell a payment's story in sentences: requests, decisions, processor messages, transfers."""
    only = f"?{urlencode({'merchant': merchant})}" if merchant is not None else ""
    story = admin(configuration(data), "GET", f"/admin/payments/{segment(name)}{only}")
    if as_json:
        print_json(story)
        return
    for payment in story["payments"]:
        click.echo(f"Payment {payment['payment']} of {payment['merchant']}")
        click.echo(f"{'Its names:':>21} {', '.join(f'{called} {name}' for called, name in payment['names'].items())}")
        for told in payment["story"]:
            at = told["at"][:19].replace("T", " ") if told["at"] else ""
            click.echo(f"  {at:19}  {told['text']}")
