"""Processes that ``main`` builds: one that serves HTTP on a socket made by the supervisor, and one that only does what is due later.

The first tells the supervisor once it answers, finishes what is in flight when it is told to stop, and does not outlive it.  The second
stands alone: it needs the service's data folder and a database that somebody runs, and goes on when that comes back.
"""
from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
import uvloop

from ringfence.api.connection import connection_class, watch
from ringfence.config import Config
from ringfence.engine.clock import stands_from_the_start
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.metrics import Metrics
from ringfence.failures import Exit, Failure
from ringfence.main import foundation
from ringfence.serving import Worker, build
from ringfence.storage import database
from ringfence.storage.migrations import MigrationError, status
from ringfence.storage.postgres import PostgresError, address
from ringfence.tls import TlsFiles

PR_SET_PDEATHSIG = 1                    # prctl(2)
READY = b"ready\n"
NEW_OBJECTS_BEFORE_COLLECTION = 50_000
"""The payment path makes few cycles; the default of 700 would stop it for nothing."""

FIRST_JOBBER = 64
"""Serving workers have lower numbers."""
ALONE = "a frozen sandbox has one process, which does everything in order."
LOOK_SECONDS = 1.0
"""Between two looks for a database that went away, or came back at another address."""

log = logging.getLogger(__name__)


def run(config: Config, database_url: str, number: int, listener: socket.socket, say: int, metrics: Metrics, tls: TlsFiles | None) -> int:
    """The whole life of the process; returns its exit code.  ``say`` is a pipe: ``ready`` or a failure as JSON, once."""
    gc.set_threshold(NEW_OBJECTS_BEFORE_COLLECTION, 20, 50)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, database_url, number, listener, say, metrics, tls))
    except Failure as failure:
        _say(say, json.dumps([int(failure.code), failure.sentence]).encode())
        return int(failure.code)
    except Exception:
        log.exception("worker %d broke", number)
        return 1
    return Exit.OK


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the supervisor is gone: a dead service holds neither port nor database."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:          # it died before the request
        os._exit(1)


async def _serve(config: Config, database_url: str, number: int, listener: socket.socket, say: int, metrics: Metrics, tls: TlsFiles | None) -> None:
    service = await build(config, database_url, number, metrics)
    try:
        server = Server(_settings(config, service, tls), lambda: _answering(say, service.ready))
        _listen_to_signals(server, tls)
        watching = asyncio.create_task(watch(server.server_state.connections, config.request_seconds))
        try:
            await server.serve([listener])
        finally:
            watching.cancel()
    finally:
        await service.close()


async def _answering(say: int, ready: Callable[[], Awaitable[list[str]]]) -> None:
    """The listener is open: tell the supervisor as soon as ``/readyz`` would say yes."""
    while missing := await ready():
        log.info("not ready yet: %s", "; ".join(missing))
        await asyncio.sleep(0.05)
    _say(say, READY)


def _say(say: int, word: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(say, word)
        os.close(say)


class Server(uvicorn.Server):
    """uvicorn, inside a loop and under signals of ours."""

    def __init__(self, settings: uvicorn.Config, on_started: Callable[[], Awaitable[None]]) -> None:
        super().__init__(settings)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then tell."""
        await super().startup(sockets)
        await self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: uvicorn would raise them again after its own end, and cut ours short."""
        yield

    def stop(self) -> None:
        """Finish what is in flight; the second time, hurry."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True


def _settings(config: Config, service: Worker, tls: TlsFiles | None) -> uvicorn.Config:
    connection = connection_class(config.head_limit, service.doors, service.counters, long_paths=service.long_paths, learn=service.learn)
    return uvicorn.Config(
        service.app, http=connection, ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False, server_header=False,
        date_header=False, proxy_headers=False, backlog=2048, timeout_keep_alive=config.keep_alive_seconds,
        timeout_graceful_shutdown=config.drain_seconds,
        ssl_certfile=str(tls.certificate) if tls else None, ssl_keyfile=str(tls.key) if tls else None,
    )


def _listen_to_signals(server: Server, tls: TlsFiles | None) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    loop.add_signal_handler(signal.SIGINT, lambda: None)        # a terminal's Ctrl-C reaches everybody; the supervisor decides

    def reload_certificate() -> None:
        if tls is not None and server.config.ssl is not None:
            server.config.ssl.load_cert_chain(tls.certificate, tls.key)
            log.info("the certificate was read again")

    loop.add_signal_handler(signal.SIGHUP, reload_certificate)


# ---------------------------------------------------------------------------------------------------------- without HTTP

def serve_jobs(config: Config, number: int) -> int:
    """The whole life of a process that only does what is due later; returns its exit code.

    ``number`` (from 0) tells several on one data folder apart.  Raises ``Failure`` where it cannot start.
    """
    if config.frozen_at is not None:
        raise Failure(Exit.CONFIGURATION, f"RINGFENCE_FROZEN_AT is set: {ALONE}")
    if not config.is_live and stands_from_the_start(config.data / "clock"):
        raise Failure(Exit.CONFIGURATION, f"The clock of {config.data} stands since its first start (--frozen-at): {ALONE}")
    gc.set_threshold(NEW_OBJECTS_BEFORE_COLLECTION, 20, 50)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_jobs(config, FIRST_JOBBER + number))
    return Exit.OK


async def _serve_jobs(config: Config, number: int) -> None:
    """Build what works, until told to stop; anew where the database has moved, as a private one does with its service."""
    stopping, counters, is_ready = asyncio.Event(), Metrics(1).row(0), False
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stopping.set)
    while not stopping.is_set():
        ends = contextlib.AsyncExitStack()
        try:
            where = _database_of(config)
            await _fits(where)
            await foundation(config, where, number, counters, ends, works=True)
            if not is_ready:
                print("Ringfence worker is ready", flush=True)
            is_ready = True
            while not stopping.is_set() and not _has_moved(config, where):
                await _pause(stopping)
        except (Failure, *CONNECTION_LOST) as failure:
            if not is_ready:
                raise
            log.warning("waiting for the database: %s", failure)
            await _pause(stopping)
        finally:
            await _closed(ends)


async def _closed(ends: contextlib.AsyncExitStack) -> None:
    """End in order; a database that is away does not keep the process from its end."""
    try:
        await ends.aclose()
    except CONNECTION_LOST as lost:
        log.warning("the end was not told to the database: %s", lost)


async def _pause(stopping: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), LOOK_SECONDS)


def _database_of(config: Config) -> str:
    """The configured database, or the one that the service on the data folder runs."""
    try:
        return config.database_url or address(config.data)
    except PostgresError as error:
        raise Failure(Exit.DATABASE, str(error)) from error


def _has_moved(config: Config, where: str) -> bool:
    """Whether the service runs its database at another address by now; while it runs none, nothing has moved."""
    try:
        return not config.database_url and address(config.data) != where
    except PostgresError:
        return False


async def _fits(where: str) -> None:
    """Raises ``Failure`` unless the database has exactly this program's schema."""
    try:
        connection = await database.connect(where, application_name="ringfence worker")
        try:
            missing = [one for one in await status(connection) if one.applied_at is None]
        finally:
            await connection.close()
    except (MigrationError, database.DatabaseUnavailable, database.DatabaseUnsuitable) as error:
        raise Failure(Exit.DATABASE, str(error)) from error
    if missing:
        raise Failure(Exit.DATABASE, f"The database lacks {len(missing)} migrations of this program; run: ringfence migrate")
