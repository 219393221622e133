"""A service whose processes are killed while a payer is challenged: whoever is left ends the payment, once, and both books agree."""
from __future__ import annotations

import asyncio
import os
import re
import signal
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ringfence.engine import points
from ringfence.processors.simulator import double_effects, read_book
from tests.sandbox import Client, Sandbox
from tests.service.test_up import workers

CARD = "4557012345678902"
SECONDS = 60.0


class Trial:
    """The sandbox, and the page of points its processes look at."""

    def __init__(self, sandbox: Sandbox, file: Path) -> None:
        self.sandbox, self._file = sandbox, file

    def arm(self, place: str) -> None:
        with self._file.open("r+b") as page:
            page.write(struct.pack(f"={len(points.NAMES)}q", *(int(name == place) for name in points.NAMES)))

    def challenged(self, reference: str) -> str:
        """The address of the page that a payer is sent to."""
        answer = self.sandbox.json("pay", "--card", CARD, "--reference", reference, "--set", "return_url=https://shop.example/")
        assert answer["response_code"] == "20064"
        return answer["3ds_url"]

    def code(self, reference: str) -> str:
        """How the order stands, asked without starting a command for it."""
        async def ask() -> str:
            client = Client(self.sandbox.port, self.sandbox.merchant())
            try:
                return (await client.status(reference))["transaction_code"]
            finally:
                await client.close()
        return asyncio.run(ask())

    def until_ended(self, reference: str) -> str:
        """How the order ended; looking takes time from what is awaited."""
        limit = time.monotonic() + SECONDS
        while (code := self.code(reference)) in ("20064", "15777"):
            assert time.monotonic() < limit, f"{reference} is still {code}"
            time.sleep(0.05)
        return code


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    file = tmp_path_factory.mktemp("points") / "page"
    file.write_bytes(bytes(points.PAGE_BYTES))
    environment = {
        "RINGFENCE_TORTURE_POINTS": str(file), "RINGFENCE_ANSWER_SECONDS": "0.2", "RINGFENCE_SWEEP_SECONDS": "0.2",
        "RINGFENCE_RECOVERY_PAUSES": "0.2,0.2,0.5,1",
    }
    with Sandbox(workers=2, environment=environment) as running:
        yield Trial(running, file)


def posted(url: str, **fields: str) -> str:
    """The page that answers a form."""
    with urllib.request.urlopen(url, urlencode(fields).encode(), timeout=90) as answer:
        return answer.read().decode()


def decided(url: str) -> tuple[str, str]:
    """The payer approves: where the browser goes then, and with what."""
    over = posted(url, action="approve")
    cres = re.search('name="cres" value="([^"]*)"', over)
    assert cres is not None, over
    return url.replace("/3ds/", "/3ds/return/"), cres[1]


def book_of(trial: Trial) -> list:
    return read_book(trial.sandbox.data / "simulator")


@pytest.mark.parametrize("place", [
    pytest.param("before_ask", marks=pytest.mark.wide), "after_ask", pytest.param("before_outcome_commit", marks=pytest.mark.wide),
    "after_outcome_commit"])
def test_killed_while_the_browser_returns(trial: Trial, place: str):
    """Behind the claim: the payment was made and told, or is made undone; nobody is charged for an order that ended otherwise."""
    reference = f"KILL-{place}"
    back, cres = decided(trial.challenged(reference))
    trial.arm(place)
    with pytest.raises((urllib.error.URLError, HTTPException, OSError)):
        posted(back, cres=cres)
    code = trial.until_ended(reference)
    assert code == ("14000" if place == "after_outcome_commit" else "13666")
    again = posted(back, cres=cres)
    assert f'name="response_code" value="{code}"' in again
    assert double_effects(book_of(trial)) == []
    assert trial.sandbox.command("proof", "--full").returncode == 0


def test_killed_before_the_browser_returns(trial: Trial):
    """Every worker that knew of it is gone; another one takes the browser, with the security code that the supervising process kept."""
    back, cres = decided(trial.challenged("KILL-workers"))
    before = workers(trial.sandbox)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    limit = time.monotonic() + SECONDS
    while True:
        try:
            page = posted(back, cres=cres)
            break
        except (urllib.error.URLError, HTTPException, OSError):
            assert time.monotonic() < limit
            time.sleep(0.1)                             # new workers start in this time
    assert 'name="response_code" value="14000"' in page
    assert trial.code("KILL-workers") == "14000"
    assert trial.sandbox.command("proof", "--full").returncode == 0
