"""The run: load, kills one after the other, then peace, and the judgement.

Decides when a kill counts, and how long everybody may take to come back; who dies and how is ``killer``'s.
"""
from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import asyncpg

from ringfence.engine.clock import Clock
from ringfence.engine.points import IN_EXPIRY, IN_WEBHOOK, NAMES
from ringfence.processors.simulator import Control, read_book
from ringfence.storage.postgres import PostgresError, address
from ringfence.torture import judge
from ringfence.torture.killer import Page, Watch
from ringfence.torture.load import UNKNOWN, Load, chances, statuses
from ringfence.torture.receiver import Receiver
from ringfence.torture.report import Report, Struck
from ringfence.torture.service import GONE_SECONDS, Service, ServiceFailed
from ringfence.torture.shops import shop
from ringfence.torture.tally import CHANCE, GROUP, SEPARATE, SHARES, SUPERVISOR, WORKER, scattered

CLIENTS = 64
MERCHANTS = 4
IN_FLIGHT, BETWEEN = 16, 200
"""A kill counts only with so many requests in flight, and so many acknowledged since the last."""
DRY = 2_000
"""Operations acknowledged in a run without any kill."""
TRIES = 3
"""So often a kind is tried until it counts; then chance takes its place."""
BACK_SECONDS = 30.0
"""So long everybody may take to serve again; what takes longer ends the run."""
POINT_SECONDS = 15.0
WHOLE_SECONDS = 20.0
SETTLE_SECONDS = 120.0
LOOK_SECONDS, KNOCK_SECONDS = 0.05, 0.02
HOLD_DAYS = 1
#: How many pass a point before somebody dies there, at most.
COUNTS = {IN_WEBHOOK: 10, IN_EXPIRY: 1}
COUNT = 100
OPEN = """
SELECT (SELECT count(*) FROM operations o WHERE NOT EXISTS (
            SELECT FROM outcomes x WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
              AND x.result NOT IN ('unknown', 'challenge'))
          AND NOT EXISTS (          -- it waits for its payer, and nobody was asked
            SELECT FROM payments p WHERE p.merchant_id = o.merchant_id AND p.payment_id = o.payment_id AND p.status = 'challenged'
              AND NOT EXISTS (SELECT FROM authentications a WHERE a.merchant_id = o.merchant_id AND a.payment_id = o.payment_id
                              AND a.claim IS NOT NULL))) AS doubts,
       (SELECT count(*) FROM jobs WHERE queue IN ('recovery', 'reversal')) AS jobs,
       (SELECT count(*) FROM deliveries d JOIN endpoints e USING (merchant_id, endpoint_id) WHERE d.state = 'waiting' AND e.url = $1) AS waiting,
       (SELECT min(due_at) FROM jobs WHERE queue IN ('recovery', 'reversal')) AS due_at
"""


class Plan(NamedTuple):
    """What is asked for.  ``kinds`` are the kinds of the kills of the service, in order."""

    kinds: tuple[str, ...]
    database_kills: int
    seed: int
    workers: int
    separate: bool


class Trial:
    """One run on one service, which is started and stopped by whoever makes this."""

    def __init__(self, plan: Plan, service: Service, page: Page, acknowledged: Path, step: Callable[[str, float], None]) -> None:
        """*acknowledged* receives what clients heard; *step* is told what happens next and about how many seconds it takes."""
        self._plan, self._service, self._page, self._acknowledged, self._step = plan, service, page, acknowledged, step
        self._chance = chances(plan.seed, "killer")
        self._load = Load(service.port, acknowledged)
        self._struck: list[Struck] = []
        self._databases: list[Struck] = []
        self._missed: Counter[str] = Counter()
        self._since = 0                 # acknowledged until the last kill
        self._receiver = Receiver()

    async def run(self) -> Report:
        """The whole run.  Raises ``ServiceFailed`` where the service does not come back."""
        began = time.monotonic()
        try:
            async with self._receiver:
                merchants = self._service.merchants()[:MERCHANTS]
                told = {merchants[0].identifier: self._receiver.living, merchants[1].identifier: self._receiver.dead}
                for merchant in merchants:
                    url = told.get(merchant.identifier, "")
                    settings = {"hold_days": str(HOLD_DAYS), "feedback_url": url, "notification_url": url, "feedback_interval": "2"}
                    await self._service.admin("PATCH", f"/admin/merchants/{merchant.identifier}", {"settings": settings})
                async with self._shopping():
                    await self._kills()
                self._step("Waiting until nothing is in doubt", 15)
                settling = time.monotonic()
                await self._settle()
                settled = time.monotonic() - settling
                self._step("Judging", 5)
                return await self._judged(began, settled, list(told))
        finally:
            self._load.close()

    # -- the load

    @asynccontextmanager
    async def _shopping(self) -> AsyncIterator[None]:
        merchants = self._service.merchants()[:MERCHANTS]
        clients = [asyncio.create_task(shop(self._load, merchants[number % MERCHANTS], self._plan.seed, number)) for number in range(CLIENTS)]
        weather = asyncio.create_task(self._weather())
        try:
            yield
            self._load.is_over = True
            weather.cancel()
            await asyncio.wait([weather])
            await asyncio.wait_for(asyncio.gather(*clients), BACK_SECONDS * 2)
        finally:
            for task in (*clients, weather):
                task.cancel()
            await asyncio.gather(*clients, weather, return_exceptions=True)

    async def _weather(self) -> None:
        """The issuer is slow for a while, or away; or all is well, as it mostly is."""
        chance = chances(self._plan.seed, "weather")
        control = Control(self._service.data / "simulator", seed=self._plan.seed)
        try:
            while True:
                await asyncio.sleep(chance.uniform(2, 6))
                if chance.random() < 0.7:
                    control.set_latency(chance.choice((0.02, 0.1, 0.3)))
                    await asyncio.sleep(chance.uniform(0.5, 2))
                    control.set_latency(0)
                else:
                    control.offline()
                    await asyncio.sleep(chance.uniform(0.1, 0.4))
                    control.online()
        finally:
            control.online()
            control.set_latency(0)
            control.close()

    def _move_clock(self, by: timedelta) -> None:
        self._load.moves += 1
        clock = Clock(self._service.data / "clock")
        clock.advance(by)
        clock.close()

    # -- the kills

    async def _kills(self) -> None:
        plan = self._plan
        order = scattered(plan.kinds, "", plan.database_kills, self._chance)
        for number, kind in enumerate(order, start=1):
            self._step(f"Kill {number} of {len(order)}: {kind or 'database'}", 3)
            await self._counted(kind)
        await self._pause()
        await self._reached(BETWEEN if order else DRY)
        self._move_clock(timedelta(days=HOLD_DAYS, hours=1))
        self._since = self._load.acknowledged
        await self._reached(BETWEEN)

    async def _counted(self, kind: str) -> None:
        """Kill until it counts; where a kind never does, another takes its place."""
        wanted = kind
        for _ in range(TRIES):
            await self._pause()
            chosen = self._by_chance() if kind == CHANCE else kind
            struck = await (self._kill_database() if not kind else self._kill(chosen))
            if struck is not None and struck.in_flight >= IN_FLIGHT:
                (self._struck if kind else self._databases).append(struck)
                return
            self._missed[chosen or "database"] += 1
            if kind in NAMES and struck is None:
                kind = self._chance.choice((GROUP, WORKER))     # nobody comes by there: it would be the same again
        self._missed[f"{wanted or 'database'}, given up"] += 1

    def _by_chance(self) -> str:
        others = [SUPERVISOR, SEPARATE] if self._plan.separate else [SUPERVISOR]
        return self._chance.choice([*others, *others, *(kind for kind in SHARES if kind != CHANCE)])

    async def _kill(self, kind: str) -> Struck | None:
        """One kill of the service; ``None`` where nobody died."""
        if kind in NAMES:
            return await self._kill_at(kind)
        service, processes = self._service, self._service.processes
        pids = {
            GROUP: processes.all, SUPERVISOR: (processes.supervisor,), SEPARATE: (service.separate,),
            WORKER: (self._chance.choice(processes.workers or (processes.supervisor,)),),
        }[kind]
        victims, others = Watch(pid for pid in pids if pid), Watch(processes.all)
        await asyncio.sleep(self._chance.uniform(0, 0.02))      # anywhere between two answers
        in_flight, at = self._load.in_flight, time.monotonic()
        victims.kill()
        if kind in (GROUP, SUPERVISOR):
            await self._gone(others)
            service.died()
            await service.start()
        else:
            await self._gone(victims)
            others.close()
            await service.start_separate()
        victims.close()
        return await self._served(kind, in_flight, at)

    async def _kill_at(self, kind: str) -> Struck | None:
        point = NAMES.index(kind)
        processes = self._service.processes
        watch = Watch(pid for pid in (*processes.workers, self._service.separate) if pid)
        self._page.arm(point, self._chance.randint(1, COUNTS.get(point, COUNT)))
        if point == IN_EXPIRY:
            self._move_clock(timedelta(days=HOLD_DAYS, hours=1))
        died = await watch.first(POINT_SECONDS)
        in_flight, at = self._load.in_flight_lately, time.monotonic()
        watch.close()
        died = self._page.disarm(point) and died        # whoever died did so there, and nowhere else
        if not died:
            return None
        await self._service.start_separate()
        return await self._served(kind, in_flight, at)

    async def _kill_database(self) -> Struck | None:
        processes = self._service.processes
        if not processes.postmaster:
            return None
        victim = Watch([processes.postmaster])
        in_flight, at = self._load.in_flight, time.monotonic()
        victim.kill()
        await self._gone(victim)
        accepted = await self._knock(at + BACK_SECONDS)
        struck = await self._served("database", in_flight, at)
        return struck._replace(back=max(0.0, at + struck.away - accepted))

    async def _gone(self, watch: Watch) -> None:
        if alive := await asyncio.to_thread(watch.alive_after, GONE_SECONDS):
            raise ServiceFailed(f"Processes {alive} outlived the kill by {GONE_SECONDS:g} seconds.")

    async def _knock(self, until: float) -> float:
        """When PostgreSQL accepted a bare connection again (monotonic)."""
        while time.monotonic() < until:
            try:
                connection = await asyncpg.connect(address(self._service.data), timeout=1)
            except (OSError, TimeoutError, PostgresError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(KNOCK_SECONDS)
                continue
            at = time.monotonic()
            await connection.close()
            return at
        raise ServiceFailed(f"PostgreSQL accepted no connection within {BACK_SECONDS:g} seconds after it was killed.")

    async def _served(self, kind: str, in_flight: int, at: float) -> Struck:
        if not await self._load.until_success(at, BACK_SECONDS):
            raise ServiceFailed(f"Nothing succeeded within {BACK_SECONDS:g} seconds after the kill: {kind}.")
        self._since = self._load.acknowledged
        return Struck(kind, in_flight, time.monotonic() - at)

    async def _pause(self) -> None:
        """Until everything runs again, enough was acknowledged since the last kill, and enough is in flight."""
        until = time.monotonic() + WHOLE_SECONDS
        while not self._service.is_whole and time.monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
        await self._reached(BETWEEN)
        while self._load.in_flight < IN_FLIGHT and time.monotonic() < until:
            await asyncio.sleep(0)

    async def _reached(self, more: int) -> None:
        """Until so many operations were acknowledged since the last kill."""
        if not await self._load.until_acknowledged(self._since + more, BACK_SECONDS * 2):
            raise ServiceFailed(f"Fewer than {more} operations were acknowledged in {BACK_SECONDS * 2:g} seconds.")

    # -- peace, and the judgement

    async def _settle(self) -> None:
        """Until nothing is in doubt and everything is told, or time is over.  Long pauses are shortened by the clock."""
        until = time.monotonic() + SETTLE_SECONDS
        connection = await asyncpg.connect(address(self._service.data))
        clock = Clock(self._service.data / "clock")
        try:
            while time.monotonic() < until:
                left = await connection.fetchrow(OPEN, self._receiver.living, timeout=None)
                if not (left["doubts"] or left["jobs"] or left["waiting"]):
                    return
                if left["due_at"] is not None and (wait := left["due_at"] - clock.now()) > timedelta(seconds=2):
                    clock.advance(wait)
                await asyncio.sleep(0.5)
        finally:
            clock.close()
            await connection.close()

    async def _judged(self, began: float, settled: float, told: list[str]) -> Report:
        load, service = self._load, self._service
        said = await statuses(load, service.merchants(), list(load.open_orders))
        still = [f"{merchant} {reference}: CHECK_STATUS says {UNKNOWN}" for (merchant, reference), code in said.items() if code == UNKNOWN]
        proof_ok, proof = await service.proof(self._acknowledged)
        rows = await judge.ledger(service.data)
        entries = await asyncio.to_thread(read_book, service.data / "simulator")
        findings = await asyncio.to_thread(judge.found, rows, entries, judge.lines_of(self._acknowledged))
        made, wrong = await judge.deliveries(
            service.data, told=told, living=self._receiver.living, times=self._receiver.times, digests=self._receiver.digests)
        if self._receiver.unnamed:
            wrong.append(f"{self._receiver.unnamed} calls came without an event's name")
        return Report(
            self._plan.seed, (len(self._plan.kinds), self._plan.database_kills), time.monotonic() - began, self._struck, self._databases,
            self._missed, load.sent, load.lost, load.acknowledged, load.codes, findings, still, load.surprises, made,
            self._receiver.times.total(), wrong, settled, proof_ok, proof,
        )


async def tortured(plan: Plan, folder: Path, step: Callable[[str, float], None]) -> Report:
    """A whole run on a service of its own below *folder*; an orderly end of the service is part of it."""
    acknowledged = folder / "acknowledged.jsonl"
    with Page(folder / "points") as page:
        service = Service(folder / "data", workers=plan.workers, seed=plan.seed, page=page.path, separate=plan.separate)
        try:
            step("Starting", 3)
            await service.start()
            report = await Trial(plan, service, page, acknowledged, step).run()
            await service.stop()
            return report
        finally:
            service.kill()
