"""Events in the order of the chain's links, as rows.

It moves values, it decides nothing: which batches belong to a page is the engine's question.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from ringfence.storage.database import load_queries
from ringfence.storage.payments import columns

SQL = load_queries("feed")

EventKey = tuple[int, int, int]
"""Merchant id, payment id and sequence of an event."""


class LinkRow(NamedTuple):
    """A batch: where it stands in the chain, when it was committed (wall time), and how many outcomes it holds."""

    lane: int
    number: int
    batch_id: int
    committed_at: datetime
    rows: int


class PlaceRow(NamedTuple):
    """Where an event stands.  ``lane`` and ``number`` are ``None`` for an event of an intent's commit, whose batch is 0."""

    merchant_id: int
    payment_id: int
    sequence: int
    batch_id: int
    lane: int | None
    number: int | None


class Undone(NamedTuple):
    """A capture that clearing rejected, or a refund that came back: the operation, and how much of it.  Minor units."""

    operation_id: int
    kind: str
    minor: int
    currency: str
    door: str
    details: bytes | None
    moved: int


class Occurred(NamedTuple):
    """An event and the facts frozen by its commit; all of them stand in rows that are only ever appended.

    ``minor`` and ``approved`` are minor units, ``occurred_at`` is business time; ``batch_id`` is 0 for an event of an intent's commit.
    A fact from outside has no operation: everything from ``kind`` to ``actor`` is ``None`` then.  The outcome, ``result`` to
    ``processor_reference``, is there where the event's own commit wrote one.
    """

    merchant_id: int
    payment_id: int
    sequence: int
    event: str
    occurred_at: datetime
    operation_id: int
    attempt: int
    batch_id: int
    kind: str | None
    minor: int | None
    currency: str | None
    door: str | None
    reference: str | None
    details: bytes | None
    token_name: str | None
    token_version: int | None
    reason: str | None
    actor: str | None
    result: str | None
    approved: int | None
    response_code: str | None
    advice: str | None
    approval_code: str | None
    scheme_reference: str | None
    processor_reference: str | None
    origin: str                                 # the door of the operation that the payment began with, and what else is told of it
    first_kind: str
    first_reference: str | None
    first_details: bytes | None
    moved: tuple[tuple[int, int], ...] = ()     # of a later operation: kinds of transfers and their sums, as they were then
    undone: Undone | None = None                # of what clearing rejected, and of what came back, where that is known
    given_up: bytes | None = None               # of a payment that nobody was asked for: what its merchant said when he gave it up (JSON)


async def heads(connection: asyncpg.Connection) -> dict[int, int]:
    """The last batch of every lane."""
    return dict(tuple(row) for row in await connection.fetch(SQL.heads))


async def links(connection: asyncpg.Connection, cursor: Mapping[int, int], per_lane: int) -> list[LinkRow]:
    """The next batches behind the cursor, at most so many of a lane, oldest commit first."""
    return [LinkRow(*row) for row in await connection.fetch(SQL.links, list(cursor), list(cursor.values()), per_lane)]


async def links_between(connection: asyncpg.Connection, parts: Sequence[tuple[int, int, int]]) -> list[LinkRow]:
    """The batches of parts of lanes: (lane, behind, until)."""
    return [LinkRow(*row) for row in await connection.fetch(SQL.links_between, *columns(parts, 3))]


async def links_committed(
    connection: asyncpg.Connection, since: datetime, until: datetime, behind: int, limit: int,
) -> list[LinkRow]:
    """The batches committed between two instants (wall time), behind a batch id, in the order of ids."""
    return [LinkRow(*row) for row in await connection.fetch(SQL.links_committed, since, until, behind, limit)]


async def events(connection: asyncpg.Connection, batches: Sequence[int], single: Sequence[EventKey] = ()) -> list[Occurred]:
    """The events of batches, and single ones, in no order."""
    return [_occurred(tuple(row)) for row in await connection.fetch(SQL.events, batches, *columns(single, 3))]


def _occurred(row: tuple[Any, ...]) -> Occurred:
    """What the payment began with is not read a second time where the operation is that one."""
    one = Occurred(*row)
    first = (one.door, one.kind, one.reference, one.details) if one.operation_id == one.payment_id else row[25:29]
    return Occurred(*row[:25], first[0] or "", first[1] or "", *first[2:], tuple(map(tuple, row[29] or ())), row[30] and Undone(*row[30]), row[31])


async def places(connection: asyncpg.Connection, keys: Iterable[EventKey]) -> list[PlaceRow]:
    """Where these events stand."""
    return [PlaceRow(*row) for row in await connection.fetch(SQL.places, *columns(keys, 3))]


async def followed(connection: asyncpg.Connection) -> dict[int, int]:
    """How far events were handed to deliveries."""
    return dict(tuple(row) for row in await connection.fetch(SQL.followed))


async def lock_followed(connection: asyncpg.Connection) -> dict[int, int]:
    """The same, and nobody else hands out until the transaction ends."""
    await connection.execute(SQL.lock_followed)
    return await followed(connection)


async def note_followed(connection: asyncpg.Connection, cursor: Mapping[int, int]) -> None:
    """Remember it; a lane never goes back."""
    lanes = sorted(cursor)
    await connection.execute(SQL.note_followed, lanes, [cursor[lane] for lane in lanes])
