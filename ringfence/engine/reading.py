"""Reading: what doors, pages and jobs may know of a payment.

One value, ``Story`` of steps and standing, answers all of them.  It reads the primary, decides nothing and changes nothing.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.payment import FIRST, Payment
from ringfence.engine.intents import CardInHand, processor_key
from ringfence.engine.vault import StoredCard, Vault
from ringfence.processors.processor import Original
from ringfence.storage import reading as rows
from ringfence.storage.reading import Step

__all__ = ["Reading", "Step", "View"]


class View(NamedTuple):
    """A payment as it stands (``None`` before its first outcome), and its operations, oldest first."""

    merchant_id: int
    payment_id: int
    payment: Payment | None
    steps: tuple[Step, ...]
    rejected_at: datetime | None = None         # when clearing rejected what a purchase captured, where a door has asked for it

    @property
    def first(self) -> Step:
        """The operation the payment began with."""
        return self.steps[0]

    @property
    def last(self) -> Step:
        """The operation that says where the payment stands.

        That is the latest one that is approved or has no certain end; what was declined later changed nothing, so it is
        the answer only where it was the first.
        """
        for step in reversed(self.steps):
            if step.result in (None, "unknown", "approved", "challenge"):
                return step
        return self.first

    @property
    def original(self) -> Original | None:
        """What later messages cite of the first one, once that was approved."""
        first = self.first
        if first.result != "approved":
            return None
        return Original(
            processor_key(first.operation_id, first.resubmitted), first.minor, first.approval_code or "",
            first.processor_reference or "", first.scheme_reference or "",
        )


class Reading:
    """Every query that a door, page or job needs."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault) -> None:
        self._pool, self._vault = pool, vault

    async def view(self, merchant_id: int, payment_id: int) -> View | None:
        """A merchant's payment; ``None`` where it has none of that id."""
        async with self._pool.acquire() as connection:          # one for both: to borrow it costs as much as to ask
            return (await _views(connection, [(merchant_id, payment_id)]))[0]

    async def views(
        self, connection: asyncpg.Connection, wanted: Sequence[tuple[int, int]],
    ) -> list[tuple[View, StoredCard | None] | None]:
        """Payments by (merchant id, payment id), place by place, each with the record of its card; what ``view`` does not find is ``None``."""
        views = await _views(connection, wanted)
        cards = await self._vault.cards(connection, [(one.merchant_id, one.first.card_id or 0) for one in views if one])
        found = iter(cards)
        return [(one, next(found)) if one else None for one in views]

    async def payment_by_key(self, merchant_id: int, key: str) -> int | None:
        """The id of the payment that a key began."""
        return await rows.payment_by_key(self._pool, merchant_id, key)

    async def view_by_key(self, merchant_id: int, key: str) -> View | None:
        """The payment that a key began."""
        payment_id = await rows.payment_by_key(self._pool, merchant_id, key)
        return None if payment_id is None else await self.view(merchant_id, payment_id)

    async def latest_attempt(self, merchant_id: int, key: str) -> View | None:
        """The last of the further attempts that were made on a page under a key; ``None`` where the first was the only one."""
        payment_id = await rows.latest_attempt(self._pool, merchant_id, key)
        return None if payment_id is None else await self.view(merchant_id, payment_id)

    async def card_of(self, view: View) -> CardInHand | None:
        """The means a payment was begun with, for messages that follow; without security code, and without the number
        where the vault does not keep it."""
        stored = await self.stored_card(view)
        return None if stored is None else CardInHand(None, stored=stored)

    async def card(self, merchant_id: int, card_id: int) -> CardInHand | None:
        """A card of the vault, for a payment without its holder's code; ``None`` where there is no such record."""
        stored = await self._vault.card(merchant_id, card_id)
        return None if stored is None else CardInHand(None, stored=stored)

    async def stored_card(self, view: View) -> StoredCard | None:
        """The card record behind a payment."""
        card_id = view.first.card_id
        return None if card_id is None else await self._vault.card(view.merchant_id, card_id)

    async def service_payment(self, merchant_id: int, door: str, service: str, reference: str) -> int | None:
        """The payment behind such a reference."""
        return await rows.service_payment(self._pool, merchant_id, door, service, reference)

    async def keep_sdk_token(self, merchant_id: int, sdk_token: str, device_id: str, expires_at: datetime) -> None:
        """Store a token made for one device; ``expires_at`` is business time."""
        await rows.keep_sdk_token(self._pool, merchant_id, sdk_token, device_id, expires_at)


async def _views(connection: asyncpg.Connection, wanted: Sequence[tuple[int, int]]) -> list[View | None]:
    steps, payments = await rows.steps_of(connection, wanted), await rows.payments_of(connection, wanted)
    return [
        View(*one, payment, tuple(done)) if done and done[0].kind in FIRST else None
        for one, payment, done in zip(wanted, payments, steps, strict=True)]
