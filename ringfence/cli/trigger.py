"""``ringfence trigger``: make the payment that causes an event."""
from __future__ import annotations

import secrets
import sys
import time
from typing import Any, NamedTuple

import click

from ringfence.cli import trigger_charges as charges
from ringfence.cli.listen import events_behind, line_of
from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_table
from ringfence.cli.service import Running, admin, credential, needed, sandbox
from ringfence.core.events import Event
from ringfence.failures import Exit, Failure

MINOR = 1_000
PART = 400
"""What is paid, and what later operations move of it: minor units of the currency below."""
CURRENCY = "AED"
WAIT_SECONDS = 60.0


class Way(NamedTuple):
    """How an event comes about.

    ``command`` begins a payment with the card of ``scenario``; ``then`` follows, one request after the other; ``moves`` is how far the clock
    goes afterwards, "" for not at all.  What the service does by itself is waited for.
    """

    command: str
    scenario: str
    then: tuple[str, ...] = ()
    moves: str = ""


HOLD = "hold"
"""As far as the merchant's holds last."""

#: Every event that a payment over HTTP can cause, and the payment that does.
WAYS: dict[str, Way] = {
    Event.AUTHORIZATION_APPROVED: Way("AUTHORIZATION", "0000"),
    Event.AUTHORIZATION_DECLINED: Way("AUTHORIZATION", "0051"),
    Event.AUTHORIZATION_UNKNOWN: Way("AUTHORIZATION", "0300"),
    Event.AUTHORIZATION_REVERSED: Way("AUTHORIZATION", "0300"),
    Event.AUTHORIZATION_EXPIRED: Way("AUTHORIZATION", "0000", moves=HOLD),
    Event.PURCHASE_APPROVED: Way("PURCHASE", "0000"),
    Event.PURCHASE_DECLINED: Way("PURCHASE", "0051"),
    Event.PURCHASE_UNKNOWN: Way("PURCHASE", "0300"),
    Event.PURCHASE_REVERSED: Way("PURCHASE", "0300"),
    Event.CAPTURE_APPROVED: Way("AUTHORIZATION", "0000", ("CAPTURE",)),
    Event.CAPTURE_DECLINED: Way("AUTHORIZATION", "0505", ("CAPTURE",)),
    Event.CAPTURE_UNKNOWN: Way("AUTHORIZATION", "0310", ("CAPTURE",)),
    Event.VOID_APPROVED: Way("AUTHORIZATION", "0000", ("VOID_AUTHORIZATION",)),
    Event.REFUND_APPROVED: Way("PURCHASE", "0000", ("REFUND",)),
    Event.REFUND_DECLINED: Way("PURCHASE", "0507", ("REFUND",)),
    Event.HOLD_DROPPED: Way("AUTHORIZATION", "0510", moves="25h"),
    Event.LATE_APPROVAL: Way("PURCHASE", "0301"),
    Event.POSSIBLE_DUPLICATE: Way("AUTHORIZATION", "0000", ("CAPTURE", "CAPTURE")),
}


@click.command(epilog="""\b
Examples:
  ringfence trigger --list
  ringfence trigger purchase_approved
  ringfence trigger PAYMENT_CHARGE_REFUND_SUCCEEDED
  ringfence trigger authorization_expired --yes      moves the clock
  ringfence trigger refund_approved --merchant RingfenceTwo --json

\b
Exit codes: 0 it happened · 1 it did not in time · 2 there is no such event · 8 no service runs · 9 no payment can cause it""")
@click.argument("event", required=False)
@click.option("--list", "as_list", is_flag=True, help="Show the events that can be triggered, and how.")
@click.option("--merchant", metavar="ID", help="Whose payment.  [default: the sandbox's first merchant]")
@click.option("--yes", is_flag=True, help="Move the clock without asking, where the event needs it.")
@click.option("--wait", type=click.FloatRange(1, 600), default=WAIT_SECONDS, show_default=True, metavar="SECONDS",
              help="How long to wait for the event.")
@data_option
@json_option
def trigger(event: str | None, as_list: bool, merchant: str | None, yes: bool, wait: float, data: str | None, as_json: bool) -> None:
    """Make the payment that causes EVENT against the running sandbox, and wait until the event is in the feed."""
    if as_list:
        _print_ways(as_json)
        return
    way = None if event in charges.WAYS else _way(event)
    if wait != wait:                                        # "nan", which lies in no range and in every one
        raise click.UsageError("--wait must be 1 to 600 seconds.")
    config = configuration(data)
    service, known = needed(config), sandbox(config)
    if known is None or config.is_live:
        raise Failure(Exit.NOT_RUNNING, "There is no sandbox.json: events are triggered in the sandbox only.")
    if way is None:
        _print_charge(charges.made(config, service, known, merchant, str(event), wait), str(event), wait, as_json)
        return
    shop = credential(config, known, merchant)
    identifier = shop["merchant_identifier"]
    if way.moves and not yes:
        length = _length(config, way, identifier)
        click.confirm(f"{event} needs the clock to move by {length}, for every payment here. Move it?", abort=True, err=True)
    cursor, reference = events_behind(service, "", {})["cursor"], secrets.token_hex(8)
    fort_id = _pay(service, known, shop, way, reference)
    if way.moves:
        admin(config, "POST", "/admin/clock", {"advance": _length(config, way, identifier)})
    happened = _awaited(service, cursor, identifier, fort_id, str(event), wait)
    if as_json:
        print_json({"reference": reference, "payment": fort_id, "event": happened})
    else:
        click.echo(f"reference {reference}, payment {fort_id}")
        click.echo(line_of(happened) if happened else f"{event} did not happen within {wait:g} s.")
    sys.exit(Exit.OK if happened else Exit.CHECK_FAILED)


def _print_charge(made: charges.Made, event: str, wait: float, as_json: bool) -> None:
    if as_json:
        print_json(made._asdict())
    else:
        click.echo(f"payment charge {made.charge}")
        click.echo(line_of(made.event) if made.event else f"{event} was not told within {wait:g} s.")
    sys.exit(Exit.OK if made.event else Exit.CHECK_FAILED)


def _print_ways(as_json: bool) -> None:
    if as_json:
        print_json({"events": {str(event): way._asdict() for event, way in (*WAYS.items(), *charges.WAYS.items())}})
    else:
        print_table(("event", "made by"), [
            *((event, _told(way)) for event, way in WAYS.items()), *((event, charges.told(way)) for event, way in charges.WAYS.items())])


def _told(way: Way) -> str:
    """A way in words."""
    moved = f", and the clock moved by {way.moves.replace(HOLD, 'the length of a hold')}" if way.moves else ""
    return f"{', '.join((way.command, *way.then))} with the card of scenario {way.scenario}{moved}"


def _way(event: str | None) -> Way:
    able = f"These can be triggered: {', '.join((*WAYS, *charges.WAYS))}."
    if event is None:
        raise click.UsageError(f"Name an event. {able}")
    if event not in {*Event}:
        raise click.UsageError(f"{event!r} is no event. {able}")
    if event not in WAYS:
        raise Failure(Exit.REFUSED, f"No payment can be made that causes {event}. {able}")
    return WAYS[event]


def _length(config: Any, way: Way, identifier: str) -> str:
    """How far the clock must go, as it is told to."""
    if way.moves != HOLD:
        return way.moves
    return f"{admin(config, 'GET', f'/admin/merchants/{identifier}')['settings']['hold_days']}d"


def _pay(service: Running, known: dict[str, Any], shop: dict[str, str], way: Way, reference: str) -> str:
    """The payment and what follows it; its id.  Raises ``Failure`` where it could not even begin."""
    card = next(one for one in known["test_cards"] if one["scenario"] == way.scenario)
    begun = _asked(service, shop, {
        "command": way.command, "merchant_reference": reference, "amount": str(MINOR), "currency": CURRENCY, "remember_me": "NO",
        "customer_email": "payer@shop.example", "customer_ip": "192.0.2.1",
        "card_number": card["number"], "expiry_date": card["expiry"], "card_security_code": card["security_code"],
    })
    if "fort_id" not in begun:
        raise Failure(Exit.REFUSED, f"The payment was refused: {begun['response_code']} {begun['response_message']}")
    for command in way.then:
        moved = {} if command == "VOID_AUTHORIZATION" else {"amount": str(PART), "currency": CURRENCY}
        _asked(service, shop, {"command": command, "merchant_reference": reference, **moved})
    return begun["fort_id"]


def _asked(service: Running, shop: dict[str, str], fields: dict[str, str]) -> dict[str, Any]:
    from ringfence.api.aps.signature import sign
    asked = {"access_code": shop["access_code"], "merchant_identifier": shop["merchant_identifier"], "language": "en", **fields}
    status, answer = service.call("POST", "/FortAPI/paymentApi", asked | {
        "signature": sign(asked, shop["sha_request_phrase"], shop["sha_type"])})
    if status != 200:
        raise Failure(Exit.REFUSED, f"The service answered {status}: {answer.get('error', '')}")
    return answer


def _awaited(service: Running, cursor: str, identifier: str, payment: str, event: str, wait: float) -> dict[str, Any] | None:
    """The event, once it is in the feed; ``None`` where it did not come in time."""
    until = time.monotonic() + wait
    while (left := until - time.monotonic()) > 0:
        page = events_behind(service, cursor, {"merchant": identifier, "wait": f"{min(left, 5.0):.3f}"})
        for one in page["events"]:
            if (one["payment"], one["type"]) == (payment, event):
                return one
        cursor = page["cursor"]
    return None
