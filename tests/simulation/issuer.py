"""A processor with a book of its own, behind a network that fails.

The issuer is one for all processes and never forgets: a message's key is answered once and then from memory, a reversal undoes exactly
one message and leaves a tombstone, so that what comes after it is declined.  Its book is what the model compares the ledger with.
The network between is one for each process; what happens to a message is drawn from the seed.
"""
from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextvars import Context
from datetime import date, time
from typing import NamedTuple

from ringfence.core.commands import Kind
from ringfence.core.outcomes import Approved, Declined, Outcome, Silence, Unknown
from ringfence.processors.processor import Ask, Capabilities

DAY_ENDS = time(0)


class Entry:
    """What the issuer did with one message."""

    def __init__(self, message: Ask, minor: int) -> None:
        self.key, self.kind, self.payment_id, self.operation_id = message.key, str(message.kind), message.payment_id, message.operation_id
        self.minor, self.stands = minor, True


class Issuer:
    """The book, and what it says to a message."""

    def __init__(self, chance: random.Random, *, forgets_refunds: bool) -> None:
        """``forgets_refunds``: a refund asked twice pays twice, whatever its key."""
        self._chance, self._forgets = chance, forgets_refunds
        self.answers: dict[str, Outcome] = {}
        self.book: dict[str, Entry] = {}                # approved messages by key
        self.tombstones: set[str] = set()

    def ask(self, message: Ask) -> Outcome:
        """The answer; the same for the same key."""
        if self._forgets and message.key in self.book and message.kind is Kind.REFUND and self._possible(message):
            self.book[f"{message.key} again"] = Entry(message, message.minor)
        if message.key not in self.answers:
            self.answers[message.key] = Declined("05") if message.key in self.tombstones else self._answer(message)
        return self.answers[message.key]

    def _answer(self, message: Ask) -> Outcome:
        if not self._possible(message):
            return Declined("12")
        if self._chance.random() < 0.06:
            return Declined("51")
        minor = message.minor
        if message.kind in (Kind.AUTHORIZATION, Kind.PURCHASE) and minor > 1 and self._chance.random() < 0.06:
            minor //= 2
        self.book[message.key] = Entry(message, minor)
        number = f"{message.operation_id:06d}"
        return Approved(minor, number[-6:], f"S{number}", f"R{number}", "00" if minor == message.minor else "10")

    def _possible(self, message: Ask) -> bool:
        """What an issuer can know: captures and changes need a hold that has so much left, refunds a capture."""
        held, captured, given = self.sums(message.payment_id)
        match message.kind:
            case Kind.CAPTURE | Kind.VOID | Kind.DECREMENT:
                return message.minor <= held
            case Kind.REFUND:
                return message.minor <= captured - given
            case Kind.INCREMENT:
                return held > 0
        return True

    def sums(self, payment_id: int) -> tuple[int, int, int]:
        """Of a payment, what is still held, what was captured, and what was given back, minor units."""
        sums = dict.fromkeys(map(str, Kind), 0)
        for entry in self.book.values():
            if entry.payment_id == payment_id and entry.stands:
                sums[entry.kind] += entry.minor
        held = sums["authorization"] + sums["increment"] - sums["capture"] - sums["void"] - sums["decrement"]
        return held, sums["capture"] + sums["purchase"], sums["refund"]

    def inquire(self, key: str) -> Outcome:
        """What became of a message; unknown where it was never seen."""
        if key in self.tombstones:
            return Declined("68")
        return self.answers.get(key, Unknown(Silence.NO_ANSWER))

    def reverse(self, key: str) -> bool:
        """Undo it; what was never seen is declined when it comes."""
        self.tombstones.add(key)
        if key in self.book:
            self.book[key].stands = False
        return True


class Weather(NamedTuple):
    """How likely what is, for one message; all of it may change while a history runs."""

    lost_before: float = 0.0            # the connection breaks before the issuer hears it
    lost_after: float = 0.0             # ... after
    unanswered: float = 0.0             # the answer is lost
    late: float = 0.0                   # ... comes after the deadline
    slow: float = 0.0                   # the question itself travels long
    twice: float = 0.0                  # the question arrives twice
    garbled: float = 0.0                # the answer cannot be read
    other_amount: float = 0.0           # ... is for another amount
    dies: float = 0.0                   # the process that asked dies with the answer at its door
    stands_still: float = 0.0           # ... stands still, and finds it when it wakes up


CALM = Weather()


class Network:
    """The way of one process to the issuer: a ``Processor``."""

    name = "issuer"

    def __init__(
        self, issuer: Issuer, chance: random.Random, weather: Callable[[], Weather], wait: float, *, inquiry: bool,
        deduplicates: bool, note: Callable[[str], None], trouble: Callable[[str], None],
    ) -> None:
        """``wait``: how long an answer is waited for, seconds.  ``note`` writes down what happened; ``trouble`` is told where the
        process shall die or stand still."""
        self._issuer, self._chance, self._weather, self._wait = issuer, chance, weather, wait
        self._note, self._trouble = note, trouble
        self.capabilities = Capabilities(inquiry, deduplicates, True, True, DAY_ENDS, "UTC")
        self.on_late: Callable[[Ask, Outcome], None] = lambda message, outcome: None

    async def ask(self, message: Ask) -> Outcome:
        """See ``Processor``."""
        said = await self._carried(message, f"{message.kind} {message.minor}", lambda: self._issuer.ask(message))
        if isinstance(said, str):
            return Unknown(Silence(said))
        return said

    async def inquire(self, message: Ask) -> Outcome:
        """See ``Processor``."""
        if not self.capabilities.inquiry:
            return Unknown(Silence.NO_ANSWER)
        said = await self._carried(message, "inquiry", lambda: self._issuer.inquire(message.key))
        return Unknown(Silence.NO_ANSWER) if isinstance(said, str) else said

    async def reverse(self, message: Ask) -> bool:
        """See ``Processor``."""
        return await self._carried(message, "reversal", lambda: self._issuer.reverse(message.key)) is True

    async def totals(self, day: date) -> dict[tuple[str, str, str], tuple[int, int]] | None:
        """See ``Processor``."""
        return None

    async def close(self) -> None:
        """See ``Processor``."""

    async def _carried(self, message: Ask, what: str, hear: Callable[[], Outcome | bool]) -> Outcome | bool | str:
        """What comes back, or why nothing does."""
        fault = self._fault()
        if fault == "twice" and message.kind is Kind.REFUND and not self.capabilities.deduplicates:
            fault = ""                      # a network that doubles money is nobody's to forgive
        self._note(f"{what} {message.key}{' repeat' if message.repeat else ''}{f': {fault}' if fault else ''}")
        await asyncio.sleep(self._chance.uniform(0.01, 0.1))
        if fault == "lost_before":
            return str(Silence.CONNECTION_LOST)
        if fault == "slow":
            asyncio.get_running_loop().call_later(self._wait * self._chance.uniform(0.5, 4), self._heard_late, message, hear,
                                                     context=Context())     # on its way, whatever becomes of who sent it
            await asyncio.sleep(self._wait)
            return str(Silence.NO_ANSWER)
        said = hear()
        if fault == "twice":
            said = hear()
        if fault in ("dies", "stands_still"):
            self._trouble(fault)
        if fault == "lost_after":
            return str(Silence.CONNECTION_LOST)
        if fault in ("unanswered", "late"):
            if fault == "late":
                asyncio.get_running_loop().call_later(self._wait * self._chance.uniform(1.1, 6), self._too_late, message, said)
            await asyncio.sleep(self._wait)
            return str(Silence.NO_ANSWER)
        if fault == "garbled":
            return str(Silence.NOT_BELIEVABLE)
        await asyncio.sleep(self._chance.uniform(0.01, 0.3))
        if fault == "other_amount" and isinstance(said, Approved):
            return said._replace(minor=message.minor + self._chance.choice((1, 100)))   # nothing above what was asked can be
        return said

    def _fault(self) -> str:
        weather, drawn = self._weather(), self._chance.random()
        for name, likely in zip(weather._fields, weather, strict=True):
            drawn -= likely
            if drawn < 0:
                return name
        return ""

    def _heard_late(self, message: Ask, hear: Callable[[], Outcome | bool]) -> None:
        self._note(f"{message.key} arrives at last")
        hear()

    def _too_late(self, message: Ask, said: Outcome | bool | str) -> None:
        if isinstance(said, Approved):
            self._note(f"{message.key} is answered at last")
            self.on_late(message, said)
