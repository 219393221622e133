"""Dropped holds: what an issuer gave up by itself, before anybody captured or gave it back.

The processor is asked what it noticed; each hold is booked as a notice on its payment.  One that cannot be booked now is told
again with the next sweep of this process.
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from ringfence.core.notices import Notice, Noticed
from ringfence.core.refusals import Refusal
from ringfence.engine.batcher import CommitFailed
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine

log = logging.getLogger(__name__)


class Dropped(Protocol):
    """A hold that is gone: its payment, and the merchant's identifier."""

    payment: int
    merchant: str


class DroppedHolds:
    """The sweep over one processor, and what it could not book yet."""

    def __init__(
        self, processor: str, noticed: Callable[[datetime], Awaitable[Sequence[Dropped]]], directory: Directory, engine: Engine,
    ) -> None:
        """``noticed``: the holds dropped by an instant (business time), each told once."""
        self._processor, self._noticed, self._directory, self._engine = processor, noticed, directory, engine
        self._waiting: list[Dropped] = []

    async def sweep(self) -> int:
        """Book what is new and what is left; how many were booked."""
        self._waiting += await self._noticed(self._engine.now())
        left = [hold for hold in self._waiting if not await self._booked(hold)]
        booked, self._waiting = len(self._waiting) - len(left), left
        if booked:
            log.info("the issuer dropped %d holds", booked)
        return booked

    async def _booked(self, hold: Dropped) -> bool:
        merchant = self._directory.merchant(hold.merchant)
        if merchant is None:
            return True                     # nobody's here any more
        notice = Notice(Noticed.HOLD_DROPPED, f"dropped:{self._processor}:{hold.payment}")
        try:
            result = await self._engine.notice(merchant.merchant_id, hold.payment, self._processor, notice)
        except CommitFailed:
            return False
        return result.refusal is not Refusal.PAYMENT_NOT_FOUND
