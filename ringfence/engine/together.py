"""Asking for many at once: what is reserved is put to its processors together, and what one of them says is everybody's.

Refuses to know what becomes of the answers.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from ringfence.core.card import Pan
from ringfence.core.outcomes import NotAsked, Outcome, Silence, Unknown
from ringfence.engine import points
from ringfence.engine.asking import ask
from ringfence.engine.intents import CardInHand, Reserved
from ringfence.engine.patience import OVERTIME_SECONDS
from ringfence.engine.sheet import Sheet
from ringfence.processors.processor import Ask, Processor, ask_all

log = logging.getLogger(__name__)


class Together:
    """Asks processors that take many questions at once; whoever does not is asked side by side."""

    def __init__(
        self, processors: Mapping[str, Processor], pan: Callable[[CardInHand | None], Pan | None], now: Callable[[], datetime],
        wall: Callable[[], datetime],
    ) -> None:
        """``pan`` opens a card.  ``now`` is business time, ``wall`` the machine's; both UTC."""
        self._processors, self._pan, self._now, self._wall = processors, pan, now, wall

    async def ask(self, reserved: Sequence[Reserved]) -> list[Outcome]:
        """The outcomes of many questions, in their order."""
        now = self._now()
        messages = [self._opened(one, now) for one in reserved]
        names = {one.intent.processor for one in reserved}
        if len(names) == 1 and None not in messages:
            return list(await self._ask(self._processors[names.pop()], messages))      # type: ignore[arg-type]
        outcomes: list[Outcome] = [NotAsked("card")] * len(reserved)
        for name in names:
            places = [place for place, message in enumerate(messages) if message is not None and reserved[place].intent.processor == name]
            if places:
                said = await self._ask(self._processors[name], [messages[place] for place in places])  # type: ignore[misc]
                for place, outcome in zip(places, said, strict=True):
                    outcomes[place] = outcome
        return outcomes

    async def ask_sheet(self, sheet: Sheet, deadline: datetime, asked_at: datetime) -> Sequence[Outcome]:
        """The same for purchases of one sort."""
        try:
            pans = list(map(self._pan, sheet.cards))
        except Exception:                   # which of them it is, and what follows for it, each is asked by itself
            return await self.ask([sheet.reserved(place, deadline, asked_at) for place in range(len(sheet.ids))])
        return await self._ask(self._processors[sheet.model.processor], sheet.messages(pans, deadline, self._now()))

    def _opened(self, reserved: Reserved, now: datetime) -> Ask | None:
        """The message for a processor; ``None`` where the vault cannot open the card."""
        try:
            return ask(reserved, now, self._pan(reserved.intent.card))
        except Exception:
            log.exception("the card of operation %d cannot be opened", reserved.operation.id)
            return None

    async def _ask(self, processor: Processor, messages: list[Ask]) -> Sequence[Outcome]:
        left = (min(message.deadline for message in messages) - self._wall()).total_seconds()
        if left <= 0:
            return [NotAsked("deadline")] * len(messages)
        points.hit(points.BEFORE_ASK)
        try:
            async with asyncio.timeout(left + OVERTIME_SECONDS):
                outcomes = await ask_all(processor, messages)
        except TimeoutError:
            log.warning("processor %s did not keep its deadline", processor.name)
            return [Unknown(Silence.NO_ANSWER)] * len(messages)
        except Exception:
            log.exception("processor %s broke its contract", processor.name)
            return [Unknown(Silence.NOT_BELIEVABLE)] * len(messages)
        points.hit(points.AFTER_ASK)
        return outcomes
