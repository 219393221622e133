"""The mock method on the bench: what it answers is chosen by amount."""
from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from ringfence.core.commands import Kind
from ringfence.core.outcomes import Outcome
from ringfence.processors.mock import Mock
from ringfence.processors.processor import Ask
from tests.processors.conformance.dialogue import Bench, Moved, Payment

AMOUNTS = {"insufficient": 300_002, "refused": 300_000}
"""Behaviour -> an amount that brings it about."""


class _Noting(Mock):
    """Its book names no payments: which keys are one's is noted here."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.keys: dict[int, set[str]] = defaultdict(set)

    async def ask(self, message: Ask) -> Outcome:
        self.keys[message.payment_id].add(message.key)
        return await super().ask(message)


@asynccontextmanager
async def mock(folder: Path) -> AsyncIterator[Bench]:
    """Its book is read beside it."""
    processor = _Noting(folder)

    async def opened(payment: Payment, behaviour: str, kind: Kind, minor: int) -> Mapping[str, Any]:
        return {"minor": AMOUNTS[behaviour]} if behaviour in AMOUNTS else {}

    def stands(payment: int) -> Moved:
        with closing(sqlite3.connect(folder / "mock.sqlite")) as book:
            if not book.execute("SELECT 1 FROM sqlite_master WHERE name = 'said'").fetchall():
                return {"held": 0, "captured": 0, "refunded": 0}
            rows = [row[1:] for row in book.execute("SELECT key, kind, minor FROM said WHERE result = '00'") if row[0] in processor.keys[payment]]
        sums = {kind: sum(minor for one, minor in rows if one == kind) for kind in Kind}
        taken = sums[Kind.CAPTURE] + sums[Kind.VOID] + sums[Kind.DECREMENT]
        return {"held": sums[Kind.AUTHORIZATION] - taken, "captured": sums[Kind.PURCHASE] + sums[Kind.CAPTURE], "refunded": sums[Kind.REFUND]}

    yield Bench(
        processor, {}, stands, 1.0, behaviours=frozenset({"approve", *AMOUNTS}), declines={"insufficient": "51", "refused": "05"}, open=opened)
