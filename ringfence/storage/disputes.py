"""Disputes as rows: cases, what was said about them, what they moved and what merchants are to be told.

It moves values and decides nothing: what follows from what is ``core.dispute``.
"""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.dispute import Closing, Dispute, Heard, Phase, Said, Status
from ringfence.core.notices import Noticed
from ringfence.storage.database import load_queries

SQL = load_queries("disputes")

Connection = asyncpg.Connection | asyncpg.Pool


class Origin(NamedTuple):
    """How a payment began."""

    currency: str
    door: str
    reference: str | None
    brand: str


class Captured(NamedTuple):
    """What was captured by one operation."""

    operation_id: int
    minor: int
    currency: str
    processor: str


class CaseRow(NamedTuple):
    """A row of ``disputes``: what does not change of a case, and where it stands."""

    merchant_id: int
    dispute_id: int
    payment_id: int
    capture_id: int
    processor: str
    case_name: str
    currency: str
    door: str
    reference: str | None
    reason: str
    reason_code: str
    note: str
    stands: Dispute
    closing_note: str
    opened_at: datetime
    changed_at: datetime


class AnswerRow(NamedTuple):
    """An answer of the merchant's; ``sent_at`` is ``None`` while the processor does not have it."""

    round: int
    action: str
    minor: int | None
    resolution: str
    message: str
    actor: str
    asked_at: datetime
    sent_at: datetime | None


class MessageRow(NamedTuple):
    """What one side wrote."""

    message_id: int
    sender: str
    phase: str
    content: str
    written_at: datetime


class FileRow(NamedTuple):
    """A file, without what is in it."""

    file_id: int
    name: str
    content_type: str
    bytes: int
    phase: str
    sender: str
    synced: bool
    added_at: datetime


class Evidence(NamedTuple):
    """A file with what is in it."""

    name: str
    content_type: str
    content: bytes


class SealedFile(NamedTuple):
    """What is in a file, as it is stored: its data key, sealed, and what that seals.  Prints without them."""

    wrapped_key: bytes
    content: bytes

    def __repr__(self) -> str:
        return "SealedFile(***)"

    __str__ = __repr__


class NotSealed(NamedTuple):
    """A file that was stored before files were sealed."""

    merchant_id: int
    dispute_id: int
    file_id: int
    content: bytes


class BookingRow(NamedTuple):
    """What a case moved; ``booked_at`` is ``None`` until it is on the payment."""

    booking_id: int
    dispute_id: int
    payment_id: int
    place: int
    noticed: str
    minor: int
    made_at: datetime
    booked_at: datetime | None
    currency: str
    reason: str
    reason_code: str


class EventRow(NamedTuple):
    """What a merchant is to be told, as JSON."""

    event_id: int
    event: str
    payload: bytes
    occurred_at: datetime


class ReportRow(NamedTuple):
    """A report of disputes opened from ``since`` (included) to ``until`` (not); ``state``: pending, processed, failed, expired."""

    report_id: int
    since: datetime
    until: datetime
    webhook_url: str
    state: str
    rows: int
    bytes: int
    asked_at: datetime
    changed_at: datetime
    expires_at: datetime | None


class FundsRow(NamedTuple):
    """A capture or refund that came about, and what is known of its money since."""

    operation_id: int
    kind: str
    reference: str | None
    minor: int
    is_settled: bool
    is_rejected: bool
    came_back: bool


async def origin(connection: Connection, merchant_id: int, payment_id: int) -> Origin | None:
    """How a payment began; ``None`` where there is none of that id."""
    row = await connection.fetchrow(SQL.origin, merchant_id, payment_id)
    return row and Origin(*row)


async def captured(connection: Connection, merchant_id: int, payment_id: int) -> list[Captured]:
    """What was captured of a payment, oldest first."""
    return [Captured(*row) for row in await connection.fetch(SQL.captured, merchant_id, payment_id)]


async def opened(connection: asyncpg.Connection, row: CaseRow) -> CaseRow:
    """The case, made where it is not there yet, and held until the transaction ends."""
    await connection.execute(
        SQL.open_case, *row[:12], *row.stands, row.closing_note, row.opened_at, row.changed_at)
    return _case(await connection.fetchrow(SQL.lock_case, row.merchant_id, row.processor, row.case_name))


async def lock(connection: asyncpg.Connection, merchant_id: int, dispute_id: int) -> CaseRow | None:
    """A case, held until the transaction ends."""
    row = await connection.fetchrow(SQL.lock_one, merchant_id, dispute_id)
    return row and _case(row)


async def one(connection: Connection, merchant_id: int | None, dispute_id: int) -> CaseRow | None:
    """A case of a merchant, or with ``None`` of any."""
    row = await (connection.fetchrow(SQL.by_id, dispute_id) if merchant_id is None
                 else connection.fetchrow(SQL.one, merchant_id, dispute_id))
    return row and _case(row)


async def named(connection: Connection, merchant_id: int, processor: str, name: str) -> CaseRow | None:
    """A case by its processor's name for it."""
    row = await connection.fetchrow(SQL.named, merchant_id, processor, name)
    return row and _case(row)


async def of_payment(connection: Connection, merchant_id: int, payment_id: int) -> list[CaseRow]:
    """The cases about a payment, in the order they came."""
    return [_case(row) for row in await connection.fetch(SQL.of_payment, merchant_id, payment_id)]


async def listed(connection: Connection, merchant_id: int | None, is_open: bool, limit: int) -> list[CaseRow]:
    """Cases of a merchant or all, the latest first; with ``is_open`` those that have not ended."""
    return [_case(row) for row in await connection.fetch(SQL.listed, merchant_id, is_open, limit)]


async def opened_between(connection: Connection, merchant_id: int, since: datetime, until: datetime, limit: int) -> list[CaseRow]:
    """Cases opened from ``since`` (included) to ``until`` (not), in their order."""
    return [_case(row) for row in await connection.fetch(SQL.opened_between, merchant_id, since, until, limit)]


async def save(connection: asyncpg.Connection, row: CaseRow) -> None:
    """Store what may change of a case that is held."""
    await connection.execute(SQL.save, row.merchant_id, row.dispute_id, *row.stands, row.closing_note, row.changed_at)


async def hear(connection: asyncpg.Connection, row: CaseRow, heard: Heard, note: str, at: datetime) -> bool:
    """Keep a notice; false where it was kept before."""
    return await connection.fetchval(
        SQL.hear, row.merchant_id, row.dispute_id, heard.number, heard.said, heard.minor, heard.phase, heard.due_at, note, at) is not None


async def heard(connection: Connection, row: CaseRow, behind: int) -> list[tuple[Heard, str, datetime]]:
    """The notices behind a number, each with its note and when it came."""
    return [
        (Heard(found["number"], Said(found["said"]), found["minor"], Phase(found["phase"]), found["due_at"]), found["note"], found["heard_at"])
        for found in await connection.fetch(SQL.heard, row.merchant_id, row.dispute_id, behind)]


async def answer(connection: asyncpg.Connection, row: CaseRow, given: AnswerRow) -> None:
    """Keep an answer that is on its way."""
    await connection.execute(SQL.answer, row.merchant_id, row.dispute_id, *given[:7])


async def answers(connection: Connection, row: CaseRow) -> list[AnswerRow]:
    """What was answered, in order."""
    return [AnswerRow(*found) for found in await connection.fetch(SQL.answers, row.merchant_id, row.dispute_id)]


async def note_sent(connection: asyncpg.Connection, row: CaseRow, round: int, at: datetime) -> None:
    """The processor has an answer, and the evidence that was there by then."""
    await connection.execute(SQL.note_sent, row.merchant_id, row.dispute_id, round, at)


async def write(connection: asyncpg.Connection, row: CaseRow, message: MessageRow) -> None:
    """Keep a message."""
    await connection.execute(SQL.write, row.merchant_id, row.dispute_id, *message)


async def messages(connection: Connection, row: CaseRow) -> list[MessageRow]:
    """What both sides wrote, in order."""
    return [MessageRow(*found) for found in await connection.fetch(SQL.messages, row.merchant_id, row.dispute_id)]


async def attach(connection: asyncpg.Connection, row: CaseRow, file: FileRow, sealed: SealedFile) -> None:
    """Keep a file."""
    await connection.execute(
        SQL.attach, row.merchant_id, row.dispute_id, file.file_id, file.name, file.content_type, file.bytes, file.phase, file.sender, file.added_at,
        *sealed)


async def files(connection: Connection, row: CaseRow) -> list[FileRow]:
    """The files of a case."""
    return [FileRow(*found) for found in await connection.fetch(SQL.files, row.merchant_id, row.dispute_id)]


async def file(connection: Connection, merchant_id: int, dispute_id: int, file_id: int) -> tuple[str, str, SealedFile] | None:
    """One file: its name, its type, and what is in it."""
    row = await connection.fetchrow(SQL.file, merchant_id, dispute_id, file_id)
    return row and (row["name"], row["content_type"], SealedFile(row["wrapped_key"], row["content"]))


async def not_sealed(connection: Connection) -> NotSealed | None:
    """A file that is not sealed."""
    row = await connection.fetchrow(SQL.not_sealed)
    return row and NotSealed(*row)


async def seal(connection: Connection, one: NotSealed, sealed: SealedFile) -> None:
    """Store it sealed."""
    await connection.execute(SQL.seal, *one[:3], *sealed)


async def book(connection: asyncpg.Connection, row: CaseRow, booking_id: int, noticed: Noticed, minor: int, at: datetime) -> None:
    """Keep what is to be booked on the payment of a case that is held."""
    await connection.execute(SQL.book, row.merchant_id, row.dispute_id, booking_id, row.payment_id, noticed, minor, at)


async def bookings(
    connection: Connection, merchant_id: int, *, dispute_id: int | None = None, payment_id: int | None = None, booking_id: int | None = None,
) -> list[BookingRow]:
    """What cases moved, in order."""
    return [BookingRow(*row) for row in await connection.fetch(SQL.bookings, merchant_id, dispute_id, payment_id, booking_id)]


async def unbooked(connection: Connection, merchant_id: int, dispute_id: int) -> list[tuple[int, Noticed, int]]:
    """(place, kind, minor units) of what is not on the payment yet, in order."""
    return [(row[0], Noticed(row[1]), row[2]) for row in await connection.fetch(SQL.unbooked, merchant_id, dispute_id)]


async def note_booked(connection: Connection, merchant_id: int, dispute_id: int, place: int, at: datetime) -> None:
    """It is on the payment."""
    await connection.execute(SQL.note_booked, merchant_id, dispute_id, place, at)


async def tell(connection: asyncpg.Connection, merchant_id: int, subject: int, payment_id: int, event: EventRow) -> None:
    """Keep what a merchant is to be told, in the transaction of what it tells of."""
    await connection.execute(SQL.tell, merchant_id, event.event_id, subject, payment_id, event.event, event.payload, event.occurred_at)


async def events(connection: Connection, merchant_id: int, subject: int) -> list[EventRow]:
    """What was told of a case or a report, in order."""
    return [EventRow(*row) for row in await connection.fetch(SQL.events, merchant_id, subject)]


async def ask_report(connection: asyncpg.Connection, merchant_id: int, report: ReportRow) -> None:
    """Keep a report that is asked for."""
    await connection.execute(SQL.ask_report, merchant_id, report.report_id, report.since, report.until, report.webhook_url, report.asked_at)


async def report(connection: Connection, merchant_id: int, report_id: int, *, held: bool = False) -> ReportRow | None:
    """A report; ``held``: until the transaction ends."""
    row = await connection.fetchrow(SQL.lock_report if held else SQL.report, merchant_id, report_id)
    return row and ReportRow(*row)


async def reports_waiting(connection: Connection, merchant_id: int) -> int:
    """How many reports of a merchant wait to be made."""
    return await connection.fetchval(SQL.reports_waiting, merchant_id)


async def report_content(connection: Connection, merchant_id: int | None, report_id: int) -> bytes | None:
    """The CSV of a report that is ready."""
    return await connection.fetchval(SQL.report_content, merchant_id, report_id)


async def end_report(
    connection: asyncpg.Connection, merchant_id: int, report_id: int, state: str, rows: int, content: bytes | None, at: datetime,
    expires_at: datetime | None,
) -> None:
    """How a report ended."""
    await connection.execute(SQL.end_report, merchant_id, report_id, state, rows, content, at, expires_at)


async def funds(connection: Connection, merchant_id: int, payment_id: int) -> list[FundsRow]:
    """Captures and refunds of a payment that came about, oldest first."""
    return [FundsRow(*row) for row in await connection.fetch(SQL.funds, merchant_id, payment_id)]


def _case(row: asyncpg.Record) -> CaseRow:
    values = tuple(row)
    minor, phase, status, *numbers, closing = values[12:23]
    stands = Dispute(minor, Phase(phase), Status(status), *numbers, closing and Closing(closing))
    return CaseRow(*values[:12], stands, *values[23:])
