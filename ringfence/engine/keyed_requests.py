"""Once: a request under a key of its caller's is carried out once, however often it comes.

For what is no operation of a payment; those claim their key in the intent's commit.  The claim is committed before anything happens, and fixes
the number of what is made: should its holder die, whoever comes next with the same request goes on under the same number, and finds what was
made already.  Refuses to know requests and answers.
"""
from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import asyncpg

from ringfence.storage import keyed_requests as rows
from ringfence.storage.keyed_requests import Place

KEPT = timedelta(hours=24)
"""How long an answer is given again, from the end of its request (business time)."""
HELD = timedelta(seconds=60)
"""How long one try may take (wall time); every step of it has a shorter limit."""


class Said(NamedTuple):
    """An answer: a status of HTTP and a body."""

    status: int
    body: bytes


class Stands(StrEnum):
    """Why there is no answer to give."""

    IN_FLIGHT = "in_flight"
    OTHER_CONTENT = "other_content"


class Once(NamedTuple):
    """What came of it.  Exactly one of ``said`` and ``stands`` is set; ``again``: it was said before."""

    said: Said | None = None
    stands: Stands | None = None
    again: bool = False


class KeyedRequests:
    """The counter for such requests of one process."""

    def __init__(
        self, pool: asyncpg.Pool, *, new_id: Callable[[], int], now: Callable[[], datetime], wall: Callable[[], datetime],
    ) -> None:
        """``now`` is business time, ``wall`` the machine's; both UTC."""
        self._pool, self._new_id, self._now, self._wall = pool, new_id, now, wall

    async def once(
        self, merchant_id: int, door: str, name: str, content: bytes, work: Callable[[int], Awaitable[Said]],
    ) -> Once:
        """Carry out ``work(number)`` if nobody did.  ``name``: method, path and key; ``content``: a digest of what is asked.

        An answer of 4xx frees the key; one of 5xx leaves it to whoever asks again, under the same number.  Raises ``DatabaseUnavailable``
        and whatever ``work`` raises.
        """
        place, holder = Place(merchant_id, door, hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()), secrets.token_hex(8)
        wall, now = self._wall(), self._now()
        number = await rows.claim(self._pool, place, content, self._new_id(), holder, wall + HELD, now - KEPT, wall)
        if number is None:
            return await self._earlier(place, content)
        said = await work(number)
        if said.status < 300:
            await rows.answer(self._pool, place, holder, said.status, said.body, self._now())
        elif said.status < 500:
            await rows.forget(self._pool, place, holder)
        return Once(said)

    async def _earlier(self, place: Place, content: bytes) -> Once:
        found = await rows.find(self._pool, place)
        if found is None:                           # it was freed in this moment: whoever asks again is served
            return Once(stands=Stands.IN_FLIGHT)
        if found.content != content:
            return Once(stands=Stands.OTHER_CONTENT)
        if found.status is None:
            return Once(stands=Stands.IN_FLIGHT)
        return Once(Said(found.status, found.answer or b""), again=True)
