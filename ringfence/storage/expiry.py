"""Holds past their instant, found in sets and locked; what their voids cite comes along.

It moves rows and decides nothing: what is reserved, and whether, is the business of whoever holds the transaction.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.payment import Payment, Status
from ringfence.storage import database
from ringfence.storage.cards import CardRow
from ringfence.storage.payments import Held, captures_of

SQL = database.load_queries("expiry")

#: The planner has no statistics of tables that are growing, and reads and sorts all due holds for every chunk of them; in the order
#: of the index it may stop at the limit.
IN_ORDER = {"enable_sort": "off", "enable_bitmapscan": "off"}


class DueHold(NamedTuple):
    """A hold past its instant.  ``minor`` is what its first operation asked for; what its approval said is ``''`` where there was none."""

    merchant_id: int
    held: Held
    door: str
    reference: str | None
    processor: str
    channel: str
    minor: int
    approval_code: str
    processor_reference: str
    scheme_reference: str
    card: CardRow | None
    resubmitted: bool = False       # the first message was declined softly: the second one was approved


async def connect(dsn: str, *, application_name: str) -> asyncpg.Connection:
    """A connection for lanes that take holds in bulk.  Raises as ``database.connect``."""
    connection = await database.connect(dsn, application_name=application_name, by_key=True)
    with database.noticing_loss(connection):
        await connection.execute("; ".join(f"SET {name} = {value}" for name, value in IN_ORDER.items()))
    return connection


async def owing(connection: asyncpg.Connection | asyncpg.Pool, merchants: Sequence[int], now: datetime) -> list[int]:
    """Which of these merchants have holds past their instant at ``now`` (business time)."""
    return [row[0] for row in await connection.fetch(SQL.owing, merchants, now)]


async def take_due(connection: asyncpg.Connection, since: Mapping[int, datetime], now: datetime, limit: int) -> list[DueHold]:
    """Up to ``limit`` holds of each merchant, locked until the transaction ends.

    ``since``: merchant to the instant before which its holds were looked at already.
    """
    return [_due(tuple(row)) for row in await connection.fetch(SQL.take_due, list(since), list(since.values()), now, limit)]


_CARD_AT = 34


def _due(values: tuple) -> DueHold:
    payment = Payment(values[1], values[2], Status(values[3]), *values[4:21], captures=captures_of(values[21]))
    resubmitted, *card = values[_CARD_AT:]
    return DueHold(
        values[0], Held(payment, values[22], *values[24:26]), *values[26:31], *(value or "" for value in values[31:_CARD_AT]),
        None if card[0] is None else CardRow(values[0], *card), resubmitted,
    )
