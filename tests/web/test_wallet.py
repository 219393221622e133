"""The pages of payers who are sent away, without a screen: what they hold, guard and lead to."""
from __future__ import annotations

import html
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette

from ringfence.api.ppro.returning import Returning
from ringfence.core.redirection import Recurrence, Redirect, Stand
from ringfence.engine.redirects import Seen
from ringfence.redirecting import confirming, sending_away, wallet_desk, ways_to_agree
from ringfence.web import wallet
from tests.api.ppro.asking import Client, charge
from tests.engine.composition import BASE_URL, Process, Shop
from tests.web import asking

pytestmark = pytest.mark.anyio
RETURN = "https://shop.example/return?order=1001#top"
SESSION = "amazonCheckoutSessionId"


class Wallets:
    """The pages in front of one process, and a merchant's client."""

    def __init__(self, one: Process, here: Shop) -> None:
        self.one, self.here, self.client = one, here, Client(one, here.identifier)
        returning = Returning(one.reading, one.directory, self.client.service.names, is_live=False)
        self.app = Starlette(routes=wallet.routes(wallet_desk(one.redirects, returning, is_live=False)))

    async def charge(self, **fields: Any) -> tuple[dict[str, Any], str]:
        """A charge whose consumer is sent away, and the path of his page."""
        made = (await self.client.post("/payment-charges", charge(1000, **{
            "paymentMethod": "AMAZON_PAY", "instrument": None,
            "authenticationSettings": [{"type": "REDIRECT", "settings": {"returnUrl": RETURN}}], **fields}))).body
        assert made["status"] == "AUTHENTICATION_PENDING", made
        return made, made["authenticationMethods"][0]["details"]["requestUrl"].removeprefix(BASE_URL)

    async def mock(self, ways: str = "REDIRECT", **fields: Any) -> tuple[dict[str, Any], str]:
        return await self.charge(
            paymentMethod="MOCK", paymentDescriptor=f"requiresAuthentication=true;authenticationType=REDIRECT,{ways}", **fields)

    async def get(self, path: str) -> asking.Answer:
        return await asking.get(self.app, path)

    async def post(self, path: str, **fields: str) -> asking.Answer:
        return await asking.post(self.app, path, fields)

    async def status(self, made: dict[str, Any]) -> str:
        return (await self.client.read(made))["status"]


@pytest.fixture(scope="module")
async def wallets(one: Process, here: Shop) -> Wallets:
    return Wallets(one, here)


def hidden(answer: asking.Answer) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', answer.text)}


def link(answer: asking.Answer) -> str:
    found = re.search(r'id="leave" rel="noreferrer" href="([^"]+)"', answer.text)
    return html.unescape(found[1]) if found else ""


async def test_the_payload_reaches_the_wallet_character_for_character(wallets: Wallets):
    """By a form that works without a script; the wallet's origin is the only other one that the page knows."""
    _, path = await wallets.charge()
    page = await wallets.get(path)
    fields = hidden(page)
    address = path.rpartition("/")[2]
    assert fields["payloadJSON"] == json.dumps({
        "result": f"{BASE_URL}/wallet/return/{address}", "cancel": f"{BASE_URL}/wallet/cancel/{address}", "amount": 1000})
    assert (fields["signature"], fields["algorithm"], fields["publicKeyId"], fields["merchantId"]) == (
        "sig/+=", "AMZN-PAY-RSASSA-PSS-V2", "SANDBOX-1", "A1")
    assert 'action="https://wallet.example/amazon/checkout"' in page.text and 'data-by-itself="yes"' in page.text
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["script-src"] == "'self' https://wallet.example" and policy["form-action"] == "'self' https://wallet.example"
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert (await wallets.get(path)).text == page.text


async def test_an_arabic_payer_reads_arabic(wallets: Wallets):
    _, path = await wallets.charge(consumer={"name": "Sara", "country": "US", "locale": "ar-AE"})
    page = await wallets.get(path)
    assert '<html lang="ar" dir="rtl">' in page.text and hidden(page)["checkoutLanguage"] == "ar_AE"


@pytest.mark.parametrize(("stand", "status", "way"), [
    (Stand.APPROVED, "CAPTURED", "return"), (Stand.CANCELED, "FAILED", "cancel"), (Stand.DECLINED, "FAILED", "return"),
])
async def test_the_browser_goes_back_to_the_shop(wallets: Wallets, stand: Stand, status: str, way: str):
    """The same address however it ended: its own query and fragment kept, the charge's id appended."""
    made, path = await wallets.charge()
    wallets.one.wallet.sessions[f"s-{stand}"] = Seen(stand)
    page = await wallets.get(f"{path.replace('/wallet/', f'/wallet/{way}/')}?{SESSION}=s-{stand}")
    assert link(page) == f"https://shop.example/return?order=1001&payment-charge-id={made['id']}#top" and "/static/leave." in page.text
    assert await wallets.status(made) == status
    later = await wallets.get(path)
    assert link(later) == link(page) and "/static/leave." not in later.text, "who comes later reads how it ended, and may leave"
    assert 'action="https://wallet.example' not in later.text


@pytest.mark.parametrize("query", ["", f"?{SESSION}=", f"?{SESSION}=../x", f"?{SESSION}=a&{SESSION}=b", f"?{SESSION}={'x' * 101}", "?status=approved"])
async def test_what_an_address_says_ends_nothing(wallets: Wallets, query: str):
    """A browser without a session is shown the way to the wallet again, and is not sent there by itself."""
    made, path = await wallets.charge()
    looked = len(wallets.one.wallet.looked)
    for way in ("return", "cancel"):
        page = await wallets.get(path.replace("/wallet/", f"/wallet/{way}/") + query)
        assert page.status == 200 and 'data-by-itself="no"' in page.text
    assert len(wallets.one.wallet.looked) == looked and await wallets.status(made) == "AUTHENTICATION_PENDING"


async def test_a_wallet_that_says_nothing_is_waited_for(wallets: Wallets):
    """The page looks again without any script, at the same place."""
    made, path = await wallets.charge()
    back = path.replace("/wallet/", "/wallet/return/")
    page = await wallets.get(f"{back}?{SESSION}=silent-1")
    assert 'data-page="wallet-waits"' in page.text and f'content="3;url={back}"' in page.text
    wallets.one.wallet.sessions["silent-1"] = Seen(Stand.APPROVED)
    assert link(await wallets.get(back)) and await wallets.status(made) == "CAPTURED"


@pytest.mark.parametrize(("action", "status"), [("succeed", "CAPTURED"), ("fail", "FAILED"), ("cancel", "FAILED")])
async def test_a_mock_payer_acts(wallets: Wallets, action: str, status: str):
    made, path = await wallets.mock()
    page = await wallets.get(path)
    assert 'data-page="wallet-act"' in page.text and 'data-amount="1000" data-currency="USD"' in page.text
    assert re.findall(r'<button[^>]* name="action" value="(\w+)"', page.text) == ["succeed", "fail", "cancel"]
    done = await wallets.post(path, action=action)
    assert link(done).endswith(f"payment-charge-id={made['id']}#top") and await wallets.status(made) == status
    assert link(await wallets.post(path, action="succeed")) and await wallets.status(made) == status, "the first word counts"


async def test_a_code_to_scan_is_a_picture(wallets: Wallets):
    """Only where it was asked for."""
    made, path = await wallets.mock("SCAN_CODE")
    code = next(one["details"]["codeImage"] for one in made["authenticationMethods"] if one["type"] == "SCAN_CODE").removeprefix(BASE_URL)
    picture = await wallets.get(code)
    assert picture.headers["content-type"] == "image/svg+xml" and picture.text.count("<svg") == 1
    assert f'src="{code}"' in (await wallets.get(path)).text
    _, other = await wallets.charge()
    assert (await wallets.get(other.replace("/wallet/", "/wallet/code/"))).status == 404


@pytest.mark.parametrize("address", ["x", "A" * 38, "A" * 37 + "B", "é" * 38, "A" * 400])
async def test_who_knows_no_address_learns_nothing(wallets: Wallets, address: str):
    for path in (f"/wallet/{address}", f"/wallet/return/{address}", f"/wallet/cancel/{address}?{SESSION}=x", f"/wallet/code/{address}"):
        assert (await wallets.get(path)).status == 404
    assert (await wallets.post(f"/wallet/{address}", action="succeed")).status == 404


async def test_a_form_that_cannot_be_read_changes_nothing(wallets: Wallets):
    made, path = await wallets.mock()
    for body, kind in ((b"{}", "application/json"), (b"action=" + b"x" * 5_000, "application/x-www-form-urlencoded"),
                       (b"action=%ff", "application/x-www-form-urlencoded"), (b"action=succeed&action=fail", "application/x-www-form-urlencoded")):
        assert (await asking.post(wallets.app, path, body, {"content-type": kind})).status == 400
    assert 'data-page="wallet-act"' in (await wallets.post(path, action="other")).text
    assert await wallets.status(made) == "AUTHENTICATION_PENDING"
    _, away = await wallets.charge()
    assert 'data-by-itself="no"' in (await wallets.post(away, action="succeed")).text, "nobody acts here for a wallet"


async def test_an_agreement_goes_back_with_its_own_name(wallets: Wallets):
    """Without a charge only the agreement is named."""
    merchant_id = wallets.here.account.merchant_id
    await wallets.one.redirects.begin(merchant_id, 4711, Redirect("MOCK", 60, leave_url=RETURN), 9000, "USD")
    path = wallets.one.redirects.path(merchant_id, 4711)
    assert "data-amount" not in (await wallets.get(path)).text
    agreement = wallets.client.service.names.make("agr", 4711)
    assert link(await wallets.post(path, action="succeed")) == f"https://shop.example/return?order=1001&payment-agreement-id={agreement}#top"
    assert "Thank you" in (await wallets.get(path)).text


async def test_what_agreements_send_away_with(wallets: Wallets):
    """The seams that the composition hands to agreements: sending away, the ways to act, and a code."""
    one, account = wallets.one, wallets.here.account
    send_away, ways, confirm = sending_away(one.redirects), ways_to_agree(one.redirects, one.directory), confirming(one.redirects)
    for number, way in ((5001, "MULTI_FACTOR"), (5002, "REDIRECT")):
        away: Any = SimpleNamespace(
            method="MOCK", language="en", ways=(way,), leave_url=RETURN, often="MONTHLY", every=2, minor=900 if number == 5001 else None,
            currency="USD" if number == 5001 else "")
        assert await send_away(account, number, away)
    first, second = [await one.redirects.of(account.merchant_id, number) for number in (5001, 5002)]
    assert first is not None and second is not None
    assert (first.agreed, first.minor, first.currency, first.agreement_id, first.payment_id) == (Recurrence("Month", 2, 900), 900, "USD", 5001, 0)
    assert (second.agreed, second.minor, second.currency) == (Recurrence("Month", 2, None), 0, "USD")
    assert ways(account.merchant_id, 5002, ("REDIRECT",), one.now.now) == [{"type": "REDIRECT", "details": {
        "requestUrl": one.redirects.url(account.merchant_id, 5002), "requestMethod": "GET"}}]
    assert not await confirm(account.merchant_id, 5002, "123456") and not await confirm(account.merchant_id, 5003, "123456")
    assert await confirm(account.merchant_id, 5001, "123456")
    ended = await one.redirects.of(account.merchant_id, 5001)
    assert ended is not None and ended.why == "approved" and ended.ended_at is not None
