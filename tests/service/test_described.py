"""What the operator's API answers is what ``/openapi.json`` says it answers: member by member, on a sandbox with something in it."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ringfence.api import openapi
from tests.sandbox import Sandbox
from tests.service.test_up import call

DOCUMENT = openapi.document()
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict, "null": type(None)}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1, environment={"RINGFENCE_ANSWER_SECONDS": "0.2"}) as running:
        running.command("merchant", "set", "RingfenceOne", "feedback_url=http://127.0.0.1:9/", "feedback_interval=60")
        running.json("pay", "--reference", "PAID")
        unknown = next(card["number"] for card in running.description["test_cards"] if card["scenario"] == "0307")
        running.command("pay", "--reference", "DOUBT", "--card", unknown)
        running.command("pay", "--set", "token_name=T1", "--set", "remember_me=YES")
        today = running.json("clock", "show")["now"][:10]
        for plan in ("gym", "box"):
            running.command("plan", "create", plan, "--token", "T1", "--amount", "25.00", "--currency", "AED", "--email", "a@b.co", "--start", today)
        running.json("link", "create", "--amount", "10.00", "--currency", "AED", "--email", "sara@shop.example", "--send", "email", "--reference", "INV-1")
        running.json("clock", "advance", "1s")
        yield running


def differences(schema: dict[str, Any], value: Any, where: str = "") -> Iterator[str]:
    """Where a value is not as described: of another type, without a member that is required, or with one that nobody described."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    types = schema.get("type", [])
    if types and not any(isinstance(value, TYPES[name]) for name in ([types] if isinstance(types, str) else types)):
        yield f"{where} is {value!r}, not {types}"
    elif value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{where} is {value!r}"
    elif isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        yield from (f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, member in value.items():
            if name in known or isinstance(others, dict):
                yield from differences(known.get(name, others), member, f"{where}.{name}")
            elif known:
                yield f"{where}.{name} is not described"
    elif isinstance(value, list):
        for one in value:
            yield from differences(schema.get("items", {}), one, f"{where}[]")


def described(path: str, method: str, status: int) -> dict[str, Any]:
    """The schema of an answer; fails where there is none for its status."""
    [content] = DOCUMENT["paths"][path][method]["responses"][str(status)]["content"].values()
    return content["schema"]


ASKED = [
    ("get", "/healthz", "/healthz", None, 200),
    ("get", "/readyz", "/readyz", None, 200),
    ("get", "/admin/proof", "/admin/proof?full=true", None, 200),
    ("get", "/admin/merchants", "/admin/merchants", None, 200),
    ("get", "/admin/merchants/{identifier}", "/admin/merchants/RingfenceOne?phrases=true", None, 200),
    ("patch", "/admin/merchants/{identifier}", "/admin/merchants/RingfenceOne", {"settings": {"hold_days": "0", "nothing": "1"}}, 400),
    ("get", "/admin/payments/{name}", "/admin/payments/PAID", None, 200),
    ("get", "/admin/simulator", "/admin/simulator", None, 200),
    ("get", "/admin/clock", "/admin/clock", None, 200),
    ("get", "/admin/clock/due", "/admin/clock/due?by=9d", None, 200),
    ("get", "/admin/clock/due", "/admin/clock/due?by=back", None, 400),
    ("post", "/admin/clock", "/admin/clock", {"advance": "1s"}, 200),
    ("get", "/admin/events", "/admin/events?after=begin&messages=true", None, 200),
    ("get", "/admin/webhooks/endpoints", "/admin/webhooks/endpoints", None, 200),
    ("get", "/admin/webhooks/deliveries", "/admin/webhooks/deliveries?limit=1", None, 200),
    ("get", "/admin/webhooks/deliveries/{id}", "/admin/webhooks/deliveries/{delivery}", None, 200),
    ("post", "/admin/webhooks/redeliver", "/admin/webhooks/redeliver", {"failed": True}, 200),
    ("get", "/admin/reviews", "/admin/reviews?all=true", None, 200),
    ("get", "/admin/reviews/{operation}", "/admin/reviews/{operation}", None, 200),
    ("post", "/admin/reviews/{operation}", "/admin/reviews/{operation}", {}, 400),
    ("post", "/admin/reports", "/admin/reports", {"merchant": "RingfenceOne", "reference": "R", "from": "2026-01-01T00:00:00Z",
                                                  "to": "2036-01-01T00:00:00Z", "filters": [{"key": "status", "value": "14"}]}, 201),
    ("post", "/admin/reports", "/admin/reports", {"merchant": "RingfenceOne", "from": "today", "to": "now"}, 400),
    ("get", "/admin/reports", "/admin/reports?merchant=RingfenceOne", None, 200),
    ("get", "/admin/reports/{merchant}/{reference}", "/admin/reports/RingfenceOne/R", None, 200),
    ("get", "/admin/reports/{merchant}/{reference}", "/admin/reports/RingfenceOne/none", None, 404),
    ("get", "/admin/reports/{merchant}/{reference}/rows", "/admin/reports/RingfenceOne/R/rows?format=pdf", None, 400),
    ("get", "/admin/plans", "/admin/plans", None, 200),
    ("post", "/admin/plans", "/admin/plans", {"merchant": "RingfenceOne"}, 400),
    ("get", "/admin/plans/due", "/admin/plans/due?until=90d", None, 200),
    ("get", "/admin/plans/{merchant}/{plan}", "/admin/plans/RingfenceOne/gym", None, 200),
    ("patch", "/admin/plans/{merchant}/{plan}", "/admin/plans/RingfenceOne/gym", {"amount": 3000}, 200),
    ("post", "/admin/plans/{merchant}/{plan}/pause", "/admin/plans/RingfenceOne/gym/pause", {}, 200),
    ("post", "/admin/plans/{merchant}/{plan}/resume", "/admin/plans/RingfenceOne/gym/resume", {}, 200),
    ("post", "/admin/plans/{merchant}/{plan}/end", "/admin/plans/RingfenceOne/box/end", {}, 200),
    ("get", "/admin/links", "/admin/links?limit=1", None, 200),
    ("get", "/admin/links", "/admin/links?before=x", None, 400),
    ("post", "/admin/links", "/admin/links", {"merchant": "RingfenceOne", "amount": 100, "currency": "AED"}, 201),
    ("post", "/admin/links", "/admin/links", {"merchant": "RingfenceOne", "amount": 100, "currency": "AED", "reference": "INV-1"}, 409),
    ("post", "/admin/links", "/admin/links", {"merchant": "RingfenceOne", "amount": "1", "currency": "AED"}, 400),
    ("get", "/admin/links/{link}", "/admin/links/{link}", None, 200),
    ("get", "/admin/links/{link}", "/admin/links/7", None, 404),
    ("post", "/admin/links/{link}/resend", "/admin/links/{link}/resend", {"by": ["email"]}, 200),
    ("post", "/admin/links/{link}/resend", "/admin/links/{link}/resend", {"by": ["pigeon"]}, 400),
    ("post", "/admin/links/{link}/cancel", "/admin/links/{link}/cancel", None, 200),
    ("post", "/admin/links/{link}/cancel", "/admin/links/{link}/cancel", None, 409),
    ("get", "/admin/inbox", "/admin/inbox", None, 200),
    ("get", "/admin/inbox/{message}", "/admin/inbox/{message}", None, 200),
    ("get", "/admin/inbox/{message}", "/admin/inbox/7", None, 404),
    ("post", "/admin/disputes", "/admin/disputes", {"payment": "PAID"}, 201),
    ("post", "/admin/disputes", "/admin/disputes", {"payment": "PAID"}, 409),
    ("post", "/admin/disputes", "/admin/disputes", {"payment": "NOT-PAID"}, 404),
    ("post", "/admin/disputes", "/admin/disputes", {}, 400),
    ("get", "/admin/disputes", "/admin/disputes?open=true", None, 200),
    ("post", "/admin/disputes/{dispute}/messages", "/admin/disputes/{dispute}/messages", {"content": "look again"}, 201),
    ("post", "/admin/disputes/{dispute}/files", "/admin/disputes/{dispute}/files", {
        "name": "a.pdf", "content_type": "application/pdf", "content": "JVBERi0="}, 201),
    ("post", "/admin/disputes/{dispute}/actions", "/admin/disputes/{dispute}/actions", {"action": "offer", "amount": 1}, 409),
    ("post", "/admin/disputes/{dispute}/actions", "/admin/disputes/{dispute}/actions", {"action": "challenge", "message": "signed"}, 200),
    ("get", "/admin/disputes/{dispute}", "/admin/disputes/{dispute}", None, 200),
    ("get", "/admin/disputes/{dispute}", "/admin/disputes/7", None, 404),
    ("get", "/admin/disputes/{dispute}/files/{file}", "/admin/disputes/{dispute}/files/{file}", None, 200),
    ("get", "/admin/retention", "/admin/retention", None, 200),
    ("post", "/admin/retention", "/admin/retention", {"dry_run": True}, 200),
]


@pytest.mark.parametrize(("method", "path", "asked", "body", "status"), ASKED, ids=lambda value: str(value)[:50])
def test_an_answer_is_what_its_description_says(sandbox: Sandbox, method: str, path: str, asked: str, body: Any, status: int):
    """Its status is listed, and it has no member that is not."""
    asked = asked.replace("{operation}", call(sandbox, "/admin/reviews?all=1")[1]["reviews"][0]["operation"])
    asked = asked.replace("{delivery}", call(sandbox, "/admin/webhooks/deliveries")[1]["deliveries"][-1]["id"])
    asked = asked.replace("{link}", next(
        one["id"] for one in call(sandbox, "/admin/links")[1]["links"] if one["reference"] == "INV-1"))
    asked = asked.replace("{message}", call(sandbox, "/admin/inbox")[1]["messages"][0]["id"])
    if "{dispute}" in asked:
        dispute = call(sandbox, "/admin/disputes")[1]["disputes"][0]["dispute"]
        files = call(sandbox, f"/admin/disputes/{dispute}")[1]["files"] if "{file}" in asked else []
        asked = asked.replace("{dispute}", dispute).replace("{file}", files[0]["file"] if files else "7")
    given, answer = call(sandbox, asked, method=method.upper(), body=body)
    assert (given, list(differences(described(path, method, given), answer))) == (status, [])
