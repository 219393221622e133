"""The payment: ``decide``, and what may follow what.

Everything that says whether an operation may happen, and what follows once it did, stands in this file.  It reads no clock,
no database and no network: ``decide`` gets the payment, one message and the time, and returns what shall be stored.

An operation is decided twice.  The command decides whether the processor may be asked: its amount is reserved as *pending*.
The answer decides what became of it: the reservation is posted or released.  Between the two lies the network, and no lock.
There are few statuses and many numbers: "partly captured" is arithmetic.  (The values are in ``standing``, what facts from
outside do in ``facts``, how a refund ends in ``refunds``.)
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from ringfence.core import refunds
from ringfence.core.allotment import Capture, Captures, allot, enter, reserve
from ringfence.core.commands import MAX_MINOR, Command, Kind, VoidReason
from ringfence.core.events import APPROVED, CHALLENGED, DECLINED, NOT_ASKED, REVERSED, UNKNOWN, Event
from ringfence.core.facts import note
from ringfence.core.ledger import DOUBT, DOUBT_ENDED, Transfer, Transferred
from ringfence.core.notices import Notice
from ringfence.core.outcomes import Approved, Challenge, Declined, NotAsked, Outcome, Reversed, Silence, Unknown
from ringfence.core.refusals import Refusal
from ringfence.core.standing import Answer, Decision, Operation, Payment, Status

__all__ = [
    "ALLOWED", "EXCLUSIVE", "FIRST", "NOT_ALLOWED",
    "Answer", "Capture", "Decision", "Message", "Operation", "Payment", "Status", "decide", "is_believable",
]

#: Which operations a payment in this status takes.  Amounts are looked at afterwards.
ALLOWED: dict[Status, frozenset[Kind]] = {
    Status.NEW:        frozenset({Kind.AUTHORIZATION, Kind.PURCHASE}),
    Status.CREATED:    frozenset(),
    Status.CHALLENGED: frozenset(),
    Status.AUTHORIZED: frozenset({Kind.INCREMENT, Kind.DECREMENT, Kind.CAPTURE, Kind.VOID, Kind.REFUND}),
    Status.CAPTURED:   frozenset({Kind.INCREMENT, Kind.DECREMENT, Kind.CAPTURE, Kind.VOID, Kind.REFUND}),
    Status.VOIDED:     frozenset(),
    Status.DECLINED:   frozenset(),
}

#: How a status says no.
NOT_ALLOWED: dict[Status, Refusal] = {
    Status.NEW:        Refusal.PAYMENT_NOT_FOUND,
    Status.CREATED:    Refusal.OPERATION_IN_PROGRESS,
    Status.CHALLENGED: Refusal.PAYMENT_PENDING,
    Status.AUTHORIZED: Refusal.KEY_USED,
    Status.CAPTURED:   Refusal.KEY_USED,
    Status.VOIDED:     Refusal.PAYMENT_VOIDED,
    Status.DECLINED:   Refusal.PAYMENT_DECLINED,
}

FIRST = frozenset({Kind.AUTHORIZATION, Kind.PURCHASE})

#: Operations that change the hold as a whole: they wait until no other change of the hold is pending, and none starts
#: until they are answered.  Captures may be pending beside each other; refunds touch captured money only.
EXCLUSIVE = frozenset({Kind.INCREMENT, Kind.DECREMENT, Kind.VOID})

Message = Command | Answer | Notice

# What every payment passes by.  Python 3.11 looks up a member of an enumeration for longer than all checks together take, and gives a
# value all its fields at once for a third of the price of a call.
CREATED, AUTHORIZED, CAPTURED = Status.CREATED, Status.AUTHORIZED, Status.CAPTURED
PURCHASE = Kind.PURCHASE
AUTHORIZE, USE_NOW, USE, USE_UNSECURED, CAPTURE = (
    Transferred.AUTHORIZE, Transferred.USE_NOW, Transferred.USE, Transferred.USE_UNSECURED, Transferred.CAPTURE
)
_payment, _decision, _operated, _transfer = (partial(tuple.__new__, kind) for kind in (Payment, Decision, Operation, Transfer))


def decide(payment: Payment, message: Message, now: datetime) -> Decision | Refusal:
    """What follows from one message.  ``now`` is business time, UTC.  Pure."""
    return _DECIDED[type(message)](payment, message, now)


# --- commands -------------------------------------------------------------------------------------------------------


def _decide_command(payment: Payment, command: Command, now: datetime) -> Decision | Refusal:
    if command.currency != payment.currency:
        return Refusal.CURRENCY_DIFFERS
    kind, minor, status = command.kind, command.minor, payment.status
    assert minor is not None or kind is Kind.VOID
    if minor is not None:
        if minor <= 0:
            return Refusal.AMOUNT_NOT_POSITIVE
        if minor > MAX_MINOR:
            return Refusal.AMOUNT_TOO_LARGE
    if kind not in ALLOWED[status]:
        return Refusal.OUTCOME_UNKNOWN if payment.unknown and status is CREATED else NOT_ALLOWED[status]
    if payment.purchase and kind is not Kind.REFUND:
        return Refusal.PAYMENT_IS_PURCHASE
    # An expiry waits only for what may still change the hold: its ladder sees to that.
    if payment.unknown and command.reason is not VoidReason.EXPIRED:
        return Refusal.OUTCOME_UNKNOWN
    return _LADDERS[kind](payment, command, minor, now)


def _first(payment: Payment, command: Command, minor: int, now: datetime) -> Decision:
    """``payment`` is new: nothing but its id and its currency."""
    begun = _payment((*payment[:2], CREATED, command.kind is PURCHASE, *payment[4:12], minor, *payment[13:]))
    return _decision((begun, _operation(command, minor), None, (), (), False, ()))


def _capture(payment: Payment, command: Command, minor: int, now: datetime) -> Decision | Refusal:
    if _must_wait(payment, command.kind) or (payment.pending_capture and command.reason is VoidReason.NOT_WANTED):
        return Refusal.OPERATION_IN_PROGRESS
    if minor > payment.capturable:
        return Refusal.EXCEEDS_CAPTURABLE
    if _is_expired(payment, now):
        return Refusal.AUTHORIZATION_EXPIRED
    return Decision(payment._replace(pending_capture=payment.pending_capture + minor), _operation(command, minor))


def _increment(payment: Payment, command: Command, minor: int, now: datetime) -> Decision | Refusal:
    if payment.authorized + minor > MAX_MINOR:
        return Refusal.AMOUNT_TOO_LARGE
    if _must_wait(payment, command.kind) or _has_moved(payment, command):
        return Refusal.OPERATION_IN_PROGRESS
    if _is_expired(payment, now):
        return Refusal.AUTHORIZATION_EXPIRED
    return Decision(payment._replace(pending_increment=minor), _operation(command, minor))


def _decrement(payment: Payment, command: Command, minor: int, now: datetime) -> Decision | Refusal:
    if _must_wait(payment, command.kind) or _has_moved(payment, command):
        return Refusal.OPERATION_IN_PROGRESS
    if minor > payment.open:
        return Refusal.EXCEEDS_CAPTURABLE
    return Decision(payment._replace(pending_decrement=minor), _operation(command, minor))


def _void(payment: Payment, command: Command, minor: int | None, now: datetime) -> Decision | Refusal:
    if command.whole and payment.captured:
        return Refusal.ALREADY_CAPTURED
    if _must_wait(payment, command.kind):
        return Refusal.OPERATION_IN_PROGRESS
    expired = _is_expired(payment, now)
    if command.reason is VoidReason.EXPIRED and not expired:
        return Refusal.EXPIRY_NOT_DUE
    if command.reason is VoidReason.REQUESTED and expired:
        return Refusal.AUTHORIZATION_EXPIRED        # whether the sweep was here already or not
    rest = payment.open + payment.unsecured
    if not rest:
        return Refusal.NOTHING_TO_VOID
    if minor is None:
        minor = rest
    if minor > rest:
        return Refusal.EXCEEDS_CAPTURABLE
    return Decision(payment._replace(pending_void=minor), _operation(command, minor))


def _refund(payment: Payment, command: Command, minor: int, now: datetime) -> Decision | Refusal:
    if minor > payment.refundable:
        if minor <= payment.refundable + payment.pending_capture:
            return Refusal.OPERATION_IN_PROGRESS
        if not payment.captured:
            return Refusal.NOTHING_CAPTURED
        return Refusal.CHARGEBACK_DETECTED if minor <= payment.refundable_undisputed else Refusal.EXCEEDS_REFUNDABLE
    allotment = allot(payment.captures, minor)
    assert allotment is not None
    return Decision(
        payment._replace(
            pending_refund=payment.pending_refund + minor, captures=reserve(payment.captures, allotment)
        ),
        _operation(command, minor)._replace(allotment=allotment),
    )


_LADDERS: dict[Kind, Callable] = {
    Kind.AUTHORIZATION: _first, Kind.PURCHASE: _first, Kind.INCREMENT: _increment, Kind.DECREMENT: _decrement,
    Kind.CAPTURE: _capture, Kind.VOID: _void, Kind.REFUND: _refund,
}


def _must_wait(payment: Payment, kind: Kind) -> bool:
    return payment.hold_is_moving or (payment.pending_capture > 0 and kind in EXCLUSIVE)


def _has_moved(payment: Payment, command: Command) -> bool:
    return command.standing is not None and command.standing != payment.open + payment.unsecured


def _is_expired(payment: Payment, now: datetime) -> bool:
    return payment.expires_at is not None and now >= payment.expires_at


def _operation(command: Command, minor: int) -> Operation:
    kind, _, _, operation_id, accepts_partial, _, reason, hold_seconds, _ = command
    return _operated((operation_id, kind, minor, 1, accepts_partial, reason, hold_seconds, (), False, False, ()))


# --- answers --------------------------------------------------------------------------------------------------------


def _decide_answer(payment: Payment, answer: Answer, now: datetime) -> Decision:
    operation, outcome = answer
    if not is_believable(operation, outcome):
        outcome = Unknown(Silence.NOT_BELIEVABLE)
    if type(outcome) is Approved:
        decision = _APPROVALS[operation.kind](payment, operation, outcome, now)
    elif type(outcome) is Unknown:
        return _unknown(payment, operation, outcome)
    elif type(outcome) is Challenge:
        # Where no payer is needed nobody is told: somebody carries on at once.
        events = (CHALLENGED[operation.kind],) if outcome.url else ()
        return Decision(payment._replace(status=Status.CHALLENGED), None, outcome, (), events)
    else:
        decision = _ended(payment, operation, outcome)
    return _without_doubt(decision, operation) if operation.unknown and not operation.taken else decision


def is_believable(operation: Operation, outcome: Outcome) -> bool:
    """Whether the outcome can be one of this operation; an answer that cannot tells us nothing."""
    kind = operation.kind
    if type(outcome) is Approved:
        # Above what was asked nothing is approved; below it, only a first operation (DE 39 "10"), and an increment that may be.
        return outcome.minor == operation.minor or (
            (kind in FIRST or (kind is Kind.INCREMENT and operation.accepts_partial)) and 0 < outcome.minor < operation.minor
        )
    if type(outcome) is Reversed:
        # Only money that moved can be returned: a purchase's, and never more than was asked.
        return kind in REVERSED and (
            not outcome.returned or (kind is PURCHASE and 0 < outcome.returned <= operation.minor)
        )
    if type(outcome) is Challenge:
        # Asked before the issuer is; a doubt says that the issuer may have been asked already.
        return kind in FIRST and not operation.unknown
    # What may have been sent once was not "never sent", whatever happened to its repeat.
    return type(outcome) is not NotAsked or not operation.unknown


def _authorization_approved(payment: Payment, operation: Operation, outcome: Approved, now: datetime) -> Decision:
    minor = outcome.minor
    if minor < operation.minor and not operation.accepts_partial:
        return _not_wanted(payment, operation, outcome)
    expires_at = now + timedelta(seconds=operation.hold_seconds) if operation.hold_seconds else None
    return _decision((
        _begun(payment, AUTHORIZED, minor, expires_at=expires_at, captures=payment.captures),
        None, outcome, (_transfer((AUTHORIZE, minor)),), (APPROVED[operation.kind],), False, (),
    ))


def _purchase_approved(payment: Payment, operation: Operation, outcome: Approved, now: datetime) -> Decision:
    minor = outcome.minor
    if minor < operation.minor and not operation.accepts_partial:
        return _not_wanted(payment, operation, outcome)
    return _decision((
        _begun(payment, CAPTURED, minor, minor, captures=enter(payment.captures, operation.id, minor)),
        None, outcome, (_transfer((USE_NOW, minor)), _transfer((CAPTURE, minor))), (APPROVED[operation.kind],), False, (),
    ))


def _not_wanted(payment: Payment, operation: Operation, outcome: Approved) -> Decision:
    """DE 39 "10" that nobody wants: held and given back in one commit; the reversal is still to be sent."""
    minor = outcome.minor
    return Decision(
        _begun(payment, Status.DECLINED, minor, voided=minor, captures=payment.captures), None, outcome,
        (Transfer(AUTHORIZE, minor), Transfer(Transferred.VOID, minor)), (DECLINED[operation.kind],), True,
    )


def _begun(
    payment: Payment, status: Status, authorized: int, captured: int = 0, voided: int = 0,
    expires_at: datetime | None = None, captures: Captures = (),
) -> Payment:
    """The payment after its first operation.  Before it there can be nothing but a doubt, and what issuers took."""
    return _payment((
        payment.id, payment.currency, status, payment.purchase, authorized, captured, voided, 0, 0, 0,
        payment.disputed, payment.charged_back, 0, 0, 0, 0, 0, 0, payment.unknown, expires_at, captures,
    ))


def _increment_approved(payment: Payment, operation: Operation, outcome: Approved, now: datetime) -> Decision:
    payment = payment._replace(authorized=payment.authorized + outcome.minor, pending_increment=0)
    return Decision(
        payment, None, outcome, (Transfer(Transferred.INCREASE, outcome.minor),), (Event.INCREMENT_APPROVED,)
    )


def _capture_approved(payment: Payment, operation: Operation, outcome: Approved, now: datetime) -> Decision:
    minor = outcome.minor
    transfers, unsecured = _from_hold(payment, minor, USE, USE_UNSECURED)
    after, released = payment._replace(
        status=CAPTURED, captured=payment.captured + minor, unsecured=unsecured,
        pending_capture=payment.pending_capture - minor, captures=enter(payment.captures, operation.id, minor),
    ), ()
    if operation.reason is VoidReason.NOT_WANTED and (rest := after.capturable):       # nothing is left to be captured
        released, unsecured = _from_hold(after, rest, Transferred.VOID, Transferred.VOID_UNSECURED)
        after = after._replace(voided=after.voided + rest, unsecured=unsecured)
    return Decision(after, None, outcome, (*transfers, Transfer(CAPTURE, minor), *released), (Event.CAPTURE_APPROVED,))


#: What is given back: taken from the open hold, or from what is unsecured; where the payment counts it; what it is called.
_VOIDED = (Transferred.VOID, Transferred.VOID_UNSECURED, "voided", Event.VOID_APPROVED)
_EXPIRED = (Transferred.EXPIRE, Transferred.EXPIRE_UNSECURED, "expired", Event.AUTHORIZATION_EXPIRED)
_DECREASED = (Transferred.DECREASE, Transferred.VOID_UNSECURED, "voided", Event.DECREMENT_APPROVED)


def _void_approved(payment: Payment, operation: Operation, outcome: Approved, now: datetime) -> Decision:
    how = _EXPIRED if operation.reason is VoidReason.EXPIRED else _VOIDED
    return _given_back(payment._replace(pending_void=0), outcome, *how)


def _decrement_approved(payment: Payment, operation: Operation, outcome: Approved, now: datetime) -> Decision:
    return _given_back(payment._replace(pending_decrement=0), outcome, *_DECREASED)


def _given_back(
    payment: Payment, outcome: Approved, secured: Transferred, unsecured: Transferred, where: str, event: Event
) -> Decision:
    minor = outcome.minor
    transfers, rest = _from_hold(payment, minor, secured, unsecured)
    payment = payment._replace(**{where: getattr(payment, where) + minor, "unsecured": rest})
    if not payment.captured and not payment.open + payment.unsecured:
        payment = payment._replace(status=Status.VOIDED)
    return Decision(payment, None, outcome, transfers, (event,))


_APPROVALS: dict[Kind, Callable[[Payment, Operation, Approved, datetime], Decision]] = {
    Kind.AUTHORIZATION: _authorization_approved, Kind.PURCHASE: _purchase_approved,
    Kind.INCREMENT: _increment_approved, Kind.DECREMENT: _decrement_approved, Kind.CAPTURE: _capture_approved,
    Kind.VOID: _void_approved, Kind.REFUND: refunds.approved,
}


def _from_hold(
    payment: Payment, minor: int, secured: Transferred, unsecured: Transferred
) -> tuple[tuple[Transfer, ...], int]:
    """``minor`` taken from the open hold, and what that cannot give from what is unsecured; and what stays unsecured."""
    held = min(minor, payment.open)
    rest = minor - held
    if not rest:
        return (Transfer(secured, minor),), payment.unsecured
    transfers = (Transfer(unsecured, rest),)
    return (Transfer(secured, held), *transfers) if held else transfers, payment.unsecured - rest


#: Where an operation's amount is reserved.
_PENDING = {kind: f"pending_{kind}" for kind in Kind} | {Kind.PURCHASE: "pending_authorization"}

_ENDINGS = {Declined: DECLINED, Reversed: REVERSED, NotAsked: NOT_ASKED}


def _ended(payment: Payment, operation: Operation, outcome: Declined | Reversed | NotAsked) -> Decision:
    """The operation did not come about: its reservation is released.

    Nothing is posted but money that had moved all the same and was sent back: it passes through suspense, and never was the
    merchant's (ledger row 22).
    """
    event = _ENDINGS[type(outcome)][operation.kind]
    if operation.kind is Kind.REFUND:
        return refunds.ended(payment, operation, outcome, event)
    pending = _PENDING[operation.kind]
    payment = payment._replace(
        status=Status.DECLINED if operation.kind in FIRST else payment.status,
        **{pending: getattr(payment, pending) - operation.minor},
    )
    transfers: tuple[Transfer, ...] = ()
    if type(outcome) is Reversed and outcome.returned:
        transfers = (
            Transfer(Transferred.MONEY_IN_SUSPENSE, outcome.returned), Transfer(Transferred.SUSPENSE_RETURNED, outcome.returned)
        )
    return Decision(payment, None, outcome, transfers, (event,))


def _unknown(payment: Payment, operation: Operation, outcome: Unknown) -> Decision:
    """The reservation stays.  An operation is in doubt once, however often it is asked about in vain."""
    if operation.kind is Kind.REFUND and outcome.why is Silence.PENDING:
        taken = refunds.taken(payment, operation, outcome)
        return _without_doubt(taken, operation) if operation.unknown and not operation.taken else taken
    if operation.unknown:
        return Decision(payment, None, outcome)
    # The payer who was asked has answered; whether the issuer has, nobody knows.
    status = CREATED if operation.kind in FIRST else payment.status
    return Decision(
        payment._replace(status=status, unknown=payment.unknown + 1), None, outcome,
        (Transfer(DOUBT[operation.kind], operation.minor),), (UNKNOWN[operation.kind],),
    )


def _without_doubt(decision: Decision, operation: Operation) -> Decision:
    """The doubt has ended, whatever the end: then come the transfers of the true outcome."""
    return decision._replace(
        payment=decision.payment._replace(unknown=decision.payment.unknown - 1),
        transfers=(Transfer(DOUBT_ENDED[operation.kind], operation.minor), *decision.transfers),
    )


_DECIDED: dict[type, Callable] = {
    Command: _decide_command,
    Answer: _decide_answer,
    Notice: lambda payment, notice, now: note(payment, notice),
}
