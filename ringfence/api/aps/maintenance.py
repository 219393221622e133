"""CAPTURE, VOID_AUTHORIZATION, REFUND and CHECK_STATUS: what follows a payment."""
from __future__ import annotations

import hashlib
from datetime import datetime

from ringfence.api.aps import codes
from ringfence.api.aps.door import DOOR, Account, Reply, Service, content_of, details_of, order_key, refused
from ringfence.api.aps.wire import ApsRequest
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked, Reversed
from ringfence.core.payment import Status, decide
from ringfence.core.refusals import Refusal
from ringfence.engine.intents import Intent, Result
from ringfence.engine.reading import Step, View

KINDS = {"CAPTURE": Kind.CAPTURE, "VOID_AUTHORIZATION": Kind.VOID, "REFUND": Kind.REFUND}

#: What a successful operation is called in CHECK_STATUS; other doors' changes of a hold leave an authorized order.
SUCCESS = {
    "authorization": "02000", "purchase": "14000", "capture": "04000", "void": "08000", "refund": "06000",
    "increment": "02000", "decrement": "02000",
}
FAILURE = {
    "authorization": "03", "purchase": "13", "capture": "05", "void": "09", "refund": "07", "increment": "03", "decrement": "03",
}
PAGE = "page"
"""The source of a payment that was begun on a page, where a payer may try again."""


async def operate(service: Service, account: Account, request: ApsRequest, idempotency_key: str = "") -> Reply:
    """Capture, void or refund, and answer with the outcome.

    ``idempotency_key`` is the optional header: a repeat with the same key and content gets the first answer.
    """
    kind = KINDS[request.operation.name]
    view = await find(service, account, request)
    if isinstance(view, Refusal):
        return refused(request, view, kind)
    first, operation_id = view.first, service.engine.new_id()
    fort_id = str(view.payment_id)
    command = Command(kind, request.amount, request.currency, operation_id)
    if kind is Kind.VOID:
        command = Command(kind, None, first.currency, operation_id, whole=True)
    if view.first.result == "unknown" and await service.engine.resolve(view.merchant_id, view.payment_id):
        view = await service.reading.view(view.merchant_id, view.payment_id) or view
    if view.original is None:
        return reply_to(request, Result(refusal=not_begun(view, command, service.now())), kind, fort_id)
    maintenance_reference = request.given.get("maintenance_reference", "")
    key = None
    if kind is Kind.REFUND and maintenance_reference:
        key = f"aps:refund:{view.payment_id}:{maintenance_reference}"
    elif idempotency_key:
        key = f"aps:once:{view.payment_id}:{kind}:{hashlib.sha256(idempotency_key.encode()).hexdigest()}"
    result = await service.engine.execute(Intent(
        account.merchant.merchant_id, account.merchant.identifier, view.payment_id, command, DOOR, account.actor, "api",
        content_of(service, request), maintenance_reference or first.reference, key, bool(maintenance_reference),
        details_of(request), first.processor, await service.reading.card_of(view), view.original,
        channel=first.channel, magic=account.merchant.settings.magic_amounts,
    ))
    if result.refusal is Refusal.KEY_USED and idempotency_key and not maintenance_reference:
        return await _once_more(service, request, view, result)
    return reply_to(request, result, kind, fort_id)


def not_begun(view: View, command: Command, now: datetime) -> Refusal:
    """Why nothing can follow a payment whose first operation was not approved when it was looked at.

    Should it be approved in this very moment, the message still has nothing to cite: it must not be sent.
    """
    if view.payment is None:
        return Refusal.OPERATION_IN_PROGRESS
    verdict = decide(view.payment, command, now)
    return verdict if isinstance(verdict, Refusal) else Refusal.OPERATION_IN_PROGRESS


async def _once_more(service: Service, request: ApsRequest, view: View, result: Result) -> Reply:
    """The first answer again, for a repeat under the same ``Idempotency-Key``."""
    assert result.earlier is not None
    fields: dict[str, object] = {"fort_id": str(view.payment_id)}
    if result.earlier.result == "approved":
        return Reply(request.operation.success, fields)
    if result.earlier.result == "not_asked":
        return Reply(request.operation.failure + codes.refusal_message(Refusal.SERVICE_UNAVAILABLE), fields)
    code = result.earlier.response_code or ""
    return Reply(request.operation.failure + codes.decline_message(code), fields | acquirer_fields(code))


def reply_to(request: ApsRequest, result: Result, kind: Kind, fort_id: str) -> Reply:
    """The answer to an operation on an existing payment."""
    if result.refusal is not None:
        if result.refusal is Refusal.PAYMENT_NOT_FOUND:
            return refused(request, result.refusal, kind)
        return refused(request, result.refusal, kind, fort_id=fort_id)
    fields: dict[str, object] = {"fort_id": fort_id}
    match result.outcome:
        case Approved():
            return Reply(request.operation.success, fields, result.receipt)
        case Declined(response_code=code) | Reversed(response_code=code):
            message = codes.decline_message(code)
            return Reply(request.operation.failure + message, fields | acquirer_fields(code), result.receipt)
        case NotAsked():
            message = codes.refusal_message(Refusal.SERVICE_UNAVAILABLE)
            return Reply(request.operation.failure + message, fields, result.receipt)
        case _:
            return Reply(codes.UNKNOWN_OUTCOME, fields, result.receipt)


def acquirer_fields(code: str) -> dict[str, object]:
    """The issuer's code and its text."""
    return {"acquirer_response_code": code, "acquirer_response_message": codes.acquirer_message(code)}


async def find(service: Service, account: Account, request: ApsRequest) -> View | Refusal:
    """The payment a request names by order number, by ``fort_id``, or by both, which must agree (036)."""
    merchant_id = account.merchant.merchant_id
    if request.fort_id is None:
        view = await service.reading.view_by_key(merchant_id, order_key(request.reference))
        if view is not None and view.payment and view.payment.status is Status.DECLINED and view.first.source == PAGE:
            view = await service.reading.latest_attempt(merchant_id, order_key(request.reference)) or view
    else:
        view = await service.reading.view(merchant_id, request.fort_id)
        if view and request.reference and request.reference != view.first.reference:
            return Refusal.PAYMENT_NOT_FOUND
    return view or Refusal.PAYMENT_NOT_FOUND


async def check_status(service: Service, account: Account, request: ApsRequest) -> Reply:
    """Where an order stands, and its totals."""
    view = await find(service, account, request)
    if isinstance(view, Refusal):
        return Reply(codes.ORDER_NOT_FOUND)
    last = said_of(view)
    code = transaction_code(view, last)
    # What was approved in part and given back was never the merchant's.
    payment = None if view.payment and view.payment.status is Status.DECLINED else view.payment
    fields: dict[str, object] = {
        "fort_id": str(view.payment_id), "transaction_status": code[:2], "transaction_code": code,
        "transaction_message": codes.text_of(code[2:], request.language),
        "authorized_amount": str(payment.authorized if payment else 0),
        "captured_amount": str(payment.captured if payment else 0),
        "refunded_amount": str(payment.refunded if payment else 0),
        "authorization_code": view.first.approval_code or "" if payment else "",
    }
    if request.given.get("return_third_party_response_codes") == "YES" and last.result in ("approved", "declined", "reversed"):
        fields["processor_response_code"] = last.response_code or ""
    return Reply(request.operation.success, fields)


def said_of(view: View) -> Step:
    """The operation CHECK_STATUS tells of: never a void of the rest, once something was captured."""
    if view.payment and view.payment.captured and view.last.kind == "void" and view.last.result == "approved":
        done = [step for step in view.steps if step.kind != "void" and step.result == "approved"]
        return done[-1]
    return view.last


def transaction_code(view: View, step: Step) -> str:
    """Five digits for an operation: 15777 while its end is not certain."""
    given_back = view.payment is not None and view.payment.status is Status.DECLINED
    return code_of(step.kind, step.result, step.response_code, given_back=given_back)


def code_of(kind: str, result: str | None, response_code: str | None, *, given_back: bool) -> str:
    """Five digits for what became of an operation; ``given_back``: approved in part, which nobody asked for."""
    match result:
        case "approved" if given_back:
            return FAILURE[kind] + codes.decline_message("51")
        case "approved":
            return SUCCESS[kind]
        case "declined" | "reversed":
            return FAILURE[kind] + codes.decline_message(response_code or "")
        case "not_asked":
            return codes.not_asked_code(FAILURE[kind], response_code or "")
        case "challenge":
            return codes.CHALLENGED
        case _:
            return codes.UNKNOWN_OUTCOME
