"""Borrowing a connection from a pool for a moment.

Decides what it means when one breaks meanwhile: the pool takes a broken connection back at once, so that the borrower is left
with one that says it was released.  Refuses to know what is done with it.
"""
from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from ringfence.storage.database import DatabaseUnavailable, noticing_loss


@asynccontextmanager
async def borrowed(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the pool.  Not getting one, or losing it, raises ``DatabaseUnavailable``."""
    with noticing_loss():
        async with pool.acquire() as connection:
            try:
                yield connection
            except asyncpg.InterfaceError as why:
                if not _is_lost(connection):
                    raise                       # the driver's word for a mistake of ours
                raise DatabaseUnavailable("the connection to the database was lost") from why


def _is_lost(connection: asyncpg.Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:              # "has been released back to the pool"
        return True
