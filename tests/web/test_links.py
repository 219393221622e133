"""The page of a payment link: what a payer sees, who gets to the card page, and what an address tells a stranger."""
from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from starlette.applications import Starlette

from ringfence.core.link import HOLD
from ringfence.engine import links
from ringfence.engine.links import Link, Opened, State
from ringfence.web.links import Services, nowhere, routes
from tests.engine.composition import Process, Shop, process, shop
from tests.engine.linking import desk, order
from tests.engine.test_links import pay
from tests.web.asking import Answer, get, post

pytestmark = pytest.mark.anyio
HOSTILE = "\"><script>alert(1)</script>'&"


class Site:
    """The pages, with a card page that notes who came."""

    def __init__(self, one: Process) -> None:
        self.desk, self.came, self.has_room = desk(one), [], True
        self.app = Starlette(routes=routes(Services(self.desk, one.directory, self.begin, nobody, True, True, asyncio.Lock())))

    async def begin(self, opened: Opened) -> str | None:
        self.came.append(opened)
        return f"/pay/{len(self.came)}" if self.has_room else None

    async def press(self, link: Link, cookie: str = "") -> Answer:
        """The button."""
        return await post(self.app, path_of(link), {}, {"cookie": cookie} if cookie else {})


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database) as running:
        yield running


@pytest.fixture
async def here(one: Process) -> Shop:
    return await shop(one)


@pytest.fixture
def site(one: Process) -> Site:
    return Site(one)


async def nobody(link: Link, holder: str) -> None:
    """No payer has begun anything."""


def path_of(link: Link) -> str:
    return "/p/" + link.url.rpartition("/")[2]


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


async def test_looking_at_a_link_opens_nothing(site: Site, here: Shop):
    """A mail program that opens every link it sees keeps nobody from paying."""
    made = await links.create(site.desk, here.account, order())
    for _ in range(2):
        page = await get(site.app, path_of(made))
        assert page.status == 200 and "AED 100.00" in page.text and "Two boxes of dates" in page.text and "<form" in page.text
    assert (await links.by_number(site.desk, made.merchant_id, made.link_id)).state is State.OPEN and not site.came


async def test_the_button_leads_its_payer_to_the_card_page_and_nobody_else(site: Site, here: Shop):
    """The payer may come back; the cookie is for this path only and no script reads it."""
    made = await links.create(site.desk, here.account, order())
    first = await site.press(made)
    assert (first.status, first.headers["location"]) == (303, "/pay/1")
    attributes = first.headers["set-cookie"].lower()
    assert all(part in attributes for part in (f"path={path_of(made).lower()}", "httponly", "secure", "samesite=lax"))
    other = await site.press(made)
    assert other.status == 409 and "Someone is paying" in other.text and len(site.came) == 1
    assert "<form" in (await get(site.app, path_of(made))).text
    assert (await site.press(made, cookie_of(first))).headers["location"] == "/pay/2"
    assert site.came[0].link.terms == made.terms and site.came[0].order_key == "aps:INV-7"


async def test_two_payers_press_at_once(site: Site, here: Shop):
    """One gets the card page, the other a page that says why not."""
    made = await links.create(site.desk, here.account, order())
    answers = await asyncio.gather(*(site.press(made) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [303, *[409] * 7]


async def test_a_page_without_room_gives_the_link_back(site: Site, here: Shop):
    """Whoever comes next is not told that someone is paying."""
    made = await links.create(site.desk, here.account, order())
    site.has_room = False
    assert (await site.press(made)).status == 409
    site.has_room = True
    assert (await site.press(made)).status == 303


async def test_after_the_payment_the_link_is_its_receipt(one: Process, site: Site, here: Shop):
    """And nothing on it can be pressed."""
    made = await links.create(site.desk, here.account, order())
    await site.press(made)
    paid = await pay(here, site.came[0])
    page = await get(site.app, path_of(made))
    assert "Thank you." in page.text and str(paid.payment.id) in page.text and "<form" not in page.text
    again = await site.press(made)
    assert again.status == 409 and "Thank you." in again.text and "set-cookie" not in again.headers


async def test_time_and_the_merchant_end_a_page(one: Process, site: Site, here: Shop):
    """Each says which of the two it was."""
    old, back = await links.create_many(site.desk, here.account, [order("OLD"), order("BACK")])
    await links.cancel(site.desk, here.account, back.link_id, "test")
    one.now.now += timedelta(days=3)
    for link, says in ((old, "can be paid no more"), (back, "taken this invoice back")):
        page = await get(site.app, path_of(link))
        assert says in page.text and "<form" not in page.text
        assert says in (await site.press(link)).text
    assert HOLD


async def test_an_address_that_was_never_given_out_says_nothing(one: Process, site: Site, here: Shop):
    """One answer, byte for byte, for all of them and on every path; also for a link of a merchant that may not trade."""
    made = await links.create(site.desk, here.account, order())
    elsewhere = site.desk.addresses.make(here.account.merchant_id, made.link_id + 1)
    await one.directory.change(here.identifier, {}, active=False)
    answers = [
        await get(site.app, f"/p/{address}{end}") for address in ("x", "A" * 38, elsewhere, path_of(made)[3:], "%00", "é")
        for end in ("", "/qr.svg", "/invoice.pdf")]
    answers.append(await post(site.app, "/p/x", {}))
    assert {(answer.status, answer.text) for answer in answers} == {(404, nowhere("en").body.decode())}


async def test_what_people_wrote_is_text_on_the_page(site: Site, here: Shop, one: Process):
    """No merchant and no customer adds markup; the policy would not run it either."""
    await one.directory.change(here.identifier, {"link_terms_url": "https://shop.example/terms?a=1&b=2"}, name=f"Shop {HOSTILE}")
    made = await links.create(site.desk, here.account, order(description=HOSTILE, name=HOSTILE))
    page = await get(site.app, path_of(made))
    assert "<script" not in page.text and page.text.count("&lt;script&gt;") == 3
    assert 'href="https://shop.example/terms?a=1&amp;b=2"' in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"] and page.headers["cache-control"] == "no-store"


async def test_an_arabic_link_has_an_arabic_page(site: Site, here: Shop):
    """And the payer may choose the other language."""
    made = await links.create(site.desk, here.account, order(language="ar"))
    page = await get(site.app, path_of(made))
    assert 'lang="ar" dir="rtl"' in page.text and "100.00 درهم إماراتي" in page.text
    assert 'dir="ltr"' in (await get(site.app, path_of(made) + "?language=en")).text
    assert 'lang="ar"' in (await get(site.app, "/p/x", {"accept-language": "ar-SA,en;q=0.5"})).text


async def test_code_and_invoice_of_a_link(site: Site, here: Shop):
    """A picture of the address, and a PDF of one page."""
    made = await links.create(site.desk, here.account, order())
    code, paper = await get(site.app, path_of(made) + "/qr.svg"), None
    assert code.headers["content-type"] == "image/svg+xml" and re.match(r"<\?xml[^>]*>\s*<svg ", code.text)
    told: list[dict] = []

    async def send(message):
        told.append(message)

    async def receive():
        return {"type": "http.disconnect"}

    await site.app({"type": "http", "method": "GET", "path": path_of(made) + "/invoice.pdf", "raw_path": b"", "query_string": b"", "headers": [],
                    "root_path": "", "scheme": "http", "server": None, "client": None, "http_version": "1.1"}, receive, send)
    paper = b"".join(part.get("body", b"") for part in told[1:])
    assert paper.startswith(b"%PDF-") and paper.rstrip().endswith(b"%%EOF")
    assert dict(told[0]["headers"])[b"content-type"] == b"application/pdf"
