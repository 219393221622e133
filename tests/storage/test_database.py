"""Connections, named statements and locks."""
from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from ringfence.storage.database import (
    DatabaseUnavailable,
    DatabaseUnsuitable,
    connect,
    load_queries,
    noticing_loss,
    parse_queries,
    pool,
    try_lock,
    unlock,
    verify,
)

QUERY_FILES = sorted(file.name.removesuffix(".sql") for file in resources.files("ringfence.storage").joinpath("queries").iterdir()
                     if file.name.endswith(".sql"))


@pytest.mark.anyio
@pytest.mark.parametrize("name", QUERY_FILES)
async def test_every_statement_fits_the_schema(name: str, module_database: str):
    """PostgreSQL can prepare each statement of each query file against the migrated schema: names, types and parameters agree."""
    connection = await connect(module_database, application_name="test")
    try:
        queries = load_queries(name)
        assert queries._fields
        for query in queries:
            try:
                await connection.prepare(query)
            except asyncpg.PostgresError as why:
                pytest.fail(f"{query.splitlines()[0]}: {why}")
    finally:
        await connection.close()


ARRAYS = (
    ("SELECT $1::bigint[] AS given", [1, None, -(2 ** 62)]), ("SELECT $1::timestamptz[] AS given", [datetime(2026, 1, 5, tzinfo=UTC), None]),
    ("SELECT $1::bytea[] AS given", [b"", b"\x00"]), ("SELECT $1::boolean[] AS given", [True, None]),
    ("SELECT $1::bigint[] AS given, $2::pair[] AS pairs", [7]),
)


@pytest.mark.anyio
async def test_what_an_array_is_is_asked_once_in_a_process(database: str, monkeypatch: pytest.MonkeyPatch):
    """By whichever connection first needs it; what only this database knows is asked by each.  All of them come back as they were given."""
    asked: list[set[int]] = []
    introspect = asyncpg.Connection._introspect_types

    async def asking(self: asyncpg.Connection, oids: list[int], timeout: float | None) -> Any:
        asked.append(set(oids))
        return await introspect(self, oids, timeout)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", asking)
    monkeypatch.setattr("ringfence.storage.database._OWN_TYPES", {})
    connections = [await connect(database, application_name="test") for _ in range(2)]
    await connections[0].execute("CREATE TYPE pair AS (number bigint, names text[])")
    said = []
    for connection in connections:
        for query, given in ARRAYS:
            pairs = [[(5, ["a", "b"])]] if "pair" in query else []
            row = await connection.fetchrow(query, given, *pairs)
            assert row["given"] == given
            assert not pairs or tuple(row["pairs"][0]) == pairs[0][0]
        said.append(len(asked))
        await connection.close()
    assert said == [len(ARRAYS), len(ARRAYS) + 1]
    assert min(asked[-1]) >= 16_384, "the second connection asked only for what the first one made"


@pytest.mark.anyio
@pytest.mark.new_database
async def test_a_claim_looks_its_tokens_up(database: str):
    """Whatever the planner thinks of the table of tokens: an intent's own is found by its key, and the others are not read."""
    connection = await connect(database, application_name="test")
    try:
        await connection.execute("""
            INSERT INTO tokens (merchant_id, token_name, card_id, expiry, holder, active, version, created_at)
            SELECT 1, 'token ' || number, number, '3012', '', true, 1, now() FROM generate_series(1, 3000) AS number""")
        await connection.execute("ANALYZE tokens")
        many = [(1, number) + (None,) * 23 for number in range(200)]
        plan = await connection.fetch("EXPLAIN " + load_queries("payments").claim, many, datetime.now(UTC), datetime.now(UTC))
        text = "\n".join(line for (line,) in plan)
        assert "tokens_pkey" in text
        assert "Seq Scan on tokens" not in text
    finally:
        await connection.close()


@pytest.mark.parametrize("name", QUERY_FILES)
def test_every_statement_is_described(name: str):
    """Each statement of each query file has a sentence of its own."""
    text = resources.files("ringfence.storage").joinpath("queries", f"{name}.sql").read_text("utf-8")
    queries = parse_queries(text)
    assert queries
    for query in queries.values():
        assert query.description[0].isupper()
        assert query.description.endswith((".", ":"))


def test_a_query_file_becomes_names_descriptions_and_statements():
    """A heading, a description over two lines, then SQL with its own comments; what stands before the first heading is prose."""
    text = "-- About this file.\n\n-- first_one --\n-- Say\n-- one.\nSELECT 1\n  -- really\n;\n\n-- second --\n-- Say two.\nSELECT 2;\n"
    queries = parse_queries(text)
    assert {name: tuple(query) for name, query in queries.items()} == {
        "first_one": ("Say one.", "SELECT 1\n  -- really\n;"),
        "second": ("Say two.", "SELECT 2;"),
    }


@pytest.mark.parametrize(("text", "message"), [
    ("-- twice --\n-- One.\nSELECT 1;\n-- twice --\n-- Two.\nSELECT 2;\n", "twice: given twice"),
    ("-- silent --\nSELECT 1;\n", "silent: needs a description"),
    ("-- idle --\n-- Nothing.\n", "idle: needs a description and a statement"),
])
def test_a_careless_query_file_is_refused(text: str, message: str):
    """Two statements of one name, and a statement without description or SQL, are mistakes of ours."""
    with pytest.raises(ValueError, match=message):
        parse_queries(text)


def test_loaded_statements_are_frozen_and_carry_their_name():
    """Statements are attributes that cannot be changed, and the server's views show where each comes from."""
    queries = load_queries("schema")
    assert queries.columns.startswith("-- schema.columns\nSELECT")
    with pytest.raises(AttributeError):
        queries.columns = "SELECT 1"


@pytest.mark.anyio
async def test_a_connection_says_who_it_is_and_speaks_utc(database: str):
    """The application's name shows in the server's views; instants come in UTC whatever the server's zone."""
    connection = await connect(database, application_name="lane 7")
    try:
        assert await connection.fetchrow("SELECT current_setting('application_name'), current_setting('timezone')") == ("lane 7", "UTC")
    finally:
        await connection.close()


@pytest.mark.anyio
async def test_commits_that_do_not_wait_for_the_disk_are_refused(database: str):
    """A database whose sessions start with synchronous_commit off is not used, by a lane or by the pool."""
    connection = await connect(database, application_name="test")
    try:
        await connection.execute(f"ALTER DATABASE {urlsplit(database).path[1:]} SET synchronous_commit = off")
    finally:
        await connection.close()
    with pytest.raises(DatabaseUnsuitable, match=r"synchronous_commit = off.*Set synchronous_commit = on"):
        await connect(database, application_name="test")
    async with pool(database, 2) as reading:
        with pytest.raises(DatabaseUnsuitable, match="synchronous_commit"):
            await reading.fetchval("SELECT 1")


class Reporting:
    """Stands for a server that reports these settings."""

    def __init__(self, **found: object) -> None:
        self._found = {"version": 150_000, "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"} | found

    def is_closed(self) -> bool:
        return False

    async def fetchrow(self, _: str) -> dict[str, object]:
        return self._found


@pytest.mark.anyio
@pytest.mark.parametrize(("found", "message"), [
    ({"version": 140_012}, "PostgreSQL 14; Ringfence needs 15"),
    ({"fsync": "off"}, "fsync = off"),
    ({"full_page_writes": "off"}, "full_page_writes = off"),
    ({"synchronous_commit": "local"}, "synchronous_commit = local"),
])
async def test_an_unsafe_server_is_refused(found: dict[str, object], message: str):
    """A server that is too old, or could lose or tear what it acknowledged, is refused with the setting's name."""
    with pytest.raises(DatabaseUnsuitable, match=message):
        await verify(Reporting(**found))


@pytest.mark.anyio
@pytest.mark.parametrize("found", [{}, {"version": 180_004, "synchronous_commit": "remote_apply"}])
async def test_a_safe_server_is_accepted(found: dict[str, object]):
    """The oldest version with the settings on, and the stricter remote_apply, are good."""
    await verify(Reporting(**found))


@pytest.mark.anyio
async def test_a_database_that_does_not_exist_is_refused(database: str):
    """The server's own words are passed on, and the password is not."""
    parts = urlsplit(database)
    with pytest.raises(DatabaseUnsuitable, match="nowhere") as refused:
        await connect(f"{parts.scheme}://{parts.netloc}/nowhere?{parts.query}", application_name="test")
    assert parts.password is None or parts.password not in str(refused.value)


@pytest.mark.anyio
async def test_a_server_that_is_not_there_is_unavailable():
    """No server behind the socket: one exception, whichever way the driver says it."""
    with pytest.raises(DatabaseUnavailable):
        await connect("postgresql://ringfence@/ringfence?host=/nonexistent", application_name="test")


@pytest.mark.anyio
async def test_a_lost_connection_is_unavailable(database: str):
    """A session ended by the server fails with one exception, during the loss and on every later use."""
    connection = await connect(database, application_name="test")
    other = await connect(database, application_name="test")
    try:
        await other.execute("SELECT pg_terminate_backend($1, 60000)", connection.get_server_pid())
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable), noticing_loss(connection):
                await connection.fetchval("SELECT 1")
    finally:
        await other.close()
        connection.terminate()


@pytest.mark.anyio
async def test_a_pools_connection_lost_in_a_transaction_is_unavailable(database: str):
    """A pool takes a broken connection back at once; the loss is still the same exception, and the pool connects anew."""
    other = await connect(database, application_name="test")
    try:
        async with pool(database, 1) as reading:
            with pytest.raises(DatabaseUnavailable):
                async with reading.acquire() as connection:
                    with noticing_loss(connection):
                        async with connection.transaction():
                            await other.execute("SELECT pg_terminate_backend($1, 60000)", connection.get_server_pid())
                            await connection.fetchval("SELECT 1")
            assert await reading.fetchval("SELECT 1") == 1
    finally:
        await other.close()


@pytest.mark.anyio
async def test_other_errors_are_not_a_loss(database: str):
    """A unique violation, a cancelled statement and a misuse of the driver pass as they are."""
    connection = await connect(database, application_name="test")
    try:
        await connection.execute("CREATE TEMPORARY TABLE once (n int PRIMARY KEY); INSERT INTO once VALUES (1)")
        with pytest.raises(asyncpg.UniqueViolationError), noticing_loss(connection):
            await connection.execute("INSERT INTO once VALUES (1)")
        with pytest.raises(asyncpg.QueryCanceledError), noticing_loss(connection):
            await connection.execute("SET LOCAL statement_timeout = 50; SELECT pg_sleep(60)")
        with pytest.raises(asyncpg.InterfaceError), noticing_loss(connection):
            await connection.fetchval("SELECT $1::int", 1, 2)
    finally:
        await connection.close()


@pytest.mark.anyio
async def test_a_lock_has_one_holder_until_its_session_ends(database: str):
    """A second session does not get the lock; it does after an unlock, and after the holder's session ended."""
    first, second, third = [await connect(database, application_name="test") for _ in range(3)]
    try:
        assert await try_lock(first, 7, 1)
        assert not await try_lock(second, 7, 1)
        assert await try_lock(second, 7, 2)
        assert await try_lock(second, 8, 1)
        await unlock(first, 7, 1)
        assert await try_lock(second, 7, 1)
        await third.execute("SELECT pg_terminate_backend($1, 60000)", second.get_server_pid())
        assert await try_lock(third, 7, 1)
    finally:
        await first.close()
        second.terminate()
        await third.close()
