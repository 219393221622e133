"""Batch files: handed in, looked through, let go, stopped, and ended once every row has.

Decides in which state a file is and what may follow: nothing is carried out that was not looked through, no content twice without
somebody's word, and no file ends while the end of a row is not known; what its rows came to is counted from their outcomes then, and
held against what was handed in.  Refuses to know what stands in a row (the door's business) and who carries it out (``batch_carrier``).
"""
from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice
from operator import itemgetter
from typing import NamedTuple

import asyncpg

from ringfence.core.commands import Kind
from ringfence.core.refusals import Refusal
from ringfence.engine.intents import Intent, processor_key
from ringfence.engine.sheet import Sheet
from ringfence.processors.processor import Original
from ringfence.storage import batches as rows
from ringfence.storage import database
from ringfence.storage.batches import FaultRow, File, Line, Order, Told, Total, Whole
from ringfence.storage.borrowing import borrowed

__all__ = ["BatchDoor", "Batches", "File", "Line", "Order", "Prepared", "Told", "Total"]

log = logging.getLogger(__name__)

VALIDATING, INVALID, VALID, PROCESSING, CANCELLING, DONE, CANCELLED = (
    "validating", "invalid", "valid", "processing", "cancelling", "done", "cancelled")
REPEAT_DAYS = 30
"""So long after a file was let go its content is refused under another name (business time)."""
PARTS, PART_ROWS = 8, 1_000
"""Stretches of a file, and how few rows are worth one."""
LATER = frozenset({Kind.CAPTURE, Kind.VOID, Kind.REFUND})
"""Rows on orders; all others begin something of their own."""
PAGE, AHEAD = 5_000, 2
"""Lines that are counted or told at once, and pages that are on their way together."""
FAULTS = 1_000
DUPLICATE, FAULTY, REPEATED = "007", "136", "146"
CONTENT_LOCKS, LOCKS, LOOKING = 11, 12, 1
"""The space of the locks that files of one content wait for each other with; and the lock of whoever looks."""
KEPT = timedelta(days=90)
"""Rows of a file that ended are erased after that (business time)."""
FORGET_AT_ONCE = 20_000


class Prepared(NamedTuple):
    """A row as its door understands it: an intent, or the code it is refused with."""

    intent: Intent | None
    code: str | None
    card_number: str = ""
    expiry_date: str = ""


class BatchDoor(NamedTuple):
    """What a door knows of its rows, handed down by ``main``.

    ``order_key(reference)`` is the key that begins an order.  ``prepare(file, lines, orders, fresh)`` says what each row means, in their
    order; ``orders`` by number and by key, ``fresh``: tokens are read again.  ``code(kind, refusal)`` is how a refusal is said.
    ``alike(file, lines)`` gives the rows that are of one sort as a sheet, and the others.
    """

    order_key: Callable[[str], str]
    prepare: Callable[[File, Sequence[Line], Mapping[int | str, Order], bool], Awaitable[list[Prepared]]]
    code: Callable[[str, Refusal], str]
    alike: Callable[[File, Sequence[Line]], Awaitable[tuple[Sheet | None, Sequence[Line]]]]


class Contents(NamedTuple):
    """What was read of a file, known once it has been read to its end.  ``wrong`` rows; faults as (line, column, message)."""

    columns: Sequence[str]
    rows: int
    last_line: int
    bytes: int
    digest: bytes
    totals: Sequence[Total]
    wrong: int
    faults: Sequence[tuple[int, str, str]]


class Batches:
    """The desk at which files are handed in and asked about, in one process."""

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], pool: asyncpg.Pool, *, now: Callable[[], datetime],
        new_id: Callable[[], int], doors: Mapping[str, BatchDoor], at_once: int = 2,
        nudge: Callable[[str], object] = lambda chore: None,
    ) -> None:
        """``connect`` makes a connection for one upload, of which ``at_once`` run together; ``pool`` looks up by key.  ``nudge`` is told
        the chore that has something to do."""
        self._connect, self._pool, self.now, self.new_id, self._doors, self._nudge = connect, pool, now, new_id, doors, nudge
        self._uploads = asyncio.Semaphore(at_once)
        self._settled: dict[int, tuple[int, int]] = {}      # by batch: a wave, and the first line of it that may not have ended
        self._counted: dict[int, dict[tuple[int, int], list[Total]]] = {}       # by batch, by first and last line, where all rows have ended

    # -- handing in

    async def is_taken(self, merchant_id: int, reference: str) -> bool:
        """Whether the merchant has a batch of that name."""
        async with borrowed(self._pool) as connection:
            return await rows.is_taken(connection, merchant_id, reference)

    async def hand_in(
        self, merchant_id: int, merchant: str, batch_id: int, reference: str, door: str, access: str, language: str, file_name: str,
        pieces: AsyncIterator[bytes], contents: Callable[[], Contents],
    ) -> File | None:
        """Take a file in as it arrives; ``None`` where its name is taken.

        ``pieces`` are its rows in the form of COPY, ``contents`` what is known of it once they have ended.  Whatever ``pieces`` raises is
        raised, and nothing of the file is kept then.
        """
        async with self._uploads:
            connection = await self._connect()
            try:
                async with connection.transaction():
                    file = await self._taken_in(connection, pieces, contents, lambda read: File(
                        merchant_id, batch_id, reference, door, access, language, file_name, read.bytes, read.digest, list(read.columns),
                        read.rows, read.last_line, list(read.totals), INVALID if read.wrong else VALIDATING, FAULTY if read.wrong else "",
                        "", read.wrong, None, None, False, 0, 1, self.now(), None, None, None, None, None, None, None, merchant))
            except _Refused:
                return None
            finally:
                await connection.close()
        self._nudge(CHORE)
        return file

    async def _taken_in(
        self, connection: asyncpg.Connection, pieces: AsyncIterator[bytes], contents: Callable[[], Contents],
        file_of: Callable[[Contents], File],
    ) -> File:
        try:
            async with connection.transaction():
                await rows.copy_rows(connection, pieces)
                if contents().wrong:
                    raise _Refused                  # what is wrong is told; its rows are not kept
        except _Refused:
            pass
        read = contents()
        file = file_of(read)
        if not await rows.add_file(connection, file):
            raise _Refused
        await rows.add_faults(connection, [
            FaultRow(*file[:2], place, *fault) for place, fault in enumerate(read.faults, 1)])
        return file

    # -- asking

    async def named(self, merchant_id: int, reference: str, batch_id: int | None = None) -> File | None:
        """A merchant's batch by its name, which must be that of ``batch_id`` where that is given."""
        async with borrowed(self._pool) as connection:
            file = await rows.file_named(connection, merchant_id, reference)
        return file if file is not None and batch_id in (None, file.batch_id) else None

    async def numbered(self, batch_id: int) -> File | None:
        """Anybody's batch by its number."""
        async with borrowed(self._pool) as connection:
            return await rows.file_of(connection, batch_id)

    async def newest(self, merchant_id: int | None, before: int | None, limit: int) -> list[File]:
        """The newest batches, of one merchant or of all."""
        async with borrowed(self._pool) as connection:
            return await rows.files(connection, merchant_id, before, limit)

    async def progress(self, file: File) -> tuple[int, int, int]:
        """Rows approved, failed and unknown so far."""
        async with borrowed(self._pool) as connection:
            return await rows.progress(connection, *file[:2])

    async def faults(self, file: File, limit: int = FAULTS) -> list[tuple[int, str, str]]:
        """Line, column and message of what is wrong with it."""
        async with borrowed(self._pool) as connection:
            return await rows.faults(connection, *file[:2], limit)

    async def told(self, file: File) -> AsyncIterator[list[Told]]:
        """Rows with what became of them, a page at a time; while one is put into words, the next ones are on their way."""
        async def page(first: int, last: int, stretch: Whole | None) -> list[Told]:
            async with borrowed(self._pool) as connection:
                if stretch is not None:
                    return await rows.results_of_whole(connection, *file[:2], stretch)
                return await rows.results(connection, *file[:2], first, last)

        async with borrowed(self._pool) as connection:
            whole = await rows.whole(connection, *file[:2])
        pages: list[tuple[int, int, Whole | None]] = [(*one, None) for one in _between(whole, file.last_line)]
        left = iter(sorted([*pages, *((one.first_line, one.last_line, one) for one in whole)], key=itemgetter(0)))
        coming = deque(asyncio.ensure_future(page(*one)) for one in islice(left, AHEAD))
        try:
            while coming:
                told = await coming[0]
                coming.popleft()
                coming.extend(asyncio.ensure_future(page(*one)) for one in islice(left, 1))
                yield told
        finally:
            for one in coming:
                one.cancel()
            if coming:
                await asyncio.wait(coming)

    # -- letting go, and stopping

    async def process(self, file: File, *, force: bool) -> File:
        """Have a valid batch carried out.  What is returned is how it stands then: it still is ``valid`` where it repeats another and
        nobody forced it, and in its other states nothing changed."""
        async with borrowed(self._pool) as connection, connection.transaction():
            await connection.execute(rows.SQL.content_lock, CONTENT_LOCKS, int.from_bytes(file.content[:4], "big", signed=True))
            if not force and file.state == VALID and (earlier := await self._repeated(connection, file)) is not None:
                await rows.note_repeat(connection, file, earlier, await self._new_money(connection, file))
            elif await connection.fetchval(rows.SQL.process, *file[:2], self.now(), force):
                await connection.execute(rows.SQL.lay_parts, *file[:2], _parts(file.rows), file.last_line)
            after = await rows.file(connection, *file[:2])
        assert after is not None, "a file is not removed"
        self._nudge(CARRIER)
        return after

    async def cancel(self, file: File) -> File:
        """Stop it at a row's boundary: what is under way ends, nothing further begins."""
        async with borrowed(self._pool) as connection:
            await connection.fetchval(rows.SQL.cancel, *file[:2], self.now())
            after = await rows.file(connection, *file[:2])
        assert after is not None, "a file is not removed"
        self._nudge(CHORE)
        return after

    # -- what is to be done with open files

    async def look(self) -> int:
        """Look through what was handed in, and end what has ended; how many files that were.

        Every process may look; where there is something to do, one at a time does it.
        """
        async with borrowed(self._pool) as connection:
            if not await rows.open_files(connection):
                return 0
            if not await database.try_lock(connection, LOCKS, LOOKING):
                return 0
            try:
                return await self._look(await rows.open_files(connection))
            finally:
                try:
                    await database.unlock(connection, LOCKS, LOOKING)
                except BaseException:
                    connection.terminate()              # the lock dies with it: the pool does not look for what is left behind
                    raise

    async def _look(self, files: Sequence[File]) -> int:
        moved = 0
        for file in files:
            if file.state == VALIDATING:
                moved += await self._validate(file)
            else:
                moved += await self._end(file)
        still_open = {file.batch_id for file in files}
        self._counted = {batch_id: known for batch_id, known in self._counted.items() if batch_id in still_open}
        self._settled = {batch_id: known for batch_id, known in self._settled.items() if batch_id in still_open}
        return moved

    async def _validate(self, file: File) -> bool:
        """What can only be told of a file as a whole."""
        connection = await self._connect()
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL work_mem = '64MB'")
                if file.rows > PAGE:                # nobody has counted what has just come
                    await connection.execute("ANALYZE batch_rows")
                if named := [row[0] for row in await connection.fetch(rows.SQL.twice, *file[:2], FAULTS)]:
                    twice = [row[0] for row in await connection.fetch(rows.SQL.lines_of, *file[:2], FAULTS, named)]
                    await rows.add_faults(connection, [
                        FaultRow(*file[:2], place, line, "merchant_reference", DUPLICATE) for place, line in enumerate(twice, 1)])
                    await connection.execute(rows.SQL.drop_rows, *file[:2])
                    return await rows.validated(connection, file._replace(state=INVALID, message=FAULTY, faults=len(twice)))
                waves = 1
                if any(total.kind in LATER for total in file.totals):
                    await connection.execute(rows.SQL.name_orders, *file[:2])
                    await connection.execute(rows.SQL.make_waves, *file[:2])
                    waves = await connection.fetchval(rows.SQL.waves, *file[:2])
                earlier = await self._repeated(connection, file)
                new = None if earlier is None else await self._new_money(connection, file)
                return await rows.validated(connection, file._replace(state=VALID, waves=waves, repeats=earlier, new_totals=new))
        finally:
            await connection.close()

    async def _repeated(self, connection: asyncpg.Connection, file: File) -> int | None:
        since = self.now() - timedelta(days=REPEAT_DAYS)
        return await connection.fetchval(rows.SQL.repeated, file.merchant_id, file.content, file.batch_id, since)

    async def _new_money(self, connection: asyncpg.Connection, file: File) -> list[Total]:
        return await rows.new_money(connection, *file[:2], self._doors[file.door].order_key(""))

    async def _end(self, file: File) -> bool:
        """End a batch whose rows have all ended, or let those behind them begin."""
        async with borrowed(self._pool) as connection:
            reached = await connection.fetchval(rows.SQL.reached, *file[:2]) if file.state == PROCESSING else None
        if reached is not None:
            return False
        if file.state == PROCESSING and file.wave + 1 < file.waves:
            return await self._next_wave(file)
        sums = await self._sums(file)
        if sums is None:
            return False
        by_kind: Counter[tuple[str, str, str]] = Counter()
        for one in sums:
            by_kind[one.kind, one.currency, "rows"] += one.rows
            by_kind[one.kind, one.currency, "minor"] += one.minor
        agrees = by_kind == Counter({
            (one.kind, one.currency, what): many for one in file.totals for what, many in (("rows", one.rows), ("minor", one.minor))})
        if not agrees:
            log.error("batch %d does not come to what was handed in", file.batch_id)
        async with borrowed(self._pool) as connection:
            return await rows.end(connection, file, DONE if file.state == PROCESSING else CANCELLED, self.now(), sums, agrees)

    async def _next_wave(self, file: File) -> bool:
        async with borrowed(self._pool) as connection:
            wave, first = self._settled.get(file.batch_id, (file.wave, 2))
            if wave != file.wave:
                first = 2
            # What stands in earlier waves has ended; so a wave of few rows is looked at in few pages, however long the file is.
            pages = await rows.pages_of_wave(connection, *file[:2], file.wave, first, PAGE) if file.wave else range(first, file.last_line + 1, PAGE)
            for page in pages:
                if any(one.ended == "unknown" for one in await rows.sums(connection, *file[:2], page, page + PAGE - 1)):
                    self._settled[file.batch_id] = file.wave, page      # the next look goes on here
                    return False
            async with connection.transaction():
                await connection.execute(rows.SQL.lay_parts, *file[:2], _parts(file.rows), file.last_line)
                await connection.fetchval(rows.SQL.next_wave, *file[:2], file.wave + 1)
        self._nudge(CARRIER)
        return True

    async def _sums(self, file: File) -> list[Total] | None:
        """What the rows came to; ``None`` while any has not ended.  Pages whose rows have all ended are counted once, and stretches that
        were noted with their outcomes are not counted again."""
        async with borrowed(self._pool) as connection:
            whole = await rows.whole(connection, *file[:2])
        pages, counted = _between(whole, file.last_line), self._counted.setdefault(file.batch_id, {})
        left = iter([page for page in pages if page not in counted])

        async def count() -> None:
            for page in left:
                async with borrowed(self._pool) as connection:
                    found = await rows.sums(connection, *file[:2], *page)
                if not any(one.ended == "unknown" or (one.ended == "waiting" and file.state == PROCESSING) for one in found):
                    counted[page] = found

        await asyncio.gather(*(count() for _ in range(AHEAD)))
        if any(page not in counted for page in pages):
            return None
        sums: Counter[tuple[str, str, str, str]] = Counter()
        noted = [Total(Kind.PURCHASE, one.currency, one.rows, one.minor, "approved") for one in whole]
        for kind, currency, many, minor, ended in chain(noted, *(counted[page] for page in pages)):
            sums[kind, currency, ended, "rows"] += many
            sums[kind, currency, ended, "minor"] += minor
        return [
            Total(kind, currency, many, sums[kind, currency, ended, "minor"], ended)
            for (kind, currency, ended, what), many in sorted(sums.items()) if what == "rows"]

    async def forget(self) -> int:
        """Erase rows of files that ended long ago; how many."""
        async with borrowed(self._pool) as connection:
            said = await connection.execute(rows.SQL.forget, self.now() - KEPT, FORGET_AT_ONCE)
        return int(said.split()[-1])


CHORE, CARRIER = "batches", "batch rows"
"""The chores: of looking at files (one process at a time), and of carrying rows out (every process)."""


def original_of(order: Order) -> Original:
    """What messages behind an order's first one cite."""
    return Original(
        processor_key(order.payment_id), order.asked, order.approval_code, order.processor_reference, order.scheme_reference)


class _Refused(Exception):
    """Takes back what the transaction did."""


def _between(whole: Sequence[Whole], last_line: int) -> list[tuple[int, int]]:
    """The lines of a file that stand in none of these stretches, in pages: first and last line of each."""
    ends = [1, *(one.last_line for one in whole)]
    begins = [*(one.first_line for one in whole), last_line + 1]
    return [
        (line, min(line + PAGE, begin) - 1)
        for end, begin in zip(ends, begins, strict=True) for line in range(end + 1, begin, PAGE)]


def _parts(count: int) -> int:
    return max(1, min(PARTS, count // PART_ROWS))
