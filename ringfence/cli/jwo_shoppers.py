"""``ringfence jwo shopper``: add, list, forget."""
from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_table
from ringfence.cli.service import admin, segment
from ringfence.config import Config
from ringfence.failures import Exit, Failure


@click.group(epilog="""\b
Examples:
  ringfence jwo shopper add --store STORE-001 --shopper ana-7 --email ana@example.org
  ringfence jwo shopper list --store STORE-001""")
def shopper() -> None:
    """Keep the shoppers who want their receipts by mail, store by store."""


_store = click.option("--store", required=True, metavar="STORE", help="Its storeId.")
_merchant = click.option("--merchant", metavar="ID", help="Whose store it is.  [default: the first merchant]")
_shopper = click.option("--shopper", "name", required=True, metavar="ID", help="The id that was given when the shopper registered.")


@shopper.command(epilog="""\b
Examples:
  ringfence jwo shopper add --store STORE-001 --shopper ana-7 --email ana@example.org

\b
Exit codes: 0 done · 2 usage · 6 database · 9 refused""")
@_store
@_shopper
@click.option("--email", required=True, help="Where receipts go.")
@_merchant
@data_option
@json_option
def add(store: str, name: str, email: str, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Register a shopper, or change the address."""
    config = configuration(data)
    told = admin(config, "PUT", _path(config, store, merchant, f"/{segment(name)}"), {"email": email})
    if as_json:
        print_json(told)
    else:
        click.echo(f"Receipts of {told['shopper']} in {store} go to {told['email']}.")


@shopper.command(name="list", epilog="""\b
Examples:
  ringfence jwo shopper list --store STORE-001
  ringfence jwo shopper list --store STORE-001 --json | jq -r '.shoppers[].email'""")
@_store
@_merchant
@click.option("--after", metavar="ID", help="Only ids behind this one.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="So many, in the order of their ids.")
@data_option
@json_option
def list_(store: str, merchant: str | None, after: str | None, limit: int, data: str | None, as_json: bool) -> None:
    """List the shoppers of a store."""
    config = configuration(data)
    told = admin(config, "GET", _path(config, store, merchant, limit=str(limit), **({"after": after} if after else {})))
    if as_json:
        print_json(told)
    elif not told["shoppers"]:
        click.echo(f"Nobody is registered in {store}.")
    else:
        print_table(("shopper", "email"), [(one["shopper"], one["email"]) for one in told["shoppers"]])


@shopper.command(epilog="""\b
Examples:
  ringfence jwo shopper forget --store STORE-001 --shopper ana-7

\b
Exit codes: 0 done · 2 usage · 6 database · 9 refused""")
@_store
@_shopper
@_merchant
@data_option
@json_option
def forget(store: str, name: str, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Forget a shopper: nothing of them is kept."""
    config = configuration(data)
    told = admin(config, "DELETE", _path(config, store, merchant, f"/{segment(name)}"))
    if as_json:
        print_json(told)
    else:
        click.echo(f"{told['forgotten']} is forgotten.")


def _path(config: Config, store: str, merchant: str | None, below: str = "", **more: str) -> str:
    whose = merchant or _first(admin(config, "GET", "/admin/merchants"))
    return f"/admin/jwo/stores/{segment(store)}/shoppers{below}?{urlencode({'merchant': whose, **more})}"


def _first(answer: dict[str, Any]) -> str:
    if not answer["merchants"]:
        raise Failure(Exit.REFUSED, "There is no merchant yet: make one with ringfence merchant create.")
    return str(answer["merchants"][0]["identifier"])
