"""The life of an order over APS, through the whole service: the lifecycle table row by row, and each operation's good and bad days."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from ringfence.core.outcomes import Approved, Declined, NotAsked, Silence, Unknown
from ringfence.engine.directory import NewCredential
from tests.engine import recovering
from tests.engine.composition import CARD, FOREIGN, Process, Shop, Time, process, shop
from tests.engine.expiring import sweeper

pytestmark = pytest.mark.anyio
MADA, MEEZA, AMEX = "5297412542005689", "5078036221028566", "345678901234564"


@pytest.fixture(scope="module")
async def one(module_database: str) -> AsyncIterator[Process]:
    async with process(module_database, now=Time()) as running, sweeper(running) as running.sweeper:
        yield running


@pytest.fixture(scope="module")
async def here(one: Process) -> Shop:
    return await shop(one)


@pytest.fixture(scope="module")
async def stranger(one: Process, here: Shop) -> Shop:
    """Another merchant."""
    return await shop(one, "Stranger")


async def sweep(one: Process) -> int:
    return await one.sweeper.sweep()


# -- section 11, row by row.  Each state is reached by a short play on a new order of 1000.

Play = Callable[[Shop, str], Awaitable[object]]


async def authorized(here: Shop, order: str) -> None:
    await here.authorize(order)


async def authorizing(here: Shop, order: str) -> None:
    one_held = here.process.processor.hold()
    PENDING.append((one_held, asyncio.create_task(here.authorize(order))))
    await one_held.arrived.wait()


async def authorized_perhaps(here: Shop, order: str) -> None:
    here.process.processor.say(Unknown(Silence.NO_ANSWER))
    assert (await here.authorize(order))["response_code"] == "15777"


async def partly_captured(here: Shop, order: str) -> None:
    await here.authorize(order)
    await here.capture(order, 400)


async def captured(here: Shop, order: str) -> None:
    await here.authorize(order)
    await here.capture(order, 1000)


async def voided(here: Shop, order: str) -> None:
    await here.authorize(order)
    await here.void(order)


async def expired(here: Shop, order: str) -> None:
    await here.authorize(order)
    here.process.now.now += timedelta(days=7)
    await sweep(here.process)


async def past_its_instant(here: Shop, order: str) -> None:
    """Expired, and the sweep has not been here yet."""
    await here.authorize(order)
    here.process.now.now += timedelta(days=7)


async def partly_captured_and_expired(here: Shop, order: str) -> None:
    await partly_captured(here, order)
    here.process.now.now += timedelta(days=7)
    await sweep(here.process)


async def purchased(here: Shop, order: str) -> None:
    await here.purchase(order)


async def partly_refunded_capture(here: Shop, order: str) -> None:
    await partly_captured(here, order)
    await here.refund(order, 100)


async def partly_refunded_purchase(here: Shop, order: str) -> None:
    await here.purchase(order)
    await here.refund(order, 100)


async def fully_refunded(here: Shop, order: str) -> None:
    await here.purchase(order)
    await here.refund(order, 1000)


async def declined_authorization(here: Shop, order: str) -> None:
    here.process.processor.say(Declined("05"))
    await here.authorize(order)


async def declined_purchase(here: Shop, order: str) -> None:
    here.process.processor.say(Declined("05"))
    await here.purchase(order)


async def capture_in_doubt(here: Shop, order: str) -> None:
    await here.authorize(order)
    here.process.processor.say(Unknown(Silence.NO_ANSWER))
    await here.capture(order, 100)


async def reversed_authorization(here: Shop, order: str) -> None:
    await authorized_perhaps(here, order)
    await end_by_reversal(here)


async def reversed_purchase(here: Shop, order: str) -> None:
    here.process.processor.say(Unknown(Silence.NO_ANSWER))
    await here.purchase(order)
    await end_by_reversal(here)


async def end_by_reversal(here: Shop) -> None:
    await recovering.end_doubts(here.process)
    here.process.now.now = here.process.now.now.replace(microsecond=0) + timedelta(seconds=1)
    here.process.engine.recovery = None     # other rows show doubts that stay


async def nothing(here: Shop, order: str) -> None:
    """No such order."""


async def declined_capture(here: Shop, order: str) -> None:
    await here.authorize(order)
    here.process.processor.say(Declined("13"))
    await here.capture(order, 100)


PENDING: list = []

#: state: CHECK_STATUS (transaction code, authorized, captured, refunded), then the answers to CAPTURE, VOID and REFUND of an amount each.
TABLE: dict[Play, tuple[tuple[str, ...] | None, tuple[int, str], str, tuple[int, str]]] = {
    authorizing:                 (("15777", "0", "0", "0"),           (1, "05784"),    "09784", (1, "07784")),
    authorized_perhaps:          (("15777", "0", "0", "0"),           (1, "05784"),    "09784", (1, "07784")),
    authorized:                  (("02000", "1000", "0", "0"),        (1000, "04000"), "08000", (1, "07048")),
    partly_captured:             (("04000", "1000", "400", "0"),      (600, "04000"),  "09034", (400, "06000")),
    captured:                    (("04000", "1000", "1000", "0"),     (1, "05042"),    "09034", (1000, "06000")),
    voided:                      (("08000", "1000", "0", "0"),        (1, "05773"),    "09047", (1, "07773")),
    expired:                     (("08000", "1000", "0", "0"),        (1, "05773"),    "09047", (1, "07773")),
    past_its_instant:            (("02000", "1000", "0", "0"),        (1, "05773"),    "09047", (1, "07048")),
    partly_captured_and_expired: (("04000", "1000", "400", "0"),      (1, "05042"),    "09034", (400, "06000")),
    purchased:                   (("14000", "1000", "1000", "0"),     (1, "05034"),    "09034", (1000, "06000")),
    partly_refunded_capture:     (("06000", "1000", "400", "100"),    (600, "04000"),  "09034", (300, "06000")),
    partly_refunded_purchase:    (("06000", "1000", "1000", "100"),   (1, "05034"),    "09034", (900, "06000")),
    fully_refunded:              (("06000", "1000", "1000", "1000"),  (1, "05034"),    "09034", (1, "07048")),
    declined_authorization:      (("03666", "0", "0", "0"),           (1, "05662"),    "09662", (1, "07662")),
    declined_purchase:           (("13666", "0", "0", "0"),           (1, "05662"),    "09662", (1, "07662")),
    capture_in_doubt:            (("15777", "1000", "0", "0"),        (1, "05784"),    "09784", (1, "07784")),
    declined_capture:            (("02000", "1000", "0", "0"),        (1000, "04000"), "08000", (1, "07048")),
    reversed_authorization:      (("03666", "0", "0", "0"),           (1, "05662"),    "09662", (1, "07662")),
    reversed_purchase:           (("13666", "0", "0", "0"),           (1, "05662"),    "09662", (1, "07662")),
    nothing:                     (None,                               (1, "05036"),    "09036", (1, "07036")),
}

#: What is too much where something is allowed.
TOO_MUCH = {
    authorized: ("capture", 1001, "05042"), partly_captured: ("capture", 601, "05042"), captured: ("refund", 1001, "07048"),
    partly_refunded_capture: ("refund", 301, "07048"), partly_refunded_purchase: ("refund", 901, "07048"),
}


@pytest.mark.parametrize("asked", ["CAPTURE", "VOID", "REFUND"])
@pytest.mark.parametrize("state", TABLE, ids=lambda state: state.__name__)
async def test_the_lifecycle_table(here: Shop, one: Process, state: Play, asked: str):
    """Each row of section 11, and what CHECK_STATUS says before; a refusal changes nothing."""
    order = f"L-{state.__name__}-{asked}"
    says, capture, void, refund = TABLE[state]
    await state(here, order)
    try:
        before = await here.status(order)
        if says is None:
            assert before["response_code"] == "12036" and "transaction_code" not in before
        else:
            assert tuple(before[name] for name in ("transaction_code", "authorized_amount", "captured_amount", "refunded_amount")) == says
            assert before["transaction_status"] == says[0][:2]
        answer = {
            "CAPTURE": lambda: here.capture(order, capture[0]), "VOID": lambda: here.void(order), "REFUND": lambda: here.refund(order, refund[0]),
        }[asked]
        answered = await answer()
        assert answered["response_code"] == {"CAPTURE": capture[1], "VOID": void, "REFUND": refund[1]}[asked]
        assert ("fort_id" in answered) == (says is not None)
        if answered["response_code"][2:] != "000":
            assert await here.status(order) == before
    finally:
        while PENDING:
            one_held, task = PENDING.pop()
            one_held.release()
            assert (await task)["response_code"] == "02000"


@pytest.mark.parametrize("state", TOO_MUCH, ids=lambda state: state.__name__)
async def test_one_minor_unit_too_much_is_refused(here: Shop, state: Play):
    """The limits are exact."""
    kind, minor, code = TOO_MUCH[state]
    await state(here, f"M-{state.__name__}")
    assert (await getattr(here, kind)(f"M-{state.__name__}", minor))["response_code"] == code


async def test_an_order_captured_and_refunded_to_the_last_fils(here: Shop):
    """The worked example: 10.000 JOD in parts, and not one fils more."""
    jod = {"currency": "JOD"}
    assert (await here.authorize("JOD-1", "10000", **jod))["response_code"] == "02000"
    codes = [(await here.capture("JOD-1", minor, **jod))["response_code"] for minor in (4000, 6000, 1)]
    assert codes == ["04000", "04000", "05042"]
    codes = [(await here.refund("JOD-1", minor, **jod))["response_code"] for minor in (2500, 7500, 1)]
    assert codes == ["06000", "06000", "07048"]
    assert (await here.refund("JOD-1", 1, currency="AED"))["response_code"] == "07013"


async def test_a_declined_operation_says_what_the_issuer_said(here: Shop, one: Process):
    """CAPTURE answers carry the acquirer's words, those of VOID and REFUND have no room for them."""
    await here.authorize("D-1")
    one.processor.say(Declined("91"))
    answer = await here.capture("D-1", 1)
    assert (answer["response_code"], answer["acquirer_response_code"], answer["acquirer_response_message"]) == ("05666", "91", "Issuer inoperative")
    one.processor.say(Declined("91"))
    answer = await here.void("D-1")
    assert answer["response_code"] == "09666" and "acquirer_response_code" not in answer


# -- naming an order

async def test_an_order_is_named_by_number_or_id_or_both(here: Shop):
    """Both must agree; an id may be a JSON number, and one beyond 63 bits names nothing."""
    answer = await here.authorize("ID-1")
    other = await here.authorize("ID-2")
    fort_id = answer["fort_id"]
    assert 18 <= len(fort_id) <= 19
    for named in ({"fort_id": fort_id}, {"fort_id": int(fort_id)}, {"fort_id": fort_id, "merchant_reference": "ID-1"}):
        said = await here.ask(command="CAPTURE", amount=10, currency="AED", **named)
        assert (said["response_code"], said["fort_id"]) == ("04000", fort_id)
    for named in ({"fort_id": other["fort_id"], "merchant_reference": "ID-1"}, {"fort_id": "9" * 20}, {"fort_id": 0}, {"merchant_reference": "id-1"}):
        assert await here.code(command="CAPTURE", amount=10, currency="AED", **named) == "05036"
        assert await here.code(query_command="CHECK_STATUS", **named) == "12036"
    assert await here.code(command="CAPTURE", amount=10, currency="AED") == "00001"


async def test_other_merchants_see_nothing(here: Shop, stranger: Shop):
    """Neither by number nor by id; their own order of the same number is another."""
    answer = await here.authorize("MINE-1")
    for named in ({"merchant_reference": "MINE-1"}, {"fort_id": answer["fort_id"]}):
        assert await stranger.code(query_command="CHECK_STATUS", **named) == "12036"
        assert await stranger.code(command="VOID_AUTHORIZATION", **named) == "09036"
        assert await stranger.code(command="CAPTURE", amount=1, currency="AED", **named) == "05036"
        assert await stranger.code(command="REFUND", amount=1, currency="AED", **named) == "07036"
    assert (await stranger.purchase("MINE-1"))["response_code"] == "14000"
    assert (await here.status("MINE-1"))["transaction_code"] == "02000"
    await here.token("MINE")
    assert (await stranger.purchase("MINE-2", token_name="MINE"))["response_code"] == "13044"
    assert await stranger.code(service_command="UPDATE_TOKEN", merchant_reference="T", token_name="MINE", token_status="INACTIVE") == "59044"
    assert (await stranger.ask(query_command="GET_TOKENS")).get("data_count") == "0"


@pytest.mark.parametrize("sha_type", ["SHA-256", "SHA-512", "HMAC-256", "HMAC-512"])
async def test_every_credential_of_a_merchant_sees_its_orders(here: Shop, one: Process, sha_type: str):
    """Each set signs in its own way, answers are signed with the response phrase of the set that asked."""
    access_code = f"second{sha_type.replace('-', '')}"
    assert await one.directory.add_credential(
        here.identifier, NewCredential("aps", access_code, "another-ask", "another-say", sha_type))
    second = Shop(one, here.identifier, access_code, "another-ask", "another-say", sha_type)
    order = f"SET-{sha_type}"
    assert (await second.authorize(order))["response_code"] == "02000"
    assert (await here.capture(order, 400))["response_code"] == "04000"
    assert (await second.refund(order, 100))["response_code"] == "06000"
    assert (await second.status(order))["captured_amount"] == "400"
    actors = [row[0] for row in await one.fetch(
        "SELECT actor FROM operations WHERE payment_id = (SELECT payment_id FROM operations WHERE key = $1) ORDER BY operation_id", f"aps:{order}")]
    assert actors == [f"aps:{access_code}", f"aps:{here.access_code}", f"aps:{access_code}"]
    mixed = Shop(one, here.identifier, access_code, "ask-CycHZxVj", "another-say", sha_type)
    assert (await mixed.status(order))["response_code"] == "00008"


async def test_a_merchant_that_is_switched_off_is_told_so(one: Process):
    """And one that is switched on again goes on."""
    shut = await shop(one, "Shut")
    await one.directory.change("Shut", {}, active=False)
    assert (await shut.purchase("S-1"))["response_code"] == "00015"
    await one.directory.change("Shut", {}, active=True)
    assert (await shut.purchase("S-1"))["response_code"] == "14000"


# -- what clients send

async def test_numbers_may_be_json_numbers(here: Shop):
    """As PHP writes them: integers, and floats a hair beside the amount; the answer holds texts."""
    for number, (amount, text) in enumerate(((3197, "3197"), (1998.9999999999998, "1999"), (110.00000000000001, "110"), (56.99999999999999, "57"))):
        answer = await here.purchase(f"N-{number}", amount)
        assert (answer["response_code"], answer["amount"]) == ("14000", text)
        assert (await here.status(f"N-{number}"))["captured_amount"] == text
    assert (await here.purchase(77001, 1))["merchant_reference"] == "77001"
    assert (await here.purchase("N-9", 19.99))["response_code"] == "00002"


async def test_answers_follow_the_language(here: Shop):
    """Arabic in, Arabic out, in refusals as well."""
    answer = await here.purchase("AR-1", language="ar")
    assert (answer["response_code"], answer["response_message"]) == ("14000", "عملية ناجحة")
    status = await here.status("AR-1", language="ar")
    assert status["transaction_message"] == "عملية ناجحة"
    assert (await here.void("AR-1", language="ar"))["response_message"] == "العملية غير مسموح بها"
    assert (await here.purchase("AR-2", customer_name="عمر", order_description="طلب ١"))["customer_name"] == "عمر"


async def test_a_payment_answer_holds_the_card_masked_and_nothing_secret(here: Shop, one: Process):
    """The fields of section 6.4; the processor was given what was typed."""
    answer = await here.purchase("CARD-1", card_holder_name="Sara Ali", merchant_extra="x", device_fingerprint="abc")
    shown = {"card_number": "400000******0004", "expiry_date": "3512", "card_holder_name": "Sara Ali", "payment_option": "VISA", "eci": "ECOMMERCE",
             "authorization_code": "742138", "acquirer_response_code": "00", "acquirer_response_message": "Success", "merchant_extra": "x"}
    assert answer | shown == answer
    assert not {"card_security_code", "device_fingerprint"} & answer.keys()
    message = one.processor.asked[-1]
    assert (message.pan.reveal(), message.expiry, message.security_code.reveal(), message.channel) == (CARD["card_number"], "3512", "739", "ecommerce")


DECLINES = {"05": "666", "51": "029", "54": "012", "33": "012", "14": "016", "15": "031", "Z9": "666"}


@pytest.mark.parametrize("response", DECLINES)
async def test_declines_have_the_words_of_the_table(here: Shop, one: Process, response: str):
    """DE 39 to message, for both commands, at once and in CHECK_STATUS."""
    for command, failure in (("AUTHORIZATION", "03"), ("PURCHASE", "13")):
        one.processor.say(Declined(response))
        answer = await here.pay(command, f"DC-{command}-{response}")
        assert (answer["response_code"], answer["acquirer_response_code"]) == (failure + DECLINES[response], response)
        status = await here.status(f"DC-{command}-{response}", return_third_party_response_codes="YES")
        assert (status["transaction_code"], status["processor_response_code"]) == (failure + DECLINES[response], response)


async def test_only_a_processors_own_code_is_shown_as_one(here: Shop, one: Process):
    """Why we do not know is no processor's code."""
    one.processor.say(Unknown(Silence.NO_ANSWER))
    await here.purchase("TP-1")
    assert "processor_response_code" not in await here.status("TP-1", return_third_party_response_codes="YES")


# -- tokens, 6.3 to 6.6 and 6.12 to 6.14

async def test_a_card_is_kept_as_a_token_unless_the_payer_minds(here: Shop, one: Process):
    """Once the payment is approved, under the name that was wished for or a new one."""
    card = {**CARD, "remember_me": "YES"}
    answer = await here.purchase("KEEP-1", **card)
    assert len(answer["token_name"]) == 32 and answer["remember_me"] == "YES"
    assert (await here.purchase("KEEP-2", token_name=answer["token_name"]))["response_code"] == "14000"
    assert one.processor.asked[-1].pan.reveal() == CARD["card_number"]
    default = {name: value for name, value in CARD.items() if name != "remember_me"}
    named = await here.ask(command="PURCHASE", merchant_reference="KEEP-3", amount="1", currency="AED", customer_email="a@b.co", token_name="my.card", **default)
    assert named["token_name"] == "my.card"
    assert (await here.purchase("KEEP-4", **card, token_name="my.card"))["response_code"] == "13114"
    assert "token_name" not in await here.purchase("KEEP-5", **CARD)
    one.processor.say(Declined("05"))
    assert (await here.purchase("KEEP-6", **card, token_name="declined"))["response_code"] == "13666"
    assert (await here.purchase("KEEP-7", token_name="declined"))["response_code"] == "13044"


async def test_a_number_that_is_not_kept_pays_and_makes_no_token(here: Shop):
    """The sandbox stores only numbers of its own tables; refunds cite the original instead."""
    card = {**CARD, "card_number": FOREIGN, "remember_me": "YES"}
    answer = await here.purchase("FOREIGN-1", **card)
    assert answer["response_code"] == "14000" and "token_name" not in answer
    assert (await here.refund("FOREIGN-1", 1))["response_code"] == "06000"
    assert (await here.token("FOREIGN", card_number=FOREIGN))["response_code"] == "53061"


async def test_tokens_need_their_service(one: Process):
    """Switched off, nothing is kept and the operations say so."""
    plain = await shop(one, "Plain", service_tokenization="off", service_verify_card="off", channel_mobile_sdk="off")
    assert "token_name" not in await plain.purchase("P-1", **{**CARD, "remember_me": "YES"})
    assert (await plain.token("X"))["response_code"] == "00038"
    assert await plain.code(query_command="GET_TOKENS") == "00038"
    assert await plain.code(service_command="SDK_TOKEN", device_id="d") == "00068"
    assert await plain.code(service_command="VERIFY_CARD", merchant_reference="V", currency="AED", card_number=AMEX, expiry_date="3512") == "00093"


#: command, fields beyond a good request -> code
BRANDS = [
    ("AUTHORIZATION", {"card_number": MADA}, "03049"),
    ("AUTHORIZATION", {"card_number": MEEZA}, "03049"),
    ("PURCHASE", {"card_number": MADA}, "14000"),
    ("PURCHASE", {"card_number": MEEZA}, "14000"),
    ("PURCHASE", {"card_number": MADA, "eci": "MOTO"}, "13113"),
    ("PURCHASE", {"eci": "MOTO"}, "14000"),
    ("AUTHORIZATION", {"eci": "MOTO"}, "02000"),
    ("PURCHASE", {"card_number": AMEX, "card_security_code": "1234"}, "14000"),
    ("PURCHASE", {"card_number": AMEX}, "00002"),
    ("PURCHASE", {"payment_option": "VISA"}, "14000"),
    ("PURCHASE", {"payment_option": "MASTERCARD"}, "13110"),
    ("PURCHASE", {"card_number": "4000009900000005"}, "00016"),
    ("PURCHASE", {"expiry_date": "2501"}, "00012"),
    ("PURCHASE", {"expiry_date": "3013"}, "00100"),
    ("PURCHASE", {"currency": "ZZZ"}, "00013"),
    ("PURCHASE", {"eci": "INTERNET"}, "00033"),
    ("PURCHASE", {"nonsense": "1"}, "00027"),
    ("PURCHASE", {"installments": "YES"}, "00783"),
    ("PURCHASE", {"digital_wallet": "APPLE_PAY"}, "00014"),
]


@pytest.mark.parametrize(("command", "fields", "code"), BRANDS, ids=[f"{command}-{'-'.join(map(str, fields.values()))}" for command, fields, _ in BRANDS])
async def test_brands_and_ways_to_pay(here: Shop, one: Process, command: str, fields: dict, code: str):
    """What each card may be used for; whoever is refused was not asked about and keeps the order number."""
    order = f"B-{BRANDS.index((command, fields, code))}"
    asked = len(one.processor.asked)
    answer = await here.pay(command, order, **fields)
    assert answer["response_code"] == code
    if not code.endswith("000"):
        assert len(one.processor.asked) == asked and "fort_id" not in answer
        assert (await here.status(order))["response_code"] == "12036"
    elif fields.get("eci") == "MOTO":
        assert (one.processor.asked[-1].channel, answer["eci"]) == ("moto", "MOTO")


async def test_a_recurring_payment(here: Shop, one: Process):
    """Needs no address of the customer, shows token and eci, is a purchase, and takes no card."""
    await here.token("REC", card_number="5123450000000040")
    await here.purchase("REC-0", token_name="REC")
    fields = {"eci": "RECURRING", "merchant_reference": "REC-1", "amount": 500, "currency": "AED", "customer_email": "a@b.co", "token_name": "REC"}
    answer = await here.ask(command="PURCHASE", **fields)
    assert (answer["response_code"], answer["eci"], answer["token_name"], answer["card_number"]) == ("14000", "RECURRING", "REC", "512345******0040")
    assert one.processor.asked[-1].cited_reference == one.processor.asked[-2].operation_id.__mod__(10 ** 15).__format__("015d")
    assert await here.code(**{**fields, "command": "AUTHORIZATION", "merchant_reference": "REC-2"}) == "00112"
    assert await here.code(**{**fields, "command": "PURCHASE", "merchant_reference": "REC-3", **CARD}) == "00027"
    await here.token("MADA", card_number=MADA, expiry_date="3512")
    await here.purchase("REC-4", token_name="MADA")
    assert await here.code(**{**fields, "command": "PURCHASE", "merchant_reference": "REC-5", "token_name": "MADA"}) == "13113"


async def test_the_example_of_a_recurring_payment(one: Process):
    """As the integration guide prints it: a token that the customer has paid with, no address, an amount as a number."""
    shop_ = await shop(one, "Subscribers")
    name = "79D4D15A30DE2401E053321E320A16E2"
    await shop_.token(name)
    body = {"command": "PURCHASE", "eci": "RECURRING", "merchant_reference": "SUB-7-0003", "token_name": name, "customer_email": "a@b.co",
            "amount": 1000, "currency": "SAR", "language": "en"}
    early = await shop_.ask(**body)
    assert (early["response_code"], early["response_message"]) == ("13088", "Token name was not created for this transaction")
    assert (await shop_.purchase("SUB-7-0001", token_name=name, currency="SAR"))["response_code"] == "14000"
    answer = await shop_.ask(**body)                        # what was refused did not use the reference up
    assert {key: answer[key] for key in ("response_code", "eci", "token_name", "card_number", "amount")} == {
        "response_code": "14000", "eci": "RECURRING", "token_name": name, "card_number": "400000******0004", "amount": "1000"}
    assert answer["fort_id"] and answer["authorization_code"]


@pytest.mark.parametrize(("mode", "initiation"), [
    ({}, "recurring"), ({"recurring_mode": "FIXED", "recurring_transactions_count": "12"}, "recurring"),
    ({"recurring_mode": "VARIABLE", "recurring_transactions_count": "12"}, "recurring"), ({"recurring_mode": "UNSCHEDULED"}, "unscheduled"),
])
async def test_an_agreement_says_who_began_the_payment(here: Shop, one: Process, mode: dict, initiation: str):
    """The issuer hears whether there is a schedule; the answer repeats agreement, mode and count, and neither last day nor pace."""
    name = f"AGREED{len(mode)}{mode.get('recurring_mode', '')}"
    await here.token(name, card_number="5123450000000024")
    await here.purchase(f"{name}-0", token_name=name)
    silent = {"recurring_expiry_date": "2030-01-01", "recurring_days_between_payments": "30"} if mode else {}
    answer = await here.ask(command="PURCHASE", eci="RECURRING", merchant_reference=f"{name}-1", amount="500", currency="AED",
                            customer_email="a@b.co", token_name=name, agreement_id="AG7", **mode, **silent)
    assert answer["response_code"] == "14000" and one.processor.asked[-1].initiation == initiation
    assert one.processor.asked[-1].cited_reference
    assert {key: answer.get(key) for key in (*mode, "agreement_id")} == {**mode, "agreement_id": "AG7"} and not silent.keys() & answer.keys()


async def test_channels_and_options_that_are_off(one: Process):
    """Refused before anybody is asked."""
    narrow = await shop(one, "Narrow", channel_trusted="off", channel_moto="off", channel_recurring="off", payment_options="VISA", currencies="AED,SAR",
                        source_ips="192.0.2.0/24")
    assert (await narrow.purchase("C-1"))["response_code"] == "00046"
    await narrow.token("VISA")
    await narrow.token("MC", card_number="5123450000000008")
    assert (await narrow.purchase("C-2", token_name="VISA"))["response_code"] == "14000"
    assert (await narrow.purchase("C-3", token_name="MC"))["response_code"] == "13003"
    for eci in ("MOTO", "RECURRING"):
        assert (await narrow.purchase("C-4", token_name="VISA", eci=eci))["response_code"] == "00046"
    assert (await narrow.purchase("C-5", token_name="VISA", currency="USD"))["response_code"] == "00013"
    body = narrow.signed({"query_command": "CHECK_STATUS", "merchant_reference": "C-2"})
    assert (await narrow.post(body, source_ip="198.51.100.1"))["response_code"] == "00040"


async def test_tokens_are_made_changed_and_listed(here: Shop, one: Process):
    """CREATE_TOKEN asks no bank; UPDATE_TOKEN changes only what it names; GET_TOKENS tells what is there."""
    lister = await shop(one, "Lister")
    asked = len(one.processor.asked)
    made = await lister.ask(service_command="CREATE_TOKEN", merchant_reference="T-1", card_number=CARD["card_number"], expiry_date="3512",
                            return_url="https://shop.example/", card_holder_name="Sara Ali")
    assert (made["response_code"], made["response_message"], made["card_number"], made["card_bin"]) == ("52062", "Token has been created", "400000******0004", "400000")
    assert len(one.processor.asked) == asked
    assert (await lister.token("named"))["token_name"] == "named"
    assert (await lister.token("named", merchant_reference="T-2"))["response_code"] == "53114"
    assert (await lister.token("other", merchant_reference="T-1"))["response_code"] == "53066"
    assert (await lister.token("bad", card_number="4000009900000005"))["response_code"] == "00016"
    update = {"service_command": "UPDATE_TOKEN", "merchant_reference": "U-1"}
    changed = await lister.ask(**update, token_name="named", expiry_date="3601", new_token_name="renamed")
    assert changed | {"response_code": "58000", "token_name": "named", "new_token_name": "renamed", "expiry_date": "3601", "token_status": "ACTIVE",
                      "card_brand": "VISA"} == changed
    assert await lister.code(**update, token_name="named", token_status="INACTIVE") == "59044"
    assert await lister.code(**update, token_name="renamed", new_token_name=made["token_name"]) == "59114"
    assert await lister.code(**update, token_name="renamed", token_status="GONE") == "00033"
    assert await lister.code(**update, token_name="renamed", token_status="INACTIVE") == "58000"
    listed = await lister.ask(query_command="GET_TOKENS")
    assert (listed["response_code"], listed["data_count"]) == ("54000", "2")
    assert [(row["token_name"], row["token_status"], row["card_number"]) for row in listed["data"]] == [
        (made["token_name"], "ACTIVE", "400000******0004"), ("renamed", "INACTIVE", "400000******0004")]
    one.now.now += timedelta(days=1)
    assert (await lister.ask(query_command="GET_TOKENS", from_date=one.now.now.isoformat()))["data_count"] == "0"


@pytest.mark.parametrize(("since", "until"), [
    ("2026-02-30T00:00:00Z", "2027-01-01T00:00:00Z"), ("0001-01-01T00:00:00+23:59", "2027-01-01T00:00:00Z"),
    ("2027-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"), ("2027-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    ("2026-01-01T24:00:00Z", "2026-01-01T00:00:00+99:99"),
])
async def test_an_interval_that_is_none_is_refused(here: Shop, since: str, until: str):
    """Impossible dates, dates beyond the calendar, the end before the beginning."""
    assert await here.code(query_command="GET_TOKENS", from_date=since, to_date=until) == "55122"


async def test_an_sdk_token_is_for_one_device(here: Shop, one: Process):
    """A new one each time; it lives an hour of business time."""
    answers = [await here.ask(service_command="SDK_TOKEN", device_id="ffffffff-a9fa-0b44-7b27-29e70033c587") for _ in range(2)]
    assert [answer["response_code"] for answer in answers] == ["22000"] * 2
    assert len({answer["sdk_token"] for answer in answers}) == 2 and all(len(answer["sdk_token"]) == 32 for answer in answers)
    lives = await one.value("SELECT max(expires_at) FROM sdk_tokens WHERE device_id LIKE 'ffffffff-%'")
    assert lives == one.now.now + timedelta(hours=1)
    assert await here.code(service_command="SDK_TOKEN") == "00001"


# -- 6.18

VERIFY = {"service_command": "VERIFY_CARD", "currency": "AED", "card_number": CARD["card_number"], "expiry_date": "3512"}


async def verified(here: Shop, order: str) -> tuple[str, str]:
    answer = await here.ask(query_command="CHECK_VERIFY_CARD_STATUS", merchant_reference=order)
    assert answer["response_code"] == "12000"
    return answer["transaction_status"], answer["transaction_code"]


async def test_a_card_is_verified_by_an_authorization_that_is_voided(here: Shop, one: Process):
    """Both are operations like any other; the reference is a verification's own and is used once."""
    answer = await here.ask(**VERIFY, merchant_reference="V-1", card_security_code="739")
    assert answer | {"response_code": "80000", "card_number": "400000******0004", "payment_option": "VISA", "card_bin": "400000"} == answer
    assert [(message.kind, message.minor, message.channel) for message in one.processor.asked[-2:]] == [("authorization", 100, "moto"), ("void", 100, "moto")]
    assert one.processor.asked[-1].security_code is None
    assert await verified(here, "V-1") == ("80", "80000")
    assert await here.code(**VERIFY, merchant_reference="V-1") == "81066"
    status = await here.ask(query_command="CHECK_STATUS", fort_id=answer["fort_id"])
    assert (status["transaction_code"], status["authorized_amount"]) == ("08000", "100")
    assert (await here.status("V-1"))["response_code"] == "12036"
    assert (await here.purchase("V-1"))["response_code"] == "14000"
    assert (await here.ask(query_command="CHECK_VERIFY_CARD_STATUS", merchant_reference="V-9"))["response_code"] == "12036"


VERIFICATIONS = {"declined": (Declined("54"), "81012"), "unknown": (Unknown(Silence.NO_ANSWER), "15777"), "unsent": (NotAsked("deadline"), "81006"),
                 "partial": (Approved(60), "81029")}


@pytest.mark.parametrize("case", VERIFICATIONS)
async def test_a_card_that_is_not_verified(here: Shop, one: Process, case: str):
    """At once and when asked later the same is said; nothing is voided that is not held."""
    outcome, code = VERIFICATIONS[case]
    one.processor.say(outcome)
    asked = len(one.processor.asked)
    assert await here.code(**VERIFY, merchant_reference=f"V-{case}") == code
    assert len(one.processor.asked) == asked + 1
    assert await verified(here, f"V-{case}") == (code[:2], code)


async def test_only_a_card_that_can_be_authorized_is_verified(one: Process, here: Shop):
    """mada and Meeza are purchase-only; an account takes card data over its trusted channel, and only brands that it takes."""
    asked = len(one.processor.asked)
    assert [await here.code(**{**VERIFY, "card_number": number}, merchant_reference="V-B") for number in (MADA, MEEZA)] == ["81049"] * 2
    narrow = await shop(one, "VerifyNone", channel_trusted="off")
    assert await narrow.code(**VERIFY, merchant_reference="V-C") == "00046"
    few = await shop(one, "VerifyFew", payment_options="AMEX")
    assert await few.code(**VERIFY, merchant_reference="V-D") == "81003"
    assert len(one.processor.asked) == asked


async def test_a_verification_whose_void_fails_lapses_after_a_day(here: Shop, one: Process):
    """The card is good all the same."""
    one.processor.say(lambda message: Approved(message.minor, "1", "2", "3"), Declined("91"))
    answer = await here.ask(**VERIFY, merchant_reference="V-5")
    assert answer["response_code"] == "80000"
    one.now.now += timedelta(days=1)
    await sweep(one)
    assert (await here.ask(query_command="CHECK_STATUS", fort_id=answer["fort_id"]))["transaction_code"] == "08000"


# -- what is not served here

@pytest.mark.parametrize(("fields", "code"), [
    ({"service_command": "CURRENCY_CONVERSION"}, "00093"), ({"service_command": "TOKENIZATION"}, "00034"), ({"query_command": "GET_INSTALLMENTS_PLANS"}, "00783"),
    ({"command": "FLY"}, "00004"), ({}, "00001"),
])
async def test_operations_that_are_elsewhere_or_nowhere(here: Shop, fields: dict, code: str):
    """Each has its own answer."""
    assert await here.code(**fields, merchant_reference="X-1") == code


async def test_all_of_it_is_in_the_books(one: Process):
    """The whole module is proved."""
    await one.prove()
