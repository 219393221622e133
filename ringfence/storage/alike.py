"""First operations in bulk: rows that say the same in most columns travel as what they share, once, and as what is their own.

The driver asks of every column of every row what it is, and the server reads each of them again; of a thousand recurring purchases two columns in
three are the same.  What is stored is what ``payments`` would store of these rows, to the letter.  Decides nothing.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter

import asyncpg

from ringfence.core.chain import Link
from ringfence.core.ledger import Transferred
from ringfence.storage.payments import SQL, BalanceRow, Finished, OperationRow


class NotAlike(Exception):
    """One of these rows is not stored as it is: its key is taken, or its token changed.  Nothing of the transaction may stay."""


def _places(*names: str) -> itemgetter:
    return itemgetter(*(OperationRow._fields.index(name) for name in names))


_SHARED = _places(
    "merchant_id", "kind", "currency", "door", "actor", "source", "processor", "initiation", "channel", "accepts_partial", "reason",
    "hold_seconds")
_OWN = _places("payment_id", "minor", "reference", "key", "content", "details", "card_id", "token_name", "token_version")

# Places in a row of the type ``first_outcome``; of a purchase that was approved whole all five amounts are the same.
_AMOUNTS = itemgetter(3, 14, 15, 21, 23)
_ALWAYS, _IS_WHOLE = itemgetter(13, 16, 17, 18, 19, 20, 22), (True, 0, 0, 0, None, Transferred.USE_NOW, Transferred.CAPTURE)
_OUTCOME_SHARED, _OUTCOME_OWN = itemgetter(0, 2, 4, 5, 9, 10, 11, 12, 24, 25), itemgetter(1, 3, 6, 7, 8)
_NOTHING = (None,) * 10


async def claim(
    connection: asyncpg.Connection, operations: Sequence[OperationRow], asked_at: datetime, ask_deadline: datetime,
) -> None:
    """Store the intents of new payments, given in the order of their keys, in a transaction of the caller's.

    Raises ``NotAlike`` where not all of them can be stored as they are; then the transaction must be taken back.
    """
    sorts: dict[tuple, list[tuple]] = {}
    last: tuple = ()
    add = [].append
    for row in operations:
        if (shared := _SHARED(row)) != last:        # compared by identity for the most part, which hashing is not
            last, add = shared, sorts.setdefault(shared, []).append
        add(_OWN(row))
    try:
        for shared, own in sorts.items():
            said = await connection.execute(SQL.claim_alike, own, asked_at, ask_deadline, *shared)
            if said != f"INSERT 0 {len(own)}":
                raise NotAlike
    except asyncpg.UniqueViolationError as taken:
        raise NotAlike from taken


async def claim_sheet(
    connection: asyncpg.Connection, model: OperationRow, own: Sequence[tuple], asked_at: datetime, ask_deadline: datetime,
) -> None:
    """The same for rows that are of one sort to begin with: ``model`` says what they share; each its own, as ``own_operation`` has it, and
    each has a token."""
    tokens = dict([row[7:9] for row in own])
    try:
        if await connection.fetchval(SQL.tokens_stand, model.merchant_id, list(tokens), list(tokens.values())) != len(tokens):
            raise NotAlike
        await connection.execute(SQL.claim_sheet, own, asked_at, ask_deadline, *_SHARED(model))
    except asyncpg.UniqueViolationError as taken:
        raise NotAlike from taken


def shared_if_whole(first: tuple) -> tuple | None:
    """What a row of the type ``first_outcome`` shares with its sort; ``None`` where it is not that of a purchase approved whole."""
    minor, authorized, captured, used, posted = _AMOUNTS(first)
    whole = minor == authorized == captured == used == posted and _ALWAYS(first) == _IS_WHOLE
    return _OUTCOME_SHARED(first) if whole else None


async def finish_whole(
    connection: asyncpg.Connection, shared: tuple, own: Sequence[tuple], balances: Sequence[BalanceRow], link: Link, now: datetime,
) -> None:
    """Store a batch of purchases that were approved whole, of one sort: payment, minor units, approval code, scheme and processor reference."""
    await connection.execute(SQL.finish_alike, [], own, now, link.batch_id, *shared, balances, [link])


async def finish(connection: asyncpg.Connection, finished: Finished, now: datetime) -> None:
    """Store a batch of outcomes of first operations, and nothing else, with its link of the chain; see ``payments.finish``.

    Of purchases that were approved whole those of the most frequent sort travel as what is their own.
    """
    sorts: dict[tuple, list[tuple]] = {}
    last: tuple = ()
    add, others = [].append, []
    for row in finished.firsts:
        minor, authorized, captured, used, posted = _AMOUNTS(row)
        if not (minor == authorized == captured == used == posted and _ALWAYS(row) == _IS_WHOLE):
            others.append(row)
            continue
        if (shared := _OUTCOME_SHARED(row)) != last:
            last, add = shared, sorts.setdefault(shared, []).append
        add(row)
    sort = max(sorts, key=lambda shared: len(sorts[shared]), default=_NOTHING)
    alike = sorts.pop(sort, [])
    for rows in sorts.values():
        others += rows
    await connection.execute(
        SQL.finish_alike, others, [_OUTCOME_OWN(row) for row in alike], now, finished.link.batch_id, *sort, finished.balances,
        [finished.link])
