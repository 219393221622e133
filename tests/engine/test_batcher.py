"""Many callers, one transaction."""
import asyncio

import pytest

from ringfence.engine.batcher import Batcher, CommitFailed


class Counter:
    """A commit that a test opens and closes, and that remembers its batches."""

    def __init__(self):
        self.batches, self.gate = [], asyncio.Event()
        self.gate.set()

    async def commit(self, batch):
        self.batches.append(list(batch))
        await self.gate.wait()
        if "poison" in batch:
            raise ValueError("indigestible")
        return [message * 2 for message in batch]


def run(play):
    async def one():
        counter = Counter()
        return await play(counter, Batcher(counter.commit, limit=100))
    return asyncio.run(one())


def test_a_lone_caller_is_served_at_once():
    """No timer: one message is a batch of one."""
    async def play(counter, batcher):
        assert await batcher.submit(21) == 42
        assert counter.batches == [[21]]
    run(play)


def test_whoever_arrives_during_a_commit_joins_the_next():
    """A crowd shares transactions, in the order of arrival, never more than the limit at once."""
    async def play(counter, batcher):
        counter.gate.clear()
        first = batcher.submit(1)
        while not counter.batches:
            await asyncio.sleep(0)
        rest = [batcher.submit(number) for number in range(2, 252)]
        counter.gate.set()
        assert await asyncio.gather(first, *rest) == [number * 2 for number in range(1, 252)]
        assert [len(batch) for batch in counter.batches] == [1, 100, 100, 50]
    run(play)


def test_a_poisoned_message_fails_alone():
    """The batch is halved until only the one it cannot digest raises."""
    async def play(counter, batcher):
        messages = ["a", "b", "c", "poison", "d", "e"]
        replies = await asyncio.gather(*map(batcher.submit, messages), return_exceptions=True)
        assert [reply for reply in replies if isinstance(reply, str)] == ["aa", "bb", "cc", "dd", "ee"]
        assert isinstance(replies[3], ValueError)
        assert await batcher.submit("later") == "laterlater"
    run(play)


def test_a_failed_commit_is_the_fate_of_the_whole_batch():
    """Where the database is away, halving would only ask it again."""
    async def play(counter, batcher):
        asked = []

        async def away(batch):
            asked.append(len(batch))
            raise CommitFailed

        replies = await asyncio.gather(*map(Batcher(away).submit, range(5)), return_exceptions=True)
        assert all(isinstance(reply, CommitFailed) for reply in replies) and asked == [5]
    run(play)


def test_a_caller_who_left_does_not_disturb_the_others():
    """A cancelled future is passed over."""
    async def play(counter, batcher):
        counter.gate.clear()
        gone, stays = batcher.submit(1), batcher.submit(2)
        gone.cancel()
        counter.gate.set()
        assert await stays == 4
        with pytest.raises(asyncio.CancelledError):
            await gone
    run(play)
