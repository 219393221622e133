"""``ringfence jwo`` against a running sandbox: stores, gates, trips that expire as the clock goes on, sample trips at each start."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from ringfence.engine.seeding import STORE, TRIPS
from ringfence.failures import Exit
from ringfence.processors.simulator import card_of_scenario
from tests.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as running:
        done = running.command("jwo", "store", "set", "S-1", "--currency", "USD", "--hold", "20.00", "--least", "5.00")
        assert done.returncode == 0, done.stderr
        yield running


def opened(sandbox: Sandbox, name: str, card: str, *more: str) -> dict:
    return sandbox.json("jwo", "trip", "open", "--store", "S-1", "--card", card, "--trip", name, *more)


def test_an_uncharged_trip_is_told_of_and_its_hold_is_given_back(sandbox: Sandbox):
    """By an advance over its life, which stops at each of its alarms."""
    assert opened(sandbox, "T-1", "0000", "--presented", "chip")["card"]["entry_mode"] == "05"
    fired = {one["what"]: one["count"] for one in sandbox.json("clock", "advance", "46h")["fired"]}
    assert (fired["trips that are not charged"], fired["holds expire"]) == (4, 1)
    shown = sandbox.json("jwo", "trip", "show", "T-1")
    assert (shown["state"], shown["authorized"]) == ("expired", 0)
    assert [event["type"] for event in shown["events"]] == ["trip.uncharged"] * 3 + ["trip.expired"]
    assert "expired" in sandbox.command("jwo", "trip", "list").stdout
    assert "reference T-1" in sandbox.command("explain", "T-1").stdout
    assert sandbox.json("proof")["ok"] is True


@pytest.mark.parametrize(("card", "said"), [
    ("0051", "declined, 51"), ("2003", "declined by card, Z1"), ("2004", "declined, 55"), ("1000", "declined, 51"), ("0300", "unknown"),
])
def test_a_gate_that_stays_shut_says_why(sandbox: Sandbox, card: str, said: str):
    done = sandbox.command("jwo", "trip", "open", "--store", "S-1", "--card", card)
    assert (done.returncode, said in done.stderr) == (Exit.REFUSED, True), done.stderr


def test_a_balance_that_is_enough_for_the_store_opens_its_gate(sandbox: Sandbox):
    """10.00 left of the 20.00 that are asked for."""
    assert opened(sandbox, "T-2", "1001")["preauth"] == 1000


def test_sample_trips_wait_until_somebody_asks_for_them(sandbox: Sandbox):
    """And begin anew when they are told to, each with another payment under its name."""
    def samples() -> dict[str, dict]:
        listed = sandbox.json("jwo", "trip", "list", "--merchant", "RingfenceOne", "--store", STORE)["trips"]
        return {row["trip"]: row for row in listed}

    assert {row["refused"] for row in samples().values()} == {"waiting"}
    assert all(row["payment"] is None for row in samples().values())
    assert len(sandbox.json("jwo", "trip", "reset", "--merchant", "RingfenceOne")["trips"]) == len(TRIPS)
    first = samples()
    assert [(first[one.name]["state"], first[one.name]["authorized"]) for one in TRIPS] == [("held", one.hold) for one in TRIPS]
    assert sandbox.json("jwo", "trip", "reset", TRIPS[0].name, "--merchant", "RingfenceOne")["trips"][0]["payment"] != first[TRIPS[0].name]["payment"]
    assert sandbox.command("jwo", "trip", "reset", "nobody").returncode == Exit.REFUSED
    assert sandbox.command("explain", TRIPS[0].name).stdout.count("Payment ") == 2
    assert sandbox.json("proof")["ok"] is True


def test_the_cards_of_sample_trips_are_those_of_the_table():
    assert [one.card for one in TRIPS] == [card_of_scenario(code) for code in ("0000", "0051", "0513")]
