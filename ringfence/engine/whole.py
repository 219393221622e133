"""One batch of purchases of one sort that were all approved whole, on its way through its commit.

What ``decide`` says of the first of them, and what ``outcome_writing`` makes of that, is the model of all: between them nothing differs but
the id, the amount, the key and the card of what was asked, and the marks of what was answered.  What is stored, and what the chain covers,
is what each would have by itself; a test compares both, to the digest.  Refuses whatever is not of that sort.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import date, datetime
from itertools import chain, repeat

import asyncpg

from ringfence.core.chain import COVERED, Link, Row
from ringfence.core.outcomes import Approved, Outcome
from ringfence.core.recovery import Plan
from ringfence.engine.chaining import digest
from ringfence.engine.lane import Lane
from ringfence.engine.outcome_writing import Writing, added
from ringfence.engine.sheet import Sheet
from ringfence.storage import alike
from ringfence.storage import payments as rows
from ringfence.storage.alike import NotAlike

Also = Callable[[asyncpg.Connection], Awaitable[object]]

_TAIL = slice(4, None)
"""Of an approval, what it shares with all of its sort: before it stand the amount and its three marks."""


def whole_of(sheet: Sheet, outcomes: Sequence[Outcome]) -> list[int]:
    """The places of the rows that were approved whole, of one sort: that of the first of them."""
    whole = [place for place, (one, minor) in enumerate(zip(outcomes, sheet.minors, strict=True)) if type(one) is Approved and one[0] == minor]
    sort = outcomes[whole[0]][_TAIL] if whole else ()
    return [place for place in whole if outcomes[place][_TAIL] == sort]


class WholeBatch:
    """One batch; made once, and tried again where that is safe."""

    def __init__(
        self, lane: Lane, sheet: Sheet, outcomes: Sequence[Outcome], deadline: datetime, asked_at: datetime, now: datetime, batch_id: int,
        chain_key: bytes, value_date: Callable[[str, datetime], date], plan: Plan, also: Also | None,
    ) -> None:
        """``outcomes`` of the rows of ``sheet``, in their order; ``also`` is done in the same transaction.  Raises ``NotAlike``."""
        if len(whole_of(sheet, outcomes)) != len(sheet.ids):
            raise NotAlike
        self._lane, self._now, self._batch_id, self._chain_key, self._also = lane, now, batch_id, chain_key, also
        day = value_date(sheet.model.processor, now)
        writing = Writing(now, batch_id, lambda processor: (day, day.toordinal()), plan, {}, lambda operation_id: batch_id)
        writing.first(sheet.reserved(0, deadline, asked_at), outcomes[0], False)
        first, covered, totals = writing.by_itself()
        shared = alike.shared_if_whole(first)
        if shared is None or writing.work.woken:
            raise NotAlike
        minors, total = sheet.minors, sum(sheet.minors)
        _, approval_codes, scheme_references, processor_references, *_ = zip(*outcomes, strict=True)
        self._shared = shared
        self._own = list(zip(sheet.ids, minors, approval_codes, scheme_references, processor_references, strict=True))
        self._totals = {kind: total for kind, minor in totals.items() if minor}
        ids: dict[str, Sequence] = {"payment_id": sheet.ids, "operation_id": sheet.ids, "minor": minors}
        outcomes_covered = _spread("outcomes", covered[0][0], ids | {
            "approval_code": approval_codes, "scheme_reference": scheme_references, "processor_reference": processor_references})
        operations_covered = _spread("operations", covered[1][0], ids | {
            "key": sheet.keys, "content": sheet.contents, "card_id": [card.stored.card_id for card in sheet.cards]})   # type: ignore[union-attr]
        transfers_covered = zip(*(_spread("transfers", leg, ids) for leg in covered[2]), strict=True)
        self._covered = list(outcomes_covered), list(operations_covered), list(chain.from_iterable(transfers_covered))
        self.link: Link | None = None

    async def commit(self, connection: asyncpg.Connection) -> bool:
        """Store the batch."""
        lane = self._lane
        previous, number, committed_at = lane.next_link(self._batch_id)
        self.link = Link(
            lane.number, number, self._batch_id, committed_at, len(self._own),
            digest(self._chain_key, previous, lane.number, number, self._batch_id, committed_at, *self._covered))
        async with connection.transaction():
            await alike.finish_whole(connection, self._shared, self._own, added(self._totals, lane.number), self.link, self._now)
            if self._also is not None:
                await self._also(connection)
        return True

    async def committed(self, connection: asyncpg.Connection) -> bool | None:
        """After a lost answer: the batch was stored if its link is there."""
        if self.link is None:
            return None
        row = await connection.fetchrow(rows.SQL.batch_at, self.link.lane, self.link.number)
        return True if row and row["batch_id"] == self._batch_id else None


def _spread(table: str, model: Row, own: dict[str, Sequence]) -> Iterator[Row]:
    """What the chain covers of a table's rows: what the model says, but for the columns that are their own."""
    columns = [own.get(name, repeat(value)) for name, value in zip(COVERED[table], model, strict=True)]
    return zip(*columns, strict=False)
