"""``ringfence card``.  ``verify``: a card is checked by a small purchase that is refunded at once, over the merchant's own door.

The number comes from a prompt or from standard input, because a command line is visible to every user of the machine.  What nobody
knows is called unknown, never declined; money that stands is named, with the command that gives it back.
"""
from __future__ import annotations

import re
import secrets
import sys
from typing import Any, NamedTuple
from urllib.parse import urlencode

import click

from ringfence.cli.asking import ask
from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import Running, admin, credential, needed, sandbox, segment
from ringfence.core.money import CURRENCIES, format_decimal
from ringfence.failures import Exit, Failure

PURCHASED, REFUNDED, UNKNOWN, CHALLENGE = "14000", "06000", "15777", "20064"


class TypedCard(NamedTuple):
    """A card as somebody typed it.  ``code`` may be empty."""

    number: str
    expiry: str
    code: str

    def __repr__(self) -> str:
        return "TypedCard(***)"


class Verdict(NamedTuple):
    """What became of the check.  ``stands``: whether money of the card is charged for all that is known; ``advice``: what to do then."""

    word: str
    sentence: str
    stands: bool | None = False
    advice: str = ""


@click.group(epilog="""\b
Examples:
  ringfence card verify
  ringfence card events""")
def card() -> None:
    """Check a card with a small payment that is given back; see which cards were presented again."""


@card.command(epilog="""\b
Examples:
  ringfence card verify                                     asks for number, expiry date and security code
  echo 4005550000000001 2105 123 | ringfence card verify --json
  ringfence card verify --currency SAR --merchant RingfenceTwo
  ringfence card verify --token 6207788D28CAD4F63355D19679FD6B7E

\b
From a prompt, or from standard input: one line with number, expiry date (YYMM) and security code.  The amount is the merchant's
setting verify_minor.  VERIFY_CARD asks the issuer too, but authorizes and voids; this moves money and moves it back.
Exit codes: 0 charged and given back · 1 declined, refused or unknown, or the money was not given back: the answer says which ·
2 usage · 8 no service runs""")
@click.option("--currency", default="AED", show_default=True, help="ISO 4217.")
@click.option("--token", metavar="NAME", help="Check a stored card; nothing is asked for.")
@click.option("--reference", help="The merchant's reference.  [default: a random one]")
@click.option("--merchant", metavar="ID", help="Who asks.  [default: the sandbox's first merchant]")
@data_option
@json_option
def verify(currency: str, token: str | None, reference: str | None, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Charge a small amount to a card and refund it at once: whether the card really works."""
    if currency not in CURRENCIES:
        raise click.UsageError(f"{currency!r} is not a currency of ISO 4217.")
    config = configuration(data)
    service, known = needed(config), sandbox(config)
    if known is None:
        raise Failure(Exit.NOT_RUNNING, "There is no sandbox.json: only a sandbox gives its credentials away.")
    shop = credential(config, known, merchant)
    identifier = shop["merchant_identifier"]
    minor = int(admin(config, "GET", f"/admin/merchants/{segment(identifier)}")["settings"]["verify_minor"])
    money = {"amount": str(minor), "currency": currency}
    reference = reference or f"verify-{secrets.token_hex(8)}"
    again = f"ringfence pay --command REFUND --reference {reference} --amount {format_decimal(minor, currency)} --currency {currency}" \
            f" --merchant {identifier} --set maintenance_reference={reference}"
    purchase = ask(service, shop, {
        "command": "PURCHASE", "merchant_reference": reference, **money, "customer_email": "payer@shop.example", "customer_ip": "192.0.2.1",
        **({"token_name": token} if token else _fields(_typed()))})
    verdict, refund = judge(purchase, again), None
    if purchase["response_code"] == PURCHASED:
        refund, verdict = _given_back(service, shop, {
            "command": "REFUND", "merchant_reference": reference, **money, "maintenance_reference": reference}, again)
    shown = {
        "verdict": verdict.word, "sentence": verdict.sentence, "merchant": identifier, "merchant_reference": reference,
        "amount": format_decimal(minor, currency), "currency": currency, "card_number": purchase.get("card_number"),
        "payment_option": purchase.get("payment_option"), "fort_id": purchase.get("fort_id"),
        "purchase": _said(purchase), "refund": _said(refund), "stands": verdict.stands, "do": verdict.advice or None,
    }
    if as_json:
        print_json(shown)
    else:
        print_pairs([(name.replace("_", " "), value) for name, value in shown.items() if value not in (None, False)], title="Card check")
    sys.exit(Exit.OK if verdict.word == "verified" else Exit.CHECK_FAILED)


@card.command(epilog="""\b
Examples:
  ringfence card events
  ringfence card events --merchant RingfenceOne --json""")
@click.option("--merchant", metavar="ID", help="Only this merchant's.")
@data_option
@json_option
def events(merchant: str | None, data: str | None, as_json: bool) -> None:
    """List cards that were presented where a token stood for them, and tokens that got another card."""
    answer = admin(configuration(data), "GET", "/admin/tokens/events" + (f"?{urlencode({'merchant': merchant})}" if merchant is not None else ""))
    if as_json:
        print_json(answer)
    elif not answer["events"]:
        click.echo("No card was presented twice.")
    else:
        print_table(("at", "merchant", "card", "event", "token", "reference", "by"), [
            (one["at"], one["merchant"], one["card_number"], one["event"], one["token_name"], one["reference"], one["source"])
            for one in answer["events"]], folds=("token", "reference"))


def judge(purchase: dict[str, Any], again: str) -> Verdict:
    """What a purchase that did not succeed says of the card."""
    code, text = purchase["response_code"], purchase["response_message"]
    if code == UNKNOWN:
        return Verdict("unknown", "Nobody knows yet whether the card was charged. The service goes on asking.", None,
                       f"Look with: ringfence explain {purchase['merchant_reference']}; if it was charged, give it back with: {again}")
    if code == CHALLENGE:
        return Verdict("unknown", "The issuer wants to hear the payer first (3-D Secure); nothing was charged.", False,
                       f"The payer opens {purchase.get('3ds_url', '')}; then give it back with: {again}")
    if code[:2] == "00" or "acquirer_response_code" not in purchase:
        return Verdict("refused", f"The issuer was not asked: {text} ({code}).")
    return Verdict("declined", f"The issuer declined: {text} ({code}). Nothing was charged.")


def _given_back(service: Running, shop: dict[str, str], fields: dict[str, str], again: str) -> tuple[dict[str, Any] | None, Verdict]:
    """The refund, and what it means; one that is lost on its way may be asked again under the same maintenance_reference."""
    try:
        refund = ask(service, shop, fields)
    except Failure as failure:
        return None, Verdict("refund_unknown", f"The card works and was charged; the refund was not answered: {failure.sentence}", None,
                             f"Ask again, it is given back only once: {again}")
    code, text = refund["response_code"], refund["response_message"]
    if code == REFUNDED:
        return refund, Verdict("verified", "The card was charged, and the money was given back.")
    if code == UNKNOWN:
        return refund, Verdict("refund_unknown", "The card works and was charged; nobody knows yet whether the refund was booked. "
                                                 "The service goes on asking.", None, f"Ask again, it is given back only once: {again}")
    return refund, Verdict(
        "refund_failed", f"The card works and was charged; the refund failed: {text} ({code}).", True, f"Give it back with: {again}")


def _typed() -> TypedCard:
    """The card from standard input where that is no terminal, else from a prompt that shows nothing of what is typed."""
    if sys.stdin.isatty():
        words = [click.prompt("Card number", hide_input=True).replace(" ", ""), click.prompt("Expiry date (YYMM)"),
                 click.prompt("Security code", hide_input=True, default="", show_default=False)]
    else:
        words = re.split(r"[\s,;]+", sys.stdin.readline().strip())
    if not re.fullmatch(r"\d{12,19} \d{4}( \d{3,4})?", " ".join(words).strip(), re.ASCII):
        raise click.UsageError("Expected one line: card number, expiry date as YYMM, security code.")
    number, expiry, code = (*words, "")[:3]
    return TypedCard(number, expiry, code)


def _fields(typed: TypedCard) -> dict[str, str]:
    """Nothing of it is kept; without a security code it is an order by telephone."""
    code = {"card_security_code": typed.code} if typed.code else {"eci": "MOTO"}
    return {"card_number": typed.number, "expiry_date": typed.expiry, "remember_me": "NO", **code}


def _said(answer: dict[str, Any] | None) -> str | None:
    return None if answer is None else f"{answer['response_code']} {answer['response_message']}"
