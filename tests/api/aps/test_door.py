"""The door as a plain ASGI callable: bodies in pieces, limits, headers, and a merchant that changes."""
from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ringfence.api.http import BodyTooLarge, CallerGone
from tests.engine.composition import Process, Shop, process, shop

pytestmark = pytest.mark.anyio
LIMIT = 65_536


@pytest.fixture(scope="module")
async def one(module_database: str) -> AsyncIterator[Process]:
    async with process(module_database) as running:
        yield running


@pytest.fixture(scope="module")
async def here(one: Process) -> Shop:
    return await shop(one)


async def call(
    one: Process, *parts: bytes, headers: tuple[tuple[bytes, bytes], ...] = (), complete: bool = True
) -> tuple[int, dict[bytes, bytes], Any]:
    """Status, headers and decoded body for a body that arrives in pieces."""
    waiting = [{"type": "http.request", "body": part, "more_body": place < len(parts) or not complete} for place, part in enumerate(parts, 1)]
    sent: list[Any] = []

    async def receive() -> Any:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await one.api({"type": "http", "method": "POST", "headers": list(headers), "client": ("192.0.2.7", 1234)}, receive, send)
    start, body = sent
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
    return start["status"], dict(start["headers"]), json.loads(body["body"])


async def test_a_request_may_come_in_pieces(one: Process, here: Shop):
    """The answer is HTTP 200 with the receipt of what was committed; a query has none."""
    body = json.dumps(here.signed({"command": "AUTHORIZATION", "merchant_reference": "A-1", "amount": 5, "currency": "AED", "customer_email": "a@b.co",
                                   "card_number": "4000009900000004", "expiry_date": "3512", "card_security_code": "123"})).encode()
    status, headers, answer = await call(one, body[:10], body[10:11], b"", body[11:])
    assert (status, answer["response_code"], headers[b"content-type"]) == (200, "02000", b"application/json")
    lane, number, head = headers[b"ringfence-receipt"].decode().split(".")
    digest = await one.value("SELECT digest FROM batches WHERE lane = $1 AND number = $2", int(lane), int(number))
    assert digest.hex().startswith(head) and len(head) == 16
    status, headers, _ = await call(one, json.dumps(here.signed({"query_command": "CHECK_STATUS", "merchant_reference": "A-1"})).encode())
    assert status == 200 and b"ringfence-receipt" not in headers


@pytest.mark.parametrize("parts", [(b" " * (LIMIT + 1),), (b" " * LIMIT, b" "), (b"x" * 30_000,) * 4])
async def test_a_body_over_the_limit_is_not_read(one: Process, parts: tuple[bytes, ...]):
    """Whether it comes at once or in pieces; what is as long as the limit is still read."""
    with pytest.raises(BodyTooLarge):
        await call(one, *parts)
    assert (await call(one, b" " * LIMIT))[2]["response_code"] == "00073"


async def test_a_caller_who_hangs_up_early_asks_nothing(one: Process, here: Shop):
    """A body that never ends is no request, even if what came of it is a whole one."""
    body = json.dumps(here.signed({"command": "VOID_AUTHORIZATION", "merchant_reference": "A-1"})).encode()
    with pytest.raises(CallerGone):
        await call(one, body, complete=False)
    assert (await here.status("A-1"))["transaction_code"] == "02000"


async def test_form_bodies_and_nothing_at_all_are_no_json(one: Process):
    """HTTP 200 with 00073, unsigned, for nobody was named."""
    for body in (b"", b"command=PURCHASE&amount=1", b"null", b"[]", b'"text"', b"\xff\xfe{}", b"{}{}"):
        status, _, answer = await call(one, body)
        assert status == 200 and answer["response_code"] == "00073" and "signature" not in answer


async def test_the_idempotency_key_is_a_header(one: Process, here: Shop):
    """Outside the signature, for captures and refunds."""
    await here.authorize("K-1")
    body = json.dumps(here.signed({"command": "CAPTURE", "merchant_reference": "K-1", "amount": 5, "currency": "AED"})).encode()
    for _ in range(3):
        assert (await call(one, body, headers=((b"host", b"x"), (b"idempotency-key", b"k"))))[2]["response_code"] == "04000"
    assert (await here.status("K-1"))["captured_amount"] == "5"


async def test_a_changed_merchant_is_seen_at_once(one: Process, here: Shop):
    """What was prepared for a merchant is prepared anew when it changes, in every process that has refreshed its directory."""
    assert (await here.purchase("S-1", currency="USD"))["response_code"] == "14000"
    await one.directory.change(here.identifier, {"currencies": "AED"})
    assert (await here.purchase("S-2", currency="USD"))["response_code"] == "00013"
    await one.directory.change(here.identifier, {"currencies": ""})
    assert (await here.purchase("S-2", currency="USD"))["response_code"] == "14000"
