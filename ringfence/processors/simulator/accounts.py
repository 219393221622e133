"""The accounts behind the simulator's cards: balances, holds, counters, tombstones, and what the control interface set.

One SQLite file shared by all worker processes, in short transactions, never inside one of the engine's.  Opened at first need: cards
without state never touch it.  Decides only arithmetic; what the issuer says is in ``issuer``.
"""
from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from ringfence.core.commands import Kind
from ringfence.core.currencies import CURRENCIES
from ringfence.processors.processor import Ask
from ringfence.processors.simulator.book import Entry, decode, encode
from ringfence.processors.simulator.scenarios import Scenario

_TEXT = (resources.files(__package__) / "accounts.sql").read_text(encoding="utf-8")
SQL = {name: text.strip() for name, text in re.findall(r"^-- (\w+) --\n(.*?)(?=^-- \w+ --$|\Z)", _TEXT, re.M | re.S)}

FILE = "accounts.sqlite"
TOMBSTONE_SECONDS = 24 * 3600
_BUSY_SECONDS = 30.0


class Accounts:
    """One process's way into the shared file."""

    __slots__ = ("_connection", "_path")

    def __init__(self, folder: Path) -> None:
        self._path, self._connection = folder / FILE, None

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, opened when first asked for."""
        if self._connection is None:
            # One process at a time: the change to a write-ahead log does not wait for others, it fails.
            lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._connection = self._open()
            finally:
                os.close(lock)
        return self._connection

    def _open(self) -> sqlite3.Connection:
        # The files beside it get its mode.  Only where there is none yet: whoever closes a descriptor of a file gives away all locks
        # that its process has on it (POSIX), and without ours the next one to close the database takes itself for the last one, and
        # the log away from under us.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA synchronous = off")      # it has to survive the process, not the machine
        connection.execute("PRAGMA cache_size = -512")
        connection.executescript(SQL["schema"])
        return connection

    @contextmanager
    def change(self) -> Iterator[Change]:
        """One transaction, the only one in all processes while it lasts."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield Change(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def entries(self, key: str) -> list[Entry]:
        """The lines of the book about one key."""
        return [decode(line) for (line,) in self.connection.execute(SQL["entries"], (key,))]

    def account_of(self, key: str) -> str:
        """The account an earlier message touched, or ``""``."""
        row = self.connection.execute(SQL["account_of"], (key,)).fetchone()
        return row[0] if row else ""

    def settings(self) -> dict[str, str]:
        """What was set from outside for all accounts."""
        return dict(self.connection.execute(SQL["settings"]))

    def overrides(self) -> dict[str, str]:
        """Account -> scenario set from outside."""
        return dict(self.connection.execute(SQL["overrides"]))

    def tombstones(self, after: int) -> list[tuple[int, str, int]]:
        """(number, key, until in Unix seconds) of the tombstones younger than number ``after``."""
        return self.connection.execute(SQL["tombstones"], (after,)).fetchall()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Change:
    """What can be done inside one transaction."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, name: str, *values: object) -> sqlite3.Cursor:
        """One named statement."""
        return self._connection.execute(SQL[name], values)

    def write(self, entry: Entry) -> None:
        """One line of the book."""
        self.run("write", entry.key, entry.account, encode(entry))

    def entries(self, key: str) -> list[Entry]:
        """The lines of the book about one key."""
        return [decode(line) for (line,) in self.run("entries", key)]

    def is_buried(self, key: str, now: int) -> bool:
        """Whether a reversal of that key came before its original.  ``now`` is Unix seconds."""
        return self.run("is_buried", key, now).fetchone() is not None

    def bury(self, key: str, now: int) -> bool:
        """Remember such a reversal; false if it was remembered already."""
        return self.run("bury", key, now + TOMBSTONE_SECONDS).rowcount > 0

    def count(self, name: str) -> int:
        """Count one more under a name."""
        return self.run("count", name).fetchone()[0]

    def open(self, account: str, currency: str, card: str, code: str, scenario: Scenario) -> None:
        """Make sure the account exists, with the balance its number says."""
        majors = scenario.ten_majors * 10
        balance = majors * 10 ** CURRENCIES[currency].exponent if scenario.ten_majors >= 0 else None
        self.run("open_account", account, currency, card, code, balance)

    def available(self, account: str, currency: str) -> int | None:
        """What a further hold may take; ``None`` without limit."""
        row = self.run("available", account, currency).fetchone()
        return row[0] if row else None

    def move(self, message: Ask, account: str, minor: int, drops_at: int | None = None) -> None:
        """What an approval of ``minor`` does to the account.  Never refuses: what may be refused was refused before."""
        kind, payment, currency = message.kind, message.payment_id, message.currency
        if kind is Kind.AUTHORIZATION or kind is Kind.INCREMENT:
            self.run("hold", account, payment, currency, message.merchant, message.operation_id, message.key, minor, drops_at)
        elif kind is Kind.PURCHASE:
            self.run("post", minor, account, currency)
        elif kind is Kind.CAPTURE:
            self.run("release_all" if message.final else "release", *(() if message.final else (minor,)), account, payment)
            self.run("post", minor, account, currency)
        elif kind is Kind.VOID or kind is Kind.DECREMENT:
            self.run("release", minor, account, payment)
        else:
            self.run("post", -minor, account, currency)

    def undo(self, entry: Entry) -> None:
        """The reverse of ``move`` for a line of the book."""
        account, payment, minor = entry.account, entry.payment, entry.minor
        held = (account, payment, entry.currency, entry.merchant, entry.operation, entry.key, minor, None)
        if entry.kind is Kind.AUTHORIZATION or entry.kind is Kind.INCREMENT:
            self.run("release", minor, account, payment)
        elif entry.kind is Kind.PURCHASE:
            self.run("post", -minor, account, entry.currency)
        elif entry.kind is Kind.CAPTURE:
            self.run("hold", *held)
            self.run("post", -minor, account, entry.currency)
        elif entry.kind is Kind.VOID or entry.kind is Kind.DECREMENT:
            self.run("hold", *held)
        else:
            self.run("post", minor, account, entry.currency)


def book_lines(folder: Path) -> list[bytes]:
    """The half of the book that stands beside the accounts, in order."""
    if not (folder / FILE).exists():
        return []
    accounts = Accounts(folder)
    try:
        return [line for (line,) in accounts.connection.execute(SQL["book"])]
    finally:
        accounts.close()
