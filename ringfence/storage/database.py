"""Connections, named statements and locks: what stands between our SQL and the driver.

Decides which servers are good enough to keep money on, and turns every way of losing one into a single exception.  Refuses to
know tables and the meaning of any statement.
"""
from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from typing import Any, NamedTuple

import asyncpg
from asyncpg.protocol import protocol

# The driver asks of every element of every array whether it is an array itself, and asks abstract classes: more work than sending it.
# These are the types that an array may have here.
protocol.IterableABC = protocol.SizedABC = (list, tuple, set, frozenset)
protocol.MappingABC = dict

OLDEST = 15                                             # the oldest PostgreSQL major version that the SQL is written for
DURABLE_COMMITS = ("on", "remote_apply")                # both wait for the disk; remote_apply for the standby's view too
CONNECT_SECONDS = 10.0

_HEADING = re.compile(r"^-- ([a-z][a-z0-9_]*) --$", re.MULTILINE)
_CHECK = """
SELECT current_setting('server_version_num')::integer AS version, current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes, current_setting('synchronous_commit') AS synchronous_commit"""

# The ways in which asyncpg says that the server cannot be used now.  OSError covers a refused, reset or timed-out connection.
_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,                    # SQLSTATE class 08
    asyncpg.OperatorInterventionError,                  # class 57: shutdown, crash, not yet ready
    asyncpg.InsufficientResourcesError,                 # class 53: disk full, out of memory, too many connections
    asyncpg.ReadOnlySQLTransactionError,                # 25006: this server became a standby
    asyncpg.InternalClientError,                        # used between the server's last words and the end of the socket
)


class DatabaseUnavailable(Exception):
    """The database cannot be reached now; whether the last statement was committed is not known."""


class DatabaseUnsuitable(Exception):
    """The database must not be used; the message names the setting, and how it should be."""


class Query(NamedTuple):
    """A statement of a query file and the sentence that describes it."""

    description: str
    sql: str


@contextmanager
def noticing_loss(connection: asyncpg.Connection | None = None) -> Iterator[None]:
    """Raises ``DatabaseUnavailable`` for everything in the block that means the server was lost; other errors pass."""
    try:
        yield
    except asyncpg.QueryCanceledError:                  # 57014: our own statement_timeout, not a lost server
        raise
    except _LOST as why:
        raise DatabaseUnavailable(f"the database cannot be reached: {type(why).__name__}") from why
    except asyncpg.InterfaceError as why:               # the driver's words for "closed", and also for a caller's mistake
        if connection is None or not _gone(connection):
            raise
        raise DatabaseUnavailable("the connection to the database was lost") from why


class Connection(asyncpg.Connection):
    """A connection that asks about PostgreSQL's own types only where no other of this process has.

    The driver knows single values by heart, and asks each server anew what an array of them is, once a connection and statement: 15 ms of
    the server's time, which the first payment over a new connection waits for.  Their numbers are the same in every database.
    """

    async def _introspect_types(self, typeoids: Collection[int], timeout: float | None) -> tuple[list[Mapping[str, Any]], Any]:
        if all(one in _OWN_TYPES for one in typeoids):
            return list(_OWN_TYPES.values()), _NOT_ASKED
        types, statement = await super()._introspect_types(typeoids, timeout)
        _OWN_TYPES.update((one["oid"], one) for one in types if one["oid"] < FIRST_OF_USERS)
        return types, statement


FIRST_OF_USERS = 16_384                                 # FirstNormalObjectId of PostgreSQL: lower numbers are given by its source code
_OWN_TYPES: dict[int, Mapping[str, Any]] = {}           # what was said of them, each after what it consists of


class _NotAsked(NamedTuple):
    """Stands for the statement that was not needed; by having a name it says that it took no other's place."""

    name: str


_NOT_ASKED = _NotAsked("none")

#: For connections whose statements all look rows up by key: without this the planner reads whole tables while it has no statistics
#: of them yet, which is when they grow fastest.
BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}


async def connect(dsn: str, *, application_name: str, by_key: bool = False) -> asyncpg.Connection:
    """A connection on which a commit is durable.  ``by_key``: see ``BY_KEY``.

    Raises ``DatabaseUnavailable`` when no server answers within 10 seconds, ``DatabaseUnsuitable`` when it refuses us, is older
    than PostgreSQL 15, or runs without ``fsync``, ``full_page_writes`` or ``synchronous_commit``.
    """
    try:
        with noticing_loss():
            connection = await asyncpg.connect(
                dsn, timeout=CONNECT_SECONDS, connection_class=Connection, server_settings=_settings(application_name, by_key))
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as why:
        raise DatabaseUnsuitable(f"The database server refuses us: {why}.") from why
    try:
        await verify(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


def pool(
    dsn: str, size: int, *, application_name: str = "ringfence reading", by_key: bool = False, settings: Mapping[str, str] | None = None,
    plain: bool = False,
) -> asyncpg.Pool:
    """A pool of up to *size* connections for reading, to be entered with ``async with``; it connects when first asked.

    ``by_key``: see ``BY_KEY``; not for reports.  ``settings``: of the server, for these connections.  ``plain``: whoever borrows one
    leaves no lock and no setting behind, so that it is given back without a question to the server.
    """
    return asyncpg.create_pool(dsn, min_size=0, max_size=size, init=verify, timeout=CONNECT_SECONDS, connection_class=Connection,
                               reset=_leave if plain else None,
                               server_settings=_settings(application_name, by_key) | dict(settings or {}))


async def _leave(connection: asyncpg.Connection) -> None:
    """Nothing to undo; the driver has ended what transaction was open."""


async def verify(connection: asyncpg.Connection) -> None:
    """Raises ``DatabaseUnsuitable`` unless what this connection commits survives a crash of the server."""
    with noticing_loss(connection):
        found = await connection.fetchrow(_CHECK)
    if found["version"] < OLDEST * 10_000:
        raise DatabaseUnsuitable(f"The server is PostgreSQL {found['version'] // 10_000}; Ringfence needs {OLDEST} or newer.")
    for name, good in (("fsync", ("on",)), ("full_page_writes", ("on",)), ("synchronous_commit", DURABLE_COMMITS)):
        if found[name] not in good:
            raise DatabaseUnsuitable(f"The server has {name} = {found[name]}, so that acknowledged payments could be lost. "
                                     f"Set {name} = on for the server, this database and this role.")


def _gone(connection: asyncpg.Connection) -> bool:
    """Whether this connection is closed; a pool takes one back by itself when it breaks, and then forbids even this question."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


def _settings(application_name: str, by_key: bool) -> dict[str, str]:
    return {"application_name": application_name, "timezone": "UTC"} | (BY_KEY if by_key else {})


def load_queries(name: str) -> Any:
    """The statements of ``queries/NAME.sql`` as attributes of a frozen value: ``load_queries("payments").claim``.

    Each statement carries its name in a comment, so that the server's own views show it.
    """
    text = resources.files("ringfence.storage").joinpath("queries", f"{name}.sql").read_text("utf-8")
    found = parse_queries(text)
    return namedtuple(name, found)(*(f"-- {name}.{query}\n{found[query].sql}" for query in found))


def parse_queries(text: str) -> dict[str, Query]:
    """The statements of a query file by name.

    A statement begins with a line ``-- its_name --``, then comment lines that describe it, then SQL with parameters ``$1`` and
    so on.  Raises ``ValueError`` for a name given twice and for a statement without description or SQL.
    """
    parts = _HEADING.split(text)
    queries: dict[str, Query] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        lines = body.strip().splitlines()
        count = next((place for place, line in enumerate(lines) if not line.startswith("--")), len(lines))
        query = Query(" ".join(line.lstrip("- ") for line in lines[:count]).strip(), "\n".join(lines[count:]).strip())
        if name in queries or not all(query):
            raise ValueError(f"query {name}: " + ("given twice" if name in queries else "needs a description and a statement"))
        queries[name] = query
    return queries


async def try_lock(connection: asyncpg.Connection, space: int, number: int) -> bool:
    """Takes the lock *number* of *space* (both 32-bit) unless another session has it; held until ``unlock`` or the session's end."""
    with noticing_loss(connection):
        return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1::integer, $2::integer)", space, number))


async def lock(connection: asyncpg.Connection, space: int, number: int) -> None:
    """Takes the same lock, waiting for the session that has it."""
    with noticing_loss(connection):
        await connection.execute("SELECT pg_advisory_lock($1::integer, $2::integer)", space, number)


async def unlock(connection: asyncpg.Connection, space: int, number: int) -> None:
    """Gives a lock back."""
    with noticing_loss(connection):
        await connection.execute("SELECT pg_advisory_unlock($1::integer, $2::integer)", space, number)
