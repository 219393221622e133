"""3-D Secure on the APS wire: which payments demand it, E3 to E5, the results that requests bring along, and the two operations."""
from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from ringfence.api.aps import notifications
from ringfence.api.aps.returning import Returning
from ringfence.core.authentication import Status
from ringfence.core.outcomes import Approved, NotAsked
from ringfence.engine import feed
from ringfence.engine.authenticating import read_address
from ringfence.engine.authentication import ruled
from ringfence.processors.authenticator import Said
from tests.api.aps.dialogue import golden
from tests.engine.composition import AUTHENTICATED, CARD, NOW, REJECTED, Process, Shop, Time, process, shop

pytestmark = pytest.mark.anyio
MADA, MEEZA, AMEX = "5297412542005689", "5078036221028566", "345678901234564"


@pytest.fixture
async def one(database: str):
    async with process(database) as running:
        yield running


@pytest.fixture
async def here(one: Process) -> Shop:
    return await shop(one)


async def come_back(one: Process, answer: dict) -> None:
    """The payer's browser returns."""
    address = read_address(answer["3ds_url"].rpartition("/")[2])
    await one.challenges.carry_on(address.merchant_id, address.authentication_id)


async def told(here: Shop) -> list[tuple[str, dict]]:
    """All feedback so far: purpose and body."""
    async with here.process.pool.acquire() as connection:
        page, _ = await feed.read(connection, {}, 1_000)
    notifier = notifications.notifier(10.0)
    return [(message.purpose, json.loads(message.body)) for event in page for message in notifier.messages(here.account, event)]


# -- the published exchanges

async def test_the_published_exchange_with_a_challenge(database: str):
    """E3 is answered with E4; behind the challenge E5 is the direct feedback, and what the browser brings to the shop."""
    exchanges = {name: row["body"] for name, row in golden("exchanges.json").items()}
    async with process(database, now=Time(NOW)) as two:
        published = await two.merchant("CycHZxVj", access_code="zx0IPmPy5jp1vAz8Kpg7", request="reqPhrase01", response="resPhrase01")
        await published.token(exchanges["E3"]["token_name"], card_number="4557012345678902", expiry_date="3005", card_holder_name="Sara Ali")
        two.ids.append(int(exchanges["E5"]["fort_id"]))
        two.issuers.challenge("E4")
        answer = await published.post(exchanges["E3"])
        assert {**answer, "3ds_url": "", "signature": ""} == {**exchanges["E4"], "3ds_url": "", "signature": ""}
        two.issuers.results["E4"] = AUTHENTICATED
        two.processor.say(Approved(10_000, "742138", "012345678901234", "000000000001"))
        assert await told(published) == []
        await come_back(two, answer)
        assert await told(published) == [("feedback", exchanges["E5"])]
        way = await Returning(two.reading, two.directory, is_live=False).way(published.account.merchant_id, int(exchanges["E5"]["fort_id"]))
        assert way == (exchanges["E3"]["return_url"], "POST", exchanges["E5"], "en")
        await two.prove()


@pytest.mark.parametrize(("said", "code"), [
    (REJECTED, "10030"), (Said(Status.FAILED, "01", cancelled="01"), "00072"), (Said(Status.FAILED, "14", cancelled="04"), "10778"),
])
async def test_what_a_challenge_ended_with_is_told_everywhere(one: Process, here: Shop, said: Said, code: str):
    """By feedback, by the browser and by CHECK_STATUS; none of it is a code that clients take for on hold or for an answer of another kind."""
    one.issuers.challenge("X")
    answer = await here.purchase("X-1", return_url="https://shop.example/?a=1&b=2")
    one.issuers.results["X"] = said
    await come_back(one, answer)
    ((purpose, body),) = await told(here)
    assert (purpose, body["response_code"], body["fort_id"], body["return_url"]) == ("feedback", code, answer["fort_id"], "https://shop.example/?a=1&b=2")
    assert "authorization_code" not in body and "acquirer_response_code" not in body
    way = await Returning(one.reading, one.directory, is_live=False).way(here.account.merchant_id, int(answer["fort_id"]))
    assert way is not None and way.fields == body and way.url == "https://shop.example/?a=1&b=2"
    status = await here.status("X-1")
    assert (status["transaction_code"], status["authorized_amount"], status["captured_amount"]) == (code, "0", "0")
    assert not code.startswith("15") and code[2:] not in ("006", "777", "779", "780", "781")


async def test_a_payment_that_was_not_asked_for_another_reason_is_not_told(one: Process, here: Shop):
    """As ever: nothing happened, and the answer said so."""
    one.processor.say(NotAsked("deadline"))
    assert (await here.purchase("N-1"))["response_code"] == "13006"
    assert await told(here) == []


# -- who is asked

ASKED = [
    # settings, request, whether the payer is asked
    ({}, {}, True),
    ({"three_d_secure": "off"}, {}, False),
    ({"three_d_secure": "required"}, {}, True),
    ({}, {"check_3ds": "NO"}, False),
    ({}, {"check_3ds": "YES"}, True),
    ({"three_d_secure": "off"}, {"check_3ds": "YES"}, False),
    ({"three_d_secure": "required"}, {"check_3ds": "NO"}, False),
    ({}, {"eci": "MOTO"}, False),
    ({}, {"eci": "ECOMMERCE"}, True),
    ({"three_d_secure_rules": "low*:off,high:required"}, {"flex_value": "low-1"}, False),
    ({"three_d_secure_rules": "low*:off"}, {"flex_value": "other"}, True),
    ({"three_d_secure_rules": "high:required", "three_d_secure": "off"}, {"flex_value": "high"}, True),
    ({"three_d_secure_rules": "high:required", "three_d_secure": "off"}, {"flex_value": "higher"}, False),
    ({"three_d_secure_rules": "low*:off", "service_flex_3ds": "off"}, {"flex_value": "low"}, True),
    ({"three_d_secure": "off"}, {"card_number": MADA}, True),
    ({}, {"card_number": MADA, "check_3ds": "NO"}, True),
    ({"three_d_secure_rules": "low:off"}, {"card_number": MEEZA, "flex_value": "low"}, True),
    ({"three_d_secure": "off"}, {"card_number": MEEZA, "check_3ds": "NO"}, True),
]


@pytest.mark.parametrize(("settings", "fields", "is_asked"), ASKED)
async def test_which_payers_are_asked(one: Process, settings: dict, fields: dict, is_asked: bool):
    """By the account, by the card, and for one payment; mada and Meeza always."""
    here = await shop(one, **settings)
    one.issuers.challenge("A")
    assert (await here.purchase("A-1", **fields))["response_code"] == ("20064" if is_asked else "14000")
    assert len(one.issuers.asked) == is_asked


async def test_recurring_payments_are_never_asked(one: Process, here: Shop):
    """Nobody is there to be."""
    await here.token("T-1")
    assert (await here.purchase("R-1", token_name="T-1"))["response_code"] == "14000"
    one.issuers.challenge()
    answer = await here.ask(command="PURCHASE", merchant_reference="R-2", amount="1000", currency="AED", customer_email="a@b.co",
                            token_name="T-1", eci="RECURRING")
    assert (answer["response_code"], one.issuers.asked) == ("14000", [])


def test_a_rule_is_chosen_by_the_first_pattern_that_fits():
    """A star at the end is for whatever follows; elsewhere it is a star."""
    rules = (("a*", "off"), ("ab", "required"), ("x*y", "required"), ("*", "flexible"))
    assert [ruled(rules, value) for value in ("a", "ab", "b", "x*y", "")] == ["off", "off", "flexible", "required", "flexible"]
    assert ruled((), "a") is None


@pytest.mark.parametrize(("origins", "url", "code"), [
    ("https://shop.example", "https://shop.example/back", "20064"), ("https://shop.example", "https://evil.example/back", "00040"),
    ("", "https://anywhere.example/", "20064"), ("", "https:///x", "00040"), ("", "https://shop.example:99999/x", "00040"),
])
async def test_where_a_payer_may_be_sent_back_to(one: Process, origins: str, url: str, code: str):
    """An address of an origin that the merchant did not name is refused before anything begins."""
    here = await shop(one, return_origins=origins)
    one.issuers.challenge()
    assert (await here.purchase("U-1", return_url=url))["response_code"] == code


# -- results that a request brings along

EXTERNAL = {"3ds_xid": "A" * 27 + "=", "3ds_status": "Y", "3ds_eci": "05", "ver_token": "B" * 27 + "=", "3ds_enrolled": "Y"}


async def test_the_result_of_the_merchants_own_server_goes_to_the_issuer(one: Process, here: Shop):
    """And no payer is asked; the answer does not repeat it."""
    one.issuers.challenge()
    answer = await here.purchase("M-1", **EXTERNAL)
    assert answer["response_code"] == "14000" and EXTERNAL.keys().isdisjoint(answer)
    evidence = one.processor.asked[0].evidence
    assert tuple(evidence) == ("Y", "05", "B" * 27 + "=", "A" * 27 + "=", "")
    assert one.issuers.asked == []


@pytest.mark.parametrize(("changed", "mode", "code"), [
    ({"3ds_status": "N"}, "flexible", "10030"),
    ({"3ds_status": "U"}, "flexible", "14000"), ({"3ds_status": "U"}, "required", "10030"),
    ({"3ds_enrolled": "N"}, "flexible", "14000"), ({"3ds_enrolled": "N"}, "required", "10030"),
    ({"ver_token": ""}, "flexible", "14000"), ({"ver_token": ""}, "required", "10030"),
    ({"3ds_status": "A", "3ds_eci": "06"}, "required", "14000"),
    ({"3ds_status": "X"}, "flexible", "00033"), ({"ver_token": "short="}, "flexible", "00002"), ({"3ds_eci": "5"}, "flexible", "00033"),
])
async def test_a_foreign_result_follows_the_same_table(one: Process, changed: dict, mode: str, code: str):
    """A yes without a cryptogram proves nothing."""
    here = await shop(one, three_d_secure=mode)
    fields = {name: value for name, value in {**EXTERNAL, **changed}.items() if value}
    assert (await here.purchase("M-1", **fields))["response_code"] == code


async def test_a_result_goes_with_a_card_only(one: Process, here: Shop):
    """Not with a token, by telephone or on a schedule: 00027."""
    await here.token("T-1")
    assert (await here.purchase("M-1", token_name="T-1", **EXTERNAL))["response_code"] == "00027"
    assert (await here.purchase("M-2", eci="MOTO", **EXTERNAL))["response_code"] == "00027"


# -- authentications made ahead

async def enrol(here: Shop, **fields: str) -> dict:
    return await here.ask(**{
        "service_command": "3DS_ENROLLMENT", "merchant_reference": "EN-1", "amount": "1000", "currency": "AED", "card_number": CARD["card_number"],
        "expiry_date": "3512", "merchant_3ds_url": "https://shop.example/3ds", **fields,
    })


async def result_of(here: Shop, enrolled: dict) -> dict:
    return await here.ask(service_command="3DS_AUTHENTICATION", merchant_reference="EN-1", threeds_id=enrolled["threeds_id"])


async def proof(here: Shop, **fields: str) -> dict[str, str]:
    """An authentication of ours, as a payment brings it along."""
    here.process.issuers.challenge("ahead")
    enrolled = await enrol(here, **fields)
    assert (enrolled["response_code"], enrolled["3ds_enrolled"]) == ("44000", "Y")
    assert (await result_of(here, enrolled))["response_code"] == "45065"
    here.process.issuers.results["ahead"] = AUTHENTICATED
    found = await result_of(here, enrolled)
    assert found["response_code"] == "44000"
    here.process.issuers.enrolled = False
    return {name: found[name] for name in ("3ds_xid", "3ds_status", "3ds_eci", "ver_token")}


async def test_an_authentication_made_ahead_pays_once(one: Process, here: Shop):
    """With its proof; a second time it is 152, whatever else is said of it."""
    ours = await proof(here)
    assert (await here.purchase("P-1", **ours))["response_code"] == "14000"
    assert one.processor.asked[-1].evidence.cavv == AUTHENTICATED.cavv
    for n, fields in enumerate((ours, {"ver_token": ours["ver_token"]}, {"3ds_xid": ours["3ds_xid"]})):
        assert (await here.purchase(f"P-2{n}", **fields))["response_code"] == "13152"
    assert (await here.purchase("P-20"))["response_code"] == "14000", "a refused request did not use the order's number up"


@pytest.mark.parametrize("changed", [
    {"amount": "1001"}, {"currency": "SAR"}, {"card_number": "4000009900010003"}, {"3ds_eci": "06"}, {"3ds_status": "A"},
    {"ver_token": "B" * 27 + "="},
])
async def test_an_authentication_made_ahead_is_for_that_payment_only(one: Process, here: Shop, changed: dict):
    """Another card, a higher amount, another currency, or another result than it had: 152; nothing was used up."""
    ours = await proof(here)
    assert (await here.purchase("P-1", **{**ours, **changed}))["response_code"] == "13152"
    assert (await here.purchase("P-1", **{**ours, "amount": "999"}))["response_code"] == "14000"


async def test_another_merchants_authentication_is_a_foreign_one(one: Process, here: Shop):
    """What it says of itself may be sent by anybody; ours it is not."""
    ours, stranger = await proof(here), await shop(one, "Stranger", three_d_secure="required")
    assert (await stranger.purchase("P-1", **ours))["response_code"] == "14000"
    assert (await here.purchase("P-1", **ours))["response_code"] == "14000", "nobody else has used it"
    assert (await enrol(stranger))["threeds_id"]


async def test_an_authentication_made_ahead_expires(one: Process, here: Shop):
    """After a day."""
    ours = await proof(here)
    one.now.now += timedelta(days=1)
    assert (await here.purchase("P-1", **ours))["response_code"] == "13152"


async def test_of_two_payments_at_once_one_uses_it(one: Process, here: Shop):
    """The other is told 152, and asked nobody."""
    ours = await proof(here)
    answers = await asyncio.gather(*(here.purchase(f"P-{n}", **ours) for n in range(5)))
    assert sorted(answer["response_code"] for answer in answers) == ["13152"] * 4 + ["14000"]
    assert len(one.processor.asked) == 1
    await one.prove()


async def test_what_an_enrolment_says(one: Process, here: Shop):
    """Who takes no part has no page; who is authenticated at once neither; who failed is told so; an unknown number is 151."""
    nobody = await enrol(here)
    assert (nobody["3ds_enrolled"], "3ds_url" in nobody, nobody["card_number"]) == ("N", False, "400000******0004")
    found = await result_of(here, nobody)
    assert (found["response_code"], found["3ds_status"], found["3ds_enrolled"], "ver_token" in found) == ("44000", "U", "N", False)
    one.issuers.say(AUTHENTICATED)
    at_once = await enrol(here)
    assert (at_once["3ds_enrolled"], "3ds_url" in at_once) == ("Y", False)
    assert (await result_of(here, at_once))["ver_token"] == AUTHENTICATED.cavv
    one.issuers.say(REJECTED)
    failed = await result_of(here, await enrol(here))
    assert (failed["response_code"], failed["3ds_status"], "ver_token" in failed) == ("45030", "N", False)
    assert (await result_of(here, {"threeds_id": "17"}))["response_code"] == "45151"
    assert (await result_of(here, {"threeds_id": "9" * 20}))["response_code"] == "45151"
    assert (await result_of(await shop(one, "Stranger"), at_once))["response_code"] == "45151"


async def test_an_enrolment_needs_a_card_an_address_and_the_service(one: Process, here: Shop):
    """In the door's words."""
    params = {"service_command": "3DS_ENROLLMENT", "merchant_reference": "EN-1", "amount": "1000", "currency": "AED"}
    assert await here.code(**params, card_number=CARD["card_number"], expiry_date="3512") == "00001"
    assert await here.code(**params, merchant_3ds_url="https://shop.example/") == "00001"
    assert await here.code(**params, merchant_3ds_url="javascript:alert(1)", token_name="T") == "00002"
    assert await here.code(**params, merchant_3ds_url="https://shop.example/", token_name="none") == "45044"
    limited = await shop(one, "Limited", return_origins="https://shop.example")
    assert (await enrol(limited, merchant_3ds_url="https://evil.example/"))["response_code"] == "00040"
    for nowhere in ("https:///3ds", "https://shop.example:99999/3ds"):
        assert (await enrol(here, merchant_3ds_url=nowhere))["response_code"] == "00040", "there is no such place, also where all are allowed"
    off = await shop(one, "Without", service_three_d_secure="off")
    assert (await enrol(off))["response_code"] == "00093"


async def test_an_enrolment_with_a_token(one: Process, here: Shop):
    """The card behind it is the one that is authenticated."""
    await here.token("T-1")
    one.issuers.challenge("ahead")
    enrolled = await here.ask(service_command="3DS_ENROLLMENT", merchant_reference="EN-1", amount="1000", currency="AED", token_name="T-1",
                              merchant_3ds_url="https://shop.example/3ds")
    assert (enrolled["response_code"], enrolled["card_number"], enrolled["expiry_date"]) == ("44000", "400000******0004", "3512")
    assert one.issuers.asked[0].pan.reveal() == CARD["card_number"]
