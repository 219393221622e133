"""What is served over HTTP, described for machines (OpenAPI 3.1).

Decides how the endpoints are described, never what they do: the APS operations come from their own tables, and a test compares the
paths with the routes.  Refuses to know who serves them.
"""
from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import ringfence
from ringfence.api import (
    access_keys,
    batches,
    clock,
    debts,
    disputes,
    events,
    jobs,
    links,
    plans,
    purchases,
    receipts,
    reports,
    retention,
    reviews,
    shoppers,
    tokens,
    trip_reports,
    trips,
    webhooks,
)
from ringfence.api.aps.fields import FIELDS, Field
from ringfence.api.aps.operations import OPERATIONS, PAGE, REPORTING, Operation
from ringfence.api.describing import ERROR, OF_MERCHANT, REFUSALS, Schema, answers, content, fields, operator, path, query, ref, rows, text
from ringfence.api.http import json_response
from ringfence.api.jwo import describing as jwo

PARTS = (
    access_keys, clock, events, webhooks, reviews, disputes, trips, debts, links, plans, retention, tokens, reports, batches, jobs, shoppers,
    purchases, receipts, trip_reports)
"""Modules of the operator's API beside ``admin``, each with ``DESCRIBED``."""


def routes() -> list[Route]:
    """``/openapi.json``."""
    async def described(request: Request) -> Response:
        return json_response(document())

    return [Route("/openapi.json", described)]


def document() -> Schema:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ringfence", "version": ringfence.__version__, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Payments over the Amazon Payment Services API, those of stores over the Just Walk Out API, and the operator's API.",
        },
        "servers": [{"url": "http://127.0.0.1:8080", "description": "the sandbox as `ringfence up` starts it"}],
        "paths": _PAYMENTS | _FILES | jwo.DESCRIBED | _PAGES | _SERVICE | _ADMIN | {
            where: described for part in PARTS for where, described in part.DESCRIBED.items()},
        "components": {
            "securitySchemes": {"admin": {"type": "http", "scheme": "bearer", "description": "`admin` of sandbox.json, or RINGFENCE_ADMIN_TOKEN"}}
            | jwo.SECURITY,
            "schemas": {
                **{f"Aps_{row.name}": _request(row) for row in OPERATIONS.values()},
                **{f"ApsForm_{row.name}": _form(row) for row in PAGE.values()}, "ApsAnswer": _ANSWER,
                **{f"aps.{name}": _value(field) for name, field in FIELDS.items()}, "Error": ERROR, "Merchant": _MERCHANT,
                **jwo.SCHEMAS,
            },
        },
    }


# ---------------------------------------------------------------------------------------------------------- payments

def _value(field: Field) -> Schema:
    """One parameter of the APS dictionary."""
    if field.strict is not None:
        return {"type": "array", "minItems": 1, "items": {}, "description": "signed as text: [a, b], [{key=k, value=v}]"}
    if field.values is not None:
        return {"type": "string", "enum": sorted(field.values)}
    return {"type": "string", "maxLength": field.longest, "pattern": f"^(?:{field.pattern.pattern})$"}


def _request(row: Operation) -> Schema:
    """One operation's request; the signature covers every other parameter."""
    properties = {name: ref(f"aps.{name}") for name in sorted(row.accepts - {row.key})}
    schema = fields({row.key: {"const": row.name}, **properties}, (row.key, *row.mandatory, "signature"), additionalProperties=False)
    return schema | ({"anyOf": [{"required": [name]} for name in row.one_of]} if row.one_of else {})


def _form(row: Operation) -> Schema:
    """One operation as a browser posts it."""
    forbidden = row.variants[0].forbidden if row.variants else frozenset()
    return _request(replace(row, accepts=row.accepts - forbidden))


_ANSWER: Schema = fields({
    "response_code": text("status (two digits) and message (three)", pattern="^[0-9]{5}$"),
    "response_message": text("in the request's language"), "status": text("the first two digits of response_code"),
    "signature": text("under the response phrase; absent while no phrase is known"), "fort_id": text("the payment's id"),
}, ("response_code", "response_message", "status"), additionalProperties=True,
    description="What the request said, without security code and with the card number masked, and the result. All values are texts; "
                "`data` of GET_TOKENS is a list of objects of texts.")

_PAYMENTS: dict[str, Schema] = {"/FortAPI/paymentApi": {"post": {
    "summary": "Every operation of the APS API that works on JSON", "tags": ["aps"],
    "description": "Each business result, errors included, is 200. See docs/aps.md for signatures, codes and idempotency.",
    "parameters": [{"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"},
                    "description": "CAPTURE and REFUND: makes a repeat harmless. Not part of the signature."}],
    "requestBody": {"required": True, "content": content({"oneOf": [
        ref(f"Aps_{row.name}") for row in OPERATIONS.values() if row.endpoint != REPORTING and row.service != "batch"]})},
    "responses": {
        "200": {"description": "the answer", "content": content(ref("ApsAnswer")), "headers": {"Ringfence-Receipt": {
            "description": "lane, number and digest of the batch that holds the outcome; `ringfence proof --receipt` checks it",
            "schema": {"type": "string", "pattern": "^[0-9]+\\.[0-9]+\\.[0-9a-f]{16}$"}}}},
        **{code: {"description": REFUSALS[code], "content": content(ref("Error"))} for code in ("405", "413")},
    },
}}, "/FortAPI/reportingApi": {"post": {
    "summary": "Reports of operations: have one made, download it", "tags": ["aps"],
    "description": "Each business result, errors included, is 200. See docs/reporting.md for columns, filters and forms.",
    "requestBody": {"required": True, "content": content({"oneOf": [
        ref(f"Aps_{row.name}") for row in OPERATIONS.values() if row.endpoint == REPORTING]})},
    "responses": {
        "200": {"description": "the answer; of a download with `data`, in the form that `response_format` asks for", "content": {
            **content(ref("ApsAnswer")), "application/xml": {"schema": {"type": "string"}}}},
        **{code: {"description": REFUSALS[code], "content": content(ref("Error"))} for code in ("405", "413")},
    },
}}}

_REASON = {"Ringfence-Reason": {"description": "why a file is not taken or not let go; no cell of it is repeated", "schema": {"type": "string"}}}
_FILES: dict[str, Schema] = {
    "/FortAPI/upload/": {"post": {
        "summary": "Hand in a batch file", "tags": ["aps"], "description": "The fields of the form come before its file. See docs/batch.md.",
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
            "allOf": [ref("Aps_UPLOAD_BATCH_FILE")], "properties": {"file": {"type": "string", "contentMediaType": "text/csv"}}, "required": ["file"],
        }}}},
        "responses": {"200": {"description": "the answer", "content": content(ref("ApsAnswer")), "headers": _REASON}},
    }},
    "/FortAPI/batchApi/": {"post": {
        "summary": "Let a batch file go, and ask what became of it", "tags": ["aps"],
        "parameters": [{"name": "Ringfence-Force", "in": "header", "schema": {"type": "string"},
                        "description": "PROCESS_BATCH: the batch_id, where its content was processed before. Not part of the signature."}],
        "requestBody": {"required": True, "content": content({"oneOf": [ref("Aps_GET_BATCH_RESULTS"), ref("Aps_PROCESS_BATCH")]})},
        "responses": {"200": {"description": "the answer, or the results", "headers": _REASON, "content": {
            **content(ref("ApsAnswer")), "text/csv": {"schema": {"type": "string"}}}}},
    }},
}


# ---------------------------------------------------------------------------------------------------------- pages

_HTML: Schema = {"text/html": {"schema": {"type": "string"}}}
_FORM = "application/x-www-form-urlencoded"
_ADDRESS = [path("address", "the secret of one session, 27 characters")]
_ONWARD: Schema = {"303": {"description": "the browser goes on inside"}}
_WITHOUT: Schema = {"404": {"description": "no session is there (any more)", "content": _HTML}}
_AWAY: Schema = {"503": {"description": "the database is away; load it again", "content": _HTML}}


def _typed(required: tuple[str, ...], **properties: Schema) -> Schema:
    """The body of one of our own forms; ``mark`` is in the page."""
    return {"required": True, "content": {_FORM: {"schema": fields(
        {"mark": text("from the page: only it can send the form"), **properties}, ("mark", *required))}}}


_PAGES: dict[str, Schema] = {
    "/FortAPI/paymentPage": {"post": {
        "summary": "A shop's form: a hosted payment page, or a card to be kept", "tags": ["pages"],
        "description": "Answers, errors included, go to return_url with the payer's browser. See docs/pages.md.",
        "requestBody": {"required": True, "content": {_FORM: {"schema": {"oneOf": [ref(f"ApsForm_{row.name}") for row in PAGE.values()]}}}},
        "responses": {
            "200": {"description": "a page that leaves for return_url, or says what is wrong where nobody else can be told", "content": _HTML},
            "303": {"description": "to the page below /pay/"},
            "413": {"description": REFUSALS["413"], "content": content(ref("Error"))},
        },
    }},
    "/pay/{address}": {
        "get": {"summary": "The page as its session stands", "tags": ["pages"], "parameters": _ADDRESS, "responses": {
            "200": {"description": "the card form, a page that waits, or one that leaves", "content": _HTML}, **_WITHOUT, **_AWAY}},
        "post": {"summary": "One attempt", "tags": ["pages"], "parameters": _ADDRESS, "requestBody": _typed(
            ("attempt", "security_code"),
            attempt=text("from the page: attempts behind it"), card={"type": "string", "enum": ["saved", "new"]},
            card_number=text("digits, with or without spaces"), expiry_month=text("one or two digits"), expiry_year=text("two or four digits"),
            security_code=text("three or four digits"), card_holder=text("the name on the card"), remember={"type": "string", "enum": ["yes"]}),
            "responses": {
                **_ONWARD, "422": {"description": "the form again, with what is wrong", "content": _HTML},
                "400": {"description": "not a form of this page", "content": _HTML}, **_WITHOUT, **_AWAY}},
    },
    "/pay/{address}/cancel": {"post": {
        "summary": "The payer gives up", "tags": ["pages"], "parameters": _ADDRESS, "requestBody": _typed(()),
        "responses": {**_ONWARD, "400": {"description": "not a form of this page", "content": _HTML}, **_WITHOUT, **_AWAY}}},
    "/docs": {"get": {"summary": "The PPRO door's description, for people", "tags": ["pages"],
                      "responses": {"200": {"description": "one page; `/v1/openapi.json` is for machines", "content": _HTML}}}},
    "/static/{name}": {"get": {
        "summary": "Style and script of the pages", "tags": ["pages"], "parameters": [path("name", "changes with the content")],
        "responses": {"200": {"description": "for ever the same", "content": {
            kind: {"schema": {"type": "string"}} for kind in ("text/css", "text/javascript")}}, "404": {"description": "there is no such file"}}}},
}


# ---------------------------------------------------------------------------------------------------------- the service

_SERVICE: dict[str, Schema] = {
    "/healthz": {"get": {"summary": "Whether this process lives", "tags": ["service"],
                         "responses": answers("it does", fields({"status": {"const": "ok"}}, ("status",)))}},
    "/readyz": {"get": {"summary": "Whether this process can take payments", "tags": ["service"], "responses": {
        "200": {"description": "it can", "content": content(fields({"status": {"const": "ready"}}, ("status",)))},
        "503": {"description": "it cannot, and why", "content": content(fields(
            {"status": {"const": "not ready"}, "missing": {"type": "array", "items": {"type": "string"}}}, ("status", "missing")))}}}},
    "/metrics": {"get": {"summary": "Counters and histograms of all processes", "tags": ["service"], "responses": {
        "200": {"description": "Prometheus text, version 0.0.4", "content": {"text/plain": {"schema": {"type": "string"}}}}}}},
    "/openapi.json": {"get": {"summary": "This description", "tags": ["service"], "responses": answers("OpenAPI 3.1", {"type": "object"})}},
}


# ---------------------------------------------------------------------------------------------------------- the operator

_CREDENTIAL = {
    "access_code": text("random where it is left out"), "sha_request_phrase": text("random where it is left out"),
    "sha_response_phrase": text("random where it is left out"),
    "sha_type": {"type": "string", "enum": ["SHA-256", "SHA-512", "HMAC-256", "HMAC-512"], "default": "SHA-256"},
}
_SETTINGS = {"settings": {"type": "object", "additionalProperties": {"type": "string"}, "description": "setting -> value, as texts"}}
_MERCHANT: Schema = fields({
    "identifier": text("its wire name"), "name": text("what people call it"), "active": {"type": "boolean"}, **_SETTINGS,
    "credentials": {"type": "array", "items": fields({
        **_CREDENTIAL, "merchant_identifier": text("as on the wire")}, ("access_code", "sha_type"),
        description="Phrases only right after they were made, or in the sandbox with `phrases=true`.")},
    "ppro": {"type": "array", "items": fields({
        "merchant_id": text("for the header Merchant-Id"), "api_key": text("the bearer token"), "webhook_secret": text("signs webhooks")},
        ("merchant_id",), description="The PPRO door's credentials; key and secret as phrases are.")},
    "jwo": {"type": "array", "items": fields({
        "access_key_id": text("the key's name"), "secret_access_key": text("signs requests"), "connector_secret": text("signs calls to the retailer"),
        **{name: {"type": "array", "items": {"type": "string"}, "description": "none for all"} for name in ("operations", "stores", "regions")}},
        ("access_key_id", "operations", "stores", "regions"), description="Access keys of the door of stores; secrets as phrases are.")},
}, ("identifier", "name", "active", "settings", "credentials", "ppro", "jwo"))
_SIMULATOR_ORDERS = {
    "reset": {"const": True, "description": "forget balances, holds, counters and everything set here"},
    "online": {"type": "boolean", "description": "whether anything reaches the issuer"},
    "latency_seconds": {"type": "number", "minimum": 0, "maximum": 3600},
    "balance": fields({"card": {"type": "string"}, "currency": {"type": "string"}, "minor": {"type": "integer", "minimum": 0}},
                       ("card", "currency", "minor"), additionalProperties=False),
    "scenario": fields({"card": {"type": "string"}, "code": {"type": ["string", "null"], "pattern": "^[0-9]{4}$"}}, ("card", "code"),
                        additionalProperties=False),
}
_SIMULATOR = fields({
    "accounts": {"type": "array", "items": {"type": "object"}}, "offline": {"type": "boolean"}, "latency": {"type": "number"},
    "overrides": {"type": "object"}, "test_cards": rows({
        "number": text("the card number"), "brand": text("the card's brand"), "expiry": text("YYMM"), "security_code": text("the one that matches"),
        "scenario": text("four digits"), "behaviour": text("what happens"),
    }),
})
_HEAD = {
    "lane": {"type": "integer"}, "number": {"type": "integer"}, "digest": text("hexadecimal"), "committed_at": text("wall time", format="date-time"),
}
_PROOF = fields({
    "ok": {"type": "boolean", "description": "whether every check holds"},
    "at": {"type": ["string", "null"], "format": "date-time", "description": "the past instant that was asked for"},
    "full": {"type": "boolean"}, "merchants": rows({
        "merchant": text("its identifier"), "currency": text("ISO 4217"), "ok": {"type": "boolean"},
        "accounts": {"type": "object", "additionalProperties": {"type": "integer"}, "description": "debits minus credits, minor units"},
        "checks": {"type": "object", "additionalProperties": {"type": "object"}, "description": "P1 to P11, with examples where not ok"},
        "exceptions": {"type": "array", "items": {"type": "object"}}, "exception_count": {"type": "integer"},
    }), "chain": fields({
        "ok": {"type": "boolean"}, "checked": {"type": "integer", "description": "batches; not as of a past instant"},
        "count": {"type": "integer", "description": "problems"}, "lanes": rows({**_HEAD, "ok": {"type": "boolean"}}),
        "problems": {"type": "array", "items": {"type": "object"}},
    }), "heads": rows(_HEAD), "acknowledged": {"type": "null", "description": "only `ringfence proof --acknowledged` has it"},
}, ("ok", "at", "full", "merchants", "chain", "heads"))
_STORY = fields({"name": text("what was asked for"), "payments": {"type": "array", "items": fields({
    "merchant": text("its identifier"), "payment": text("the payment's id"),
    "names": {"type": "object", "additionalProperties": {"type": "string"}, "description": "what each door calls it"},
    "story": {"type": "array", "items": fields({
        "at": {"type": ["string", "null"], "description": "business time; null for how things stand"}, "what": {"type": "string"},
        "text": text("one sentence")}, ("at", "what", "text"))}}, ("merchant", "payment", "names", "story"))}}, ("name", "payments"))
_ONE_ORDER = {"minProperties": 1, "maxProperties": 1, "additionalProperties": False}
_IDENTIFIER = path("identifier", "the merchant's identifier")

_ADMIN: dict[str, Schema] = {
    "/admin/proof": {"get": operator("Prove that no money appeared or vanished", answers("the proof", _PROOF, "400", "401"),
        parameters=(OF_MERCHANT, query("at", "as of a past instant", {"type": "string", "format": "date-time"}),
                    query("full", "trust no earlier proof", {"type": "boolean"})))},
    "/admin/merchants": {
        "get": operator("All merchants", answers("the merchants", fields(
            {"merchants": {"type": "array", "items": ref("Merchant")}}, ("merchants",)), "401")),
        "post": operator("Make a merchant and its first credential set",
                       answers("the merchant, with its phrases", ref("Merchant"), "400", "401", status="201"), body=fields({
                           "identifier": text("1 to 20 letters and digits"), "name": text("default: the identifier"), **_SETTINGS, **_CREDENTIAL,
                       }, ("identifier",), additionalProperties=False)),
    },
    "/admin/merchants/{identifier}": {
        "get": operator("One merchant", answers("the merchant", ref("Merchant"), "400", "401", "403", "404"), parameters=(
            _IDENTIFIER, query("phrases", "show the phrases (sandbox only)", {"type": "boolean"}))),
        "patch": operator("Change a merchant, all or nothing", answers("the merchant", ref("Merchant"), "400", "401", "404"),
                        parameters=(_IDENTIFIER,), body=fields({
                            **_SETTINGS, "name": {"type": "string"}, "active": {"type": "boolean"},
                        }, additionalProperties=False)),
    },
    "/admin/merchants/{identifier}/credentials": {"post": operator(
        "Add a credential set", answers("the merchant, with its phrases", ref("Merchant"), "400", "401", "404", status="201"),
        parameters=(_IDENTIFIER,), body=fields(_CREDENTIAL, additionalProperties=False))},
    "/admin/merchants/{identifier}/webhook-secret": {"post": operator(
        "Another secret for webhooks of the PPRO door; the one before signs beside it for a while",
        answers("the secret, shown this once", fields({
            "merchant_id": text("the credential's name"), "webhook_secret": text("the new secret"),
            "earlier_until": {"type": ["string", "null"], "format": "date-time", "description": "until when the one before signs too (wall time)"},
        }, ("merchant_id", "webhook_secret", "earlier_until")), "400", "401", "404"), parameters=(_IDENTIFIER,), body=fields({
            "merchant_id": text("default: the merchant's first at that door"),
            "keep_seconds": {"type": "integer", "minimum": 0, "maximum": 2_592_000, "default": 86_400}}, additionalProperties=False))},
    "/admin/payments/{name}": {"get": operator("The whole story of a payment", answers("the story", _STORY, "400", "401", "404"),
                                             parameters=(path("name", "its id or any reference it was given"), OF_MERCHANT))},
    "/admin/simulator": {
        "get": operator("The issuer simulator's accounts and settings", answers("the simulator", _SIMULATOR, "401", "404")),
        "post": operator("Change the issuer's behaviour, one order at a time", answers("the simulator", _SIMULATOR, "400", "401", "404"),
                       body=fields(_SIMULATOR_ORDERS, **_ONE_ORDER)),
    },
}
