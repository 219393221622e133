"""An accepted intent again, from its rows: for whoever goes on where its owner cannot."""
from __future__ import annotations

from ringfence.core.allotment import Parts, after, parts_of
from ringfence.core.commands import Command, Initiation, Kind, VoidReason
from ringfence.core.payment import FIRST, Decision, Operation, Payment, decide
from ringfence.engine.intents import CardInHand, Intent, Reserved
from ringfence.processors.processor import Original
from ringfence.storage.payments import Held, OperationRow


def reserved_of(
    row: OperationRow, merchant: str, *, attempt: int = 1, unknown: bool = False, payment: Payment | None = None,
    original: Original | None = None, card: CardInHand | None = None, magic: bool = False, resubmitted: bool = False,
    taken: bool = False, changed: Parts = (),
) -> Reserved:
    """An accepted intent again, from its row.  ``payment`` is ``None`` before its first outcome.  Of a refund that the other side has
    ``taken``, ``changed`` is what became of its parts."""
    kind = Kind(row.kind)
    command = Command(kind, row.minor, row.currency, row.operation_id, row.accepts_partial, reason=VoidReason(row.reason),
                      hold_seconds=row.hold_seconds)
    if payment is None:
        payment = Payment(row.payment_id, row.currency)
        if kind in FIRST:
            begun = decide(payment, command, row.asked_at)  # type: ignore[arg-type]  # a stored operation has it
            assert isinstance(begun, Decision)
            payment = begun.payment
    numbers = row.allotment or []
    allotment = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    operation = Operation(
        row.operation_id, kind, row.minor, attempt, row.accepts_partial, VoidReason(row.reason), row.hold_seconds,
        allotment, unknown, taken, after(parts_of(allotment), changed) if changed else (),
    )
    intent = Intent(
        row.merchant_id, merchant, row.payment_id, command, row.door, row.actor, row.source, row.content, row.reference, row.key,
        details=row.details, processor=row.processor, card=card, original=original, initiation=Initiation(row.initiation),
        channel=row.channel, magic=magic, resubmitted=resubmitted,
    )
    assert row.ask_deadline is not None, "a stored operation has one"
    return Reserved(intent, operation, Held(payment), row, row.ask_deadline, row.asked_at)
