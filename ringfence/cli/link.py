"""``ringfence link``: create, list, show, resend, cancel, qr, pdf."""
from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click

from ringfence.cli.amounts import shown, typed
from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import admin, segment
from ringfence.failures import Exit, Failure

SEND = click.Choice(["email", "sms"])


@click.group(epilog="""\b
Examples:
  ringfence link create --amount 100.00 --currency AED --email sara@shop.example --send email
  ringfence link list
  ringfence link pdf 911895643197276160 --output invoice.pdf""")
def link() -> None:
    """Make payment links, and look after them.

    A link is an invoice that its payer pays on a page of this service, once.
    """


@link.command(epilog="""\b
Examples:
  ringfence link create --amount 100.00 --currency AED --email sara@shop.example --send email
  ringfence link create --merchant RingfenceOne --reference INV-7 --amount 5.125 --currency KWD --language ar --phone 0096550000000 --send sms
  ringfence link create --amount 100.00 --currency AED --expires 2027-01-31T15:00:00+03:00 --json | jq -r .url

\b
Exit codes: 0 made · 2 usage · 6 database · 9 refused""")
@click.option("--amount", required=True, help="With the currency's decimals, such as 100.00.")
@click.option("--currency", required=True, help="ISO 4217, such as AED.")
@click.option("--merchant", metavar="ID", help="Whose invoice it is.  [default: the first merchant]")
@click.option("--reference", help="The order's name, unique for the merchant.  [default: one is made]")
@click.option("--email", help="The customer's.")
@click.option("--phone", help="The customer's, in digits.")
@click.option("--name", help="The customer's.")
@click.option("--description", help="What it is for.")
@click.option("--language", type=click.Choice(["en", "ar"]), help="Of page, letter and invoice.  [default: en]")
@click.option("--expires", help="An instant with its offset, or a length of time.  [default: 3d]")
@click.option("--send", multiple=True, type=SEND, help="Send it now; may be given twice.  [default: it is only made]")
@click.option("--return-url", help="Where the payer goes behind the payment.  [default: the link's own page]")
@click.option("--authorize", is_flag=True, help="Only hold the amount, to be captured later.")
@data_option
@json_option
def create(amount: str, currency: str, merchant: str | None, send: tuple[str, ...], authorize: bool, data: str | None, as_json: bool,
           **texts: str | None) -> None:
    """Make a link, and print its address."""
    config = configuration(data)
    body: dict[str, Any] = {name: value for name, value in texts.items() if value is not None}
    body |= {"merchant": merchant or _first(admin(config, "GET", "/admin/merchants")), "amount": typed(amount, currency), "currency": currency,
             "send": list(send)} | ({"command": "AUTHORIZATION"} if authorize else {})
    made = admin(config, "POST", "/admin/links", body)
    if as_json:
        print_json(made)
    else:
        print_pairs(_pairs(made), title=f"Made link {made['id']}")


@link.command(name="list", epilog="""\b
Examples:
  ringfence link list
  ringfence link list --merchant RingfenceOne --limit 20
  ringfence link list --json | jq -r '.links[] | select(.state == "open") | .url'""")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="So many, the newest first.")
@click.option("--before", metavar="LINK", help="Only those older than this one.")
@data_option
@json_option
def list_(merchant: str | None, limit: int, before: str | None, data: str | None, as_json: bool) -> None:
    """List links, the newest first."""
    asked = {name: value for name, value in (("merchant", merchant), ("limit", str(limit)), ("before", before)) if value is not None}
    answer = admin(configuration(data), "GET", f"/admin/links?{urlencode(asked)}")
    if as_json:
        print_json(answer)
        return
    if not answer["links"]:
        click.echo("There are no payment links.")
        return
    print_table(("link", "merchant", "reference", "state", "amount", "expires", "customer"), [
        (one["id"], one["merchant"], one["reference"], one["state"], shown(one), _instant(one["expires_at"]), one["email"] or one["phone"])
        for one in answer["links"]], right=("amount",))


@link.command(epilog="""\b
Examples:
  ringfence link show 911895643197276160
  ringfence link show 911895643197276160 --json | jq -r '.messages[].state'

\b
Exit codes: 0 shown · 6 database · 9 there is no such link""")
@click.argument("number", metavar="LINK")
@data_option
@json_option
def show(number: str, data: str | None, as_json: bool) -> None:
    """Show a link, and what was sent about it."""
    one = _found(number, data)
    if as_json:
        print_json(one)
        return
    print_pairs(_pairs(one))
    for sent in one["messages"]:
        note = f" ({sent['note']})" if sent["note"] else ""
        click.echo(f"  {_instant(sent['asked_at'])}  {sent['medium']} to {sent['to']}: {sent['state']}{note}")


@link.command(epilog="""\b
Examples:
  ringfence link resend 911895643197276160
  ringfence link resend 911895643197276160 --by sms

\b
Exit codes: 0 it will be sent · 6 database · 9 refused""")
@click.argument("number", metavar="LINK")
@click.option("--by", multiple=True, type=SEND, help="May be given twice.  [default: as it was made]")
@data_option
@json_option
def resend(number: str, by: tuple[str, ...], data: str | None, as_json: bool) -> None:
    """Send a link again.

    So many messages about one link go out in an hour, and in its life.
    """
    done = admin(configuration(data), "POST", f"{_path(number)}/resend", {"by": list(by)})
    print_json(done) if as_json else click.echo(f"Link {done['id']} will be sent again.")


@link.command(epilog="""\b
Examples:
  ringfence link cancel 911895643197276160

\b
Exit codes: 0 cancelled · 6 database · 9 refused: it was paid, or someone is paying""")
@click.argument("number", metavar="LINK")
@data_option
@json_option
def cancel(number: str, data: str | None, as_json: bool) -> None:
    """Take a link back: nobody can pay it any more."""
    done = admin(configuration(data), "POST", f"{_path(number)}/cancel")
    print_json(done) if as_json else click.echo(f"Link {done['id']} of {shown(done)} is cancelled.")


@link.command(epilog="""\b
Examples:
  ringfence link qr 911895643197276160
  ringfence link qr 911895643197276160 --output code.svg""")
@click.argument("number", metavar="LINK")
@click.option("--output", metavar="FILE", help="Write an SVG picture.  [default: draw it in the terminal]")
@data_option
def qr(number: str, output: str | None, data: str | None) -> None:
    """Show a link's address as a QR code."""
    url = _found(number, data)["url"]
    if output is None:
        import segno
        segno.make(url, error="m", micro=False).terminal(compact=True)
        click.echo(url)
        return
    from ringfence.engine.invoices import qr_svg
    _write(output, qr_svg(url))


@link.command(epilog="""\b
Examples:
  ringfence link pdf 911895643197276160 --output invoice.pdf
  ringfence link pdf 911895643197276160 --output - | lp

\b
Exit codes: 0 written · 3 the extra "pdf" is not installed · 6 database · 9 there is no such link""")
@click.argument("number", metavar="LINK")
@click.option("--output", metavar="FILE", help="Where to; - for standard output.  [default: invoice-LINK.pdf]")
@data_option
def pdf(number: str, output: str | None, data: str | None) -> None:
    """Write a link as an invoice that can be printed."""
    from ringfence.engine.invoices import Invoice, PdfMissing
    from ringfence.engine.invoices import pdf as printed
    one = _found(number, data)
    until = datetime.fromisoformat(one["expires_at"])
    paper = Invoice(
        one["language"], one["merchant_name"], one["id"], one["reference"], one["created_at"][:10], f"{until:%Y-%m-%d %H:%M} UTC", one["name"],
        one["email"], one["description"], shown(one), one["state"], one["url"])
    try:
        _write(output or f"invoice-{one['id']}.pdf", printed(paper))
    except PdfMissing as missing:
        raise Failure(Exit.CONFIGURATION, f"{missing}.") from missing


def _found(number: str, data: str | None) -> dict[str, Any]:
    return admin(configuration(data), "GET", _path(number))


def _path(number: str) -> str:
    return f"/admin/links/{segment(number)}"


def _first(answer: dict[str, Any]) -> str:
    if not answer["merchants"]:
        raise Failure(Exit.REFUSED, "There is no merchant yet: make one with ringfence merchant create.")
    return answer["merchants"][0]["identifier"]


def _write(output: str, content: bytes) -> None:
    if output == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        Path(output).write_bytes(content)
    except OSError as error:
        raise Failure(Exit.USAGE, f"{output} cannot be written: {error.strerror}.") from error
    click.echo(f"Wrote {output}")


def _pairs(one: dict[str, Any]) -> list[tuple[str, object]]:
    customer = ", ".join(filter(None, (one["name"], one["email"], one["phone"])))
    return [
        ("link", one["id"]), ("merchant", one["merchant"]), ("reference", one["reference"]), ("state", one["state"]), ("amount", shown(one)),
        *([("for", one["description"])] if one["description"] else []), *([("customer", customer)] if customer else []),
        ("expires", _instant(one["expires_at"])), *([("paid", f"{_instant(one['paid_at'])} by payment {one['payment']}")] if one["paid_at"] else []),
        ("address", one["url"]),
    ]



def _instant(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
