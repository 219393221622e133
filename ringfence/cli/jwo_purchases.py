"""``ringfence jwo purchase``: list, again; and how a line of a cart is written."""
from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_table
from ringfence.cli.service import admin


def item_of(text: str) -> dict[str, str]:
    """A line of a cart, ``ID[:QUANTITY[:UNIT]]``."""
    return dict(zip(("id", "quantity", "unit"), text.split(":", 2), strict=False))


@click.group(epilog="""\b
Examples:
  ringfence jwo purchase list --state refused
  ringfence jwo purchase again""")
def purchase() -> None:
    """See which carts retailers were told of, and tell them again."""


@purchase.command(name="list", epilog="""\b
Examples:
  ringfence jwo purchase list
  ringfence jwo purchase list --state waiting --json""")
@click.option("--state", type=click.Choice(("waiting", "taken", "refused", "given_up")), help="Only those.")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def list_(state: str | None, merchant: str | None, data: str | None, as_json: bool) -> None:
    """List carts that retailers are told of, the newest first."""
    only = {name: value for name, value in (("state", state), ("merchant", merchant)) if value}
    answer = admin(configuration(data), "GET", "/admin/jwo/purchases" + (f"?{urlencode(only)}" if only else ""))
    if as_json:
        print_json(answer)
        return
    print_table(("trip", "store", "merchant", "state", "attempts", "purchase", "why"), [
        (one["trip"], one["store"], one["merchant"], one["state"], str(one["attempts"]), one["purchase_id"], one["note"])
        for one in answer["purchases"]], right=("attempts",))


@purchase.command(epilog="""\b
Examples:
  ringfence jwo purchase again                       all that were refused or given up
  ringfence jwo purchase again --trip TRIP""")
@click.option("--trip", metavar="TRIP", help="Only this trip's.")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def again(trip: str | None, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Tell retailers again of carts that were refused or given up."""
    body: dict[str, Any] = {name: value for name, value in (("trip", trip), ("merchant", merchant)) if value}
    answer = admin(configuration(data), "POST", "/admin/jwo/purchases/again", body)
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{answer['again']} are told again.")
