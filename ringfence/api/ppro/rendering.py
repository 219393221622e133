"""A charge in this door's words: status, operations, failures (PPRO Global API, sections 8.2, 8.3, 9.1 and 10.1).

One table of statuses for every state of the core, whichever door began the payment.  Decides nothing; knows no request.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple

import msgspec

from ringfence.api.ppro.answers import moment
from ringfence.api.ppro.door import DOOR
from ringfence.api.ppro.failures import UNDONE, Failure, declined, not_asked, refused
from ringfence.api.ppro.names import Names
from ringfence.core.authentication import Ended
from ringfence.core.payment import Payment, Status
from ringfence.core.redirection import Why
from ringfence.engine import charges
from ringfence.engine.charges import Charge, RefusedRow, Step, View

CHARGES = "/v1/payment-charges"
_DECODE, _ENCODE = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode

DISCARD, DISCARDED = "discard", "discarded"
"""How a discard is kept: the kind of operation, and what is in a refusal's place where it was done."""
DISCARD_ASKED = "discard_asked"
"""What a discard was asked with, kept before it is tried: whoever tells of its end finds it there.  It is listed nowhere."""
BY_MERCHANT = "MERCHANT_INITIATED_DISCARD"
DISCARDS: dict[str, str] = {
    "ppro:discarded": BY_MERCHANT, Ended.TIMEOUT: "AUTHENTICATION_TIMEOUT", "ppro:timeout": "AUTHENTICATION_TIMEOUT",
    Why.EXPIRED: "AUTHENTICATION_TIMEOUT",
}
"""Why nobody was asked, where the charge is called discarded: its type."""
PROVIDER_TIMEOUT = "PROVIDER_CONFIRMATION_TIMEOUT"


class Facts(NamedTuple):
    """What this door keeps of a charge beside the payment: the echo of its request, as details hold it."""

    echo: Mapping[str, Any]
    reference: str | None


def facts_of(first: Step) -> Facts:
    """Of a payment of this door; of another door's, what can be said of it here."""
    if first.door != DOOR or first.details is None:
        echo: dict[str, Any] = {"paymentMethod": "CARD", "paymentMedium": "MOTO" if first.channel == "moto" else "ECOMMERCE"}
        return Facts(echo, first.reference)
    return Facts(_DECODE(first.details), first.reference)


# ---------------------------------------------------------------------------------------------------------------- status

def status_of(view: View) -> str:
    """The charge's status, for every state of the core."""
    first, payment = view.first, view.payment
    if payment is None:
        return first_status(first)
    match payment.status:
        case Status.NEW | Status.CREATED | Status.CHALLENGED | Status.DECLINED:
            return first_status(first)
        case Status.VOIDED:
            return "VOIDED"
    return _standing(payment)


def first_status(first: Step) -> str:
    """The charge's status as its first operation alone has it."""
    match first.result:
        case None:
            return "AUTHORIZATION_PROCESSING"
        case "unknown":
            return "AUTHORIZATION_ASYNC"
        case "challenge":
            return "AUTHENTICATION_PENDING"
        case "reversed":
            return "DISCARDED"
        case "not_asked" if first.response_code in DISCARDS:
            return "DISCARDED"
        case "approved" if first.answered_minor == first.minor or first.accepts_partial:
            return "CAPTURED" if first.kind == "purchase" else "CAPTURE_PENDING"
    return "FAILED"


def _standing(payment: Payment) -> str:
    rest = 0 if payment.purchase else payment.open + payment.unsecured
    if rest:
        return "CAPTURE_PROCESSING" if payment.pending_capture else "CAPTURE_PENDING"
    if not payment.captured:                    # clearing refused all of it
        return "FAILED"
    return "REFUNDED" if payment.refunded >= payment.captured else "CAPTURED"


# ------------------------------------------------------------------------------------------------------------- operations

def failure_of(step: Step) -> Failure | None:
    """Why an operation did not come about; ``None`` where it did, or where that is not known."""
    match step.result:
        case "declined":
            return declined(step.response_code or "", step.advice or "", step.scheme_reference or "")
        case charges.UNDONE:
            return UNDONE[step.kind]
        case "not_asked" if step.response_code not in DISCARDS:
            failure = not_asked(step.response_code or "")
            return failure if step.processor == "amazon_pay" else failure._replace(provider_code="")
        case "approved" if step.kind in ("authorization", "purchase") and step.answered_minor != step.minor and not step.accepts_partial:
            return declined("51")               # approved in part, which nobody asked for; given back
    return None


#: Of an authorization whose end is not known yet, by its result.
AWAITED: dict[str | None, str] = {
    None: "PROVIDER_CONFIRMATION_PENDING", "unknown": "PROVIDER_CONFIRMATION_PENDING", "challenge": "AUTHENTICATION_PENDING"}


class Words(NamedTuple):
    """How operations of one kind are told: the name's prefix, the members of its own, and the status for each result."""

    prefix: str
    echoed: tuple[str, ...]
    statuses: Mapping[str | None, str]


_ENDED = {"declined": "FAILED", "not_asked": "FAILED", "reversed": "FAILED", charges.UNDONE: "FAILED"}
CAPTURES = Words("capture", ("merchantCaptureReference", "labels"), {"approved": "CAPTURED", **_ENDED})
VOIDS = Words("void", ("merchantVoidReference", "labels"), {"approved": "VOIDED", **_ENDED})
REFUNDS = Words("refund", ("merchantRefundReference", "refundReason", "refundDescriptor", "labels"), {
    "approved": "REFUNDED", "unknown": "PENDING", None: "PENDING", **_ENDED})

#: By kind of the core.  What has no status for its result is not told: it will be, when its end is known.
WORDS: dict[str, Words] = {"capture": CAPTURES, "void": VOIDS, "decrement": VOIDS, "refund": REFUNDS}
LISTS: dict[str, Words] = {"captures": CAPTURES, "voids": VOIDS, "refunds": REFUNDS}


class Paid(NamedTuple):
    """A first operation that was approved whole, as it was stored a moment ago: what is told of it beside the echo of its request."""

    payment_id: int
    minor: int
    currency: str
    is_captured: bool
    asked_at: datetime
    answered_at: datetime
    scheme_reference: str


class Renderer:
    """Puts charges into words; ``methods`` gives the ways in which a payer may still act, by the charge."""

    def __init__(self, names: Names, methods: Callable[[View, Facts], list[dict[str, Any]]] = lambda view, facts: []) -> None:
        self._names, self._methods = names, methods
        self._charge_named = lru_cache(1024)(partial(names.make, "charge"))        # stands in each of a charge's operations

    def charge(self, charge: Charge) -> dict[str, Any]:
        """The whole charge."""
        view = charge.view
        return self._charge(view, charge.refused, status_of(view))

    def as_begun(self, merchant_id: int, first: Step) -> dict[str, Any]:
        """The charge as its first operation alone has it: what its maker was told."""
        return self._charge(View(merchant_id, first.operation_id, None, (first,)), (), first_status(first))

    def paid(self, paid: Paid, facts: Facts) -> bytes:
        """What ``as_begun`` says of such a charge, in JSON; its payer had no way to act.  Most charges are told so, and once: at a fraction of
        the price."""
        payment_id, minor, currency, is_captured, asked_at, answered_at, cited = paid
        name, authorization, capture = self._names.several(payment_id, "charge", "authz", "capture")
        href, asked, answered = f"{CHARGES}/{name}", moment(asked_at), moment(answered_at)
        # msgspec writes texts of callers; the rest needs no escape.
        own = merchants = schemes = ""
        if facts.reference is not None:
            reference = _ENCODE(facts.reference).decode()
            own, merchants = f',"merchantPaymentChargeReference":{reference}', f',"merchantCaptureReference":{reference}'
        if cited:
            reference = _ENCODE(cited).decode()
            schemes = f',"schemeAuthorizationReference":{reference},"transactionLinkReference":{reference}'
        links, captured = f'"_links":{{"payment_charge":{{"href":"{href}"}}}}', ""
        if is_captured:
            captured = (f'{{"id":"{capture}","amount":{minor},"status":"CAPTURED","createdAt":"{answered}","updatedAt":"{answered}",'
                        f'{links}{merchants}}}')
        head = _ENCODE(_head(name, facts.echo, currency, "CAPTURED" if is_captured else "CAPTURE_PENDING"))
        return head[:-1] + (
            f',"authorizations":[{{"id":"{authorization}","amount":{minor},"status":"AUTHORIZED","createdAt":"{asked}","updatedAt":"{answered}",'
            f'{links}{own}{schemes}}}],"captures":[{captured}],"refunds":[],"voids":[],"discards":[],"createdAt":"{asked}","updatedAt":"{answered}",'
            f'"_links":{{"authorizations":{{"href":"{href}/authorizations"}},"captures":{{"href":"{href}/captures"}},'
            f'"voids":{{"href":"{href}/voids"}}}}}}').encode()

    def _charge(self, view: View, turned_down: tuple[RefusedRow, ...], status: str) -> dict[str, Any]:
        first, facts = view.first, facts_of(view.first)
        name = self._charge_named(view.payment_id)
        lists = {kind: self.listed(view, turned_down, words, facts) for kind, words in LISTS.items()}
        updated = max(self._instants(view, turned_down))
        told = _head(name, facts.echo, first.currency, status)
        failure = self._latest_failure(view, turned_down)
        if failure is not None:
            told["failure"] = failure.told()
        if methods := self._methods(view, facts):
            told["authenticationMethods"] = methods
        told |= {
            "authorizations": [self.authorization(view, facts)], "captures": lists["captures"], "refunds": lists["refunds"], "voids": lists["voids"],
            "discards": self._discards(view, turned_down), "createdAt": moment(first.asked_at), "updatedAt": moment(updated),
            "_links": {
                "authorizations": {"href": f"{CHARGES}/{name}/authorizations"}, "captures": {"href": f"{CHARGES}/{name}/captures"},
                "voids": {"href": f"{CHARGES}/{name}/voids"}},
        }
        return told

    def methods(self, view: View) -> list[dict[str, Any]]:
        """The ways in which the payer of a charge may still act."""
        return self._methods(view, facts_of(view.first))

    def authorization(self, view: View, facts: Facts | None = None) -> dict[str, Any]:
        """The charge's authorization: its first operation.  ``facts`` are given by who has them already."""
        first, failure = view.first, failure_of(view.first)
        facts = facts or facts_of(first)
        status = AWAITED.get(first.result) or ("AUTHORIZED" if first.result == "approved" and failure is None else "FAILED")
        told = self._entity("authz", view.payment_id, first.operation_id, first.minor, status, first.asked_at, first.answered_at, failure)
        if status == "AUTHORIZED" and view.payment is not None:
            told["amount"] = view.payment.authorized
        if facts.reference is not None:
            told["merchantPaymentChargeReference"] = facts.reference
        if first.scheme_reference and first.result == "approved":
            told |= {"schemeAuthorizationReference": first.scheme_reference, "transactionLinkReference": first.scheme_reference}
        return told

    def listed(
        self, view: View, turned_down: tuple[RefusedRow, ...], words: Words, facts: Facts | None = None,
    ) -> list[dict[str, Any]]:
        """The operations of a kind, oldest first, with those that were turned down."""
        found = [(step.operation_id, self.operation(view.payment_id, step)) for step in view.steps[1:] if WORDS.get(step.kind) is words]
        found += [(row.operation_id, self.refused(view, row)) for row in turned_down if WORDS.get(row.kind) is words]
        if words is CAPTURES and view.first.kind == "purchase" and view.first.result == "approved" and failure_of(view.first) is None:
            found.append((view.first.operation_id, self.purchase_capture(view, facts)))
        return [told for _, told in sorted(found, key=lambda one: one[0]) if told is not None]

    def purchase_capture(self, view: View, facts: Facts | None = None) -> dict[str, Any]:
        """The capture that is part of a purchase; it bears the charge's reference."""
        first = view.first
        facts = facts or facts_of(first)
        told = self._entity(
            "capture", view.payment_id, first.operation_id, first.answered_minor or first.minor, "FAILED" if view.rejected_at else "CAPTURED",
            first.answered_at or first.asked_at, view.rejected_at or first.answered_at, UNDONE["capture"] if view.rejected_at else None)
        if facts.reference is not None:
            told["merchantCaptureReference"] = facts.reference
        return told

    def operation(self, payment_id: int, step: Step) -> dict[str, Any] | None:
        """A capture, void or refund; ``None`` while there is no status for it."""
        words = WORDS[step.kind]
        status = words.statuses.get(step.result)
        if status is None:
            return None
        told = self._entity(
            words.prefix, payment_id, step.operation_id, step.minor, status, step.asked_at, step.answered_at, failure_of(step))
        if step.door == DOOR and step.details is not None:
            told |= _echoed(words, _DECODE(step.details))
        return told

    def refused(self, view: View, row: RefusedRow) -> dict[str, Any]:
        """An operation that was turned down."""
        words = WORDS[row.kind]
        told = self._entity(
            words.prefix, view.payment_id, row.operation_id, row.minor, "FAILED", row.refused_at, row.refused_at, refused(row.refusal))
        return told | _echoed(words, _DECODE(row.details))

    def _entity(
        self, prefix: str, payment_id: int, operation_id: int, minor: int, status: str, created: datetime, updated: datetime | None,
        failure: Failure | None,
    ) -> dict[str, Any]:
        told: dict[str, Any] = {"id": self._names.make(prefix, operation_id), "amount": minor, "status": status}
        if failure is not None:
            told["failure"] = failure.told()
        told["createdAt"], told["updatedAt"] = moment(created), moment(updated or created)
        told["_links"] = {"payment_charge": {"href": f"{CHARGES}/{self._charge_named(payment_id)}"}}
        return told

    def discard(self, payment_id: int, row: RefusedRow) -> dict[str, Any]:
        """A discard that the merchant asked for."""
        done = row.refusal == DISCARDED
        told = self._entity(
            "discard", payment_id, row.operation_id, 0, "DISCARDED" if done else "FAILED", row.refused_at, None,
            None if done else refused(row.refusal))
        del told["amount"]
        echo = _DECODE(row.details)
        return told | {name: echo[name] for name in ("merchantDiscardReference",) if name in echo} | {"type": BY_MERCHANT}

    def _discards(self, view: View, turned_down: tuple[RefusedRow, ...]) -> list[dict[str, Any]]:
        found = [self.discard(view.payment_id, row) for row in turned_down if row.kind == DISCARD]
        first = view.first
        kind = PROVIDER_TIMEOUT if first.result == "reversed" else DISCARDS.get(first.response_code or "") if first.result == "not_asked" else None
        if kind is None or kind == BY_MERCHANT:
            return found
        told = self._entity("discard", view.payment_id, first.operation_id, 0, "DISCARDED", first.answered_at or first.asked_at, None, None)
        del told["amount"]
        return [*found, told | {"type": kind}]

    def _latest_failure(self, view: View, turned_down: tuple[RefusedRow, ...]) -> Failure | None:
        found = [(step.answered_at, failure) for step in view.steps if step.answered_at and (failure := failure_of(step)) is not None]
        found += [(row.refused_at, refused(row.refusal)) for row in turned_down if row.refusal != DISCARDED]
        found += [(view.rejected_at, UNDONE["capture"])] if view.rejected_at else []
        return max(found, key=lambda one: one[0])[1] if found else None

    @staticmethod
    def _instants(view: View, turned_down: tuple[RefusedRow, ...]) -> list[datetime]:
        rejected = [view.rejected_at] if view.rejected_at else []
        return [step.answered_at or step.asked_at for step in view.steps] + [row.refused_at for row in turned_down] + rejected


_ECHOED = ("initiator", "instrumentId", "instrumentUpdated", "agreementId", "initialTransactionLinkReference", "order", "labels")


def _head(name: str, echo: Mapping[str, Any], currency: str, status: str) -> dict[str, Any]:
    """What is told of a charge before its operations."""
    told: dict[str, Any] = {
        "id": name, "paymentMethod": echo["paymentMethod"], "paymentMedium": echo.get("paymentMedium", "ECOMMERCE"),
        "scheduleType": echo.get("scheduleType", "UNSCHEDULED"), "currency": currency,
        "paymentDescriptor": echo.get("paymentDescriptor", ""), "status": status,
    }
    if consumer := echo.get("consumer"):
        told["country"], told["consumer"] = consumer.get("country"), consumer
    for member in _ECHOED:
        if member in echo:
            told[member] = echo[member]
    return told


def _echoed(words: Words, details: Mapping[str, Any]) -> dict[str, Any]:
    return {member: details[member] for member in words.echoed if member in details}
