"""Words for dialogues with a processor: one payment, its messages, and how the answers are written down."""
from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ringfence.core.card import Pan, SecurityCode
from ringfence.core.commands import Initiation, Kind
from ringfence.core.ids import IdSource
from ringfence.core.outcomes import Approved, Declined, Outcome, Unknown
from ringfence.processors.processor import Ask, Original, Processor

_ids = IdSource(1023, lambda: time.time_ns() // 1_000_000)
_keys = itertools.count(1)

Moved = dict[str, int]
"""What stands at the other side for one payment: held, captured, refunded."""


class Bench(NamedTuple):
    """A processor on the test bench, with what the suite must know about it."""

    processor: Processor
    cards: dict[str, str]                       # behaviour -> card number: approve, insufficient, partial, silent, slow
    standing: Callable[[int], Moved]            # payment id -> what stands there now
    seconds: float                              # T1


class Payment:
    """One payment at a processor; remembers what later messages cite."""

    def __init__(self, bench: Bench, card: str, currency: str = "AED", patience: float = 30.0) -> None:
        self.bench, self.card, self.currency, self.patience = bench, card, currency, patience
        self.id, self.original, self.held = _ids.next(), None, 0
        self.last: Ask | None = None

    def message(self, kind: Kind, minor: int, **more: Any) -> Ask:
        """The next message of this payment, under a key of its own."""
        first = self.original is None
        now = datetime.now(UTC)
        fields: dict[str, Any] = {
            "key": f"{next(_keys):032x}", "kind": kind, "minor": minor, "currency": self.currency, "merchant": "merchant-1",
            "payment_id": self.id, "operation_id": _ids.next(), "at": now, "deadline": now + timedelta(seconds=self.patience),
            "pan": Pan(self.card) if first else None, "expiry": "3912" if first else "",
            "security_code": SecurityCode("1234" if len(self.card) == 15 else "123") if first else None,
            "original": self.original, "held": self.held,
        }
        return Ask(**{**fields, **more})

    async def ask(self, kind: Kind, minor: int, **more: Any) -> Outcome:
        """Send the next message; ``self.last`` keeps it."""
        self.last = self.message(kind, minor, **more)
        return await self.send(self.last)

    async def send(self, message: Ask) -> Outcome:
        """Send a message, and remember the first approval."""
        outcome = await self.bench.processor.ask(message)
        if isinstance(outcome, Approved) and self.original is None:
            self.original = Original(
                message.key, message.minor, outcome.approval_code, outcome.processor_reference, outcome.scheme_reference
            )
        return outcome

    async def repeat(self) -> Outcome:
        """Send the last message again, marked so."""
        assert self.last is not None
        self.last = self.last._replace(repeat=True, deadline=datetime.now(UTC) + timedelta(seconds=self.patience))
        return await self.send(self.last)

    async def reverse(self) -> bool:
        """Undo the last message."""
        assert self.last is not None
        return await self.bench.processor.reverse(self.last)

    @property
    def stands(self) -> Moved:
        """What stands at the other side now."""
        return self.bench.standing(self.id)


def told(outcome: Outcome) -> str:
    """An outcome in two words: ``approved 700``, ``declined 51``, ``unknown no_answer``."""
    match outcome:
        case Approved():
            return f"approved {outcome.minor}"
        case Declined():
            return f"declined {outcome.response_code}"
        case Unknown():
            return f"unknown {outcome.why}"
        case _:
            return type(outcome).__name__.lower()


def initiated(by: Initiation, cited: str = "") -> dict[str, object]:
    """The fields of a merchant-initiated payment: no security code."""
    return {"initiation": by, "cited_reference": cited, "security_code": None}
