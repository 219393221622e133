"""Payers who left their bank's page: the hosted page and the link's page lead back to it while it waits, and say the end behind it."""
from __future__ import annotations

import asyncio
import html
import itertools
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.applications import Starlette

from ringfence.engine import links
from ringfence.engine.sessions import finishing
from ringfence.linking import begin_on, giving_back, looking, page_on
from ringfence.processors.simulator.scenarios import VISA
from ringfence.web import three_d_secure
from ringfence.web.links import Services, routes
from ringfence.web.texts import TEXTS
from tests.engine.composition import Shop, shop
from tests.engine.linking import desk, order
from tests.engine.recovering import claim_due
from tests.web.asking import Answer, get, post
from tests.web.bank import Bank, back_of, bank, fields_of
from tests.web.paying import TYPED, Browser, cashier_of, routes_of, sessions_of
from tests.web.test_links import cookie_of, path_of

pytestmark = pytest.mark.anyio
ASKED, ORDERS = VISA.number("0601"), (f"R-{number}" for number in itertools.count(1))


class Site:
    """All pages of one process: hosted, of links, and of the payers' banks."""

    def __init__(self, at: Bank) -> None:
        self.bank, one = at, at.process
        self.links = desk(one)
        cashier = giving_back(cashier_of(one), self.links)
        sessions, pages = sessions_of(one), one.challenges.page
        finish = {"aps": finishing(sessions, cashier, at.returning.way)}
        self.app = Starlette(routes=[
            *routes_of(one, cashier), *three_d_secure.routes(at.desk._replace(finish=finish)),
            *routes(Services(
                self.links, one.directory, begin_on(page_on(sessions), self.links, one.directory), looking(sessions, cashier, pages, self.links),
                True, True, asyncio.Lock())),
        ])

    async def approve(self, page: str, action: str = "approve") -> Answer:
        """The payer acts on the bank's page; the browser has not gone on yet."""
        over = await post(self.app, page, {"action": action})
        assert 'data-page="challenge-over"' in over.text
        return over

    async def go_on(self, page: str, over: Answer) -> Answer:
        """... and now it does."""
        return await post(self.app, back_of(page), fields_of(over))


@pytest.fixture
async def site(database: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with bank(database, tmp_path) as (at, _):
        yield Site(at)


@pytest.fixture
async def here(site: Site) -> Shop:
    return await shop(site.bank.process)


@pytest.fixture
def payer(site: Site, here: Shop) -> Browser:
    return Browser(site.app, here)


def button(text: str) -> str:
    """Where the button to the bank leads; "" where there is none.  A link, so that it needs no script."""
    found = re.search(r'<a class="button" id="bank" href="([^"]*)">', text)
    return html.unescape(found[1]) if found else ""


def said(key: str, language: str = "en") -> str:
    return TEXTS[key][language == "ar"]


async def challenged(payer: Browser, **fields: str) -> tuple[str, str]:
    """A payer whose bank asks, on the way there: the hosted page, and the bank's."""
    await payer.buy(next(ORDERS), **fields)
    page = payer.path
    await payer.type(card_number=ASKED)
    assert payer.path.startswith("/3ds/")
    return page, payer.path


@pytest.mark.parametrize("language", ["en", "ar"])
async def test_the_page_leads_back_to_the_bank_that_asks(site, payer, language):
    """By the address the payer was first sent to, in both languages; what is done there is done for this payment."""
    page, at_bank = await challenged(payer, language=language)
    payer.path = page
    await payer.load()
    assert payer.says(said("bank_asks", language)) and payer.says(said("bank_button", language))
    assert button(payer.seen.text) == at_bank and payer.seen.headers["refresh"] == "10"
    shown = await get(site.app, button(payer.seen.text))
    assert 'data-kind="decide"' in shown.text
    ended = await site.go_on(at_bank, await site.approve(at_bank))
    assert ended.headers["location"] == page
    await payer.load()
    assert payer.code == "14000"
    await site.bank.process.prove()


@pytest.mark.parametrize(("action", "sees"), [("approve", ""), ("reject", "problem_not_authenticated"), ("cancel", "problem_not_authenticated")])
async def test_a_payer_who_comes_back_behind_the_end_sees_it(site, payer, action, sees):
    """Although no browser came back from the bank and no job has looked yet: the page itself looks for the result."""
    payer.path, at_bank = await challenged(payer)
    await site.approve(at_bank, action)
    await payer.load()
    assert button(payer.seen.text) == ""
    if sees:
        assert payer.says(said(sees)) and not payer.is_leaving
        await payer.type()
    assert payer.code == "14000"
    await site.bank.process.prove()


async def test_twenty_payers_of_one_page_come_back_at_once(site, payer):
    """The bank has said yes; one look of them charges, the others see that it is in hand or done."""
    payer.path, at_bank = await challenged(payer)
    await site.approve(at_bank)
    seen = await asyncio.gather(*(get(site.app, payer.path) for _ in range(20)))
    assert all("14000" in one.text or said("waiting_title") in one.text for one in seen)
    assert await site.bank.process.value("SELECT count(*) FROM outcomes WHERE result = 'approved'") == 1
    await payer.load()
    assert payer.code == "14000"


async def test_a_challenge_that_is_over_is_not_led_to(site, payer):
    """Too late: the page says so, and asks for a card again."""
    payer.path, _ = await challenged(payer)
    site.bank.process.now.now += timedelta(minutes=10)
    await payer.load()
    assert button(payer.seen.text) == "" and payer.says(said("problem_not_authenticated"))
    assert await claim_due(site.bank.process, "challenge") == []


async def test_a_worker_that_died_before_it_sent_the_payer_on_strands_nobody(site, payer):
    """The session has not heard of the challenge; the page finds it all the same."""
    page, at_bank = await challenged(payer)
    await site.bank.process.fetch("UPDATE page_sessions SET state = 'trying'")
    payer.path = page
    await payer.load()
    assert button(payer.seen.text) == at_bank
    await site.go_on(at_bank, await site.approve(at_bank))
    await payer.load()
    assert payer.code == "14000"


async def test_an_address_made_under_another_key_is_not_offered(site, payer):
    """A challenge of before the key: its address was told once and cannot be told again; the page waits without a button."""
    payer.path, _ = await challenged(payer)
    await site.bank.process.fetch("UPDATE authentications SET token_hash = sha256('other')")
    await payer.load()
    assert button(payer.seen.text) == "" and payer.says(said("waiting_said"))


# ---------------------------------------------------------------------------------------------------------- links

class Holder:
    """The browser of a link's payer."""

    def __init__(self, site: Site, link: links.Link) -> None:
        self.site, self.link, self.cookie = site, link, ""

    async def press(self) -> str:
        """The link's button; where it leads."""
        answer = await post(self.site.app, path_of(self.link), {}, self.headers)
        self.cookie = cookie_of(answer) if "set-cookie" in answer.headers else self.cookie
        return answer.headers["location"]

    @property
    def headers(self) -> dict[str, str]:
        return {"cookie": self.cookie} if self.cookie else {}

    async def look(self, language: str = "en") -> Answer:
        return await get(self.site.app, f"{path_of(self.link)}?language={language}", self.headers)

    async def challenged(self, payer: Browser) -> tuple[str, str]:
        """The payer's bank asks: the hosted page, and the bank's."""
        page = payer.path = await self.press()
        await payer.load()
        await payer.type(card_number=ASKED)
        return page, payer.path


@pytest.fixture
async def holder(site: Site, here: Shop) -> Holder:
    expires = site.bank.process.now() + timedelta(days=3)
    return Holder(site, await links.create(site.links, here.account, order(next(ORDERS), expires_at=expires)))


@pytest.mark.parametrize("language", ["en", "ar"])
async def test_a_links_page_leads_its_payer_back_to_the_bank(site, payer, holder, language):
    """And nobody else who knows the link: strangers read that it is being paid, and could otherwise decide in the payer's place."""
    page, at_bank = await holder.challenged(payer)
    shown = await holder.look(language)
    assert said("bank_asks_link", language) in html.unescape(shown.text) and button(shown.text) == at_bank
    assert "<form" not in shown.text, "it cannot be paid a second time meanwhile"
    assert await holder.press() == at_bank, "the button of an old tab leads there, too"
    for headers in ({}, {"cookie": f"ringfence_payer={'A' * 22}"}):
        stranger = await get(site.app, path_of(holder.link), headers)
        assert at_bank not in stranger.text and page not in stranger.text and "<form" not in stranger.text
        assert said("link_doubt_said") in html.unescape(stranger.text)
        assert (await post(site.app, path_of(holder.link), {}, headers)).status == 409
    await site.go_on(at_bank, await site.approve(at_bank))
    assert said("link_paid_said") in html.unescape((await holder.look()).text)
    await site.bank.process.prove()


@pytest.mark.parametrize("action", ["approve", "reject"])
async def test_a_links_page_says_how_the_challenge_ended(site, payer, holder, action):
    """Also where nobody but the payer's own look carried it on."""
    _, at_bank = await holder.challenged(payer)
    await site.approve(at_bank, action)
    shown = html.unescape((await holder.look()).text)
    if action == "approve":
        assert said("link_paid_said") in shown and "<form" not in shown
        return
    assert said("problem_not_authenticated") in shown and said("nothing_paid") in shown and "<form" in shown
    payer.path = await holder.press()
    await payer.load()
    await payer.type()
    assert payer.says(said("ended_paid"))
    assert said("link_paid_said") in html.unescape((await holder.look()).text)


async def test_a_payment_in_hand_is_led_to_from_the_links_page(site, payer, holder):
    """A card that is just being tried: the payer looks how it stands, on the card page."""
    page = payer.path = await holder.press()
    await payer.load()
    form, session = payer.form(), await sessions_of(site.bank.process).at(page.removeprefix("/pay/"))
    assert form["attempt"] == "0" and await sessions_of(site.bank.process).begin(session, 0, 7)
    shown = await holder.look()
    assert said("link_under_way") in html.unescape(shown.text) and button(shown.text) == page


async def test_a_page_of_a_link_does_not_promise_a_shop(site, payer, holder):
    """Cancel is cancel; the invoice can be paid later, and says so."""
    payer.path = await holder.press()
    await payer.load()
    assert payer.says(said("cancel_here_button")) and not payer.says(said("cancel_button"))
    await payer.give_up()
    assert payer.says(said("ended_cancelled_link_said")) and TYPED["card_number"] not in payer.seen.text
    assert (await holder.look()).text.count("<form") == 1
