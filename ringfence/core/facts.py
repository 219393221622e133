"""Facts: what a notice does to a payment.

A fact is never refused.  What it says is posted; where more went back than was captured, ``OVER_RETURNED`` says so, and where
it names something that is not there to be moved, the rest is not posted and ``NOTICE_UNMATCHED`` says so.  That the same
identity counts once is left to whoever stores it.
"""
from __future__ import annotations

from ringfence.core.allotment import Allotment, Capture, Captures, allot, excess, shift
from ringfence.core.events import Event
from ringfence.core.ledger import Transfer, Transferred
from ringfence.core.notices import DEBTS, Notice, Noticed
from ringfence.core.standing import Decision, Payment, Status

#: Facts about money that was captured: the transfer, the event, and which way the numbers move, of the captures concerned and
#: of the payment.
MOVES: dict[Noticed, tuple[Transferred, Event, dict[str, int]]] = {
    Noticed.REFUND_RETURNED:     (Transferred.REFUND_RETURNED, Event.REFUND_RETURNED, {"refunded": -1}),
    Noticed.CHARGEBACK:          (Transferred.CHARGEBACK, Event.CHARGEBACK_OPENED, {"disputed": +1}),
    Noticed.CHARGEBACK_RETURNED: (Transferred.CHARGEBACK_BACK, Event.CHARGEBACK_RETURNED, {"disputed": -1}),
    Noticed.DISPUTE_LOST:        (Transferred.DISPUTE_LOST, Event.DISPUTE_LOST, {"disputed": -1, "charged_back": +1}),
}

#: What was said of a debt: its transfer and its event.
OWED: dict[Noticed, tuple[Transferred, Event]] = {
    Noticed.DEBT_INCURRED:  (Transferred.DEBT, Event.DEBT_INCURRED),
    Noticed.DEBT_LOWERED:   (Transferred.DEBT_LOWERED, Event.DEBT_LOWERED),
    Noticed.DEBT_RECOVERED: (Transferred.DEBT_RECOVERED, Event.DEBT_RECOVERED),
    Noticed.DEBT_REOPENED:  (Transferred.DEBT_REOPENED, Event.DEBT_REOPENED),
    Noticed.DEBT_FORGIVEN:  (Transferred.DEBT_FORGIVEN, Event.DEBT_FORGIVEN),
}


def note(payment: Payment, notice: Notice) -> Decision:
    """What follows from a fact about a payment that is stored."""
    assert payment.status is not Status.NEW, "a fact is about a payment that is stored"
    assert notice.minor >= 0
    match notice.noticed:
        case Noticed.LATE_APPROVAL:
            return Decision(payment, events=(Event.LATE_APPROVAL,))
        case Noticed.HOLD_DROPPED:
            changed, moved, transfers, event = _hold_dropped(payment)
        case Noticed.HELD_AGAIN:
            changed, moved, transfers, event = _held_again(payment, notice)
        case Noticed.CAPTURE_REJECTED:
            changed, moved, transfers, event = _capture_rejected(payment, notice)
        case noticed if noticed in DEBTS:
            transferred, event = OWED[noticed]          # how much there is to move the register of debts says, see ``core.debt``
            changed, moved, transfers = payment, notice.minor, (Transfer(transferred, notice.minor),)
        case _:
            changed, moved, transfers, event = _money_moved(payment, notice)
    events = [event]
    if moved < max(notice.minor, 1):
        events.append(Event.NOTICE_UNMATCHED)
    if excess(changed.captures) > excess(payment.captures):
        events.append(Event.OVER_RETURNED)
    return Decision(changed, None, None, transfers if moved else (), tuple(events))


Noted = tuple[Payment, int, tuple[Transfer, ...], Event]


def _hold_dropped(payment: Payment) -> Noted:
    moved = payment.open
    return (
        payment._replace(unsecured=payment.unsecured + moved), moved,
        (Transfer(Transferred.UNSECURE, moved),), Event.HOLD_DROPPED,
    )


def _held_again(payment: Payment, notice: Notice) -> Noted:
    moved = min(notice.minor, payment.unsecured)
    return (
        payment._replace(unsecured=payment.unsecured - moved), moved,
        (Transfer(Transferred.RESECURE, moved),), Event.HELD_AGAIN,
    )


def _capture_rejected(payment: Payment, notice: Notice) -> Noted:
    parts = _up_to(payment.captures, notice, "minor", None)
    moved = sum(part for _, part in parts)
    captured = payment.captured - moved
    # A purchase has no hold to return to: it stays as it is, with nothing captured.
    returns = moved and not captured and not payment.purchase
    changed = payment._replace(
        status=Status.AUTHORIZED if returns else payment.status, captured=captured, unsecured=payment.unsecured + moved,
        captures=shift(payment.captures, parts, minor=-1),
    )
    transfers = (Transfer(Transferred.UNUSE, moved), Transfer(Transferred.CAPTURE_REJECTED, moved))
    return changed, moved, transfers, Event.CAPTURE_REJECTED


def _money_moved(payment: Payment, notice: Notice) -> Noted:
    transferred, event, signs = MOVES[notice.noticed]
    captures = payment.captures
    if notice.noticed is Noticed.CHARGEBACK:
        captures, parts = _taken(captures, notice)
    else:
        parts = _up_to(captures, notice, next(iter(signs)), notice.minor)
    moved = sum(part for _, part in parts)
    changed = payment._replace(
        captures=shift(captures, parts, **signs),
        **{name: getattr(payment, name) + sign * moved for name, sign in signs.items()},
    )
    return changed, moved, (Transfer(transferred, moved),), event


def _up_to(captures: Captures, notice: Notice, name: str, minor: int | None) -> Allotment:
    """Parts of the captures concerned, oldest first: at most ``minor``, and of each no more than its number ``name`` holds."""
    parts = []
    for capture in captures:
        if notice.capture_id in (0, capture.id):
            held = getattr(capture, name)
            part = held if minor is None else min(held, minor - sum(part for _, part in parts))
            if part:
                parts.append((capture.id, part))
    return tuple(parts)


def _taken(captures: Captures, notice: Notice) -> tuple[Captures, Allotment]:
    """What an issuer took, by capture.  It did take it, so that all of it is entered somewhere.

    Taken from the payment as a whole it is allotted like a refund, and what no capture can bear is laid on the oldest.  A
    capture that nobody here knows (yet) is entered without an amount.
    """
    capture_id, minor = notice.capture_id, notice.minor
    parts: dict[int, int] = {}
    if not capture_id and captures:
        capture_id = captures[0].id
        if bearable := min(minor, sum(capture.refundable for capture in captures)):
            parts.update(allot(captures, bearable) or ())
    if over := minor - sum(parts.values()):
        parts[capture_id] = parts.get(capture_id, 0) + over
    if parts and capture_id not in (capture.id for capture in captures):
        captures = (*captures, Capture(capture_id, 0))
    return captures, tuple(parts.items())
