"""The door: bytes in, bytes and a receipt out, and merchants that change while it is open."""
from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.engine.composition import CARD, Process, Shop, process, shop

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def one(module_database: str) -> AsyncIterator[Process]:
    async with process(module_database) as running:
        yield running


@pytest.fixture(scope="module")
async def here(one: Process) -> Shop:
    return await shop(one)


async def test_what_was_committed_has_a_receipt(one: Process, here: Shop):
    """It names the lane, the number and the head of the batch; a query and a refusal have none."""
    await here.authorize("A-1", **CARD)
    lane, number, head = here.receipt.split(".")
    digest = await one.value("SELECT digest FROM batches WHERE lane = $1 AND number = $2", int(lane), int(number))
    assert digest.hex().startswith(head) and len(head) == 16
    for answer in (here.status("A-1"), here.capture("A-1", 2000), here.authorize("A-1")):
        await answer
        assert here.receipt == ""


@pytest.mark.parametrize("body", [b"", b"command=PURCHASE&amount=1", b"null", b"[]", b'"text"', b"\xff\xfe{}", b"{}{}", b" " * 65_536])
async def test_what_is_no_json_object_is_refused_unsigned(one: Process, body: bytes):
    """00073, and nobody was named whose phrase could sign it."""
    answer = json.loads((await one.api.handle(body))[0])
    assert answer["response_code"] == "00073" and "signature" not in answer


async def test_the_idempotency_key_is_for_captures_and_refunds(one: Process, here: Shop):
    """A void repeats nothing: its order is voided."""
    await here.authorize("K-1")
    for _ in range(3):
        assert (await here.once("k", command="CAPTURE", merchant_reference="K-1", amount=5, currency="AED"))["response_code"] == "04000"
    assert (await here.status("K-1"))["captured_amount"] == "5"
    await here.authorize("K-2")
    codes = [(await here.once("k", command="VOID_AUTHORIZATION", merchant_reference="K-2"))["response_code"] for _ in range(2)]
    assert codes == ["08000", "09047"]


async def test_a_changed_merchant_is_seen_at_once(one: Process, here: Shop):
    """What was prepared for a merchant is prepared anew when it changes."""
    assert (await here.purchase("S-1", currency="USD"))["response_code"] == "14000"
    await one.directory.change(here.identifier, {"currencies": "AED"})
    assert (await here.purchase("S-2", currency="USD"))["response_code"] == "00013"
    await one.directory.change(here.identifier, {"currencies": ""})
    assert (await here.purchase("S-2", currency="USD"))["response_code"] == "14000"
