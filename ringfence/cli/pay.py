"""``ringfence pay``: a payment from the command line, signed and sent as a merchant's server would."""
from __future__ import annotations

import secrets
import sys
from typing import Any

import click

from ringfence.cli.asking import ask
from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs
from ringfence.cli.service import credential, needed, sandbox
from ringfence.core.money import CURRENCIES, parse
from ringfence.failures import Exit, Failure

OPERATIONS = {
    "PURCHASE": "command", "AUTHORIZATION": "command", "CAPTURE": "command", "VOID_AUTHORIZATION": "command", "REFUND": "command",
    "CHECK_STATUS": "query_command",
}
BEGINS, NAMES_AMOUNT = ("PURCHASE", "AUTHORIZATION"), ("PURCHASE", "AUTHORIZATION", "CAPTURE", "REFUND")
ENDINGS = ("02", "04", "06", "08", "12", "14")     # status of an operation that did what was asked


@click.command(epilog="""\b
Examples:
  ringfence pay
  ringfence pay --amount 25.50 --currency SAR --card 4000009900510002
  ringfence pay --command AUTHORIZATION --reference ORD-7
  ringfence pay --command CAPTURE --reference ORD-7 --amount 4.00
  ringfence pay --token 6207788D28CAD4F63355D19679FD6B7E --merchant RingfenceTwo --json
  ringfence pay --set eci=MOTO --set order_description=tea

\b
Exit codes: 0 done · 1 declined, refused, unknown or waiting for the payer: the answer says which · 8 no service runs""")
@click.option("--command", "operation", default="PURCHASE", show_default=True, help="What to ask.",
              type=click.Choice(list(OPERATIONS), case_sensitive=False))
@click.option("--amount", default="10.00", show_default=True, help="With the currency's decimals.")
@click.option("--currency", default="AED", show_default=True, help="ISO 4217.")
@click.option("--card", metavar="NUMBER", help="A card number.  [default: a test card that is approved]")
@click.option("--expiry", metavar="YYMM", help="Its expiry date.  [default: the test card's]")
@click.option("--code", metavar="NNN", help="Its security code.  [default: the test card's]")
@click.option("--token", metavar="NAME", help="Pay with a stored card instead.")
@click.option("--reference", help="The merchant's reference.  [default: a random one]")
@click.option("--merchant", metavar="ID", help="Who asks.  [default: the sandbox's first merchant]")
@click.option("--set", "more", multiple=True, metavar="NAME=VALUE", help="Any other parameter; may be given several times.")
@data_option
@json_option
def pay(operation: str, amount: str, currency: str, card: str | None, expiry: str | None, code: str | None, token: str | None,
        reference: str | None, merchant: str | None, more: tuple[str, ...], data: str | None, as_json: bool) -> None:
    """Make a payment against the running sandbox over the APS API, and show the answer."""
    config = configuration(data)
    service, known = needed(config), sandbox(config)
    if known is None:
        raise Failure(Exit.NOT_RUNNING, "There is no sandbox.json: only a sandbox gives its credentials away.")
    shop = credential(config, known, merchant)
    asked = {OPERATIONS[operation]: operation, "merchant_reference": reference or _reference(operation)}
    if operation in NAMES_AMOUNT:
        asked |= {"amount": str(minor_of(amount, currency)), "currency": currency}
    if operation in BEGINS:
        asked |= {"customer_email": "payer@shop.example", "customer_ip": "192.0.2.1"}
        asked |= {"token_name": token} if token else _card(known["test_cards"], card, expiry, code)
    for pair in more:
        name, sign_, value = pair.partition("=")
        if not sign_:
            raise click.UsageError(f"{pair!r} is not NAME=VALUE.")
        asked[name] = value
    answer = ask(service, shop, asked)
    if as_json:
        print_json(answer)
    else:
        print_pairs([(name, answer[name]) for name in sorted(answer, key=_importance)], title=f"{operation} at {shop['merchant_identifier']}")
    sys.exit(Exit.OK if answer["status"] in ENDINGS and answer["response_code"].endswith("000") else Exit.CHECK_FAILED)


_FIRST = ("response_code", "response_message", "3ds_url", "status", "merchant_reference", "fort_id", "amount", "currency", "authorization_code",
          "card_number", "token_name")


def _importance(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _reference(operation: str) -> str:
    if operation not in BEGINS:
        raise click.UsageError(f"{operation} needs --reference: the payment it is about.")
    return secrets.token_hex(8)


def minor_of(amount: str, currency: str) -> int:
    """An amount in major units, as a person writes it, in minor units.  Raises ``click.UsageError``."""
    if currency not in CURRENCIES:
        raise click.UsageError(f"{currency!r} is not a currency of ISO 4217.")
    try:
        return parse(f"{amount} {currency}").minor
    except ValueError as error:
        raise click.UsageError(f"--amount: {error}") from error


def _card(test_cards: list[dict[str, Any]], number: str | None, expiry: str | None, code: str | None) -> dict[str, str]:
    number = number.replace(" ", "") if number else test_cards[0]["number"]
    known = next((card for card in test_cards if card["number"] == number), test_cards[0])
    return {"card_number": number, "expiry_date": expiry or known["expiry"], "card_security_code": code or known["security_code"]}
