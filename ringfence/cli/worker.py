"""``ringfence worker``."""
from __future__ import annotations

import os
import sys

import click

from ringfence.cli.options import configuration, data_option
from ringfence.failures import Exit, Failure


@click.command(epilog="""\b
Examples:
  ringfence worker --data /srv/ringfence               beside the service on that folder, with its database
  ringfence worker --number 2                          a second one on the same folder
  RINGFENCE_BACKGROUND=off ringfence up                a service that leaves this work to workers

\b
Prints "Ringfence worker is ready" once it works.  SIGTERM finishes what is in hand.  It takes no lock of the data folder and
listens nowhere; where its database goes away it waits.
Exit codes: 0 stopped · 2 usage · 3 configuration · 4 data folder · 6 database · 7 master key""")
@data_option
@click.option("--number", type=click.IntRange(1, 64), default=1, show_default=True, help="Tells several workers on one data folder apart.")
def worker(data: str | None, number: int) -> None:
    """Do what is due later, beside the service: recovery, reversals, expiry, webhooks, reports, retention.

    Every process of a service does that by itself too; a worker adds hands, or takes it over where RINGFENCE_BACKGROUND=off.
    """
    config = configuration(data)
    if not config.is_live and not config.data.is_dir():
        raise Failure(Exit.DATA_FOLDER, f"There is no data folder {config.data}: a worker needs the keys, the clock and the simulator of the "
                                        "service's.")
    from ringfence import logs
    from ringfence import worker as process
    from ringfence.config import strangers
    logs.configure(config.log_level)
    for name in strangers(os.environ):
        click.echo(f"ringfence: {name} is not a variable of this program; see ringfence doctor --variables", err=True)
    sys.exit(process.serve_jobs(config, number - 1))
