"""The parts of the manual that are written from the code: tables, the command line, the HTTP description.

``python -m docs.tables`` writes them; a test compares what is committed with what this module says.  A page holds its tables
between ``<!-- table: NAME -->`` and ``<!-- end -->``; the text around them is written by people.  Decides how a table looks,
never what is in it.
"""
from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from types import ModuleType

import click

from ringfence.amazon_site import buyers, faults, simulating
from ringfence.api import openapi
from ringfence.api.aps import codes, fields, messages, operations
from ringfence.cli import COMMANDS, cli
from ringfence.config import VARIABLES
from ringfence.core import outcomes, refusals
from ringfence.core.expiry import DOOR_SECONDS, HOUR, SCHEME_DAYS
from ringfence.core.ledger import KINDS, book_of
from ringfence.core.payment import ALLOWED, NOT_ALLOWED
from ringfence.core.standing import Status
from ringfence.engine import metrics, plan_notices
from ringfence.engine.settings import DEFAULTS, ROWS, as_texts
from ringfence.failures import Exit
from ringfence.processors.amazon_pay.codes import DECLINES
from ringfence.processors.simulator.scenarios import EXACT, RANGES, SCENARIOS, test_cards

FOLDER = Path(__file__).parent
WIDTH = 100

_MARKED = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


# ------------------------------------------------------------------------------------------------------ how a table looks

def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |".replace("|  |", "| |") for row in rows]
    return "\n".join(lines) + "\n"


def code(text: object) -> str:
    """The text as code; nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def listed(words: Iterable[object]) -> str:
    """Words as code, in the order given."""
    return ", ".join(code(word) for word in words)


def comments(module: ModuleType, kind: type[Enum]) -> dict[str, str]:
    """The comment behind each member of an enumeration: what its module says of it."""
    found = re.findall(r"^    ([A-Z_]+) = .*?  # (.+)$", inspect.getsource(module), re.MULTILINE)
    return {name: text for name, text in found if name in kind.__members__}


# ------------------------------------------------------------------------------------------------------ the program

def variables() -> str:
    """Environment variables."""
    return table(("variable", "default", "allowed", "meaning"), (
        (code(one.name), code("" if one.default is None else {True: "on", False: "off"}.get(one.default, one.default)
                              if isinstance(one.default, bool) else one.default), one.allowed, one.meaning) for one in VARIABLES))


def settings() -> str:
    """What a merchant may set."""
    defaults = as_texts(DEFAULTS)
    return table(("setting", "default", "allowed", "meaning"), (
        (code(name + (".CHANNEL" if row.metadata["per_channel"] else "")), code(defaults[name]), row.metadata["rule"].allowed,
         row.metadata["meaning"]) for name, row in ROWS.items()))


def metric_names() -> str:
    """What ``/metrics`` counts."""
    def rows() -> Iterator[tuple[str, str, str, str]]:
        for kind, all_of_them in (("counter", metrics.COUNTERS), ("histogram", metrics.HISTOGRAMS)):
            for name in dict.fromkeys(one.name for one in all_of_them):
                same = [one for one in all_of_them if one.name == name]
                yield code(name), kind, listed(f'{label}="{value}"' for one in same for label, value in one.labels), same[0].help
    return table(("metric", "kind", "labels", "meaning"), rows())


def exit_codes() -> str:
    """How commands end."""
    said = comments(importlib.import_module("ringfence.failures"), Exit)
    return table(("code", "meaning"), ((int(one), said[one.name]) for one in Exit))


def command_line() -> str:
    """The page of every command, from its own help."""
    parts = ["# Command line\n\nEvery command of `ringfence`, in its own words. Written by `python -m docs.tables`; the same text is behind "
             "`--help`.\n"]
    for words, help_text in helps():
        parts.append(f"{'#' * (1 + len(words))} {' '.join(words)}\n\n```text\n{help_text}\n```\n")
    return "\n".join(parts)


def helps() -> Iterator[tuple[tuple[str, ...], str]]:
    """Each command's words and its help, groups before what is in them."""
    root = click.Context(cli, info_name="ringfence", terminal_width=WIDTH, **cli.context_settings)
    yield ("ringfence",), cli.get_help(root)
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        yield from _helps(command, ("ringfence", name), root)


def _helps(command: click.Command, words: tuple[str, ...], parent: click.Context) -> Iterator[tuple[tuple[str, ...], str]]:
    context = click.Context(command, info_name=words[-1], parent=parent, **command.context_settings)
    yield words, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _helps(inner, (*words, name), context)


def endpoints() -> str:
    """Paths and methods, from the HTTP description."""
    return table(("endpoint", "what it does", "parameters"), (
        (code(f"{method.upper()} {path}"), what["summary"], listed(one["name"] for one in what.get("parameters", ())))
        for path, methods in openapi.document()["paths"].items() for method, what in methods.items()))


# ------------------------------------------------------------------------------------------------------ the core

def allowed() -> str:
    """What may follow what."""
    return table(("status", "takes", "everything else is refused as"), (
        (code(status), listed(sorted(kinds)) or "nothing", code(NOT_ALLOWED[status])) for status, kinds in ALLOWED.items()))


def statuses() -> str:
    """The statuses of a payment."""
    said = comments(importlib.import_module("ringfence.core.standing"), Status) | {"AUTHORIZED": "the issuer holds the amount, nothing was captured"}
    return table(("status", "meaning"), ((code(status), said[status.name]) for status in Status))


def refusal_names() -> str:
    """Why a command is turned down, in the order of the ladder."""
    said = comments(refusals, refusals.Refusal)
    spoken = {"PAYMENT_NOT_FOUND": "no payment of this merchant has that name", "AMOUNT_NOT_POSITIVE": "zero, or less",
              "EXCEEDS_CAPTURABLE": "more than is open", "EXCEEDS_REFUNDABLE": "more than the captures can return",
              "TOKEN_NOT_FOUND": "the merchant has no token of that name", "TOKEN_INACTIVE": "the token is switched off",
              "EXPIRY_NOT_DUE": "an expiry before its instant"}
    return table(("refusal", "meaning", "APS message"), (
        (code(one), said.get(one.name) or spoken[one.name], _aps_of(one)) for one in refusals.Refusal))


def _aps_of(refusal: refusals.Refusal) -> str:
    special = [f"{codes.REFUSAL_CODES[row]} for {row[1].value}" for row in codes.REFUSAL_CODES if isinstance(row, tuple) and row[0] is refusal]
    return ", ".join([codes.REFUSAL_CODES[refusal], *special])


def validity() -> str:
    """How long schemes stand by an authorization."""
    return table(("scheme", "card absent", "card present", "merchant-initiated", "estimated amount"), (
        (code(brand), *(f"{days} d" for days in row)) for brand, row in SCHEME_DAYS.items()))


def doors() -> str:
    """How long doors stand by an authorization."""
    return table(("door", "hold"), ((code(door), f"{seconds // HOUR} h") for door, seconds in DOOR_SECONDS.items()))


def hard_declines() -> str:
    """What ends merchant-initiated payments with a card."""
    return f"Response codes (DE 39): {listed(sorted(outcomes.HARD_DECLINES))}.\n\nMerchant advice codes: {listed(sorted(outcomes.HARD_ADVICE))}.\n"


def kinds(book: str) -> Callable[[], str]:
    """The transfers of one book."""
    return lambda: table(("kind", "number", "debit", "credit"), (
        (code(kind.name.lower()), int(kind), code(debit), code(credit)) for kind, (debit, credit) in KINDS.items() if book_of(debit) == book))


# ------------------------------------------------------------------------------------------------------ the simulator

def card_rows(first: int, last: int | None) -> Callable[[], str]:
    """A part of the test cards."""
    return lambda: table(("number", "brand", "code", "scenario", "what happens"), (
        (code(card["number"]), card["brand"], card["security_code"], card["scenario"], _behaviour(card["scenario"]))
        for card in test_cards()[first:last]))


def _behaviour(scenario: str) -> str:
    row = SCENARIOS[scenario]
    return f"{row.text}; its own behaviour {row.special}" if row.special else row.text


_EXACT = len(EXACT)
_BRANDS = 2 * (len(RANGES) - 1)


def ranges() -> str:
    """The prefixes of the simulator's own numbers."""
    cards = {card["number"][:8]: card["brand"] for card in test_cards()}
    return table(("prefix", "digits", "brand"), ((code(row.prefix), row.length, cards[row.prefix]) for row in RANGES))


# ------------------------------------------------------------------------------------------------------ APS

def notices_of_plans() -> str:
    """What merchants are told of plans."""
    return table(("`notice`", "says"), ((code(f"plan_{name}"), what) for name, what in plan_notices.NOTICES.items()))


def aps_operations() -> str:
    """What the APS endpoint can be asked."""
    return table(("operation", "named by", "success", "refusals and declines", "mandatory"), (
        (f"[`{row.name}`](#{row.name.lower()})", code(row.key), code(row.success), f"`{row.failure}mmm`",
         "; ".join(filter(None, (listed(name for name in row.mandatory if name not in operations.COMMON),
                                 row.one_of and f"one of {listed(row.one_of)}"))))
        for row in operations.OPERATIONS.values()))


def aps_parameters_by_operation() -> str:
    """Per operation, what it accepts beyond the mandatory, and what its answer adds."""
    parts = []
    for row in operations.OPERATIONS.values():
        optional = row.accepts - set(row.mandatory) - set(row.one_of) - {"signature", row.key} - _unshown(row)
        families = [name for name, members in _FAMILIES.items() if members <= optional]
        shown = sorted(optional.difference(*(_FAMILIES[name] for name in families)))
        fraud = fields.FRAUD.keys() <= row.accepts
        parts.append(f"### {row.name}\n\n"
                     + (f"May also carry: {listed([*shown, *families, *(['fraud fields'] if fraud else [])])}.\n\n" if shown or families else "")
                     + f"The answer may add: {listed(sorted(row.answers - row.echoes - operations.RESULT)) or 'nothing'}.\n")
    return "\n".join(parts)


def _unshown(row: operations.Operation) -> frozenset[str]:
    """The fraud service's many, where all of them are accepted; an operation that takes one of them takes it for itself."""
    return frozenset(fields.FRAUD) if fields.FRAUD.keys() <= row.accepts else frozenset()


_FAMILIES = {
    "billing_*": {name for name in fields.FIELDS if name.startswith("billing_")},
    "shipping_*": {name for name in fields.FIELDS if name.startswith("shipping_")},
    "app_*": {name for name in fields.FIELDS if name.startswith("app_")},
    "merchant_extra1 … 5": {f"merchant_extra{n}" for n in range(1, 6)},
}


def aps_variants() -> str:
    """The ways to pay."""
    return table(("way to pay", "`eci`", "channel it needs", "also mandatory", "must not carry"), (
        (row.name, code(row.eci), code(row.channel), listed(row.mandatory), listed(sorted(row.forbidden))) for row in operations.VARIANTS))


def aps_fields() -> str:
    """The dictionary, without the fraud service's many."""
    names = {id(value): name for name, value in vars(fields).items() if isinstance(value, fields.Pattern)}
    taken = frozenset().union(*(row.accepts - _unshown(row) for row in operations.OPERATIONS.values())) | set(operations.KEYS)
    hidden = {name for members in _FAMILIES.values() for name in members if not name.startswith("merchant_extra")}
    return table(("parameter", "longest", "written with", "values"), (
        (code(name), field.longest, ALPHABETS.get(names.get(id(field.pattern), "")) or _pattern(field.pattern),
         listed(sorted(field.values or ())))
        for name, field in fields.FIELDS.items() if name in taken - hidden))


#: The alphabets of the dictionary, in words.
ALPHABETS: dict[str, str] = {
    "ALNUM": "letters, digits", "DIGITS": "digits", "ALPHA": "letters", "REFERENCE": "letters, digits, `- _ .`",
    "BATCH": "letters, digits, `- _ . /`", "NAME": "letters of any script, `_ \\ / - . '` and space", "TOKEN": "letters, digits, `. @ - _`",
    "DEVICE": "letters, digits, `_ - . @ +`", "EXTRA": "letters, digits, `. ; / _ - , ' @`",
    "DESCRIPTION": "letters of any script, digits, `' / . _ - # : $` and space", "PHONE": "digits, `+ - ( )` and space",
    "FLEX": "letters, digits, `_ / \\ - . # $ % & @ *`", "TEXT": "anything printable but `=`", "EMAIL": "a mail address",
    "ADDRESS": "an IP address", "HEX": "hexadecimal digits", "DATE": "`YYYY-MM-DD`", "INSTANT": "ISO 8601 with its offset",
    "EXPIRY": "`YYMM`", "CURRENCY": "ISO 4217 letters", "URL": "an http or https address", "FINGERPRINT": "base64 pieces",
    "NESTED": "an object or list",
}


def _pattern(pattern: fields.Pattern) -> str:
    return code(pattern.pattern.replace(fields._OTHER_SCRIPTS, "…"))


def aps_unavailable() -> str:
    """Operations that are known and not served yet."""
    rows = [(code(name), code(key), code(answer), messages.MESSAGES[answer[2:]].en) for (key, name), answer in operations.UNAVAILABLE.items()]
    features: dict[str, list[str]] = {}
    for name, answer in operations.FEATURES_ABSENT.items():
        features.setdefault(answer, []).append(name)
    rows += [(f"a payment with {listed(names)}", "", code(answer), messages.MESSAGES[answer[2:]].en) for answer, names in features.items()]
    return table(("asked for", "named by", "answer", "message"), rows)


def aps_declines() -> str:
    """How the issuer's codes are told."""
    rows = [(code(answer), code(message), messages.MESSAGES[message].en) for answer, message in codes.DECLINE_CODES.items()]
    return table(("issuer's answer (DE 39)", "message", "text"), [*rows, ("any other", code(codes.DECLINED), messages.MESSAGES[codes.DECLINED].en)])


def aps_ladder() -> str:
    """The checks of a request in order, with the codes that say no."""
    return table(("rung", "code", "message"), ((text, code(answer), messages.MESSAGES[answer[2:]].en) for text, answer in LADDER))


def report_columns() -> str:
    """What the columns of reports say."""
    assert tuple(COLUMNS) == fields.REPORT_COLUMNS
    return table(("column", "what it says"), ((code(name), said) for name, said in COLUMNS.items()))


_NOTHING = "nothing yet"
_ORDER = "of the order's first request"
COLUMNS: dict[str, str] = {
    "fort_id": "the payment's id", "merchant_reference": "the order's", "authorization_code": "of the payment's approval",
    "customer_name": "of the operation's request, else " + _ORDER, "customer_ip": "the same", "geolocation_ip": _NOTHING, "customer_email": "the same",
    "acquirer_name": "the processor that was asked", "payment_option": "the card's brand",
    "channel": "`MOTO`, `Trusted` (card data in the request), `Merchant Page` (a token), `Redirection` (our page or link), `eTerminal`, `Recurring`",
    "transaction_date": "when the operation was asked (business time)", "card_number": "masked", "expiry_date": "`YYMM`",
    "card_holder_name": "of the card or token", "amount": "minor units: approved, else asked for", "currency": "ISO 4217", "card_bin": "the first digits",
    "eci": "`ECOMMERCE`, `MOTO` or `RECURRING`",
    "operation": "`AUTHORIZATION`, `PURCHASE`, `CAPTURE`, `VOID_AUTHORIZATION`, `REFUND`, `VERIFY_CARD`; `INCREMENT` and `DECREMENT` of other doors",
    "token_name": "the token that was used or made", "3ds_indicator": "`YES` where the payer was authenticated, or an attempt was made; else `NO`",
    "fraud_indicator": "`NO`: nothing is scored", "installments_indicator": "`NO`", "status": "the first two digits of `response_code`",
    "response_code": "as CHECK_STATUS would tell of the operation", "response_message": "its text, in the language of the report",
    "third_party_message": _NOTHING, "third_party_code": _NOTHING, "order_date": "when the payment's first operation was asked",
    "order_description": "of the operation's request, else " + _ORDER, "acquirer_mid": _NOTHING, "acquirer_response_code": "the issuer's answer (DE 39)",
    "acquirer_response_message": "its text", "processor_response_code": "DE 39 as it was stored", "sadad_olp": _ORDER, "sadad_transaction_id": _NOTHING,
    "payment_link_id": "of the link that was paid", "Invoice_id": _ORDER, "digital_wallet": _ORDER,
}

#: What ``wire.parse`` and the door look at, in order.
LADDER: tuple[tuple[str, str], ...] = (
    ("the body is one JSON object in UTF-8, nested no deeper than 8", "00073"),
    ("`merchant_identifier` is there", "00001"),
    ("a merchant has it", "00009"),
    ("`access_code` is there", "00001"),
    ("it is one of that merchant's", "00010"),
    ("the account is active", "00015"),
    ("one of `command`, `service_command`, `query_command` is there; the first of them counts", "00001"),
    ("its value is an operation", "00004"),
    ("`signature` is there", "00001"),
    ("and right", "00008"),
    ("the operation is served here", "00093"),
    ("every parameter belongs to the operation and the way to pay", "00027"),
    ("every mandatory parameter is there", "00001"),
    ("no value is too long", "00032"),
    ("every value is written as its field wants", "00002"),
    ("every value is one of its list", "00033"),
    ("no value can be read as further parameters under the same signature", "00002"),
    ("the currency exists and is allowed", "00013"),
    ("the amount is not zero", "00005"),
    ("the expiry date is a date", "00100"),
    ("it has not passed", "00012"),
    ("the card number can be one", "00016"),
    ("its brand is known", "00039"),
    ("the security code has the brand's length", "00002"),
    ("no other value holds the card number", "00002"),
    ("a browser may be sent to `return_url`", "00040"),
    ("counts of an agreement are not zero, and its last day is a day", "00002"),
    ("that day is not over", "00110"),
    ("the caller's address is allowed", "00040"),
    ("the service is on: tokens", "00038"),
    ("the service is on: SDK tokens", "00068"),
    ("the service is on: card checks, reports", "00093"),
    ("the channel is on", "00046"),
    ("a recurring payment is a PURCHASE", "00112"),
    ("a `statement_descriptor` is configured", "00067"),
    ("the card's brand is allowed", "00003"),
)


# ------------------------------------------------------------------------------------------------------ the pages

def amazon_pay_reasons() -> str:
    """Amazon's reason codes as response codes."""
    return table(("reason code", "response code", "merchant advice"), (
        (code(reason), code(meaning.response_code), code(meaning.advice)) for reason, meaning in DECLINES.items()))


# ------------------------------------------------------------------------------------------------------ the Amazon Pay site

def amazon_buyers() -> str:
    """Who can sign in."""
    return table(("e-mail", "password", "name", "addresses"), (
        (code(one.email), code(one.password), one.name, "; ".join(f"{address.city}, {address.country}" for address in one.addresses))
        for one in buyers.BUYERS.values()))


def amazon_cards() -> str:
    """What is in everybody's wallet."""
    return table(("last digits", "brand", "what happens"), ((code(one.tail), one.brand, one.does) for one in buyers.CARDS.values()))


def amazon_codes() -> str:
    """Which simulation codes each operation takes."""
    return table(("operation", "codes"), ((code(name), listed(codes_)) for name, codes_ in simulating.CODES.items()))


def amazon_faults() -> str:
    """What can be made to go wrong."""
    rows = [("request", *row) for row in faults.OF_REQUESTS.items()] + [("notification", *row) for row in faults.OF_NOTIFICATIONS.items()]
    return table(("of a", "kind", "value, and what happens"), ((of, code(kind), said) for of, kind, said in rows))


TABLES: dict[str, Callable[[], str]] = {
    "amazon-pay-reasons": amazon_pay_reasons,
    "variables": variables, "settings": settings, "metrics": metric_names, "exit-codes": exit_codes, "endpoints": endpoints,
    "allowed": allowed, "statuses": statuses, "refusals": refusal_names, "validity": validity, "doors": doors, "hard-declines": hard_declines,
    "hold": kinds("hold"), "money": kinds("money"), "debt": kinds("debt"), "doubt": kinds("doubt"),
    "cards": card_rows(0, -_EXACT - _BRANDS), "brand-cards": card_rows(-_EXACT - _BRANDS, -_EXACT), "known-cards": card_rows(-_EXACT, None),
    "ranges": ranges,
    "report-columns": report_columns, "plan-notices": notices_of_plans, "aps-operations": aps_operations,
    "aps-answers": aps_parameters_by_operation, "aps-variants": aps_variants, "aps-fields": aps_fields,
    "aps-unavailable": aps_unavailable, "aps-declines": aps_declines, "aps-ladder": aps_ladder,
    "amazon-buyers": amazon_buyers, "amazon-cards": amazon_cards, "amazon-codes": amazon_codes, "amazon-faults": amazon_faults,
}

#: Pages that hold nothing else.
WHOLE: dict[str, Callable[[], str]] = {
    "cli.md": command_line,
    "openapi.json": lambda: json.dumps(openapi.document(), indent=1, ensure_ascii=False) + "\n",
}


def with_tables(text: str) -> str:
    """A page with its tables as they should be.  Raises ``KeyError`` for a table that nobody knows."""
    return _MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def pages() -> dict[Path, str]:
    """Every page that holds something of this module, as it should be."""
    found = {path: with_tables(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.md")) if path.name not in WHOLE}
    marked = {path: text for path, text in found.items() if _MARKED.search(text)}
    return marked | {FOLDER / name: write() for name, write in WHOLE.items()}


def main() -> None:
    """Write what is not as it should be."""
    for path, text in pages().items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            click.echo(f"wrote {path.relative_to(FOLDER.parent)}")


if __name__ == "__main__":
    main()
