"""``ringfence webhooks``: where merchants are told, how that went, and telling them again."""
from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import admin, segment

FIELDS = ("id", "event", "purpose", "state", "attempts", "url", "content_type", "created_at", "next_at", "ended_at")


@click.group(epilog="""\b
Examples:
  ringfence webhooks list
  ringfence webhooks list --failed --merchant RingfenceOne
  ringfence webhooks redeliver --failed
  ringfence webhooks replay --since 2026-11-21T09:00:00Z --until 2026-11-21T10:00:00Z""")
def webhooks() -> None:
    """Look at what merchants were told, and tell them again."""


def _range(made: str) -> Any:
    def add(function: Any) -> Any:
        until = click.option("--until", metavar="INSTANT", help="... and before this one.  [ISO 8601 with its offset]")
        return click.option("--since", metavar="INSTANT", help=f"Only what was {made} since this instant ...")(until(function))

    return add


_merchant = click.option("--merchant", metavar="ID", help="Only this merchant's.")


@webhooks.command(name="list", epilog="""\b
Examples:
  ringfence webhooks list
  ringfence webhooks list --waiting --limit 500
  ringfence webhooks list --failed --since 2026-11-21T00:00:00Z --json""")
@click.option("--failed", "state", flag_value="given_up", help="Only deliveries that were given up.")
@click.option("--waiting", "state", flag_value="waiting", help="Only deliveries that are waiting.")
@_range("made")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="So many deliveries, newest first.")
@click.option("--after", metavar="DELIVERY", help="The page behind this delivery.")
@_merchant
@data_option
@json_option
def list_(state: str | None, since: str | None, until: str | None, limit: int, after: str | None, merchant: str | None, data: str | None,
          as_json: bool) -> None:
    """List endpoints with their health, and the newest deliveries."""
    config, of = configuration(data), {"merchant": merchant}
    endpoints = admin(config, "GET", _path("endpoints", of))["endpoints"]
    page = admin(config, "GET", _path("deliveries", {**of, "state": state, "since": since, "until": until, "limit": str(limit), "after": after}))
    if as_json:
        print_json({"endpoints": endpoints, **page})
        return
    if not endpoints:
        click.echo("Nobody is told yet. Set an address with: ringfence merchant set ID feedback_url=URL notification_url=URL")
        return
    print_table(("merchant", "endpoint", "address", "waiting", "given up", "last delivered", "health"), [
        (one["merchant"], one["endpoint"], one["url"], one["waiting"], one["given_up"], _at(one["delivered_at"]), _health(one))
        for one in endpoints], right=("waiting", "given up"), folds=("address", "health"))
    click.echo()
    print_table(("delivery", "event", "purpose", "state", "attempts", "made", "next"), [
        (one["id"], one["event"], one["purpose"], one["state"], one["attempts"], _at(one["created_at"]), _at(one["next_at"]))
        for one in page["deliveries"]], right=("attempts",))
    if page["next"]:
        click.echo(f"\nolder ones: --after {page['next']}")


@webhooks.command(epilog="""\b
Examples:
  ringfence webhooks show RingfenceOne:1:169996200024611493:1""")
@click.argument("delivery")
@data_option
@json_option
def show(delivery: str, data: str | None, as_json: bool) -> None:
    """Show a delivery: its bytes, and every attempt with what came back."""
    shown = admin(configuration(data), "GET", f"/admin/webhooks/deliveries/{segment(delivery)}")
    if as_json:
        print_json(shown)
        return
    print_pairs([(name, shown[name]) for name in FIELDS if shown[name] is not None])
    click.echo(f"\n{'(erased)' if shown['body'] is None else shown['body']}\n")
    print_table(("attempt", "at", "address", "status", "ms", "what came back"), [
        (one["attempt"], _at(one["at"]), one["address"], one["status"] or "", one["milliseconds"], one["error"] or one["answer"][:200])
        for one in shown["log"]], right=("attempt", "status", "ms"))


@webhooks.command(epilog="""\b
Examples:
  ringfence webhooks redeliver RingfenceOne:1:169996200024611493:1
  ringfence webhooks redeliver --failed --merchant RingfenceOne
  ringfence webhooks redeliver --since 2026-11-21T09:00:00Z --until 2026-11-21T10:00:00Z --url https://new.example/feedback

\b
Exit codes: 0 done · 2 the choice cannot be understood · 9 refused, and nothing is sent""")
@click.argument("delivery", required=False)
@click.option("--failed", is_flag=True, help="All deliveries that were given up.")
@_range("made")
@click.option("--url", help="Send copies of the same bytes to this address instead.")
@_merchant
@data_option
@json_option
def redeliver(delivery: str | None, failed: bool, since: str | None, until: str | None, url: str | None, merchant: str | None, data: str | None,
              as_json: bool) -> None:
    """Send again, byte for byte: one DELIVERY, all that failed, or those made in a range (business time)."""
    ranged = since is not None or until is not None
    if (delivery is not None) + failed + ranged != 1:
        raise click.UsageError("Choose one: a DELIVERY, --failed, or --since with --until.")
    given = {"delivery": delivery, "failed": failed or None, "since": since, "until": until, "url": url, "merchant": merchant}
    _order(data, as_json, "redeliver", given, "begins anew", "begin anew")


@webhooks.command(epilog="""\b
Examples:
  ringfence webhooks replay --since 2026-11-21T09:00:00Z --until 2026-11-21T10:00:00Z
  ringfence webhooks replay --since 2026-11-21 --until 2026-11-22 --merchant RingfenceTwo
  ringfence webhooks replay --since 2026-11-21 --until 2026-11-22 --event plan_charged
  ringfence webhooks replay --plan gym-7 --merchant RingfenceOne

\b
Exit codes: 0 done · 9 refused, and nothing is sent""")
@_range("committed (by the wall clock)")
@click.option("--plan", metavar="ID", help="Only the notices of this plan, of any time; with --merchant.")
@click.option("--event", metavar="NAME", help="Only events or notices of this name, such as plan_charged.")
@_merchant
@data_option
@json_option
def replay(since: str | None, until: str | None, plan: str | None, event: str | None, merchant: str | None, data: str | None,
           as_json: bool) -> None:
    """Hand the events of a range, and the notices of plans, to today's addresses, where they have not been told of them."""
    if plan is not None and merchant is None:
        raise click.UsageError("--plan goes with --merchant: plans are a merchant's own.")
    _order(data, as_json, "replay", {"since": since, "until": until, "plan": plan, "event": event, "merchant": merchant}, "was made", "were made")


def _order(data: str | None, as_json: bool, what: str, given: dict[str, Any], one: str, several: str) -> None:
    done = admin(configuration(data), "POST", f"/admin/webhooks/{what}", {name: value for name, value in given.items() if value is not None})
    if as_json:
        print_json(done)
    else:
        count = done["deliveries"]
        click.echo(f"1 delivery {one}." if count == 1 else f"{count} deliveries {several}.")


def _path(what: str, given: dict[str, str | None]) -> str:
    return f"/admin/webhooks/{what}?{urlencode({name: value for name, value in given.items() if value is not None})}"


def _at(instant: str | None) -> str:
    return f"{datetime.fromisoformat(instant):%Y-%m-%d %H:%M:%S}" if instant else ""


def _health(endpoint: dict[str, Any]) -> str:
    """Why an endpoint is not well; "well" where it is."""
    if not endpoint["failures"]:
        return "well"
    why = endpoint["last_error"] or f"status {endpoint['last_status']}"
    return f"{endpoint['failures']} failures in a row ({why})" + ("; tried one at a time" if endpoint["probe_at"] else "")


@webhooks.command(name="rotate-secret", epilog="""\b
Examples:
  ringfence webhooks rotate-secret RingfenceOne
  ringfence webhooks rotate-secret RingfenceOne --keep 3600 --json
  ringfence webhooks rotate-secret RingfenceOne --keep 0      the one before signs no more, at once""")
@click.argument("merchant")
@click.option("--merchant-id", metavar="ID", help="Which credential of the PPRO door.  [default: the merchant's first]")
@click.option("--keep", type=click.IntRange(0, 2_592_000), default=86_400, show_default=True, metavar="SECONDS",
              help="How long the secret before signs beside the new one.")
@data_option
@json_option
def rotate_secret(merchant: str, merchant_id: str | None, keep: int, data: str | None, as_json: bool) -> None:
    """Make another secret for webhooks of the PPRO door; it is shown this once."""
    given = {"keep_seconds": keep} | ({"merchant_id": merchant_id} if merchant_id is not None else {})
    made = admin(configuration(data), "POST", f"/admin/merchants/{segment(merchant)}/webhook-secret", given)
    if as_json:
        print_json(made)
    else:
        print_pairs([(name, value) for name, value in made.items() if value is not None])
