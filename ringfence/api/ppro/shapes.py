"""What is answered, as tables: one object of the API a table, one member a row (PPRO Global API, sections 4, 8, 9, 12 and 14).

Decides nothing and makes no answer: ``rendering`` and ``disputes`` do, and a test holds every answer against these tables.
"""
from __future__ import annotations

from ringfence.api.describing import Schema, ref, text
from ringfence.api.describing import fields as an_object
from ringfence.api.ppro import dispute_requests, fields
from ringfence.api.ppro.disputes import CLOSINGS, PHASES, REASONS, STATUSES
from ringfence.api.ppro.failures import By
from ringfence.engine.disputes import FILE_TYPES

CHARGE_STATUSES = tuple("""
    AUTHORIZATION_PROCESSING AUTHORIZATION_ASYNC AUTHENTICATION_PENDING CAPTURE_PENDING CAPTURE_PROCESSING CAPTURED REFUND_PROCESSING REFUNDED
    VOID_PROCESSING VOIDED DISCARD_PROCESSING DISCARDED FAILED""".split())
DISCARD_TYPES = ("AUTHENTICATION_TIMEOUT", "PROVIDER_CONFIRMATION_TIMEOUT", "MERCHANT_INITIATED_DISCARD")
WAYS = ("REDIRECT", "3DS", "SCAN_CODE", "APP_INTENT", "APP_NOTIFICATION", "MULTI_FACTOR")
FUNDS = tuple(f"{kind}_FUNDS_{state}" for kind, states in {
    "CAPTURE": ("NOT_EXPECTED", "MISSING", "WAITING", "RECEIVED"), "REFUND": ("NOT_EXPECTED", "REJECTED", "WAITING", "SENT")}.items()
    for state in states)


# -------------------------------------------------------------------------------------------------------------- words

def named(prefix: str) -> Schema:
    """An id."""
    return {"type": "string", "pattern": f"^{prefix}_[A-Za-z0-9]{{21}}$"}


def one_of(*words: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": list(words)}


def many(shape: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": shape}


def linked(*rels: str) -> Schema:
    """``_links`` with these relations."""
    return an_object({rel: ref("Link") for rel in rels}, rels)


TEXT: Schema = {"type": "string"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
MINOR: Schema = {"type": "integer", "minimum": 1, "description": "minor units of the charge's currency"}
MONEY: Schema = ref("Money")
_WHEN = {"createdAt": MOMENT, "updatedAt": MOMENT}


def _operation(prefix: str, statuses: tuple[str, ...], own: dict[str, Schema], *, amount: bool = True) -> Schema:
    known = {"id": named(prefix), **({"amount": MINOR} if amount else {}), "status": one_of(*statuses), "failure": ref("Failure"), **own,
             **_WHEN, "_links": linked("payment_charge")}
    return an_object(known, tuple(name for name in known if name not in own and name != "failure"))


def listed(name: str) -> Schema:
    """``{"data": […], "_links": {…}}`` of objects of that name."""
    return an_object({"data": many(ref(name)), "_links": linked("self")}, ("data", "_links"))


LABELS = fields.LABELS.kind.schema()
_CHARGE = {
    "id": named("charge"), "status": one_of(*CHARGE_STATUSES), "paymentMethod": TEXT, "paymentMedium": one_of(*fields.MEDIUMS),
    "scheduleType": one_of(*fields.SCHEDULES), "initiator": one_of(*fields.INITIATORS), "currency": fields.CURRENCY.kind.schema(),
    "country": fields.COUNTRY.schema(), "paymentDescriptor": TEXT, "instrumentId": TEXT, "instrumentUpdated": {"type": "boolean"},
    "agreementId": named("agr"), "initialTransactionLinkReference": TEXT, "consumer": ref("Consumer"), "order": ref("Order"), "labels": LABELS,
    "failure": ref("Failure"), "authenticationMethods": many(ref("AuthenticationMethod")), "authorizations": many(ref("Authorization")),
    "captures": many(ref("Capture")), "refunds": many(ref("Refund")), "voids": many(ref("Void")), "discards": many(ref("Discard")), **_WHEN,
    "_links": linked("authorizations", "captures", "voids"),
}
_CHARGE_HAS = ("id", "status", "paymentMethod", "paymentMedium", "scheduleType", "currency", "paymentDescriptor", "authorizations", "captures",
               "refunds", "voids", "discards", "createdAt", "updatedAt", "_links")

_MOVED = {"amount": MONEY, "reason": one_of(*sorted({code for code, _ in REASONS.values()})), "paymentChargeId": named("charge"),
          "disputeId": named("dispute"), "transferStatus": one_of("EXPECTED", "SETTLED", "FAILED"), **_WHEN,
          "_links": linked("self", "payment_charge", "dispute")}


def _moved(prefix: str) -> Schema:
    known = {"id": named(prefix), **_MOVED}
    return an_object(known, tuple(known))


def _paged(name: str) -> Schema:
    count: Schema = {"type": "integer", "minimum": 0}
    return an_object({"pagination": an_object(dict.fromkeys(("totalPages", "totalCount", "currentPage"), count),
                                              ("totalPages", "totalCount", "currentPage")), "data": many(ref(name))}, ("pagination", "data"))


_REVOKED = ("REVOKED_BY_CONSUMER", "REVOKED_BY_MERCHANT", "REVOKED_BY_PROVIDER")
_AGREEMENT_STATUS = one_of("INITIALIZING", "AUTHENTICATION_PENDING", "AUTHORIZATION_PROCESSING", "ACTIVE", *_REVOKED, "FAILED")


def _entry(prefix: str, member: str, statuses: Schema) -> Schema:
    return an_object({"id": named(prefix), member: statuses, "failure": ref("Failure"), "createdAt": MOMENT}, ("id", member, "createdAt"))


_AGREEMENT = {
    "id": named("agr"), "status": _AGREEMENT_STATUS, "failure": ref("Failure"), "description": TEXT, "merchantPaymentAgreementReference": TEXT,
    "paymentMethod": TEXT, "paymentMedium": one_of(*fields.MEDIUMS), "frequency": ref("Frequency"), "startDate": MOMENT, "endDate": MOMENT,
    "amount": MONEY, "amountType": one_of("MAX", "EXACT", "VARIABLE"), "instrumentId": TEXT, "instrumentUpdated": {"type": "boolean"},
    "consumer": ref("Consumer"), "authenticationMethods": many(ref("AuthenticationMethod")), "initialPaymentChargeId": named("charge"),
    "initialSchemeAuthorizationReference": TEXT, "initialTransactionLinkReference": TEXT, "labels": LABELS,
    "history": many(_entry("ahist", "status", _AGREEMENT_STATUS)),
    "revocations": many(_entry("rev", "revocationStatus", one_of(*_REVOKED, "REVOCATION_FAILED"))), **_WHEN,
}

_PHASE, _SENDER = one_of(*PHASES.values()), one_of("MERCHANT", "PROVIDER")
_STATUS = one_of(*(status for status in STATUSES.values() if status))
_DISPUTE = {
    "id": named("dispute"), "amount": MONEY, "paymentChargeId": named("charge"), "paymentSource": one_of("GAPI", "SAPI", "ACI"), "merchantId": TEXT,
    "phase": _PHASE, "status": _STATUS,
    "allowedActions": many(an_object({
        "type": one_of("ACCEPT", "CHALLENGE", "OFFER"), "resolutions": many(TEXT), "amountRequired": {"type": "boolean"}, "dueBy": MOMENT,
        "messageConfig": an_object({"required": {"type": "boolean"}, "minLength": {"type": "integer"}, "maxLength": {"type": "integer"}}),
    }, ("type", "messageConfig"))),
    "allowedCapabilities": many(an_object({
        "type": one_of("UPLOAD_FILE", "POST_MESSAGES"), "allowedFileTypes": many(one_of(*FILE_TYPES)), "maxFileSizeInMb": {"type": "integer"},
        "maxNumberOfFiles": {"type": "integer"}, "minLength": {"type": "integer"}, "maxLength": {"type": "integer"},
        "statusAllowedIn": many(_STATUS), "url": TEXT}, ("type", "statusAllowedIn", "url"))),
    "files": many(ref("DisputeFile")), "reason": an_object({"code": TEXT, "message": TEXT}, ("code",)), "openingNote": TEXT,
    "messages": many(ref("DisputeMessage")), "openedAt": MOMENT, **_WHEN, "_links": linked("self", "payment_charge"),
    "merchantPaymentChargeReference": TEXT, "closingReason": one_of(*CLOSINGS.values()), "closingNote": TEXT,
}
_DISPUTE_MAY_HAVE = ("merchantPaymentChargeReference", "closingReason", "closingNote")

SHAPES: dict[str, Schema] = {
    "Link": an_object({"href": text("relative to this service")}, ("href",)),
    "Unauthorized": an_object({"message": {"const": "Unauthorized"}}, ("message",)),
    "Error": an_object({
        "status": {"type": "integer", "description": "as the HTTP status"}, "failureMessage": text("for people"), "timestamp": MOMENT,
        "extensions": an_object({"fields": many(an_object({"path": text("of the field in the body"), "problem": TEXT}, ("path", "problem")))}),
    }, ("status", "failureMessage", "timestamp")),
    "Failure": an_object({
        "failureType": one_of(*By), "failureCode": {"type": "string", "pattern": "^[A-Z_]+$"},
        "providerFailureCode": text("as the provider said it"), "failureMessage": text("for people"),
        "isRetryable": {"type": "boolean", "description": "whether the same may succeed later"},
        "additionalData": an_object({"merchantAdviceCode": TEXT, "merchantAdviceCodeText": TEXT}),
    }, ("failureType", "failureCode", "failureMessage")),
    "PaymentCharge": an_object(_CHARGE, _CHARGE_HAS),
    "PaymentCharges": an_object({"data": many(ref("PaymentCharge")), "nextPage": text("where there is one: for `page`"),
                                 "_links": linked("self")}, ("data", "_links")),
    "AuthenticationMethod": an_object({"type": one_of(*WAYS), "details": an_object({
        "requestUrl": TEXT, "requestMethod": one_of("GET", "POST"), "codeType": one_of("QR", "UPC", "ITF", "CODE128", "PAYMENT_REFERENCE"),
        "codeImage": TEXT, "codePayload": TEXT, "codeDocument": TEXT, "codeProviderEntityId": TEXT, "mobileIntentUri": TEXT, "scanBy": MOMENT,
    })}, ("type", "details")),
    "Authorization": _operation("authz", ("AUTHORIZED", "AUTHENTICATION_PENDING", "PROVIDER_CONFIRMATION_PENDING", "FAILED"), {
        "merchantPaymentChargeReference": TEXT, "schemeAuthorizationReference": TEXT, "transactionLinkReference": TEXT}),
    "Capture": _operation("capture", ("CAPTURED", "FAILED"), {"merchantCaptureReference": TEXT, "labels": LABELS}),
    "Void": _operation("void", ("VOIDED", "FAILED"), {"merchantVoidReference": TEXT, "labels": LABELS}),
    "Refund": _operation("refund", ("REFUNDED", "PENDING", "FAILED"), {
        "merchantRefundReference": TEXT, "refundReason": one_of(*fields.REFUND_REASONS), "refundDescriptor": TEXT, "labels": LABELS}),
    "Discard": _operation("discard", ("DISCARDED", "FAILED"), {"merchantDiscardReference": TEXT, "type": one_of(*DISCARD_TYPES)}, amount=False),
    **{f"{name}s": listed(name) for name in ("Authorization", "Capture", "Void", "Refund")},
    "PaymentInstrument": an_object({
        "id": named("instr"), "type": one_of(*{"CARD_PPRO_VAULTED": 0, **fields.INSTRUMENT_REQUEST.of}),
        "details": {"type": "object", "description": "of its type; no card number, security code or cryptogram"}}, ("id", "type", "details")),
    "PaymentAgreement": an_object(_AGREEMENT, ("id", "status", "paymentMethod", "history", "revocations", "createdAt", "updatedAt")),
    "AgreementAuthorization": an_object({
        "id": named("authz"), "agreementStatus": _AGREEMENT_STATUS, "failure": ref("Failure"), "createdAt": MOMENT},
        ("id", "agreementStatus", "createdAt")),
    "AgreementRevocation": an_object({"status": one_of("REVOKED", "FAILED"), "failure": ref("Failure")}, ("status",)),
    "Dispute": an_object(_DISPUTE, tuple(name for name in _DISPUTE if name not in _DISPUTE_MAY_HAVE)),
    "Disputes": listed("Dispute"),
    "DisputeActionAnswer": an_object({"disputeId": named("dispute"), "status": _STATUS}, ("disputeId", "status")),
    "DisputeMessage": an_object({"content": TEXT, "sender": _SENDER, "phase": _PHASE, "createdAt": MOMENT},
                                ("content", "sender", "phase", "createdAt")),
    "DisputeFile": an_object({
        "id": named("file"), "name": TEXT, "createdAt": MOMENT, "phase": _PHASE, "sender": _SENDER,
        "status": one_of("PENDING", "FAILED", "AVAILABLE", "SYNCED_WITH_PROVIDER"), "_links": linked("self")},
        ("id", "name", "createdAt", "phase", "sender", "status", "_links")),
    "Chargeback": _moved("cb"), "ChargebackReversal": _moved("cr"),
    "Chargebacks": _paged("Chargeback"), "ChargebackReversals": _paged("ChargebackReversal"),
    "FundsStatus": an_object({
        "operationId": {"type": "string", "pattern": "^(capture|refund)_[A-Za-z0-9]{21}$"}, "operationType": one_of("CAPTURE", "REFUND"),
        "fundsStatus": one_of(*FUNDS), "merchantPaymentChargeReference": TEXT, "merchantRefundReference": TEXT,
    }, ("operationId", "operationType", "fundsStatus")),
    "FundsStatuses": many(ref("FundsStatus")),
    "DisputeReport": an_object({
        "id": named("report"), "startDate": MOMENT, "endDate": MOMENT, "status": one_of("PENDING", "PROCESSED", "FAILED", "EXPIRED"),
        "downloadUrl": text("once it is PROCESSED"), **_WHEN}, ("id", "startDate", "endDate", "status", "createdAt", "updatedAt")),
}
"""By name: objects that answers consist of."""

FILE_FORM: Schema = an_object(
    {"file": {"type": "string", "format": "binary", "description": f"a file, with its name: {' or '.join(FILE_TYPES)}"}}, ("file",))
"""The form that holds a dispute's file."""
FILE_ENCODING: Schema = {"file": {"contentType": ", ".join(FILE_TYPES)}}
"""What that file may be."""
REQUESTS = {"actions": dispute_requests.ACTION, "messages": dispute_requests.MESSAGE, "reports": dispute_requests.REPORT}
