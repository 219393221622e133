"""``ringfence doctor``: checks this machine and this installation, and says what to do about what is wrong."""
from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_table
from ringfence.cli.service import database_of, running
from ringfence.config import VARIABLES, Config
from ringfence.failures import Exit, Failure

SLOW_DISK_MS = 30.0
LITTLE_SPACE = 2 * 2**30
SYNCS = 100


class Finding(NamedTuple):
    """One check: what was looked at, whether it is well, and what was found or is to be done."""

    check: str
    ok: bool
    found: str


@click.command(epilog="""\b
Examples:
  ringfence doctor
  ringfence doctor --data /srv/ringfence --json
  ringfence doctor --variables        every environment variable

\b
Exit codes: 0 all well · 1 something is not""")
@click.option("--variables", is_flag=True, help="List every environment variable and leave.")
@data_option
@json_option
def doctor(variables: bool, data: str | None, as_json: bool) -> None:
    """Check this machine and this installation."""
    if variables:
        _show_variables(as_json)
        return
    config = configuration(data)
    findings = [finding for check in (_python, _folder, _disk, _port, _clock, _live, _amazon_pay, _database) for finding in _careful(check, config)]
    if as_json:
        print_json({"ok": all(one.ok for one in findings), "checks": [one._asdict() for one in findings]})
    else:
        print_table(("", "check", "found"), [("ok" if one.ok else "NO", one.check, one.found) for one in findings])
    sys.exit(Exit.OK if all(one.ok for one in findings) else Exit.CHECK_FAILED)


def _careful(check: Callable[[Config], Iterator[Finding]], config: Config) -> list[Finding]:
    try:
        return list(check(config))
    except Failure as failure:
        return [Finding(check.__name__.strip("_"), False, failure.sentence)]


def _python(config: Config) -> Iterator[Finding]:
    yield Finding("python", sys.version_info >= (3, 11), platform.python_version())
    from ringfence.storage.postgres import PostgresError, find_binaries
    if config.database_url:
        return
    try:
        yield Finding("PostgreSQL programs", True, str(find_binaries()))
    except PostgresError as error:
        yield Finding("PostgreSQL programs", False, str(error))


def _folder(config: Config) -> Iterator[Finding]:
    folder = config.data if config.data.exists() else config.data.parent
    writable = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    yield Finding("data folder", writable, f"{config.data}" if writable else f"{folder} cannot be written; choose another with --data")
    if writable:
        free = shutil.disk_usage(folder).free
        yield Finding("free space", free >= LITTLE_SPACE, f"{free / 2**30:.1f} GiB")


def _disk(config: Config) -> Iterator[Finding]:
    """How long 8 kB take to be on the disk: two such waits are the floor of every payment."""
    folder = config.data if config.data.exists() else config.data.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            file.write(bytes(8_192))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1e3)
    times.sort()
    yield Finding("disk", times[-2] <= SLOW_DISK_MS, f"fdatasync of 8 kB: p50 {times[SYNCS // 2]:.2f} ms, p99 {times[-2]:.2f} ms")


def _port(config: Config) -> Iterator[Finding]:
    if service := running(config):
        status, answer = service.call("GET", "/readyz")
        yield Finding("service", status == 200, f"{service.base_url}: {answer['status']}")
        return
    try:
        with socket.create_server((config.host, config.port)):
            yield Finding("port", True, f"{config.host}:{config.port} is free")
    except OSError as error:
        yield Finding("port", False, f"{config.host}:{config.port}: {error.strerror}; choose another with --port")


def _clock(config: Config) -> Iterator[Finding]:
    from ringfence.engine.clock import is_moved
    if (config.data / "clock").exists():
        moved = is_moved(config.data / "clock")
        yield Finding("clock", not (moved and config.is_live), "moved: this is a sandbox" if moved else "shows wall time")


def _live(config: Config) -> Iterator[Finding]:
    if config.is_live:
        from ringfence.starting import live_reasons
        reasons = live_reasons(config)
        yield Finding("live mode", not reasons, "  ".join(reasons) or "nothing of a sandbox was found")


def _amazon_pay(config: Config) -> Iterator[Finding]:
    """Where it is asked, and for whom; never with which key."""
    if config.amazon_pay_file is None:
        yield Finding("Amazon Pay", True, "not configured: no merchant has an account" if config.is_live else "the sandbox's own simulated site")
        return
    from ringfence.wallets import read_accounts
    read = read_accounts(config.amazon_pay_file, is_live=config.is_live)
    if isinstance(read, list):
        yield Finding("Amazon Pay", False, "  ".join(read))
        return
    said = (f"{merchant} at {one.origin.netloc} ({one.region}, {one.environment})" for merchant, one in sorted(read.items()))
    yield Finding("Amazon Pay", True, ", ".join(said) or f"{config.amazon_pay_file} names no account")


def _database(config: Config) -> Iterator[Finding]:
    if not config.database_url and not (config.data / "postgres").exists():
        yield Finding("database", True, "none yet: the first start makes a private one")
        return
    with database_of(config) as url:
        yield from asyncio.run(_look_into(config, url))


async def _look_into(config: Config, url: str) -> list[Finding]:
    from ringfence.engine import set_aside
    from ringfence.opening import open_keyring
    from ringfence.storage import database
    from ringfence.storage.migrations import MigrationError, status
    try:
        async with database.pool(url, 1, application_name="ringfence doctor") as pool:
            async with pool.acquire() as connection:
                version = await connection.fetchval("SHOW server_version")
                found = f"PostgreSQL {version.split()[0]}; fsync, full_page_writes and synchronous_commit are on"
                findings = [Finding("database", True, found)]
                missing = [state.name for state in await status(connection) if state.applied_at is None]
            said = f"missing: {', '.join(missing)}; run: ringfence migrate" if missing else "as this program needs it"
            findings.append(Finding("schema", not missing, said))
            if not missing:
                aside = await set_aside.listed(pool, None)
                said = f"{len(aside)} failed too often and were set aside: ringfence jobs list" if aside else "none was set aside"
                findings.append(Finding("jobs", not aside, said))
                ring = await open_keyring(config, pool)
                findings.append(Finding("master key", True, f"number {ring.current.number} opens this vault"))
            return findings
    except (MigrationError, database.DatabaseUnavailable, database.DatabaseUnsuitable, OSError) as error:
        return [Finding("database", False, str(error))]
    except Failure as failure:
        return [*findings, Finding("master key", failure.code is not Exit.MASTER_KEY, failure.sentence)]


def _show_variables(as_json: bool) -> None:
    rows = [(one.name, "" if one.default in (None, "") else str(one.default), one.allowed, one.meaning) for one in VARIABLES]
    if as_json:
        print_json([dict(zip(("name", "default", "allowed", "meaning"), row, strict=True)) for row in rows])
    else:
        print_table(("variable", "default", "allowed", "meaning"), rows, folds=("allowed", "meaning"))
