"""``ringfence simulator``: its book, accounts and control."""
from __future__ import annotations

from typing import Any

import click
import msgspec

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_table
from ringfence.cli.service import admin


@click.group(epilog="""\b
Examples:
  ringfence simulator book --json
  ringfence simulator accounts
  ringfence simulator cards""")
def simulator() -> None:
    """Look at the issuer simulator: its book judges every fault test."""


@simulator.command(epilog="""\b
Examples:
  ringfence simulator book
  ringfence simulator book --json | jq '.double_effects'
  ringfence simulator book --payment 169996200024611493""")
@click.option("--payment", type=int, metavar="ID", help="Only the effects on this payment.")
@data_option
@json_option
def book(payment: int | None, data: str | None, as_json: bool) -> None:
    """Print the merged book of all workers, what stands at the issuer, and what moved twice; needs no running service."""
    from ringfence.processors.simulator import double_effects, read_book, standing
    folder = configuration(data).data / "simulator"
    entries = read_book(folder)
    doubles = double_effects(entries)
    stands = standing(entries)
    if payment is not None:
        entries = [entry for entry in entries if entry.payment == payment]
        stands = {key: value for key, value in stands.items() if key == payment}
    if as_json:
        print_json({
            "entries": [{**msgspec.to_builtins(entry), "operation": str(entry.operation), "payment": str(entry.payment)} for entry in entries],
            "standing": [{**one._asdict(), "payment": str(one.payment)} for one in stands.values()], "double_effects": doubles,
        })
        return
    print_table(("at", "merchant", "payment", "kind", "effect", "amount", "card", "code", "approval"), [
        (f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.merchant, entry.payment, entry.kind, entry.effect, _amount(entry.minor, entry.currency), entry.card,
         entry.response, entry.approval) for entry in entries], right=("amount",))
    click.echo(f"\n{len(entries)} effects; " + ("nothing moved twice." if not doubles else "\n".join(doubles)))


@simulator.command(epilog="""\b
Examples:
  ringfence simulator accounts
  ringfence simulator accounts --json""")
@data_option
@json_option
def accounts(data: str | None, as_json: bool) -> None:
    """List the issuer's accounts with state: balances and holds."""
    shown = _state(data)
    if as_json:
        print_json({key: value for key, value in shown.items() if key != "test_cards"})
        return
    print_table(("account", "card", "scenario", "balance", "posted", "held", "available"), [
        (one["account"], one["card"], one["scenario"], *("no limit" if one[key] is None else _amount(one[key], one["currency"])
                                                         for key in ("balance", "posted", "held", "available")))
        for one in shown["accounts"]], right=("balance", "posted", "held", "available"))
    click.echo(f"\nissuer {'offline' if shown['offline'] else 'online'}, latency {shown['latency']:g} s")


@simulator.command(epilog="""\b
Examples:
  ringfence simulator cards""")
@json_option
def cards(as_json: bool) -> None:
    """List the test cards and what each does."""
    from ringfence.processors.simulator import test_cards
    if as_json:
        print_json(test_cards())
        return
    print_table(("number", "brand", "expiry", "code", "behaviour"), [
        (card["number"], card["brand"], card["expiry"], card["security_code"], card["behaviour"]) for card in test_cards()])


@simulator.command(name="set", epilog="""\b
Examples:
  ringfence simulator set --offline
  ringfence simulator set --latency 1.5
  ringfence simulator set --card 4000009900000004 --scenario 0051
  ringfence simulator set --card 4000009910100000 --balance 50000 --currency AED
  ringfence simulator set --reset""")
@click.option("--reset", is_flag=True, help="Forget balances, holds, counters and everything set here.")
@click.option("--offline/--online", default=None, help="Whether anything reaches the issuer.")
@click.option("--latency", type=float, metavar="SECONDS", help="How long every answer takes.")
@click.option("--card", metavar="NUMBER", help="The card for --scenario or --balance.")
@click.option("--scenario", metavar="NNNN", help="Behave like this scenario; 'own' gives the card its own behaviour back.")
@click.option("--balance", type=int, metavar="MINOR", help="What the account has available, minor units.")
@click.option("--currency", metavar="CODE", help="The currency of --balance.")
@data_option
def set_(reset: bool, offline: bool | None, latency: float | None, card: str | None, scenario: str | None, balance: int | None,
         currency: str | None, data: str | None) -> None:
    """Change the issuer's behaviour, in every worker at once."""
    orders: list[dict[str, Any]] = []
    if reset:
        orders.append({"reset": True})
    if offline is not None:
        orders.append({"online": not offline})
    if latency is not None:
        orders.append({"latency_seconds": latency})
    if (scenario is not None or balance is not None) and card is None:
        raise click.UsageError("--scenario and --balance need --card.")
    if scenario is not None:
        orders.append({"scenario": {"card": card, "code": None if scenario == "own" else scenario}})
    if balance is not None:
        if currency is None:
            raise click.UsageError("--balance needs --currency.")
        orders.append({"balance": {"card": card, "currency": currency, "minor": balance}})
    if not orders:
        raise click.UsageError("Give at least one of --reset, --offline, --online, --latency, --scenario, --balance.")
    for order in orders:
        admin(configuration(data), "POST", "/admin/simulator", order)
    click.echo("Done.")


def _state(data: str | None) -> dict[str, Any]:
    return admin(configuration(data), "GET", "/admin/simulator")


def _amount(minor: int, currency: str) -> str:
    from ringfence.core.money import format_minor
    return format_minor(minor, currency)
