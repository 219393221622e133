"""The book as a file: room behind the lines, pieces that never become lines, one writer, and what SIGKILL leaves."""
from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfence.core.commands import Kind
from ringfence.processors.simulator import double_effects, read_book
from ringfence.processors.simulator.book import ROOM, Book, Effect, Entry, encode
from ringfence.processors.simulator.finding import STRETCH, Stretches, search

ROOT = Path(__file__).parents[2]


def line(n: int) -> Entry:
    """The n-th effect."""
    return Entry(
        1_795_000_000_000_000 + n, 0, f"k{n:06}", n, n, "merchant-1", Kind.PURCHASE, Effect.APPROVED, n, "AED", "00",
        datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1),
    )


def amounts(folder: Path) -> list[int]:
    """The effects in the book."""
    return [entry.minor for entry in read_book(folder)]


def left_by_a_dead_process(folder: Path, lines: int) -> Path:
    """A book as a process leaves it that was killed after so many lines: its room is still behind them."""
    alive = folder / "alive"
    alive.mkdir()
    book = Book(alive, 0)
    for n in range(lines):
        book.append(line(n))
    dead = folder / "dead"
    dead.mkdir()
    shutil.copy(alive / "book-0.jsonl", dead)
    book.close()
    return dead


def test_lines_are_readable_while_they_are_written_and_the_room_is_given_back(tmp_path: Path):
    """Over several stretches of the file, before and after the writer closes it; another process finds each by its key."""
    book, count = Book(tmp_path, 0), 3 * ROOM // len(encode(line(0)))
    assert amounts(tmp_path) == []
    for n in range(count):
        book.append(line(n))
        if n % 500 == 0:
            assert [entry.minor for entry in search(tmp_path, f"k{n:06}", 0)] == [n]
    assert (tmp_path / "book-0.jsonl").stat().st_size % 4096 == 0
    assert amounts(tmp_path) == list(range(count))
    book.close()
    whole = b"".join(encode(line(n)) + b"\n" for n in range(count))
    assert (tmp_path / "book-0.jsonl").read_bytes() == whole
    book = Book(tmp_path, 0)
    book.append(line(count))
    book.close()
    assert (tmp_path / "book-0.jsonl").read_bytes() == whole + encode(line(count)) + b"\n"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_line_that_its_process_did_not_finish_never_becomes_an_effect(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    """Killed anywhere in the copying of the third line, which need not go from left to right: neither that line is read, nor after the
    next start, and the lines before and behind it are."""
    folder = tmp_path_factory.mktemp("book")
    dead, third = left_by_a_dead_process(folder, 2), encode(line(2))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(third)), st.integers(0, len(third)))))
    piece = data.draw(st.sampled_from([third[:start], bytes(start) + third[start:], third[:start] + bytes(stop - start) + third[stop:]]))
    with (dead / "book-0.jsonl").open("r+b") as file:
        file.seek(2 * (len(third) + 1))
        file.write(piece)
    assert amounts(dead) == [0, 1]
    assert search(dead, "k000002", 0) == []
    again = Book(dead, 0)
    again.append(line(3))
    assert amounts(dead) == [0, 1, 3]
    assert search(dead, "k000002", 0) == []
    again.close()
    assert amounts(dead) == [0, 1, 3]


def test_a_newline_that_is_seen_before_its_line_is_no_effect(tmp_path: Path):
    """As a machine may show it that makes stores visible in another order."""
    dead, third = left_by_a_dead_process(tmp_path, 2), encode(line(2))
    with (dead / "book-0.jsonl").open("r+b") as file:
        file.seek(2 * (len(third) + 1))
        file.write(third[:40] + bytes(len(third) - 80) + third[-40:] + b"\n")
    assert amounts(dead) == [0, 1]
    assert search(dead, "k000002", 0) == []


def test_two_processes_of_one_number_write_two_files(tmp_path: Path):
    """As long as the first one lives; then its file goes on."""
    first, second = Book(tmp_path, 5), Book(tmp_path, 5)
    first.append(line(1))
    second.append(line(2))
    assert sorted(amounts(tmp_path)) == [1, 2]
    assert [entry.minor for entry in search(tmp_path, "k000002", 0)] == [2]
    first.close()
    third = Book(tmp_path, 5)
    third.append(line(3))
    second.close()
    third.close()
    assert {path.name: path.read_bytes().count(b"\n") for path in tmp_path.iterdir()} == {"book-5.jsonl": 2, "book-5-1.jsonl": 1}


def test_a_full_disk_is_an_error_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Said where room is made, never by a signal; once there is room the book goes on."""
    def full(file: int, start: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    book, n = Book(tmp_path, 0), 0
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="No space"):
            book.append(line(n))
    book.append(line(n))
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="No space"):
            for n in range(1, ROOM):
                book.append(line(n))
    assert amounts(tmp_path) == list(range(n))
    book.append(line(n))
    book.close()
    assert amounts(tmp_path) == list(range(n + 1))


PAYING = """
import asyncio, os, sys, time
from pathlib import Path
from datetime import UTC, datetime, timedelta
from ringfence.core.card import Pan
from ringfence.core.commands import Kind
from ringfence.core.ids import IdSource
from ringfence.processors.processor import Ask
from ringfence.processors.simulator import Simulator, book

async def pay(folder, number, start):
    book.ROOM = 2 * 4096        # another stretch of the file every few lines
    ids, simulator, card = IdSource(5, lambda: time.time_ns() // 1_000_000), Simulator(Path(folder), seed=7, worker=4), Pan(number)
    for n in range(int(start), 10**9):
        now = datetime.now(UTC)
        outcome = await simulator.ask(Ask(f"k{n}", Kind.PURCHASE, 1, "AED", "m", ids.next(), ids.next(), now, now + timedelta(seconds=30), card))
        os.write(1, b"%d %s\\n" % (n, outcome.approval_code.encode()))

asyncio.run(pay(*sys.argv[1:]))
"""


def test_every_effect_that_was_answered_survives_sigkill(tmp_path: Path):
    """A process that writes effects as fast as it can is killed at six moments of chance, and started again over the same file: each
    effect whose answer came through the pipe is in the book, once, and at most one more at each kill."""
    chance, answered = random.Random(11), {}
    for kills, start in enumerate(range(0, 6_000_000, 1_000_000), 1):
        paying = subprocess.Popen(
            [sys.executable, "-c", PAYING, str(tmp_path), "4000009900000004", str(start)], stdout=subprocess.PIPE, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert paying.stdout is not None
        heard = [paying.stdout.readline() for _ in range(chance.randint(1, 2_000))]
        paying.send_signal(signal.SIGKILL)
        heard += [text for text in paying.stdout if text.endswith(b"\n")]
        paying.wait()
        paying.stdout.close()
        answered |= {f"k{n}": approval for n, approval in (text.decode().split() for text in heard)}
        entries = read_book(tmp_path)
        book = {entry.key: entry.approval for entry in entries}
        assert len(book) == len(entries)
        assert answered.items() <= book.items()
        assert len(book) - len(answered) <= kills
    assert double_effects(tmp_path) == []
    assert [path.name for path in tmp_path.glob("book-*")] == ["book-4.jsonl"]


def test_many_lines_at_once_are_the_same_lines(tmp_path: Path):
    """Where they fit into the room there is, where they do not, and as the first lines of a file."""
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    one, many = Book(tmp_path / "one", 0), Book(tmp_path / "many", 0)
    lines = [line(n) for n in range(3 * ROOM // len(encode(line(0))))]
    for entry in lines:
        one.append(entry)
    for start in range(0, len(lines), 70):
        many.append_all(lines[start:start + 70])
    one.close()
    many.close()
    assert (tmp_path / "many" / "book-0.jsonl").read_bytes() == (tmp_path / "one" / "book-0.jsonl").read_bytes()


def test_who_knows_where_operations_stand_finds_the_same(tmp_path: Path):
    """In files of many stretches, whose operations are nearly in order; also of lines that were written since he looked."""
    book, stretches = Book(tmp_path, 0), Stretches()
    count = 8 * STRETCH // len(encode(line(0)))

    def numbered(n: int) -> Entry:
        return Entry(**{**{name: getattr(line(n), name) for name in Entry.__struct_fields__}, "operation": 10_000 + n + n % 7 * 50})

    for n in range(count):
        book.append(numbered(n))
    for n in (*range(0, count, 977), count - 1):
        found = search(tmp_path, f"k{n:06}", 0, numbered(n).operation, stretches)
        assert found == search(tmp_path, f"k{n:06}", 0) == [numbered(n)]
    assert search(tmp_path, f"k{count:06}", 0, 10_000 + count, stretches) == []
    for n in range(count, 2 * count):
        book.append(numbered(n))
    for n in range(0, 2 * count, 1_777):
        assert search(tmp_path, f"k{n:06}", 0, numbered(n).operation, stretches) == [numbered(n)]
    book.close()
