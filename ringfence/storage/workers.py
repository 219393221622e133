"""Worker numbers, leased: no two processes that write to one database make ids under the same number.

The database's clock alone says when a lease has lapsed.
"""
from __future__ import annotations

import asyncpg

from ringfence.storage.database import load_queries

SQL = load_queries("workers")


async def lease(pool: asyncpg.Pool, owner: str, numbers: int, seconds: float) -> int | None:
    """A number below ``numbers`` that is now ``owner``'s for so many seconds; ``None`` when all are held."""
    for _ in range(numbers):
        number = await pool.fetchval(SQL.lease_number, owner, numbers, seconds)
        if number is not None:
            return number
        if await pool.fetchval("SELECT count(*) >= $1::int FROM workers WHERE leased_until > now()", numbers):
            return None
    return None


async def renew(pool: asyncpg.Pool, number: int, owner: str, seconds: float) -> bool:
    """Hold on to a number; false where another has it by now."""
    return await pool.fetchval(SQL.renew_lease, number, owner, seconds) is not None


async def give_back(pool: asyncpg.Pool, number: int, owner: str) -> None:
    """Free a number."""
    await pool.execute(SQL.give_back, number, owner)


async def highest_id(pool: asyncpg.Pool) -> int:
    """The highest id that any row was made under; 0 in an empty database.  Reads whole tables: for a sandbox that counts its ids."""
    return await pool.fetchval(SQL.highest_id)


async def names(pool: asyncpg.Pool) -> list[str]:
    """The names of all tokens, of cards and of devices.  For a sandbox that counts its ids."""
    return [row[0] for row in await pool.fetch(SQL.names)]
