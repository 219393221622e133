"""``ringfence jwo report``: what became of trips."""
from __future__ import annotations

import sys
from urllib.parse import urlencode

import click

from ringfence.cli.jwo_receipt import first
from ringfence.cli.options import configuration, data_option
from ringfence.cli.service import needed


@click.command(epilog="""\b
Examples:
  ringfence jwo report --from 2026-11-01 --to 2026-12-01 > november.csv
  ringfence jwo report --from 2026-11-21T00:00:00-05:00 --store STORE-001 --json | jq '.totals'

\b
Trips that began in the interval: charged, uncharged, cancelled, expired or refused, what they owe, and what to reconcile by.
In CSV amounts have their currency's decimals, and a total follows for each currency; in JSON they are minor units.
Exit codes: 0 done · 2 usage · 8 the service is not running · 9 refused""")
@click.option("--from", "since", metavar="INSTANT", default="2020-01-01", show_default=True, help="An instant with its offset, or a day.")
@click.option("--to", "until", metavar="INSTANT", help="The first instant that no longer counts.  [default: now]")
@click.option("--store", metavar="STORE", help="Only this one's.")
@click.option("--merchant", metavar="ID", help="Whose trips.  [default: the first merchant]")
@click.option("--csv/--json", "as_csv", default=True, show_default=True, help="How it is written.")
@data_option
def report(since: str, until: str | None, store: str | None, merchant: str | None, as_csv: bool, data: str | None) -> None:
    """Report what became of trips, and what their money came to."""
    config = configuration(data)
    service = needed(config)
    asked = {"merchant": merchant or first(config), "from": since, "to": until, "store": store, "format": "csv" if as_csv else "json"}
    for part in service.stream("/admin/jwo/report?" + urlencode({name: value for name, value in asked.items() if value is not None})):
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()
    if not as_csv:
        click.echo()
