"""Rotation: a new master key takes over while payments go on.

Five steps, each visible to all processes before the next begins, and each begun again where a rotation was interrupted:

1. announce: the next key gets its number; every running process fetches it, and says so.
2. begin:    the next key is in force beside the current one.  What is sealed from now on is sealed under it; cards are stored
             with fingerprints under both, so that a number has one record whichever key it is looked for with.
3. re-wrap:  record keys and sealed texts, in small commits; cards that a payment holds are left for the next pass.
4. switch:   nothing is left under the former key: the next one is the current one.
5. clear:    the former key's fingerprints go, and it is retired; the sandbox's key file is replaced.

Whoever stores cards holds the row that steps 2 and 4 change, and stores nothing where it finds other keys than it knows.
Refuses to know how a new key is made: it must lie at its source, next to the present one (the sandbox makes its own).
"""
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import asyncpg

from ringfence.engine.key_sources import KeySource
from ringfence.engine.keys import WORD_SECONDS, Keyring, open_keyring
from ringfence.engine.sealing import MasterKey, Sealed, check_value
from ringfence.storage import cards, vault_keys
from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import try_lock, unlock
from ringfence.storage.vault_keys import InForce

ROTATION = (7, 1)
"""The advisory lock: one rotation at a time."""
CHUNK = 200
"""Cards in one commit: a few milliseconds."""
PATIENCE_SECONDS = 3 * WORD_SECONDS
POLL_SECONDS = 0.2
START = (-1, -1)


class RotationRefused(Exception):
    """The rotation cannot go on; the message says why and what to do.  What was done so far is kept, and harmless."""


class Progress(NamedTuple):
    """How far a rotation has come: the step, and how many of how many cards."""

    step: str
    done: int
    total: int


class Rotated(NamedTuple):
    """A finished rotation: the key in force now, and how many cards and texts this run re-wrapped.  ``resumed``: an earlier run began it."""

    key_id: int
    cards: int
    texts: int
    resumed: bool


async def rotate(
    pool: asyncpg.Pool, source: KeySource, *, progress: Callable[[Progress], None] = lambda _: None, chunk: int = CHUNK,
    patience: float = PATIENCE_SECONDS,
) -> Rotated:
    """Bring the next master key into force, or finish a rotation that was interrupted; safe to run again at any point.

    Raises ``RotationRefused``; ``WrongMasterKey`` and ``KeyUnreadable`` like ``open_keyring``; ``NotOpened`` where a record was
    tampered with; ``DatabaseUnavailable``.
    """
    async with borrowed(pool) as connection:
        if not await try_lock(connection, *ROTATION):
            raise RotationRefused("Another rotation is running.")
        try:
            return await _Rotation(connection, source, progress, chunk, patience).run()
        finally:
            await unlock(connection, *ROTATION)     # a lost connection has lost the lock as well


class _Rotation:
    """One run."""

    def __init__(
        self, connection: asyncpg.Connection, source: KeySource, progress: Callable[[Progress], None], chunk: int, patience: float
    ) -> None:
        self._connection, self._source, self._progress = connection, source, progress
        self._chunk, self._patience = chunk, patience
        self._cards = self._texts = 0

    async def run(self) -> Rotated:
        ring = await open_keyring(self._connection, self._source)
        former = await self._not_cleared(ring)
        if former is not None:
            await self._clear(ring, former)
            return Rotated(ring.current.number, 0, 0, True)
        resumed = ring.next is not None
        if not resumed:
            number = await self._announce(ring)
            async with self._connection.transaction():
                state = await vault_keys.take_state(self._connection)
                await vault_keys.set_state(self._connection, state._replace(next=number))
            await ring.refresh(self._connection)
        old, new = ring.current, ring.next
        assert new is not None
        await self._rewrap(old, new)
        await self._wait_for_all(new.number, using=True)
        while not await self._switch(old, new):
            await self._rewrap(old, new)
        await ring.refresh(self._connection)
        await self._clear(ring, old.number)
        return Rotated(new.number, self._cards, self._texts, resumed)

    async def _not_cleared(self, ring: Keyring) -> int | None:
        """The former key of a rotation that was interrupted after its switch."""
        current = ring.in_force.current
        waiting = [row.key_id for row in await vault_keys.keys(self._connection)
                   if row.retired_at is None and row.key_id < current and (current - row.key_id) % 2]
        return waiting[-1] if waiting else None

    async def _announce(self, ring: Keyring) -> int:
        """Step 1; the next key's number, once all running processes have it."""
        announced = await vault_keys.keys(self._connection)
        known = {row.check_value: row for row in announced}
        fresh = [secret for secret in await asyncio.to_thread(self._source.read) if check_value(secret.key) != ring.current.check_value]
        if not fresh and self._source.is_own:
            self._source.generate(next=True)
            fresh = self._source.read()[1:]
        if not fresh:
            raise RotationRefused("There is no next master key. Give it to this command and to every running process as RINGFENCE_MASTER_KEY_NEXT "
                                  "(or _NEXT_FILE, _NEXT_COMMAND), beside the present one.")
        before = known.get(check_value(fresh[0].key))
        if before is not None and before.key_id < ring.in_force.current:
            raise RotationRefused(f"The next master key was key {before.key_id} before. Make a new one.")
        newest = announced[-1].key_id
        number = before.key_id if before else newest + 1 + (newest - ring.in_force.current) % 2
        key = MasterKey(number, fresh[0].key)
        for row in announced:                       # by a rotation that did not come further, with another key
            if row.key_id > ring.in_force.current and row.key_id != number and row.retired_at is None:
                await vault_keys.retire(self._connection, row.key_id)
        await vault_keys.announce(self._connection, number, key.check_value, key.carry(ring.lasting))
        try:
            await self._wait_for_all(number, using=False)
        except RotationRefused:
            await vault_keys.retire(self._connection, number)
            raise
        return number

    async def _wait_for_all(self, number: int, *, using: bool) -> None:
        """Until every running process has the key, or seals with it.  Those that were killed are waited for while their word is good."""
        deadline = time.monotonic() + self._patience
        while behind := await vault_keys.behind(self._connection, number, using=using):
            self._progress(Progress(f"waiting for {', '.join(behind)}", 0, 0))
            if time.monotonic() >= deadline:
                raise RotationRefused(f"These processes do not have the next master key: {', '.join(behind)}. "
                                      "Start them anew with RINGFENCE_MASTER_KEY_NEXT (or _NEXT_FILE, _NEXT_COMMAND), then rotate again.")
            await asyncio.sleep(POLL_SECONDS)       # they look once a second

    async def _rewrap(self, old: MasterKey, new: MasterKey) -> None:
        """Step 3, until nothing is left that nobody holds."""
        await self._reseal_texts(old, new)
        left = await cards.count(self._connection, old.number)
        total, after = self._cards + left, START
        while left:
            self._progress(Progress("re-wrapping", self._cards, total))
            done, last = await self._rewrap_chunk(old, new, after)
            self._cards += done
            if last is not None:
                after = last
                continue
            after, left = START, await cards.count(self._connection, old.number)
            total = self._cards + left
            if left:
                await asyncio.sleep(POLL_SECONDS)   # a payment holds the rest
        self._progress(Progress("re-wrapping", self._cards, total))

    async def _rewrap_chunk(self, old: MasterKey, new: MasterKey, after: tuple[int, int]) -> tuple[int, tuple[int, int] | None]:
        """One commit; how many cards it moved, and the last of them (``None`` at the end of a pass)."""
        async with self._connection.transaction():
            chunk = await cards.to_rewrap(self._connection, old.number, after, self._chunk)
            if not chunk:
                return 0, None
            moved = []
            for merchant_id, card_id, wrapped_key, ciphertext in chunk:
                sealed = Sealed(old.number, wrapped_key, ciphertext)
                pan = old.open(merchant_id, card_id, sealed)
                again = old.rewrap(merchant_id, card_id, sealed, new)
                moved.append((merchant_id, card_id, again.wrapped_key, new.fingerprint(merchant_id, pan)))
            await cards.rewrap(self._connection, new.number, moved)
        return len(moved), moved[-1][:2]

    async def _reseal_texts(self, old: MasterKey, new: MasterKey) -> None:
        while texts := await vault_keys.texts_to_reseal(self._connection, old.number, self._chunk):
            for row in texts:
                text = old.open_text(row.purpose, row.merchant_id, row.sealed)
                again = new.seal_text(row.purpose, row.merchant_id, text)
                self._texts += await vault_keys.reseal_text(self._connection, row, again)

    async def _switch(self, old: MasterKey, new: MasterKey) -> bool:
        """Step 4; whether nothing was left under the former key."""
        async with self._connection.transaction():
            state = await vault_keys.take_state(self._connection)
            assert state == InForce(old.number, new.number), "one rotation at a time"
            if await cards.count(self._connection, old.number) or await vault_keys.texts_to_reseal(self._connection, old.number, 1):
                return False
            await vault_keys.set_state(self._connection, InForce(new.number, None))
        return True

    async def _clear(self, ring: Keyring, former: int) -> None:
        """Step 5.  The former key's file goes last, when nothing needs it."""
        assert (ring.current.number - former) % 2, "the columns take turns"
        while await cards.has_fingerprints(self._connection, former):
            after: tuple[int, int] | None = START
            while after is not None:
                self._progress(Progress("clearing", 0, 0))
                after = await cards.clear_fingerprints(self._connection, former, after, self._chunk)
            if await cards.has_fingerprints(self._connection, former):
                await asyncio.sleep(POLL_SECONDS)   # a payment holds the rest
        if former in ring.numbers:
            await self._reseal_texts(ring.key(former), ring.current)
        await vault_keys.retire(self._connection, former)
        self._source.settle(ring.current.check_value)
