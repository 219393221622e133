"""The master keys' rows: numbers, check values, which are in force, and who has which.

Refuses to know the keys.
"""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries

SQL = load_queries("vault_keys")


class KeyRow(NamedTuple):
    """An announced key; ``carried`` holds the lasting keys, sealed under it."""

    key_id: int
    check_value: bytes
    carried: bytes
    retired_at: datetime | None


class InForce(NamedTuple):
    """The key in force, and while a rotation runs the one that follows."""

    current: int
    next: int | None


class TextRow(NamedTuple):
    """A sealed text: what it was sealed for, and where it lies."""

    purpose: str
    merchant_id: int
    part: str                                   # of the merchant's: a door, a dispute
    name: str                                   # in it
    sealed: bytes


async def in_force(connection: asyncpg.Connection) -> InForce | None:
    """The keys in force, or ``None`` in a new database."""
    row = await connection.fetchrow(SQL.state)
    return InForce(*row) if row else None


async def keys(connection: asyncpg.Connection) -> list[KeyRow]:
    """Every key ever announced, oldest first."""
    return [KeyRow(*row) for row in await connection.fetch(SQL.keys)]


async def announce(connection: asyncpg.Connection, key_id: int, check_value: bytes, carried: bytes) -> None:
    """Let everybody know of a key, so that they fetch it; nothing is sealed under it yet."""
    await connection.execute(SQL.announce, key_id, check_value, carried)


async def begin(connection: asyncpg.Connection, key_id: int) -> None:
    """Put the first key in force, unless another is."""
    await connection.execute(SQL.begin, key_id)


async def take_state(connection: asyncpg.Connection) -> InForce:
    """Inside a transaction: the keys in force, held against everybody who stores cards."""
    return InForce(*await connection.fetchrow(SQL.take_state))


async def set_state(connection: asyncpg.Connection, state: InForce) -> None:
    """Put keys in force; after ``take_state``."""
    await connection.execute(SQL.set_state, *state)


async def retire(connection: asyncpg.Connection, key_id: int) -> None:
    """Note that nothing is sealed under a key any more, or never was."""
    await connection.execute(SQL.retire, key_id)


async def hold(connection: asyncpg.Connection, holder: str, held: int, in_use: int, seconds: float) -> None:
    """Say how far a process's keys have come; its word is good for ``seconds``."""
    await connection.execute(SQL.hold, holder, held, in_use, seconds)


async def release(connection: asyncpg.Connection, holder: str) -> None:
    """Forget a process that ends."""
    await connection.execute(SQL.release, holder)


async def behind(connection: asyncpg.Connection, key_id: int, *, using: bool) -> list[str]:
    """The running processes that do not have a key yet; with ``using``, also those that do not seal with it yet."""
    return [row[0] for row in await connection.fetch(SQL.behind, key_id, using)]


async def texts_to_reseal(connection: asyncpg.Connection, key_id: int, limit: int) -> list[TextRow]:
    """Sealed texts that stand under a key."""
    return [TextRow(*row) for row in await connection.fetch(SQL.texts_to_reseal, key_id, limit)]


async def reseal_text(connection: asyncpg.Connection, row: TextRow, sealed: bytes) -> bool:
    """Whether the text was still as ``row`` has it, and is now ``sealed``."""
    return await connection.fetchval(_RESEAL[row.purpose], *row[1:], sealed) is not None


_RESEAL = {"credential": SQL.reseal_credential, "instrument": SQL.reseal_instrument, "evidence": SQL.reseal_evidence}
