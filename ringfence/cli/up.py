"""``ringfence up``."""
from __future__ import annotations

import os
import sys

import click

from ringfence.cli.options import configuration, data_option


@click.command(epilog="""\b
Examples:
  ringfence up                                         the sandbox on http://127.0.0.1:8080, data in ./data
  ringfence up --data /srv/ringfence --port 9000 --workers 4
  ringfence up --tls                                   https; callers trust DIR/tls/ca.pem
  ringfence up --workers 1 --frozen-at 2026-01-05T00:00:00Z --seed 7   the same ids and answers in every run on a new folder
  RINGFENCE_DATABASE_URL=postgresql://… ringfence up   with a PostgreSQL server elsewhere

\b
Prints "Ringfence is ready" once it serves, after writing DIR/sandbox.json.  SIGTERM finishes what is in flight, a second
one hurries; SIGHUP reads the certificate again.
Exit codes: 0 stopped · 3 configuration · 4 data folder · 5 port · 6 database · 7 master key""")
@data_option
@click.option("--host", metavar="HOST", help="Where to listen.  [default: $RINGFENCE_HOST, else 127.0.0.1]")
@click.option("--port", metavar="N", help="The port; 0 takes a free one.  [default: $RINGFENCE_PORT, else 8080]")
@click.option("--workers", metavar="N", help="Worker processes.  [default: $RINGFENCE_WORKERS, else 2]")
@click.option("--seed", metavar="N", help="Sandbox: what the simulator and the seeded credentials follow from.  [default: $RINGFENCE_SEED, else 1]")
@click.option("--frozen-at", metavar="INSTANT", help="Sandbox, with --workers 1: business time stands there from the first start.")
@click.option("--tls", is_flag=True, help="Serve https with a certificate made at first start.")
@click.option("--tls-cert", metavar="FILE", help="Serve https with this certificate chain (PEM).")
@click.option("--tls-key", metavar="FILE", help="Its private key (PEM).")
def up(data: str | None, host: str | None, port: str | None, workers: str | None, seed: str | None, frozen_at: str | None, tls: bool,
       tls_cert: str | None, tls_key: str | None) -> None:
    """Serve, in the foreground.

    Without configuration this is the sandbox: a private PostgreSQL, the issuer simulator, seeded merchants.  RINGFENCE_MODE=live
    refuses to start with anything that belongs to the sandbox, and lists every reason.
    """
    config = configuration(data, host=host, port=port, workers=workers, seed=seed, frozen_at=frozen_at, tls="on" if tls else None,
                           tls_cert=tls_cert, tls_key=tls_key)
    from ringfence import logs, supervisor
    from ringfence.config import strangers
    logs.configure(config.log_level)
    for name in strangers(os.environ):
        click.echo(f"ringfence: {name} is not a variable of this program; see ringfence doctor --variables", err=True)
    sys.exit(supervisor.up(config))
