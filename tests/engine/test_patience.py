"""Patience: each waiting task ends in its own time, whatever one timer sees of the others."""
from __future__ import annotations

import asyncio

import pytest

from ringfence.engine.patience import Patience

pytestmark = pytest.mark.anyio

NEVER = 3600.0


async def wait(patience: Patience, seconds: float, *, until: asyncio.Event | None = None) -> str:
    """Wait for an event as the engine waits for a processor; who ended it."""
    task = patience.begin(seconds)
    try:
        await (until or asyncio.Event()).wait()
        return "answer"
    except asyncio.CancelledError:
        if not patience.ended_alone(task):
            raise
        return "time"
    finally:
        patience.end(task)


async def test_a_shorter_wait_is_not_held_up_by_a_longer_one():
    """It begins later and ends first, whatever the timer was set to; the longer one goes on."""
    patience = Patience()
    longer = asyncio.create_task(wait(patience, NEVER))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(wait(patience, seconds) for seconds in (0.02, 0.0, 0.01))) == ["time"] * 3
    assert not longer.done()
    longer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await longer


async def test_an_answer_in_time_ends_nobody():
    """The timer of somebody answered finds nobody, and who waits after it is still ended."""
    patience, answered = Patience(), asyncio.Event()
    async with asyncio.timeout(60):
        first = asyncio.create_task(wait(patience, 1.0, until=answered))
        await asyncio.sleep(0)
        answered.set()
        assert await first == "answer"
        assert await wait(patience, 1.1) == "time"
        assert await wait(patience, 0.0) == "time"


async def test_cancelling_by_somebody_else_is_not_swallowed():
    """The end of the service, or a caller that has gone, stays a cancellation, also where both come at once."""
    patience = Patience()
    gone = asyncio.create_task(wait(patience, NEVER))
    await asyncio.sleep(0)
    gone.cancel()
    both = asyncio.create_task(wait(patience, 0.0))
    await asyncio.sleep(0)
    both.cancel()
    for task in (gone, both):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_task_that_went_on_may_wait_again():
    """It was cancelled once and is none the worse for it."""
    patience = Patience()

    async def twice() -> list[str]:
        return [await wait(patience, 0.0), await wait(patience, 0.01)]

    task = asyncio.create_task(twice())
    async with asyncio.timeout(60):
        assert await task == ["time", "time"]
    assert task.cancelling() == 0
