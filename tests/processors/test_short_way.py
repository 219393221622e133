"""The short way of a plain approval: never another answer or another line than the whole way, and never a second effect."""
from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfence.core.card import Pan, SecurityCode
from ringfence.core.commands import Initiation, Kind
from ringfence.core.ids import IdSource, first_id_at
from ringfence.core.outcomes import Approved, Outcome
from ringfence.processors.processor import Ask, Original
from ringfence.processors.simulator import Simulator, double_effects, read_book
from ringfence.processors.simulator.approvals import Approvals
from ringfence.processors.simulator.book import Entry
from ringfence.processors.simulator.finding import search
from ringfence.processors.simulator.scenarios import EXACT, RANGES, SCENARIOS, VISA

_ids = IdSource(1022, lambda: time.time_ns() // 1_000_000)
_keys = itertools.count(1)
_counted = itertools.count(first_id_at(datetime(2024, 1, 1, tzinfo=UTC)) + 1)


class Detour:
    """In the place of the short way: leads nowhere, so that the whole way is taken."""

    def __init__(self, real: Approvals) -> None:
        self.day = real.day

    def approval(self, message: Ask, wall: int) -> None:
        return None


class Pair(NamedTuple):
    """The same issuer twice, over two folders: as it is, and without the short way."""

    short: Simulator
    whole: Simulator
    loop: asyncio.AbstractEventLoop


@pytest.fixture(scope="module", params=[True, False], ids=["strangers welcome", "strangers declined"])
def pair(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Pair]:
    loop = asyncio.new_event_loop()
    short, whole = (
        Simulator(tmp_path_factory.mktemp(name), seed=3, worker=1, t1_seconds=0.002, unknown_cards=request.param)
        for name in ("short", "whole")
    )
    whole._approvals = Detour(whole._approvals)     # type: ignore[assignment]
    yield Pair(short, whole, loop)
    for simulator in (short, whole):
        loop.run_until_complete(simulator.close())
    loop.close()


NUMBERS = st.one_of(
    st.sampled_from([row.number("0000") for row in RANGES]),
    st.builds(VISA.number, st.sampled_from(sorted(SCENARIOS))),
    st.sampled_from(sorted(EXACT)),
    st.sampled_from(["4539578763621486", "4539578763621487", "4000009900000005"]),     # a stranger, and two wrong check digits
)
EXPIRIES = st.one_of(st.just("3512"), st.sampled_from(["", "2105", "2001", "9913", "ABCD", "2511", "2512"]), st.text("0123456789", max_size=4))
CODES = st.sampled_from(["123", "999", "998", "9999", "9998"])
ODD: dict[str, st.SearchStrategy[object]] = {
    "pan": st.one_of(st.none(), *[st.builds(Pan, NUMBERS)] * 4),
    "security_code": st.builds(SecurityCode, CODES),
    "kind": st.sampled_from(sorted(Kind)),
    "minor": st.one_of(st.sampled_from([0, 1, 9051, 9100, 999_999_999_999]), st.integers(0, 20_000)),
    "currency": st.sampled_from(["AED", "KWD", "JPY"]),
    "merchant": st.sampled_from(["m", 'a "quoted" name', "متجر"]),
    "at": st.integers(0, 4_000 * 86_400 * 10 ** 6).map(lambda after: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(microseconds=after)),
    "expiry": EXPIRIES,
    "initiation": st.sampled_from(sorted(Initiation)),
    "channel": st.sampled_from(["ecommerce", "moto", "store"]),
    "cited_reference": st.sampled_from(["", "123456789012345"]),
    "original": st.just(Original("k", 10, "123456", "123456780000", "123456789012345")),
    "accepts_partial": st.booleans(),
    "repeat": st.just(True),
    "magic": st.just(True),
}
#: A plain purchase that is odd in up to three ways.
MESSAGES = st.lists(st.sampled_from(sorted(ODD)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: ODD[name] for name in names})
)


def plain(**more: object) -> Ask:
    """A purchase with a card that approves everything."""
    now, id = datetime.now(UTC), _ids.next()
    fields = {
        "key": f"{next(_keys):032x}", "kind": Kind.PURCHASE, "minor": 1000, "currency": "AED", "merchant": "m", "payment_id": id,
        "operation_id": id, "at": now, "deadline": now + timedelta(seconds=30), "pan": Pan(VISA.number("0000")), "expiry": "3512",
    }
    return Ask(**{**fields, **more})


def without_time(entry: Entry) -> list[object]:
    """A line of the book but for when it was written."""
    return [getattr(entry, name) for name in entry.__struct_fields__ if name != "wall"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MESSAGES)
def test_both_ways_give_one_answer_and_one_line(pair: Pair, message: dict[str, object]):
    """Any message: approved, declined, unknown or recalled alike, and written down alike."""
    sent = plain(**message)

    def play(simulator: Simulator) -> tuple[Outcome, list[list[object]]]:
        outcome = pair.loop.run_until_complete(simulator.ask(sent))
        return outcome, [without_time(entry) for entry in search(simulator._folder, sent.key, 0)]

    assert play(pair.short) == play(pair.whole)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MESSAGES)
def test_an_id_that_was_counted_gets_the_same_answer(pair: Pair, message: dict[str, object]):
    """Such an id looks old, so that the past is asked about it each time: the slow way, with the same words and the same effects."""
    sent = plain(**message)
    counted = sent._replace(operation_id=next(_counted), payment_id=next(_counted))

    def play(simulator: Simulator, message: Ask) -> tuple[Outcome, list[tuple[object, ...]]]:
        outcome = pair.loop.run_until_complete(simulator.ask(message))
        lines = search(simulator._folder, sent.key, 0) + simulator._memory._accounts.entries(sent.key)
        return outcome, [(line.effect, line.minor, line.response, line.approval, line.nti, line.reference, line.day) for line in lines]

    assert play(pair.short, sent) == play(pair.whole, counted)


def test_a_plain_payment_takes_the_short_way(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    """So the comparison compares two: the first message is answered though the whole way is closed, its repeat is not."""
    async def closed(message: Ask, now: datetime) -> Outcome:
        raise AssertionError("this is the whole way")

    monkeypatch.setattr(pair.short, "_ask_the_whole_way", closed)
    message = plain()
    assert isinstance(pair.loop.run_until_complete(pair.short.ask(message)), Approved)
    for again in (message, message._replace(repeat=True)):
        with pytest.raises(AssertionError, match="whole way"):
            pair.loop.run_until_complete(pair.short.ask(again))


def test_the_business_day_and_the_expiry_are_those_of_the_message(pair: Pair):
    """Though they are worked out once a minute: messages of several days, in any order, around midnight and the end of a month."""
    midnight = datetime(2026, 1, 2, tzinfo=UTC)
    for seconds in (-1, 0, -61, 59, 60, -86_400, -1):
        at = midnight + timedelta(seconds=seconds)
        message = plain(at=at, expiry="2512")           # good until the end of 1 January: a day of slack
        outcome = pair.loop.run_until_complete(pair.short.ask(message))
        assert isinstance(outcome, Approved) == (seconds < 0)
        [entry] = search(pair.short._folder, message.key, 0)
        assert (entry.day, entry.at) == (at.date(), at)
    assert entry.day == date(2026, 1, 1)


def test_a_clock_that_is_set_back_makes_nothing_look_new(tmp_path: Path):
    """A message asked again long after, without a mark, on a clock that shows an earlier hour: answered from memory, moved once."""
    wall = [time.time_ns()]
    simulator = Simulator(tmp_path, seed=3, worker=0, clock=lambda: wall[0])

    async def play() -> None:
        message = plain(deadline=datetime.now(UTC) + timedelta(days=1))
        first = await simulator.ask(message)
        wall[0] -= 3600 * 10 ** 9
        for _ in range(3):                              # both generations of what this process remembers pass
            wall[0] += 6 * 10 ** 9
            assert isinstance(await simulator.ask(plain()), Approved)
        assert await simulator.ask(message) == first
        await simulator.close()

    asyncio.run(play())
    assert len(read_book(tmp_path)) == 4
    assert double_effects(tmp_path) == []
