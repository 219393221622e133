"""Migrations: what is applied, once, in order; and what is refused."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from ringfence.storage import batches
from ringfence.storage.database import DatabaseUnavailable, connect
from ringfence.storage.migrations import Migration, MigrationError, known, migrate, status

FILES = {
    "0001_things.sql": "CREATE TABLE things (n int PRIMARY KEY);\nINSERT INTO things VALUES (1);\n",
    "0002_more.sql": "ALTER TABLE things ADD COLUMN name text NOT NULL DEFAULT 'thing';\nCREATE INDEX things_name ON things (name);\n",
    "0003_most.sql": "CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS $$ SELECT n * 2; $$;\nCOMMENT ON TABLE things IS 'a;b';\n",
}


def written(folder: Path, files: dict[str, str]) -> tuple[Migration, ...]:
    for name, text in files.items():
        (folder / name).write_text(text)
    return known(folder)


@pytest.fixture
async def connection(empty_database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(empty_database, application_name="test")
    yield connection
    await connection.close()


@pytest.mark.anyio
async def test_files_are_applied_in_order_and_once(connection: asyncpg.Connection, tmp_path: Path):
    """An empty database gets every file, a second run nothing, and a longer program only what is new."""
    two = written(tmp_path, dict(list(FILES.items())[:2]))
    assert [state.applied_at for state in await status(connection, two)] == [None, None]
    assert [m.name for m in await migrate(connection, two)] == ["things", "more"]
    assert await migrate(connection, two) == []
    three = written(tmp_path, FILES)
    assert [state.applied_at is None for state in await status(connection, three)] == [False, False, True]
    assert [m.number for m in await migrate(connection, three)] == [3]
    assert await connection.fetchval("SELECT twice(n) FROM things WHERE name = 'thing'") == 2


@pytest.mark.anyio
async def test_a_file_that_fails_leaves_nothing_of_itself(connection: asyncpg.Connection, tmp_path: Path):
    """The files before it stay, its own first half does not; once mended, it is applied."""
    broken = written(tmp_path, FILES | {"0002_more.sql": "CREATE TABLE half (n int);\nSELECT 1 / 0;\n"})
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, broken)
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    assert [state.applied_at is None for state in await status(connection, broken)] == [False, True, True]
    assert [m.number for m in await migrate(connection, written(tmp_path, FILES))] == [2, 3]


@pytest.mark.anyio
async def test_what_rows_of_files_were_is_taken_along(connection: asyncpg.Connection):
    """Many rows of one table become one row each for what belongs together, and are told of as before."""
    files = known()
    place = next(place for place, one in enumerate(files) if "CREATE TABLE batch_taken" in one.sql)
    await migrate(connection, files[:place])
    rows = [(line, 7 * line, 7 * line + line % 2, None, "400555******0001", "3005") if line % 3 else (line, None, None, "13044", "", "")
            for line in range(2, 2_500)]
    await connection.executemany("INSERT INTO batch_results VALUES (1, 5, $1, $2, $3, $4, $5, $6)", rows)
    await connection.executemany("INSERT INTO batch_rows VALUES (1, 5, $1, 'refund', 'a', NULL, 9, 'AED', '')", [(row[0],) for row in rows])
    await migrate(connection, files)
    told = [one for first in range(2, 2_502, 500) for one in await batches.results(connection, 1, 5, first, first + 499)]
    assert [(one.line, *one[6:11]) for one in told] == rows


@pytest.mark.anyio
async def test_nodes_that_start_together_take_turns(empty_database: str, tmp_path: Path):
    """Of four nodes one applies each file; the others find it done."""
    files = written(tmp_path, FILES)
    nodes = [await connect(empty_database, application_name=f"node {n}") for n in range(4)]
    try:
        applied = await asyncio.gather(*(migrate(node, files) for node in nodes))
        assert sorted(m.number for one in applied for m in one) == [1, 2, 3]
        assert await nodes[0].fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    finally:
        for node in nodes:
            await node.close()


@pytest.mark.anyio
async def test_a_newer_database_is_refused(connection: asyncpg.Connection, tmp_path: Path):
    """The message names both numbers and what to do; nothing is changed."""
    files = written(tmp_path, FILES)
    await migrate(connection, files)
    for call in (migrate, status):
        with pytest.raises(MigrationError, match=r"has schema 3, and this program knows schemas up to 1.*newer program"):
            await call(connection, files[:1])
    assert await migrate(connection, files) == []


@pytest.mark.anyio
async def test_a_changed_file_is_refused(connection: asyncpg.Connection, tmp_path: Path):
    """A file that was applied may not change, not even in a comment; new files behind it are not applied either."""
    await migrate(connection, written(tmp_path, FILES)[:2])
    changed = written(tmp_path, {"0002_more.sql": FILES["0002_more.sql"] + "-- harmless\n"})
    with pytest.raises(MigrationError, match="0002_more was applied with other contents"):
        await migrate(connection, changed)
    assert await connection.fetchval("SELECT count(*) FROM schema_migrations") == 2


@pytest.mark.anyio
async def test_a_hole_in_the_database_is_refused(connection: asyncpg.Connection, tmp_path: Path):
    """A row removed from the record of migrations is noticed."""
    files = written(tmp_path, FILES)
    await migrate(connection, files)
    await connection.execute("DELETE FROM schema_migrations WHERE number = 2")
    with pytest.raises(MigrationError, match="lacks migration 2 but has 3"):
        await migrate(connection, files)


@pytest.mark.parametrize(("name", "message"), [
    ("0005_far.sql", "jump to 0005_far where number 4 should be"),
    ("0003_again.sql", "where number 4 should be"),
    ("4_short.sql", "not named like 0001"),
    ("0004-dash.sql", "not named like 0001"),
])
def test_files_that_do_not_count_up_are_refused(tmp_path: Path, name: str, message: str):
    """Numbers run from 1 without gap or repetition, and names follow one form."""
    with pytest.raises(MigrationError, match=message):
        written(tmp_path, FILES | {name: "SELECT 1;"})


@pytest.mark.anyio
async def test_a_role_that_may_only_read_can_start_on_a_migrated_database(empty_database: str, connection: asyncpg.Connection, tmp_path: Path):
    """Where nothing is to do, nothing is created: a role without rights on the schema passes."""
    files = written(tmp_path, FILES)
    await migrate(connection, files)
    role = f"reader_{connection.get_server_pid()}"
    await connection.execute(f"CREATE ROLE {role}; GRANT SELECT ON schema_migrations TO {role}; SET ROLE {role}")
    try:
        assert await migrate(connection, files) == []
    finally:
        await connection.execute(f"RESET ROLE; REVOKE ALL ON schema_migrations FROM {role}; DROP ROLE {role}")


@pytest.mark.anyio
async def test_losing_the_server_while_migrating_is_one_exception(empty_database: str, connection: asyncpg.Connection, tmp_path: Path):
    """A session ended by the server in the middle of a file raises DatabaseUnavailable, and the file is undone."""
    files = written(tmp_path, {"0001_fatal.sql": "CREATE TABLE fatal (n int); SELECT pg_terminate_backend(pg_backend_pid());"})
    with pytest.raises(DatabaseUnavailable):
        await migrate(connection, files)
    other = await connect(empty_database, application_name="test")
    try:
        assert await other.fetchval("SELECT to_regclass('fatal')") is None
    finally:
        await other.close()


def test_the_programs_own_migrations_count_up():
    """The shipped files are numbered from 1 without a gap, and each begins by saying what it is about."""
    files = known()
    assert [m.number for m in files] == list(range(1, len(files) + 1))
    assert files
    assert all(m.sql.startswith("-- ") for m in files)


@pytest.mark.anyio
async def test_what_an_older_database_left_undone_becomes_work(connection: asyncpg.Connection):
    """Schema 2 with doubts and owed reversals: each gets its job, once; and nobody is told of what happened before."""
    files = known()
    await migrate(connection, files[:2])
    outcome = "INSERT INTO outcomes VALUES ($1, $2, $3, $4, $5, 0, '', '', '', '', '', '', '', now(), 1)"
    for row in (
        (1, 10, 10, 1, "unknown"),                                  # in doubt
        (1, 20, 20, 1, "unknown"), (1, 20, 20, 2, "unknown"),       # in doubt, asked twice: one job
        (1, 30, 30, 1, "unknown"), (1, 30, 30, 2, "approved"),      # ended
        (2, 40, 40, 1, "approved"), (2, 40, 41, 1, "challenge"),    # never in doubt
    ):
        await connection.execute(outcome, *row)
    for payment, attempt, acknowledged in ((10, 1, None), (40, 1, None), (40, 2, None), (30, 1, "now")):
        await connection.execute(
            "INSERT INTO reversals VALUES ($1, $2, $2, $3, 'superseded', now(), CASE WHEN $4::text IS NULL THEN NULL ELSE now() END)",
            2 if payment == 40 else 1, payment, attempt, acknowledged)
    for lane, number in ((0, 1), (0, 2), (7, 1)):
        await connection.execute("INSERT INTO batches VALUES ($1, $2, $3, now(), 1, '')", lane, number, lane * 100 + number)
    await connection.execute("INSERT INTO sweeps VALUES ('abandoned', now())")

    assert [m.name for m in await migrate(connection, files[:3])] == ["nothing_is_lost"]
    jobs = await connection.fetch(
        "SELECT merchant_id, queue, subject, payment_id, due_at <= now() AND leased_until < now(), deadline_at > now() FROM jobs ORDER BY 1, 3")
    assert [tuple(job) for job in jobs] == [
        (1, "recovery", 10, 10, True, True), (1, "recovery", 20, 20, True, True), (2, "reversal", 40, 40, True, None)]
    assert [tuple(row) for row in await connection.fetch("SELECT lane, number FROM follows ORDER BY 1")] == [(0, 2), (7, 1)]
    assert await connection.fetchval("SELECT leased_until FROM sweeps WHERE reached = 0 AND holder = '' AND leased_until < now()") is not None
