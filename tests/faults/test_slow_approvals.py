"""Approvals that take their time, and workers that die while they wait for them.

An issuer that answers at four fifths of the time limit has approved long before anybody hears of it: the widest gap there is
between what happened and what is known.  First doubts are left alone, so that they can be looked at; then they end.  The last test
has them ended at once, by a process of its own, while all processes die.
"""
from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from ringfence.processors.simulator import double_effects, standing
from ringfence.processors.simulator.scenarios import RANGES
from ringfence.torture.judge import compare
from ringfence.torture.killer import Watch, processes_of
from tests.faults.peace import AGREED, NOT_BEFORE_AN_HOUR, SOON, noted, settled, verdict
from tests.faults.storm import LINE_DEAD
from tests.sandbox import Client, Sandbox

pytestmark = pytest.mark.timeout(900)    # less than a minute alone; a crowded machine must not fail it

ANSWER_SECONDS = 1.5
"""A fifth of it is what a crowded machine may lose on the way without a slow approval becoming none."""
PATIENT = {"RINGFENCE_ANSWER_SECONDS": str(ANSWER_SECONDS)}
GONE_SECONDS = 10.0
"""A process that was killed ends after its connections do."""
WAVES, AT_ONCE = 3, 80
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


async def kill_amid(sandbox: Sandbox, victim: Watch) -> None:
    """Kill once the issuer has approved three quarters of a first wave: the answers to the latest of them are still to come."""
    while sum(stands.held for stands in standing(sandbox.data / "simulator").values()) < AT_ONCE * 3 // 4:
        await asyncio.sleep(0.01)
    victim.kill()


async def both(sandbox: Sandbox) -> Sequence[int]:
    """The workers, once each place has one again."""
    async with asyncio.timeout(200):
        while len(workers := processes_of(sandbox.process.pid).workers) < 2:
            await asyncio.sleep(0.01)
    return workers


async def wave(sandbox: Sandbox, number: int, chance: random.Random, beside: list[int] | None = None, amid: bool = False) -> dict[str, str | None]:
    """Many slow authorizations at once, and the death of a random worker, or of one of these processes, while the issuer thinks.

    ``amid``: not at any moment, but certainly between approvals and their answers; and of both workers, since one may have had all its answers
    before the other has asked.
    """
    workers = await both(sandbox)
    names = [f"SLOW-{number}-{place}" for place in range(AT_ONCE)]
    asked = asyncio.gather(*(authorize(sandbox, name, number * AT_ONCE + place) for place, name in enumerate(names)))
    victim = Watch(workers if amid else [chance.choice(workers if beside is None else beside)])
    if amid:
        await asyncio.wait_for(kill_amid(sandbox, victim), 200)
    else:
        asyncio.get_running_loop().call_later(chance.uniform(0.1, 0.8) * ANSWER_SECONDS, victim.kill)
    answers = await asyncio.wait_for(asked, 200)
    assert victim.alive_after(GONE_SECONDS) == [], "the victim lived through its wave"
    return dict(zip(names, answers, strict=True))


@pytest.fixture(scope="module")
def aftermath():
    """The sandbox after its waves, and what its clients heard."""
    async def run(sandbox: Sandbox) -> dict[str, str | None]:
        heard: dict[str, str | None] = {}
        for number in range(WAVES):
            heard |= await wave(sandbox, number, random.Random(number), amid=number == 0)
        return heard

    with Sandbox(workers=2, environment={**NOT_BEFORE_AN_HOUR, **PATIENT}, alone=True) as sandbox:
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


def test_then_every_doubt_ends(aftermath):
    """Once recovery may begin nothing stays in doubt, and what is approved here is held there, operation by operation."""
    sandbox, _ = aftermath
    asyncio.run(noted(sandbox))
    assert sandbox.command("clock", "advance", "2h").returncode == 0
    asyncio.run(settled(sandbox))
    assert verdict(sandbox.data) == AGREED
    assert sandbox.json("proof", "--full")["ok"]


@pytest.mark.wide
def test_nobody_approves_what_a_recovery_beside_reverses():
    """400 slow approvals over two workers, doubts ended at once by a separate worker, and random deaths of all three: no payment is
    approved here and reversed at the issuer, or the other way round.
    """
    async def run(sandbox: Sandbox) -> dict[str, str | None]:
        heard: dict[str, str | None] = {}
        chance, beside = random.Random(400), sandbox.worker()
        for number in range(WAVES):
            processes = [*processes_of(sandbox.process.pid).workers, beside.pid]
            heard |= await wave(sandbox, number, chance, processes)
            if beside.poll() is not None:
                beside = await asyncio.to_thread(sandbox.worker)
        recoverer = Watch([beside.pid])
        recoverer.kill()                # with everything in hand that it has
        assert recoverer.alive_after(GONE_SECONDS) == []
        beside.wait()
        await asyncio.to_thread(sandbox.worker)
        await settled(sandbox)
        return heard

    with Sandbox(workers=2, environment={**SOON, **PATIENT, "RINGFENCE_BACKGROUND": "off"}, alone=True) as sandbox:
        heard = asyncio.run(run(sandbox))
        assert set(heard.values()) <= {"02000", None} and any(code is None for code in heard.values())
        assert verdict(sandbox.data) == AGREED
        assert double_effects(sandbox.data / "simulator") == []
        stands = {payment for payment, amounts in standing(sandbox.data / "simulator").items() if amounts.held}
        assert len(stands) >= sum(code == "02000" for code in heard.values())
