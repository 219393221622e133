"""``ringfence jwo``: stores, and the trips through them.  Debts and receipts add their commands in files of their own."""
from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import click

from ringfence.cli.amounts import shown, typed
from ringfence.cli.jwo_debts import debts, strategy
from ringfence.cli.jwo_keys import key
from ringfence.cli.jwo_purchases import item_of, purchase
from ringfence.cli.jwo_receipt import receipt
from ringfence.cli.jwo_report import report
from ringfence.cli.jwo_shoppers import shopper
from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import admin, segment
from ringfence.failures import Exit, Failure

PRESENTED = ("chip", "contactless", "wallet", "stripe", "fallback")


@click.group(epilog="""\b
Examples:
  ringfence jwo store set STORE-1 --currency USD --hold 20.00
  ringfence jwo trip open --store STORE-1 --card 4000009900000004
  ringfence jwo trip list
  ringfence jwo trip reset""")
def jwo() -> None:
    """Stores without checkouts: gates, trips, and what became of them."""


@jwo.group()
def store() -> None:
    """Make stores, and look at them."""


@store.command(name="set", epilog="""\b
Examples:
  ringfence jwo store set STORE-1 --currency USD --hold 20.00 --least 5.00
  ringfence jwo store set STORE-1 --address "1 Main Street" --address Springfield --terminal GATE0007

\b
Exit codes: 0 made or changed · 2 usage · 6 database · 9 refused""")
@click.argument("name")
@click.option("--merchant", metavar="ID", help="Whose store it is.  [default: the first merchant]")
@click.option("--title", help="Its name for people and receipts.")
@click.option("--currency", metavar="CODE", help="ISO 4217; needed for a new store.")
@click.option("--hold", help="What the gate holds, with the currency's decimals; 0 for nothing.")
@click.option("--least", help="A partial approval below it keeps the gate shut.")
@click.option("--address", multiple=True, help="A line of its address; again for more.")
@click.option("--merchant-shown", help="The merchant's number on receipts.")
@click.option("--terminal", "terminals", multiple=True, help="A gate's reader, eight characters; again for more.")
@data_option
@json_option
def set_(
    name: str, merchant: str | None, title: str | None, currency: str | None, hold: str | None, least: str | None, address: tuple[str, ...],
    merchant_shown: str | None, terminals: tuple[str, ...], data: str | None, as_json: bool,
) -> None:
    """Make a store, or change what is named."""
    config = configuration(data)
    if currency is None and (hold is not None or least is not None):
        known = [one for one in admin(config, "GET", "/admin/jwo/stores" + _query(merchant=merchant))["stores"] if one["store"] == name]
        currency = known[0]["currency"] if known else None
    body: dict[str, Any] = {"store": name} | _given(merchant=merchant, title=title, currency=currency, merchant_shown=merchant_shown)
    body |= _minor(currency, hold=hold, least=least)
    body |= {field: list(lines) for field, lines in (("address", address), ("terminals", terminals)) if lines}
    answer = admin(config, "POST", "/admin/jwo/stores", body)
    print_json(answer) if as_json else _say_stores([answer])


@store.command(name="list")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def list_stores(merchant: str | None, data: str | None, as_json: bool) -> None:
    """List stores."""
    answer = admin(configuration(data), "GET", "/admin/jwo/stores" + _query(merchant=merchant))
    if as_json:
        print_json(answer)
    elif answer["stores"]:
        _say_stores(answer["stores"])
    else:
        click.echo("There are no stores: make one with ringfence jwo store set.")


@jwo.group()
def trip() -> None:
    """Open trips, and look after them."""


@trip.command(name="open", epilog="""\b
Examples:
  ringfence jwo trip open --store STORE-1 --card 4000009900000004
  ringfence jwo trip open --store STORE-1 --card 0502 --presented chip
  ringfence jwo trip open --store STORE-1 --card 1005 --hold 20.00 --currency USD

\b
Exit codes: 0 opened · 2 usage · 9 the gate stayed shut, or there is no such store""")
@click.option("--store", "store_name", required=True, help="Which store.")
@click.option("--card", help="A card number, or the four digits of a scenario.  [default: none, an entry with an app]")
@click.option("--presented", type=click.Choice(PRESENTED), help="What is held to the reader.  [default: as the card is used to be]")
@click.option("--expiry", default="3912", show_default=True, metavar="YYMM", help="Of the card.")
@click.option("--merchant", metavar="ID", help="Whose store it is.  [default: the first merchant]")
@click.option("--trip", "name", help="Its name, shoppingTripId.  [default: one is made]")
@click.option("--shopper", help="Who comes.")
@click.option("--group", help="Names those who go in together.")
@click.option("--people", type=click.IntRange(1, 20), default=1, show_default=True, help="How many go in with this card.")
@click.option("--terminal", help="Which reader, eight characters.")
@click.option("--hold", help="Another hold than the store's; needs --currency; 0 for none.")
@click.option("--condition", help="A risk decision: let in on this hold instead; needs --currency.")
@click.option("--currency", metavar="CODE", help="Of --hold and --condition.")
@click.option("--never-expires", is_flag=True, help="For tests: it begins anew at each start of the sandbox.")
@data_option
@json_option
def open_(
    store_name: str, card: str | None, presented: str | None, expiry: str, merchant: str | None, name: str | None, shopper: str | None,
    group: str | None, people: int, terminal: str | None, hold: str | None, condition: str | None, currency: str | None, never_expires: bool,
    data: str | None, as_json: bool,
) -> None:
    """Have somebody come to a gate of the sandbox."""
    body: dict[str, Any] = {"store": store_name, "people": people} | _given(
        card=card, presented=presented, expiry=expiry if card else None, merchant=merchant, trip=name, shopper=shopper, group=group,
        terminal=terminal)
    body |= _minor(currency, hold=hold, condition=condition)
    if never_expires:
        body["never_expires"] = True
    answer = admin(configuration(data), "POST", "/admin/jwo/trips", body)
    if as_json:
        print_json(answer)
    elif answer["opened"]:
        _say(answer)
    if not answer["opened"]:
        why = answer["why"].replace("_", " ")
        raise Failure(Exit.REFUSED, f"The gate stays shut: {why}{f', {code}' if (code := answer['code']) else ''}.")


@trip.command(epilog="""\b
Exit codes: 0 shown · 6 database · 9 there is no such trip""")
@click.argument("name", metavar="TRIP")
@click.option("--merchant", metavar="ID", help="Whose it is.")
@click.option("--store", "store_name", help="Of which store.")
@data_option
@json_option
def show(name: str, merchant: str | None, store_name: str | None, data: str | None, as_json: bool) -> None:
    """Show a trip, and what was told of it."""
    config, only = configuration(data), _query(merchant=merchant, store=store_name)
    one = admin(config, "GET", f"/admin/jwo/trips/{segment(name)}{only}")
    told = admin(config, "GET", "/admin/jwo/events" + _query(merchant=merchant, store=store_name, trip=name))["events"]
    if as_json:
        print_json(one | {"events": told})
        return
    _say(one)
    for event in told:
        click.echo(f"  {event['occurred_at'][:19].replace('T', ' ')}  {event['type']}")


@trip.command(name="list")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@click.option("--store", "store_name", help="Only of this store.")
@click.option("--since", help="ISO 8601 instant.")
@click.option("--until", help="ISO 8601 instant.")
@data_option
@json_option
def list_trips(merchant: str | None, store_name: str | None, since: str | None, until: str | None, data: str | None, as_json: bool) -> None:
    """List trips, oldest first."""
    only = _query(merchant=merchant, store=store_name, since=since, until=until)
    answer = admin(configuration(data), "GET", "/admin/jwo/trips" + only)
    if as_json:
        print_json(answer)
    elif not answer["trips"]:
        click.echo("There are no trips.")
    else:
        print_table(("trip", "merchant", "store", "state", "authorized", "captured", "started"), [
            (one["trip"], one["merchant"], one["store"], one["refused"] or one["state"], shown(one, "authorized"), shown(one, "captured"),
             one["started_at"][:19].replace("T", " ")) for one in answer["trips"]], right=("authorized", "captured"))


@trip.command(epilog="""\b
Examples:
  ringfence jwo trip reset
  ringfence jwo trip reset valid-shopping-trip-uuid

\b
Exit codes: 0 done · 6 database · 9 there is no such trip""")
@click.argument("name", metavar="[TRIP]", required=False)
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def reset(name: str | None, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Have the trips that never expire begin anew, each with a payment of its own."""
    answer = admin(configuration(data), "POST", "/admin/jwo/trips/reset", _given(trip=name, merchant=merchant))
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{len(answer['trips'])} trips begin anew.")


@trip.command(epilog="""\b
Examples:
  ringfence jwo trip end TRIP --item 0012345678905:2 --item apples:0.450:kg

\b
Exit codes: 0 done · 6 database · 9 there is no such trip""")
@click.argument("name", metavar="TRIP")
@click.option("--item", "items", multiple=True, metavar="ID[:QUANTITY[:UNIT]]", help="What is taken along; again for more.  The retailer is told.")
@click.option("--merchant", metavar="ID", help="Whose it is.")
@click.option("--store", "store_name", help="Of which store.")
@data_option
@json_option
def end(name: str, merchant: str | None, store_name: str | None, items: tuple[str, ...], data: str | None, as_json: bool) -> None:
    """Have the shopper leave, with what is named."""
    only = _query(merchant=merchant, store=store_name)
    answer = admin(configuration(data), "POST", f"/admin/jwo/trips/{segment(name)}/end{only}", {"items": [item_of(one) for one in items]})
    print_json(answer) if as_json else _say(answer)


# ---------------------------------------------------------------------------------------------------------- words

def _say(one: dict[str, Any]) -> None:
    card = one.get("card")
    print_pairs([(name, value) for name, value in (
        ("trip", one["trip"]), ("merchant", one["merchant"]), ("store", one["store"]), ("state", one["refused"] or one["state"]),
        ("payment", one["payment"]), ("card", card and f"{card['brand']} ….{card['tail']}, read as {card['entry_mode']}"),
        ("held at the gate", shown(one, "preauth")), ("may be captured", shown(one, "authorized")), ("captured", shown(one, "captured")),
        ("refunded", shown(one, "refunded")), ("people", one["people"] if one["people"] > 1 else None), ("group", one["group"]),
        ("started", one["started_at"]), ("left", one["ended_at"]), ("until", one["expires_at"] or "it never expires"),
    ) if value])


def _say_stores(stores: list[dict[str, Any]]) -> None:
    print_table(("store", "merchant", "title", "hold", "least", "terminals"), [
        (one["store"], one["merchant"], one["title"], shown(one, "hold"), shown(one, "least"), " ".join(one["terminals"])) for one in stores],
        right=("hold", "least"))




def _minor(currency: str | None, **texts: str | None) -> dict[str, int]:
    given = {name: text for name, text in texts.items() if text is not None}
    if not given:
        return {}
    if currency is None:
        raise click.UsageError("an amount needs --currency.")
    return {name: typed(text, currency, f"--{name}") for name, text in given.items()}


def _given(**values: str | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _query(**values: str | None) -> str:
    return f"?{urlencode(only)}" if (only := _given(**values)) else ""


jwo.add_command(shopper)
jwo.add_command(strategy)
jwo.add_command(debts)
jwo.add_command(key)
jwo.add_command(purchase)
jwo.add_command(receipt)
jwo.add_command(report)
