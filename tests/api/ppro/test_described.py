"""``/v1/openapi.json``: complete, well-formed, and what judges every exchange of these tests."""
from __future__ import annotations

import json

import pytest
from jsonschema_rs import Draft202012Validator

from ringfence.api.ppro import openapi
from ringfence.global_api import ENDPOINTS
from tests.api.ppro import described
from tests.api.ppro.asking import Client, charge


@pytest.mark.parametrize("one", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
def test_every_endpoint_is_described(one):
    told = described.DOCUMENT["paths"][one.path][one.method.lower()]
    assert told["summary"] and len(told["responses"]) > 1 and bool(told.get("requestBody")) == bool(one.takes)


def test_every_schema_is_one():
    for name in described.DOCUMENT["components"]["schemas"]:
        Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": described.DOCUMENT["components"]}, validate_formats=True)


@pytest.mark.anyio
async def test_it_is_served_without_a_key(client: Client):
    answered = await client.get("/openapi.json", headers={"authorization": None})
    assert answered.status == 200 and answered.body["openapi"] == "3.1.0"
    assert answered.body["paths"] == json.loads(json.dumps(described.DOCUMENT["paths"]))


def judged(answer: dict[str, object], status: int = 200, asked: dict[str, object] | None = None) -> list[str]:
    return described.wrong("POST", "/v1/payment-charges", "", json.dumps(asked or charge()).encode(), status, {"content-type": "application/json"},
                           json.dumps(answer).encode(), "application/json")


@pytest.mark.anyio
async def test_an_exchange_that_is_not_as_described_is_noticed(client: Client):
    made = await client.charge()
    assert judged(made) == []
    assert judged({**made, "amount": 5}) and judged({**made, "status": "GONE"}) and judged({**made, "id": None})
    assert judged({name: value for name, value in made.items() if name != "captures"})
    assert judged({**made, "authorizations": [{**made["authorizations"][0], "surprise": 1}]})
    assert judged(made, 418) and judged(made, asked=charge(0)) and judged(made, asked=charge(instrument=None))


def test_no_row_is_said_twice():
    named = [openapi._operation_id(one) for one in ENDPOINTS]
    assert len(named) == len(set(named))
