"""The proof: that no money and no promise appeared or vanished.

Runs the checks P1 to P11 of every merchant and currency, and the chain of batches, all on one snapshot of the database; now, or
as of a past instant, for which the answer never changes.  The arithmetic is ``core.proof``, the sets are the query files of
``storage.reports``; here they are put in order and said.  It changes nothing but the marks that say how far the chain was proved.
"""
from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg

from ringfence.core import proof as arithmetic
from ringfence.core.proof import SIGN, Balance, Head, Side, Total
from ringfence.engine.acknowledged import check_acknowledged
from ringfence.engine.chain_check import check_chain, move_marks
from ringfence.engine.proof_books import Book, Proof
from ringfence.storage import reports
from ringfence.storage.reports import LEGS, PROOF, WITNESS

__all__ = ["Book", "CannotProve", "Proof", "prove"]

SETTLED = timedelta(seconds=1)
"""How old a past instant must be: a batch's instant is taken a moment before its transaction begins."""

PRESENT_ONLY = "compared with what is stored now, so only for the present; transfers alone were used"

Totals = Callable[[date], Awaitable[Mapping[tuple[str, str, str], tuple[int, int]] | None]]
"""A processor's own book, see ``Processor.totals``."""

Balances = Callable[[], Awaitable[Mapping[tuple[str, str], Balance]]]
"""The book of a processor that knows no operations of ours, only what it kept and gave back: by merchant and currency, all days together."""

TAKES, GIVES = ("purchase", "capture"), "refund"


class CannotProve(ValueError):
    """Why there is no proof for what was asked, in a sentence."""


async def prove(
    pool: asyncpg.Pool, *, chain_key: bytes, merchant: str | None = None, at: datetime | None = None, full: bool = False,
    since: Sequence[Head] = (), acknowledged: Iterable[str | bytes] | None = None, books: Mapping[str, Totals] | None = None,
    balances: Mapping[str, Balances] | None = None, today: date | None = None,
) -> Proof:
    """Run the proof.

    ``merchant``: a wire name, to prove only its books (the chain is everybody's).  ``at``: wall time, aware.  ``since``: heads
    saved earlier (``core.proof.heads_of``).  ``acknowledged``: see ``engine.acknowledged``.  ``books``: by processor name, the
    witnesses of P9, which looks at the present only; ``balances``: those that tell no days.  ``today``: the business day, to
    which the ages of clearing items are counted.
    Raises ``CannotProve`` for a merchant that is not there and for an instant that cannot be proved: one in the future, or one
    that an open transaction is older than; ``ValueError`` for a list of acknowledged operations that cannot be read;
    ``DatabaseUnavailable`` where the database was lost.
    """
    async with reports.borrowed(pool) as connection:
        names = {row["merchant_id"]: row["identifier"] for row in await connection.fetch(PROOF.merchants)}
        merchant_id = _merchant_id(names, merchant)
        if at is not None:
            await _wait_until_settled(connection, at)
        read_at = datetime.now(UTC)
        witnessed = await _witnessed(connection, merchant_id, books or {}) if at is None else {}
        balanced = {name: await told() for name, told in (balances or {}).items()} if at is None else {}
        async with reports.snapshot(connection):
            # Whole tables are compared.  While they have no statistics the planner may choose nested loops, which take for ever.
            await connection.execute("SET LOCAL enable_nestloop = off")
            run = _Run(connection, names, merchant_id, at, today)
            await run.sums_and_balances()
            await run.doubts()
            await run.payments()
            await run.operations()
            await run.clearing()
            await run.trips()
            await run.witness(witnessed, balanced, read_at)
            chain = await check_chain(connection, chain_key, full=full, at=at, since=since)
            seen = None if acknowledged is None else await check_acknowledged(connection, acknowledged)
    proof = Proof(run.finished(), chain, at, full, seen)
    if at is None:
        await move_marks(pool, chain_key, chain)
    return proof


def _merchant_id(names: Mapping[int, str], merchant: str | None) -> int | None:
    if merchant is None:
        return None
    for merchant_id, identifier in names.items():
        if identifier == merchant:
            return merchant_id
    raise CannotProve(f"There is no merchant {merchant}.")


async def _wait_until_settled(connection: asyncpg.Connection, at: datetime) -> None:
    """An instant can be proved once everything that could still be committed before it has been."""
    now = datetime.now(UTC)
    if at > now:
        raise CannotProve(f"{at.isoformat()} is in the future.")
    if (young := SETTLED - (now - at)) > timedelta(0):
        await asyncio.sleep(young.total_seconds())
    if older := await connection.fetchrow(PROOF.older_transactions, at):
        raise CannotProve(
            f"{at.isoformat()} cannot be proved yet: {older['name']} has had a transaction open since {older['since'].isoformat()}."
        )


Witnessed = Mapping[str, Mapping[tuple[Side, date], Total]]


async def _witnessed(connection: asyncpg.Connection, merchant_id: int | None, books: Mapping[str, Totals]) -> Witnessed:
    """What the processors' own books say of every day on which they were asked for anything, and its neighbours.

    Read before the snapshot: an effect in a book then has an operation in the snapshot, because intents are committed first.
    """
    days: dict[str, set[date]] = {name: set() for name in books}
    for processor, day in await connection.fetch(WITNESS.asked_days, merchant_id):
        if processor in days:
            days[processor] |= {day + timedelta(days=step) for step in (-1, 0, 1)}
    said: dict[str, dict[tuple[Side, date], Total]] = {}
    for name, totals in books.items():
        said[name] = {}
        for day in sorted(days[name]):
            if (book := await totals(day)) is None:
                del said[name]
                break
            for (merchant, currency, kind), (count, minor) in book.items():
                said[name][Side(name, merchant, currency, kind), day] = Total(count, minor)
    return said


class _Run:
    """One run of the checks inside a snapshot."""

    def __init__(
        self, connection: asyncpg.Connection, names: Mapping[int, str], merchant_id: int | None, at: datetime | None, today: date | None
    ) -> None:
        self._connection, self._names, self._merchant_id, self._at = connection, names, merchant_id, at
        self._now = at or datetime.now(UTC)
        self._today = (today if at is None else None) or self._now.date()
        self._books: dict[tuple[int, str], Book] = {}

    def finished(self) -> tuple[Book, ...]:
        """The books, by merchant and currency."""
        if self._at is not None:
            for book in self._books.values():
                for name in ("P3", "P7", "P9", "P11"):
                    book.checks[name].note = PRESENT_ONLY
        return tuple(self._books[key] for key in sorted(self._books, key=lambda key: (self._name(key[0]), key[1])))

    def _name(self, merchant_id: int) -> str:
        return self._names.get(merchant_id, f"#{merchant_id}")

    def _book(self, merchant_id: int, currency: str | None) -> Book:
        key = merchant_id, currency or "?"
        if key not in self._books:
            self._books[key] = Book(self._name(merchant_id), key[1])
        return self._books[key]

    def _rows(self, query: str, *more: Any) -> Any:
        return reports.rows(self._connection, query, self._merchant_id, self._at, *more)

    async def sums_and_balances(self) -> None:
        """Accounts from transfers, P7, and the table of kinds (P8)."""
        async for row in self._rows(PROOF.used_currencies):
            self._book(*row)
        sums: dict[tuple[int, str], dict[int, int]] = {}
        async for merchant_id, currency, kind, minor in self._rows(PROOF.sums):
            sums.setdefault((merchant_id, currency), {})[kind] = int(minor)
        balances: dict[tuple[int, str], dict[str, int]] = {}
        if self._at is None:
            async for merchant_id, currency, account, balance in reports.rows(self._connection, PROOF.balances, self._merchant_id):
                balances.setdefault((merchant_id, currency), {})[account] = int(balance)
        for key in sums.keys() | balances.keys():
            book = self._book(*key)
            book.accounts = arithmetic.accounts_of(sums.get(key, {}))
            if self._at is None:
                for name, expected, found in arithmetic.unequal(book.accounts, balances.get(key, {})):
                    book.checks["P7"].violated({"account": name, "transfers": expected, "stored": found})
        stored = {tuple(row) for row in await self._connection.fetch(PROOF.kinds)}
        for row in sorted(stored ^ arithmetic.TABLE_OF_KINDS):
            for book in self._books.values():
                book.checks["P8"].violated({"problem": "the table of kinds was changed", "row": list(row)})

    async def doubts(self) -> None:
        """P6, and what nobody knows the outcome of."""
        known: dict[tuple[int, str], dict[str, int]] = {}
        async for doubt in reports.doubts(self._connection, PROOF.in_doubt, self._merchant_id, self._at):
            of_book = known.setdefault((doubt.merchant_id, doubt.currency), {})
            of_book[doubt.kind] = of_book.get(doubt.kind, 0) + doubt.minor
            self._in_doubt("unknown", doubt)
        for key, book in list(self._books.items()):
            expected = known.get(key, {})
            for name, should, found in arithmetic.unequal(expected, arithmetic.doubts_of(book.accounts)):
                book.checks["P6"].violated({"account": f"doubt.{name}", "operations": should, "transfers": found})
        if self._at is None:
            async for row in reports.rows(self._connection, PROOF.without_a_job, self._merchant_id):
                self._book(row["merchant_id"], row["currency"]).checks["P6"].violated({
                    "payment": str(row["payment_id"]), "operation": str(row["operation_id"]), "kind": row["kind"], "minor": row["minor"],
                    "problem": "in doubt, and nobody will end it",
                })
        async for doubt in reports.doubts(self._connection, PROOF.abandoned, self._merchant_id, self._at, self._now):
            self._in_doubt("past_deadline", doubt)

    def _in_doubt(self, what: str, doubt: reports.Doubt) -> None:
        book = self._book(doubt.merchant_id, doubt.currency)
        book.noticed({
            "what": what, "payment": str(doubt.payment_id), "operation": str(doubt.operation_id), "kind": doubt.kind,
            "minor": doubt.minor, "amount": book.amount(doubt.minor), "processor": doubt.processor,
            "since": doubt.since.isoformat(), "age_seconds": int((self._now - doubt.since).total_seconds()),
        })

    async def payments(self) -> None:
        """P1 to P5."""
        async for row in self._rows(PROOF.disagreeing_payments):
            book = self._book(row["merchant_id"], row["currency"])
            found = {"payment": str(row["payment_id"]), **json.loads(row["found"])}
            for name in row["failed"]:
                book.checks[name].violated(found)
            if row["is_over_returned"]:
                book.noticed({"what": "over_returned", **found})
        async for row in self._rows(PROOF.disagreeing_captures):
            book = self._book(row["merchant_id"], row["currency"])
            found = {"payment": str(row["payment_id"]), **json.loads(row["found"])}
            if row["is_over_returned"]:
                book.noticed({"what": "over_returned", "per": "capture", **found})
            else:
                book.checks["P5"].violated(found | {"capture_id": str(row["capture_id"])})
        if self._at is None:
            async for row in reports.rows(self._connection, PROOF.disagreeing_rows, self._merchant_id):
                self._book(row["merchant_id"], row["currency"]).checks["P3"].violated(
                    {"payment": str(row["payment_id"]), "problem": row["problem"]}
                )

    async def operations(self) -> None:
        """P8."""
        async for row in self._rows(LEGS.disagreeing_operations):
            self._book(row["merchant_id"], row["currency"]).checks["P8"].violated({
                "payment": str(row["payment_id"]), "operation": str(row["operation_id"]), "attempt": row["attempt"],
                "problem": row["problem"], "kind": row["kind"], "result": row["result"], "minor": row["minor"],
                "transfers": row["kinds"], "total": int(row["total"]),
            })

    async def clearing(self) -> None:
        """P10."""
        async for merchant_id, currency, account, payment_id, balance, since in self._rows(PROOF.clearing):
            book = self._book(merchant_id, currency)
            minor = int(balance)
            item = {
                "what": "clearing", "account": account, "payment": str(payment_id), "minor": minor, "amount": book.amount(minor),
                "since": since.isoformat(), "age_days": max(0, (self._today - since).days),
            }
            book.noticed(item)
            if minor * SIGN.get(account, minor) < 0:
                book.checks["P10"].violated(item)

    async def trips(self) -> None:
        """P11."""
        if self._at is not None:
            async for merchant_id, payment_id, currency, owed in self._rows(PROOF.disagreeing_debts):
                self._book(merchant_id, currency).checks["P11"].violated({"payment": str(payment_id), "owed": int(owed)})
            return
        async for row in reports.rows(self._connection, PROOF.disagreeing_trips, self._merchant_id):
            book = self._book(row["merchant_id"], row["currency"])
            found = {"payment": str(row["payment_id"]), "problem": row["problem"], **json.loads(row["found"])}
            if row["is_open"]:
                book.noticed({"what": "not_owed_yet", **found})
            else:
                book.checks["P11"].violated(found)

    async def witness(self, witnessed: Witnessed, balanced: Mapping[str, Mapping[tuple[str, str], Balance]], read_at: datetime) -> None:
        """P9, where a processor has a book to show."""
        ours: dict[tuple[Side, date], Total] = {}
        more: dict[Side, Total] = {}
        fewer: dict[Side, Total] = {}
        elsewhere: dict[Side, Total] = {}
        kept: dict[Side, int] = {}              # of a processor that tells no days: approved, by kind
        if self._at is None and (witnessed or balanced):
            async for processor, day, merchant, currency, kind, *sums in reports.rows(
                self._connection, WITNESS.approved, self._merchant_id, read_at
            ):
                count, minor, recent, recent_minor, late, late_minor = map(int, sums)
                side = Side(processor, merchant, currency, kind)
                if processor in witnessed or processor in balanced:
                    kept[side] = kept.get(side, 0) + minor
                    if processor in witnessed:
                        ours[side, day] = Total(count, minor)
                    fewer[side] = fewer.get(side, Total()).plus(Total(recent, recent_minor))
                    elsewhere[side] = elsewhere.get(side, Total()).plus(Total(late, late_minor))
            async for *names, count, minor in reports.rows(self._connection, WITNESS.unsettled, self._merchant_id):
                side = Side(*names)
                more[side] = more.get(side, Total()).plus(Total(int(count), int(minor)))
        theirs = {
            key: sum_ for book in witnessed.values() for key, sum_ in book.items()
            if self._merchant_id is None or key[0].merchant == self._name(self._merchant_id)
        }
        by_name = {identifier: merchant_id for merchant_id, identifier in self._names.items()}
        for side, day, mine, book_says in arithmetic.differences(ours, theirs, more=more, fewer=fewer, elsewhere=elsewhere):
            self._book(by_name.get(side.merchant, 0), side.currency).checks["P9"].violated({
                "processor": side.processor, "day": day.isoformat(), "kind": side.kind,
                "ours": mine._asdict(), "theirs": book_says._asdict(),
            })
        self._compare(kept, balanced, more, fewer)
        if not witnessed and not balanced:
            for book in self._books.values():
                book.checks["P9"].note = "no processor had a book to show"

    def _compare(
        self, kept: Mapping[Side, int], balanced: Mapping[str, Mapping[tuple[str, str], Balance]], more: Mapping[Side, Total],
        fewer: Mapping[Side, Total],
    ) -> None:
        """P9 of the processors that tell no days: what they kept less what went back, all together."""
        by_name = {identifier: merchant_id for merchant_id, identifier in self._names.items()}
        for name, theirs in balanced.items():
            mine = {(side.merchant, side.currency) for side in (*kept, *more) if side.processor == name}
            for merchant, currency in sorted(mine | theirs.keys()):
                if self._merchant_id not in (None, by_name.get(merchant)):
                    continue

                def sums(of: Mapping[Side, int], name: str = name, merchant: str = merchant, currency: str = currency) -> Balance:
                    found = {kind: of.get(Side(name, merchant, currency, kind), 0) for kind in (*TAKES, GIVES)}
                    return Balance(sum(found[kind] for kind in TAKES), found[GIVES])

                said, ours = theirs.get((merchant, currency), Balance()), sums(kept)
                if not arithmetic.is_explained(ours, said, more=sums(_minors(more)), fewer=sums(_minors(fewer))):
                    self._book(by_name.get(merchant, 0), currency).checks["P9"].violated({
                        "processor": name, "kind": "captured less refunded", "ours": ours._asdict(), "theirs": said._asdict()})


def _minors(totals: Mapping[Side, Total]) -> dict[Side, int]:
    return {side: total.minor for side, total in totals.items()}
