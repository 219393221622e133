"""Merchants and their credentials, as rows.

Reads the whole directory, and makes one change at a time: every change raises the directory's version in the same commit, so that
caches know.  Refuses to know what settings mean and what phrases say.
"""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries

SQL = load_queries("merchants")


class MerchantRow(NamedTuple):
    """``settings`` is the JSON text of an object of texts."""

    merchant_id: int
    identifier: str
    name: str
    settings: str
    active: bool


class CredentialRow(NamedTuple):
    """``sealed`` holds the phrases, sealed by the engine."""

    merchant_id: int
    door: str
    public_name: str
    sealed: bytes
    algorithm: str


class Stored(NamedTuple):
    """The whole directory at one version."""

    version: int
    merchants: list[MerchantRow]
    credentials: list[CredentialRow]


async def version(connection: asyncpg.Connection) -> int:
    """The directory's version."""
    return await connection.fetchval(SQL.directory_version)


async def everything(connection: asyncpg.Connection) -> Stored:
    """Merchants and credentials as one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return Stored(
            await connection.fetchval(SQL.directory_version),
            [MerchantRow(*row) for row in await connection.fetch(SQL.merchants)],
            [CredentialRow(*row) for row in await connection.fetch(SQL.credentials)],
        )


async def begin_change(connection: asyncpg.Connection) -> int:
    """Inside a transaction: wait for other writers, and raise the version; it is returned."""
    return await connection.fetchval(SQL.change_directory)


async def insert_merchant(connection: asyncpg.Connection, identifier: str, name: str, settings: str, at: datetime) -> int | None:
    """The new merchant's number, or ``None`` where the identifier is taken.  After ``begin_change``."""
    return await connection.fetchval(SQL.insert_merchant, identifier, name, settings, at)


async def insert_credential(connection: asyncpg.Connection, row: CredentialRow, at: datetime) -> bool:
    """Whether the credential was new.  After ``begin_change``."""
    return await connection.fetchval(
        SQL.insert_credential, row.merchant_id, row.door, row.public_name, row.sealed, row.algorithm, at
    ) is not None


async def credential(connection: asyncpg.Connection, merchant_id: int, door: str, public_name: str) -> CredentialRow | None:
    """One credential in force.  After ``begin_change``."""
    row = await connection.fetchrow(SQL.credential, merchant_id, door, public_name)
    return row and CredentialRow(*row)


async def update_credential(connection: asyncpg.Connection, row: CredentialRow) -> None:
    """Store other phrases of a credential.  After ``begin_change``."""
    await connection.execute(SQL.update_credential, row.merchant_id, row.door, row.public_name, row.sealed)


async def is_named(connection: asyncpg.Connection, door: str, public_name: str) -> bool:
    """Whether any merchant has, or had, a credential of that name at a door.  After ``begin_change``."""
    return await connection.fetchval(SQL.is_named, door, public_name)


async def count_credentials(connection: asyncpg.Connection, merchant_id: int, door: str) -> int:
    """How many credentials of a door are in force.  After ``begin_change``."""
    return await connection.fetchval(SQL.count_credentials, merchant_id, door)


async def switch_off(connection: asyncpg.Connection, merchant_id: int, door: str, public_name: str) -> bool:
    """Take a credential out of force; whether it was in force.  After ``begin_change``."""
    return await connection.fetchval(SQL.switch_credential_off, merchant_id, door, public_name) is not None


async def for_change(connection: asyncpg.Connection, identifier: str) -> MerchantRow | None:
    """One merchant, locked.  Before ``begin_change``: every writer takes its merchant first, then the directory."""
    row = await connection.fetchrow(SQL.merchant_for_change, identifier)
    return row and MerchantRow(row["merchant_id"], identifier, row["name"], row["settings"], row["active"])


async def update_merchant(connection: asyncpg.Connection, row: MerchantRow) -> None:
    """Store what may change of a merchant.  After ``begin_change``."""
    await connection.execute(SQL.update_merchant, row.merchant_id, row.name, row.settings, row.active)
