"""The page of a payment link in a real browser: from the letter to the receipt, while someone else is paying, too late, and in Arabic."""
from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.request import Request, urlopen

import pytest

from ringfence.web.texts import TEXTS
from tests.sandbox import request
from tests.web.payers import DESK, GOOD, POOR

pytestmark = pytest.mark.browser

ASKED = "4557012345678902"
"""A card whose bank asks."""


@pytest.fixture
def links(sandbox, shop):
    """Makes links, as the shop does over the API; each with its status."""
    return Links(sandbox, shop)


class Links:
    def __init__(self, sandbox, shop):
        self.sandbox, self.shop = sandbox, shop

    def ask(self, **fields):
        asked = Request(
            f"{self.shop.service}/FortAPI/paymentApi", request(self.shop.merchant, **fields), {"content-type": "application/json"})
        with urlopen(asked) as answer:
            return json.load(answer)

    def make(self, reference, **fields):
        expires = datetime.now(UTC) + timedelta(days=400)
        made = self.ask(**{
            "service_command": "PAYMENT_LINK", "merchant_reference": reference, "amount": "12345", "currency": "AED",
            "customer_email": "sara@shop.example", "customer_name": "Sara Ali", "order_description": "2 kg of dates", "notification_type": "NONE",
            "request_expiry_date": expires.isoformat(timespec="seconds"), **fields})
        assert made["response_code"] == "48000", made
        return made["payment_link"]

    def status(self, reference):
        return self.ask(query_command="CHECK_PAYMENT_LINK_STATUS", merchant_reference=reference)["payment_link_status"]


def test_a_link_is_paid_on_a_phone(links, payer, order):
    """A card without money, then one whose bank asks; behind it our own page says the end, and the link's page is the receipt."""
    url = links.make(order)
    with payer() as one:
        one.page.goto(url)
        assert one.page.title() == TEXTS["link_title"][0].format(reference=order) and "AED 123.45" in one.page.text_content("main")
        assert one.sees("link_asks")
        one.look()
        assert links.status(order) == "Open", "looking changes nothing"
        one.page.click("form button")
        one.page.wait_for_selector("#number")
        assert links.status(order) == "Opened"
        one.pay(number=POOR)
        one.page.wait_for_selector(".summary")
        assert one.sees("problem_insufficient_funds")
        one.pay(number=ASKED)
        one.page.wait_for_selector("#challenge")
        one.page.click("button[value=approve]")
        one.page.wait_for_url("**/pay/**")
        one.page.wait_for_selector("main h1")
        assert one.sees("ended_paid")
        one.look("paid")
        one.page.goto(url)
        assert one.sees("link_paid") and one.page.locator("form button").count() == 0
        one.look("receipt")
    assert links.status(order) == "Paid"


@pytest.mark.wide
def test_back_at_the_shop(links, shop, payer, order):
    """Where the shop named an address, the browser brings the signed answer there."""
    with payer(viewport=DESK) as one:
        one.page.goto(links.make(order, return_url=f"{shop.url}/return"))
        one.look()
        one.page.click("form button")
        one.page.wait_for_selector("#number")
        one.pay(number=GOOD)
        assert one.answered() == "14000"
        answer = shop.answer()
        assert answer["merchant_reference"] == order and answer["amount"] == "12345"


@pytest.mark.wide
def test_someone_is_paying(links, payer, order):
    """Another browser is told so; the first one may go on."""
    url = links.make(order)
    with payer() as one, payer("busy") as other:
        other.page.goto(url)
        one.page.goto(url)
        one.page.click("form button")
        one.page.wait_for_selector("#number")
        other.page.click("form button")
        other.page.wait_for_selector(".summary")
        assert other.sees("link_busy")
        other.look()
        one.page.goto(url)
        one.page.click("form button")
        one.page.wait_for_selector("#number")
        one.pay()
        one.page.wait_for_selector("main h1")
        assert one.sees("ended_paid")
    assert links.status(order) == "Paid"


@pytest.mark.wide
@pytest.mark.parametrize("language", ["en", "ar"])
def test_back_on_the_link_while_the_bank_asks(links, payer, order, language):
    """Its payer is led back to the bank; another browser with the same link is not."""
    url = links.make(order, language=language)
    with payer() as one, payer() as other:
        one.page.goto(url)
        one.page.click("form button")
        one.page.wait_for_selector("#number")
        one.pay(number=ASKED)
        one.page.wait_for_selector("#challenge")
        challenge = one.page.url
        one.page.goto(url)
        assert one.sees("bank_asks_link", language) and one.page.locator("form button").count() == 0
        one.look("payer")
        other.page.goto(url)
        assert other.sees("link_doubt_said", language) and other.page.locator("#bank, form button").count() == 0
        other.look("stranger")
        one.page.click("#bank")
        one.page.wait_for_selector("#challenge")
        assert one.page.url == challenge
        one.page.click("button[value=reject]")
        one.page.wait_for_selector(".summary")
        one.page.goto(url)
        assert one.sees("problem_not_authenticated", language) and one.page.locator("form button").count() == 1
        one.look("rejected")
        one.page.click("form button")
        one.page.wait_for_selector("#number")
        assert one.sees("cancel_here_button", language) and not one.sees("cancel_button", language)
        one.look("again")
        one.pay()
        one.page.wait_for_selector("main h1")
        assert one.sees("ended_paid", language)
    assert links.status(order) == "Paid"


@pytest.mark.wide
def test_a_payer_who_gives_up_leaves_the_link_to_others(links, payer, order):
    url = links.make(order)
    with payer() as one, payer() as other:
        one.page.goto(url)
        one.page.click("form button")
        one.page.wait_for_selector("#number")
        one.page.click("button.second")
        one.page.wait_for_selector("main h1")
        assert one.sees("ended_cancelled")
        assert links.status(order) == "Open"
        other.page.goto(url)
        other.page.click("form button")
        other.page.wait_for_selector("#number")
        other.pay()
        other.page.wait_for_selector("main h1")
        assert other.sees("ended_paid")
    assert links.status(order) == "Paid"


@pytest.mark.wide
def test_a_link_expires_while_its_payer_is_on_the_page(links, sandbox, payer, order):
    now = datetime.fromisoformat(sandbox.json("clock", "show")["now"])
    url = links.make(order, request_expiry_date=(now + timedelta(minutes=5)).isoformat(timespec="seconds"))
    with payer() as one:
        one.page.goto(url)
        one.page.click("form button")
        one.page.wait_for_selector("#number")
        sandbox.json("clock", "advance", "6m")
        one.pay()
        one.page.wait_for_selector("main h1")
        assert one.sees("ended_expired") and one.sees("ended_expired_link_said")
        one.look("page")
        one.page.goto(url)
        assert one.sees("link_expired") and one.page.locator("form button").count() == 0
        one.look("link")
    assert links.status(order) == "Expired"


@pytest.mark.wide
def test_arabic(links, payer, order):
    url = links.make(order, language="ar", customer_name="سارة علي", order_description="تمر وقهوة")
    with payer() as one:
        one.page.goto(url)
        assert one.page.get_attribute("html", "dir") == "rtl" and "123.45 درهم إماراتي" in one.page.text_content("main")
        assert one.sees("link_asks", "ar")
        one.look()
        one.page.click("form button")
        one.page.wait_for_selector("#number")
        assert one.page.get_attribute("html", "dir") == "rtl"
        one.pay()
        one.page.wait_for_selector("main h1")
        assert one.sees("ended_paid", "ar")
        one.look("paid")
        one.page.goto(url)
        one.look("receipt")


@pytest.mark.wide
def test_without_script(links, payer, order):
    with payer(java_script_enabled=False) as one:
        one.page.goto(links.make(order))
        one.page.click("form button")
        one.page.wait_for_selector("#number")
        one.pay()
        one.page.wait_for_selector("main h1")
        assert one.sees("ended_paid")
        one.shoot("paid")
