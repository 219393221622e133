"""Notifications that were taken in are forgotten after thirty days, and the simulated site's own instants stop the clock."""
from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from ringfence import amazon_sandbox
from ringfence.amazon_site import Site, site
from ringfence.background import recovery, wallet_notices
from ringfence.background.stepping import advance
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Outcome, Silence, Unknown
from ringfence.engine import timeline
from ringfence.engine.amazon_objects import StoredObjects
from ringfence.engine.clock import Clock
from ringfence.engine.intents import Intent
from ringfence.engine.wallet_notices import KEPT, Heard, WalletNotices
from ringfence.processors.amazon_pay.client import Client
from ringfence.processors.amazon_pay.notifications import Verifier
from ringfence.processors.amazon_pay.processor import AmazonPay
from ringfence.processors.amazon_pay.wallet import Wallet
from ringfence.storage import amazon_objects as rows
from tests.amazon_site.site_asking import BASE, HOOK, PEM, STORE, Browser
from tests.amazon_site.site_asking import Shop as Buttons
from tests.background.test_stepping import ClockTime, background, merchants
from tests.engine.composition import NOW, Process, Shop, process, shop
from tests.engine.expiring import sweeper
from tests.engine.recovering import recovers
from tests.processors.amazon_pay.bench import ACCOUNT, SiteConnections

pytestmark = pytest.mark.anyio
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    made = Clock(tmp_path / "clock")
    made.begin_at(NOW)
    return made


@pytest.fixture
async def one(database: str, clock: Clock) -> AsyncIterator[Process]:
    async with process(database, now=ClockTime(clock), recovers=True) as running, sweeper(running) as running.sweeper:
        yield running


class Amazon:
    """A merchant whose payments go to the simulated site, which lives by the same clock and tells at once."""

    site: Site
    notices: WalletNotices

    def __init__(self, one: Process, here: Shop, clock: Clock, folder: Path) -> None:
        self.one, self.here, self.heard = one, here, list[tuple[datetime, Heard]]()

        async def post(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> int:
            self.heard.append((clock.now(), await self.notices.receive(body)))
            return 200

        self.site = site(folder, clock.now, base_url=BASE, post=post)
        self.app = Starlette(routes=self.site.routes)
        network: Any = SiteConnections(self.app)
        client, accounts = Client(network), {here.identifier: ACCOUNT}.get

        def numbers(name: str) -> int | None:
            return here.account.merchant_id if name == here.identifier else None

        objects = StoredObjects(one.pool, numbers)
        processor = AmazonPay(client, accounts, objects)
        one.engine._processors = {processor.name: processor}
        recovers(one)._processors = one.engine._processors
        self.notices = WalletNotices(
            Verifier(network, site=BASE), processor, Wallet(client, accounts), objects, one.engine, one.pool,
            merchants=lambda name: [here.identifier], numbers=numbers)
        self.buttons, self.payment_id = Buttons(self.app, time.time), 0

    async def do(self, kind: Kind, minor: int, account: str = "") -> Outcome | None:
        number = self.one.new_id()
        self.payment_id = number if account else self.payment_id
        result = await self.one.engine.execute(Intent(
            self.here.account.merchant_id, self.here.identifier, self.payment_id, Command(kind, minor, "USD", number), "ppro", "test", "test",
            b"content", reference=f"O-{number}" if account else None, processor="amazon_pay", account=account))
        return result.outcome

    async def approved(self, card: str = "1111", **fields: Any) -> str:
        return await Browser(self.app).approve(self.buttons.button(self.buttons.payload("10.00", **fields)), card)

    async def on(self, clock: Clock, by: timedelta) -> timeline.Stepped:
        """As ``clock advance`` does it."""
        chore = amazon_sandbox.chore(self.site, self._nobody, 60.0)
        async with background(self.one, recovery.queue(recovers(self.one)), chores=[chore]) as nudge:
            return await advance(
                clock, self.one.pool, merchants(self.one), by, nudge=nudge, drops=amazon_sandbox.with_site(timeline.none, self.site))

    async def _nobody(self) -> int:
        return 0

    async def events(self) -> dict[str, timedelta]:
        """What happened, and when since the beginning."""
        return {row[0]: row[1] - NOW for row in await self.one.fetch("SELECT event, occurred_at FROM events ORDER BY occurred_at")}


@pytest.fixture
async def amazon(one: Process, clock: Clock, tmp_path: Path) -> AsyncIterator[Amazon]:
    made = Amazon(one, await shop(one), clock, tmp_path / "site")
    await made.site.register("SHOP", name="Shop", public_key_id="SANDBOX-KEY", public_key_pem=PEM, store_id=STORE, notify_urls=[HOOK])
    yield made
    made.site.close()


async def test_the_clock_stops_where_amazon_decides(amazon: Amazon, clock: Clock):
    """An authorization and then a refund, each booked thirty seconds after it was taken, because the site tells of it at that instant; the first
    poll would have been half a minute later."""
    details = {"paymentIntent": "Authorize", "chargeAmount": {"amount": "10.00", "currencyCode": "USD"}, "canHandlePendingAuthorization": True}
    assert await amazon.do(Kind.AUTHORIZATION, 1000, await amazon.approved("0701", paymentDetails=details)) == Unknown(Silence.PENDING)
    stepped = await amazon.on(clock, HOUR)
    assert stepped.settled and timeline.DROPS in {each.what for each in stepped.fired}
    assert (await amazon.events())["authorization_approved"] == 30 * SECOND
    assert isinstance(await amazon.do(Kind.CAPTURE, 1000), Approved)
    assert await amazon.do(Kind.REFUND, 400) == Unknown(Silence.PENDING)
    stepped = await amazon.on(clock, HOUR)
    assert stepped.settled and clock.now() == NOW + 2 * HOUR
    assert (await amazon.events())["refund_approved"] == HOUR + 30 * SECOND
    assert {heard for _, heard in amazon.heard} == {Heard.DONE}
    assert {at - NOW for at, _ in amazon.heard} <= {timedelta(), 30 * SECOND, HOUR, HOUR + 30 * SECOND}, "told at the site's own instants"
    await amazon.one.prove()


async def test_nothing_is_settled_while_the_site_has_something_to_tell(amazon: Amazon):
    """What was changed is told before the clock goes on."""
    drops = amazon_sandbox.with_site(timeline.none, amazon.site)
    assert await timeline.is_settled(amazon.one.pool, merchants(amazon.one), amazon.one.now(), drops=drops)
    assert isinstance(await amazon.do(Kind.PURCHASE, 1000, await amazon.approved()), Approved)
    assert not await timeline.is_settled(amazon.one.pool, merchants(amazon.one), amazon.one.now(), drops=drops)
    assert await amazon.site.sweep() > 0
    assert await timeline.is_settled(amazon.one.pool, merchants(amazon.one), amazon.one.now(), drops=drops)
    assert amazon_sandbox.with_site(timeline.none, None) is timeline.none


async def test_notifications_are_forgotten_after_thirty_days(one: Process, clock: Clock):
    """Of business time, merchant by merchant, some at a time; until then a second delivery does nothing."""
    merchant_id, other = [(await shop(one, name)).account.merchant_id for name in ("One", "Two")]
    for merchant in (merchant_id, other):
        for number in range(5):
            assert await rows.notified(one.pool, merchant, f"N-{number}", one.now() + number * HOUR)
    clock.advance(KEPT + 2 * HOUR)
    assert not await rows.notified(one.pool, merchant_id, "N-1", one.now())
    assert await wallet_notices.forget(one.pool, [merchant_id], one.now() - KEPT, 1) == 2, "what came before that instant, none at it"
    assert await one.value("SELECT min(notification_id) FROM amazon_notifications WHERE merchant_id = $1", merchant_id) == "N-2"
    assert await one.value("SELECT count(*) FROM amazon_notifications WHERE merchant_id = $1", other) == 5
    assert await rows.notified(one.pool, merchant_id, "N-1", one.now()), "long forgotten: it is heard again"
    assert await wallet_notices.chore(one.pool, one.directory, one.now).run() == 2
