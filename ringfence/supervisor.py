"""The process behind ``ringfence up``: starts everything, keeps it running, stops it in order.

It has one thread and no event loop, so that it can fork at any time.  It imports the program once and freezes it, so that the workers
share that memory; it holds the data folder's lock and the listening sockets, so that a worker that dies is replaced without refusing
anybody.  It keeps the security codes that outlive their requests (see ``code_keeper``).  Refuses to know payments.
"""
from __future__ import annotations

import contextlib
import errno
import gc
import json
import logging
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from ringfence import starting, worker
from ringfence.code_keeper import CodeKeeper
from ringfence.config import Config
from ringfence.engine.code_box import SOCKET
from ringfence.engine.metrics import DATABASE_RESTARTS, WORKER_RESTARTS, Metrics
from ringfence.failures import Exit, Failure
from ringfence.storage.folder import FolderInUse, FolderLock
from ringfence.storage.postgres import PostgresError, PrivatePostgres
from ringfence.tls import TlsFiles, prepare

log = logging.getLogger("ringfence.supervisor")

STEADY_SECONDS = 10.0
"""A worker that lived this long did not die of its start, and is replaced at once."""
PAUSES = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Seconds before a worker that keeps dying is started once more; the last one repeats."""
BEYOND_DRAIN_SECONDS = 5.0
"""What a worker gets on top of the drain limit, to close its connections."""
DYING_SECONDS = 15.0
"""How long the workers of a service that was killed may take to let go of its port; on a crowded machine a process dies slowly."""
HURRY_SECONDS = 2.0


@dataclass
class Worker:
    """One place for a worker process: its socket stays, processes come and go."""

    number: int
    listener: socket.socket
    pid: int = 0
    heard: int = -1                     # our end of its pipe, until it spoke
    ready: bool = False
    started_at: float = 0.0
    failures: int = 0                   # starts in a row that did not last
    due_at: float = field(default=0.0)  # when a new process may start (monotonic)


class Supervisor:
    """See the module.  ``run`` is its whole life."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stops = 0                 # how often we were asked to stop
        self._reload = False
        self._postgres: PrivatePostgres | None = None
        self._postgres_due_at = 0.0
        self._workers: list[Worker] = []
        self._metrics = Metrics(config.workers + 1)
        self._counters = self._metrics.row(config.workers)
        self._database_url = config.database_url
        self._tls: TlsFiles | None = None
        self._announced = False
        self._codes: CodeKeeper | None = None

    def run(self) -> int:
        """Start, watch, stop; returns the exit code.  Raises ``Failure`` where it cannot start."""
        lock = _locked(self._config.data)
        wake = self._listen_to_signals()
        try:
            self._start()
            self._watch(wake)
            return Exit.OK
        finally:
            self._stop_workers(wake)
            if self._codes is not None:
                self._codes.close()
            if self._postgres is not None:
                self._postgres.stop()
            lock.release()

    # -- starting

    def _start(self) -> None:
        config = self._config
        reasons = starting.live_reasons(config) if config.is_live else []
        _limits()
        was_killed = (config.data / SOCKET).exists()        # whoever ends in order takes it away
        listeners = _bound(config.host, config.port, config.workers, DYING_SECONDS if was_killed else 0.0)
        self._tls = self._certificate()
        if not config.database_url and (not reasons or (config.data / "postgres").exists()):
            self._postgres = PrivatePostgres(config.data, log=config.data / "postgres.log")
            try:
                self._database_url = self._postgres.start()
            except PostgresError as error:
                raise Failure(Exit.DATABASE, str(error)) from error
        gc.collect()
        gc.freeze()
        merchants = self._prepared(reasons)
        port = listeners[0].getsockname()[1]
        for listener in listeners:
            listener.listen(2_048)
        if not config.is_live:
            starting.write_sandbox_file(config, port, merchants)
        try:
            self._codes = CodeKeeper(config.data)
        except OSError as error:
            raise Failure(Exit.DATA_FOLDER, f"No socket can be made in the data folder {config.data}: {error.strerror}.") from error
        self._workers = [Worker(number, listener) for number, listener in enumerate(listeners)]
        self._base_url = starting.base_url(config, port)
        self._config = config._replace(base_url=self._base_url)     # with the port that was free, for the addresses that workers give out

    def _certificate(self) -> TlsFiles | None:
        config = self._config
        if config.tls_cert is not None and config.tls_key is not None:
            for file in (config.tls_cert, config.tls_key):
                if not os.access(file, os.R_OK):
                    raise Failure(Exit.CONFIGURATION, f"The file {file} cannot be read; --tls-cert and --tls-key must name readable PEM files.")
            return TlsFiles(config.tls_cert, config.tls_key, None)
        return prepare(config.data / "tls", config.host) if config.tls else None

    def _prepared(self, reasons: list[str]) -> list[dict[str, object]]:
        """Migrate, check and seed in a child, so that no event loop and no connection ever lives in this process."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self._become_child()
            os.close(reading)
            os._exit(starting.prepare(self._config, self._database_url, reasons, writing))
        os.close(writing)
        with os.fdopen(reading, "rb") as said:
            text = said.read()
        os.waitpid(child, 0)
        if not text:
            raise Failure(Exit.CHECK_FAILED, "The preparation of the database broke; the log above says where.")
        answer = json.loads(text)
        if "sentence" in answer:
            raise Failure(Exit(answer["code"]), answer["sentence"])
        return answer["merchants"]

    def _spawn(self, place: Worker) -> None:
        hear, say = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            worker.die_with_parent(parent)
            self._become_child()
            os.close(hear)
            if self._codes is not None:
                self._codes.leave()
            for other in self._workers:
                if other is not place:
                    other.listener.close()
                    if other.heard >= 0:
                        os.close(other.heard)
            os._exit(worker.run(self._config, self._database_url, place.number, place.listener, say, self._metrics, self._tls))
        os.close(say)
        place.pid, place.heard, place.ready, place.started_at = child, hear, False, time.monotonic()

    def _become_child(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)

    # -- watching

    def _watch(self, wake: int) -> None:
        while not self._stops:
            now = time.monotonic()
            self._keep_database(now)
            for place in self._workers:
                self._look_after(place, now)
                if not place.pid and now >= place.due_at:
                    self._spawn(place)
            self._announce()
            if self._reload:
                self._reload = False
                self._tls = self._certificate()
                self._signal_all(signal.SIGHUP)
            self._wait(wake, self._next_due(now))

    def _keep_database(self, now: float) -> None:
        if self._postgres is None or self._postgres.poll() or now < self._postgres_due_at:
            return
        log.error("PostgreSQL died; starting it again")
        self._counters.add(DATABASE_RESTARTS)
        try:
            self._postgres.start()
        except PostgresError as error:
            log.error("PostgreSQL does not start: %s", error)
            self._postgres_due_at = time.monotonic() + PAUSES[-1]

    def _look_after(self, place: Worker, now: float) -> None:
        """Hear what it says, and whether it died."""
        if place.heard >= 0 and select.select([place.heard], [], [], 0)[0]:
            said = os.read(place.heard, 65_536)
            os.close(place.heard)
            place.heard = -1
            place.ready = said == worker.READY
            if said and not place.ready:
                code, sentence = json.loads(said)
                if not self._announced:
                    raise Failure(Exit(code), sentence)
                log.error("worker %d cannot start: %s", place.number, sentence)
        if place.pid:
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if pid:
                self._bury(place, status, now)

    def _bury(self, place: Worker, status: int, now: float) -> None:
        place.failures = 0 if now - place.started_at >= STEADY_SECONDS else place.failures + 1
        if place.heard >= 0:
            os.close(place.heard)
            place.heard = -1
        place.pid, place.ready = 0, False
        if self._stops:
            return
        place.due_at = now + PAUSES[min(place.failures, len(PAUSES) - 1)]
        self._counters.add(WORKER_RESTARTS)
        log.error("worker %d ended with %s; starting another", place.number, _ending(status))

    def _announce(self) -> None:
        if self._announced or not all(place.ready for place in self._workers):
            return
        self._announced = True
        print(f"{'Live' if self._config.is_live else 'Sandbox'} at {self._base_url}, data in {self._config.data}")
        print("Ringfence is ready", flush=True)

    def _next_due(self, now: float) -> float | None:
        """Seconds until something must be started although nothing happens, ``None`` for never."""
        due = [place.due_at for place in self._workers if not place.pid]
        if self._postgres is not None and not self._postgres.poll():
            due.append(self._postgres_due_at)
        return max(0.0, min(due) - now) if due else None

    # -- stopping

    def _stop_workers(self, wake: int) -> None:
        """Refuse new callers, let the others finish, then make an end."""
        for place in self._workers:
            place.listener.close()
        alive = [place for place in self._workers if place.pid]
        self._stops = max(1, self._stops)
        told = 1
        self._signal_all(signal.SIGTERM)
        limit = time.monotonic() + self._config.drain_seconds + BEYOND_DRAIN_SECONDS
        while alive:
            if self._stops > told:
                told = self._stops
                self._signal_all(signal.SIGTERM)
                limit = min(limit, time.monotonic() + HURRY_SECONDS)
            if time.monotonic() >= limit:
                self._signal_all(signal.SIGKILL)
                limit = float("inf")
            for place in alive:
                pid, status = os.waitpid(place.pid, os.WNOHANG)
                if pid:
                    self._bury(place, status, time.monotonic())
            alive = [place for place in alive if place.pid]
            if alive:
                self._wait(wake, max(0.0, min(limit - time.monotonic(), 60.0)))

    def _signal_all(self, number: int) -> None:
        for place in self._workers:
            if place.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(place.pid, number)

    # -- signals

    def _listen_to_signals(self) -> int:
        """Handlers that only note; the returned pipe wakes whoever waits."""
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

        def stop(number: int, frame: FrameType | None) -> None:
            self._stops += 1

        def reload(number: int, frame: FrameType | None) -> None:
            self._reload = True

        handlers: dict[int, Callable[[int, FrameType | None], None]] = {
            signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload, signal.SIGCHLD: lambda number, frame: None}
        for number, handler in handlers.items():
            signal.signal(number, handler)
        return reading

    def _wait(self, wake: int, seconds: float | None) -> None:
        """Until a signal, a worker's word, or the time.  Who has to do with security codes is served meanwhile."""
        heard = [place.heard for place in self._workers if place.heard >= 0]
        if self._codes is None:
            select.select([wake, *heard], [], [], seconds)
        else:
            due = self._codes.due_seconds()
            limit = min((one for one in (seconds, due) if one is not None), default=None)
            select.select([wake, *heard, *self._codes.lines], [], [], limit)
            self._codes.serve()
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4_096)


def _locked(data: Path) -> FolderLock:
    try:
        lock = FolderLock(data)
    except FolderInUse as error:
        raise Failure(Exit.DATA_FOLDER, str(error)) from error
    except OSError as error:
        raise Failure(Exit.DATA_FOLDER, f"The data folder {data} cannot be used: {error.strerror}.") from error
    if not os.access(data, os.W_OK | os.X_OK):
        lock.release()
        raise Failure(Exit.DATA_FOLDER, f"The data folder {data} cannot be written.")
    return lock


def _limits() -> None:
    """As many open files as we may have, and no core dumps: a dump would hold card numbers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _bound(host: str, port: int, count: int, patience: float) -> list[socket.socket]:
    """One socket per worker on the same port, over which the kernel will spread callers; not listening yet.  A port that is in use is waited
    for with *patience* (seconds)."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise Failure(Exit.PORT, f"The host {host} cannot be listened on: {error.strerror}.") from error
    until = time.monotonic() + patience
    while True:
        try:
            return _listeners(family, address, count)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= until:
                said = f"Port {port} on {host} cannot be listened on: {error.strerror}. Choose another with --port."
                raise Failure(Exit.PORT, said) from error
        time.sleep(0.02)


def _listeners(family: socket.AddressFamily, address: Any, count: int) -> list[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as probe:    # without REUSEPORT: a port that another service shares is in use
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen()
        address = (address[0], probe.getsockname()[1], *address[2:])
    listeners = []
    for _ in range(count):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.setblocking(False)
        listeners.append(listener)
    return listeners


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit status {code}"


def up(config: Config) -> int:
    """Run the service in the foreground; returns the exit code.  Raises ``Failure`` where it cannot start."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return Supervisor(config).run()
