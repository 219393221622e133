"""One history: a few processes with the real engine and the real recovery, some payments, clients that do what the protocol allows,
and everything that can go wrong.  All of it follows from a seed.

Ten faults and an eleventh: an answer is lost, late, doubled, garbled, or for another amount; the connection to the issuer breaks before or
after it heard; a process dies at any await; a commit's answer is lost, or the database is away; a process stands still beyond its
deadlines and leases; the clock of a process is wrong by seconds.
"""
from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import NamedTuple

from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked, Reversed
from ringfence.core.refusals import Refusal
from ringfence.engine.intents import Intent, Result, processor_key
from ringfence.engine.recovery import Decided
from ringfence.processors.processor import Original
from ringfence.storage.recovery import RECOVERY
from tests.simulation.issuer import CALM, Issuer, Weather
from tests.simulation.loop import SimLoop
from tests.simulation.model import End, Line, Ours, Seen, Standing, judge
from tests.simulation.server import ASK_SECONDS, MERCHANT, NAME, PLAN, PROCESSOR, Server
from tests.simulation.store import ALL_RULES, Database, Rules

LONGEST_HOURS = 30
PENDING = ("authorization", "increment", "decrement", "capture", "void", "refund")


class Told(NamedTuple):
    """A history's end and how it came about."""

    seed: int
    wrong: list[str]
    steps: list[str]
    end: End


class Shop:
    """What one payment's client knows: the payment's number, once somebody told it."""

    def __init__(self, number: int, purchase: bool, minor: int) -> None:
        self.number, self.purchase, self.minor = number, purchase, minor
        self.payment_id = 0
        self.is_over = False


class History:
    """See the module."""

    def __init__(self, seed: int, rules: Rules = ALL_RULES) -> None:
        self.seed, self.chance = seed, random.Random(seed)
        chance = self.chance
        self.loop = SimLoop(chance)
        self.database = Database(self.loop.time, rules, PLAN)
        self.inquiry, self.remembers = chance.random() < 0.5, chance.random() < 0.7
        self.issuer = Issuer(chance, forgets_refunds=not self.remembers)
        bad = chance.choice((0.0, 0.02, 0.05, 0.12))
        self.storm = Weather(*(bad * chance.choice((0, 1, 1, 2)) for _ in Weather._fields))
        self.weather, self.database_back = self.storm, 0.0
        self.breaking, self.sticking = chance.choice((0, 0.005, 0.03)), chance.choice((0, 0.01, 0.06))
        hour = chance.choice((9, 23))                       # some histories pass the end of the issuer's day
        self.began = datetime(2026, 1, 5, hour, 59 if hour == 23 else 0, chance.randrange(60), tzinfo=UTC)
        self.steps: list[str] = []
        self.seen: list[Seen] = []
        self.mistakes: list[str] = []
        self.reviewed: list[tuple[str, int]] = []
        self._ids, self._numbers, self.is_over = 0, 0, False
        self.servers: list[Server] = []

    def run(self) -> Told:
        """The whole of it, judged."""
        self.loop.history(self._whole())
        end = self._end()
        return Told(self.seed, judge(end) + self.mistakes, self.steps, end)

    def note(self, what: str) -> None:
        """Write down what happens."""
        self.steps.append(f"{self.loop.time():11.4f}  {what}")

    def new_id(self) -> int:
        """Ids are counted, for all processes together."""
        self._ids += 1
        return self._ids

    def is_busy(self) -> bool:
        """Whether some operation has no outcome."""
        answered = {(merchant_id, operation_id) for merchant_id, operation_id, _ in self.database.endings}
        return any(name not in answered for name in self.database.operations)

    async def _whole(self) -> None:
        chance = self.chance
        self.servers = [self._server() for _ in range(chance.randint(2, 3))]
        steps = chance.randint(5, 25)
        shops = [Shop(number, chance.random() < 0.4, chance.choice((1, 999, 1000, 5000))) for number in range(1, chance.randint(1, 3) + 1)]
        clients = [self.loop.create_task(self._client(shop, steps // len(shops))) for shop in shops]
        storm = self.loop.create_task(self._storm())
        await asyncio.gather(*clients)
        if chance.random() < 0.5:
            await asyncio.sleep(chance.uniform(0, 60))
        storm.cancel()
        self.note("the storm is over")
        self.weather, self.breaking, self.database_back, self.is_over = CALM, 0.0, 0.0, True
        for server in list(self.servers):
            if server.machine.is_dead:
                self.replace(server)
        await self._quiet()
        await self._reviews()

    def _server(self) -> Server:
        self._numbers += 1
        return Server(self, self._numbers)

    # -- trouble

    async def _storm(self) -> None:
        """Processes die and stand still, the database goes away, the issuer is silent, all for a while."""
        chance, pace = self.chance, self.chance.choice((1.0, 5.0, 30.0))
        for _ in range(chance.choice((0, 3, 6, 12, 20))):
            await asyncio.sleep(chance.expovariate(1 / pace))
            what = chance.choice(("dies", "dies", "stands still", "stands still", "database", "issuer"))
            if what in ("dies", "stands still"):
                chance.choice(self.servers).trouble(what)
            elif what == "database":
                seconds = chance.choice((0.2, 2.0, 8.0))
                self.note(f"the database is away for {seconds} s")
                self.database_back = self.loop.time() + seconds
            elif what == "issuer":
                self.note("the issuer is silent")
                self.weather = Weather(unanswered=0.5, lost_before=0.5)
                self.loop.call_later(chance.choice((3.0, 60.0)), self._calmed)

    def replace(self, server: Server) -> None:
        """Another process for a dead one."""
        if server in self.servers:
            self.servers[self.servers.index(server)] = self._server()

    def _calmed(self) -> None:
        if self.weather is not CALM:
            self.weather = self.storm

    # -- clients

    async def _client(self, shop: Shop, steps: int) -> None:
        """Begins a payment, repeats that until it knows which one it is, and then does what comes to its mind."""
        chance, key = self.chance, f"order-{shop.number}"
        kind, partial = (Kind.PURCHASE if shop.purchase else Kind.AUTHORIZATION), self.chance.random() < 0.3
        while steps > 0:
            steps -= 1
            if shop.payment_id:
                asked = [self._later(shop) for _ in range(2 if chance.random() < 0.2 else 1)]
                await asyncio.gather(*asked)
            else:
                operation_id = self.new_id()
                await self._ask(shop, Command(kind, shop.minor, "AED", operation_id, partial), operation_id, key, partial)
            await asyncio.sleep(chance.choice((0, 0, 0.05, 1, ASK_SECONDS, 30, 700)) * chance.uniform(0.9, 1.1))

    async def _later(self, shop: Shop) -> None:
        chance = self.chance
        kind = chance.choice((Kind.REFUND, Kind.REFUND, Kind.CAPTURE) if shop.purchase else (
            Kind.CAPTURE, Kind.CAPTURE, Kind.REFUND, Kind.REFUND, Kind.VOID, Kind.INCREMENT, Kind.DECREMENT))
        minor = max(1, shop.minor // chance.choice((1, 2, 3, 10)))
        key = f"{kind}-{shop.payment_id}-{minor}" if chance.random() < 0.6 else None
        whole = kind is Kind.VOID
        command = Command(kind, None if whole else minor, "AED", self.new_id(), whole=whole)
        for _ in range(1 if key is None else chance.choice((1, 1, 2, 3))):
            if await self._ask(shop, command, shop.payment_id, key, False) not in ("unknown", "nothing"):
                return
            command = command._replace(operation_id=self.new_id())

    async def _ask(self, shop: Shop, command: Command, payment_id: int, key: str | None, partial: bool) -> str:
        """One request at some process that answers; what the client heard."""
        server = self.chance.choice(self.servers)
        kind, operation_id = command.kind, command.operation_id
        if server.machine.is_dead:
            return "nothing"
        self.note(f"client {shop.number}: {kind} {command.minor} as {operation_id} {key or ''} at process {server.number}")
        intent = Intent(
            MERCHANT, NAME, payment_id, command, "door", "client", "simulation", f"{kind}{command.minor}".encode(), key=key,
            asks_again=kind is Kind.REFUND, processor=PROCESSOR,
            original=None if payment_id == operation_id else Original(processor_key(payment_id), shop.minor, "", "", ""),
        )
        task = self.loop.spawn(server.machine, server.engine.execute(intent))
        await asyncio.wait([task], timeout=self.chance.choice((1.0, 20.0, 20.0)))
        if not task.done():
            said, result = "nothing", Result()
        elif (error := task.exception()) is not None:
            self.mistakes.append(f"a request raised {error!r}")
            return "nothing"
        else:
            result = task.result()
            said = _said(result)
        approved = result.outcome.minor if isinstance(result.outcome, Approved) else 0
        self.note(f"client {shop.number}: {operation_id} {said} {result.refusal or ''}")
        self.seen.append(Seen(payment_id, operation_id, str(kind), command.minor or 0, key or "", said, approved))
        if payment_id == operation_id:
            if result.operation is not None:
                shop.payment_id = operation_id
            elif result.refusal is Refusal.KEY_USED and result.earlier is not None:
                shop.payment_id = result.earlier.payment_id
        return said

    # -- the end

    async def _quiet(self) -> None:
        """Let the time run until nothing is due and nothing is on its way."""
        pause = 5.0
        while self.loop.time() < LONGEST_HOURS * 3600:
            await asyncio.sleep(pause)
            if not self.is_busy() and not self._to_do():
                await asyncio.sleep(60)                     # whoever is late comes by then
                if not self.is_busy() and not self._to_do():
                    return
            pause = min(pause * 1.5, 600)

    def _to_do(self) -> list[tuple[int, str, int]]:
        """Jobs that are not a person's business yet."""
        server = self.servers[0]
        return [name for name, job in self.database.jobs.items() if job.deadline_at is None or job.deadline_at > server.now()]

    async def _reviews(self) -> None:
        """A person asks the issuer by telephone, and decides; what is to be undone is undone there by hand."""
        database = self.database
        left = [(name, job) for name, job in database.jobs.items() if name[1] == RECOVERY]
        for (merchant_id, _, operation_id), job in left:
            self.reviewed.append((str(database.operations[merchant_id, operation_id][1].kind), operation_id))
            line = self.issuer.book.get(processor_key(operation_id))
            if (merchant_id, operation_id) in database.reversals:
                self.issuer.reverse(processor_key(operation_id))
                decided = Decided("reversed", 0, "telephone")
            elif line is not None and line.stands:
                decided = Decided("approved", line.minor, "telephone")
            else:
                decided = Decided("declined", 0, "telephone")
            database.decided[merchant_id, operation_id] = decided
            database.wake(RECOVERY, job.payment, operation_id, self.servers[0].now())
            self.note(f"a person decides about {operation_id}: {decided.outcome}")
        if left:
            await self._quiet()

    def _end(self) -> End:
        database = self.database
        ours = []
        for (merchant_id, operation_id), (_, row) in sorted(database.operations.items()):
            last = database.latest(merchant_id, operation_id)
            returned = last.outcome.returned if last is not None and isinstance(last.outcome, Reversed) else 0
            ours.append(Ours(row.payment_id, operation_id, str(row.kind), row.minor, row.accepts_partial, row.key or "",
                             last.result if last else "", last.minor if last else 0, returned))
        payments = {}
        for (_, payment_id), payment in sorted(database.payments.items()):
            ledger: dict[str, int] = {}
            for _, of, _, kind, minor in database.transfers:
                if of == payment_id:
                    ledger[kind] = ledger.get(kind, 0) + minor
            payments[payment_id] = Standing(
                payment.authorized, payment.captured, payment.voided, payment.refunded,
                sum(getattr(payment, f"pending_{name}") for name in PENDING), payment.unknown, ledger)
        book = [Line(key, entry.payment_id, entry.operation_id, entry.kind, entry.minor, entry.stands)
                for key, entry in self.issuer.book.items()]
        refused = {int(key.split("-")[0]) for key, said in self.issuer.answers.items()
                   if key.endswith("-return") and isinstance(said, Declined)}
        owed = sum(not acknowledged for acknowledged in database.reversals.values())
        return End(self.seen, ours, payments, book, len(database.jobs), owed, self.reviewed, refused, self.remembers)


def _said(result: Result) -> str:
    if result.refusal is not None:
        return "refused"
    match result.outcome:
        case Approved():
            return "approved"
        case Declined() | Reversed() | NotAsked():
            return "declined"
        case _:
            return "unknown"
