"""``/docs``: the PPRO door's description as one page for people, made from ``openapi`` on the server; no script, nothing from elsewhere.

Decides how it looks.  Examples carry the sandbox's key; in live mode, none.
"""
from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ringfence.api.describing import Schema
from ringfence.api.ppro import openapi
from ringfence.api.ppro.door import Endpoint

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;padding:1rem;color:#1c1c28;background:#fff;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:2.5rem 0 .25rem}h2 code{color:#0b57d0}pre{background:#f4f5f8;padding:.75rem;overflow-x:auto;border-radius:.4rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}td,th{text-align:left;padding:.25rem .5rem;border-bottom:1px solid #ddd;vertical-align:top}
nav a{display:block}
@media (prefers-color-scheme:dark){body{background:#14151a;color:#e8e8ee}pre{background:#22242c}h2 code,a{color:#8ab4f8}td,th{border-color:#383a44}}
"""
_POLICY = (f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; base-uri 'none'; "
           "form-action 'none'; frame-ancestors 'none'")


def routes(endpoints: Iterable[Endpoint], base_url: str, key: str, merchant: str) -> list[Route]:
    """``/docs``; ``key`` and ``merchant`` stand in its examples."""
    made = page(openapi.document(endpoints), base_url, key, merchant)

    async def readable(request: Request) -> Response:
        return HTMLResponse(made, headers={"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"})

    return [Route("/docs", readable)]


def page(document: Schema, base_url: str, key: str, merchant: str) -> str:
    """The page."""
    operations = [(path, method, one) for path, methods in document["paths"].items() for method, one in methods.items()]
    listed = "".join(f'<a href="#{one["operationId"]}">{escape(one["summary"])}</a>' for _, _, one in operations)
    told = "".join(_operation(document, *one, base_url, key, merchant) for one in operations)
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>PPRO Global API</title>'
            f'<style>{_STYLE}</style><h1>PPRO Global API</h1><p>{escape(document["info"]["description"])} For machines: '
            f'<a href="/v1/openapi.json">openapi.json</a>.</p><nav>{listed}</nav>{told}</html>')


def _operation(document: Schema, path: str, method: str, one: Schema, base_url: str, key: str, merchant: str) -> str:
    content = one.get("requestBody", {}).get("content", {})
    kind, schema = next(((kind, inner["schema"]) for kind, inner in content.items()), ("", {}))
    answers = "".join(f"<tr><td>{status}<td>{escape(_resolved(document, told)['description'])}" for status, told in one["responses"].items())
    asked = "".join(_fields(document, schema))
    return (f'<h2 id="{one["operationId"]}"><code>{method.upper()} {escape(path)}</code></h2><p>{escape(one["summary"])}. '
            f'{escape(one.get("description", ""))}</p>{f"<table><tr><th>Field<th>What<th>{asked}</table>" if asked else ""}'
            f'<pre>{escape(_curl(document, path, method, one, kind, schema, base_url, key, merchant))}</pre>'
            f"<table><tr><th>Status<th>Meaning{answers}</table>")


def _fields(document: Schema, schema: Schema) -> Iterator[str]:
    known = _resolved(document, schema)
    for name, member in known.get("properties", {}).items():
        what = json.dumps({word: value for word, value in member.items() if word in ("type", "enum", "maxLength", "$ref", "anyOf", "minimum")})
        yield f"<tr><td><code>{escape(name)}</code><td>{escape(what[:300].replace('#/components/schemas/', ''))}<td>" + (
            "required" if name in known.get("required", ()) else "")


def _curl(document: Schema, path: str, method: str, one: Schema, kind: str, schema: Schema, base_url: str, key: str, merchant: str) -> str:
    lines = [f"curl -X {method.upper()} '{base_url}{path}'"]
    if "security" not in one:
        lines += [f"-H 'Authorization: Bearer {key}'", f"-H 'Merchant-Id: {merchant}'"]
    if kind == "application/json":
        lines += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(_example(document, schema))}'"]
    elif kind:
        lines.append("-F 'file=@evidence.pdf;type=application/pdf'")
    return " \\\n  ".join(lines)


def _example(document: Schema, schema: Schema) -> Any:
    """The least that a schema asks for."""
    known = _resolved(document, schema)
    for several in ("oneOf", "anyOf"):
        if several in known and "properties" not in known:
            return _example(document, known[several][0])
    if "const" in known or "enum" in known:
        return known.get("const") or ("USD" if "USD" in known["enum"] else known["enum"][0])
    kind = known.get("type")
    if kind == "object":
        return {name: _example(document, known["properties"][name]) for name in known.get("required", ())}
    if kind == "integer":
        return max(known.get("minimum", 0), 1)
    return {"date-time": "2026-01-05T10:11:12Z"}.get(known.get("format", ""), "US" if "{2}" in known.get("pattern", "") else "MOCK")


def _resolved(document: Schema, schema: Schema) -> Schema:
    found: Any = schema
    while "$ref" in found:
        inner: Any = document
        for part in found["$ref"].removeprefix("#/").split("/"):
            inner = inner[part]
        found = inner
    return dict(found)
