"""The look-up and the receipt in a real browser: on a telephone, in Arabic, without script; axe finds nothing."""
from __future__ import annotations

from urllib.request import urlopen

import pytest

from ringfence.core.receipt_words import words
from tests.retailing import Retailer
from tests.web.payers import DESK, MASTERCARD

pytestmark = pytest.mark.browser
REFUND = "3b2f6a0e-9c41-4d7e-8f10-5a6b7c8d9e0f"


@pytest.fixture(scope="module")
def retailer(sandbox) -> Retailer:
    return Retailer(sandbox, "STORE-WEB")


@pytest.fixture
def page_of(sandbox) -> str:
    return f"http://127.0.0.1:{sandbox.port}/receipts/{sandbox.merchant()['merchant_identifier']}"


def today(retailer: Retailer) -> str:
    return retailer.sandbox.json("clock", "show")["now"][:10]


def type_(one, tail: str, date: str, amount: str, store: str = "") -> None:
    for name, value in (("tail", tail), ("date", date), ("amount", amount), ("store", store)):
        one.page.fill(f"#{name}", value)
    one.page.click("form button")


def test_the_form_on_a_phone(retailer: Retailer, payer, page_of: str):
    """What cannot be is said beside its field."""
    with payer("wrong") as one:
        one.page.goto(page_of)
        one.look("form")
        type_(one, "00", today(retailer), "x")
        assert one.sees("problem_tail_invalid") and one.sees("problem_amount_invalid")
        one.look("mistakes")


@pytest.mark.wide
def test_what_is_not_there(retailer: Retailer, payer, page_of: str):
    """An amount that is nearly it finds nothing."""
    retailer.charge(retailer.enter(), "18.60")
    with payer("gone") as one:
        one.page.goto(page_of)
        type_(one, "0004", today(retailer), "18.61")
        one.page.wait_for_selector(".summary")
        assert one.sees("look_up_nothing")
        one.look()


def test_a_shopper_finds_the_receipt_on_a_phone(retailer: Retailer, payer, page_of: str):
    """And what was given back since stands beside it."""
    trip = retailer.enter()
    retailer.charge(trip, "18.40")
    with payer() as one:
        one.page.goto(page_of)
        type_(one, "0004", today(retailer), "18.40")
        one.page.wait_for_selector(".receipt")
        said = one.page.text_content("main")
        for piece in ("Corner Store", "1 Main Street", "18.40 USD", "VISA **** 0004", words("approved", "en"), trip):
            assert piece in said, piece
        one.look("receipt")
        assert retailer.ask("/v1/refund", trip, amount={"amount": 4.25, "code": "USD"}, refundRequestId=REFUND, refundReasonCode="OTHER")[0] == 200
        one.page.reload()
        one.page.click("ul.plain a")
        one.page.wait_for_selector(".receipt")
        assert words("refunded", "en") in one.page.text_content("main")
        one.look("refund")


@pytest.mark.wide
def test_arabic(retailer: Retailer, payer, page_of: str):
    retailer.charge(retailer.enter(), "12.30")
    with payer() as one:
        one.page.goto(f"{page_of}?language=ar")
        assert one.page.get_attribute("html", "dir") == "rtl" and one.sees("look_up_said", "ar", merchant="Dates & Coffee")
        one.look("form")
        type_(one, "0004", today(retailer), "12.30")
        one.page.wait_for_selector(".receipt")
        assert one.page.get_attribute("html", "dir") == "rtl" and words("approved", "ar") in one.page.text_content("main")
        one.look("receipt")


@pytest.mark.wide
def test_several_visits_on_a_desk_without_script(retailer: Retailer, payer, page_of: str):
    for _ in range(2):
        retailer.charge(retailer.enter(), "7.77")
    with payer(java_script_enabled=False, viewport=DESK) as one:
        one.page.goto(page_of)
        type_(one, "0004", today(retailer), "7.77")
        one.page.wait_for_selector("ul.plain")
        assert one.page.locator("ul.plain a").count() == 2
        one.shoot("several")
        one.page.click("ul.plain a >> nth=1")
        one.page.wait_for_selector(".receipt")


@pytest.mark.wide
def test_what_is_owed_stands_apart(retailer: Retailer, payer):
    """A cart that the issuer would not pay for; nothing on the page says that it was approved."""
    trip = retailer.enter(card=MASTERCARD)          # it owes then, and no gate opens for it
    money = {"amount": 4.00, "code": "USD"}
    assert retailer.ask("/v1/capture/charge", trip, amount=money)[0] == 200
    assert retailer.ask("/v1/feedback/payment-status", trip, totalAmount={"amount": 64.10, "code": "USD"}, settledAmount=money,
                        paymentStatusTime=1768478400)[0] == 200
    sale, = retailer.receipts(trip)
    with payer() as one:
        one.page.goto(sale["url"])
        said = one.page.text_content("main")
        assert "4.00 USD" in said and "60.10 USD" in said and words("part_charged", "en") in said and "approved" not in said.lower()
        one.look("part")


def test_a_file_that_stands_alone(retailer: Retailer, payer, tmp_path):
    """As the command writes it: opened from a disk it looks the same, and asks nobody for anything."""
    trip = retailer.enter()
    retailer.charge(trip, "15.99")
    file = tmp_path / "receipt.html"
    retailer.sandbox.command("jwo", "receipt", trip, "--html", str(file))
    with payer() as one:
        asked = []
        one.page.on("request", lambda request: asked.append(request.url))
        one.page.goto(file.as_uri())
        assert "15.99 USD" in one.page.text_content("main") and asked == [file.as_uri()]
        one.shoot("file")
    with urlopen(retailer.receipts(trip)[0]["url"] + "/receipt.pdf") as answer:
        assert answer.headers["content-type"] == "application/pdf" and answer.read(5) == b"%PDF-"
