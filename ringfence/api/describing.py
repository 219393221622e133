"""The small words in which endpoints are described for machines (OpenAPI 3.1).

Each part of the operator's API describes its own paths with them, as ``DESCRIBED``; ``api/openapi.py`` puts all of it together.
Refuses to know any path.
"""
from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

#: What a status other than success means, wherever it is answered.
REFUSALS = {
    "400": "a field is wrong; the answer names it", "401": "the admin token is missing or wrong", "403": "not in live mode",
    "404": "there is nothing of that name", "405": "another method", "409": "not now, or not in live mode; the answer says why",
    "413": "the body is too large", "503": "the database does not answer, or the service stops",
}


def fields(properties: dict[str, Schema], required: tuple[str, ...] = (), **more: Any) -> Schema:
    """An object with these members."""
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {}), **more}


def rows(properties: dict[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    """A list of objects with these members."""
    return {"type": "array", "items": fields(properties, required)}


def text(description: str, **more: Any) -> Schema:
    """A text."""
    return {"type": "string", "description": description, **more}


def ref(name: str) -> Schema:
    """A schema that is described elsewhere under its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def content(schema: Schema) -> Schema:
    """JSON of that shape."""
    return {"application/json": {"schema": schema}}


def answers(description: str, schema: Schema, *refusals: str, status: str = "200") -> Schema:
    """The answers of an endpoint: the good one, and the refusals by their status."""
    return {status: {"description": description, "content": content(schema)}} | {
        code: {"description": REFUSALS[code], "content": content(ref("Error"))} for code in refusals}


def query(name: str, description: str, schema: Schema | None = None) -> Schema:
    """A parameter of the query."""
    return {"name": name, "in": "query", "description": description, "schema": schema or {"type": "string"}}


def path(name: str, description: str) -> Schema:
    """A parameter of the path."""
    return {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}


def operator(summary: str, answers: Schema, *, body: Schema | None = None, parameters: tuple[Schema, ...] = ()) -> Schema:
    """An endpoint of operators, behind the admin token; where its database is away, or it stops, it says so."""
    away = {"503": {"description": REFUSALS["503"], "content": content(ref("Error"))}}
    return {
        "summary": summary, "tags": ["admin"], "security": [{"admin": []}],
        **({"parameters": list(parameters)} if parameters else {}),
        **({"requestBody": {"required": True, "content": content(body)}} if body else {}), "responses": answers | away,
    }


ERROR: Schema = fields({
    "error": text("what is wrong"), "field": text("which field is to blame, where one is"),
    "errors": {**rows({"field": text("a field"), "error": text("what is wrong with it")}, ("field", "error")), "description": "all of them"},
}, ("error",))

OF_MERCHANT = query("merchant", "only this merchant's, by identifier")
