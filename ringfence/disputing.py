"""Disputes, put together: the desk over its database, the ear for what the simulated issuers say, and the way answers go to them.

A part of the composition: built by hand, in reading order.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.api.disputes import Services
from ringfence.api.ppro import disputes as words
from ringfence.api.ppro.door import Disputes as BehindTheDoor
from ringfence.api.ppro.names import Names
from ringfence.background import disputes as background
from ringfence.background.disputes import Ear, Teller, Telling
from ringfence.background.worker import Chore, Queue
from ringfence.config import Config
from ringfence.core.dispute import Heard
from ringfence.engine.directory import Directory
from ringfence.engine.dispute_reading import Cases
from ringfence.engine.dispute_reports import QUEUE as REPORTS
from ringfence.engine.dispute_reports import Reports
from ringfence.engine.disputes import QUEUE, Answer, Case, Desk
from ringfence.engine.engine import Engine
from ringfence.engine.keys import Keyring
from ringfence.engine.timeline import Drops
from ringfence.operators import first_keys
from ringfence.processors.simulator import Control, Docket, Simulator

SIMULATOR = "simulator"


class Disputes(NamedTuple):
    """Everything about disputes that a process has.  ``listen`` hears the issuers now; ``None`` where nobody books."""

    desk: Desk
    cases: Cases
    reports: Reports
    ear: Ear | None = None

    @property
    def behind_the_door(self) -> BehindTheDoor:
        """What the PPRO door works with."""
        return BehindTheDoor(self.desk, self.cases, self.reports)

    def chores(self, pause: float) -> list[Chore]:
        """What is looked after again and again."""
        return [] if self.ear is None else [background.chore(self.ear, pause)]

    def queues(self) -> list[Queue]:
        """What is due later."""
        return [background.queue(self.desk), Queue(REPORTS, self.reports.run, at_once=1, per_merchant=1)]


def disputes_of(
    config: Config, pool: asyncpg.Pool, keyring: Keyring, now: Callable[[], datetime], new_id: Callable[[], int], *,
    nudge: Callable[[str], object] = lambda name: None, engine: Engine | None = None, docket: Docket | None = None,
    directory: Directory | None = None,
) -> Disputes:
    """With an engine what books, and with the issuers' docket what hears them and answers; without, what only keeps, for a service that carries
    it on."""
    reports = Reports(
        pool, now, new_id, words.report_words(Names(keyring.content_key)), timedelta(days=config.retention_report_days), lambda: nudge(REPORTS))
    if engine is None or directory is None:
        return Disputes(Desk(pool, keyring, now, new_id), Cases(pool, keyring, now), reports)
    send = {} if docket is None else {SIMULATOR: _answers(docket)}
    desk = Desk(pool, keyring, now, new_id, book=engine.notice, send=send, nudge=lambda: nudge(QUEUE))
    if docket is None:
        return Disputes(desk, Cases(pool, keyring, now), reports)
    return Disputes(desk, Cases(pool, keyring, now), reports, Ear(SIMULATOR, teller_of(docket), directory, engine, desk))


def teller_of(docket: Docket) -> Teller:
    """What the simulated issuers say, as disputes understand it."""
    async def told(at: datetime) -> Sequence[Telling]:
        found = []
        for one in await docket.told(at):
            is_notice = isinstance(one.said, Heard)
            case = Case(SIMULATOR, one.case, one.payment, one.operation, one.minor, one.reason, one.note) if is_notice else None
            found.append(Telling(one.number, one.merchant, one.payment, one.said, case, one.note))
        return found

    return Teller(told, docket.taken)


def _answers(docket: Docket) -> Callable[[Answer], Awaitable[bool]]:
    async def send(answer: Answer) -> bool:
        return await docket.answer(
            answer.case, answer.round, answer.action, answer.minor, answer.message, len(answer.evidence), answer.at)

    return send


def acts_of(processor: Simulator, docket: Docket) -> Drops:
    """When issuers do something by themselves."""
    async def acts(until: datetime) -> list[datetime]:
        return sorted([*await processor.drops(until), *await docket.acts(until)])

    return acts


def operators_of(
    config: Config, pool: asyncpg.Pool, content_key: bytes, now: Callable[[], datetime], directory: Directory, disputes: Disputes,
    at_end: Callable[[Callable[[], None]], object],
) -> Services:
    """What operators' endpoints work with."""
    names = Names(content_key)
    return Services(
        pool, directory, disputes.desk, disputes.cases, now, lambda number: names.make("dispute", number),
        lambda name: names.read("dispute", name), lambda name: names.read("charge", name), first_keys,
        None if config.is_live else raising(config, now, at_end),
        disputes.ear and disputes.ear.listen)


Raise = Callable[[str, int, int, str, str, int], Awaitable[str | None]]
"""Has an issuer begin a case about a capture: scenario, operation, payment, merchant, currency, minor units; the case's name, ``None`` where
the capture has one.  Raises ``ValueError``."""


def raising(config: Config, now: Callable[[], datetime], at_end: Callable[[Callable[[], None]], object]) -> Raise:
    """How a person has the simulated issuers begin a case; its file is opened when first used."""
    opened: list[Control] = []

    async def begin(scenario: str, operation: int, payment: int, merchant: str, currency: str, minor: int) -> str | None:
        if not opened:
            opened.append(Control(config.data / "simulator", seed=config.seed))
            at_end(opened[0].close)
        return opened[0].raise_case(scenario, operation, payment, merchant, currency, minor, now())

    return begin
