"""What merchants are told beside the events of payments, as rows.  Refuses to know the doors' words."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries
from ringfence.storage.payments import columns

SQL = load_queries("door_events")


class DoorEvent(NamedTuple):
    """One event of a subject that is no payment, or that the core knows nothing of.

    ``sequence`` counts from 1 per subject; ``kind`` is what the door calls such subjects; ``data`` is JSON; ``occurred_at`` is business time.
    """

    merchant_id: int
    door: str
    subject_id: int
    sequence: int
    kind: str
    type: str
    data: bytes
    webhooks_url: str
    occurred_at: datetime

    @property
    def key(self) -> tuple[int, str, int, int]:
        """What names it: merchant, door, subject, sequence."""
        return self[:4]


async def write(
    connection: asyncpg.Connection, merchant_id: int, door: str, subject_id: int, kind: str, what: str, data: bytes, webhooks_url: str,
    now: datetime,
) -> int:
    """Within a transaction: write the next event of a subject; its sequence.  Waits for whoever writes one of the same subject meanwhile."""
    while True:
        sequence = await connection.fetchval(SQL.write, merchant_id, door, subject_id, kind, what, data, webhooks_url, now)
        if sequence is not None:
            return sequence


async def waiting(connection: asyncpg.Connection, limit: int) -> list[DoorEvent]:
    """Those that nobody has handed out yet, oldest first."""
    return [DoorEvent(*row) for row in await connection.fetch(SQL.waiting, limit)]


async def hand(connection: asyncpg.Connection, events: Sequence[DoorEvent]) -> None:
    """Within a transaction: they are handed out."""
    await connection.execute(SQL.hand, *columns(sorted(one.key for one in events), 4))


async def written(
    connection: asyncpg.Connection, since: datetime, until: datetime, merchant_id: int | None, behind: int, limit: int,
) -> list[DoorEvent]:
    """Those written between two instants (wall time), behind the first so many of them."""
    return [DoorEvent(*row) for row in await connection.fetch(SQL.written, since, until, merchant_id, behind, limit)]


async def horizon(connection: asyncpg.Connection) -> datetime:
    """Up to when (wall time) everything that was written can be seen."""
    return await connection.fetchval(SQL.horizon)


async def behind(
    connection: asyncpg.Connection, merchants: Sequence[int], since: datetime, until: datetime, limit: int,
) -> list[tuple[datetime, DoorEvent]]:
    """Events of merchants written behind one instant and before another, with when: about so many, none of an instant left out."""
    found = [(row["written_at"], DoorEvent(*row[:9])) for row in await connection.fetch(SQL.behind, list(merchants), since, until, limit)]
    return sorted(found, key=lambda one: (one[0], one[1].key))


async def count_old(connection: asyncpg.Connection, merchant_id: int, happened_by: datetime) -> int:
    """How many of a merchant's events that were handed out and happened by ``happened_by`` still say something."""
    return await connection.fetchval(SQL.count_old, merchant_id, happened_by)


async def erase_old(connection: asyncpg.Connection, merchant_id: int, happened_by: datetime, limit: int) -> int:
    """Take it from the next ones; how many."""
    return len(await connection.fetch(SQL.erase_old, merchant_id, happened_by, limit))
