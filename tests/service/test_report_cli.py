"""``ringfence report`` and ``reportingApi`` on a running sandbox: asked for, made by whichever worker, downloaded in every form."""
from __future__ import annotations

import asyncio
import csv
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from pathlib import Path
from typing import Any

import pytest

from ringfence.api.aps import signature
from ringfence.failures import Exit
from tests.api.aps.reporting import read_xml
from tests.sandbox import Client, Sandbox, request
from tests.service.test_up import call

EVER = {"from_date": "2020-01-01T00:00:00+03:00", "to_date": "2040-01-01T00:00:00+03:00"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """With a purchase, a hold captured in part, a refund, and a customer with a dangerous name."""
    async def pay(sandbox: Sandbox) -> None:
        client = Client(sandbox.port, sandbox.merchant())
        answers = [await client.purchase("P-1", 1000, customer_name="-Sara"), await client.authorize("A-1", 500),
                   await client.capture("A-1", 400), await client.refund("A-1", 150)]
        assert [answer["response_code"] for answer in answers] == ["14000", "02000", "04000", "06000"]
        await client.close()

    with Sandbox(workers=1) as running:
        asyncio.run(pay(running))
        yield running


def post(sandbox: Sandbox, **fields: Any) -> tuple[HTTPMessage, bytes]:
    """An answer of ``reportingApi``."""
    body = request(sandbox.merchant(), **fields)
    address = f"http://127.0.0.1:{sandbox.port}/FortAPI/reportingApi"
    with urllib.request.urlopen(urllib.request.Request(address, data=body, method="POST"), timeout=90) as answer:
        return answer.headers, answer.read()


def test_a_merchant_asks_and_downloads(sandbox: Sandbox):
    """As an APS client does: again and again while 128 is the answer; signed, in JSON and in XML."""
    columns = ["operation", "amount", "currency", "3ds_indicator"]
    _, body = post(sandbox, query_command="GENERATE_REPORT", merchant_reference="WIRE", columns=columns, **EVER)
    assert json.loads(body)["response_code"] == "56000"
    deadline = time.monotonic() + 30
    while (answer := json.loads(post(sandbox, query_command="DOWNLOAD_REPORT", merchant_reference="WIRE")[1]))["response_code"] == "57128":
        assert time.monotonic() < deadline
    phrase = sandbox.merchant()["sha_response_phrase"]
    assert answer["signature"] == signature.sign(answer, phrase)
    assert [tuple(row.values()) for row in answer["data"]] == [
        ("PURCHASE", "1000", "AED", "NO"), ("AUTHORIZATION", "500", "AED", "NO"), ("CAPTURE", "400", "AED", "NO"), ("REFUND", "150", "AED", "NO")]
    headers, body = post(sandbox, query_command="DOWNLOAD_REPORT", merchant_reference="WIRE", response_format="XML")
    told = read_xml(body)
    assert headers["content-type"] == "application/xml" and told["signature"] == signature.sign(told, phrase)
    assert [list(row.values()) for row in told["data"]] == [list(row.values()) for row in answer["data"]]


def test_only_post_and_sane_bodies_are_answered(sandbox: Sandbox):
    """What no APS client asks is refused by HTTP."""
    assert call(sandbox, "/FortAPI/reportingApi") == (405, {"error": "this method is not possible here"})
    def send(body: bytes) -> tuple[int, Any]:
        sent = urllib.request.Request(f"http://127.0.0.1:{sandbox.port}/FortAPI/reportingApi", data=body, method="POST")
        with urllib.request.urlopen(sent, timeout=90) as answer:
            return answer.status, json.loads(answer.read())["response_code"]

    assert send(b"\x00\xff") == (200, "00073")
    with pytest.raises(urllib.error.HTTPError) as refused:
        send(b"x" * 2_000_000)
    with refused.value:
        assert refused.value.code == 413


def test_an_operator_has_every_form(sandbox: Sandbox, tmp_path: Path):
    """A table for people, CSV that no spreadsheet computes, JSON and XML; a file is written whole."""
    made = sandbox.json("report", "generate", "--reference", "CLI", "--columns", "merchant_reference,operation,amount,customer_name",
                        "--filter", "status=14", "--filter", "status=06")
    assert (made["state"], made["rows"], made["filters"]) == ("ready", 2, [{"key": "status", "value": "14"}, {"key": "status", "value": "06"}])
    assert sandbox.command("report", "download", "CLI").stdout.split() == [
        "merchant_reference", "operation", "amount", "customer_name", "P-1", "PURCHASE", "1000", "-Sara", "A-1", "REFUND", "150"]
    printed = sandbox.command("report", "download", "CLI", "--format", "csv").stdout
    assert list(csv.reader(io.StringIO(printed)))[1:] == [["P-1", "PURCHASE", "1000", "'-Sara"], ["A-1", "REFUND", "150", ""]]
    assert sandbox.json("report", "download", "CLI")["data"][0]["customer_name"] == "-Sara"
    file = tmp_path / "rows.xml"
    saved = sandbox.command("report", "download", "CLI", "--format", "xml", "--output", str(file))
    assert saved.returncode == 0 and len(read_xml(file.read_bytes())["data"]) == 2 and [one.name for one in tmp_path.iterdir()] == ["rows.xml"]
    assert "CLI" in [one["reference"] for one in sandbox.json("report", "list", "--merchant", "RingfenceOne")["reports"]]
    assert sandbox.json("report", "list", "--merchant", "RingfenceTwo")["reports"] == []


@pytest.mark.parametrize(("words", "code", "said"), [
    (("generate", "--from", "yesterday"), Exit.REFUSED, "from must be an ISO 8601 instant"),
    (("generate", "--from", "2030-01-01T00:00:00Z", "--to", "2029-01-01T00:00:00Z"), Exit.REFUSED, "to must be a real instant"),
    (("generate", "--columns", "amount,secrets"), Exit.REFUSED, "columns must be some of"),
    (("generate", "--filter", "amount"), Exit.USAGE, "is not KEY=VALUE"),
    (("generate", "--filter", "secrets=1"), Exit.REFUSED, "filters must name a column"),
    (("generate", "--filter", "card_number=4000009900000004"), Exit.REFUSED, "only as it is shown"),
    (("generate", "--merchant", "Nobody"), Exit.REFUSED, "there is no merchant"),
    (("generate", "--reference", "a b"), Exit.REFUSED, "reference must be"),
    (("download", "NEVER"), Exit.REFUSED, "no report of that reference"),
    (("download", "NEVER", "--format", "csv"), Exit.REFUSED, "no report of that reference"),
    (("download", "NEVER", "--format", "table", "--output", "/tmp/x"), Exit.USAGE, "--output goes with"),
    (("list", "--merchant", "Nobody"), Exit.REFUSED, "there is no merchant"),
])
def test_what_cannot_be_done_is_said_in_a_sentence(sandbox: Sandbox, words: tuple[str, ...], code: int, said: str):
    done = sandbox.command("report", *words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_reports_end_with_business_time(sandbox: Sandbox):
    """A week later there are no rows any more, at no counter, and the reference stays used."""
    sandbox.command("report", "generate", "--reference", "WEEK")
    sandbox.json("clock", "advance", "9d")
    refused = sandbox.command("report", "download", "WEEK", "--format", "csv")
    assert (refused.returncode, "erased" in refused.stderr) == (Exit.REFUSED, True)
    assert json.loads(post(sandbox, query_command="DOWNLOAD_REPORT", merchant_reference="WEEK")[1])["response_code"] == "57127"
    assert sandbox.command("report", "generate", "--reference", "WEEK").returncode == Exit.REFUSED
    assert sandbox.json("report", "list")["reports"] == []


@pytest.mark.wide
def test_a_frozen_sandbox_makes_reports_in_its_turn():
    """One worker, everything in order."""
    with Sandbox(workers=1, arguments=("--frozen-at", "2027-03-01T09:00:00Z")) as frozen:
        frozen.command("pay", "--amount", "10.00", "--currency", "AED")
        made = frozen.json("report", "generate", "--columns", "amount,transaction_date")
        assert (made["reference"], made["state"], made["requested_at"]) == ("report-1", "ready", "2027-03-01T09:00:00+00:00")
        assert frozen.json("report", "download", "report-1")["data"] == [{"amount": "1000", "transaction_date": "2027-03-01T09:00:00+00:00"}]
        assert frozen.stop() == 0
        assert frozen.command("report", "generate").returncode == Exit.NOT_RUNNING
        assert [one["reference"] for one in frozen.json("report", "list")["reports"]] == ["report-1"]


def test_a_hold_that_lapsed_is_a_row(sandbox: Sandbox):
    """Nobody asked for it; the rest of the hold that was captured in part is given back, and told as a void of that amount."""
    sandbox.json("clock", "advance", "9d")
    made = sandbox.json("report", "generate", "--columns", "merchant_reference,amount,response_code,channel", "--filter", "operation=VOID_AUTHORIZATION")
    rows = sandbox.json("report", "download", made["reference"])["data"]
    assert rows == [{"merchant_reference": "A-1", "amount": "100", "response_code": "08000", "channel": "Trusted"}]
