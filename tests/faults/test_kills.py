"""``kill -9`` under load, as the kernel's out-of-memory killer or a power cut of one process does it.

Payments are in flight on many connections when processes die: all of them, the supervising one, or one worker.  After that three
witnesses must agree: what clients saw acknowledged, our own ledger, and the simulator's book.  What is in doubt stands until the
clock is moved, so that it can be looked at; then it ends.
"""
from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from ringfence.processors.simulator import double_effects
from ringfence.torture.judge import Doubt, compare
from ringfence.torture.killer import Processes, Watch, left_running, processes_of
from tests.faults.peace import AGREED, LOOK_SECONDS, NOT_BEFORE_AN_HOUR, settled, verdict
from tests.faults.storm import Storm
from tests.sandbox import Client, Sandbox

pytestmark = pytest.mark.timeout(900)    # less than a minute alone; a crowded machine must not fail it

IN_FLIGHT = 16
"""So many requests must lose their answer, else the kill does not count."""
GONE_SECONDS = 10.0
RESTART_SECONDS = 3.0
"""The promise; on a machine that is busy with something else, twice what a start takes there before any kill or after an orderly end."""
WORST_RESTART_SECONDS = 15.0
SETTLED_SECONDS = 90.0
"""After that long every intent without an outcome must stand as unknown in the ledger."""

Victims = Callable[[Processes, random.Random], tuple[int, ...]]

VICTIMS: dict[str, Victims] = {
    "everything": lambda processes, chance: processes.all,
    "the supervisor": lambda processes, chance: (processes.supervisor,),
    "one worker": lambda processes, chance: (chance.choice(processes.workers),),
}


class Kill(NamedTuple):
    """One kill that counted: what died, how many requests lost their answer, and the seconds until payments were taken again."""

    victim: str
    lost: int
    seconds: float


class Trial:
    """A sandbox that is killed again and again, and everything its clients ever saw."""

    def __init__(self, sandbox: Sandbox, seed: int) -> None:
        self.sandbox, self._chance = sandbox, random.Random(seed)
        self.acknowledged = sandbox.folder / "acknowledged.jsonl"
        self.kills: list[Kill] = []
        self._storms = 0

    async def kill(self, victim: str) -> None:
        """Kill it under load until a kill counts, and judge what is there afterwards."""
        for _ in range(5):
            kill = await self._once(victim)
            if kill.lost >= IN_FLIGHT:
                self.kills.append(kill)
                return
        raise AssertionError(f"never were {IN_FLIGHT} requests in flight when {victim} died")

    async def _once(self, victim: str) -> Kill:
        self._storms += 1
        storm = Storm(self.sandbox, f"S{self._storms}")
        processes = processes_of(self.sandbox.process.pid)
        victims, others = Watch(VICTIMS[victim](processes, self._chance)), Watch(processes.all)
        await storm.start()
        await storm.answers(self._chance.randint(150, 700))
        loop, killed = asyncio.get_running_loop(), asyncio.Event()

        def strike() -> None:
            if victim != "one worker":
                storm.over()
            victims.kill()
            killed.set()

        loop.call_later(self._chance.uniform(0, 0.02), strike)      # anywhere between two answers
        await killed.wait()
        began = time.monotonic()
        if victim == "one worker":
            await storm.answers(200)
            await storm.end()
            seconds = await self._replaced(processes, began)
        else:
            await storm.end()
            assert others.alive_after(GONE_SECONDS) == [] and left_running(self.sandbox.data) == []
            self.sandbox.kill()
            began = time.monotonic()
            self.sandbox.start()
            seconds = time.monotonic() - began
        storm.append_to(self.acknowledged)
        assert storm.unexpected == [], storm.unexpected
        await self._judge(storm)
        return Kill(victim, len(storm.lost), seconds)

    async def _replaced(self, before: Processes, began: float) -> float:
        """Seconds until there were as many workers as before; the others never stopped serving."""
        while True:
            workers = processes_of(self.sandbox.process.pid).workers
            if len(workers) == len(before.workers) and set(workers) != set(before.workers):
                return time.monotonic() - began
            assert time.monotonic() - began < WORST_RESTART_SECONDS
            await _health(self.sandbox)

    async def _judge(self, storm: Storm) -> None:
        """Nothing acknowledged is lost, nothing moved twice, and the books agree."""
        proof = self.sandbox.command("proof", "--acknowledged", str(self.acknowledged))
        assert proof.returncode == 0, proof.stdout[-3000:] + proof.stderr[-3000:]
        assert double_effects(self.sandbox.data / "simulator") == []
        compared = await compare(self.sandbox.data)
        assert compared.wrong == ()
        fresh = tuple(doubt for doubt in compared.doubts if doubt.reference.startswith(f"{storm.name}-"))
        assert {(doubt.merchant, doubt.reference) for doubt in fresh} <= {
            sent[:2] for sent in (*storm.lost, *(one.sent for one in storm.troubled))
        }, "an operation is in doubt that was answered"
        await self.ask_about(fresh)

    async def ask_about(self, doubts: tuple[Doubt, ...]) -> None:
        """Whoever asks hears that nobody knows."""
        merchants = {one["aps"]["merchant_identifier"]: one["aps"] for one in self.sandbox.description["merchants"]}
        clients = {name: Client(self.sandbox.port, merchant) for name, merchant in merchants.items()}
        for doubt in doubts:
            status = await clients[doubt.merchant].status(doubt.reference)
            assert (status["response_code"], status["transaction_code"]) == ("12000", "15777"), status
        for client in clients.values():
            await client.close()

    async def settle(self) -> tuple[Doubt, ...]:
        """Returns, with all doubts, once the ledger itself says of each that it is unknown; nobody has tried to end them yet."""
        until, compared = time.monotonic() + SETTLED_SECONDS, await compare(self.sandbox.data)
        while not all(doubt.noted for doubt in compared.doubts):
            assert time.monotonic() < until, "an operation without an outcome never became unknown"
            await asyncio.sleep(LOOK_SECONDS)
            compared = await compare(self.sandbox.data)
        assert compared.wrong == ()
        return compared.doubts

    def shows(self, doubts: tuple[Doubt, ...]) -> None:
        """Proof and story tell of what nobody knows, and its amount stays reserved."""
        minors = {doubt.operation: doubt.minor for doubt in doubts}
        proof = self.sandbox.json("proof", "--full")
        assert proof["ok"] and proof["chain"]["ok"], proof
        told = {
            int(exception["operation"]): exception for book in proof["merchants"] for exception in book["exceptions"]
            if exception["what"] == "unknown"
        }
        listed = sum(len(book["exceptions"]) for book in proof["merchants"])        # the first thousand of each book, and all are counted
        assert len(told) == listed and sum(book["exception_count"] for book in proof["merchants"]) == len(doubts)
        assert told and all(exception["minor"] == minors[operation] for operation, exception in told.items())
        assert all(doubt.reserved >= doubt.minor for doubt in doubts)
        for doubt in doubts[-3:]:
            story = self.sandbox.command("explain", str(doubt.operation)).stdout
            assert f"What became of the {doubt.kind} is unknown" in story and "Reserved for operations without an end" in story, story


async def _health(sandbox: Sandbox) -> None:
    """One request that any worker answers: what a waiting test does instead of sleeping."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: ringfence\r\nconnection: close\r\n\r\n")
    await reader.read()
    writer.close()


def play(kills: list[str], seed: int) -> list[Kill]:
    """All kills on one sandbox, and the last judgement."""
    async def run(sandbox: Sandbox) -> list[Kill]:
        trial = Trial(sandbox, seed)
        for victim in kills:
            await trial.kill(victim)
        doubts = await trial.settle()
        assert doubts, "no kill left anything in doubt: it never hit a payment"
        await trial.ask_about(doubts)
        trial.shows(doubts)
        assert (await asyncio.to_thread(sandbox.command, "clock", "advance", "2h")).returncode == 0
        await settled(sandbox)
        return trial.kills

    began = time.monotonic()
    with Sandbox(workers=2, environment=NOT_BEFORE_AN_HOUR, alone=True) as sandbox:
        orderly = time.monotonic() - began
        done = asyncio.run(run(sandbox))
        assert verdict(sandbox.data) == AGREED
        assert sandbox.json("proof", "--full")["ok"]
        assert sandbox.stop() == 0
        assert left_running(sandbox.data) == []
        began = time.monotonic()
        sandbox.start()
        orderly = max(orderly, time.monotonic() - began)
    restarts = [kill.seconds for kill in done if kill.victim != "one worker"]
    assert statistics.median(restarts) <= max(RESTART_SECONDS, 2 * orderly), (restarts, orderly)
    assert max(restarts) <= max(WORST_RESTART_SECONDS, 4 * orderly), (restarts, orderly)
    return done


def test_nothing_is_lost_when_everything_or_the_supervisor_or_a_worker_is_killed():
    """Three kills; the long suite makes fifty."""
    play(list(VICTIMS), seed=1)


@pytest.mark.long
def test_nothing_is_lost_in_fifty_kills():
    """Fifty kills on one data folder, whose books grow all the while."""
    chance = random.Random(50)
    play([chance.choice(list(VICTIMS)) for _ in range(50)], seed=50)
