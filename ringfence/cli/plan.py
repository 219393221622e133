"""``ringfence plan``: payments that the service repeats by itself."""
from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.pay import minor_of
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import admin, sandbox, segment
from ringfence.core.money import format_minor
from ringfence.core.plan import Failed, Kind, Missed, Status
from ringfence.core.schedule import Unit
from ringfence.failures import Exit, Failure

_merchant = click.option("--merchant", metavar="ID", help="Whose plan it is.  [default: the sandbox's first merchant]")


@click.group(epilog="""\b
Examples:
  ringfence plan create gym-7 --token T1 --amount 25.00 --currency AED --email sara@example.com --start 2026-12-31 --unit month
  ringfence plan due --until 40d
  ringfence plan show gym-7
  ringfence plan update gym-7 --token T2""")
def plan() -> None:
    """Make and keep plans: payments that repeat."""


def _agreed(function: Any) -> Any:
    """What can be said of a new plan and of one that is there."""
    for option in reversed((
        click.option("--token", "token_name", metavar="NAME", help="The card's token."),
        click.option("--amount", help="In major units, such as 10.00."),
        click.option("--email", "customer_email", help="The customer's."),
        click.option("--description", help="order_description of every charge."),
        click.option("--until", metavar="DAY", help="No due date after this day.  [YYYY-MM-DD]"),
        click.option("--count", type=int, help="So many due dates."),
        click.option("--missed", type=click.Choice([one.value for one in Missed]), help="Due dates that a later one overtook."),
        click.option("--failed", type=click.Choice([one.value for one in Failed]), help="What follows a due date that could not be charged."),
        click.option("--notice-days", type=int, help="Tell of a due date so many days ahead; 0 for never."),
    )):
        function = option(function)
    return function


@plan.command(epilog="""\b
Examples:
  ringfence plan create gym-7 --token T1 --amount 25.00 --currency AED --email sara@example.com --start 2026-12-31
  ringfence plan create box-1 --token T1 --amount 9.50 --currency USD --email a@b.co --start 2026-12-01 --every 2 --unit week --count 26
  ringfence plan create rent --token T1 --amount 900.00 --currency EUR --email a@b.co --start 2027-02-28 --anchor 31 --zone Europe/Berlin

\b
Exit codes: 0 made · 2 usage · 9 refused, with the reason""")
@click.argument("plan_id")
@_agreed
@click.option("--currency", required=True, help="ISO 4217, such as AED.")
@click.option("--kind", type=click.Choice([one.value for one in Kind]), default=Kind.CHARGE.value, show_default=True,
              help="Charge the card, or send an invoice.")
@click.option("--start", required=True, metavar="DAY", help="The first due date.  [YYYY-MM-DD]")
@click.option("--every", type=int, default=1, show_default=True, help="So many units from one due date to the next.")
@click.option("--unit", type=click.Choice([one.value for one in Unit]), default=Unit.MONTH.value, show_default=True, help="What is counted.")
@click.option("--anchor", type=int, metavar="1-31", help="The day of the month that is meant.  [default: the start's]")
@click.option("--zone", default="UTC", show_default=True, help="The time zone in which a due date begins.")
@_merchant
@data_option
@json_option
def create(plan_id: str, amount: str | None, currency: str, merchant: str | None, data: str | None, as_json: bool, **given: Any) -> None:
    """Make a plan PLAN_ID (1 to 24 letters, digits, - and _)."""
    if amount is None or given["customer_email"] is None:
        raise click.UsageError("--amount and --email are needed.")
    wish = {"merchant": _whose(data, merchant), "plan_id": plan_id, "amount": minor_of(amount, currency), "currency": currency, **given}
    made = admin(configuration(data), "POST", "/admin/plans", {name: value for name, value in wish.items() if value is not None})
    _print_plan(made, as_json)


@plan.command(name="list", epilog="""\b
Examples:
  ringfence plan list
  ringfence plan list --status stopped --json""")
@click.option("--status", type=click.Choice([one.value for one in Status]), help="Only those.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="So many plans.")
@click.option("--after", metavar="PLACE", help="The page behind this place.")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def list_(data: str | None, as_json: bool, **given: Any) -> None:
    """List plans."""
    page = admin(configuration(data), "GET", f"/admin/plans?{_query(given)}")
    if as_json:
        print_json(page)
        return
    if not page["plans"]:
        click.echo("There are no such plans. Make one with: ringfence plan create --help")
        return
    print_table(("merchant", "plan", "status", "amount", "every", "charged", "next", "why"), [
        (one["merchant"], one["plan_id"], one["status"], _money(one), _every(one), one["charged"], _next(one), one["reason"])
        for one in page["plans"]], right=("amount", "charged"))
    if page["next"]:
        click.echo(f"\nmore: --after {page['next']}")


@plan.command(epilog="""\b
Examples:
  ringfence plan show gym-7
  ringfence plan show gym-7 --json""")
@click.argument("plan_id")
@_merchant
@data_option
@json_option
def show(plan_id: str, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Show a plan, its last due dates and every attempt."""
    found = admin(configuration(data), "GET", _path(data, merchant, plan_id))
    if as_json:
        print_json(found)
        return
    _print_plan(found, False)
    if found["periods"]:
        click.echo()
        print_table(("due", "amount", "state", "attempts", "payment", "again", "why"), [
            (one["due_date"], _money(found | {"amount": one["amount"]}), one["invoice"] or one["state"], _attempts(one), one["payment"] or "",
             _at(one["next_at"]),
             one["reason"] or one["link"])
            for one in found["periods"]], right=("amount",))


@plan.command(epilog="""\b
Examples:
  ringfence plan pause gym-7 --reason "on holiday"

\b
Exit codes: 0 paused · 9 refused""")
@click.argument("plan_id")
@click.option("--reason", help="Kept with the plan, and told.")
@_merchant
@data_option
@json_option
def pause(plan_id: str, reason: str | None, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Let nothing of a plan begin until it is resumed."""
    _act(data, merchant, plan_id, "pause", {"reason": reason} if reason else {}, as_json)


@plan.command(epilog="""\b
Examples:
  ringfence plan resume gym-7
  ringfence plan resume gym-7 --charge-missed

\b
Exit codes: 0 resumed · 9 refused""")
@click.argument("plan_id")
@click.option("--charge-missed", is_flag=True, help="Charge what fell due meanwhile, instead of skipping it.")
@_merchant
@data_option
@json_option
def resume(plan_id: str, charge_missed: bool, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Go on with a paused or stopped plan."""
    _act(data, merchant, plan_id, "resume", {"charge_missed": charge_missed}, as_json)


@plan.command(epilog="""\b
Examples:
  ringfence plan update gym-7 --token T2
  ringfence plan update gym-7 --amount 30.00 --until 2027-12-31

\b
Exit codes: 0 changed · 2 usage · 9 refused, with the reason""")
@click.argument("plan_id")
@_agreed
@_merchant
@data_option
@json_option
def update(plan_id: str, amount: str | None, merchant: str | None, data: str | None, as_json: bool, **given: Any) -> None:
    """Change a plan: its card at once, its amount from the next due date on."""
    config, where = configuration(data), _path(data, merchant, plan_id)
    change = {name: value for name, value in given.items() if value is not None}
    if amount is not None:
        change["amount"] = minor_of(amount, admin(config, "GET", f"{where}?limit=1")["currency"])
    if not change:
        raise click.UsageError("Say what shall change; see --help.")
    _print_plan(admin(config, "PATCH", where, change), as_json)


@plan.command(epilog="""\b
Examples:
  ringfence plan end gym-7 --reason "the customer left"

\b
Exit codes: 0 ended · 9 refused""")
@click.argument("plan_id")
@click.option("--reason", help="Kept with the plan, and told.")
@_merchant
@data_option
@json_option
def end(plan_id: str, reason: str | None, merchant: str | None, data: str | None, as_json: bool) -> None:
    """End a plan: nothing of it will be due any more."""
    _act(data, merchant, plan_id, "end", {"reason": reason} if reason else {}, as_json)


@plan.command(epilog="""\b
Examples:
  ringfence plan due
  ringfence plan due --until 40d --merchant RingfenceOne""")
@click.option("--until", metavar="WHEN", help="An instant, or a length such as 40d.  [default: 30d]")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="So many due dates.")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def due(data: str | None, as_json: bool, **given: Any) -> None:
    """Show what is due next, as it stands."""
    found = admin(configuration(data), "GET", f"/admin/plans/due?{_query(given)}")
    if as_json:
        print_json(found)
    elif not found["due"]:
        click.echo(f"Nothing is due up to {_at(found['until'])}.")
    else:
        print_table(("at", "merchant", "plan", "due", "what", "amount"), [
            (_at(one["at"]), one["merchant"], one["plan_id"], one["due_date"], one["what"], _money(one)) for one in found["due"]], right=("amount",))


# ---------------------------------------------------------------------------------------------------------- asking

def _act(data: str | None, merchant: str | None, plan_id: str, what: str, body: dict[str, Any], as_json: bool) -> None:
    _print_plan(admin(configuration(data), "POST", f"{_path(data, merchant, plan_id)}/{what}", body), as_json)


def _path(data: str | None, merchant: str | None, plan_id: str) -> str:
    return f"/admin/plans/{segment(_whose(data, merchant))}/{segment(plan_id)}"


def _whose(data: str | None, merchant: str | None) -> str:
    """The merchant that is meant."""
    if merchant is not None:
        return merchant
    config = configuration(data)
    known = sandbox(config)
    if known is None and not config.is_live:
        raise Failure(Exit.NOT_RUNNING, f"No service has run on {config.data}. Start it with: ringfence up --data {config.data}")
    if known is None:
        raise Failure(Exit.REFUSED, "Say whose plan it is: --merchant ID")
    return known["merchants"][0]["aps"]["merchant_identifier"]


def _query(given: dict[str, Any]) -> str:
    return urlencode({name: value for name, value in given.items() if value is not None})


# ---------------------------------------------------------------------------------------------------------- printing

def _print_plan(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_pairs([(name, value) for name, value in (
        ("plan", found["plan_id"]), ("merchant", found["merchant"]), ("status", found["status"]), ("why", found["reason"]),
        ("amount", _money(found)), ("token", found["token_name"]), ("every", f"{_every(found)}, in {found['zone']}"), ("start", found["start"]),
        ("until", found["until"]), ("count", found["count"]), ("charged", found["charged"]), ("missed", found["missed"]),
        ("failed", found["failed"]), ("next", ", ".join(one["due_date"] for one in found["next"])),
    ) if value not in (None, "")])


def _money(of: dict[str, Any]) -> str:
    return format_minor(of["amount"], of["currency"])


def _every(of: dict[str, Any]) -> str:
    return of["unit"] if of["every"] == 1 else f"{of['every']} {of['unit']}s"


def _next(of: dict[str, Any]) -> str:
    return of["next"][0]["due_date"] if of["next"] else ""


def _attempts(period: dict[str, Any]) -> str:
    return ", ".join(f"{one['result']} {one['response_code']}".strip() for one in reversed(period["attempts"]))


def _at(instant: str | None) -> str:
    return f"{datetime.fromisoformat(instant):%Y-%m-%d %H:%M:%S}" if instant else ""
