"""The way between an issuer and us, as the simulator plays it: slow, deaf, late, cut, or longer than anybody waits.

Refuses to know what an issuer says.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from ringfence.core.commands import Kind
from ringfence.core.outcomes import Approved, Declined, Outcome, Silence, Unknown
from ringfence.processors.processor import Ask
from ringfence.processors.simulator.scenarios import UNHEARD, WHY, Delivery, Scenario


class Network:
    """Carries answers.  ``t1`` is how long one is waited for (seconds); ``now`` is wall time; ``too_late`` hears of an approval that comes after
    that."""

    def __init__(self, t1: float, now: Callable[[], datetime], too_late: Callable[[Ask, Approved], None]) -> None:
        self._t1, self._now, self._too_late = t1, now, too_late
        self._timers: set[asyncio.TimerHandle] = set()

    async def deliver(self, message: Ask, outcome: Outcome, delivery: Delivery, spent: float, latency: float) -> Outcome:
        """What is left of the outcome when, and if, its answer arrives.  ``spent``: seconds the question travelled; ``latency``: of both ways."""
        patience = self.patience(message, self._now(), spent)
        unheard = type(outcome) is not Declined and delivery in UNHEARD
        if delivery is Delivery.LATE and isinstance(outcome, Approved):
            timer = asyncio.get_running_loop().call_later(2 * self._t1 - spent, lambda: self._comes_late(message, outcome, timer))
            self._timers.add(timer)
        takes = max(latency / 2, 0.8 * self._t1 if delivery is Delivery.SLOW else 0.0)
        if unheard or not await self.travel(takes, patience):
            if unheard:
                await asyncio.sleep(max(0.0, patience))
            return Unknown(Silence.NO_ANSWER)
        if type(outcome) is Approved and delivery in WHY:
            return Unknown(WHY[delivery])
        return outcome

    def _comes_late(self, message: Ask, outcome: Approved, timer: asyncio.TimerHandle) -> None:
        self._timers.discard(timer)
        self._too_late(message, outcome)

    def patience(self, message: Ask, now: datetime, spent: float = 0.0) -> float:
        """Seconds an answer is still waited for."""
        return min(self._t1 - spent, (message.deadline - now).total_seconds())

    async def travel(self, seconds: float, patience: float) -> bool:
        """Wait; whether it arrived before patience ran out."""
        if seconds > 0:
            await asyncio.sleep(max(0.0, min(seconds, patience)))
        return seconds <= patience

    def close(self) -> None:
        """What has not come by now never comes."""
        for timer in self._timers:
            timer.cancel()


def advice_travels(message: Ask, scenario: Scenario) -> Delivery:
    """How the first answer to an advice comes: at once, but for a refund that is only taken."""
    return Delivery.PENDING if scenario.refunds_after and message.kind is Kind.REFUND else Delivery.AT_ONCE
