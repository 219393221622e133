"""The tortured service: a sandbox of its own, started as a person starts it, and started again whenever it died.

Refuses to know payments: it has a folder, a port, an operator's token and processes.
"""
from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from ringfence.bench.purchases import Merchant
from ringfence.torture.killer import Processes, Watch, processes_of

READY, WORKER_READY = "Ringfence is ready", "Ringfence worker is ready"
RINGFENCE = (sys.executable, "-m", "ringfence.cli")
READY_SECONDS, STOP_SECONDS, GONE_SECONDS = 60.0, 60.0, 20.0
LOOK_SECONDS = 0.02

ANSWER_SECONDS = 0.5
#: Short, so that many doubts begin and end in one run.
SETTINGS = {
    "RINGFENCE_ANSWER_SECONDS": str(ANSWER_SECONDS), "RINGFENCE_RECOVERY_PAUSES": "0.2,0.5,1,2", "RINGFENCE_SWEEP_SECONDS": "0.5",
    "RINGFENCE_WEBHOOK_SECONDS": "1", "RINGFENCE_LOG_LEVEL": "WARNING",
}


class ServiceFailed(Exception):
    """The service cannot be tortured, because it does not run; the message is a sentence."""


class Service:
    """``ringfence up`` on *data*, and beside it, if wanted, one ``ringfence worker``."""

    def __init__(self, data: Path, *, workers: int, seed: int, page: Path, separate: bool) -> None:
        """*page* is the page of points; *separate*: what happens later is done by a process of its own too."""
        self.data, self.workers, self._seed, self._separate = data, workers, seed, separate
        self.port = _free_port()
        # Not the caller's own settings: what is judged is this installation.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RINGFENCE_") or name == "RINGFENCE_POSTGRES_BIN"}
        self._environment = {
            **inherited, **SETTINGS, "RINGFENCE_TORTURE_POINTS": str(page),
            "RINGFENCE_INQUIRY": "on" if seed % 2 else "off",           # doubts end by other ways where the issuer can be asked
        }
        self._up: subprocess.Popen[bytes] | None = None
        self._beside: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start what does not run, and wait for its word.  Raises ``ServiceFailed``."""
        if self._up is None:
            self._up = await self._started("up", "--port", str(self.port), "--workers", str(self.workers), "--seed", str(self._seed), word=READY)
        await self.start_separate()

    async def start_separate(self) -> None:
        """Start the separate worker, if one is wanted and none runs."""
        if self._separate and (self._beside is None or self._beside.poll() is not None):
            self._beside = await self._started("worker", word=WORKER_READY)

    async def _started(self, command: str, *words: str, word: str) -> subprocess.Popen[bytes]:
        log = self.data.parent / f"{command}.log"
        with log.open("ab") as file:
            begin = file.tell()
            process = subprocess.Popen(
                [*RINGFENCE, command, "--data", str(self.data), *words], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                env=self._environment, start_new_session=True)
        until = asyncio.get_running_loop().time() + READY_SECONDS
        while word not in (said := _since(log, begin)).splitlines():
            if process.poll() is not None or asyncio.get_running_loop().time() > until:
                process.kill()
                process.wait()
                raise ServiceFailed(f"ringfence {command} did not become ready:\n{said[-2000:]}")
            await asyncio.sleep(LOOK_SECONDS)
        return process

    async def stop(self) -> None:
        """An orderly end.  Raises ``ServiceFailed`` where it is none."""
        failed = []
        for process in (self._beside, self._up):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    if code := await asyncio.to_thread(process.wait, STOP_SECONDS):
                        failed.append(f"ended with {code}")
                except subprocess.TimeoutExpired:
                    process.kill()
                    failed.append(f"did not stop within {STOP_SECONDS:g} seconds")
        self._up = self._beside = None
        if failed:
            raise ServiceFailed(f"The service {' and '.join(failed)}; see the logs below {self.data.parent}.")

    def kill(self) -> None:
        """No ceremony: whatever still runs dies now."""
        for process in (self._beside, self._up):
            if process is not None:
                Watch(processes_of(process.pid).all if process.poll() is None else ()).kill()
                process.kill()
                process.wait()
        self._up = self._beside = None

    def died(self) -> None:
        """Whoever killed the supervising process says so: the next ``start`` starts it anew."""
        assert self._up is not None
        self._up.wait()
        self._up = None

    @property
    def processes(self) -> Processes:
        """What ``ringfence up`` consists of just now."""
        assert self._up is not None
        return processes_of(self._up.pid)

    @property
    def separate(self) -> int:
        """The separate worker, 0 where none runs."""
        return self._beside.pid if self._beside is not None and self._beside.poll() is None else 0

    @property
    def is_whole(self) -> bool:
        """Whether as many workers run as should."""
        return len(self.processes.workers) == self.workers

    # -- what an operator does

    def merchants(self) -> list[Merchant]:
        """The seeded merchants."""
        return [Merchant(one["aps"]["merchant_identifier"], one["aps"]["access_code"], one["aps"]["sha_request_phrase"],
                         one["aps"]["sha_response_phrase"], one["aps"]["sha_type"]) for one in self._card()["merchants"]]

    async def admin(self, method: str, path: str, body: object = None) -> Any:
        """The answer of the admin API; raises ``ServiceFailed`` for anything but success."""
        card = self._card()
        request = urllib.request.Request(card["base_url"] + path, method=method, data=None if body is None else json.dumps(body).encode(), headers={
            "content-type": "application/json", "authorization": f"Bearer {card['admin']}"})

        def call() -> Any:
            with urllib.request.urlopen(request, timeout=READY_SECONDS) as answer:
                return json.loads(answer.read() or b"null")
        try:
            return await asyncio.to_thread(call)
        except OSError as why:
            raise ServiceFailed(f"{method} {path} failed: {why}.") from why

    async def proof(self, acknowledged: Path) -> tuple[bool, dict[str, Any] | str]:
        """``ringfence proof --full`` with the list of acknowledged operations: whether it passed, and what it said."""
        done = await asyncio.to_thread(
            subprocess.run, [*RINGFENCE, "proof", "--full", "--data", str(self.data), "--acknowledged", str(acknowledged), "--json"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self._environment)
        try:
            return done.returncode == 0, json.loads(done.stdout)
        except ValueError:
            return False, f"{done.stdout}{done.stderr}".strip()[-2000:]

    def _card(self) -> dict[str, Any]:
        return json.loads((self.data / "sandbox.json").read_text())


def _since(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        file.seek(begin)
        return file.read().decode("utf-8", "replace")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
