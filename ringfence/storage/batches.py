"""Batch files in PostgreSQL: values in and out of the statements of ``queries/batches.sql``.

It moves values, it decides nothing.
"""
from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from ringfence.core.payment import Payment, Status
from ringfence.storage.cards import CardRow
from ringfence.storage.database import load_queries
from ringfence.storage.payments import Held, captures_of

SQL = load_queries("batches")

Connection = asyncpg.Connection | asyncpg.Pool
_ENCODE, _DECODE = msgspec.json.encode, msgspec.json.decode

COPIED = ("merchant_id", "batch_id", "line", "kind", "reference", "fort_id", "minor", "currency", "cells")


class Total(NamedTuple):
    """Rows of one kind and currency, and what they come to in minor units; ``ended`` is how (at the end), else ""."""

    kind: str
    currency: str
    rows: int
    minor: int
    ended: str = ""


class File(NamedTuple):
    """A row of ``batch_files`` and its merchant's identifier.  ``began`` and ``ended`` are wall time, other instants business time."""

    merchant_id: int
    batch_id: int
    reference: str
    door: str
    access: str
    language: str
    file_name: str
    bytes: int
    content: bytes
    columns: list[str]
    rows: int
    last_line: int
    totals: list[Total]
    state: str
    message: str
    reason: str
    faults: int
    repeats: int | None
    new_totals: list[Total] | None
    forced: bool
    wave: int
    waves: int
    uploaded_at: datetime
    processed_at: datetime | None
    cancelled_at: datetime | None
    ended_at: datetime | None
    began: datetime | None
    ended: datetime | None
    sums: list[Total] | None
    agrees: bool | None
    merchant: str


class FaultRow(NamedTuple):
    """A row of ``batch_faults``."""

    merchant_id: int
    batch_id: int
    place: int
    line: int
    column_name: str
    message: str


class Line(NamedTuple):
    """A row as it was handed in."""

    line: int
    kind: str
    reference: str | None
    fort_id: int | None
    minor: int
    currency: str
    cells: str


class Order(NamedTuple):
    """A payment that rows name, with what later messages cite; ``held`` is ``None`` before its first outcome."""

    payment_id: int
    key: str | None
    door: str
    reference: str | None
    processor: str
    channel: str
    asked: int
    currency: str
    result: str | None
    approval_code: str
    processor_reference: str
    scheme_reference: str
    card: CardRow | None
    held: Held | None


class Stretch(NamedTuple):
    """Lines of one part that may be taken."""

    part: int
    next_line: int
    last_line: int
    wave: int


class Whole(NamedTuple):
    """Lines that have all ended as purchases approved whole: the first, the last, how many they are, and minor units together."""

    first_line: int
    last_line: int
    currency: str
    rows: int
    minor: int


class Told(NamedTuple):
    """A row and what became of it; ``payment_id`` ``None`` where nobody has taken it, or it was refused."""

    line: int
    kind: str
    minor: int
    currency: str
    reference: str | None
    fort_id: int | None
    payment_id: int | None
    operation_id: int | None
    code: str | None
    card_number: str | None
    expiry_date: str | None
    result: str | None
    answered: int | None
    response_code: str | None


def _totals(text: str | None) -> Any:
    return None if text is None else [Total(*one) for one in _DECODE(text)]


def _file(row: asyncpg.Record | None) -> File | None:
    if row is None:
        return None
    known = File(*row)
    return known._replace(totals=_totals(known.totals), new_totals=_totals(known.new_totals), sums=_totals(known.sums))  # type: ignore[arg-type]


def _json(totals: Sequence[Total] | None) -> str | None:
    return None if totals is None else _ENCODE([tuple(one) for one in totals]).decode()


async def copy_rows(connection: asyncpg.Connection, pieces: AsyncIterator[bytes]) -> None:
    """Take rows in as they come, each in the text form of COPY."""
    await connection.copy_to_table("batch_rows", source=pieces, columns=COPIED, timeout=None)


async def is_taken(connection: Connection, merchant_id: int, reference: str) -> bool:
    """Whether the merchant has a batch of that name."""
    return await connection.fetchval(SQL.taken_reference, merchant_id, reference) is not None


async def add_file(connection: asyncpg.Connection, file: File) -> bool:
    """Store a file; false where its name is taken."""
    return await connection.fetchval(
        SQL.add_file, *file[:12], _json(file.totals), file.state, file.message, file.reason, file.faults, file.uploaded_at) is not None


async def add_faults(connection: asyncpg.Connection, faults: Sequence[FaultRow]) -> None:
    """Store what is wrong with its rows."""
    await connection.execute(SQL.add_faults, faults)


async def file(connection: Connection, merchant_id: int, batch_id: int) -> File | None:
    """A merchant's batch by its number."""
    return _file(await connection.fetchrow(SQL.file, merchant_id, batch_id))


async def file_of(connection: Connection, batch_id: int) -> File | None:
    """Anybody's batch by its number."""
    return _file(await connection.fetchrow(SQL.file_of, batch_id))


async def file_named(connection: Connection, merchant_id: int, reference: str) -> File | None:
    """A merchant's batch by its name."""
    return _file(await connection.fetchrow(SQL.file_named, merchant_id, reference))


async def files(connection: Connection, merchant_id: int | None, before: int | None, limit: int) -> list[File]:
    """The newest batches, of one merchant or of all."""
    return [_file(row) for row in await connection.fetch(SQL.files, merchant_id, before, limit)]  # type: ignore[misc]


async def open_files(connection: Connection) -> list[File]:
    """Batches with which something is to be done."""
    return [_file(row) for row in await connection.fetch(SQL.open_files)]  # type: ignore[misc]


async def faults(connection: Connection, merchant_id: int, batch_id: int, limit: int) -> list[tuple[int, str, str]]:
    """Line, column and message of what is wrong."""
    return [tuple(row) for row in await connection.fetch(SQL.faults, merchant_id, batch_id, limit)]


async def progress(connection: Connection, merchant_id: int, batch_id: int) -> tuple[int, int, int]:
    """Rows that were approved, that failed, and that are unknown, so far."""
    return tuple(await connection.fetchrow(SQL.progress, merchant_id, batch_id))


async def new_money(connection: Connection, merchant_id: int, batch_id: int, prefix: str) -> list[Total]:
    """What a batch would move that was not moved yet."""
    return [Total(*row) for row in await connection.fetch(SQL.new_money, merchant_id, batch_id, prefix)]


async def validated(connection: Connection, file: File) -> bool:
    """Store what came of looking through a file; false where that was done already."""
    return bool(await connection.fetchval(
        SQL.validated, *file[:2], file.state, file.message, file.reason, file.faults, file.waves, file.repeats, _json(file.new_totals)))


async def note_repeat(connection: Connection, file: File, repeats: int, new: Sequence[Total]) -> None:
    """Store that it repeats another batch."""
    await connection.execute(SQL.note_repeat, *file[:2], repeats, _json(new))


async def take_part(connection: asyncpg.Connection, merchant_id: int, batch_id: int) -> Stretch | None:
    """Lines to be carried out, in nobody else's hands until the transaction ends."""
    row = await connection.fetchrow(SQL.take_part, merchant_id, batch_id)
    if row is None or await connection.fetchval(SQL.still_processing, merchant_id, batch_id) != row[3]:
        return None
    return Stretch(*row)


async def rows(connection: asyncpg.Connection, merchant_id: int, batch_id: int, stretch: Stretch, limit: int) -> list[Line]:
    """Its next rows."""
    what = (SQL.later_rows, stretch.wave) if stretch.wave else (SQL.first_rows,)
    found = await connection.fetch(what[0], merchant_id, batch_id, stretch.next_line, stretch.last_line, limit, *what[1:])
    return [tuple.__new__(Line, row) for row in found]


async def orders(connection: Connection, merchant_id: int, numbers: Sequence[int], keys: Sequence[str]) -> list[Order]:
    """The payments that rows name."""
    return [_order(merchant_id, tuple(row)) for row in await connection.fetch(SQL.orders, merchant_id, numbers, keys)]


_CARD_AT, _PAYMENT_AT = 12, 21


def _order(merchant_id: int, values: tuple) -> Order:
    card, payment = values[_CARD_AT:_PAYMENT_AT], values[_PAYMENT_AT:]
    held = None if payment[0] is None else Held(
        Payment(payment[1], payment[2], Status(payment[3]), *payment[4:21], captures=captures_of(payment[21])), payment[22], *payment[24:26])
    return Order(
        *values[:9], *(value or "" for value in values[9:_CARD_AT]), None if card[0] is None else CardRow(merchant_id, *card), held)


async def note_taken(
    connection: asyncpg.Connection, merchant_id: int, batch_id: int,
    results: Sequence[tuple[int, int | None, int | None, str | None, str, str]],
) -> None:
    """Store what rows are: line, payment, operation, code, masked card, expiry; in the order of their lines."""
    lines, payments, operations, codes, cards, expiries = zip(*results, strict=True)
    await connection.execute(
        SQL.note_taken, merchant_id, batch_id, lines[0], lines[-1], lines, payments, None if operations == payments else operations,
        codes if any(codes) else None, cards, expiries)


async def note_whole(connection: Connection, merchant_id: int, batch_id: int, stretch: Whole) -> None:
    """Store in the commit of their outcomes that a stretch of lines needs not be asked about again."""
    await connection.execute(SQL.note_whole, merchant_id, batch_id, *stretch)


async def whole(connection: Connection, merchant_id: int, batch_id: int) -> list[Whole]:
    """Such stretches, in the order of their lines."""
    return [Whole(*row) for row in await connection.fetch(SQL.whole, merchant_id, batch_id)]


async def results_of_whole(connection: Connection, merchant_id: int, batch_id: int, stretch: Whole) -> list[Told]:
    """The rows of such a stretch, with what became of them."""
    taken = await connection.fetchrow(SQL.taken_of_whole, merchant_id, batch_id, stretch.first_line)
    if taken is None:                   # erased, with its rows
        return []
    found = await connection.fetch(SQL.rows_of_whole, merchant_id, batch_id, *stretch[:2])
    if len(found) != stretch.rows:      # some of its rows are erased
        known = {line: more for line, *more in zip(*taken, strict=True)}
        taken = list(zip(*[(row[0], *known[row[0]]) for row in found], strict=True)) or ((),) * 4
    currency = stretch.currency
    return [
        tuple.__new__(Told, (line, "purchase", minor, currency, reference, None, payment_id, payment_id, None, card, expiry, "approved", minor, None))
        for (line, minor, reference), payment_id, card, expiry in zip(found, *taken[1:], strict=True)]


async def sums(connection: Connection, merchant_id: int, batch_id: int, first: int, last: int) -> list[Total]:
    """How rows ended."""
    found = await _page(connection, SQL.sums, merchant_id, batch_id, first, last)
    return [Total(kind, currency, count, minor, ended) for kind, currency, ended, count, minor in found]


async def results(connection: Connection, merchant_id: int, batch_id: int, first: int, last: int) -> list[Told]:
    """Rows from a line to another, with what became of them."""
    return [tuple.__new__(Told, row) for row in await _page(connection, SQL.results, merchant_id, batch_id, first, last)]


async def _page(connection: asyncpg.Connection, sql: str, *what: int) -> list[asyncpg.Record]:
    async with connection.transaction():
        await connection.execute(SQL.in_pages)
        return await connection.fetch(sql, *what)


async def pages_of_wave(connection: Connection, merchant_id: int, batch_id: int, wave: int, first: int, size: int) -> list[int]:
    """The first lines of the pages (of ``size`` lines each, counted from line 2) that hold rows of a wave behind the first wave, from the
    page on that begins with line ``first``."""
    return [row[0] for row in await connection.fetch(SQL.pages_of_wave, merchant_id, batch_id, wave, first, size)]


async def end(connection: Connection, file: File, state: str, at: datetime, sums: Sequence[Total], agrees: bool) -> bool:
    """Store the end of a batch."""
    return bool(await connection.fetchval(SQL.end, *file[:2], state, at, _json(sums), agrees))
