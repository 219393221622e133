"""Authentications of payers in PostgreSQL.

It moves values and decides nothing, but for the one thing that only a statement can: who of several is the one to carry on.
"""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.authentication import Authentication, Evidence, Status
from ringfence.storage import jobs
from ringfence.storage.borrowing import borrowed
from ringfence.storage.database import load_queries
from ringfence.storage.jobs import JobRow

SQL = load_queries("authentications")

DIGEST = "sha256:"
"""What an erased cryptogram is known by begins so."""
CHALLENGE = "challenge"
"""The queue of authentications that wait for their payers; the subject is the authentication's id."""


class AuthenticationRow(NamedTuple):
    """A row of ``authentications``."""

    merchant_id: int
    authentication_id: int
    payment_id: int
    card_id: int
    minor: int
    currency: str
    mode: str
    indicator: str
    soft_decline: str
    status: str
    reason: str
    cancelled: str
    eci: str
    cavv: str
    ds_id: str
    version: str
    acs_id: str
    token_hash: bytes | None
    has_code: bool
    leave_url: str
    made_at: datetime
    due_at: datetime
    ended_at: datetime | None
    expires_at: datetime
    claim: str | None = None
    used_by: int | None = None

    @property
    def value(self) -> Authentication:
        """As the core judges it."""
        return Authentication(
            self.merchant_id, self.authentication_id, self.card_id, self.minor, self.currency, Status(self.status), self.evidence,
            self.made_at, self.expires_at, self.used_by,
        )

    @property
    def evidence(self) -> Evidence:
        """What an authorization carries of it; behind its erasure no cryptogram."""
        return Evidence(self.status, self.eci, "" if self.cavv.startswith(DIGEST) else self.cavv, self.ds_id, self.version)

    def __repr__(self) -> str:
        return f"AuthenticationRow({self.merchant_id}, {self.authentication_id}, payment {self.payment_id}, {self.status!r})"


class Ending(NamedTuple):
    """How an authentication ended: what the result message said."""

    status: str
    reason: str
    cancelled: str
    eci: str
    cavv: str
    ds_id: str
    ended_at: datetime
    expires_at: datetime


async def keep(pool: asyncpg.Pool, row: AuthenticationRow, look_at: datetime | None = None) -> None:
    """Store one, and with ``look_at`` (business time) the job that ends it should nobody come back."""
    async with borrowed(pool) as connection:
        if look_at is None:
            await connection.execute(SQL.keep, *row)
            return
        async with connection.transaction():
            await connection.execute(SQL.keep, *row)
            await jobs.wake(connection, [JobRow(row.merchant_id, CHALLENGE, row.authentication_id, row.payment_id, look_at)])


async def load(pool: asyncpg.Pool, merchant_id: int, authentication_id: int) -> AuthenticationRow | None:
    """One of them."""
    async with borrowed(pool) as connection:
        row = await connection.fetchrow(SQL.load, merchant_id, authentication_id)
    return row and AuthenticationRow(*row)


async def ahead(pool: asyncpg.Pool, merchant_id: int, cavv: str) -> AuthenticationRow | None:
    """The one with this cryptogram that was made ahead of its payment."""
    async with borrowed(pool) as connection:
        row = await connection.fetchrow(SQL.ahead, merchant_id, cavv)
    return row and AuthenticationRow(*row)


async def of_payment(pool: asyncpg.Pool, merchant_id: int, payment_id: int) -> list[AuthenticationRow]:
    """Those of a payment, in order."""
    async with borrowed(pool) as connection:
        return [AuthenticationRow(*row) for row in await connection.fetch(SQL.of_payment, merchant_id, payment_id)]


async def standing(pool: asyncpg.Pool, merchant_id: int, payment_id: int) -> tuple[bool, str | None]:
    """Whether a payment's first operation was challenged, and the result of its latest attempt behind that."""
    async with borrowed(pool) as connection:
        row = await connection.fetchrow(SQL.standing, merchant_id, payment_id)
    return row["is_challenged"], row["result"]


async def claim(
    pool: asyncpg.Pool, row: AuthenticationRow, claimant: str, deadline: datetime, ending: Ending, *, uses: bool
) -> datetime | None:
    """Carry on behind an authentication's end, as the only one; until when (wall time), or ``None`` where that is another's."""
    status, reason, cancelled, eci, cavv, ds_id, ended_at, expires_at = ending
    async with borrowed(pool) as connection:
        return await connection.fetchval(
            SQL.claim, row.merchant_id, row.authentication_id, claimant, deadline, status, reason, cancelled, eci, cavv, ds_id, ended_at,
            expires_at, uses)


async def claimed(pool: asyncpg.Pool, row: AuthenticationRow, claimant: str) -> datetime | None:
    """Whether that claim was stored, its answer being lost: until when it lasts (wall time)."""
    async with borrowed(pool) as connection:
        found = await connection.fetchrow(SQL.claimed, row.merchant_id, row.authentication_id)
    return found["ask_deadline"] if found is not None and found["claim"] == claimant else None


async def end_ahead(pool: asyncpg.Pool, row: AuthenticationRow, ending: Ending) -> None:
    """End one that was made ahead of its payment; a second end changes nothing."""
    async with borrowed(pool) as connection:
        await connection.execute(SQL.end_ahead, row.merchant_id, row.authentication_id, *ending)


async def use(pool: asyncpg.Pool, merchant_id: int, authentication_id: int, operation_id: int, now: datetime) -> bool:
    """Use one that was made ahead of its payment, for one operation and never for another."""
    async with borrowed(pool) as connection:
        if await connection.fetchval(SQL.use, merchant_id, authentication_id, operation_id, now):
            return True
        return await connection.fetchval(SQL.used, merchant_id, authentication_id) == operation_id
