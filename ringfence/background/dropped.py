"""Dropped holds: what an issuer gave up by itself, before anybody captured or gave it back.

The processor tells every hold it dropped behind a number; each is booked as a notice on its payment.  The number goes up only behind
what is booked: what cannot be booked now, and what a crash left, is told again.
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

import asyncpg

from ringfence.background.worker import Chore
from ringfence.core.notices import Notice, Noticed
from ringfence.core.refusals import Refusal
from ringfence.engine.batcher import CommitFailed
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.storage import jobs

log = logging.getLogger(__name__)

NAME = "dropped holds"


class Dropped(Protocol):
    """A hold that is gone: the number it is told under, its payment, and the merchant's identifier."""

    number: int
    payment: int
    merchant: str


Told = Callable[[datetime, int], Awaitable[Sequence[Dropped]]]
"""The holds dropped by an instant (business time) that are told behind a number, in the order of their numbers."""


class DroppedHolds:
    """The sweep over one processor."""

    def __init__(self, processor: str, told: Told, directory: Directory, engine: Engine, pool: asyncpg.Pool) -> None:
        self._processor, self._told, self._directory, self._engine, self._pool = processor, told, directory, engine, pool
        self._name = f"{NAME}: {processor}"
        self._booked: set[int] = set()      # behind one that could not be booked yet

    async def sweep(self) -> int:
        """Book what is new and what was left; how many were booked."""
        reached = await jobs.reached(self._pool, self._name)
        booked, unbroken, last = 0, True, reached
        for hold in await self._told(self._engine.now(), reached):
            if hold.number not in self._booked:
                if await self._is_booked(hold):
                    self._booked.add(hold.number)
                    booked += 1
                else:
                    unbroken = False
            if unbroken:
                last = hold.number
        if last > reached:
            await jobs.note_reached(self._pool, self._name, last)
        self._booked = {number for number in self._booked if number > last}
        if booked:
            log.info("the issuer dropped %d holds", booked)
        return booked

    async def _is_booked(self, hold: Dropped) -> bool:
        merchant = self._directory.merchant(hold.merchant)
        if merchant is None:
            return True                     # nobody's here any more
        notice = Notice(Noticed.HOLD_DROPPED, f"dropped:{self._processor}:{hold.payment}")
        try:
            result = await self._engine.notice(merchant.merchant_id, hold.payment, self._processor, notice)
        except CommitFailed:
            return False
        return result.refusal is not Refusal.PAYMENT_NOT_FOUND


def chore(processor: str, told: Told, directory: Directory, engine: Engine, pool: asyncpg.Pool, pause: float) -> Chore:
    """The sweep over a processor, by one process at a time, ``pause`` seconds (wall time) after the last one ended."""
    return Chore(NAME, DroppedHolds(processor, told, directory, engine, pool).sweep, pause)
