"""The pages of a challenge, and every 06NN row of the scheme, as a shop and a browser see them."""
from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from ringfence.api.aps import signature
from ringfence.engine.story import explain
from ringfence.processors.simulator.scenarios import RANGES, VISA
from ringfence.web.texts import TEXTS
from ringfence.web.three_d_secure import read_cres, write_cres
from tests.engine.composition import Shop, shop
from tests.engine.recovering import claim_due
from tests.web.asking import get, post
from tests.web.bank import RETURN, Bank, asked, back_of, bank, fields_of, path_of

pytestmark = pytest.mark.anyio
PUBLISHED = ["4557012345678902", "5313581000123430", "374200000000004", "5297412542005689"]


@pytest.fixture
async def here(database: str, tmp_path: Path) -> AsyncIterator[tuple[Bank, Shop]]:
    async with bank(database, tmp_path) as (desk, _):
        yield desk, await shop(desk.process)


async def look(desk: Bank) -> None:
    for job in await claim_due(desk.process, "challenge"):
        await desk.process.challenges.attempt(job)


# -- every row

AT_ONCE = {
    # scenario: what a flexible and an insisting merchant are answered
    "0600": ("14000", "14000"), "0603": ("14000", "14000"), "0604": ("14000", "10030"), "0605": ("10030", "10030"),
    "0607": ("14000", "10030"), "0609": ("13029", "13029"), "0611": ("14000", "10030"),
}


@pytest.mark.parametrize("scenario", AT_ONCE)
async def test_rows_that_need_no_payer(here, scenario: str):
    """The answer comes at once, and the order says the same."""
    desk, easy = here
    strict = await shop(desk.process, "Strict", three_d_secure="required")
    for who, code in zip((easy, strict), AT_ONCE[scenario], strict=True):
        assert (await asked(who, "R-1", VISA.number(scenario)))["response_code"] == code
        assert (await who.status("R-1"))["transaction_code"] == code
    await desk.process.prove()


ON_THE_PAGE = [
    ("0601", "approve", "", "14000"), ("0601", "code", "1234", "14000"), ("0601", "reject", "", "10030"), ("0601", "cancel", "", "00072"),
    ("0602", "approve", "", "10030"), ("0602", "code", "1234", "10030"), ("0602", "cancel", "", "00072"),
    ("0608", "approve", "", "00072"), ("0610", "approve", "", "14000"), ("0610", "reject", "", "10030"), ("0613", "method", "", "14000"),
    ("0614", "approve", "", "14000"), ("0614", "code", "1234", "14000"), ("0614", "reject", "", "10030"), ("0614", "cancel", "", "00072"),
]


@pytest.mark.parametrize(("scenario", "action", "code", "ends"), ON_THE_PAGE)
async def test_rows_with_a_page(here, scenario: str, action: str, code: str, ends: str):
    """20064 first; what the payer does decides, and the browser brings the shop the signed answer that CHECK_STATUS confirms."""
    desk, payer = here
    answer = await asked(payer, "P-1", VISA.number(scenario))
    assert answer["response_code"] == "20064"
    assert (await desk.get(path_of(answer["3ds_url"]))).status == 200
    fields = await desk.decide(answer["3ds_url"], action, code)
    assert (fields["response_code"], fields["fort_id"], fields["return_url"]) == (ends, answer["fort_id"], RETURN)
    assert fields["signature"] == signed_again(payer, fields)
    assert ("authorization_code" in fields) == (ends == "14000")
    assert (await payer.status("P-1"))["transaction_code"] == ends
    await desk.process.prove()


def signed_again(payer: Shop, fields: dict[str, str]) -> str:
    """What the shop computes."""
    return signature.sign(fields, payer._response, payer._sha_type)


@pytest.mark.parametrize("card", [*PUBLISHED, *(row.number("0601") for row in RANGES)])
async def test_every_brand_can_be_challenged(here, card: str):
    """The published cards, and 0601 of each range; also those that are authenticated whatever the merchant wants."""
    desk, payer = here
    code = {"card_security_code": "7391"} if card.startswith("37") else {}
    answer = await asked(payer, "B-1", card, expiry_date="3512", **code)
    assert answer["response_code"] == "20064"
    assert (await desk.decide(answer["3ds_url"], "approve"))["response_code"] == "14000"


@pytest.mark.parametrize("card", ["4005550000000001", "5123456789012346", "4000009900000004"])
async def test_the_cards_without_3ds_are_not_asked(here, card: str):
    """No payer is asked, whatever the amount."""
    _, payer = here
    assert (await asked(payer, "N-1", card, expiry_date="3512"))["response_code"] == "14000"


async def test_the_third_wrong_code_ends_it(here):
    """Two tries are told, the third fails with reason 19."""
    desk, payer = here
    answer = await asked(payer, "W-1", VISA.number("0601"))
    page = path_of(answer["3ds_url"])
    for left in (2, 1):
        shown = await desk.post(page, action="code", code="0000")
        assert f'data-tries-left="{left}"' in shown.text and 'data-problem="wrong_code"' in shown.text
    assert (await desk.decide(answer["3ds_url"], "code", "0000"))["response_code"] == "10030"
    assert await desk.process.value("SELECT reason FROM authentications") == "19"


async def test_doing_nothing_times_out(here):
    """The page stays; after ten minutes the order is told to have timed out, and the browser with it."""
    desk, payer = here
    answer = await asked(payer, "D-1", VISA.number("0601"))
    page = path_of(answer["3ds_url"])
    assert 'data-problem="nothing"' in (await desk.post(page, action="nothing")).text
    desk.process.now.now += timedelta(minutes=10)
    await look(desk)
    assert (await payer.status("D-1"))["transaction_code"] == "10778"
    assert fields_of(await desk.get(page))["response_code"] == "10778"


async def test_a_browser_that_never_comes_ends_it_after_thirty_seconds(here):
    """The issuer waits half a minute for its first sign."""
    desk, payer = here
    await asked(payer, "D-1", VISA.number("0601"))
    desk.process.now.now += timedelta(seconds=30)
    await look(desk)
    assert (await payer.status("D-1"))["transaction_code"] == "10778"
    assert await desk.process.value("SELECT cancelled FROM authentications") == "05"


async def test_a_result_that_never_comes_is_waited_for(here):
    """0606: the browser says Y, the result message is missing: the page waits without a script, and then it has timed out."""
    desk, payer = here
    answer = await asked(payer, "L-1", VISA.number("0606"))
    page = path_of(answer["3ds_url"])
    over = await desk.post(page, action="approve")
    waits = await desk.post(back_of(page), **fields_of(over))
    assert 'data-page="challenge-waits"' in waits.text
    assert f'<meta http-equiv="refresh" content="3;url={back_of(page)}">' in waits.text
    assert (await payer.status("L-1"))["transaction_code"] == "20064"
    desk.process.now.now += timedelta(minutes=10)
    assert fields_of(await desk.get(back_of(page)))["response_code"] == "10778"


@pytest.mark.parametrize(("scenario", "version"), [("0601", "2.2.0"), ("0614", "2.1.0")])
async def test_a_challenge_keeps_its_version_to_the_end(here, scenario: str, version: str):
    """What the browser carries and what is kept have it; the shop has no field for it, the story tells of an older one."""
    desk, payer = here
    answer = await asked(payer, "V-1", VISA.number(scenario))
    page = path_of(answer["3ds_url"])
    carried = fields_of(await desk.post(page, action="approve"))
    assert read_cres(carried["cres"])["messageVersion"] == version
    fields = fields_of(await desk.post(back_of(page), **carried))
    assert fields["response_code"] == "14000" and version not in fields.values()
    assert await desk.process.value("SELECT version FROM authentications") == version
    story = await explain(desk.process.pool, "V-1", keys=lambda reference: [f"aps:{reference}"])
    assert ("in version 2.1.0 of the protocol" in " ".join(story.sentences)) is (version == "2.1.0")


@pytest.mark.parametrize("action", ["approve", "reject"])
async def test_a_result_of_an_older_version_than_its_challenge_is_none(here, caplog, action: str):
    """0615: the page waits as if nothing had come, and then it has timed out; the log says why."""
    desk, payer = here
    answer = await asked(payer, "O-1", VISA.number("0615"))
    page = path_of(answer["3ds_url"])
    over = await desk.post(page, action=action)
    assert 'data-page="challenge-waits"' in (await desk.post(back_of(page), **fields_of(over))).text
    assert "is of version 2.1.0, its challenge was of 2.2.0" in caplog.text
    assert (await payer.status("O-1"))["transaction_code"] == "20064"
    desk.process.now.now += timedelta(minutes=10)
    assert fields_of(await desk.get(back_of(page)))["response_code"] == "10778"
    assert await desk.process.value("SELECT count(*) FROM outcomes WHERE result = 'approved'") == 0
    await desk.process.prove()


async def test_what_is_decided_elsewhere_comes_by_itself(here):
    """0612: the page waits, and follows when the result is there."""
    desk, payer = here
    answer = await asked(payer, "E-1", VISA.number("0612"))
    page = path_of(answer["3ds_url"])
    shown = await desk.get(page)
    assert 'data-kind="elsewhere"' in shown.text and "refresh" in shown.text
    assert (await desk.post(page, action="approve")).status == 200, "there is no page that decides"
    assert (await payer.status("E-1"))["transaction_code"] == "20064"
    desk.process.now.now += timedelta(seconds=60)
    assert fields_of(await desk.get(back_of(page)))["response_code"] == "14000"


async def test_magic_amounts_choose_a_row(database: str, tmp_path: Path):
    """94NN, of a card that approves everything."""
    async with bank(database, tmp_path) as (desk, _):
        payer = await shop(desk.process, magic_amounts="on")
        answer = await asked(payer, "M-1", VISA.number("0000"), amount="9401")
        assert (await desk.decide(answer["3ds_url"], "approve"))["response_code"] == "14000"
        assert (await asked(payer, "M-2", VISA.number("0000"), amount="9405"))["response_code"] == "10030"
        assert (await asked(payer, "M-3", VISA.number("0000"), amount="9301"))["response_code"] == "14000"


# -- what is true

async def test_a_browser_that_says_yes_where_the_issuer_said_no_is_not_believed(here):
    """CRes Y, RReq N: N."""
    desk, payer = here
    answer = await asked(payer, "T-1", VISA.number("0602"))
    page = path_of(answer["3ds_url"])
    await desk.post(page, action="approve")
    fields = fields_of(await desk.post(back_of(page), cres=write_cres("forged", "Y")))
    assert fields["response_code"] == "10030"


async def test_a_browser_that_says_yes_before_anything_was_decided_waits(here):
    """A result that a browser brings alone is none."""
    desk, payer = here
    answer = await asked(payer, "T-1", VISA.number("0601"))
    page = path_of(answer["3ds_url"])
    for cres in (write_cres("x", "Y"), "not base64!", "", "e30", "A" * 13_000):
        assert 'data-page="challenge-waits"' in (await desk.post(back_of(page), cres=cres)).text
    assert (await payer.status("T-1"))["transaction_code"] == "20064"
    assert (await desk.decide(answer["3ds_url"], "approve"))["response_code"] == "14000"


async def test_whatever_is_sent_again_shows_where_things_stand(here):
    """Twenty returns, a changed mind, the first page again: one charge, one answer."""
    desk, payer = here
    answer = await asked(payer, "R-1", VISA.number("0601"))
    page = path_of(answer["3ds_url"])
    over = fields_of(await desk.post(page, action="approve"))
    returned = await asyncio.gather(*(desk.post(back_of(page), **over) for _ in range(20)))
    assert all(fields_of(one).get("response_code") == "14000" or 'data-page="challenge-waits"' in one.text for one in returned)
    first = fields_of(await desk.get(page))
    assert first["response_code"] == "14000"
    assert (await desk.post(page, action="reject")).status == 200
    assert fields_of(await desk.get(back_of(page))) == first
    assert await desk.process.value("SELECT count(*) FROM outcomes WHERE result = 'approved'") == 1
    await desk.process.prove()


async def test_another_worker_takes_the_browser(database: str, tmp_path: Path):
    """Pages, results and payments are no process's own."""
    async with bank(database, tmp_path) as (desk, _), bank(database, tmp_path, 2) as (second, _):
        payer = await shop(desk.process)
        await second.process.directory.load()
        second.process.code_box = desk.process.code_box
        second.process.challenges._box = desk.process.code_box
        answer = await asked(payer, "X-1", VISA.number("0601"))
        over = await second.post(path_of(answer["3ds_url"]), action="approve")
        fields = fields_of(await second.post(back_of(path_of(answer["3ds_url"])), **fields_of(over)))
        assert fields["response_code"] == "14000"


# -- who may see what

@pytest.mark.parametrize("address", ["x", "1-1-AAAAAAAAAAAAAAAAAAAAAA", "1-zz-AAAAAAAAAAAAAAAAAAAAAA", "99999999999-1-" + "A" * 22, "1--" + "A" * 22, "%00"])
async def test_an_address_that_nobody_was_told_shows_nothing(here, address: str):
    """404, the same page for whatever is wrong."""
    desk, _ = here
    for answer in (await desk.get(f"/3ds/{address}"), await desk.post(f"/3ds/{address}", action="approve"), await desk.get(f"/3ds/return/{address}")):
        assert answer.status == 404 and "no longer there" in answer.text


async def test_a_secret_that_is_wrong_in_one_place_shows_nothing(here):
    """And decides nothing."""
    desk, payer = here
    page = path_of((await asked(payer, "S-1", VISA.number("0601")))["3ds_url"])
    wrong = page[:-1] + ("0" if page[-1] != "0" else "1")
    assert (await desk.post(wrong, action="approve")).status == 404
    assert 'data-kind="decide"' in (await desk.get(page)).text


async def test_the_address_is_not_stored(here):
    """Only its hash is, so that whoever reads the database cannot act for a payer."""
    desk, payer = here
    secret = (await asked(payer, "S-1", VISA.number("0601")))["3ds_url"].rpartition("-")[2]
    assert len(secret) == 32
    for row in await desk.process.fetch("SELECT a::text AS text FROM authentications a UNION ALL SELECT o::text FROM outcomes o"):
        assert secret not in row["text"]


async def test_pages_are_guarded(here):
    """No cache, no referrer, no script but ours, framed by the shop it leads back to and by nobody else."""
    desk, payer = here
    page = path_of((await asked(payer, "G-1", VISA.number("0601")))["3ds_url"])
    over = await desk.post(page, action="approve")
    for answer in (over, await desk.post(back_of(page), **fields_of(over))):
        assert answer.headers["cache-control"] == "no-store" and answer.headers["referrer-policy"] == "no-referrer"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy
        assert policy.endswith("frame-ancestors 'self' https://shop.example")
        assert "<button>" in answer.text, "works without a script"


async def test_a_page_is_written_in_the_language_of_the_request(here):
    """Arabic from right to left, and with what a program needs to read it."""
    desk, payer = here
    page = path_of((await asked(payer, "A-1", VISA.number("0601"), language="ar"))["3ds_url"])
    shown = (await desk.get(page)).text
    assert '<html lang="ar" dir="rtl">' in shown and "موافقة" in shown
    assert re.search(r'<main data-page="challenge" data-kind="decide" data-scenario="0601" data-tries-left="3">', shown)
    assert 'data-amount="1000" data-currency="AED"' in shown and "400000******0007" in shown


@pytest.mark.parametrize(("body", "kind"), [
    (b"action=approve", "text/plain"), (b"action=approve&action=reject", ""), (b"x" * 20_000, ""), (b"\xff\xfe=1", ""), (b"&".join([b"a=1"] * 40), ""),
])
async def test_a_form_that_is_none_decides_nothing(here, body: bytes, kind: str):
    """400, and the page is still there."""
    desk, payer = here
    page = path_of((await asked(payer, "F-1", VISA.number("0601")))["3ds_url"])
    assert (await post(desk.app, page, body, {"content-type": kind} if kind else None)).status == 400
    assert 'data-kind="decide"' in (await get(desk.app, page)).text


async def test_a_shop_without_an_address_leaves_the_payer_with_us(here):
    """The payment is made all the same, and nobody is sent anywhere; nor to an origin that the merchant did not name."""
    desk, payer = here
    answer = await payer.purchase("Q-1", card_number=VISA.number("0601"))
    over = await desk.post(path_of(answer["3ds_url"]), action="approve")
    ended = await desk.post(back_of(path_of(answer["3ds_url"])), **fields_of(over))
    assert TEXTS["ended_paid"][0] in ended.text and "<form" not in ended.text
    assert (await payer.status("Q-1"))["transaction_code"] == "14000"


NARROWED = {"approve": "ended_paid", "reject": "ended_declined", "cancel": "ended_cancelled"}


@pytest.mark.parametrize("action", NARROWED)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_payer_is_not_sent_to_an_origin_that_was_struck_off_meanwhile(database: str, tmp_path: Path, caplog, action: str, method: str):
    """The list is the one of the moment of leaving: the end stands on a page of ours, and the log names merchant and origin."""
    async with bank(database, tmp_path) as (desk, _):
        payer = await shop(desk.process, return_origins="https://shop.example", return_method=method)
        answer = await asked(payer, "L-1", VISA.number("0601"))
        await desk.process.directory.change(payer.identifier, {"return_origins": "https://new.example"})
        page = path_of(answer["3ds_url"])
        ended = await desk.post(back_of(page), **fields_of(await desk.post(page, action=action)))
        assert ended.status == 200 and "location" not in ended.headers
        assert TEXTS[NARROWED[action]][0] in ended.text
        assert "shop.example" not in ended.text + ended.headers["content-security-policy"] and "<form" not in ended.text
        assert f"a payer of merchant {payer.identifier} is not sent to https://shop.example" in caplog.text and "order=1" not in caplog.text
        await desk.process.directory.change(payer.identifier, {"return_origins": "https://new.example,https://shop.example"})
        assert RETURN in (await desk.get(back_of(page))).text.replace("&amp;", "&"), "and is once it may be again"


async def test_behind_an_enrolment_the_address_is_judged_again(database: str, tmp_path: Path, caplog):
    """merchant_3ds_url was allowed when it was given."""
    async with bank(database, tmp_path) as (desk, _):
        payer = await shop(desk.process, return_origins="https://shop.example")
        enrolled = await payer.ask(
            service_command="3DS_ENROLLMENT", merchant_reference="EN-1", amount="1000", currency="AED", card_number=VISA.number("0601"),
            expiry_date="3512", merchant_3ds_url="https://shop.example/3ds?order=1", language="ar")
        page = path_of(enrolled["3ds_url"])
        over = await desk.post(page, action="approve")
        await desk.process.directory.change(payer.identifier, {"return_origins": "https://new.example"})
        ended = await desk.post(back_of(page), **fields_of(over))
        assert ended.status == 200 and TEXTS["bank_not_back_said"][1] in ended.text
        assert "shop.example" not in ended.text and "<form" not in ended.text and "location" not in ended.headers
        assert "is not sent to https://shop.example" in caplog.text and "order=1" not in caplog.text
        found = await payer.ask(service_command="3DS_AUTHENTICATION", merchant_reference="EN-1", threeds_id=enrolled["threeds_id"])
        assert (found["response_code"], found["3ds_status"]) == ("44000", "Y"), "the result is the merchant's all the same"
        await desk.process.directory.change(payer.identifier, {"return_origins": "https://shop.example"})
        back = await desk.get(back_of(page))
        assert 'action="https://shop.example/3ds?order=1"' in back.text and fields_of(back)["threeds_id"] == enrolled["threeds_id"]


async def test_the_channel_names_the_way_back(database: str, tmp_path: Path):
    """Where the request does not: by GET where the account says so."""
    async with bank(database, tmp_path) as (desk, _):
        payer = await shop(desk.process, return_url="https://shop.example/channel?x=1", return_method="GET")
        answer = await payer.purchase("Q-1", card_number=VISA.number("0601"))
        page = path_of(answer["3ds_url"])
        ended = await desk.post(back_of(page), **fields_of(await desk.post(page, action="approve")))
        assert 'href="https://shop.example/channel?x=1&amp;' in ended.text and "response_code=14000" in ended.text


async def test_an_address_with_one_of_our_names_gets_the_answer_by_post(database: str, tmp_path: Path):
    """As behind a page: by GET a client would read the wrong one."""
    async with bank(database, tmp_path) as (desk, _):
        payer = await shop(desk.process, return_method="GET")
        url = "https://shop.example/back?fort_id=7"
        answer = await payer.purchase("Q-1", card_number=VISA.number("0601"), return_url=url)
        page = path_of(answer["3ds_url"])
        ended = await desk.post(back_of(page), **fields_of(await desk.post(page, action="approve")))
        assert f'action="{url}"' in ended.text and fields_of(ended)["fort_id"] == answer["fort_id"]


def test_what_a_browser_carries_is_read_without_believing_it():
    """Its shape only."""
    assert read_cres(write_cres("r", "Y")) == {
        "messageType": "CRes", "messageVersion": "2.2.0", "threeDSServerTransID": "r", "transStatus": "Y"}
    for text in ("", "é", "W10", "eA", "x" * 20_000):
        assert read_cres(text) is None
