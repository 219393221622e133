"""Payers who are sent away, in a real browser: the mock method's page, and Amazon Pay's whole way there and back."""
from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests.web.payers import DESK

pytestmark = pytest.mark.browser
BUYER = "#sign-in"
WIDE = pytest.mark.wide


class Merchant:
    """A merchant's server at the PPRO door."""

    def __init__(self, sandbox: Any) -> None:
        self.sandbox = sandbox
        self.named = sandbox.description["merchants"][0]["ppro"]

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.sandbox.port}/v1{path}", None if body is None else json.dumps(body).encode(), method=method, headers={
                "authorization": f"Bearer {self.named['api_key']}", "merchant-id": self.named["merchant_id"], "content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def charge(self, shop: Any, method: str = "MOCK", *, ways: str = "REDIRECT", locale: str = "en-US", **fields: Any) -> tuple[str, str]:
        """Its name, and where its consumer goes."""
        made = self.call("POST", "/payment-charges", {
            "paymentMethod": method, "amount": {"value": 1000, "currency": "USD"}, "consumer": {"name": "John Smith", "country": "US", "locale": locale},
            "authenticationSettings": [{"type": "REDIRECT", "settings": {"returnUrl": f"{shop.url}/return?order=1001#top"}}],
            **({"paymentDescriptor": f"requiresAuthentication=true;authenticationType={ways}"} if method == "MOCK" else {}), **fields})
        assert made["status"] == "AUTHENTICATION_PENDING", made
        return made["id"], made["authenticationMethods"][0]["details"]["requestUrl"]

    def status(self, name: str) -> str:
        return self.call("GET", f"/payment-charges/{name}")["status"]


@pytest.fixture
def merchant(sandbox: Any) -> Merchant:
    return Merchant(sandbox)


def came_back(one: Any, shop: Any, name: str, *, script: bool = True) -> None:
    """The browser is at the shop again, with the charge's name and its own fragment."""
    if not script:
        one.page.click("#leave")
    one.page.wait_for_url(f"{shop.url}/return?order=1001&payment-charge-id={name}#top")
    assert shop.visits[-1].query == {"order": "1001", "payment-charge-id": name}


@pytest.mark.parametrize(("action", "status"), [
    ("succeed", "CAPTURED"), pytest.param("fail", "FAILED", marks=WIDE), pytest.param("cancel", "FAILED", marks=WIDE)])
@pytest.mark.parametrize(("locale", "script"), [
    ("en-US", True), pytest.param("ar-AE", True, marks=WIDE), pytest.param("en-US", False, marks=WIDE)])
def test_a_mock_payer_acts_and_comes_back(shop, payer, merchant, action, status, locale, script):
    name, url = merchant.charge(shop, ways="REDIRECT,SCAN_CODE", locale=locale)
    with payer(java_script_enabled=script) as one:
        one.page.goto(url)
        assert one.sees("wallet_act_title", locale[:2]) and one.page.locator("img[data-code]").evaluate("it => it.naturalWidth") > 0
        if script:
            one.look()
        one.page.click(f"button[value={action}]")
        came_back(one, shop, name, script=script)
        assert merchant.status(name) == status
        one.page.goto(url)
        assert one.sees("wallet_over_said", locale[:2])
        if script:
            one.look("over")


def sign_in(one: Any) -> None:
    one.page.wait_for_selector(BUYER)
    email, password = one.page.locator(".quiet bdi[dir=ltr]").all_text_contents()[:2]
    one.page.fill("#email", email)
    one.page.fill("#password", password)
    one.page.click(f"{BUYER} button")
    one.page.wait_for_selector("#approve")


@pytest.mark.parametrize(("action", "card", "status"), [
    ("approve", "1111", "CAPTURED"), *(pytest.param(*one, "FAILED", marks=WIDE) for one in (
        ("cancel", "1111"), ("approve", "3064"), ("approve", "3434")))])
@pytest.mark.parametrize("script", [True, pytest.param(False, marks=WIDE)])
def test_a_payer_goes_to_amazon_and_comes_back(shop, payer, merchant, action, card, status, script):
    name, url = merchant.charge(shop, "AMAZON_PAY")
    with payer(viewport=DESK, java_script_enabled=script) as one:
        one.page.goto(url)
        if not script:
            one.page.click("#hand-over button")
        sign_in(one)
        one.page.check(f"#card-{card}")
        one.page.click(f"button[value={action}]")
        if not script:
            one.page.wait_for_url("**/wallet/**")
        came_back(one, shop, name, script=script)
        assert merchant.status(name) == status


@pytest.mark.wide
@pytest.mark.parametrize(("action", "status"), [("approve_and_walk", "CAPTURED"), ("walk", "DISCARDED")])
def test_a_payer_who_vanishes_at_amazon(sandbox, shop, payer, merchant, action, status):
    """What he approved is completed although nobody came back; what he did not is discarded in its time."""
    name, url = merchant.charge(shop, "AMAZON_PAY")
    with payer() as one:
        one.page.goto(url)
        sign_in(one)
        one.page.click(f"button[value={action}]")
        one.page.wait_for_selector("h1")
        assert merchant.status(name) == "AUTHENTICATION_PENDING"
        sandbox.json("clock", "advance", "25h" if action == "walk" else "2m")
        assert merchant.status(name) == status


@pytest.mark.parametrize("language", ["en", pytest.param("ar", marks=WIDE)])
def test_the_page_that_hands_over(shop, payer, merchant, language):
    """Shown to whoever comes back undecided: it looks right on a phone, and its button leads on."""
    _, url = merchant.charge(shop, "AMAZON_PAY", locale="ar-AE" if language == "ar" else "en-US")
    with payer() as one:
        one.page.goto(url.replace("/wallet/", "/wallet/return/"))
        assert one.sees("wallet_again", language)
        one.look()
        one.page.click("#hand-over button")
        one.page.wait_for_selector(BUYER)


@pytest.mark.parametrize(("action", "status"), [
    ("approve", "ACTIVE"), pytest.param("cancel", "FAILED", marks=WIDE), pytest.param("approve_and_walk", "ACTIVE", marks=WIDE)])
@pytest.mark.parametrize("is_charged", [True, pytest.param(False, marks=WIDE)])
def test_a_payer_agrees_at_amazon(sandbox, shop, payer, merchant, action, status, is_charged):
    """One approval covers an agreement and its first charge; later charges need nobody."""
    first = {"initialPaymentCharge": {"amount": {"value": 1000, "currency": "USD"}}} if is_charged else {}
    made = merchant.call("POST", "/payment-agreements", {
        "paymentMethod": "AMAZON_PAY", "consumer": {"name": "John Smith", "country": "US"}, "startDate": "2023-03-26T20:24:27Z",
        "authenticationSettings": [{"type": "REDIRECT", "settings": {"returnUrl": f"{shop.url}/return"}}], **first})
    name = made["id"]
    with payer() as one:
        one.page.goto(made["authenticationMethods"][0]["details"]["requestUrl"])
        sign_in(one)
        one.page.click(f"button[value={action}]")
        if action == "approve_and_walk":
            one.page.wait_for_selector("h1")
            sandbox.json("clock", "advance", "2m")
        else:
            one.page.wait_for_url(f"{shop.url}/return?payment-agreement-id={name}**")
        assert merchant.call("GET", f"/payment-agreements/{name}")["status"] == status
        if is_charged:
            assert merchant.status(made["initialPaymentChargeId"]) == ("CAPTURED" if status == "ACTIVE" else "FAILED")
        if status == "ACTIVE":
            instrument = merchant.call("GET", f"/payment-agreements/{name}")["instrumentId"]
            assert merchant.call("GET", f"/payment-instruments/{instrument}")["details"] == {"consumerEmail": "sara@buyer.example"}
            later = merchant.call("POST", f"/payment-agreements/{name}/payment-charges", {
                "amount": {"value": 9000, "currency": "USD"}, "initiator": "MERCHANT", "scheduleType": "SCHEDULED"})
            assert later["status"] == "CAPTURED"
