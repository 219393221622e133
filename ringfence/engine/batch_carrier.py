"""Rows of batch files, carried out many in one commit, on lanes of their own.

A stretch of lines is taken in the transaction that stores the intents of its rows and notes which operation each row is: that commit
is the claim, so that a row is taken once, whoever dies when.  Then the processor is asked for all of them, and their outcomes are one
batch of an outcome lane like any other.  What dies in between leaves intents without an outcome, which end as all such do.  Live
requests come first: every step waits for them a moment.  Has no rules of its own: intents, decisions and ledger are those of every payment.
"""
from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import repeat, zip_longest
from time import perf_counter
from typing import NamedTuple

import asyncpg

from ringfence.core.outcomes import Approved, Outcome, Silence, Unknown
from ringfence.core.refusals import Refusal
from ringfence.engine.batcher import CommitFailed
from ringfence.engine.batches import LATER, PROCESSING, BatchDoor, File, Prepared
from ringfence.engine.bulk import give_way
from ringfence.engine.engine import Engine
from ringfence.engine.intent_lane import IntentBatch, TokenChanged
from ringfence.engine.intents import Ended, Reserved, Result
from ringfence.engine.lane import Lane
from ringfence.engine.sheet import Sheet, may_begin
from ringfence.engine.whole import Also, whole_of
from ringfence.storage import alike
from ringfence.storage import batches as rows
from ringfence.storage.alike import NotAlike
from ringfence.storage.batches import Line, Order, Stretch
from ringfence.storage.borrowing import borrowed

log = logging.getLogger(__name__)

CHUNK, MOST = 1_000, 3_000
"""Rows in one commit, and in one where a processor answers them in no time."""
QUICK, SLOW = 1 / 16, 1 / 4
"""How much of the time there is for asking may have been spent, for larger commits from then on; and how much is too much."""
HANDS = 2
"""Chunks in hand together: while one waits for the database, the other is worked out."""
ROUND_SECONDS = 2.0
"""How long files are carried on until somebody looks which there are."""
FRESH_TOKENS = 3
"""How often a token that keeps changing is read again before its rows are refused."""
MIXED = 8
"""Commits of a file that had to be taken back for a row that was turned down, before each of its rows is asked to begin with."""
_NOBODY_KNOWS = Unknown(Silence.OWNER_GONE)

Commit = Callable[[Sequence[Ended]], Awaitable[Sequence[Result]]]
CommitWhole = Callable[[Sheet, Sequence[Outcome], datetime, datetime, Also | None], Awaitable[None]]


class _Sheet(NamedTuple):
    """What became of rows of one sort: how many were approved, how many nobody knows of, whether that is noted, what was said of others, and
    how many seconds were spent with asking."""

    approved: int
    unknown: int
    is_noted: bool
    others: Sequence[Ended]
    asking: float = 0.0


_NO_SHEET = _Sheet(0, 0, False, ())


class Carrier:
    """Carries out rows in one process."""

    def __init__(
        self, lane: Lane, outcomes: Commit, whole: CommitWhole, engine: Engine, live: Engine, pool: asyncpg.Pool, doors: Mapping[str, BatchDoor], *,
        now: Callable[[], datetime], ask_seconds: float, chunk: int = CHUNK, most: int = 0, hands: int = HANDS,
        is_stopping: Callable[[], bool] = lambda: False, done: Callable[[], object] = lambda: None,
    ) -> None:
        """``lane`` commits intents, ``outcomes`` and ``whole`` what became of them, all of this carrier alone; ``engine`` asks, and ``live``
        goes first.

        ``now``: business time.  ``ask_seconds``: how long a chunk may take to be asked and to have its outcomes written.  ``chunk``: its rows,
        which may grow to ``most``.  ``done`` is told when nothing is left to be taken.
        """
        self._whole = whole
        self._lane, self._outcomes, self._engine, self._live, self._pool, self._doors = lane, outcomes, engine, live, pool, doors
        self._now, self._ask, self._hands = now, timedelta(seconds=ask_seconds), hands
        self._size, self._least, self._most = chunk, chunk, max(chunk, most)
        self._is_stopping, self._done = is_stopping, done
        self._mixed: Counter[int] = Counter()   # by batch: commits in which a row was turned down
        self._taking, self._ending = asyncio.Lock(), asyncio.Lock()         # a lane commits one after the other

    async def run(self) -> int:
        """Carry out what is there; how many rows that were.  A stop ends it behind the chunks in hand."""
        carried = 0
        try:
            while not self._is_stopping():
                async with borrowed(self._pool) as connection:
                    files = [one for one in await rows.open_files(connection) if one.state == PROCESSING and one.door in self._doors]
                waiting = deque(_in_turn(files) * self._hands)          # so that every hand finds work, if there is only one file
                before = carried
                if files:
                    until = asyncio.get_running_loop().time() + ROUND_SECONDS
                    worked = await asyncio.gather(*(self._work(waiting, until) for _ in range(self._hands)), return_exceptions=True)
                    carried += sum(one for one in worked if isinstance(one, int))
                    for broken in [one for one in worked if isinstance(one, BaseException)]:
                        raise broken                        # once every hand has put down what it had
                if carried == before:
                    break
        except CommitFailed:
            log.warning("batch rows wait for the database")
        if carried:
            self._done()
        return carried

    async def _work(self, waiting: deque[File], until: float) -> int:
        """One hand: a chunk of one file, then of the next."""
        carried, loop = 0, asyncio.get_running_loop()
        while waiting and not self._is_stopping() and loop.time() < until:
            file = waiting.popleft()
            if many := await self._carry(file):
                carried += many
                waiting.append(file)
        return carried

    async def _carry(self, file: File) -> int:
        """One chunk of a file, from its lines to its outcomes; how many rows it had, 0 where nothing is left to be taken."""
        await give_way(self._live)
        async with self._taking:
            size, taken = self._size, await self._take(file)
        if taken is None:
            return 0
        asking = 0.0
        sheet = await self._carry_sheet(file, taken) if taken.sheet is not None else _NO_SHEET
        if sheet.is_noted:
            self._pace(len(taken.lines) == size, sheet.asking)
            return len(taken.lines)
        approved, unknown, ended = taken.made + sheet.approved, sheet.unknown, sheet.others
        if taken.reserved:
            await give_way(self._live)
            began = perf_counter()
            outcomes = await self._engine.together.ask(taken.reserved)
            asking = perf_counter() - began
            ended = [*ended, *map(self._engine.ended, taken.reserved, outcomes)]
        if ended:
            await give_way(self._live)
            async with self._ending:
                results = await self._committed(ended)
            for (one, _, _), result in zip(ended, results, strict=True):
                if type(result.outcome) is Approved and result.outcome.minor == one.operation.minor:
                    approved += 1                   # with a card whose cardholder paid before: nothing is to be forgotten or undone
                else:
                    unknown += type(result.outcome) is Unknown
                    self._engine.after(one, result)
        self._pace(len(taken.lines) == size, asking + sheet.asking)
        failed = len(taken.lines) - approved - unknown
        if taken.lines:
            await self._note(file, taken.stretch.part, approved, failed, unknown)
        return len(taken.lines) or 1

    def _pace(self, is_full: bool, seconds: float) -> None:
        """Take more lines where those that were asked for took no time, fewer where asking took its time."""
        spent = seconds / self._ask.total_seconds()
        if spent > SLOW:
            self._size = max(self._least, self._size // 2)
        elif is_full and spent < QUICK:
            self._size = min(self._most, self._size * 2)

    async def _carry_sheet(self, file: File, taken: _Taking) -> _Sheet:
        """Ask for rows of one sort, and end together those that were approved whole."""
        sheet, asked = taken.sheet, (taken.deadline, taken.asked_at)
        assert sheet is not None
        await give_way(self._live)
        began = perf_counter()
        outcomes = await self._engine.together.ask_sheet(sheet, *asked)
        asking, whole = perf_counter() - began, whole_of(sheet, outcomes)
        others = [
            self._engine.ended(sheet.reserved(place, *asked), outcomes[place])
            for place in sorted(set(range(len(outcomes))).difference(whole))] if len(whole) < len(outcomes) else []
        if not whole:
            return _Sheet(0, 0, False, others, asking)
        together = sheet if not others else sheet.only(whole)
        said = outcomes if not others else [outcomes[place] for place in whole]
        note = None
        if len(whole) == len(taken.lines) and file.waves == 1:
            stretch = rows.Whole(taken.lines[0].line, taken.lines[-1].line, sheet.model.command.currency, len(whole), sum(sheet.minors))
            note = partial(rows.note_whole, merchant_id=file.merchant_id, batch_id=file.batch_id, stretch=stretch)
        await give_way(self._live)
        try:
            async with self._ending:
                await self._whole(together, said, *asked, note)
        except CommitFailed:
            return _Sheet(0, len(whole), False, others, asking)
        except (NotAlike, asyncpg.UniqueViolationError):        # each goes its own way
            pass
        except Exception:
            log.exception("%d rows of batch %d could not be ended together", len(whole), file.batch_id)
        else:
            return _Sheet(len(whole), 0, note is not None, others, asking)
        others += [self._engine.ended(together.reserved(place, *asked), outcome) for place, outcome in enumerate(said)]
        return _Sheet(0, 0, False, others, asking)

    async def _take(self, file: File) -> _Taking | None:
        """Take the next lines; where they cannot be stored together, fewer and fewer, until the one to blame is alone and is refused."""
        size, refuses, alike = self._size, False, not file.forced and self._mixed[file.batch_id] < MIXED
        while True:
            taking = _Taking(self._engine, file, self._doors[file.door], self._now(), self._ask, size, refuses, alike)
            try:
                return await self._lane.run(taking.commit, taking.committed)
            except CommitFailed:
                raise
            except NotAlike:                    # nothing was stored: the next try asks each row
                self._mixed[file.batch_id] += 1
                alike = False
            except Exception:
                if refuses:
                    raise
                log.exception("rows of batch %d could not be stored together", file.batch_id)
                size, refuses = max(1, size // 8), size == 1

    async def _committed(self, ended: Sequence[Ended]) -> Sequence[Result]:
        """The results; a batch that raises is halved, so that a poisoned row fails alone, and ends like an abandoned intent."""
        try:
            return await self._outcomes(ended)
        except CommitFailed:
            return [Result(one.reserved.held.payment, one.reserved.operation, _NOBODY_KNOWS) for one in ended]
        except Exception:
            if len(ended) == 1:
                log.exception("the outcome of operation %d could not be stored", ended[0].reserved.operation.id)
                return [Result(ended[0].reserved.held.payment, ended[0].reserved.operation, _NOBODY_KNOWS)]
        middle = len(ended) // 2
        return [*await self._committed(ended[:middle]), *await self._committed(ended[middle:])]

    async def _note(self, file: File, part: int, approved: int, failed: int, unknown: int) -> None:
        """For whoever watches; what counts is counted at the end."""
        async with borrowed(self._pool) as connection:
            await connection.execute(rows.SQL.note_progress, *file[:2], part, approved, failed, unknown)


class _Taking:
    """Some lines on their way through the commit that takes them."""

    def __init__(self, engine: Engine, file: File, door: BatchDoor, now: datetime, ask: timedelta, size: int, refuses: bool,
                 alike: bool) -> None:
        self._engine, self._file, self._door, self._now, self._ask = engine, file, door, now, ask
        self._size, self._refuses, self._alike = size, refuses, alike
        self.stretch = Stretch(0, 0, 0, 0)
        self.lines: list[Line] = []
        self.reserved: list[Reserved] = []
        self.sheet: Sheet | None = None
        self.asked_at, self.deadline = now, now             # the deadline is that of the try that is committed
        self._noted: list[tuple[int, int | None, int | None, str | None, str, str]] = []

    async def commit(self, connection: asyncpg.Connection) -> _Taking | None:
        """Take the lines, and store what they are; ``None`` where there are none."""
        merchant_id, batch_id = self._file[:2]
        async with connection.transaction():
            stretch = await rows.take_part(connection, merchant_id, batch_id)
            if stretch is None:
                return None
            self.stretch = stretch
            self.lines = await rows.rows(connection, merchant_id, batch_id, stretch, self._size)
            self.reserved, self._noted, self.sheet = [], [], None
            if self.lines:
                orders = await self._orders(connection)
                if self._refuses:
                    self._noted = [self._refused(line, Refusal.SERVICE_UNAVAILABLE) for line in self.lines]
                else:
                    others = await self._store_alike(connection) if self._alike else self.lines
                    if others:
                        await self._store(connection, others, orders, FRESH_TOKENS)
                self._noted.sort()
                await rows.note_taken(connection, merchant_id, batch_id, self._noted)
            full = len(self.lines) == self._size
            await connection.execute(
                rows.SQL.move_on, merchant_id, batch_id, stretch.part, self.lines[-1].line + 1 if full else stretch.last_line + 1)
        return self

    @property
    def made(self) -> int:
        """Rows that were done without an operation."""
        return sum(code is not None and code.endswith("000") for _, _, _, code, _, _ in self._noted)

    async def committed(self, connection: asyncpg.Connection) -> _Taking | None:
        """After a lost answer: the lines are ours if the first of them is the operation that we made."""
        if not self._noted:
            return None
        line, _, operation_id, code, _, _ = self._noted[0]
        row = await connection.fetchrow(rows.SQL.first_taken, *self._file[:2], line)
        return self if row is not None and tuple(row) == (operation_id, code) else None

    async def _store_alike(self, connection: asyncpg.Connection) -> Sequence[Line]:
        """Store the rows that are of one sort; the others."""
        sheet, others = await self._door.alike(self._file, self.lines)
        if sheet is None or not may_begin(sheet, self._now):
            return self.lines
        self.deadline = datetime.now(UTC) + self._ask
        await alike.claim_sheet(
            connection, sheet.reserved(0, self.deadline, self._now).row, list(sheet.rows()), self._now, self.deadline)
        self.sheet = sheet
        self._noted += zip(sheet.lines, sheet.ids, sheet.ids, repeat(None), sheet.masked, sheet.expiries, strict=False)
        return others

    async def _store(
        self, connection: asyncpg.Connection, lines: Sequence[Line], orders: Mapping[int | str, Order], tries: int,
    ) -> None:
        """Store what these lines intend.  Those whose token changed meanwhile come again, with the token as it is."""
        prepared = await self._door.prepare(self._file, lines, orders, tries < FRESH_TOKENS)
        intents, intended, note = [], [], self._noted.append
        for line, one in zip(lines, prepared, strict=True):
            intent, code, card_number, expiry_date = one
            if intent is None:
                note((line.line, None, None, code, card_number, expiry_date))
            else:
                intents.append(intent)
                intended.append((line, one))
        if not intents:
            return
        replies = await IntentBatch(intents, self._now, self._ask, alike=self._alike).commit(connection)
        again, reserve = [], self.reserved.append
        for (line, one), reply in zip(intended, replies, strict=True):
            if type(reply) is Reserved:
                reserve(reply)
                note((line[0], reply[0].payment_id, reply[1][0], None, one[2], one[3]))
            elif type(reply) is TokenChanged:
                again.append(line)
            else:
                assert isinstance(reply, Result) and reply.refusal is not None
                self._noted.append(self._refused(line, reply.refusal, one))
        if again and tries > 1:
            await self._store(connection, again, orders, tries - 1)
        else:
            self._noted += [self._refused(line, Refusal.TOKEN_INACTIVE) for line in again]

    def _refused(
        self, line: Line, refusal: Refusal, prepared: Prepared | None = None,
    ) -> tuple[int, int | None, int | None, str | None, str, str]:
        card = (prepared.card_number, prepared.expiry_date) if prepared else ("", "")
        return line.line, None, None, self._door.code(line.kind, refusal), *card

    async def _orders(self, connection: asyncpg.Connection) -> Mapping[int | str, Order]:
        """The payments that lines name, by number and by the key that began them."""
        later = [line for line in self.lines if line.kind in LATER]
        if not later:
            return {}
        found = await rows.orders(
            connection, self._file.merchant_id, sorted({line.fort_id for line in later if line.fort_id is not None}),
            sorted({self._door.order_key(line.reference) for line in later if line.fort_id is None and line.reference}))
        return {order.payment_id: order for order in found} | {order.key: order for order in found if order.key}


def _in_turn(files: Sequence[File]) -> list[File]:
    """One of each merchant, then the second of each, and so on: nobody's backlog holds up another's."""
    of_merchant: dict[int, list[File]] = {}
    for file in files:
        of_merchant.setdefault(file.merchant_id, []).append(file)
    return [file for turn in zip_longest(*of_merchant.values()) for file in turn if file is not None]
