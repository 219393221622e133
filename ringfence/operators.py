"""What operators ask, put together: the admin API of a service, or of a command that works on its database without one.

Everything is built by hand here and handed down as values and plain functions.
"""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
from starlette.routing import Route

from ringfence.amazon_site.reading import standing
from ringfence.api import (
    access_keys,
    batches,
    debts,
    events,
    jobs,
    plans,
    purchases,
    reports,
    retention,
    reviews,
    shoppers,
    tokens,
    trip_reports,
    trips,
    webhooks,
)
from ringfence.api import clock as clocks
from ringfence.api import disputes as dispute_routes
from ringfence.api import links as link_routes
from ringfence.api import receipts as receipt_routes
from ringfence.api.admin import Services, admin_routes, guard
from ringfence.api.aps import notifications, recurring, report_formats, reporting
from ringfence.api.aps.batch import csv_of
from ringfence.api.aps.door import DOOR, attempt_key, order_key, verification_key
from ringfence.api.aps.hosted import ATTEMPTS
from ringfence.api.ppro import notifications as ppro_notifications
from ringfence.api.ppro.door import DOOR as PPRO
from ringfence.api.ppro.names import Names
from ringfence.config import Config
from ringfence.core.proof import Balance
from ringfence.engine import addresses, timeline
from ringfence.engine.authenticating import secrets_under
from ringfence.engine.batches import Batches
from ringfence.engine.clock import Clock, ClockError, WallClock
from ringfence.engine.debts import Debts
from ringfence.engine.directory import Directory
from ringfence.engine.feed import Notifier
from ringfence.engine.keys import Keyring
from ringfence.engine.link_addresses import WALLET, Addresses
from ringfence.engine.links import Desk as LinkDesk
from ringfence.engine.plan_notices import Desk as PlanDesk
from ringfence.engine.plans import Plans
from ringfence.engine.proof import Balances, Totals, prove
from ringfence.engine.purchases import Purchases
from ringfence.engine.redirects import urls_under
from ringfence.engine.reporting import Reporting
from ringfence.engine.retention import Desk, Policy
from ringfence.engine.shoppers import Shoppers
from ringfence.engine.story import Window, asked_about, explain
from ringfence.engine.timeline import Drops, Stepped, Upcoming
from ringfence.global_api import wording
from ringfence.linking import link_states
from ringfence.processors.amazon_pay.processor import AmazonPay
from ringfence.processors.mock import Mock
from ringfence.processors.simulator import totals
from ringfence.receipting import for_operators, receipts_of
from ringfence.simulator_desk import desk as simulators

Advance = Callable[[datetime | timedelta], Awaitable[Stepped]]
"""Moves business time to an instant or by a length, with all that fires on the way."""


def admin_of(
    config: Config, token: str, pool: asyncpg.Pool, keyring: Keyring, clock: Clock | WallClock, directory: Directory,
    everywhere: Callable[[], Awaitable[None]], ends: AsyncExitStack, *, by_key: asyncpg.Pool | None = None, advance: Advance | None = None,
    drops: Drops = timeline.none, nudge: Callable[[], object] = lambda: None, links: LinkDesk, disputes: dispute_routes.Services,
    visits: trips.Services, files: Batches | None = None, owed: Debts | None = None,
) -> list[Route]:
    """The operator's routes; ``everywhere`` as in ``api.admin.Services``.

    ``by_key``: connections for the feed, which looks again and again and must not wait for a proof or a story; ``pool`` without them.
    Without ``advance`` nobody serves, and the clock moves at once.  ``drops``: when the issuer gives up holds; ``nudge`` has the background look
    now.  ``links``: what serves payment links; ``disputes``, ``visits`` and ``owed`` likewise.
    """
    asked = _ever if config.frozen_at else asked_about

    async def proof(merchant: str | None, at: datetime | None, full: bool) -> object:
        proved = await prove(
            pool, chain_key=keyring.chain_key, merchant=merchant, at=at, full=full, books=books_of(config), balances=balances_of(config))
        return proved.as_json()

    async def story(name: str, merchant: str | None) -> object | None:
        names = Names(keyring.content_key)
        told = await explain(
            pool, name, merchant, keys=first_keys, asked=asked, number_of=names.operation, names_of=lambda number: {
                "fort_id": str(number), "charge": names.make("charge", number)})
        return told and told.as_json()

    async def due(now: datetime, until: datetime) -> Sequence[Upcoming]:
        return await timeline.upcoming(pool, [one.merchant_id for one in directory.merchants()], now, until, drops=drops)

    async def at_once(until: datetime | timedelta) -> Stepped:
        if not isinstance(clock, Clock):
            raise ClockError(clocks.IS_LIVE)
        return Stepped(clock.advance(until if isinstance(until, timedelta) else until - clock.now()), 1, [], False)

    guarded, notifiers, notices = guard(token), notifiers_of(config, keyring), plan_desk_of(config)
    kept_plans = Plans(
        pool, clock.now, notices, recurring.judge(clock.now, sandbox=not config.is_live), partial(link_states, links))
    simulator = None if config.is_live else simulators(config.data / "simulator", config.seed, ends.callback)
    return [
        *admin_routes(guarded, Services(config.is_live, directory, everywhere, proof, story, simulator)),
        *access_keys.routes(guarded, access_keys.Services(directory, keyring, everywhere)),
        *clocks.routes(guarded, clocks.Services(clock, due, advance or at_once)),
        *events.routes(guarded, events.Services(by_key or pool, directory, notifiers)),
        *webhooks.routes(guarded, webhooks.Services(
            pool, directory, notifiers, rules_of(config), clock.now, notices, kept_plans.number)),
        *jobs.routes(guarded, jobs.Services(pool, directory, clock.now, nudge)),
        *reviews.routes(guarded, reviews.Services(pool, directory, clock.now, asked)),
        *dispute_routes.routes(guarded, disputes),
        *trips.routes(guarded, visits),
        *debts.routes(guarded, debts.Services(owed or Debts(pool, directory, clock.now, desk=links), directory)),
        *purchases.routes(guarded, purchases.Services(Purchases(pool, directory, keyring.content_key, clock.now, nudge), directory)),
        *tokens.routes(guarded, tokens.Services(pool, directory)),
        *reports.routes(guarded, reports.Services(
            Reporting(pool, clock.now, nudge), directory, reporting.understood, report_formats.unsigned, report_formats.CONTENT_TYPES)),
        *plans.routes(guarded, plans.Services(directory, kept_plans, clock.now)),
        *link_routes.routes(guarded, link_routes.Services(links, directory, None if config.is_live else pool)),
        *receipt_routes.routes(guarded, for_operators(
            config, receipts_of(by_key or pool, keyring, directory, clock.now, lambda: links.new_id()), directory)),
        *trip_reports.routes(guarded, trip_reports.Services(pool, directory, clock.now)),
        *retention.routes(guarded, Desk(pool, policy_of(config), clock.now)),
        *shoppers.routes(guarded, shoppers.Services(Shoppers(by_key or pool, clock.now), directory)),
        *batches.routes(guarded, batches.Services(files or _desk(by_key or pool, clock), directory, csv_of)),
    ]


def _desk(pool: asyncpg.Pool, clock: Clock | WallClock) -> Batches:
    """Where nobody serves, files can be asked about; none is handed in, and none let go."""
    async def nobody() -> asyncpg.Connection:
        raise AssertionError("files are handed in to a service")

    def never() -> int:
        raise AssertionError("files are handed in to a service")

    return Batches(nobody, pool, now=clock.now, new_id=never, doors={})


def notifiers_of(config: Config, keyring: Keyring) -> Mapping[str, Notifier]:
    """Each door's own words for what merchants are told."""
    base_url, key = base_url_of(config), secret_key(config, keyring)
    words = wording(base_url, keyring, secrets_under(key), urls_under(base_url, Addresses(key, WALLET)))
    return {DOOR: notifications.notifier(config.webhook_seconds), PPRO: ppro_notifications.notifier(words, lambda: datetime.now(UTC))}


def base_url_of(config: Config) -> str:
    """How callers reach the service."""
    return config.base_url or f"{config.scheme}://{config.host}:{config.port}"


def secret_key(config: Config, keyring: Keyring) -> bytes:
    """What addresses of challenges are made under: a repeatable run tells the same ones in every folder."""
    return config.seed.to_bytes(8, "big") if config.frozen_at else keyring.content_key


def door_headers(directory: Directory, notifiers: Mapping[str, Notifier]) -> Callable[[int, str, bytes], Mapping[str, str]]:
    """What a door adds to a delivery when it is sent."""
    def headers(merchant_id: int, door: str, body: bytes) -> Mapping[str, str]:
        merchant, notifier = directory.by_id(merchant_id), notifiers.get(door)
        return {} if merchant is None or notifier is None else notifier.headers(merchant, body)

    return headers


def plan_desk_of(config: Config) -> PlanDesk:
    """What tells merchants of their plans."""
    return PlanDesk(recurring.notices(), seconds=config.webhook_seconds)


def rules_of(config: Config) -> addresses.Rules:
    """Where merchants may be told."""
    return addresses.rules_for(config.is_live, config.webhook_networks, config.webhook_ports)


def policy_of(config: Config) -> Policy:
    """How long what is kept."""
    return Policy(config.retention_card_days, config.retention_personal_days, config.retention_delivery_days, config.retention_report_days)


def books_of(config: Config) -> dict[str, Totals]:
    """The processors' own totals by business day, read from their books beside a running service or without one."""
    if config.is_live:
        return {}
    return {"simulator": lambda day: asyncio.to_thread(totals, config.data / "simulator", day), Mock.name: Mock(config.data / "simulator").totals}


def balances_of(config: Config) -> dict[str, Balances]:
    """What wallets kept and gave back, by their own books: the simulated Amazon Pay's is there to be read, Amazon's own shows none here."""
    if config.is_live or config.amazon_pay_file is not None:
        return {}

    async def kept() -> dict[tuple[str, str], Balance]:
        found: dict[tuple[str, str], Balance] = {}
        for one in (await asyncio.to_thread(standing, config.data / "simulator")).values():
            before = found.get((one.merchant, one.currency), Balance())
            found[one.merchant, one.currency] = Balance(before.captured + one.captured, before.refunded + one.returned)
        return found

    return {AmazonPay.name: kept}


def first_keys(reference: str) -> list[str]:
    """The keys that a payment's first operation may have claimed with this reference, at any door."""
    return [order_key(reference), *(attempt_key(reference, number) for number in range(2, ATTEMPTS + 1)), verification_key(reference)]


def _ever(number: int) -> Window:
    """Where ids are counted they do not tell when they were made."""
    return Window(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
