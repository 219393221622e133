"""What Amazon's answers mean for a message of ours: pure, and the same whoever asked.

Declines are decided by reason code, not by status; what cannot be believed is unknown, and what certainly never happened was not asked.
"""
from __future__ import annotations

import logging
from hashlib import sha256

from ringfence.core.commands import Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Silence, Unknown
from ringfence.processors.amazon_pay import codes
from ringfence.processors.amazon_pay.accounts import Account
from ringfence.processors.amazon_pay.client import AGAIN, CERTAIN, Failed, Said, Trouble
from ringfence.processors.amazon_pay.objects import CAPTURE, Thing
from ringfence.processors.amazon_pay.wire import Charge, Price, Session
from ringfence.processors.processor import Ask

log = logging.getLogger(__name__)

INTENTS = {Kind.AUTHORIZATION: "Authorize", Kind.PURCHASE: "AuthorizeWithCapture"}
NO_ANSWER, NOT_BELIEVABLE, PENDING = Unknown(Silence.NO_ANSWER), Unknown(Silence.NOT_BELIEVABLE), Unknown(Silence.PENDING)

_WHY = {Trouble.NOT_SENT: codes.UNREACHABLE, Trouble.NOT_AUTHORIZED: codes.NOT_AUTHORIZED}
_SILENCE = {
    Trouble.NOT_SENT: Silence.CONNECTION_LOST, Trouble.NOT_AUTHORIZED: Silence.NOT_BELIEVABLE, Trouble.NO_ANSWER: Silence.NO_ANSWER,
    Trouble.NOT_BELIEVABLE: Silence.NOT_BELIEVABLE,
}


def key_of(thing: Thing) -> str:
    """The idempotency key of a message at Amazon: 32 characters, the same after a crash.  One that was asked for as a new charge may go on as the
    capture of a hold, which is another question."""
    beside = "\0capture" if thing.kind == CAPTURE else ""
    return sha256(f"{thing.merchant}\0{thing.key}{beside}".encode()).hexdigest()[:32]


def differs(account: Account, message: Ask, session: Session) -> str | None:
    """Why an open session must not be completed for this payment."""
    if session.store_id and session.store_id != account.store_id:
        return codes.SESSION_DIFFERS
    if session.price != Price(message.minor, message.currency) or session.intent != INTENTS[message.kind]:
        return codes.AMOUNT_DIFFERS
    return None if session.is_ready else codes.NOT_READY


def of_charge(message: Ask, charge: Charge, permission_id: str, *, spends_hold: bool = False) -> Outcome:
    """What a charge says of the message that it belongs to.  ``spends_hold``: the message captures it, so that nothing holds its rest."""
    state, asked = charge.state, Price(message.minor, message.currency)
    if state == "Declined" or state == "Canceled":
        declined = codes.declined(charge.reason, charge.id)
        return declined._replace(hold_gone=True) if spends_hold else declined
    if state in ("AuthorizationInitiated", "CaptureInitiated"):
        return PENDING
    approved = Approved(message.minor, charge.id[-6:], permission_id or charge.permission_id, charge.id)
    if message.kind is Kind.AUTHORIZATION:
        return approved if charge.price == asked and state in ("Authorized", "Captured") else NOT_BELIEVABLE
    if state == "Authorized":
        return PENDING if charge.price == asked and not spends_hold else NOT_BELIEVABLE
    captured = charge.captured or charge.price
    if state != "Captured" or captured != asked:
        return NOT_BELIEVABLE
    return approved._replace(hold_gone=True) if spends_hold else approved


def refused(said: Said | Failed, was_sent: bool) -> Outcome:
    """What follows from an answer that is not the object.  ``was_sent``: the message may have been carried out before."""
    if type(said) is Failed:
        if said.trouble in CERTAIN and not was_sent:
            return NotAsked(_WHY[said.trouble])
        return Unknown(_SILENCE[said.trouble])
    if said.is_good or said.reason == "DuplicateIdempotencyKey":
        return NOT_BELIEVABLE
    if said.reason in codes.DECLINES and said.reason:
        return codes.declined(said.reason, said.request_id)
    if said.reason in codes.REFUSALS:
        log.error("amazon pay blames the question: %d %s, request %s: %s", said.status, said.reason, said.request_id, said.message)
        return NOT_BELIEVABLE if was_sent else NotAsked(codes.REFUSED)
    return NO_ANSWER if said.status in AGAIN else NOT_BELIEVABLE


def ended_unasked(why: str) -> Declined:
    """A session that ended without a payment, as the decline of a payment that may have been asked for."""
    reason = next((reason for reason, word in codes.SESSION_ENDS.items() if word == why), why)
    return codes.declined(reason)
