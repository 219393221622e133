"""Authentications made ahead of their payments: a merchant has a payer authenticated first, and pays with the proof later, once.

Decides nothing about the payment that follows: ``core.authentication.may_use`` does.  Refuses to know doors.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.core.authentication import CHALLENGE, FIRST_SIGN, GOOD_FOR, PENDING, Mode, Status
from ringfence.core.card import Pan
from ringfence.core.commands import Kind
from ringfence.engine.authenticating import PAGE, Address, Authenticating, SecretOf
from ringfence.engine.challenges import Challenges
from ringfence.processors.authenticator import NO_PREFERENCE, AuthenticationRequest, Authenticator
from ringfence.processors.processor import Ask
from ringfence.storage import authentications as rows
from ringfence.storage.authentications import AuthenticationRow

__all__ = ["Ahead", "AuthenticationRow", "Enrolled", "Payer"]


class Payer(NamedTuple):
    """Whom to authenticate: a card of a merchant and an amount in minor units of ``currency``.

    ``leave_url`` is where the browser goes behind a challenge.
    """

    merchant_id: int
    merchant: str
    merchant_name: str
    card_id: int
    pan: Pan | None
    expiry: str                     # YYMM
    minor: int
    currency: str
    language: str
    leave_url: str
    magic: bool = False


class Enrolled(NamedTuple):
    """What was found: ``page`` is the path of the challenge's page, "" where none is needed."""

    authentication_id: int
    takes_part: bool
    page: str


class Ahead:
    """Makes them, for one process."""

    def __init__(
        self, pool: asyncpg.Pool, authenticator: Authenticator, authenticating: Authenticating, challenges: Challenges, *,
        new_id: Callable[[], int], secret_of: SecretOf, now: Callable[[], datetime], wall: Callable[[], datetime], seconds: float,
    ) -> None:
        """``seconds`` (wall time): how long access control may think."""
        self._pool, self._authenticator, self._authenticating, self._challenges = pool, authenticator, authenticating, challenges
        self._new_id, self._secret_of, self._now, self._wall, self._seconds = new_id, secret_of, now, wall, seconds

    async def enrol(self, payer: Payer) -> Enrolled:
        """Ask access control about a payer.  Raises ``DatabaseUnavailable``."""
        now, authentication_id = self._now(), self._new_id()
        row = AuthenticationRow(
            payer.merchant_id, authentication_id, 0, payer.card_id, payer.minor, payer.currency, Mode.FLEXIBLE, NO_PREFERENCE, "",
            Status.UNAVAILABLE, "13", "", "", "", "", "", "", None, False, payer.leave_url, now, now + CHALLENGE, now, now + GOOD_FOR,
        )
        message = Ask(
            f"{authentication_id}-ahead", Kind.AUTHORIZATION, payer.minor, payer.currency, payer.merchant, authentication_id, authentication_id,
            now, now, payer.pan, payer.expiry, magic=payer.magic,
        )
        if payer.pan is None or not self._authenticator.takes_part(message):
            await rows.keep(self._pool, row)
            return Enrolled(authentication_id, False, "")
        said = await self._authenticating.say(AuthenticationRequest(
            message.key, payer.pan, payer.expiry, payer.minor, payer.currency, payer.merchant, payer.merchant_name, payer.language,
            NO_PREFERENCE, now, self._wall() + timedelta(seconds=self._seconds), payer.magic,
        ))
        row = row._replace(
            status=said.status, reason=said.reason, cancelled=said.cancelled, eci=said.eci, cavv=said.cavv, ds_id=said.ds_id,
            version=said.version, acs_id=said.acs_id,
        )
        if said.status not in PENDING:
            await rows.keep(self._pool, row)
            return Enrolled(authentication_id, True, "")
        address = Address(payer.merchant_id, authentication_id, self._secret_of(payer.merchant_id, authentication_id))
        await rows.keep(self._pool, row._replace(token_hash=address.hash, ended_at=None), now + FIRST_SIGN)
        return Enrolled(authentication_id, True, f"{PAGE}{address}")

    async def look(self, merchant_id: int, authentication_id: int) -> AuthenticationRow | None:
        """One of them as it stands now, its result message looked for; ``None`` where the merchant has none of that number."""
        row = await rows.load(self._pool, merchant_id, authentication_id)
        if row is None or row.payment_id:
            return None
        if row.ended_at is None:
            await self._challenges.carry_on(merchant_id, authentication_id)
            row = await rows.load(self._pool, merchant_id, authentication_id)
        return row

    async def with_cryptogram(self, merchant_id: int, cavv: str) -> AuthenticationRow | None:
        """The one with this cryptogram."""
        return await rows.ahead(self._pool, merchant_id, cavv)
