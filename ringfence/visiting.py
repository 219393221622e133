"""Stores, put together: the trips through them, the gates that open them, and what looks after both.

A part of the composition: built by hand, in reading order.
"""
from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.api.trips import Services
from ringfence.background import trips as background
from ringfence.background.trips import Watch
from ringfence.background.worker import Chore
from ringfence.config import Config
from ringfence.core.card import Pan
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.engine.gates import Gates
from ringfence.engine.keys import Keyring
from ringfence.engine.reading import Reading
from ringfence.engine.stores import Stores
from ringfence.engine.trips import Trips
from ringfence.engine.vault import Vault
from ringfence.processors.simulator import Reader, card_of_scenario
from ringfence.storage.trips import TripRow


class Visits(NamedTuple):
    """Everything about trips that a process has."""

    trips: Trips
    gates: Gates
    watch: Watch

    def chores(self, pause: float) -> list[Chore]:
        """What is looked after again and again."""
        return [background.chore(self.watch, pause)]


def visits_of(
    config: Config, pool: asyncpg.Pool, due: asyncpg.Pool, engine: Engine, reading: Reading, vault: Vault, directory: Directory, keyring: Keyring,
    processor: str, now: Callable[[], datetime], ends: AsyncExitStack,
) -> Visits:
    """``processor``: that of cards; ``due``: connections for what is due later.  The engine learns which captures are the last ones."""
    trips = Trips(pool, engine, reading, directory, processor=processor, content_key=keyring.content_key, now=now)
    reader = Reader(config.data / "simulator", config.seed)
    ends.push_async_callback(reader.close)
    gates = Gates(pool, engine, vault, trips, reader, processor=processor, content_key=keyring.content_key, now=now)

    async def reopen(row: TripRow) -> TripRow:
        merchant = directory.by_id(row.merchant_id)
        return row if merchant is None else await gates.reopen(merchant, row)

    trips.reopen = reopen
    engine.binding = trips.binding
    return Visits(trips, gates, Watch(due, trips, directory, now))


def operators_of_trips(
    config: Config, pool: asyncpg.Pool, keyring: Keyring, directory: Directory, now: Callable[[], datetime], visits: Visits | None,
) -> Services:
    """What operators' endpoints work with; without ``visits`` nobody serves."""
    reading = Reading(pool, Vault(pool, keyring, new_id=_nothing_new, keeps=lambda pan: False, now=now))
    if visits is None:
        return Services(Stores(pool, reading, now), directory)
    return Services(Stores(pool, reading, now), directory, visits.gates, visits.trips, None if config.is_live else card_named)


def card_named(text: str) -> Pan:
    """A card number, or the Visa card of a scenario's four digits.  Raises ``ValueError``."""
    return Pan(card_of_scenario(text) if len(text) == 4 and text.isascii() and text.isdigit() else text.replace(" ", ""))


def _nothing_new() -> int:
    raise AssertionError("what only looks makes nothing")
