"""The dispute: an issuer asks, or takes money back, and the merchant answers; and what may follow what.

Three parties speak.  The *provider* (acquirer or wallet) tells what the issuer did; what it tells is never refused, but it counts its notices
of a case from 1 without a gap, and each is applied in its turn, so that a repeat does nothing and an early one waits.  The *merchant*
accepts, challenges or offers, while it is his turn and until the deadline; his answer is taken first and sent afterwards.  The *clock* ends his
turn: silence loses.  Money follows by notices on the payment (``core.notices``): taken, given back, lost; of one case never more comes out
than went in.  Pure: it knows no payment, no database, no network, and no clock but the instant it is given.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from ringfence.core.notices import Noticed


class Phase(StrEnum):
    """How far a case has come, in order."""

    INQUIRY = "inquiry"                     # the issuer asks, no money has moved
    CHARGEBACK = "chargeback"               # it took the money
    PRE_ARBITRATION = "pre_arbitration"     # it took it again, against the merchant's answer
    ARBITRATION = "arbitration"             # the scheme decides


class Status(StrEnum):
    """Where a case stands."""

    REPORTED = "reported"                   # an early fraud report: for information, nobody is asked
    OPEN = "open"                           # the merchant's turn, until the deadline
    ACCEPTING = "accepting"                 # his answer is on its way
    CHALLENGING = "challenging"
    OFFERING = "offering"
    UNDER_REVIEW = "under_review"           # the issuer's turn
    OFFER_ACCEPTED = "offer_accepted"
    OFFER_REJECTED = "offer_rejected"       # what follows is the issuer's to say
    WON = "won"
    LOST = "lost"


class Action(StrEnum):
    """What a merchant may do about a case."""

    ACCEPT = "accept"
    CHALLENGE = "challenge"                 # with evidence; of a part of the amount, which concedes the rest
    OFFER = "offer"                         # to give back so much


#: What a merchant may do while it is his turn.
ALLOWED: dict[Phase, tuple[Action, ...]] = {
    Phase.INQUIRY:         (Action.ACCEPT, Action.CHALLENGE, Action.OFFER),
    Phase.CHARGEBACK:      (Action.ACCEPT, Action.CHALLENGE),
    Phase.PRE_ARBITRATION: (Action.ACCEPT, Action.CHALLENGE),
    Phase.ARBITRATION:     (Action.ACCEPT,),
}

#: Where a case stands while an answer is on its way.
PROCESSING: dict[Action, Status] = {
    Action.ACCEPT: Status.ACCEPTING, Action.CHALLENGE: Status.CHALLENGING, Action.OFFER: Status.OFFERING,
}

CLOSED = (Status.OFFER_ACCEPTED, Status.WON, Status.LOST)
"""The case has ended.  Only the provider can open one again that was won, or call one won that was lost; then a person should look."""
WRITABLE = (Status.OPEN, Status.OFFER_REJECTED, Status.UNDER_REVIEW)
"""When the two sides may write to each other."""
ATTACHABLE = (Status.OPEN,)
"""When evidence may be added: the answer takes along what is there."""


class Closing(StrEnum):
    """Why a case ended."""

    ACCEPTED = "accepted"                   # the merchant accepted it
    SILENCE = "silence"                     # he let the deadline pass
    DECIDED = "decided"                     # the issuer, or the scheme, decided
    WITHDRAWN = "withdrawn"                 # the issuer gave it up
    SETTLED = "settled"                     # the offer was accepted


class Happened(StrEnum):
    """What merchants may be told of a case."""

    FRAUD_REPORTED = "fraud_reported"
    ACTION_REQUIRED = "action_required"
    ACCEPT_PROCESSING = "accept_processing"
    CHALLENGE_PROCESSING = "challenge_processing"
    OFFER_PROCESSING = "offer_processing"
    UNDER_REVIEW = "under_review"
    OFFER_ACCEPTED = "offer_accepted"
    OFFER_REJECTED = "offer_rejected"
    MONEY_TAKEN = "money_taken"
    MONEY_RETURNED = "money_returned"
    WON = "won"
    LOST = "lost"
    UNMATCHED = "unmatched"                 # the provider gave back more than this case held: a person should look


BEGUN = {Action.ACCEPT: Happened.ACCEPT_PROCESSING, Action.CHALLENGE: Happened.CHALLENGE_PROCESSING, Action.OFFER: Happened.OFFER_PROCESSING}


class Dispute(NamedTuple):
    """One case.  Amounts are minor units of the payment's currency, times business time."""

    minor: int                              # what is disputed
    phase: Phase = Phase.INQUIRY
    status: Status = Status.REPORTED
    due_at: datetime | None = None          # until when the merchant may answer
    round: int = 0                          # counts his answers
    offered: int = 0                        # the amount of his last answer: what he contests, or offers
    heard: int = 0                          # the provider's last notice
    taken: int = 0
    returned: int = 0
    lost: int = 0
    closing: Closing | None = None

    @property
    def held(self) -> int:
        """With the issuer, and not decided."""
        return self.taken - self.returned - self.lost

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self.status in CLOSED


# --- messages -------------------------------------------------------------------------------------------------------


class Said(StrEnum):
    """What a provider tells of a case, and what the amount and the instant mean."""

    REPORTED = "reported"                   # an early fraud report; the amount that is doubted
    INQUIRED = "inquired"                   # the issuer asks about the amount; an answer is due by the instant
    TAKEN = "taken"                         # it took the amount, in the phase named; likewise
    RETURNED = "returned"                   # it gave the amount back for the time being
    WITHDRAWN = "withdrawn"                 # it gave up
    WON = "won"
    LOST = "lost"
    OFFER_ACCEPTED = "offer_accepted"
    OFFER_REJECTED = "offer_rejected"


class Heard(NamedTuple):
    """A notice of the provider; ``number`` counts those of one case."""

    number: int
    said: Said
    minor: int = 0
    phase: Phase = Phase.CHARGEBACK
    due_at: datetime | None = None


class Act(NamedTuple):
    """A merchant's answer.  ``minor``: what he contests (``None``: all of it) or offers; an acceptance has none."""

    action: Action
    minor: int | None = None


class Sent(NamedTuple):
    """The provider has the answer of that round."""

    round: int


class Silence(NamedTuple):
    """Look whether the deadline has passed."""


Message = Heard | Act | Sent | Silence


class Refusal(StrEnum):
    """Why nothing follows from a message."""

    HEARD_BEFORE = "heard_before"           # a notice that was applied
    EARLY = "early"                         # one whose predecessors are missing: to be applied after them
    NOT_ALLOWED = "not_allowed"             # the phase does not know this action
    NOT_YOUR_TURN = "not_your_turn"         # an answer is on its way, or it is the issuer's turn
    CLOSED = "closed"
    TOO_LATE = "too_late"                   # the deadline has passed
    AMOUNT_WRONG = "amount_wrong"           # nothing, more than is disputed, missing, or not wanted
    NOTHING_DUE = "nothing_due"             # the merchant has time, or it is not his turn
    SENT_BEFORE = "sent_before"             # that answer is no longer on its way


class Booking(NamedTuple):
    """What is to be booked on the payment."""

    noticed: Noticed
    minor: int


class Decision(NamedTuple):
    """What follows: where the case stands, what is booked, what is told, in order, and whether an answer is to be sent."""

    dispute: Dispute
    bookings: tuple[Booking, ...] = ()
    events: tuple[Happened, ...] = ()
    answer: bool = False


def decide(dispute: Dispute, message: Message, now: datetime) -> Decision | Refusal:
    """What follows from one message.  ``now`` is business time, UTC.  Pure."""
    match message:
        case Heard():
            return _heard(dispute, message)
        case Act():
            return _act(dispute, message, now)
        case Sent():
            return _sent(dispute, message)
        case Silence():
            return _silence(dispute, now)


def actions(dispute: Dispute, now: datetime) -> tuple[Action, ...]:
    """What the merchant may do at ``now``."""
    return ALLOWED[dispute.phase] if dispute.status is Status.OPEN and not _is_over(dispute, now) else ()


# --- the merchant ---------------------------------------------------------------------------------------------------


def _act(dispute: Dispute, act: Act, now: datetime) -> Decision | Refusal:
    if dispute.is_closed:
        return Refusal.CLOSED
    if dispute.status is not Status.OPEN:
        return Refusal.NOT_YOUR_TURN
    if _is_over(dispute, now):
        return Refusal.TOO_LATE             # whether the clock's queue was here already or not
    if act.action not in ALLOWED[dispute.phase]:
        return Refusal.NOT_ALLOWED
    if act.action is Action.ACCEPT:
        if act.minor is not None:
            return Refusal.AMOUNT_WRONG
    elif not 0 < (dispute.minor if act.minor is None and act.action is Action.CHALLENGE else act.minor or 0) <= dispute.minor:
        return Refusal.AMOUNT_WRONG
    changed = dispute._replace(
        status=PROCESSING[act.action], round=dispute.round + 1, offered=dispute.minor if act.minor is None else act.minor)
    return Decision(changed, (), (BEGUN[act.action],), True)


def _sent(dispute: Dispute, sent: Sent) -> Decision | Refusal:
    if sent.round != dispute.round:
        return Refusal.SENT_BEFORE
    match dispute.status:
        case Status.ACCEPTING:
            return _lost(dispute, Closing.ACCEPTED)
        case Status.CHALLENGING:
            conceded = min(dispute.held, dispute.minor - dispute.offered)
            changed = dispute._replace(
                status=Status.UNDER_REVIEW, due_at=None, minor=dispute.offered, lost=dispute.lost + conceded)
            return Decision(changed, _booked(Noticed.DISPUTE_LOST, conceded), (Happened.UNDER_REVIEW,))
        case Status.OFFERING if dispute.due_at is not None:
            return Decision(dispute._replace(due_at=None))
        case _:
            return Refusal.SENT_BEFORE


# --- the clock ------------------------------------------------------------------------------------------------------


def _is_over(dispute: Dispute, now: datetime) -> bool:
    return dispute.due_at is not None and now >= dispute.due_at


def _silence(dispute: Dispute, now: datetime) -> Decision | Refusal:
    if dispute.status is not Status.OPEN or not _is_over(dispute, now):
        return Refusal.NOTHING_DUE
    if dispute.phase is Phase.INQUIRY:      # there is nothing to lose yet: the issuer goes on without an answer
        return Decision(dispute._replace(status=Status.UNDER_REVIEW, due_at=None), (), (Happened.UNDER_REVIEW,))
    return _lost(dispute, Closing.SILENCE)


# --- the provider ---------------------------------------------------------------------------------------------------


def _heard(dispute: Dispute, heard: Heard) -> Decision | Refusal:
    if heard.number <= dispute.heard:
        return Refusal.HEARD_BEFORE
    if heard.number > dispute.heard + 1:
        return Refusal.EARLY
    return _SAID[heard.said](dispute._replace(heard=heard.number), heard)


def _reported(dispute: Dispute, heard: Heard) -> Decision:
    return Decision(dispute, (), (Happened.FRAUD_REPORTED,))


def _inquired(dispute: Dispute, heard: Heard) -> Decision:
    if dispute.is_closed or dispute.phase is not Phase.INQUIRY:
        return Decision(dispute)            # more is known already
    return Decision(
        dispute._replace(minor=heard.minor, status=Status.OPEN, due_at=heard.due_at), (), (Happened.ACTION_REQUIRED,))


def _taken(dispute: Dispute, heard: Heard) -> Decision:
    """The money is gone whatever we think of it.  Of a case that was lost or settled it is lost at once."""
    changed = dispute._replace(taken=dispute.taken + heard.minor)
    booked = _booked(Noticed.CHARGEBACK, heard.minor)
    if dispute.status in (Status.LOST, Status.OFFER_ACCEPTED):
        changed = changed._replace(lost=changed.lost + changed.held)
        return Decision(changed, (*booked, *_booked(Noticed.DISPUTE_LOST, heard.minor)), (Happened.MONEY_TAKEN,))
    changed = changed._replace(
        minor=changed.held, phase=max(dispute.phase, heard.phase, key=list(Phase).index), status=Status.OPEN, due_at=heard.due_at, closing=None)
    return Decision(changed, booked, (Happened.MONEY_TAKEN, Happened.ACTION_REQUIRED))


def _returned(dispute: Dispute, heard: Heard) -> Decision:
    back = min(heard.minor, dispute.held)
    told = (Happened.MONEY_RETURNED,) if back else ()
    return Decision(
        dispute._replace(returned=dispute.returned + back), _booked(Noticed.CHARGEBACK_RETURNED, back),
        told if back == heard.minor else (*told, Happened.UNMATCHED))


def _won(dispute: Dispute, heard: Heard) -> Decision:
    """What is still with the issuer comes back.  What was lost before stays so, until the provider says that it gave it back."""
    closing = Closing.WITHDRAWN if heard.said is Said.WITHDRAWN else Closing.DECIDED
    back = dispute.held
    changed = dispute._replace(status=Status.WON, due_at=None, closing=closing, returned=dispute.returned + back)
    told = (Happened.MONEY_RETURNED, Happened.WON) if back else (Happened.WON,)
    if dispute.status is Status.LOST:
        told = (*told, Happened.UNMATCHED)
    return Decision(changed, _booked(Noticed.CHARGEBACK_RETURNED, back), () if dispute.status is Status.WON else told)


def _decided_against(dispute: Dispute, heard: Heard) -> Decision:
    return Decision(dispute) if dispute.status is Status.LOST else _lost(dispute, Closing.DECIDED)


def _lost(dispute: Dispute, closing: Closing) -> Decision:
    held = dispute.held
    changed = dispute._replace(status=Status.LOST, due_at=None, closing=closing, lost=dispute.lost + held)
    return Decision(changed, _booked(Noticed.DISPUTE_LOST, held), (Happened.LOST,))


def _offer_accepted(dispute: Dispute, heard: Heard) -> Decision:
    if dispute.is_closed:
        return Decision(dispute)
    held = dispute.held
    changed = dispute._replace(status=Status.OFFER_ACCEPTED, due_at=None, closing=Closing.SETTLED, lost=dispute.lost + held)
    return Decision(changed, _booked(Noticed.DISPUTE_LOST, held), (Happened.OFFER_ACCEPTED,))


def _offer_rejected(dispute: Dispute, heard: Heard) -> Decision:
    if dispute.is_closed:
        return Decision(dispute)
    return Decision(dispute._replace(status=Status.OFFER_REJECTED, due_at=None), (), (Happened.OFFER_REJECTED,))


_SAID: dict[Said, Callable[[Dispute, Heard], Decision]] = {
    Said.REPORTED: _reported, Said.INQUIRED: _inquired, Said.TAKEN: _taken, Said.RETURNED: _returned, Said.WITHDRAWN: _won,
    Said.WON: _won, Said.LOST: _decided_against, Said.OFFER_ACCEPTED: _offer_accepted, Said.OFFER_REJECTED: _offer_rejected,
}


def _booked(noticed: Noticed, minor: int) -> tuple[Booking, ...]:
    return (Booking(noticed, minor),) if minor else ()
