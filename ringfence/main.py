"""The composition of one process, top to bottom: what it is made of, and in which order it starts and stops.

``foundation`` is everything but the doors: what is there to carry out payments, and to do what is due later.  A process that serves
puts the doors of ``serving`` on top of it; one that only works does without.  Everything is built by hand here and handed down as values
and plain functions; there are no globals to look for.
"""
from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg

from ringfence import amazon_sandbox
from ringfence.amazon_site import Site
from ringfence.api.aps import recurring as plan_charges
from ringfence.api.aps.app import PaymentApi
from ringfence.api.aps.batch_intents import batch_door
from ringfence.api.aps.batch_links import links_of_rows
from ringfence.api.aps.door import DOOR, card_facts, order_key
from ringfence.api.aps.door import Service as ApsService
from ringfence.api.aps.report_rows import WORDS
from ringfence.api.ppro.charges import card_facts as charge_facts
from ringfence.api.ppro.door import Service as PproService
from ringfence.api.ppro.mandates import Mandates
from ringfence.background import (
    abandoned,
    agreements,
    batches,
    challenges,
    deliveries,
    expiry,
    follower,
    hold_rest,
    keyed_requests,
    messages,
    recovery,
    recurring,
    redirections,
    reports,
    retention,
    reversals,
    stepping,
    temporary_tokens,
    wallet_notices,
)
from ringfence.background import sessions as page_sessions
from ringfence.background.worker import Background, Chore, Queue
from ringfence.config import Config
from ringfence.core.business_day import business_day
from ringfence.core.card import Pan
from ringfence.core.recovery import Plan
from ringfence.disputing import Disputes, disputes_of
from ringfence.engine import addresses, keys, points
from ringfence.engine.ahead import Ahead
from ringfence.engine.authenticating import Authenticating, secrets_under
from ringfence.engine.batch_carrier import HANDS, MOST, Carrier
from ringfence.engine.batches import CHORE, Batches
from ringfence.engine.bulk import Expirer
from ringfence.engine.challenges import Challenges
from ringfence.engine.clock import Clock, WallClock
from ringfence.engine.code_box import SocketCodeBox
from ringfence.engine.counting import CountedIntents, CountedOutcomes
from ringfence.engine.desk import PostgresDesk
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.engine.holding import RestHolder
from ringfence.engine.intent_lane import IntentLane
from ringfence.engine.lane import Lane, NotCommitted
from ringfence.engine.links import QUEUE as MESSAGES
from ringfence.engine.links import Desk as LinkDesk
from ringfence.engine.metrics import DELIVERED, NOT_DELIVERED, SET_ASIDE, Counters
from ringfence.engine.numbering import RENEW_SECONDS, Counted, NoNumberFree, Numbering
from ringfence.engine.outcome_lane import OutcomeLane
from ringfence.engine.reading import Reading
from ringfence.engine.recovery import Recovery
from ringfence.engine.redirects import Redirects
from ringfence.engine.reporting import Maker
from ringfence.engine.sessions import Sessions
from ringfence.engine.timeline import Drops
from ringfence.engine.vault import Vault
from ringfence.failures import Exit, Failure
from ringfence.global_api import ppro_service
from ringfence.issuers import issuers_of
from ringfence.linking import desk_of, invoice_of, post_of
from ringfence.opening import admin_token, clock_of, open_keyring
from ringfence.operators import base_url_of, door_headers, notifiers_of, plan_desk_of, policy_of, rules_of, secret_key
from ringfence.processors.authenticator import AccessControl
from ringfence.processors.mock import Mock
from ringfence.processors.processor import Processor
from ringfence.processors.simulator import is_test_number
from ringfence.redirecting import redirects_of
from ringfence.retailing import Retail, retail_of
from ringfence.storage import database
from ringfence.storage import expiry as holds_due
from ringfence.storage.jobs import IN_ORDER
from ringfence.stores import Stores, stores_of
from ringfence.visiting import Visits, visits_of
from ringfence.wallets import Amazon, amazon_of, numbers_of

OUTCOME_LANES, INTENT_LANES = range(1_024), range(1_024, 2_048)
"""The numbers that lanes may hold; those of outcomes name chains, and stay few."""
DIRECTORY_SECONDS = 0.5
"""How long another process may take to see a change of merchants, credentials and settings."""
REPORTERS = 4
"""Connections for proofs, stories, reports and what operators ask, made when they are first needed."""
JOBBERS = 4
"""Connections for what is due later."""
LEASE_SECONDS = 10.0
"""On top of one message of a recovery: how long a doubt that somebody waits for is out of others' hands, should this process die over it."""
ASKING_SECONDS = 5.0
"""On top of a processor's own limit: how long an owner may take to ask and to write the outcome."""
MARGIN_SECONDS = 0.5
"""On top of a processor's own limit: how long one message of a recovery may take."""


@dataclass(frozen=True, slots=True)
class Foundation:
    """What carries out payments and does what is due later.  ``nudge`` has the whole background look now."""

    config: Config
    clock: Clock | WallClock
    counters: Counters
    pool: asyncpg.Pool
    reporters: asyncpg.Pool
    keyring: keys.Keyring
    new_name: Callable[[], str]
    directory: Directory
    vault: Vault
    lanes: dict[str, Lane]
    engine: Engine
    reading: Reading
    access_control: AccessControl
    challenges: Challenges
    redirects: Redirects
    sessions: Sessions
    links: LinkDesk
    service: ApsService
    aps: PaymentApi
    ppro: PproService
    files: Batches
    disputes: Disputes
    retail: Retail
    visits: Visits
    stores: Stores
    drops: Drops
    amazon: Amazon
    amazon_site: Site | None
    nudge: Callable[[], object]
    ends: AsyncExitStack


async def foundation(
    config: Config, database_url: str, number: int, counters: Counters, ends: AsyncExitStack, *, works: bool,
) -> Foundation:
    """Everything but the doors, running; ``ends`` is given what closes it, also where it raises ``Failure``.

    ``number`` tells the processes of a data folder apart; ``works``: whether this one does what is due later.
    """
    try:
        if config.torture_points is not None:
            _arm(config.torture_points)
        return await _foundation(config, database_url, number, counters, ends, works)
    except (database.DatabaseUnavailable, database.DatabaseUnsuitable, NotCommitted, NoNumberFree) as error:
        raise Failure(Exit.DATABASE, f"The database cannot be used: {error or type(error).__name__}") from error


async def _foundation(
    config: Config, database_url: str, number: int, counters: Counters, ends: AsyncExitStack, works: bool,
) -> Foundation:
    clock, holder = clock_of(config), secrets.token_hex(8)

    # the database, and the keys that what it holds is sealed under
    pool = await ends.enter_async_context(database.pool(database_url, config.readers, by_key=True, plain=True))
    reporters = await ends.enter_async_context(database.pool(database_url, REPORTERS, application_name="ringfence reports"))
    due = await ends.enter_async_context(database.pool(
        database_url, JOBBERS, application_name="ringfence jobs", by_key=True, settings=IN_ORDER, plain=True))
    keyring = await open_keyring(config, pool)
    numbering = Counted(pool, config.seed) if config.frozen_at else Numbering(pool)
    await numbering.take()
    ends.push_async_callback(numbering.give_back)

    # who may call, and what they pay with
    directory = Directory(pool, keyring, clock.now, counters.note_directory, addresses.judge(rules_of(config)))
    await directory.load()
    vault = Vault(pool, keyring, new_id=numbering.next, keeps=_keeps(config), now=clock.now)
    code_box = SocketCodeBox(config.data)

    # who is asked
    issuers = issuers_of(config, number, ends)
    processor, access_control = issuers.processor, issuers.access_control
    numbers = numbers_of(directory)
    amazon = amazon_of(config, pool, directory, numbers, _wall)
    ends.push_async_callback(amazon.processor.close)
    processors: dict[str, Processor] = {processor.name: processor, amazon.processor.name: amazon.processor}
    if not config.is_live:
        processors[Mock.name] = Mock(config.data / "simulator")

    # the two counters, each with its own connection, and the engine between them; and the same once more for what comes in bulk
    plan = Plan(tuple(config.recovery_pauses), config.review_seconds)
    ask_seconds = config.answer_seconds + ASKING_SECONDS

    def lane(what: str, numbers: range, around: tuple[int, int] | None = None) -> Lane:
        made = Lane(
            lambda: database.connect(database_url, application_name=f"ringfence {what} {number}", by_key=True), numbers=numbers, points=around)
        ends.push_async_callback(made.close)
        return made

    def outcome_lane(one: Lane, *, in_bulk: bool = False) -> OutcomeLane:
        return OutcomeLane(
            one, now=clock.now, new_id=numbering.next, chain_key=keyring.chain_key, value_date=_value_date(processors), plan=plan, in_bulk=in_bulk)

    def engine_on(intent_lane: Lane, outcomes_on: Lane) -> Engine:
        intents = IntentLane(intent_lane, now=clock.now, ask_seconds=ask_seconds)
        outcomes = outcome_lane(outcomes_on)
        made = Engine(
            intents=CountedIntents(intents.commit, counters), outcomes=CountedOutcomes(outcomes.commit, counters), processors=processors,
            vault=vault, pool=pool, new_id=numbering.next, now=clock.now,
        )
        ends.push_async_callback(made.idle)
        return made

    lanes = {
        "intents": lane("intents", INTENT_LANES, (points.BEFORE_INTENT, points.AFTER_INTENT)),
        "outcomes": lane("outcomes", OUTCOME_LANES, (points.BEFORE_OUTCOME, points.AFTER_OUTCOME)),
    }
    for one in lanes.values():
        await one.open()
    engine = engine_on(lanes["intents"], lanes["outcomes"])
    reading = Reading(pool, vault)
    sessions = Sessions(pool, key=keyring.content_key, new_id=numbering.next, now=clock.now)

    # what ends the unknown
    message_seconds = config.answer_seconds + MARGIN_SECONDS
    desk = PostgresDesk(due, directory, vault, holder, message_seconds + LEASE_SECONDS, {DOOR: card_facts, "ppro": charge_facts})
    def recovery_on(one: Engine) -> Recovery:
        return Recovery(
            one, desk, processors, plan=plan, now=clock.now, wall=_wall, ask_seconds=message_seconds, day=_value_date(processors), merchants=numbers)

    engine.recovery = ends_doubts = recovery_on(engine)

    # who pays, and what follows a challenge; a repeatable run tells the same addresses in every folder
    secret_of = secrets_under(secret_key(config, keyring))
    authenticating = Authenticating(
        pool, access_control, code_box, directory, new_id=numbering.next, secret_of=secret_of, now=clock.now, wall=_wall,
        seconds=config.answer_seconds)
    engine.authenticating = authenticating
    after_challenges = Challenges(
        pool, access_control, code_box, engine, desk.first, secret_of=secret_of, now=clock.now, wall=_wall, ask_seconds=ask_seconds)
    engine.challenged = after_challenges.at_once
    base_url = base_url_of(config)
    redirects = redirects_of(
        config, amazon, engine, reading, pool, directory, keyring, desk.first, key=secret_key(config, keyring), base_url=base_url,
        now=clock.now, wall=_wall, ask_seconds=ask_seconds)
    ahead = Ahead(
        pool, access_control, authenticating, after_challenges, new_id=numbering.next, secret_of=secret_of, now=clock.now,
        wall=_wall, seconds=config.answer_seconds)
    if config.frozen_at is None:            # what comes late comes by the wall clock, and never twice at the same place
        issuers.listen_for_late(ends_doubts, ends)

    # what is due later
    background: Background

    def nudge(name: str) -> None:
        background.nudge(name)

    # the doors' own words, where they are also wanted without a caller
    link_desk = desk_of(config, pool, keyring, clock.now, numbering.next, lambda: nudge(MESSAGES), take_cards=issuers.take_cards)

    disputes = disputes_of(
        config, pool, keyring, clock.now, numbering.next, nudge=nudge, engine=engine, docket=issuers.docket, directory=directory)
    retail = retail_of(config, due, directory, keyring.content_key, now=clock.now, wall=_wall, nudge=nudge)
    visits = visits_of(config, pool, due, engine, reading, vault, directory, keyring, processor.name, clock.now, ends)
    visits.gates.asks = retail.connector.asks
    stores = stores_of(pool, visits, engine, directory, link_desk, new_id=numbering.next, now=clock.now, nudge=nudge)

    def aps_service(engine: Engine) -> ApsService:
        return ApsService(
            engine=engine, reading=reading, vault=vault, content_key=keyring.content_key, route=lambda merchant, brand: processor.name,
            new_token_name=numbering.new_name, new_sdk_token=numbering.new_name, now=clock.now, code_box=code_box,
            base_url=base_url, ahead=ahead, links=link_desk, takes_cards=issuers.take_cards)

    service = aps_service(engine)
    global_api = ppro_service(
        is_live=config.is_live, base_url=base_url, engine=engine, reading=reading, vault=vault, directory=directory, code_box=code_box, pool=pool,
        keyring=keyring, processors=processors, new_id=numbering.next, now=clock.now, challenges=after_challenges, secret_of=secret_of,
        disputes=disputes.behind_the_door, rules=rules_of(config), redirects=redirects)
    mandates = Mandates(global_api)
    redirects.agreed, redirects.refused = mandates.agreed, mandates.refused
    aps = PaymentApi(service, directory, sandbox=not config.is_live)
    batch_doors = {DOOR: batch_door(service, lambda file: aps.account_named(file.merchant, file.access), links_of_rows(service))}
    file_desk = Batches(
        lambda: database.connect(database_url, application_name=f"ringfence files {number}"), due, now=clock.now, new_id=numbering.next,
        doors=batch_doors, nudge=nudge)

    chores = [
        Chore("directory", directory.refresh, DIRECTORY_SECONDS, alone=False),
        Chore("worker number", numbering.renew, RENEW_SECONDS, alone=False),
    ]
    queues: list[Queue] = []
    amazon_site, passing = await amazon_sandbox.served(config, amazon, clock.now, lambda: admin_token(config), directory, ends)
    chores += passing
    if works:
        notifiers = notifiers_of(config, keyring)
        # Opened when there is something to expire, or thousands of doubts that somebody left who was killed: live requests wait for neither.
        in_bulk = Lane(lambda: holds_due.connect(database_url, application_name=f"ringfence bulk intents {number}"), numbers=INTENT_LANES)
        ends.push_async_callback(in_bulk.close)
        bulk = engine_on(in_bulk, lane("bulk outcomes", OUTCOME_LANES, (points.BEFORE_OUTCOME, points.AFTER_OUTCOME)))
        expirer = Expirer(
            in_bulk, bulk, engine, directory, now=clock.now, new_id=numbering.next, ask_seconds=ask_seconds,
            in_turn=config.frozen_at is not None, is_stopping=lambda: background.is_stopping)
        # Opened when there is a file to carry out.
        rows_in = Lane(lambda: database.connect(database_url, application_name=f"ringfence batch intents {number}", by_key=True),
                       numbers=INTENT_LANES)
        rows_out = lane("batch outcomes", OUTCOME_LANES)
        ends.push_async_callback(rows_in.close)
        rows_end = outcome_lane(rows_out, in_bulk=True)
        counted = CountedOutcomes(rows_end.commit, counters)
        carrier = Carrier(
            rows_in, counted.commit, counted.of_whole(rows_end.commit_whole), engine, engine, due, batch_doors, now=clock.now,
            ask_seconds=ask_seconds, is_stopping=lambda: background.is_stopping, hands=1 if config.frozen_at else HANDS,
            most=0 if config.frozen_at else MOST,
            done=lambda: nudge(CHORE))
        chores += [
            abandoned.chore(due, directory, bulk, config.sweep_seconds), expiry.chore(expirer, config.sweep_seconds),
            *issuers.chores(directory, engine, due, config.sweep_seconds),
            *disputes.chores(config.sweep_seconds), *visits.chores(config.sweep_seconds), *stores.chores(config.sweep_seconds),
            follower.chore(due, directory, notifiers, clock.now, nudge),
            temporary_tokens.chore(due, directory, clock.now, config.sweep_seconds), keyed_requests.chore(due, directory, clock.now),
            page_sessions.chore(sessions, directory, config.retention_delivery_days, clock.now),
            retention.chore(reporters, policy_of(config), clock.now),
            batches.chore(file_desk), batches.carrying(carrier, config.sweep_seconds), batches.forgetting(file_desk),
            recurring.forgetting(due, clock.now), retail.forgetting, wallet_notices.chore(due, directory, clock.now),
        ]
        # Lanes of their own, opened when there is something to charge: the expirer's are held over its chunks.
        planned = engine_on(lane("plan intents", INTENT_LANES), lane("plan outcomes", OUTCOME_LANES))
        charge = plan_charges.charger(aps_service(planned), sandbox=not config.is_live)
        runner = recurring.Runner(
            due, directory, charge, invoice_of(link_desk), plan_desk_of(config), key_of=order_key, now=clock.now,
            waiting=lambda: sum(engine.waiting))
        queues = [
            recovery.queue(recovery_on(bulk)), challenges.queue(after_challenges), redirections.queue(redirects),
            reversals.queue(due, desk, engine, plan, clock.now),
            recurring.queue(runner), agreements.queue(global_api.agreements, mandates.settle),
            deliveries.queue(
                due, rules_of(config), now=clock.now, waiting=lambda: sum(engine.waiting),
                headers=door_headers(directory, notifiers), count=lambda delivered: counters.add(DELIVERED if delivered else NOT_DELIVERED)),
            reports.queue(Maker(reporters, WORDS, clock.now)),
            messages.queue(due, link_desk, directory, post_of(config)), *disputes.queues(), *stores.queues(), retail.queue,
            hold_rest.queue(RestHolder(engine, amazon.processor, amazon.objects, directory, due, clock.now, _wall, message_seconds)),
        ]
    nudge_all = stepping.nudges(nudge, [one.name for one in (*chores, *queues)])
    if works and isinstance(clock, Clock) and config.frozen_at is None:
        chores.append(stepping.watch(clock, nudge_all))
    background = Background(
        chores, queues, pool=due, now=clock.now, holder=holder, pause=config.sweep_seconds, sequential=config.frozen_at is not None,
        count=counters.count_job, note_set_aside=lambda: counters.add(SET_ASIDE))
    background.start()
    ends.push_async_callback(background.stop)
    noticing = asyncio.create_task(keys.keep_noticing(pool, keyring, f"worker {number} of process {os.getpid()}"))
    ends.push_async_callback(_cancelled, noticing)
    return Foundation(
        config, clock, counters, pool, reporters, keyring, numbering.new_name, directory, vault, lanes, engine, reading,
        access_control, after_challenges, redirects, sessions, link_desk, service, aps, global_api, file_desk, disputes, retail, visits, stores,
        amazon_sandbox.with_site(issuers.acts, amazon_site), amazon, amazon_site, nudge_all, ends)


def _arm(page: Path) -> None:
    try:
        points.arm(page)
    except (OSError, ValueError) as error:
        raise Failure(Exit.CONFIGURATION, f"RINGFENCE_TORTURE_POINTS: {page} is not a page of points ({error}).") from error


def _keeps(config: Config) -> Callable[[Pan], bool]:
    """Which card numbers are stored whole: in the sandbox only those of its own test tables."""
    return (lambda pan: True) if config.is_live else (lambda pan: is_test_number(pan.reveal()))


def _value_date(processors: dict[str, Processor]) -> Callable[[str, datetime], date]:
    """The business day of a processor at an instant, by its cut-over hour and zone."""
    rules = {name: processor.capabilities for name, processor in processors.items()}
    return lambda name, at: business_day(at, rules[name].cut_over, rules[name].zone)


def _wall() -> datetime:
    return datetime.now(UTC)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
