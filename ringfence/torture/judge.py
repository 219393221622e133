"""The judge: our ledger, the simulator's book and what clients saw acknowledged must tell one story.

The simulator's memory is not the engine's, and it judges.  ``found`` is pure: it decides from three lists of rows; ``compare`` puts
two books side by side, payment by payment, and allows for what is not known here: that may have happened there or not.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import asyncpg

from ringfence.core.payment import FIRST
from ringfence.engine.acknowledged import Line, read_line
from ringfence.processors.simulator import Effect, Entry, double_effects, given_back, read_book, standing
from ringfence.storage.postgres import address

LEDGER = """
WITH ends AS (
    SELECT merchant_id, payment_id, operation_id, max(result) FILTER (WHERE result NOT IN ('unknown', 'challenge')) AS result
    FROM outcomes GROUP BY 1, 2, 3
)
SELECT o.payment_id AS payment, m.identifier AS merchant, o.operation_id AS operation, o.kind, o.minor, o.currency,
       coalesce(o.reference, '') AS reference,
       coalesce(e.result, CASE WHEN p.status = 'challenged' AND o.operation_id = o.payment_id AND NOT EXISTS (
           SELECT FROM authentications a WHERE a.merchant_id = o.merchant_id AND a.payment_id = o.payment_id AND a.claim IS NOT NULL)
           THEN 'challenge' END, '') AS result, e.operation_id IS NOT NULL AS noted,
       CASE WHEN p.purchase THEN 0 ELSE coalesce(p.authorized - p.captured - p.voided - p.expired - p.unsecured, 0) END AS held,
       coalesce(p.captured, 0) AS captured, coalesce(p.refunded, 0) AS refunded,
       coalesce(p.pending_authorization + p.pending_capture + p.pending_void + p.pending_refund, 0) AS reserved
FROM operations o
JOIN merchants m USING (merchant_id)
LEFT JOIN ends e USING (merchant_id, payment_id, operation_id)
LEFT JOIN payments p USING (merchant_id, payment_id)
ORDER BY o.payment_id, o.operation_id
"""
#: Deliveries that were made, and payments of merchants with an address that nobody was told of although an operation was approved.
DELIVERIES = "SELECT d.payment_id, d.sequence, e.url, d.state FROM deliveries d JOIN endpoints e USING (merchant_id, endpoint_id)"
UNTOLD = """
SELECT DISTINCT v.payment_id
FROM events v JOIN merchants m USING (merchant_id)
WHERE m.identifier = any($1::text[]) AND v.event IN ('authorization_approved', 'purchase_approved')
  AND NOT EXISTS (SELECT FROM deliveries d WHERE d.merchant_id = v.merchant_id AND d.payment_id = v.payment_id AND d.sequence = v.sequence)
"""


class Row(NamedTuple):
    """One operation of the ledger, with where its payment stands.  ``result`` is empty while its end is not known; minor units."""

    payment: int
    merchant: str
    operation: int
    kind: str
    minor: int
    currency: str
    reference: str
    result: str
    noted: bool                     # the ledger says so already, and not only the missing outcome
    held: int
    captured: int
    refunded: int
    reserved: int                   # of the payment, in all


class Doubt(NamedTuple):
    """An operation whose end nobody knows; ``reference`` is the order's."""

    merchant: str
    reference: str
    payment: int
    operation: int
    kind: str
    minor: int
    noted: bool
    reserved: int


class Amounts(NamedTuple):
    """Where a payment stands.  Minor units."""

    held: int = 0
    captured: int = 0
    refunded: int = 0


class Comparison(NamedTuple):
    """``wrong`` holds a sentence per payment that stands differently at the issuer than any doubt explains."""

    payments: int
    doubts: tuple[Doubt, ...]
    wrong: tuple[str, ...]


class Findings(NamedTuple):
    """What is wrong, one sentence each.  All empty when the three witnesses agree."""

    lost: tuple[str, ...]           # acknowledged, and not in the ledger or not in the book
    duplicated: tuple[str, ...]     # one operation with two effects, or one reference with two payments
    unresolved: tuple[str, ...]
    differences: tuple[str, ...]    # here and there, payment by payment and operation by operation


# -- reading --

async def ledger(data: Path) -> list[Row]:
    """All operations of a data folder; nobody may be paying meanwhile."""
    connection = await asyncpg.connect(address(data))
    try:
        await connection.execute("SET enable_nestloop = off")       # young tables have no statistics, and old ones are long
        return [Row(*row.values()) for row in await connection.fetch(LEDGER, timeout=None)]
    finally:
        await connection.close()


async def compare(data: Path) -> Comparison:
    """Both books of a data folder; nobody may be paying meanwhile."""
    return compared(await ledger(data), read_book(data / "simulator"))


def lines_of(acknowledged: Path) -> list[Line]:
    """What clients saw acknowledged."""
    with acknowledged.open("rb") as file:
        return [line for text in file if (line := read_line(text)) is not None]


async def deliveries(
    data: Path, *, told: Sequence[str], living: str, times: Mapping[str, int], digests: Mapping[str, Iterable[str]],
) -> tuple[int, list[str]]:
    """How many deliveries were made, and what is wrong with them.

    *told*: merchants with an address.  *living* is the address that answers; *times* and *digests* are what came there.
    """
    connection = await asyncpg.connect(address(data))
    try:
        made = await connection.fetch(DELIVERIES, timeout=None)
        untold = await connection.fetch(UNTOLD, list(told), timeout=None)
    finally:
        await connection.close()
    here = {f"{row['payment_id']}-{row['sequence']}": row["state"] for row in made if row["url"] == living}
    return len(made), [
        *(f"payment {row['payment_id']} was approved, and there is no delivery of it" for row in untold),
        *(f"event {name} is {state}" for name, state in here.items() if state != "delivered"),
        *(f"event {name} counts as delivered, and never came" for name, state in here.items() if state == "delivered" and name not in times),
        *(f"event {name} came, and no delivery says so" for name in times if name not in here),
        *(f"event {name} came in different words" for name, said in digests.items() if len(set(said)) > 1),
    ]


# -- judging --

def found(rows: Sequence[Row], entries: Sequence[Entry], lines: Iterable[Line]) -> Findings:
    """The verdict on a ledger, a book, and what was acknowledged."""
    standing_entries, returned = _without_returns(entries)
    moved = _moved(standing_entries)
    undone = {entry.operation for entry in entries if entry.effect is Effect.REVERSED} | returned
    both = compared(rows, entries)
    return Findings(
        tuple(_lost(rows, moved, Counter(lines))),
        (*double_effects(entries), *_paid_twice(rows)),
        tuple(f"{doubt.merchant} {doubt.reference}: what became of the {doubt.kind} {doubt.operation} is not known" for doubt in both.doubts),
        (*both.wrong, *_contradictions(rows, moved, undone)),
    )


def compared(rows: Sequence[Row], entries: Sequence[Entry]) -> Comparison:
    """Every payment of either book: it must stand there as it stands here, or as any of its doubts would have it."""
    issuer = standing(_without_returns(entries)[0])
    ours: dict[int, Amounts] = {}
    doubts: dict[int, list[Doubt]] = {}
    names: dict[int, str] = {}
    for row in rows:
        names.setdefault(row.payment, row.reference)
        ours[row.payment] = Amounts(row.held, row.captured, row.refunded)
        if not row.result:
            doubts.setdefault(row.payment, []).append(Doubt(
                row.merchant, names[row.payment], row.payment, row.operation, row.kind, row.minor, row.noted, row.reserved))
    wrong = []
    for payment in sorted(ours.keys() | issuer.keys()):
        here, there = ours.get(payment, Amounts()), issuer.get(payment)
        stands = Amounts(there.held, there.captured, there.refunded) if there else Amounts()
        if stands not in set(_possible(here, doubts.get(payment, []))):
            wrong.append(f"payment {payment} ({names.get(payment, 'not here')}): {here} here, {stands} at the issuer, "
                         f"in doubt {[(doubt.kind, doubt.minor) for doubt in doubts.get(payment, [])]}")
    return Comparison(len(ours), tuple(doubt for several in doubts.values() for doubt in several), tuple(wrong))


def _possible(known: Amounts, doubts: list[Doubt]) -> Iterator[Amounts]:
    """Every standing that the doubts allow: each of them happened, or did not."""
    for count in range(len(doubts) + 1):
        for happened in combinations(doubts, count):
            held, captured, refunded = known
            for doubt in happened:
                match doubt.kind:
                    case "authorization":
                        held += doubt.minor
                    case "purchase":
                        captured += doubt.minor
                    case "capture":
                        held, captured = held - doubt.minor, captured + doubt.minor
                    case "void":
                        held -= doubt.minor
                    case "refund":
                        refunded += doubt.minor
            yield Amounts(held, captured, refunded)


def _without_returns(entries: Sequence[Entry]) -> tuple[list[Entry], set[int]]:
    """The book without purchases that a refund of recovery gave back, and those refunds; and whose purchases they were."""
    pairs = given_back(entries)
    gone = pairs.keys() | set(pairs.values())
    return [entry for entry in entries if entry.key not in gone], {entry.operation for entry in entries if entry.key in gone}


def _moved(entries: Sequence[Entry]) -> set[int]:
    """Operations whose effect stands at the issuer."""
    undone = {entry.key for entry in entries if entry.effect is Effect.REVERSED}
    return {entry.operation for entry in entries if entry.effect is Effect.APPROVED and entry.key not in undone}


def _lost(rows: Sequence[Row], moved: set[int], lines: Counter[Line]) -> Iterator[str]:
    known = {(line.merchant, line.reference) for line in lines}
    there: dict[tuple[str, str, str, int, str], list[Row]] = {}
    for row in rows:
        if row.result == "approved" and (row.merchant, row.reference) in known:
            there.setdefault((row.merchant, row.reference, row.kind, row.minor, row.currency), []).append(row)
    for line, times in lines.items():
        name = f"{line.merchant} {line.reference}: {line.kind} of {line.minor} {line.currency}"
        fitting = there.get((line.merchant, line.reference, str(line.kind), line.minor, line.currency), [])
        if len(fitting) < times:
            yield f"{name} was acknowledged {times} times, and the ledger has it {len(fitting)} times"
        elif (stands := sum(row.operation in moved for row in fitting)) < times:
            yield f"{name} was acknowledged {times} times, and the issuer's book has it {stands} times"


def _paid_twice(rows: Sequence[Row]) -> Iterator[str]:
    first = Counter((row.merchant, row.reference) for row in rows if row.kind in FIRST and row.result == "approved" and row.reference)
    yield from (f"{merchant} {reference} was paid {times} times" for (merchant, reference), times in first.items() if times > 1)


def _contradictions(rows: Sequence[Row], moved: set[int], undone: set[int]) -> Iterator[str]:
    for row in rows:
        name = f"{row.kind} {row.operation} of {row.merchant} {row.reference}"
        if row.result == "approved" and row.operation not in moved:
            yield f"{name} is approved here, and " + ("was undone at the issuer" if row.operation in undone else "the issuer's book does not have it")
        elif row.result not in ("approved", "") and row.operation in moved:
            yield f"{name} ended as {row.result} here, and stands at the issuer"
