"""Notices of plans: what a merchant is told of its plans, on the way that all webhooks take.

A notice is stored in the transaction of what it tells of, so that it is told if and only if that happened.  Decides where it goes and
what it says; its signed bytes are made by a function that is handed in.  Refuses to know how it is sent.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import asyncpg

from ringfence.core.plan import Period, reference_of
from ringfence.engine import webhooks
from ringfence.engine.directory import Merchant
from ringfence.engine.plan_terms import Render
from ringfence.engine.settings import policy_of
from ringfence.storage import webhooks as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.plans import PlanRow
from ringfence.storage.webhooks import DeliveryRow

PAGE = 1_000
DOOR = "plans"
"""The door of the endpoints that notices of plans go to."""

#: Every notice, by its name, and what it says.
NOTICES: dict[str, str] = {
    "upcoming": "a due date comes, so many days ahead as the plan says",
    "charged": "a due date was charged",
    "invoiced": "the invoice of a due date was sent",
    "failed": "an attempt was declined; `next_attempt_at` where it will be tried again",
    "renumbered": "the reference of a due date is another order's; it goes on at once under the next number",
    "skipped": "due dates were passed over, because later ones had overtaken them",
    "paused": "nothing begins until the plan is resumed",
    "resumed": "the plan goes on",
    "stopped": "the card must not be charged any more, or a due date failed and the plan stops then",
    "ended": "the last due date is over, or somebody ended the plan",
}


class Desk:
    """What is told of plans, and where: one merchant's address, asked for before a transaction begins."""

    def __init__(self, render: Render, *, seconds: float) -> None:
        """``seconds``: how long one delivery may take."""
        self._render, self._seconds = render, seconds

    async def endpoint(self, connection: asyncpg.Connection, merchant: Merchant, now: datetime) -> int | None:
        """The endpoint of the merchant's ``plan_url``; ``None`` without one.  Not within a transaction."""
        url = merchant.settings.plan_url
        if not url:
            return None
        policy = policy_of(merchant.settings, accepts=frozenset(), seconds=self._seconds)
        return await webhooks.endpoint_at(connection, now, (merchant.merchant_id, DOOR, url), policy)

    async def endpoints(self, connection: asyncpg.Connection, merchants: Sequence[Merchant], now: datetime) -> dict[int, int]:
        """The same of many merchants, by their numbers; none for those without an address."""
        wanted = {
            (merchant.merchant_id, DOOR, merchant.settings.plan_url): policy_of(merchant.settings, accepts=frozenset(), seconds=self._seconds)
            for merchant in merchants if merchant.settings.plan_url}
        found = await webhooks.endpoints_at(connection, now, wanted) if wanted else {}
        return {place[0]: number for place, number in found.items()}

    async def tell(
        self, connection: asyncpg.Connection, merchant: Merchant, endpoint: int | None, row: PlanRow, now: datetime, event: str,
        **more: object,
    ) -> PlanRow:
        """Within a transaction: a notice on its way; the plan with one notice more, still to be saved."""
        row, notice = self.worded(merchant, endpoint, row, now, event, **more)
        if notice is not None:
            await webhooks.hand_in_many(connection, now, [notice])
        return row

    def worded(
        self, merchant: Merchant, endpoint: int | None, row: PlanRow, now: datetime, event: str, **more: object,
    ) -> tuple[PlanRow, DeliveryRow | None]:
        """A notice that is still to be handed in, where the merchant is told; and the plan with it."""
        assert event in NOTICES
        if endpoint is None:
            return row, None
        said = {
            "notice": f"plan_{event}", "plan_id": row.plan_id, "plan_status": row.status, "sequence": str(row.notices + 1),
            "occurred_at": now.isoformat(), "currency": row.currency, "customer_email": row.email,
        } | {name: value.isoformat() if isinstance(value, date) else str(value) for name, value in more.items() if value not in (None, "")}
        body = self._render(merchant, said)
        if body is None:
            return row, None
        row = row._replace(notices=row.notices + 1)
        return row, webhooks.message(now, row.merchant_id, endpoint, row.number, row.notices, f"plan_{event}", "plan", body)


    async def replay(
        self, pool: asyncpg.Pool, merchants: Sequence[Merchant], now: datetime, *, since: datetime | None = None, until: datetime | None = None,
        number: int | None = None, event: str | None = None,
    ) -> int:
        """Hand notices to the addresses of today that have not been given them, byte for byte; how many.

        ``since`` and ``until`` (business time): when they were made; ``number``: of one plan; ``event``: of one name.  One whose bytes were
        erased is left out.
        """
        made = 0
        async with borrowed(pool) as connection:
            for merchant_id, endpoint in sorted((await self.endpoints(connection, merchants, now)).items()):
                while True:
                    async with connection.transaction():
                        copied = await rows.copy_notices(connection, merchant_id, endpoint, now, since, until, number, event, PAGE)
                        if copied:
                            await webhooks.wake(connection, now, [(merchant_id, endpoint)])
                    made += copied
                    if copied < PAGE:
                        break
        return made


def about(row: PlanRow, period: Period) -> dict[str, object]:
    """What a notice says of a period."""
    return {
        "due_date": period.due_date, "amount": period.minor,
        **({"merchant_reference": reference_of(row.plan_id, period.due_date, period.attempts)} if period.attempts else {}),
    }
