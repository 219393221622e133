"""The schema as text: what the migrations add up to, for people to read and for a test to compare.

Decides how the catalog is written down.  ``python -m ringfence.storage.schema`` (``make schema``) applies the migrations to an
empty private database and rewrites ``schema.txt``.
"""
from __future__ import annotations

import asyncio
import tempfile
from importlib import resources
from itertools import groupby
from pathlib import Path

import asyncpg

from ringfence.storage.database import connect, load_queries
from ringfence.storage.migrations import migrate
from ringfence.storage.postgres import PrivatePostgres

SQL = load_queries("schema")


async def describe(connection: asyncpg.Connection) -> str:
    """Tables with columns, constraints and indexes, sorted by table; the same text on every supported PostgreSQL."""
    rows = [(row["table_name"], row["line"]) for query in SQL for row in await connection.fetch(query)]
    rows.sort(key=lambda row: row[0])                   # stable: within a table the order of the queries stands
    return "\n".join(f"{table}\n" + "".join(f"    {line}\n" for _, line in lines) for table, lines in groupby(rows, lambda row: row[0]))


def committed() -> str:
    """The text of ``schema.txt``: what the migrations should add up to."""
    return resources.files("ringfence.storage").joinpath("schema.txt").read_text("utf-8")


async def _migrated(address: str) -> str:
    connection = await connect(address, application_name="ringfence schema")
    try:
        await migrate(connection)
        return await describe(connection)
    finally:
        await connection.close()


def main() -> None:
    """Rewrites ``schema.txt`` beside this file."""
    with tempfile.TemporaryDirectory(prefix="ringfence-schema-") as folder:
        server = PrivatePostgres(Path(folder), log=Path(folder, "postgres.log"))
        try:
            text = asyncio.run(_migrated(server.start()))
        finally:
            server.stop()
    target = Path(__file__).with_name("schema.txt")
    target.write_text(text, "utf-8")
    print(f"{target}: {text.count(chr(10))} lines")


if __name__ == "__main__":
    main()
