"""``ringfence dispute``: raise, list, show, accept, challenge, offer, message, file."""
from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from ringfence.cli.amounts import shown, typed
from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import admin, segment

TYPES = {".pdf": "application/pdf", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


@click.group(epilog="""\b
Examples:
  ringfence dispute raise ORDER-1 --scenario 0704
  ringfence dispute list --open
  ringfence dispute challenge 169996200024611493 --message "signed for" """)
def dispute() -> None:
    """Look at disputes, and answer them.

    A dispute that nobody answers is lost at its deadline.  In the sandbox, cards of the family 07NN are disputed by their issuers.
    """


@dispute.command(name="raise", epilog="""\b
Examples:
  ringfence dispute raise ORDER-1
  ringfence dispute raise 169996200024611493 --scenario 0703 --amount 5.00

\b
Exit codes: 0 raised · 2 usage · 6 database · 9 refused""")
@click.argument("payment")
@click.option("--scenario", default="0701", show_default=True, metavar="07NN", help="Which kind: see docs/disputes.md.")
@click.option("--amount", help="A part of the capture, with the currency's decimals.  [default: all of it]")
@click.option("--currency", help="Of --amount.", metavar="CODE")
@click.option("--capture", help="Which capture.  [default: the first]")
@click.option("--merchant", metavar="ID", help="Whose reference it is.")
@data_option
@json_option
def raise_(
    payment: str, scenario: str, amount: str | None, currency: str | None, capture: str | None, merchant: str | None, data: str | None, as_json: bool,
) -> None:
    """Have the sandbox's issuer raise a dispute about a captured payment (its id, reference or charge), now."""
    order: dict[str, Any] = {"payment": payment, "scenario": scenario}
    if amount is not None:
        if currency is None:
            raise click.UsageError("--amount needs --currency.")
        order["amount"] = typed(amount, currency)
    order |= {name: value for name, value in (("capture", capture), ("merchant", merchant)) if value is not None}
    answer = admin(configuration(data), "POST", "/admin/disputes", order)
    if as_json:
        print_json(answer)
    elif answer["dispute"] is None:
        click.echo(f"{answer['case']} was raised; it appears once a service runs.")
    else:
        _say(answer["dispute"])


@dispute.command(name="list", epilog="""\b
Examples:
  ringfence dispute list
  ringfence dispute list --open --merchant RingfenceOne
  ringfence dispute list --json | jq -r '.disputes[].dispute'""")
@click.option("--open", "is_open", is_flag=True, help="Only those that have not ended.")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def list_(is_open: bool, merchant: str | None, data: str | None, as_json: bool) -> None:
    """List disputes, the latest first."""
    only = urlencode(({"open": "true"} if is_open else {}) | ({"merchant": merchant} if merchant is not None else {}))
    answer = admin(configuration(data), "GET", "/admin/disputes" + (f"?{only}" if only else ""))
    if as_json:
        print_json(answer)
        return
    if not answer["disputes"]:
        click.echo("No dispute is open." if is_open else "There are no disputes.")
        return
    print_table(("dispute", "merchant", "reference", "reason", "amount", "phase", "status", "answer until"), [
        (one["dispute"], one["merchant"], one["reference"] or "", one["reason_code"] or one["reason"], shown(one), one["phase"], one["status"],
         one["due_at"] or "") for one in answer["disputes"]], right=("amount",))


@dispute.command(epilog="""\b
Examples:
  ringfence dispute show 169996200024611493
  ringfence dispute show 169996200024611493 --json

\b
Exit codes: 0 shown · 6 database · 9 there is no such dispute""")
@click.argument("dispute")
@data_option
@json_option
def show(dispute: str, data: str | None, as_json: bool) -> None:
    """Show one dispute: where it stands, what may be done, what was said, and what it moved."""
    one = admin(configuration(data), "GET", _path(dispute))
    if as_json:
        print_json(one)
        return
    print_pairs([
        ("dispute", one["dispute"]), ("at PPRO's door", one["name"]), ("merchant", one["merchant"]), ("payment", one["payment"]),
        ("reference", one["reference"] or ""), ("reason", f"{one['reason']} {one['reason_code']}".strip()), ("opened with", one["note"]),
        ("amount", shown(one)), ("phase", one["phase"]), ("status", one["status"] + (f" ({one['closing']})" if one["closing"] else "")),
        ("answer until", one["due_at"] or ""), ("may be done", ", ".join(one["actions"])),
        ("waits for", f"notice {one['waits_for']} of the issuer" if one["waits_for"] else ""),
    ])
    for said in one["messages"]:
        click.echo(f"  {said['at']}  {said['sender']}: {said['content']}")
    for file in one["files"]:
        click.echo(f"  {file['at']}  {file['sender']} added {file['name']} ({file['bytes']} bytes{', sent' if file['synced'] else ''})")
    for moved in one["bookings"]:
        is_booked = "" if moved["booked_at"] else ", about to be booked"
        click.echo(f"  {moved['at']}  {moved['what'].replace('_', ' ')} {shown(one | {'minor': moved['minor']})}{is_booked}")


@dispute.command(epilog="""\b
Examples:
  ringfence dispute accept 169996200024611493 --by Mona

\b
Exit codes: 0 taken · 6 database · 9 refused""")
@click.argument("dispute")
@click.option("--by", default="operator", show_default=True, help="Who answers.")
@data_option
@json_option
def accept(dispute: str, by: str, data: str | None, as_json: bool) -> None:
    """Accept a dispute: the money is lost."""
    _act(dispute, {"action": "accept", "by": by}, data, as_json)


@dispute.command(epilog="""\b
Examples:
  ringfence dispute challenge 169996200024611493 --message "signed for" --by Mona
  ringfence dispute challenge 169996200024611493 --amount 7.50

\b
Exit codes: 0 taken · 2 usage · 6 database · 9 refused""")
@click.argument("dispute")
@click.option("--message", default="", help="Words for the issuer.")
@click.option("--amount", help="What is contested, with the currency's decimals; the rest is conceded.  [default: all of it]")
@click.option("--by", default="operator", show_default=True, help="Who answers.")
@data_option
@json_option
def challenge(dispute: str, message: str, amount: str | None, by: str, data: str | None, as_json: bool) -> None:
    """Challenge a dispute, with the evidence that was added to it."""
    _act(dispute, {"action": "challenge", "message": message, "by": by}, data, as_json, amount)


@dispute.command(epilog="""\b
Examples:
  ringfence dispute offer 169996200024611493 --amount 5.00

\b
Exit codes: 0 taken · 2 usage · 6 database · 9 refused""")
@click.argument("dispute")
@click.option("--amount", required=True, help="What is offered, with the currency's decimals.")
@click.option("--by", default="operator", show_default=True, help="Who answers.")
@data_option
@json_option
def offer(dispute: str, amount: str, by: str, data: str | None, as_json: bool) -> None:
    """Offer an inquirer a part of the money back."""
    _act(dispute, {"action": "offer", "by": by}, data, as_json, amount)


@dispute.command(epilog="""\b
Examples:
  ringfence dispute message 169996200024611493 "Please look at the tracking number again."

\b
Exit codes: 0 written · 6 database · 9 refused""")
@click.argument("dispute")
@click.argument("text")
@data_option
@json_option
def message(dispute: str, text: str, data: str | None, as_json: bool) -> None:
    """Write a message to the issuer."""
    written = admin(configuration(data), "POST", f"{_path(dispute)}/messages", {"content": text})
    print_json(written) if as_json else click.echo("Written.")


@dispute.command(name="file", epilog="""\b
Examples:
  ringfence dispute file 169996200024611493 receipt.pdf

\b
Exit codes: 0 added · 2 usage · 6 database · 9 refused""")
@click.argument("dispute")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_option
@json_option
def file_(dispute: str, path: Path, data: str | None, as_json: bool) -> None:
    """Add evidence: a PDF, JPEG or PNG file of at most 5 MB."""
    content_type = TYPES.get(path.suffix.lower())
    if content_type is None:
        raise click.UsageError(f"evidence is a file named {', '.join(TYPES)}")
    added = admin(configuration(data), "POST", f"{_path(dispute)}/files", {
        "name": path.name, "content_type": content_type, "content": base64.b64encode(path.read_bytes()).decode()})
    print_json(added) if as_json else click.echo(f"{added['name']} was added, {added['bytes']} bytes.")


def _act(dispute: str, order: dict[str, Any], data: str | None, as_json: bool, amount: str | None = None) -> None:
    config = configuration(data)
    if amount is not None:
        order["amount"] = typed(amount, admin(config, "GET", _path(dispute))["currency"])
    answer = admin(config, "POST", f"{_path(dispute)}/actions", order)
    print_json(answer) if as_json else _say(answer)


def _say(one: dict[str, Any]) -> None:
    until = f", answer until {one['due_at']}" if one["due_at"] and one["status"] == "open" else ""
    click.echo(f"Dispute {one['dispute']} of {shown(one)} is {one['status'].replace('_', ' ')} ({one['phase'].replace('_', ' ')}){until}.")


def _path(dispute: str) -> str:
    return f"/admin/disputes/{segment(dispute)}"
