"""``ringfence listen`` beside a real service and a real receiver."""
from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import Any

import pytest

from ringfence.api.aps import signature
from ringfence.failures import Exit
from tests.sandbox import Client, Sandbox
from tests.service.receiving import Receiver


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as running:
        yield running


@contextmanager
def listening(sandbox: Sandbox, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The command, from when it listens until it was interrupted; it must end well."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ringfence.cli", "listen", "--data", str(sandbox.data), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))    # also where the tests run in the background, which ignores it
    assert process.stdout is not None and process.stderr is not None
    try:
        assert process.stderr.readline().startswith("Listening")
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def pay(sandbox: Sandbox, *references: str, **fields: str) -> list[dict[str, Any]]:
    """Purchases, one after the other."""
    async def one_by_one() -> list[dict[str, Any]]:
        client = Client(sandbox.port, sandbox.merchant())
        try:
            return [await client.purchase(reference, 1000, **fields) for reference in references]
        finally:
            await client.close()

    return asyncio.run(one_by_one())


def line(process: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_events_are_shown_for_people(sandbox: Sandbox):
    """Time, event, amount and reference; no colours where it is no terminal."""
    with listening(sandbox) as process:
        pay(sandbox, "SHOWN-1")
        assert re.fullmatch(r"\d\d:\d\d:\d\d → purchase_approved  10\.00 AED  SHOWN-1", line(process))


def test_each_event_is_forwarded_in_order_with_the_headers_of_a_delivery(sandbox: Sandbox):
    """What is posted is the answer again, signed."""
    with Receiver() as receiver, listening(sandbox, "--forward-to", receiver.url, "--json") as process:
        answers = pay(sandbox, *[f"FWD-{number}" for number in range(5)])
        received = receiver.wait_for(5)
        assert [json.loads(one.body) for one in received] == answers
        phrase = sandbox.merchant()["sha_response_phrase"]
        for one, answer in zip(received, answers, strict=True):
            assert answer["signature"] == signature.sign(json.loads(one.body), phrase, sandbox.merchant()["sha_type"])
            assert one.headers | {
                "content-type": "application/json", "user-agent": "Ringfence", "ringfence-event": f"{answer['fort_id']}-1",
                "ringfence-sequence": "1", "ringfence-attempt": "1"} == one.headers
        shown = [json.loads(line(process)) for _ in answers]
        assert [event["payment"] for event in shown] == [answer["fort_id"] for answer in answers]
        assert [event["forwarded"][0]["status"] for event in shown] == [200] * 5


def test_a_receiver_that_is_away_is_shown_and_not_waited_for(sandbox: Sandbox):
    """What it missed it missed; when it is back it gets what comes then.  A redirect is an answer."""
    with Receiver() as receiver:
        pass
    with listening(sandbox, "--forward-to", receiver.url) as process:
        pay(sandbox, "AWAY-1")
        assert line(process).endswith("AWAY-1") and "← no answer" in line(process)
        with receiver:
            pay(sandbox, "BACK-1")
            assert line(process).endswith("BACK-1") and re.search(r"← 200 in \d+ ms", line(process))
            receiver.status = 302
            pay(sandbox, "BACK-2")
            assert line(process).endswith("BACK-2") and re.search(r"← 302 in \d+ ms", line(process))
    assert [json.loads(one.body)["merchant_reference"] for one in receiver.received] == ["BACK-1", "BACK-2"]


def test_only_what_was_asked_for_is_shown(sandbox: Sandbox):
    """By type; events without words of a door are forwarded as JSON."""
    with Receiver() as receiver, listening(sandbox, "--type", "possible_duplicate", "--forward-to", receiver.url, "--json") as process:
        done = sandbox.json("trigger", "possible_duplicate")
        shown = json.loads(line(process))
        assert (shown["type"], shown["payment"], shown["messages"]) == ("possible_duplicate", done["payment"], [])
        [one] = receiver.wait_for(1)
        posted = json.loads(one.body)
        assert (posted["type"], posted["id"]) == ("possible_duplicate", one.headers["ringfence-event"])


def test_listening_goes_on_from_a_cursor_and_over_a_restart_of_the_service(sandbox: Sandbox):
    """From the first event on; what happens after the restart is told by the same command."""
    [first] = pay(sandbox, "RESTART-1")
    with listening(sandbox, "--from", "begin", "--json") as process:
        while json.loads(line(process))["payment"] != first["fort_id"]:
            pass
        assert sandbox.stop() == 0
        assert process.stderr is not None
        assert process.stderr.readline() == "The service is away; waiting for it.\n"
        sandbox.start()
        [second] = pay(sandbox, "RESTART-2")
        assert json.loads(line(process))["payment"] == second["fort_id"]


REFUSED = [
    (("--forward-to", "ftp://127.0.0.1/"), Exit.USAGE, "must be an http or https address"),
    (("--forward-to", "http://user:word@127.0.0.1/"), Exit.USAGE, "without credentials"),
    (("--forward-to", "http://127.0.0.1:99999/"), Exit.USAGE, "must be an http"),
    (("--type", "purchase_aproved"), Exit.USAGE, "is no event"),
    (("--from", "yesterday"), Exit.REFUSED, "after must be the cursor"),
    (("--merchant", ""), Exit.REFUSED, "refused: there is no merchant"),
    (("--merchant", "Nobody"), Exit.REFUSED, "refused: there is no merchant"),
]


@pytest.mark.parametrize(("words", "code", "sentence"), REFUSED)
def test_what_makes_no_sense_is_refused(sandbox: Sandbox, words: tuple[str, ...], code: Exit, sentence: str):
    """In a sentence, at once."""
    done = sandbox.command("listen", *words)
    assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr


def ask(sandbox: Sandbox, path: str, body: dict[str, Any]) -> Any:
    """A request of the first merchant at the PPRO door."""
    merchant = sandbox.description["merchants"][0]["ppro"]
    with closing(HTTPConnection("127.0.0.1", sandbox.port, timeout=90)) as connection:
        connection.request("POST", f"/v1{path}", json.dumps(body), {
            "authorization": f"Bearer {merchant['api_key']}", "merchant-id": merchant["merchant_id"], "content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return json.load(answer)


def test_what_is_no_event_of_a_payment_is_shown_in_the_words_of_its_door(sandbox: Sandbox):
    """Agreements and disputes too, with good signatures; a word of the door chooses like an event's name."""
    agreement = {
        "paymentMethod": "MOCK", "consumer": {"name": "Jane Doe", "country": "US"}, "amount": {"value": 900, "currency": "USD"}, "amountType": "MAX"}
    with listening(sandbox, "--type", "PAYMENT_AGREEMENT_ACTIVE", "--type", "PAYMENT_AGREEMENT_REVOKED_BY_MERCHANT") as process:
        made = ask(sandbox, "/payment-agreements", agreement)
        assert re.fullmatch(rf"\d\d:\d\d:\d\d → PAYMENT_AGREEMENT_ACTIVE  {made['id']}", line(process))
        assert "signatures good" in line(process)
        ask(sandbox, f"/payment-agreements/{made['id']}/revocations", {})
        assert line(process).endswith(f"PAYMENT_AGREEMENT_REVOKED_BY_MERCHANT  {made['id']}")
    charge = ask(sandbox, "/payment-charges", {
        "paymentMethod": "CARD", "amount": {"value": 1000, "currency": "USD"}, "consumer": {"name": "Jane Doe", "country": "US"},
        "instrument": {"type": "RAW_CARD", "details": {
            "number": "4000009900000004", "holderName": "Jane Doe", "expiryMonth": 12, "expiryYear": 2039}}})
    with Receiver() as receiver, listening(sandbox, "--type", "DISPUTE_ACTION_REQUIRED", "--forward-to", receiver.url, "--json") as process:
        raised = sandbox.command("dispute", "raise", charge["id"], "--scenario", "0701")
        assert raised.returncode == 0, raised.stderr
        shown = json.loads(line(process))
        [forwarded] = receiver.wait_for(1)
        assert (shown["kind"], shown["type"], shown["messages"][0]["signatures"]) == ("dispute", "action_required", "good")
        assert json.loads(forwarded.body)["data"]["paymentChargeId"] == charge["id"]
    with listening(sandbox, "--from", "begin", "--type", "PAYMENT_AGREEMENT_CREATED") as process:
        assert line(process).endswith(f"PAYMENT_AGREEMENT_CREATED  {made['id']}"), "all that ever happened, from the beginning"
