"""Who is asked for card payments, put together: the simulated issuers with their access control and their docket, or nobody.

A part of the composition: built by hand, in reading order.
"""
from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import NamedTuple

import asyncpg

from ringfence.background import dropped
from ringfence.background.worker import Chore
from ringfence.config import NO_CARDS, Config
from ringfence.core.outcomes import Outcome
from ringfence.disputing import acts_of
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.engine.recovery import Recovery
from ringfence.engine.timeline import Drops
from ringfence.engine.timeline import none as nothing
from ringfence.processors.no_cards import NoAccessControl, NoCards
from ringfence.processors.processor import Ask
from ringfence.processors.simulator import Docket, SimulatedAccessControl, Simulator


class Issuers(NamedTuple):
    """The issuers of one process.  ``docket``: where they note disputes, ``None`` where there are no issuers; ``acts``: when they will do
    something by themselves."""

    processor: Simulator | NoCards
    access_control: SimulatedAccessControl | NoAccessControl
    docket: Docket | None
    acts: Drops

    @property
    def take_cards(self) -> bool:
        """Whether anybody is asked."""
        return not isinstance(self.processor, NoCards)

    def chores(self, directory: Directory, engine: Engine, pool: asyncpg.Pool, pause: float) -> list[Chore]:
        """What is looked after again and again: holds that issuers dropped."""
        if isinstance(self.processor, NoCards):
            return []
        return [dropped.chore(self.processor.name, self.processor.dropped, directory, engine, pool, pause)]

    def listen_for_late(self, ends_doubts: Recovery, ends: AsyncExitStack) -> None:
        """Have recovery told of approvals that come after their callers were told that nobody knows."""
        telling: set[asyncio.Task[None]] = set()

        def heard(message: Ask, outcome: Outcome) -> None:
            task = asyncio.get_running_loop().create_task(ends_doubts.late(message, outcome))
            telling.add(task)
            task.add_done_callback(telling.discard)

        async def told() -> None:
            if telling:
                await asyncio.wait(telling)

        if isinstance(self.processor, Simulator):
            self.processor.on_late = heard
            ends.push_async_callback(told)


def issuers_of(config: Config, number: int, ends: AsyncExitStack) -> Issuers:
    """Those of this installation; ``number`` tells the processes of a data folder apart, ``ends`` is given what closes them."""
    if config.processor == NO_CARDS:
        return Issuers(NoCards(), NoAccessControl(), None, nothing)
    folder = config.data / "simulator"
    processor = Simulator(folder, seed=config.seed, worker=number, t1_seconds=config.answer_seconds, inquiry=config.inquiry)
    docket, access_control = Docket(folder), SimulatedAccessControl(folder, seed=config.seed)
    for one in (processor, docket, access_control):
        ends.push_async_callback(one.close)
    return Issuers(processor, access_control, docket, acts_of(processor, docket))
