"""Finding the lines of one key in the workers' files of the book.

A reversal and an inquiry ask for a message that any worker may have written, among millions of lines, while all of them go on writing.  Reads
the files as they are, and maps none of them: their writers give back room, and to touch a mapped page then is deadly.
"""
from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ringfence.processors.simulator.book import Entry, end_of_text, read_line

STRETCH, LONGEST, UNSETTLED = 1 << 17, 4_096, 2
"""Octets of a stretch that is looked at as one, of a line at most, and how many stretches at the end of a file may still change."""
_SLACK = 60_000_000
"""Microseconds by which wall clocks may be set back without hiding a line from a search."""
_BLOCK = 1 << 20
_NARROW = 1 << 16
"""Octets between which the beginning of a search is not looked for more closely."""
_WALL_AT, _WALL_DIGITS = len(b'{"wall":'), 16
_OPERATION = re.compile(rb'"operation":(\d+)')


class Stretches:
    """Which operations stand in which stretch of the workers' files, as far as that was asked: a sorted number each, eight octets.

    What was written some stretches ago does not change any more.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, dict[int, array[int]]] = {}      # by file, by number of the stretch

    def where(self, file: int, size: int, start: int, operation: int) -> Iterator[tuple[int, int]]:
        """The stretches behind ``start`` in which a line about ``operation`` may begin, in a file with ``size`` octets of text."""
        known = self._known.setdefault(os.fstat(file).st_ino, {})
        last = max(0, size // STRETCH - UNSETTLED)
        for number in range(start // STRETCH, last):
            held = known.get(number)
            if held is None:
                text = os.pread(file, STRETCH + LONGEST, number * STRETCH)
                held = known[number] = array("q", sorted({int(found) for found in _OPERATION.findall(text)}))
            if held and held[0] <= operation <= held[-1] and held[bisect_left(held, operation)] == operation:
                yield number * STRETCH, (number + 1) * STRETCH
        yield last * STRETCH, size


def search(folder: Path, key: str, since: int, operation: int = 0, stretches: Stretches | None = None) -> list[Entry]:
    """The lines of ``key`` in the workers' files, none written before ``since`` (microseconds; a minute of slack is given).

    Where all of them are about one ``operation``, ``stretches`` saves reading most of what was written since.
    """
    needle = b'"key":' + msgspec.json.encode(key)
    found = []
    for path in folder.glob("book-*.jsonl"):
        with path.open("rb", buffering=0) as opened:
            file = opened.fileno()
            if size := end_of_text(file):
                start = _start(file, size, since - _SLACK)
                where = [(start, size)] if stretches is None else stretches.where(file, size, start, operation)
                for begin, behind in where:
                    found += _found(file, needle, key, max(begin, start), behind)
    return found


def _found(file: int, needle: bytes, key: str, begin: int, behind: int) -> Iterator[Entry]:
    """The lines of ``key`` that begin from ``begin`` on, before ``behind``; or a little before, as their key does not."""
    for start in range(begin, behind, _BLOCK):
        before = min(start, LONGEST)                    # of a line that is cut in two here, what stands before
        text = os.pread(file, before + min(_BLOCK, behind - start) + LONGEST, start - before)
        last = before + min(_BLOCK, behind - start)
        at = text.find(needle, before)
        while 0 <= at < last:
            end = text.find(b"\n", at)
            if end < 0:
                return
            entry = read_line(text[text.rfind(b"\n", 0, at) + 1:end])
            if entry is not None and entry.key == key:
                yield entry
            at = text.find(needle, end)


def _start(file: int, size: int, since: int) -> int:
    """An offset at the beginning of a line, before which every line is older than ``since``."""
    low, high = 0, size
    while high - low > _NARROW:
        middle = (low + high) // 2
        text = os.pread(file, LONGEST, middle)
        line = text.find(b"\n") + 1
        wall = text[line + _WALL_AT:line + _WALL_AT + _WALL_DIGITS] if line else b""
        if line and middle + line < high and wall.isdigit() and int(wall) < since:
            low = middle + line
        else:
            high = middle
    return low
