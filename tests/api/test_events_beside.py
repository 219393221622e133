"""The pull feed of what is no event of a payment: pages, words, and what makes no sense."""
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ringfence.api import events_beside
from ringfence.api.admin import guard
from ringfence.api.events import Services
from ringfence.engine.directory import Merchant
from ringfence.engine.door_events import DoorEvent, tell
from ringfence.engine.feed import Message, Notifier, Policy
from tests.api.asking import TOKEN, Operator
from tests.engine.composition import Process, Shop

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def words(merchant: Merchant, event: DoorEvent) -> list[Message]:
    """A door that has a word for everything but for riddles."""
    assert event.type != "RIDDLE"
    return [Message(f"TOLD_{event.type}", "", "application/json", event.data, Policy((), frozenset(), 1, False, 1.0), 7)]


@pytest.fixture
def feed(one: Process) -> Operator:
    notifier = Notifier(lambda merchant: True, lambda merchant, event: [], words, lambda merchant, body: {"signed": "yes"})
    return Operator(events_beside.routes(guard(TOKEN), Services(one.pool, one.directory, {"ppro": notifier})))


async def told(one: Process, here: Shop, *types: str, door: str = "ppro") -> None:
    for number, type_ in enumerate(types):
        async with one.pool.acquire() as connection, connection.transaction():
            await tell(connection, here.account.merchant_id, door, "agr", 7_000 + number, type_, {"n": number}, "", NOW)


async def page(feed: Operator, query: str) -> tuple[list[dict[str, Any]], str]:
    status, answer = await feed.ask(f"/admin/events/beside?{query}")
    assert status == 200, answer
    return answer["events"], answer["cursor"]


async def test_events_are_told_once_in_their_order_from_a_cursor_on(one: Process, here: Shop, feed: Operator):
    """Nothing comes before now unless it is asked for; each page goes on where the one before ended."""
    await told(one, here, "BEFORE")
    none, cursor = await page(feed, "")
    await told(one, here, "A", "B", "C")
    seen = []
    for _ in range(4):
        found, cursor = await page(feed, f"after={cursor}&limit=1")
        seen += [event["type"] for event in found]
    assert none == [] and seen == ["A", "B", "C"]
    everything, _ = await page(feed, f"after=begin&merchant={here.identifier}")
    assert [event["type"] for event in everything] == ["BEFORE", "A", "B", "C"]


async def test_an_event_says_what_its_door_says(one: Process, here: Shop, feed: Operator):
    """With the headers that it would be sent with; what has no words is told without."""
    _, cursor = await page(feed, "")
    await told(one, here, "A", "RIDDLE")
    await told(one, here, "A", door="elsewhere")
    [first, riddle, strange], _ = await page(feed, f"after={cursor}&messages=true")
    [message] = first.pop("messages")
    assert first | {"type": "A", "kind": "agr", "subject": "7000", "door": "ppro", "merchant": here.identifier} == first
    assert (message["purpose"], message["body"], message["headers"]) == ("TOLD_A", '{"n":0}', {"signed": "yes"})
    assert riddle["messages"] == strange["messages"] == []


@pytest.mark.parametrize(("query", "field"), [
    ("after=yesterday", "after"), ("after=-1", "after"), ("after=1.2", "after"), (f"after={'9' * 30}", "after"), ("limit=0", "limit"),
    ("merchant=Nobody", "merchant")])
async def test_what_makes_no_sense_is_refused(feed: Operator, query: str, field: str):
    """With the field's name."""
    status, answer = await feed.ask(f"/admin/events/beside?{query}")
    assert (status, answer["field"]) == (400, field)
