"""What a function stores, for tests that store the same rows in two ways."""
from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg

TABLES = ("operations", "outcomes", "payments", "transfers", "balances", "events", "batches")


async def stored(connection: asyncpg.Connection, store: Callable[[], Awaitable[object]]) -> dict[str, list[str]]:
    """The rows by table; what was stored is taken back."""
    transaction = connection.transaction()
    await transaction.start()
    await store()
    found = {table: sorted(map(repr, await connection.fetch(f"SELECT * FROM {table}"))) for table in TABLES}
    await transaction.rollback()
    return found
