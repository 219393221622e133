"""The simulator as a ``Processor``: carries messages to the issuer, plays the network, keeps the book.

A message to a card without state is answered on the spot: one line in the book, then the answer; the first message of a payment that every
rule approves has a short way of its own (``approval``).  Everything that depends on earlier messages (accounts, repeats, reversals) goes
through one thread and one transaction of the shared accounts.  Knows nothing of the engine; its folder is its own memory.
"""
from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from time import time_ns
from typing import TypeVar

from ringfence.core.card import luhn_valid
from ringfence.core.commands import Kind
from ringfence.core.ids import first_id_at
from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Silence, Unknown
from ringfence.processors.processor import Ask, Capabilities
from ringfence.processors.simulator import reading
from ringfence.processors.simulator.accounts import FILE, Accounts
from ringfence.processors.simulator.approvals import Approvals
from ringfence.processors.simulator.book import Book, Effect, Entry
from ringfence.processors.simulator.control import Page
from ringfence.processors.simulator.issuer import (
    REQUESTS,
    Answer,
    Marks,
    Seal,
    answer,
    effect_of,
    outcome_of,
)
from ringfence.processors.simulator.memory import Dropped, Memory
from ringfence.processors.simulator.network import Network, advice_travels
from ringfence.processors.simulator.scenarios import NEVER_ARRIVES, OPEN, WHY, Delivery, Scenario, magic_code, scenario_code, scenario_named

_EPOCH, _SECOND = datetime(1970, 1, 1, tzinfo=UTC), 1_000_000_000

_FRESH = 5 * _SECOND
"""An operation younger than this was not asked before, unless this process did it itself or the message says ``repeat``."""

_IN_TURN = 100
"""Questions of many that are answered before the event loop has its turn."""

_NO_MARKS = Marks("", "", "", 0)
_T = TypeVar("_T")


class Simulator:
    """The deterministic issuer of one worker process.  ``folder`` is shared by all of them, ``worker`` numbers them.

    ``seed`` decides all chance.  ``t1_seconds`` is how long an answer is waited for; ``clock`` is wall time in
    nanoseconds since 1970.
    ``on_late(message, outcome)`` is told of an approval that arrives after T1.  ``unknown_cards`` false declines 14 every number of nobody's table.
    ``drop_after`` is when scenario 0510 loses its hold, in business time.  Not safe to share between processes: make it after forking.
    """

    name = "simulator"

    def __init__(
        self, folder: Path, *, seed: int, worker: int, t1_seconds: float = 2.0, inquiry: bool = False,
        clock: Callable[[], int] = time_ns, on_late: Callable[[Ask, Outcome], None] | None = None,
        cut_over: time = time(0), zone: str = "UTC", unknown_cards: bool = True, drop_after: timedelta = timedelta(hours=24),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.capabilities = Capabilities(inquiry, True, True, True, cut_over, zone)
        self.on_late = on_late
        self._folder, self._worker, self._t1, self._clock = folder, worker, t1_seconds, clock
        self._stranger = OPEN if unknown_cards else scenario_named("0014")
        self._seal, self._book, self._page, self._reader = Seal(seed), Book(folder, worker), Page(folder), Accounts(folder)
        self._approvals = Approvals(self._seal, worker, self._stranger, cut_over, zone)
        self._memory = Memory(folder, self._page, drop_after)
        self._words = self._page.words
        self._thread: ThreadPoolExecutor | None = None
        self._network = Network(t1_seconds, self._now, self._too_late)
        self._asked: set[str] = set()
        self._asked_before: set[str] = set()
        self._second = self._next_second = self._generation = self._fresh_from = 0
        self._second_ends = _EPOCH
        self._stamp, self._age, self._last_tombstone = -1, "", 0
        self._offline, self._latency, self._undisturbed = False, 0.0, True
        self._overrides: dict[str, str] = {}
        self._tombstones: dict[str, int] = {}

    async def ask(self, message: Ask) -> Outcome:
        """See ``Processor.ask``.  The effect is in the book before the answer is given."""
        return self.answer_at_once((message,))[0] or await self._ask_the_whole_way(message, self._now())

    async def ask_many(self, messages: Sequence[Ask]) -> list[Outcome]:
        """See ``AsksMany``: what the short way answers is answered in turn, all else side by side."""
        outcomes: list[Outcome | None] = []
        for start in range(0, len(messages), _IN_TURN):
            outcomes += self.answer_at_once(messages[start:start + _IN_TURN])
            await asyncio.sleep(0)
        left = [place for place, outcome in enumerate(outcomes) if outcome is None]
        rest = await asyncio.gather(*(self._ask_the_whole_way(messages[place], self._now()) for place in left))
        for place, outcome in zip(left, rest, strict=True):
            outcomes[place] = outcome
        return outcomes     # type: ignore[return-value]

    def answer_at_once(self, messages: Sequence[Ask]) -> list[Outcome | None]:
        """See ``AnswersAtOnce``: the answers of the short way, where it leads to one.  All their lines are in the book before the first is given."""
        wall = self._clock()
        if self._words[0] != self._stamp:
            self._look_again()
        if not self._second <= wall < self._next_second:
            self._turn(wall)
        if not self._undisturbed:
            return [None] * len(messages)
        outcomes: list[Outcome | None] = []
        entries: list[Entry] = []
        micros, ends, approval = wall // 1000, self._second_ends, self._approval
        answered, write = outcomes.append, entries.append
        for message in messages:
            found = approval(message, micros) if message[8] >= ends else None
            if found is None:
                answered(None)
                continue
            approved, entry = found
            answered(approved)
            write(entry)
        if entries:
            try:
                self._book.append_all(entries)
            except OSError:                     # whatever is in the book now, nobody hears of it
                return [one and Unknown(Silence.CONNECTION_LOST) for one in outcomes]
            if self._words[0] != self._stamp:   # as ``_is_overtaken`` says
                self._look_again()
                outcomes = [None if message.key in self._tombstones else one for message, one in zip(messages, outcomes, strict=True)]
        return outcomes

    async def _ask_the_whole_way(self, message: Ask, now: datetime) -> Outcome:
        """The same for every message, with everything that can happen to it."""
        if now >= message.deadline:
            return NotAsked("deadline")
        spent = 0.0
        if self._offline:
            return Unknown(Silence.CONNECTION_LOST)
        if self._latency:
            spent = self._latency / 2
            if not await self._network.travel(spent, self._network.patience(message, now)) or self._now() >= message.deadline:
                return Unknown(Silence.NO_ANSWER)
        try:
            outcome, delivery = self._ask_at_once(message) or await self._ask_with_memory(message)
        except (OSError, sqlite3.Error):        # the folder is full or gone: an issuer that cannot write down what it did is silent
            return Unknown(Silence.CONNECTION_LOST)
        if not self._latency and (delivery is Delivery.AT_ONCE or type(outcome) is Declined):
            return outcome
        return await self._network.deliver(message, outcome, delivery, spent, self._latency)

    async def inquire(self, message: Ask) -> Outcome:
        """What the issuer did with a message asked before.  Unknown where it never saw it, or cannot be asked."""
        if self._words[0] != self._stamp:
            self._look_again()
        if not self.capabilities.inquiry:
            return Unknown(Silence.NO_ANSWER)
        if self._offline:
            return Unknown(Silence.CONNECTION_LOST)
        try:
            _, scenario, _ = self._scenario(message, message.pan.reveal() if message.pan is not None else "")
            return await self._in_thread(self._memory.recall, message, scenario) or Unknown(Silence.NO_ANSWER)
        except (OSError, sqlite3.Error):
            return Unknown(Silence.CONNECTION_LOST)

    async def reverse(self, message: Ask) -> bool:
        """See ``Processor.reverse``.  A reversal of what was never seen is remembered for a day and declines it if it still comes."""
        if self._words[0] != self._stamp:
            self._look_again()
        if self._offline:
            return False
        scenario, overtaken, is_cut = None, False, False
        if message.pan is not None:
            _, scenario, delivery = self._scenario(message, message.pan.reveal())
            overtaken, is_cut = delivery is Delivery.OVERTAKEN, delivery is Delivery.CUT
        if self._latency:
            await asyncio.sleep(min(self._latency, self._t1))
            if self._latency > self._t1:
                return False
        try:
            heard = await self._in_thread(self._reverse_with_memory, message, scenario, overtaken)
        except (OSError, sqlite3.Error):
            return False
        if not heard and not is_cut:
            await asyncio.sleep(self._t1)
        return heard

    async def totals(self, day: date) -> dict[tuple[str, str, str], tuple[int, int]] | None:
        """See ``Processor.totals``: what was approved on that business day and not undone."""
        return await asyncio.to_thread(reading.totals, self._folder, day)

    async def dropped(self, at: datetime, after: int = 0) -> list[Dropped]:
        """The holds that the issuer gave up by itself by ``at`` (business time), in the order of their numbers, those behind
        ``after``: whoever asks decides when it need not be told again."""
        return await self._in_thread(lambda: self._memory.drop(at, after, self._stamped))

    async def drops(self, until: datetime) -> list[datetime]:
        """When holds that stand will be given up, up to ``until`` (business time), the next one first."""
        return await self._in_thread(self._memory.drops, until)

    async def close(self) -> None:
        """Release thread, timers and files."""
        self._network.close()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.shutdown)
        self._memory.close()
        self._reader.close()
        self._book.close()
        del self._words
        self._page.close()

    # --- the issuer ----------------------------------------------------------------------------------------------------

    def _scenario(self, message: Ask, digits: str) -> tuple[str, Scenario, Delivery]:
        """Which scenario a message meets, and what its network does to it."""
        if digits:
            code = scenario_code(digits) if luhn_valid(digits) else "0014"
        else:
            code = message.original.processor_reference[8:] if message.original is not None else ""
        if self._overrides:
            code = self._overrides.get(self._account(message, digits), code)
        scenario = scenario_named(code) if code or not digits else self._stranger
        if message.magic and scenario.is_open and (magic := magic_code(message.minor)):
            scenario = scenario_named(magic)
            late_hand = message.kind not in REQUESTS and message.repeat     # a lost advice goes through when it is sent again
            return code, scenario, Delivery.AT_ONCE if late_hand else scenario.delivery
        if message.kind not in REQUESTS:
            return code, scenario, advice_travels(message, scenario)
        is_spared = scenario.spares_first and message.kind is not Kind.INCREMENT
        return code, scenario, Delivery.AT_ONCE if is_spared else scenario.delivery

    def _approval(self, message: Ask, micros: int) -> tuple[Approved, Entry] | None:
        """Answer and line of the short way, for a message that was not seen before; ``None`` where it leads nowhere."""
        key = message.key
        if message.operation_id < self._fresh_from or key in self._asked or key in self._asked_before or key in self._tombstones:
            return None
        approval = self._approvals.approval(message, micros)
        if approval is not None:
            self._asked.add(key)
        return approval

    def _ask_at_once(self, message: Ask) -> tuple[Outcome, Delivery] | None:
        """The issuer's answer where nothing needs remembering: one line, one outcome.  ``None`` where something does."""
        key = message.key
        if (
            message.repeat or message.operation_id < self._fresh_from or key in self._asked or key in self._asked_before
            or key in self._tombstones
        ):
            return None
        digits = message.pan.reveal() if message.pan is not None else ""
        code, scenario, delivery = self._scenario(message, digits)
        if scenario.has_account:
            return None
        self._asked.add(key)
        if delivery in NEVER_ARRIVES:
            return Unknown(WHY[delivery]), delivery
        drawn = self._seal.marks(digits, key, code)
        said = answer(message, scenario, scenario.answers[0], drawn.draw, digits)
        effect, alarm = effect_of(message, scenario, delivery, said)
        outcome = outcome_of(message, said, drawn, scenario)
        self._book.append(self._entry(message, effect, said, outcome, drawn, alarm=alarm))
        return None if self._words[0] != self._stamp and self._is_overtaken(key) else (outcome, delivery)

    def _is_overtaken(self, key: str) -> bool:
        """Whether a reversal came while the line was written, and did not see it; then it left a stamp."""
        self._look_again()
        return key in self._tombstones

    async def _ask_with_memory(self, message: Ask) -> tuple[Outcome, Delivery]:
        """The same where the past matters."""
        digits = message.pan.reveal() if message.pan is not None else ""
        code, scenario, delivery = self._scenario(message, digits)
        account = self._account(message, digits)
        drawn = self._seal.marks(digits, message.key, code)

        def entry(effect: Effect, said: Answer, outcome: Outcome, alarm: str) -> Entry:
            return self._entry(message, effect, said, outcome, drawn, account=account, alarm=alarm)

        def work() -> tuple[Outcome, Delivery]:
            if message.key in self._tombstones:     # a line that its reversal missed is undone first
                self._reverse_with_memory(message, OPEN, False)
            return self._memory.ask(message, digits, account, code, scenario, delivery, drawn, entry, self._stamped)

        done, _ = await asyncio.wait({self._in_thread(work)}, timeout=(message.deadline - self._now()).total_seconds())
        return done.pop().result() if done else (Unknown(Silence.NO_ANSWER), Delivery.AT_ONCE)

    def _reverse_with_memory(self, message: Ask, scenario: Scenario | None, overtaken: bool) -> bool:
        """Runs in the thread."""
        account = self._account(message, message.pan.reveal() if message.pan is not None else "")

        def entry(effect: Effect, response: str, minor: int, alarm: str) -> Entry:
            said = Answer(response, minor)
            return self._entry(message, effect, said, Declined(response), _NO_MARKS, account=account, alarm=alarm)

        return self._memory.reverse(message, scenario, overtaken, entry)

    def _account(self, message: Ask, digits: str) -> str:
        """The account a message is about, by its card or by what the original touched; ``""`` if neither says."""
        if digits:
            return self._seal.account(digits)
        return self._reader.account_of(message.original.key) if message.original is not None else ""

    def _too_late(self, message: Ask, outcome: Approved) -> None:
        """An approval arrived that nobody waits for any more."""
        drawn = Marks(outcome.scheme_reference, outcome.approval_code, outcome.processor_reference, 0)
        self._book.append(self._entry(message, Effect.LATE, Answer(outcome.response_code, outcome.minor), outcome, drawn))
        if self.on_late is not None:
            self.on_late(message, outcome)

    # --- bookkeeping ---------------------------------------------------------------------------------------------------

    def _entry(
        self, message: Ask, effect: Effect, said: Answer, outcome: Outcome, marks: Marks, *, account: str = "", alarm: str = ""
    ) -> Entry:
        at, minor = message.at, said.minor
        approved = type(outcome) is Approved
        return Entry(
            self._clock() // 1000, self._worker, message.key, message.operation_id, message.payment_id, message.merchant,
            message.kind, effect, minor, message.currency, said.code, at, self._approvals.day(at),
            message.pan.masked if message.pan is not None else "",
            outcome.approval_code if approved else "", outcome.scheme_reference if approved else "",
            outcome.processor_reference if approved else marks.reference, message.minor if minor != message.minor else 0, said.advice,
            said.security_code_result, outcome.address_result if approved else "", account, alarm, approved and message.final,
        )

    def _stamped(self, at: datetime) -> tuple[int, int, date]:
        """Wall time in microseconds, worker and business day of a line that no message asked for."""
        return self._clock() // 1000, self._worker, self._approvals.day(at)

    def _now(self) -> datetime:
        return _instant(self._clock())

    def _turn(self, wall: int) -> None:
        """What is worked out once a second, and again where the clock was set back."""
        if wall < self._second:     # what was asked until here would look fresh again, and is not
            self._fresh_from = max(self._fresh_from, first_id_at(self._second_ends))
        self._second = wall - wall % _SECOND
        self._next_second = self._second + _SECOND
        self._second_ends = _instant(self._next_second)
        self._fresh_from = max(self._fresh_from, first_id_at(_instant(wall - _FRESH)))
        if not self._generation <= wall < self._generation + _FRESH:    # two generations cover all that is fresh
            self._generation, self._asked_before, self._asked = wall, self._asked, set()

    def _look_again(self) -> None:
        """Read what the control interface set, and the reversals that came before their originals."""
        self._stamp = self._words[0]
        try:
            self._read_control()
        except sqlite3.Error:
            self._stamp = -1        # busy or gone: look again with the next message

    def _read_control(self) -> None:
        if not (self._folder / FILE).exists():
            return
        settings = self._reader.settings()
        self._offline, self._latency = settings.get("offline") == "1", float(settings.get("latency", "0"))
        self._overrides = self._reader.overrides()
        self._undisturbed = not (self._offline or self._latency or self._overrides)
        if (age := settings.get("age", "")) != self._age:
            self._age, self._last_tombstone, self._tombstones = age, 0, {}
        for number, key, until in self._reader.tombstones(self._last_tombstone):
            self._last_tombstone, self._tombstones[key] = number, until

    def _in_thread(self, work: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
        """Run what may wait for another process outside the event loop, one at a time."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "simulator")
        return asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _instant(wall: int) -> datetime:
    """Nanoseconds since 1970 as an instant, to the microsecond."""
    return _EPOCH + timedelta(microseconds=wall // 1000)
