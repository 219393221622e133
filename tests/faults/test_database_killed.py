"""``kill -9`` of PostgreSQL while payments are in flight.

The service lives on: it says that nobody knows, or that nothing was done, and goes back to work by itself.
"""
from __future__ import annotations

import asyncio
import random

import pytest

from ringfence.processors.simulator import double_effects
from ringfence.torture.judge import compare
from ringfence.torture.killer import Watch, processes_of
from tests.faults.peace import AGREED, SOON, settled, verdict
from tests.faults.storm import Storm
from tests.sandbox import Sandbox

pytestmark = pytest.mark.timeout(900)    # less than a minute alone; a crowded machine must not fail it

SLOWEST_SECONDS = 10.0
"""No answer takes longer, outage included."""


@pytest.mark.parametrize("kills", [1, pytest.param(2, marks=pytest.mark.wide), pytest.param(20, marks=pytest.mark.long)])
def test_a_killed_database_is_started_again_and_nobody_is_declined(kills: int):
    """Under load, also twice and twenty times on one sandbox: no request is lost, no answer is a decline; soon nothing is in doubt, and the books are equal."""
    async def run(sandbox: Sandbox) -> None:
        chance, file = random.Random(kills), sandbox.folder / "acknowledged.jsonl"
        uncertain: set[str] = set()
        for number in range(kills):
            storm = Storm(sandbox, f"DB{number}")
            await storm.start()
            await storm.answers(chance.randint(150, 500))
            before = processes_of(sandbox.process.pid)
            victim = Watch([before.postmaster])
            victim.kill()
            assert victim.alive_after(SLOWEST_SECONDS) == []
            await storm.answers(500)            # far more than were in flight: it works again
            await storm.end()
            after = processes_of(sandbox.process.pid)
            assert after.postmaster != before.postmaster and after.workers == before.workers, "only the database was replaced"
            assert storm.lost == [], "a connection was given up"
            assert storm.unexpected == [] and storm.troubled, "nobody was being served when the database died"
            assert max(one.seconds for one in storm.answered) <= SLOWEST_SECONDS
            storm.append_to(file)
            proof = sandbox.command("proof", "--acknowledged", str(file))
            assert proof.returncode == 0, proof.stdout[-3000:] + proof.stderr[-3000:]
            compared = await compare(sandbox.data)
            assert compared.wrong == () and double_effects(sandbox.data / "simulator") == []
            uncertain |= {one.sent.reference for one in storm.answered if one.code == "15777"}
            assert {doubt.reference for doubt in compared.doubts} <= uncertain
        await settled(sandbox)

    with Sandbox(workers=2, environment=SOON) as sandbox:
        asyncio.run(run(sandbox))
        assert verdict(sandbox.data) == AGREED
        assert sandbox.stop() == 0
