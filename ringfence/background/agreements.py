"""Agreements that somebody must come back to: what is open, and what a wallet must still be told.  What follows is for others to know."""
from __future__ import annotations

from collections.abc import Awaitable, Callable

from ringfence.background.worker import Queue
from ringfence.engine.agreements import AgreementRow, Agreements, Job
from ringfence.storage.agreements import QUEUE

AT_ONCE, PER_MERCHANT = 16, 8
"""Looks in flight together, and of one merchant."""


def queue(agreements: Agreements, settle: Callable[[AgreementRow], Awaitable[AgreementRow]]) -> Queue:
    """Every agreement in its time; ``settle`` gives it as it stands behind its first payment."""
    async def look(job: Job) -> None:
        await agreements.look(job, settle)

    return Queue(QUEUE, look, at_once=AT_ONCE, per_merchant=PER_MERCHANT)
