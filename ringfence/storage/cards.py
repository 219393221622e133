"""Cards and tokens, as rows.

Everything in sets: arrays in, rows out, locks in key order.  Refuses to know card numbers and keys: what it stores of a number
is sealed, and whoever opens it is further up.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries
from ringfence.storage.payments import columns

SQL = load_queries("cards")


class CardRow(NamedTuple):
    """A stored card.  ``key_id``, ``wrapped_key`` and ``ciphertext`` are all ``None`` where only first and last digits are kept."""

    merchant_id: int
    card_id: int
    brand: str
    bin: str
    last4: str
    key_id: int | None
    wrapped_key: bytes | None
    ciphertext: bytes | None
    first_reference: str
    blocked: str


class NewCard(NamedTuple):
    """A card to be stored, in the order of its statement."""

    merchant_id: int
    card_id: int
    fingerprint_odd: bytes | None
    fingerprint_even: bytes | None
    key_id: int | None
    wrapped_key: bytes | None
    ciphertext: bytes | None
    brand: str
    bin: str
    last4: str


class TokenRow(NamedTuple):
    """A stored token with its card.  ``expiry`` is YYMM, ``created_at`` business time.

    ``temporary``: no payment succeeded with it yet.  ``in_flow``: a tokenization left something for a payment with it.
    """

    merchant_id: int
    token_name: str
    expiry: str
    holder: str
    active: bool
    version: int
    created_at: datetime
    card: CardRow
    temporary: bool
    in_flow: bool


class ToRewrap(NamedTuple):
    """What a rotation needs of a card."""

    merchant_id: int
    card_id: int
    wrapped_key: bytes
    ciphertext: bytes


async def find(connection: asyncpg.Connection, key_id: int, fingerprints: Sequence[tuple[int, bytes]]) -> list[CardRow | None]:
    """The cards with these (merchant id, fingerprint under the key in force), place by place."""
    found: list[CardRow | None] = [None] * len(fingerprints)
    for row in await connection.fetch(SQL.find_cards, *columns(fingerprints, 2), key_id % 2 == 1):
        found[row[0] - 1] = CardRow(*tuple(row)[1:])
    return found


async def insert(
    connection: asyncpg.Connection, current_key: int, next_key: int | None, cards: Sequence[NewCard], now: datetime
) -> set[tuple[int, int]]:
    """Store cards; the (merchant id, card id) that were stored.

    The others are there already, or the keys in force are no longer these: look again with fresh keys.  ``cards`` in the order
    of merchant and fingerprint.
    """
    rows = await connection.fetch(SQL.insert_cards, current_key, next_key, *columns(cards, 10), now)
    return {(row[0], row[1]) for row in rows}


async def load(connection: asyncpg.Connection, wanted: Sequence[tuple[int, int]]) -> list[CardRow | None]:
    """Cards by (merchant id, card id), place by place."""
    found: list[CardRow | None] = [None] * len(wanted)
    for row in await connection.fetch(SQL.load_cards, *columns(wanted, 2)):
        found[row[0] - 1] = CardRow(*tuple(row)[1:])
    return found


async def load_tokens(connection: asyncpg.Connection, names: Sequence[tuple[int, str]]) -> list[TokenRow | None]:
    """Tokens by (merchant id, name), place by place."""
    found: list[TokenRow | None] = [None] * len(names)
    for row in await connection.fetch(SQL.load_tokens, *columns(names, 2)):
        found[row[0] - 1] = _token(row)
    return found


async def list_tokens(
    connection: asyncpg.Connection, merchant_id: int, since: datetime, until: datetime, after: str | None, limit: int
) -> list[TokenRow]:
    """A merchant's tokens made from ``since`` until before ``until``, oldest first; those behind the token named ``after``.  Of those
    that are there to stay; whether they are in a flow is not looked for."""
    return [_token(row) for row in await connection.fetch(SQL.list_tokens, merchant_id, since, until, after, limit)]


def _token(row: asyncpg.Record) -> TokenRow:
    values = tuple(row)[1:]
    return TokenRow(*values[:7], CardRow(values[0], *values[7:16]), *values[16:])


async def insert_tokens(
    connection: asyncpg.Connection, tokens: Sequence[tuple[int, str, int, str, str]], now: datetime
) -> set[tuple[int, str]]:
    """Make tokens of (merchant id, name, card id, expiry, holder); the (merchant id, name) made.

    A name that is taken is left alone; a card that is erased gets none.
    """
    return {(row[0], row[1]) for row in await connection.fetch(SQL.insert_tokens, *columns(tokens, 5), now)}


async def update_token(
    connection: asyncpg.Connection, merchant_id: int, name: str, *, active: bool | None, expiry: str | None, holder: str | None,
    new_name: str | None,
) -> bool:
    """Whether there was such a token; ``None`` leaves as it is.  One that is temporary or whose card is erased is not switched on.

    Raises ``asyncpg.UniqueViolationError`` where the new name is taken.
    """
    return await connection.fetchval(SQL.update_token, merchant_id, name, active, expiry, holder, new_name) is not None


# -- what payments do to cards, inside the transaction of an outcome's commit

async def lock_cards(connection: asyncpg.Connection, cards: Sequence[tuple[int, int]]) -> None:
    """Hold cards, by (merchant id, card id), until the commit; first of all where one commit calls several of the following."""
    await connection.execute(SQL.lock_cards, *columns(cards, 2))


async def note_first_references(connection: asyncpg.Connection, references: Sequence[tuple[int, int, str]]) -> None:
    """(merchant id, card id, scheme reference): kept where the card has none yet; its tokens change version."""
    await _bump(connection, await connection.fetch(SQL.note_first_references, *columns(references, 3)))


async def block_cards(connection: asyncpg.Connection, blocks: Sequence[tuple[int, int, str]]) -> None:
    """(merchant id, card id, reason): ends merchant-initiated payments with the card; its tokens change version."""
    await _bump(connection, await connection.fetch(SQL.block_cards, *columns(blocks, 3)))


async def note_declines(connection: asyncpg.Connection, declines: Sequence[tuple[int, int, int]], now: datetime) -> None:
    """(merchant id, card id, operation id): the merchant was declined with a card that it charged by itself."""
    await connection.execute(SQL.note_declines, *columns(declines, 3), now)


async def forget_declines(connection: asyncpg.Connection, before: datetime) -> int:
    """Forget declines that no scheme counts any more; how many."""
    return int((await connection.execute(SQL.forget_declines, before)).rpartition(" ")[2])


async def _bump(connection: asyncpg.Connection, changed: Sequence[asyncpg.Record]) -> None:
    if changed:
        await connection.execute(SQL.bump_tokens, *columns([tuple(row) for row in changed], 2))


# -- rotation

async def count(connection: asyncpg.Connection, key_id: int) -> int:
    """How many cards are sealed under a key."""
    return await connection.fetchval(SQL.count_cards, key_id)


async def to_rewrap(connection: asyncpg.Connection, key_id: int, after: tuple[int, int], limit: int) -> list[ToRewrap]:
    """The next cards under a key, held until the commit; cards that somebody else holds are passed over."""
    return [ToRewrap(*row) for row in await connection.fetch(SQL.cards_to_rewrap, key_id, *after, limit)]


async def rewrap(connection: asyncpg.Connection, key_id: int, cards: Sequence[tuple[int, int, bytes, bytes]]) -> None:
    """Store (merchant id, card id, wrapped key, fingerprint) under ``key_id``."""
    await connection.execute(SQL.rewrap_cards, key_id, *columns(cards, 4))


async def clear_fingerprints(connection: asyncpg.Connection, key_id: int, after: tuple[int, int], limit: int) -> tuple[int, int] | None:
    """Drop a former key's fingerprints from the cards behind ``after``; the last card looked at, or ``None`` at the end."""
    row = await connection.fetchrow(SQL.clear_fingerprints, key_id % 2 == 1, *after, limit)
    return tuple(row) if row else None


async def has_fingerprints(connection: asyncpg.Connection, key_id: int) -> bool:
    """Whether any card still has a fingerprint in that key's column."""
    return await connection.fetchval(SQL.has_fingerprints, key_id % 2 == 1)
