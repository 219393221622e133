"""The simulator's book: every effect at the issuer, remembered outside the engine's database.

Each worker appends one JSON line per effect to its own ``book-N.jsonl`` before it answers.  Effects on accounts with state, and all
reversals, stand in ``accounts.sqlite`` instead, written in the transaction that changes the account.  ``reading`` merges both.  Decides
nothing.

The file is written through a shared mapping: a line costs two copies in memory instead of a system call.  Against SIGKILL, which is what
fault tests send, that is as safe as write(2): both end in the kernel's page cache, and the kernel keeps its pages whoever dies.  What write(2)
did besides is done here:

- *Whole or not at all.*  The file has room before it has lines, so behind the last line stand zeros.  A line is copied without its newline,
  and the newline after it: what has no newline, or has a zero octet in it, is a piece that its process did not live to finish.
- *No room is an error, not a signal.*  The blocks are allocated before they are mapped; a full disk says so as an ``OSError`` there.
- *In order.*  A worker writes its line, then looks at the control page; a reversal changes that page, then searches.  One of the two sees the
  other, because the fence behind each line keeps the machine from looking first and storing afterwards.
- *One writer.*  A lock on the file says that its process lives; the next one then begins a file of its own.
"""
from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from itertools import count
from pathlib import Path
from threading import Lock

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
    final: bool = False             # a capture behind which nothing is held any more


encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines         # each with its newline
decode = msgspec.json.Decoder(Entry).decode

ROOM = 1 << 18
"""Octets by which a file grows, and of which its writer has a mapping: some six hundred lines."""
_NEWLINE = ord("\n")
_ZEROS = bytes(4_096)


class Book:
    """The book of one worker, for appending.  Not safe to share between threads."""

    __slots__ = ("_at", "_fence", "_file", "_map", "_start", "_unfence")

    def __init__(self, folder: Path, worker: int) -> None:
        self._file = _own_file(folder, worker)
        self._map: mmap.mmap | None = None
        lock = Lock()                   # nobody else ever holds it: its atomic instructions are all we want
        self._fence, self._unfence = lock.acquire, lock.release
        end = end_of_text(self._file)
        if end and os.pread(self._file, 1, end - 1) != b"\n":
            os.pwrite(self._file, b"\0\n", end)     # the process before this one died in the middle of a line: it never becomes one
            end += 2
        self._start, self._at = end, ROOM           # the first line makes room

    def append(self, entry: Entry) -> None:
        """Write one effect.  Raises ``OSError`` where the file has no room for it."""
        line = encode(entry)
        at = self._at
        end = at + len(line)
        if end >= ROOM:
            self._make_room()
            at = self._at
            end = at + len(line)
        text = self._map
        text[at:end] = line             # type: ignore[index]  # there is one since the first line
        text[end] = _NEWLINE            # type: ignore[index]
        self._at = end + 1
        self._fence()
        self._unfence()

    def append_all(self, entries: Sequence[Entry]) -> None:
        """Write effects in one go, where they fit into the room there is.  Raises ``OSError`` where the file has none; some are written then.

        In whichever order the machine copies them: of a process that dies meanwhile, what is not all there has zeros in it, or no newline.
        """
        lines = _encode_lines(entries)
        at = self._at
        end = at + len(lines)
        if end > ROOM:
            for entry in entries:
                self.append(entry)
            return
        text = self._map
        text[at:end] = lines            # type: ignore[index]  # there is one since the first line
        self._at = end
        self._fence()
        self._unfence()

    def close(self) -> None:
        """Give back the room without lines, and close the file."""
        if self._map is not None:
            self._map.close()
            os.ftruncate(self._file, self._start + self._at)
        os.close(self._file)

    def _make_room(self) -> None:
        """Map the next stretch of the file, from the page on in which the lines end.  Changes nothing where it raises."""
        end = self._start if self._map is None else self._start + self._at
        start = end - end % mmap.ALLOCATIONGRANULARITY
        os.posix_fallocate(self._file, start, ROOM)
        text = mmap.mmap(self._file, ROOM, offset=start)
        if self._map is not None:
            self._map.close()
        self._map, self._start, self._at = text, start, end - start


def _own_file(folder: Path, worker: int) -> int:
    """The worker's file, locked; another one beside it where a process that had the same number is still there."""
    for again in count():
        path = folder / (f"book-{worker}-{again}.jsonl" if again else f"book-{worker}.jsonl")
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
        else:
            return file
    raise AssertionError("numbers do not end")


def end_of_text(file: int) -> int:
    """How far a file has text: all behind it is room.  No line that stood when this was called lies behind."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - ROOM)
        text = os.pread(file, end - start, start)
        for behind in range(len(text), 0, -len(_ZEROS)):        # most of it is room, and octet by octet that takes long
            if not _ZEROS.startswith(piece := text[max(0, behind - len(_ZEROS)):behind]):
                return start + behind - len(piece) + len(piece.rstrip(b"\0"))
        end = start
    return 0


def read_line(line: bytes) -> Entry | None:
    """One line, or ``None`` for what is left of one that was cut off by the end of its process."""
    if b"\0" in line:
        return None
    try:
        return decode(line)
    except msgspec.DecodeError:
        if line.endswith(b"}") and line.startswith(b"{") and line.count(b'"wall":') == 1:
            raise
        return None
