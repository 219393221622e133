"""A worker process that pays with Amazon until somebody kills it: payments of all shapes, and what ends the doubts of those that died.

Run as ``python -m tests.faults.amazon_worker FILE``; the file says everything (see ``Orders``).  A line is written for every answer.
"""
from __future__ import annotations

import asyncio
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from ringfence.background import abandoned
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved
from ringfence.engine.amazon_objects import StoredObjects
from ringfence.engine.intents import Intent
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.processors.amazon_pay.accounts import Account, Environment, Region
from ringfence.processors.amazon_pay.client import Client
from ringfence.processors.amazon_pay.connections import Connections
from ringfence.processors.amazon_pay.processor import AmazonPay
from ringfence.processors.amazon_pay.signing import Signer, load_key
from tests.engine import composition
from tests.engine.composition import Process, Time, process
from tests.engine.recovering import recovers, try_due

A, P, C, V, R = Kind.AUTHORIZATION, Kind.PURCHASE, Kind.CAPTURE, Kind.VOID, Kind.REFUND
TOGETHER = 6
ASK_SECONDS = 4.0

#: What becomes of a payment of 900: operations and amounts (``None``: all that is left).
SHAPES: tuple[tuple[tuple[Kind, int | None], ...], ...] = (
    ((P, 900), (R, 300), (R, 600)), ((P, 900), (R, 900)), ((A, 900), (C, 900), (R, 100)), ((A, 900), (C, 400), (C, 300), (V, None), (R, 650)),
    ((A, 900), (V, None)), ((A, 900), (C, 500), (V, 100), (C, 300)),
)


class Orders(msgspec.Struct):
    """What a worker is told: the database and its master key, its number, whom it pays for, and where; sessions are of authorizations."""

    dsn: str
    master_key: str
    place: int
    merchant: str
    site: str
    key_file: str
    permissions: list[str]
    sessions: list[str]
    seed: int


class Passing(Time):
    """Business time that goes on with the machine's, and further when it is moved."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    @property
    def now(self) -> datetime:      # type: ignore[override]
        return datetime.now(UTC) + self._ahead

    @now.setter
    def now(self, instant: datetime) -> None:
        self._ahead = instant - datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def account_at(site: str, key_file: Path) -> Account:
    """The merchant's account there."""
    return Account("SHOP", "amzn1.application-oa2-client.shop", Region.NA, Environment.SANDBOX, Signer("SANDBOX-KEY", load_key(key_file.read_bytes())), site)


def with_amazon(one: Process, merchant: str, account: Account) -> AmazonPay:
    """The processor over that process's database; its engine and recovery know it from now on."""
    def number(name: str) -> int | None:
        found = one.directory.merchant(name)
        return found and found.merchant_id

    made = AmazonPay(Client(Connections()), {merchant: account}.get, StoredObjects(one.pool, number))
    one.engine._processors = {**one.engine._processors, made.name: made}
    recovers(one)._processors = one.engine._processors
    return made


class Payer:
    """Pays again and again."""

    def __init__(self, one: Process, orders: Orders, chance: random.Random) -> None:
        self._one, self._orders, self._chance = one, orders, chance

    async def forever(self, slot: int) -> None:
        """One payment behind the other."""
        sessions = self._orders.sessions[slot::TOGETHER]
        while True:
            shape = self._chance.choice(SHAPES)
            session = sessions.pop() if sessions and shape[0][0] is A else ""
            await self._pay(shape, session or self._chance.choice(self._orders.permissions))

    async def _pay(self, shape: tuple[tuple[Kind, int | None], ...], account: str) -> None:
        merchant = self._one.directory.merchant(self._orders.merchant)
        assert merchant is not None
        payment_id = self._one.new_id()
        for kind, minor in shape:
            first = kind in (A, P)
            command = Command(kind, minor, "USD", payment_id if first else self._one.new_id())
            result = await self._one.engine.execute(Intent(
                merchant.merchant_id, merchant.identifier, payment_id, command, "ppro", "test", "test", b"content",
                reference=f"K{payment_id}" if first else None, processor="amazon_pay", account=account if first else ""))
            sys.stdout.write(f"{kind} {type(result.outcome).__name__}\n")
            sys.stdout.flush()
            if not isinstance(result.outcome, Approved) and kind is not R:
                return


async def _end_doubts(one: Process) -> None:
    """As the background does: of whoever died, and one's own."""
    while True:
        try:
            await abandoned.sweep(one.pool, one.directory, one.engine)
            await try_due(one)
        except CONNECTION_LOST as error:
            sys.stderr.write(f"{error}\n")
        await asyncio.sleep(0.2)


async def _work(orders: Orders) -> None:
    composition.MASTER_KEY = orders.master_key
    async with process(orders.dsn, orders.place, now=Passing(), ask_seconds=ASK_SECONDS, recovers=True) as one:
        with_amazon(one, orders.merchant, account_at(orders.site, Path(orders.key_file)))
        payer = Payer(one, orders, random.Random(orders.seed))
        await asyncio.gather(_end_doubts(one), *(payer.forever(slot) for slot in range(TOGETHER)))


if __name__ == "__main__":
    asyncio.run(_work(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders)))
