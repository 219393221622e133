"""What is said to a processor about an operation that is reserved.  Pure; refuses to know vaults and clocks."""
from __future__ import annotations

from datetime import datetime
from functools import partial

from ringfence.core.allotment import PartState
from ringfence.core.card import Pan
from ringfence.core.commands import Initiation, Kind, VoidReason
from ringfence.core.standing import Operation
from ringfence.engine.intents import Reserved, processor_key
from ringfence.processors.processor import Ask

CARDHOLDER = Initiation.CARDHOLDER      # Python 3.11 looks up a member of an enumeration for a tenth of a microsecond
_NOT_WANTED, _CAPTURE = VoidReason.NOT_WANTED, Kind.CAPTURE
_ask = partial(tuple.__new__, Ask)      # all fields at once, at a third of the price of a call


def to_be_asked(operation: Operation) -> tuple[tuple[int, int, int], ...]:
    """The parts of a refund that the processor is to make, those that are made included: number, capture, minor units."""
    return tuple(part[:3] for part in operation.parts if part.state is not PartState.MOVED)     # type: ignore[misc]


def ask(reserved: Reserved, now: datetime, pan: Pan | None, *, repeat: bool = False) -> Ask:
    """The message for a processor; ``repeat`` says that it may have had it before."""
    intent, operation, (payment, *_), _, deadline, _ = reserved
    operation_id, kind, minor, _, accepts_partial, reason, _, allotment, *_ = operation
    card, initiation = intent.card, intent.initiation
    cited = ""
    if initiation is not CARDHOLDER and card and card.stored:
        cited = card.stored.first_reference
    return _ask((
        processor_key(operation_id, intent.resubmitted), kind, minor, payment.currency, intent.merchant,
        payment.id, operation_id, now, deadline, pan, card.expiry if card else "", card.security_code if card else None,
        initiation, intent.channel, cited, intent.original, accepts_partial, repeat,
        payment.open + payment.unsecured if payment.authorized else 0, intent.magic, None,
        to_be_asked(operation) if allotment else (), intent.account, reason is _NOT_WANTED and kind is _CAPTURE,
    ))
