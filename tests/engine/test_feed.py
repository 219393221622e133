"""The feed: every event exactly once, whatever the order in which lanes commit, become visible and are read."""
from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ringfence.core.outcomes import Declined
from ringfence.engine import feed
from ringfence.engine.feed import Occurred, cursor_text, parse_cursor
from ringfence.storage.database import connect
from tests.engine.composition import process, shop

BEGINNING = datetime(2026, 1, 5, tzinfo=UTC)


class Lanes:
    """Lanes that write nothing but links and events."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._numbers: dict[int, int] = {}
        self._times: dict[int, datetime] = {}
        self._batches = 0
        self._sequences: dict[int, int] = {}
        self.without: dict[int, int] = {}           # events of batch 0 at the end of a payment: nobody followed them yet
        self.cursor: dict[int, int] = {}
        self.told: list[tuple[int, int]] = []

    async def commit(self, lane: int, payments: list[int], seconds: int = 0) -> None:
        """A batch with an event of each payment, as one transaction; the lane's clock says *seconds* later than before."""
        self._batches += 1
        self._numbers[lane] = self._numbers.get(lane, 0) + 1
        self._times[lane] = self._times.get(lane, BEGINNING) + timedelta(seconds=seconds)
        rows = [(1, payment, self._next(payment), "purchase_approved", payment, 1, BEGINNING, self._batches) for payment in payments]
        self.without |= dict.fromkeys(payments, 0)
        async with self._connection.transaction():
            await self._connection.executemany("INSERT INTO events VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", rows)
            await self._connection.execute("INSERT INTO batches VALUES ($1, $2, $3, $4, $5, '')", lane, self._numbers[lane], self._batches,
                                           self._times[lane], len(payments))

    async def intend(self, payment: int) -> None:
        """An event of an intent's commit."""
        self.without[payment] = self.without.get(payment, 0) + 1
        await self._connection.execute("INSERT INTO events VALUES (1, $1, $2, 'possible_duplicate', $1, 1, $3, 0)", payment, self._next(payment), BEGINNING)

    async def read(self, limit: int) -> list[Occurred]:
        """A page behind the cursor; the cursor travels as text."""
        events, cursor = await feed.read(self._connection, self.cursor, limit)
        parsed = parse_cursor(cursor_text(cursor))
        assert parsed == cursor
        self.cursor = cursor
        self.told += [(event.payment_id, event.sequence) for event in events]
        return events

    def expected(self) -> dict[int, list[int]]:
        """What everybody must have been told, by payment."""
        return {payment: list(range(1, count + 1 - self.without.get(payment, 0))) for payment, count in self._sequences.items()}

    def heard(self) -> dict[int, list[int]]:
        by_payment: dict[int, list[int]] = {payment: [] for payment in self._sequences}
        for payment, sequence in self.told:
            by_payment[payment].append(sequence)
        return by_payment

    def _next(self, payment: int) -> int:
        self._sequences[payment] = self._sequences.get(payment, 0) + 1
        return self._sequences[payment]


STEPS = st.lists(st.one_of(
    st.tuples(st.just("commit"), st.integers(0, 3), st.lists(st.integers(1, 5), min_size=0, max_size=4, unique=True), st.integers(0, 9)),
    st.tuples(st.just("intend"), st.integers(1, 5)),
    st.tuples(st.just("read"), st.integers(1, 6)),
), min_size=3, max_size=30)


async def _play(dsn: str, steps: list[tuple[Any, ...]]) -> Lanes:
    connection = await connect(dsn, application_name="test")
    try:
        await connection.execute("TRUNCATE batches, events")
        lanes = Lanes(connection)
        for what, *values in steps:
            await getattr(lanes, what)(*values)
        while lanes.cursor != await feed.heads(connection):
            before = dict(lanes.cursor)
            await lanes.read(3)
            assert lanes.cursor != before, "a page moves on, also where its batches tell nothing"
        return lanes
    finally:
        await connection.close()


@settings(max_examples=80, deadline=None, phases=[Phase.explicit, Phase.generate, Phase.shrink],
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
def test_every_event_comes_once_and_a_payments_events_in_order(module_database: str, steps: list[tuple[Any, ...]]):
    """Clocks of lanes disagree, pages have any size and are read at any moment: each payment's sequences come from 1 on, none twice."""
    lanes = asyncio.run(_play(module_database, steps))
    assert lanes.heard() == lanes.expected()


@pytest.fixture
async def lanes(database: str):
    connection = await connect(database, application_name="test")
    yield Lanes(connection)
    await connection.close()


@pytest.mark.anyio
async def test_a_batch_that_becomes_visible_late_is_not_passed(lanes: Lanes):
    """Its lane's clock is behind, and everything else was read before it came."""
    await lanes.commit(1, [1], 100)
    await lanes.commit(1, [2], 100)
    assert len(await lanes.read(10)) == 2
    await lanes.commit(0, [3], 1)
    assert [event.payment_id for event in await lanes.read(10)] == [3]


@pytest.mark.anyio
async def test_a_new_lane_is_read_from_its_first_batch(lanes: Lanes):
    """A cursor that does not name it cannot have seen any of it."""
    await lanes.commit(0, [1])
    await lanes.read(10)
    await lanes.commit(7, [2])
    await lanes.commit(7, [3])
    assert [event.payment_id for event in await lanes.read(10)] == [2, 3]
    assert lanes.cursor == {0: 1, 7: 2}


@pytest.mark.anyio
async def test_an_events_predecessor_beyond_the_cut_comes_along(lanes: Lanes):
    """The refund's lane has a clock that is behind: the page is widened by the lane that holds the purchase, and in order."""
    await lanes.commit(1, [9], 50)
    await lanes.commit(1, [1], 50)
    await lanes.commit(0, [1], 1)
    assert [(event.payment_id, event.sequence) for event in await lanes.read(1)] == [(1, 1), (9, 1), (1, 2)]
    assert lanes.cursor == {0: 1, 1: 2}
    assert await lanes.read(1) == []


@pytest.mark.anyio
async def test_an_event_of_an_intent_comes_with_its_successor(lanes: Lanes):
    """Two of them in a row: not before, and not twice."""
    await lanes.commit(0, [1])
    await lanes.read(10)
    await lanes.intend(1)
    await lanes.intend(1)
    assert await lanes.read(10) == []
    await lanes.commit(2, [1])
    assert [(event.sequence, event.batch_id > 0) for event in await lanes.read(10)] == [(2, False), (3, False), (4, True)] and lanes.cursor[2] == 1


@pytest.mark.anyio
async def test_facts_are_those_of_the_events_commit(database: str):
    """The operation, its outcome, and the operation that the payment began with; a fact from outside has none."""
    async with process(database) as one:
        here = await shop(one)
        await here.authorize("F-1", 1000)
        await here.capture("F-1", 400)
        one.processor.say(Declined("05"))
        await here.purchase("F-2", 700)
        async with one.pool.acquire() as connection:
            events, _ = await feed.read(connection, {}, 100)
    authorized, captured, declined = events
    assert [event.event for event in events] == ["authorization_approved", "capture_approved", "purchase_declined"]
    assert (authorized.kind, authorized.minor, authorized.approved, authorized.currency, authorized.result) == ("authorization", 1000, 1000, "AED", "approved")
    assert (captured.kind, captured.minor, captured.sequence, captured.first_kind) == ("capture", 400, 2, "authorization")
    assert captured.first_details == authorized.details == authorized.first_details
    assert {event.origin for event in events} == {"aps"} and authorized.first_reference == authorized.reference
    assert (declined.result, declined.response_code, declined.approved) == ("declined", "05", 0)


@pytest.mark.parametrize("text", ["", "0", "0.", ".1", "0.1-", "1.1-0.1", "0.1-0.2", "00.1", "a.b", "0.1 ", "0.\u0661", "-0.1", "9999999999.1"])
def test_a_text_that_is_no_cursor_is_refused(text: str):
    """Only what we wrote is read."""
    assert parse_cursor(text) is None


@pytest.mark.parametrize(("cursor", "text"), [({}, "begin"), ({3: 4, 0: 17}, "0.17-3.4"), ({2047: 10 ** 17}, f"2047.{10 ** 17}")])
def test_a_cursor_is_a_short_text(cursor: dict[int, int], text: str):
    """There and back."""
    assert cursor_text(cursor) == text and parse_cursor(text) == cursor
