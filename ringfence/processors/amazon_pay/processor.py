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
from typing import Any

from ringfence.core.commands import Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Reversed, Silence, Unknown
from ringfence.processors.amazon_pay import codes
from ringfence.processors.amazon_pay.accounts import CURRENCIES, Account, Accounts
from ringfence.processors.amazon_pay.answers import NO_ANSWER, ended_unasked
from ringfence.processors.amazon_pay.client import Client, Said
from ringfence.processors.amazon_pay.dialogues import Dialogues
from ringfence.processors.amazon_pay.objects import UNDONE, Objects, ObjectsUnavailable
from ringfence.processors.amazon_pay.undoing import Undoing
from ringfence.processors.amazon_pay.wire import charge_of, email_of, is_id
from ringfence.processors.processor import Ask, Capabilities

log = logging.getLogger(__name__)

FIRST = (Kind.AUTHORIZATION, Kind.PURCHASE)
PENDING_SECONDS = 86_400.0
"""How long an authorization may stay undecided at Amazon."""
CLOSE_SECONDS, PAYER_SECONDS = 8.0, 3.0
"""How long a permission may take to be closed, and its buyer to be told (wall time)."""
_PERMISSION = re.compile(r"[A-Z][0-9]{2}-[0-9]{7}-[0-9]{7}", re.ASCII)
_NOT_SUPPORTED = Declined("40")


class AmazonPay:
    """All merchants' accounts at Amazon Pay, as one processor."""

    name = "amazon_pay"

    def __init__(
        self, client: Client, accounts: Accounts, objects: Objects, *, wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``accounts``: the account of a merchant; ``objects``: where it is remembered what became of what; ``wall``: UTC."""
        self.capabilities = Capabilities(True, True, False, False, time(0), "UTC", PENDING_SECONDS)
        self._client, self._accounts, self._objects, self._wall = client, accounts, objects, wall
        self._dialogues = Dialogues(client, objects, wall)
        self._undoing = Undoing(self._dialogues)

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
            return NO_ANSWER
        outcome = await self._in_time(message, self._inquired(account, message))
        return outcome if type(outcome) is not NotAsked else ended_unasked(outcome.why)

    async def reverse(self, message: Ask) -> bool:
        """See ``Processor.reverse``.  What was captured goes back by a refund, and is undone once that is final."""
        account = self._accounts(message.merchant)
        if account is None:
            return False
        try:
            async with asyncio.timeout(max(0.0, (message.deadline - self._wall()).total_seconds())):
                return await self._undoing.undo(account, message)
        except (TimeoutError, ObjectsUnavailable):
            return False

    async def charge_state(self, merchant: str, charge_id: str, deadline: datetime) -> str:
        """Amazon's word for how a charge stands; empty where it cannot be read."""
        account = self._accounts(merchant)
        if account is None or not is_id(charge_id):
            return ""
        said = await self._client.get(account, f"/charges/{charge_id}", deadline)
        charge = charge_of(said.object) if type(said) is Said and said.is_good else None
        return charge.state if charge else ""

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

    async def payer_email(self, merchant: str, account: str) -> str:
        """See ``KnowsPayers``: of a permission's buyer, where the button asked for the scope ``email``."""
        known = self._accounts(merchant)
        if known is None or _PERMISSION.fullmatch(account) is None:
            return ""
        said = await self._client.get(known, f"/chargePermissions/{account}", self._wall() + timedelta(seconds=PAYER_SECONDS))
        return email_of(said.object) if type(said) is Said and said.is_good else ""

    async def _in_time(self, message: Ask, answer: Any) -> Outcome:
        try:
            async with asyncio.timeout(max(0.0, (message.deadline - self._wall()).total_seconds())):
                return await answer
        except TimeoutError:
            return NO_ANSWER
        except ObjectsUnavailable as error:
            log.warning("amazon pay: what belongs to operation %d cannot be read or stored: %s", message.operation_id, error)
            return Unknown(Silence.CONNECTION_LOST)

    async def _asked(self, account: Account, message: Ask) -> Outcome:
        match message.kind:
            case Kind.AUTHORIZATION | Kind.PURCHASE:
                if _PERMISSION.fullmatch(message.account):
                    return await self._dialogues.charge(account, message)
                return await self._dialogues.complete(account, message)
            case Kind.CAPTURE:
                return await self._dialogues.capture(account, message)
            case Kind.VOID:
                return await self._dialogues.void(account, message)
            case Kind.REFUND:
                return await self._dialogues.refund(account, message)
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
            return NO_ANSWER
        if thing.undone:
            return Reversed() if thing.state == UNDONE else NO_ANSWER
        if message.kind in FIRST:
            message = message._replace(account=thing.session_id or thing.permission_id)
        return await self._asked(account, message._replace(repeat=True))
