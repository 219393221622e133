"""The simulator's book: every effect at the issuer, remembered outside the engine's database.

Each worker appends one JSON line per effect to its own ``book-N.jsonl`` before it answers; a line in the page cache survives the
process, which is what fault tests kill.  Effects on accounts with state, and all reversals, stand in ``accounts.sqlite`` instead, written
in the transaction that changes the account.  ``reading`` merges both.  Decides nothing.
"""
from __future__ import annotations

import mmap
import os
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from ringfence.core.commands import Kind


class Effect(StrEnum):
    """What one line of the book says."""

    APPROVED = "approved"           # carried out for ``minor``
    DECLINED = "declined"
    REVERSED = "reversed"           # what was approved under this key is undone
    NOTHING = "nothing"             # a reversal that had nothing to undo, or undid nothing
    DROPPED = "dropped"             # the issuer gave up a hold by itself
    LATE = "late"                   # the answer left after everybody had stopped waiting; moves nothing


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One line.  ``wall`` is microseconds since 1970, UTC; ``at`` business time, UTC; amounts are minor units; the card is masked."""

    wall: int
    worker: int
    key: str
    operation: int
    payment: int
    merchant: str
    kind: Kind
    effect: Effect
    minor: int
    currency: str
    response: str                   # DE 39
    at: datetime
    day: date                       # business day
    card: str = ""
    approval: str = ""              # DE 38
    nti: str = ""
    reference: str = ""             # DE 37
    asked: int = 0                  # the amount asked for, where less was approved
    advice: str = ""
    security_code_result: str = ""
    address_result: str = ""
    account: str = ""
    alarm: str = ""                 # what an operator should look at


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Entry).decode

_WALL_AT, _WALL_DIGITS = len(b'{"wall":'), 16
_SLACK = 60_000_000
"""Microseconds by which wall clocks may be set back without hiding a line from a search."""


class Book:
    """The book of one worker, for appending."""

    __slots__ = ("_file",)

    def __init__(self, folder: Path, worker: int) -> None:
        path = folder / f"book-{worker}.jsonl"
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")     # the process before this one died in the middle of a line

    def append(self, entry: Entry) -> None:
        """Write one effect.  Raises ``OSError`` where it did not get onto the file whole."""
        line = encode(entry) + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError("the simulator's book has no room")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def search(folder: Path, key: str, since: int) -> list[Entry]:
    """The lines of ``key`` in the workers' files, none written before ``since`` (microseconds; a minute of slack is given)."""
    needle = b'"key":' + msgspec.json.encode(key)
    found = []
    for path in folder.glob("book-*.jsonl"):
        with path.open("rb") as file:
            if not (size := os.fstat(file.fileno()).st_size):
                continue
            with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as text:
                at = text.find(needle, _start(text, since - _SLACK))
                while at >= 0:
                    end = text.find(b"\n", at)
                    if end < 0:
                        break
                    entry = read_line(text[text.rfind(b"\n", 0, at) + 1:end])
                    if entry is not None and entry.key == key:
                        found.append(entry)
                    at = text.find(needle, end)
    return found


def _start(text: mmap.mmap, since: int) -> int:
    """An offset at the beginning of a line, before which every line is older than ``since``."""
    low, high = 0, len(text)
    while high - low > 65_536:
        middle = (low + high) // 2
        line = text.find(b"\n", middle) + 1
        wall = text[line + _WALL_AT:line + _WALL_AT + _WALL_DIGITS] if line else b""
        if line and line < high and wall.isdigit() and int(wall) < since:
            low = line
        else:
            high = middle
    return low


def read_line(line: bytes) -> Entry | None:
    """One line, or ``None`` for what is left of one that was cut off by the end of its process."""
    try:
        return decode(line)
    except msgspec.DecodeError:
        if line.endswith(b"}") and line.startswith(b"{") and line.count(b'"wall":') == 1:
            raise
        return None
