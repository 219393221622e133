"""A merchant with plans, and whoever does what is due of them when the test wants it."""
from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from ringfence.api.aps import recurring as door
from ringfence.api.aps.door import order_key
from ringfence.background.recurring import Runner
from ringfence.core.plan import reference_of
from ringfence.engine.plan_notices import Desk
from ringfence.engine.plan_terms import Charge, Charged, Invoice, Order
from ringfence.engine.plans import Change, Plans, Wish
from ringfence.linking import invoice_of, link_states
from ringfence.storage import jobs
from ringfence.storage.jobs import Job
from ringfence.storage.plans import PlanRow
from tests.engine.composition import Process, Shop, shop

PLAN_URL = "http://127.0.0.1:9/plans"
START = date(2026, 1, 31)
BEGIN = datetime(2026, 1, 31, tzinfo=UTC)
DAY = timedelta(days=1)


def wish(plan_id: str = "gym", **different: Any) -> Wish:
    """A plan that charges 25.00 AED at the end of every month."""
    return Wish(**({
        "plan_id": plan_id, "kind": "charge", "token_name": "T1", "minor": 2_500, "currency": "AED", "email": "sara@example.com",
        "description": "Gym one month", "start": START, "every": 1, "unit": "month", "anchor": None, "zone": "UTC", "until": None,
        "count": None, "missed": "charge_missed", "failed": "pause", "notice_days": 0,
    } | different))


class Members:
    """One merchant, its plans, and one process that does what is due."""

    def __init__(self, one: Process, here: Shop, *, invoice: Invoice | None = None) -> None:
        self.one, self.here = one, here
        desk = Desk(door.notices(), seconds=5.0)
        self.plans = Plans(one.pool, one.now, desk, door.judge(one.now, sandbox=True), partial(link_states, one.links))
        self.charge: Charge = door.charger(one.api._service, sandbox=True)
        self.runner = Runner(
            one.pool, one.directory, self._charged, invoice or invoice_of(one.links), desk, key_of=order_key, now=one.now)
        self.orders: list[str] = []             # what the door was asked for

    async def _charged(self, orders: Sequence[Order]) -> list[Charged]:
        self.orders += [order.reference for order in orders]
        return await self.charge(orders)

    @property
    def number(self) -> int:
        return self.here.account.merchant_id

    async def card(self, name: str = "T1", **fields: str) -> None:
        """A token whose card its holder has paid with."""
        await self.here.token(name, **fields)
        paid = await self.here.purchase(f"first-{name}", token_name=name)
        assert paid["response_code"] == "14000"

    async def plan(self, plan_id: str = "gym", **different: Any) -> PlanRow:
        made = await self.plans.create(self.here.account, wish(plan_id, **different))
        assert isinstance(made, PlanRow), made
        return made

    async def claimed(self, holder: str = "tests", lease: float = 10.0) -> list[Job]:
        """What is due, in somebody's hands."""
        return await jobs.claim(
            self.one.pool, "plan", now=self.one.now(), holder=holder, lease=lease, per_merchant=100, limit=100, after=-1)

    async def work(self) -> None:
        """Do all that is due now."""
        while due := await self.claimed():
            await self.runner.run(due)

    async def until(self, instant: datetime) -> None:
        """Let time go on from one due instant to the next, with everything done on the way."""
        await self.work()
        while (at := await self.one.value("SELECT min(due_at) FROM jobs WHERE queue = 'plan'")) is not None and at <= instant:
            self.one.now.now = max(at, self.one.now())
            await self.work()
        self.one.now.now = instant

    async def jump(self, instant: datetime) -> None:
        """Let nobody have been there meanwhile."""
        self.one.now.now = instant
        await self.work()

    async def pause(self, plan_id: str = "gym") -> Any:
        return await self.plans.pause(self.here.account, plan_id, "says the test")

    async def resume(self, plan_id: str = "gym", *, charge_missed: bool = False) -> Any:
        return await self.plans.resume(self.here.account, plan_id, charge_missed=charge_missed)

    async def end(self, plan_id: str = "gym") -> Any:
        return await self.plans.end(self.here.account, plan_id, "says the test")

    async def change(self, plan_id: str = "gym", **different: Any) -> Any:
        return await self.plans.change(self.here.account, plan_id, Change(**different))

    async def standing(self, plan_id: str = "gym") -> tuple[str, str]:
        """Status and reason."""
        shown = await self.plans.show(self.here.account, plan_id, 1)
        assert shown is not None
        return shown.plan.status, shown.plan.reason

    async def periods(self, plan_id: str = "gym") -> list[str]:
        """Due dates and how they stand, in their order."""
        shown = await self.plans.show(self.here.account, plan_id, 500)
        assert shown is not None
        return [f"{one.period.due_date:%m-%d} {one.period.state}" for one in reversed(shown.periods)]

    async def payments(self, plan_id: str = "gym") -> dict[str, list[tuple[str, int]]]:
        """What the books say of a plan's references: by due date, result and amount of every attempt."""
        found: dict[str, list[tuple[str, int]]] = {}
        for row in await self.one.fetch("""
            SELECT o.reference, o.minor, (SELECT x.result FROM outcomes x WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id
                                          AND x.operation_id = o.operation_id ORDER BY x.attempt DESC LIMIT 1) AS result
            FROM operations o WHERE o.merchant_id = $1 AND o.reference LIKE $2 || '.%' AND o.operation_id = o.payment_id ORDER BY o.operation_id""",
                self.number, plan_id):
            found.setdefault(row["reference"].split(".")[1], []).append((row["result"], row["minor"]))
        return found

    async def charged(self, plan_id: str = "gym") -> list[str]:
        """The due dates that money was taken for, each as often as it was."""
        return sorted(day for day, tries in (await self.payments(plan_id)).items() for result, _ in tries if result == "approved")

    async def notices(self) -> list[dict[str, str]]:
        """What the merchant is told of plans, in order."""
        rows = await self.one.fetch(
            "SELECT d.body FROM deliveries d WHERE d.merchant_id = $1 AND d.purpose = 'plan' ORDER BY d.payment_id, d.sequence", self.number)
        return [json.loads(row["body"]) for row in rows]


async def members(one: Process, identifier: str = "Club", *, invoice: Invoice | None = None, **settings: str) -> Members:
    """A merchant that is told of its plans, with a card."""
    here = await shop(one, identifier, **{"plan_url": PLAN_URL, **settings})
    made = Members(one, here, invoice=invoice)
    await made.card()
    return made


def reference(day: str, attempt: int = 1, plan_id: str = "gym") -> str:
    """The merchant_reference of an attempt; ``day`` as YYYYMMDD."""
    return reference_of(plan_id, datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date(), attempt)


async def both(*work: Any) -> None:
    """At the same time; what one raises is raised."""
    await asyncio.gather(*work)
