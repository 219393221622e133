"""``/docs``: every operation on one page, without a script; its first example is a request that the door takes."""
from __future__ import annotations

import html
import re

import pytest

from ringfence.api.ppro import openapi, readable
from ringfence.global_api import ENDPOINTS
from tests.api.ppro import described
from tests.api.ppro.asking import Client

PAGE = readable.page(openapi.document(ENDPOINTS), "http://127.0.0.1:8080", "key_sandbox_x", "merch_x")


@pytest.mark.parametrize("one", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
def test_every_operation_is_on_the_page(one):
    assert f"<code>{one.method} {one.path}</code>" in PAGE


def test_it_asks_for_nothing_from_elsewhere():
    assert "<script" not in PAGE and "src=" not in PAGE and "unsafe" not in readable._POLICY


@pytest.mark.anyio
async def test_the_example_of_a_charge_works(client: Client):
    example = html.unescape(re.search(r"/v1/payment-charges&#x27; .*?-d &#x27;(.*?)&#x27;</pre>", PAGE, re.S)[1])
    assert (await client.post("/payment-charges", example.encode())).status == 200
    assert described.DOCUMENT["openapi"] == "3.1.0"
