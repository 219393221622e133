"""Connections to PostgreSQL that one test leaves to the next of its module.

The server makes a process for each connection, and that process reads the catalogue and plans each statement before its first answer:
half of what a short test takes.  A connection that is kept has done both.  It comes back as a new one would be, without a transaction,
lock, setting or cursor, to whoever asks for one to the same database in the same words; one that broke is never kept.
"""
from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Self

import asyncpg

Connect = Callable[..., Awaitable[asyncpg.Connection]]

_by_loop: dict[asyncio.AbstractEventLoop, Kept] = {}


class Kept:
    """The connections that nobody uses now, of one event loop."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, str], list[asyncpg.Connection]] = defaultdict(list)
        self._words: dict[asyncpg.Connection, tuple[str, str]] = {}

    async def __aenter__(self) -> Self:
        _by_loop[asyncio.get_running_loop()] = self
        return self

    async def __aexit__(self, *_: object) -> None:
        del _by_loop[asyncio.get_running_loop()]
        for connection in self._words:
            connection.terminate()

    def numbers(self) -> list[int]:
        """The process numbers of those connections."""
        return [one.get_server_pid() for idle in self._idle.values() for one in idle if not one.is_closed()]

    async def take(self, connect: Connect, dsn: str, words: str, **options: Any) -> asyncpg.Connection:
        """One that was kept under these words, else a new one: ``connect(dsn, **options)``."""
        idle = self._idle[dsn, words]
        while idle:
            if not (connection := idle.pop()).is_closed():
                return connection
            del self._words[connection]
        connection = await connect(dsn, **options)
        self._words[connection] = dsn, words
        return connection

    async def give(self, connection: asyncpg.Connection) -> None:
        """Keep it, if it came from here and is whole."""
        words = self._words.get(connection)
        if words is None or connection.is_closed():
            connection.terminate()
            return
        try:
            await connection.reset(timeout=10)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            connection.terminate()
        else:
            self._idle[words].append(connection)

    async def give_all(self, pool: asyncpg.Pool) -> None:
        """Take out of that pool what nobody has borrowed, and keep it.  The driver has no word for that."""
        for holder in pool._holders:
            if holder.is_idle() and holder.is_connected():
                connection, holder._con = holder._con, None
                connection._pool_holder = None
                holder._maybe_cancel_inactive_callback()
                await self.give(connection)


async def take(connect: Connect, dsn: str, words: str, **options: Any) -> asyncpg.Connection:
    """A connection that was kept in this event loop, or a new one."""
    kept = _by_loop.get(asyncio.get_running_loop())
    return await (kept.take(connect, dsn, words, **options) if kept else connect(dsn, **options))


def here() -> Kept | None:
    """What is kept in this event loop, if anything is."""
    return _by_loop.get(asyncio.get_running_loop())
