"""``ringfence up``: the contract for automation, and what happens when something dies."""
from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ringfence.failures import Exit
from tests.sandbox import CARD, Client, Sandbox, request


def call(sandbox: Sandbox, path: str, *, method: str = "GET", body: Any = None, token: str | None = None,
         trust: ssl.SSLContext | None = None) -> tuple[int, Any]:
    """Status and body of one request; the sandbox's admin token goes along unless another is given."""
    known = sandbox.description
    asked = urllib.request.Request(known["base_url"] + path, method=method, data=None if body is None else json.dumps(body).encode())
    asked.add_header("authorization", f"Bearer {known['admin'] if token is None else token}")
    try:
        with urllib.request.urlopen(asked, timeout=90, context=trust) as answer:
            text = answer.read()
            return answer.status, json.loads(text or b"null") if answer.headers["content-type"] == "application/json" else text.decode()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def children(pid: int) -> dict[int, str]:
    """The direct children of a process and their command lines; of one that ends meanwhile it is empty."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): _line(Path(f"/proc/{child}/cmdline")).replace(b"\0", b" ").decode() for child in found}


def workers(sandbox: Sandbox) -> list[int]:
    """The children that are the same program."""
    assert sandbox.process is not None
    program = Path(f"/proc/{sandbox.process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return [pid for pid, line in children(sandbox.process.pid).items() if line == program]


def until(sandbox: Sandbox, said: str) -> None:
    """Wait until the service's log says something; the log is a file, so this is the event."""
    async def look() -> None:
        async with asyncio.timeout(90):
            while said not in sandbox.output.read_text():
                await asyncio.sleep(0.02)
    asyncio.run(look())


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2, from_nothing=True, alone=True) as running:
        yield running


def test_sandbox_json_holds_all_that_a_client_needs_for_its_owner_only(sandbox: Sandbox):
    """Written before the ready line, mode 0600."""
    path = sandbox.data / "sandbox.json"
    known = sandbox.description
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert known["base_url"] == f"http://127.0.0.1:{sandbox.port}" and len(known["admin"]) >= 32
    assert len(known["merchants"]) >= 4 and {"number", "expiry", "security_code"} <= known["test_cards"][0].keys()
    for merchant in known["merchants"]:
        assert merchant["aps"].keys() == {"merchant_identifier", "access_code", "sha_request_phrase", "sha_response_phrase", "sha_type"}
    assert known["merchants"][0]["aps"] == {
        "merchant_identifier": "RingfenceOne", "access_code": "RingfenceSandboxOne1", "sha_request_phrase": "TESTSHAIN-one",
        "sha_response_phrase": "TESTSHAOUT-one", "sha_type": "SHA-256"}


def test_it_says_how_it_is(sandbox: Sandbox):
    """Alive, ready, and counting; unknown paths and methods are told apart."""
    assert call(sandbox, "/healthz") == (200, {"status": "ok"})
    assert call(sandbox, "/readyz") == (200, {"status": "ready"})
    assert call(sandbox, "/nowhere")[0] == 404 and call(sandbox, "/healthz", method="POST")[0] == 405
    assert call(sandbox, "/FortAPI/paymentApi")[0] == 405
    assert "ringfence_requests_total" in call(sandbox, "/metrics")[1]


def test_the_numbers_of_all_workers_come_from_whichever_answers(sandbox: Sandbox):
    """Payments over many connections, so that both workers take some; every look shows the same sum."""
    def approved() -> int:
        text = call(sandbox, "/metrics")[1]
        return next(int(line.split()[-1]) for line in text.splitlines() if line.startswith('ringfence_operations_total{result="approved"}'))

    async def pay() -> None:
        clients = [Client(sandbox.port, sandbox.merchant()) for _ in range(16)]
        answers = await asyncio.gather(*(client.purchase(f"METRICS-{place}", 100) for place, client in enumerate(clients)))
        assert {answer["response_code"] for answer in answers} == {"14000"}
        for client in clients:
            await client.close()

    before = approved()
    asyncio.run(pay())
    assert {approved() for _ in range(6)} == {before + 16}


def test_a_body_over_the_limit_is_413_and_the_caller_can_read_it(sandbox: Sandbox):
    """Also when the caller sends all of it before it listens."""
    assert call(sandbox, "/FortAPI/paymentApi", method="POST", body="x" * 1_000_000)[0] == 413


def test_a_head_over_the_limit_is_431(sandbox: Sandbox):
    """The connection ends; the worker lives."""
    async def send() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-much: " + b"y" * 65_600)
        answer = await reader.read(100)
        writer.close()
        return answer
    assert asyncio.run(send()).startswith(b"HTTP/1.1 431 ")
    assert call(sandbox, "/healthz")[0] == 200


def test_a_changed_setting_binds_every_worker_when_the_answer_is_there(sandbox: Sandbox):
    """Sixteen connections over both workers: none takes a currency that is not allowed any more."""
    assert call(sandbox, "/admin/merchants/RingfenceTwo", method="PATCH", body={"settings": {"currencies": "SAR"}})[0] == 200

    async def pay() -> set[str]:
        clients = [Client(sandbox.port, sandbox.merchant(1)) for _ in range(16)]
        answers = await asyncio.gather(*(client.purchase(f"SETTING-{place}", 100) for place, client in enumerate(clients)))
        for client in clients:
            await client.close()
        return {answer["response_code"] for answer in answers}

    assert asyncio.run(pay()) == {"00013"}


def test_the_clock_is_one_for_all_workers(sandbox: Sandbox):
    """An advance through one is seen through every other at the next call."""
    status, moved = call(sandbox, "/admin/clock", method="POST", body={"advance": "2h"})
    assert status == 200
    assert {call(sandbox, "/admin/clock")[1]["ahead_seconds"] for _ in range(8)} == {moved["ahead_seconds"]}


def test_a_second_service_on_the_folder_is_refused_in_one_sentence(sandbox: Sandbox):
    """It names the folder and exits with the code for it; the first one does not notice."""
    second = sandbox.command("up", "--port", "0")
    assert second.returncode == Exit.DATA_FOLDER and "is in use by process" in second.stderr and "Traceback" not in second.stderr
    assert call(sandbox, "/readyz")[0] == 200


def test_a_port_in_use_is_told_in_one_sentence(sandbox: Sandbox):
    """Also though the service that has it would share it with its own workers."""
    other = Sandbox(alone=True)
    try:
        done = other.command("up", "--port", str(sandbox.port))
        assert done.returncode == Exit.PORT and "Choose another with --port" in done.stderr and "Traceback" not in done.stderr
    finally:
        other.remove()


def test_a_worker_that_is_killed_is_replaced(sandbox: Sandbox):
    """Its socket stays, so that callers wait instead of being refused."""
    before = workers(sandbox)
    os.kill(before[0], signal.SIGKILL)
    until(sandbox, "ended with signal 9; starting another")

    async def pay() -> set[str]:
        clients = [Client(sandbox.port, sandbox.merchant()) for _ in range(16)]
        answers = await asyncio.gather(*(client.purchase(f"REPLACED-{place}", 100) for place, client in enumerate(clients)))
        for client in clients:
            await client.close()
        return {answer["response_code"] for answer in answers}

    assert asyncio.run(pay()) == {"14000"}
    while len(after := workers(sandbox)) < 2:               # it says so, and then starts it
        time.sleep(0.01)
    assert len(after) == 2 and before[0] not in after and before[1] in after


def test_sigterm_finishes_what_is_in_flight_and_ends_with_0():
    """A payment that the issuer thinks about when the signal comes is answered and stored."""
    with Sandbox(workers=1, alone=True) as sandbox:
        assert call(sandbox, "/admin/simulator", method="POST", body={"latency_seconds": 1})[0] == 200

        async def pay() -> dict[str, Any]:
            client = await Client(sandbox.port, sandbox.merchant()).connect()
            asked = asyncio.create_task(client.purchase("DRAINED-1", 100))
            async with asyncio.timeout(60):
                while "intents" not in call(sandbox, "/metrics")[1] or 'ringfence_batches_total{lane="intents"} 0' in call(sandbox, "/metrics")[1]:
                    await asyncio.sleep(0.01)
            assert sandbox.process is not None
            sandbox.process.send_signal(signal.SIGTERM)
            answer = await asked
            await client.close()
            return answer

        assert asyncio.run(pay())["response_code"] == "14000"
        assert sandbox.process is not None and sandbox.process.stdout is not None and sandbox.process.wait(90) == 0
        sandbox.process.stdout.close()
        left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(sandbox.data).encode() in _line(path)]
        assert left == []


def _line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.wide
def test_after_kill_9_of_the_supervisor_the_next_start_takes_over():
    """Workers and database end with it or are ended by the next start; what was acknowledged is there."""
    with Sandbox(workers=2, alone=True) as sandbox:
        async def pay() -> dict[str, Any]:
            client = Client(sandbox.port, sandbox.merchant())
            answer = await client.purchase("KILLED-1", 100)
            await client.close()
            return answer

        assert asyncio.run(pay())["response_code"] == "14000"
        sandbox.kill()
        sandbox.start()
        story = sandbox.command("explain", "KILLED-1")
        assert story.returncode == 0 and "approved" in story.stdout
        assert sandbox.json("proof")["ok"]
        assert sandbox.stop() == 0


@pytest.mark.wide
def test_a_database_that_dies_is_started_again():
    """Payments go on without a restart of the service."""
    with Sandbox(workers=1, alone=True) as sandbox:
        assert sandbox.process is not None
        database = next(pid for pid, line in children(sandbox.process.pid).items() if "/postgres " in line)
        os.kill(database, signal.SIGKILL)
        until(sandbox, "PostgreSQL died; starting it again")

        async def pay() -> str:
            async with asyncio.timeout(60):
                for attempt in range(1_000):
                    client = Client(sandbox.port, sandbox.merchant())
                    answer = await client.purchase(f"AGAIN-{attempt}", 100)
                    await client.close()
                    if answer["response_code"] == "14000":
                        return answer["response_code"]
                    await asyncio.sleep(0.05)
            return ""

        assert asyncio.run(pay()) == "14000"


def test_tls_is_served_with_an_authority_of_its_own():
    """A caller that trusts ``ca.pem`` gets through by name and by address; one that does not refuses; commands work too."""
    with Sandbox(workers=1, arguments=("--tls",), alone=True) as sandbox:
        assert sandbox.description["base_url"].startswith("https://")
        trust = ssl.create_default_context(cafile=str(sandbox.data / "tls" / "ca.pem"))
        assert call(sandbox, "/readyz", trust=trust)[0] == 200
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            call(sandbox, "/readyz", trust=ssl.create_default_context())
        assert stat.S_IMODE((sandbox.data / "tls" / "key.pem").stat().st_mode) == 0o600
        assert sandbox.json("pay")["response_code"] == "14000"


def test_live_mode_lists_every_reason_at_once():
    """A folder that a sandbox ran on, with its clock moved: nothing starts, and each obstacle is named."""
    with Sandbox(workers=1, alone=True) as sandbox:
        assert sandbox.command("clock", "advance", "1h").returncode == 0
        sandbox.stop()
        done = subprocess.run(
            [sys.executable, "-m", "ringfence.cli", "up", "--data", str(sandbox.data), "--port", "0"],
            capture_output=True, text=True, timeout=200, env={**os.environ, "RINGFENCE_MODE": "live"}, check=False)
        assert done.returncode == Exit.CONFIGURATION and "Traceback" not in done.stderr
        for reason in ("master key", "RINGFENCE_ADMIN_TOKEN", "No processor", "clock", "sandbox credentials"):
            assert reason in done.stderr, reason


def test_a_wrong_master_key_stops_the_start():
    """In one sentence, with its own exit code, before any payment."""
    with Sandbox(workers=1, alone=True) as sandbox:
        sandbox.stop()
        key = sandbox.data / "keys" / "master"
        key.write_bytes(base64.b64encode(os.urandom(32)))
        done = sandbox.command("up", "--port", "0")
        assert done.returncode == Exit.MASTER_KEY and "sealed under master key" in done.stderr and "Traceback" not in done.stderr


def test_a_signed_curl_of_the_manual_works_in_every_sandbox(sandbox: Sandbox):
    """The first merchant's phrases are public, so that a signature can be printed."""
    fields = {**CARD, "command": "PURCHASE", "merchant_reference": "MANUAL-1", "amount": "1000"}
    body = request({"merchant_identifier": "RingfenceOne", "access_code": "RingfenceSandboxOne1", "sha_request_phrase": "TESTSHAIN-one",
                    "sha_type": "SHA-256"}, **fields)
    assert call(sandbox, "/FortAPI/paymentApi", method="POST", body=json.loads(body))[1]["response_code"] == "14000"
