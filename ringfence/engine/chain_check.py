"""The chain, checked: whether every batch is as it was committed.

Each link is recomputed from the rows it covers and from the stored digest before it; so one broken link is named alone, and
the links can be read in the order of their ids, lanes mixed, in constant memory.  It knows nothing of what the rows mean.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.chain import GENESIS, Link
from ringfence.core.proof import Head, mark_of, parse_receipt
from ringfence.engine.chaining import digest
from ringfence.storage import reports
from ringfence.storage.reports import BatchRows, Chained, Strays

LISTED = 100
"""How many problems are listed; all of them are counted."""


class Problem(NamedTuple):
    """What is wrong with the chain; ``lane`` and ``number`` where a batch is concerned, ``table`` where it can be told."""

    lane: int | None
    number: int | None
    table: str | None
    problem: str


class Chain(NamedTuple):
    """The chain's result.  ``heads``: the last link of each lane; ``problems``: the first of all ``count``; ``checked``: links recomputed."""

    heads: tuple[Link, ...]
    problems: tuple[Problem, ...]
    count: int
    checked: int

    @property
    def ok(self) -> bool:
        """Whether every link checked is as it was committed."""
        return not self.count

    def broken(self) -> set[int | None]:
        """The lanes with a problem."""
        return {problem.lane for problem in self.problems}

    def as_json(self) -> dict[str, object]:
        """The result per lane, for machines."""
        return {
            "ok": self.ok, "checked": self.checked, "count": self.count,
            "lanes": [
                {"lane": head.lane, "number": head.number, "digest": head.digest.hex(),
                 "committed_at": head.committed_at.isoformat(), "ok": head.lane not in self.broken()}
                for head in self.heads
            ],
            "problems": [problem._asdict() for problem in self.problems],
        }


class _Problems(list[Problem]):
    count = 0

    def note(self, lane: int | None, number: int | None, table: str | None, problem: str) -> None:
        self.count += 1
        if self.count <= LISTED:
            self.append(Problem(lane, number, table, problem))


async def check_chain(
    connection: asyncpg.Connection, key: bytes, *, full: bool, at: datetime | None = None, since: Sequence[Head] = ()
) -> Chain:
    """Check the chain inside the caller's snapshot.

    It begins behind the marks of earlier proofs; ``full`` trusts none.  ``at``: batches committed later are passed over.
    ``since``: heads saved earlier, which must still be there.
    """
    problems = _Problems()
    await _check_numbers(connection, problems)
    for head in since:
        await _check_head(connection, head, problems)
    marks = {} if full else await _trusted(connection, key, problems)
    checked = 0
    first = reports.FIRST_ID if full else await connection.fetchval(
        reports.CHAIN.first_unproved, list(marks), list(marks.values())
    )
    if first is not None:
        async for found in reports.batches(connection, first):
            if isinstance(found, Strays):
                problems.note(None, None, found.table, f"{found.count} rows name batch {found.batch_id}, which does not exist")
                continue
            chained, rows = found
            link = chained.link
            if link.number > marks.get(link.lane, 0) and (at is None or link.committed_at <= at):
                checked += 1
                if trouble := _trouble(key, chained, rows):
                    problems.note(link.lane, link.number, *trouble)
    return Chain(tuple(await reports.heads(connection, at)), tuple(problems), problems.count, checked)


async def move_marks(pool: asyncpg.Pool, key: bytes, chain: Chain) -> None:
    """Remember how far the chain was checked: the head of every lane without a problem.  Rows of no batch stop all lanes."""
    broken = chain.broken()
    marks = [
        (head.lane, head.number, mark_of(key, head.lane, head.number, head.digest))
        for head in chain.heads if head.lane not in broken
    ]
    if marks and None not in broken and chain.count <= LISTED:
        await reports.mark(pool, marks, datetime.now(UTC))


async def check_receipt(pool: asyncpg.Pool, key: bytes, text: str) -> str | None:
    """Whether a receipt (see ``core.proof.receipt_text``) names a batch that is still as it was committed.

    ``None`` where it does, else what is wrong, in a sentence.
    """
    receipt = parse_receipt(text.strip())
    if receipt is None:
        return "This is not a receipt: lane.number.digest, as in 1.27.0123456789abcdef, is expected."
    async with reports.borrowed(pool) as connection, reports.snapshot(connection):
        link = await reports.link(connection, receipt.lane, receipt.number)
        if link is None:
            return f"Lane {receipt.lane} has no batch {receipt.number}: it was removed, or never made here."
        if link.digest[:8].hex() != receipt.digest:
            return f"Batch {receipt.number} of lane {receipt.lane} has another digest than the receipt says."
        async for found in reports.batches(connection, link.batch_id, link.batch_id):
            if not isinstance(found, Strays) and (trouble := _trouble(key, *found)):
                return f"Batch {receipt.number} of lane {receipt.lane} is not as it was committed: {trouble[1]}."
    return None


async def _check_numbers(connection: asyncpg.Connection, problems: _Problems) -> None:
    """Numbers have no gap, and instants do not go back."""
    async for lane, number, previous, goes_back in reports.rows(connection, reports.CHAIN.gaps):
        if number != previous + 1:
            problems.note(lane, number, "batches", f"comes after {previous}: the batches between are missing")
        if goes_back:
            problems.note(lane, number, "batches", "was committed before its predecessor")


async def _check_head(connection: asyncpg.Connection, head: Head, problems: _Problems) -> None:
    link = await reports.link(connection, head.lane, head.number)
    if link is None:
        problems.note(head.lane, head.number, "batches", "was there when the heads were saved, and is gone: the end of the chain was cut off")
    elif link.digest != head.digest:
        problems.note(head.lane, head.number, "batches", "has another digest than when the heads were saved")


async def _trusted(connection: asyncpg.Connection, key: bytes, problems: _Problems) -> dict[int, int]:
    """Up to which number each lane was proved before."""
    marks: dict[int, int] = {}
    for lane, number, mark in await connection.fetch(reports.CHAIN.marks):
        link = await reports.link(connection, lane, number)
        if link is None:
            problems.note(lane, number, "batches", "was proved earlier, and is gone: the end of the chain was cut off")
        elif mark != mark_of(key, lane, number, link.digest):
            problems.note(lane, number, "batches", "is not the one that was proved earlier, or the mark that says so was edited")
        else:
            marks[lane] = number
    return marks


def _trouble(key: bytes, chained: Chained, rows: BatchRows) -> tuple[str | None, str] | None:
    """The table concerned, where it can be told, and what is wrong; ``None`` where the digest is right."""
    link = chained.link
    if link.number == 1:
        previous = GENESIS
    elif chained.previous is None or chained.previous_number != link.number - 1:
        return None                             # a gap: reported as such, and nothing to compute from
    else:
        previous = chained.previous
    if rows.is_whole and len(rows.outcomes) == link.rows and link.digest == digest(
        key, previous, link.lane, link.number, link.batch_id, link.committed_at,
        rows.outcomes, rows.operations, rows.transfers, rows.notices,
    ):
        return None
    if not rows.is_whole:
        return "operations", "an operation that has an outcome in it is gone"
    if len(rows.outcomes) != link.rows:
        return "outcomes", f"holds {len(rows.outcomes)} outcomes, and was committed with {link.rows}"
    attempts = {(*outcome[:3], outcome[3]) for outcome in rows.outcomes}
    facts = {(notice[0], notice[1], notice[3]) for notice in rows.notices}
    for merchant_id, payment_id, operation_id, leg, *_ in rows.transfers:
        at = (merchant_id, payment_id, operation_id)
        if (*at, leg // 10_000 + 1) not in attempts and at not in facts:
            return "transfers", "holds a transfer that belongs to none of its outcomes"
    return None, "wrong digest: a row of outcomes, operations, transfers or notices, or the batch itself, was changed"
