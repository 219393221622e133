"""What follows a challenge: the payer comes back, or does not, and the payment goes on, or ends.  Once.

The truth is the result message, which access control keeps for us; what a browser says of it is not read.  Whoever carries on claims it first,
in a commit that several may try and one succeeds in: a browser that returns twenty times, the job that looks after those that never return,
another process.  The claim gives the operation an owner again, with an owner's time; should that one die, the sweep of abandoned operations
finds it like any other.  Until the claim the payment holds nothing and is nobody's doubt.
"""
from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import asyncpg
from msgspec.structs import replace

from ringfence.core.authentication import (
    GOOD_FOR,
    PENDING,
    Cancelled,
    Ended,
    Evidence,
    Mode,
    Status,
    Verdict,
    verdict,
    why_stopped,
)
from ringfence.core.outcomes import NotAsked
from ringfence.engine.authenticating import PAGE, Address, SecretOf, attempt_name
from ringfence.engine.code_box import CodeBox
from ringfence.engine.engine import Engine
from ringfence.engine.intents import Ended as Finished
from ringfence.engine.intents import Reserved, Result
from ringfence.processors.authenticator import Authenticator, Said
from ringfence.storage import authentications as rows
from ringfence.storage import jobs
from ringfence.storage.authentications import AuthenticationRow, Ending
from ringfence.storage.database import DatabaseUnavailable
from ringfence.storage.jobs import Job

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""Between two looks for the result of a challenge whose payer has not come back (business time)."""


class Stands(StrEnum):
    """Where a challenge stands."""

    WAITING = "waiting"             # for the payer, or for the result message
    ENDING = "ending"               # somebody carries on
    ENDED = "ended"


class Progress(NamedTuple):
    """Where a challenge stands; ``result`` only for the one who ended it."""

    stands: Stands
    result: Result | None = None


Standing = Callable[[int, int], Awaitable[Reserved | None]]
"""Merchant and payment -> its first operation as it was accepted, with its payment as it stands."""


class Challenges:
    """Carries on behind challenges, for one process."""

    def __init__(
        self, pool: asyncpg.Pool, authenticator: Authenticator, code_box: CodeBox, engine: Engine, standing: Standing, *,
        secret_of: SecretOf, now: Callable[[], datetime], wall: Callable[[], datetime], ask_seconds: float,
    ) -> None:
        """``ask_seconds`` (wall time): how long whoever carries on may take to ask, and to write the outcome."""
        self._pool, self._authenticator, self._box, self._engine, self._standing = pool, authenticator, code_box, engine, standing
        self._secret_of, self._now, self._wall, self._ask = secret_of, now, wall, timedelta(seconds=ask_seconds)

    async def find(self, address: Address) -> AuthenticationRow | None:
        """The authentication whose page this is the address of.  Raises ``DatabaseUnavailable``."""
        row = await rows.load(self._pool, address.merchant_id, address.authentication_id)
        if row is None or row.token_hash is None or not hmac.compare_digest(row.token_hash, address.hash):
            return None
        return row

    async def page(self, merchant_id: int, payment_id: int) -> str:
        """The path of the page on which a payment's payer is awaited; "" where nobody is.

        For a payer who lost that page.  Should the challenge have ended meanwhile, the payment goes on first.  Raises ``DatabaseUnavailable``.
        """
        standing = [row for row in await rows.of_payment(self._pool, merchant_id, payment_id) if row.ended_at is None and row.claim is None]
        if not standing:
            return ""
        row = standing[-1]
        progress = await self.carry_on(merchant_id, row.authentication_id)
        address = Address(merchant_id, row.authentication_id, self._secret_of(merchant_id, row.authentication_id))
        is_there = row.token_hash is not None and hmac.compare_digest(row.token_hash, address.hash)
        return f"{PAGE}{address}" if progress.stands is Stands.WAITING and row.status in PENDING and is_there else ""

    async def give_up(self, merchant_id: int, payment_id: int, why: str) -> bool:
        """End a payment whose payer is still awaited, as one that nobody was asked for; false where it went on before.

        ``why`` is the reason that is kept.  Raises ``DatabaseUnavailable``.
        """
        standing = [row for row in await rows.of_payment(self._pool, merchant_id, payment_id) if row.ended_at is None and row.claim is None]
        if not standing:
            return False
        row = standing[-1]
        said = Said(Status.FAILED, "01", cancelled=Cancelled.CARDHOLDER)
        deadline = await self._claim(row, secrets.token_hex(8), said, uses=False)
        reserved = None if deadline is None else await self._standing(merchant_id, payment_id)
        if deadline is None or reserved is None:
            return False
        if row.has_code:
            await self._box.take(merchant_id, attempt_name(payment_id))
        await self._engine.finish(Finished(reserved._replace(deadline=deadline), NotAsked(why)))
        return True

    async def carry_on(self, merchant_id: int, authentication_id: int) -> Progress:
        """Go on as far as possible now.  Raises ``DatabaseUnavailable``."""
        row = await rows.load(self._pool, merchant_id, authentication_id)
        if row is None:
            return Progress(Stands.ENDED)
        if not row.payment_id:
            return await self._end_ahead(row)
        is_challenged, result = await rows.standing(self._pool, merchant_id, row.payment_id)
        if result is not None:
            return Progress(Stands.ENDED)
        if row.claim is not None:
            return Progress(Stands.ENDING)
        said = await self._result(row) if is_challenged else None
        if said is None:
            return Progress(Stands.WAITING)
        follows, claimant = verdict(said.status, Mode(row.mode)), secrets.token_hex(8)
        deadline = await self._claim(row, claimant, said, uses=follows is Verdict.PROCEED)
        if deadline is None:
            _, result = await rows.standing(self._pool, merchant_id, row.payment_id)
            return Progress(Stands.ENDING if result is None else Stands.ENDED)
        return Progress(Stands.ENDED, await self._finish(row, said, follows, deadline))

    async def at_once(self, merchant_id: int, authentication_id: int) -> Result | None:
        """Carry on behind a challenge that needs no payer; ``None`` where another one does."""
        try:
            return (await self.carry_on(merchant_id, authentication_id)).result
        except DatabaseUnavailable:
            return None                     # its job carries on

    async def attempt(self, job: Job) -> None:
        """One look at a challenge whose payer may never come back; ``job`` goes with its end."""
        progress = await self.carry_on(job.merchant_id, job.subject)
        if progress.stands is Stands.ENDED:
            await jobs.done(self._pool, job)
        else:
            row = await rows.load(self._pool, job.merchant_id, job.subject)
            now = self._now()
            later = now + timedelta(seconds=LOOK_SECONDS)
            due = later if row is None or row.due_at <= now else min(later, row.due_at)
            await jobs.later(self._pool, job, due, f"the payer's challenge is {progress.stands}")

    async def _result(self, row: AuthenticationRow) -> Said | None:
        """How the authentication ended; ``None`` while that is not known, and may still become so."""
        if row.status not in PENDING:
            return Said(Status(row.status), row.reason, row.eci, row.cavv, row.ds_id, row.version, row.acs_id, row.cancelled)
        now = self._now()
        try:
            said = await self._authenticator.result(row.acs_id, now)
        except Exception:
            log.exception("access control broke its contract")
            said = None
        if said is not None and row.version and said.version not in ("", row.version):
            log.warning("the result of authentication %d is of version %s, its challenge was of %s", row.authentication_id, said.version, row.version)
            said = None
        if said is not None and said.status not in PENDING:
            return said
        return None if now < row.due_at else Said(Status.FAILED, "14", cancelled=Cancelled.ISSUER_TIMEOUT)

    async def _claim(self, row: AuthenticationRow, claimant: str, said: Said, *, uses: bool) -> datetime | None:
        """Until when (wall time) it is ours alone to carry on; ``None`` where it is another's."""
        now = self._now()
        ending = Ending(said.status, said.reason, said.cancelled, said.eci, said.cavv, said.ds_id, now, now + GOOD_FOR)
        try:
            return await rows.claim(self._pool, row, claimant, self._wall() + self._ask, ending, uses=uses)
        except DatabaseUnavailable:             # was it stored?  Whoever cannot find out leaves it to the sweep
            return await rows.claimed(self._pool, row, claimant)

    async def _finish(self, row: AuthenticationRow, said: Said, follows: Verdict, deadline: datetime) -> Result:
        """The payment goes on or ends, under our claim."""
        reserved = await self._standing(row.merchant_id, row.payment_id)
        assert reserved is not None, "its intent is stored"
        reserved = reserved._replace(deadline=deadline)
        code = await self._box.take(row.merchant_id, attempt_name(row.payment_id)) if row.has_code else None
        if follows is Verdict.STOP:
            return await self._engine.finish(Finished(reserved, NotAsked(why_stopped(said.cancelled))))
        card = reserved.intent.card
        is_whole = card is not None and card.stored is not None and card.stored.sealed is not None
        if not is_whole or (row.has_code and code is None):
            return await self._engine.finish(Finished(reserved, NotAsked(Ended.CODE_GONE)))
        reserved = reserved._replace(intent=replace(reserved.intent, card=card and replace(card, security_code=code)))
        evidence = Evidence(said.status, said.eci, said.cavv, said.ds_id or row.ds_id, said.version or row.version)
        return await self._engine.carry_on(reserved, evidence)

    async def _end_ahead(self, row: AuthenticationRow) -> Progress:
        """One that was made ahead of its payment just ends."""
        if row.ended_at is not None:
            return Progress(Stands.ENDED)
        said = await self._result(row)
        if said is None:
            return Progress(Stands.WAITING)
        now = self._now()
        ending = Ending(said.status, said.reason, said.cancelled, said.eci, said.cavv, said.ds_id, now, now + GOOD_FOR)
        await rows.end_ahead(self._pool, row, ending)
        return Progress(Stands.ENDED)
