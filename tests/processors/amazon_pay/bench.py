"""Amazon Pay on the bench: the processor, the simulated site behind its own HTTP answers, and a buyer who approves; no socket between them."""
from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Unknown
from ringfence.processors.amazon_pay.accounts import Account, Environment, Region
from ringfence.processors.amazon_pay.client import Client
from ringfence.processors.amazon_pay.connections import Answer, Lost, NotSent, Origin
from ringfence.processors.amazon_pay.objects import Thing
from ringfence.processors.amazon_pay.processor import AmazonPay
from ringfence.processors.amazon_pay.signing import Signer
from ringfence.processors.processor import Ask
from tests.amazon_site.site_asking import BASE, KEY, STORE, TOKEN, Running, ask, running, usd

MERCHANT = "merchant-1"
PATIENCE = timedelta(seconds=4)
ACCOUNT = Account("SHOP", STORE, Region.NA, Environment.SANDBOX, Signer("SANDBOX-KEY", KEY), BASE)


class MemoryObjects:
    """``Objects`` in a dictionary, as one process would see them."""

    def __init__(self) -> None:
        self.things: dict[tuple[str, str], Thing] = {}

    async def begin(self, thing: Thing) -> Thing:
        for one in self.things.values():
            if one.merchant == thing.merchant and (one.key == thing.key or (thing.session_id and one.session_id == thing.session_id)):
                return one
        self.things[thing.merchant, thing.key] = thing
        return thing

    async def know(self, thing: Thing) -> None:
        was = self.things[thing.merchant, thing.key]
        self.things[thing.merchant, thing.key] = was._replace(
            **{name: getattr(thing, name) or getattr(was, name) for name in ("session_id", "permission_id", "charge_id", "refund_id", "undone")},
            state=thing.state)

    async def take(self, thing: Thing) -> Thing | None:
        if known := self.things.get((thing.merchant, thing.key)):
            return known
        taken = {one.charge_id for one in self.things.values() if one.kind in ("capture", "cancel")}
        for one in await self.of_payment(thing.merchant, thing.payment_id):
            if one.holds and one.charge_id and not one.undone and one.charge_id not in taken:
                return await self.begin(thing._replace(charge_id=one.charge_id, permission_id=one.permission_id))
        return None

    async def release(self, thing: Thing) -> None:
        self.things.pop((thing.merchant, thing.key), None)

    async def of_payment(self, merchant: str, payment_id: int) -> list[Thing]:
        found = [one for one in self.things.values() if (one.merchant, one.payment_id) == (merchant, payment_id)]
        return sorted(found, key=lambda one: (one.operation_id, one.key))

    async def named(self, merchant: str, object_id: str) -> list[Thing]:
        return [one for one in self.things.values()
                if one.merchant == merchant and object_id in (one.session_id, one.permission_id, one.charge_id, one.refund_id)]


class SiteConnections:
    """Requests go straight into the site; ``away`` and ``deaf`` are what a network may do."""

    def __init__(self, app: Any) -> None:
        self._app, self.away, self.asked = app, False, 0

    async def exchange(self, origin: Origin, head: str, body: bytes, seconds: float) -> Answer:
        if self.away:
            raise NotSent("nobody listens")
        self.asked += 1
        line, *rest = head.rstrip("\r\n").split("\r\n")
        method, path, _ = line.split(" ")
        headers = dict(one.split(": ", 1) for one in rest) | {"host": origin.netloc, "content-length": str(len(body))}
        try:
            said = await ask(self._app, method, path, body, headers)
        except Exception as error:
            raise Lost(str(error)) from error
        if not said.status:
            raise Lost("silence")
        if len(said.body) < int(said.headers.get("content-length", 0)):
            raise Lost("in the middle of the answer")
        return Answer(said.status, said.headers, said.body)

    async def close(self) -> None:
        """Nothing to close."""


class World:
    """The processor, and the world around it."""

    def __init__(self, here: Running, objects: Any) -> None:
        self.here, self.objects, self.account = here, objects, ACCOUNT
        self.network = SiteConnections(here.app)
        self.processor = AmazonPay(
            Client(self.network, self.wall), lambda merchant: self.account if merchant == MERCHANT else None, objects, wall=self.wall)
        self._ids, self._began = itertools.count(1_001), time.monotonic()

    def wall(self) -> datetime:
        """The machine's clock, on the site's day."""
        return datetime.fromtimestamp(self.here.time.wall() + time.monotonic() - self._began, UTC)

    async def fault(self, operation: str, kind: str, value: Any = "", times: int = 1) -> None:
        """Something goes wrong at the site."""
        order = {"operation": operation, "kind": kind, "value": value, "times": times}
        said = await ask(self.here.app, "POST", "/amazon/faults", json.dumps(order).encode(),
                         {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"})
        assert said.status < 300, said.text

    async def on(self, **by: float) -> None:
        """Business time goes on, and the site with it."""
        self.here.time.at += timedelta(**by)
        await self.here.site.sweep()

    async def approved(self, amount: str = "10.00", intent: str = "AuthorizeWithCapture", card: str = "1111", **fields: Any) -> str:
        """A session that its buyer approved."""
        return await self.here.browser().approve(self.here.shop.button(self.here.shop.payload(amount, intent, **fields)), card)

    def payment(self, account: str, currency: str = "USD") -> Payment:
        return Payment(self, account, currency)

    async def begun(self, amount: str = "10.00", kind: Kind = Kind.PURCHASE, **fields: Any) -> tuple[Payment, Outcome]:
        """A first payment of a buyer who approved it."""
        intent = "Authorize" if kind is Kind.AUTHORIZATION else "AuthorizeWithCapture"
        payment = self.payment(await self.approved(amount, intent, **fields))
        return payment, await payment.ask(kind, round(float(amount) * 100))

    async def permission(self) -> str:
        """A recurring permission."""
        said = await self.here.bought(self.here.shop.recurring("90.00"))
        return said.json["chargePermissionId"]


class Payment:
    """One payment at the processor."""

    def __init__(self, world: World, account: str, currency: str) -> None:
        self.world, self.account, self.currency, self.id = world, account, currency, next(world._ids)
        self.held, self.last, self.captures = 0, None, []

    def message(self, kind: Kind, minor: int, **more: Any) -> Ask:
        first = kind in (Kind.AUTHORIZATION, Kind.PURCHASE)
        number = self.id if first else next(self.world._ids)
        now = self.world.wall()
        fields: dict[str, Any] = {
            "key": f"{number}-1", "kind": kind, "minor": minor, "currency": self.currency, "merchant": MERCHANT, "payment_id": self.id,
            "operation_id": number, "at": now, "deadline": now + PATIENCE,
            "held": self.held, "account": self.account if first else "",
        }
        return Ask(**{**fields, **more})

    async def ask(self, kind: Kind, minor: int, **more: Any) -> Outcome:
        self.last = self.message(kind, minor, **more)
        return await self.send(self.last)

    async def send(self, message: Ask) -> Outcome:
        outcome = await self.world.processor.ask(message)
        if type(outcome) is Approved and not message.repeat:
            if message.kind is Kind.AUTHORIZATION:
                self.held = outcome.minor
            elif message.kind in (Kind.CAPTURE, Kind.PURCHASE):
                self.captures.append((message.operation_id, outcome.minor))
            if message.kind in (Kind.CAPTURE, Kind.VOID):
                self.held -= outcome.minor
        return outcome

    async def refund(self, *parts: int) -> Outcome:
        """A refund of so much of each capture, in their order."""
        listed = tuple((n, operation, minor) for n, ((operation, _), minor) in enumerate(zip(self.captures, parts, strict=False)) if minor)
        return await self.ask(Kind.REFUND, sum(parts), parts=listed)

    async def again(self) -> Outcome:
        assert self.last is not None
        return await self.send(self.last._replace(repeat=True, deadline=self.world.wall() + PATIENCE))

    async def inquire(self) -> Outcome:
        assert self.last is not None
        return await self.world.processor.inquire(self.last._replace(account="", deadline=self.world.wall() + PATIENCE))

    async def reverse(self) -> bool:
        assert self.last is not None
        return await self.world.processor.reverse(self.last._replace(account="", deadline=self.world.wall() + PATIENCE))

    async def charges(self) -> list[tuple[str, str, str, str]]:
        """The payment's charges at Amazon: state, amount, captured, refunded."""
        found = []
        for charge_id in sorted({one.charge_id for one in await self.world.objects.of_payment(MERCHANT, self.id) if one.charge_id}):
            said = await self.world.here.shop.get(f"/charges/{charge_id}")
            amounts = [said[name]["amount"] if said[name] else "0.00" for name in ("chargeAmount", "captureAmount", "refundedAmount")]
            found.append((said["statusDetails"]["state"], *amounts))
        return found


def told(outcome: Outcome) -> str:
    """An outcome in a few words."""
    match outcome:
        case Approved():
            return f"approved {outcome.minor}" + (" hold gone" if outcome.hold_gone else "")
        case Declined():
            return f"declined {outcome.response_code} {outcome.provider_code}" + (" hold gone" if outcome.hold_gone else "")
        case Unknown(why, done, failed):
            return f"unknown {why}" + (f" done {list(done)}" if done else "") + (f" failed {list(failed)}" if failed else "")
        case NotAsked(why):
            return f"not asked: {why}"
    return type(outcome).__name__.lower()


@asynccontextmanager
async def world(folder: Path, objects: Callable[[], Any] = MemoryObjects) -> AsyncIterator[World]:
    async with running(folder / "amazon") as here:
        yield World(here, objects())


__all__ = ["ACCOUNT", "BASE", "KEY", "MERCHANT", "STORE", "Initiation", "Kind", "MemoryObjects", "World", "told", "usd", "world"]
