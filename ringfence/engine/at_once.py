"""What is asked at once: of a batch of intents, those whose processor need not wait for anybody, and whose payer need do nothing before.

They are asked together, as soon as their intents are committed, and their outcomes go straight to the counter where outcomes are committed:
their owners are woken once, when all is done.  All others go on by themselves.  Refuses to know why somebody must wait.
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from ringfence.core.outcomes import Outcome, Silence, Unknown
from ringfence.engine import points
from ringfence.engine.authentication import Demand
from ringfence.engine.batcher import Waiter, Waiting
from ringfence.engine.intents import Ended, Intent, Reserved
from ringfence.processors.processor import AnswersAtOnce, Ask

log = logging.getLogger(__name__)


class AtOnce:
    """Asks for whole batches."""

    def __init__(
        self, processors: Mapping[str, AnswersAtOnce], join: Callable[[Ended, Waiter], None],
        opened: Callable[[Reserved, datetime], Ask], waits: Callable[[Demand, Ask], bool], ended: Callable[[Reserved, Outcome], Ended],
    ) -> None:
        """``join``: where outcomes are committed.  ``opened``: the message for a processor, made now.  ``waits``:
        whether a payer must do something first.  ``ended``: what is known of an attempt now."""
        self._processors, self._join, self._opened, self._waits, self._ended = processors, join, opened, waits, ended

    def ask(self, batch: Waiting[Intent], replies: Sequence[object], now: datetime, wall: datetime) -> None:
        """Tell the owners of a batch of intents what became of them, or let them hear of the outcome later.  Never raises."""
        asked: dict[str, list[tuple[Reserved, Ask, Waiter]]] = {}
        for (intent, waiting), reply in zip(batch, replies, strict=True):
            if waiting.done():                              # its caller has gone
                continue
            message = self._message(reply, now, wall) if type(reply) is Reserved and intent.processor in self._processors else None
            if message is None:
                waiting.set_result(reply)
            elif (several := asked.get(intent.processor)) is not None:
                several.append((reply, message, waiting))               # type: ignore[arg-type]
            else:
                asked[intent.processor] = [(reply, message, waiting)]   # type: ignore[list-item]
        for name, several in asked.items():
            join, ended = self._join, self._ended
            for (reserved, _, waiting), outcome in zip(several, self._outcomes(name, [one[1] for one in several]), strict=True):
                if outcome is None:
                    waiting.set_result(reserved)
                else:
                    join(ended(reserved, outcome), waiting)

    def _message(self, reserved: Reserved, now: datetime, wall: datetime) -> Ask | None:
        """The message, where nothing stands before it and it can be made."""
        intent = reserved.intent
        if intent.never_asked or intent.redirect is not None or reserved.deadline <= wall:
            return None
        try:
            message = self._opened(reserved, now)
            return None if intent.demand is not None and self._waits(intent.demand, message) else message
        except Exception:                                   # its owner goes on by himself, and meets it there
            return None

    def _outcomes(self, name: str, messages: Sequence[Ask]) -> Sequence[Outcome | None]:
        points.hit_each(points.BEFORE_ASK, len(messages))
        try:
            outcomes = self._processors[name].answer_at_once(messages)
            if len(outcomes) != len(messages):
                raise ValueError(f"{len(outcomes)} outcomes for {len(messages)} messages")
        except Exception:
            log.exception("processor %s broke its contract", name)
            outcomes = [Unknown(Silence.NOT_BELIEVABLE)] * len(messages)
        points.hit_each(points.AFTER_ASK, len(messages))
        return outcomes
