"""Webhooks for operators: looking at deliveries, and asking for them again."""
from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from ringfence.background import deliveries as background
from ringfence.background.follower import Follower
from ringfence.engine import webhooks
from ringfence.engine.addresses import rules_for
from ringfence.engine.feed import Policy
from ringfence.engine.webhooks import Failed, One, Range, Refused
from ringfence.storage import jobs
from tests.background.receiver import NOTIFIER, OK, REFUSED, SECONDS, Receiver, receiving
from tests.engine.composition import DAY, Process, Shop, Time, process, shop

pytestmark = pytest.mark.anyio
RULES = rules_for(False)
EVER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class Installation:
    """A process with a merchant who listens, and what tells him."""

    def __init__(self, process: Process, receiver: Receiver, here: Shop) -> None:
        self.process, self.receiver, self.here = process, receiver, here
        self.follower = Follower(process.pool, process.directory, {"aps": NOTIFIER}, process.now, lambda queue: None)
        self._queue = background.queue(process.pool, RULES, now=process.now)

    async def tell(self) -> None:
        """All that is to be told now."""
        await self.follower.run()
        while found := await jobs.claim(
                self.process.pool, "delivery", now=self.process.now.now, holder="test", lease=10.0, per_merchant=8, limit=1, after=-1):
            await self._queue.run(found[0])

    async def redeliver(self, selection: webhooks.Selection, url: str | None = None) -> int | Refused:
        return await webhooks.redeliver(self.process.pool, self.process.now.now, selection, url, rules=RULES)

    async def replay(self, since: datetime, until: datetime) -> int | Refused:
        return await webhooks.replay(self.process.pool, self.process.now.now, self.process.directory, {"aps": NOTIFIER}, since, until)

    async def states(self) -> list[tuple[int, str, int, int]]:
        return [(one.endpoint_id, one.state, one.tried, one.attempts) for one in reversed(await webhooks.deliveries(self.process.pool))]


@pytest.fixture
async def one(database: str) -> AsyncIterator[Installation]:
    async with process(database, now=Time()) as running, receiving() as receiver:
        yield Installation(running, receiver, await shop(running, feedback_url=receiver.url, feedback_attempts="1"))


async def everything(one: Installation) -> list[tuple]:
    """All that could have changed."""
    tables = ("deliveries", "endpoints", "jobs", "delivery_attempts")
    return [tuple(row) for table in tables for row in await one.process.fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4")]


async def test_endpoints_and_deliveries_are_shown_with_what_came_of_them(one: Installation):
    """The policy, what waits and what was given up; a delivery with its bytes and its log."""
    one.receiver.replies = [REFUSED]
    await one.here.purchase("A-1", 700)
    await one.here.purchase("A-2", 800)
    await one.tell()
    await one.here.purchase("A-3", 900)
    await one.follower.run()
    (endpoint,) = await webhooks.endpoints(one.process.pool)
    assert (endpoint.url, endpoint.door, endpoint.policy) == (one.receiver.url, "aps", Policy((), frozenset({302}), 10, False, SECONDS))
    assert (endpoint.waiting, endpoint.given_up, endpoint.delivered_at) == (1, 1, one.process.now.now)
    assert await webhooks.endpoints(one.process.pool, 99) == []
    (given_up,) = await webhooks.deliveries(one.process.pool, state="given_up", merchant=1)
    shown = await webhooks.delivery(one.process.pool, *given_up.key)
    assert shown is not None and shown.delivery == given_up
    assert shown.body is not None and shown.body.startswith(b"purchase_approved")
    assert [(line.attempt, line.status, line.answer, line.error) for line in shown.log] == [(1, 500, b"oops", "")]
    assert await webhooks.delivery(one.process.pool, 1, 1, 1, 1) is None


async def test_deliveries_are_listed_page_by_page(one: Installation):
    """Newest first, none twice, none left out; and by when they were made."""
    for number in range(5):
        await one.here.purchase(f"P-{number}")
        await one.follower.run()
        one.process.now.now += timedelta(seconds=number % 2)
    everyone = await webhooks.deliveries(one.process.pool)
    pages, last = [], None
    while page := await webhooks.deliveries(one.process.pool, after=last, limit=2):
        pages += page
        last = page[-1]
    assert pages == everyone and len(pages) == 5
    newest = everyone[0].created_at
    assert len(await webhooks.deliveries(one.process.pool, since=newest)) == sum(each.created_at == newest for each in everyone)
    assert len(await webhooks.deliveries(one.process.pool, until=newest)) == sum(each.created_at < newest for each in everyone)


async def test_one_delivery_is_told_again(one: Installation):
    """With the same bytes, and the next number in its log; the others are left alone."""
    await one.here.purchase("B-1")
    await one.here.purchase("B-2")
    await one.tell()
    chosen = (await webhooks.deliveries(one.process.pool))[-1]
    assert await one.redeliver(One(*chosen.key)) == 1
    await one.tell()
    assert await one.states() == [(1, "delivered", 1, 2), (1, "delivered", 1, 1)]
    told = [heard for heard in one.receiver.heard if heard.event == f"{chosen.payment_id}-1"]
    assert [heard.headers["ringfence-attempt"] for heard in told] == ["1", "2"] and told[0].body == told[1].body


async def test_all_that_failed_is_told_again_and_nothing_else(one: Installation):
    """With a whole schedule before it."""
    one.receiver.replies = [REFUSED, REFUSED]
    for number in range(3):
        await one.here.purchase(f"C-{number}")
    await one.tell()
    assert sorted(state for _, state, _, _ in await one.states()) == ["delivered", "given_up", "given_up"]
    assert await one.redeliver(Failed(merchant_id=99)) == 0
    assert await one.redeliver(Failed()) == 2 and await one.redeliver(Failed()) == 0
    await one.tell()
    assert {state for _, state, _, _ in await one.states()} == {"delivered"} and len(one.receiver.heard) == 5


async def test_a_range_is_told_again_at_another_address(one: Installation):
    """As copies there, with the same bytes; a second time they begin anew there, and are not copied twice."""
    await one.here.purchase("D-1")
    await one.tell()
    one.process.now.now += DAY
    first = one.process.now.now
    await one.here.purchase("D-2")
    await one.tell()
    async with receiving() as other:
        assert await one.redeliver(Range(first, first + DAY), other.url) == 1
        await one.tell()
        assert [heard.body for heard in other.heard] == [one.receiver.heard[1].body] and len(one.receiver.heard) == 2
        assert await one.redeliver(Range(first, first + DAY, merchant_id=1), other.url) == 1      # the copy is of that day as well
        await one.tell()
        assert len(other.heard) == 2
    assert [(endpoint.url, endpoint.policy) for endpoint in await webhooks.endpoints(one.process.pool)] == [
        (one.receiver.url, Policy((), frozenset({302}), 10, False, SECONDS)), (other.url, Policy((), frozenset({302}), 10, False, SECONDS))]


async def test_what_makes_no_sense_is_refused_and_changes_nothing(one: Installation):
    """A range that ends before it begins, an unknown delivery, an address that is none, bytes that were erased."""
    await one.here.purchase("E-1")
    await one.tell()
    (there,) = await webhooks.deliveries(one.process.pool)
    await one.process.pool.execute("UPDATE deliveries SET body = NULL")
    before = await everything(one)
    now = one.process.now.now
    wishes: list[tuple[webhooks.Selection, str | None, str]] = [
        (Range(now, now), None, "ends before it begins"), (Range(now, now - DAY), None, "ends before it begins"),
        (One(1, 1, 1, 1), None, "no such delivery"), (One(*there.key), None, "were erased"), (Failed(), "http://10.0.0.1/", "url names 10.0.0.1"),
        (Failed(), "", "url must be an address"),
    ]
    for selection, url, why in wishes:
        refused = await one.redeliver(selection, url)
        assert isinstance(refused, Refused) and why in refused.problem
    assert isinstance(await one.replay(now, now), Refused)
    assert await one.redeliver(Range(now - DAY, now + DAY)) == 0
    assert await everything(one) == before


async def test_a_replay_gives_todays_endpoints_what_they_do_not_have(one: Installation):
    """Who listens since today gets yesterday's events, once; who had them does not get them again."""
    await one.process.directory.change("CycHZxVj", {"feedback_url": ""})
    await one.here.authorize("F-1", 1000)
    await one.here.capture("F-1", 300)
    await one.here.capture("F-1", 300)          # a possible duplicate: an event of the intent's commit
    await one.follower.run()
    await one.process.directory.change("CycHZxVj", {"feedback_url": one.receiver.url})
    await one.here.purchase("F-2")
    await one.tell()
    assert len(one.receiver.heard) == 1
    assert await one.replay(*EVER) == 4 and await one.replay(*EVER) == 0
    await one.tell()
    heard = [said.event.split("-")[1] for said in one.receiver.heard[1:]]
    assert sorted(heard) == heard == ["1", "2", "3", "4"]
    soon = datetime.now(UTC) + DAY
    assert await one.replay(soon, soon + DAY) == 0


async def test_an_event_without_words_can_be_replayed_and_not_redelivered(one: Installation, monkeypatch: pytest.MonkeyPatch):
    """It has no address and no bytes until the door finds them."""
    def speechless(merchant, occurred):
        raise ValueError("no words")

    await one.here.purchase("G-1")
    broken = NOTIFIER._replace(messages=speechless)
    await Follower(one.process.pool, one.process.directory, {"aps": broken}, one.process.now, lambda queue: None).run()
    (lost,) = await webhooks.deliveries(one.process.pool)
    assert (lost.endpoint_id, lost.url, lost.state) == (webhooks.NOWHERE, "", "given_up")
    refused = await one.redeliver(One(*lost.key))
    assert isinstance(refused, Refused) and "replay" in refused.problem and await one.redeliver(Failed()) == 0
    one.receiver.reply = OK
    assert await one.replay(*EVER) == 1
    await one.tell()
    assert len(one.receiver.heard) == 1
