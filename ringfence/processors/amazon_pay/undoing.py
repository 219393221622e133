"""Undoing exactly one payment at Amazon Pay: a session is never completed, a hold canceled, a capture given back.

Acknowledged once it is certain that nothing is held or kept; until then whoever asks for it asks again.
"""
from __future__ import annotations

import logging
from datetime import timedelta

from ringfence.core.outcomes import Approved, Declined
from ringfence.processors.amazon_pay import codes
from ringfence.processors.amazon_pay.accounts import Account
from ringfence.processors.amazon_pay.answers import key_of
from ringfence.processors.amazon_pay.client import Said
from ringfence.processors.amazon_pay.dialogues import CHANNELS, INITIATORS, Dialogues
from ringfence.processors.amazon_pay.objects import CHARGE, REFUND, SESSION, UNDONE, Thing
from ringfence.processors.amazon_pay.wire import charge_of, is_id, price, session_of
from ringfence.processors.processor import Ask

log = logging.getLogger(__name__)

SETTLED = timedelta(seconds=60)
"""A session that is still open so long (wall time) after it was to be completed will not be completed by what was under way then."""


class Undoing:
    """Undoes what the dialogues did."""

    def __init__(self, dialogues: Dialogues) -> None:
        self._dialogues, self._client, self._objects, self._wall = dialogues, dialogues.client, dialogues.objects, dialogues.wall

    # --- undoing -----------------------------------------------------------------------------------------------------------------

    async def undo(self, account: Account, message: Ask) -> bool:
        thing = await self._objects.begin(self._dialogues.thing(message, SESSION)._replace(undone=True, state=UNDONE))
        if not thing.undone:
            thing = thing._replace(undone=True, state="")
            await self._objects.know(thing)             # from here on nobody asks for it
        if thing.state == UNDONE:
            return True
        undone = await self._undone(account, message, thing)
        if undone:
            await self._objects.know(thing._replace(state=UNDONE))
        return undone

    async def _undone(self, account: Account, message: Ask, thing: Thing) -> bool:
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
            found = await self._found_charge(account, message, thing)
            if found == "":
                return True                             # it was declined: nothing came of it
            charge_id = found or ""
        if not is_id(charge_id):
            return False
        await self._objects.know(thing._replace(charge_id=charge_id))
        return await self._undo_charge(account, message, thing._replace(charge_id=charge_id))

    async def _found_charge(self, account: Account, message: Ask, thing: Thing) -> str | None:
        """The charge of a question whose answer was lost: the same question again finds it.  One that had never arrived makes a charge that is
        canceled at once: of a purchase an authorization is asked for first, which is refused where the purchase is there.  "": it was declined."""
        body = {
            "chargePermissionId": thing.permission_id, "chargeAmount": price(message.minor, message.currency), "captureNow": False,
            "canHandlePendingAuthorization": thing.holds, "chargeInitiator": INITIATORS[message.initiation],
            "channel": CHANNELS.get(message.channel, "Web"), "merchantMetadata": {"merchantReferenceId": str(message.operation_id)},
        }
        said = await self._client.send(account, "POST", "/charges", body, message.deadline, key_of(thing))
        if type(said) is Said and said.reason == "DuplicateIdempotencyKey" and not thing.holds:
            said = await self._client.send(account, "POST", "/charges", {**body, "captureNow": True}, message.deadline, key_of(thing))
        if type(said) is Said and said.reason in codes.DECLINES:
            return ""
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
            return bool(await self._dialogues.cancel(account, thing.charge_id, "reversal", message.deadline))
        if charge.state != "Captured":
            return False
        back = self._dialogues.thing(message, REFUND, charge_id=thing.charge_id)._replace(key=f"{message.key}.undo", minor=charge.price.minor)
        outcome = await self._dialogues.refunded(account, message._replace(repeat=True), await self._objects.begin(back))
        if type(outcome) is Declined:
            log.error("amazon pay: charge %s cannot be given back: %s; look at it in Seller Central", thing.charge_id, outcome.provider_code)
        return type(outcome) is Approved
