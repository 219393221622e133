"""The book: all that the site remembers, in one SQLite file that every worker process shares.

Each piece of work is one transaction, the only one in all processes while it lasts; first of all it brings up to date what time has changed
meanwhile (``passing``), so that whoever looks sees the same.  Its own: the engine's database knows nothing of it.
"""
from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import sqlite3
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import msgspec

from ringfence.amazon_site.objects import Charge, Merchant, Permission, Refund, Session

_TEXT = (resources.files(__package__) / "book.sql").read_text(encoding="utf-8")
SQL = {name: text.strip() for name, text in re.findall(r"^-- (\w+) --\n(.*?)(?=^-- \w+ --$|\Z)", _TEXT, re.M | re.S)}

FILE = "amazon.sqlite"
_BUSY_SECONDS = 30.0
_GIVEN = {Session: 3, Permission: 5, Charge: 4, Refund: 4}
"""Where in a row the text stands that holds what was given."""

_T = TypeVar("_T")
_Row = TypeVar("_Row", Session, Permission, Charge, Refund)


class Book:
    """One process's way into the shared file.  ``seed`` decides every identifier."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path, self._seed = folder / FILE, seed.to_bytes(16, "big", signed=True)
        self._file: sqlite3.Connection | None = None
        self._lock = Lock()

    async def work(self, work: Callable[[Change], _T]) -> _T:
        """Do something in one transaction, beside the loop."""
        return await asyncio.to_thread(self.work_here, work)

    def work_here(self, work: Callable[[Change], _T]) -> _T:
        """The same on the caller's thread."""
        with self._lock:
            if self._file is None:
                self._file = self._opened()
            self._file.execute("BEGIN IMMEDIATE")
            try:
                done = work(Change(self._file, self._seed))
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")
            return done

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _opened(self) -> sqlite3.Connection:
        # One process at a time: the change to a write-ahead log does not wait for others, it fails.
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Only where there is none yet: closing a descriptor of the file would give away the locks that this process has on it (POSIX).
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            file = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            file.execute("PRAGMA journal_mode = wal")
            file.execute("PRAGMA synchronous = off")        # it has to survive the process, not the machine
            file.executescript(SQL["schema"])
            return file
        finally:
            os.close(lock)


class Change:
    """What can be done inside one transaction."""

    __slots__ = ("_file", "_seed", "has_told")

    def __init__(self, file: sqlite3.Connection, seed: bytes) -> None:
        self._file, self._seed = file, seed
        self.has_told = False           # whether a notification waits because of it

    def run(self, name: str, *values: object) -> sqlite3.Cursor:
        """One named statement."""
        return self._file.execute(SQL[name], values)

    def count(self, name: str) -> int:
        """Count one more under a name."""
        return self.run("count", name).fetchone()[0]

    def drawn(self, kind: str) -> bytes:
        """32 bytes that nobody guesses who does not know the seed, and that are the same in the same run."""
        return hmac.digest(self._seed, f"{kind}|{self.count(kind)}".encode(), hashlib.sha256)

    def new_uuid(self, kind: str) -> str:
        """A new identifier in the form of a UUID."""
        digits = self.drawn(kind).hex()
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"

    def secret(self, name: str, make: Callable[[], str]) -> str:
        """A secret of the site, made once."""
        row = self.run("secret", name).fetchone()
        if row is None:
            self.run("keep_secret", name, make())
            row = self.run("secret", name).fetchone()
        return row[0]

    # --- merchants

    def merchant(self, merchant_id: str) -> Merchant | None:
        """A merchant, or ``None``."""
        return _merchant(self.run("merchant", merchant_id).fetchone())

    def key(self, key_id: str) -> tuple[str, Merchant] | None:
        """The public key (PEM) registered under an identifier, with its merchant."""
        row = self.run("key", key_id).fetchone()
        merchant = _merchant(row and row[1:])
        return None if merchant is None else (row[0], merchant)

    # --- objects

    def session(self, session_id: str) -> Session | None:
        """A session, or ``None``."""
        return _row(Session, self.run("session", session_id).fetchone())

    def permission(self, permission_id: str) -> Permission | None:
        """A charge permission, or ``None``."""
        return _row(Permission, self.run("permission", permission_id).fetchone())

    def charge(self, charge_id: str) -> Charge | None:
        """A charge, or ``None``."""
        return _row(Charge, self.run("charge", charge_id).fetchone())

    def refund(self, refund_id: str) -> Refund | None:
        """A refund, or ``None``."""
        return _row(Refund, self.run("refund", refund_id).fetchone())

    def charges_of(self, permission_id: str) -> list[Charge]:
        """The charges on a permission, in their order."""
        return [_known(Charge, row) for row in self.run("charges_of", permission_id)]

    def refunds_of(self, charge_id: str) -> list[Refund]:
        """The refunds of a charge, in their order."""
        return [_known(Refund, row) for row in self.run("refunds_of", charge_id)]

    def permissions_of(self, buyer: str) -> list[Permission]:
        """What a buyer agreed to be charged for again and again, and what needs another card; the newest first."""
        return [_known(Permission, row) for row in self.run("permissions_of", buyer)]

    def all_permissions(self) -> list[Permission]:
        """Every permission."""
        return [_known(Permission, row) for row in self.run("all_permissions")]

    def put(self, one: _Row) -> _Row:
        """An object as it is from now on; gives it back."""
        values: list[Any] = list(one)
        values[_GIVEN[type(one)]] = msgspec.json.encode(one.given).decode()
        self.run(f"put_{type(one).__name__.lower()}", *values)
        return one


def _merchant(row: tuple[Any, ...] | None) -> Merchant | None:
    return None if row is None else Merchant(*row[:4], tuple(msgspec.json.decode(row[4])))


def _row(kind: type[_Row], row: tuple[Any, ...] | None) -> _Row | None:
    return None if row is None else _known(kind, row)


def _known(kind: type[_Row], row: tuple[Any, ...]) -> _Row:
    values = list(row)
    values[_GIVEN[kind]] = msgspec.json.decode(values[_GIVEN[kind]])
    return kind(*values)
