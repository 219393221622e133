"""Tokens while they are made, as rows: by tokenizations, by requests of their own, by payments.

Whoever makes a token for a card where there is only to be one holds the card's row first; the rules are further up.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries
from ringfence.storage.payments import columns

SQL = load_queries("tokens")

CardKey = tuple[int, int]               # merchant, card
Name = tuple[int, str]                  # merchant, token


class Standing(NamedTuple):
    """The token that stands for a card."""

    token_name: str
    temporary: bool


class FlowRow(NamedTuple):
    """What a tokenization left for its payment.  ``expiry`` is YYMM."""

    token_name: str
    tokenization_id: int
    card_id: int
    expiry: str
    holder: str
    code_waits: bool
    remembers: bool
    return_url: str


class EventRow(NamedTuple):
    """What happened to a token.  ``event``: ``found`` by its card, ``updated`` by its name; ``created_at`` business time."""

    merchant_id: int
    token_name: str
    bin: str
    last4: str
    event: str
    source: str
    reference: str
    created_at: datetime


async def hold_card(connection: asyncpg.Connection, merchant_id: int, card_id: int) -> bool:
    """Hold a card until the commit; false where it is erased."""
    return await connection.fetchval(SQL.hold_card, merchant_id, card_id) is not None


async def standing_for(connection: asyncpg.Connection, cards: Sequence[CardKey]) -> dict[CardKey, Standing]:
    """The token of each of these cards where there is only to be one; none for those without an active one."""
    return {(row[0], row[1]): Standing(row[2], row[3]) for row in await connection.fetch(SQL.standing_for, *columns(cards, 2))}


async def cards_named(connection: asyncpg.Connection, names: Sequence[Name]) -> dict[Name, int]:
    """The cards that these tokens stand for."""
    return {(row[0], row[1]): row[2] for row in await connection.fetch(SQL.cards_named, *columns(names, 2))}


async def make(
    connection: asyncpg.Connection, merchant_id: int, name: str, card_id: int, expiry: str, holder: str, now: datetime,
    temporary_until: datetime | None,
) -> bool:
    """A new token; false where the name is taken."""
    return await connection.fetchval(SQL.make, merchant_id, name, card_id, expiry, holder, now, temporary_until) is not None


async def replace(
    connection: asyncpg.Connection, merchant_id: int, name: str, card_id: int, expiry: str, holder: str, temporary_until: datetime | None,
) -> bool:
    """Another card, or other facts of it, behind a token; false where there is none of that name."""
    return await connection.fetchval(SQL.replace, merchant_id, name, card_id, expiry, holder, temporary_until) is not None


async def meet(
    connection: asyncpg.Connection, merchant_id: int, name: str, card_id: int, expiry: str, holder: str, temporary_until: datetime | None,
) -> bool:
    """A token met again by its card; false where it stands for that card no more."""
    return await connection.fetchval(SQL.meet, merchant_id, name, card_id, expiry, holder, temporary_until) is not None


async def keep_flow(connection: asyncpg.Connection, merchant_id: int, reference: str, flow: FlowRow, now: datetime) -> None:
    """Store what a tokenization leaves for its payment."""
    await connection.execute(
        SQL.keep_flow, merchant_id, reference, flow.token_name, flow.tokenization_id, flow.card_id, flow.expiry, flow.holder,
        flow.code_waits, flow.remembers, flow.return_url, now)


async def flow(connection: asyncpg.Connection, merchant_id: int, reference: str, name: str | None) -> FlowRow | None:
    """What was left for a reference and a token; without a name the latest for the reference."""
    row = await connection.fetchrow(SQL.flow, merchant_id, reference, name)
    return FlowRow(*row) if row else None


async def forget_payer(connection: asyncpg.Connection, merchant_id: int, reference: str, name: str) -> None:
    """The card is not to be kept after all."""
    await connection.execute(SQL.forget_payer, merchant_id, reference, name)


async def note(
    connection: asyncpg.Connection, events: Sequence[tuple[int, str, int, str, str, str]], now: datetime
) -> None:
    """Append (merchant id, token, card id, event, source, reference)."""
    await connection.execute(SQL.note, *columns(events, 6), now)


async def settle(connection: asyncpg.Connection, paid: Sequence[tuple[int, str, int, str]]) -> None:
    """Payments of a flow succeeded: (merchant id, token, card id, reference)."""
    await connection.execute(SQL.settle, *columns(paid, 4))


async def refresh(connection: asyncpg.Connection, paid: Sequence[tuple[int, str, int, str, str]]) -> None:
    """Payments with cards that tokens stand for succeeded: (merchant id, token, card id, expiry, holder)."""
    await connection.execute(SQL.refresh, *columns(paid, 5))


async def correct(connection: asyncpg.Connection, operations: Sequence[tuple[int, int, int, str | None]]) -> None:
    """Name the token that operations really made: (merchant id, payment id, operation id, token)."""
    await connection.execute(SQL.correct, *columns(operations, 4))


async def retire(connection: asyncpg.Connection, merchants: Sequence[int], now: datetime, limit: int) -> int:
    """Switch off the next temporary tokens whose time is over; how many."""
    return len(await connection.fetch(SQL.retire, merchants, now, limit))


async def forget_flows(connection: asyncpg.Connection, merchants: Sequence[int], before: datetime, limit: int) -> int:
    """Forget the next tokenizations made by then; how many."""
    return await connection.fetchval(SQL.forget_flows, merchants, before, limit)


async def events(connection: asyncpg.Connection, merchants: Sequence[int], limit: int) -> list[EventRow]:
    """What happened to these merchants' tokens, the latest first."""
    return [EventRow(*row) for row in await connection.fetch(SQL.events, merchants, limit)]
