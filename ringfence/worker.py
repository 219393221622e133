"""One worker process: an event loop, the service that ``main`` builds, and an HTTP server on a socket made by the supervisor.

Tells the supervisor once it answers, finishes what is in flight when it is told to stop, and does not outlive it.
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
from ringfence.engine.metrics import Metrics
from ringfence.failures import Exit, Failure
from ringfence.main import Worker, build
from ringfence.tls import TlsFiles

PR_SET_PDEATHSIG = 1                    # prctl(2)
READY = b"ready\n"
NEW_OBJECTS_BEFORE_COLLECTION = 50_000
"""The payment path makes few cycles; the default of 700 would stop it for nothing."""

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
    connection = connection_class(config.head_limit, service.doors, service.counters)
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
