"""``ringfence jwo receipt`` and ``report``, against a sandbox whose retailer charges over the signed door."""
from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess

import pytest

from ringfence.core.receipt_sheet import COLUMNS
from ringfence.failures import Exit
from tests.retailing import Retailer
from tests.sandbox import Sandbox

REFUND = "3b2f6a0e-9c41-4d7e-8f10-5a6b7c8d9e0f"
MASTERCARD = "5123456789012346"


def money(minor: int) -> dict:
    return {"amount": minor / 100, "code": "USD"}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def retailer(sandbox: Sandbox) -> Retailer:
    return Retailer(sandbox, "STORE-CLI")


@pytest.fixture(scope="module")
def trip(retailer: Retailer) -> str:
    """Charged, and given back in part."""
    name = retailer.enter("--presented", "chip")
    retailer.charge(name, "18.40")
    assert retailer.ask("/v1/refund", name, amount=money(425), refundRequestId=REFUND, refundReasonCode="DAMAGED_ITEM")[0] == 200
    return name


def test_what_is_printed(retailer: Retailer, trip: str):
    """Both receipts in columns, and where the shopper reads them; the same words every time, and what GetTransactionalData says is on it."""
    said = retailer.sandbox.command("jwo", "receipt", trip).stdout
    data = retailer.ask("/v1/payment/transactional-data", trip)[1]
    for piece in ("Corner Store", "1 Main Street", "APPROVED", "18.40 USD", "REFUNDED", "4.25 USD", f"**** {data['tail']}", data["applicationId"],
                  data["terminalId"], data["reconciliationId"], data["cardStatementTransactionId"], data["panSequenceNumber"], "Chip", trip):
        assert piece in said, piece
    assert all(len(line) <= COLUMNS for line in said.splitlines() if not line.startswith("http"))
    assert len(re.findall(r"^http://127\.0\.0\.1:\d+/r/[A-Za-z0-9_-]{38}$", said, re.MULTILINE)) == 2
    assert said == retailer.sandbox.command("jwo", "receipt", trip, "--store", "STORE-CLI").stdout


def test_no_output_tells_expiry_or_number(retailer: Retailer, trip: str, tmp_path):
    """The retailer may know the expiry; no receipt says it, in whatever order or form."""
    expiry = retailer.ask("/v1/payment/transactional-data", trip)[1]["expirationDate"]
    year, month = expiry["expirationYear"], expiry["expirationMonth"]
    page, paper = tmp_path / "a.html", tmp_path / "a.pdf"
    printed = retailer.sandbox.command("jwo", "receipt", trip, "--json", "--html", str(page), "--pdf", str(paper)).stdout
    said = written_on(paper.read_bytes())
    assert "18.40 USD" in said or not said
    texts = "".join(one["text"] for one in json.loads(printed)["receipts"]) + page.read_text("utf-8") + said
    assert not re.search(rf"{month}\s*[/-]\s*(?:{year}|{year[2:]})\b|\b{year}\s*[/-]\s*{month}\b|\b{year[2:]}{month}\b|\b{month}{year[2:]}\b", texts)
    assert "4000009900000004" not in texts and re.search(r"\*{4} 0004", texts)


def written_on(paper: bytes) -> str:
    """The text of a PDF, by poppler; "" where that is not there."""
    reader = shutil.which("pdftotext")
    return subprocess.run([reader, "-layout", "-", "-"], input=paper, stdout=subprocess.PIPE, check=True).stdout.decode() if reader else ""


def test_files_are_the_same_bytes_later(retailer: Retailer, trip: str, tmp_path):
    """Also behind a change of the store, and a month later."""
    files = [(tmp_path / f"{number}.html", tmp_path / f"{number}.pdf") for number in (1, 2)]
    number = retailer.receipts(trip)[0]["number"]
    for place, (page, paper) in enumerate(files):
        retailer.sandbox.command("jwo", "receipt", trip, "--number", number, "--language", "ar", "--html", str(page), "--pdf", str(paper))
        if not place:
            retailer.sandbox.json("jwo", "store", "set", retailer.store, "--title", "Moved", "--address", "Elsewhere")
    assert files[0][0].read_bytes() == files[1][0].read_bytes() and files[0][1].read_bytes() == files[1][1].read_bytes()


def test_what_is_owed(retailer: Retailer):
    """Charged in part, and not at all; neither says approved."""
    part, none = retailer.enter(card=MASTERCARD), retailer.enter(card=MASTERCARD)
    assert retailer.ask("/v1/capture/charge", part, amount=money(400))[0] == 200
    assert retailer.ask("/v1/cancel/charge", none)[0] == 200
    for trip, paid in ((part, 400), (none, 0)):
        assert retailer.ask("/v1/feedback/payment-status", trip, totalAmount=money(6410), settledAmount=money(paid),
                            paymentStatusTime=1768478400)[0] == 200
    one, other = retailer.receipts(part)[0], retailer.receipts(none)[0]
    assert (one["kind"], one["minor"], one["outstanding"]) == ("sale", 400, 6010)
    assert (other["kind"], other["minor"], other["outstanding"]) == ("not_charged", 0, 6410)
    assert "approved" not in (one["text"] + other["text"]).lower()


def test_a_report_agrees_with_the_proof(retailer: Retailer, trip: str):
    """To the minor unit, in both forms; a trip that expires is called so."""
    open_ = retailer.enter()
    rows = list(csv.DictReader(io.StringIO(retailer.sandbox.command("jwo", "report", "--store", retailer.store).stdout)))
    assert [row["state"] for row in rows if row["trip"] == trip] == ["charged"]
    retailer.sandbox.json("clock", "advance", "47h")
    said = json.loads(retailer.sandbox.command("jwo", "report", "--json").stdout)
    assert next(one["state"] for one in said["trips"] if one["trip"] == open_) == "expired"
    total = next(one for one in said["totals"] if one["currency"] == "USD")
    proof = next(one for one in retailer.sandbox.json("proof", "--merchant", said["merchant"])["merchants"] if one["currency"] == "USD")
    accounts, of = proof["accounts"], {name: total[name] for name in ("held", "charged", "refunded", "debt", "owed", "recovered")}
    assert of["held"] == -accounts["hold.promised"] and of["charged"] == accounts["hold.captured"]
    assert of["charged"] - of["refunded"] == accounts["processor.receivable"]
    assert of["debt"] == -accounts["debt.incurred"] and of["owed"] == accounts["debt.owed"] and of["recovered"] == accounts.get("debt.recovered", 0)


@pytest.mark.parametrize(("words", "code", "said"), [
    (("receipt", "nobody"), Exit.REFUSED, "there is no trip of that name"),
    (("report", "--from", "yesterday"), Exit.REFUSED, "from must be an ISO 8601 instant"),
    (("report", "--merchant", "nobody"), Exit.REFUSED, "there is no merchant"),
    (("receipt", "nobody", "--language", "fr"), Exit.USAGE, "fr"),
])
def test_what_cannot_be_had_is_said(retailer: Retailer, words: tuple[str, ...], code: Exit, said: str):
    done = retailer.sandbox.command("jwo", *words)
    assert done.returncode == code and said in done.stderr


def test_a_trip_that_has_not_ended(retailer: Retailer, tmp_path):
    done = retailer.sandbox.command("jwo", "receipt", retailer.enter())
    assert done.returncode == Exit.REFUSED and "has not ended" in done.stderr


def test_a_file_that_cannot_be_written(retailer: Retailer, trip: str, tmp_path):
    done = retailer.sandbox.command("jwo", "receipt", trip, "--html", str(tmp_path / "no" / "a.html"))
    assert done.returncode == Exit.DATA_FOLDER and "cannot be written" in done.stderr
