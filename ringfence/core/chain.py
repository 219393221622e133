"""The chain of committed batches: what makes an edited, inserted or removed ledger row visible.

Each batch of outcomes has a digest, HMAC-SHA-256 under a key that the database never sees, over the digest before it in
the same lane and over every row the batch wrote: outcomes, the operations they end, transfers and notices.  Rows are plain
tuples of integers, text, bytes and ``None``, in key order.  The engine makes the bytes (``engine.chaining``).
"""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

GENESIS = bytes(32)
"""What stands before the first batch of a lane."""

Row = tuple[int | str | bytes | None, ...]

#: Which columns of each table a digest covers, in this order; rows ordered by the table's primary key.
COVERED: dict[str, tuple[str, ...]] = {
    "outcomes": (
        "merchant_id", "payment_id", "operation_id", "attempt", "result", "minor", "response_code", "advice",
        "approval_code", "scheme_reference", "processor_reference", "security_code_result", "eci",
    ),
    "operations": (
        "merchant_id", "payment_id", "operation_id", "kind", "minor", "currency", "key", "content", "actor", "source",
        "processor", "card_id", "reason", "allotment",
    ),
    "transfers": (
        "merchant_id", "payment_id", "operation_id", "leg", "kind", "minor", "currency", "value_date",
    ),
    "notices": (
        "merchant_id", "payment_id", "identity", "operation_id", "noticed", "minor", "capture_id",
    ),
}


class Link(NamedTuple):
    """A committed batch: its lane and number (no gap in a lane), its id, and when it was made, wall time."""

    lane: int
    number: int
    batch_id: int
    committed_at: datetime
    rows: int
    digest: bytes
