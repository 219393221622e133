"""Counting what passes the two counters: batches, messages, durations and results.

Wraps a lane and changes nothing.  Per batch it reads the clock twice; per message it looks at one type.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

from ringfence.core.outcomes import Approved, Declined, Outcome, Reversed, Unknown
from ringfence.engine import metrics
from ringfence.engine.intents import Ended, Result
from ringfence.engine.metrics import Counters
from ringfence.engine.sheet import Sheet

_RESULTS = {Approved: metrics.APPROVED, Declined: metrics.DECLINED, Unknown: metrics.UNKNOWN}
_DOUBTS = {Approved: metrics.DOUBT_APPROVED, Declined: metrics.DOUBT_DECLINED, Reversed: metrics.DOUBT_REVERSED}

Commit = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]
CommitWhole = Callable[..., Awaitable[None]]


class CountedIntents:
    """An intent lane whose batches are counted; a refusal is counted here, for nothing follows it."""

    def __init__(self, commit: Commit, counters: Counters) -> None:
        self._commit, self._counters = commit, counters

    async def commit(self, batch: Sequence[Any]) -> Sequence[Any]:
        """As the lane's own."""
        began = perf_counter()
        replies = await self._commit(batch)
        counters = self._counters
        counters.observe(metrics.INTENT_SECONDS, perf_counter() - began)
        counters.add(metrics.INTENT_BATCHES)
        counters.add(metrics.INTENT_MESSAGES, len(batch))
        if refused := sum(type(reply) is Result for reply in replies):
            counters.add(metrics.REFUSED, refused)
        return replies


class CountedOutcomes:
    """An outcome lane whose batches and results are counted."""

    def __init__(self, commit: Commit, counters: Counters) -> None:
        self._commit, self._counters = commit, counters

    async def commit(self, batch: Sequence[Any]) -> Sequence[Result]:
        """As the lane's own."""
        began = perf_counter()
        results = await self._commit(batch)
        counters = self._counters
        counters.observe(metrics.OUTCOME_SECONDS, perf_counter() - began)
        counters.add(metrics.OUTCOME_BATCHES)
        counters.add(metrics.OUTCOME_MESSAGES, len(batch))
        for kind, count in Counter(type(result.outcome) for result in results).items():
            counters.add(_RESULTS.get(kind, metrics.OTHER), count)
        for message, result in zip(batch, results, strict=True):
            if type(message) is Ended and message.reserved.operation.unknown and (how := _DOUBTS.get(type(result.outcome))) is not None:
                counters.add(how)
        return results

    def of_whole(self, commit: CommitWhole) -> CommitWhole:
        """The lane's ``commit_whole``, whose batches and results are counted as well."""
        async def counted(sheet: Sheet, outcomes: Sequence[Outcome], *more: Any) -> None:
            began = perf_counter()
            await commit(sheet, outcomes, *more)
            counters = self._counters
            counters.observe(metrics.OUTCOME_SECONDS, perf_counter() - began)
            counters.add(metrics.OUTCOME_BATCHES)
            counters.add(metrics.OUTCOME_MESSAGES, len(outcomes))
            counters.add(metrics.APPROVED, len(outcomes))

        return counted
