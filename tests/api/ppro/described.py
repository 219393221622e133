"""Judges exchanges of the PPRO door by its own description: a request that it calls wrong is refused, an answer is exactly what it says.

An answer may hold nothing that is not described, although the description, which is for callers, does not forbid it.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator

from ringfence.api.ppro import openapi
from ringfence.api.ppro.app import Paths
from ringfence.global_api import ENDPOINTS

DOCUMENT = openapi.document(ENDPOINTS)
PATHS = Paths(ENDPOINTS)


def wrong(method: str, path: str, query: str, body: bytes, status: int, headers: Mapping[str, str], answer: bytes, takes: str) -> list[str]:
    """What is not as described in one exchange; *body* is JSON where the endpoint takes it."""
    found = PATHS.find(path)
    endpoint = found and found.methods.get(method)
    if endpoint is None:
        return [] if status in (401, 404, 405) else [f"{status} at a path that nobody serves"]
    operation = DOCUMENT["paths"][endpoint.path][method.lower()]
    faults = []
    if endpoint.takes == takes == "application/json" and status < 300:
        schema = operation["requestBody"]["content"][takes]["schema"]
        faults += [f"accepted, although {one}" for one in _faults(json.dumps(schema), False, json.loads(body))]
    told = operation["responses"].get(str(status))
    if told is None:
        return [*faults, f"{status} is not described"]
    if "$ref" in told:
        told = DOCUMENT["components"]["responses"][told["$ref"].rpartition("/")[2]]
    kind = headers.get("content-type", "").partition(";")[0]
    contents = told.get("content", {})
    if not answer:
        return faults if not contents or (status == 200 and "*/*" in contents) else [*faults, "there is no body"]
    if kind not in contents and "*/*" not in contents:
        return [*faults, f"{kind} is not described for {status}"]
    if kind == "application/json" and path != openapi.PATH:
        faults += _faults(json.dumps(contents[kind]["schema"]), True, json.loads(answer))
    return faults


def _faults(schema: str, strictly: bool, value: Any) -> list[str]:
    return [f"{'/'.join(map(str, one.instance_path))}: {one.message}" for one in _judge(schema, strictly).iter_errors(value)]


@cache
def _judge(schema: str, strictly: bool) -> Draft202012Validator:
    components = DOCUMENT["components"] | {"schemas": {name: _closed(one) if strictly else one for name, one in DOCUMENT["components"]["schemas"].items()}}
    return Draft202012Validator(json.loads(schema) | {"components": components}, validate_formats=True)


def _closed(schema: Any) -> Any:
    """The same, with nothing in objects that is not described."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _closed(one) for name, one in schema.items()}
    return inner | {"additionalProperties": False} if isinstance(inner.get("properties"), dict) and "type" in inner else inner
