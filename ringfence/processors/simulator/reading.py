"""Reading the simulator's book: the judge of every fault test.

Merges the workers' files with the half that stands beside the accounts, and says what moved, what stands and what moved twice.  Writes
nothing, and needs no running service.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from ringfence.core.commands import Kind
from ringfence.processors.processor import RETURN
from ringfence.processors.simulator.accounts import book_lines
from ringfence.processors.simulator.book import Effect, Entry, read_line

SHARED = "accounts"
"""What ``lines`` calls the half that all workers share."""

_ALREADY_ANSWERED = "written after the same message had been answered to its repeat"


def lines(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every line with the name of its file, unordered.  The last one of a file may be torn."""
    for path in sorted(folder.glob("book-*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n") and len(line) > 1:
                    yield path.name, line[:-1]
    for line in book_lines(folder):
        yield SHARED, line


def read_book(folder: Path) -> list[Entry]:
    """All effects in the order of their wall time.

    A worker that the machine stopped between its look at the past and its line writes that line although its message was meanwhile sent
    again and answered by another one, from the half they share.  The issuer knows one message a key: the answer in the shared half is the
    one that moved, and such a line is ``LATE``.  (The two answers are the same: only messages to cards without state have the short way.)
    """
    shared, own = [], []
    for name, line in lines(folder):
        if (entry := read_line(line)) is not None:
            (shared if name == SHARED else own).append(entry)
    answered = {entry.key for entry in shared if entry.effect is Effect.APPROVED}
    entries = [
        replace(entry, effect=Effect.LATE, alarm=_ALREADY_ANSWERED) if entry.effect is Effect.APPROVED and entry.key in answered else entry
        for entry in own
    ] + shared
    entries.sort(key=lambda entry: entry.wall)     # stable: the order within a file stays
    return entries


def totals(folder: Path, day: date) -> dict[tuple[str, str, str], tuple[int, int]]:
    """(merchant, currency, kind) -> (count, minor units) of what was approved on a business day and not undone."""
    wanted, undoing = f'"day":"{day.isoformat()}"'.encode(), b'"effect":"reversed"'
    undone, answered, approved = set(), set(), []
    for name, line in lines(folder):
        is_shared = name == SHARED
        if not is_shared and wanted not in line and undoing not in line:
            continue
        entry = read_line(line)
        if entry is None:
            continue
        if entry.effect is Effect.REVERSED:
            undone.add(entry.key)
        elif entry.effect is Effect.APPROVED:
            if is_shared:
                answered.add(entry.key)
            if entry.day == day:
                approved.append((entry.key, is_shared, (entry.merchant, entry.currency, str(entry.kind)), entry.minor))
    sums: dict[tuple[str, str, str], tuple[int, int]] = {}
    for key, is_shared, row, minor in approved:
        if key not in undone and (is_shared or key not in answered):        # as ``read_book`` says
            count, total = sums.get(row, (0, 0))
            sums[row] = (count + 1, total + minor)
    return sums


class Standing(NamedTuple):
    """Where one payment stands at the issuer now.  Minor units."""

    payment: int
    merchant: str
    currency: str
    held: int = 0                   # promised and neither captured nor given back
    captured: int = 0
    refunded: int = 0


def standing(source: Path | Iterable[Entry]) -> dict[int, Standing]:
    """Payment id -> where it stands at the issuer, for every payment that anything was approved for.

    Takes the folder, or the entries of ``read_book``.
    """
    entries = read_book(source) if isinstance(source, Path) else list(source)
    undone = {entry.key for entry in entries if entry.effect is Effect.REVERSED}
    stands: dict[int, Standing] = {}
    for entry in entries:
        moved = entry.effect is Effect.APPROVED and entry.key not in undone
        if not moved and entry.effect is not Effect.DROPPED and entry.effect is not Effect.APPROVED:
            continue
        now = stands.get(entry.payment) or Standing(entry.payment, entry.merchant, entry.currency)
        if moved:
            now = _move(now, entry.kind, entry.minor)
            if entry.final:
                now = now._replace(held=0)
        elif entry.effect is Effect.DROPPED:
            now = now._replace(held=max(0, now.held - entry.minor))
        stands[entry.payment] = now
    return stands


def _move(now: Standing, kind: Kind, minor: int) -> Standing:
    match kind:
        case Kind.AUTHORIZATION | Kind.INCREMENT:
            return now._replace(held=now.held + minor)
        case Kind.PURCHASE:
            return now._replace(captured=now.captured + minor)
        case Kind.CAPTURE:      # an advice: it may take more than is held, and then nothing is left
            return now._replace(held=max(0, now.held - minor), captured=now.captured + minor)
        case Kind.VOID | Kind.DECREMENT:
            return now._replace(held=max(0, now.held - minor))
        case Kind.REFUND:
            return now._replace(refunded=now.refunded + minor)


def given_back(entries: Iterable[Entry]) -> dict[str, str]:
    """Purchases that recovery gave back: the refund's key -> the purchase's.  One out, one back: the two of them are no effect.

    Only a whole pair of which both stand: a refund without its purchase, of another amount, or beside a reversal gave money away.
    """
    entries = list(entries)
    undone = {entry.key for entry in entries if entry.effect is Effect.REVERSED}
    stands = {entry.key: entry for entry in entries if entry.effect is Effect.APPROVED and entry.key not in undone}
    return {
        key: purchase.key for key, refund in stands.items()
        if key.endswith(RETURN) and refund.kind is Kind.REFUND and (purchase := stands.get(key.removesuffix(RETURN))) is not None
        and purchase.kind is Kind.PURCHASE and purchase.minor == refund.minor
    }


def double_effects(source: Path | Iterable[Entry]) -> list[str]:
    """What moved twice, as sentences: keys, and operations, with two approvals that were not undone.  Empty when all is well."""
    entries = read_book(source) if isinstance(source, Path) else list(source)
    passed = {entry.key for entry in entries if entry.effect is Effect.REVERSED} | given_back(entries).keys()
    keys: dict[str, int] = {}
    operations: dict[int, set[str]] = {}
    for entry in entries:
        if entry.effect is Effect.APPROVED:
            keys[entry.key] = keys.get(entry.key, 0) + 1
            if entry.key not in passed:
                operations.setdefault(entry.operation, set()).add(entry.key)
    return [f"key {key} moved {count} times" for key, count in keys.items() if count > 1] + [
        f"operation {operation} moved under {len(moved)} keys" for operation, moved in operations.items() if len(moved) > 1
    ]
