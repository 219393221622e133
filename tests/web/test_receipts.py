"""The pages of receipts: what a shopper sees, who finds one, and what a stranger learns."""
from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from ringfence.core.card import Pan
from ringfence.core.receipt_sheet import as_text, sheet
from ringfence.engine import receipt_forms
from ringfence.engine.look_up_rates import OF_CALLER, OF_CARD, LookUpRates
from ringfence.engine.rates import Rates
from ringfence.web.receipts import Services, nowhere, routes
from tests.engine.composition import NOW, Process, Shop, process, shop
from tests.engine.stores import Store
from tests.engine.test_receipts import REFUND, Till
from tests.web.asking import Answer, get, post

pytestmark = pytest.mark.anyio
HOSTILE = "\"><script>alert(1)</script>'&"
DAY = f"{NOW:%Y-%m-%d}"


class Counter:
    """The pages of one merchant's receipts."""

    def __init__(self, till: Till, rates: LookUpRates) -> None:
        self.till, self.identifier = till, till.here.identifier

        async def read(request: Request) -> bytes:
            return await request.body()

        self.app = Starlette(routes=routes(Services(
            till.receipts, till.one.directory, rates.wait, read, True, asyncio.Lock())))

    async def ask(self, tail: str = "0004", date: str = DAY, amount: str = "18.40", store: str = "", language: str = "en") -> Answer:
        return await post(
            self.app, f"/receipts/{self.identifier}?language={language}", {"tail": tail, "date": date, "amount": amount, "store": store})


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database) as running:
        yield running


@pytest.fixture
async def here(one: Process) -> Shop:
    return await shop(one)


@pytest.fixture
async def till(here: Shop, one: Process) -> Till:
    return Till(await Store(here).built(), one, here)


@pytest.fixture
def rates(tmp_path: Path):
    made = Rates(tmp_path / "rates", lambda: 1_000.0)           # however slow the machine is, nobody gets a try back meanwhile
    yield LookUpRates(made)
    made.close()


@pytest.fixture
def counter(till: Till, rates: LookUpRates) -> Counter:
    return Counter(till, rates)


async def test_a_receipt_is_found_and_read(counter: Counter, till: Till):
    """As a page, as text, and in the other language; nothing on it runs, and nobody keeps it."""
    trip = await till.charged(1840)
    found = await counter.ask()
    assert found.status == 303 and found.headers["location"].startswith("/r/")
    page = await get(counter.app, found.headers["location"])
    receipt = (await till.of(trip))[0].receipt
    assert page.status == 200 and receipt_forms.as_fragment(sheet(receipt, is_test=True)) in page.text and "<script" not in page.text
    assert page.headers["cache-control"] == "no-store" and "unsafe" not in page.headers["content-security-policy"]
    path = found.headers["location"].partition("?")[0]
    text = await get(counter.app, f"{path}/receipt.txt")
    assert text.text == as_text(sheet(receipt, is_test=True)) and text.headers["content-type"] == "text/plain; charset=utf-8"
    assert 'dir="rtl"' in (await get(counter.app, f"{path}?language=ar")).text and "مقبولة" in (await get(counter.app, f"{path}?language=ar")).text


async def test_as_paper(counter: Counter, till: Till):
    trip = await till.charged(1840)
    sale, = await till.of(trip)
    told: list[dict] = []

    async def send(message):
        told.append(message)

    async def receive():
        return {"type": "http.disconnect"}

    await counter.app({
        "type": "http", "method": "GET", "path": f"/r/{sale.address}/receipt.pdf", "raw_path": b"", "query_string": b"", "headers": [],
        "root_path": "", "scheme": "http", "server": None, "client": None, "http_version": "1.1"}, receive, send)
    assert b"".join(part.get("body", b"") for part in told[1:]) == receipt_forms.as_pdf(sheet(sale.receipt, is_test=True))
    assert dict(told[0]["headers"])[b"content-type"] == b"application/pdf"


async def test_refunds_stand_beside_the_sale(counter: Counter, till: Till):
    trip = await till.charged(1840)
    await till.store.refund(trip, 425, REFUND)
    page = await get(counter.app, (await counter.ask()).headers["location"])
    refund = (await till.of(trip))[1]
    assert f'/r/{refund.address}?language=en"' in page.text and "USD 4.25" in page.text
    other = await get(counter.app, f"/r/{refund.address}")
    assert "REFUNDED" in other.text and "USD 18.40" in other.text


@pytest.mark.parametrize("wrong", [
    {"tail": "0005"}, {"amount": "18.41"}, {"amount": "1840"}, {"date": "2020-01-01"}, {"store": "STORE-2"},
    {"tail": "9999", "amount": "99999", "date": "2020-01-01"}])
async def test_nearly_is_not_told_from_not_at_all(counter: Counter, till: Till, wrong: dict):
    """But for what was typed the answer is the same, byte for byte, and it says no more than a merchant without stores would."""
    await till.charged(1840)
    near, = [await counter.ask(**wrong)]
    nothing = await counter.ask(tail="1111", amount="77.77", date="2021-02-03")

    def blank(answer: Answer, **typed: str) -> str:
        text = answer.text
        for value in typed.values():
            text = text.replace(f'value="{value}"', 'value=""')
        return text

    typed = {"tail": "0004", "date": DAY, "amount": "18.40", "store": ""} | wrong
    assert near.status == nothing.status == 404 and near.headers.keys() == nothing.headers.keys()
    assert blank(near, **typed) == blank(nothing, tail="1111", amount="77.77", date="2021-02-03")


async def test_a_trip_that_is_not_charged_is_not_found(counter: Counter, till: Till):
    await till.store.enter()
    assert (await counter.ask(amount="20.00")).status == 404


async def test_several_visits_are_listed(counter: Counter, till: Till):
    for _ in range(2):
        await till.charged(1840)
    page = await counter.ask()
    assert page.status == 200 and page.text.count('href="/r/') == 2 and "Corner Store" in page.text


@pytest.mark.parametrize(("typed", "word"), [
    ({"tail": "004"}, "last four digits"), ({"tail": "4000009900000004"}, "last four digits"), ({"tail": "00a4"}, "last four digits"),
    ({"date": "21.11.2026"}, "day of the visit"), ({"date": "2026-02-30"}, "day of the visit"), ({"date": ""}, "day of the visit"),
    ({"amount": "-1"}, "amount in digits"), ({"amount": "1e3"}, "amount in digits"), ({"amount": "NaN"}, "amount in digits"),
    ({"amount": "1.23456"}, "amount in digits"), ({"amount": "9" * 30}, "amount in digits"), ({"store": "A B"}, "store number"),
    ({"store": HOSTILE}, "store number")])
async def test_what_cannot_be_is_said_beside_its_field(counter: Counter, typed: dict, word: str):
    """And typed text comes back as text."""
    page = await counter.ask(**typed)
    assert page.status == 422 and word in page.text and 'aria-invalid="true"' in page.text and "<script>" not in page.text


@pytest.mark.parametrize("typed", [
    {"amount": "18,40"}, {"amount": " 18.4 "}, {"tail": "\u0660\u0660\u0660\u0664", "amount": "\u0661\u0668\u066b\u0664\u0660"}, {"store": "STORE-1"}])
async def test_amounts_may_be_written_as_people_write_them(counter: Counter, till: Till, typed: dict):
    await till.charged(1840)
    assert (await counter.ask(**typed)).status == 303


async def test_asking_is_limited(counter: Counter, till: Till):
    """Whoever guesses the amount of a card is stopped soon, whether right or wrong; others, and other cards, are not."""
    await till.charged(1840)
    answers = [await counter.ask(amount=f"{number}.00") for number in range(1, OF_CARD.burst + 1)]
    assert {answer.status for answer in answers} == {404}
    for amount in ("7.77", "18.40"):
        stopped = await counter.ask(amount=amount)
        assert stopped.status == 429 and 1 <= int(stopped.headers["retry-after"]) <= 60 and "too often" in stopped.text
    assert (await counter.ask(tail="1234")).status == 404


def test_a_caller_s_tries_count_together(rates: LookUpRates):
    """Over all cards; a network of IPv6 is one caller, and another caller is another."""
    waits = [rates.wait("192.0.2.7", 1, f"{number:04}") for number in range(OF_CALLER.burst + 1)]
    assert waits[:-1] == [0] * OF_CALLER.burst and waits[-1] >= 1
    assert rates.wait("192.0.2.8", 1, "0000") == 0 and rates.wait("192.0.2.7", 2, "0000") == 0
    for number in range(OF_CARD.burst):
        assert rates.wait(f"2001:db8::{number}", 1, "7777") == 0
    assert rates.wait("2001:db8::ffff", 1, "7777") > 0 and rates.wait("2001:db8:0:1::1", 1, "7777") == 0


async def test_an_address_that_was_never_given_out_says_nothing(counter: Counter, till: Till):
    """One answer for all of them, on every path; also for merchants that are not there."""
    trip = await till.charged(1840)
    sale, = await till.of(trip)
    answers = [
        await get(counter.app, f"/r/{address}{end}") for address in ("x", "A" * 38, sale.address[1:], "%00", "é")
        for end in ("", "/receipt.pdf", "/receipt.txt")]
    answers += [await get(counter.app, "/receipts/nobody"), await post(counter.app, "/receipts/nobody", {})]
    assert {(answer.status, answer.text) for answer in answers} == {(404, nowhere("en").body.decode())}


async def test_a_form_that_is_none(counter: Counter):
    assert (await post(counter.app, f"/receipts/{counter.identifier}", b"%ff")).status == 400
    assert (await post(counter.app, f"/receipts/{counter.identifier}", b"tail=1&tail=2")).status == 400


async def test_the_store_may_come_with_the_address(counter: Counter):
    """As in a code at the store's door; nothing else does."""
    assert 'value="STORE-1"' in (await get(counter.app, f"/receipts/{counter.identifier}?store=STORE-1&amount=18.40")).text
    page = await get(counter.app, f"/receipts/{counter.identifier}?store=%22%3E%3Cscript%3E&language=ar")
    assert "script" not in page.text.replace("script-src", "") and 'dir="rtl"' in page.text


async def test_what_people_wrote_is_text_on_the_page(counter: Counter, till: Till):
    await till.one.directory.change(till.here.identifier, {}, name=f"Shop {HOSTILE}")
    await till.store.built(title=HOSTILE, address=(HOSTILE,))
    await till.charged(1840)
    page = await get(counter.app, (await counter.ask()).headers["location"])
    assert "<script" not in page.text and page.text.count("&lt;script&gt;") == 3
    assert "<script" not in (await get(counter.app, f"/receipts/{counter.identifier}")).text


async def test_nothing_tells_the_whole_number_or_the_expiry(counter: Counter, till: Till):
    """On no page, and in none of its answers."""
    await till.charged(1840, pan=Pan("4000009900000004"), expiry="3912")
    found = await counter.ask()
    path = found.headers["location"].partition("?")[0]
    for end in ("", "?language=ar", "/receipt.txt"):
        text = (await get(counter.app, path + end)).text
        assert "4000009900000004" not in text and "40000099" not in text
        assert not re.search(r"(?<![\w-])(?:3912|12/39|39/12|(?:12/)?2039)(?![\w-])", text), "an expiry; an id or an address may hold its digits"
