"""Telling merchants of what is no event of a payment: agreements, instruments, disputes, money, reports.

Whoever changes such a thing writes what is to be told in the transaction of the change, so that it is told if and only if that happened; a
follower hands it to the merchant's address a moment later.  What is told is frozen when it is written.  Refuses to know the doors' words.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from ringfence.storage import door_events as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.door_events import DoorEvent

__all__ = ["BEGINNING", "DoorEvent", "read", "tell"]
_ENCODE = msgspec.json.Encoder().encode


BEGINNING = "begin"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


async def read(pool: asyncpg.Pool, merchants: Sequence[int], after: int | None, limit: int) -> tuple[list[DoorEvent], int]:
    """About ``limit`` events of merchants behind a cursor (``None``: those from now on), and the cursor behind them.

    A cursor is an instant of wall time in microseconds since 1970.  Nothing is told before everything that was written earlier can be seen, so that
    whoever follows misses nothing.  Raises ``DatabaseUnavailable``.
    """
    async with borrowed(pool) as connection:
        until = await rows.horizon(connection)
        if after is None:
            return [], (until - _EPOCH) // _MICROSECOND - 1
        found = await rows.behind(connection, merchants, _EPOCH + after * _MICROSECOND, until, limit)
    return [one for _, one in found], (found[-1][0] - _EPOCH) // _MICROSECOND if found else after


async def tell(
    connection: asyncpg.Connection, merchant_id: int, door: str, kind: str, subject_id: int, type: str, data: Mapping[str, Any],
    webhooks_url: str, now: datetime,
) -> int:
    """Within a transaction (read committed): something happened that the merchant shall be told of; the event's sequence, from 1 per subject.

    ``kind`` is the prefix of the subject's name at the door (PPRO: ``agr``, ``instr``, and ``charge`` for what only the door knows of a charge;
    of disputes and their reports tells ``dispute_events``), ``subject_id`` its number; ``type`` is the door's word for what happened; ``data`` is
    what is said of it, complete but for ``type`` and ``merchantId``, which are added; ``webhooks_url`` is the subject's own address, "" for the
    account's; ``now`` is business time.
    """
    return await rows.write(connection, merchant_id, door, subject_id, kind, type, _ENCODE(data), webhooks_url, now)
