"""What a wallet tells of itself: instant notifications, taken in once, and everything that follows from one looked up at the provider.

A notification says that something changed, not what.  So it only has looked at now what would be looked at anyway: doubts and refunds of the
payments concerned by ``recovery``, a hold that is gone, a permission that was ended.  One that is lost costs time and nothing else.
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from enum import Enum

import asyncpg

from ringfence.core.notices import Notice, Noticed
from ringfence.engine.batcher import CommitFailed
from ringfence.engine.engine import Engine
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.processors.amazon_pay.notifications import NotGenuine, Notified, NotNow, Verifier
from ringfence.processors.amazon_pay.objects import Objects, ObjectsUnavailable, Thing
from ringfence.processors.amazon_pay.processor import AmazonPay
from ringfence.processors.amazon_pay.wallet import Absent, Wallet
from ringfence.storage import amazon_objects as rows

log = logging.getLogger(__name__)

READING_SECONDS = 5.0
"""For what is read at Amazon because of a notification (wall time)."""


KEPT = timedelta(days=30)
"""So long (business time) a notification is known again.  Amazon's service tries for 23 days at most; one that came even later would only have
looked at once more what it is about."""


class Heard(Enum):
    """What became of a notification."""

    DONE = "done"
    AGAIN = "again"                 # it cannot be worked off now: it should be sent again
    REFUSED = "refused"             # it is not genuine


Closed = Callable[[str, str, str], Awaitable[None]]
"""Told of a permission that has ended: the merchant's identifier, the permission, and Amazon's reason."""
Returned = Callable[[str, str], Awaitable[None]]
"""Told of a permission whose payments are not known: the merchant's identifier and the permission.  A session may wait for its end."""


async def _nobody(*_: str) -> None:
    """Where nobody wants to hear of it."""


class WalletNotices:
    """Takes notifications in."""

    def __init__(
        self, verifier: Verifier, processor: AmazonPay, wallet: Wallet, objects: Objects, engine: Engine, pool: asyncpg.Pool, *,
        merchants: Callable[[str], list[str]], numbers: Callable[[str], int | None], closed: Closed = _nobody, returned: Returned = _nobody,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``merchants``: identifiers of the merchants with an account of Amazon's name for them; ``numbers``: a merchant's number."""
        self._verifier, self._processor, self._wallet, self._objects = verifier, processor, wallet, objects
        self._engine, self._pool, self._merchants, self._numbers = engine, pool, merchants, numbers
        self._closed, self._returned, self._wall = closed, returned, wall

    async def receive(self, body: bytes) -> Heard:
        """A notification as it came over the wire."""
        said = await self._verifier.verify(body)
        if isinstance(said, NotGenuine):
            log.warning("a notification is not believed: %s", said.problem)
            return Heard.REFUSED
        if isinstance(said, NotNow):
            log.warning("a notification waits: %s", said.problem)
            return Heard.AGAIN
        try:
            for merchant in self._merchants(said.merchant_id):
                await self._once(merchant, said)
        except (*CONNECTION_LOST, ObjectsUnavailable, CommitFailed) as lost:
            log.warning("notification %s waits: %s", said.notification_id, lost)
            return Heard.AGAIN
        return Heard.DONE

    async def _once(self, merchant: str, said: Notified) -> None:
        number = self._numbers(merchant)
        if number is None or not await rows.notified(self._pool, number, said.notification_id, self._engine.now()):
            return
        try:
            await self.notified(merchant, said.object_type, said.object_id, said.permission_id)
        except BaseException:
            await rows.forget_notification(self._pool, number, said.notification_id)
            raise

    async def notified(self, merchant: str, object_type: str, object_id: str, permission_id: str) -> None:
        """Look now at what belongs to an object of Amazon's; for whoever heard that it changed."""
        number = self._numbers(merchant)
        if number is None:
            return
        things = await self._objects.named(merchant, object_id) or await self._objects.named(merchant, permission_id)
        for payment_id in sorted({thing.payment_id for thing in things}):
            await self._engine.resolve(number, payment_id)
        if object_type == "CHARGE":
            await self._look_at_hold(number, merchant, object_id, things)
        if not things:
            await self._returned(merchant, permission_id or object_id)
        if object_type == "CHARGE_PERMISSION":
            found = await self._wallet.permission(merchant, object_id, self._wall() + timedelta(seconds=READING_SECONDS))
            if isinstance(found, Absent):
                if not found.is_final:
                    raise ObjectsUnavailable(f"permission {object_id} cannot be read: {found.reason}")
            elif found.state == "Closed":
                await self._closed(merchant, object_id, found.reasons[0] if found.reasons else "")

    async def _look_at_hold(self, number: int, merchant: str, charge_id: str, things: list[Thing]) -> None:
        """A charge that waits for its capture and was canceled by somebody else holds nothing any more."""
        held = next((thing for thing in things if thing.charge_id == charge_id and thing.holds and not thing.undone), None)
        if held is None or any(thing.charge_id == charge_id and thing.kind in ("capture", "cancel") for thing in things):
            return
        state = await self._processor.charge_state(merchant, charge_id, self._wall() + timedelta(seconds=READING_SECONDS))
        if not state:
            raise ObjectsUnavailable(f"charge {charge_id} cannot be read")
        if state == "Canceled":
            notice = Notice(Noticed.HOLD_DROPPED, f"canceled:{charge_id}")
            await self._engine.notice(number, held.payment_id, self._processor.name, notice)
