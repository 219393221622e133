"""Disputes later: the queue of their deadlines, bookings and answers, and the sweep that hears what a processor tells.

A processor tells until what it told is taken: what cannot be kept now, and what a crash left, is told again.
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from ringfence.background.worker import Chore, Queue
from ringfence.core.dispute import Heard
from ringfence.core.notices import Notice
from ringfence.core.refusals import Refusal
from ringfence.engine.batcher import CommitFailed
from ringfence.engine.directory import Directory
from ringfence.engine.disputes import QUEUE, Case, Desk
from ringfence.engine.engine import Engine

log = logging.getLogger(__name__)

NAME = "disputes"


class Telling(NamedTuple):
    """What a processor tells of a merchant's payment: a notice of a ``case`` with the words it came with, or a plain fact."""

    number: int
    merchant: str
    payment_id: int
    said: Heard | Notice
    case: Case | None = None
    note: str = ""


class Teller(NamedTuple):
    """What a processor offers: what it has to tell by an instant (business time), and that some of it was taken."""

    told: Callable[[datetime], Awaitable[Sequence[Telling]]]
    taken: Callable[[Sequence[int]], Awaitable[object]]


def queue(desk: Desk) -> Queue:
    """The queue of cases with something due."""
    return Queue(QUEUE, desk.run)


class Ear:
    """Hears one processor."""

    def __init__(self, processor: str, teller: Teller, directory: Directory, engine: Engine, desk: Desk) -> None:
        self._processor, self._teller, self._directory, self._engine, self._desk = processor, teller, directory, engine, desk

    async def listen(self) -> int:
        """Keep what is told now; how much that was."""
        taken = [telling.number for telling in await self._teller.told(self._engine.now()) if await self._is_kept(telling)]
        if taken:
            await self._teller.taken(taken)
            log.info("%s told %d facts after captures", self._processor, len(taken))
        return len(taken)

    async def _is_kept(self, telling: Telling) -> bool:
        merchant = self._directory.merchant(telling.merchant)
        if merchant is None:
            return True                     # nobody's here any more
        try:
            if isinstance(telling.said, Heard):
                assert telling.case is not None
                return await self._desk.tell(merchant.merchant_id, telling.case, telling.said, telling.note) is not None
            result = await self._engine.notice(merchant.merchant_id, telling.payment_id, self._processor, telling.said)
        except CommitFailed:
            return False
        return result.refusal is not Refusal.PAYMENT_NOT_FOUND


def chore(ear: Ear, pause: float) -> Chore:
    """The sweep, by one process at a time, ``pause`` seconds (wall time) after the last one ended."""
    return Chore(NAME, ear.listen, pause)
