"""The mock method as a ``Processor``: answers by amount, and later where its caller wants so.

Keeps its own book in one SQLite file that all processes share: what it said, and when what it has not said yet is due.  Times in it are
business time.  Knows nothing of the engine.
"""
from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TypeVar

from ringfence.core.commands import Kind
from ringfence.core.mock_method import read_descriptor
from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Reversed, Silence, Unknown
from ringfence.processors.processor import Ask, Capabilities

FAILING = range(300_000, 400_001)
WORDS = {"05": "MockDecline", "51": "MockInsufficientFunds"}
"""Of each of its declines, the method's own."""
"""Amounts, in minor units, that always fail."""
POOR = 2
"""Of those, the last two digits that say why: insufficient funds; every other one is declined without a reason."""
_FIRST = (Kind.AUTHORIZATION, Kind.PURCHASE)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS said (
    key TEXT PRIMARY KEY, merchant TEXT NOT NULL, currency TEXT NOT NULL, kind TEXT NOT NULL, minor INTEGER NOT NULL,
    result TEXT NOT NULL, due_at TEXT NOT NULL, day TEXT NOT NULL)
"""
_T = TypeVar("_T")


class Mock:
    """The provider.  ``folder`` is shared by all processes of a sandbox."""

    name = "mock"
    capabilities = Capabilities(True, True, False, False, time(0), "UTC")

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / "mock.sqlite"

    async def ask(self, message: Ask) -> Outcome:
        """See ``Processor.ask``.  The same key gets the same answer."""
        if datetime.now(UTC) >= message.deadline:
            return NotAsked("deadline")
        return await self._with_book(lambda book: _asked(book, message))

    async def inquire(self, message: Ask) -> Outcome:
        """See ``Processor.inquire``."""
        found = await self._with_book(lambda book: _found(book, message))
        return Reversed() if found == _UNDONE else found

    async def reverse(self, message: Ask) -> bool:
        """See ``Processor.reverse``."""
        return await self._with_book(lambda book: _reversed(book, message))

    async def totals(self, day: date) -> dict[tuple[str, str, str], tuple[int, int]] | None:
        """See ``Processor.totals``."""
        return await self._with_book(lambda book: _totals(book, day))

    async def close(self) -> None:
        """Nothing is kept open."""

    async def _with_book(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def carry_out() -> _T:
            with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as book:
                book.execute("PRAGMA journal_mode = WAL")
                book.execute(_SCHEMA)
                book.execute("BEGIN IMMEDIATE")
                try:
                    return work(book)
                finally:
                    book.execute("COMMIT")

        return await asyncio.to_thread(carry_out)


def _asked(book: sqlite3.Connection, message: Ask) -> Outcome:
    if (known := _found(book, message)) != _NOTHING:
        return known
    result, due = _decision(message), message.at
    if message.kind in _FIRST and (descriptor := read_descriptor(message.account)).is_late:
        due += timedelta(seconds=descriptor.delay_seconds)
    book.execute("INSERT INTO said VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (
        message.key, message.merchant, message.currency, message.kind, message.minor, result, due.isoformat(), due.date().isoformat()))
    return _outcome(message, result, due)


_NOTHING, _UNDONE = Unknown(Silence.NO_ANSWER), Declined("79")


def _found(book: sqlite3.Connection, message: Ask) -> Outcome:
    row = book.execute("SELECT result, due_at FROM said WHERE key = ?", (message.key,)).fetchone()
    return _NOTHING if row is None else _outcome(message, row[0], datetime.fromisoformat(row[1]))


def _decision(message: Ask) -> str:
    if message.kind not in _FIRST or message.minor not in FAILING:
        return "00"
    return "51" if message.minor % 100 == POOR else "05"


def _outcome(message: Ask, result: str, due: datetime) -> Outcome:
    if result == "reversed":
        return _UNDONE
    if message.at < due:
        return Unknown(Silence.PENDING, within=(due - message.at).total_seconds())
    if result != "00":
        return Declined(result, provider_code=WORDS[result])
    first, code = message.original, f"{message.operation_id % 1_000_000:06d}"
    if first is not None and message.kind not in _FIRST:
        return Approved(message.minor, code, first.scheme_reference, first.processor_reference)
    return Approved(message.minor, code, f"MOCK{message.operation_id}", message.key)


def _reversed(book: sqlite3.Connection, message: Ask) -> bool:
    """Undone, also where it was never asked: should it come later, it finds that."""
    book.execute("INSERT INTO said VALUES (?, ?, ?, ?, ?, 'reversed', ?, ?) ON CONFLICT (key) DO UPDATE SET result = 'reversed'", (
        message.key, message.merchant, message.currency, message.kind, message.minor, message.at.isoformat(), message.at.date().isoformat()))
    return True


def _totals(book: sqlite3.Connection, day: date) -> dict[tuple[str, str, str], tuple[int, int]]:
    rows = book.execute(
        "SELECT merchant, currency, kind, count(*), sum(minor) FROM said WHERE day = ? AND result = '00' GROUP BY 1, 2, 3", (day.isoformat(),))
    return {(merchant, currency, kind): (count, minor) for merchant, currency, kind, count, minor in rows}
