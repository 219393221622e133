"""A sandbox to test against, as a user has it: ``ringfence up`` in its own process, and a client that signs.

Both know only what the manual says: the ready line, ``sandbox.json``, and HTTP.  Processes are forked from one that has imported the
program (see ``forking``); ``alone=True`` starts an interpreter for each, as a user does.
"""
from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ringfence.api.aps import signature
from tests.clusters import memory, put_cluster
from tests.forking import CAN_FORK, Forked

READY_SECONDS = 180
COMMAND_SECONDS = 240

Process = subprocess.Popen[str] | Forked


class Sandbox:
    """One data folder, and the service on it while it runs."""

    def __init__(
        self, *, workers: int = 2, environment: dict[str, str] | None = None, arguments: tuple[str, ...] = (), from_nothing: bool = False,
        alone: bool = False,
    ) -> None:
        """``from_nothing``: the service makes its own cluster at its first start, instead of finding one that is made and migrated.
        ``alone``: its processes share no memory and no seed of hashes with those of another."""
        self.folder = Path(tempfile.mkdtemp(prefix="ringfence-test-", dir=memory()))
        self.data = self.folder / "data"
        if not from_nothing:
            put_cluster(self.data)
        self.port = free_port()
        self.workers, self._environment, self._arguments = workers, environment or {}, arguments
        self.process: Process | None = None
        self.output = self.folder / "output"
        self._beside: list[Process] = []
        self._forks = CAN_FORK and not alone

    def start(self) -> Sandbox:
        """Start the service and wait for its ready line."""
        self.process = self._begun(
            {}, "up", "--data", str(self.data), "--port", str(self.port), "--workers", str(self.workers), "--seed", "1", *self._arguments)
        assert self.process.stdout is not None
        deadline, said = time.monotonic() + READY_SECONDS, []
        while time.monotonic() < deadline and (line := self.process.stdout.readline()):
            said.append(line)
            if line.strip() == "Ringfence is ready":
                return self
        self.kill()
        raise AssertionError(f"not ready: {''.join(said)}{self.output.read_text()[-2000:]}")

    def _begun(self, environment: dict[str, str], *words: str) -> Process:
        """A process that goes on: its output can be read, its errors are kept."""
        environment = {**os.environ, **self._environment, **environment}
        with self.output.open("a") as errors:
            if not self._forks:
                return subprocess.Popen(
                    [sys.executable, "-m", "ringfence.cli", *words], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
                    start_new_session=True)
            reading, writing = os.pipe()
            try:
                with open(os.devnull) as nothing:
                    return Forked(words, environment, (nothing.fileno(), writing, errors.fileno()), os.fdopen(reading))
            finally:
                os.close(writing)

    def worker(self, *arguments: str, environment: dict[str, str] | None = None) -> Process:
        """Start ``ringfence worker`` beside the service, and wait for its ready line."""
        process = self._begun(environment or {}, "worker", "--data", str(self.data), *arguments)
        self._beside.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "Ringfence worker is ready", self.output.read_text()[-2000:]
        return process

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        """SIGKILL for the supervising process; whatever hangs on it dies with it or is found by the next start."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def remove(self) -> None:
        """Stop what still runs, and leave nothing behind."""
        for beside in self._beside:
            beside.kill()
            beside.wait()
            assert beside.stdout is not None
            beside.stdout.close()
        if self.process is not None and self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Sandbox:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def description(self) -> dict[str, Any]:
        """``sandbox.json``."""
        return json.loads((self.data / "sandbox.json").read_text())

    def merchant(self, number: int = 0) -> dict[str, str]:
        """The APS credentials of a seeded merchant."""
        return self.description["merchants"][number]["aps"]

    def command(self, *words: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run another command of the same installation on this data folder."""
        return command(*words, "--data", str(self.data), environment=self._environment, input=input, forks=self._forks)

    def json(self, *words: str) -> Any:
        """The JSON that a command prints."""
        done = self.command(*words, "--json")
        return json.loads(done.stdout)


def command(
    *words: str, environment: dict[str, str] | None = None, input: str | None = None, forks: bool = CAN_FORK,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with *environment* beside that of the tests."""
    environment = {**os.environ, **(environment or {})}
    if not forks:
        return subprocess.run([sys.executable, "-m", "ringfence.cli", *words], capture_output=True, text=True, env=environment,
                              input=input, check=False, timeout=COMMAND_SECONDS)
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        said.write(input or "")
        said.seek(0)
        process = Forked(words, environment, (said.fileno(), output.fileno(), errors.fileno()))
        try:
            code = process.wait(COMMAND_SECONDS)
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(words, code, output.read(), errors.read())


def free_port() -> int:
    """A port that nobody listens at, and that nobody else is given.  None of those that the kernel gives to clients: one of them could have
    it before the service does, also between a kill and the start after it."""
    return next(_ports)


def _bound(port: int) -> socket.socket | None:
    """A socket there, if it is free."""
    one = socket.socket()
    try:
        one.bind(("127.0.0.1", port))
    except OSError:
        one.close()
        return None
    return one


def _free_ports() -> Iterator[int]:
    """Those of a stretch that this process has to itself: nobody else who tests on this machine can bind its first one meanwhile."""
    starts = deque(range(15_000, 30_000, STRETCH))
    starts.rotate(os.getpid())
    guard, first = next((one, start) for start in starts if (one := _bound(start)) is not None)
    with guard:
        for port in itertools.cycle(range(first + 1, first + STRETCH)):
            if (probe := _bound(port)) is not None:
                probe.close()
                yield port


STRETCH = 250
_ports = _free_ports()


def request(merchant: dict[str, str], **fields: str) -> bytes:
    """A signed request body of that merchant."""
    params = {
        "merchant_identifier": merchant["merchant_identifier"], "access_code": merchant["access_code"], "language": "en",
        **fields,
    }
    params["signature"] = signature.sign(params, merchant["sha_request_phrase"], merchant["sha_type"])
    return json.dumps(params).encode()


class Client:
    """One kept connection to ``/FortAPI/paymentApi``."""

    def __init__(self, port: int, merchant: dict[str, str]) -> None:
        self._port, self.merchant = port, merchant
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self) -> Client:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    async def post(self, body: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """The answer to a body; a status other than 200 is an error of the test."""
        if self._writer is None:
            await self.connect()
        assert self._reader is not None and self._writer is not None
        extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._writer.write(
            f"POST /FortAPI/paymentApi HTTP/1.1\r\nhost: ringfence\r\ncontent-type: application/json\r\n{extra}"
            f"content-length: {len(body)}\r\n\r\n".encode() + body
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        answer = await self._reader.readexactly(length)
        assert status == 200, (status, answer)
        return json.loads(answer)

    async def ask(self, headers: dict[str, str] | None = None, /, **fields: str) -> dict[str, Any]:
        """Sign and post."""
        return await self.post(request(self.merchant, **fields), headers)

    async def authorize(self, reference: str, amount: int, **fields: str) -> dict[str, Any]:
        """An authorization with a card that approves everything."""
        return await self.ask(**{**CARD, "command": "AUTHORIZATION", "merchant_reference": reference, "amount": str(amount), **fields})

    async def purchase(self, reference: str, amount: int, **fields: str) -> dict[str, Any]:
        """A purchase with that card."""
        return await self.ask(**{**CARD, "command": "PURCHASE", "merchant_reference": reference, "amount": str(amount), **fields})

    async def capture(self, reference: str, amount: int, **fields: str) -> dict[str, Any]:
        return await self.ask(command="CAPTURE", merchant_reference=reference, amount=str(amount), currency="AED", **fields)

    async def refund(self, reference: str, amount: int, **fields: str) -> dict[str, Any]:
        return await self.ask(command="REFUND", merchant_reference=reference, amount=str(amount), currency="AED", **fields)

    async def void(self, reference: str) -> dict[str, Any]:
        return await self.ask(command="VOID_AUTHORIZATION", merchant_reference=reference)

    async def status(self, reference: str) -> dict[str, Any]:
        return await self.ask(query_command="CHECK_STATUS", merchant_reference=reference)


#: A card of the sandbox that approves everything, and what every payment carries.
CARD = {
    "card_number": "4000009900000004", "expiry_date": "3512", "card_security_code": "123", "customer_email": "a@shop.example",
    "customer_ip": "192.0.2.7", "currency": "AED", "remember_me": "NO",
}
