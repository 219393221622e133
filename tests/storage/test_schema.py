"""The schema that the migrations add up to is the committed one."""
from __future__ import annotations

import pytest

from ringfence.storage.database import connect
from ringfence.storage.schema import committed, describe


@pytest.mark.anyio
async def test_the_migrations_add_up_to_the_committed_schema(database: str):
    """The catalog of a migrated database reads like schema.txt; after a new migration, `make schema` rewrites that file."""
    connection = await connect(database, application_name="test")
    try:
        assert await describe(connection) == committed()
    finally:
        await connection.close()


@pytest.mark.anyio
@pytest.mark.parametrize(("change", "line"), [
    ("ALTER TABLE merchants ADD COLUMN surprise bigint NOT NULL DEFAULT 7", "    column surprise bigint not null default 7\n"),
    ("CREATE UNIQUE INDEX merchants_name ON merchants (name)", "    index CREATE UNIQUE INDEX merchants_name ON merchants USING btree (name)\n"),
    ("ALTER TABLE merchants ADD CONSTRAINT named CHECK (name <> '')", "    constraint named CHECK ((name <> ''::text))\n"),
    ("CREATE SEQUENCE surprises", "surprises\n    sequence\n"),
])
async def test_a_change_of_the_schema_shows(database: str, change: str, line: str):
    """A new column, index, constraint or sequence adds its line."""
    connection = await connect(database, application_name="test")
    try:
        before = await describe(connection)
        await connection.execute(change)
        after = await describe(connection)
        assert line not in before
        assert line in after
    finally:
        await connection.close()
