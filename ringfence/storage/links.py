"""Payment links, the messages about them, and the sandbox's inbox.  It moves values and decides nothing."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.storage import jobs
from ringfence.storage.database import load_queries
from ringfence.storage.jobs import JobRow

SQL = load_queries("links")

Connection = asyncpg.Connection | asyncpg.Pool

QUEUE = "message"
"""The queue of messages that wait to be sent."""
MOST_TRIES = 64
"""So many payments of one order are looked for; the last page of a link has long given up before that."""


class Terms(NamedTuple):
    """What a merchant says of a link, and may say anew.  ``minor`` units; instants are business time; texts are "" for nothing."""

    command: str
    minor: int
    currency: str
    language: str
    access_code: str
    email: str
    phone: str
    name: str
    description: str
    payment_option: str
    return_url: str
    media: tuple[str, ...]
    expires_at: datetime


class NewLink(NamedTuple):
    """A link to be made."""

    link_id: int
    reference: str
    order_key: str
    terms: Terms
    created_by: str


class Row(NamedTuple):
    """A link as it is stored, with what the payments of its order amount to (see the query ``find``).

    ``tries`` of paying were made; once ``paid_at`` is noted nobody looks at them any more, and ``tries`` is 0.
    """

    merchant_id: int
    link_id: int
    reference: str
    order_key: str
    terms: Terms
    created_at: datetime
    created_by: str
    cancelled_at: datetime | None
    holder: bytes
    held_until: datetime | None
    paid_at: datetime | None
    payment_id: int | None
    tries: int
    approved: int | None
    approved_at: datetime | None
    doubtful: int | None


class Asked(NamedTuple):
    """A message to be asked for."""

    message_id: int
    link_id: int
    medium: str
    recipient: str
    deadline_at: datetime


class Message(NamedTuple):
    """A message that has a job."""

    merchant_id: int
    message_id: int
    link_id: int
    medium: str
    recipient: str
    asked_at: datetime
    deadline_at: datetime
    state: str


class Sent(NamedTuple):
    """What became of a message."""

    message_id: int
    medium: str
    recipient: str
    asked_at: datetime
    state: str
    note: str
    ended_at: datetime | None


class Arrived(NamedTuple):
    """What lies in the sandbox's inbox."""

    merchant_id: int
    merchant: str
    message_id: int
    medium: str
    recipient: str
    sender: str
    subject: str
    text: str
    html: str
    received_at: datetime


async def create(connection: asyncpg.Connection, merchant_id: int, rows: Sequence[NewLink], now: datetime) -> set[int]:
    """Make links of one merchant; the numbers of those that were made.  A reference that names a link or an order makes none."""
    columns = list(zip(*(
        (row.link_id, row.reference, row.order_key, *row.terms._replace(media=",".join(row.terms.media)), row.created_by)    # type: ignore[arg-type]
        for row in rows), strict=True))
    return {made[0] for made in await connection.fetch(SQL.create, merchant_id, now, *map(list, columns))} if rows else set()


async def find(connection: Connection, merchant_id: int, numbers: Sequence[int] = (), references: Sequence[str] = ()) -> list[Row]:
    """Those of the links that are there, in no order."""
    return [_row(found) for found in await connection.fetch(SQL.find, merchant_id, numbers, references, MOST_TRIES)]


def _row(found: asyncpg.Record) -> Row:
    values = tuple(found)
    terms = Terms(*values[4:15], tuple(values[15]), values[16])
    return Row(*values[:4], terms, *values[17:])


async def page(connection: Connection, merchants: Sequence[int], below: int, limit: int) -> list[tuple[int, int]]:
    """Merchant and number of these merchants' links with numbers below one, the newest first."""
    return [(row[0], row[1]) for row in await connection.fetch(SQL.page, merchants, below, limit)]


async def merchant_of(connection: Connection, link_id: int) -> int | None:
    """Whose link that is; ``None`` where there is none."""
    return await connection.fetchval(SQL.place, link_id)


async def hold(connection: asyncpg.Connection, merchant_id: int, link_id: int) -> bool:
    """Hold a link until the transaction ends; false where there is none."""
    return bool(await connection.fetchval(SQL.hold, merchant_id, link_id))


async def change(connection: asyncpg.Connection, merchant_id: int, link_id: int, terms: Terms) -> None:
    """Say anew what may be said anew."""
    await connection.execute(SQL.change, merchant_id, link_id, *terms[:11], list(terms.media), terms.expires_at)


async def open_(connection: asyncpg.Connection, merchant_id: int, link_id: int, holder: bytes, until: datetime) -> None:
    """Note who has it open."""
    await connection.execute(SQL.open, merchant_id, link_id, holder, until)


async def leave(connection: Connection, merchant_id: int, link_id: int, holder: bytes) -> None:
    """Forget the holder, where it still is this one."""
    await connection.execute(SQL.leave, merchant_id, link_id, holder)


async def give_back(connection: Connection, merchant_id: int, link_id: int) -> None:
    """Forget the holder."""
    await connection.execute(SQL.give_back, merchant_id, link_id)


async def cancel(connection: asyncpg.Connection, merchant_id: int, link_id: int, at: datetime, by: str) -> None:
    """Take it back."""
    await connection.execute(SQL.cancel, merchant_id, link_id, at, by)


async def note_paid(connection: Connection, merchant_id: int, seen: Sequence[tuple[int, datetime, int]]) -> None:
    """Remember links, when they were paid, and by which payment."""
    await connection.execute(SQL.note_paid, merchant_id, *map(list, zip(*seen, strict=True)))


async def ask(connection: asyncpg.Connection, merchant_id: int, messages: Sequence[Asked], now: datetime) -> None:
    """Ask for messages, each with its job, due at once."""
    if messages:
        await connection.execute(SQL.ask, merchant_id, now, *map(list, zip(*messages, strict=True)))
        await jobs.wake(connection, [JobRow(merchant_id, QUEUE, one.message_id, 0, now, one.deadline_at) for one in messages])


async def messages_of(connection: Connection, merchant_id: int, link_id: int) -> list[Sent]:
    """All that was asked to be sent about a link, oldest first."""
    return [Sent(*row) for row in await connection.fetch(SQL.messages_of, merchant_id, link_id)]


async def message(connection: Connection, merchant_id: int, message_id: int) -> Message | None:
    """One message."""
    row = await connection.fetchrow(SQL.message, merchant_id, message_id)
    return Message(*row) if row else None


async def ended(connection: Connection, merchant_id: int, message_id: int, state: str, note: str, at: datetime) -> bool:
    """Say how a message ended; false where that was said already."""
    return bool(await connection.fetchval(SQL.ended, merchant_id, message_id, state, note, at))


async def noted(connection: Connection, merchant_id: int, message_id: int, note: str) -> None:
    """What the last try met."""
    await connection.execute(SQL.noted, merchant_id, message_id, note)


async def is_waiting(connection: Connection, medium: str) -> bool:
    """Whether any message of a medium waits to be sent."""
    return await connection.fetchval(SQL.waiting, medium)


async def put(connection: Connection, letter: Arrived) -> None:
    """Put a message into the inbox, once."""
    merchant_id, _, *values = letter
    await connection.execute(SQL.put, merchant_id, *values)


async def inbox(connection: Connection, merchant: str | None, limit: int) -> list[Arrived]:
    """The newest of the inbox, of one merchant (by identifier) or of all."""
    return [Arrived(*row) for row in await connection.fetch(SQL.inbox, merchant, limit)]


async def letter(connection: Connection, message_id: int) -> Arrived | None:
    """One of them."""
    row = await connection.fetchrow(SQL.letter, message_id)
    return Arrived(*row) if row else None


async def count_personal(connection: Connection, merchant_id: int, by: datetime) -> int:
    """Links made by then that still say who their customer is, and can be paid no more."""
    return await connection.fetchval(SQL.count_personal, merchant_id, by)


async def erase_personal(connection: Connection, merchant_id: int, by: datetime, limit: int) -> int:
    """Take it from the next of them; how many."""
    return int((await connection.execute(SQL.erase_personal, merchant_id, by, limit)).split()[-1])


async def of_payment(connection: Connection, merchant_id: int, payment_id: int) -> list[int]:
    """The links of a payment's order that still say who their customer is."""
    return [row[0] for row in await connection.fetch(SQL.of_payment, merchant_id, payment_id)]


async def erase_links(connection: Connection, merchant_id: int, numbers: Sequence[int]) -> None:
    """Take from these links who their customer is, and what was sent to them."""
    await connection.execute(SQL.erase_links, merchant_id, numbers)
