"""Calls towards retailers, put together: how bytes travel, how they are signed, and what waits to be told."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.api.jwo.sigv4 import sign
from ringfence.background import purchases as telling
from ringfence.background.calling import Caller, CallFailed
from ringfence.background.worker import Chore, Queue
from ringfence.config import Config
from ringfence.engine.addresses import Rules
from ringfence.engine.connector import Answer, Connector, Item
from ringfence.engine.directory import Directory
from ringfence.engine.purchases import QUEUE, Purchases
from ringfence.engine.trip_reading import Trip
from ringfence.operators import rules_of


class Retail(NamedTuple):
    """What calls retailers: at the gate (``connector.asks``), and once a shopper left (``purchases.left``); and what is due of it later."""

    connector: Connector
    purchases: Purchases
    queue: Queue
    forgetting: Chore

    async def left(self, trip: Trip, items: Sequence[Item]) -> None:
        """A shopper left with these: the retailer is told, where it wants to be."""
        await self.purchases.left(trip.row, items, trip.row.ended_at or trip.row.started_at)


def retail_of(
    config: Config, due: asyncpg.Pool, directory: Directory, content_key: bytes, *, now: Callable[[], datetime], wall: Callable[[], datetime],
    nudge: Callable[[str], object],
) -> Retail:
    """``due``: connections of what is done later.  ``now`` is business time."""
    connector = connector_of(rules_of(config), wall)
    return Retail(
        connector, Purchases(due, directory, content_key, now, lambda: nudge(QUEUE)), telling.queue(due, directory, connector, now),
        telling.forgetting(due, directory, config.retention_delivery_days, now))


def connector_of(rules: Rules, wall: Callable[[], datetime]) -> Connector:
    """Calls whom the rules allow, over a connection that each call makes and closes: carts are few, and gates fewer."""
    async def post(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> Answer:
        caller = Caller(rules)
        try:
            answered = await caller.post(url, headers, body, seconds)
        except CallFailed as failed:
            return Answer(0, reason=failed.reason)
        finally:
            await caller.close()
        return Answer(answered.status, answered.body)

    return Connector(post, sign, wall)
