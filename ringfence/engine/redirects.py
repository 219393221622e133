"""Redirects: payers who are sent somewhere before anybody is asked for money, and what follows when they come back, or do not.  Once.

Everything that going on will need is stored before anybody is told where to go.  The truth is what the other side says of its session; what a
browser brings only names that session, and counts for nothing where it is another payment's.  Whoever carries on claims it first, in a commit
that several may try and one succeeds in: a browser that returns twenty times, the job behind a payer who never does, a notification, a
merchant who gives up.  The claim gives the operation an owner again, as behind a challenge (decision 21); until then nothing is held, and
nothing is in doubt.  Refuses to know pages, doors and what a wallet speaks.
"""
from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol

import asyncpg
from msgspec.structs import replace

from ringfence.core.outcomes import Challenge, NotAsked, Outcome
from ringfence.core.redirection import ENDS, Redirect, Stand, Why
from ringfence.engine.engine import Engine
from ringfence.engine.intents import Ended as Finished
from ringfence.engine.intents import Reserved, Result
from ringfence.engine.link_addresses import Addresses
from ringfence.storage import jobs
from ringfence.storage import redirections as rows
from ringfence.storage.database import DatabaseUnavailable
from ringfence.storage.jobs import Job
from ringfence.storage.redirections import RedirectionRow

__all__ = ["Redirect", "RedirectionRow", "Redirects", "Stand", "Why"]

log = logging.getLogger(__name__)

PAGE = "/wallet/"
"""Below it are the pages of payers who are sent away."""
LOOK_SECONDS, LONGEST_SECONDS = 30.0, 3_600.0
"""Until the first look at a session that is known (business time), and at most between two: in between half as long as its payer was away."""
NO_DATABASE, NO_ACCOUNT = "database", "no_account"
"""Why a payment was not asked for whose payer could not be sent away."""
APPROVED = "approved"


class Seen(NamedTuple):
    """What a session looks like from the other side; ``account``: what later payments are made with, once that is known."""

    stand: Stand
    account: str = ""


class Handover(NamedTuple):
    """What the page that hands a payer over to a wallet needs.  ``payload`` must reach the wallet character for character; ``entry`` takes it as
    a plain form, "" where only the wallet's own ``script`` can hand over."""

    payload: str
    signature: str
    algorithm: str
    public_key_id: str
    merchant_id: str
    ledger_currency: str
    sandbox: bool
    script: str
    entry: str
    session: str = ""               # made before, so that its payer need not come back to be heard of; "" where he alone brings it


class Guide(Protocol):
    """A payment method's other side."""

    def knows(self, merchant_id: int) -> bool:
        """Whether the merchant has an account there."""

    async def look(self, row: RedirectionRow, session: str) -> Seen:
        """What it says of a session."""

    async def agree(self, row: RedirectionRow, session: str) -> Seen:
        """Complete an approved session that nothing is charged with; harmless when repeated.  ``APPROVED`` comes with the account."""

    async def hand_over(self, row: RedirectionRow, result_url: str, cancel_url: str) -> Handover | None:
        """What its page needs, the same at every call; ``None`` where nobody can be sent there."""


class Stands(StrEnum):
    """Where a redirection stands."""

    AWAITED = "awaited"             # its payer is to act
    LOOKING = "looking"             # a session is there of which nobody can say anything now
    ENDING = "ending"               # somebody carries on
    ENDED = "ended"


class Progress(NamedTuple):
    """Where it stands; ``result`` only for the one who ended it."""

    stands: Stands
    result: Result | None = None


Standing = Callable[[int, int], Awaitable[Reserved | None]]
"""Merchant and payment -> its first operation as it was accepted, with its payment as it stands."""
Agreed = Callable[[int, int, str], Awaitable[None]]
"""Merchant, agreement and what later payments are made with: its payer has agreed.  Told until it succeeds, perhaps more than once."""
Refused = Callable[[int, int, str], Awaitable[None]]
"""Merchant, agreement and why: its payer has not agreed, and will not.  Likewise."""


async def nobody_hears(merchant_id: int, agreement_id: int, said: str) -> None:
    """Where there are no agreements."""


def urls_under(base_url: str, addresses: Addresses) -> Callable[[int, int], str]:
    """The addresses of payers' pages, by merchant and payment or agreement: always the same, and kept nowhere."""
    return lambda merchant_id, subject: f"{base_url}{PAGE}{addresses.make(merchant_id, subject)}"


class Redirects:
    """Sends payers away and carries on behind them, for one process."""

    agreed: Agreed = staticmethod(nobody_hears)         # set by whoever builds both
    refused: Refused = staticmethod(nobody_hears)

    def __init__(
        self, pool: asyncpg.Pool, engine: Engine, standing: Standing, guides: Mapping[str, Guide], addresses: Addresses, *, base_url: str,
        now: Callable[[], datetime], wall: Callable[[], datetime], ask_seconds: float,
    ) -> None:
        """``guides`` by payment method; one without a guide has its payer act on our own page.  ``ask_seconds`` (wall time): how long whoever
        carries on may take to ask, and to write the outcome."""
        self._pool, self._engine, self._standing, self._guides, self._addresses = pool, engine, standing, guides, addresses
        self._base_url, self._now, self._wall, self._ask = base_url, now, wall, timedelta(seconds=ask_seconds)

    # --- away -------------------------------------------------------------------------------------------------------------

    def path(self, merchant_id: int, subject: int) -> str:
        """The path of a payer's page: always the same, and kept nowhere."""
        return PAGE + self._addresses.make(merchant_id, subject)

    def url(self, merchant_id: int, subject: int) -> str:
        """Its address."""
        return self._base_url + self.path(merchant_id, subject)

    async def before(self, reserved: Reserved) -> Outcome:
        """What becomes of a payment whose payer is to act first: a challenge, once all that is needed behind it is stored."""
        intent, redirect, now = reserved.intent, reserved.intent.redirect, self._now()
        assert redirect is not None
        guide = self._guides.get(redirect.method)
        if guide is not None and not guide.knows(intent.merchant_id):
            return NotAsked(NO_ACCOUNT)
        row = RedirectionRow(
            intent.merchant_id, intent.payment_id, intent.payment_id, redirect.agreement_id, redirect.method, ",".join(redirect.ways),
            reserved.operation.kind, reserved.operation.minor, intent.command.currency, rows.written(redirect.recurrence), redirect.language,
            "", intent.account, now, now + timedelta(seconds=redirect.seconds))
        try:
            await rows.keep(self._pool, row)
        except DatabaseUnavailable:
            log.warning("where the payer of operation %d goes could not be stored", reserved.operation.id)
            return NotAsked(NO_DATABASE)
        return Challenge(self.path(intent.merchant_id, intent.payment_id), str(intent.payment_id))

    async def begin(self, merchant_id: int, agreement_id: int, redirect: Redirect, minor: int, currency: str) -> None:
        """Send the payer of an agreement away that nothing is charged with; the same one again changes nothing.

        ``minor`` and ``currency``: what is agreed to, as the payer is told.  Raises ``DatabaseUnavailable``.
        """
        now = self._now()
        await rows.keep(self._pool, RedirectionRow(
            merchant_id, agreement_id, 0, agreement_id, redirect.method, ",".join(redirect.ways), "", minor, currency,
            rows.written(redirect.recurrence), redirect.language, redirect.leave_url, "", now, now + timedelta(seconds=redirect.seconds)))

    def has_guide(self, row: RedirectionRow) -> bool:
        """Whether its payer acts elsewhere; if not, on our own page."""
        return row.method in self._guides

    async def hand_over(self, row: RedirectionRow) -> Handover | None:
        """What the page that hands this payer over needs; ``None``: there is nobody to hand him over to.  Raises ``DatabaseUnavailable``."""
        guide, address = self._guides.get(row.method), self._addresses.make(row.merchant_id, row.subject)
        if guide is None:
            return None
        base = f"{self._base_url}{PAGE}"
        found = await guide.hand_over(row, f"{base}return/{address}", f"{base}cancel/{address}")
        if found is not None and found.session and not row.session:
            await rows.bring(self._pool, row, found.session, self._next_look(row), instead=False)
        return found

    # --- back -------------------------------------------------------------------------------------------------------------

    async def find(self, address: str) -> RedirectionRow | None:
        """The redirection whose page this is the address of; ``None`` for what was never made.  Raises ``DatabaseUnavailable``."""
        place = self._addresses.read(address)
        return None if place is None else await rows.load(self._pool, *place)

    async def came_back(self, row: RedirectionRow, session: str) -> Progress:
        """A browser came back from the other side with a session's name, or "" for none: go on as far as possible.

        Raises ``DatabaseUnavailable``.
        """
        guide = self._guides.get(row.method)
        if guide is None or not session or row.claim is not None or row.ended_at is not None or session == row.session:
            return await self.carry_on(row.merchant_id, row.subject)
        seen = await guide.look(row, session)
        if seen.stand is Stand.FOREIGN:
            log.warning("a browser came back to %d with a session that is not its own", row.subject)
            return await self.carry_on(row.merchant_id, row.subject)
        await rows.bring(self._pool, row, session, self._next_look(row), instead=seen.stand is not Stand.SILENT)
        return await self._go_on(row._replace(session=session), seen)

    async def answer(self, merchant_id: int, subject: int, stand: Stand, why: Why | None = None) -> Progress:
        """The payer's own word, where our page is all there is: ``APPROVED``, or a stand that ends.  Raises ``DatabaseUnavailable``."""
        row = await rows.load(self._pool, merchant_id, subject)
        if row is None or row.method in self._guides:
            return Progress(Stands.ENDED)
        if self._now() >= row.due_at:
            return await self._go_on(row, None)
        return await self._end(row, row.session, APPROVED if stand is Stand.APPROVED else why or ENDS[stand])

    async def discard(self, merchant_id: int, subject: int, why: str) -> bool:
        """End what a payer is still awaited for, as a payment that nobody was asked for; false where he was quicker.

        ``why`` is the reason that is kept.  Raises ``DatabaseUnavailable``.
        """
        row = await rows.load(self._pool, merchant_id, subject)
        return row is not None and (await self._end(row, "", why)).result is not None

    async def of(self, merchant_id: int, subject: int) -> RedirectionRow | None:
        """The redirection of a payment or an agreement.  Raises ``DatabaseUnavailable``."""
        return await rows.load(self._pool, merchant_id, subject)

    async def carry_on(self, merchant_id: int, subject: int) -> Progress:
        """Go on as far as possible now.  Raises ``DatabaseUnavailable``."""
        row = await rows.load(self._pool, merchant_id, subject)
        if row is None:
            return Progress(Stands.ENDED)
        guide = self._guides.get(row.method)
        seen = None
        if guide is not None and row.session and row.claim is None and row.ended_at is None:
            seen = await guide.look(row, row.session)
        return await self._go_on(row, seen)

    async def attempt(self, job: Job) -> None:
        """One look at a payer who may never come back; ``job`` goes with his end, and once his agreement knows of it."""
        progress = await self.carry_on(job.merchant_id, job.subject)
        row = await rows.load(self._pool, job.merchant_id, job.subject)
        if row is None or (progress.stands is Stands.ENDED and await self._tell(row)):
            await jobs.done(self._pool, job)
            return
        has_guide = row.method in self._guides
        waits = progress.stands is Stands.AWAITED and not (has_guide and row.session) and row.due_at > self._now()
        await jobs.later(self._pool, job, row.due_at if waits else self._next_look(row), f"the payer is {progress.stands}")

    def _next_look(self, row: RedirectionRow) -> datetime:
        """When to look at a known session again: at its payer's last moment, if not before (business time)."""
        now = self._now()
        away = (now - row.made_at).total_seconds() / 2
        look = now + timedelta(seconds=min(max(away, LOOK_SECONDS), LONGEST_SECONDS))
        return min(look, row.due_at) if row.due_at > now else now + timedelta(seconds=LOOK_SECONDS)

    # --- one flight -------------------------------------------------------------------------------------------------------------

    async def _go_on(self, row: RedirectionRow, seen: Seen | None) -> Progress:
        if row.payment_id:
            if await rows.standing(self._pool, row.merchant_id, row.payment_id) is not None:
                return Progress(Stands.ENDED)
            if row.claim is not None:
                return Progress(Stands.ENDING)
        elif row.ended_at is not None:
            return Progress(Stands.ENDED)
        stand = seen.stand if seen is not None else Stand.OPEN
        if stand is Stand.APPROVED:
            return await self._end(row, row.session, APPROVED)
        if stand in ENDS:
            return await self._end(row, row.session, ENDS[stand])
        if self._now() >= row.due_at:
            return await self._end(row, row.session, Why.EXPIRED)
        return Progress(Stands.LOOKING if stand is Stand.SILENT else Stands.AWAITED)

    async def _end(self, row: RedirectionRow, session: str, why: str) -> Progress:
        """Carry on behind it or end it, if nobody else does."""
        if not row.payment_id:
            return await self._end_agreement(row, session, why)
        deadline = await self._claim(row, secrets.token_hex(8), session, why)
        if deadline is None:
            result = await rows.standing(self._pool, row.merchant_id, row.payment_id)
            return Progress(Stands.ENDING if result is None else Stands.ENDED)
        reserved = await self._standing(row.merchant_id, row.payment_id)
        assert reserved is not None, "its intent is stored"
        reserved = reserved._replace(deadline=deadline, intent=replace(reserved.intent, account=session or row.session))
        if why == APPROVED:
            result_of = await self._engine.carry_on(reserved, None)
        else:
            result_of = await self._engine.finish(Finished(reserved, NotAsked(why)))
        row = row._replace(session=session or row.session, why=why)
        if row.agreement_id and await self._tell(row):
            await rows.told(self._pool, row)
        return Progress(Stands.ENDED, result_of)

    async def _claim(self, row: RedirectionRow, claimant: str, session: str, why: str) -> datetime | None:
        """Until when (wall time) it is ours alone to carry on; ``None`` where it is another's."""
        try:
            return await rows.claim(self._pool, row, claimant, self._wall() + self._ask, session, why, self._now())
        except DatabaseUnavailable:             # was it stored?  Whoever cannot find out leaves it to the sweep
            return await rows.claimed(self._pool, row, claimant)

    async def _end_agreement(self, row: RedirectionRow, session: str, why: str) -> Progress:
        """The same for an agreement that nothing is charged with: whoever has it may lose it, because telling it twice does no harm."""
        if row.ended_at is not None:
            return Progress(Stands.ENDED)
        claimant = secrets.token_hex(8)
        if not await rows.take(self._pool, row, claimant, self._wall() + self._ask):
            now = await rows.load(self._pool, row.merchant_id, row.subject)
            return Progress(Stands.ENDED if now is None or now.ended_at is not None else Stands.ENDING)
        guide = self._guides.get(row.method)
        try:
            if why == APPROVED:
                seen = Seen(Stand.APPROVED, _account(row)) if guide is None else await guide.agree(row, session)
                if seen.stand is Stand.APPROVED and seen.account:
                    await self.agreed(row.merchant_id, row.agreement_id, seen.account)
                elif seen.stand in ENDS:
                    why = ENDS[seen.stand]
                else:
                    await rows.give_back(self._pool, row, claimant)
                    return Progress(Stands.LOOKING)
            if why != APPROVED:
                await self.refused(row.merchant_id, row.agreement_id, why)
        except Exception:
            await rows.give_back(self._pool, row, claimant)
            raise
        await rows.end(self._pool, row, claimant, self._now(), why)
        return Progress(Stands.ENDED, Result())

    async def _tell(self, row: RedirectionRow) -> bool:
        """The agreement behind an ended payment hears whether its payer agreed; false where nobody can say that yet.

        He may have, although the payment was declined: what the session says counts, not what became of the money.
        """
        if not row.payment_id or not row.agreement_id or not row.why:
            return True
        if row.why != APPROVED:
            await self.refused(row.merchant_id, row.agreement_id, row.why)
            return True
        guide = self._guides.get(row.method)
        seen = Seen(Stand.APPROVED, _account(row)) if guide is None else await guide.look(row, row.session)
        if seen.stand is Stand.SILENT:
            return False
        if seen.stand is Stand.APPROVED and seen.account:
            await self.agreed(row.merchant_id, row.agreement_id, seen.account)
        else:
            await self.refused(row.merchant_id, row.agreement_id, ENDS.get(seen.stand, Why.CLOSED))
        return True


def _account(row: RedirectionRow) -> str:
    """What later payments of a method without another side are made with."""
    return f"{row.method}{row.agreement_id}"
