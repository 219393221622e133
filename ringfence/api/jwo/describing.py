"""The door of stores described for machines (OpenAPI 3.1): every path a row, out of the tables that read what is sent.

Decides how paths are described, never what they do.  Refuses to know who serves them.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from ringfence.api.describing import Schema, content, fields, ref, text
from ringfence.api.jwo import answers, checkout
from ringfence.api.jwo.fields import EMAIL, tables
from ringfence.api.jwo.kinds import Kind, Paid
from ringfence.core.emv import Entry
from ringfence.core.trip import Said
from ringfence.engine.settings import EXPIRED_STATUSES, Settings


class Row(NamedTuple):
    """One path.  ``gives``: the body of its success, ``None`` for none at all; ``names``: the ``errorMsg`` of a 400."""

    summary: str
    asks: Kind
    gives: Schema | None = None
    names: tuple[str, ...] = (answers.BAD_REQUEST, answers.UNKNOWN_TRIP)
    status: str = "200"
    note: str = ""


_CHARGED = (answers.BAD_REQUEST, answers.UNKNOWN_TRIP, answers.EXPIRED)
_MONEY = Paid(0).schema()
_ASKED = tables(Settings())

ROWS: dict[str, Row] = {
    "/v1/adjust/charge": Row(
        "The cart of a trip costs so much altogether", _ASKED.charge,
        fields({"status": {"type": "string", "enum": [one.value for one in Said]}, "authorizedAmount": _MONEY}, ("status", "authorizedAmount")),
        _CHARGED, note="A decline is 200; `authorizedAmount` is what stands then. PENDING, or 503 by a setting: the same request again will tell."),
    "/v1/capture/charge": Row("Take so much of what stands", _ASKED.charge, None, _CHARGED, note="Once for each trip; the rest is given back."),
    "/v1/cancel/charge": Row("Give back the whole hold", _ASKED.trip_only),
    "/v1/refund": Row(
        "Give back a part of what was taken, or all of it", _ASKED.refund,
        fields({"reconciliationId": text("what the books know it by")}, ("reconciliationId",)),
        note="Once for each `refundRequestId`. 503: not known yet; the same request again will tell. By a setting of the merchant the 200 is empty."),
    "/v1/payment/transactional-data": Row("What the gate's reader recorded", _ASKED.trip_only, fields({
        "brand": text("VISA, MASTERCARD, AMEX, …"), "posEntryMode": {"type": "string", "enum": [f"EMV_9F39_{one.value}" for one in Entry]},
        "currency": text("ISO 4217"), "authorizationResponseCode": text("tag 8A"), "cryptogramInformationData": text("tag 9F27"),
        "tail": text("the last four digits"), "panSequenceNumber": text("tag 5F34"), "applicationId": text("tag 4F"),
        "expirationDate": fields({"expirationYear": text("YYYY"), "expirationMonth": text("MM")}, ("expirationYear", "expirationMonth")),
        "cardholderVerificationMethodResult": text("tag 9F34"), "terminalId": text("tag 9F1C"),
        "reconciliationId": text("what the books know the trip by"), "cardStatementTransactionId": text("what the shopper's statement shows"),
    }, ("brand", "posEntryMode", "currency", "tail", "expirationDate", "reconciliationId"))),
    "/v1/identity/shopper": Row(
        "Where a shopper wants receipts", _ASKED.identity, fields({"shopperEmail": EMAIL.schema()}, ("shopperEmail",)),
        (answers.BAD_REQUEST,)),
    "/v1/feedback/payment-status": Row("So much of a trip's cart is paid by now", _ASKED.feedback, note="`settledAmount` counts from the beginning."),
    "/v1/checkout/carts": Row(
        "Hand in a priced cart, to be collected", _ASKED.cart, fields({"orderId": text("the order's")}, ("orderId",)),
        (checkout.INVALID, checkout.CONTENT, checkout.TOTALS, *checkout.UNKNOWN_TRIPS, answers.EXPIRED), "201",
        "Every amount has at most two decimals. Once for each trip: the same cart again is the same order."),
}

_REASON: Schema = {"Ringfence-Reason": {"description": "which field is wrong, and what with it", "schema": {"type": "string"}}}
_GATEWAY: Schema = {"x-amzn-ErrorType": {"description": "which", "schema": {"type": "string"}}}


def _error(description: str, *names: str, **more: Any) -> Schema:
    return {"description": description, **more, "content": content(
        fields({"errorMsg": {"type": "string", "enum": list(names)}}, ("errorMsg",), additionalProperties=False))}


def _described(row: Row) -> Schema:
    return {
        "summary": row.summary, "tags": ["jwo"], "security": [{"sigv4": []}], **({"description": row.note} if row.note else {}),
        "requestBody": {"required": True, "content": content(row.asks.schema())},
        "responses": {
            row.status: {"description": "done", "content": content(row.gives)} if row.gives else {"description": "done; there is no body"},
            "400": _error("a field, a trip, or its state", *row.names, headers=_REASON),
            **{status: _error("the trip expired, by a setting of the merchant", answers.EXPIRED)
               for status in EXPIRED_STATUSES if status != "400" and answers.EXPIRED in row.names},
            "403": {
                "description": "the gateway's: signature, time, scope, permission, store", "headers": _GATEWAY,
                "content": content(ref("JwoGateway"))},
            "413": {"description": "the gateway's: the body is too large", "content": content(ref("JwoGateway"))},
            "429": {
                "description": "too many requests", "headers": {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}},
                "content": content(fields(
                    {"message": text("the gateway's"), "errorMsg": {"const": answers.THROTTLED}}, ("message", "errorMsg"),
                    additionalProperties=False))},
            "500": _error("something is broken", answers.BROKEN),
            "503": _error("the database does not answer, or nobody knows yet: the same request again", answers.UNAVAILABLE, headers=_REASON),
        },
    }


SCHEMAS: dict[str, Schema] = {"JwoGateway": {"oneOf": [
    fields({"message": text("what is wrong")}, ("message",), additionalProperties=False),
    fields({"Message": text("what is not allowed")}, ("Message",), additionalProperties=False)]}}
SECURITY: Schema = {"sigv4": {
    "type": "apiKey", "in": "header", "name": "Authorization",
    "description": "AWS Signature Version 4 with the service `execute-api`; keys are `jwo` of sandbox.json"}}
DESCRIBED: dict[str, Schema] = {where: {"post": _described(row)} for where, row in ROWS.items()}
