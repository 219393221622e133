"""Databases for tests: new ones, and ones that are as good as new.

Making a database and dropping it takes the server thirty milliseconds, and whoever connects to one that is new pays for what it has to
find out about it.  So the database of a test that ended is emptied and given to the next one: every row of every table is deleted, what
the migrations put in is put back, and whoever is still connected is sent away.  One whose tables changed, or that has grown large, is
dropped: nothing is repaired here.
"""
from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg

from ringfence.storage.database import connect
from tests.clusters import migrated
from tests.kept import Kept

LARGE = 8 << 20
"""Bytes of tables above which a database is not emptied but dropped: a row that was deleted still has to be passed by."""

_FORM = """\
SELECT (SELECT row(count(*), sum(oid::bigint), sum(relnatts), sum(relchecks))::text FROM pg_class WHERE oid >= 16384)
    || (SELECT row(count(*), sum(oid::bigint))::text FROM pg_attrdef)
    || (SELECT row(count(*), sum(oid::bigint))::text FROM pg_constraint WHERE oid >= 16384)
    || (SELECT row(count(*), sum(oid::bigint))::text FROM pg_proc WHERE oid >= 16384)
    || (SELECT row(count(*), sum(oid::bigint))::text FROM pg_trigger)
    || (SELECT count(*)::text FROM pg_db_role_setting)
"""
_TABLES = """\
SELECT relname, pg_relation_size(oid) AS bytes FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname"""
_LEAVE = """\
SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND pid <> ALL($1::integer[])"""

_numbers = itertools.count(1)


class Server(NamedTuple):
    """A server for tests: the address of its maintenance database, and the folder of its programs."""

    address: str
    bin: Path
    template: str                                       # the name of a migrated database to copy
    tell: Callable[[str], None]                         # runs a statement in the maintenance database
    shelf: list[Emptied]                                # databases that nobody uses now
    cluster: Path | None = None                         # where it lies, if on this machine


class Emptied:
    """A migrated database that tests have one after the other, and the connection that empties it in between."""

    def __init__(self, server: Server) -> None:
        self._server, self._name = server, made(server)
        self.address = beside(server.address, self._name)
        self._loop = asyncio.Runner()
        self._connection: asyncpg.Connection = self._loop.run(connect(self.address, application_name="ringfence tests"))
        self._form, self._seeds = self._loop.run(self._looked())

    async def _looked(self) -> tuple[str, dict[str, str]]:
        """What it is made of, and the rows that the migrations put in, by table."""
        seeds = {table: await self._rows(table) for table, size in await self._connection.fetch(_TABLES) if size}
        return await self._connection.fetchval(_FORM), seeds

    async def _rows(self, table: str) -> str:
        return await self._connection.fetchval(f"SELECT coalesce(jsonb_agg(one ORDER BY one::text), '[]')::text FROM {table} AS one")

    def empty(self, staying: Collection[int]) -> bool:
        """Whether it is as good as new; connections with those process numbers may stay."""
        try:
            return self._loop.run(self._emptied(staying))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return False

    async def _emptied(self, staying: Collection[int]) -> bool:
        told = self._connection
        await told.fetchval(_LEAVE, list(staying))
        tables = [(table, size) for table, size in await told.fetch(_TABLES) if size]
        if sum(size for _, size in tables) > LARGE or await told.fetchval(_FORM) != self._form:
            return False
        if used := [f"DELETE FROM {table}" for table, _ in tables if table not in self._seeds]:      # the driver does not take nothing
            await told.execute(";".join(used))
        for table, rows in self._seeds.items():
            if await self._rows(table) != rows:
                async with told.transaction():
                    await told.execute(f"DELETE FROM {table}")
                    await told.execute(f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1)", rows)
        return True

    def close(self) -> None:
        """The connection to it."""
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            self._loop.run(self._connection.close(timeout=10))
        self._loop.close()

    def drop(self) -> None:
        """The database and the connection to it."""
        self.close()
        self._server.tell(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")


@contextmanager
def borrowed(server: Server, kept: Kept | None) -> Iterator[str]:
    """The address of a database as good as new; connections that are *kept* may stay."""
    one = server.shelf.pop() if server.shelf else Emptied(server)
    try:
        yield one.address
    finally:
        if one.empty(kept.numbers() if kept else ()):
            server.shelf.append(one)
        else:
            one.drop()


@contextmanager
def new(server: Server) -> Iterator[str]:
    """The address of a new database."""
    name = made(server)
    try:
        yield beside(server.address, name)
    finally:
        server.tell(f"DROP DATABASE {name} WITH (FORCE)")


def made(server: Server) -> str:
    """The name of a new copy of the template."""
    name = new_name()
    server.tell(f"CREATE DATABASE {name} TEMPLATE {server.template} STRATEGY file_copy")        # writing it to the log takes thrice the work
    return name


@contextmanager
def template(address: str, tell: Callable[[str], None]) -> Iterator[str]:
    """The name of a new migrated database on that server."""
    name = new_name()
    tell(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        asyncio.run(migrated(beside(address, name)))
        yield name
    finally:
        tell(f"DROP DATABASE {name} WITH (FORCE)")


def new_name() -> str:
    """A database name that no other worker or run on the same server has."""
    return f"ringfence_test_{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}_{os.getpid()}_{next(_numbers)}"


def beside(address: str, name: str) -> str:
    """The address of another database on the same server."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}"


@contextmanager
def counter(address: str) -> Iterator[Callable[[str], None]]:
    """Runs statements in that database, all through one connection: making one takes as long as what is asked of it."""
    with asyncio.Runner() as loop:
        connection = loop.run(connect(address, application_name="ringfence tests"))

        async def told(statement: str) -> None:
            await connection.execute(statement)

        try:
            yield lambda statement: loop.run(told(statement))
        finally:
            loop.run(connection.close())
