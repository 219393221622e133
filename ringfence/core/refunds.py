"""How a refund ends: at once, or taken first and then part by part.

Most are final with their answer.  One that the other side takes and decides later is no doubt but a debt to the payer: it stands in
``refund.pending`` until each of its parts is final or has failed (ledger rows 15 to 17).  What may be refunded is ``payment``'s to say.
"""
from __future__ import annotations

from ringfence.core.allotment import PartState, excess, open_parts, proceed, release, settle, together
from ringfence.core.events import Event
from ringfence.core.ledger import Transfer, Transferred
from ringfence.core.outcomes import Approved, Outcome, Unknown
from ringfence.core.standing import Decision, Operation, Payment


def approved(payment: Payment, operation: Operation, outcome: Approved, now: object) -> Decision:
    """All that was not final yet is."""
    parts = open_parts(operation.parts)
    minor, captures = sum(part.minor for part in parts), settle(payment.captures, together(parts))
    # A fact took from the capture while the refund was under way.
    over = excess(captures) > excess(payment.captures)
    final = Transferred.REFUND_DONE if operation.taken else Transferred.REFUND
    return Decision(
        payment._replace(
            refunded=payment.refunded + minor, pending_refund=payment.pending_refund - minor, captures=captures
        ),
        None, outcome, tuple(Transfer(final, part.minor) for part in parts),
        (Event.REFUND_APPROVED, Event.OVER_RETURNED) if over else (Event.REFUND_APPROVED,),
    )


def taken(payment: Payment, operation: Operation, outcome: Unknown) -> Decision:
    """The other side has it: what is final already has gone back, the rest is owed to the payer."""
    captures, changed = proceed(payment.captures, operation.parts, outcome.done, outcome.failed)
    done = [part for part in changed if part.state is PartState.DONE]
    minor = sum(part.minor for part in done)
    asked = () if operation.taken else tuple(Transfer(Transferred.REFUND_ASKED, part.minor) for part in operation.parts)
    events = [] if operation.taken else [Event.REFUND_TAKEN]
    if excess(captures) > excess(payment.captures):
        events.append(Event.OVER_RETURNED)
    return Decision(
        payment._replace(refunded=payment.refunded + minor, pending_refund=payment.pending_refund - minor, captures=captures),
        None, outcome, (*asked, *(Transfer(Transferred.REFUND_DONE, part.minor) for part in done)), tuple(events), parts=changed,
    )


def ended(payment: Payment, operation: Operation, outcome: Outcome, event: Event) -> Decision:
    """What was not final will not come about: it is the merchant's again."""
    parts = open_parts(operation.parts)
    return Decision(
        payment._replace(
            pending_refund=payment.pending_refund - sum(part.minor for part in parts), captures=release(payment.captures, together(parts))
        ),
        None, outcome, tuple(Transfer(Transferred.REFUND_FAILED, part.minor) for part in parts) if operation.taken else (), (event,),
    )
