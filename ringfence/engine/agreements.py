"""Agreements for those who make, charge and end them.

Every change is one transaction with the entry in its history and with what the merchant is told of it.  A charge is let in by a commit that
holds the agreement's row, and so is its end: whichever commits first wins, and the other one is told.  What is still open, and what a wallet
must still be told, is looked after by a job.  Refuses to know the words in which any of it is told.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

from ringfence.core.agreement import OPEN, Refusal, Status, Terms, What, follow, may_charge, turned_down
from ringfence.storage import agreements as rows
from ringfence.storage import jobs
from ringfence.storage.agreements import QUEUE, AgreementRow, Entry
from ringfence.storage.borrowing import borrowed
from ringfence.storage.jobs import Job, JobRow

__all__ = ["OPEN", "AgreementRow", "Agreements", "Entry", "Found", "Job", "New", "Refusal", "Revoked", "Status", "Terms", "What"]

FAILED = "REVOCATION_FAILED"
"""The status of a revocation that came too late."""
LOOK = timedelta(seconds=30)
"""Between two looks at what is open, at first; then half its age, an hour at most (business time)."""
SELDOM = timedelta(hours=1)
LEFT = timedelta(minutes=10)
"""How long whoever makes an agreement may take until its first payment is stored (business time)."""
ABANDONED = "abandoned"
"""Why an agreement failed whose maker went away before anybody was asked."""
LEASE_SECONDS = 60.0


class New(NamedTuple):
    """An agreement to be made; see ``AgreementRow``."""

    merchant_id: int
    agreement_id: int
    method: str
    terms: Terms
    payment_id: int
    is_charged: bool
    instrument_id: int
    instrument: str
    details: bytes
    webhooks_url: str
    actor: str


class Found(NamedTuple):
    """An agreement with its changes of status and with what was to end it, oldest first."""

    row: AgreementRow
    history: tuple[Entry, ...] = ()
    revocations: tuple[Entry, ...] = ()


class Revoked(NamedTuple):
    """What became of a revocation; ``refusal`` is ``None`` where it ended the agreement."""

    row: AgreementRow
    refusal: Refusal | None


Describe = Callable[[AgreementRow, What | None, Mapping[str, Any]], tuple[str, dict[str, Any]] | None]
"""What a merchant is told of a change (``None``: that it was made), with what only its teller knows: type and data, or nothing."""
Tell = Callable[[asyncpg.Connection, int, int, str, Mapping[str, Any], str, datetime], Awaitable[int]]
"""Merchant, agreement, type, data, the address of its own, business time; within the transaction of the change."""
Close = Callable[[int, str, str], Awaitable[bool]]
"""Merchant, payment method and account: tells the wallet that nothing will be charged any more; true once it knows."""


class Agreements:
    """The agreements of one process."""

    def __init__(
        self, pool: asyncpg.Pool, *, new_id: Callable[[], int], now: Callable[[], datetime], describe: Describe, tell: Tell, close: Close,
    ) -> None:
        """``now``: business time."""
        self._pool, self._new_id, self._now, self._describe, self._tell, self._close = pool, new_id, now, describe, tell, close

    async def make(self, new: New) -> AgreementRow:
        """Make one; where a first try under the same number made it, that one."""
        now, terms = self._now(), new.terms
        row = AgreementRow(
            new.merchant_id, new.agreement_id, Status.INITIALIZING, new.method, *terms, new.payment_id, new.is_charged, new.instrument_id,
            new.instrument, "", False, False, new.details, new.webhooks_url, new.actor, "", now, now)
        async with borrowed(self._pool) as connection, connection.transaction():
            if await rows.make(connection, row):
                await self._told(connection, row, None, {})
                await jobs.wake(connection, [JobRow(new.merchant_id, QUEUE, new.agreement_id, new.payment_id, now + LOOK)])
                if new.is_charged:
                    await rows.admit(connection, new.merchant_id, new.agreement_id, new.payment_id)
                return row
            found = await rows.find(connection, new.merchant_id, new.agreement_id)
        assert found is not None, "it is there"
        return found

    async def find(self, merchant_id: int, agreement_id: int) -> AgreementRow | None:
        """A merchant's agreement."""
        async with borrowed(self._pool) as connection:
            return await rows.find(connection, merchant_id, agreement_id)

    async def of_instrument(self, merchant_id: int, instrument: str) -> AgreementRow | None:
        """The agreement that an instrument was made for, the oldest where there are several."""
        async with borrowed(self._pool) as connection:
            found = await rows.of_instrument(connection, merchant_id, instrument)
            return await rows.find(connection, merchant_id, found[0]) if found else None

    async def whole(self, row: AgreementRow) -> Found:
        """The same with everything that happened to it."""
        async with borrowed(self._pool) as connection:
            history = await rows.history(connection, row.merchant_id, row.agreement_id)
            return Found(row, tuple(history), tuple(await rows.revocations(connection, row.merchant_id, row.agreement_id)))

    async def happened(
        self, merchant_id: int, agreement_id: int, what: What, *, why: str = "", account: str = "", instrument: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> AgreementRow | None:
        """Something happened to it; what changes nothing, changes nothing.  The agreement as it is then, ``None`` where it is not there.

        ``account`` and ``instrument``: what it is paid with from now on; ``extra`` is told of it beside.
        """
        async with borrowed(self._pool) as connection, connection.transaction():
            row = await rows.lock(connection, merchant_id, agreement_id)
            if row is None:
                return None
            new = row._replace(why=why, account=account or row.account, instrument=instrument or row.instrument)
            return await self._follow(connection, row, new, what, extra or {}) or row

    async def admit(self, merchant_id: int, agreement_id: int, payment_id: int, minor: int, currency: str) -> Refusal | None:
        """Let a charge in, or say why it may not be; it counts among the agreement's in either case.  Amounts in minor units."""
        async with borrowed(self._pool) as connection, connection.transaction():
            row = await rows.share(connection, merchant_id, agreement_id)
            refusal = Refusal.INACTIVE if row is None else may_charge(row.status, row.terms, minor, currency, self._now())
            await rows.admit(connection, merchant_id, agreement_id, payment_id)
            return refusal

    async def revoke(self, merchant_id: int, agreement_id: int, revocation_id: int, by: What, *, is_ours: bool = True) -> Revoked | None:
        """End it; the same number again is the same revocation.  ``None`` where it is not there.  ``is_ours``: the wallet does not know yet.

        The wallet is told afterwards, until it knows: nothing is charged any more from the commit on.
        """
        async with borrowed(self._pool) as connection, connection.transaction():
            row = await rows.lock(connection, merchant_id, agreement_id)
            if row is None:
                return None
            known = next((one for one in await rows.revocations(connection, merchant_id, agreement_id) if one.number == revocation_id), None)
            if known is not None:
                return Revoked(row, Refusal(known.why) if known.why else None)
            refusal = turned_down(row.status)
            if refusal is not None and not is_ours:         # told again
                return Revoked(row, refusal)
            owed = row._replace(is_close_owed=bool(row.account) and is_ours)
            new = None if refusal else await self._follow(connection, row, owed, by, {})
            status = FAILED if new is None else new.status
            await rows.note_revocation(connection, row, Entry(revocation_id, status, refusal or "", self._now()))
            if new is not None and new.is_close_owed:
                await jobs.wake(connection, [JobRow(merchant_id, QUEUE, agreement_id, row.payment_id, self._now())])
            return Revoked(new or row, refusal)

    async def closed_outside(self, merchant_id: int, account: str, by: What) -> list[AgreementRow]:
        """The consumer or the provider ended what stands behind agreements; those that ended by it.  Told again, nothing happens."""
        ended = []
        async with borrowed(self._pool) as connection:
            found = await rows.of_account(connection, merchant_id, account)
        for agreement_id in found:
            row = await self.find(merchant_id, agreement_id)
            if row is not None and row.status is Status.ACTIVE:
                done = await self.revoke(merchant_id, agreement_id, self._new_id(), by, is_ours=False)
                ended += [done.row] if done is not None and done.refusal is None else []
        return ended

    async def updated(self, merchant_id: int, instrument: str) -> None:
        """What stands behind an instrument has changed."""
        async with borrowed(self._pool) as connection:
            found = await rows.of_instrument(connection, merchant_id, instrument)
        for agreement_id in found:
            await self.happened(merchant_id, agreement_id, What.UPDATED)

    async def look(self, job: Job, settle: Callable[[AgreementRow], Awaitable[AgreementRow]]) -> None:
        """One look at an agreement that is open, or that a wallet must still be told of; ``job`` goes with its end."""
        row = await self.find(job.merchant_id, job.subject)
        if row is not None and row.status in OPEN:
            row = await settle(row)
            if row.status is Status.INITIALIZING and self._now() - row.created_at >= LEFT:
                row = await self.happened(row.merchant_id, row.agreement_id, What.REFUSED, why=ABANDONED)
        if row is not None and row.is_close_owed and await self._close(row.merchant_id, row.method, row.account):
            async with borrowed(self._pool) as connection:
                await rows.closed(connection, row.merchant_id, row.agreement_id)
            row = row._replace(is_close_owed=False)
        if row is None or (row.status not in OPEN and not row.is_close_owed):
            await jobs.done(self._pool, job)
            return
        now = self._now()
        pause = min(SELDOM, max(LOOK, (now - row.changed_at) / 2))
        await jobs.later(self._pool, job, now + pause, "the wallet was not told" if row.is_close_owed else f"it is {row.status}")

    async def look_now(self, row: AgreementRow, holder: str, settle: Callable[[AgreementRow], Awaitable[AgreementRow]]) -> None:
        """The same at once, unless somebody does it already."""
        job = await jobs.claim_one(self._pool, QUEUE, row.merchant_id, row.agreement_id, holder=holder, lease=LEASE_SECONDS)
        if job is not None:
            await self.look(job, settle)

    async def _follow(
        self, connection: asyncpg.Connection, row: AgreementRow, new: AgreementRow, what: What, extra: Mapping[str, Any],
    ) -> AgreementRow | None:
        """Within the transaction that holds ``row``: it becomes ``new``, if that may follow."""
        status, now = follow(row.status, what), self._now()
        if status is None:
            return None
        new = new._replace(status=status, is_updated=row.is_updated or what is What.UPDATED, changed_at=now)
        await rows.save(connection, new)
        if status is not row.status:
            await rows.note(connection, new, Entry(self._new_id(), status, new.why, now))
        await self._told(connection, new, what, extra)
        return new

    async def _told(self, connection: asyncpg.Connection, row: AgreementRow, what: What | None, extra: Mapping[str, Any]) -> None:
        told = self._describe(row, what, extra)
        if told is not None:
            await self._tell(connection, row.merchant_id, row.agreement_id, *told, row.webhooks_url, row.changed_at)
