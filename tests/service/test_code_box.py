"""Security codes that wait in the supervising process: they outlive a worker, not the service, and are written nowhere."""
from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest

from ringfence.core.card import SecurityCode
from ringfence.engine.code_box import SOCKET, SocketCodeBox
from tests.canary import Secrets, find_secrets
from tests.sandbox import Sandbox
from tests.service.test_up import workers

CODES = ("8642", "7319")
ATTEMPT = "canary-attempt"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2) as running:
        yield running


def put(sandbox: Sandbox, attempt: str, code: str) -> bool:
    return asyncio.run(SocketCodeBox(sandbox.data, seconds=30).put(1, attempt, SecurityCode(code)))


def take(sandbox: Sandbox, attempt: str) -> str | None:
    code = asyncio.run(SocketCodeBox(sandbox.data, seconds=30).take(1, attempt))
    return code and code.reveal()


def test_a_code_outlives_the_worker_and_not_the_service(sandbox: Sandbox):
    """A worker is killed: the code is there, and still taken once.  The service is killed: the code is gone, and a new one may wait."""
    assert put(sandbox, ATTEMPT, CODES[0])
    before = workers(sandbox)
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    while len(after := workers(sandbox)) < 2 or min(before) in after:
        time.sleep(0.01)                                # another process starts the next
    assert (take(sandbox, ATTEMPT), take(sandbox, ATTEMPT)) == (CODES[0], None)
    assert put(sandbox, ATTEMPT, CODES[0])
    sandbox.kill()
    assert take(sandbox, ATTEMPT) is None
    assert not put(sandbox, ATTEMPT, CODES[0])
    sandbox.start()
    assert take(sandbox, ATTEMPT) is None
    assert put(sandbox, ATTEMPT, CODES[1])
    assert take(sandbox, ATTEMPT) == CODES[1]
    sandbox.stop()
    assert not (sandbox.data / SOCKET).exists()


def test_a_code_is_written_nowhere(sandbox: Sandbox):
    """Some are taken, some are waiting, some were asked for in vain when the service ends, once by the way and once by a kill:
    neither code nor attempt is in any file of the data folder, in the output, or in a core."""
    for number in range(20):
        assert put(sandbox, f"{ATTEMPT}-{number}", CODES[number % 2])
    assert [take(sandbox, f"{ATTEMPT}-{number}") for number in range(0, 30, 3)].count(None) == 3
    sandbox.kill()
    sandbox.start()
    assert put(sandbox, ATTEMPT, CODES[0])
    sandbox.stop()
    assert find_secrets([sandbox.folder], Secrets(codes=frozenset(CODES))) == []
    names = [file for file in sandbox.folder.rglob("*") if file.is_file()]
    assert len(names) > 100
    assert [file for file in names if ATTEMPT.encode() in file.read_bytes() or file.name.startswith("core")] == []
