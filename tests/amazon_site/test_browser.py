"""The buyer's pages in a real browser: on a phone, in Arabic, and without script."""
from __future__ import annotations

import asyncio
import html
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from ringfence.amazon_site import site
from tests.amazon_site.site_asking import PEM, STORE, Shop, usd
from tests.web.browsers import ARGUMENTS, CHROMIUM
from tests.web.payers import DESK, PHONE, Payer

pytestmark = pytest.mark.browser


class Street(NamedTuple):
    """The site and a shop, on one port."""

    address: str
    shop: Shop
    seen: list[dict[str, str]]
    pages: dict[str, str]

    def offer(self, payload: Any, **fields: str) -> None:
        """The shop's page from now on: with script it hands over by itself, without by its button."""
        button = self.shop.button(payload, **fields)
        config = {
            "merchantId": "SHOP", "publicKeyId": button["publicKeyId"], "ledgerCurrency": "USD", "sandbox": True, **fields,
            "createCheckoutSessionConfig": {name: button[name] for name in ("payloadJSON", "signature", "algorithm")}}
        hidden = "".join(f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in button.items())
        self.pages["go"] = (
            f'<!doctype html><html lang="en"><title>Shop</title><link rel="icon" href="data:,"><noscript><form method="post" action="/amazon/checkout">{hidden}'
            f'<button id="go">Amazon Pay</button></form></noscript><script src="/amazon/checkout.js"></script>'
            f"<script>amazon.Pay.initCheckout({json.dumps(config)})</script></html>")

    def payload(self, **fields: Any) -> dict[str, Any]:
        back = {"checkoutResultReturnUrl": f"{self.address}/back?order=7", "checkoutCancelUrl": f"{self.address}/back?canceled=yes",
                "checkoutMode": "ProcessOrder"}
        return self.shop.payload(webCheckoutDetails=back, **fields)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    seen: list[dict[str, str]] = []
    pages: dict[str, str] = {}

    async def go(request: Request) -> HTMLResponse:
        return HTMLResponse(pages["go"])

    async def back(request: Request) -> HTMLResponse:
        seen.append(dict(request.query_params))
        return HTMLResponse('<!doctype html><html lang="en"><title>Back</title><link rel="icon" href="data:,"><p id="back">back</p></html>')

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        one = site(tmp_path_factory.mktemp("amazon"), lambda: datetime.now(UTC), base_url=address)
        asyncio.run(one.register("SHOP", name="Shop", public_key_id="SANDBOX-KEY", public_key_pem=PEM, store_id=STORE))
        app = Starlette(routes=[*one.routes, Route("/go", go), Route("/back", back)])
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        try:
            yield Street(address, Shop(app, lambda: datetime.now(UTC).timestamp()), seen, pages)
        finally:
            server.should_exit = True
            thread.join(10)
            one.close()


@pytest.fixture(scope="module")
def chromium(street: Street) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def buyer(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Nothing may stand on the console but what a refusal of the site leaves there."""
    contexts = []

    def begin(**options: Any) -> Payer:
        context = chromium.new_context(**{"viewport": PHONE, **options})
        context.set_default_timeout(120_000)
        one = Payer(context.new_page(), "amazon-" + request.node.name.removeprefix("test_").replace("[", "-").replace("]", ""))
        contexts.append((context, one))
        return one

    yield begin
    for context, one in contexts:
        assert [line for line in one.console if "422" not in line] == []
        context.close()


def sign_in(one: Payer, password: str = "sara-pays") -> None:
    one.page.wait_for_selector("#sign-in")
    one.page.fill("#email", "sara@buyer.example")
    one.page.fill("#password", password)
    one.page.click("#sign-in button")


@pytest.mark.parametrize(("script", "viewport"), [
    pytest.param(True, PHONE, id="phone"), pytest.param(True, DESK, id="desk", marks=pytest.mark.wide),
    pytest.param(False, PHONE, id="without-script", marks=pytest.mark.wide)])
def test_an_order_is_approved(street, buyer, script, viewport):
    street.offer(street.payload())
    one = buyer(viewport=viewport, java_script_enabled=script)
    one.page.goto(f"{street.address}/go")
    if not script:
        one.page.click("#go")
    sign_in(one, "wrong")
    one.page.wait_for_selector("[data-problem=wrong_password]")
    if script:
        one.look("wrong-password")
    sign_in(one)
    one.page.wait_for_selector("#approve")
    if script:
        one.look("approve")
    one.page.check("#card-4444")
    one.page.click("button[value=approve]")
    one.page.wait_for_selector("#back")
    assert street.seen[-1]["order"] == "7" and len(street.seen[-1]["amazonCheckoutSessionId"]) == 36


def test_a_recurring_order_in_arabic_and_its_end_on_the_account_page(street, buyer):
    payload = street.payload(chargePermissionType="Recurring", recurringMetadata={
        "frequency": {"unit": "Month", "value": "3"}, "amount": usd("90.00")})
    street.offer(payload, checkoutLanguage="ar_AE", productType="PayAndShip")
    one = buyer(locale="ar-AE")
    one.page.goto(f"{street.address}/go")
    sign_in(one)
    one.page.wait_for_selector("#approve")
    assert one.page.text_content("[data-terms]") == "\u206690.00 USD\u2069 كل 3 أشهر"
    one.look("approve")
    one.page.click("button[value=approve]")
    one.page.wait_for_selector("#back")
    wish = street.shop.ask("POST", f"/checkoutSessions/{street.seen[-1]['amazonCheckoutSessionId']}/complete", {
        "chargeAmount": usd("10.00")}, key=None)
    with ThreadPoolExecutor(1) as beside:           # the browser's own loop runs on this thread
        done = beside.submit(asyncio.run, wish).result()
    assert done.status == 200
    permission = done.json["chargePermissionId"]
    one.page.goto(f"{street.address}/amazon/account")
    one.page.wait_for_selector(f"[data-permission='{permission}'][data-state=Chargeable]")
    one.look("account")
    one.page.click(f"[data-permission='{permission}'] button[value=cancel]")
    one.page.wait_for_selector(f"[data-permission='{permission}'][data-state=Closed]")


@pytest.mark.parametrize(("action", "leads_back"), [
    ("cancel", True), pytest.param("walk", False, marks=pytest.mark.wide), pytest.param("approve_and_walk", False, marks=pytest.mark.wide)])
def test_a_buyer_who_does_not_pay_or_does_not_return(street, buyer, action, leads_back):
    street.offer(street.payload())
    one, before = buyer(), len(street.seen)
    one.page.goto(f"{street.address}/go")
    sign_in(one)
    one.page.click(f"button[value={action}]")
    if leads_back:
        one.page.wait_for_selector("#back")
        assert street.seen[-1]["canceled"] == "yes"
    else:
        one.page.wait_for_selector("[data-title=walked_title]")
        one.look()
        assert len(street.seen) == before


@pytest.mark.wide
def test_a_card_that_is_decided_later_is_explained(street, buyer):
    street.offer(street.payload())
    one = buyer()
    one.page.goto(f"{street.address}/go")
    sign_in(one)
    one.page.check("#card-0701")
    one.page.click("button[value=approve]")
    one.page.wait_for_selector("[data-problem=card_waits]")
    one.look()
