"""The adapter's signer and the site's verifier, which were written apart: what one signs, the other knows."""
from __future__ import annotations

import json

import pytest

from ringfence.amazon_site import verifying
from ringfence.processors.amazon_pay.signing import Algorithm, Signer
from tests.amazon_site.site_asking import KEY, ask, usd

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("algorithm", Algorithm)
@pytest.mark.parametrize(("method", "path", "body", "status"), [
    ("POST", "/v2/charges", {"chargePermissionId": "x", "chargeAmount": usd("1.00")}, 404), ("GET", "/v2/charges/x", None, 404),
    ("DELETE", "/sandbox/v2/charges/x/cancel", {"cancellationReason": "sold out, söld"}, 404)])
async def test_a_request_of_the_adapter_is_authentic(here, algorithm, method, path, body, status):
    signer = Signer("SANDBOX-KEY", KEY, algorithm)
    text = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
    headers = {
        "accept": "application/json", "content-type": "application/json", "x-amz-pay-region": "na", "x-amz-pay-host": "amazon.example",
        "x-amz-pay-date": "20260131T101640Z", **({"x-amz-pay-idempotency-key": "k"} if method == "POST" else {})}
    answer = await ask(here.app, method, path, text, headers | {"authorization": signer.authorization(method, path, headers, text)})
    assert answer.problem == (status, "ResourceNotFound")
    spoilt = text.replace(b"x", b"y") or b"{}"
    answer = await ask(here.app, method, path, spoilt, headers | {"authorization": signer.authorization(method, path, headers, text)})
    assert answer.problem == (401, "UnauthorizedAccess") or spoilt == text


async def test_a_query_is_the_same_on_both_sides(here):
    signer, query = Signer("SANDBOX-KEY", KEY), [("b", "2 ä"), ("a", "~x/y"), ("a", "1")]
    headers = {"accept": "application/json", "content-type": "application/json", "x-amz-pay-region": "na", "x-amz-pay-host": "amazon.example",
               "x-amz-pay-date": "20260131T101640Z"}
    signed = verifying.read_authorization(signer.authorization("GET", "/v2/charges/x", headers, b"", query))
    assert signed is not None
    text = verifying.canonical_request("GET", "/v2/charges/x", "b=2%20%C3%A4&a=~x/y&a=1", headers, signed.names, b"")
    assert verifying.is_signed(KEY.public_key(), signed.algorithm, text.encode(), signed.signature)


@pytest.mark.parametrize("algorithm", Algorithm)
async def test_a_button_of_the_adapter_leads_to_the_buyers_page(here, algorithm):
    payload = json.dumps(here.shop.payload(), ensure_ascii=False)
    browser = here.browser()
    await browser.ask("POST", "/amazon/checkout", here.shop.button(payload) | {
        "signature": Signer("SANDBOX-KEY", KEY, algorithm).button(payload), "algorithm": str(algorithm)})
    assert browser.page == "sign_in"
