"""What is told of disputes and their reports: kept for their stories, and on its way to the merchant, in one transaction with what it tells of.

What is kept are values as they stood then; a door words them when they are handed out.
"""
from __future__ import annotations

import asyncpg
import msgspec

from ringfence.storage import disputes as rows
from ringfence.storage import door_events
from ringfence.storage.disputes import EventRow

DOOR = "ppro"
"""The door that has words for disputes."""
_ENCODE = msgspec.json.Encoder().encode


async def tell(
    connection: asyncpg.Connection, merchant_id: int, kind: str, subject: int, payment_id: int, event: EventRow, webhooks_url: str = "",
) -> None:
    """Within a transaction: something happened to a dispute or a report (``kind``: ``dispute`` or ``report``)."""
    await rows.tell(connection, merchant_id, subject, payment_id, event)
    data = _ENCODE({"event": str(event.event_id), "values": msgspec.Raw(event.payload)})
    await door_events.write(connection, merchant_id, DOOR, subject, kind, event.event, data, webhooks_url, event.occurred_at)
