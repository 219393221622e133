"""Reports over the wire: what the merchant asks for, what each row says, and that nothing of it is anybody else's."""
from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfence.api.aps import door, reporting, signature, wire
from ringfence.api.aps.accounts import Credential, Settings
from ringfence.api.aps.fields import CHECKS, REPORT_COLUMNS
from ringfence.api.aps.report_formats import harmless
from ringfence.api.aps.report_rows import COLUMNS, told
from ringfence.core.outcomes import Approved, Declined, NotAsked, Reversed, Silence, Unknown
from ringfence.engine import reporting as engine
from ringfence.engine import retention
from ringfence.storage import reporting as storage
from ringfence.storage.database import DatabaseUnavailable
from ringfence.storage.reporting import Asked, Operated
from tests.api.aps.dialogue import NOW, golden
from tests.api.aps.reporting import DAY, EVER, Clerk, read_xml
from tests.engine.composition import CARD, FOREIGN, Time, process, shop

pytestmark = pytest.mark.anyio

LIFE = ("fort_id", "merchant_reference", "operation", "amount", "currency", "status", "response_code", "response_message")


@pytest.fixture
async def one(database: str):
    async with process(database, now=Time()) as running:
        yield running


@pytest.fixture
async def clerk(one) -> Clerk:
    return Clerk(await shop(one))


# ---------------------------------------------------------------------------------------------------------- the request

def test_the_documents_own_request_is_read_as_they_sign_it():
    """Vector V5 of the reference: lists and filters are text under the signature, in the order received."""
    [vector] = [one for one in golden("vectors.json") if one.get("params", one).get("query_command") == "GENERATE_REPORT"]
    params = dict(vector["params"], signature="6750d396772be7df79347306324b1ad20320b31522583346e79b2ae8a5bc8970")
    credential = Credential(params["merchant_identifier"], params["access_code"], "PASS", "OUT")
    read = wire.parse(wire.decode(json.dumps(params).encode()), credential, Settings(), NOW)
    assert isinstance(read, wire.ApsRequest), read
    assert reporting.columns_of(read.given["columns"])[:2] == ("order_description", "customer_ip")
    assert reporting.filters_of(read.given["filters"]) == (("currency", "USD"), ("payment_option", "VISA"))
    assert reporting.unfolded(read.echo)["filters"] == [{"key": "currency", "value": "USD"}, {"key": "payment_option", "value": "VISA"}]


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.sampled_from(", key=value{}[]"), min_size=1, max_size=12)


@given(st.lists(st.tuples(st.sampled_from(REPORT_COLUMNS), WORDS, st.booleans()), max_size=4))
def test_accepted_filters_mean_what_was_sent(sent: list):
    """Whatever stands in a value: the text under the signature is read back as what it was made of, or it is refused."""
    filters = [{"key": key, "value": value} if in_order else {"value": value, "key": key} for key, value, in_order in sent]
    text = signature.text(filters)
    if CHECKS["filters"](text):
        assert reporting.filters_of(text) == tuple((key, value) for key, value, _ in sent)
        assert reporting.unfolded({"filters": text}) == {"filters": filters}
        assert signature.text(reporting.unfolded({"filters": text})["filters"]) == text
    else:
        assert any(set(value) & set("={}[]") or not value.isprintable() or len(value) > 150 for _, value, _ in sent)


@pytest.mark.parametrize(("cell", "written"), [
    ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@a", "'@a"), ("\tx", "'\tx"), ("\uff1d1", "'\uff1d1"), ("a=1", "a=1"), ("", ""), ("1000", "1000"), ("'=1", "'=1"),
])
def test_a_spreadsheet_computes_nothing(cell: str, written: str):
    assert harmless(cell) == written


ASKED = {"query_command": "GENERATE_REPORT", "merchant_reference": "R", **EVER, "columns": ["amount", "currency"]}


@pytest.mark.parametrize(("changed", "code", "text"), [
    ({"columns": None}, "00001", "Missing parameter: columns"),
    ({"from_date": None}, "00001", "Missing parameter: from_date"),
    ({"to_date": None}, "00001", "Missing parameter: to_date"),
    ({"merchant_reference": None}, "00001", "Missing parameter: merchant_reference"),
    ({"columns": ["amount", "secrets"]}, "00033", "Parameter value not allowed: columns"),
    ({"columns": []}, "00002", "Invalid parameter format: columns"),
    ({"columns": "amount"}, "00002", "Invalid parameter format: columns"),
    ({"columns": {"amount": "1"}}, "00002", "Invalid parameter format: columns"),
    ({"columns": ["amount\x00"]}, "00002", "Invalid parameter format: columns"),
    ({"columns": ["amount"] * 300}, "00032", "Invalid parameter length: columns"),
    ({"filters": [{"key": "secrets", "value": "1"}]}, "00033", "Parameter value not allowed: filters"),
    ({"filters": [{"key": "amount", "value": str(n)} for n in range(11)]}, "00033", "Parameter value not allowed: filters"),
    ({"filters": [{"key": "amount"}]}, "00002", "Invalid parameter format: filters"),
    ({"filters": [{"key": "amount", "value": ""}]}, "00002", "Invalid parameter format: filters"),
    ({"filters": [{"key": "amount", "value": "1", "more": "2"}]}, "00002", "Invalid parameter format: filters"),
    ({"filters": [{"key": "customer_name", "value": "x}, {key=currency"}]}, "00002", "Invalid parameter format: filters"),
    ({"filters": [{"key": "customer_name", "value": "a=b"}]}, "00002", "Invalid parameter format: filters"),
    ({"filters": [{"key": "amount", "value": ["1"]}]}, "00002", "Invalid parameter format: filters"),
    ({"filters": {"key": "amount", "value": "1"}}, "00002", "Invalid parameter format: filters"),
    ({"filters": [{"key": "card_number", "value": CARD["card_number"]}]}, "00002", "Invalid parameter format: filters"),
    ({"filters": [{"key": "customer_name", "value": "4000 0099 0000 0004"}]}, "00002", "Invalid parameter format: filters"),
    ({"filters": [{"key": "fort_id", "value": CARD["card_number"]}]}, "00002", "Invalid parameter format: filters"),
    ({"response_format": "CSV"}, "00033", "Parameter value not allowed: response_format"),
    ({"from_date": "2026-01-05"}, "00002", "Invalid parameter format: from_date"),
    ({"amount": "5"}, "00027", "Invalid extra parameters: amount"),
    ({"from_date": "2026-02-05T00:00:00Z"}, "57122", "Invalid date interval"),
    ({"from_date": "2026-13-05T00:00:00Z"}, "57122", "Invalid date interval"),
    ({"to_date": "9999-12-31T23:59:59-12:00"}, "57122", "Invalid date interval"),
    ({"query_command": "CHECK_STATUS", "columns": None, "from_date": None, "to_date": None}, "00034", "Operation not allowed"),
])
async def test_what_is_no_report_is_refused_by_name(clerk: Clerk, changed: dict, code: str, text: str):
    """In the ladder's order and words; nothing is stored, and a card number that was sought does not come back."""
    answer = await clerk.ask(**{name: value for name, value in {**ASKED, **changed}.items() if value is not None})
    assert (answer["response_code"], answer["response_message"]) == (code, text)
    assert CARD["card_number"] not in json.dumps(answer) or "filters" not in answer
    assert await clerk.process.value("SELECT count(*) FROM reports") == 0


async def test_a_wrong_signature_is_refused_and_an_unknown_caller_unsigned(clerk: Clerk):
    signed = clerk.shop.signed(ASKED)
    for changed, code in (({"columns": ["fort_id"]}, "00008"), ({"access_code": "other"}, "00010"), ({"merchant_identifier": "Nobody"}, "00009")):
        answer = await clerk.door.handle(json.dumps(signed | changed).encode())
        assert json.loads(answer.body)["response_code"] == code
    assert json.loads((await clerk.door.handle(b"a=b")).body) == {
        "response_code": "00073", "response_message": json.loads((await clerk.door.handle(b"[")).body)["response_message"], "status": "00"}


async def test_reports_are_asked_for_at_their_own_address_only(clerk: Clerk):
    """And only while the service is on."""
    assert await clerk.shop.code(**ASKED) == "00034"
    assert await clerk.shop.code(query_command="DOWNLOAD_REPORT", merchant_reference="R") == "00034"
    await clerk.process.directory.change(clerk.shop.identifier, {"service_reporting": "off"})
    assert await clerk.generate("R") == "00093"
    assert (await clerk.download("R"))["response_code"] == "00093"


async def test_only_reports_are_written_in_xml(clerk: Clerk):
    """The same shape of request, accepted once with JSON, is not let through with XML."""
    for form, code in (("JSON", "54000"), ("XML", "00033"), ("JSON", "54000")):
        assert await clerk.shop.code(query_command="GET_TOKENS", response_format=form) == code


async def test_language_is_optional_and_arabic_is_spoken(clerk: Clerk):
    await clerk.shop.purchase("P")
    assert await clerk.generate("AR", "response_message", language="ar") == "56000"
    await clerk.make("AR")
    assert (await clerk.download("AR"))["data"] == [{"response_message": "عملية ناجحة"}]
    request = {name: value for name, value in clerk.shop.signed({}).items() if name not in ("language", "signature")} | {**ASKED, "filters": []}
    request["signature"] = signature.sign(request, clerk.shop._request, clerk.shop._sha_type)
    answer = json.loads((await clerk.door.handle(json.dumps(request).encode())).body)
    assert (answer["response_code"], "language" in answer) == ("56000", False)


# ---------------------------------------------------------------------------------------------------------- its life

async def test_a_report_is_pending_until_it_is_made(clerk: Clerk):
    """127 for a reference nobody asked with, 128 until it is ready, 066 for one that was used."""
    assert await clerk.code("R") == "57127"
    assert await clerk.generate("R") == "56000"
    assert await clerk.code("R") == "57128"
    assert await clerk.generate("R") == "57066"
    await clerk.make("R")
    assert await clerk.code("R") == "56000" == await clerk.code("R")
    assert await clerk.generate("R") == "57066"
    assert await clerk.process.value("SELECT count(*) FROM jobs WHERE queue = 'report'") == 0


async def test_another_merchant_has_no_such_report(clerk: Clerk):
    """Not to download, and the reference is free for its own."""
    other = Clerk(await shop(clerk.process, "Other"))
    await clerk.shop.purchase("P")
    assert len(await clerk.rows("R", "fort_id")) == 1
    assert await other.code("R") == "57127"
    assert await other.rows("R", "fort_id") == []
    assert len((await clerk.download("R"))["data"]) == 1


async def test_the_queue_of_a_merchant_has_an_end(clerk: Clerk):
    """129; twenty that ask at once get no more places than there are, and another merchant waits for nothing."""
    codes = await asyncio.gather(*(clerk.generate(f"R-{number}") for number in range(20)))
    assert Counter(codes) == {"56000": engine.WAITING_MOST, "57129": 20 - engine.WAITING_MOST}
    used = next(f"R-{number}" for number, code in enumerate(codes) if code == "56000")
    assert await clerk.generate(used) == "57066"
    assert await Clerk(await shop(clerk.process, "Other")).generate("R") == "56000"
    await clerk.make(used)
    assert await clerk.generate("one more") == "00002" and await clerk.generate("one-more") == "56000"


async def test_twenty_of_one_reference_make_one_report(clerk: Clerk):
    codes = await asyncio.gather(*(clerk.generate("R") for _ in range(20)))
    assert sorted(codes) == ["56000"] + ["57066"] * 19


async def test_too_many_rows_are_no_report(clerk: Clerk, monkeypatch: pytest.MonkeyPatch):
    """134, and nothing of it is kept; as many as are allowed are one."""
    monkeypatch.setattr(engine, "ROWS_MOST", 3)
    monkeypatch.setattr(engine, "CHUNK", 1)
    for number in range(3):
        await clerk.shop.purchase(f"P-{number}")
    assert len(await clerk.rows("FITS")) == 3
    await clerk.shop.purchase("P-4")
    assert await clerk.generate("R") == "56000"
    await clerk.make("R")
    assert await clerk.code("R") == "57134"
    assert await clerk.process.value("SELECT count(DISTINCT report_id) FROM report_chunks") == 1
    assert len(await clerk.rows("LESS", filters=[{"key": "merchant_reference", "value": "P-4"}])) == 1


async def test_a_report_is_as_of_its_request(clerk: Clerk):
    """What was asked or answered later is not in it, although it was made later."""
    await clerk.shop.authorize("A")
    held = clerk.process.processor.hold()
    purchase = asyncio.create_task(clerk.shop.purchase("P"))
    await held.arrived.wait()
    assert await clerk.generate("R", "operation", "response_code") == "56000"
    clerk.process.now.now += timedelta(seconds=5)
    held.release()
    assert (await purchase)["response_code"] == "14000"
    await clerk.shop.capture("A", 1000)
    await clerk.make("R")
    assert (await clerk.download("R"))["data"] == [
        {"operation": "AUTHORIZATION", "response_code": "02000"}, {"operation": "PURCHASE", "response_code": "15777"}]
    assert [row["response_code"] for row in await clerk.rows("LATER", "response_code")] == ["02000", "14000", "04000"]


async def test_the_second_of_to_date_belongs_to_the_interval(clerk: Clerk):
    """So that days written as 00:00:00 to 23:59:59 leave no gap; times are written with the offset of from_date."""
    await clerk.shop.purchase("P")                              # 2026-01-05T07:09:19Z
    clerk.process.now.now += timedelta(milliseconds=900)
    await clerk.shop.purchase("Q")
    clerk.process.now.now += DAY
    for since, until, there in (
        ("2026-01-05T12:39:19+05:30", "2026-01-05T12:39:19+05:30", ["P", "Q"]), ("2026-01-05T07:09:20Z", "2026-01-06T07:09:20Z", []),
        ("2026-01-05T00:00:00Z", "2026-01-05T07:09:18Z", []), ("2026-01-04T23:09:19-08:00", "2026-02-05T07:09:19+14:00", ["P", "Q"]),
    ):
        rows = await clerk.rows(f"R-{since[:13]}-{until[:13]}-{len(there)}".replace(":", "."), "merchant_reference", from_date=since, to_date=until)
        assert [row["merchant_reference"] for row in rows] == there, since
    rows = await clerk.rows("ZONE", "transaction_date", "order_date", from_date="2026-01-05T00:00:00+05:30")
    assert rows[0] == {"transaction_date": "2026-01-05T12:39:19+05:30", "order_date": "2026-01-05T12:39:19+05:30"}


async def test_an_interval_may_be_all_of_time(clerk: Clerk):
    await clerk.shop.purchase("P")
    assert len(await clerk.rows("R", from_date="0001-01-01T00:00:00Z", to_date="9999-12-31T23:59:58Z")) == 1


def nested(inner: st.SearchStrategy) -> st.SearchStrategy:
    """The same, or lists and objects of it."""
    return inner | st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("key", "value")) | st.text(max_size=4), inner, max_size=3)


JSON = nested(nested(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12) | st.sampled_from(REPORT_COLUMNS)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(changed=st.dictionaries(st.sampled_from((*ASKED, "filters", "response_format", "language", "amount")), JSON, max_size=3),
       command=st.sampled_from(("GENERATE_REPORT", "DOWNLOAD_REPORT")))
async def test_whatever_is_asked_is_answered(clerk: Clerk, caplog: pytest.LogCaptureFixture, changed: dict, command: str):
    """Signed as its client believes: an answer of this door, never an exception."""
    fields = {**(ASKED if command == "GENERATE_REPORT" else {"merchant_reference": "R"}), "query_command": command, **changed}
    content_type, body = await clerk.post(**fields)
    answer = read_xml(body) if content_type == "application/xml" else json.loads(body)
    assert answer["response_code"][:2] in ("00", "56", "57") and answer["status"] == answer["response_code"][:2]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_whoever_dies_over_a_report_leaves_nothing_twice(clerk: Clerk, monkeypatch: pytest.MonkeyPatch):
    """The next claim begins anew, and the first, should it live, writes nothing any more."""
    monkeypatch.setattr(engine, "CHUNK", 2)
    for number in range(7):
        await clerk.shop.purchase(f"P-{number}")
    assert await clerk.generate("R", "merchant_reference") == "56000"
    first = await clerk.claim("R", "first", lease=0.0)
    assert first is not None
    append, appended = storage.append, list[int]()

    async def dies(pool, job, rows, body):
        if len(appended) == 2:
            raise ConnectionResetError("killed, says the test")
        appended.append(rows)
        return await append(pool, job, rows, body)

    monkeypatch.setattr(storage, "append", dies)
    with pytest.raises(DatabaseUnavailable):
        await clerk.maker.run(first)
    monkeypatch.setattr(storage, "append", append)
    assert await clerk.code("R") == "57128"
    second = await clerk.claim("R", "second")
    assert second is not None and second.tries == 2
    assert await storage.begin(clerk.process.pool, second)
    assert not await storage.append(clerk.process.pool, first, 1, b'[["late"]]')
    await clerk.maker.run(first)                                # it wakes up, and is nobody
    assert await clerk.code("R") == "57128"
    await clerk.maker.run(second)
    assert [row["merchant_reference"] for row in (await clerk.download("R"))["data"]] == [f"P-{number}" for number in range(7)]
    assert await clerk.process.value("SELECT count(*) FROM jobs WHERE queue = 'report'") == 0


async def test_what_cannot_be_made_ends_after_some_tries(clerk: Clerk):
    """And is told as a technical problem; before that it comes again."""
    def broken(asked: Asked):
        raise KeyError("a bug, says the test")

    maker = engine.Maker(clerk.process.pool, engine.Words(lambda asked: storage.Narrow(), broken), clerk.process.now)
    assert await clerk.generate("R") == "56000"
    for _ in range(engine.TRIES - 1):
        job = await clerk.claim("R", lease=0.0)
        assert job is not None
        with pytest.raises(KeyError):
            await maker.run(job)
        assert await clerk.code("R") == "57128"
    job = await clerk.claim("R", lease=0.0)
    assert job is not None
    await maker.run(job)
    assert await clerk.code("R") == "57006"


@pytest.mark.parametrize("limit", ["ours", "the database's"])
async def test_what_takes_too_long_ends_after_some_tries(clerk: Clerk, monkeypatch: pytest.MonkeyPatch, limit: str):
    """Neither limit is a lost database, for which it would be tried for ever."""
    if limit == "ours":
        monkeypatch.setattr(engine, "MAKING_SECONDS", 0)
    else:
        monkeypatch.setattr(storage, "STATEMENT_SECONDS", 0.05)
        monkeypatch.setattr(storage, "SQL", storage.SQL._replace(operated=storage.SQL.operated.replace(
            "o.asked_at >= $2", "pg_sleep(1) IS NOT NULL AND o.asked_at >= $2")))
        await clerk.shop.purchase("P")
    assert await clerk.generate("R") == "56000"
    for _ in range(engine.TRIES - 1):
        job = await clerk.claim("R", lease=0.0)
        assert job is not None
        with pytest.raises((TimeoutError, asyncpg.QueryCanceledError)):
            await clerk.maker.run(job)
    await clerk.make("R")
    assert await clerk.code("R") == "57006"


async def test_a_lost_database_is_waited_for(clerk: Clerk, monkeypatch: pytest.MonkeyPatch):
    """However often it was tried, a report is not given up for that."""
    assert await clerk.generate("R") == "56000"

    async def lost(job, asked):
        raise DatabaseUnavailable("away, says the test")

    monkeypatch.setattr(clerk.maker, "_made", lost)
    for _ in range(engine.TRIES + 2):
        job = await clerk.claim("R", lease=0.0)
        assert job is not None
        with pytest.raises(DatabaseUnavailable):
            await clerk.maker.run(job)
    monkeypatch.undo()
    await clerk.make("R")
    assert await clerk.code("R") == "56000"


async def test_reports_are_erased_in_their_time(clerk: Clerk):
    """Rows and filters go, the reference stays used; what still waits is left alone."""
    await clerk.shop.purchase("P", customer_name="Sara Ali")
    await clerk.rows("OLD", "customer_name", filters=[{"key": "customer_name", "value": "Sara Ali"}])
    assert await clerk.generate("WAITING") == "56000"
    policy = retention.Policy()

    async def reports(days: int, *, dry_run: bool) -> int:
        clerk.process.now.now += days * DAY
        ran = await retention.run(clerk.process.pool, policy, clerk.process.now(), dry_run=dry_run)
        return next(line.count for line in ran.lines if line.what == "reports")

    assert await reports(policy.report_days - 1, dry_run=False) == 0
    assert await clerk.code("OLD") == "56000"
    assert await reports(1, dry_run=True) == 1
    assert await clerk.code("OLD") == "56000"
    assert await reports(0, dry_run=False) == 1
    assert (await clerk.code("OLD"), await clerk.generate("OLD"), await clerk.code("WAITING")) == ("57127", "57066", "57128")
    assert "Sara" not in str(await clerk.process.fetch("SELECT * FROM reports")) + str(await clerk.process.fetch("SELECT * FROM report_chunks"))


async def test_a_report_that_is_erased_while_it_is_read_breaks_off(clerk: Clerk, monkeypatch: pytest.MonkeyPatch):
    """It never looks whole."""
    monkeypatch.setattr(engine, "CHUNK", 1)
    for number in range(3):
        await clerk.shop.purchase(f"P-{number}")
    await clerk.rows("R")
    answer = await clerk.door.handle(json.dumps(clerk.shop.signed({"query_command": "DOWNLOAD_REPORT", "merchant_reference": "R"})).encode())
    await clerk.process.pool.execute("DELETE FROM report_chunks WHERE chunk = 3")
    with pytest.raises(engine.Gone):
        async for _ in answer.body:
            pass


async def test_a_lost_database_is_a_technical_problem(clerk: Clerk):
    await clerk.rows("R")
    await clerk.process.lose_the_database()
    assert (await clerk.generate("S"), await clerk.code("R")) == ("57006", "57006")
    clerk.process.find_the_database()
    assert (await clerk.generate("S"), await clerk.code("R")) == ("56000", "56000")


async def test_downloads_at_a_time_have_an_end(clerk: Clerk):
    """129 for one too many; a reader that goes makes room."""
    await clerk.shop.purchase("P")
    await clerk.rows("R")
    request = json.dumps(clerk.shop.signed({"query_command": "DOWNLOAD_REPORT", "merchant_reference": "R"})).encode()
    readers = [(await clerk.door.handle(request)).body for _ in range(reporting.READERS_MOST)]
    for reader in readers:
        await anext(reader)
    assert await clerk.code("R") == "57129"
    await readers[0].aclose()
    assert await clerk.code("R") == "56000"
    for reader in readers[1:]:
        await reader.aclose()


# ---------------------------------------------------------------------------------------------------------- what rows say

async def test_every_operation_is_a_row_with_the_code_of_its_answer(clerk: Clerk):
    """Whatever became of it; the code is the one that the door gave, or gives by now."""
    here, issuer = clerk.shop, clerk.process.processor
    said = [await here.authorize("A", 1000), await here.capture("A", 400), await here.refund("A", 150, maintenance_reference="RF-1")]
    issuer.say(Declined("05"))
    said.append(await here.capture("A", 100))
    for answer, reference in ((Declined("51"), "D"), (Unknown(Silence.NO_ANSWER), "U"), (NotAsked("late"), "N"), (Reversed(), "V")):
        issuer.say(answer)
        said.append(await here.purchase(reference, 700))
    issuer.say(lambda message: Approved(300, "742138"))
    said.append(await here.purchase("PART", 700))
    said += [await here.authorize("B", 900), await here.void("B")]
    said.append(await here.ask(service_command="VERIFY_CARD", merchant_reference="VC", currency="AED", **{
        name: CARD[name] for name in ("card_number", "expiry_date", "card_security_code")}))
    rows = await clerk.rows("R", *LIFE)
    codes = [answer["response_code"] for answer in said]
    assert codes == ["02000", "04000", "06000", "05666", "13029", "15777", "13006", "13666", "13029", "02000", "08000", "80000"]
    assert [row["response_code"] for row in rows] == [*codes, "08000"]
    assert [row["operation"] for row in rows] == [
        "AUTHORIZATION", "CAPTURE", "REFUND", "CAPTURE", *["PURCHASE"] * 5, "AUTHORIZATION", "VOID_AUTHORIZATION", "VERIFY_CARD",
        "VOID_AUTHORIZATION"]
    assert [row["amount"] for row in rows] == ["1000", "400", "150", "100", *["700"] * 5, "900", "900", "100", "100"]
    for row, answer in zip(rows, said, strict=False):
        assert (row["fort_id"], row["response_message"], row["status"]) == (answer["fort_id"], answer["response_message"], answer["status"])


async def test_a_row_says_what_the_answer_said(clerk: Clerk):
    """Column by column, where the answer has a parameter of that name; and nothing where nothing is stored."""
    answer = await clerk.shop.purchase(
        "P", "2550", customer_name="Sara Ali", order_description="tea عربي", card_holder_name="S Ali", remember_me="YES", sadad_olp="olp@1")
    [row] = await clerk.rows("R", *REPORT_COLUMNS)
    same = set(row) & set(answer) - {"response_message"}
    assert {name: row[name] for name in same} == {name: answer[name] for name in same}
    assert same >= {"fort_id", "merchant_reference", "authorization_code", "customer_name", "customer_ip", "customer_email", "payment_option",
                    "card_number", "expiry_date", "card_holder_name", "amount", "currency", "eci", "token_name", "status", "response_code",
                    "order_description", "acquirer_response_code", "acquirer_response_message", "sadad_olp"}
    assert {name: row[name] for name in set(row) - same} == {
        "acquirer_name": "scripted", "channel": "Trusted", "transaction_date": "2026-01-05T10:09:19+03:00", "card_bin": "400000",
        "operation": "PURCHASE", "3ds_indicator": "NO", "fraud_indicator": "NO", "installments_indicator": "NO",
        "response_message": "Success", "order_date": "2026-01-05T10:09:19+03:00", "processor_response_code": "00"}
    assert set(REPORT_COLUMNS) - set(row) == {
        "geolocation_ip", "third_party_message", "third_party_code", "acquirer_mid", "sadad_transaction_id", "payment_link_id", "Invoice_id",
        "digital_wallet"}


@pytest.mark.parametrize(("fields", "channel", "eci"), [
    ({}, "Trusted", "ECOMMERCE"), ({"token_name": "T.1"}, "Merchant Page", "ECOMMERCE"),
    ({"eci": "MOTO"}, "MOTO", "MOTO"), ({"eci": "MOTO", "token_name": "T.1"}, "MOTO", "MOTO"),
    ({"eci": "RECURRING", "token_name": "T.1"}, "Recurring", "RECURRING"),
])
async def test_the_channel_is_told_of_every_operation(clerk: Clerk, fields: dict, channel: str, eci: str):
    """And of what follows the payment; also once what the door echoes is erased."""
    await clerk.shop.token("T.1")
    await clerk.shop.purchase("FIRST", token_name="T.1")
    answer = await clerk.shop.purchase("P", **fields)
    assert answer["response_code"] == "14000", answer
    await clerk.shop.refund("P", 100)
    wanted = [{"operation": kind, "channel": channel, "eci": eci, "card_number": "400000******0004"} for kind in ("PURCHASE", "REFUND")]
    columns, of = ("operation", "channel", "eci", "card_number"), [{"key": "merchant_reference", "value": "P"}]
    assert await clerk.rows("R", *columns, filters=of) == wanted
    await clerk.process.pool.execute("UPDATE operations SET details = NULL")
    assert await clerk.rows("ERASED", *columns, filters=of) == wanted


async def test_a_declined_payment_made_no_token(clerk: Clerk):
    """Nor is it shown one, although a name was thought of."""
    clerk.process.processor.say(Declined("05"))
    await clerk.shop.purchase("D", remember_me="YES")
    await clerk.shop.purchase("P", remember_me="YES")
    declined, paid = await clerk.rows("R", "merchant_reference", "token_name")
    assert "token_name" not in declined and paid["token_name"]


async def test_a_pages_payment_and_other_doors_have_their_own_channel(clerk: Clerk):
    """By the source that began the payment; another protocol has none of these channels."""
    row = Operated(
        1, 1, "purchase", 100, "AED", "aps", None, NOW, "simulator", "approved", 100, "00", "742138", "05", "purchase", "aps", "R", "aps:R", None,
        NOW, None, None, "cardholder", "ecommerce", "page", "approved", "742138", "05", "VISA", "400000", "0004", "captured")

    def said(one: Operated, *names: str) -> list[str]:
        return [COLUMNS[name](told(one, NOW.tzinfo, "en")) for name in names]

    assert said(row, "channel", "3ds_indicator") == ["Redirection", "YES"]
    assert said(row._replace(source="eterminal", first_eci="07"), "channel", "3ds_indicator") == ["eTerminal", "NO"]
    assert said(row._replace(door="ppro", first_door="ppro", first_details=b"not this door's"), "channel", "eci", "customer_name") == ["", "", ""]
    linked = row._replace(first_details=b'{"merchant_reference":"R","%s":{"payment_link_id":"911994638653456384"}}' % door.CARD.encode())
    assert said(linked, "payment_link_id") == ["911994638653456384"]


@pytest.mark.parametrize(("filters", "there"), [
    ([("currency", "USD")], {"C"}), ([("currency", "USD"), ("currency", "AED")], {"A", "B", "C"}),
    ([("currency", "AED"), ("amount", "300")], {"B"}), ([("status", "13")], {"B"}), ([("response_code", "14000")], {"A", "C"}),
    ([("payment_option", "VISA"), ("channel", "Trusted")], {"A", "B", "C"}), ([("payment_option", "AMEX")], set()),
    ([("operation", "REFUND")], set()), ([("operation", "nothing"), ("operation", "PURCHASE")], {"A", "B", "C"}),
    ([("customer_name", "Sara Ali")], {"A"}), ([("customer_name", "sara ali")], set()), ([("fort_id", "9" * 40)], set()), ([("fort_id", "911971926065283078")], set()),
    ([("merchant_reference", "4000009900000004")], set()),
    ([("card_number", "400000******0004"), ("merchant_reference", "A"), ("merchant_reference", "C")], {"A", "C"}),
    ([("response_message", "Transaction declined")], {"B"}),
])
async def test_filters_leave_out_what_does_not_say_so(clerk: Clerk, filters: list, there: set):
    """Values of one key are alternatives, keys must agree; every column can be filtered by, sought after exactly."""
    await clerk.shop.purchase("A", 1000, customer_name="Sara Ali")
    clerk.process.processor.say(Declined("05"))
    await clerk.shop.purchase("B", 300)
    await clerk.shop.purchase("C", 1000, currency="USD")
    rows = await clerk.rows("R", "merchant_reference", filters=[{"key": key, "value": value} for key, value in filters])
    assert {row["merchant_reference"] for row in rows} == there


async def test_the_totals_are_the_ledgers(clerk: Clerk):
    """Per operation and currency, day by day: what the rows of a day that succeeded add up to is what was posted that day."""
    here, issuer = clerk.shop, clerk.process.processor
    for day in range(3):
        for number, currency in enumerate(("AED", "JOD", "USD", "AED")):
            tag = f"{day}-{number}"
            fields = {"currency": currency}
            await here.purchase(f"P-{tag}", 1000 + number, **fields)
            await here.refund(f"P-{tag}", 10 + day, **fields)
            await here.authorize(f"A-{tag}", 5000, **fields)
            await here.capture(f"A-{tag}", 700 + day, **fields)
            await here.capture(f"A-{tag}", 30, **fields)
            issuer.say(Declined("05"))
            await here.refund(f"A-{tag}", 5, **fields)
            await here.authorize(f"V-{tag}", 90, **fields)
            await here.void(f"V-{tag}")
            issuer.say(lambda message: Approved(3, "742138"))
            await here.purchase(f"X-{tag}", 60, **fields)
            issuer.say(Unknown(Silence.NO_ANSWER))
            await here.authorize(f"U-{tag}", 60, **fields)
            if day:
                await here.refund(f"P-{day - 1}-{number}", 11, **fields)
        clerk.process.now.now += DAY
    posted = {"AUTHORIZATION": ("authorize",), "PURCHASE": ("capture",), "CAPTURE": ("capture",), "REFUND": ("refund", "refund_done"),
              "VOID_AUTHORIZATION": ("void",)}
    for day in range(3):
        date = f"2026-01-{5 + day:02}"
        rows = await clerk.rows(
            f"DAY-{day}", *LIFE, from_date=f"{date}T00:00:00Z", to_date=f"{date}T23:59:59Z",
            filters=[{"key": "response_message", "value": "Success"}])
        reported = Counter()
        for row in rows:
            reported[row["operation"], row["currency"]] += int(row["amount"])
        ledger = Counter({(row[0], row[1]): int(row[2]) for row in await clerk.process.fetch(
            "SELECT CASE o.kind WHEN 'void' THEN 'VOID_AUTHORIZATION' ELSE upper(o.kind) END, j.currency, sum(j.minor)"
            " FROM journal j JOIN operations o USING (merchant_id, payment_id, operation_id) JOIN outcomes x USING (merchant_id, payment_id, operation_id)"
            " WHERE j.value_date = $1::text::date AND x.result = 'approved' AND (o.kind, j.kind) IN (SELECT * FROM unnest($2::text[], $3::text[]))"
            "   AND x.minor = o.minor GROUP BY 1, 2", date,
            [kind for kind, names in _kinds(posted) for _ in names], [name for _, names in _kinds(posted) for name in names])})
        assert reported == ledger and len(reported) == 15, date
    # And of all days, from another side: what the merchant is owed.
    owed = Counter()
    for row in await clerk.rows("ALL", *LIFE, filters=[{"key": "status", "value": status} for status in ("14", "04", "06")]):
        owed[row["currency"]] += int(row["amount"]) * (-1 if row["status"] == "06" else 1)
    balances = {row[0]: -int(row[1]) for row in await clerk.process.fetch(
        "SELECT currency, sum(balance) FROM balances WHERE account = 'merchant.payable' GROUP BY 1")}
    assert owed == balances
    await clerk.process.prove()


def _kinds(posted: dict[str, tuple[str, ...]]) -> list[tuple[str, tuple[str, ...]]]:
    return [("void" if name == "VOID_AUTHORIZATION" else name.lower(), names) for name, names in posted.items()]


async def test_card_numbers_are_masked_everywhere(clerk: Clerk):
    """Also one that the vault does not keep, and in what is stored of reports."""
    await clerk.shop.purchase("P")
    await clerk.shop.purchase("F", card_number=FOREIGN)
    rows = await clerk.rows("R", *REPORT_COLUMNS)
    assert [row["card_number"] for row in rows] == ["400000******0004", "411111******1111"]
    stored = b"".join([row[0] for row in await clerk.process.fetch("SELECT body FROM report_chunks")]).decode()
    assert CARD["card_number"] not in stored and FOREIGN not in stored and CARD["card_security_code"] not in json.loads(stored)[0]


# ---------------------------------------------------------------------------------------------------------- forms

@pytest.mark.parametrize("sha_type", ["SHA-256", "SHA-512", "HMAC-256", "HMAC-512"])
async def test_every_form_is_signed_with_every_type(one, sha_type: str):
    """The signature is made as the rows pass by, and equals that of the whole answer."""
    clerk = Clerk(await one.merchant("Typed", access_code="code", request="ask-1234", response="say-1234", sha_type=sha_type))
    for number in range(3):
        await clerk.shop.purchase(f"P-{number}", customer_name="O'Neil, \"x\" & <y>".translate({ord(sign): None for sign in ',"&<>'}))
    assert len(await clerk.rows("R", "fort_id", "customer_name", "3ds_indicator")) == 3
    content_type, body = await clerk.post(query_command="DOWNLOAD_REPORT", merchant_reference="R", response_format="XML")
    answer = read_xml(body)
    assert (content_type, answer["signature"]) == ("application/xml", clerk.signature(answer))
    assert [list(row) for row in answer["data"]] == [["fort_id", "customer_name", "_3ds_indicator"]] * 3


async def test_a_report_asked_for_in_xml_is_downloaded_so(clerk: Clerk):
    """Every answer that says XML is XML, errors too; lists are NAME_list of NAME."""
    asked = {**ASKED, "response_format": "XML", "filters": [{"value": "AED", "key": "currency"}]}
    for code in ("56000", "57066"):
        content_type, body = await clerk.post(**asked)
        answer = read_xml(body)
        assert (content_type, answer["response_code"], answer["signature"]) == ("application/xml", code, clerk.signature(answer))
        assert (answer["columns"], answer["filters"]) == (["amount", "currency"], [{"value": "AED", "key": "currency"}])
    await clerk.shop.purchase("later")
    await clerk.make("R")
    content_type, body = await clerk.post(query_command="DOWNLOAD_REPORT", merchant_reference="R")
    answer = read_xml(body)
    assert (content_type, answer["signature"]) == ("application/xml", clerk.signature(answer))
    assert (await clerk.download("R", response_format="JSON"))["data"] == answer["data"]
    content_type, body = await clerk.post(query_command="DOWNLOAD_REPORT", merchant_reference="nobody", response_format="XML")
    assert (content_type, read_xml(body)["response_code"]) == ("application/xml", "57127")


async def test_xml_leaves_out_what_it_cannot_say(clerk: Clerk):
    """And the signature covers what is there."""
    await clerk.shop.purchase("P", order_description="a\ufffeb")
    await clerk.shop.purchase("Q", order_description="<&>".translate({60: "a", 38: "b", 62: "c"}))
    assert (await clerk.rows("R", "fort_id", "order_description"))[0]["order_description"] == "a\ufffeb"
    _, body = await clerk.post(query_command="DOWNLOAD_REPORT", merchant_reference="R", response_format="XML")
    answer = read_xml(body)
    assert [row.get("order_description") for row in answer["data"]] == [None, "abc"]
    assert answer["signature"] == clerk.signature(answer)


async def test_rows_leave_one_chunk_at_a_time(clerk: Clerk, monkeypatch: pytest.MonkeyPatch):
    """However many there are, no more than a chunk is read before the one before it has gone."""
    monkeypatch.setattr(engine, "CHUNK", 1)
    for number in range(5):
        await clerk.shop.purchase(f"P-{number}")
    await clerk.rows("R")
    chunk, asked = storage.chunk, list[int]()

    async def noted(pool, of, number):
        asked.append(number)
        return await chunk(pool, of, number)

    monkeypatch.setattr(storage, "chunk", noted)
    answer = await clerk.door.handle(json.dumps(clerk.shop.signed({"query_command": "DOWNLOAD_REPORT", "merchant_reference": "R"})).encode())
    sent = 0
    async for part in answer.body:
        sent += part.count(b"fort_id")
        assert len(asked) <= sent + 1
    assert (sent, asked) == (5, [1, 2, 3, 4, 5])
