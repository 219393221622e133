"""Lines of a batch file: from the pieces in which a file arrives to its rows of cells.

The file is CSV (RFC 4180) in UTF-8, with or without a byte order mark; lines end in LF, CRLF or CR, as the first of them does.  One
line is one row: no value may hold a line break, so that a quote which is not closed where its line ends is told at once, and no
more of a file is ever held than the piece at hand and the beginning of a line.  Whatever is not such a file (packed, in another encoding,
with NULs) is refused by what it is; nothing is ever unpacked.  Refuses to know what cells mean.
"""
from __future__ import annotations

import csv

LONGEST = 65_536
"""Characters of one line."""

HEADER, FILE = "142", "144"
"""The two messages of a file that cannot be read: its header is wrong, or something else."""

PACKED = {
    b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7-zip", b"Rar!": "rar", b"%PDF": "PDF", b"\xd0\xcf\x11\xe0": "old Excel",
}
_LONGEST_MARK = 5
BOM = b"\xef\xbb\xbf"
OTHER_MARKS = {b"\xff\xfe": "UTF-16 or UTF-32", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}


class BadFile(Exception):
    """A file that is refused as a whole.  ``message`` is ``HEADER`` or ``FILE``; ``line`` 0 where no line is to blame.  Never repeats a cell."""

    def __init__(self, message: str, line: int, reason: str) -> None:
        super().__init__(reason)
        self.message, self.line, self.reason = message, line, reason

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}" if self.line else self.reason


class Lines:
    """Rows of a file that is fed in pieces.  ``read`` is how many lines were read so far."""

    __slots__ = ("_begun", "_end", "_rest", "read")

    def __init__(self) -> None:
        self.read = 0
        self._rest, self._begun, self._end = b"", False, b""

    def feed(self, piece: bytes) -> list[list[str]]:
        """The rows of every line that is complete now, an empty one for an empty line.  Raises ``BadFile``."""
        data = self._rest + piece
        if not self._begun:
            if len(data) < _LONGEST_MARK:
                self._rest = data
                return []
            data = self._begin(data)
        if not self._end and not self._learn_end(data, is_all=False):
            return self._kept(data)
        cut = data.rfind(self._end) + 1
        if not cut:
            return self._kept(data)
        self._kept(data[cut:])
        return self._rows(data[:cut - 1])

    def close(self) -> list[list[str]]:
        """The rows of what is left at the end of the file.  Raises ``BadFile``."""
        data, self._rest = self._rest, b""
        if not self._begun:
            data = self._begin(data)
        if not self._end:
            self._learn_end(data, is_all=True)
        return self._rows(data[:-1] if data.endswith(self._end) else data) if data else []

    def _begin(self, data: bytes) -> bytes:
        self._begun = True
        for mark, encoding in OTHER_MARKS.items():
            if data.startswith(mark):
                raise BadFile(FILE, 0, f"the file is {encoding}; UTF-8 is needed")
        for mark, kind in PACKED.items():
            if data.startswith(mark):
                raise BadFile(FILE, 0, f"the file is packed or no text ({kind}); a plain CSV is needed")
        return data.removeprefix(BOM)

    def _learn_end(self, data: bytes, *, is_all: bool) -> bool:
        """How lines end in this file, once the first one has; a CR at the very end of a piece may be half of a CRLF."""
        line_feed, return_ = data.find(b"\n"), data.find(b"\r")
        if line_feed >= 0 and (return_ < 0 or line_feed <= return_ + 1):
            self._end = b"\n"
        elif return_ >= 0 and (is_all or return_ + 1 < len(data)):
            self._end = b"\r"
        elif is_all:
            self._end = b"\n"
        return bool(self._end)

    def _kept(self, rest: bytes) -> list[list[str]]:
        if len(rest) > 4 * LONGEST:                 # UTF-8 has up to four octets for a character
            raise self._too_long(self.read + 1)
        self._rest = rest
        return []

    def _rows(self, block: bytes) -> list[list[str]]:
        if b"\0" in block:
            raise BadFile(FILE, self.read + 1 + block.count(self._end, 0, block.index(b"\0")), "a NUL is no text")
        try:
            lines = block.decode("utf-8").split(self._end.decode())
        except UnicodeDecodeError as error:
            raise BadFile(FILE, self.read + 1 + block.count(self._end, 0, error.start), "not UTF-8") from None
        if max(map(len, lines)) > LONGEST:
            place = next(place for place, line in enumerate(lines) if len(line) > LONGEST)
            raise self._too_long(self.read + 1 + place)
        if b'"' not in block and b"\r" not in block:
            self.read += len(lines)
            return [line.split(",") if line else [] for line in lines]          # as the reader does where nothing is quoted
        try:
            rows = list(csv.reader(lines, strict=True))
        except csv.Error:
            rows = []
        if len(rows) != len(lines):
            raise self._unclosed(lines)
        self.read += len(lines)
        return rows

    def _too_long(self, line: int) -> BadFile:
        return BadFile(HEADER if line == 1 else FILE, line, f"longer than {LONGEST} characters")

    def _unclosed(self, lines: list[str]) -> BadFile:
        """Which of the lines is not one row by itself."""
        for place, line in enumerate(lines, self.read + 1):
            try:
                if len(list(csv.reader([line], strict=True))) == 1 or not line:
                    continue
            except csv.Error:
                pass
            return BadFile(HEADER if place == 1 else FILE, place, "the quotes of a cell are not closed on its line, or stand inside it")
        return BadFile(FILE, self.read + 1, "the quotes of a cell are wrong")
