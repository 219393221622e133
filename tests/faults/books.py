"""Two books compared, payment by payment: our ledger and the simulator's.

The simulator's memory is not the engine's, and it judges.  What is not known here may have happened there or not; everything
else must stand there exactly as it stands here.
"""
from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import asyncpg

from ringfence.processors.simulator import standing
from ringfence.storage.postgres import address

LEDGER = """
WITH ends AS (
    SELECT merchant_id, payment_id, operation_id, bool_or(result NOT IN ('unknown', 'challenge')) AS final
    FROM outcomes GROUP BY 1, 2, 3
)
SELECT o.payment_id, m.identifier, o.operation_id, o.kind, o.minor, o.reference, coalesce(e.final, false) AS final,
       e.final IS NOT NULL AS noted, coalesce(p.authorized - p.captured - p.voided - p.expired - p.unsecured, 0) AS held,
       coalesce(p.captured, 0) AS captured, coalesce(p.refunded, 0) AS refunded, coalesce(p.purchase, false) AS purchase,
       coalesce(p.pending_authorization + p.pending_capture + p.pending_void + p.pending_refund, 0) AS reserved
FROM operations o
JOIN merchants m USING (merchant_id)
LEFT JOIN ends e USING (merchant_id, payment_id, operation_id)
LEFT JOIN payments p USING (merchant_id, payment_id)
ORDER BY o.payment_id, o.operation_id
"""


class Doubt(NamedTuple):
    """An operation whose end nobody knows.  ``noted``: the ledger says so already, and not only the missing outcome."""

    merchant: str
    reference: str
    payment: int
    operation: int
    kind: str
    minor: int
    noted: bool
    reserved: int                   # of the payment, in all


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


async def compare(data: Path) -> Comparison:
    """Read both books of a data folder; nobody may be paying meanwhile."""
    issuer = standing(data / "simulator")
    connection = await asyncpg.connect(address(data))
    try:
        await connection.execute("SET enable_nestloop = off")       # young tables have no statistics, and old ones are long
        rows = await connection.fetch(LEDGER)
    finally:
        await connection.close()
    ours: dict[int, Amounts] = {}
    doubts: dict[int, list[Doubt]] = {}
    names: dict[int, str] = {}
    for row in rows:
        payment = row["payment_id"]
        names.setdefault(payment, row["reference"])
        ours[payment] = Amounts(0 if row["purchase"] else row["held"], row["captured"], row["refunded"])
        if not row["final"]:
            doubts.setdefault(payment, []).append(Doubt(
                row["identifier"], names[payment], payment, row["operation_id"], row["kind"], row["minor"], row["noted"],
                row["reserved"],
            ))
    wrong = []
    for payment in ours.keys() | issuer.keys():
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
