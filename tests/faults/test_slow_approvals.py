"""Approvals that take their time, and workers that die while they wait for them.

An issuer that answers at four fifths of the time limit has approved long before anybody hears of it: the widest gap there is
between what happened and what is known.
"""
from __future__ import annotations

import asyncio
import random

import pytest

from ringfence.processors.simulator import double_effects, standing
from ringfence.processors.simulator.scenarios import RANGES
from tests.faults.books import compare
from tests.faults.processes import Watch, processes_of
from tests.faults.storm import LINE_DEAD
from tests.sandbox import Client, Sandbox

ANSWER_SECONDS = 0.5
WAVES, AT_ONCE = 4, 100
SLOW = "0302"
"""The scenario of an approval at 0.8 of the time limit."""


async def authorize(sandbox: Sandbox, reference: str, number: int) -> str | None:
    """The response code of one slow authorization; ``None`` where no answer came."""
    client = Client(sandbox.port, sandbox.merchant(number % 2))
    try:
        brand = RANGES[number % 3]
        answer = await client.authorize(reference, 100 + number, card_number=brand.number(SLOW, number % 1000))
        return answer["response_code"]
    except LINE_DEAD:
        return None
    finally:
        await client.close()


async def wave(sandbox: Sandbox, number: int, chance: random.Random) -> dict[str, str | None]:
    """A hundred slow authorizations at once, and the death of a random worker while the issuer thinks."""
    names = [f"SLOW-{number}-{place}" for place in range(AT_ONCE)]
    asked = asyncio.gather(*(authorize(sandbox, name, number * AT_ONCE + place) for place, name in enumerate(names)))
    victim = Watch([chance.choice(processes_of(sandbox.process.pid).workers)])
    asyncio.get_running_loop().call_later(chance.uniform(0.1, 0.8) * ANSWER_SECONDS, victim.kill)
    answers = await asyncio.wait_for(asked, 60)
    assert victim.alive_after(0) == [], "the worker lived through its wave"
    return dict(zip(names, answers, strict=True))


@pytest.fixture(scope="module")
def aftermath():
    """The sandbox after four waves, and what its clients heard."""
    async def run(sandbox: Sandbox) -> dict[str, str | None]:
        heard: dict[str, str | None] = {}
        for number in range(WAVES):
            heard |= await wave(sandbox, number, random.Random(number))
        return heard

    with Sandbox(workers=2, environment={"RINGFENCE_ANSWER_SECONDS": str(ANSWER_SECONDS)}) as sandbox:
        yield sandbox, asyncio.run(run(sandbox))


def test_every_kill_left_answers_missing_and_all_others_were_approved(aftermath):
    """Who heard anything heard an approval: nobody is told that an unknown was declined."""
    _, heard = aftermath
    assert set(heard.values()) == {"02000", None}
    assert WAVES * 16 <= sum(code is None for code in heard.values()) < len(heard) - WAVES * 16


def test_what_is_approved_here_is_held_at_the_issuer_and_the_other_way_round(aftermath):
    """Our ledger and the issuer's standing differ nowhere but where our ledger says that it does not know."""
    sandbox, heard = aftermath
    compared = asyncio.run(compare(sandbox.data))
    assert compared.wrong == ()
    assert {doubt.reference for doubt in compared.doubts} <= {name for name, code in heard.items() if code is None}
    held = {payment for payment, stands in standing(sandbox.data / "simulator").items() if stands.held}
    assert held & {doubt.payment for doubt in compared.doubts}, "no kill fell between an approval and its answer"
    assert double_effects(sandbox.data / "simulator") == []


def test_nobody_hears_of_an_approval_that_nobody_knows(aftermath):
    """Each order says in CHECK_STATUS what its client heard, or 15777, or that it never came."""
    sandbox, heard = aftermath

    async def ask() -> dict[str, str]:
        clients = [Client(sandbox.port, sandbox.merchant(number)) for number in range(2)]
        said = {}
        for name in heard:
            status = await clients[int(name.rsplit("-", 1)[1]) % 2].status(name)
            said[name] = status.get("transaction_code", status["response_code"])
        for client in clients:
            await client.close()
        return said

    doubted = {doubt.reference for doubt in asyncio.run(compare(sandbox.data)).doubts}
    for name, code in asyncio.run(ask()).items():
        if heard[name] is not None:
            assert code == heard[name]
        else:
            assert code == "15777" if name in doubted else code in ("02000", "12036"), (name, code)


def test_the_proof_passes_beside_the_doubts(aftermath):
    """Promises that nobody knows the end of are exceptions, and no faults."""
    sandbox, _ = aftermath
    assert sandbox.json("proof", "--full")["ok"]
