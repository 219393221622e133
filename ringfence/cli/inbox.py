"""``ringfence inbox``: list, show."""
from __future__ import annotations

from urllib.parse import urlencode

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import admin, segment


@click.group(epilog="""\b
Examples:
  ringfence inbox list
  ringfence inbox show 911895643197276161""")
def inbox() -> None:
    """Read the letters and SMS that payers would have got: the sandbox sends nobody anything unless a mail server is configured.

    A browser shows them at /sandbox/inbox, and asks for the admin token (any user name).
    """


@inbox.command(name="list", epilog="""\b
Examples:
  ringfence inbox list
  ringfence inbox list --merchant RingfenceOne --json | jq -r '.messages[].subject'""")
@click.option("--merchant", metavar="ID", help="Only what this merchant sent.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="So many, the newest first.")
@data_option
@json_option
def list_(merchant: str | None, limit: int, data: str | None, as_json: bool) -> None:
    """List what arrived, the newest first."""
    asked = {"limit": str(limit)} | ({"merchant": merchant} if merchant is not None else {})
    answer = admin(configuration(data), "GET", f"/admin/inbox?{urlencode(asked)}")
    if as_json:
        print_json(answer)
        return
    if not answer["messages"]:
        click.echo("Nothing has arrived.")
        return
    print_table(("message", "received", "merchant", "medium", "to", "subject"), [
        (one["id"], one["received_at"][:16].replace("T", " "), one["merchant"], one["medium"], one["to"], one["subject"])
        for one in answer["messages"]])


@inbox.command(epilog="""\b
Examples:
  ringfence inbox show 911895643197276161
  ringfence inbox show 911895643197276161 --html > letter.html

\b
Exit codes: 0 shown · 6 database · 9 there is no such message""")
@click.argument("message")
@click.option("--html", is_flag=True, help="Only the letter's HTML.")
@data_option
@json_option
def show(message: str, html: bool, data: str | None, as_json: bool) -> None:
    """Show one message as it arrived."""
    one = admin(configuration(data), "GET", f"/admin/inbox/{segment(message)}")
    if as_json:
        print_json(one)
    elif html:
        click.echo(one["html"])
    else:
        print_pairs([(name, one[name]) for name in ("from", "to", "subject", "received_at") if one[name]])
        click.echo(f"\n{one['text']}")
