"""Rows of reports: what each column says of an operation, from what is stored of it.

One function for each column, in a table.  Codes come from the functions that answered at the time.  A column that nothing is stored
for is empty.  Decides also which operations a report's filters leave out.  Refuses to know how rows are found, and how they are written.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import NamedTuple

from ringfence.api.aps import codes
from ringfence.api.aps.door import DOOR, read_details, verification_key
from ringfence.api.aps.fields import REPORT_COLUMNS
from ringfence.api.aps.maintenance import code_of
from ringfence.api.aps.services import verification_code
from ringfence.core.card import luhn_valid
from ringfence.core.ids import LARGEST
from ringfence.engine.reporting import Asked, Narrow, Operated, Words

#: ``operation`` by kind; a hold that another door raised or lowered has no command of this one.
OPERATION = {
    "authorization": "AUTHORIZATION", "purchase": "PURCHASE", "capture": "CAPTURE", "void": "VOID_AUTHORIZATION", "refund": "REFUND",
    "increment": "INCREMENT", "decrement": "DECREMENT",
}
VERIFICATION = "VERIFY_CARD"
KINDS = {word: kind for kind, word in OPERATION.items()} | {VERIFICATION: "authorization"}

#: ``channel`` by the source of a payment that began elsewhere than at ``paymentApi``.
PAGES = {"page": "Redirection", "link": "Redirection", "eterminal": "eTerminal"}
_AUTHENTICATED = frozenset({"01", "02", "05", "06"})
"""ECI values of a payer who was authenticated, or of an attempt at it (EMV 3-D Secure)."""
INSUFFICIENT_FUNDS = "51"


class Told(NamedTuple):
    """An operation, with what its columns need more than once.

    ``own`` and ``first`` are what was said with the operation and with the one its payment began with, ``card`` what was shown of its card;
    all empty where it is erased, or another door was asked.
    """

    row: Operated
    own: Mapping[str, str]
    first: Mapping[str, str]
    card: Mapping[str, str]
    code: str
    given_back: bool
    zone: tzinfo
    language: str


Column = Callable[[Told], str]


def told(row: Operated, zone: tzinfo, language: str) -> Told:
    """The operation, ready for its columns."""
    first, card = read_details(row.first_details) if row.first_door == DOOR and row.first_details is not None else ({}, {})
    own = first
    if row.operation_id != row.payment_id:
        own = read_details(row.details)[0] if row.door == DOOR and row.details is not None else {}
    given_back = row.status == "declined"
    of = verification_code if is_verification(row) and row.operation_id == row.payment_id else _of_payment(row.kind)
    code = of(row.result, row.response_code, given_back=given_back)
    return Told(row, own, first, card, code, given_back, zone, language)


def _of_payment(kind: str) -> Callable[..., str]:
    return lambda result, response_code, *, given_back: code_of(kind, result, response_code, given_back=given_back)


def is_verification(row: Operated) -> bool:
    """Whether its payment is a card check."""
    return row.first_door == DOOR and (row.first_key or "").startswith(verification_key(""))


def _said(name: str) -> Column:
    """What was said with the operation, else with the payment's first one."""
    return lambda told: told.own.get(name) or told.first.get(name, "")


def _of_card(name: str) -> Column:
    return lambda told: told.card.get(name) or told.first.get(name, "")


def _nothing(told: Told) -> str:
    return ""


def _no(told: Told) -> str:
    return "NO"


def _amount(told: Told) -> str:
    row = told.row
    return str(row.answered_minor if row.result == "approved" and not told.given_back and row.answered_minor else row.minor)


def _operation(told: Told) -> str:
    row = told.row
    return VERIFICATION if is_verification(row) and row.operation_id == row.payment_id else OPERATION[row.kind]


def _channel(told: Told) -> str:
    row = told.row
    if row.first_door != DOOR:
        return ""
    if row.source in PAGES:
        return PAGES[row.source]
    if row.initiation != "cardholder":
        return "Recurring"
    if row.channel == "moto":
        return "MOTO"
    return "Trusted" if row.token_version is None else "Merchant Page"


def _eci(told: Told) -> str:
    row = told.row
    if row.first_door != DOOR:
        return ""
    return "RECURRING" if row.initiation != "cardholder" else "MOTO" if row.channel == "moto" else "ECOMMERCE"


def _three_d_secure(told: Told) -> str:
    row = told.row
    return "YES" if row.first_result == "challenge" or row.first_eci in _AUTHENTICATED else "NO"


def _card_number(told: Told) -> str:
    row = told.row
    return _of_card("card_number")(told) or (f"{row.bin[:6]}******{row.last4}" if row.bin and row.last4 else "")


def _token_name(told: Told) -> str:
    """The token that was used, or made: that happens with an approval only."""
    row = told.row
    made = row.first_result == "approved" and not told.given_back
    return row.token_name or "" if made or row.token_version is not None else ""


def _acquirer_code(told: Told) -> str:
    if told.given_back and told.row.result == "approved":
        return INSUFFICIENT_FUNDS
    match told.row.result:
        case "approved":
            return "00"
        case "declined" | "reversed":
            return told.row.response_code or ""
        case _:
            return ""


def _acquirer_message(told: Told) -> str:
    code = _acquirer_code(told)
    return codes.acquirer_message(code) if code else ""


def _processor_code(told: Told) -> str:
    return told.row.response_code or "" if told.row.result in ("approved", "declined", "reversed") else ""


def _instant(at: datetime, zone: tzinfo) -> str:
    return at.astimezone(zone).isoformat(timespec="seconds")


#: What each column says.
COLUMNS: dict[str, Column] = {
    "fort_id": lambda told: str(told.row.payment_id),
    "merchant_reference": lambda told: told.row.first_reference or "",
    "authorization_code": lambda told: told.row.first_approval_code or "" if told.row.first_result == "approved" and not told.given_back else "",
    "customer_name": _said("customer_name"),
    "customer_ip": _said("customer_ip"),
    "geolocation_ip": _nothing,
    "customer_email": _said("customer_email"),
    "acquirer_name": lambda told: told.row.processor,
    "payment_option": lambda told: told.row.brand or _of_card("payment_option")(told),
    "channel": _channel,
    "transaction_date": lambda told: _instant(told.row.asked_at, told.zone),
    "card_number": _card_number,
    "expiry_date": _of_card("expiry_date"),
    "card_holder_name": _of_card("card_holder_name"),
    "amount": _amount,
    "currency": lambda told: told.row.currency,
    "card_bin": lambda told: told.row.bin or "",
    "eci": _eci,
    "operation": _operation,
    "token_name": _token_name,
    "3ds_indicator": _three_d_secure,
    "fraud_indicator": _no,
    "installments_indicator": _no,
    "status": lambda told: told.code[:2],
    "response_code": lambda told: told.code,
    "response_message": lambda told: codes.text_of(told.code[2:], told.language),
    "third_party_message": _nothing,
    "third_party_code": _nothing,
    "order_date": lambda told: _instant(told.row.first_asked_at, told.zone),
    "order_description": _said("order_description"),
    "acquirer_mid": _nothing,
    "acquirer_response_code": _acquirer_code,
    "acquirer_response_message": _acquirer_message,
    "processor_response_code": _processor_code,
    "sadad_olp": _said("sadad_olp"),
    "sadad_transaction_id": _nothing,
    "payment_link_id": _of_card("payment_link_id"),
    "Invoice_id": _said("Invoice_id"),
    "digital_wallet": _said("digital_wallet"),
}
assert tuple(COLUMNS) == REPORT_COLUMNS


# ---------------------------------------------------------------------------------------------------------- filters

def by_key(filters: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
    """Filters of one key name alternatives; all keys must agree."""
    found: dict[str, list[str]] = {}
    for key, value in filters:
        found.setdefault(key, []).append(value)
    return found


def narrow(asked: Asked) -> Narrow:
    """What the database sorts out by itself.  It may let more through than is meant, never less."""
    sought = by_key(asked.filters)
    numbers, kinds = sought.get("fort_id"), sought.get("operation")
    return Narrow(
        sought.get("currency"), None if kinds is None else [KINDS[word] for word in kinds if word in KINDS],
        None if numbers is None else [int(text) for text in numbers if re.fullmatch("[0-9]{1,19}", text, re.ASCII) and int(text) <= LARGEST],
        sought.get("merchant_reference"), sought.get("token_name"),
    )


def line(asked: Asked) -> Callable[[Operated], list[str] | None]:
    """The cells of an operation, or ``None`` for one that a filter leaves out."""
    zone = timezone(timedelta(seconds=asked.offset_seconds)) if asked.offset_seconds else UTC
    sought = [(COLUMNS[key], frozenset(values)) for key, values in by_key(asked.filters).items()]
    columns = [COLUMNS[name] for name in asked.columns]

    def cells(row: Operated) -> list[str] | None:
        one = told(row, zone, asked.language)
        if any(column(one) not in values for column, values in sought):
            return None
        return [column(one) for column in columns]

    return cells


WORDS = Words(narrow, line)

#: Runs of digits that are no card number in a filter of that key, however they add up: ids have more of them, and an order's number
#: is the merchant's own.
_LONGEST = {"fort_id": 16, "merchant_reference": 0}
_MASKED = re.compile(r"[0-9]{6,8}\*+[0-9]{4}", re.ASCII)


def holds_card_number(key: str, value: str) -> bool:
    """Whether a filter's value is, or could be, a card number in the clear: it would be stored with the report."""
    if key == "card_number":
        return not _MASKED.fullmatch(value)
    runs = re.findall("[0-9]{13,}", re.sub(r"[ .\-]", "", value), re.ASCII)
    return any(len(digits) <= _LONGEST.get(key, 19) and luhn_valid(digits) for digits in runs)
