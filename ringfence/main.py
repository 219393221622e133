"""The composition of one worker process, top to bottom: what it is made of, and in which order it starts and stops.

Everything is built by hand here and handed down as values and plain functions; there are no globals to look for.
"""
from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import asyncpg
from starlette.routing import Route

from ringfence.api import openapi
from ringfence.api.admin import Services, admin_routes
from ringfence.api.aps.app import PaymentApi
from ringfence.api.aps.door import Service as ApsService
from ringfence.api.http import App, Door, root, service_routes
from ringfence.background import abandoned, expiry, reversals
from ringfence.background.dropped import DroppedHolds
from ringfence.background.worker import Background, Sweep
from ringfence.config import Config
from ringfence.core.business_day import business_day
from ringfence.core.card import Pan
from ringfence.engine import keys
from ringfence.engine.clock import Clock, WallClock
from ringfence.engine.counting import CountedIntents, CountedOutcomes
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.engine.intent_lane import IntentLane
from ringfence.engine.key_sources import KeySource, KeyUnreadable
from ringfence.engine.lane import Lane, NotCommitted
from ringfence.engine.metrics import Counters, Metrics
from ringfence.engine.numbering import RENEW_SECONDS, NoNumberFree, Numbering
from ringfence.engine.outcome_lane import OutcomeLane
from ringfence.engine.proof import Totals, prove
from ringfence.engine.reading import Reading
from ringfence.engine.story import explain
from ringfence.engine.vault import Vault
from ringfence.failures import Exit, Failure
from ringfence.processors.processor import Processor
from ringfence.processors.simulator import Simulator, is_test_number, totals
from ringfence.simulator_desk import desk
from ringfence.storage import database

OUTCOME_LANES, INTENT_LANES = range(1_024), range(1_024, 2_048)
"""The numbers that lanes may hold; those of outcomes name chains, and stay few."""
DIRECTORY_SECONDS = 0.5
"""How long another process may take to see a change of merchants, credentials and settings."""
EVERYWHERE_SECONDS = 2.0
"""How long an answer about a changed merchant waits for the other processes to know."""
REPORTERS = 2
"""Connections for proofs, stories and sweeps, made when they are first needed."""
READY_SECONDS = 1.0
"""How long the database may take to answer before this worker calls itself not ready."""
ASKING_SECONDS = 5.0
"""On top of a processor's own limit: how long an owner may take to ask and to write the outcome."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What ``build`` made: the ASGI application and its doors, what counts, whether payments can be taken (else why not), and the end in order."""

    app: App
    doors: dict[str, Door]
    counters: Counters
    ready: Callable[[], Awaitable[list[str]]]
    close: Callable[[], Awaitable[None]]


async def build(config: Config, database_url: str, number: int, metrics: Metrics) -> Worker:
    """Build the worker with this number.  Raises ``Failure`` where a part of it cannot start."""
    ends = AsyncExitStack()
    try:
        return await _build(config, database_url, number, metrics, ends)
    except (database.DatabaseUnavailable, database.DatabaseUnsuitable, NotCommitted, NoNumberFree) as error:
        await ends.aclose()
        raise Failure(Exit.DATABASE, f"The database cannot be used: {error or type(error).__name__}") from error
    except BaseException:
        await ends.aclose()
        raise


async def _build(config: Config, database_url: str, number: int, metrics: Metrics, ends: AsyncExitStack) -> Worker:
    clock = clock_of(config)
    counters = metrics.row(number)

    # the database, and the keys that what it holds is sealed under
    pool = await ends.enter_async_context(database.pool(database_url, config.readers, by_key=True))
    reports = await ends.enter_async_context(database.pool(database_url, REPORTERS, application_name="ringfence reports"))
    keyring = await open_keyring(config, pool)
    numbering = Numbering(pool)
    await numbering.take()
    ends.push_async_callback(numbering.give_back)

    # who may call, and what they pay with
    directory = Directory(pool, keyring, clock.now, counters.note_directory)
    await directory.load()
    vault = Vault(pool, keyring, new_id=numbering.next, keeps=_keeps(config), now=clock.now)

    # who is asked
    processor = Simulator(
        config.data / "simulator", seed=config.seed, worker=number, t1_seconds=config.answer_seconds)
    ends.push_async_callback(processor.close)
    processors: dict[str, Processor] = {processor.name: processor}

    # the two counters, each with its own connection, and the engine between them
    def connect(what: str) -> Callable[[], Awaitable[asyncpg.Connection]]:
        return lambda: database.connect(database_url, application_name=f"ringfence {what} {number}", by_key=True)

    outcome_lane = Lane(connect("outcomes"), numbers=OUTCOME_LANES)
    intent_lane = Lane(connect("intents"), numbers=INTENT_LANES)
    for lane in (intent_lane, outcome_lane):
        await lane.open()
        ends.push_async_callback(lane.close)
    intents = IntentLane(intent_lane, now=clock.now, ask_seconds=config.answer_seconds + ASKING_SECONDS)
    outcomes = OutcomeLane(outcome_lane, now=clock.now, new_id=numbering.next, chain_key=keyring.chain_key, value_date=_value_date(processors))
    engine = Engine(
        intents=CountedIntents(intents.commit, counters), outcomes=CountedOutcomes(outcomes.commit, counters), processors=processors,
        vault=vault, pool=pool, new_id=numbering.next, now=clock.now,
    )
    ends.push_async_callback(engine.idle)
    reading = Reading(pool, vault)

    # the doors
    aps = PaymentApi(ApsService(
        engine=engine, reading=reading, vault=vault, content_key=keyring.content_key, route=lambda merchant, brand: processor.name,
        new_token_name=lambda: secrets.token_hex(16).upper(), new_sdk_token=lambda: secrets.token_hex(16).upper(), now=clock.now,
    ), directory, sandbox=not config.is_live)
    doors = {"/FortAPI/paymentApi": Door(aps.handle, config.body_limit)}

    # what operators ask
    async def ready() -> list[str]:
        missing = [f"the {name} lane has no connection" for name, lane in (("intents", intent_lane), ("outcomes", outcome_lane)) if not lane.is_up]
        try:
            async with asyncio.timeout(READY_SECONDS), pool.acquire() as connection:
                await connection.fetchval("SELECT 1")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            missing.append(f"the database does not answer ({type(error).__name__})")
        return missing

    async def everywhere() -> None:
        limit = time.monotonic() + EVERYWHERE_SECONDS
        while metrics.directory_version(config.workers) < directory.version and time.monotonic() < limit:
            await asyncio.sleep(0.02)

    routes = [
        *service_routes(ready=ready, metrics=metrics),
        *openapi.routes(),
        *admin_of(config, admin_token(config), reports, keyring, clock, directory, everywhere, ends),
    ]

    # the background
    async def refresh_directory() -> int:
        return int(await directory.refresh())

    background = Background([
        Sweep("directory", refresh_directory, DIRECTORY_SECONDS),
        Sweep("worker number", numbering.renew, RENEW_SECONDS),
        Sweep("expiry", lambda: expiry.sweep(reports, directory, reading, engine), config.sweep_seconds),
        Sweep("abandoned operations", lambda: abandoned.sweep(reports, directory, engine), config.sweep_seconds),
        Sweep("dropped holds", DroppedHolds(processor.name, processor.dropped, directory, engine).sweep, config.sweep_seconds),
        Sweep("reversals", lambda: reversals.sweep(reports, directory, reading, engine), config.sweep_seconds),
    ])
    background.start()
    ends.push_async_callback(background.stop)
    noticing = asyncio.create_task(keys.keep_noticing(pool, keyring, f"worker {number} of process {os.getpid()}"))
    ends.push_async_callback(_cancelled, noticing)

    return Worker(root(doors, routes, counters), doors, counters, ready, ends.aclose)


def admin_of(
    config: Config, token: str, pool: asyncpg.Pool, keyring: keys.Keyring, clock: Clock | WallClock, directory: Directory,
    everywhere: Callable[[], Awaitable[None]], ends: AsyncExitStack,
) -> list[Route]:
    """The operator's routes; ``everywhere`` as in ``api.admin.Services``."""
    async def proof(merchant: str | None, at: datetime | None, full: bool) -> object:
        proved = await prove(pool, chain_key=keyring.chain_key, merchant=merchant, at=at, full=full, books=books_of(config))
        return proved.as_json()

    async def story(name: str, merchant: str | None) -> object | None:
        told = await explain(pool, name, merchant=merchant)
        return told and told.as_json()

    simulator = None if config.is_live else desk(config.data / "simulator", config.seed, ends.callback)
    return admin_routes(Services(token, config.is_live, clock, directory, everywhere, proof, story, simulator))


def books_of(config: Config) -> dict[str, Totals]:
    """The processors' own totals by business day, read from their books beside a running service or without one."""
    return {"simulator": lambda day: asyncio.to_thread(totals, config.data / "simulator", day)}


def clock_of(config: Config) -> Clock | WallClock:
    """The sandbox's clock below the data folder, or the wall's."""
    return WallClock() if config.is_live else Clock(config.data / "clock")


def key_source(config: Config) -> KeySource:
    """Where the master key comes from; only a sandbox makes its own."""
    return KeySource(os.environ, None if config.is_live else config.data)


async def open_keyring(config: Config, pool: asyncpg.Pool) -> keys.Keyring:
    """The key ring, checked against the vault it belongs to.  Raises ``Failure`` for a missing or wrong master key."""
    try:
        async with pool.acquire() as connection:
            return await keys.open_keyring(connection, key_source(config))
    except (keys.WrongMasterKey, KeyUnreadable) as error:
        raise Failure(Exit.MASTER_KEY, str(error)) from error


def admin_token(config: Config) -> str:
    """The configured token of the admin API, else the one that the sandbox's first start made."""
    return config.admin_token or (config.data / "admin.token").read_text("ascii").strip()


def _keeps(config: Config) -> Callable[[Pan], bool]:
    """Which card numbers are stored whole: in the sandbox only those of its own test tables."""
    return (lambda pan: True) if config.is_live else (lambda pan: is_test_number(pan.reveal()))


def _value_date(processors: dict[str, Processor]) -> Callable[[str, datetime], date]:
    """The business day of a processor at an instant, by its cut-over hour and zone."""
    rules = {name: processor.capabilities for name, processor in processors.items()}
    return lambda name, at: business_day(at, rules[name].cut_over, rules[name].zone)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
