"""The sweep over expired holds, on the processes of ``composition``: lanes of its own, and an engine that finishes on them."""
from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ringfence.engine.bulk import CHUNK, Expirer
from ringfence.engine.engine import Engine
from ringfence.engine.intent_lane import IntentLane
from ringfence.engine.lane import Lane
from ringfence.engine.outcome_lane import OutcomeLane
from tests.engine.composition import INTENT_LANES, OUTCOME_LANES, Process, Wire


class Sweeper:
    """What one process needs to expire holds; ``wire`` and ``outcome_wire`` are its lanes' connections."""

    def __init__(self, one: Process, chunk: int = CHUNK, ask_seconds: float = 30.0, in_turn: bool = False) -> None:
        self.wire, self.outcome_wire = Wire(one._dsn, "bulk intents"), Wire(one._dsn, "bulk outcomes")
        self.lanes = Lane(self.wire.connect, numbers=INTENT_LANES), Lane(self.outcome_wire.connect, numbers=OUTCOME_LANES)
        outcomes = OutcomeLane(
            self.lanes[1], now=one.now, new_id=one._source.next, chain_key=one.chain_key, value_date=lambda name, at: at.date())
        self.bulk = Engine(
            intents=IntentLane(self.lanes[0], now=one.now, ask_seconds=ask_seconds), outcomes=outcomes,
            processors={one.processor.name: one.processor}, vault=one.vault, pool=one.pool, new_id=one.new_id, now=one.now,
        )
        self.expirer = Expirer(
            self.lanes[0], self.bulk, one.engine, one.directory, now=one.now, new_id=one.new_id, ask_seconds=ask_seconds, chunk=chunk,
            in_turn=in_turn, is_stopping=lambda: self.is_stopping)
        self.sweep = self.expirer.sweep
        self.is_stopping = False


@asynccontextmanager
async def sweeper(one: Process, *, chunk: int = CHUNK, ask_seconds: float = 30.0, in_turn: bool = False) -> AsyncIterator[Sweeper]:
    """A sweeper of that process, for as long as the block runs."""
    made = Sweeper(one, chunk, ask_seconds, in_turn)
    try:
        yield made
    finally:
        await made.bulk.idle()
        for lane in made.lanes:
            await lane.close()
