"""Migrations: numbered SQL files that bring a database to the schema this program knows.

Decides which files are still to be applied, and refuses a database that does not follow from them.  Refuses to know what they
create.  Forward only: a mistake is undone by the next file.
"""
from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import lock, noticing_loss, unlock

LOCK_SPACE, LOCK_NUMBER = 1, 1                          # advisory lock: one node migrates at a time
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

_CREATE = """
CREATE TABLE schema_migrations (
    number      integer     PRIMARY KEY,
    name        text        NOT NULL,
    checksum    text        NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)"""


class MigrationError(Exception):
    """The database and the program's migrations do not fit; the message says which, and what to do.  Nothing was changed."""


class Migration(NamedTuple):
    """One file: its number (from 1, without gaps), name, text and the SHA-256 of the text in hex."""

    number: int
    name: str
    sql: str
    checksum: str


class State(NamedTuple):
    """A migration and when it was applied (UTC), or ``None`` while it is not."""

    number: int
    name: str
    applied_at: datetime | None


def known(folder: Traversable | None = None) -> tuple[Migration, ...]:
    """The migrations of *folder* (the program's own by default) in order; raises ``MigrationError`` for a gap or a strange name."""
    found = []
    for file in (folder or resources.files("ringfence.storage").joinpath("migrations")).iterdir():
        if not file.name.endswith(".sql"):
            continue
        named = _FILE.fullmatch(file.name)
        if named is None:
            raise MigrationError(f"The migration file {file.name} is not named like 0001_what_it_does.sql.")
        text = file.read_bytes()
        found.append(Migration(int(named[1]), named[2], text.decode(), hashlib.sha256(text).hexdigest()))
    found.sort()
    for place, migration in enumerate(found, 1):
        if migration.number != place:
            raise MigrationError(f"The migration files jump to {migration.number:04}_{migration.name} where number {place} should be.")
    return tuple(found)


async def migrate(connection: asyncpg.Connection, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Applies what is missing, each file in its own transaction, and returns what it applied.

    Two nodes that start together take turns.  Raises ``MigrationError`` before anything is changed.
    """
    migrations = known() if migrations is None else migrations
    await lock(connection, LOCK_SPACE, LOCK_NUMBER)
    try:
        with noticing_loss(connection):
            todo = migrations[len(await _applied(connection, migrations)):]
            if todo and todo[0].number == 1 and not await _has_table(connection):
                await connection.execute(_CREATE)
            for migration in todo:
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await connection.execute("INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
                                             migration.number, migration.name, migration.checksum)
        return list(todo)
    finally:
        if not connection.is_closed():
            await unlock(connection, LOCK_SPACE, LOCK_NUMBER)


async def status(connection: asyncpg.Connection, migrations: Sequence[Migration] | None = None) -> list[State]:
    """Every migration of the program and when it was applied; raises ``MigrationError`` like ``migrate``, and changes nothing."""
    migrations = known() if migrations is None else migrations
    with noticing_loss(connection):
        times = await _applied(connection, migrations)
    return [State(m.number, m.name, times[place] if place < len(times) else None) for place, m in enumerate(migrations)]


async def _applied(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> list[datetime]:
    """When the first migrations were applied; raises unless the database holds a beginning of exactly these."""
    if not await _has_table(connection):
        return []
    rows = await connection.fetch("SELECT number, name, checksum, applied_at FROM schema_migrations ORDER BY number")
    if rows and rows[-1]["number"] > len(migrations):
        raise MigrationError(f"The database has schema {rows[-1]['number']}, and this program knows schemas up to {len(migrations)}. "
                             "Start the newer program that migrated it, or restore a backup made before that.")
    for place, row in enumerate(rows, 1):
        if row["number"] != place:
            raise MigrationError(f"The database lacks migration {place} but has {row['number']}: its table schema_migrations was edited. "
                                 "Restore that table from a backup.")
        ours = migrations[place - 1]
        if row["checksum"] != ours.checksum:
            raise MigrationError(f"Migration {place:04}_{ours.name} was applied with other contents (as {row['name']}). "
                                 "Put the file back as it was, and make the change in a new migration.")
    return [row["applied_at"] for row in rows]


async def _has_table(connection: asyncpg.Connection) -> bool:
    return await connection.fetchval("SELECT to_regclass('schema_migrations')") is not None
