"""The sandbox's clock from outside: what will fire is said first, fires in order, and what makes no sense moves nothing."""
from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from ringfence.failures import Exit
from ringfence.storage.postgres import address
from tests.sandbox import Client, Sandbox
from tests.service.test_up import call


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


async def _authorize(sandbox: Sandbox, references: list[str], fields: dict[str, str], merchant: int = 0) -> list[str]:
    client = Client(sandbox.port, sandbox.merchant(merchant))
    answers = [await client.authorize(reference, 1000, **fields) for reference in references]
    await client.close()
    return [answer["response_code"] for answer in answers]


def authorize(sandbox: Sandbox, *references: str, **fields: str) -> None:
    assert asyncio.run(_authorize(sandbox, list(references), fields)) == ["02000"] * len(references)


def counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {row["what"]: row["count"] for row in rows if row["what"] != "retention runs"}


def card(sandbox: Sandbox, scenario: str) -> str:
    return next(card["number"] for card in sandbox.description["test_cards"] if card["scenario"] == scenario)


def test_what_is_told_beforehand_fires_and_is_done_when_the_answer_comes(sandbox: Sandbox):
    """Over HTTP, on two workers: holds that expire, and one that the issuer drops before."""
    authorize(sandbox, "DUE-1", "DUE-2")
    authorize(sandbox, "DUE-3", card_number=card(sandbox, "0510"))
    status, told = call(sandbox, "/admin/clock/due?by=8d")
    assert status == 200 and counts(told["due"]) == {"holds expire": 3, "issuer acts by itself": 1}
    before = call(sandbox, "/admin/clock")[1]
    status, moved = call(sandbox, "/admin/clock", method="POST", body={"advance": "8d"})
    assert (status, moved["settled"], counts(moved["fired"])) == (200, True, counts(told["due"]))
    assert moved["ahead_seconds"] - before["ahead_seconds"] == 8 * 86_400
    assert moved["steps"] >= 4
    assert "expired 10.00 AED" in sandbox.command("explain", "DUE-1").stdout
    assert counts(call(sandbox, "/admin/clock/due?by=30d")[1]["due"]) == {}
    assert sandbox.json("proof", "--full")["ok"]


def test_the_command_says_what_will_fire_before_it_moves(sandbox: Sandbox):
    """A dry run only says it; for machines both lists are in one object."""
    authorize(sandbox, "CLI-1")
    before = sandbox.json("clock", "show")["ahead_seconds"]
    dry = sandbox.command("clock", "advance", "7d", "--dry-run")
    assert dry.returncode == Exit.OK and "will fire" in dry.stdout and "holds expire" in dry.stdout
    assert sandbox.json("clock", "show")["ahead_seconds"] == before
    told = sandbox.json("clock", "advance", "7d", "--dry-run")
    assert counts(told["due"]) == {"holds expire": 1}
    moved = sandbox.json("clock", "advance", "7d")
    assert counts(moved["due"]) == counts(moved["fired"]) == {"holds expire": 1} and moved["settled"]
    authorize(sandbox, "CLI-2")
    to = (datetime.fromisoformat(moved["now"]) + timedelta(days=8)).isoformat()
    shown = sandbox.command("clock", "advance", "--to", to).stdout
    assert shown.index("will fire") < shown.index("business time") < shown.index("fired, in ")
    assert abs(datetime.fromisoformat(sandbox.json("clock", "show")["now"]) - datetime.fromisoformat(to)) < timedelta(minutes=2)


WRONG = [
    ("GET", "/admin/clock/due", None, "by"), ("GET", "/admin/clock/due?by=46h&to=2099-01-01", None, "by"),
    ("GET", "/admin/clock/due?in=46h", None, "by"), ("GET", "/admin/clock/due?by=soon", None, "by"),
    ("GET", "/admin/clock/due?by=999999w", None, "by"), ("GET", "/admin/clock/due?to=2020-01-01", None, "to"),
    ("GET", "/admin/clock/due?to=2100-01-02", None, "to"), ("GET", "/admin/clock/due?to=2099-01-01T00:00:00", None, "to"),
    ("POST", "/admin/clock", {"advance": -1}, "advance"), ("POST", "/admin/clock", {"advance": 10**30}, "advance"),
    ("POST", "/admin/clock", {"advance": "999999w"}, "advance"), ("POST", "/admin/clock", {"to": "2020-01-01T00:00:00Z"}, "to"),
    ("POST", "/admin/clock", {"to": 7}, "to"), ("POST", "/admin/clock", {"freeze": 1}, "freeze"),
    ("POST", "/admin/clock", {"advance": "1h", "freeze": True}, "body"),
]


@pytest.mark.parametrize(("method", "path", "body", "field"), WRONG, ids=lambda value: str(value)[:40])
def test_a_value_that_makes_no_sense_is_refused_by_its_field(sandbox: Sandbox, method: str, path: str, body: Any, field: str):
    """And the clock stays where it is."""
    before = call(sandbox, "/admin/clock")[1]["ahead_seconds"]
    status, said = call(sandbox, path, method=method, body=body)
    assert (status, said["field"]) == (400, field) and said["error"]
    assert call(sandbox, "/admin/clock")[1]["ahead_seconds"] == before


def test_two_advances_at_once_are_never_both_under_way(sandbox: Sandbox):
    """Whoever comes second is refused with 409 or comes after the first; the clock has moved by what was answered with 200."""
    authorize(sandbox, *(f"RACE-{number}" for number in range(20)))
    before, said = call(sandbox, "/admin/clock")[1]["ahead_seconds"], []
    racers = [threading.Thread(target=lambda: said.append(call(sandbox, "/admin/clock", method="POST", body={"advance": "4d"})[0]))
              for _ in range(6)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert set(said) <= {200, 409} and 200 in said
    assert round(call(sandbox, "/admin/clock")[1]["ahead_seconds"] - before, 3) == said.count(200) * 4 * 86_400


def test_without_a_service_the_clock_moves_at_once_and_the_next_start_catches_up():
    """What is due is told by the stopped service's database, and given back once a service runs again."""
    with Sandbox(workers=1) as sandbox:
        authorize(sandbox, "LATER-1")
        sandbox.stop()
        shown = sandbox.command("clock", "advance", "7d")
        assert shown.returncode == Exit.OK, shown.stderr
        assert "holds expire" in shown.stdout and "No service runs" in shown.stdout
        sandbox.start()
        moved = sandbox.json("clock", "advance", "1s")
        assert moved["settled"] and "expired 10.00 AED" in sandbox.command("explain", "LATER-1").stdout


PAUSE_HOURS = 5
"""Between two recoveries of a doubt, each of which waits the half second out in which an issuer must answer."""


@pytest.mark.wide
def test_retries_an_expiry_and_a_deadline_happen_in_the_order_of_their_instants():
    """On two workers, with a clock that runs: the hold's end at its own instant, the merchant told of it then and again exactly so long after
    each attempt before; and the doubt that nobody could end is for a person from its deadline on."""
    with Sandbox(environment={"RINGFENCE_ANSWER_SECONDS": "0.5", "RINGFENCE_RECOVERY_PAUSES": str(PAUSE_HOURS * 3600)}) as sandbox:
        names = [each["aps"]["merchant_identifier"] for each in sandbox.description["merchants"]]
        settings = ("hold_days=1", "notification_url=http://127.0.0.1:9/nobody", "feedback_attempts=3", "feedback_interval=3600")
        assert sandbox.command("merchant", "set", names[0], *settings).returncode == Exit.OK
        authorize(sandbox, "SERIES-1")
        assert asyncio.run(_authorize(sandbox, ["DOUBT-1"], {"card_number": card(sandbox, "0307")}, 1)) == ["15777"]
        assert sandbox.json("review", "list")["reviews"] == []
        moved = sandbox.json("clock", "advance", "46h")
        assert moved["settled"] and moved["fired"]
        fired = counts(moved["fired"])
        assert fired["holds expire"] == 1 and fired["webhook attempts"] == 2 and fired["doubts go to review"] == 1
        assert fired["recoveries of doubts"] >= 46 // PAUSE_HOURS
        assert [one["reference"] for one in sandbox.json("review", "list")["reviews"]] == ["DOUBT-1"]
        attempts, expiry, authorized = asyncio.run(_history(sandbox))
        assert expiry == authorized + timedelta(days=1)
        assert list(attempts.values()) == [[expiry, expiry + timedelta(hours=1), expiry + timedelta(hours=2)]]


async def _history(sandbox: Sandbox) -> tuple[dict[tuple[int, int], list[datetime]], datetime, datetime]:
    """When each event was tried to be told, by payment and sequence; when the hold expired, and when it was made."""
    connection = await asyncpg.connect(address(sandbox.data))
    try:
        attempts: dict[tuple[int, int], list[datetime]] = {}
        for payment, sequence, at in await connection.fetch("SELECT payment_id, sequence, at FROM delivery_attempts ORDER BY at"):
            attempts.setdefault((payment, sequence), []).append(at)
        at = [await connection.fetchval("SELECT occurred_at FROM events WHERE event = $1", f"authorization_{what}") for what in ("expired", "approved")]
        return attempts, at[0], at[1]
    finally:
        await connection.close()


def test_whoever_sits_at_a_terminal_sees_the_clock_move(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    """On standard error, so that what the command prints stays as it is; without a terminal nothing but that is said."""
    assert sandbox.command("clock", "advance", "1h").stderr == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "moving the clock" in sandbox.command("clock", "advance", "1h").stderr
    assert sandbox.command("clock", "advance", "1h", "--json").stderr == ""
