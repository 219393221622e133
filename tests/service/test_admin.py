"""The operator's API and the command line against a running sandbox."""
from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ringfence.failures import Exit
from tests.sandbox import Sandbox, command
from tests.service.test_up import call


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as running:
        yield running


PATHS = [
    "/admin/proof", "/admin/clock", "/admin/merchants", "/admin/merchants/RingfenceOne", "/admin/payments/X", "/admin/simulator",
    "/admin/clock/due", "/admin/tokens/events", "/admin/reviews", "/admin/reviews/17", "/admin/events", "/admin/webhooks/endpoints", "/admin/webhooks/deliveries",
    "/admin/webhooks/deliveries/1:1:1:1", "/admin/retention",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", ["", "wrong", "é", " "])
def test_nobody_gets_in_without_the_token(sandbox: Sandbox, path: str, token: str):
    """401, whatever stands in its place; not even whether the path's object exists is told."""
    status, answer = call(sandbox, path, token=token.encode().decode("latin-1"))
    assert status == 401 and answer == {"error": "the admin token is missing or wrong"}


WRONG = [
    ("GET", "/admin/proof?at=yesterday", None, "at"),
    ("GET", "/admin/proof?at=2099-01-01T00:00:00Z", None, "at"),
    ("GET", "/admin/proof?merchant=Nobody", None, "merchant"),
    ("GET", "/admin/proof?full=perhaps", None, "full"),
    ("POST", "/admin/clock", [], "body"),
    ("POST", "/admin/clock", {}, "body"),
    ("POST", "/admin/clock", {"advance": "-1h"}, "advance"),
    ("POST", "/admin/clock", {"advance": -1}, "advance"),
    ("POST", "/admin/clock", {"advance": 10**30}, "advance"),
    ("POST", "/admin/clock", {"advance": True}, "advance"),
    ("POST", "/admin/clock", {"advance": "999999w"}, "advance"),
    ("POST", "/admin/clock", {"to": "2020-01-01T00:00:00Z"}, "to"),
    ("POST", "/admin/clock", {"freeze": "yes"}, "freeze"),
    ("POST", "/admin/clock", {"back": "1h"}, "back"),
    ("POST", "/admin/merchants", {}, "identifier"),
    ("POST", "/admin/merchants", {"identifier": "a-b"}, "identifier"),
    ("POST", "/admin/merchants", {"identifier": 7}, "identifier"),
    ("POST", "/admin/merchants", {"identifier": "RingfenceOne"}, "identifier"),
    ("POST", "/admin/merchants", {"identifier": "Shop1", "sha_type": "MD5"}, "sha_type"),
    ("POST", "/admin/merchants", {"identifier": "Shop1", "settings": {"hold_days": 7}}, "hold_days"),
    ("POST", "/admin/merchants", {"identifier": "Shop1", "settings": []}, "settings"),
    ("POST", "/admin/merchants", {"identifier": "Shop1", "name": "a\0b"}, "name"),
    ("PATCH", "/admin/merchants/RingfenceOne", {"settings": {"nothing": "1"}}, "nothing"),
    ("PATCH", "/admin/merchants/RingfenceOne", {"active": "yes"}, "active"),
    ("PATCH", "/admin/merchants/RingfenceOne", {"identifier": "Other"}, "identifier"),
    ("POST", "/admin/merchants/RingfenceOne/credentials", {"access_code": "x y"}, "access_code"),
    ("GET", "/admin/payments/%00", None, "name"),
    ("GET", "/admin/payments/X?merchant=Nobody", None, "merchant"),
    ("GET", "/admin/reviews?merchant=Nobody", None, "merchant"),
    ("GET", "/admin/tokens/events?merchant=Nobody", None, "merchant"),
    ("GET", "/admin/reviews?merchant=", None, "merchant"),
    ("GET", "/admin/events?merchant=", None, "merchant"),
    ("POST", "/admin/webhooks/redeliver", {"failed": True, "merchant": ""}, "merchant"),
    ("GET", "/admin/reviews?all=perhaps", None, "all"),
    ("POST", "/admin/reviews/17", [], "body"),
    ("POST", "/admin/reviews/17", {}, "as"),
    ("POST", "/admin/reviews/17", {"as": "declined", "evidence": "x", "by": "Mona"}, "reason"),
    ("POST", "/admin/reviews/17", {"as": "declined", "reason": " ", "evidence": "x", "by": "Mona"}, "reason"),
    ("POST", "/admin/reviews/17", {"as": "declined", "reason": "x", "evidence": "x", "by": "Mona", "amount": "10"}, "amount"),
    ("POST", "/admin/reviews/17", {"as": "declined", "reason": "x", "evidence": "x", "by": "Mona", "when": "now"}, "when"),
    ("POST", "/admin/simulator", {"explode": True}, "body"),
    ("POST", "/admin/simulator", {"latency_seconds": -1}, "latency_seconds"),
    ("POST", "/admin/simulator", {"scenario": {"card": "4000009900000005", "code": "0051"}}, "scenario.card"),
    ("POST", "/admin/simulator", {"balance": {"card": "4000009900000004", "currency": "XXX", "minor": 1}}, "balance.currency"),
]


@pytest.mark.parametrize(("method", "path", "body", "field"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_input_is_400_and_names_the_field(sandbox: Sandbox, method: str, path: str, body: object, field: str):
    """And never a 500."""
    status, answer = call(sandbox, path, method=method, body=body)
    assert (status, answer["field"]) == (400, field) and answer["error"]


@pytest.mark.parametrize("path", [
    "/admin/merchants/Nobody", "/admin/payments/Nothing", "/admin/reviews/17", "/admin/reviews/nothing", "/admin/nowhere",
    "/admin/reviews/", "/admin/merchants/%2F", "/admin/webhooks/deliveries/"])
def test_what_is_not_there_is_404(sandbox: Sandbox, path: str):
    """As JSON."""
    assert call(sandbox, path)[0] == 404


@pytest.mark.parametrize("identifier", ["Nobody", "%00", "%C3%A4"])
def test_a_merchant_that_is_not_there_cannot_be_changed(sandbox: Sandbox, identifier: str):
    """404 also for names that nothing can have."""
    assert call(sandbox, f"/admin/merchants/{identifier}", method="PATCH", body={"name": "New"})[0] == 404


@pytest.mark.parametrize(("path", "body"), [
    ("/admin/merchants", {"identifier": "Ghost"}), ("/admin/merchants/RingfenceOne", {"name": "Ghost"}),
    ("/admin/simulator", {"online": False}), ("/admin/retention", {"payment": "Nothing"}), ("/admin/clock", {"advance": "1h"}),
])
def test_head_asks_and_changes_nothing(sandbox: Sandbox, path: str, body: dict):
    """It is answered as GET is, whatever is sent along."""
    before = call(sandbox, path)[1]
    assert call(sandbox, path, method="HEAD", body=body) == (200, None)
    after = call(sandbox, path)[1]
    assert {name: value for name, value in after.items() if name not in MOVING} == {
        name: value for name, value in before.items() if name not in MOVING}


MOVING = ("now", "wall", "ahead_seconds", "at")


def test_what_has_ended_cannot_be_decided(sandbox: Sandbox):
    """It is shown with its end; a decision about it is 409, one about nothing 404."""
    operation = sandbox.json("pay", "--amount", "10.00")["fort_id"]
    status, shown = call(sandbox, f"/admin/reviews/{operation}")
    assert (status, shown["ended"], shown["choices"], shown["tries"]) == (200, "approved", [], None) and shown["story"]
    order = {"as": "declined", "reason": "x", "evidence": "x", "by": "Mona"}
    assert call(sandbox, f"/admin/reviews/{operation}", method="POST", body=order)[0] == 409
    assert call(sandbox, "/admin/reviews/17", method="POST", body=order)[0] == 404
    assert call(sandbox, "/admin/reviews") == (200, {"reviews": []})


def test_a_merchant_is_made_shown_and_used(sandbox: Sandbox):
    """From the command line: create, pay as it, list, set, explain, prove."""
    made = sandbox.json("merchant", "create", "Shop7", "--name", "Shop seven", "--set", "hold_days=3")
    assert made["credentials"][0]["sha_request_phrase"] and made["settings"]["hold_days"] == "3"
    assert "Shop7" in sandbox.command("merchant", "list").stdout
    paid = sandbox.json("pay", "--merchant", "Shop7", "--reference", "ORD-7", "--amount", "25.50", "--currency", "SAR")
    assert (paid["response_code"], paid["amount"], paid["merchant_identifier"]) == ("14000", "2550", "Shop7")
    assert sandbox.json("merchant", "set", "Shop7", "hold_days=5")["settings"]["hold_days"] == "5"
    told = sandbox.command("explain", "ORD-7").stdout
    story = sandbox.json("explain", paid["fort_id"])["payments"][0]
    assert story["merchant"] == "Shop7" and "25.50 SAR" in told
    assert told.splitlines()[1].strip() == f"Its names: fort_id {paid['fort_id']}, charge {story['names']['charge']}"
    assert sandbox.command("explain", story["names"]["charge"]).stdout == told
    proof = sandbox.command("proof", "--merchant", "Shop7")
    assert proof.returncode == 0 and "Everything agrees." in proof.stdout
    book = sandbox.json("simulator", "book", "--payment", paid["fort_id"])
    assert [entry["kind"] for entry in book["entries"]] == ["purchase"] and book["double_effects"] == []


@pytest.mark.parametrize("words", [("review", "list"), ("webhooks", "list"), ("retention", "show"), ("explain", "X"), ("proof",)])
def test_a_data_folder_that_is_a_file_is_a_sentence(tmp_path: Path, words: tuple[str, ...]):
    """Nothing runs there, and there is no database in it."""
    (tmp_path / "file").write_text("")
    done = command(*words, "--data", str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (Exit.DATABASE, "")
    assert "There is no database in" in done.stderr and "Traceback" not in done.stderr


def test_a_declined_payment_ends_with_1(sandbox: Sandbox):
    """The answer is printed all the same."""
    declined = sandbox.command("pay", "--card", _card(sandbox, "0051"))
    assert declined.returncode == Exit.CHECK_FAILED and "response_code" in declined.stdout


def _card(sandbox: Sandbox, scenario: str) -> str:
    return next(card["number"] for card in sandbox.description["test_cards"] if card["scenario"] == scenario)


REFUSED = [
    (("merchant", "set", "RingfenceOne", "hold_days=500", "nothing=1"), Exit.REFUSED, "hold_days must be 1 to 30 days; nothing is not a setting"),
    (("merchant", "set", "RingfenceOne", "hold_days"), Exit.USAGE, "is not KEY=VALUE"),
    (("merchant", "show", "Nobody"), Exit.REFUSED, "no merchant"),
    (("clock", "advance", "soon"), Exit.USAGE, "neither a duration"),
    (("clock", "advance", "--to", "2020-01-01T00:00:00Z"), Exit.REFUSED, "ringfence: the clock only goes forward"),
    (("explain", "Nothing"), Exit.REFUSED, "no payment has that id or reference"),
    (("explain", ""), Exit.REFUSED, "Nothing can have the name ''"),
    (("explain", "Nothing", "--merchant", ""), Exit.REFUSED, "ringfence: there is no merchant"),
    (("trigger", "purchase_approved", "--wait", "nan"), Exit.USAGE, "--wait must be"),
    (("review", "show", ""), Exit.REFUSED, "Nothing can have the name ''"),
    (("review", "show", "17"), Exit.REFUSED, "ringfence: there is no operation of that id"),
    (("webhooks", "show", "/"), Exit.REFUSED, "Nothing can have the name '/'"),
    (("trigger", "purchase_approved", "--merchant", ""), Exit.REFUSED, "Nothing can have the name ''"),
    (("explain", "\udcff"), Exit.USAGE, "the command line is not UTF-8"),
    (("proof", "--at", "2099-01-01T00:00:00Z"), Exit.REFUSED, "in the future"),
    (("proof", "--merchant", "Nobody"), Exit.REFUSED, "no merchant Nobody"),
    (("pay", "--amount", "1.005"), Exit.USAGE, "decimals"),
    (("pay", "--command", "CAPTURE"), Exit.USAGE, "needs --reference"),
    (("up", "--port", "99999"), Exit.CONFIGURATION, "--port must be 0 to 65535"),
]


@pytest.mark.parametrize(("words", "code", "sentence"), REFUSED, ids=lambda value: str(value)[:30])
def test_a_command_that_cannot_go_on_says_why_in_a_sentence(sandbox: Sandbox, words: tuple[str, ...], code: Exit, sentence: str):
    """On standard error, with an exit code of its own, and without a traceback."""
    done = sandbox.command(*words)
    assert done.returncode == code and sentence in done.stderr and "Traceback" not in done.stderr and not done.stdout


def test_the_signature_explainer_takes_a_request_from_standard_input(sandbox: Sandbox):
    """The phrase is masked; a wrong signature ends with 1."""
    body = json.dumps({"merchant_identifier": "RingfenceOne", "access_code": "RingfenceSandboxOne1", "command": "PURCHASE", "signature": "0" * 64})
    done = sandbox.command("aps", "explain-signature", input=body)
    assert done.returncode == Exit.CHECK_FAILED and "command=PURCHASE" in done.stdout and "TESTSHAIN" not in done.stdout


def test_the_doctor_finds_a_healthy_service_well(sandbox: Sandbox):
    """Every check that does not depend on the machine's disk passes."""
    checks = {one["check"]: one["ok"] for one in sandbox.json("doctor")["checks"] if one["check"] not in ("disk", "free space")}
    assert {"python", "data folder", "service", "database", "schema", "master key"} <= checks.keys() and all(checks.values())


def test_commands_work_without_a_service_too():
    """On the same data folder, after it stopped: the database is started for the moment."""
    with Sandbox(workers=1) as sandbox:
        assert sandbox.json("pay", "--reference", "ORD-1")["response_code"] == "14000"
        sandbox.stop()
        assert sandbox.json("merchant", "show", "RingfenceOne")["identifier"] == "RingfenceOne"
        assert "approved" in sandbox.command("explain", "ORD-1").stdout
        assert sandbox.json("proof", "--full")["ok"]
        assert re.search(r"0001\s+core", sandbox.command("migrate").stdout)
        assert sandbox.json("vault", "rotate")["key_id"] == 2
        refused = sandbox.command("pay")
        assert refused.returncode == Exit.NOT_RUNNING and "Start it with: ringfence up" in refused.stderr
