"""What the tests of debts share: a store whose issuer has a limit that nobody knows, the register, and what the background would do."""
from __future__ import annotations

import itertools
from typing import Any

from ringfence.core.commands import Kind
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Declined, Outcome
from ringfence.engine.collecting import QUEUE as COLLECT
from ringfence.engine.collecting import Collecting
from ringfence.engine.debts import QUEUE as DEBT
from ringfence.engine.debts import Debts
from ringfence.engine.trips import Trip
from ringfence.processors.processor import Ask
from ringfence.storage import jobs
from tests.engine.composition import Process, approve
from tests.engine.recovering import claim_due
from tests.engine.stores import Store


class Issuer:
    """Promises up to ``limit`` in all for a hold; declines more with ``code``."""

    def __init__(self, limit: int, code: str = "51") -> None:
        self.limit, self.code, self.held = limit, code, 0
        self.asked: list[int] = []              # what would have stood, question by question

    def __call__(self, message: Ask) -> Outcome:
        if message.kind not in (Kind.AUTHORIZATION, Kind.INCREMENT):
            return approve(message)
        self.asked.append(self.held + message.minor)
        if self.held + message.minor > self.limit:
            return Declined(self.code)
        self.held += message.minor
        return approve(message)


class Till:
    """A store with its register of debts, as one process serves them."""

    def __init__(self, store: Store, book: Any = None) -> None:
        self.store, self.process = store, store.process
        self.debts = debts_of(self.process, book or self.process.engine.notice)
        self.collecting = Collecting(self.process.pool, store.trips, self.debts, self.process.directory, self.process.now)
        self._facts = itertools.count(1)

    @property
    def merchant_id(self) -> int:
        return self.store.merchant_id

    def issuer(self, limit: int, code: str = "51") -> Issuer:
        """From now on every question goes to an issuer with a limit."""
        made = Issuer(limit, code)
        self.process.processor.forget()
        self.process.processor.say(*[made] * 100)
        return made

    async def enter(self, **coming: Any) -> Trip:
        return await self.store.enter(**coming)

    async def collect(self, trip: Trip, total: int) -> Any:
        """Ask for a cart's price, and do what is due."""
        asked = await self.collecting.collect(await self.store.find(trip), total, "USD", "test")
        await self.work()
        return asked

    async def work(self) -> int:
        """What is due of carts and debts, until nothing is; how many jobs that were."""
        done = 0
        for _ in range(50):
            due = [(job, self.collecting.run) for job in await claim_due(self.process, COLLECT)]
            due += [(job, self.debts.run) for job in await claim_due(self.process, DEBT)]
            for job, run in due:
                await run(job)
            if not due:
                return done
            done += len(due)
        raise AssertionError("there is always more to do")

    async def told(self, trip: Trip) -> tuple[int, int, int, int]:
        """Of a trip's account: incurred, recovered, forgiven, owed."""
        row = await self.debts.find(self.merchant_id, (await self.store.find(trip)).payment_id)
        assert row is not None
        return row.account.incurred, row.account.recovered, row.account.forgiven, row.account.owed

    async def ledger(self) -> dict[str, int]:
        """The balances of the book of debts."""
        rows = await self.process.fetch(
            "SELECT account, sum(balance)::bigint AS balance FROM balances WHERE account LIKE 'debt.%' GROUP BY account HAVING sum(balance) <> 0")
        return {row["account"].removeprefix("debt."): row["balance"] for row in rows}

    async def reject(self, trip: Trip) -> None:
        """Clearing does not let the trip's capture stand."""
        found = await self.store.find(trip)
        capture = found.payment.captures[0].id if found.payment else 0
        notice = Notice(Noticed.CAPTURE_REJECTED, f"rejected:{next(self._facts)}", found.payment.captured if found.payment else 0, capture)
        await self.process.engine.notice(self.merchant_id, found.payment_id, "scripted", notice)

    async def events(self) -> list[str]:
        """What merchants are told of debts."""
        return [row["type"] for row in await self.process.fetch("SELECT type FROM door_events WHERE type LIKE 'debt.%' ORDER BY subject_id, sequence")]

    async def waiting(self) -> list[str]:
        """The queues that have something to do, ever."""
        return [row["queue"] for row in await self.process.fetch("SELECT queue FROM jobs WHERE queue IN ('debt', 'collect') ORDER BY queue")]


def debts_of(process: Process, book: Any = None) -> Debts:
    """The register as one process has it."""
    return Debts(process.pool, process.directory, process.now, book=book, desk=process.links)


async def claim(process: Process, queue: str) -> jobs.Job:
    """The one job of a queue, in this process's hands."""
    [job] = await claim_due(process, queue)
    return job
