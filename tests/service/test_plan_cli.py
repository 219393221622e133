"""``ringfence plan`` against a running sandbox and beside a stopped one: made, charged as the clock goes on, changed, ended."""
from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from ringfence.cli.plan import _whose
from ringfence.failures import Exit, Failure
from tests.sandbox import Sandbox

WISH = ("--token", "T1", "--amount", "25.00", "--currency", "AED", "--email", "sara@example.com")

MONTHS = "95d"
"""In so many days three months end, whenever one begins."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as running:
        assert running.command("pay", "--set", "token_name=T1", "--set", "remember_me=YES").returncode == 0
        yield running


@pytest.fixture(scope="module")
def start(sandbox: Sandbox) -> date:
    """The last day of a month, the next one that is still to come."""
    tomorrow = date.fromisoformat(sandbox.json("clock", "show")["now"][:10]) + timedelta(days=1)
    following = (tomorrow.replace(day=1) + timedelta(days=32)).replace(day=1)
    return following - timedelta(days=1)


def test_every_due_date_on_the_way_is_charged(sandbox: Sandbox, start: date):
    """By an advance over some months: once each, at their ends, and told what fired."""
    made = sandbox.json("plan", "create", "gym", *WISH, "--start", str(start), "--anchor", "31")
    due = [one["due_date"] for one in sandbox.json("plan", "due", "--until", MONTHS)["due"]]
    assert made["next"][0]["due_date"] == due[0] == str(start) and len(due) >= 3
    fired = {one["what"]: one["count"] for one in sandbox.json("clock", "advance", MONTHS)["fired"]}
    assert fired["plans"] >= len(due)
    shown = sandbox.json("plan", "show", "gym")
    assert [one["due_date"] for one in reversed(shown["periods"])] == due
    assert {one["state"] for one in shown["periods"]} == {"charged"} and shown["charged"] == len(due)
    assert all((date.fromisoformat(day) + timedelta(days=1)).day == 1 for day in due)
    printed = sandbox.command("plan", "show", "gym").stdout
    assert due[-1] in printed and "charged" in printed and "25.00 AED" in printed
    assert sandbox.json("proof")["ok"] is True


def test_what_is_refused_says_what_to_do(sandbox: Sandbox, start: date):
    """And has its exit code."""
    for words, code, said in (
        (("create", "x", *WISH, "--start", "2020-01-01"), Exit.REFUSED, "start is past; today is"),
        (("create", "x", "--token", "NONE", *WISH[2:], "--start", "2098-01-01"), Exit.REFUSED, "token_name names no token of this merchant"),
        (("create", "x", *WISH, "--start", "2098-01-01", "--kind", "invoice"), Exit.REFUSED, "token_name goes with kind charge only"),
        (("create", "x", "--token", "T1", "--amount", "25", *WISH[4:], "--start", "2098-01-01"), Exit.USAGE, "--amount"),
        (("create", "x", "--token", "T1", "--currency", "AED", "--start", "2098-01-01"), Exit.USAGE, "--amount and --email are needed"),
        (("show", "none"), Exit.REFUSED, "there is no plan of that merchant and id"), (("update", "gym"), Exit.USAGE, "Say what shall change"),
        (("resume", "gym"), Exit.REFUSED, "only a paused or stopped plan can be resumed"),
    ):
        ran = sandbox.command("plan", *words)
        assert ran.returncode == code and said in ran.stderr, (words, ran.stderr)


def test_a_plan_is_kept_with_or_without_a_service(sandbox: Sandbox, start: date):
    """The same commands say the same on the database of a stopped one; afterwards it goes on from there."""
    day = date.fromisoformat(sandbox.json("clock", "show")["now"][:10]) + timedelta(days=3)
    sandbox.command("plan", "create", "box", *WISH, "--start", str(day), "--unit", "week", "--every", "2")
    assert sandbox.json("plan", "pause", "box", "--reason", "on holiday")["status"] == "paused"
    assert "on holiday" in sandbox.command("plan", "list", "--status", "paused").stdout
    sandbox.stop()
    assert sandbox.json("plan", "show", "box")["status"] == "paused"
    assert sandbox.json("plan", "resume", "box")["status"] == "active"
    assert sandbox.json("plan", "update", "box", "--amount", "9.50")["amount"] == 950
    sandbox.start()
    sandbox.json("clock", "advance", "4d")
    assert [(one["due_date"], one["amount"], one["state"]) for one in sandbox.json("plan", "show", "box")["periods"]] == [(str(day), 950, "charged")]
    assert sandbox.json("plan", "end", "box")["status"] == "ended"
    assert sandbox.command("plan", "due", "--until", "1s").stdout.startswith("Nothing is due up to")


def test_where_no_service_ever_ran_the_first_step_is_to_start_one(tmp_path: Path):
    """Not to name a merchant, of which there is none."""
    with pytest.raises(Failure, match="Start it with: ringfence up") as raised:
        _whose(str(tmp_path / "nothing"), None)
    assert raised.value.code is Exit.NOT_RUNNING
