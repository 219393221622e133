"""What holds of every page, and the page on the way back to the shop."""
from __future__ import annotations

import re
from importlib import resources

import pytest
from starlette.applications import Starlette

from ringfence.core.link import State
from ringfence.engine.browser import Goto, Return
from ringfence.web import pages, static_files
from ringfence.web.amounts import shown
from ringfence.web.texts import TEXTS, text
from tests.web.asking import get

HOSTILE = "\"><script>alert(1)</script>'&"


def test_every_text_is_there_in_both_languages_with_the_same_blanks():
    for key, (english, arabic) in TEXTS.items():
        assert english and re.search("[\u0600-\u06ff]", arabic), key
        assert sorted(re.findall(r"\{(\w+)\}", english)) == sorted(re.findall(r"\{(\w+)\}", arabic)), key


def test_every_text_is_said_somewhere():
    """As a word in templates, code, the doors' words for the payer or where both are put together."""
    root = resources.files("ringfence")
    files = [
        *root.joinpath("web").iterdir(), *root.joinpath("web", "templates").iterdir(), *root.joinpath("api", "aps").iterdir(),
        root.joinpath("redirecting.py")]
    code = "".join(one.read_text("utf-8") for one in files if one.is_file() and one.name != "texts.py")
    assert [key for key in TEXTS if not {f'"{part}"' for part in (key, key.removeprefix("problem_"), _ending(key))} & _words(code)] == []


def _ending(key: str) -> str:
    """What is put together with it: how a page ended, where a link stands."""
    word = key.removesuffix("_said").removesuffix("_link").removesuffix("_card")
    return "link_" if word.removeprefix("link_") in list(State) else word.removeprefix("ended_")


def _words(code: str) -> set[str]:
    return set(re.findall(r'"[a-z_]+"', code))


def test_a_text_is_chosen_by_language():
    assert text("return_button", "en") == "Continue to the shop"
    assert text("return_button", "ar") == TEXTS["return_button"][1]


def test_a_page_loads_nothing_from_elsewhere_and_nobody_may_frame_it():
    page = pages.message("gone_title", "en", said="gone_said", facts=[("reference", HOSTILE)])
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "form-action 'self'" in policy and "unsafe" not in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert page.headers["x-content-type-options"] == "nosniff"
    html = page.body.decode()
    assert "<script>alert" not in html and 'style="' not in html and "onclick" not in html


def test_only_the_origins_named_may_frame_a_page():
    page = pages.message("gone_title", "en", framed_by=["https://shop.example"])
    assert "frame-ancestors https://shop.example" in page.headers["content-security-policy"]
    assert "x-frame-options" not in page.headers


def test_an_arabic_page_runs_from_right_to_left():
    assert '<html lang="ar" dir="rtl">' in pages.message("gone_title", "ar").body.decode()
    assert '<html lang="en" dir="ltr">' in pages.message("gone_title", "en").body.decode()


def test_the_way_back_is_a_form_with_every_field_and_the_address_as_it_was():
    url = "https://shop.example/?wc-api=aps&discriminator=a%2Fb"
    html = pages.go(Return(url, "POST", {"status": "14", "customer_name": HOSTILE}, "en")).body.decode()
    assert 'action="https://shop.example/?wc-api=aps&amp;discriminator=a%2Fb"' in html
    assert '<input type="hidden" name="status" value="14">' in html
    assert "<script>alert" not in html and "<button>Continue to the shop</button>" in html


def test_the_way_back_by_get_is_a_link_with_the_fields_behind_the_query():
    html = pages.go(Return("https://shop.example/x?order=7", "GET", {"status": "14"}, "en")).body.decode()
    assert 'href="https://shop.example/x?order=7&amp;status=14"' in html and "<form" not in html


def test_inside_our_own_origin_the_browser_is_redirected():
    response = pages.go(Goto("/pay/x"))
    assert (response.status_code, response.headers["location"]) == (303, "/pay/x")


@pytest.mark.anyio
async def test_static_files_have_names_of_their_content_and_are_kept():
    app = Starlette(routes=static_files.routes())
    for name, address in static_files.ADDRESSES.items():
        response = await get(app, address)
        assert response.status == 200 and "immutable" in response.headers["cache-control"], name
        assert response.headers["content-type"].startswith(("text/css", "text/javascript"))
    assert (await get(app, "/static/pages.000000000000.css")).status == 404
    assert (await get(app, "/static/..%2fpages.py")).status == 404


@pytest.mark.parametrize(("minor", "currency", "english", "arabic"), [
    (123456, "AED", "AED 1,234.56", "1,234.56 درهم إماراتي"), (5, "JPY", "JPY 5", "5 JPY"), (10000, "KWD", "KWD 10.000", "10.000 دينار كويتي"),
    (123456789012, "BHD", "BHD 123,456,789.012", "123,456,789.012 دينار بحريني"),
])
def test_an_amount_has_its_currencys_decimals(minor, currency, english, arabic):
    assert (shown(minor, currency, "en"), shown(minor, currency, "ar")) == (english, arabic)
