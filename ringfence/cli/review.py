"""``ringfence review``: list, show, resolve."""
from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import click

from ringfence.cli.amounts import shown, typed
from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import admin, segment


@click.group(epilog="""\b
Examples:
  ringfence review list
  ringfence review show 169996200024611493
  ringfence review resolve 169996200024611493 --as declined --reason "never settled" --evidence "report of 2026-11-20" --by Mona""")
def review() -> None:
    """Look at operations whose outcome nobody knows, and decide how they end.

    The list holds those that could not be ended within RINGFENCE_REVIEW_SECONDS; they are still tried once an hour.
    """


@review.command(name="list", epilog="""\b
Examples:
  ringfence review list
  ringfence review list --all --merchant RingfenceOne
  ringfence review list --json | jq -r '.reviews[].operation'""")
@click.option("--all", "every", is_flag=True, help="Every operation in doubt, also before its deadline.")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def list_(every: bool, merchant: str | None, data: str | None, as_json: bool) -> None:
    """List what waits for a person, the oldest first."""
    asked = {"all": "true"} if every else {}
    only = urlencode(asked | ({"merchant": merchant} if merchant is not None else {}))
    answer = admin(configuration(data), "GET", "/admin/reviews" + (f"?{only}" if only else ""))
    if as_json:
        print_json(answer)
        return
    if not answer["reviews"]:
        click.echo("Nothing is in doubt." if every else "Nothing waits for a person.")
        return
    print_table(("operation", "merchant", "reference", "kind", "amount", "age", "tries", "last met", "decided"), [
        (one["operation"], one["merchant"], one["reference"] or "", one["kind"], shown(one), _age(one["age_seconds"]), one["tries"],
         one["note"], one["decided"] or "")
        for one in answer["reviews"]], right=("amount", "age", "tries"))


@review.command(epilog="""\b
Examples:
  ringfence review show 169996200024611493
  ringfence review show 169996200024611493 --json

\b
Exit codes: 0 shown · 6 database · 9 there is no such operation""")
@click.argument("operation")
@data_option
@json_option
def show(operation: str, data: str | None, as_json: bool) -> None:
    """Show one operation: what was heard, what may be decided, and its payment's story."""
    one = admin(configuration(data), "GET", _path(operation))
    if as_json:
        print_json(one)
        return
    print_pairs([
        ("operation", one["operation"]), ("payment", one["payment"]), ("merchant", one["merchant"]), ("reference", one["reference"] or ""),
        ("kind", one["kind"]), ("amount", shown(one)), ("processor", one["processor"]), ("age", _age(one["age_seconds"])),
        ("state", f"ended: {one['ended']}" if one["ended"] else f"in doubt, tried {one['tries']} times"),
        ("last met", one["note"] or ""), ("next try", one["due_at"] or ""), ("a person from", one["deadline_at"] or ""),
        ("reversal decided", "yes" if one["reversal_left"] else "no"), ("decided", one["decided"] or ""),
        ("may be decided", ", ".join(one["choices"])),
    ])
    for sentence in one["story"]:
        click.echo(f"  {sentence}")


@review.command(epilog="""\b
Examples:
  ringfence review resolve 169996200024611493 --as declined --reason "never settled" --evidence "report of 2026-11-20" --by Mona
  ringfence review resolve 169996200024611493 --as approved --amount 12.50 --reason "paid in part" --evidence "letter 7" --by Mona

\b
Exit codes: 0 written down · 2 usage · 6 database · 9 refused""")
@click.argument("operation")
@click.option("--as", "as_", required=True, type=click.Choice(["approved", "declined", "reversed"]), help="How it ended.")
@click.option("--amount", help="The approved amount, with the currency's decimals.  [default: what was asked for]")
@click.option("--reason", required=True, help="Why; it stands in the payment's story.")
@click.option("--evidence", required=True, help="What it rests on: a report, a letter, a call.")
@click.option("--by", required=True, help="Who decides.")
@data_option
@json_option
def resolve(operation: str, as_: str, amount: str | None, reason: str, evidence: str, by: str, data: str | None, as_json: bool) -> None:
    """Decide how an operation in doubt ended.

    The decision is written first; the background commits the outcome at once, and the merchant is told as of any other end.
    """
    config = configuration(data)
    order: dict[str, Any] = {"as": as_, "reason": reason, "evidence": evidence, "by": by}
    if amount is not None:
        order["amount"] = typed(amount, admin(config, "GET", _path(operation))["currency"])
    decided = admin(config, "POST", _path(operation), order)
    if as_json:
        print_json(decided)
    else:
        click.echo(f"{decided['kind'].capitalize()} {decided['operation']} of {shown(decided)} ends as {decided['decided']}.")


def _path(operation: str) -> str:
    return f"/admin/reviews/{segment(operation)}"




def _age(seconds: int) -> str:
    """Two units at most: ``2d 5h``, ``3h 10m``, ``45s``."""
    parts = [(seconds // 86_400, "d"), (seconds // 3_600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    told = [f"{count}{unit}" for count, unit in parts if count]
    return " ".join(told[:2]) or "0s"
