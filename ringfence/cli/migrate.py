"""``ringfence migrate``."""
from __future__ import annotations

import asyncio

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_table
from ringfence.cli.service import database_of
from ringfence.failures import Exit, Failure


@click.command(epilog="""\b
Examples:
  ringfence migrate                  apply what is missing
  ringfence migrate --show           change nothing
  RINGFENCE_DATABASE_URL=postgresql://… ringfence migrate

\b
Exit codes: 0 the schema fits · 6 the database cannot be used, or belongs to a newer program""")
@click.option("--show", is_flag=True, help="Only say which migrations are applied.")
@data_option
@json_option
def migrate(show: bool, data: str | None, as_json: bool) -> None:
    """Bring the database to this program's schema.  `ringfence up` does the same when it starts."""
    with database_of(configuration(data)) as url:
        states, applied = asyncio.run(_run(url, show))
    if as_json:
        print_json({"applied_now": applied, "migrations": [state._asdict() for state in states]})
        return
    print_table(("number", "migration", "applied at"), [
        (f"{state.number:04}", state.name, f"{state.applied_at:%Y-%m-%d %H:%M:%S} UTC" if state.applied_at else "not yet") for state in states])


async def _run(url: str, show: bool) -> tuple[list, list[str]]:  # type: ignore[type-arg]
    from ringfence.storage import database
    from ringfence.storage.migrations import MigrationError, migrate, status
    try:
        connection = await database.connect(url, application_name="ringfence migrate")
        try:
            applied = [] if show else [f"{one.number:04}_{one.name}" for one in await migrate(connection)]
            return await status(connection), applied
        finally:
            await connection.close()
    except (MigrationError, database.DatabaseUnavailable, database.DatabaseUnsuitable) as error:
        raise Failure(Exit.DATABASE, str(error)) from error
