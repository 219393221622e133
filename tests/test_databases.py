"""What a test leaves behind does not reach the next one."""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import asyncpg
import pytest

from ringfence.storage.database import connect, try_lock
from tests import databases, kept
from tests.databases import Server
from tests.kept import Kept

MERCHANT = "INSERT INTO merchants (merchant_id, identifier, name, created_at) VALUES (1, 'One', 'One', now())"
KINDS = "SELECT * FROM transfer_kinds ORDER BY kind"

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def server(postgres: Server) -> Iterator[Server]:
    """With a shelf of its own, empty."""
    with_shelf = postgres._replace(shelf=[])
    yield with_shelf
    for one in with_shelf.shelf:
        one.drop()


@pytest.fixture
def run() -> Iterator[Run]:
    """One event loop: databases are handed on while none runs."""
    with asyncio.Runner() as runner:
        yield runner.run


async def changed(address: str, *statements: str) -> list[list[asyncpg.Record]]:
    """What each said, over a connection of its own."""
    connection = await asyncpg.connect(address)
    try:
        return [await connection.fetch(statement) for statement in statements]
    finally:
        await connection.close()


def test_rows_are_gone_and_what_migrations_put_in_is_back(server: Server, run: Run):
    """Also where it was changed or deleted."""
    with databases.borrowed(server, None) as first:
        kinds, *_ = run(changed(first, KINDS, MERCHANT, "UPDATE directory_version SET version = 77", "DELETE FROM transfer_kinds WHERE kind > 3"))
    with databases.borrowed(server, None) as second:
        assert second == first
        assert run(changed(second, "TABLE merchants", "SELECT version FROM directory_version", KINDS)) == [[], [(1,)], kinds]


def test_whoever_is_still_connected_is_sent_away(server: Server, run: Run):
    """In the middle of a transaction, too."""
    with databases.borrowed(server, None) as first:
        left = run(asyncpg.connect(first))
        run(left.execute(f"BEGIN; {MERCHANT}"))
    with databases.borrowed(server, None) as second:
        assert second == first
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            run(left.execute("COMMIT"))
        left.terminate()
        assert run(changed(second, "TABLE merchants")) == [[]]


@pytest.mark.parametrize("change", [
    "ALTER TABLE merchants ADD COLUMN colour text", "CREATE TABLE more (n integer)", "DROP INDEX jobs_due",
    "ALTER TABLE merchants ADD CHECK (name <> 'Nobody')",
    "INSERT INTO merchants (merchant_id, identifier, name, created_at) SELECT n, n::text, repeat('x', 1000), now() FROM generate_series(1, 10000) AS n",
])
def test_one_that_changed_or_grew_is_not_handed_on(server: Server, run: Run, change: str):
    """It is dropped."""
    with databases.borrowed(server, None) as first:
        run(changed(first, change))
    assert server.shelf == []
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        run(asyncpg.connect(first))


def test_a_kept_connection_comes_back_as_a_new_one_would_be(server: Server, run: Run):
    """The same, without lock, setting and transaction; that its database is emptied meanwhile does not end it."""
    async def left(connections: Kept, address: str) -> asyncpg.Connection:
        await connections.__aenter__()
        connection = await kept.take(connect, address, "lane", application_name="lane")
        assert await try_lock(connection, 9, 1)
        await connection.execute(f"SET enable_seqscan = off; BEGIN; {MERCHANT}")
        await connections.give(connection)
        return connection

    async def found(connections: Kept, address: str, connection: asyncpg.Connection) -> None:
        assert await kept.take(connect, address, "lane", application_name="lane") is connection
        assert await connection.fetch("TABLE merchants") == []
        assert await connection.fetchval("SHOW enable_seqscan") == "on" and not connection.is_in_transaction()
        assert await connection.fetch("SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()") == []
        assert await kept.take(connect, address, "lane", application_name="lane") is not connection
        await connections.__aexit__()

    connections = Kept()
    with databases.borrowed(server, connections) as address:
        connection = run(left(connections, address))
    with databases.borrowed(server, connections) as again:
        assert again == address
        run(found(connections, again, connection))


def test_a_connection_that_broke_is_not_kept(server: Server, run: Run):
    async def broken(address: str) -> None:
        async with Kept() as connections:
            connection = await kept.take(connect, address, "lane", application_name="lane")
            connection.terminate()
            await connections.give(connection)
            assert connections.numbers() == []
            assert await kept.take(connect, address, "lane", application_name="lane") is not connection

    with databases.borrowed(server, None) as address:
        run(broken(address))
