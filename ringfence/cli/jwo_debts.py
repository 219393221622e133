"""``ringfence jwo strategy`` and ``ringfence jwo debts``: what is done with a price that no issuer promises, and what is owed then."""
from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import click

from ringfence.cli.amounts import shown, typed
from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import admin, segment
from ringfence.core.currencies import CURRENCIES
from ringfence.core.money import format_decimal
from ringfence.core.strategy import MOST, Do, Plan, Strategy, Tale, simulate

WORDS = {
    "": "the price was approved", "declined": "the price was declined", "limit_found": "the limit is known to one step",
    "asked_enough": "asked as often as one may",
}


@click.group()
def strategy() -> None:
    """Try out what becomes of a cart whose price is not approved."""


@strategy.command(name="simulate", epilog="""\b
Examples:
  ringfence jwo strategy simulate --total 64.10 --hold 20.00 --limit 44.50
  ringfence jwo strategy simulate --total 64.10 --hold 20.00 --limit 44.50 --strategy search --step 3.00
  ringfence jwo strategy simulate --total 6410 --hold 2000 --limit 4450 --currency JPY --json

\b
Exit codes: 0 shown · 2 usage""")
@click.option("--total", required=True, help="The price of the cart, with the currency's decimals.")
@click.option("--hold", required=True, help="What the issuer held at the gate.")
@click.option("--limit", required=True, help="What the issuer promises at most, in all.")
@click.option("--currency", default="USD", show_default=True, metavar="CODE", help="Of all three.")
@click.option("--strategy", "only", type=click.Choice([one.value for one in Strategy]), help="Only this one.  [default: each of them]")
@click.option("--step", help="How near a search comes.  [default: 100 minor units]")
@click.option("--probes", type=click.IntRange(1, MOST), default=MOST, show_default=True, help="How often the issuer is asked at most.")
@json_option
def simulate_(
    total: str, hold: str, limit: str, currency: str, only: str | None, step: str | None, probes: int, as_json: bool,
) -> None:
    """Show what each strategy would ask, capture and leave owed; nobody is asked."""
    if currency not in CURRENCIES:
        raise click.UsageError(f"there is no currency {currency}.")
    plan = Plan(
        typed(total, currency, "--total"), Strategy.SEARCH, 100 if step is None else typed(step, currency, "--step"), probes,
        10 ** CURRENCIES[currency].exponent)
    if not plan.step:
        raise click.UsageError("--step must be above zero.")
    held = typed(hold, currency, "--hold")
    limited = max(held, typed(limit, currency, "--limit"))
    tales = {one: simulate(plan._replace(strategy=one), held, limited) for one in Strategy if only in (None, one)}
    if as_json:
        print_json({"currency": currency, "total": plan.total, "strategies": {one: _tale_json(tale) for one, tale in tales.items()}})
        return
    print_table(("strategy", "asked for", "issuer", "stands"), [
        row for one, tale in tales.items() for row in _tale_rows(one, tale, currency)], right=("asked for", "stands"))
    click.echo()
    print_table(("strategy", "captured", "owed", "because"), [
        (one, format_decimal(_captured(tale), currency), format_decimal(tale.debt, currency), WORDS.get(tale.last.why, tale.last.why))
        for one, tale in tales.items()], right=("captured", "owed"))


def _tale_rows(name: str, tale: Tale, currency: str) -> list[tuple[str, str, str, str]]:
    if not tale.tried:
        return [(name, "", "is not asked", "")]
    return [(name if not place else "", format_decimal(one.minor, currency), "approves" if one.is_approved else "declines",
             format_decimal(one.standing, currency)) for place, one in enumerate(tale.tried)]


def _tale_json(tale: Tale) -> dict[str, Any]:
    return {
        "asked": [{"minor": one.minor, "approved": one.is_approved, "standing": one.standing} for one in tale.tried],
        "captured": _captured(tale), "debt": tale.debt, "why": tale.last.why}


def _captured(tale: Tale) -> int:
    return tale.last.minor if tale.last.do is Do.CAPTURE else 0



@click.group(epilog="""\b
Examples:
  ringfence jwo debts list
  ringfence jwo debts link TRIP-1 --by Mona
  ringfence jwo debts forgive TRIP-1 --by Mona --why "broken scale" """)
def debts() -> None:
    """See what left stores unpaid, ask for it, give it up."""


@debts.command(name="list", epilog="""\b
Examples:
  ringfence jwo debts list
  ringfence jwo debts list --all --json | jq '.debts[].owed'""")
@click.option("--all", "everything", is_flag=True, help="Also what is paid, forgiven, or was never owed.")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def list_(everything: bool, merchant: str | None, data: str | None, as_json: bool) -> None:
    """List what is owed, the latest first."""
    answer = admin(configuration(data), "GET", "/admin/jwo/debts" + _query(merchant, all="true" if everything else None))
    if as_json:
        print_json(answer)
    elif not answer["debts"]:
        click.echo("There are no accounts of trips." if everything else "Nothing is owed.")
    else:
        print_table(("trip", "store", "merchant", "price", "captured", "recovered", "forgiven", "owed", "strategy", "reason"), [
            (one["trip"], one["store"], one["merchant"], shown(one, "total"), shown(one, "captured"), shown(one, "recovered"),
             shown(one, "forgiven"), shown(one, "owed"), one["strategy"], one["reason"]) for one in answer["debts"]],
            right=("price", "captured", "recovered", "forgiven", "owed"))


@debts.command(epilog="""\b
Examples:
  ringfence jwo debts show TRIP-1
  ringfence jwo debts show 912067263316627456 --json

\b
Exit codes: 0 shown · 6 database · 9 there is no such account""")
@click.argument("debt", metavar="TRIP")
@click.option("--merchant", metavar="ID", help="Whose trip it is.")
@data_option
@json_option
def show(debt: str, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Show a trip's account (by the trip's name or its payment): what it moved, and the links made for it."""
    one = admin(configuration(data), "GET", _path(debt) + _query(merchant))
    if as_json:
        print_json(one)
        return
    _say(one)
    for moved in one["bookings"]:
        note = f": {moved['note']}" if moved["note"] else ""
        click.echo(f"  {moved['at']}  {moved['what'].replace('_', ' ')} {shown(one | moved)}, by {moved['by']}{note}"
                   f"{'' if moved['booked_at'] else ' (about to be booked)'}")
    for link in one["links"]:
        click.echo(f"  {link['state']}  {link['url']}  {shown(link)}")


@debts.command(epilog="""\b
Examples:
  ringfence jwo debts forgive TRIP-1 --by Mona --why "broken scale"
  ringfence jwo debts forgive TRIP-1 --by Mona --amount 5.00

\b
Exit codes: 0 given up · 2 usage · 6 database · 9 refused""")
@click.argument("debt", metavar="TRIP")
@click.option("--by", required=True, help="The person who decides that.")
@click.option("--why", default="", help="Why.")
@click.option("--amount", help="A part, with the currency's decimals.  [default: all that is owed]")
@click.option("--merchant", metavar="ID", help="Whose trip it is.")
@data_option
@json_option
def forgive(debt: str, by: str, why: str, amount: str | None, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Give up what a trip owes, or a part of it."""
    config, order = configuration(data), {"by": by, "why": why}
    if amount is not None:
        currency = admin(config, "GET", _path(debt) + _query(merchant))["currency"]
        order["amount"] = typed(amount, currency)      # type: ignore[assignment]
    answer = admin(config, "POST", f"{_path(debt)}/forgive" + _query(merchant), order)
    print_json(answer) if as_json else _say(answer)


@debts.command(epilog="""\b
Examples:
  ringfence jwo debts link TRIP-1 --by Mona
  ringfence jwo debts link TRIP-1 --by Mona --email sara@example.org

\b
Exit codes: 0 there it is · 6 database · 9 refused""")
@click.argument("debt", metavar="TRIP")
@click.option("--by", required=True, help="The person who asks for the money.")
@click.option("--email", default="", help="Where the link is sent to.  [default: nowhere]")
@click.option("--merchant", metavar="ID", help="Whose trip it is.")
@data_option
@json_option
def link(debt: str, by: str, email: str, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Make a payment link over what a trip owes; paid, it is owed no more."""
    answer = admin(configuration(data), "POST", f"{_path(debt)}/link" + _query(merchant), {"by": by, **({"email": email} if email else {})})
    print_json(answer) if as_json else click.echo(f"{answer['url']}  {shown(answer)}, until {answer['expires_at']}")


def _path(debt: str) -> str:
    return f"/admin/jwo/debts/{segment(debt)}"


def _query(merchant: str | None, **more: str | None) -> str:
    only = {name: value for name, value in {"merchant": merchant, **more}.items() if value is not None}
    return f"?{urlencode(only)}" if only else ""



def _say(one: dict[str, Any]) -> None:
    print_pairs([(name, value) for name, value in (
        ("trip", one["trip"]), ("merchant", one["merchant"]), ("store", one["store"]), ("payment", one["payment"]), ("price", shown(one, "total")),
        ("captured", shown(one, "captured")), ("rejected by clearing", one["rejected"] and shown(one, "rejected")),
        ("owed for", shown(one, "incurred")), ("recovered", shown(one, "recovered")), ("forgiven", shown(one, "forgiven")),
        ("still owed", shown(one, "owed")), ("retailer says paid", shown(one, "settled")), ("strategy", one["strategy"]),
        ("because", one["reason"]), ("account", "closed" if one["closed"] else "open: the trip's payment has not ended"),
    ) if value])
