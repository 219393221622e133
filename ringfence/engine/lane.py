"""A lane: one connection that commits batches one after the other, and knows afterwards whether they were committed.

A lane has a number, held by a lock that dies with its connection.  So whoever sees after a broken connection that the old one
holds the number no longer knows that its commit has ended, one way or the other, and can read which.
"""
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import asyncpg

from ringfence.core.chain import GENESIS, Link
from ringfence.engine import points as trial
from ringfence.engine.batcher import CommitFailed
from ringfence.storage import payments as rows
from ringfence.storage.database import DatabaseUnavailable, try_lock

log = logging.getLogger(__name__)

Reply = TypeVar("Reply")

#: What a broken connection or a stopping server raises.
CONNECTION_LOST = (
    DatabaseUnavailable, OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError, asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,            # used between the server's last words and the end of the socket
)
#: What another transaction's luck raises: the same batch simply runs again.
TRY_AGAIN = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

PATIENCE_SECONDS = 3.0
"""How long callers wait for a database that went away, before they are told."""

LANES = 2
"""The space of the locks that hold lane numbers; migrations have 1, a key rotation has 7."""


class NotCommitted(CommitFailed):
    """The database is away; it is certain that nothing of this batch was stored."""


class CommitUncertain(CommitFailed):
    """The connection broke during the commit, and nobody could read yet what became of it."""


class Lane:
    """One connection, its number, and the head of its chain."""

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], *, numbers: range, points: tuple[int, int] | None = None,
    ) -> None:
        """``numbers``: which lane numbers to try, in order.  A lane keeps its number unless somebody takes it in an outage.

        ``points``: where a trial may kill this process, before and after a commit.
        """
        self._connect, self._numbers, self._points = connect, numbers, points
        self._connection: asyncpg.Connection | None = None
        self._backend = 0                   # the server's process behind the connection
        self.number = -1
        self.head: Link | None = None

    async def open(self) -> None:
        """Connect and take a number.  Raises ``NotCommitted`` where the database stays away."""
        await self._reconnected(time.monotonic() + PATIENCE_SECONDS)

    async def close(self) -> None:
        """Give the connection and the number back."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                await connection.close(timeout=1)
            except (*CONNECTION_LOST, TimeoutError):
                connection.terminate()

    @property
    def is_up(self) -> bool:
        """Whether the connection stood when it was last looked at."""
        return self._connection is not None and not self._connection.is_closed()

    async def run(
        self, commit: Callable[[asyncpg.Connection], Awaitable[Reply]],
        committed: Callable[[asyncpg.Connection], Awaitable[Reply | None]],
    ) -> Reply:
        """Run ``commit``, again where that is safe.

        ``committed`` reads, on a new connection, whether a commit with a lost answer happened: its reply, or ``None``.
        Raises ``NotCommitted``, ``CommitUncertain``, or what ``commit`` raised about the batch itself.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        tried = False
        while True:
            try:
                connection = self._connection if self.is_up else await self._reconnected(deadline)
                assert connection is not None
                if tried and (reply := await committed(connection)) is not None:
                    return reply
                tried = True
                if self._points is None:
                    return await commit(connection)
                trial.hit(self._points[0])
                reply = await commit(connection)
                trial.hit(self._points[1])
                return reply
            except TRY_AGAIN:
                tried = False
            except CONNECTION_LOST as lost:
                if isinstance(lost, (asyncpg.InterfaceError, asyncpg.InternalClientError)) and self.is_up:
                    raise                   # the driver's word for a mistake of ours
                log.warning("lane %d lost its connection: %s", self.number, lost)
                self._drop()
                if time.monotonic() >= deadline:
                    raise (CommitUncertain() if tried else NotCommitted()) from lost
            except NotCommitted as away:
                if tried:
                    raise CommitUncertain() from away
                raise

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _reconnected(self, deadline: float) -> asyncpg.Connection:
        self._drop()
        pause = 0.02
        while True:
            try:
                connection = await self._connect()
                try:
                    if await self._take_number(connection):
                        self._connection = connection
                        return connection
                except BaseException:
                    connection.terminate()
                    raise
                connection.terminate()
                lost: BaseException | None = None
            except CONNECTION_LOST as error:
                lost = error
            if time.monotonic() >= deadline:
                raise NotCommitted() from lost
            await asyncio.sleep(pause)      # nothing tells when a server is back
            pause = min(pause * 2, 0.25)

    async def _take_number(self, connection: asyncpg.Connection) -> bool:
        """Hold a number, and read the head of its chain; false while the old connection still holds one.

        A server notices late, or never, that its client has gone: so it is told to end what the client has given up.
        """
        if self.number >= 0 and await connection.fetchval(rows.SQL.end_lane, LANES, self.number, self._backend):
            return False
        for number in self._numbers if self.number < 0 else (self.number, *self._numbers):
            if await try_lock(connection, LANES, number):
                self.number, self._backend = number, connection.get_server_pid()
                row = await connection.fetchrow(rows.SQL.head_of_lane, number)
                self.head = Link(number, *row) if row else None
                return True
        return False

    def next_link(self, batch_id: int) -> tuple[bytes, int, datetime]:
        """The digest before, the next number, and the instant of the batch (wall time, never before its predecessor)."""
        now = datetime.now(UTC)
        if self.head is None:
            return GENESIS, 1, now
        return self.head.digest, self.head.number + 1, max(now, self.head.committed_at)
