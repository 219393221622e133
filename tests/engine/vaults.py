"""Vaults to test with, as processes have them: each with a pool, a keyring and ids of its own."""
from __future__ import annotations

import base64
import itertools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg

from ringfence.core.card import Pan, check_digit
from ringfence.engine.key_sources import KeySource
from ringfence.engine.keys import Keyring, open_keyring
from ringfence.engine.vault import Vault
from ringfence.storage.database import Connection

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
PAN = Pan("4005550000000001")
WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
KEYS = [base64.b64encode(os.urandom(32)).decode() for _ in range(4)]


def number(n: int) -> Pan:
    """A valid Visa number of our own, different for each n."""
    digits = f"4{n:014d}"
    return Pan(digits + check_digit(digits))


class Process:
    """A vault with its own pool, keyring and ids, as one worker process has them."""

    def __init__(self, pool: asyncpg.Pool, ring: Keyring, place: int, keeps: Callable[[Pan], bool]) -> None:
        self.pool, self.ring = pool, ring
        ids = itertools.count(place * 1_000_000 + 1)
        names = (f"{place}{n:031X}" for n in itertools.count())
        self.vault = Vault(pool, ring, new_id=ids.__next__, keeps=keeps, now=lambda: NOW, new_name=names.__next__)


@asynccontextmanager
async def process(
    database: str, place: int = 1, *, key: str = KEYS[0], next: str | None = None, source: KeySource | None = None,
    keeps: Callable[[Pan], bool] = lambda pan: True,
) -> AsyncIterator[Process]:
    environ = {"RINGFENCE_MASTER_KEY": key} | ({"RINGFENCE_MASTER_KEY_NEXT": next} if next else {})
    async with asyncpg.create_pool(database, min_size=1, max_size=8, connection_class=Connection) as pool:
        async with pool.acquire() as connection:
            ring = await open_keyring(connection, source or KeySource(environ))
        yield Process(pool, ring, place, keeps)
