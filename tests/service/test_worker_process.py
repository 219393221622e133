"""``ringfence worker``: does what is due later, beside a service that leaves it alone."""
from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.failures import Exit
from tests.sandbox import Client, Sandbox, command
from tests.service.test_up import call

LEAVES = {
    "RINGFENCE_BACKGROUND": "off", "RINGFENCE_ANSWER_SECONDS": "0.2", "RINGFENCE_SWEEP_SECONDS": "0.1",
    "RINGFENCE_RECOVERY_PAUSES": "0.2,0.2,0.5,1",
}


@pytest.fixture(scope="module", params=[{}])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """One service for all: each test leaves it running and without a doubt, and ends its own workers."""
    with Sandbox(workers=1, environment=LEAVES | request.param) as running:
        yield running


def doubt(sandbox: Sandbox, reference: str) -> None:
    """A purchase that nobody knows the outcome of: the issuer's answer to this card is lost."""
    [card] = [one for one in sandbox.description["test_cards"] if one["scenario"] == "0300"]

    async def pay() -> str:
        client = Client(sandbox.port, sandbox.merchant())
        answer = await client.purchase(
            reference, 1000, card_number=card["number"], expiry_date=card["expiry"], card_security_code=card["security_code"])
        await client.close()
        return answer["response_code"]
    assert asyncio.run(pay()) == "15777"


def in_doubt(sandbox: Sandbox) -> list[str]:
    return [one["reference"] for one in sandbox.json("review", "list", "--all")["reviews"]]


def until_known(sandbox: Sandbox) -> None:
    """Ask the service again and again, also while its database is away; the test's own limit is the limit."""
    while (asked := call(sandbox, "/admin/reviews?all=true"))[0] != 200 or asked[1]["reviews"]:
        time.sleep(0.05)                                # an outcome of another process; looking takes time from it


def told(sandbox: Sandbox, reference: str) -> str:
    return sandbox.command("explain", reference).stdout


def test_a_worker_ends_what_a_service_leaves_to_it(sandbox: Sandbox):
    """The doubt stays until there is a worker, also over a second look of the service; then it ends, and SIGTERM ends the worker."""
    doubt(sandbox, "LEFT-1")
    assert sandbox.command("clock", "show").returncode == 0
    assert in_doubt(sandbox) == ["LEFT-1"]
    assert "It was not tried yet" in told(sandbox, "LEFT-1")
    worker = sandbox.worker()
    until_known(sandbox)
    assert "was reversed (attempt" in told(sandbox, "LEFT-1")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(90) == Exit.OK
    assert sandbox.command("proof").returncode == 0


def test_a_worker_survives_its_database_and_its_service(sandbox: Sandbox):
    """PostgreSQL killed; the service killed and started again; the service stopped and started, its database elsewhere then."""
    worker = sandbox.worker()

    def database_dies() -> None:
        os.kill(int((sandbox.data / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def service_dies() -> None:
        sandbox.kill()
        sandbox.start()

    def service_stops() -> None:
        assert sandbox.stop() == 0
        sandbox.start()

    for number, happens in enumerate((database_dies, service_dies, service_stops)):
        doubt(sandbox, f"LOST-{number}")
        happens()
        until_known(sandbox)
        assert "was reversed" in told(sandbox, f"LOST-{number}"), happens
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(90) == Exit.OK


def test_another_worker_goes_on_where_one_was_killed(sandbox: Sandbox):
    """Whatever the first had in hand is free after its lease."""
    first = sandbox.worker("--number", "1")
    doubt(sandbox, "KILLED-1")
    first.kill()
    second = sandbox.worker("--number", "2")
    until_known(sandbox)
    second.send_signal(signal.SIGTERM)
    assert second.wait(90) == Exit.OK


def test_a_worker_without_a_database_says_so(tmp_path: Path):
    """One sentence, and the exit code of databases."""
    done = command("worker", "--data", str(tmp_path))
    assert done.returncode == Exit.DATABASE
    assert "No PostgreSQL runs for" in done.stderr
    assert done.stdout == ""


def test_a_worker_without_a_data_folder_says_so(tmp_path: Path):
    """Also with a database that is there: keys, clock and simulator are the service's."""
    done = command(
        "worker", "--data", str(tmp_path / "none"), environment={"RINGFENCE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    assert (done.returncode, done.stdout) == (Exit.DATA_FOLDER, "")
    assert "There is no data folder" in done.stderr and "Traceback" not in done.stderr


def test_a_frozen_sandbox_has_no_worker_beside_it(tmp_path: Path):
    """Two processes are never twice the same."""
    done = command(
        "worker", "--data", str(tmp_path), environment={"RINGFENCE_FROZEN_AT": "2026-01-05T00:00:00Z", "RINGFENCE_WORKERS": "1"})
    assert done.returncode == Exit.CONFIGURATION
    assert "has one process" in done.stderr


@pytest.mark.wide
def test_nor_where_only_the_service_was_told_to_stand():
    """The folder's clock tells it."""
    with Sandbox(workers=1, arguments=("--frozen-at", "2026-01-05T00:00:00Z")) as sandbox:
        refused = sandbox.command("worker")
        assert refused.returncode == Exit.CONFIGURATION
        assert "has one process" in refused.stderr and refused.stdout == ""


def test_a_worker_stops_although_its_database_is_gone(sandbox: Sandbox):
    """There is nobody to tell, and nothing to wait for."""
    worker = sandbox.worker()
    assert sandbox.stop() == 0
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(90) == Exit.OK
    sandbox.start()


@pytest.mark.parametrize("sandbox", [{"RINGFENCE_INQUIRY": "on"}], indirect=True)
def test_a_person_decides_what_nobody_can_know(sandbox: Sandbox):
    """Listed, shown, decided; the worker commits it, and the story tells of it.  A second decision is refused."""
    doubt(sandbox, "ASK-1")
    [one] = sandbox.json("review", "list", "--all")["reviews"]
    assert sandbox.json("review", "list")["reviews"] == []
    shown = sandbox.command("review", "show", one["operation"])
    assert shown.returncode == 0 and "in doubt" in shown.stdout and "Its amount stays reserved" in shown.stdout
    decide = ("review", "resolve", one["operation"], "--as", "approved", "--reason", "it was settled", "--evidence", "report", "--by", "Mona")
    assert sandbox.command(*decide).returncode == 0
    assert sandbox.command(*decide).returncode == Exit.REFUSED
    assert sandbox.command("review", "show", "17").returncode == Exit.REFUSED
    sandbox.worker()
    until_known(sandbox)
    assert "Mona decided" in told(sandbox, "ASK-1")
    assert sandbox.command(*decide).returncode == Exit.REFUSED
    assert sandbox.command("proof").returncode == 0
