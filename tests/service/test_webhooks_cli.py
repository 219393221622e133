"""``ringfence webhooks`` beside a real service that tells a real receiver."""
from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringfence.api.aps import signature
from ringfence.failures import Exit
from tests.sandbox import Client, Sandbox
from tests.service.receiving import Receiver
from tests.service.test_up import call


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1, environment={"RINGFENCE_ANSWER_SECONDS": "0.2"}) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def pay(sandbox: Sandbox, reference: str) -> dict[str, Any]:
    """One purchase of the first merchant."""
    async def once() -> dict[str, Any]:
        client = Client(sandbox.port, sandbox.merchant())
        try:
            return await client.purchase(reference, 1000)
        finally:
            await client.close()

    return asyncio.run(once())


def told(sandbox: Sandbox, url: str, *more: str) -> None:
    """The first merchant is told there from now on."""
    done = sandbox.command("merchant", "set", "RingfenceOne", f"feedback_url={url}", *more)
    assert done.returncode == 0, done.stderr


def deliveries(sandbox: Sandbox) -> list[dict[str, Any]]:
    """What the list shows, asked without starting a command for it."""
    status, page = call(sandbox, "/admin/webhooks/deliveries?limit=500")
    assert status == 200, page
    return page["deliveries"]


def listed(sandbox: Sandbox, payment: str, state: str) -> dict[str, Any]:
    """The delivery of a payment, once it is in that state; the test's own limit is the limit."""
    while not (rows := [row for row in deliveries(sandbox) if (row["payment"], row["state"]) == (payment, state)]):
        time.sleep(0.05)                                # it becomes so in another process; looking takes time from it
    return rows[0]


def test_a_delivery_is_told_listed_and_shown(sandbox: Sandbox, receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    """Its bytes are the answer, its log says what came back."""
    monkeypatch.setenv("COLUMNS", "200")
    told(sandbox, receiver.url, "feedback_attempts=11")
    answer = pay(sandbox, "TOLD-1")
    [one] = receiver.wait_for(1)
    assert json.loads(one.body) == answer and one.headers["ringfence-attempt"] == "1"
    row = listed(sandbox, answer["fort_id"], "delivered")
    shown = sandbox.json("webhooks", "show", row["id"])
    assert json.loads(shown["body"]) == answer
    assert [(attempt["status"], attempt["address"]) for attempt in shown["log"]] == [(200, "127.0.0.1")]
    text = sandbox.command("webhooks", "list")
    assert text.returncode == 0 and "well" in text.stdout and "purchase_approved" in text.stdout
    monkeypatch.setenv("COLUMNS", "80")
    assert row["id"] in sandbox.command("webhooks", "list").stdout, "what show and redeliver take stands in one piece"
    monkeypatch.setenv("COLUMNS", "200")
    text = sandbox.command("webhooks", "show", row["id"])
    assert text.returncode == 0 and answer["signature"] in text.stdout


def test_what_failed_is_told_again_byte_for_byte(sandbox: Sandbox, receiver: Receiver):
    """After the receiver was repaired; at the same address, and copies at another."""
    receiver.status = 500
    told(sandbox, receiver.url, "feedback_attempts=1")
    answer = pay(sandbox, "FAIL-1")
    row = listed(sandbox, answer["fort_id"], "given_up")
    assert row["id"] in {one["id"] for one in sandbox.json("webhooks", "list", "--failed")["deliveries"]}
    receiver.status = 200
    assert sandbox.json("webhooks", "redeliver", "--failed") == {"deliveries": 1}
    first, again = receiver.wait_for(2)
    assert first.body == again.body and (first.headers["ringfence-attempt"], again.headers["ringfence-attempt"]) == ("1", "2")
    listed(sandbox, answer["fort_id"], "delivered")
    with Receiver() as other:
        done = sandbox.command("webhooks", "redeliver", row["id"], "--url", other.url)
        assert (done.returncode, done.stdout) == (0, "1 delivery begins anew.\n"), done.stderr
        [copy] = other.wait_for(1)
        assert copy.body == first.body


def test_events_of_before_an_address_was_set_are_replayed(sandbox: Sandbox, receiver: Receiver):
    """To the address of today."""
    before = datetime.now(UTC)
    with Receiver() as former:
        told(sandbox, former.url)
        answer = pay(sandbox, "REPLAY-1")
        former.wait_for(1)                  # so that it is handed out, and nobody hands it out again by himself
    told(sandbox, receiver.url)
    until = datetime.now(UTC) + timedelta(minutes=1)
    done = sandbox.command("webhooks", "replay", "--since", before.isoformat(), "--until", until.isoformat(), "--merchant", "RingfenceOne")
    assert (done.returncode, done.stdout) == (0, "1 delivery was made.\n"), done.stderr
    [one] = receiver.wait_for(1)
    assert json.loads(one.body) == answer


BY_ITSELF = {
    # event                    what its payment is told of, in order; the first is direct feedback
    "authorization_reversed": [("AUTHORIZATION", "15777"), ("AUTHORIZATION", "03666")],
    "purchase_reversed":      [("PURCHASE", "15777"), ("PURCHASE", "13666")],
    "capture_unknown":        [("AUTHORIZATION", "02000"), ("CAPTURE", "04000")],
    "authorization_expired":  [("AUTHORIZATION", "02000"), ("VOID_AUTHORIZATION", "08000")],
}


@pytest.mark.parametrize("event", BY_ITSELF)
def test_what_happens_by_itself_is_notified(sandbox: Sandbox, receiver: Receiver, event: str):
    """How doubts ended, and what expired: recovered and swept by the service, told like anything else."""
    with Receiver() as changes:
        told(sandbox, receiver.url, f"notification_url={changes.url}")
        reference = sandbox.json("trigger", event, "--yes")["reference"]
        bodies = [json.loads(one.wait_for(1)[0].body) for one in (receiver, changes)]
        assert [(body["command"], body["response_code"]) for body in bodies] == BY_ITSELF[event]
        for body in bodies:
            assert body["merchant_reference"] == reference
            assert body["signature"] == signature.sign(body, sandbox.merchant()["sha_response_phrase"], sandbox.merchant()["sha_type"])
        told(sandbox, "", "notification_url=")


REFUSED: list[tuple[tuple[str, ...], Exit, str]] = [
    (("redeliver",), Exit.USAGE, "Choose one"),
    (("redeliver", "x", "--failed"), Exit.USAGE, "Choose one"),
    (("redeliver", "--failed", "--since", "2026-01-01"), Exit.USAGE, "Choose one"),
    (("redeliver", "RingfenceOne:1:1:1"), Exit.REFUSED, "no such delivery"),
    (("redeliver", "--since", "2026-01-02", "--until", "2026-01-01"), Exit.REFUSED, "until must be after since"),
    (("redeliver", "--since", "2026-01-02"), Exit.REFUSED, "until is missing"),
    (("redeliver", "--since", "soon", "--until", "2026-01-01"), Exit.REFUSED, "since must be an ISO 8601 instant"),
    (("redeliver", "--failed", "--url", "http://10.0.0.1/"), Exit.REFUSED, "url names 10.0.0.1"),
    (("redeliver", "--failed", "--url", "gopher://shop.example/"), Exit.REFUSED, "url must begin with"),
    (("redeliver", "--failed", "--merchant", "Nobody"), Exit.REFUSED, "ringfence: there is no merchant"),
    (("redeliver", "--failed", "--merchant", ""), Exit.REFUSED, "ringfence: there is no merchant"),
    (("replay", "--since", "2026-01-01", "--until", "2026-01-02", "--merchant", ""), Exit.REFUSED, "ringfence: there is no merchant"),
    (("list", "--merchant", ""), Exit.REFUSED, "ringfence: there is no merchant"),
    (("replay",), Exit.REFUSED, "since is missing"),
    (("replay", "--since", "2026-01-02", "--until", "2026-01-01"), Exit.REFUSED, "until must be after since"),
    (("list", "--since", "soon"), Exit.REFUSED, "since must be an ISO 8601 instant"),
    (("show", "RingfenceOne:1:1:1"), Exit.REFUSED, "no such delivery"),
]


@pytest.mark.parametrize(("words", "code", "sentence"), REFUSED, ids=[" ".join(words) for words, _, _ in REFUSED])
def test_what_makes_no_sense_is_refused_and_nothing_is_sent(sandbox: Sandbox, words: tuple[str, ...], code: Exit, sentence: str):
    """With the reason, in a sentence."""
    before = deliveries(sandbox)
    while any(row["state"] == "waiting" for row in before):
        before = deliveries(sandbox)                                # what the tests before have received is noted in another process
    done = sandbox.command("webhooks", *words)
    assert done.returncode == code and sentence in done.stderr, done.stderr
    assert deliveries(sandbox) == before
