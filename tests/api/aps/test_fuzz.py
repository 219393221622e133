"""Chance at the whole door: whatever bytes arrive, an APS answer leaves, a refused request changes nothing, and no secret is said or logged."""
from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ringfence.api.aps import signature
from ringfence.api.aps.fields import FIELDS
from ringfence.api.aps.messages import MESSAGES
from ringfence.api.aps.operations import OPERATIONS, UNAVAILABLE
from ringfence.core.outcomes import Approved, Declined, NotAsked, Silence, Unknown
from tests.canary import Secrets, find_secrets
from tests.engine.composition import CARD, Shop, Time, approve, process, shop

pytestmark = pytest.mark.anyio
NUMBER, CODE = CARD["card_number"], "739"
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

#: Everything that a request can change.
STATE = """
SELECT (SELECT count(*) FROM operations), (SELECT count(*) FROM outcomes), (SELECT count(*) FROM transfers), (SELECT count(*) FROM events),
       (SELECT count(*) FROM cards), (SELECT sum(version) FROM tokens), (SELECT count(*) FROM service_references), (SELECT count(*) FROM sdk_tokens)"""


class Log(logging.Handler):
    """Every line of every logger, at every level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(scope="module")
def log() -> Iterator[Log]:
    handler, root = Log(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="module")
async def here(module_database: str, log: Log) -> AsyncIterator[Shop]:
    """A merchant with tokens, and orders to go on with."""
    async with process(module_database, now=Time()) as one:
        merchant = await shop(one)
        await asyncio.gather(*map(merchant.token, TOKENS))
        paid = await asyncio.gather(*(merchant.purchase(order, 900_000) for order in PURCHASED), *(merchant.authorize(order, 900_000) for order in HELD))
        assert [answer["response_code"] for answer in paid] == ["14000"] * len(PURCHASED) + ["02000"] * len(HELD)
        yield merchant


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=6,
)
NAMES = st.sampled_from(sorted(FIELDS)) | st.text(max_size=12)
OPERATION = st.sampled_from([{key: name} for key, name in [*OPERATIONS, *UNAVAILABLE]])
TOKENS = [f"F.{number}" for number in range(8)]
NUMBERS = itertools.count(1)
HELD, PURCHASED = [f"FH-{number}" for number in range(30)], [f"FP-{number}" for number in range(15)]
NEW = "F-NEW"
"""Stands for an order number that nobody used yet."""
ORDER = st.sampled_from(HELD + PURCHASED)
#: What a good value can look like, so that many requests reach the last rung and go beyond it.
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "merchant_reference": ORDER, "amount": st.integers(1, 2_000) | st.integers(0, 2_000).map(str) | st.just(1998.9999999999998),
    "currency": st.sampled_from(["AED"] * 9 + ["JPY"]), "customer_email": st.just("a@b.co"), "customer_ip": st.sampled_from(["::1", "192.0.2.7"]),
    "token_name": st.sampled_from([*TOKENS, "none"]), "new_token_name": st.sampled_from(["none", "F.NEW"]),
    "token_status": st.sampled_from(["ACTIVE", "ACTIVE", "INACTIVE"]), "card_number": st.sampled_from([NUMBER] * 4 + ["5297412542005689", NUMBER[:-1] + "5"]),
    "expiry_date": st.sampled_from(["3512"] * 6 + ["2501", "3013"]), "card_security_code": st.just(CODE), "eci": st.sampled_from(["ECOMMERCE", "MOTO", "RECURRING"]),
    "remember_me": st.sampled_from(["YES", "NO"]), "fort_id": st.integers(0, 10 ** 20), "maintenance_reference": st.sampled_from(["A", "B"]),
    "language": st.sampled_from(["en", "ar"]), "device_id": st.just("d-1"), "return_url": st.just("https://shop.example/?a=b"),
    "from_date": st.just("2026-01-01T00:00:00Z"), "to_date": st.sampled_from(["2026-02-30T00:00:00Z", "9999-12-31T23:59:59-23:59"]),
}


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request that is nearly right: what its operation must carry, some of what it may, and sometimes a change."""
    (key, name), operation = draw(st.sampled_from(sorted(OPERATIONS.items(), key=lambda item: item[0])))
    names = {*operation.mandatory, *operation.one_of[:1]} - {"merchant_identifier", "access_code"}
    if operation.variants:
        names |= draw(st.sampled_from([{"token_name", "customer_ip"}, {"token_name", "customer_ip"}, {"card_number", "expiry_date", "card_security_code"}, {"token_name", "eci"}]))
    names |= set(draw(st.lists(st.sampled_from(sorted(operation.accepts & GOOD.keys())), max_size=2)))
    params: dict[str, Any] = {key: name}
    params |= {field: draw(GOOD[field]) for field in sorted(names & GOOD.keys() - {"fort_id"})}
    if operation.variants or "card_number" in names:
        params["merchant_reference"] = draw(st.just(NEW) | ORDER)
    if draw(st.integers(0, 3)) == 3:
        params |= draw(st.dictionaries(NAMES, JSON, max_size=2) | OPERATION)
    if draw(st.integers(0, 9)) == 9:
        params.pop(draw(st.sampled_from(sorted(params))))
    return params


ANSWERS = st.sampled_from([approve, approve, approve, Declined("05"), Declined("14", "03"), Unknown(Silence.NO_ANSWER), NotAsked("deadline"), Approved(1)])


def is_answer(answer: dict[str, Any]) -> bool:
    """Whether these are an APS answer's four fields, with a code of the table."""
    code = answer["response_code"]
    return answer["status"] == code[:2] and code[2:] in MESSAGES and len(code) == 5 and 0 < len(answer["response_message"]) <= 150


@QUICK
@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
@example(b'{"merchant_identifier":"CycHZxVj","access_code":"codeCycHZxVj","command":"PURCHASE","signature":"\\u0000"}')
@example(b'{"merchant_identifier":"CycHZxVj","access_code":"codeCycHZxVj"}')
@example(b'{"merchant_identifier":{"a":1},"access_code":[[]]}')
@example(b'{"merchant_identifier":"\\u0000"}')
@example(b"[" * 60_000)
@example(b'{"a":' * 20_000)
@example(b'{"amount":1e400,"merchant_identifier":1E-400}')
async def test_any_bytes_are_answered(here: Shop, body: bytes):
    """Never an exception, never a change."""
    before = await here.process.fetch(STATE)
    answer = json.loads((await here.process.api.handle(body))[0])
    assert is_answer(answer) and answer["status"] == "00"
    assert await here.process.fetch(STATE) == before


@QUICK
@given(requests(), st.integers(0, 400), st.integers(0, 255))
async def test_a_spoiled_byte_is_answered(here: Shop, params: dict[str, Any], at: int, byte: int):
    """One byte of a good request is another: whoever it then is from, nothing of status 00 changes anything."""
    body = bytearray(json.dumps(here.signed(params)).encode())
    body[at % len(body)] = byte
    before = await here.process.fetch(STATE)
    answer = json.loads((await here.process.api.handle(bytes(body)))[0])
    assert is_answer(answer)
    if answer["status"] == "00":
        assert await here.process.fetch(STATE) == before


@settings(QUICK, max_examples=400)
@given(requests(), ANSWERS, st.sampled_from(["", "", "key-1", "\0\xff"]), st.integers(0, 9))
async def test_requests_that_are_nearly_right_are_answered_and_signed(here: Shop, log: Log, params: dict[str, Any], said: Any, key: str, spoil: int):
    """Always an answer under the response phrase; status 00 changes nothing; no number and no code comes back or is logged."""
    one = here.process
    one.processor.forget()
    one.processor.say(said)
    if params.get("merchant_reference") == NEW:
        params["merchant_reference"] = f"F-{next(NUMBERS)}"
    body = here.signed(params)
    if spoil == 7:
        body["signature"] = "ab" * 32
    before = await one.fetch(STATE)
    raw = json.dumps(body).encode()
    answered, _ = await one.api.handle(raw, "192.0.2.7", key)
    answer = json.loads(answered)
    assert is_answer(answer)
    if {"merchant_identifier", "access_code"} & params.keys():
        return                                      # perhaps nobody we know
    assert answer["signature"] == signature.sign(answer, "say-CycHZxVj")
    assert all(value and isinstance(value, str) for name, value in answer.items() if name != "data")
    if answer["status"] == "00":
        assert "fort_id" not in answer or "fort_id" in params
        assert await one.fetch(STATE) == before
    assert NUMBER not in answered.decode() and "card_security_code" not in answer
    assert not any("Traceback" in line for line in log.lines), "\n".join(log.lines[-3:])


async def test_what_was_logged_holds_no_secret(here: Shop, log: Log, tmp_path: Path):
    """The signature explainer has spoken, and said no number, no code, no phrase and no right signature."""
    signed = here.signed({"command": "PURCHASE", "merchant_reference": "LOG-1", "amount": "1", "currency": "AED", "customer_email": "a@b.co", **CARD})
    here.process.processor.forget()
    await here.post(signed | {"signature": "cd" * 32})
    assert (await here.post(signed))["response_code"] == "14000"
    file = tmp_path / "log"
    file.write_text("\n".join(log.lines))
    assert file.stat().st_size > 1000
    assert find_secrets([file], Secrets(frozenset({NUMBER}), frozenset({CODE}), frozenset({signed["signature"], "cd" * 32}))) == []
    assert not {phrase for phrase in ("ask-CycHZxVj", "say-CycHZxVj") if any(phrase in line for line in log.lines)}


async def test_the_books_agree_after_all_that_chance(here: Shop):
    """Much was accepted, of every kind of end (one of each for certain), and all of it is proved."""
    for place, said in enumerate((Declined("05"), Unknown(Silence.NO_ANSWER), NotAsked("deadline"))):
        here.process.processor.forget()
        here.process.processor.say(said)
        await here.purchase(f"END-{place}", "100")
    ends = await here.process.fetch("SELECT result, count(*) FROM outcomes GROUP BY result")
    assert {row["result"] for row in ends} == {"approved", "declined", "unknown", "not_asked"}
    assert sum(row["count"] for row in ends) > len(HELD) + len(PURCHASED) + 15         # as a rule 35 to 70 more; chance has a tail
    await here.process.prove()
