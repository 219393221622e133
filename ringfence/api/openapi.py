"""What is served over HTTP, described for machines (OpenAPI 3.1).

Decides how the endpoints are described, never what they do: the APS operations come from their own tables, and a test compares the
paths with the routes.  Refuses to know who serves them.
"""
from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import ringfence
from ringfence.api.aps.fields import FIELDS, Field
from ringfence.api.aps.operations import OPERATIONS, Operation
from ringfence.api.http import json_response

Schema = dict[str, Any]


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
            "description": "Payments over the Amazon Payment Services API, and the operator's API.",
        },
        "servers": [{"url": "http://127.0.0.1:8080", "description": "the sandbox as `ringfence up` starts it"}],
        "paths": _PAYMENTS | _SERVICE | _ADMIN,
        "components": {
            "securitySchemes": {"admin": {"type": "http", "scheme": "bearer", "description": "`admin` of sandbox.json, or RINGFENCE_ADMIN_TOKEN"}},
            "schemas": {
                **{f"Aps_{row.name}": _request(row) for row in OPERATIONS.values()}, "ApsAnswer": _ANSWER,
                **{f"aps.{name}": _value(field) for name, field in FIELDS.items()}, "Error": _ERROR, "Merchant": _MERCHANT,
            },
        },
    }


# ---------------------------------------------------------------------------------------------------------- small words

def _object(properties: dict[str, Schema], required: tuple[str, ...] = (), **more: Any) -> Schema:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {}), **more}


def _text(description: str, **more: Any) -> Schema:
    return {"type": "string", "description": description, **more}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _answers(description: str, schema: Schema, *refusals: str, status: str = "200") -> Schema:
    return {status: {"description": description, "content": _json(schema)}} | {
        code: {"description": _REFUSALS[code], "content": _json(_ref("Error"))} for code in refusals}


_REFUSALS = {
    "400": "a field is wrong; the answer names it", "401": "the admin token is missing or wrong", "403": "not in live mode",
    "404": "there is nothing of that name", "405": "another method", "409": "not in live mode", "413": "the body is too large",
    "503": "not ready",
}


def _query(name: str, description: str, schema: Schema | None = None) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema or {"type": "string"}}


def _path(name: str, description: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}


def _admin(summary: str, answers: Schema, *, body: Schema | None = None, parameters: tuple[Schema, ...] = ()) -> Schema:
    return {
        "summary": summary, "tags": ["admin"], "security": [{"admin": []}],
        **({"parameters": list(parameters)} if parameters else {}),
        **({"requestBody": {"required": True, "content": _json(body)}} if body else {}), "responses": answers,
    }


# ---------------------------------------------------------------------------------------------------------- payments

def _value(field: Field) -> Schema:
    """One parameter of the APS dictionary."""
    if field.values is not None:
        return {"type": "string", "enum": sorted(field.values)}
    return {"type": "string", "maxLength": field.longest, "pattern": f"^(?:{field.pattern.pattern})$"}


def _request(row: Operation) -> Schema:
    """One operation's request; the signature covers every other parameter."""
    properties = {name: _ref(f"aps.{name}") for name in sorted(row.accepts - {row.key})}
    schema = _object({row.key: {"const": row.name}, **properties}, (row.key, *row.mandatory, "signature"), additionalProperties=False)
    return schema | ({"anyOf": [{"required": [name]} for name in row.one_of]} if row.one_of else {})


_ANSWER: Schema = _object({
    "response_code": _text("status (two digits) and message (three)", pattern="^[0-9]{5}$"),
    "response_message": _text("in the request's language"), "status": _text("the first two digits of response_code"),
    "signature": _text("under the response phrase; absent while no phrase is known"), "fort_id": _text("the payment's id"),
}, ("response_code", "response_message", "status"), additionalProperties=True,
    description="What the request said, without security code and with the card number masked, and the result. All values are texts; "
                "`data` of GET_TOKENS is a list of objects of texts.")

_ERROR: Schema = _object({"error": _text("what is wrong"), "field": _text("which field is to blame, where one is")}, ("error",))

_PAYMENTS: dict[str, Schema] = {"/FortAPI/paymentApi": {"post": {
    "summary": "Every operation of the APS API that works on JSON", "tags": ["aps"],
    "description": "Each business result, errors included, is 200. See docs/aps.md for signatures, codes and idempotency.",
    "parameters": [{"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"},
                    "description": "CAPTURE and REFUND: makes a repeat harmless. Not part of the signature."}],
    "requestBody": {"required": True, "content": _json({"oneOf": [_ref(f"Aps_{row.name}") for row in OPERATIONS.values()]})},
    "responses": {
        "200": {"description": "the answer", "content": _json(_ref("ApsAnswer")), "headers": {"Ringfence-Receipt": {
            "description": "lane, number and digest of the batch that holds the outcome; `ringfence proof --receipt` checks it",
            "schema": {"type": "string", "pattern": "^[0-9]+\\.[0-9]+\\.[0-9a-f]{16}$"}}}},
        **{code: {"description": _REFUSALS[code], "content": _json(_ref("Error"))} for code in ("405", "413")},
    },
}}}


# ---------------------------------------------------------------------------------------------------------- the service

_SERVICE: dict[str, Schema] = {
    "/healthz": {"get": {"summary": "Whether this process lives", "tags": ["service"],
                         "responses": _answers("it does", _object({"status": {"const": "ok"}}, ("status",)))}},
    "/readyz": {"get": {"summary": "Whether this process can take payments", "tags": ["service"], "responses": {
        "200": {"description": "it can", "content": _json(_object({"status": {"const": "ready"}}, ("status",)))},
        "503": {"description": "it cannot, and why", "content": _json(_object(
            {"status": {"const": "not ready"}, "missing": {"type": "array", "items": {"type": "string"}}}, ("status", "missing")))}}}},
    "/metrics": {"get": {"summary": "Counters and histograms of all processes", "tags": ["service"], "responses": {
        "200": {"description": "Prometheus text, version 0.0.4", "content": {"text/plain": {"schema": {"type": "string"}}}}}}},
    "/openapi.json": {"get": {"summary": "This description", "tags": ["service"], "responses": _answers("OpenAPI 3.1", {"type": "object"})}},
}


# ---------------------------------------------------------------------------------------------------------- the operator

_CREDENTIAL = {
    "access_code": _text("random where it is left out"), "sha_request_phrase": _text("random where it is left out"),
    "sha_response_phrase": _text("random where it is left out"),
    "sha_type": {"type": "string", "enum": ["SHA-256", "SHA-512", "HMAC-256", "HMAC-512"], "default": "SHA-256"},
}
_SETTINGS = {"settings": {"type": "object", "additionalProperties": {"type": "string"}, "description": "setting -> value, as texts"}}
_MERCHANT: Schema = _object({
    "identifier": _text("its wire name"), "name": _text("what people call it"), "active": {"type": "boolean"}, **_SETTINGS,
    "credentials": {"type": "array", "items": _object({
        **_CREDENTIAL, "merchant_identifier": _text("as on the wire")}, ("access_code", "sha_type"),
        description="Phrases only right after they were made, or in the sandbox with `phrases=true`.")},
}, ("identifier", "name", "active", "settings", "credentials"))
_CLOCK = _object({
    "now": _text("business time", format="date-time"), "wall": _text("wall time", format="date-time"),
    "ahead_seconds": {"type": "number"}, "frozen": {"type": "boolean"}, "movable": {"type": "boolean"},
}, ("now", "wall", "ahead_seconds", "frozen", "movable"))
_ORDERS = {
    "advance": {"description": "a length of time such as 46h, or whole seconds", "oneOf": [{"type": "string"}, {"type": "integer"}]},
    "to": _text("an instant", format="date-time"), "freeze": {"const": True}, "resume": {"const": True},
}
_SIMULATOR_ORDERS = {
    "reset": {"const": True, "description": "forget balances, holds, counters and everything set here"},
    "online": {"type": "boolean", "description": "whether anything reaches the issuer"},
    "latency_seconds": {"type": "number", "minimum": 0, "maximum": 3600},
    "balance": _object({"card": {"type": "string"}, "currency": {"type": "string"}, "minor": {"type": "integer", "minimum": 0}},
                       ("card", "currency", "minor"), additionalProperties=False),
    "scenario": _object({"card": {"type": "string"}, "code": {"type": ["string", "null"], "pattern": "^[0-9]{4}$"}}, ("card", "code"),
                        additionalProperties=False),
}
_SIMULATOR = _object({
    "accounts": {"type": "array", "items": {"type": "object"}}, "offline": {"type": "boolean"}, "latency": {"type": "number"},
    "overrides": {"type": "object"}, "test_cards": {"type": "array", "items": {"type": "object"}},
})
_STORY = _object({"name": _text("what was asked for"), "payments": {"type": "array", "items": _object({
    "merchant": _text("its identifier"), "payment": _text("the payment's id"), "story": {"type": "array", "items": _object({
        "at": {"type": ["string", "null"], "description": "business time; null for how things stand"}, "what": {"type": "string"},
        "text": _text("one sentence")}, ("at", "what", "text"))}}, ("merchant", "payment", "story"))}}, ("name", "payments"))
_ONE_ORDER = {"minProperties": 1, "maxProperties": 1, "additionalProperties": False}
_IDENTIFIER = _path("identifier", "the merchant's identifier")
_OF_MERCHANT = _query("merchant", "only this merchant's, by identifier")

_ADMIN: dict[str, Schema] = {
    "/admin/proof": {"get": _admin("Prove that no money appeared or vanished", _answers("the proof; `ok` says whether every check holds", _object({
        "ok": {"type": "boolean"}, "merchants": {"type": "array", "items": {"type": "object"}}, "chain": {"type": "object"},
        "heads": {"type": "array", "items": {"type": "object"}}}, ("ok", "merchants", "chain", "heads")), "400", "401"),
        parameters=(_OF_MERCHANT, _query("at", "as of a past instant", {"type": "string", "format": "date-time"}),
                    _query("full", "trust no earlier proof", {"type": "boolean"})))},
    "/admin/clock": {
        "get": _admin("Business time", _answers("the clock", _CLOCK, "401")),
        "post": _admin("Move the sandbox's clock", _answers("the clock", _CLOCK, "400", "401", "409"), body=_object(_ORDERS, **_ONE_ORDER)),
    },
    "/admin/merchants": {
        "get": _admin("All merchants", _answers("the merchants", _object(
            {"merchants": {"type": "array", "items": _ref("Merchant")}}, ("merchants",)), "401")),
        "post": _admin("Make a merchant and its first credential set",
                       _answers("the merchant, with its phrases", _ref("Merchant"), "400", "401", status="201"), body=_object({
                           "identifier": _text("1 to 20 letters and digits"), "name": _text("default: the identifier"), **_SETTINGS, **_CREDENTIAL,
                       }, ("identifier",), additionalProperties=False)),
    },
    "/admin/merchants/{identifier}": {
        "get": _admin("One merchant", _answers("the merchant", _ref("Merchant"), "400", "401", "403", "404"), parameters=(
            _IDENTIFIER, _query("phrases", "show the phrases (sandbox only)", {"type": "boolean"}))),
        "patch": _admin("Change a merchant, all or nothing", _answers("the merchant", _ref("Merchant"), "400", "401", "404"),
                        parameters=(_IDENTIFIER,), body=_object({
                            **_SETTINGS, "name": {"type": "string"}, "active": {"type": "boolean"},
                        }, additionalProperties=False)),
    },
    "/admin/merchants/{identifier}/credentials": {"post": _admin(
        "Add a credential set", _answers("the merchant, with its phrases", _ref("Merchant"), "400", "401", "404", status="201"),
        parameters=(_IDENTIFIER,), body=_object(_CREDENTIAL, additionalProperties=False))},
    "/admin/payments/{name}": {"get": _admin("The whole story of a payment", _answers("the story", _STORY, "400", "401", "404"),
                                             parameters=(_path("name", "its id or any reference it was given"), _OF_MERCHANT))},
    "/admin/simulator": {
        "get": _admin("The issuer simulator's accounts and settings", _answers("the simulator", _SIMULATOR, "401", "404")),
        "post": _admin("Change the issuer's behaviour, one order at a time", _answers("the simulator", _SIMULATOR, "400", "401", "404"),
                       body=_object(_SIMULATOR_ORDERS, **_ONE_ORDER)),
    },
}
