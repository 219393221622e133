"""Holds in great numbers, made as the service makes them: through the engine's counters and the sandbox's issuer, by a process of
its own.

Leaves out what a hold's life after it does not depend on: HTTP, signatures, and the door.
"""
from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import NamedTuple

import asyncpg
import uvloop

from ringfence.bench.load import card_number
from ringfence.bench.measuring import CannotMeasure
from ringfence.config import Config, read
from ringfence.core.card import Pan
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.engine import Engine
from ringfence.engine.intent_lane import IntentLane
from ringfence.engine.intents import CardInHand, Intent
from ringfence.engine.lane import Lane
from ringfence.engine.numbering import Numbering
from ringfence.engine.outcome_lane import OutcomeLane
from ringfence.engine.vault import StoredCard, Vault
from ringfence.main import INTENT_LANES, OUTCOME_LANES
from ringfence.opening import clock_of, open_keyring
from ringfence.processors.simulator import Simulator
from ringfence.storage import database

MINOR, CURRENCY = 1_000, "AED"
HOLD_SECONDS = 7 * 86_400
TOGETHER = 2_000
CARDS = 100                             # of each merchant
ISSUER = 900                            # the first number of the books that these processes keep
GRACE_SECONDS = 30.0
_DETAILS = json.dumps({"customer_email": "buyer@shop.example", "customer_ip": "203.0.113.7", "language": "en"}).encode()


class HoldsFailed(CannotMeasure):
    """Not all holds were made; the message is a sentence."""


class Wanted(NamedTuple):
    """What one process shall make: ``count`` holds, shared out among merchants (identifiers)."""

    data: str
    dsn: str
    place: int
    count: int
    merchants: Sequence[str]


def make(wanted: Sequence[Wanted]) -> None:
    """Make holds in as many processes at once.  Raises ``HoldsFailed``."""
    with ExitStack() as stack:
        makers = []
        for one in wanted:
            maker = stack.enter_context(subprocess.Popen(
                [sys.executable, "-m", "ringfence.bench.holds"], stdin=subprocess.PIPE, stderr=subprocess.PIPE))
            assert maker.stdin
            maker.stdin.write(json.dumps(one._asdict()).encode())
            maker.stdin.close()
            maker.stdin = None
            makers.append(maker)
        said = [maker.communicate()[1].decode("utf-8", "replace") for maker in makers]
    for maker, text in zip(makers, said, strict=True):
        if maker.returncode:
            raise HoldsFailed(f"A maker of holds ended with {maker.returncode}: {text.strip()[-1500:]}")


async def _make(wanted: Wanted) -> None:
    config = read(os.environ, {"RINGFENCE_DATA": wanted.data})
    if not isinstance(config, Config):
        raise HoldsFailed("; ".join(f"{error.name} {error.problem}" for error in config))
    async with AsyncExitStack() as ends:
        engine, directory, vault = await _composed(config, wanted, ends)
        merchants = [merchant for name in wanted.merchants if (merchant := directory.merchant(name))]
        cards = [(merchant, await _cards(vault, merchant)) for merchant in merchants]
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        made = 0
        while made < wanted.count:
            several = [cards[number % len(cards)] for number in range(made, min(made + TOGETHER, wanted.count))]
            await asyncio.gather(*(
                _authorize(engine, merchant, of_merchant[(made + number) // len(cards) % CARDS])
                for number, (merchant, of_merchant) in enumerate(several)))
            made += len(several)


async def _composed(config: Config, wanted: Wanted, ends: AsyncExitStack) -> tuple[Engine, Directory, Vault]:
    """The part of a worker that stands below its doors."""
    clock = clock_of(config)
    pool = await ends.enter_async_context(database.pool(wanted.dsn, 2, application_name="ringfence bench", by_key=True))
    keyring = await open_keyring(config, pool)
    numbering = Numbering(pool)
    await numbering.take()
    ends.push_async_callback(numbering.give_back)
    directory = Directory(pool, keyring, clock.now)
    await directory.load()
    vault = Vault(pool, keyring, new_id=numbering.next, keeps=lambda pan: True, now=clock.now)
    issuer = Simulator(config.data / "simulator", seed=config.seed, worker=ISSUER + wanted.place, t1_seconds=GRACE_SECONDS)
    ends.push_async_callback(issuer.close)

    async def connect() -> asyncpg.Connection:
        return await database.connect(wanted.dsn, application_name="ringfence bench", by_key=True)

    intents, outcomes = Lane(connect, numbers=INTENT_LANES), Lane(connect, numbers=OUTCOME_LANES)
    for lane in (intents, outcomes):
        await lane.open()
        ends.push_async_callback(lane.close)
    engine = Engine(
        intents=IntentLane(intents, now=clock.now, ask_seconds=GRACE_SECONDS),
        outcomes=OutcomeLane(outcomes, now=clock.now, new_id=numbering.next, chain_key=keyring.chain_key,
                             value_date=lambda processor, at: at.date()),
        processors={issuer.name: issuer}, vault=vault, pool=pool, new_id=numbering.next, now=clock.now,
    )
    ends.push_async_callback(engine.idle)
    return engine, directory, vault


async def _cards(vault: Vault, merchant: Merchant) -> list[tuple[Pan, StoredCard]]:
    pans = [Pan(card_number(number)) for number in range(CARDS)]
    return list(zip(pans, await asyncio.gather(*(vault.keep(merchant.merchant_id, pan) for pan in pans)), strict=True))


async def _authorize(engine: Engine, merchant: Merchant, card: tuple[Pan, StoredCard]) -> None:
    """One hold; raises ``HoldsFailed`` where it was not approved."""
    number, (pan, stored) = engine.new_id(), card
    reference = f"hold-{number}"
    result = await engine.execute(Intent(
        merchant.merchant_id, merchant.identifier, number,
        Command(Kind.AUTHORIZATION, MINOR, CURRENCY, number, hold_seconds=HOLD_SECONDS), "aps", "bench", "bench",
        number.to_bytes(16, "big"), reference, f"aps:{reference}", details=_DETAILS, processor="simulator",
        card=CardInHand(pan, "3512", stored=stored),
    ))
    if not isinstance(result.outcome, Approved):
        raise HoldsFailed(f"A hold was not approved: {result.outcome or result.refusal}")


def shares(count: int, among: int) -> list[int]:
    """A count shared out as evenly as it goes."""
    return [count // among + (place < count % among) for place in range(among)]


def main(hear: Callable[[], str] = sys.stdin.read) -> None:
    """Makes what standard input says."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_make(Wanted(**json.loads(hear()))))


if __name__ == "__main__":
    main()
