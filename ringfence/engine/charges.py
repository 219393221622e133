"""Charges: a payment as the PPRO door looks at it, with what that door turned down.

Reads the primary; the one thing it writes is an operation that was refused.  Refuses to know the door's words.
"""
from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from ringfence.engine.door_events import tell
from ringfence.engine.reading import Reading, Step, View
from ringfence.storage import agreements
from ringfence.storage import charges as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.charges import RefusedRow

__all__ = ["UNDONE", "Charge", "Charges", "RefusedRow", "Step", "View"]


class Charge(NamedTuple):
    """A payment as it stands and what was turned down on it, both oldest first."""

    view: View
    refused: tuple[RefusedRow, ...] = ()


class Told(NamedTuple):
    """What is told of an operation that was turned down, in the words of its door."""

    door: str
    type: str
    data: Mapping[str, Any]
    webhooks_url: str


UNDONE = "undone"
"""The result of a capture that clearing rejected, and of a refund that came back."""


def is_undone_in_part(view: View) -> bool:
    """Whether a fact from outside has undone something: less stands than was approved."""
    if view.payment is None:
        return False
    approved = {"capture": 0, "refund": 0}
    for step in view.steps:
        kind = "capture" if step.kind == "purchase" else step.kind
        if step.result == "approved" and kind in approved:
            approved[kind] += step.answered_minor or 0
    return (view.payment.captured, view.payment.refunded) != (approved["capture"], approved["refund"])


def undone(view: View, found: Mapping[int, datetime]) -> View:
    """The payment with what was undone, and when (0: of all captures)."""
    steps = list(view.steps)
    for place, step in enumerate(steps[1:], 1):
        at = found.get(step.operation_id) or (found.get(0) if step.kind == "capture" else None)
        if at is not None and step.result == "approved":
            steps[place] = step._replace(result=UNDONE, answered_at=at)
    rejected_at = found.get(view.first.operation_id) or found.get(0) if view.first.kind == "purchase" else None
    return view._replace(steps=tuple(steps), rejected_at=rejected_at)


class Charges:
    """What is known of charges."""

    def __init__(self, pool: asyncpg.Pool, reading: Reading) -> None:
        self._pool, self._reading = pool, reading

    async def find(self, merchant_id: int, payment_id: int) -> Charge | None:
        """A merchant's payment, whichever door began it."""
        view, refused = await asyncio.gather(
            self._reading.view(merchant_id, payment_id), rows.refused(self._pool, merchant_id, payment_id))
        if view is None:
            return None
        if is_undone_in_part(view):
            view = undone(view, await rows.undone(self._pool, merchant_id, payment_id))
        return Charge(view, tuple(refused))

    async def by_reference(self, merchant_id: int, reference: str, before: int | None, most: int) -> list[int]:
        """Payments that the door began under a reference, newest first, older than ``before``."""
        return await rows.by_reference(self._pool, merchant_id, reference, before, most)

    async def of_agreement(self, merchant_id: int, agreement_id: int | None, before: int | None, most: int) -> list[int]:
        """Payments made under an agreement, newest first, older than ``before``."""
        return [] if agreement_id is None else await agreements.payments(self._pool, merchant_id, agreement_id, before, most)

    async def as_first_said(self, merchant_id: int, payment_id: int, operation_id: int) -> tuple[bytes, Step, Step] | None:
        """The digest of what an operation was asked with; the operation with what was said of it first; and as it is known now."""
        view = await self._reading.view(merchant_id, payment_id)
        said = await rows.first_outcome(self._pool, merchant_id, payment_id, operation_id)
        step = view and next((one for one in view.steps if one.operation_id == operation_id), None)
        if step is None or said is None:
            return None
        return said.content, step._replace(**{name: getattr(said, name) for name in said._fields[1:]}), step

    async def keep_refused(
        self, merchant_id: int, payment_id: int, row: RefusedRow, key: str | None, actor: str, told: Told | None = None,
    ) -> RefusedRow:
        """Keep what was turned down, and tell of it; what the key stands for already comes back instead."""
        async with borrowed(self._pool) as connection, connection.transaction():
            is_new = await rows.keep_refused(connection, merchant_id, payment_id, row, key, actor)
            if is_new and told is not None:
                await tell(connection, merchant_id, told.door, "charge", payment_id, told.type, told.data, told.webhooks_url, row.refused_at)
        if is_new or key is None:
            return row
        return await rows.refused_by_key(self._pool, merchant_id, key) or row

    async def refused_by_key(self, merchant_id: int, key: str) -> RefusedRow | None:
        """What was turned down under a key."""
        return await rows.refused_by_key(self._pool, merchant_id, key)
