"""The service under measurement: started exactly as a person starts it, or found running.

Refuses to know what it does inside: it has an address, merchants, a process and a database.
"""
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ringfence.bench.measuring import CannotMeasure
from ringfence.bench.purchases import Merchant
from ringfence.storage.postgres import PostgresError, address

READY = "Ringfence is ready"
RINGFENCE = (sys.executable, "-m", "ringfence.cli")
STOP_SECONDS = 60
LIMIT, MOST_REQUESTS = "requests_per_second", "100000"


class ServiceFailed(CannotMeasure):
    """The service cannot be measured; the message is a sentence."""


class Service(NamedTuple):
    """A running service.  ``pid`` is its supervising process; ``dsn`` holds a password."""

    base_url: str
    merchants: list[Merchant]
    pid: int
    data: Path
    dsn: str
    admin: str = ""                     # the operator's token, "" for none

    def __repr__(self) -> str:
        return f"Service({self.base_url!r}, {len(self.merchants)} merchants, process {self.pid})"


@contextmanager
def started(data: Path, workers: int, **settings: str) -> Iterator[Service]:
    """``ringfence up`` on *data*, on a free port; stopped in an orderly way at the end, which must succeed.

    ``settings``: further ones of the service, as they are called in its environment without ``RINGFENCE_``, in small letters.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = data / "bench.log"
    with log.open("wb") as file:
        process = subprocess.Popen([*RINGFENCE, "up", "--data", str(data), "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)],
                                   stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                                   env=os.environ | {f"RINGFENCE_{name.upper()}": value for name, value in settings.items()})
    try:
        # Into a file, so that its log never waits for us; looked at only until it is ready.
        while READY not in log.read_text("utf-8", "replace").splitlines():
            if process.poll() is not None:
                raise ServiceFailed(f"The service ended while it was starting:\n{tail(log)}")
            time.sleep(0.05)
        yield read(data / "sandbox.json", process.pid)
        if process.poll() is not None:
            raise ServiceFailed(f"The service ended while it was measured:\n{tail(log)}")
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise ServiceFailed(f"The service did not stop within {STOP_SECONDS} seconds:\n{tail(log)}") from None


def running(sandbox: Path) -> Service:
    """The service that wrote *sandbox* (its ``sandbox.json``) and still runs."""
    lock = sandbox.parent / "lock"
    try:
        pid = int(lock.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        raise ServiceFailed(f"No service runs on {sandbox.parent}. Start it with: ringfence up --data {sandbox.parent}") from None
    return read(sandbox, pid)


def read(sandbox: Path, pid: int) -> Service:
    """What the sandbox file says of the service with process id *pid*."""
    try:
        written = json.loads(sandbox.read_text())
        merchants = [_of_sandbox(merchant["aps"], merchant.get("ppro", {})) for merchant in written["merchants"]]
        dsn = os.environ.get("RINGFENCE_DATABASE_URL") or address(sandbox.parent)
        return Service(written["base_url"], merchants, pid, sandbox.parent, dsn, written.get("admin", ""))
    except (OSError, ValueError, KeyError, TypeError) as why:
        raise ServiceFailed(f"{sandbox} does not describe a sandbox: {type(why).__name__} {why}.") from why
    except PostgresError as why:
        raise ServiceFailed(str(why)) from why


@contextmanager
def raised_limits(service: Service) -> Iterator[None]:
    """The PPRO door's limiter works, and lets the first merchants ask as fast as they can; afterwards it is as it was."""
    named = [one.identifier for one in service.merchants if one.api_key] if service.admin else []
    before = {name: _merchant(service, name)["settings"].get(LIMIT) for name in named}
    try:
        for name in named:
            _merchant(service, name, {"settings": {LIMIT: MOST_REQUESTS}})
        yield
    finally:
        for name, value in before.items():
            _merchant(service, name, {"settings": {LIMIT: value}})


def _merchant(service: Service, identifier: str, change: dict[str, object] | None = None) -> dict[str, Any]:
    """One merchant as the operator's API has it, after a change where one is given."""
    asked = urllib.request.Request(
        f"{service.base_url}/admin/merchants/{identifier}", None if change is None else json.dumps(change).encode(),
        {"Authorization": f"Bearer {service.admin}", "Content-Type": "application/json"}, method="GET" if change is None else "PATCH")
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            told: dict[str, Any] = json.load(answer)
            return told
    except OSError as why:
        raise ServiceFailed(f"The limits of {identifier} cannot be raised: {why}.") from why


def _of_sandbox(aps: dict[str, str], ppro: dict[str, str]) -> Merchant:
    return Merchant(
        aps["merchant_identifier"], aps["access_code"], aps["sha_request_phrase"], aps["sha_response_phrase"], aps["sha_type"],
        ppro.get("api_key", ""), ppro.get("merchant_id", ""))


def proof(service: Service, acknowledged: Path) -> str | None:
    """Runs ``ringfence proof`` over everything, with the list of acknowledged payments; ``None`` when it passes, else what it said."""
    done = subprocess.run([*RINGFENCE, "proof", "--data", str(service.data), "--acknowledged", str(acknowledged), "--json"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return None if done.returncode == 0 else f"ringfence proof ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-1500:]}"


def tail(log: Path) -> str:
    """The end of a log, for an error message."""
    return log.read_text("utf-8", "replace")[-2000:].strip()
