"""Many operations on one payment at once, through two worker processes.

Whatever the interleaving, what happened must be one of the serial stories that the protocol allows.
"""
import asyncio
import functools
import random

import pytest

from ringfence.processors.simulator import double_effects
from ringfence.torture.judge import compare
from tests.faults.peace import AGREED, verdict
from tests.sandbox import Client, Sandbox

pytestmark = pytest.mark.timeout(900)    # less than a minute alone; a crowded machine must not fail it

CONNECTIONS = 64


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=2) as running:
        yield running


async def crowd(sandbox):
    """As many kept connections as there are operations; the kernel spreads them over both workers."""
    return [await Client(sandbox.port, sandbox.merchant()).connect() for _ in range(CONNECTIONS)]


async def all_at_once(clients, operations):
    return await asyncio.gather(*(operation(client) for client, operation in zip(clients, operations, strict=True)))


def codes(answers):
    return sorted(answer["response_code"] for answer in answers)


async def play(sandbox, trials: range, one, name=""):
    clients = await crowd(sandbox)
    try:
        for trial in trials:
            await one(clients, f"RACE-{name or one.__name__}-{trial}", random.Random(trial))
    finally:
        for client in clients:
            await client.close()


async def mixed(clients, reference, chance):
    """Captures, refunds and voids in any mix: exactly one serial story explains all answers."""
    amount = chance.choice((64, 100, 1000, 6400))
    assert (await clients[0].authorize(reference, amount))["response_code"] == "02000"
    wanted = []
    for _ in range(CONNECTIONS):
        kind = chance.choices(("capture", "refund", "void"), (6, 3, 1))[0]
        minor = chance.randint(1, max(1, amount // 8))
        wanted.append((kind, minor))
    operations = [
        (lambda client, kind=kind, minor=minor: client.void(reference) if kind == "void" else getattr(client, kind)(reference, minor))
        for kind, minor in wanted
    ]
    answers = await all_at_once(clients, operations)
    captured = sum(minor for (kind, minor), answer in zip(wanted, answers, strict=True) if answer["response_code"] == "04000")
    refunded = sum(minor for (kind, minor), answer in zip(wanted, answers, strict=True) if answer["response_code"] == "06000")
    voids = [answer["response_code"] for (kind, _), answer in zip(wanted, answers, strict=True) if kind == "void"]
    status = await clients[0].status(reference)
    assert (status["captured_amount"], status["refunded_amount"]) == (str(captured), str(refunded))
    assert captured <= amount and refunded <= captured
    # Either one void won, and nothing was ever captured, or none did.
    assert voids.count("08000") <= 1
    if "08000" in voids:
        assert captured == refunded == 0 and status["transaction_code"] == "08000"
    allowed = {
        "capture": {"04000", "05042", "05773", "05784"}, "refund": {"06000", "07048", "07773", "07784"},
        "void": {"08000", "09034", "09047", "09784"},
    }
    for (kind, _), answer in zip(wanted, answers, strict=True):
        assert answer["response_code"] in allowed[kind], answer
    # A capture is refused only where the money was spoken for: what is left cannot take the smallest refused one.
    refused = [minor for (kind, minor), answer in zip(wanted, answers, strict=True) if answer["response_code"] == "05042"]
    if refused:
        assert captured + min(refused) > amount


async def equal_shares(clients, reference, chance):
    """64 captures of a 64th each all succeed."""
    assert (await clients[0].authorize(reference, 6400))["response_code"] == "02000"
    answers = await all_at_once(clients, [lambda client: client.capture(reference, 100)] * CONNECTIONS)
    assert codes(answers) == ["04000"] * CONNECTIONS
    assert (await clients[0].status(reference))["captured_amount"] == "6400"


async def too_much(clients, reference, chance):
    """Of 64 captures of 300 from 1000 exactly three succeed."""
    assert (await clients[0].authorize(reference, 1000))["response_code"] == "02000"
    answers = await all_at_once(clients, [lambda client: client.capture(reference, 300)] * CONNECTIONS)
    assert codes(answers) == ["04000"] * 3 + ["05042"] * 61


async def same_order(clients, reference, chance):
    """64 purchases under one order number: one pays, 63 hear that the number is used."""
    answers = await all_at_once(clients, [lambda client: client.purchase(reference, 500)] * CONNECTIONS)
    assert codes(answers) == ["13007"] * 63 + ["14000"]


async def same_refund(clients, reference, chance):
    """64 refunds under one maintenance reference move money once."""
    assert (await clients[0].purchase(reference, 64_000))["response_code"] == "14000"
    answers = await all_at_once(clients, [lambda client: client.refund(reference, 10, maintenance_reference="RF-1")] * CONNECTIONS)
    assert codes(answers).count("06000") == 1 and set(codes(answers)) <= {"06000", "07066", "07784"}
    assert (await clients[0].status(reference))["refunded_amount"] == "10"


RACES = (mixed, equal_shares, too_much, same_order, same_refund)


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
@pytest.mark.parametrize("first", [0, pytest.param(3, marks=pytest.mark.wide)])
def test_races_end_in_one_legal_story(sandbox, race, first):
    """Three trials of each race, in the wide suite the next seven, in the long one 2,000 in all."""
    asyncio.run(play(sandbox, range(first, 10 if first else 3), race))


@pytest.mark.long
@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
def test_two_thousand_races(sandbox, race):
    """Two thousand trials in all."""
    asyncio.run(play(sandbox, range(400), race))


@pytest.fixture(scope="module")
def only_on_the_fly():
    """A sandbox where nobody ends a doubt but whoever comes for the payment."""
    with Sandbox(workers=2, environment={"RINGFENCE_ANSWER_SECONDS": "0.5", "RINGFENCE_RECOVERY_PAUSES": "3600"}) as running:
        yield running


async def against_a_doubt(sandbox, clients, reference, chance):
    """Captures, refunds and voids at once, on a payment the first capture of which nobody has an answer to.

    The issuer was away.  One try on the fly is in vain; the next one, made by whoever of the 64 comes first once the issuer is back,
    ends the doubt, and then what all of them are told is one serial story.
    """
    amount, first = 6400, chance.randint(1, 3200)
    assert (await clients[0].authorize(reference, amount))["response_code"] == "02000"
    assert (await asyncio.to_thread(sandbox.command, "simulator", "set", "--offline")).returncode == 0
    assert (await clients[0].capture(reference, first))["response_code"] == "15777"
    assert (await clients[0].void(reference))["response_code"] == "09784"
    assert (await clients[0].status(reference))["transaction_code"] == "15777"
    assert (await asyncio.to_thread(sandbox.command, "simulator", "set", "--online")).returncode == 0
    wanted = [(chance.choices(("capture", "refund", "void"), (6, 3, 1))[0], chance.randint(1, 300)) for _ in range(CONNECTIONS)]
    answers = await all_at_once(clients, [
        (lambda client, kind=kind, minor=minor: client.void(reference) if kind == "void" else getattr(client, kind)(reference, minor))
        for kind, minor in wanted
    ])
    told = [(kind, minor, answer["response_code"]) for (kind, minor), answer in zip(wanted, answers, strict=True)]
    allowed = {"capture": {"04000", "05042", "05784"}, "refund": {"06000", "07048", "07784"}, "void": {"09034", "09784"}}
    assert all(code in allowed[kind] for kind, _, code in told), told
    # Once more, after the dust: the doubt has ended, whoever ended it, so that this one is decided.
    assert (await clients[0].void(reference))["response_code"] == "09034"
    captured = first + sum(minor for kind, minor, code in told if code == "04000")
    refunded = sum(minor for kind, minor, code in told if code == "06000")
    status = await clients[0].status(reference)
    assert (status["captured_amount"], status["refunded_amount"]) == (str(captured), str(refunded))
    assert refunded <= captured <= amount


@pytest.mark.parametrize("trials", [range(2), pytest.param(range(2, 5), marks=pytest.mark.wide)])
def test_a_race_against_a_doubt_ends_in_one_legal_story(only_on_the_fly, trials):
    """Some trials; afterwards nothing is in doubt and both books are equal."""
    asyncio.run(play(only_on_the_fly, trials, functools.partial(against_a_doubt, only_on_the_fly), "doubt"))
    assert verdict(only_on_the_fly.data) == AGREED


def test_the_books_agree_after_the_races(sandbox):
    """The proof passes, and the simulator's book says the same of every payment; nothing is in doubt and nothing moved twice."""
    proof = sandbox.json("proof", "--full")
    assert proof["ok"] and proof["chain"]["ok"] and proof["merchants"]
    assert all(check["ok"] for books in proof["merchants"] for check in books["checks"].values())
    compared = asyncio.run(compare(sandbox.data))
    assert compared.payments and compared.doubts == compared.wrong == ()
    assert double_effects(sandbox.data / "simulator") == []
