"""Ids of one process, and names that nobody has: an ``IdSource`` under a worker number that is leased from the database, and names by
chance; or, where a run shall be repeatable, ids that are counted, and names that are made of them.

A lease is long and renewed often, so it outlasts every outage that a service survives.  Should a number be lost all the same, a new one
is taken; an id that was made twice meanwhile is refused by the primary key it would break.
"""
from __future__ import annotations

import re
import secrets
import time
from datetime import UTC, datetime
from hashlib import blake2s

import asyncpg

from ringfence.core.ids import WORKERS, IdSource, first_id_at
from ringfence.storage import workers as rows

LEASE_SECONDS = 900.0
RENEW_SECONDS = 60.0


class NoNumberFree(Exception):
    """As many processes as there are worker numbers write to this database, or died within the last lease."""


class Numbering:
    """Makes ids, and keeps the number they carry."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """Call ``take`` before the first id."""
        self._pool, self._owner, self.number = pool, secrets.token_hex(8), -1
        self._source: IdSource | None = None

    def next(self) -> int:
        """A new id."""
        assert self._source is not None, "take() comes first"
        return self._source.next()

    def new_name(self) -> str:
        """A new name for a token, 32 hexadecimal digits."""
        return secrets.token_hex(16).upper()

    async def take(self) -> None:
        """Lease a number.  Raises ``NoNumberFree``."""
        number = await rows.lease(self._pool, self._owner, WORKERS, LEASE_SECONDS)
        if number is None:
            raise NoNumberFree(f"all {WORKERS} worker numbers are taken; a process that died frees its own within {LEASE_SECONDS / 60:.0f} minutes")
        self.number, self._source = number, IdSource(number, lambda: time.time_ns() // 1_000_000)

    async def renew(self) -> int:
        """Hold on to the number, or take another; run it every ``RENEW_SECONDS``.  1 where the number changed."""
        if await rows.renew(self._pool, self.number, self._owner, LEASE_SECONDS):
            return 0
        await self.take()
        return 1

    async def give_back(self) -> None:
        """Free the number; no ids may be made afterwards."""
        number, self._source = self.number, None
        if number >= 0:
            await rows.give_back(self._pool, number, self._owner)


FIRST_COUNTED = first_id_at(datetime(2024, 1, 1, tzinfo=UTC))
"""Far behind all ids that are made by time, so that the two never meet in one database."""


class Counted:
    """Makes ids by counting, for a process that is alone on its database: the same work in the same order gets the same ids.

    Has the methods of ``Numbering``; there is nothing to lease.
    """

    number = 0

    def __init__(self, pool: asyncpg.Pool, seed: int) -> None:
        """Call ``take`` before the first id.  ``seed``: what names follow from, with the count."""
        self._pool, self._seed, self._last = pool, seed.to_bytes(8, "big"), 0

    def next(self) -> int:
        """A new id."""
        assert self._last, "take() comes first"
        self._last += 1
        return self._last

    def new_name(self) -> str:
        """A new name for a token: a new id and its digest under the seed, 32 hexadecimal digits."""
        return self._name(self.next())

    async def take(self) -> None:
        """Go on behind the highest id that is stored, as such or in a name."""
        named = [self._number(name) for name in await rows.names(self._pool)]
        self._last = max(FIRST_COUNTED, await rows.highest_id(self._pool), self._last, *named)

    async def renew(self) -> int:
        """Nothing has changed."""
        return 0

    async def give_back(self) -> None:
        """Nothing is held; no ids may be made afterwards."""
        self._last = 0

    def _name(self, number: int) -> str:
        return f"{number:016X}{blake2s(b'%d' % number, key=self._seed, digest_size=8).hexdigest().upper()}"

    def _number(self, name: str) -> int:
        """The id that a name was made of; 0 where a merchant chose it."""
        number = int(name[:16], 16) if re.fullmatch("[0-9A-F]{32}", name) else 0
        return number if name == self._name(number) else 0
