"""The keyring of a process: the master key in force, and while a rotation runs the one that follows.

The database knows master keys by number and check value; a key found at its source is put on the ring only if its check value is
announced there, so that a wrong key stops the start and not the first payment.  Keys that went out of force stay on the ring
until the process ends, for what it still holds in memory.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import asyncpg

from ringfence.engine.key_sources import KeySource, Secret
from ringfence.engine.sealing import Lasting, MasterKey, check_value, text_key_id
from ringfence.storage import vault_keys as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import DatabaseUnavailable, noticing_loss
from ringfence.storage.vault_keys import InForce, KeyRow

log = logging.getLogger(__name__)

NOTICE_SECONDS = 1.0
"""How often a process looks whether the keys in force changed."""
LOOK_SECONDS = 5.0
"""How often a source is asked again for an announced key that it did not have."""
WORD_SECONDS = 10.0
"""How long a rotation waits for a process that said nothing more."""


class WrongMasterKey(Exception):
    """The master key that was found does not fit the database; the message says what to do."""


class UnknownKey(Exception):
    """Something is sealed under a key that is not on the ring."""


class Keyring:
    """The keys of one process.  Made by ``open_keyring``; prints without secrets."""

    def __init__(self, source: KeySource) -> None:
        self._source = source
        self._keys: dict[int, MasterKey] = {}
        self._lasting = Lasting(b"", b"")
        self._told: tuple[int, int] | None = None
        self._told_at = self._look_at = 0.0
        self.in_force = InForce(0, None)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(map(repr, self._keys.values()))}, in force {self.in_force.current})"

    @property
    def chain_key(self) -> bytes:
        """The key of the chain of batches (``core.chain``); the same for the life of the installation."""
        return self._lasting.chain

    @property
    def content_key(self) -> bytes:
        """The key of the HMAC that binds an idempotency key to its content; the same for the life of the installation."""
        return self._lasting.content

    @property
    def lasting(self) -> Lasting:
        """Both, for the next master key to carry on."""
        return self._lasting

    @property
    def numbers(self) -> tuple[int, ...]:
        """The keys on the ring."""
        return tuple(self._keys)

    @property
    def current(self) -> MasterKey:
        """The key whose fingerprints find cards."""
        return self._keys[self.in_force.current]

    @property
    def next(self) -> MasterKey | None:
        """The key that a running rotation leads to."""
        return self._keys[self.in_force.next] if self.in_force.next else None

    @property
    def sealing(self) -> MasterKey:
        """The key to seal with: the next one while a rotation runs."""
        return self._keys[self.in_force.next or self.in_force.current]

    @property
    def newest(self) -> int:
        """The highest number on the ring."""
        return max(self._keys)

    def key(self, number: int) -> MasterKey:
        """A key by its number.  Raises ``UnknownKey``."""
        try:
            return self._keys[number]
        except KeyError:
            raise UnknownKey(f"master key {number} is not at hand; those at hand: {sorted(self._keys)}") from None

    def holds(self, number: int | None) -> bool:
        """Whether what is sealed under that key opens; ``None`` stands for nothing sealed."""
        return number is None or number in self._keys

    async def refresh(self, connection: asyncpg.Connection) -> bool:
        """Read which keys are in force, fetch what is missing from the source; whether anything changed.

        Raises ``WrongMasterKey`` where a key in force is not to be had, ``KeyUnreadable`` where its place holds none.
        """
        state, announced = await rows.in_force(connection), await rows.keys(connection)
        if state is None:
            raise WrongMasterKey("The database has no master key in force, though this process began with one.")
        wanted = any(row.retired_at is None and row.key_id not in self._keys for row in announced)
        before, now = (self.in_force, len(self._keys)), asyncio.get_running_loop().time()
        if wanted and (now >= self._look_at or not all(map(self.holds, state))):
            self._look_at = now + LOOK_SECONDS
            self._put(await asyncio.to_thread(self._source.read), announced)
            missing = [number for number in state if not self.holds(number)]
            if missing:
                raise WrongMasterKey(self._complaint(missing[0], announced))
        if _order(state) > _order(self.in_force):       # of two that read at once, the slower one must not turn back
            self.in_force = state
        return (self.in_force, len(self._keys)) != before

    async def notice(self, connection: asyncpg.Connection, holder: str) -> None:
        """``refresh``, and let rotations know how far this process has come.  ``holder`` names the process."""
        await self.refresh(connection)
        word, now = (self.newest, self.sealing.number), asyncio.get_running_loop().time()
        if word != self._told or now - self._told_at > WORD_SECONDS / 3:
            await rows.hold(connection, holder, *word, WORD_SECONDS)
            self._told, self._told_at = word, now

    def _put(self, secrets: Sequence[Secret], announced: Sequence[KeyRow]) -> None:
        """Put the keys on the ring whose check values are announced."""
        found = {check_value(secret.key): secret for secret in secrets}
        for row in announced:
            if row.check_value in found and row.key_id not in self._keys:
                key = MasterKey(row.key_id, found[row.check_value].key)
                self._lasting = key.carried(row.carried)
                self._keys[row.key_id] = key

    def _complaint(self, missing: int, announced: Sequence[KeyRow]) -> str:
        check = next(row.check_value for row in announced if row.key_id == missing)
        held = [f"key {number}, which is {'retired' if row.retired_at else 'not enough'}"
                for row in announced if (number := row.key_id) in self._keys]
        return (f"The database is sealed under master key {missing} (check value {check.hex()}), and that key was not found"
                f"{'; found was ' + ' and '.join(held) if held else ': what was found is another key'}. "
                "Give the right key; nothing was changed.")


def _order(state: InForce) -> tuple[int, int]:
    return state.current, state.next or 0


async def open_keyring(connection: asyncpg.Connection, source: KeySource) -> Keyring:
    """The keyring of this process, from its source and the database; in a new database the key found becomes number 1.

    Raises ``KeyUnreadable`` where the source holds no key, ``WrongMasterKey`` where it holds another than the database's,
    ``DatabaseUnavailable``.
    """
    with noticing_loss(connection):
        if await rows.in_force(connection) is None:
            await _begin(connection, source)
        ring = Keyring(source)
        announced = await rows.keys(connection)
        secrets = await asyncio.to_thread(source.read)
        if not secrets:
            raise WrongMasterKey(f"There is no master key, and the database is sealed under one (check value {announced[-1].check_value.hex()}). "
                                 "Give the key back; nothing was changed.")
        ring._put(secrets, announced)
        await ring.refresh(connection)
    source.settle(ring.current.check_value)
    return ring


async def _begin(connection: asyncpg.Connection, source: KeySource) -> None:
    """Put the first key in force.  Of two processes that do this at once, the second finds what the first has done."""
    secrets = await asyncio.to_thread(source.read)
    if not secrets and source.is_own:
        source.generate()
        secrets = source.read()
    if not secrets:
        raise WrongMasterKey("There is no master key.")
    first = MasterKey(1, secrets[0].key)
    async with connection.transaction():
        await rows.announce(connection, first.number, first.check_value, first.carry(first.first_lasting()))
        await rows.begin(connection, first.number)


async def keep_noticing(pool: asyncpg.Pool, ring: Keyring, holder: str) -> None:
    """For the background: ``notice`` every second until cancelled, and take the word back at the end.

    A database that is away and a key that is not to be had are logged and looked for again.
    """
    try:
        while True:
            try:
                async with borrowed(pool) as connection:
                    await ring.notice(connection, holder)
            except asyncio.CancelledError:
                raise
            except Exception as why:            # whatever it was, the next second may be better
                log.warning("master keys could not be looked at: %s", why)
            await asyncio.sleep(NOTICE_SECONDS)
    finally:
        try:
            async with asyncio.timeout(1), borrowed(pool) as connection:
                await rows.release(connection, holder)
        except (DatabaseUnavailable, TimeoutError, asyncpg.InterfaceError):
            log.debug("the word of %s was left to run out", holder)


def seal_text(ring: Keyring, purpose: str, merchant_id: int, text: str) -> bytes:
    """Seal a short secret (a credential's phrases) of a merchant; ``purpose`` and merchant must be the same to open it."""
    return ring.sealing.seal_text(purpose, merchant_id, text)


def open_text(ring: Keyring, purpose: str, merchant_id: int, sealed: bytes) -> str:
    """The text again.  Raises ``NotOpened`` for another purpose, merchant or key, ``UnknownKey`` for a key not at hand."""
    return ring.key(text_key_id(sealed)).open_text(purpose, merchant_id, sealed)
