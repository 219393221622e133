"""The buyer's pages, without a screen: who may do what, where they lead, and that nothing unsigned leads anywhere."""
from __future__ import annotations

import json
import re
from importlib import resources

import pytest

from ringfence.amazon_site.buyers import BUYERS, CARDS
from ringfence.amazon_site.texts import TEXTS
from tests.amazon_site.site_asking import STORE, ask, sign, usd
from tests.amazon_site.test_paying import permission_of, state

pytestmark = pytest.mark.anyio

HOSTILE = "\"><script>alert(1)</script>'&"


async def begun(here, payload=None, **fields):
    browser = here.browser()
    await browser.ask("POST", "/amazon/checkout", here.shop.button(payload or here.shop.payload(), **fields))
    return browser


async def test_every_text_is_there_in_both_languages_with_the_same_blanks():
    for key, (english, arabic) in TEXTS.items():
        assert english and re.search("[\u0600-\u06ff]", arabic), key
        assert sorted(re.findall(r"\{(\w+)\}", english)) == sorted(re.findall(r"\{(\w+)\}", arabic)), key


async def test_every_text_is_said_somewhere():
    root = resources.files("ringfence.amazon_site")
    files = [*root.iterdir(), *root.joinpath("templates").iterdir()]
    code = "".join(one.read_text("utf-8") for one in files if one.is_file() and one.name not in ("texts.py", "book.sql"))
    put_together = re.compile(r"(pay|set_up|review)_(title|button)|state_\w+|(Year|Month|Week|Day)s?")
    assert [key for key in TEXTS if f'"{key}"' not in code and not put_together.fullmatch(key)] == []


async def test_pages_load_nothing_from_elsewhere_and_are_not_kept(here):
    browser = await begun(here)
    await browser.sign_in()
    headers = browser.said.headers
    assert "default-src 'none'" in headers["content-security-policy"] and "form-action 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"] and "script-src" not in headers["content-security-policy"]
    assert (headers["cache-control"], headers["x-frame-options"], headers["referrer-policy"]) == ("no-store", "DENY", "no-referrer")
    assert "<script" not in browser.said.text and "http://" not in browser.said.text


async def test_the_cookie_is_for_the_site_only_and_changes_when_somebody_signs_in(here):
    browser = here.browser()
    answer = await ask(here.app, "GET", "/amazon/account", b"", {})
    given = answer.headers["set-cookie"]
    assert "HttpOnly" in given and "Path=/amazon" in given and "Secure" in given and "samesite=lax" in given.lower()
    await browser.ask("GET", "/amazon/account")
    before = browser.cookie
    await browser.sign_in()
    assert browser.cookie not in ("", before)


async def test_a_wrong_password_stays_there(here):
    browser = await begun(here)
    await browser.sign_in("wrong")
    assert (browser.said.status, browser.page) == (422, "sign_in") and 'data-problem="wrong_password"' in browser.said.text
    assert 'value="sara@buyer.example"' in browser.said.text and "wrong" not in re.sub("wrong_password", "", browser.said.text)
    await browser.sign_in()
    assert browser.page == "approve"


async def test_a_form_of_another_visit_does_nothing(here):
    browser = await begun(here)
    await browser.sign_in()
    session = browser.path
    for csrf in ("", "x", "ä"):
        await browser.ask("POST", session, {"csrf": csrf, "action": "approve", "card": "1111"})
        assert (browser.said.status, browser.page) == (400, "approve")
    answer = await browser.ask("POST", "/amazon/sign-in", {"csrf": "x", "email": browser.email, "password": browser.password, "next": session})
    assert answer.status == 400
    assert state(await here.shop.get(session.replace("/amazon/checkout", "/checkoutSessions"))) == ("Open", None)


async def test_what_is_to_be_approved_is_said(here):
    payload = here.shop.payload("1234.50")
    payload["merchantMetadata"] |= {"merchantReferenceId": HOSTILE, "noteToBuyer": HOSTILE}
    browser = await begun(here, payload)
    await browser.sign_in()
    text = browser.said.text
    assert "Pay Shop &amp; Söhne" in text and "1234.50 USD" in text and "Pay now" in text and "<script" not in text
    assert re.findall(r'name="card" value="(\d{4})"', text) == list(CARDS)


@pytest.mark.parametrize(("frequency", "language", "said"), [
    ({"unit": "Month", "value": "1"}, "", "90.00 USD every month"), ({"unit": "Week", "value": "2"}, "", "90.00 USD every 2 weeks"),
    ({"unit": "Variable", "value": "0"}, "", "90.00 USD from time to time"), ({"unit": "Year", "value": "1"}, "ar_AE", "\u206690.00 USD\u2069 كل سنة")])
async def test_what_recurs_is_said(here, frequency, language, said):
    payload = here.shop.recurring()
    payload["recurringMetadata"]["frequency"] = frequency
    browser = await begun(here, payload, **({"checkoutLanguage": language} if language else {}))
    await browser.sign_in()
    assert said in browser.said.text and 'data-kind="set_up"' in browser.said.text
    assert ('dir="rtl"' in browser.said.text.splitlines()[1]) == bool(language)


async def test_addresses_are_offered_where_something_is_sent(here):
    browser = await begun(here, productType="PayAndShip")
    await browser.sign_in()
    assert "Portland" in browser.said.text
    session = browser.path.replace("/amazon/checkout", "/checkoutSessions")
    await browser.click("approve", card="1111", address="1")
    assert (await here.shop.get(session))["shippingAddress"]["city"] == "Portland"


async def test_cancel_leads_to_the_cancel_address(here):
    browser = await begun(here)
    await browser.sign_in()
    await browser.click("cancel")
    session = browser.path.rpartition("/")[2]
    assert browser.leaves_for == f"https://shop.example/cancel?amazonCheckoutSessionId={session}"
    assert state(await here.shop.get(f"/checkoutSessions/{session}")) == ("Canceled", "BuyerCanceled")


async def test_cancel_without_a_cancel_address_leads_to_the_result(here):
    payload = here.shop.payload()
    del payload["webCheckoutDetails"]["checkoutCancelUrl"]
    browser = await begun(here, payload)
    await browser.sign_in()
    await browser.click("cancel")
    assert browser.leaves_for.startswith("https://shop.example/back?order=7&amazonCheckoutSessionId=")


@pytest.mark.parametrize(("action", "completes"), [("walk", 422), ("approve_and_walk", 200)])
async def test_walking_away_leads_nowhere(here, action, completes):
    """Before or after approving: the shop hears nothing, and finds out by asking."""
    browser = here.browser()
    session = await browser.approve(here.shop.button(here.shop.payload()), action=action)
    assert (browser.leaves_for, "walked_title" in browser.said.text) == ("", True)
    done = await here.shop.ask("POST", f"/checkoutSessions/{session}/complete", {"chargeAmount": usd("10.00")}, key=None)
    assert done.status == completes


async def test_a_page_that_is_shown_again_says_where_things_stand(here):
    browser = here.browser()
    session = await browser.approve(here.shop.button(here.shop.payload()))
    link = browser.leaves_for
    await browser.ask("GET", f"/amazon/checkout/{session}")
    assert browser.leaves_for == link
    await browser.ask("POST", f"/amazon/checkout/{session}", {"csrf": "", "action": "cancel"})
    assert browser.leaves_for == link
    assert state(await here.shop.get(f"/checkoutSessions/{session}")) == ("Open", None)


async def test_a_session_belongs_to_the_buyer_who_chose_first(here):
    made = await here.shop.ask("POST", "/checkoutSessions", {
        "webCheckoutDetails": {"checkoutReviewReturnUrl": "https://shop.example/review"}, "storeId": STORE})
    path = f"/amazon/checkout/{made.json['checkoutSessionId']}"
    for who, status in ((("sara@buyer.example", "sara-pays"), 200), (("jonas@buyer.example", "jonas-pays"), 403)):
        browser = here.browser(*who)
        await browser.ask("GET", path)
        await browser.sign_in()
        assert browser.said.status == status
        if status == 200:
            await browser.click("approve", card="1111")


async def test_a_checkout_that_is_not_there(here):
    browser = here.browser()
    await browser.ask("GET", "/amazon/checkout/none")
    assert (browser.said.status, browser.page) == (404, "message")


async def test_a_button_may_come_as_a_link(here):
    browser = here.browser()
    fields = here.shop.button(here.shop.payload(), "AMZN-PAY-RSASSA-PSS")
    from urllib.parse import urlencode
    await browser.ask("GET", f"/amazon/checkout?{urlencode(fields)}")
    assert browser.page == "sign_in"


BROKEN = {
    # what is wrong                  how the button is spoilt                                                                              reason
    "an amount changed":             (lambda one: one | {"payloadJSON": one["payloadJSON"].replace("10.00", "1.00")},                       "UnauthorizedAccess"),
    "a space added":                 (lambda one: one | {"payloadJSON": one["payloadJSON"] + " "},                                          "UnauthorizedAccess"),
    "another algorithm":             (lambda one: one | {"algorithm": "AMZN-PAY-RSASSA-PSS"},                                               "UnauthorizedAccess"),
    "an unknown key":                (lambda one: one | {"publicKeyId": "none"},                                                            "UnauthorizedAccess"),
    "another merchant":              (lambda one: one | {"merchantId": "OTHER"},                                                            "UnauthorizedAccess"),
    "no signature":                  (lambda one: {name: value for name, value in one.items() if name != "signature"},                      "InvalidRequest"),
    "signed, but no JSON":           (lambda one: one | {"payloadJSON": "{", "signature": sign(b"{")},                                      "InvalidRequestFormat"),
    "signed, but of another store":  (lambda one: _signed(one, storeId="other"),                                                            "InvalidParameterValue"),
    "signed, but with more":         (lambda one: _signed(one, more=1),                                                                     "UnrecognizedField"),
    "signed, back to a script":      (lambda one: _signed(one, webCheckoutDetails={"checkoutReviewReturnUrl": "javascript:alert(1)"}),       "InvalidParameterValue"),
}


def _signed(button, **fields):
    text = json.dumps(json.loads(button["payloadJSON"]) | fields)
    return button | {"payloadJSON": text, "signature": sign(text.encode())}


@pytest.mark.parametrize("wrong", BROKEN)
async def test_a_button_that_cannot_be_used_leads_nowhere(here, wrong):
    spoil, reason = BROKEN[wrong]
    browser = here.browser()
    await browser.ask("POST", "/amazon/checkout", spoil(here.shop.button(here.shop.payload())))
    assert (browser.said.status, browser.page, browser.leaves_for) == (400, "message", "")
    assert reason in browser.said.text and "shop.example" not in browser.said.text


@pytest.mark.parametrize("body", [b"", b"\xff", b"a=1&a=2", b"x" * 70_000])
async def test_what_is_no_form(here, body):
    answer = await ask(here.app, "POST", "/amazon/checkout", body, {"content-type": "application/x-www-form-urlencoded"})
    assert answer.status == 400
    assert (await ask(here.app, "POST", "/amazon/checkout", b"{}", {"content-type": "application/json"})).status == 400


@pytest.mark.parametrize("way", ["https://evil.example/", "//evil.example", "/amazon/../../x\r\nset-cookie: a", "/amazon\\@evil", "", "/admin"])
async def test_signing_in_leads_nowhere_else(here, way):
    browser = here.browser()
    await browser.ask("GET", "/amazon/account")
    fields = browser.hidden() | {"next": way, "email": browser.email, "password": browser.password}
    await browser.ask("POST", "/amazon/sign-in", fields)
    assert (browser.path, browser.page) == ("/amazon/account", "account")


async def test_signing_out(here):
    browser = here.browser()
    await browser.ask("GET", "/amazon/account")
    await browser.sign_in()
    await browser.ask("POST", "/amazon/sign-out", browser.hidden() | {"next": "/amazon/account"})
    assert browser.page == "sign_in"


async def test_a_buyer_signs_in_at_a_shop(here):
    wish = {"signInReturnUrl": "https://shop.example/in?a=1", "storeId": STORE, "signInScopes": ["name", "email", "postalCode"]}
    browser = await begun(here, wish)
    await browser.sign_in()
    assert browser.page == "consent"
    await browser.click("approve")
    link = browser.leaves_for
    assert link.startswith("https://shop.example/in?a=1&buyerToken=")
    token = link.rpartition("=")[2]
    buyer = await here.shop.get(f"/buyers/{token}")
    assert (buyer["name"], buyer["email"], buyer["postalCode"], buyer["phoneNumber"]) == ("Sara Ali", "sara@buyer.example", "98109", None)
    here.time.pass_(hours=1)
    assert (await here.shop.ask("GET", f"/buyers/{token}")).problem == (404, "ResourceNotFound")


async def test_every_buyer_can_sign_in_and_pay(here):
    for buyer in BUYERS.values():
        session = await here.browser(buyer.email, buyer.password).approve(here.shop.button(here.shop.payload()))
        done = await here.shop.ask("POST", f"/checkoutSessions/{session}/complete", {"chargeAmount": usd("10.00")}, key=None)
        assert (await permission_of(here, done))["buyer"]["name"] == buyer.name


async def test_the_script_is_served_with_its_type(here):
    answer = await ask(here.app, "GET", "/amazon/checkout.js", b"", {})
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/javascript") and "initCheckout" in answer.text
