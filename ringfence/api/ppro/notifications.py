"""Webhooks of the PPRO door: what a merchant is told of events, as CloudEvents (PPRO Global API, section 15).

A core event may be several messages: of a payment's first event one says that the charge was created, and a purchase is authorization and
capture.  What a message says is frozen when its delivery is made, from rows that are only ever appended, so that it is the same whenever it is
made again.  Refuses to know who delivers it, and when.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from ringfence.api.ppro import disputes, failures, signatures
from ringfence.api.ppro.answers import moment
from ringfence.api.ppro.door import DOOR
from ringfence.api.ppro.failures import Failure, declined, not_asked, refused
from ringfence.api.ppro.names import Names
from ringfence.api.ppro.rendering import BY_MERCHANT, DISCARD, DISCARDED, DISCARDS, PROVIDER_TIMEOUT, Facts, facts_of, status_of
from ringfence.core.events import Event
from ringfence.core.ledger import KINDS, Transferred
from ringfence.engine.charges import RefusedRow, Step, View
from ringfence.engine.charges import Told as Turned
from ringfence.engine.directory import Credential, Merchant
from ringfence.engine.door_events import DoorEvent
from ringfence.engine.feed import Message, Notifier, Occurred, Policy
from ringfence.engine.settings import Settings

PARTS = 8
"""Into so many messages an event may be told, the last of which is for what only this door knows of the subject."""
SCHEDULE = tuple(15 << place for place in range(14))
"""Seconds between deliveries: 15 of them, the pauses doubling from 15 s (section 15.1)."""
SECONDS = 10.0
"""One delivery."""
AT_ONCE = 10
JSON = "application/json"
VERSION, SOURCE = "1.0.2", "https://www.ppro.com"
DISPUTE, REPORT = "dispute", "report"
"""Kinds of which values are kept, and worded here; of all others what is kept are the words."""
PAYMENT, BESIDE = "payment", "beside"
"""What tells the two rows of events about a charge apart in their ids: those of the payment, and those that only this door knows of."""
_ENCODE, _DECODE = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode

Methods = Callable[[View, Facts], list[dict[str, Any]]]


class _Kept(msgspec.Struct):
    event: str
    values: msgspec.Raw


class Told(NamedTuple):
    """One message: its type behind ``PAYMENT_CHARGE_``, the charge's status at the time, and what its ``data`` adds."""

    type: str
    status: str
    more: Mapping[str, Any]


# ---------------------------------------------------------------------------------------------------------------- status

def status_then(moved: Sequence[tuple[int, int]], first_kind: str = "authorization") -> str:
    """The charge's status at the time of a later operation's event, from the sums of its transfers until then; of a purchase nothing is left to be
    captured, also where clearing rejected it."""
    balances: dict[str, int] = {}
    for kind, minor in moved:
        debit, credit = KINDS[Transferred(kind)]
        balances[debit] = balances.get(debit, 0) + minor
        balances[credit] = balances.get(credit, 0) - minor
    sums = dict(moved)
    captured = balances.get("hold.captured", 0)
    refunded = sums.get(Transferred.REFUND, 0) + sums.get(Transferred.REFUND_DONE, 0) - sums.get(Transferred.REFUND_RETURNED, 0)
    if first_kind != "purchase" and balances.get("hold.open", 0) + balances.get("hold.unsecured", 0):
        return "CAPTURE_PENDING"
    if not captured:
        return "FAILED" if first_kind == "purchase" else "VOIDED"
    return "REFUNDED" if refunded >= captured else "CAPTURED"


# ------------------------------------------------------------------------------------------------------- words for events

FIRST, CAPTURE, VOID, REFUND, UNDONE = "first", "capture", "void", "refund", "undone"
FUNDS = "FUNDS_STATE_CHANGED"
#: What became of the funds of what was undone.
_FUNDS = {CAPTURE: "CAPTURE_FUNDS_NOT_EXPECTED", REFUND: "REFUND_FUNDS_REJECTED"}


class Row(NamedTuple):
    """How an event is told: the part of the charge that it is about, the type behind ``PAYMENT_CHARGE_``, and whether only an operation's
    first attempt is told so."""

    of: str
    type: str
    only_first: bool = False


def _ends(of: str, kinds: tuple[str, ...]) -> dict[str, Row]:
    return {f"{kind}_{end}": Row(of, f"{of.upper()}_{word}") for kind in kinds
            for end, word in (("approved", "SUCCEEDED"), ("declined", "FAILED"), ("not_asked", "FAILED"))}


#: What is told of events; of an event without a row nothing is said (see ``UNTOLD``).
TOLD: dict[str, Row] = {
    **{f"{kind}_{end}": Row(FIRST, word) for kind in ("authorization", "purchase") for end, word in (
        ("challenged", "AUTHENTICATION_PENDING"), ("unknown", "PROVIDER_CONFIRMATION_PENDING"), ("approved", "AUTHORIZATION_SUCCEEDED"),
        ("declined", "AUTHORIZATION_FAILED"), ("not_asked", "AUTHORIZATION_FAILED"), ("reversed", "DISCARDED"))},
    **_ends(CAPTURE, ("capture",)), **_ends(VOID, ("void", "decrement")), **_ends(REFUND, ("refund",)),
    Event.AUTHORIZATION_EXPIRED: Row(VOID, "VOID_SUCCEEDED"),
    Event.CAPTURE_REJECTED: Row(UNDONE, "CAPTURE_FAILED"), Event.REFUND_RETURNED: Row(UNDONE, "REFUND_FAILED"),
    Event.REFUND_UNKNOWN: Row(REFUND, "REFUND_PENDING", True), Event.REFUND_TAKEN: Row(REFUND, "REFUND_PENDING", True),
}

#: Events that this API has no word for.
UNTOLD: frozenset[str] = frozenset({
    *(event for event in Event if event.startswith("increment_")), Event.CAPTURE_UNKNOWN, Event.VOID_UNKNOWN, Event.DECREMENT_UNKNOWN,
    Event.HOLD_DROPPED, Event.HELD_AGAIN, Event.CHARGEBACK_OPENED, Event.CHARGEBACK_RETURNED,
    Event.DISPUTE_LOST, Event.LATE_APPROVAL, Event.OVER_RETURNED, Event.NOTICE_UNMATCHED, Event.POSSIBLE_DUPLICATE,
    *(event for event in Event if event.startswith("debt_")),
})

#: What is said of a first operation: the status of the charge by the message's type.
_FIRST_STATUSES = {
    "AUTHENTICATION_PENDING": "AUTHENTICATION_PENDING", "PROVIDER_CONFIRMATION_PENDING": "AUTHORIZATION_ASYNC",
    "AUTHORIZATION_FAILED": "FAILED", "DISCARDED": "DISCARDED",
}
_REFERENCES = {CAPTURE: "merchantCaptureReference", VOID: "merchantVoidReference", REFUND: "merchantRefundReference"}
_CREATED = ("paymentMedium", "initiator", "paymentDescriptor", "authenticationSettings", "instrument")
_OF_ORDER = ("industryData", "orderReferenceNumber")
_OF_ITEM = ("name", "quantity", "amount")
_OF_CONSUMER = ("name", "email", "phone", "country", "locale", "taxIdentification", "merchantConsumerReference", "billingAddress")


class Wording:
    """This door's words, for one installation."""

    def __init__(self, names: Names, methods: Methods = lambda view, facts: [], base_url: str = "") -> None:
        """``methods`` gives the ways in which a payer may act, by the charge as it was begun; ``base_url``: how callers reach the service."""
        self._names, self._methods, self._base_url = names, methods, base_url

    def messages(self, merchant: Merchant, occurred: Occurred) -> list[Message]:
        """What is told of an event of a payment, in the order in which a merchant should see it."""
        credential = credential_of(merchant)
        row = TOLD.get(occurred.event)
        if credential is None or row is None or (row.only_first and occurred.attempt > 1):
            return []
        facts = _facts(occurred)
        if "purpose" in facts.echo:         # a card that was checked: no charge that anybody asked for
            return []
        url = facts.echo.get("webhooksUrl") or merchant.settings.ppro_webhook_url
        policy = policy_of(merchant.settings)
        found = []
        for part, told in self._parts(occurred, row, facts):
            type_ = told.type if told.type == FUNDS else f"PAYMENT_CHARGE_{told.type}"
            charge_id = self._names.make("charge", occurred.payment_id)
            data = {
                "type": type_, "paymentChargeId": charge_id, "paymentChargeStatus": told.status,
                "paymentMethod": facts.echo["paymentMethod"], "merchantId": credential.public_name,
            }
            if facts.reference is not None:
                data["merchantPaymentChargeReference"] = facts.reference
            if number := facts.echo.get("order", {}).get("orderReferenceNumber"):
                data["orderReferenceNumber"] = number
            event_id = self._names.event(occurred.merchant_id, PAYMENT, occurred.payment_id, (occurred.sequence - 1) * PARTS + part)
            body = _ENCODE(envelope(event_id, type_, charge_id, occurred.occurred_at, {**data, **told.more}))
            found.append(Message(type_, url, JSON, body, policy, part))
        return found

    def beside(self, merchant: Merchant, event: DoorEvent) -> list[Message]:
        """What is told of something that is no event of a payment."""
        credential = credential_of(merchant)
        if credential is None:
            return []
        settings, event_id = merchant.settings, self._names.event(event.merchant_id, BESIDE, event.subject_id, event.sequence)
        url = event.webhooks_url or settings.ppro_webhook_url
        if event.kind in (DISPUTE, REPORT):
            body = self._of_dispute(event, credential.public_name, event_id)
            if body is None:
                return []
            if body["type"].startswith("DISPUTE_"):
                url = event.webhooks_url or settings.ppro_dispute_webhook_url or settings.ppro_webhook_url
        else:
            said = {"type": event.type, "merchantId": credential.public_name, **_DECODE(event.data)}
            body = envelope(event_id, event.type, self._names.make(event.kind, event.subject_id), event.occurred_at, said)
        return [Message(body["type"], url, JSON, _ENCODE(body), policy_of(settings), PARTS - 1)]

    def _of_dispute(self, event: DoorEvent, merchant: str, event_id: str) -> dict[str, Any] | None:
        """What is told of a dispute or a report, from the values kept; ``None`` for what this API has no word for."""
        kept = msgspec.json.decode(event.data, type=_Kept)
        if _DECODE(kept.values).get("door", DOOR) != DOOR:      # of a payment of another door
            return None
        names, at = self._names, event.occurred_at
        if event.kind == REPORT:
            told = disputes.report_event(names, merchant, self._base_url, event.type, bytes(kept.values))
        elif (own := disputes.envelope(names, int(kept.event), event.type, bytes(kept.values), at)) is not None:
            return own
        else:
            told = disputes.money_event(names, merchant, event.type, bytes(kept.values))
        return None if told is None else envelope(event_id, told[0], told[1], at, told[2])

    def _parts(self, occurred: Occurred, row: Row, facts: Facts) -> Iterator[tuple[int, Told]]:
        """The messages of one event, by their part."""
        if row.of == UNDONE:
            yield from self._undone(occurred, row, facts)
            return
        if row.of != FIRST:
            yield 0, self._later(occurred, row)
            return
        if occurred.sequence == 1:
            yield 0, Told("CREATED", "AUTHORIZATION_PROCESSING", _created(occurred, facts))
        yield 1, self._first(occurred, row, facts)
        if occurred.event == Event.PURCHASE_APPROVED:
            more = {"captureId": self._names.make("capture", occurred.operation_id), "amount": _money(occurred, occurred.approved)}
            yield 2, Told("CAPTURE_SUCCEEDED", "CAPTURED", more | _named("merchantCaptureReference", facts.reference))

    def _first(self, occurred: Occurred, row: Row, facts: Facts) -> Told:
        """What became of the authorization."""
        said: dict[str, Any] = {"authorizationId": self._names.make("authz", occurred.operation_id), "amount": _money(occurred, occurred.minor)}
        type_ = row.type
        if type_ == "AUTHORIZATION_SUCCEEDED":
            waits = occurred.kind == "authorization"
            said |= {"amount": _money(occurred, occurred.approved), "isMultiStep": waits}
            return Told(type_, "CAPTURE_PENDING" if waits else "CAPTURE_PROCESSING", said)
        if type_ == "AUTHENTICATION_PENDING":
            said["authenticationMethods"] = self._methods(_begun(occurred), facts)
        elif type_ == "DISCARDED":
            said = {"discardType": PROVIDER_TIMEOUT, **said}
        elif occurred.result == "not_asked" and (discard := DISCARDS.get(occurred.response_code or "")):
            type_, said = "DISCARDED", {"discardType": discard, **said}
            if discard == BY_MERCHANT and occurred.given_up is not None:
                said |= _named("merchantDiscardReference", _DECODE(occurred.given_up).get("merchantDiscardReference"))
        elif type_ == "AUTHORIZATION_FAILED":
            said["failure"] = _failure(occurred).told_in_events()
        return Told(type_, _FIRST_STATUSES[type_], said)

    def _later(self, occurred: Occurred, row: Row) -> Told:
        """A capture, a void or a refund."""
        minor = occurred.approved if occurred.result == "approved" else occurred.minor
        said = {f"{row.of}Id": self._names.make(row.of, occurred.operation_id), "amount": _money(occurred, minor)}
        if occurred.door == DOOR and occurred.details is not None:
            said |= _named(_REFERENCES[row.of], _DECODE(occurred.details).get(_REFERENCES[row.of]))
        if row.type.endswith("FAILED"):
            said["failure"] = _failure(occurred).told_in_events()
        return Told(row.type, status_then(occurred.moved, occurred.first_kind), said)

    def _undone(self, occurred: Occurred, row: Row, facts: Facts) -> Iterator[tuple[int, Told]]:
        """A capture that clearing rejected, or a refund that came back: it failed after all, and its funds are told of.  Nothing where it is not
        known which one that was."""
        undone = occurred.undone
        if undone is None:
            return
        kind, status = REFUND if undone.kind == REFUND else CAPTURE, status_then(occurred.moved, occurred.first_kind)
        name, amount = self._names.make(kind, undone.operation_id), {"value": undone.moved or undone.minor, "currency": undone.currency}
        asked = {} if undone.door != DOOR or undone.details is None else _DECODE(undone.details)
        named = _named("merchantCaptureReference", facts.reference) if undone.kind == "purchase" else _named(
            _REFERENCES[kind], asked.get(_REFERENCES[kind]))
        yield 0, Told(row.type, status, {f"{kind}Id": name, "amount": amount, **named, "failure": failures.UNDONE[kind].told_in_events()})
        yield 1, Told(FUNDS, status, {
            "paymentOperationId": name, "paymentOperationType": kind.upper(), "fundsState": _FUNDS[kind], "amount": amount,
            **(named if kind == REFUND else {})})


def turned_down(names: Names, merchant: Merchant, view: View, row: RefusedRow) -> Turned | None:
    """What is told of an operation that this door turned down; ``None`` for a discard that was done, and where nobody is told."""
    if not wants(merchant) or row.refusal == DISCARDED:
        return None
    facts = facts_of(view.first)
    echo, charge_id = facts.echo, names.make("charge", view.payment_id)
    asked = _DECODE(row.details)
    kind = "void" if row.kind == "decrement" else row.kind
    said: dict[str, Any] = {
        "paymentChargeId": charge_id, "paymentChargeStatus": status_of(view), "paymentMethod": echo["paymentMethod"],
        "amount": {"value": row.minor, "currency": view.first.currency},
        **_named("merchantPaymentChargeReference", facts.reference),
        **_named("orderReferenceNumber", echo.get("order", {}).get("orderReferenceNumber")),
    }
    if kind == DISCARD:
        said |= {"discardType": BY_MERCHANT, "authorizationId": names.make("authz", view.payment_id)}
        said |= _named("merchantDiscardReference", asked.get("merchantDiscardReference"))
    else:
        said |= {f"{kind}Id": names.make(kind, row.operation_id), "failure": refused(row.refusal).told_in_events()}
        said |= _named(_REFERENCES[kind], asked.get(_REFERENCES[kind]))
    return Turned(DOOR, f"PAYMENT_CHARGE_{kind.upper()}_FAILED", said, echo.get("webhooksUrl", ""))


def envelope(event_id: str, type_: str, subject: str, at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    """A CloudEvent as this API writes it (section 15.2)."""
    return {
        "specversion": VERSION, "id": event_id, "source": SOURCE, "type": type_, "subject": subject, "time": moment(at),
        "datacontenttype": JSON, "data": data,
    }


def _created(occurred: Occurred, facts: Facts) -> dict[str, Any]:
    """What the charge was asked with, as far as it is told."""
    echo = facts.echo
    said = {"paymentMedium": "ECOMMERCE"} | {name: echo[name] for name in _CREATED if name in echo} | {"amount": _money(occurred, occurred.minor)}
    if order := echo.get("order"):
        items = [_some(item, _OF_ITEM) for item in order.get("orderItems", ())]
        said["order"] = ({"orderItems": items} if items else {}) | _some(order, _OF_ORDER)
    if consumer := echo.get("consumer"):
        said["consumer"] = _some(consumer, _OF_CONSUMER)
    return said


def _some(of: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: of[name] for name in names if name in of}


def _named(name: str, value: str | None) -> dict[str, str]:
    return {} if value is None else {name: value}


def _money(occurred: Occurred, minor: int | None) -> dict[str, Any]:
    return {"value": minor or 0, "currency": occurred.currency}


def _failure(occurred: Occurred) -> Failure:
    """Why it did not come about."""
    match occurred.result:
        case "declined":
            return declined(occurred.response_code or "", occurred.advice or "", occurred.scheme_reference or "")
        case "not_asked":
            return not_asked(occurred.response_code or "")
    return declined("51")               # approved in part, which nobody asked for; given back


def _facts(occurred: Occurred) -> Facts:
    """What is kept of the charge's request; of another door's payment, and of one whose details were erased, what can be said of it here."""
    if occurred.origin != DOOR or occurred.first_details is None:
        return Facts({"paymentMethod": "CARD", "paymentMedium": "ECOMMERCE"}, occurred.first_reference)
    return Facts(_DECODE(occurred.first_details), occurred.first_reference)


def _begun(occurred: Occurred) -> View:
    """The charge as its first operation alone has it."""
    at = occurred.occurred_at
    step = Step(
        occurred.operation_id, occurred.kind or "", occurred.minor or 0, occurred.currency or "", occurred.door or "", occurred.reference, None,
        occurred.details, occurred.actor or "", "", "", None, None, "", "", False, occurred.reason or "", 0, None, at, at, occurred.attempt,
        occurred.result, occurred.approved, occurred.response_code, occurred.advice, occurred.approval_code, occurred.scheme_reference,
        occurred.processor_reference, at, False)
    return View(occurred.merchant_id, occurred.payment_id, None, (step,))


# ---------------------------------------------------------------------------------------------------------- how it is sent

def policy_of(settings: Settings) -> Policy:
    """How this door's addresses are told: 15 deliveries, any 2xx, 10 s."""
    return _POLICIES[settings.ppro_webhook_order == "strict"]


_POLICIES = {in_order: Policy(SCHEDULE, frozenset(), AT_ONCE, in_order, SECONDS) for in_order in (False, True)}


def credential_of(merchant: Merchant) -> Credential | None:
    """Whose secret signs, and whose merchant id is told: the merchant's first at this door."""
    return next((one for one in merchant.credentials if one.door == DOOR), None)


def wants(merchant: Merchant) -> bool:
    """Whether the merchant may have any address."""
    settings = merchant.settings
    return bool(settings.ppro_webhook_url or settings.ppro_dispute_webhook_url or settings.ppro_charge_webhooks)


def headers_of(merchant: Merchant, body: bytes, wall: datetime) -> dict[str, str]:
    """What a delivery carries at that moment (wall time): both signatures, as far as they are not switched off, and the account's own."""
    settings, credential, found = merchant.settings, credential_of(merchant), dict(merchant.settings.ppro_webhook_headers)
    if credential is None:
        return found
    if settings.ppro_webhook_legacy_signature:
        found[signatures.LEGACY] = signatures.legacy(body, credential.response_phrase)
    if settings.ppro_webhook_signature:
        secrets = [credential.response_phrase, *(one.secret for one in credential.earlier if wall < one.until)]
        found[signatures.CURRENT] = signatures.current(body, secrets, int(wall.timestamp()))
    return found


def notifier(wording: Wording, wall: Callable[[], datetime]) -> Notifier:
    """What the outbox needs of this door."""
    return Notifier(wants, wording.messages, wording.beside, lambda merchant, body: headers_of(merchant, body, wall()), PARTS)
