"""One question to the database for all who ask at once."""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import asyncpg

from ringfence.engine.batcher import Batcher, CommitFailed
from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import DatabaseUnavailable

Asked = TypeVar("Asked")
Found = TypeVar("Found")


class _Away(CommitFailed):
    """The database is away: all have one fate."""


class Shared(Generic[Asked, Found]):
    """A counter where callers who arrive while others are served share the next ``work``, which takes many and returns a reply for each."""

    def __init__(self, pool: asyncpg.Pool, work: Callable[[asyncpg.Connection, Sequence[Asked]], Awaitable[Sequence[Found]]]) -> None:
        async def commit(batch: Sequence[Asked]) -> Sequence[Found]:
            try:
                async with borrowed(pool) as connection:
                    return await work(connection, batch)
            except DatabaseUnavailable as why:
                raise _Away() from why
        self._batcher: Batcher[Asked, Found] = Batcher(commit)

    async def ask(self, what: Asked) -> Found:
        """The reply to one.  Raises ``DatabaseUnavailable``, or what ``work`` raised for this one alone."""
        try:
            return await self._batcher.submit(what)
        except _Away:
            raise DatabaseUnavailable("the database cannot be reached") from None
