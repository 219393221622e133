"""The pull feed over HTTP: pages, waiting, resuming, filters, and what makes no sense."""
from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringfence.api import events
from ringfence.api.admin import guard
from ringfence.api.aps import notifications
from ringfence.config import Config, read
from ringfence.engine.clock import WallClock
from ringfence.engine.directory import Merchant
from ringfence.engine.feed import Message, Notifier, Occurred
from ringfence.operators import admin_of
from ringfence.storage import database
from tests.api.asking import TOKEN, Operator
from tests.engine.composition import Process, Shop, shop

pytestmark = pytest.mark.anyio


class Feed(Operator):
    """A client of the feed of one process."""

    def __init__(self, one: Process, notifiers: dict[str, Notifier]) -> None:
        super().__init__(events.routes(guard(TOKEN), events.Services(one.pool, one.directory, notifiers)))

    async def get(self, query: str = "", token: str = TOKEN) -> tuple[int, Any]:
        """Status and decoded answer of one request."""
        return await self.ask(f"/admin/events?{query}", token=token)

    async def page(self, query: str = "") -> tuple[list[dict[str, Any]], str]:
        """Events and cursor of a good answer."""
        status, answer = await self.get(query)
        assert status == 200, answer
        return answer["events"], answer["cursor"]


@pytest.fixture
def feed(one: Process) -> Feed:
    return Feed(one, {"aps": notifications.notifier(10.0)})


async def test_nothing_comes_before_now_unless_it_is_asked_for(here: Shop, feed: Feed):
    """Without a cursor the feed begins with the next event; ``begin`` is the first of all."""
    await here.purchase("NOW-1")
    none, cursor = await feed.page()
    assert none == []
    answer = await here.purchase("NOW-2")
    [event], _ = await feed.page(f"after={cursor}")
    assert (event["payment"], event["reference"]) == (answer["fort_id"], "NOW-2")
    everything, _ = await feed.page("after=begin&limit=1000")
    assert [one["reference"] for one in everything][-2:] == ["NOW-1", "NOW-2"]


async def test_the_feed_waits_for_no_report(module_database: str, one: Process, here: Shop):
    """Proofs and stories may hold their connections for minutes; whoever follows events has others."""
    nothing, config = cast(Any, None), read({})
    links = cast(Any, SimpleNamespace(new_id=one.new_id))
    assert isinstance(config, Config)
    async with database.pool(module_database, 1) as reports, reports.acquire(), AsyncExitStack() as ends:
        operator = Operator(admin_of(
            config, TOKEN, reports, one.keyring, WallClock(), one.directory, nothing, ends, by_key=one.pool, links=links, disputes=nothing,
            visits=nothing))
        async with asyncio.timeout(5):
            status, answer = await operator.ask("/admin/events")
    assert (status, answer["events"]) == (200, [])


async def test_an_event_says_what_happened(here: Shop, feed: Feed):
    """The operation, its outcome, and the door's own message."""
    _, cursor = await feed.page()
    answer = await here.authorize("SAYS-1", order_description="tea")
    [event], _ = await feed.page(f"after={cursor}&messages=1")
    fort_id = answer["fort_id"]
    [message] = event.pop("messages")
    assert event == {
        "id": f"{fort_id}-1", "type": "authorization_approved", "merchant": "CycHZxVj", "payment": fort_id, "reference": "SAYS-1", "sequence": 1,
        "occurred_at": event["occurred_at"],
        "operation": {"id": fort_id, "attempt": 1, "kind": "authorization", "amount": 1000, "currency": "AED", "reference": "SAYS-1", "door": "aps",
                      "actor": f"aps:{here.access_code}"},
        "outcome": {"result": "approved", "amount": 1000, "response_code": "00"},
    }
    assert event["occurred_at"].startswith("2026-01-05T07:09:19")
    assert (message["purpose"], message["url"], message["content_type"]) == ("feedback", "", "application/json")
    assert json.loads(message["body"]) == answer


async def test_pages_follow_each_other_without_a_gap(here: Shop, feed: Feed):
    """Whatever their size, the pages together are the whole."""
    _, begin = await feed.page()
    for number in range(7):
        await here.authorize(f"PAGE-{number}")
        await here.capture(f"PAGE-{number}", 100)
    whole, end = await feed.page(f"after={begin}&limit=1000")
    assert len(whole) == 14
    for limit in (1, 3):
        found, cursor = list[Any](), begin
        while True:
            page, cursor = await feed.page(f"after={cursor}&limit={limit}")
            if not page:
                break
            found += page
        assert found == whole and cursor == end


async def test_an_empty_answer_waits_for_the_next_event(here: Shop, feed: Feed):
    """And comes with it; nothing is missed in between."""
    _, cursor = await feed.page()
    waiting = asyncio.create_task(feed.page(f"after={cursor}&wait=25"))
    answer = await here.purchase("WAIT-1")
    [event], _ = await waiting
    assert event["payment"] == answer["fort_id"]


async def test_a_wait_that_is_in_vain_ends(feed: Feed):
    """With no events, and the same cursor."""
    _, cursor = await feed.page()
    assert await feed.page(f"after={cursor}&wait=0.2") == ([], cursor)


async def test_one_merchants_events_are_found_among_all(one: Process, here: Shop, feed: Feed):
    """The cursor goes on over the others'."""
    other = await shop(one, "Other")
    _, cursor = await feed.page()
    await here.purchase("MINE-1")
    answer = await other.purchase("OTHER-1")
    await here.purchase("MINE-2")
    [event], behind = await feed.page(f"after={cursor}&merchant=Other&wait=5")
    assert (event["merchant"], event["payment"]) == ("Other", answer["fort_id"])
    assert await feed.page(f"after={behind}&merchant=Other") == ([], behind)


def speechless(merchant: Merchant, event: Occurred) -> list[Message]:
    raise LookupError("no words for this")


@pytest.mark.parametrize("notifiers", [{}, {"aps": Notifier(lambda merchant: True, speechless)}], ids=["none", "broken"])
async def test_a_door_without_words_does_not_stop_the_feed(one: Process, here: Shop, notifiers: dict[str, Notifier]):
    """Its events are told all the same."""
    silent = Feed(one, notifiers)
    _, cursor = await silent.page()
    await here.purchase(f"QUIET-{len(notifiers)}")
    [event], _ = await silent.page(f"after={cursor}&messages=1")
    assert event["messages"] == []


async def test_the_feed_waits_for_a_database_that_is_away(one: Process, here: Shop, feed: Feed):
    """503 meanwhile; the cursor is good afterwards."""
    _, cursor = await feed.page()
    await one.lose_the_database()
    try:
        assert await feed.get(f"after={cursor}") == (503, {"error": "the database does not answer"})
    finally:
        one.find_the_database()
    answer, tries = {"response_code": ""}, itertools.count()
    async with asyncio.timeout(30):
        while answer["response_code"] != "14000":       # the lanes come back by themselves
            answer = await here.purchase(f"AFTER-{next(tries)}")
    assert answer["fort_id"] in [event["payment"] for event in (await feed.page(f"after={cursor}"))[0]]


WRONG = {
    "after": ["x", "0", "0.1.2", "1.-1", "0.1-", "0.1-0.2", "²"], "limit": ["0", "-1", "1001", "many", "1.5", "²"], "wait": ["-1", "26", "nan", "soon"],
    "merchant": ["Nobody"], "messages": ["perhaps"],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
async def test_what_makes_no_sense_is_refused_by_name(feed: Feed, field: str, value: str):
    """400, and which field."""
    status, answer = await feed.get(f"{field}={value}")
    assert (status, answer["field"]) == (400, field) and answer["error"]


async def test_the_feed_is_behind_the_token(feed: Feed):
    """Like everything of operators."""
    assert (await feed.get(token="wrong"))[0] == 401


def test_the_endpoint_is_described():
    """As it is served."""
    [route] = events.routes(lambda endpoint: endpoint, events.Services(None, None, {}))     # type: ignore[arg-type]
    assert events.DESCRIBED.keys() == {route.path} and route.methods == {"GET", "HEAD"}
