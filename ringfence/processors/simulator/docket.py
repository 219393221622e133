"""The issuers' docket: cases about captured money, kept beside the accounts, and what is told of them.

Each function is one step inside, or one whole, transaction of the shared accounts, so that worker processes see each other's.  Blocking.
What an issuer does comes from ``cases``.  A word is told again until it is taken.
"""
from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from ringfence.core.dispute import Action, Heard, Phase, Said
from ringfence.core.dispute_reasons import Reason
from ringfence.core.notices import Notice, Noticed
from ringfence.processors.processor import Ask
from ringfence.processors.simulator.accounts import SQL, Accounts, Change
from ringfence.processors.simulator.cases import PLANS, Case, Stage, Word, answered, planned, step

_T = TypeVar("_T")


class Told(NamedTuple):
    """A word that was not taken yet: its number, its case, and what it says of it, or of the payment."""

    number: int
    merchant: str
    payment: int
    operation: int
    case: str
    minor: int
    reason: Reason
    said: Heard | Notice
    note: str


class Docket:
    """The docket as one process sees it; ``folder`` is the simulator's.  Safe to use beside it, and beside other processes."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._accounts, self._thread = Accounts(folder), ThreadPoolExecutor(1, "docket")

    async def told(self, at: datetime) -> list[Told]:
        """What issuers have said about captured money by ``at`` (business time), and nobody took yet."""
        return await self._in_thread(told, at)

    async def taken(self, numbers: Sequence[int]) -> None:
        """What need not be told again."""
        await self._in_thread(taken, numbers)

    async def answer(self, case: str, round: int, action: Action, minor: int, message: str, files: int, at: datetime) -> bool:
        """Hand in a merchant's answer; the same for the same case and round.  False where it could not be, or there is no such case."""
        try:
            return await self._in_thread(answer, case, round, action, minor, message, files, at)
        except (OSError, sqlite3.Error):
            return False

    async def acts(self, until: datetime) -> list[datetime]:
        """When issuers go on, or have told what nobody took, up to ``until`` (business time), the next one first."""
        return await self._in_thread(acts, until)

    async def close(self) -> None:
        """Release thread and file."""
        await asyncio.to_thread(self._thread.shutdown)
        self._accounts.close()

    def _in_thread(self, work: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work, self._accounts, *arguments)


def plan(change: Change, scenario: str, message: Ask, minor: int) -> None:
    """Something was approved on a card of the 07NN family."""
    case = planned(
        scenario, message.kind, message.operation_id, message.payment_id, message.merchant, message.currency, minor, message.at)
    if case is not None:
        change.run("plan_case", *_row(case))


def forget(change: Change, operation: int) -> None:
    """What was approved is undone."""
    change.run("forget_case", f"case-{operation}")


def raised(accounts: Accounts, case: Case) -> bool:
    """Plan a case by hand; false where there is one of that name."""
    with accounts.change() as change:
        return change.run("plan_case", *_row(case)).rowcount > 0


def told(accounts: Accounts, at: datetime) -> list[Told]:
    """Have the issuers go on by ``at``, business time; all words that were not taken, in their order."""
    seconds = int(at.timestamp())
    if accounts.connection.execute(SQL["acts"], (seconds,)).fetchone() is None:
        return []
    with accounts.change() as change:
        while (row := change.run("cases_due", seconds).fetchone()) is not None:
            case, words = step(_case(row))
            _save(change, case)
            for word in words:
                change.run("say", *_said(case, word))
        return [_told(row) for row in change.run("words", seconds).fetchall()]


def taken(accounts: Accounts, numbers: Sequence[int]) -> None:
    """Words that need not be told again."""
    with accounts.change() as change:
        for number in numbers:
            change.run("take", number)


def answer(accounts: Accounts, name: str, round: int, action: Action, minor: int, message: str, files: int, at: datetime) -> bool:
    """A merchant's answer; false where there is no such case, or nothing reaches the issuer."""
    if accounts.settings().get("offline") == "1":
        return False
    with accounts.change() as change:
        row = change.run("case", name).fetchone()
        if row is not None:
            _save(change, answered(_case(row), round, action, minor, message, files, at))
    return row is not None


def acts(accounts: Accounts, until: datetime) -> list[datetime]:
    """When the issuers go on, or have told something, up to an instant of business time."""
    return [_instant(seconds) for (seconds,) in accounts.connection.execute(SQL["acts"], (int(until.timestamp()),))]


def _row(case: Case) -> tuple:
    next_at = None if case.next_at is None else int(case.next_at.timestamp())
    return (*case[:8], next_at, case.told, case.round)


def _case(row: tuple) -> Case:
    next_at = None if row[8] is None else _instant(row[8])
    return Case(*row[:7], Stage(row[7]), next_at, *row[9:])


def _save(change: Change, case: Case) -> None:
    _, _, _, _, _, minor, _, stage, next_at, told, round = _row(case)
    change.run("save_case", minor, stage, next_at, told, round, case.name)


def _said(case: Case, word: Word) -> tuple:
    at, said = int(word.at.timestamp()), word.said
    if isinstance(said, Noticed):
        return at, case.name, said, 0, word.minor, "", None, word.note
    return at, case.name, said.said, said.number, word.minor, said.phase, said.due_at and int(said.due_at.timestamp()), word.note


def _told(row: tuple) -> Told:
    n, _, name, operation, payment, merchant, _, scenario, said, number, minor, phase, due_at, note = row
    if number:
        word: Heard | Notice = Heard(number, Said(said), minor, Phase(phase), None if due_at is None else _instant(due_at))
    else:
        noticed = Noticed(said)
        word = Notice(noticed, f"{said}:{operation}", minor, operation if noticed is Noticed.CAPTURE_REJECTED else 0)
    return Told(n, merchant, payment, operation, name, minor, PLANS[scenario].reason, word, note)


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
