"""Answers that depend on what was asked before: accounts, repeats, reversals and dropped holds.

Each method is one transaction of the shared accounts, so that worker processes see each other's.  Blocking; the processor runs it in a
thread.  What the issuer says comes from ``issuer``; here it is weighed against what the account has and what the book remembers.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import time
from typing import NamedTuple

from ringfence.core.commands import Kind
from ringfence.core.ids import made_at
from ringfence.core.outcomes import Approved, Declined, Outcome, Reversed, Silence, Unknown
from ringfence.processors.processor import Ask
from ringfence.processors.simulator import docket
from ringfence.processors.simulator.accounts import SQL, Accounts, Change
from ringfence.processors.simulator.book import Effect, Entry, decode
from ringfence.processors.simulator.control import Page
from ringfence.processors.simulator.finding import Stretches, search
from ringfence.processors.simulator.issuer import ALREADY_REVERSED, REQUESTS, Answer, Marks, answer, effect_of, outcome_of
from ringfence.processors.simulator.scenarios import NEVER_ARRIVES, OPEN, WHY, Delivery, Scenario, scenario_named

Stamp = Callable[[datetime], tuple[int, int, date]]
"""Business time -> wall time in microseconds, worker number and business day, for a line that no message asked for."""

_REVERSAL_REFUSED = "answered as if there were nothing to reverse, although the hold stands"


class Dropped(NamedTuple):
    """A hold that the issuer gave up by itself, and the number of its line in the book.  Minor units."""

    number: int
    payment: int
    merchant: str
    currency: str
    minor: int


class Memory:
    """The issuer's memory as one process sees it."""

    __slots__ = ("_accounts", "_drop_after", "_folder", "_page", "_stretches")

    def __init__(self, folder: Path, page: Page, drop_after: timedelta) -> None:
        self._folder, self._page, self._accounts, self._drop_after = folder, page, Accounts(folder), drop_after
        self._stretches = Stretches()

    def ask(
        self, message: Ask, digits: str, account: str, code: str, scenario: Scenario, delivery: Delivery, marks: Marks,
        entry: Callable[[Effect, Answer, Outcome, str], Entry], stamp: Stamp,
    ) -> tuple[Outcome, Delivery]:
        """The outcome at the issuer, and how its answer travels."""
        before = self._in_files(message)
        with self._accounts.change() as change:
            before += change.entries(message.key)
            if (outcome := recalled(before)) is not None:
                if isinstance(outcome, Reversed):
                    return Declined(ALREADY_REVERSED), Delivery.AT_ONCE
                if is_taken_only(message, scenario, before):
                    return outcome, Delivery.PENDING
                return outcome, _delivery_again(change, message, scenario, delivery, outcome)
            if change.is_buried(message.key, int(time())):
                outcome = Declined(ALREADY_REVERSED)
                change.write(entry(Effect.DECLINED, Answer(ALREADY_REVERSED, 0), outcome, ""))
                return outcome, Delivery.AT_ONCE
            if delivery in NEVER_ARRIVES:
                return Unknown(WHY[delivery]), delivery
            if scenario.drops_hold:
                self._drop(change, message.at, stamp)
            said = self._weigh(change, message, digits, account, code, scenario, marks.draw)
            outcome = outcome_of(message, said, marks, scenario)
            effect, alarm = effect_of(message, scenario, delivery, said)
            change.write(entry(effect, said, outcome, alarm))
            if scenario.after and effect is Effect.APPROVED:
                docket.plan(change, scenario.after, message, said.minor)
            if message.kind is Kind.CAPTURE and scenario.unanswered_captures and said.minor:
                change.count(f"{message.key}|captures")
                delivery = Delivery.SILENT
            return outcome, delivery

    def reverse(
        self, message: Ask, scenario: Scenario | None, overtaken: bool, entry: Callable[[Effect, str, int, str], Entry]
    ) -> bool:
        """Undo exactly that message.  False where the reversal itself gets no answer.  Without ``scenario``, as the book has it."""
        if scenario is None:
            known = self._in_files(message) + self._accounts.entries(message.key)
            scenario = scenario_named(known[0].reference[8:]) if known else OPEN
        if lost := scenario.unanswered_reversals:
            with self._accounts.change() as change:
                count = change.count(f"{message.key}|reversals")
                if lost < 0 or count <= lost:
                    return False
        while True:
            before = self._in_files(message)
            with self._accounts.change() as change:
                before += change.entries(message.key)
                if before and _undo(change, before, scenario, entry):
                    return True
                if change.bury(message.key, int(time())):
                    change.write(entry(Effect.NOTHING, "25", 0, ""))
                    if overtaken:       # now the original arrives, behind its reversal
                        change.write(entry(Effect.DECLINED, ALREADY_REVERSED, 0, ""))
            # A worker that was writing its line meanwhile either sees the stamp after its line, or its line is seen here.
            self._page.touch()
            if all(line.effect is not Effect.APPROVED for line in self._in_files(message)):
                return True

    def recall(self, message: Ask, scenario: Scenario) -> Outcome | None:
        """What became of a message, or ``None`` if it never arrived."""
        known = self._in_files(message) + self._accounts.entries(message.key)
        return Unknown(Silence.PENDING) if is_taken_only(message, scenario, known) else recalled(known)

    def drop(self, at: datetime, after: int, stamp: Stamp) -> list[Dropped]:
        """Give up the holds that are due by ``at``, business time; every hold ever given up in a line of the book behind ``after``."""
        with self._accounts.change() as change:
            self._drop(change, at, stamp)
            lines = [(number, decode(line)) for number, line in change.run("told", after).fetchall()]
        return [Dropped(number, line.payment, line.merchant, line.currency, line.minor) for number, line in lines]

    def drops(self, until: datetime) -> list[datetime]:
        """When holds will be given up, up to an instant of business time."""
        found = self._accounts.connection.execute(SQL["drops"], (int(until.timestamp()),))
        return [datetime.fromtimestamp(seconds, UTC) for (seconds,) in found]

    def account_of(self, key: str) -> str:
        """The account an earlier message touched, or ``""``."""
        return self._accounts.account_of(key)

    def close(self) -> None:
        """Release the file."""
        self._accounts.close()

    def _in_files(self, message: Ask) -> list[Entry]:
        return search(self._folder, message.key, int(made_at(message.operation_id).timestamp()) * 1_000_000, message.operation_id, self._stretches)

    def _weigh(
        self, change: Change, message: Ask, digits: str, account: str, code: str, scenario: Scenario, draw: int
    ) -> Answer:
        """The issuer's answer with the account looked at, and the account moved by it."""
        says = scenario.answers[0]
        if message.kind in REQUESTS and len(scenario.answers) > 1:
            says = scenario.answers[min(change.count(f"{account}|requests"), len(scenario.answers)) - 1]
        elif scenario.has_account:
            says = "00"
        said = answer(message, scenario, says, draw, digits)
        if not (scenario.ten_majors >= 0 or scenario.drops_hold):
            return said
        change.open(account, message.currency, message.pan.masked if message.pan is not None else "", code, scenario)
        available = change.available(account, message.currency)
        if message.kind in REQUESTS and available is not None and said.minor > available:
            partial = message.accepts_partial and available > 0
            said = Answer("10", available, "", said.security_code_result) if partial else Answer("51", 0)
        if said.minor:
            drops_at = int((message.at + self._drop_after).timestamp()) if scenario.drops_hold else None
            change.move(message, account, said.minor, drops_at)
        return said

    def _drop(self, change: Change, at: datetime, stamp: Stamp) -> None:
        wall, worker, day = stamp(at)
        for account, payment, currency, merchant, operation, key, minor in change.run("due", int(at.timestamp())).fetchall():
            change.run("dropped", account, payment)
            if minor:
                change.write(Entry(
                    wall, worker, key, operation, payment, merchant, Kind.AUTHORIZATION, Effect.DROPPED, minor, currency, "", at, day,
                    account=account,
                ))


def recalled(entries: list[Entry]) -> Outcome | None:
    """The outcome that the lines about one key tell; ``None`` where none was given."""
    outcome: Outcome | None = None
    for line in entries:
        if line.effect is Effect.REVERSED:
            return Reversed()
        if line.effect is Effect.APPROVED or (line.effect is Effect.NOTHING and line.minor):
            outcome = Approved(
                line.minor, line.approval, line.nti, line.reference, line.response, line.security_code_result, line.address_result
            )
        elif line.effect is Effect.DECLINED:
            outcome = Declined(line.response, line.advice, line.reference)
    return outcome


def is_taken_only(message: Ask, scenario: Scenario, known: list[Entry]) -> bool:
    """Whether a refund, by the lines about its key, was taken and is not said to be done yet."""
    return message.kind is Kind.REFUND and bool(scenario.refunds_after) and any(
        line.effect is Effect.APPROVED and message.at < line.at + scenario.refunds_after for line in known)


def _delivery_again(change: Change, message: Ask, scenario: Scenario, delivery: Delivery, outcome: Outcome) -> Delivery:
    """How the stored answer to a repeat travels."""
    if not isinstance(outcome, Approved):
        return Delivery.AT_ONCE
    if message.kind is Kind.CAPTURE and scenario.unanswered_captures:
        return Delivery.SILENT if change.count(f"{message.key}|captures") <= scenario.unanswered_captures else Delivery.AT_ONCE
    if message.kind in REQUESTS and not scenario.repeats_heard:
        return Delivery.SILENT if delivery is Delivery.LATE else delivery
    return Delivery.AT_ONCE


def _undo(change: Change, before: list[Entry], scenario: Scenario, entry: Callable[[Effect, str, int, str], Entry]) -> bool:
    """Reverse what the lines about one key say was done.  False where nothing was ever asked under that key."""
    effects = {line.effect for line in before}
    if Effect.REVERSED in effects:
        return True
    for line in before:
        if line.effect is not Effect.APPROVED:
            continue
        if scenario.reversal_answer:
            if Effect.NOTHING not in effects:
                change.write(entry(Effect.NOTHING, scenario.reversal_answer, 0, _REVERSAL_REFUSED))
            return True
        change.write(entry(Effect.REVERSED, "00", line.minor, ""))
        docket.forget(change, line.operation)
        if line.account and change.run("available", line.account, line.currency).fetchone() is not None:
            change.undo(line)
        return True
    if Effect.DECLINED in effects and Effect.NOTHING not in effects:
        change.write(entry(Effect.NOTHING, "21", 0, ""))
    return Effect.DECLINED in effects or Effect.NOTHING in effects
