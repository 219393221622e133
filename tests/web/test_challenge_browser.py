"""3-D Secure in a real browser: from the page to the payer's bank and back, approved and rejected."""
from __future__ import annotations

import pytest

from tests.web.payers import DESK, GOOD

pytestmark = pytest.mark.browser

ASKED = "4557012345678902"
"""A card whose bank asks."""


def begin(one, shop, order, **fields):
    one.page.goto(shop.go(shop.purchase(order, **fields)))
    one.page.wait_for_selector("#number")
    one.pay(number=ASKED)
    one.page.wait_for_selector("#challenge")


def test_the_bank_asks_and_the_payer_approves(shop, payer, order):
    with payer() as one:
        begin(one, shop, order)
        one.look()
        one.page.click("button[value=approve]")
        assert one.answered() == "14000"
        answer = shop.answer()
        assert (answer["merchant_reference"], answer["card_number"]) == (order, "455701******8902")


@pytest.mark.wide
def test_the_payer_rejects_and_takes_another_card(shop, payer, order):
    with payer() as one:
        begin(one, shop, order, language="ar")
        one.look()
        one.page.click("button[value=reject]")
        one.page.wait_for_selector(".summary")
        assert one.sees("problem_not_authenticated", "ar")
        one.look("rejected")
        one.pay(number=GOOD)
        assert one.answered() == "14000"


@pytest.mark.wide
@pytest.mark.parametrize("action", ["cancel", "nothing"])
def test_a_payer_who_does_not_get_through_the_bank_is_not_told_of_a_decline(sandbox, shop, payer, order, action):
    """Nobody asked the bank for money: the card may be good."""
    with payer() as one:
        one.page.goto(shop.go(shop.purchase(order)))
        one.page.wait_for_selector("#number")
        page = one.page.url
        one.pay(number=ASKED)
        one.page.wait_for_selector("#challenge")
        one.page.click(f"button[value={action}]")
        if action == "nothing":
            sandbox.json("clock", "advance", "11m")
            one.page.goto(page)
        one.page.wait_for_selector(".summary")
        assert one.sees("problem_not_authenticated")
        one.pay()
        assert one.answered() == "14000"


@pytest.mark.parametrize(("language", "script"), [
    ("en", True), pytest.param("ar", True, marks=pytest.mark.wide), pytest.param("en", False, marks=pytest.mark.wide)])
def test_back_on_the_page_while_the_bank_asks(shop, payer, order, language, script):
    """The page says why it waits, and its button leads back to the bank, with or without a script."""
    with payer(viewport=DESK, java_script_enabled=script) as one:
        one.page.goto(shop.go(shop.purchase(order, language=language)))
        if not script:
            one.page.click("button")
        one.page.wait_for_selector("#number")
        page = one.page.url
        one.pay(number=ASKED)
        one.page.wait_for_selector("#challenge")
        challenge = one.page.url
        one.page.goto(page)
        assert one.sees("bank_asks", language) and one.sees("bank_button", language)
        if script:
            one.look()
        one.page.keyboard.press("Tab")
        assert one.page.locator("#bank:focus").count() == 1, "the first stop of the keyboard"
        one.page.click("#bank")
        one.page.wait_for_selector("#challenge")
        assert one.page.url == challenge
        one.page.click("button[value=approve]")
        if not script:
            one.page.click("#leave button")
            one.page.click("#leave button")
        assert one.answered() == "14000"


@pytest.mark.wide
def test_without_script(shop, payer, order):
    with payer(java_script_enabled=False) as one:
        one.page.goto(shop.go(shop.purchase(order)))
        one.page.click("button")
        one.page.wait_for_selector("#number")
        one.pay(number=ASKED)
        one.page.click("button[value=approve]")
        for _ in range(5):
            if one.page.locator("#answered").count():
                break
            one.page.click("main button >> nth=0")
        assert one.answered() == "14000"
