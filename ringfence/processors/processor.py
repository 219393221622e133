"""The seam to the outside: one protocol that the issuer simulator, acquirers and wallets all speak.

A processor is asked one question at a time and answers with an ``Outcome``.  It keeps its own time limits: ``ask`` returns
by the deadline in every case, and never raises for what the network did; silence and garbage are ``Unknown``.
It knows nothing of merchants' rules, doors or the ledger.
"""
from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import NamedTuple, Protocol, runtime_checkable

from ringfence.core.authentication import Evidence
from ringfence.core.card import Pan, SecurityCode
from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Outcome

RETURN = "-return"
"""Behind the key of a purchase: the key of the refund that gives it back when its business day is over.  Always the same one, so
that however often it is sent it pays once."""


class Capabilities(NamedTuple):
    """What a processor can do; the engine and recovery choose their ways by it."""

    inquiry: bool                   # can be asked what became of a message
    deduplicates: bool              # a repeat with the same key is answered from memory, for every kind
    partial_approval: bool
    increments: bool
    cut_over: time                  # when its business day ends ...
    zone: str                       # ... in this IANA zone
    pending_seconds: float = 86_400.0   # how long it may leave open what it has taken (``Silence.PENDING``); then a person looks


class Original(NamedTuple):
    """What a later message cites of the payment's first one."""

    key: str                        # the key the first message was asked with
    minor: int                      # its asked amount, minor units
    approval_code: str
    processor_reference: str
    scheme_reference: str


class Ask(NamedTuple):
    """One message to a processor.  Amounts are minor units of ``currency`` (ISO 4217 alphabetic)."""

    key: str                        # the same after a crash, new after a decline: operation id and attempt
    kind: Kind
    minor: int
    currency: str
    merchant: str                   # the merchant's identifier at this processor
    payment_id: int
    operation_id: int
    at: datetime                    # business time, UTC
    deadline: datetime              # wall time, UTC: an answer after it is worthless
    pan: Pan | None = None          # absent where only the original is cited
    expiry: str = ""                # YYMM
    security_code: SecurityCode | None = None
    initiation: Initiation = Initiation.CARDHOLDER
    channel: str = "ecommerce"      # ecommerce, moto, store
    cited_reference: str = ""       # scheme reference of the first cardholder-initiated payment
    original: Original | None = None
    accepts_partial: bool = False
    repeat: bool = False            # the same message again, marked so
    held: int = 0                   # void, decrement: what stands at the issuer now
    magic: bool = False             # sandbox: amounts may choose the outcome
    evidence: Evidence | None = None    # of the payer's authentication, where there was one
    parts: tuple[tuple[int, int, int], ...] = ()    # refund: number, operation id of the capture, minor units
    account: str = ""               # a wallet's: the checkout session of a first payment, the permission of a later one
    final: bool = False             # capture: the last one, whatever it leaves of the hold is given back with it


class Processor(Protocol):
    """See the module; every implementation passes ``tests/processors/conformance``."""

    name: str
    capabilities: Capabilities

    async def ask(self, message: Ask) -> Outcome:
        """Carry out one operation.  Approved, Declined or Unknown; by ``message.deadline``."""

    async def inquire(self, message: Ask) -> Outcome:
        """What became of a message asked before (capability ``inquiry``): its outcome, or Unknown."""

    async def reverse(self, message: Ask) -> bool:
        """Undo exactly that message, if it was carried out; idempotent.  True once the other side acknowledged."""

    async def totals(self, day: date) -> dict[tuple[str, str, str], tuple[int, int]] | None:
        """The processor's own book: (merchant, currency, kind) -> (count, minor units) of approved operations whose business
        day is ``day``; ``None`` where it has no book to show."""

    async def close(self) -> None:
        """Release connections and files."""


@runtime_checkable
class AsksMany(Protocol):
    """What a processor may offer beside: many questions in one call, for what comes in bulk."""

    async def ask_many(self, messages: Sequence[Ask]) -> Sequence[Outcome]:
        """An outcome for each message, in order; each exactly as ``ask`` would give it, and all of them by their deadlines."""


@runtime_checkable
class HasAccounts(Protocol):
    """What a wallet may offer beside: accounts that payers gave a merchant leave to charge, for as long as they like."""

    async def close_account(self, merchant: str, account: str) -> bool:
        """Give that leave back; idempotent.  True once the other side knows.  Returns within seconds, and never raises for what the network
        did."""


@runtime_checkable
class KnowsPayers(Protocol):
    """What a wallet may offer beside: who gave a merchant leave to charge an account."""

    async def payer_email(self, merchant: str, account: str) -> str:
        """His e-mail address, "" where the other side does not say.  Returns within seconds, and never raises for what the network did."""


@runtime_checkable
class AnswersAtOnce(Protocol):
    """What a processor may offer that sometimes need not wait for anybody."""

    def answer_at_once(self, messages: Sequence[Ask]) -> Sequence[Outcome | None]:
        """An outcome for each message, in order, exactly as ``ask`` would give it; ``None`` where it must be asked, and wherever
        a payer would have to do something (``Challenge``)."""


TOGETHER = 64
"""Questions in flight at a processor that takes one at a time."""


async def ask_all(processor: Processor, messages: Sequence[Ask]) -> Sequence[Outcome]:
    """Ask for all of them, by ``ask_many`` where the processor has it, else one by one with some in flight together."""
    if isinstance(processor, AsksMany):
        return await processor.ask_many(messages)
    free = asyncio.Semaphore(TOGETHER)

    async def one(message: Ask) -> Outcome:
        async with free:
            return await processor.ask(message)

    return await asyncio.gather(*(one(message) for message in messages))
