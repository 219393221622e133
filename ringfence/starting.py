"""What must be true before a service starts: the schema, the keys, the sandbox's merchants, and all that live mode insists on.

Runs once, in a process of its own, before the workers.  Every obstacle becomes one sentence and an exit code.
"""
from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ringfence import wallets
from ringfence.api.admin import access_key_json, credential_json, ppro_json
from ringfence.config import Config, base_url
from ringfence.engine import links
from ringfence.engine.clock import Clock, ClockError, is_moved
from ringfence.engine.directory import Credential, Directory, Merchant
from ringfence.engine.key_sources import live_reasons as master_key_reasons
from ringfence.engine.seeding import STORE, sandbox_names, seed_sandbox, seed_trips
from ringfence.failures import Exit, Failure
from ringfence.opening import admin_token, clock_of, open_keyring
from ringfence.processors.simulator import test_cards
from ringfence.storage import database, merchants
from ringfence.storage import links as messages
from ringfence.storage.migrations import MigrationError, migrate

SANDBOX_FILE = "sandbox.json"

log = logging.getLogger(__name__)


def live_reasons(config: Config) -> list[str]:
    """Every reason outside of the database why live mode must not start."""
    reasons = master_key_reasons(os.environ, config.data, config.data / "postgres")
    if not config.admin_token:
        reasons.append("RINGFENCE_ADMIN_TOKEN is not set: the admin API needs a token of your own.")
    if config.processor == "simulator":
        reasons.append("No processor is configured: the issuer simulator moves no money.")
    if is_moved(config.data / "clock"):
        reasons.append(f"The clock in {config.data / 'clock'} was moved: this data folder belongs to a sandbox.")
    return reasons + wallets.reasons(config)


def prepare(config: Config, database_url: str, reasons: list[str], say: int) -> int:
    """Make everything ready, and write to the pipe ``say`` what the supervisor needs: the merchants, or a failure.  The exit code."""
    try:
        answer: dict[str, Any] = {"merchants": asyncio.run(_prepare(config, database_url, reasons))}
    except Failure as failure:
        answer = {"code": int(failure.code), "sentence": failure.sentence}
    except Exception:
        log.exception("the preparation broke")
        return Exit.CHECK_FAILED
    with os.fdopen(say, "wb") as pipe:
        pipe.write(json.dumps(answer).encode())
    return Exit.OK


async def _prepare(config: Config, database_url: str, reasons: list[str]) -> list[dict[str, object]]:
    if config.is_live:
        if database_url:
            reasons = reasons + await _sandbox_traces(database_url) + await unsendable(config, database_url)
        if reasons:
            raise Failure(Exit.CONFIGURATION, "Live mode refuses to start:\n" + "\n".join(f"  - {reason}" for reason in reasons))
    elif wrong := wallets.reasons(config):
        raise Failure(Exit.CONFIGURATION, "The sandbox cannot start:\n" + "\n".join(f"  - {reason}" for reason in wrong))
    if config.frozen_at is not None:
        _stand(config, config.frozen_at)
    try:
        connection = await database.connect(database_url, application_name="ringfence migrations")
        try:
            for migration in await migrate(connection):
                log.info("applied migration %04d_%s", migration.number, migration.name)
        finally:
            await connection.close()
        async with database.pool(database_url, 1, application_name="ringfence start") as pool:
            keyring = await open_keyring(config, pool)
            directory = Directory(pool, keyring, clock_of(config).now)
            await directory.load()
            seeded = directory.merchants() if config.is_live else await seed_sandbox(directory, config.seed)
            if not config.is_live:
                await seed_trips(pool, seeded, clock_of(config).now())
            return [merchant_json(one, config.jwo_regions) for one in seeded if one.credentials] if not config.is_live else []
    except (MigrationError, database.DatabaseUnsuitable, database.DatabaseUnavailable) as error:
        raise Failure(Exit.DATABASE, _sentence(error)) from error


def _stand(config: Config, instant: datetime) -> None:
    """Make the clock of a new data folder stand; one that began there before stands where it was advanced to."""
    clock = clock_of(config)
    assert isinstance(clock, Clock), "live mode was refused"
    try:
        clock.begin_at(instant)
    except ClockError as refused:
        raise Failure(Exit.CONFIGURATION, f"RINGFENCE_FROZEN_AT cannot be {instant.isoformat()}: {refused}.") from refused
    finally:
        clock.close()


async def _sandbox_traces(database_url: str) -> list[str]:
    """What a sandbox left in the database, as reasons."""
    try:
        connection = await database.connect(database_url, application_name="ringfence start")
    except (database.DatabaseUnsuitable, database.DatabaseUnavailable) as error:
        return [_sentence(error)]
    try:
        if await connection.fetchval("SELECT to_regclass('credentials')") is None:
            return []
        stored = await merchants.everything(connection)
    finally:
        await connection.close()
    found = sandbox_names(stored.merchants, stored.credentials)
    return [f"The database holds sandbox credentials, public to everybody: {', '.join(found)}."] if found else []


async def unsendable(config: Config, database_url: str) -> list[str]:
    """What waits to be sent to payers and has no way to leave, as reasons; an installation that sends nothing needs no mail server."""
    ways = {links.EMAIL: (config.smtp_host, "letters to payers wait and RINGFENCE_SMTP_HOST is not set"),
            links.SMS: (config.sms_url, "SMS to payers wait and RINGFENCE_SMS_URL is not set")}
    try:
        connection = await database.connect(database_url, application_name="ringfence start")
    except (database.DatabaseUnsuitable, database.DatabaseUnavailable):
        return []                       # said already
    try:
        if await connection.fetchval("SELECT to_regclass('messages')") is None:
            return []
        return [_sentence(ValueError(f"{said}; cancel their links or say how they leave"))
                for medium, (way, said) in ways.items() if not way and await messages.is_waiting(connection, medium)]
    finally:
        await connection.close()


def _sentence(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def merchant_json(merchant: Merchant, regions: Sequence[str]) -> dict[str, object]:
    """One merchant of ``sandbox.json``; the first credential set of each door.  ``regions``: what may be signed for."""
    first: dict[str, Credential] = {}
    for one in merchant.credentials:
        first.setdefault(one.door, one)
    written: dict[str, Callable[[Credential], dict[str, Any]]] = {
        "aps": credential_json, "ppro": ppro_json, "jwo": lambda one: _access_key(one, regions)}
    return {"identifier": merchant.identifier, "name": merchant.name} | {door: written[door](one) for door, one in first.items()}


def _access_key(one: Credential, regions: Sequence[str]) -> dict[str, Any]:
    """A key of the door of stores with what its clients are configured with: a region, and the store to begin with where it is for all."""
    shown, allowed = access_key_json(one, phrases=True), sorted(one.allowed.regions)
    return {name: shown[name] for name in ("access_key_id", "secret_access_key", "connector_secret")} | {
        "region": next((name for name in regions if name in allowed), (*allowed, *regions)[0]), "stores": shown["stores"] or [STORE]}


def make_admin_token(config: Config) -> str:
    """The token of this installation: the configured one, else the sandbox's, made at its first start."""
    path = config.data / "admin.token"
    if not config.admin_token and not path.exists():
        write_privately(path, secrets.token_urlsafe(32) + "\n")
    return admin_token(config)


def write_sandbox_file(config: Config, port: int, seeded: list[dict[str, object]]) -> None:
    """``sandbox.json``: all that a client of this sandbox needs, for its owner's eyes."""
    content: dict[str, object] = {
        "base_url": base_url(config, port), "admin": make_admin_token(config), "pid": os.getpid(), "merchants": seeded, "test_cards": test_cards(),
    }
    if config.tls and config.tls_cert is None:
        content["ca"] = str(config.data / "tls" / "ca.pem")
    write_privately(config.data / SANDBOX_FILE, json.dumps(content, indent=2) + "\n")


def write_privately(path: Path, text: str) -> None:
    """Whole or not at all, mode 0600."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(beside, path)
