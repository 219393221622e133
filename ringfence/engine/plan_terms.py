"""What keepers of plans and whoever charges them share: an order and its end, the functions that are handed in, a plan's row as terms.

Decides nothing.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.core.plan import Missed, Standing, Status, Terms
from ringfence.core.retries import Rules
from ringfence.core.schedule import Schedule, Unit
from ringfence.engine.directory import Merchant
from ringfence.engine.intents import Result
from ringfence.engine.settings import Settings
from ringfence.storage import jobs
from ringfence.storage.jobs import JobRow
from ringfence.storage.plans import PlanRow

QUEUE = "plan"
"""The queue of plans; a job's subject is the plan's number."""
ACTOR = "job:plan"
"""Who charges: the actor of every payment that a plan begins."""


class Order(NamedTuple):
    """One charge of a card on behalf of a plan; ``minor`` in minor units of ``currency``."""

    merchant: Merchant
    reference: str                      # merchant_reference, and what the payment's key is made of
    token_name: str
    minor: int
    currency: str
    email: str
    description: str


class Charged(NamedTuple):
    """What became of an order: the engine's result, or why the engine was not even asked.  ``refused`` is in the door's words."""

    result: Result | None
    refused: str = ""
    card_id: int | None = None


Charge = Callable[[Sequence[Order]], Awaitable[list[Charged]]]
"""Carry out orders together; what became of each, in their order."""
Judge = Callable[[Order], str | None]
"""Why an order would be refused whatever the card, in the door's words; ``None`` where it would not."""


class NoInvoice(NamedTuple):
    """Why an invoice was not sent, and will not be while nothing changes.  ``is_taken``: its reference is another order's."""

    why: str
    is_taken: bool = False


Invoice = Callable[[Merchant, PlanRow, date, int], Awaitable[str | NoInvoice]]
"""Send the invoice of a due date, and give its payment link.  Asked again for the same due date and number, it gives the same link and
sends no second invoice: ``reference_of`` names it."""
Render = Callable[[Merchant, Mapping[str, str]], bytes | None]
"""A notice as signed JSON; ``None`` where the merchant has nothing to sign with."""


def schedule_of(row: PlanRow) -> Schedule:
    """When it is due."""
    return Schedule(row.start, row.every, Unit(row.unit), row.anchor, row.zone, row.until, row.count)


def terms_of(row: PlanRow) -> Terms:
    """What was agreed."""
    return Terms(schedule_of(row), Missed(row.missed), row.notice_days)


def standing_of(row: PlanRow) -> Standing:
    """How far it has come."""
    return Standing(Status(row.status), row.place, row.announced)


def rules_of(settings: Settings) -> Rules:
    """How the merchant's declined payments are tried again."""
    return Rules(settings.plan_retry_days, settings.plan_retry_limits)


async def wake(connection: asyncpg.Connection, row: PlanRow, at: datetime) -> None:
    """Have somebody look at the plan, not later than ``at`` (business time)."""
    await jobs.wake(connection, [JobRow(row.merchant_id, QUEUE, row.number, 0, at)])


def when_next(now: datetime, asked_at: datetime) -> datetime:
    """When a doubt is looked at again: the longer it lasts, the later, between a minute and an hour."""
    return now + min(max(now - asked_at, timedelta(minutes=1)), timedelta(hours=1))
