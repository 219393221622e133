"""Debts for operators: what the admin API shows, gives up and asks for, and what it refuses; and the dry run of the command line."""
from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from click.testing import CliRunner

from ringfence.api import debts
from ringfence.api.admin import guard
from ringfence.cli.jwo_debts import strategy
from tests.api.asking import TOKEN, Operator
from tests.engine.composition import Process, process, shop
from tests.engine.owing import Till
from tests.engine.stores import Store

pytestmark = pytest.mark.anyio


class Desk:
    """A till, and an operator in front of its register."""

    def __init__(self, till: Till) -> None:
        self.till = till
        self.operator = Operator(debts.routes(guard(TOKEN), debts.Services(till.debts, till.process.directory)))

    async def ask(self, path: str = "", body: Any = None) -> tuple[int, Any]:
        return await self.operator.ask(f"/admin/jwo/debts{path}", *(() if body is None else (body,)))


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database) as running:
        yield running


@pytest.fixture
async def desk(one: Process) -> Desk:
    """20.00 of 64.10 were captured of TRIP-1."""
    till = Till(await Store(await shop(one)).built())
    trip = await till.enter(name="TRIP-1")
    await till.store.capture(trip, 2000)
    await till.debts.incurred(await till.store.find(trip), 6410, 2000, "take_standing", "declined", "jwo:KEY")
    return Desk(till)


async def test_a_debt_is_listed_and_shown(desk: Desk):
    """By the trip's name, or its payment."""
    status, listed = await desk.ask(f"?merchant={desk.till.store.shop.identifier}")
    [row] = listed["debts"]
    assert status == 200 and (row["trip"], row["store"], row["total"], row["captured"], row["owed"], row["closed"]) == (
        "TRIP-1", "STORE-1", 6410, 2000, 4410, True)
    for name in ("TRIP-1", row["payment"]):
        status, one = await desk.ask(f"/{name}")
        assert status == 200 and [(moved["what"], moved["minor"], moved["by"]) for moved in one["bookings"]] == [("debt_incurred", 4410, "jwo:KEY")]
        assert set(one) == set(debts._FULL)
    assert set(row) == set(debts._ROW)


async def test_a_debt_is_forgiven_by_a_named_person(desk: Desk):
    status, row = await desk.ask("/TRIP-1/forgive", {"by": "Mona", "why": "broken scale", "amount": 410})
    assert (status, row["forgiven"], row["owed"]) == (200, 410, 4000)
    assert (await desk.ask("/TRIP-1/forgive", {"by": "Mona"}))[1]["owed"] == 0
    assert await desk.ask() == (200, {"debts": []})
    assert len((await desk.ask("?all=true"))[1]["debts"]) == 1
    assert (await desk.ask("/TRIP-1/forgive", {"by": "Mona"}))[0] == 409
    await desk.till.process.prove()


async def test_a_link_is_made_once_and_sent_where_one_says(desk: Desk):
    status, link = await desk.ask("/TRIP-1/link", {"by": "Mona", "email": "sara@shop.example"})
    assert (status, link["minor"], link["state"]) == (201, 4410, "open") and set(link) == set(debts._LINK)
    assert await desk.ask("/TRIP-1/link", {"by": "Omar"}) == (201, link)
    assert [one["link"] for one in (await desk.ask("/TRIP-1"))[1]["links"]] == [link["link"]]
    assert await desk.till.process.value("SELECT recipient FROM messages") == "sara@shop.example"


@pytest.mark.parametrize(("path", "body", "status", "field"), [
    ("/TRIP-2", None, 404, None),
    ("/9", None, 404, None),
    ("/9223372036854775807", None, 404, None),
    ("/99999999999999999999", None, 404, None),
    ("/TRIP\0", None, 404, None),
    ("/TRÍP-1", None, 404, None),
    ("/TRIP-1/forgive", {}, 400, "by"),
    ("/TRIP-1/forgive", {"by": " "}, 400, "by"),
    ("/TRIP-1/forgive", {"by": "Mona", "amount": 0}, 400, "amount"),
    ("/TRIP-1/forgive", {"by": "Mona", "amount": "5"}, 400, "amount"),
    ("/TRIP-1/forgive", {"by": "Mona", "amount": True}, 400, "amount"),
    ("/TRIP-1/forgive", {"by": "Mona", "amount": 4411}, 409, "amount"),
    ("/TRIP-1/forgive", {"by": "Mona", "why": "x" * 201}, 400, "why"),
    ("/TRIP-1/forgive", {"by": "Mona", "reason": "x"}, 400, "reason"),
    ("/TRIP-2/forgive", {"by": "Mona"}, 404, None),
    ("/TRIP-1/link", {"by": "Mona", "email": "nobody"}, 400, "email"),
    ("/TRIP-1/link", {"by": "M" * 65}, 400, "by"),
    ("?merchant=Nobody", None, 400, "merchant"),
    ("?all=perhaps", None, 400, "all"),
])
async def test_what_is_refused(desk: Desk, path: str, body: Any, status: int, field: str | None):
    """With the field to blame, and nothing moved."""
    answered, said = await desk.ask(path, body)
    assert (answered, said.get("field")) == (status, field), said
    assert await desk.till.ledger() == {"incurred": -4410, "owed": 4410}


async def test_two_trips_of_one_name_are_told_apart_by_their_payments(desk: Desk):
    till = desk.till
    await till.process.pool.execute("INSERT INTO debts SELECT merchant_id, payment_id + 1, number, processor, store, trip, fingerprint, currency, "
                                    "total, captured, rejected, collected, reported, incurred, recovered, forgiven, settled, known, is_closed, owed, "
                                    "strategy, reason, actor, reported_at, opened_at, closed_at, changed_at FROM debts")
    status, said = await desk.ask("/TRIP-1")
    assert status == 404 and "use the payment" in said["error"]


SIMULATE = ["simulate", "--total", "64.10", "--hold", "20.00", "--limit", "44.50"]


async def test_the_dry_run_shows_what_each_strategy_would_do():
    """And the book's example, with a step of 3.00."""
    shown = json.loads(CliRunner().invoke(strategy, [*SIMULATE, "--json"]).output)
    assert {name: (one["captured"], one["debt"]) for name, one in shown["strategies"].items()} == {
        "write_off": (0, 6410), "take_standing": (2000, 4410), "search": (4400, 2010)}
    shown = json.loads(CliRunner().invoke(strategy, [*SIMULATE, "--json", "--strategy", "search", "--step", "3.00"]).output)
    assert [one["minor"] for one in shown["strategies"]["search"]["asked"]] == [6410, 4200, 5300, 4700, 4400]
    table = CliRunner().invoke(strategy, SIMULATE).output
    assert "the limit is known to one step" in table and "44.00" in table


@pytest.mark.parametrize("more", [
    ["--total", "64.1"], ["--currency", "XXX"], ["--step", "0.00"], ["--probes", "9"], ["--strategy", "luck"], ["--hold", "-1.00"],
])
async def test_a_dry_run_that_makes_no_sense_is_refused(more: list[str]):
    result = CliRunner().invoke(strategy, [*SIMULATE, *more])
    assert result.exit_code == 2 and "Error:" in result.output
