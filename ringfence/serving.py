"""What one process serves over HTTP: doors for callers, pages for payers, and what operators ask, on the foundation of ``main``.

Built by hand, like that, in reading order.
"""
from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import asyncpg
from starlette.requests import Request
from starlette.routing import BaseRoute

from ringfence.api import openapi, streaming, v1, wallet_notices
from ringfence.api.aps import batch as aps_batch
from ringfence.api.aps import hosted as aps_hosted
from ringfence.api.aps import pages as aps_pages
from ringfence.api.aps import tokenization
from ringfence.api.aps.door import DOOR
from ringfence.api.aps.reporting import ReportingApi
from ringfence.api.aps.returning import FromTokenization, Returning
from ringfence.api.http import App, BodyTooLarge, CallerGone, Door, Learn, read_body, root, service_routes
from ringfence.api.ppro import app
from ringfence.api.ppro import readable as readable_docs
from ringfence.api.ppro.door import DOOR as PPRO
from ringfence.api.ppro.mandates import Mandates
from ringfence.api.ppro.returning import Returning as ChargeReturning
from ringfence.background import (
    stepping,
)
from ringfence.config import Config
from ringfence.disputing import operators_of
from ringfence.engine import forms
from ringfence.engine.clock import Clock
from ringfence.engine.metrics import Counters, Metrics
from ringfence.engine.reporting import Reporting
from ringfence.engine.return_address import may_return, origin_of
from ringfence.engine.seeding import FIRST
from ringfence.engine.sessions import Cashier, finishing
from ringfence.engine.timeline import Stepped
from ringfence.engine.vault import Vault
from ringfence.global_api import ENDPOINTS, global_api
from ringfence.linking import begin_on, giving_back, looking, page_on
from ringfence.main import ASKING_SECONDS, Foundation, foundation
from ringfence.opening import admin_token
from ringfence.operators import Advance, admin_of, notifiers_of
from ringfence.receipting import pages_of, receipts_of
from ringfence.redirecting import wallet_desk
from ringfence.stores import store_api
from ringfence.visiting import operators_of_trips
from ringfence.wallets import numbers_of
from ringfence.web import hosted, inbox, static_files, three_d_secure, wallet
from ringfence.web import links as link_pages

EVERYWHERE_SECONDS = 10.0
"""How long an answer about a changed merchant waits for the other processes to know."""
READY_SECONDS = 1.0
"""How long the database may take to answer before this worker calls itself not ready."""
ATTEMPT_SECONDS = 20.0
"""On top of that: how long an attempt on a page may be in one process's hands before another looks what became of it."""


@dataclass(frozen=True, slots=True)
class Worker:
    """What ``build`` made: the ASGI application and its doors, what counts, whether payments can be taken (else why not), and the end in order."""

    app: App
    doors: dict[str, Door]
    counters: Counters
    ready: Callable[[], Awaitable[list[str]]]
    close: Callable[[], Awaitable[None]]
    long_paths: tuple[str, ...] = ()
    learn: Mapping[str, Learn] = field(default_factory=dict)


async def build(config: Config, database_url: str, number: int, metrics: Metrics) -> Worker:
    """Build the serving worker with this number.  Raises ``Failure`` where a part of it cannot start."""
    ends = AsyncExitStack()
    try:
        return doors(await foundation(config, database_url, number, metrics.row(number), ends, works=config.background), metrics)
    except BaseException:
        await ends.aclose()
        raise


def doors(base: Foundation, metrics: Metrics) -> Worker:
    """What callers and operators reach over HTTP."""
    config, directory, clock = base.config, base.directory, base.clock
    service, aps = base.service, base.aps
    returning = Returning(base.reading, directory, is_live=config.is_live, tokenized=_return_of_tokenization(base.vault))
    by_path = {"/FortAPI/paymentApi": Door(aps.handle, config.body_limit, aps.begin)}
    by_file = aps_batch.BatchApi(
        aps, base.files, base.keyring.content_key, aps_batch.Limits(config.batch_limit, config.batch_rows), links=True)
    reporting = Reporting(base.reporters, clock.now, base.nudge)
    reports_door = ReportingApi(aps, reporting, clock.now)

    # what a payer's browser sees
    page = aps_pages.PaymentPage(service, base.sessions, aps.account, tokenize=tokenization.tokenize, sandbox=not config.is_live)
    desk = aps_hosted.Desk(service, base.sessions, aps.account, tokenize=tokenization.tokenize)
    cashier = giving_back(desk.cashier, base.links)
    finish = finishing(base.sessions, cashier, returning.way)
    of_charges = ChargeReturning(base.reading, directory, base.ppro.names, is_live=config.is_live, settle=Mandates(base.ppro).paid)
    pages = [
        *hosted.routes(hosted.Hosted(
            base.sessions, {DOOR: cashier}, {aps_pages.PATH: page.enter},
            form_reader(config.body_limit), base.challenges.page, config.answer_seconds + ASKING_SECONDS + ATTEMPT_SECONDS)),
        *three_d_secure.routes(_bank_desk(
            base, {DOOR: returning.address, PPRO: of_charges.address}, {DOOR: finish, PPRO: of_charges.way})),
        *_pages_of_links(base, cashier),
        *pages_of(
            config, receipts_of(base.pool, base.keyring, directory, clock.now, base.links.new_id), directory, form_reader(config.body_limit),
            base.ends),
        *wallet.routes(wallet_desk(base.redirects, of_charges, is_live=config.is_live)),
    ]

    async def ready() -> list[str]:
        missing = [f"the {name} lane has no connection" for name, lane in base.lanes.items() if not lane.is_up]
        try:
            async with asyncio.timeout(READY_SECONDS), base.pool.acquire() as connection:
                await connection.fetchval("SELECT 1")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            missing.append(f"the database does not answer ({type(error).__name__})")
        return missing

    async def everywhere() -> None:
        limit = time.monotonic() + EVERYWHERE_SECONDS
        while metrics.directory_version(config.workers) < directory.version and time.monotonic() < limit:
            await asyncio.sleep(0.02)

    operators = admin_of(
        config, admin_token(config), base.reporters, base.keyring, clock, directory, everywhere, base.ends, by_key=base.pool,
        advance=_advance(base), drops=base.drops, nudge=base.nudge, links=base.links, files=base.files,
        disputes=operators_of(config, base.reporters, base.keyring.content_key, clock.now, directory, base.disputes, base.ends.callback),
        visits=operators_of_trips(config, base.pool, base.keyring, directory, clock.now, base.visits)._replace(left=base.retail.left),
        owed=base.stores.debts)
    key, merchant = ("YOUR_API_KEY", "YOUR_MERCHANT_ID") if config.is_live else (FIRST.api_key, FIRST.merchant_id)
    readable = readable_docs.routes(ENDPOINTS, base.ppro.base_url, key, merchant)
    routes = [
        streaming.door("/FortAPI/reportingApi", reports_door.handle, config.body_limit), *by_file.routes(),
        *service_routes(ready=ready, metrics=metrics), *openapi.routes(), *readable, *operators, *static_files.routes(), *pages,
        *wallet_notices.routes(base.amazon.notices(
            base.engine, base.pool, directory, numbers_of(directory), closed=_permission_closed(base)).receive),
        *(base.amazon_site.routes if base.amazon_site is not None else ())]
    payments = global_api(base)
    below_v1 = v1.shared(store_api(base), payments, payments.stands_at)
    application = root(by_path, routes, base.counters, {app.PREFIX: below_v1})
    return Worker(application, by_path, base.counters, ready, base.ends.aclose, aps_batch.LONG_PATHS, payments.learning())


def _pages_of_links(base: Foundation, cashier: Cashier) -> list[BaseRoute]:
    """What payers of links see, and in a sandbox what they were sent."""
    is_secure = (base.config.base_url or base.config.scheme).startswith("https")
    return [
        *link_pages.routes(link_pages.Services(
            base.links, base.directory, begin_on(page_on(base.sessions), base.links, base.directory),
            looking(base.sessions, cashier, base.challenges.page, base.links), not base.config.is_live, is_secure, asyncio.Lock())),
        *([] if base.config.is_live else inbox.routes(base.reporters, admin_token(base.config))),
    ]


def _permission_closed(base: Foundation) -> Callable[[str, str, str], Awaitable[None]]:
    """What a wallet's permission that has ended means for agreements."""
    mandates, numbers = Mandates(base.ppro), numbers_of(base.directory)

    async def closed(merchant: str, permission: str, reason: str) -> None:
        if (number := numbers(merchant)) is not None:
            await mandates.closed(number, permission, reason)

    return closed


def _return_of_tokenization(vault: Vault) -> FromTokenization:
    """Where the tokenization of an order was to lead back to."""
    async def return_url(merchant_id: int, reference: str) -> str:
        flow = await vault.tokenization(merchant_id, reference)
        return flow.return_url if flow is not None else ""

    return return_url


def form_reader(limit: int) -> Callable[[Request], Awaitable[bytes]]:
    """How pages read the body of a form, of at most ``limit`` bytes."""
    async def read(request: Request) -> bytes:
        try:
            return await read_body(request.scope, request.receive, limit)
        except BodyTooLarge as error:
            raise forms.TooLarge from error
        except CallerGone as error:
            raise forms.CallerLeft from error

    return read


Addresses = Mapping[str, Callable[[int, int], Awaitable[str]]]
"""By door: merchant and payment -> the address that a payer comes back to, "" for none."""


def _bank_desk(base: Foundation, addresses: Addresses, finish: three_d_secure.Finishes) -> three_d_secure.Desk:
    """What the pages of a challenge need.  They may be framed by the shop they lead back to, and by the pages it named."""
    async def door_of(merchant_id: int, payment_id: int) -> str:
        view = await base.reading.view(merchant_id, payment_id)
        return view.first.door if view is not None else ""

    async def framers(merchant_id: int, payment_id: int) -> tuple[str, ...]:
        merchant = base.directory.by_id(merchant_id)
        allowed = [*merchant.settings.return_origins] if merchant is not None else []
        address = addresses.get(await door_of(merchant_id, payment_id))
        origins = map(origin_of, [*allowed, await address(merchant_id, payment_id) if address else ""])
        return tuple(dict.fromkeys(filter(None, origins)))

    def may_leave(merchant_id: int, url: str) -> bool:
        merchant = base.directory.by_id(merchant_id)
        return merchant is not None and may_return(url, merchant.settings.return_origins, base.config.is_live)

    return three_d_secure.Desk(base.challenges, base.access_control, finish, door_of, framers, may_leave, base.clock.now)


def _advance(base: Foundation) -> Advance:
    """Moves business time, and has everything done that is due on the way."""
    notifiers = notifiers_of(base.config, base.keyring)

    async def advance(until: datetime | timedelta) -> Stepped:
        assert isinstance(base.clock, Clock), "only a sandbox is asked to"
        return await stepping.advance(
            base.clock, base.reporters, [one.merchant_id for one in base.directory.merchants()], until, nudge=base.nudge,
            drops=base.drops,
            is_told=lambda: any(notifier.wants(one) for one in base.directory.merchants() for notifier in notifiers.values()),
        )

    return advance
