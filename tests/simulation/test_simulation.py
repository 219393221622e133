"""Simulated histories against the reference model, and the judge itself on trial."""
from __future__ import annotations

import asyncio
import functools
import random
from typing import Any

import pytest

from ringfence.core.outcomes import Outcome
from ringfence.engine import engine
from ringfence.engine.recovery import PAID, Case, Recovery
from tests.simulation.history import History, Told
from tests.simulation.loop import Machine, NothingLeft, SimLoop
from tests.simulation.store import ALL_RULES, Rules

HISTORIES = 300                         # `make simulation` plays ten thousand
MANY = 2_000

RETURNED = (726, 7508, 10398, 11168, 12296, 14697)
"""Seeds of a purchase given back by a refund whose answer is lost, and then undone by a reversal as well, by an engine that does not
note the first before it sends it."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """What the engine logs of a thousand disasters is nobody's to read."""
    caplog.set_level(100)


@functools.cache
def told(seed: int) -> Told:
    """The history of that seed, played once for all who look at it."""
    return History(seed).run()


@pytest.mark.parametrize("tenth", range(10))
def test_histories_end_as_the_model_allows(tenth: int):
    """Three hundred of them.  ``python -m tests.simulation --seed S --count 1 --steps`` tells one step by step."""
    share = HISTORIES // 10
    wrong = {seed: told(seed).wrong for seed in range(1 + tenth * share, 1 + (tenth + 1) * share) if told(seed).wrong}
    assert not wrong


@pytest.mark.parametrize("seed", RETURNED)
def test_what_a_history_found_once_is_not_found_again(seed: int, monkeypatch: pytest.MonkeyPatch):
    """And would be, in the very same history: a seed whose dice fall otherwise since then proves nothing any more."""
    assert History(seed).run().wrong == []
    noting = Recovery._return

    async def at_once(self: Recovery, case: Case) -> Any:
        said = await noting(self, case)
        if isinstance(said, Outcome):
            return said
        return await noting(self, case._replace(job=case.job._replace(note=PAID + self._now().isoformat())))

    monkeypatch.setattr(Recovery, "_return", at_once)
    assert any("at the issuer" in one for one in History(seed).run().wrong)


@pytest.mark.parametrize("seed", [3, 66, 994])
def test_a_seed_is_a_history_to_the_byte(seed: int):
    """Whatever ran before it."""
    first = History(seed).run()
    History(seed + 1).run()
    assert History(seed).run() == first and len(first.steps) > 10


def test_the_histories_meet_what_they_are_for():
    """All faults, all ends, all kinds, in two hundred of them: else they prove little."""
    steps, ends = "", set()
    for seed in range(1, 201):
        one = told(seed)
        steps += "\n".join(one.steps)
        ends |= {(end.kind, end.result) for end in one.end.ours} | {seen.said for seen in one.end.seen}
    for what in ("unanswered", "late", "twice", "garbled", "other_amount", "lost_before", "lost_after", "slow", "dies", "stands still",
                 "answer is lost for", "database is away", "is abandoned", "answered at last", "a person decides"):
        assert what in steps, what
    for kind in ("authorization", "purchase", "increment", "decrement", "capture", "void", "refund"):
        assert (kind, "approved") in ends and (kind, "declined") in ends
    assert {("authorization", "reversed"), ("purchase", "reversed"), ("increment", "reversed")} <= ends
    assert {"approved", "declined", "unknown", "refused", "nothing"} <= ends


@pytest.mark.long
@pytest.mark.parametrize("rules", [
    ALL_RULES._replace(reversed_stays_reversed=False), ALL_RULES._replace(job_fence=False), ALL_RULES._replace(one_attempt_one_end=False),
], ids=["rule R", "the job's fence", "one end for an attempt"])
def test_a_store_without_one_of_its_fences_is_found_out(rules: Rules):
    """Within two thousand histories."""
    assert _is_found_out(rules)


def test_an_engine_that_takes_a_new_key_for_every_attempt_is_found_out(monkeypatch: pytest.MonkeyPatch):
    """Then the issuer cannot tell a repeat from new money."""
    real = engine.ask

    def ask(reserved: Any, *args: Any, **options: Any) -> Any:
        return real(reserved, *args, **options)._replace(key=f"{reserved.operation.id}-{reserved.operation.attempt}")

    monkeypatch.setattr(engine, "ask", ask)
    assert _is_found_out(ALL_RULES)


def _is_found_out(rules: Rules) -> bool:
    """Whether some history breaks that else would not."""
    return any(History(seed, rules).run().wrong and (rules is ALL_RULES or not History(seed).run().wrong) for seed in range(1, 1 + MANY))


# -- the loop

def test_time_goes_on_at_once_and_a_dead_process_says_nothing_more():
    """Not even its ``finally``; one that stands still goes on where it was, later; the rest go on meanwhile."""
    loop, said = SimLoop(random.Random(1)), []

    async def work(name: str) -> None:
        try:
            while True:
                await asyncio.sleep(1)
                said.append((name, loop.time()))
        finally:
            said.append((name, "finally"))

    async def whole() -> list[Any]:
        dies, stands = Machine(), Machine()
        loop.spawn(dies, work("dies"))
        loop.spawn(stands, work("stands"))
        await asyncio.sleep(1.5)
        dies.is_dead, stands.stalls_until = True, 3600.0
        await asyncio.sleep(3599)
        return list(said)

    heard = loop.history(whole())
    assert sorted(heard[:2]) == [("dies", 1.0), ("stands", 1.0)] and heard[2:] == [("stands", 3600.0)]


def test_a_history_in_which_everybody_waits_is_said_to_be_at_its_end():
    """Instead of standing still for ever."""
    loop = SimLoop(random.Random(1))

    async def whole() -> None:
        await loop.create_future()

    with pytest.raises(NothingLeft):
        loop.history(whole())
