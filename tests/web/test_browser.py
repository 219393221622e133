"""The pages in a real browser: a payer on a phone, at a desk, in Arabic, without script, with the keyboard alone.

Every page is looked at by axe for WCAG 2.2 A and AA, nothing is reported on the console (the Content-Security-Policy would), and what a
page looks like is kept (see ``browsers``).
"""
from __future__ import annotations

import json

import pytest

from tests.web.payers import DESK, GOOD, MASTERCARD, POOR
from tests.web.shop import Shop

pytestmark = pytest.mark.browser

MOST_BYTES = 50_000


# ---------------------------------------------------------------------------------------------------------- good days

def test_a_purchase_on_a_phone(shop, payer, order):
    with payer() as one:
        one.page.goto(shop.go(shop.purchase(order)))
        one.page.wait_for_selector("#number")
        assert one.page.title() == "Pay Dates & Coffee" and "AED 123.45" in one.page.text_content("main")
        one.look()
        weight = sum(size for url, size in one.bytes.items() if url.startswith(shop.service))
        assert 0 < weight < MOST_BYTES, one.bytes
        one.fill()
        assert one.page.input_value("#number") == "4000 0099 0000 0004"
        one.shoot("typed")
        one.page.click("#pay")
        assert one.answered() == "14000"
        answer = shop.answer()
        assert (answer["merchant_reference"], answer["card_number"], answer["remember_me"]) == (order, "400000******0004", "YES")


@pytest.mark.wide
def test_a_desk(shop, payer, order):
    with payer(viewport=DESK) as one:
        one.page.goto(shop.go(shop.purchase(order, command="AUTHORIZATION")))
        one.page.wait_for_selector("#number")
        one.look()
        one.pay()
        assert one.answered() == "02000"


@pytest.mark.wide
def test_arabic(shop, payer, order):
    with payer() as one:
        one.page.goto(shop.go(shop.purchase(order, language="ar", order_description="تمر وقهوة")))
        one.page.wait_for_selector("#number")
        assert one.page.get_attribute("html", "dir") == "rtl" and "123.45 درهم إماراتي" in one.page.text_content("main")
        one.look()
        one.pay(number=POOR)
        one.page.wait_for_selector(".summary")
        assert one.sees("problem_insufficient_funds", "ar")
        one.look("declined")
        one.pay(number="٤٠٠٠٠٠٩٩٠٠٠٠٠٠٠٤", holder="سارة علي")
        assert one.answered() == "14000" and shop.answer()["response_message"] == "عملية ناجحة"


def test_without_script(shop, payer, order):
    """Every step has its button."""
    with payer("wrong", java_script_enabled=False) as one:
        one.page.goto(shop.go(shop.purchase(order)))
        one.page.click("button")
        one.page.wait_for_selector("#number")
        one.pay(month="13", code="12", holder="")
        one.page.wait_for_selector(".summary")
        one.shoot("wrong")
        assert one.page.input_value("#number") == "" and one.page.input_value("#expiry") == "13"
        assert one.page.get_attribute("#expiry", "aria-invalid") == "true" and one.page.is_visible("#expiry-error")
        one.pay()
        one.page.wait_for_selector("#leave")
        one.shoot("leaving")
        one.page.click("#leave button")
        assert one.answered() == "14000"


def test_the_keyboard_alone(shop, payer, order):
    """Tab by tab in the order of the page; Enter pays."""
    with payer(viewport=DESK) as one:
        one.page.goto(shop.go(shop.purchase(order)))
        one.page.wait_for_selector("#number")
        keyboard, passed = one.page.keyboard, []
        for text in ("4000009900000004", "12", "39", "123", "Sara Ali"):
            keyboard.press("Tab")
            passed.append(one.focused())
            keyboard.type(text)
        keyboard.press("Tab")
        passed.append(one.focused())
        keyboard.press("Space")
        keyboard.press("Tab")
        passed.append(one.focused())
        assert passed == ["number", "expiry", "year", "code", "holder", "remember", "pay"]
        one.shoot("focus")
        keyboard.press("Enter")
        assert one.answered() == "14000" and shop.answer()["remember_me"] == "NO"


@pytest.mark.wide
def test_a_saved_card(shop, payer, order):
    """A returning payer types the code only; another card stays possible."""
    with payer() as one:
        one.page.goto(shop.go(shop.purchase(order)))
        one.page.wait_for_selector("#number")
        one.pay()
        one.answered()
        token = shop.answer()["token_name"]
        one.page.goto(shop.go(shop.purchase(f"{order}-again", token_name=token)))
        one.page.wait_for_selector("#saved")
        assert "400000******0004" in one.page.text_content("main") and not one.page.is_visible("#number")
        one.look()
        one.page.check("#new")
        assert one.page.is_visible("#number")
        one.look("another")
        one.page.check("#saved")
        one.page.fill("#code", "123")
        one.page.click("#pay")
        assert one.answered() == "14000" and shop.answer()["token_name"] == token


# ---------------------------------------------------------------------------------------------------------- bad days

def test_what_is_wrong_is_said_before_it_is_sent(shop, payer, order):
    """With script nothing is sent and nothing typed is lost; the first wrong field has the focus."""
    with payer() as one:
        one.page.goto(shop.go(shop.purchase(order)))
        one.page.wait_for_selector("#number")
        one.pay(number="4000009900000005", month="13", code="1", holder=" ")
        assert one.focused() == "number" and one.page.input_value("#number") == "4000 0099 0000 0005"
        for name in ("number", "expiry", "code", "holder"):
            assert one.page.is_visible(f"#{name}-error") and one.page.get_attribute(f"#{name}", "aria-invalid") == "true"
            assert f"{name}-error" in one.page.get_attribute(f"#{name}", "aria-describedby")
        one.look()
        one.pay()
        assert one.answered() == "14000"


@pytest.mark.wide
def test_what_only_the_service_can_know_is_said_in_a_summary_with_the_focus(shop, payer, order):
    with payer("wrong") as one:
        one.page.goto(shop.go(shop.purchase(order, payment_option="MASTERCARD")))
        one.page.wait_for_selector("#number")
        one.pay(month="12", year="20")
        one.page.wait_for_selector(".summary")
        assert one.focused() == "summary" and one.sees("problem_expiry_passed") and one.sees("problem_brand_not_taken")
        one.look()
        one.page.click(".summary a >> nth=0")
        assert one.focused() == "number"
        one.pay(number=MASTERCARD)
        assert one.answered() == "14000"


@pytest.mark.wide
def test_a_decline_and_another_card(shop, payer, order):
    with payer() as one:
        one.page.goto(shop.go(shop.purchase(order)))
        one.page.wait_for_selector("#number")
        one.pay(number=POOR)
        one.page.wait_for_selector(".summary")
        assert one.focused() == "summary" and one.sees("problem_insufficient_funds") and one.sees("nothing_paid")
        assert one.page.input_value("#number") == "" and one.page.title().startswith("Error: ")
        one.look()
        one.pay()
        assert one.answered() == "14000"


@pytest.mark.wide
def test_cancel(shop, payer, order):
    with payer() as one:
        one.page.goto(shop.go(shop.purchase(order)))
        one.page.wait_for_selector("#number")
        one.page.click("button.second")
        assert one.answered() == "00072"


@pytest.mark.wide
def test_the_back_button_finds_what_became_of_it(shop, payer, order):
    """Behind a payment the page is gone: it brings the same answer again."""
    with payer() as one:
        one.page.goto(shop.go(shop.purchase(order)))
        one.page.wait_for_selector("#number")
        page = one.page.url
        one.pay()
        assert one.answered() == "14000"
        answer, visits = shop.answer(), len(shop.visits)
        one.page.goto(page)
        one.answered()
        assert len(shop.visits) == visits + 1 and shop.answer() == answer


@pytest.mark.wide
def test_a_page_that_was_open_too_long(sandbox, shop, payer, order):
    with payer() as one:
        one.page.goto(shop.go(shop.purchase(order)))
        one.page.wait_for_selector("#number")
        sandbox.json("clock", "advance", "31m")
        one.pay()
        one.page.wait_for_selector("#leave")
        assert one.sees("expired_title") and one.sees("expired_said")
        one.look()
        one.page.click("#leave button")
        assert one.answered() == "00778"


def test_a_form_that_nobody_can_be_told_of(shop, payer, order):
    with payer("gone") as one:
        one.page.goto(shop.go({**shop.purchase(order), "access_code": "wrong"}))
        one.page.wait_for_selector("main h1")
        assert one.sees("problem_title") and "00010 Invalid access code" in one.page.text_content("main")
        one.look()
        one.page.goto(f"{shop.service}/pay/{'A' * 27}")
        assert one.sees("gone_title")
        one.look("gone")


@pytest.mark.wide
def test_the_way_back_by_get(sandbox, shop, payer, order):
    two = Shop(shop.service, sandbox.merchant(1))
    try:
        assert sandbox.command("merchant", "set", "RingfenceTwo", "return_method=GET").returncode == 0
        with payer() as one:
            one.page.goto(two.go(two.purchase(order, return_url=f"{two.url}/return?order=7&wc-api=x")))
            one.page.wait_for_selector("#number")
            one.pay()
            assert one.answered() == "14000"
            assert two.visits[-1].method == "GET" and two.visits[-1].path.startswith("/return?order=7&wc-api=x&")
            assert two.answer()["response_code"] == "14000"
    finally:
        two.close()


# ---------------------------------------------------------------------------------------------------------- merchant page

def tokenization(shop: Shop, reference: str, card: dict[str, str] | None = None, **fields: str) -> dict[str, str]:
    return shop.signed(card, **{"service_command": "TOKENIZATION", "merchant_reference": reference, **fields})


def test_the_merchant_page_inside_the_shops_frame(shop, payer, order):
    """The card is typed in the frame, and the answer comes back inside it."""
    with payer(viewport=DESK) as one:
        one.page.goto(shop.go(tokenization(shop, order), "frame"))
        frame = one.page.frame_locator("iframe")
        frame.locator("#number").wait_for()
        one.shoot()
        inside = one.page.frame("card")
        one.fill(at=inside)
        inside.click("#pay")
        frame.locator("#answered").wait_for()
        assert frame.locator("#answered").text_content() == "18000" and one.page.text_content("h1") == "Checkout"
        answer = shop.answer()
        assert answer["service_command"] == "TOKENIZATION" and answer["token_name"] and answer["card_bin"] == "400000"


@pytest.mark.wide
def test_the_payment_page_is_not_shown_in_a_frame(shop, payer, order):
    with payer("framed", viewport=DESK) as one:
        with one.page.expect_console_message(lambda message: "frame-ancestors" in message.text):
            one.page.goto(shop.go(shop.purchase(order), "frame"))
        assert one.page.frame_locator("iframe").locator("#number").count() == 0


@pytest.mark.wide
def test_the_shops_own_form(shop, payer, order):
    """The custom merchant page: the card goes straight to us, and the browser straight back."""
    card = {"card_number": GOOD, "expiry_date": "3912", "card_security_code": "123", "card_holder_name": "Sara Ali", "remember_me": "YES"}
    with payer() as one:
        one.page.goto(shop.go(tokenization(shop, order, card)))
        assert one.answered() == "18000"
        assert shop.answer()["card_number"] == "400000******0004"
        assert json.dumps(shop.visits[-1]).count(GOOD) == 0
