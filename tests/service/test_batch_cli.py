"""``ringfence batch`` against a running sandbox: what it prints, what it refuses, and what merchants are told of rows."""
from __future__ import annotations

import asyncio
import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from ringfence.failures import Exit
from tests.sandbox import CARD, Client, Sandbox
from tests.service.receiving import Receiver
from tests.service.test_up import call, workers

HEADER = "command,merchant_reference,amount,currency,customer_email,eci,token_name"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, environment={"RINGFENCE_SWEEP_SECONDS": "0.2"}) as running:
        yield running


@pytest.fixture(scope="module")
def token(sandbox: Sandbox) -> str:
    """A card that its holder has paid with."""
    async def pay() -> str:
        client = Client(sandbox.port, sandbox.merchant())
        answer = await client.ask(**{**CARD, "command": "PURCHASE", "merchant_reference": "first", "amount": "1000", "remember_me": "YES"})
        await client.close()
        return answer["token_name"]
    return asyncio.run(pay())


def written(folder: Path, *rows: str, name: str = "rows.csv") -> str:
    file = folder / name
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    return str(file)


def row(reference: str, token: str, amount: int = 1000, currency: str = "AED") -> str:
    return f"PURCHASE,{reference},{amount},{currency},a@b.co,RECURRING,{token}"


def test_a_file_from_its_check_to_its_results(sandbox: Sandbox, token: str, tmp_path: Path):
    """Totals first, no money with ``--check``; carried out, watched, listed, and told row by row."""
    file = written(tmp_path, *(row(f"A-{number}", token, 100 + number) for number in range(50)), row("A-x", "NOBODY"))
    checked = sandbox.command("batch", "submit", file, "--reference", "LOOK", "--check")
    assert checked.returncode == Exit.OK and "51 rows: 51 purchase 72.25 AED" in checked.stdout.replace(",", ""), checked.stdout + checked.stderr
    carried = sandbox.command("batch", "submit", file, "--reference", "GO", "--yes")
    assert carried.returncode == Exit.CHECK_FAILED, carried.stderr
    assert "50 purchase 62.25 AED approved, 1 purchase 10.00 AED refused" in carried.stdout and "agrees" in carried.stdout
    shown = sandbox.json("batch", "status", "GO")
    assert (shown["state"], shown["agrees"], shown["progress"]["done"], shown["progress"]["failed"]) == ("done", True, 51, 1)
    told = list(csv.DictReader(sandbox.command("batch", "results", "GO").stdout.splitlines()))
    assert [one["response_code"] for one in told] == ["14000"] * 50 + ["13044"]
    assert {one["batch_reference"]: one["state"] for one in sandbox.json("batch", "list")["batches"]} == {"GO": "done", "LOOK": "valid"}
    assert "LOOK" in sandbox.command("batch", "list").stdout
    cancelled = sandbox.json("batch", "cancel", "LOOK")
    assert cancelled["state"] == "cancelled"
    dropped = list(csv.DictReader(sandbox.command("batch", "results", "LOOK").stdout.splitlines()))
    assert {one["response_code"] for one in dropped} == {"13119"} and len(dropped) == 51


def test_the_same_content_needs_a_word(sandbox: Sandbox, token: str, tmp_path: Path):
    """What it would newly move is shown; with ``--force`` it goes, and nobody pays twice."""
    file = written(tmp_path, row("F-1", token), row("F-2", token))
    assert sandbox.command("batch", "submit", file, "--yes").returncode == Exit.OK
    again = sandbox.command("batch", "submit", file, "--yes")
    assert again.returncode == Exit.CHECK_FAILED and "would newly move: nothing" in again.stdout
    forced = sandbox.json("batch", "submit", file, "--force")
    assert forced["forced"] and {one["ended"] for one in forced["sums"]} == {"refused"}


def test_what_is_wrong_is_shown_before_anything_moves(sandbox: Sandbox, token: str, tmp_path: Path):
    """By line and column; and files that are none."""
    wrong = sandbox.command("batch", "submit", written(tmp_path, row("W-1", token), row("W-2", token, 0)), "--yes")
    assert wrong.returncode == Exit.CHECK_FAILED and "amount" in wrong.stdout and "Invalid amount" in wrong.stdout
    (tmp_path / "card.csv").write_text("command,card_number\n")
    refused = sandbox.command("batch", "submit", str(tmp_path / "card.csv"), "--yes")
    assert refused.returncode == Exit.REFUSED and "51142" in refused.stderr and "card numbers" in refused.stderr
    assert sandbox.command("batch", "status", "NOBODY").returncode == Exit.REFUSED
    assert sandbox.command("batch", "results", "911974485626720256").returncode == Exit.REFUSED


def test_operators_are_refused_in_words(sandbox: Sandbox):
    """By the field's name, or with what is missing."""
    for path, status in (("/x", 400), ("?limit=0", 400), ("?reference=x", 400), ("?after=9x", 400), ("/1", 404), ("/1/results", 404),
                         ("?merchant=Nobody", 404), ("/9223372036854775808", 400)):
        assert call(sandbox, "/admin/batches" + path)[0] == status, path
    assert call(sandbox, "/admin/batches/1/cancel", method="POST", body={})[0] == 404
    assert call(sandbox, "/admin/batches", token="another")[0] == 401


def test_rows_are_told_of_like_any_payment(sandbox: Sandbox, token: str, tmp_path: Path):
    """Feedback for each, signed, with the row's own reference."""
    with Receiver() as receiver:
        name = sandbox.merchant()["merchant_identifier"]
        assert sandbox.command("merchant", "set", name, f"feedback_url={receiver.url}").returncode == Exit.OK
        try:
            assert sandbox.command("batch", "submit", written(tmp_path, row("T-1", token), row("T-2", token)), "--yes").returncode == Exit.OK
            for count in itertools.count(2):        # another test's rows may be told of late
                bodies = [body for one in receiver.wait_for(count) if (body := json.loads(one.body))["merchant_reference"].startswith("T-")]
                if len(bodies) == 2:
                    break
        finally:
            sandbox.command("merchant", "set", name, "feedback_url=")
    assert {body["merchant_reference"]: body["response_code"] for body in bodies} == {"T-1": "14000", "T-2": "14000"}
    assert all(body["eci"] == "RECURRING" and body["signature"] for body in bodies)


def carried_out(sandbox: Sandbox, reference: str) -> dict[str, Any]:
    """How a file stands, asked of whoever answers; empty before it is there, and while nobody does."""
    try:
        status, listed = call(sandbox, "/admin/batches?limit=200")
        number = next((one["batch_id"] for one in listed["batches"] if one["batch_reference"] == reference), None) if status == 200 else None
        return call(sandbox, f"/admin/batches/{number}")[1] if number else {}
    except (OSError, HTTPException):
        return {}                                           # the worker that was asked was killed


@pytest.mark.wide
@pytest.mark.timeout(600)
def test_workers_that_are_killed_lose_no_row_and_repeat_none(sandbox: Sandbox, token: str, tmp_path: Path):
    """Both of them in the middle, one after the other: what was under way ends by reversal, and the proof agrees."""
    file = written(tmp_path, *(row(f"K-{number}", token) for number in range(12_000)))
    assert sandbox.command("simulator", "set", "--latency", "0.5").returncode == Exit.OK      # however fast the machine is, it is not over before
    try:
        submitting = subprocess.Popen([sys.executable, "-m", "ringfence.cli", "batch", "submit", file, "--reference", "KILLED", "--yes", "--json",
                                       "--data", str(sandbox.data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        done = 0
        for _ in range(2):
            while (stands := carried_out(sandbox, "KILLED")).get("progress", {}).get("done", 0) <= done or not (killed := workers(sandbox)):
                time.sleep(0.01)                            # rows are carried out meanwhile
            done = stands["progress"]["done"]
            os.kill(killed[0], signal.SIGKILL)
            assert stands["state"] == "processing", "it was over before anybody was killed"
        submitting.communicate()                            # it may have asked the worker that died
    finally:
        sandbox.command("simulator", "set", "--latency", "0")
    while carried_out(sandbox, "KILLED").get("state") != "done":
        time.sleep(0.1)                                     # what was under way ends in other processes
    told = list(csv.DictReader(sandbox.command("batch", "results", "KILLED").stdout.splitlines()))
    assert len(told) == 12_000 and {one["response_code"] for one in told} <= {"14000", "13666"}
    assert sandbox.command("proof").returncode == Exit.OK
