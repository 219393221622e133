"""The neighbour: pgbench, on the same PostgreSQL server, in a database of its own.

The yardstick is pgbench's own TPC-B: what a plain program gets out of this machine and disk in the same minutes.
"""
from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg

from ringfence.bench.measuring import CannotMeasure

DATABASE = "ringfence_pgbench"
CLIENTS, THREADS = 32, 2
TABLES = ("pgbench_branches", "pgbench_tellers", "pgbench_accounts", "pgbench_history")


class NeighbourFailed(CannotMeasure):
    """pgbench could not be run; the message is a sentence."""


class Neighbour:
    """pgbench beside one server.  Use as a context manager: makes its database, and drops it at the end."""

    def __init__(self, dsn: str, beside: Path, scale: int = 50) -> None:
        """*dsn* names the server; *beside* is the folder with the server's programs; *scale* is TPC-B's, 100,000 accounts each."""
        self._dsn, self._scale = dsn, scale
        self._program = program(beside)

    def __enter__(self) -> Neighbour:
        self._execute(f"DROP DATABASE IF EXISTS {DATABASE}", f"CREATE DATABASE {DATABASE}")
        self._pgbench("--initialize", "--init-steps=dtgvp", f"--scale={self._scale}", "--quiet")
        return self

    def __exit__(self, *_: object) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")

    def run(self, seconds: float) -> float:
        """Transactions a second over *seconds* (whole ones), after a vacuum and a checkpoint."""
        self._execute("TRUNCATE pgbench_history", f"VACUUM ANALYZE {', '.join(TABLES)}", "CHECKPOINT", database=DATABASE)
        return rate(self._pgbench("--no-vacuum", "--builtin=tpcb-like", "--protocol=prepared", f"--client={CLIENTS}", f"--jobs={THREADS}",
                                  f"--time={max(round(seconds), 1)}"))

    def _pgbench(self, *options: str) -> str:
        address, password = without_password(self._dsn, DATABASE)
        done = subprocess.run([self._program, *options, address], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              env={**os.environ, "PGPASSWORD": password})
        if done.returncode:
            raise NeighbourFailed(f"pgbench failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    def _execute(self, *statements: str, database: str | None = None) -> None:
        asyncio.run(execute(self._dsn, statements, database))


async def execute(dsn: str, statements: tuple[str, ...], database: str | None = None) -> None:
    """Runs statements one by one, outside a transaction."""
    connection = await asyncpg.connect(dsn, **({"database": database} if database else {}))
    try:
        for statement in statements:
            await connection.execute(statement, timeout=None)
    finally:
        await connection.close()


def program(beside: Path) -> Path:
    """pgbench beside the server's programs, else on PATH; raises ``NeighbourFailed`` where there is none."""
    if os.access(beside / "pgbench", os.X_OK):
        return beside / "pgbench"
    found = shutil.which("pgbench")
    if found is None:
        raise NeighbourFailed(f"No pgbench beside the server in {beside}, and none on PATH. It comes with PostgreSQL (Debian: postgresql).")
    return Path(found)


def without_password(dsn: str, database: str) -> tuple[str, str]:
    """The address of *database* on the same server as *dsn*, fit for a command line, and the password by itself."""
    parts = urlsplit(dsn)
    person, at, host = parts.netloc.rpartition("@")
    name, _, password = person.partition(":")
    return urlunsplit((parts.scheme, f"{name}{at}{host}", f"/{database}", parts.query, "")), unquote(password)


def rate(printed: str) -> float:
    """Transactions a second as pgbench prints them; raises ``NeighbourFailed`` where it printed none or some failed."""
    found = re.search(r"^tps = ([0-9.]+) \(without initial connection time\)", printed, re.MULTILINE)
    failed = re.search(r"^number of failed transactions: (\d+)", printed, re.MULTILINE)
    if found is None or (failed and failed[1] != "0"):
        raise NeighbourFailed(f"pgbench printed no rate, or had failures:\n{printed[-500:]}")
    return float(found[1])
