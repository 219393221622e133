"""Hearing of a result without waiting for it in a task: whoever has nothing else to do meanwhile is called when all is done.

Most payments are reserved, asked and written by the batches they are in, without a step of their own.  Only where a step is left is there
something to await.  Refuses to know what a result is for.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ringfence.core.refusals import Refusal
from ringfence.engine.intents import Intent, Result

log = logging.getLogger(__name__)

Hear = Callable[[Result | Awaitable[Result]], None]
"""Takes a result, or what is to be awaited for it.  It awaits nothing and raises nothing."""


class Hearer:
    """Somebody who is called; what a batcher knows as a waiter."""

    __slots__ = ("_hear", "_intent", "_is_told", "_rest")

    def __init__(self, hear: Hear, intent: Intent, rest: Callable[[Intent, Awaitable[Any]], Awaitable[Result]]) -> None:
        """``rest``: what is left to do for an intent, whose first reply is what it is given to await."""
        self._hear, self._intent, self._rest, self._is_told = hear, intent, rest, False

    def done(self) -> bool:
        """Whether he has heard."""
        return self._is_told

    def set_result(self, reply: Any) -> None:
        """Tell the result; any other reply is one to go on from."""
        self._is_told = True
        try:
            if type(reply) is Result and (reply.refusal is None or not waits_for_a_doubt(reply)):
                self._hear(reply)
            else:
                first = asyncio.get_running_loop().create_future()
                first.set_result(reply)
                self._hear(self._rest(self._intent, first))
        except Exception:                       # others are told after him
            log.exception("nobody could be told of payment %d", self._intent.payment_id)

    def set_exception(self, error: Exception) -> None:
        """Tell why there is no reply."""
        self._is_told = True
        first = asyncio.get_running_loop().create_future()
        first.set_exception(error)
        self._hear(self._rest(self._intent, first))


def waits_for_a_doubt(reply: Result) -> bool:
    """Whether an intent was refused because of an earlier operation that is in doubt."""
    return reply.refusal is Refusal.OUTCOME_UNKNOWN or (
        reply.refusal is Refusal.KEY_IN_PROGRESS and reply.earlier is not None and reply.earlier.result == "unknown"
    )
