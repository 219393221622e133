"""Instruments beside the vault's tokens: accounts and wallets whose details are sealed, and what may change of a card's.

Refuses to know the forms of details.
"""
from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from ringfence.engine.keys import Keyring, open_text, seal_text
from ringfence.engine.token_making import Made, Presented, make
from ringfence.engine.vault import Also, StoredCard, Vault
from ringfence.storage import cards as card_rows
from ringfence.storage import instruments as rows
from ringfence.storage.borrowing import borrowed

PURPOSE = "instrument"
"""What details are sealed for; part of the associated data."""


class Account(NamedTuple):
    """An instrument that is no card, opened.  Prints without its details."""

    kind: str
    details: dict[str, Any]

    def __repr__(self) -> str:
        return f"Account({self.kind})"

    __str__ = __repr__


class Beside(NamedTuple):
    """What is kept of a card's instrument beside its token."""

    instrument_id: int
    kind: str
    details: dict[str, Any]

    def __repr__(self) -> str:
        return f"Beside({self.instrument_id}, {self.kind})"

    __str__ = __repr__


class Instruments:
    """The instruments of one process."""

    def __init__(self, pool: asyncpg.Pool, keyring: Keyring, vault: Vault, now: Callable[[], datetime]) -> None:
        """``now``: business time."""
        self._pool, self._keyring, self._vault, self._now = pool, keyring, vault, now

    async def keep(self, merchant_id: int, instrument_id: int, kind: str, details: dict[str, Any], also: Also | None = None) -> None:
        """Make one; the same number again changes nothing.  ``also``, here and below, is done in the commit of a change."""
        sealed, now = self._sealed(merchant_id, details), self._now()
        await self._changed(lambda connection: rows.keep(connection, merchant_id, instrument_id, kind, sealed, now), also)

    async def find(self, merchant_id: int, instrument_id: int) -> Account | None:
        """One that was not deleted."""
        found = await rows.find(self._pool, merchant_id, instrument_id)
        return found and Account(found[0], json.loads(open_text(self._keyring, PURPOSE, merchant_id, found[1])))

    async def replace(self, merchant_id: int, instrument_id: int, kind: str, details: dict[str, Any], also: Also | None = None) -> bool:
        """Give it other details; false where there is none of that kind."""
        sealed, now = self._sealed(merchant_id, details), self._now()
        return await self._changed(lambda connection: rows.replace(connection, merchant_id, instrument_id, kind, sealed, now), also)

    async def delete(self, merchant_id: int, instrument_id: int, also: Also | None = None) -> bool:
        """End it; false where there is none."""
        now = self._now()
        return await self._changed(lambda connection: rows.delete(connection, merchant_id, instrument_id, now), also)

    async def put_card(
        self, merchant_id: int, token_name: str, card: StoredCard, expiry: str, holder: str, also: Also | None = None,
        beside: Beside | None = None,
    ) -> bool:
        """Put another card behind a token; false where there is no active one of that name.

        What is ``beside`` the token is replaced too, and a token that never was is made now; false also where that is gone.
        """
        sealed, now = self._sealed(merchant_id, beside.details) if beside else b"", self._now()

        async def put(connection: asyncpg.Connection) -> bool:
            if beside and not await rows.replace(connection, merchant_id, beside.instrument_id, beside.kind, sealed, now):
                return False
            if await rows.put_card(connection, merchant_id, token_name, card.card_id, expiry, holder):
                return True
            if not beside:
                return False
            made = await make(connection, Presented(merchant_id, card.card_id, token_name, expiry, holder), now, lambda: token_name)
            return isinstance(made, Made)

        changed = await self._changed(put, also)
        self._vault.forget(merchant_id, token_name)
        return changed

    async def cite(self, merchant_id: int, token_name: str, card: StoredCard, reference: str) -> None:
        """Remember the scheme reference of a first payment that was made elsewhere, where the card has none: what merchant-initiated
        payments with it cite."""
        async with borrowed(self._pool) as connection, connection.transaction():
            await card_rows.lock_cards(connection, [(merchant_id, card.card_id)])
            await card_rows.note_first_references(connection, [(merchant_id, card.card_id, reference)])
        self._vault.forget(merchant_id, token_name)

    async def note(self, also: Also) -> None:
        """Do what goes with a change that was made before."""
        async with borrowed(self._pool) as connection, connection.transaction():
            await also(connection)

    async def _changed(self, change: Callable[[asyncpg.Connection], Awaitable[bool]], also: Also | None) -> bool:
        """Make a change, and what goes with it; whether there was one."""
        async with borrowed(self._pool) as connection, connection.transaction():
            is_changed = await change(connection)
            if is_changed and also is not None:
                await also(connection)
        return is_changed

    def _sealed(self, merchant_id: int, details: dict[str, Any]) -> bytes:
        return seal_text(self._keyring, PURPOSE, merchant_id, json.dumps(details))
