"""The PPRO door described for machines (OpenAPI 3.1), at ``/v1/openapi.json``: every endpoint a row, out of the tables that read and answer.

Decides how endpoints are described, never what they do.  An endpoint without a row is left out; a test says so.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import ringfence
from ringfence.api.describing import Schema, content, fields, path, ref
from ringfence.api.ppro import answers, shapes
from ringfence.api.ppro import fields as tables
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.disputes import CHARGEBACKS, DISPUTES, DOWNLOADS, REPORTS, REVERSALS
from ringfence.api.ppro.door import JSON, LONGEST_KEY, Endpoint, Request, Service
from ringfence.api.ppro.kinds import Kind
from ringfence.api.ppro.rendering import CHARGES

PATH = "/v1/openapi.json"
INSTRUMENTS, AGREEMENTS = "/v1/payment-instruments", "/v1/payment-agreements"


class Row(NamedTuple):
    """One endpoint.  ``gives``: the shape of its answer, "" for none; ``asks``: the table of its body, or a schema.

    ``query``: its parameters, or (as one object) the choice between them; ``refuses``: statuses that not every endpoint has.
    """

    summary: str
    gives: str
    asks: Kind | Schema | None = None
    query: tuple[Schema, ...] = ()
    refuses: tuple[str, ...] = ()
    status: str = "200"
    note: str = ""
    file: str = ""                          # content type of an answer that is a file


def _text(longest: int = 512) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": longest, "pattern": "^[^\\u0000]+$"}


def _choice(*names: str, **more: Schema) -> Schema:
    """Exactly one of these parameters, and others beside it; a parameter that is empty is not there."""
    return {"name": "filter", "in": "query", "required": True, "style": "form", "explode": True,
            "description": f"Exactly one of {', '.join(names)}.", "schema": {"oneOf": [
                {"type": "object", "properties": {name: _text(), **more}, "required": [name], "additionalProperties": False} for name in names]}}


def _query(name: str, description: str) -> Schema:
    return {"name": name, "in": "query", "required": True, "description": description, "schema": _text()}


_OPERATION = ("404", "409", "504")
_OF_CHARGE = ("404",)

_CHARGES: dict[tuple[str, str], Row] = {
    ("POST", CHARGES): Row(
        "Create a payment charge", "PaymentCharge", tables.CHARGE, refuses=("409", "504"),
        note="A decline is 200 too: the charge is FAILED and says why in `failure`."),
    ("GET", CHARGES): Row(
        "List payment charges", "PaymentCharges", query=(_choice("merchantPaymentChargeReference", "agreementId", page=_text()),),
        refuses=_OF_CHARGE, note="Newest first, 50 a page; `page` is `nextPage` of the page before."),
    ("GET", f"{CHARGES}/{{chargeId}}"): Row("Read a payment charge", "PaymentCharge", refuses=_OF_CHARGE),
    ("POST", f"{CHARGES}/{{chargeId}}/discards"): Row(
        "Give up a charge whose consumer has not acted", "Discard", tables.OPERATIONS["discards"], refuses=_OPERATION),
    ("GET", f"{CHARGES}/{{chargeId}}/funds-statuses"): Row("What is known of the money", "FundsStatuses", refuses=_OF_CHARGE),
    ("POST", f"{CHARGES}/{{chargeId}}/authorizations"): Row(
        "Confirm an authorization with what the consumer was given", "Authorization", tables.OPERATIONS["authorizations"], refuses=_OPERATION),
}
for _kind, _shape in {"captures": "Capture", "voids": "Void", "refunds": "Refund"}.items():
    _CHARGES["POST", f"{CHARGES}/{{chargeId}}/{_kind}"] = Row(
        f"{_shape} a part, or all of it", _shape, tables.OPERATIONS[_kind], refuses=_OPERATION,
        note="What breaks a rule of the payment is 200 with status FAILED; an outcome that nobody knows yet is 504.")
for _kind, _shape in {"captures": "Capture", "voids": "Void", "refunds": "Refund", "authorizations": "Authorization"}.items():
    _CHARGES["GET", f"{CHARGES}/{{chargeId}}/{_kind}"] = Row(f"List {_kind}", f"{_shape}s", refuses=_OF_CHARGE)
    _CHARGES["GET", f"{CHARGES}/{{chargeId}}/{_kind}/{{id}}"] = Row(f"Read one of the {_kind}", _shape, refuses=_OF_CHARGE)

_INSTRUMENTS: dict[tuple[str, str], Row] = {
    ("POST", INSTRUMENTS): Row(
        "Keep an instrument", "PaymentInstrument", tables.INSTRUMENT_REQUEST, refuses=("409",),
        note="With `validate` the card is authorized for a nominal amount; one that is declined is not kept (422)."),
    ("GET", f"{INSTRUMENTS}/{{instrumentId}}"): Row("Read an instrument", "PaymentInstrument", refuses=("404",)),
    ("PUT", f"{INSTRUMENTS}/{{instrumentId}}"): Row(
        "Replace the details of an instrument", "PaymentInstrument", tables.INSTRUMENT_REQUEST, refuses=("404", "409"),
        note="Its type stays as it is, and so does a token number where none is given."),
    ("DELETE", f"{INSTRUMENTS}/{{instrumentId}}"): Row("Forget an instrument", "", refuses=("404",), status="204"),
}

_AGREEMENTS: dict[tuple[str, str], Row] = {
    ("POST", AGREEMENTS): Row("Create a payment agreement", "PaymentAgreement", tables.AGREEMENT, refuses=("409", "504")),
    ("GET", f"{AGREEMENTS}/{{agreementId}}"): Row("Read a payment agreement", "PaymentAgreement", refuses=("404",)),
    ("POST", f"{AGREEMENTS}/{{agreementId}}/authorizations"): Row(
        "Confirm an agreement with what the consumer was given", "AgreementAuthorization", tables.OPERATIONS["authorizations"], refuses=_OPERATION),
    ("POST", f"{AGREEMENTS}/{{agreementId}}/revocations"): Row(
        "Revoke an agreement", "AgreementRevocation", tables.REVOCATION, refuses=_OPERATION),
    ("POST", f"{AGREEMENTS}/{{agreementId}}/payment-charges"): Row(
        "Charge under an agreement, without the consumer", "PaymentCharge", tables.AGREEMENT_CHARGE, refuses=_OPERATION),
}

_MOVED = (_choice("disputeId", "paymentChargeId"),)
_DISPUTES: dict[tuple[str, str], Row] = {
    ("GET", DISPUTES): Row("List the disputes of a charge", "Disputes", query=(_query("paymentChargeId", "the charge"),), refuses=("404",)),
    ("GET", f"{DISPUTES}/{{disputeId}}"): Row("Read a dispute", "Dispute", refuses=("404",)),
    ("POST", f"{DISPUTES}/{{disputeId}}/actions"): Row(
        "Accept, challenge or make an offer", "DisputeActionAnswer", shapes.REQUESTS["actions"], refuses=("404", "409"), status="202"),
    ("POST", f"{DISPUTES}/{{disputeId}}/messages"): Row(
        "Write to the other side", "DisputeMessage", shapes.REQUESTS["messages"], refuses=("404", "409"), status="201"),
    ("POST", f"{DISPUTES}/{{disputeId}}/files"): Row(
        "Add a file", "DisputeFile", shapes.FILE_FORM, refuses=("404", "409"), status="201", note="`Location` says where it can be read."),
    ("GET", f"{DISPUTES}/{{disputeId}}/files/{{fileId}}"): Row("Read a file", "", refuses=("404",), file="*/*"),
    ("GET", CHARGEBACKS): Row("List chargebacks", "Chargebacks", query=_MOVED, refuses=("404",)),
    ("GET", f"{CHARGEBACKS}/{{chargebackId}}"): Row("Read a chargeback", "Chargeback", refuses=("404",)),
    ("GET", REVERSALS): Row("List reversals of chargebacks", "ChargebackReversals", query=_MOVED, refuses=("404",)),
    ("GET", f"{REVERSALS}/{{reversalId}}"): Row("Read a reversal of a chargeback", "ChargebackReversal", refuses=("404",)),
    ("POST", REPORTS): Row(
        "Have a report of disputes made", "DisputeReport", shapes.REQUESTS["reports"], refuses=("409",),
        note="Of disputes opened within the last 90 days, until a moment that is past."),
    ("GET", f"{REPORTS}/{{reportId}}"): Row("Read what became of a report", "DisputeReport", refuses=("404",)),
    ("GET", f"{DOWNLOADS}/{{file}}"): Row("Fetch a report, by its `downloadUrl`", "", refuses=("404",), file="text/csv"),
}
ROWS: Mapping[tuple[str, str], Row] = _CHARGES | _INSTRUMENTS | _AGREEMENTS | _DISPUTES | {
    ("GET", PATH): Row("This description", "", file=JSON)}


# ---------------------------------------------------------------------------------------------------------- the document

def endpoint(all_of_them: Iterable[Endpoint]) -> Endpoint:
    """The endpoint that describes these and itself; no key asked."""
    made: list[bytes] = []

    async def described(service: Service, request: Request) -> Answer:
        if not made:
            made.append(answers.ok(document((*all_of_them, itself), base_url=service.base_url)).body)
        return Answer(200, made[0])

    itself = Endpoint("GET", PATH, described, is_open=True, names_merchant=False, group="openapi")
    return itself


def document(endpoints: Iterable[Endpoint], *, base_url: str = "") -> Schema:
    """The whole description."""
    paths: dict[str, Schema] = {}
    schemas: dict[str, Schema] = {}
    for one in sorted(endpoints, key=lambda one: (one.path, one.method)):
        row = ROWS.get((one.method, one.path))
        if row is not None:
            paths.setdefault(one.path, {})[one.method.lower()] = _described(one, row)
            if row.asks is not None and not isinstance(row.asks, dict):
                _define(row.asks, schemas)
    for said in (tables.ORDER, tables.CONSUMER, tables.MONEY, tables.AGREEMENT):       # answers say them, too
        _define(said, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ringfence: PPRO Global API", "version": ringfence.__version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Payment charges, instruments, agreements and disputes. What need not be there may be null; a field that nobody knows "
                           "is passed over; amounts are minor units.",
        },
        **({"servers": [{"url": base_url}]} if base_url else {}),
        "security": [{"key": []}], "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "`ppro.api_key` of the merchant"}},
            "parameters": _PARAMETERS, "headers": _HEADERS, "responses": _RESPONSES, "schemas": dict(sorted((shapes.SHAPES | schemas).items())),
        },
    }


_PARAMETERS: dict[str, Schema] = {
    "MerchantId": {"name": "Merchant-Id", "in": "header", "required": True, "description": "the merchant that acts, `ppro.merchant_id`",
                   "schema": {"type": "string", "pattern": "^merch_[A-Za-z0-9]{1,64}$"}},
    "Idempotency": {"name": "Request-Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": LONGEST_KEY},
                    "description": "makes a repeat harmless for 24 hours after the end of what was asked"},
    "Reference": {"name": "Request-Reference", "in": "header", "schema": {"type": "string"}, "description": "given back as it is"},
}
_COUNT: Schema = {"type": "string", "pattern": "^[0-9]+$"}
_HEADERS: dict[str, Schema] = {
    "Replayed": {"description": "`true`: the answer of an earlier request with this key", "schema": {"type": "string", "const": "true"}},
    "Remaining": {"description": "requests that are left", "schema": _COUNT},
    "Burst": {"description": "requests at once", "schema": _COUNT}, "Replenish": {"description": "requests a second", "schema": _COUNT},
    "Allow": {"description": "methods that are possible here", "schema": {"type": "string"}},
    "RetryAfter": {"description": "seconds", "schema": _COUNT},
    "Location": {"description": "where it can be read", "schema": {"type": "string"}},
}
_LIMITS = {"X-RateLimit-Remaining": "Remaining", "X-RateLimit-Burst-Capacity": "Burst", "X-RateLimit-Replenish-Rate": "Replenish"}
_REFUSALS = {
    "400": ("MalformedRequest", "no JSON object, a field of the wrong form, or a parameter that stands twice; `extensions.fields` names it"),
    "403": ("Forbidden", "this key does not act for the merchant in Merchant-Id"),
    "404": ("NotFound", "there is no such object of this merchant"),
    "405": ("MethodNotAllowed", "this method is not possible here"),
    "409": ("Conflict", "the key of this request is in use, or was used for another one; or what is asked does not fit what is there"),
    "413": ("TooLarge", "the body is too large; the message says how large it may be"),
    "415": ("UnsupportedContentType", "another content type is asked for"),
    "422": ("Unprocessable", "well-formed, and makes no sense"),
    "429": ("TooManyRequests", "more requests than the limit allows"),
    "503": ("Unavailable", "the database does not answer; nothing was done"),
    "504": ("OutcomeUnknown", "nobody knows the outcome yet: ask again with the same key, or read the charge"),
}


def _header(name: str) -> Schema:
    return {"$ref": f"#/components/headers/{name}"}


def _refusal(status: str, said: str) -> Schema:
    headers = {"405": {"Allow": _header("Allow")}, "429": {"Retry-After": _header("RetryAfter")}}.get(status)
    return {"description": said, **({"headers": headers} if headers else {}), "content": content(ref("Error"))}


_RESPONSES: dict[str, Schema] = {
    **{name: _refusal(status, said) for status, (name, said) in _REFUSALS.items()},
    "Unauthorized": {"description": "the key is missing or unknown", "content": content(ref("Unauthorized"))},
}


def _described(one: Endpoint, row: Row) -> Schema:
    told: Schema = {
        "summary": row.summary, "operationId": _operation_id(one), "tags": [one.group], **({"description": row.note} if row.note else {}),
        **({"security": []} if one.is_open else {}), "parameters": [*_parameters(one, row)]}
    if row.asks is not None:
        asked = row.asks if isinstance(row.asks, dict) else row.asks.schema()
        of_form = {} if one.takes == JSON else {"encoding": shapes.FILE_ENCODING}
        told["requestBody"] = {"required": True, "content": {one.takes: {"schema": asked, **of_form}}}
    good: Schema = {"description": row.summary, "headers": {name: _header(of) for name, of in _LIMITS.items()} if not one.is_open else {}}
    if one.method in ("POST", "PATCH"):
        good["headers"]["Request-Idempotency"] = _header("Replayed")
    if one.takes not in ("", JSON):
        good["headers"]["Location"] = _header("Location")
    if row.gives:
        good["content"] = content(ref(row.gives))
    elif row.file:
        good["content"] = {row.file: {"schema": fields({}) if row.file == JSON else {}}}
    told["responses"] = {row.status: good} | {
        status: {"$ref": f"#/components/responses/{'Unauthorized' if status == '401' else _REFUSALS[status][0]}"} for status in _statuses(one, row)}
    return told


def _statuses(one: Endpoint, row: Row) -> Iterator[str]:
    found = {"405", "503", *row.refuses}
    if not one.is_open:
        found |= {"400", "401", "403", "413", "429"}
    if one.takes:
        found |= {"400", "415", "422"}
    yield from sorted(found)


def _parameters(one: Endpoint, row: Row) -> Iterator[Schema]:
    for part in one.path.split("/"):
        if part.startswith("{"):
            yield path(part[1:-1], "its id")
    yield from row.query
    if one.is_open:
        return
    if one.names_merchant:
        yield {"$ref": "#/components/parameters/MerchantId"}
    if one.method in ("POST", "PATCH"):
        yield {"$ref": "#/components/parameters/Idempotency"}
    yield {"$ref": "#/components/parameters/Reference"}


def _operation_id(one: Endpoint) -> str:
    parts = [part[1:-1] if part.startswith("{") else part for part in one.path.removeprefix("/v1/").split("/")]
    return "_".join([one.method.lower(), *parts]).replace("-", "_").replace(".", "_")


def _define(kind: Any, into: dict[str, Schema]) -> None:
    """The definitions of an object and of all that its fields consist of."""
    if hasattr(kind, "definition") and kind.name not in into:
        into[kind.name] = kind.definition()
    elif hasattr(kind, "definition"):
        return
    for inner in _parts(kind):
        _define(inner, into)


def _parts(kind: Any) -> Iterator[Any]:
    yield from kind.parts() if hasattr(kind, "parts") else ()
