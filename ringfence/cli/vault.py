"""``ringfence vault``."""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json
from ringfence.cli.service import database_of
from ringfence.config import Config
from ringfence.failures import Exit, Failure


@click.group(epilog="""\b
Examples:
  ringfence vault rotate""")
def vault() -> None:
    """Change the vault's master key."""


@vault.command(epilog="""\b
Examples:
  ringfence vault rotate                                     the sandbox makes its next key itself
  RINGFENCE_MASTER_KEY_NEXT_FILE=/etc/ringfence/next ringfence vault rotate

\b
The running service must find the next key too, at the variable of the same name with NEXT in it.
Exit codes: 0 done · 6 database · 7 a key is missing or wrong · 9 cannot rotate now""")
@data_option
@json_option
def rotate(data: str | None, as_json: bool) -> None:
    """Bring the next master key into force while the service runs: re-wraps every record's key.

    Safe to run again at any point; an interrupted rotation goes on where it stopped.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    config = configuration(data)
    with database_of(config) as url, Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                                              console=Console(stderr=True), transient=as_json) as bars:
        tasks: dict[str, Any] = {}

        def show(progress: Any) -> None:
            if progress.step not in tasks:
                tasks[progress.step] = bars.add_task(progress.step, total=progress.total)
            bars.update(tasks[progress.step], completed=progress.done, total=progress.total)

        rotated = asyncio.run(_run(config, url, show))
    if as_json:
        print_json(rotated._asdict())
    else:
        click.echo(f"Master key {rotated.key_id} is in force: {rotated.cards} cards and {rotated.texts} texts re-wrapped"
                   f"{', going on where an earlier run stopped' if rotated.resumed else ''}.")


async def _run(config: Config, url: str, show: Callable[[Any], None]) -> Any:
    from ringfence.engine.key_sources import KeyUnreadable
    from ringfence.engine.keys import WrongMasterKey
    from ringfence.engine.rotation import RotationRefused, rotate
    from ringfence.engine.sealing import NotOpened
    from ringfence.opening import key_source
    from ringfence.storage import database
    try:
        async with database.pool(url, 2, application_name="ringfence vault rotate") as pool:
            return await rotate(pool, key_source(config), progress=show)
    except RotationRefused as error:
        raise Failure(Exit.REFUSED, str(error)) from error
    except (WrongMasterKey, KeyUnreadable) as error:
        raise Failure(Exit.MASTER_KEY, str(error)) from error
    except NotOpened as error:
        raise Failure(Exit.CHECK_FAILED, f"A record does not open: {error}") from error
    except (database.DatabaseUnavailable, database.DatabaseUnsuitable, OSError) as error:
        raise Failure(Exit.DATABASE, str(error)) from error
