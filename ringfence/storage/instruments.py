"""Instruments that are no tokens of the vault, as rows; and the one change of a token that only they ask for."""
from __future__ import annotations

from datetime import datetime

import asyncpg

from ringfence.storage.database import load_queries

SQL = load_queries("instruments")


async def keep(connection: asyncpg.Connection, merchant_id: int, instrument_id: int, kind: str, sealed: bytes, now: datetime) -> bool:
    """Make an instrument; false where one is there, which stays."""
    return await connection.fetchval(SQL.keep, merchant_id, instrument_id, kind, sealed, now) is not None


async def find(pool: asyncpg.Pool, merchant_id: int, instrument_id: int) -> tuple[str, bytes] | None:
    """Type and sealed details."""
    row = await pool.fetchrow(SQL.find, merchant_id, instrument_id)
    return row and tuple(row)


async def replace(connection: asyncpg.Connection, merchant_id: int, instrument_id: int, kind: str, sealed: bytes, now: datetime) -> bool:
    """Whether there was one of that type."""
    return await connection.fetchval(SQL.replace, merchant_id, instrument_id, kind, sealed, now) is not None


async def delete(connection: asyncpg.Connection, merchant_id: int, instrument_id: int, now: datetime) -> bool:
    """Whether there was one."""
    return await connection.fetchval(SQL.delete, merchant_id, instrument_id, now) is not None


async def put_card(connection: asyncpg.Connection, merchant_id: int, token_name: str, card_id: int, expiry: str, holder: str) -> bool:
    """Put another card behind an active token; whether there is such a token and such a card."""
    return await connection.fetchval(SQL.put_card, merchant_id, token_name, card_id, expiry, holder) is not None
