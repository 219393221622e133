"""Transaction feedback: what APS merchants are told of events, in the words of the answer.

Feedback is the answer again: made by the functions that make the answer, from the rows that the event's commit wrote.  Decides which
events are told, to which of the merchant's addresses, and in which of three formats.  Refuses to know who delivers it, and when.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from ringfence.api.aps import codes, signature, xml
from ringfence.api.aps.answers import answer
from ringfence.api.aps.door import CHANNEL, DOOR, read_details
from ringfence.api.aps.ladder import ApsRequest
from ringfence.api.aps.maintenance import reply_to
from ringfence.api.aps.operations import COMMON, OPERATIONS, variant_of
from ringfence.api.aps.payments import ending
from ringfence.core.commands import Kind, VoidReason
from ringfence.core.events import Event
from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Reversed, Silence, Unknown
from ringfence.engine.directory import Credential, Merchant
from ringfence.engine.feed import Message, Notifier, Occurred
from ringfence.engine.intents import Result
from ringfence.engine.settings import policy_of

FEEDBACK, NOTIFICATION = "feedback", "notification"
ADDRESSES = {FEEDBACK: "feedback_url", NOTIFICATION: "notification_url"}
"""The setting that holds the address for each purpose."""

FOUND = frozenset({302})
"""A status that says "received" beside 2xx: the clients' pages redirect."""


class Row(NamedTuple):
    """How one event is told.

    ``first`` and ``again`` are the purposes for an operation's first attempt and for later ones, which ended a doubt; "" is silence.
    """

    command: str
    first: str
    again: str


def _payment(command: str) -> dict[str, Row]:
    kind = Kind[command]
    ends = Row(command, FEEDBACK, NOTIFICATION)
    return {
        f"{kind}_approved": ends, f"{kind}_declined": ends, f"{kind}_unknown": Row(command, FEEDBACK, ""), f"{kind}_reversed": ends,
        f"{kind}_not_asked": Row(command, FEEDBACK, ""),
    }


def _later(command: str, kind: Kind) -> dict[str, Row]:
    return {f"{kind}_approved": Row(command, NOTIFICATION, NOTIFICATION), f"{kind}_declined": Row(command, "", NOTIFICATION)}


#: What is told of events; an event without a row is none that APS has words for (see ``UNTOLD``).
TOLD: dict[str, Row] = {
    **_payment("AUTHORIZATION"), **_payment("PURCHASE"),
    **_later("CAPTURE", Kind.CAPTURE), **_later("VOID_AUTHORIZATION", Kind.VOID), **_later("REFUND", Kind.REFUND),
    Event.AUTHORIZATION_EXPIRED: Row("VOID_AUTHORIZATION", NOTIFICATION, NOTIFICATION),
}

#: Events that are not told: nothing happened, the answer has said so already, or no APS operation is like them.
UNTOLD: frozenset[str] = frozenset({
    *(event for event in Event if event.endswith("_not_asked") and not event.startswith(("authorization_", "purchase_"))),
    Event.CAPTURE_UNKNOWN, Event.VOID_UNKNOWN, Event.REFUND_UNKNOWN, Event.REFUND_TAKEN,
    *(event for event in Event if event.startswith(("increment_", "decrement_"))), Event.AUTHORIZATION_CHALLENGED, Event.PURCHASE_CHALLENGED,
    Event.HOLD_DROPPED, Event.HELD_AGAIN, Event.CAPTURE_REJECTED, Event.REFUND_RETURNED, Event.CHARGEBACK_OPENED, Event.CHARGEBACK_RETURNED,
    Event.DISPUTE_LOST, Event.LATE_APPROVAL, Event.OVER_RETURNED, Event.NOTICE_UNMATCHED, Event.POSSIBLE_DUPLICATE,
    *(event for event in Event if event.startswith("debt_")),
})

_FIRST, _VOID = ("AUTHORIZATION", "PURCHASE"), "VOID_AUTHORIZATION"


def notifier(seconds: float) -> Notifier:
    """What the outbox needs of this door; ``seconds`` is how long one delivery may take."""
    def messages(merchant: Merchant, occurred: Occurred) -> list[Message]:
        return _messages(merchant, occurred, seconds)

    return Notifier(_wants, messages)


def _wants(merchant: Merchant) -> bool:
    """Whether any address is set, in any channel."""
    return any(any(getattr(merchant.settings, name).values()) for name in ADDRESSES.values())


def _messages(merchant: Merchant, occurred: Occurred, seconds: float) -> list[Message]:
    row = TOLD.get(occurred.event)
    purpose = row and (row.first if occurred.attempt == 1 else row.again)
    if not row or not purpose or (occurred.result == "not_asked" and occurred.response_code not in codes.AUTHENTICATION_CODES):
        return []                       # of what was not asked only that which its payer ended: nothing else happened
    known = occurred.origin == DOOR and occurred.first_details is not None
    first, card = read_details(occurred.first_details or b"{}") if known else ({}, {})
    echo = _echo(row.command, occurred, first)
    credential = echo and credential_of(merchant, echo["access_code"])
    if not echo or not credential:
        return []
    body = _body(request_again(row.command, echo | {"access_code": credential.public_name}), occurred, card)
    settings = merchant.settings
    content_type, write = FORMATS[settings.feedback_format]
    url = settings.at(ADDRESSES[purpose], card.get(CHANNEL) or channel_of(first))
    return [Message(purpose, url, content_type, write(body, credential), policy_of(settings, accepts=FOUND, seconds=seconds))]


def _echo(command: str, occurred: Occurred, first: dict[str, str]) -> dict[str, str] | None:
    """What the answer repeats: of the request itself where there was one, else of the payment's first request.

    ``None`` for what no APS answer could be about: the hold of a card check; and the rest of a hold that was captured in part, which lapses
    without a word, because CHECK_STATUS goes on telling of the capture.
    """
    if command in _FIRST:
        return first if first.get("command") == command else None
    own = read_details(occurred.details)[0] if occurred.door == DOOR and occurred.details is not None else {}
    if own.get("command") == command:
        return own
    minor = occurred.minor or 0
    asked_by_nobody = occurred.reason == VoidReason.EXPIRED and occurred.event != Event.AUTHORIZATION_EXPIRED
    if first.get("command") not in _FIRST or asked_by_nobody or (command == _VOID and minor < int(first["amount"])):
        return None
    echo = {name: first[name] for name in (*COMMON, "merchant_reference")} | {"command": command}
    return echo if command == _VOID else echo | {"amount": str(minor), "currency": occurred.currency or ""}


def request_again(command: str, echo: dict[str, str]) -> ApsRequest:
    """The request again, as far as an answer looks at it."""
    operation = OPERATIONS["command", command]
    return ApsRequest(
        operation, echo, echo, echo["language"], None, echo.get("currency", ""), echo.get("merchant_reference", ""), None,
        echo.get("token_name", ""), None, None, echo.get("eci", "ECOMMERCE"), variant_of(operation, echo), "",
    )


def _body(request: ApsRequest, occurred: Occurred, card: dict[str, str]) -> dict[str, object]:
    """The unsigned answer, made by the functions that made it the first time."""
    outcome, fort_id = _outcome(occurred), str(occurred.payment_id)
    if request.operation.variants:
        fields: dict[str, object] = {"fort_id": fort_id, **card}
        kept = occurred.approved == occurred.minor
        made = "" if occurred.token_version is not None else occurred.token_name or ""
        return answer(request, fields, ending(request, outcome, kept, made, fields))
    code, fields, _ = reply_to(request, Result(outcome=outcome), Kind(occurred.kind), fort_id)
    return answer(request, fields, code)


def _outcome(occurred: Occurred) -> Outcome:
    """What became of the operation, as far as an answer tells of it."""
    match occurred.result:
        case "approved":
            return Approved(occurred.approved or 0, occurred.approval_code or "")
        case "declined":
            return Declined(occurred.response_code or "")
        case "reversed":
            return Reversed(occurred.response_code or "")
        case "not_asked":
            return NotAsked(occurred.response_code or "")
        case _:
            return Unknown(Silence.NO_ANSWER)


def channel_of(first: dict[str, str]) -> str:
    """The channel whose address counts: that of the payment's first request, "" where another door began it."""
    operation = OPERATIONS.get(("command", first.get("command", "")))
    variant = operation and variant_of(operation, first)
    return variant.channel if variant else ""


def credential_of(merchant: Merchant, access_code: str) -> Credential | None:
    """Whose response phrase signs: the request's own access code, else the merchant's first that is in force."""
    ours = [one for one in merchant.credentials if one.door == DOOR]
    return next((one for one in ours if one.public_name == access_code), ours[0] if ours else None)


# ---------------------------------------------------------------------------------------------------------- formats

_ENCODE = msgspec.json.Encoder().encode


def _signed(body: dict[str, Any], credential: Credential) -> dict[str, Any]:
    spelling = signature.spelling(tuple(body))
    pairs = spelling.pairs(spelling.values(body))
    return body | {"signature": signature.digest(pairs, credential.response_phrase, credential.algorithm)}


def _json(body: dict[str, object], credential: Credential) -> bytes:
    return _ENCODE(_signed(body, credential))


def _form(body: dict[str, object], credential: Credential) -> bytes:
    """As HTML forms are sent (URL standard, section 5), in UTF-8."""
    return urlencode(_signed(body, credential)).encode("ascii")


def _xml(body: dict[str, object], credential: Credential) -> bytes:
    """One child per parameter below ``response``; what XML 1.0 cannot say is left out, and the signature covers what is there."""
    return xml.document("".join(xml.elements(_signed(xml.sayable(body), credential))))


#: ``feedback_format``: content type, and how a body is signed and written.
FORMATS: dict[str, tuple[str, Callable[[dict[str, object], Credential], bytes]]] = {
    "json": ("application/json", _json),
    "form": ("application/x-www-form-urlencoded", _form),
    "xml": ("application/xml", _xml),
}
