"""What is kept no longer than it is needed, as rows: found, held, erased, in chunks.

It moves values, it decides nothing.  One merchant at a time; whatever somebody else holds at the moment is left for the next run.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage.database import load_queries

SQL = load_queries("retention")


class Terms(NamedTuple):
    """Until when payments need their card: business times.  ``used`` is near (a day), ``refundable`` far."""

    refundable: datetime
    used: datetime


class FreeCard(NamedTuple):
    """A card that nothing needs, and the payments it was used for."""

    card_id: int
    payments: list[int]


class PaymentName(NamedTuple):
    """A payment that a name means."""

    merchant_id: int
    merchant: str
    payment_id: int


async def merchants(connection: asyncpg.Connection) -> list[int]:
    """The numbers of all merchants, in order."""
    return [row[0] for row in await connection.fetch(SQL.merchants)]


async def newest_payment(connection: asyncpg.Connection, merchant_id: int) -> int:
    """The id of a merchant's newest payment, 0 where there is none."""
    return await connection.fetchval(SQL.newest_payment, merchant_id)


async def cards_to_judge(connection: asyncpg.Connection, merchant_id: int, made_by: datetime, after: int, limit: int) -> list[int]:
    """The next cards that could go: made by ``made_by`` and without an active token."""
    return [row[0] for row in await connection.fetch(SQL.cards_to_judge, merchant_id, made_by, after, limit)]


async def cards_of_nobody(
    connection: asyncpg.Connection, merchant_id: int, cards: Sequence[int], terms: Terms, *, newer_than: int = -1,
    known: Sequence[FreeCard] = (), but: int = 0,
) -> list[FreeCard]:
    """Which of these cards nothing needs.  Looked for in payments newer than ``newer_than`` and in those ``known``; the payment
    ``but`` does not count."""
    uses = [(one.card_id, payment_id) for one in known for payment_id in one.payments]
    found = await connection.fetch(
        SQL.cards_of_nobody, merchant_id, cards, newer_than, [use[0] for use in uses], [use[1] for use in uses], but, *terms)
    return [FreeCard(*row) for row in found]


async def hold_cards(connection: asyncpg.Connection, merchant_id: int, cards: Sequence[int]) -> list[int]:
    """Those of the cards that something is left of and nobody else holds; held until the commit."""
    return [row[0] for row in await connection.fetch(SQL.hold_cards, merchant_id, cards)]


async def erase_cards(connection: asyncpg.Connection, merchant_id: int, cards: Sequence[int], wall: datetime) -> int:
    """Leave nothing of them but brand and digits; how many."""
    return len(await connection.fetch(SQL.erase_cards, merchant_id, cards, wall))


async def details_due(
    connection: asyncpg.Connection, merchant_id: int, changed_by: datetime, after: int, limit: int
) -> list[tuple[int, int]]:
    """The next payments (id, operations with details) that nothing is open about and that last changed by ``changed_by``."""
    return [tuple(row) for row in await connection.fetch(SQL.details_due, merchant_id, changed_by, after, limit)]


async def erase_details(connection: asyncpg.Connection, merchant_id: int, payments: Sequence[int], changed_by: datetime) -> int:
    """Forget their details, where they have not changed meanwhile; how many operations had some."""
    return len(await connection.fetch(SQL.erase_details, merchant_id, payments, changed_by))


async def count_authentications(connection: asyncpg.Connection, merchant_id: int, terms: Terms) -> int:
    """How many authentications that nothing needs still hold what identifies."""
    return await connection.fetchval(SQL.count_authentications, merchant_id, *terms)


async def erase_authentications(connection: asyncpg.Connection, merchant_id: int, terms: Terms, after: int, limit: int) -> list[int]:
    """Take it from the next ones; which."""
    return sorted(row[0] for row in await connection.fetch(SQL.erase_authentications, merchant_id, *terms, after, limit))


async def authentications_of(connection: asyncpg.Connection, merchant_id: int, payment_id: int) -> list[int]:
    """Those of a payment that still hold it."""
    return [row[0] for row in await connection.fetch(SQL.authentications_of, merchant_id, payment_id)]


async def erase_authentications_of(connection: asyncpg.Connection, merchant_id: int, authentications: Sequence[int]) -> None:
    """Take it from them."""
    await connection.execute(SQL.erase_authentications_of, merchant_id, authentications)


async def count_holders(connection: asyncpg.Connection, merchant_id: int, made_by: datetime) -> int:
    """How many tokens that are off, made by ``made_by``, still have a name."""
    return await connection.fetchval(SQL.count_holders, merchant_id, made_by)


async def erase_holders(connection: asyncpg.Connection, merchant_id: int, made_by: datetime, limit: int) -> int:
    """Take the name from the next ones; how many."""
    return len(await connection.fetch(SQL.erase_holders, merchant_id, made_by, limit))


async def count_plans(connection: asyncpg.Connection, merchant_id: int, changed_by: datetime) -> int:
    """How many plans that are over, not changed after ``changed_by``, still know their customer."""
    return await connection.fetchval(SQL.count_plans, merchant_id, changed_by)


async def erase_plans(connection: asyncpg.Connection, merchant_id: int, changed_by: datetime, limit: int) -> int:
    """Forget the customer of the next ones; how many."""
    return len(await connection.fetch(SQL.erase_plans, merchant_id, changed_by, limit))


async def count_deliveries(connection: asyncpg.Connection, merchant_id: int, ended_by: datetime, payment_id: int = 0) -> int:
    """How many deliveries, ended by ``ended_by``, still have body or log; ``payment_id`` 0: of all payments."""
    return await connection.fetchval(SQL.count_deliveries, merchant_id, ended_by, payment_id)


async def erase_deliveries(connection: asyncpg.Connection, merchant_id: int, ended_by: datetime, limit: int, payment_id: int = 0) -> int:
    """Take body and log from the next ones; how many."""
    return len(await connection.fetch(SQL.erase_deliveries, merchant_id, ended_by, payment_id, limit))


async def disputes_open(connection: asyncpg.Connection, merchant_id: int, payment_id: int) -> int:
    """How many disputes about a payment have not ended."""
    return await connection.fetchval(SQL.disputes_open, merchant_id, payment_id)


async def count_evidence(connection: asyncpg.Connection, merchant_id: int, ended_by: datetime, payment_id: int = 0) -> int:
    """How many disputes that ended by ``ended_by`` still have evidence or messages; of one payment or (0) of all."""
    return await connection.fetchval(SQL.count_evidence, merchant_id, ended_by, payment_id)


async def erase_evidence(connection: asyncpg.Connection, merchant_id: int, ended_by: datetime, limit: int, payment_id: int = 0) -> int:
    """Forget what was said and shown about the next ones; how many."""
    return len(await connection.fetch(SQL.erase_evidence, merchant_id, ended_by, limit, payment_id))


async def count_sdk_tokens(connection: asyncpg.Connection, merchant_id: int, ended_by: datetime) -> int:
    """How many tokens of devices ended by ``ended_by``."""
    return await connection.fetchval(SQL.count_sdk_tokens, merchant_id, ended_by)


async def erase_sdk_tokens(connection: asyncpg.Connection, merchant_id: int, ended_by: datetime, limit: int) -> int:
    """Forget the next ones; how many."""
    return len(await connection.fetch(SQL.erase_sdk_tokens, merchant_id, ended_by, limit))


async def count_reports(connection: asyncpg.Connection, merchant_id: int, ended_by: datetime) -> int:
    """How many reports ended by ``ended_by``."""
    return await connection.fetchval(SQL.count_reports, merchant_id, ended_by)


async def erase_reports(connection: asyncpg.Connection, merchant_id: int, ended_by: datetime, limit: int) -> int:
    """Take the rows, and what was asked for, from the next ones; how many."""
    return len(await connection.fetch(SQL.erase_reports, merchant_id, ended_by, limit))


async def payments_named(
    connection: asyncpg.Connection, payment_id: int | None, keys: Sequence[str], merchant: str | None
) -> list[PaymentName]:
    """The payments with this id, or begun under one of these keys; at most 20."""
    return [PaymentName(*row) for row in await connection.fetch(SQL.payments_named, payment_id, list(keys), merchant)]


async def deliveries_waiting(connection: asyncpg.Connection, merchant_id: int, payment_id: int) -> int:
    """How many deliveries of a payment wait."""
    return await connection.fetchval(SQL.deliveries_waiting, merchant_id, payment_id)


async def events_to_tell(connection: asyncpg.Connection, merchant_id: int, payment_id: int) -> int:
    """How many events of a payment were not handed to deliveries yet."""
    return await connection.fetchval(SQL.events_to_tell, merchant_id, payment_id)


async def reversals_owed(connection: asyncpg.Connection, merchant_id: int, payment_id: int) -> int:
    """How many reversals of a payment nobody has acknowledged."""
    return await connection.fetchval(SQL.reversals_owed, merchant_id, payment_id)


async def cards_of(connection: asyncpg.Connection, merchant_id: int, payment_id: int) -> list[int]:
    """The cards of a payment that something is left of."""
    return [row[0] for row in await connection.fetch(SQL.cards_of, merchant_id, payment_id)]


async def done_until(connection: asyncpg.Connection, job: str) -> datetime | None:
    """When a job of the installation was last done; ``None`` before its first time."""
    return await connection.fetchval(SQL.done_until, job)


async def note_done(connection: asyncpg.Connection, job: str, until: datetime) -> None:
    """Remember that it was."""
    await connection.execute(SQL.note_done, job, until)
