"""The dialogues with Amazon Pay: one message of ours, the requests that it takes, and its outcome.

A message is stored before it is sent, so that asking again is harmless and finds the same object.  What an answer means stands in ``answers``;
how long all of it may take is the caller's business.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Silence, Unknown
from ringfence.processors.amazon_pay import codes
from ringfence.processors.amazon_pay.accounts import Account
from ringfence.processors.amazon_pay.answers import NO_ANSWER, NOT_BELIEVABLE, PENDING, differs, key_of, of_charge, refused
from ringfence.processors.amazon_pay.client import AGAIN, CERTAIN, Client, Failed, Said
from ringfence.processors.amazon_pay.objects import CANCEL, CAPTURE, CHARGE, REFUND, SESSION, TOO_MUCH, Objects, Thing, is_held
from ringfence.processors.amazon_pay.wire import Price, Session, charge_of, is_id, price, refund_of, session_of
from ringfence.processors.processor import Ask

ALREADY_UNDONE = Declined("79")
HOLD_PATIENCE = timedelta(seconds=2)
"""How long a capture waits for a hold of the rest that is under way, and what it needs itself (wall time)."""
INITIATORS = {Initiation.RECURRING: "MITR", Initiation.UNSCHEDULED: "MITU", Initiation.CARDHOLDER: "CITU"}
CHANNELS = {"ecommerce": "Web", "moto": "Phone", "store": "PointOfSale"}


class Dialogues:
    """All of them, over one client and one memory."""

    def __init__(self, client: Client, objects: Objects, wall: Callable[[], datetime]) -> None:
        """``wall``: the machine's clock, UTC."""
        self.client, self.objects, self.wall = client, objects, wall

    # --- a first payment: the session that its payer approved ----------------------------------------------------------------

    async def complete(self, account: Account, message: Ask) -> Outcome:
        if not is_id(message.account):
            return NotAsked(codes.NO_SESSION)
        thing = await self.objects.begin(self.thing(message, SESSION, session_id=message.account, holds=message.kind is Kind.AUTHORIZATION))
        if thing.key != message.key:
            return NotAsked(codes.SESSION_DIFFERS)          # it pays for another payment
        if thing.undone:
            return ALREADY_UNDONE
        outcome = await self._completed(account, message, thing)
        if type(outcome) is NotAsked and not message.repeat:
            await self.objects.release(thing)
        return outcome

    async def _completed(self, account: Account, message: Ask, thing: Thing) -> Outcome:
        """Read the session, complete it where it is open, and read it again where nobody knows what came of that."""
        path, was_sent = f"/checkoutSessions/{thing.session_id}", message.repeat
        while True:
            said = await self.client.get(account, path, message.deadline)
            session = session_of(said.object) if type(said) is Said and said.is_good else None
            if session is None:
                return refused(said, was_sent)
            if session.state == "Canceled":
                return NotAsked(codes.SESSION_ENDS.get(session.reason, codes.BY_AMAZON)) if not was_sent else codes.declined(session.reason)
            if session.state == "Completed":
                return await self._outcome_of_session(account, message, thing, session)
            if problem := differs(account, message, session):
                return NotAsked(problem)
            body = {"chargeAmount": price(message.minor, message.currency)}
            said = await self.client.send(account, "POST", path + "/complete", body, message.deadline)
            if type(said) is Failed or (said.status in AGAIN and said.reason not in codes.DECLINES):
                if type(said) is Failed and said.trouble in CERTAIN:
                    return refused(said, was_sent)
                was_sent = True
                if self.wall() + timedelta(seconds=0.3) >= message.deadline:
                    return NO_ANSWER
                await asyncio.sleep(0.2)
                continue                    # read it before it is completed again
            was_sent = True
            done = session_of(said.object) if said.is_good else None
            if done is not None and done.charge_id:
                return await self._outcome_of_session(account, message, thing, done)
            if said.reason in ("CheckoutSessionCanceled", "InvalidCheckoutSessionStatus"):
                return await self._after_refusal(account, message, thing, said)
            return NOT_BELIEVABLE if said.is_good else refused(said, False)

    async def _after_refusal(self, account: Account, message: Ask, thing: Thing, said: Said) -> Outcome:
        """A session that cannot be completed: canceled, or completed by a question whose answer was lost."""
        found = await self.client.get(account, f"/checkoutSessions/{thing.session_id}", message.deadline)
        session = session_of(found.object) if type(found) is Said and found.is_good else None
        if session is None:
            return NO_ANSWER
        if session.state == "Completed":
            return await self._outcome_of_session(account, message, thing, session)
        if session.state == "Canceled" and not message.repeat:
            return NotAsked(codes.SESSION_ENDS.get(session.reason, codes.BY_AMAZON))
        return codes.declined(session.reason or said.reason)

    async def _outcome_of_session(self, account: Account, message: Ask, thing: Thing, session: Session) -> Outcome:
        if not is_id(session.charge_id):
            return NOT_BELIEVABLE
        thing = thing._replace(charge_id=session.charge_id, permission_id=session.permission_id)
        await self.objects.know(thing)
        return await self._outcome_of_charge(account, message, thing)

    # --- a payment on a permission ------------------------------------------------------------------------------------------

    async def charge(self, account: Account, message: Ask) -> Outcome:
        holds = message.kind is Kind.AUTHORIZATION
        thing = await self.objects.begin(self.thing(message, CHARGE, permission_id=message.account, holds=holds))
        if thing.undone:
            return ALREADY_UNDONE
        if thing.charge_id:
            return await self._outcome_of_charge(account, message, thing)
        body = {
            "chargePermissionId": thing.permission_id, "chargeAmount": price(message.minor, message.currency), "captureNow": not holds,
            "canHandlePendingAuthorization": holds, "chargeInitiator": INITIATORS[message.initiation],
            "channel": CHANNELS.get(message.channel, "Web"), "merchantMetadata": {"merchantReferenceId": str(message.operation_id)},
        }
        return await self._posted_charge(account, message, thing, body)

    async def _posted_charge(self, account: Account, message: Ask, thing: Thing, body: dict[str, Any]) -> Outcome:
        said = await self.client.send(account, "POST", "/charges", body, message.deadline, key_of(thing))
        charge = charge_of(said.object) if type(said) is Said and said.is_good else None
        if charge is None:
            outcome = refused(said, message.repeat)
            if type(outcome) is NotAsked and not message.repeat:
                await self.objects.release(thing)       # a decline stays: whoever inquires about it hears it again
            return outcome
        thing = thing._replace(charge_id=charge.id, permission_id=thing.permission_id or charge.permission_id)
        await self.objects.know(thing._replace(state=charge.state))
        if said.status == 200 or message.repeat:        # an answer from memory may be older than the charge
            return await self._outcome_of_charge(account, message, thing)
        return of_charge(message, charge, thing.permission_id)

    async def _outcome_of_charge(self, account: Account, message: Ask, thing: Thing, *, spends_hold: bool = False) -> Outcome:
        said = await self.client.get(account, f"/charges/{thing.charge_id}", message.deadline)
        charge = charge_of(said.object) if type(said) is Said and said.is_good else None
        if charge is None or charge.id != thing.charge_id:
            return NO_ANSWER if type(said) is Failed else NOT_BELIEVABLE
        await self.objects.know(thing._replace(state=charge.state))
        return of_charge(message, charge, thing.permission_id, spends_hold=spends_hold)

    # --- captures and voids --------------------------------------------------------------------------------------------------

    async def capture(self, account: Account, message: Ask) -> Outcome:
        """The capture of the charge that holds, which takes all of its hold with it; where none holds any more, a new charge on the permission."""
        thing = await self.objects.take(self.thing(message, CAPTURE))
        if thing is None or thing.kind == CHARGE:           # nothing holds, or it was begun as a new charge already
            outcome = await self._capture_anew(account, message)
            thing = await self._held_meanwhile(message) if type(outcome) is Declined and outcome.provider_code == TOO_MUCH else None
            if thing is None:
                return outcome
        body = {"captureAmount": price(message.minor, message.currency)}
        said = await self.client.send(account, "POST", f"/charges/{thing.charge_id}/capture", body, message.deadline, key_of(thing))
        charge = charge_of(said.object) if type(said) is Said and said.is_good else None
        if charge is not None and charge.id == thing.charge_id and not message.repeat:
            await self.objects.know(thing._replace(state=charge.state))
            return of_charge(message, charge, thing.permission_id, spends_hold=True)
        if charge is not None or (type(said) is Said and said.reason == "InvalidChargeStatus"):
            return await self._outcome_of_charge(account, message, thing, spends_hold=True)
        outcome = refused(said, message.repeat)
        if type(outcome) is Declined:           # of the capture only, or of the charge with it?
            found = await self.client.get(account, f"/charges/{thing.charge_id}", message.deadline)
            charge = charge_of(found.object) if type(found) is Said and found.is_good else None
            if charge is None:
                return NO_ANSWER
            if charge.state in ("Declined", "Canceled"):
                await self.objects.know(thing._replace(state=charge.state))
                return outcome._replace(hold_gone=True)
        if type(outcome) in (NotAsked, Declined) and not message.repeat:
            await self.objects.release(thing)
        return outcome

    async def _held_meanwhile(self, message: Ask) -> Thing | None:
        """The hold of the rest (``engine.holding``) that was taken while a new charge was asked for, which therefore exceeded the permission: the
        capture of that hold, begun in the new charge's place.  ``None``: no such hold, and the decline stands."""
        until = min(message.deadline - HOLD_PATIENCE, self.wall() + HOLD_PATIENCE)
        while True:
            things = await self.objects.of_payment(message.merchant, message.payment_id)
            if is_held(things):
                await self.objects.release(self.thing(message, CHARGE))
                return await self.objects.take(self.thing(message, CAPTURE))
            recent = self.wall() - 2 * HOLD_PATIENCE
            under_way = (one for one in things if one.holds and not (one.charge_id or one.undone or one.state))
            if self.wall() >= until or not any(one.begun_at is None or one.begun_at > recent for one in under_way):
                return None
            await asyncio.sleep(0.1)

    async def _capture_anew(self, account: Account, message: Ask) -> Outcome:
        permission = await self._permission_of(message)
        if not permission:
            return NotAsked(codes.NO_SESSION) if not message.repeat else NOT_BELIEVABLE
        thing = await self.objects.begin(self.thing(message, CHARGE, permission_id=permission))
        if thing.charge_id:
            return await self._outcome_of_charge(account, message, thing)
        body = {
            "chargePermissionId": thing.permission_id, "chargeAmount": price(message.minor, message.currency), "captureNow": True,
            "canHandlePendingAuthorization": False, "merchantMetadata": {"merchantReferenceId": str(message.operation_id)},
        }
        return await self._posted_charge(account, message, thing, body)

    async def _permission_of(self, message: Ask) -> str:
        """The permission, once no capture of a hold is under way any more: until Amazon has it, all that is held counts against the permission,
        and a new charge would exceed it."""
        until = min(message.deadline - HOLD_PATIENCE, self.wall() + HOLD_PATIENCE)
        while True:
            things = await self.objects.of_payment(message.merchant, message.payment_id)
            recent, now = self.wall() - 2 * HOLD_PATIENCE, self.wall()
            if message.repeat or now >= until or not any(
                    one.kind == CAPTURE and not (one.state or one.undone) and one.operation_id != message.operation_id
                    and (one.begun_at is None or one.begun_at > recent) for one in things):
                break
            await asyncio.sleep(0.05)
        known = next((one.permission_id for one in things if one.permission_id), "")
        return known or (message.original.scheme_reference if message.original else "")

    async def void(self, account: Account, message: Ask) -> Outcome:
        """Where all that stands is given back, the charge is canceled; a part of it is lower here, and at the capture there."""
        if message.minor != message.held:
            return Approved(message.minor)
        thing = await self.objects.take(self.thing(message, CANCEL))
        if thing is None:
            return Approved(message.minor)          # nothing is held at Amazon any more
        canceled = await self.cancel(account, thing.charge_id, "void", message.deadline)
        if canceled is None:
            return NO_ANSWER
        if not canceled:                            # somebody captured it elsewhere
            return codes.declined("InvalidChargeStatus", thing.charge_id)
        await self.objects.know(thing._replace(state="Canceled"))
        return Approved(message.minor, thing.charge_id[-6:], thing.permission_id, thing.charge_id)

    async def cancel(self, account: Account, charge_id: str, why: str, deadline: datetime) -> bool | None:
        """Whether the charge is canceled now; ``None``: nobody knows, or not yet."""
        said = await self.client.send(account, "DELETE", f"/charges/{charge_id}/cancel", {"cancellationReason": why}, deadline)
        charge = charge_of(said.object) if type(said) is Said and said.is_good else None
        if charge is None:
            found = await self.client.get(account, f"/charges/{charge_id}", deadline)
            charge = charge_of(found.object) if type(found) is Said and found.is_good else None
        if charge is None or charge.id != charge_id:
            return None
        return True if charge.state in ("Canceled", "Declined") else None if charge.state in ("AuthorizationInitiated", "Authorized") else False

    # --- refunds ---------------------------------------------------------------------------------------------------------------

    async def refund(self, account: Account, message: Ask) -> Outcome:
        """Every part on the charge of its capture, each under a key of its own."""
        things = await self.objects.of_payment(message.merchant, message.payment_id)
        parts = message.parts or ((0, message.payment_id, message.minor),)
        stands = await asyncio.gather(*(self._part(account, message, number, capture_id, minor, things) for number, capture_id, minor in parts))
        numbers = [number for number, _, _ in parts]
        done = tuple(number for number, stand in zip(numbers, stands, strict=True) if type(stand) is Approved)
        failed = tuple(number for number, stand in zip(numbers, stands, strict=True) if type(stand) is Declined)
        if len(done) == len(parts):
            first = stands[0]
            assert type(first) is Approved
            return first._replace(minor=message.minor)
        if done or any(stand == PENDING for stand in stands):
            return Unknown(Silence.PENDING, done, failed)
        for kind in (Unknown, NotAsked):        # what nobody knows comes before what certainly was not asked
            for stand in stands:
                if type(stand) is kind and (kind is Unknown or not failed):
                    return stand
        return next(stand for stand in stands if type(stand) is Declined)

    async def _part(self, account: Account, message: Ask, number: int, capture_id: int, minor: int, things: list[Thing]) -> Outcome:
        captured = next(
            (one.charge_id for one in things
             if one.operation_id == capture_id and one.kind in (CAPTURE, CHARGE, SESSION) and not one.holds and one.charge_id), "")
        if not captured:
            return NOT_BELIEVABLE if message.repeat else NotAsked(codes.NO_SESSION)
        thing = await self.objects.begin(self.thing(message, REFUND, charge_id=captured)._replace(key=f"{message.key}.{number}", minor=minor))
        return await self.refunded(account, message, thing)

    async def refunded(self, account: Account, message: Ask, thing: Thing) -> Outcome:
        if thing.refund_id:
            said = await self.client.get(account, f"/refunds/{thing.refund_id}", message.deadline)
        else:
            body = {"chargeId": thing.charge_id, "refundAmount": price(thing.minor, message.currency)}
            said = await self.client.send(account, "POST", "/refunds", body, message.deadline, key_of(thing))
        refund = refund_of(said.object) if type(said) is Said and said.is_good else None
        if refund is None:
            outcome = refused(said, message.repeat or bool(thing.refund_id))
            if type(outcome) is NotAsked:
                await self.objects.release(thing)
            return outcome
        if refund.price != Price(thing.minor, message.currency):
            return NOT_BELIEVABLE
        await self.objects.know(thing._replace(refund_id=refund.id, state=refund.state))
        if refund.state == "Refunded":
            return Approved(thing.minor, refund.id[-6:], thing.permission_id, refund.id)
        return codes.declined(refund.reason, refund.id) if refund.state == "Declined" else PENDING

    def thing(self, message: Ask, kind: str, **ids: Any) -> Thing:
        return Thing(
            message.merchant, message.key, message.payment_id, message.operation_id, kind, message.minor, **{"begun_at": self.wall(), **ids})
