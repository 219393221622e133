"""``POST /FortAPI/paymentPage``: what a shop's form leads to, and where it is told what is wrong with it."""
from __future__ import annotations

import itertools
import re
from typing import ClassVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest

from ringfence.api.aps import signature
from ringfence.web.texts import TEXTS
from tests.engine.composition import Process, Shop, shop
from tests.web.asking import get, post
from tests.web.paying import RETURN, Browser, app_of

pytestmark = pytest.mark.anyio
ORDERS = (f"E-{number}" for number in itertools.count(1))
CARD = {"card_number": "4000009900000004", "expiry_date": "3512", "card_security_code": "739", "card_holder_name": "Sara Ali"}


@pytest.fixture
def order() -> str:
    return next(ORDERS)


@pytest.fixture
def payer(one: Process, here: Shop) -> Browser:
    return Browser(app_of(one), here)


async def tokenize(payer: Browser, reference: str, card: dict[str, str] | None = None, **fields: str) -> Browser:
    """The form of a tokenization; the card is added behind the signature."""
    return await payer.enter(card, **{
        "service_command": "TOKENIZATION", "merchant_reference": reference, "return_url": RETURN, **fields})


# ---------------------------------------------------------------------------------------------------------- told at the shop's address

@pytest.mark.parametrize(("fields", "code", "message"), [
    ({"customer_email": ""}, "00001", "Missing parameter: customer_email"),
    ({"amount": "0"}, "00005", "Invalid amount"),
    ({"amount": "1.5"}, "00002", "Invalid parameter format: amount"),
    ({"amount": "12345678901"}, "00032", "Invalid parameter length: amount"),
    ({"currency": "XXX"}, "00013", "Invalid currency"),
    ({"submit": "Pay"}, "00027", "Invalid extra parameters: submit"),
    ({"card_number": "4000009900000004"}, "00027", "Invalid extra parameters: card_number"),
    ({"eci": "MOTO"}, "00033", "Parameter value not allowed: eci"),
    ({"command": "CAPTURE"}, "00034", "Operation not allowed"),
    ({"command": "PAY"}, "00004", "Invalid command"),
    ({"installments": "STANDALONE"}, "00783", "Installments service inactive"),
    ({"merchant_reference": "a b"}, "00002", "Invalid parameter format: merchant_reference"),
])
async def test_what_is_wrong_with_a_form_is_told_at_its_return_address_signed(payer, order, fields, code, message):
    await payer.buy(order, **fields)
    brought = payer.brought()
    assert payer.target == RETURN
    assert (brought["response_code"], brought["status"], brought["response_message"]) == (code, "00", message)
    assert brought["merchant_reference"] == fields.get("merchant_reference", order) and "fort_id" not in brought


@pytest.mark.parametrize("change", [
    {"amount": "1"}, {"currency": "JOD"}, {"merchant_reference": "OTHER-1"}, {"return_url": "https://evil.example/"}, {"customer_email": "b@b.co"},
    {"signature": "00"},
])
async def test_what_was_changed_on_the_way_fails_the_signature_and_is_recorded(payer, order, change, caplog):
    form = payer.shop.signed({
        "command": "PURCHASE", "merchant_reference": order, "amount": "1000", "currency": "AED", "customer_email": "a@shop.example", "return_url": RETURN})
    await payer.send(form | change)
    assert payer.code == "00008"
    assert f"a form for merchant {payer.shop.identifier} does not carry its signature" in caplog.text
    assert payer.shop._request not in caplog.text


async def test_a_form_in_arabic_is_refused_in_arabic(payer, order):
    await payer.buy(order, language="ar", amount="0")
    assert payer.brought()["response_message"] == "مبلغ غير صالح"


# ---------------------------------------------------------------------------------------------------------- told on a page of ours

@pytest.mark.parametrize(("fields", "code"), [
    ({"merchant_identifier": "Nobody"}, "00009"),
    ({"merchant_identifier": ""}, "00001"),
    ({"access_code": "wrong"}, "00010"),
    ({"return_url": ""}, "00037"),
    ({"return_url": "javascript:alert(1)"}, "00002"),
    ({"return_url": "//evil.example/"}, "00002"),
    ({"return_url": "https://shop.example@evil.example/"}, "00002"),
    ({"return_url": "https://evil.example\\@shop.example/"}, "00002"),
])
async def test_where_nobody_can_be_told_a_page_says_it(payer, order, fields, code):
    await payer.buy(order, **fields)
    assert payer.seen.status == 200 and not payer.is_leaving
    assert payer.says(code) and payer.says(TEXTS["problem_title"][0]) and "evil.example" not in payer.seen.text


@pytest.mark.parametrize(("body", "content_type"), [
    (b"", None), (b"{}", "application/json"), (b"--x", "multipart/form-data; boundary=x"), (b"a=1&a=2", None), (b"a=%ff", None), (b"a=%0", None),
    (b"a=%00", None), (b"a=1%0d%0aX: y", None), (b"=1", None), (b"&".join(b"a%d=1" % n for n in range(201)), None),
    (b"a=1", "application/x-www-form-urlencoded; charset=windows-1256"), (b"\xd8\xb9=1", "text/plain"),
])
async def test_what_is_no_form_is_told_on_a_page(payer, body, content_type):
    await payer.send(body, {"content-type": content_type} if content_type else None)
    assert payer.seen.status == 200 and payer.says("00073")


async def test_a_form_is_not_asked_for(payer):
    assert (await get(payer.app, "/FortAPI/paymentPage")).status == 405


# ---------------------------------------------------------------------------------------------------------- where a browser may go

async def test_the_accounts_own_address_counts_where_the_form_has_none(one, order):
    here = await shop(one, "Own", **{"return_url": "https://own.example/all", "return_url.redirection": "https://own.example/page?x=1"})
    payer = await Browser(app_of(one), here).buy(order, return_url="")
    await payer.type()
    assert payer.target == "https://own.example/page?x=1" and "return_url" not in payer.brought()


async def test_an_origin_that_the_merchant_did_not_allow_is_never_gone_to(one, order):
    """Not with a good form, and not with what is wrong with a bad one."""
    here = await shop(one, "Listed", return_origins="https://shop.example,https://www.shop.example:8443")
    payer = Browser(app_of(one), here)
    for url in ("https://evil.example/", "http://shop.example/", "https://shop.example.evil.example/", "https://www.shop.example/"):
        for fields in ({}, {"amount": "0"}):
            await payer.buy(order, return_url=url, **fields)
            assert not payer.is_leaving and payer.says("00040") and "evil.example" not in payer.seen.text
    for url in (RETURN, "https://www.shop.example:8443/x"):
        await payer.buy(next(ORDERS), return_url=url)
        await payer.type()
        assert payer.target == url
    assert (await here.purchase(next(ORDERS), return_url="https://evil.example/"))["response_code"] == "00040"
    assert (await here.purchase(next(ORDERS), return_url=RETURN))["response_code"] == "14000"
    assert (await here.purchase(next(ORDERS), return_url="https://evil.example/"))["response_code"] == "00040"


async def test_only_the_pages_that_the_merchant_named_may_send_a_browser(one, order):
    here = await shop(one, "Sourced", source_urls="https://shop.example", source_ips="203.0.113.7")
    payer = Browser(app_of(one), here)
    form = here.signed({
        "command": "PURCHASE", "merchant_reference": order, "amount": "1000", "currency": "AED", "customer_email": "a@shop.example", "return_url": RETURN})
    for headers in ({}, {"origin": "https://evil.example"}, {"origin": "null"}, {"referer": "https://evil.example/shop.example"}):
        await payer.send(form, headers)
        assert payer.code == "00040"
    await payer.send(form, {"origin": "https://shop.example"})
    assert payer.says("AED 10.00")
    await payer.send(form, {"origin": "null", "referer": "https://shop.example/checkout"})
    assert payer.says("AED 10.00")


async def test_the_way_back_is_by_get_where_the_account_says_so(one, order):
    here = await shop(one, "Getting", **{"return_method.redirection": "GET"})
    payer = await Browser(app_of(one), here).buy(order)
    await payer.type()
    whole = payer.target
    assert whole.startswith(RETURN + "&merchant_identifier=Getting&") and "response_code=14000" in whole and "<form" not in payer.seen.text
    fields = dict(parse_qsl(urlsplit(whole).query))
    assert fields.pop("order") == "7" and fields.pop("signature") == signature.sign(fields, here._response)


async def test_names_that_the_shops_own_query_has_are_not_mixed_with_ours(one, order):
    """By GET a client would read the wrong one: such an answer is posted."""
    here = await shop(one, "Colliding", return_method="GET")
    payer = await Browser(app_of(one), here).buy(order, return_url="https://shop.example/?status=old")
    await payer.type()
    assert payer.target == "https://shop.example/?status=old" and payer.code == "14000"


# ---------------------------------------------------------------------------------------------------------- switches

@pytest.mark.parametrize(("settings", "play", "code"), [
    ({"channel_redirection": "off"}, "buy", "00046"),
    ({"channel_merchant_page": "off"}, "standard", "00046"),
    ({"service_tokenization": "off"}, "standard", "00038"),
    ({"merchant_page_custom": "off"}, "custom", "00027"),
    ({"currencies": "SAR"}, "buy", "00013"),
])
async def test_what_is_switched_off(one, order, settings, play, code):
    here = await shop(one, f"Off{next(ORDERS)[2:]}", **settings)
    payer = Browser(app_of(one), here)
    if play == "buy":
        await payer.buy(order)
    else:
        await tokenize(payer, order, CARD if play == "custom" else None)
    assert payer.code == code


async def test_where_the_custom_page_is_off_the_standard_one_works(one, order):
    here = await shop(one, "NoCustom", merchant_page_custom="off")
    payer = await tokenize(Browser(app_of(one), here), order)
    await payer.type()
    assert payer.code == "18000"


# ---------------------------------------------------------------------------------------------------------- merchant page

async def test_the_standard_merchant_page_asks_for_the_card_in_the_shops_frame(one, here, payer, order):
    """And the token that the shop gets pays, with the same reference."""
    await tokenize(payer, order)
    assert payer.says("Your card") and not payer.says("AED")
    policy = payer.seen.headers["content-security-policy"]
    assert "frame-ancestors http: https:" in policy and "x-frame-options" not in payer.seen.headers
    await payer.type(card_number="")
    assert payer.problems() == ["number"]
    assert "frame-ancestors http: https:" in payer.seen.headers["content-security-policy"]
    await payer.type(remember="yes")
    assert "frame-ancestors http: https:" in payer.seen.headers["content-security-policy"]
    brought = payer.brought()
    assert brought["response_code"] == "18000"
    assert (brought["card_number"], brought["card_bin"], brought["expiry_date"]) == ("400000******0004", "400000", "3512")
    assert (brought["card_holder_name"], brought["remember_me"], brought["service_command"]) == ("Sara Ali", "YES", "TOKENIZATION")
    assert not {"fort_id", "eci", "card_security_code"} & brought.keys()
    paid = await here.pay("PURCHASE", order, token_name=brought["token_name"], card_security_code="739")
    assert paid["response_code"] == "14000"


async def test_only_allowed_origins_may_frame_the_merchant_page(one, order):
    here = await shop(one, "Framed", return_origins="https://shop.example")
    payer = await tokenize(Browser(app_of(one), here), order)
    assert "frame-ancestors https://shop.example" in payer.seen.headers["content-security-policy"]
    await payer.buy(next(ORDERS))
    assert "frame-ancestors 'none'" in payer.seen.headers["content-security-policy"] and payer.seen.headers["x-frame-options"] == "DENY"


async def test_the_merchant_page_can_be_given_up_and_begun_again(payer, order):
    await tokenize(payer, order)
    await payer.give_up()
    assert payer.code == "00072"
    await tokenize(payer, order)
    await payer.type()
    first = payer.brought()["token_name"]
    await tokenize(payer, order)                        # a tokenization does not use up the reference
    await payer.type(card_number="5123456789012346")
    assert payer.code == "18000" and payer.brought()["token_name"] != first


async def test_the_custom_merchant_page_is_answered_at_once(payer, order):
    await tokenize(payer, order, CARD | {"remember_me": "YES"})
    brought = payer.brought()
    assert brought["response_code"] == "18000" and brought["remember_me"] == "YES" and brought["card_number"] == "400000******0004"
    assert CARD["card_number"] not in payer.seen.text and "739" not in brought.values()


@pytest.mark.parametrize(("change", "code"), [
    ({"card_number": "4000009900000005"}, "17016"),
    ({"card_number": "40000099"}, "17016"),
    ({"expiry_date": "2501"}, "17012"),
    ({"expiry_date": "3013"}, "17100"),
    ({"card_number": "9000000000000001"}, "17039"),
    ({"card_number": "x"}, "00002"),
    ({"card_security_code": "12"}, "00002"),
    ({"card_security_code": ""}, "00001"),
    ({"card_number": ""}, "00001"),
    ({"submit": "Pay"}, "00027"),
    ({"discriminator": "abc"}, "00027"),
])
async def test_what_is_wrong_with_a_card_of_the_custom_page(payer, order, change, code):
    await tokenize(payer, order, CARD | change)
    assert payer.code == code and CARD["card_number"] not in payer.seen.text


async def test_a_token_that_is_there_is_renewed_by_its_card(payer, order):
    await tokenize(payer, order, CARD, token_name=f"T-{order}")
    assert (payer.code, payer.brought()["token_name"]) == ("18000", f"T-{order}")
    await tokenize(payer, order, CARD | {"expiry_date": "3606"}, token_name=f"T-{order}")
    assert (payer.code, payer.brought()["expiry_date"]) == ("18063", "3606")


async def test_a_card_is_kept_by_create_token_over_the_page(here, payer, order):
    """Signed with the card, as one client does, and without, as another."""
    fields = {"service_command": "CREATE_TOKEN", "return_url": RETURN, "currency": "AED"}
    card = {name: CARD[name] for name in ("card_number", "expiry_date")}
    await payer.enter(card, merchant_reference=order, **fields)
    assert (payer.code, payer.target) == ("52062", RETURN)
    await payer.enter(merchant_reference=f"{order}-b", **fields, **card)
    brought = payer.brought()
    assert brought["response_code"] == "52062" and brought["card_number"] == "400000******0004"
    assert (await here.pay("PURCHASE", order, token_name=brought["token_name"], card_security_code="739"))["response_code"] == "14000"


async def test_the_worked_exchange_of_the_custom_merchant_page(one):
    """E1 and E2 of the reference, signatures included."""
    asked = {
        "access_code": "zx0IPmPy5jp1vAz8Kpg7", "merchant_identifier": "CycHZxVjE", "language": "en", "service_command": "TOKENIZATION",
        "merchant_reference": "ORD-2001", "return_url": "https://shop.example/aps/return?order=2001",
    }
    golden = {"merchant_identifier": "CycHZxVj"}
    assert signature.sign(asked | golden, "reqPhrase01") == "a10834758ad3af3fd8735536f98477eb2c27c144897eff95bdc0dbb44d1be160"
    here = await one.merchant("CycHZxVjE", access_code="zx0IPmPy5jp1vAz8Kpg7", request="reqPhrase01", response="resPhrase01")
    payer = Browser(app_of(one), here)
    await payer.send(here.signed(asked) | {
        "card_number": "4557012345678902", "expiry_date": "3005", "card_security_code": "123", "card_holder_name": "Sara Ali", "remember_me": "YES"})
    assert payer.target == "https://shop.example/aps/return?order=2001"
    brought = payer.brought()
    assert re.fullmatch("[0-9A-F]{32}", brought["token_name"])
    brought |= golden | {"token_name": "79D4D15A30DE2401E053321E320A16E2"}      # the two that are not ours to choose
    assert brought == asked | golden | {
        "card_number": "455701******8902", "card_bin": "455701", "expiry_date": "3005", "card_holder_name": "Sara Ali", "remember_me": "YES",
        "token_name": "79D4D15A30DE2401E053321E320A16E2", "response_code": "18000", "response_message": "Success", "status": "18",
    }
    assert signature.sign(brought, "resPhrase01") == "ca2e40a2f04fa70e08f74e02782788547b30e8d8e1c880b3f8bd4b47e62c6951"


# ---------------------------------------------------------------------------------------------------------- the official clients

class Client:
    """How an official client sends a browser here and reads what it brings back.

    ``url`` has keys of the client's own; ``drops`` are those that it takes out before it checks the signature.
    """

    ALL: ClassVar = {
        "PHP SDK": ("https://shop.example/callback.php?discriminator=" + "ab" * 32, {"discriminator"}),
        "Woo": ("https://shop.example/?wc-api=wc_gateway_aps_process_response", {"wc-api", "wc-ajax", "aps_fort", "APS_fort"}),
        "Magento": ("https://shop.example/aps/payment/response?aps_fort=1&form_key=x&lang=en", {"aps_fort", "form_key", "lang"}),
    }


@pytest.mark.parametrize("client", Client.ALL)
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("play", ["redirection", "standard", "custom"])
async def test_an_official_client_reads_what_the_browser_brings(one, client, method, play, order):
    """The client mixes form and query, drops its own keys, and signs the rest."""
    url, drops = Client.ALL[client]
    identifier = f"{client.replace(' ', '')}{method}{play[:3]}"
    here = await shop(one, identifier, return_method=method)
    payer = Browser(app_of(one), here)
    if play == "redirection":
        await payer.buy(order, return_url=url, app_programming="PHP", app_framework="x", app_ver="1", app_plugin="aps", app_plugin_version="2")
        await payer.type()
    else:
        await tokenize(payer, order, CARD if play == "custom" else None, return_url=url)
        if play == "standard":
            await payer.type()
    target = payer.target
    assert target.startswith(url)
    read = dict(parse_qsl(urlsplit(target).query)) | (payer.form() if method == "POST" else {})
    ours = {name: value for name, value in read.items() if name not in drops}
    given = ours.pop("signature")
    assert given == signature.sign(ours, here._response) and given == given.lower()
    assert ours["status"] in ("14", "18") and ours["return_url"] == url


async def test_extra_keys_in_the_address_of_the_payment_page_do_not_matter(payer, order):
    form = payer.shop.signed({
        "command": "PURCHASE", "merchant_reference": order, "amount": "1000", "currency": "AED", "customer_email": "a@shop.example", "return_url": RETURN})
    await payer._arrive(await post(payer.app, "/FortAPI/paymentPage?lang=en", form))
    assert payer.says("AED 10.00")


async def test_a_browser_may_write_its_form_in_more_than_one_way(payer, order):
    """``%20`` or ``+``, small or capital hexadecimal digits, a charset named or not."""
    form = payer.shop.signed({
        "command": "PURCHASE", "merchant_reference": order, "amount": "1000", "currency": "AED", "customer_email": "a@shop.example",
        "return_url": RETURN, "order_description": "طلب رقم 7"})
    small = re.sub("%[0-9A-F]{2}", lambda octet: octet[0].lower(), urlencode(form))
    for body in (urlencode(form), urlencode(form, quote_via=quote), small):
        await payer.send(body.encode(), {"content-type": "application/x-www-form-urlencoded; charset=UTF-8"})
        assert payer.says("طلب رقم 7")
