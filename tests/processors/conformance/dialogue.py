"""Words for dialogues with a processor: one payment, its messages, and how the answers are written down."""
from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from ringfence.core.card import Pan, SecurityCode
from ringfence.core.commands import Initiation, Kind
from ringfence.core.ids import IdSource
from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Silence, Unknown
from ringfence.processors.processor import Ask, Original, Processor

_ids = IdSource(1023, lambda: time.time_ns() // 1_000_000)
_keys = itertools.count(1)

Moved = dict[str, int]
"""What stands at the other side for one payment: held, captured, refunded."""


CAPABILITIES = ("inquiry", "deduplicates", "partial_approval", "increments")

Open = Callable[["Payment", str, Kind, int], Awaitable[Mapping[str, Any]]]
"""Has the other side behave so towards a payment whose first message is of this kind and amount; what that message must then carry."""


async def _nothing(*_: object) -> Mapping[str, Any]:
    """The card says it all."""
    return {}


def _is_over(payment: Payment) -> None:
    """Nothing is left of it."""


class Bench(NamedTuple):
    """A processor on the test bench, with what the suite must know about it.

    ``behaviours``: what it can be made to do where that is no card's business (``open``).  ``declines``: behaviour -> the DE 39 it says.
    ``heard``: the other side's trouble with a payment is over.  ``later``: more time passes than it takes to decide what was only taken; ``None``:
    it decides at once.  ``gives_back``: what was captured is undone by a refund.  ``looks_first``: a message may turn out unsendable.
    """

    processor: Processor
    cards: Mapping[str, str]                    # behaviour -> card number: approve, insufficient, partial, silent, slow
    standing: Callable[[int], Moved]            # payment id -> what stands there now
    seconds: float                              # T1
    behaviours: frozenset[str] = frozenset()
    declines: Mapping[str, str] = MappingProxyType({"insufficient": "51", "stolen": "43"})
    currency: str = "AED"
    largest: int = 999_999_999_999
    open: Open = _nothing
    heard: Callable[[Payment], None] = _is_over
    later: Callable[[], Awaitable[None]] | None = None
    gives_back: bool = False
    looks_first: bool = False
    patience: float = 30.0

    def is_able(self, need: str) -> bool:
        """Whether a dialogue that needs this makes sense: a capability, or a behaviour."""
        if need in CAPABILITIES:
            return getattr(self.processor.capabilities, need)
        return need in self.cards or need in self.behaviours

    async def payment(self, behaviour: str = "approve", kind: Kind = Kind.AUTHORIZATION, minor: int = 1000, **more: Any) -> Payment:
        """A payment that is met with this behaviour.  ``kind`` and ``minor``: of its first message."""
        made = Payment(self, self.cards.get(behaviour, ""), **{"currency": self.currency, "patience": self.patience, **more})
        made.needs = await self.open(made, behaviour, kind, minor)
        return made


class Payment:
    """One payment at a processor; remembers what later messages cite."""

    def __init__(self, bench: Bench, card: str, currency: str = "AED", patience: float = 30.0) -> None:
        self.bench, self.card, self.currency, self.patience = bench, card, currency, patience
        self.id, self.original, self.held = _ids.next(), None, 0
        self.last: Ask | None = None
        self.needs: Mapping[str, Any] = {}      # what the first message carries
        self.captures: list[list[int]] = []     # operation, and what of it was not refunded
        self.hold_gone = False                  # as an answer said
        self._counted: set[str] = set()         # keys of what was approved

    def message(self, kind: Kind, minor: int, **more: Any) -> Ask:
        """The next message of this payment, under a key of its own."""
        first = self.original is None
        now = datetime.now(UTC)
        fields: dict[str, Any] = {
            "key": f"{next(_keys):032x}", "kind": kind, "minor": minor, "currency": self.currency, "merchant": "merchant-1",
            "payment_id": self.id, "operation_id": self.id if first else _ids.next(), "at": now,
            "deadline": now + timedelta(seconds=self.patience),
            "pan": Pan(self.card) if first and self.card else None, "expiry": "3912" if first else "",
            "security_code": SecurityCode("1234" if len(self.card) == 15 else "123") if first else None,
            "original": self.original, "held": self.held, "parts": self._parts(minor) if kind is Kind.REFUND else (),
            **(self.needs if first else {}),
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
        if isinstance(outcome, Approved) and message.key not in self._counted:
            self._counted.add(message.key)
            self._count(message, outcome)
        return outcome

    async def ended(self, kind: Kind, minor: int) -> Outcome:
        """Send the next message; where the other side decides later, what it says then."""
        outcome = await self.ask(kind, minor)
        if isinstance(outcome, Unknown) and outcome.why is Silence.PENDING and self.bench.later is not None:
            await self.bench.later()
            outcome = await self.inquire()
        return outcome

    async def inquire(self) -> Outcome:
        """What became of the last message, once no trouble is in the way."""
        self.bench.heard(self)
        assert self.last is not None
        return await self.bench.processor.inquire(self._in_time(self.last))

    async def repeat(self) -> Outcome:
        """Send the last message again, marked so."""
        assert self.last is not None
        self.last = self.last._replace(repeat=True, deadline=datetime.now(UTC) + timedelta(seconds=self.patience))
        return await self.send(self.last)

    async def reverse(self) -> bool:
        """Undo the last message, once no trouble is in the way; where it is given back, until that is decided."""
        self.bench.heard(self)
        assert self.last is not None
        done = await self.bench.processor.reverse(self._in_time(self.last))
        if not done and self.bench.gives_back and self.bench.later is not None:
            await self.bench.later()
            done = await self.bench.processor.reverse(self._in_time(self.last))
        return done

    @property
    def stands(self) -> Moved:
        """What stands at the other side now."""
        return self.bench.standing(self.id)

    def _in_time(self, message: Ask) -> Ask:
        return message._replace(deadline=datetime.now(UTC) + timedelta(seconds=self.bench.patience))

    def _count(self, message: Ask, outcome: Approved) -> None:
        """What is held and captured from now on."""
        if message.kind in (Kind.AUTHORIZATION, Kind.INCREMENT):
            self.held += outcome.minor
        elif message.kind in (Kind.CAPTURE, Kind.VOID, Kind.DECREMENT):
            self.held -= outcome.minor
        if message.kind in (Kind.CAPTURE, Kind.PURCHASE):
            self.captures.append([message.operation_id, outcome.minor])
            self.hold_gone = self.hold_gone or outcome.hold_gone

    def _parts(self, minor: int) -> tuple[tuple[int, int, int], ...]:
        """A refund's parts, from the oldest capture on."""
        parts: list[tuple[int, int, int]] = []
        for capture in self.captures:
            if part := min(minor - sum(one for _, _, one in parts), capture[1]):
                parts.append((len(parts), capture[0], part))
                capture[1] -= part
        return tuple(parts)

def told(outcome: Outcome) -> str:
    """An outcome in two words: ``approved 700``, ``declined 51``, ``unknown no_answer``."""
    match outcome:
        case Approved():
            return f"approved {outcome.minor}"
        case Declined():
            return f"declined {outcome.response_code}"
        case Unknown():
            return f"unknown {outcome.why}"
        case NotAsked():
            return f"not asked: {outcome.why}"
        case _:
            return type(outcome).__name__.lower()


def initiated(by: Initiation, cited: str = "") -> dict[str, object]:
    """The fields of a merchant-initiated payment: no security code."""
    return {"initiation": by, "cited_reference": cited, "security_code": None}
