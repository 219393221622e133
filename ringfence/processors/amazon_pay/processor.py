"""Amazon Pay as a ``Processor``: messages become sessions completed, charges, captures, cancellations and refunds.

What is asked, and what an answer means for our books.  A message is stored before it is sent (``objects``), under a key that follows from
its own, so that asking again is harmless and finds the same object; therefore an inquiry about a message that was begun asks for it again.
Declines are decided by reason code, not by status.  Refuses to know doors, merchants' rules and the ledger.
"""
from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any

from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Reversed, Silence, Unknown
from ringfence.processors.amazon_pay import codes
from ringfence.processors.amazon_pay.accounts import CURRENCIES, Account, Accounts
from ringfence.processors.amazon_pay.client import CERTAIN, Client, Failed, Said, Trouble
from ringfence.processors.amazon_pay.objects import (
    CANCEL,
    CAPTURE,
    CHARGE,
    REFUND,
    SESSION,
    UNDONE,
    Objects,
    ObjectsUnavailable,
    Thing,
)
from ringfence.processors.amazon_pay.wire import (
    Charge,
    Price,
    Session,
    charge_of,
    is_id,
    price,
    refund_of,
    session_of,
)
from ringfence.processors.processor import Ask, Capabilities

log = logging.getLogger(__name__)

FIRST = (Kind.AUTHORIZATION, Kind.PURCHASE)
PENDING_SECONDS = 86_400.0
"""How long an authorization may stay undecided at Amazon."""
CLOSE_SECONDS = 8.0
"""How long a permission may take to be closed (wall time)."""
SETTLED = timedelta(seconds=60)
"""A session that is still open so long (wall time) after it was to be completed will not be completed by what was under way then."""

INITIATORS = {Initiation.RECURRING: "MITR", Initiation.UNSCHEDULED: "MITU", Initiation.CARDHOLDER: "CITU"}
CHANNELS = {"ecommerce": "Web", "moto": "Phone", "store": "PointOfSale"}
INTENTS = {Kind.AUTHORIZATION: "Authorize", Kind.PURCHASE: "AuthorizeWithCapture"}
_PERMISSION = re.compile(r"[A-Z][0-9]{2}-[0-9]{7}-[0-9]{7}", re.ASCII)

_NOT_SUPPORTED = Declined("40")
_ALREADY_UNDONE = Declined("79")
_NO_ANSWER, _NOT_BELIEVABLE, _PENDING = Unknown(Silence.NO_ANSWER), Unknown(Silence.NOT_BELIEVABLE), Unknown(Silence.PENDING)
_WHY = {Trouble.NOT_SENT: codes.UNREACHABLE, Trouble.NOT_AUTHORIZED: codes.NOT_AUTHORIZED}
_SILENCE = {
    Trouble.NOT_SENT: Silence.CONNECTION_LOST, Trouble.NOT_AUTHORIZED: Silence.NOT_BELIEVABLE, Trouble.NO_ANSWER: Silence.NO_ANSWER,
    Trouble.NOT_BELIEVABLE: Silence.NOT_BELIEVABLE,
}


class AmazonPay:
    """All merchants' accounts at Amazon Pay, as one processor."""

    name = "amazon_pay"

    def __init__(
        self, client: Client, accounts: Accounts, objects: Objects, *, wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``accounts``: the account of a merchant; ``objects``: where it is remembered what became of what; ``wall``: UTC."""
        self.capabilities = Capabilities(True, True, False, False, time(0), "UTC", PENDING_SECONDS)
        self._client, self._accounts, self._objects, self._wall = client, accounts, objects, wall

    # --- the protocol --------------------------------------------------------------------------------------------------

    async def ask(self, message: Ask) -> Outcome:
        """See ``Processor.ask``."""
        if self._wall() >= message.deadline:
            return NotAsked("deadline")
        account = self._accounts(message.merchant)
        if account is None:
            return NotAsked(codes.NO_ACCOUNT)
        if message.currency not in CURRENCIES:
            return Declined("12", provider_code="CurrencyMismatch")
        return await self._in_time(message, self._asked(account, message))

    async def inquire(self, message: Ask) -> Outcome:
        """See ``Processor.inquire``: what was begun is asked for again under its key, which finds what became of it."""
        account = self._accounts(message.merchant)
        if account is None:
            return _NO_ANSWER
        outcome = await self._in_time(message, self._inquired(account, message))
        return outcome if type(outcome) is not NotAsked else Declined(**_ended_unasked(outcome.why))

    async def reverse(self, message: Ask) -> bool:
        """See ``Processor.reverse``.  What was captured goes back by a refund, and is undone once that is final."""
        account = self._accounts(message.merchant)
        if account is None:
            return False
        try:
            async with asyncio.timeout(max(0.0, (message.deadline - self._wall()).total_seconds())):
                return await self._reversed(account, message)
        except (TimeoutError, ObjectsUnavailable):
            return False

    async def totals(self, day: date) -> dict[tuple[str, str, str], tuple[int, int]] | None:
        """Amazon shows no book of a day here."""
        return None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def close_account(self, merchant: str, account: str) -> bool:
        """See ``HasAccounts``.  What is authorized stays capturable; a permission that is closed already is as good."""
        known = self._accounts(merchant)
        if known is None or _PERMISSION.fullmatch(account) is None:
            return False
        body = {"closureReason": "The agreement was revoked by the merchant.", "cancelPendingCharges": False}
        deadline = self._wall() + timedelta(seconds=CLOSE_SECONDS)
        said = await self._client.send(known, "DELETE", f"/chargePermissions/{account}/close", body, deadline)
        return type(said) is Said and (said.is_good or said.reason == "InvalidChargePermissionStatus")

    async def _in_time(self, message: Ask, answer: Any) -> Outcome:
        try:
            async with asyncio.timeout(max(0.0, (message.deadline - self._wall()).total_seconds())):
                return await answer
        except TimeoutError:
            return _NO_ANSWER
        except ObjectsUnavailable as error:
            log.warning("amazon pay: what belongs to operation %d cannot be read or stored: %s", message.operation_id, error)
            return Unknown(Silence.CONNECTION_LOST)

    async def _asked(self, account: Account, message: Ask) -> Outcome:
        match message.kind:
            case Kind.AUTHORIZATION | Kind.PURCHASE:
                return await (self._charge(account, message) if _PERMISSION.fullmatch(message.account) else self._complete(account, message))
            case Kind.CAPTURE:
                return await self._capture(account, message)
            case Kind.VOID:
                return await self._void(account, message)
            case Kind.REFUND:
                return await self._refund(account, message)
            case Kind.DECREMENT:
                return Approved(message.minor)      # Amazon cannot lower a hold: it is lower here, and at the capture there
            case _:
                return _NOT_SUPPORTED

    async def _inquired(self, account: Account, message: Ask) -> Outcome:
        if message.kind in (Kind.DECREMENT, Kind.INCREMENT):
            return await self._asked(account, message)
        things = await self._objects.of_payment(message.merchant, message.payment_id)
        thing = next((one for one in things if one.key == message.key or one.key.startswith(message.key + ".")), None)
        if thing is None:
            return _NO_ANSWER
        if thing.undone:
            return Reversed() if thing.state == UNDONE else _NO_ANSWER
        if message.kind in FIRST:
            message = message._replace(account=thing.session_id or thing.permission_id)
        return await self._asked(account, message._replace(repeat=True))

    # --- a first payment: the session that its payer approved ----------------------------------------------------------------

    async def _complete(self, account: Account, message: Ask) -> Outcome:
        if not is_id(message.account):
            return NotAsked(codes.NO_SESSION)
        thing = await self._objects.begin(self._thing(message, SESSION, session_id=message.account, holds=message.kind is Kind.AUTHORIZATION))
        if thing.key != message.key:
            return NotAsked(codes.SESSION_DIFFERS)          # it pays for another payment
        if thing.undone:
            return _ALREADY_UNDONE
        outcome = await self._completed(account, message, thing)
        if type(outcome) is NotAsked and not message.repeat:
            await self._objects.release(thing)
        return outcome

    async def _completed(self, account: Account, message: Ask, thing: Thing) -> Outcome:
        """Read the session, complete it where it is open, and read it again where nobody knows what came of that."""
        path, was_sent = f"/checkoutSessions/{thing.session_id}", message.repeat
        while True:
            said = await self._client.get(account, path, message.deadline)
            session = session_of(said.object) if type(said) is Said and said.is_good else None
            if session is None:
                return _refused(said, was_sent)
            if session.state == "Canceled":
                return NotAsked(codes.SESSION_ENDS.get(session.reason, codes.BY_AMAZON)) if not was_sent else codes.declined(session.reason)
            if session.state == "Completed":
                return await self._outcome_of_session(account, message, thing, session)
            if problem := _differs(account, message, session):
                return NotAsked(problem)
            body = {"chargeAmount": price(message.minor, message.currency)}
            said = await self._client.send(account, "POST", path + "/complete", body, message.deadline)
            if type(said) is Failed:
                if said.trouble in CERTAIN:
                    return _refused(said, was_sent)
                was_sent = True
                if self._wall() + timedelta(seconds=0.3) >= message.deadline:
                    return _NO_ANSWER
                await asyncio.sleep(0.2)
                continue                    # read it before it is completed again
            was_sent = True
            done = session_of(said.object) if said.is_good else None
            if done is not None and done.charge_id:
                return await self._outcome_of_session(account, message, thing, done)
            if said.reason in ("CheckoutSessionCanceled", "InvalidCheckoutSessionStatus"):
                return await self._after_refusal(account, message, thing, said)
            return _NOT_BELIEVABLE if said.is_good else _refused(said, False)

    async def _after_refusal(self, account: Account, message: Ask, thing: Thing, said: Said) -> Outcome:
        """A session that cannot be completed: canceled, or completed by a question whose answer was lost."""
        found = await self._client.get(account, f"/checkoutSessions/{thing.session_id}", message.deadline)
        session = session_of(found.object) if type(found) is Said and found.is_good else None
        if session is None:
            return _NO_ANSWER
        if session.state == "Completed":
            return await self._outcome_of_session(account, message, thing, session)
        if session.state == "Canceled" and not message.repeat:
            return NotAsked(codes.SESSION_ENDS.get(session.reason, codes.BY_AMAZON))
        return codes.declined(session.reason or said.reason)

    async def _outcome_of_session(self, account: Account, message: Ask, thing: Thing, session: Session) -> Outcome:
        if not is_id(session.charge_id):
            return _NOT_BELIEVABLE
        thing = thing._replace(charge_id=session.charge_id, permission_id=session.permission_id)
        await self._objects.know(thing)
        return await self._outcome_of_charge(account, message, thing)

    # --- a payment on a permission ------------------------------------------------------------------------------------------

    async def _charge(self, account: Account, message: Ask) -> Outcome:
        holds = message.kind is Kind.AUTHORIZATION
        thing = await self._objects.begin(self._thing(message, CHARGE, permission_id=message.account, holds=holds))
        if thing.undone:
            return _ALREADY_UNDONE
        if thing.charge_id:
            return await self._outcome_of_charge(account, message, thing)
        body = {
            "chargePermissionId": thing.permission_id, "chargeAmount": price(message.minor, message.currency), "captureNow": not holds,
            "canHandlePendingAuthorization": holds, "chargeInitiator": INITIATORS[message.initiation],
            "channel": CHANNELS.get(message.channel, "Web"), "merchantMetadata": {"merchantReferenceId": str(message.operation_id)},
        }
        return await self._posted_charge(account, message, thing, body)

    async def _posted_charge(self, account: Account, message: Ask, thing: Thing, body: dict[str, Any]) -> Outcome:
        said = await self._client.send(account, "POST", "/charges", body, message.deadline, _key_of(thing))
        charge = charge_of(said.object) if type(said) is Said and said.is_good else None
        if charge is None:
            outcome = _refused(said, message.repeat)
            if type(outcome) in (NotAsked, Declined) and not message.repeat:
                await self._objects.release(thing)
            return outcome
        thing = thing._replace(charge_id=charge.id, permission_id=thing.permission_id or charge.permission_id)
        await self._objects.know(thing._replace(state=charge.state))
        if said.status == 200 or message.repeat:        # an answer from memory may be older than the charge
            return await self._outcome_of_charge(account, message, thing)
        return _of_charge(message, charge, thing.permission_id)

    async def _outcome_of_charge(self, account: Account, message: Ask, thing: Thing, *, spends_hold: bool = False) -> Outcome:
        said = await self._client.get(account, f"/charges/{thing.charge_id}", message.deadline)
        charge = charge_of(said.object) if type(said) is Said and said.is_good else None
        if charge is None or charge.id != thing.charge_id:
            return _NO_ANSWER if type(said) is Failed else _NOT_BELIEVABLE
        await self._objects.know(thing._replace(state=charge.state))
        return _of_charge(message, charge, thing.permission_id, spends_hold=spends_hold)

    # --- captures and voids --------------------------------------------------------------------------------------------------

    async def _capture(self, account: Account, message: Ask) -> Outcome:
        """The capture of the charge that holds, which takes all of its hold with it; where none holds any more, a new charge on the permission."""
        thing = await self._objects.take(self._thing(message, CAPTURE))
        if thing is None:
            return await self._capture_anew(account, message)
        if thing.kind == CHARGE:            # it was begun as a new charge already
            return await self._capture_anew(account, message)
        body = {"captureAmount": price(message.minor, message.currency)}
        said = await self._client.send(account, "POST", f"/charges/{thing.charge_id}/capture", body, message.deadline, _key_of(thing))
        charge = charge_of(said.object) if type(said) is Said and said.is_good else None
        if charge is not None and charge.id == thing.charge_id and not message.repeat:
            await self._objects.know(thing._replace(state=charge.state))
            return _of_charge(message, charge, thing.permission_id, spends_hold=True)
        if charge is not None or (type(said) is Said and said.reason == "InvalidChargeStatus"):
            return await self._outcome_of_charge(account, message, thing, spends_hold=True)
        outcome = _refused(said, message.repeat)
        if type(outcome) in (NotAsked, Declined) and not message.repeat:
            await self._objects.release(thing)
        return outcome

    async def _capture_anew(self, account: Account, message: Ask) -> Outcome:
        permission = await self._permission_of(message)
        if not permission:
            return NotAsked(codes.NO_SESSION) if not message.repeat else _NOT_BELIEVABLE
        thing = await self._objects.begin(self._thing(message, CHARGE, permission_id=permission))
        if thing.charge_id:
            return await self._outcome_of_charge(account, message, thing)
        body = {
            "chargePermissionId": thing.permission_id, "chargeAmount": price(message.minor, message.currency), "captureNow": True,
            "canHandlePendingAuthorization": False, "merchantMetadata": {"merchantReferenceId": str(message.operation_id)},
        }
        return await self._posted_charge(account, message, thing, body)

    async def _permission_of(self, message: Ask) -> str:
        things = await self._objects.of_payment(message.merchant, message.payment_id)
        known = next((one.permission_id for one in things if one.permission_id), "")
        return known or (message.original.scheme_reference if message.original else "")

    async def _void(self, account: Account, message: Ask) -> Outcome:
        """Where all that stands is given back, the charge is canceled; a part of it is lower here, and at the capture there."""
        if message.minor != message.held:
            return Approved(message.minor)
        thing = await self._objects.take(self._thing(message, CANCEL))
        if thing is None:
            return Approved(message.minor)          # nothing is held at Amazon any more
        canceled = await self._cancel(account, thing.charge_id, "void", message.deadline)
        if canceled is None:
            return _NO_ANSWER
        if not canceled:                            # somebody captured it elsewhere
            return codes.declined("InvalidChargeStatus", thing.charge_id)
        await self._objects.know(thing._replace(state="Canceled"))
        return Approved(message.minor, thing.charge_id[-6:], thing.permission_id, thing.charge_id)

    async def _cancel(self, account: Account, charge_id: str, why: str, deadline: datetime) -> bool | None:
        """Whether the charge is canceled now; ``None``: nobody knows, or not yet."""
        said = await self._client.send(account, "DELETE", f"/charges/{charge_id}/cancel", {"cancellationReason": why}, deadline)
        charge = charge_of(said.object) if type(said) is Said and said.is_good else None
        if charge is None:
            found = await self._client.get(account, f"/charges/{charge_id}", deadline)
            charge = charge_of(found.object) if type(found) is Said and found.is_good else None
        if charge is None or charge.id != charge_id:
            return None
        return True if charge.state in ("Canceled", "Declined") else None if charge.state in ("AuthorizationInitiated", "Authorized") else False

    # --- refunds ---------------------------------------------------------------------------------------------------------------

    async def _refund(self, account: Account, message: Ask) -> Outcome:
        """Every part on the charge of its capture, each under a key of its own."""
        things = await self._objects.of_payment(message.merchant, message.payment_id)
        parts = message.parts or ((0, message.payment_id, message.minor),)
        stands = await asyncio.gather(*(self._part(account, message, number, capture_id, minor, things) for number, capture_id, minor in parts))
        numbers = [number for number, _, _ in parts]
        done = tuple(number for number, stand in zip(numbers, stands, strict=True) if type(stand) is Approved)
        failed = tuple(number for number, stand in zip(numbers, stands, strict=True) if type(stand) is Declined)
        if len(done) == len(parts):
            first = stands[0]
            assert type(first) is Approved
            return first._replace(minor=message.minor)
        if done or any(stand == _PENDING for stand in stands):
            return Unknown(Silence.PENDING, done, failed)
        for kind in (Unknown, NotAsked):        # what nobody knows comes before what certainly was not asked
            for stand in stands:
                if type(stand) is kind and (kind is Unknown or not failed):
                    return stand
        return next(stand for stand in stands if type(stand) is Declined)

    async def _part(self, account: Account, message: Ask, number: int, capture_id: int, minor: int, things: list[Thing]) -> Outcome:
        captured = next(
            (one.charge_id for one in things if one.operation_id == capture_id and one.kind in (CAPTURE, CHARGE, SESSION) and one.charge_id), "")
        if not captured:
            return _NOT_BELIEVABLE if message.repeat else NotAsked(codes.NO_SESSION)
        thing = await self._objects.begin(self._thing(message, REFUND, charge_id=captured)._replace(key=f"{message.key}.{number}", minor=minor))
        return await self._refunded(account, message, thing)

    async def _refunded(self, account: Account, message: Ask, thing: Thing) -> Outcome:
        if thing.refund_id:
            said = await self._client.get(account, f"/refunds/{thing.refund_id}", message.deadline)
        else:
            body = {"chargeId": thing.charge_id, "refundAmount": price(thing.minor, message.currency)}
            said = await self._client.send(account, "POST", "/refunds", body, message.deadline, _key_of(thing))
        refund = refund_of(said.object) if type(said) is Said and said.is_good else None
        if refund is None:
            outcome = _refused(said, message.repeat or bool(thing.refund_id))
            if type(outcome) is NotAsked:
                await self._objects.release(thing)
            return outcome
        if refund.price != Price(thing.minor, message.currency):
            return _NOT_BELIEVABLE
        await self._objects.know(thing._replace(refund_id=refund.id, state=refund.state))
        if refund.state == "Refunded":
            return Approved(thing.minor, refund.id[-6:], thing.permission_id, refund.id)
        return codes.declined(refund.reason, refund.id) if refund.state == "Declined" else _PENDING

    # --- undoing -----------------------------------------------------------------------------------------------------------------

    async def _reversed(self, account: Account, message: Ask) -> bool:
        thing = await self._objects.begin(self._thing(message, SESSION)._replace(undone=True, state=UNDONE))
        if not thing.undone:
            thing = thing._replace(undone=True, state="")
            await self._objects.know(thing)             # from here on nobody asks for it
        if thing.state == UNDONE:
            return True
        undone = await self._undo(account, message, thing)
        if undone:
            await self._objects.know(thing._replace(state=UNDONE))
        return undone

    async def _undo(self, account: Account, message: Ask, thing: Thing) -> bool:
        if thing.kind not in (SESSION, CHARGE):
            return False                                # a refund that was taken comes back by nobody's word
        charge_id = thing.charge_id
        if not charge_id and thing.kind == SESSION:
            said = await self._client.get(account, f"/checkoutSessions/{thing.session_id}", message.deadline)
            session = session_of(said.object) if type(said) is Said and said.is_good else None
            if session is None:
                return type(said) is Said and said.reason == "ResourceNotFound"
            if session.state != "Completed":
                return session.state == "Canceled" or thing.begun_at is None or self._wall() - thing.begun_at > SETTLED
            charge_id = session.charge_id
        elif not charge_id:
            charge_id = await self._found_charge(account, message, thing) or ""
        if not is_id(charge_id):
            return False
        await self._objects.know(thing._replace(charge_id=charge_id))
        return await self._undo_charge(account, message, thing._replace(charge_id=charge_id))

    async def _found_charge(self, account: Account, message: Ask, thing: Thing) -> str | None:
        """The charge of a question whose answer was lost: the same question again finds it.  One that had never arrived makes a charge that is
        canceled at once: of a purchase an authorization is asked for first, which is refused where the purchase is there."""
        body = {
            "chargePermissionId": thing.permission_id, "chargeAmount": price(message.minor, message.currency), "captureNow": False,
            "canHandlePendingAuthorization": thing.holds, "chargeInitiator": INITIATORS[message.initiation],
            "channel": CHANNELS.get(message.channel, "Web"), "merchantMetadata": {"merchantReferenceId": str(message.operation_id)},
        }
        said = await self._client.send(account, "POST", "/charges", body, message.deadline, _key_of(thing))
        if type(said) is Said and said.reason == "DuplicateIdempotencyKey" and not thing.holds:
            said = await self._client.send(account, "POST", "/charges", {**body, "captureNow": True}, message.deadline, _key_of(thing))
        charge = charge_of(said.object) if type(said) is Said and said.is_good else None
        return charge.id if charge else None

    async def _undo_charge(self, account: Account, message: Ask, thing: Thing) -> bool:
        said = await self._client.get(account, f"/charges/{thing.charge_id}", message.deadline)
        charge = charge_of(said.object) if type(said) is Said and said.is_good else None
        if charge is None:
            return False
        if charge.state in ("Canceled", "Declined"):
            return True
        if charge.state in ("AuthorizationInitiated", "Authorized"):
            return bool(await self._cancel(account, thing.charge_id, "reversal", message.deadline))
        if charge.state != "Captured":
            return False
        back = self._thing(message, REFUND, charge_id=thing.charge_id)._replace(key=f"{message.key}.undo", minor=charge.price.minor)
        outcome = await self._refunded(account, message._replace(repeat=True), await self._objects.begin(back))
        if type(outcome) is Declined:
            log.error("amazon pay: charge %s cannot be given back: %s; look at it in Seller Central", thing.charge_id, outcome.provider_code)
        return type(outcome) is Approved

    def _thing(self, message: Ask, kind: str, **ids: Any) -> Thing:
        return Thing(
            message.merchant, message.key, message.payment_id, message.operation_id, kind, message.minor, **{"begun_at": self._wall(), **ids})


def _key_of(thing: Thing) -> str:
    """The idempotency key of a message at Amazon: 32 characters, the same after a crash."""
    return sha256(f"{thing.merchant}\0{thing.key}".encode()).hexdigest()[:32]


def _differs(account: Account, message: Ask, session: Session) -> str | None:
    """Why an open session must not be completed for this payment."""
    if session.store_id and session.store_id != account.store_id:
        return codes.SESSION_DIFFERS
    if session.price != Price(message.minor, message.currency) or session.intent != INTENTS[message.kind]:
        return codes.AMOUNT_DIFFERS
    return None if session.is_ready else codes.NOT_READY


def _of_charge(message: Ask, charge: Charge, permission_id: str, *, spends_hold: bool = False) -> Outcome:
    """What a charge says of the message that it belongs to.  ``spends_hold``: the message captures it, so that nothing holds its rest."""
    state, asked = charge.state, Price(message.minor, message.currency)
    if state == "Declined" or state == "Canceled":
        declined = codes.declined(charge.reason, charge.id)
        return declined._replace(hold_gone=True) if spends_hold else declined
    if state in ("AuthorizationInitiated", "CaptureInitiated"):
        return _PENDING
    approved = Approved(message.minor, charge.id[-6:], permission_id or charge.permission_id, charge.id)
    if message.kind is Kind.AUTHORIZATION:
        return approved if charge.price == asked and state in ("Authorized", "Captured") else _NOT_BELIEVABLE
    if state == "Authorized":
        return _PENDING if charge.price == asked and not spends_hold else _NOT_BELIEVABLE
    captured = charge.captured or charge.price
    if state != "Captured" or captured != asked:
        return _NOT_BELIEVABLE
    return approved._replace(hold_gone=True) if spends_hold else approved


def _refused(said: Said | Failed, was_sent: bool) -> Outcome:
    """What follows from an answer that is not the object.  ``was_sent``: the message may have been carried out before."""
    if type(said) is Failed:
        if said.trouble in CERTAIN and not was_sent:
            return NotAsked(_WHY[said.trouble])
        return Unknown(_SILENCE[said.trouble])
    if said.is_good or said.reason == "DuplicateIdempotencyKey":
        return _NOT_BELIEVABLE
    if said.reason in codes.DECLINES and said.reason:
        return codes.declined(said.reason, said.request_id)
    if said.reason in codes.REFUSALS:
        log.error("amazon pay blames the question: %d %s, request %s: %s", said.status, said.reason, said.request_id, said.message)
        return _NOT_BELIEVABLE if was_sent else NotAsked(codes.REFUSED)
    return _NOT_BELIEVABLE


def _ended_unasked(why: str) -> dict[str, str]:
    """A session that ended without a payment, as the decline of a payment that may have been asked for."""
    reason = next((reason for reason, word in codes.SESSION_ENDS.items() if word == why), why)
    meaning = codes.DECLINES.get(reason, codes.UNKNOWN_REASON)
    return {"response_code": meaning.response_code, "advice": meaning.advice, "provider_code": reason}
