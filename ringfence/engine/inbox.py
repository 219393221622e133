"""The sandbox's inbox: the letters and SMS that payers would have got, as they would have arrived.  Read only."""
from __future__ import annotations

import asyncpg

from ringfence.core.ids import LARGEST
from ringfence.storage import links as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.links import Arrived

__all__ = ["MOST", "Arrived", "find", "listed"]

MOST = 500


async def listed(pool: asyncpg.Pool, merchant: str | None = None, limit: int = 100) -> list[Arrived]:
    """The newest, of one merchant (by identifier) or of all.  Raises ``DatabaseUnavailable``."""
    async with borrowed(pool) as connection:
        return await rows.inbox(connection, merchant, limit)


async def find(pool: asyncpg.Pool, name: str) -> Arrived | None:
    """The message of a number, which may be any text."""
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 20 else 0
    if not 0 < number <= LARGEST:
        return None
    async with borrowed(pool) as connection:
        return await rows.letter(connection, number)
