"""What happened to tokens: cards that were presented where a token stood for them, and tokens that got another card.

Reads what was noted in the commit of the token itself; decides and changes nothing.
"""
from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from ringfence.storage import tokens as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.tokens import EventRow

__all__ = ["EventRow", "latest"]

AT_MOST = 1_000


async def latest(pool: asyncpg.Pool, merchants: Sequence[int], limit: int = AT_MOST) -> list[EventRow]:
    """The latest of these merchants' events, the newest first.  Raises ``DatabaseUnavailable``."""
    async with borrowed(pool) as connection:
        return await rows.events(connection, merchants, limit)
