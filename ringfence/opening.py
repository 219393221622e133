"""What is opened before anything is built: the clock, the keys, the admin token; of a running service or beside one."""
from __future__ import annotations

import os

import asyncpg

from ringfence.config import Config
from ringfence.engine import keys
from ringfence.engine.clock import Clock, WallClock
from ringfence.engine.key_sources import KeySource, KeyUnreadable
from ringfence.failures import Exit, Failure


def clock_of(config: Config) -> Clock | WallClock:
    """The sandbox's clock below the data folder, or the wall's."""
    return WallClock() if config.is_live else Clock(config.data / "clock")


def key_source(config: Config) -> KeySource:
    """Where the master key comes from; only a sandbox makes its own."""
    return KeySource(os.environ, None if config.is_live else config.data)


async def open_keyring(config: Config, pool: asyncpg.Pool) -> keys.Keyring:
    """The key ring, checked against the vault it belongs to.  Raises ``Failure`` for a missing or wrong master key."""
    try:
        async with pool.acquire() as connection:
            return await keys.open_keyring(connection, key_source(config))
    except (keys.WrongMasterKey, KeyUnreadable) as error:
        raise Failure(Exit.MASTER_KEY, str(error)) from error


def admin_token(config: Config) -> str:
    """The configured token of the admin API, else the one that the sandbox's first start made."""
    return config.admin_token or (config.data / "admin.token").read_text("ascii").strip()
