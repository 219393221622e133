"""The counter where outcomes are committed: reservations posted or released, the ledger written, the chain lengthened.

An attempt has one outcome, and whoever writes it first owns its end: an approval that finds the attempt taken is late, is
never told as an approval, and is owed a reversal.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime
from operator import itemgetter

import asyncpg

from ringfence.core.chain import Link, Row
from ringfence.core.commands import Initiation, Kind
from ringfence.core.ledger import KINDS
from ringfence.core.outcomes import Approved, Challenge, Declined, NotAsked, Outcome, Reversed, Silence, Unknown, is_hard
from ringfence.core.payment import FIRST, Answer, Decision, decide
from ringfence.engine.chaining import digest
from ringfence.engine.intents import Ended, Reserved, Result
from ringfence.engine.lane import Lane
from ringfence.storage import cards
from ringfence.storage import payments as rows
from ringfence.storage.payments import BalanceRow, EventRow, Finished, Held, Key, OutcomeRow, ReversalRow, TransferRow

LEGS_PER_ATTEMPT = 10_000
_by_key = itemgetter(0, 1, 2, 3)
"""All three tables' keys lead; an operation's kind, after its id, changes nothing in the order."""
REVERSIBLE = frozenset({Kind.AUTHORIZATION, Kind.PURCHASE, Kind.INCREMENT})


class OutcomeLane:
    """Commits batches of outcomes on one lane."""

    def __init__(
        self, lane: Lane, *, now: Callable[[], datetime], new_id: Callable[[], int], chain_key: bytes,
        value_date: Callable[[str, datetime], date], committed: Callable[[Link, int], None] = lambda link, size: None,
    ) -> None:
        """``value_date``: processor and business time to its business day.  ``committed``: told of every link."""
        self._lane, self._now, self._new_id, self._chain_key = lane, now, new_id, chain_key
        self._value_date, self._told = value_date, committed

    async def commit(self, batch: Sequence[Ended]) -> list[Result]:
        """A result for each outcome, in order."""
        try:
            return await self._commit(batch)
        except asyncpg.UniqueViolationError:
            return await self._without_superseded(batch)

    async def _commit(self, batch: Sequence[Ended]) -> list[Result]:
        one = _Batch(self._lane, batch, self._now(), self._new_id(), self._chain_key, self._value_date)
        results = await self._lane.run(one.commit, one.committed)
        if one.link is not None:
            self._lane.head = one.link
            self._told(one.link, len(batch))
        return results

    async def _without_superseded(self, batch: Sequence[Ended]) -> list[Result]:
        """Some attempt in this batch has its outcome already: find out which, tell their owners, commit the rest."""
        keys = [(e.reserved.intent.merchant_id, e.reserved.intent.payment_id, e.reserved.operation.id,
                 e.reserved.operation.attempt) for e in batch]

        async def find(connection: asyncpg.Connection) -> set[tuple[int, int]]:
            taken = {tuple(row) for row in await connection.fetch(rows.SQL.answered, *rows.columns(keys, 4))}
            late = [key for ended, key in zip(batch, keys, strict=True)
                    if key[2:] in taken and isinstance(ended.outcome, Approved) and ended.reserved.operation.kind in REVERSIBLE]
            if late:
                due_at = datetime.now(UTC)
                await rows.owe_reversals(connection, [ReversalRow(*key, Silence.SUPERSEDED.value, due_at) for key in late])
            return taken

        taken = await self._lane.run(find, _never)
        rest = [ended for ended, key in zip(batch, keys, strict=True) if key[2:] not in taken]
        if len(rest) == len(batch):
            raise RuntimeError("a batch broke a unique rule, and no attempt in it has an outcome")
        done = iter(await self.commit(rest) if rest else ())
        return [
            Result(ended.reserved.held.payment, ended.reserved.operation, Unknown(Silence.SUPERSEDED), at=self._now())
            if key[2:] in taken else next(done)
            for ended, key in zip(batch, keys, strict=True)
        ]


async def _never(connection: asyncpg.Connection) -> None:
    return None


class _Batch:
    """One batch on its way through one commit."""

    def __init__(
        self, lane: Lane, batch: Sequence[Ended], now: datetime, batch_id: int, chain_key: bytes,
        value_date: Callable[[str, datetime], date],
    ) -> None:
        self._lane, self._batch, self._now, self._batch_id = lane, batch, now, batch_id
        self._chain_key, self._value_date = chain_key, value_date
        self._results: list[Result] = []
        self.link: Link | None = None

    async def commit(self, connection: asyncpg.Connection) -> list[Result]:
        existing = sorted({_key(ended.reserved) for ended in self._batch if not _is_fresh(ended.reserved)})
        effects = _card_effects(self._batch)
        if not existing and not effects:
            return await self._decided(connection, {})
        async with connection.transaction():
            held = await rows.lock(connection, existing) if existing else {}
            results = await self._decided(connection, held)
            for effect in effects:
                await effect(connection, self._now)
            return results

    async def committed(self, connection: asyncpg.Connection) -> list[Result] | None:
        """After a lost answer: the batch was stored if its link is there."""
        if self.link is None:
            return None
        row = await connection.fetchrow(rows.SQL.batch_at, self.link.lane, self.link.number)
        return self._results if row and row["batch_id"] == self._batch_id else None

    async def _decided(self, connection: asyncpg.Connection, held: dict[Key, Held]) -> list[Result]:
        outcomes: list[OutcomeRow] = []
        operations: list[Row] = []
        transfers: list[TransferRow] = []
        events: list[EventRow] = []
        owed: list[ReversalRow] = []
        balances: dict[tuple[int, str, str], int] = defaultdict(int)
        decisions: list[Decision] = []
        days: dict[str, date] = {}
        for reserved, outcome in self._batch:
            key, operation = _key(reserved), reserved.operation
            before = held.get(key) or reserved.held
            decision = decide(before.payment, Answer(operation, outcome), self._now)
            assert isinstance(decision, Decision), "answers are never refused"
            decisions.append(decision)
            sequence = before.sequence
            for event in decision.events:
                sequence += 1
                events.append(EventRow(*key, sequence, event.value, operation.id, operation.attempt, self._now, self._batch_id))
            held[key] = before._replace(payment=decision.payment, sequence=sequence)
            outcomes.append(outcome_row(key, operation.id, operation.attempt, decision.outcome, self._now, self._batch_id))
            operations.append(_covered(reserved))
            if decision.transfers:
                currency = decision.payment.currency
                processor = reserved.intent.processor
                day = days.get(processor) or days.setdefault(processor, self._value_date(processor, self._now))
                leg = (operation.attempt - 1) * LEGS_PER_ATTEMPT
                for kind, minor in decision.transfers:
                    debit, credit = KINDS[kind]
                    balances[key[0], currency, debit] += minor
                    balances[key[0], currency, credit] -= minor
                    transfers.append(TransferRow(*key, operation.id, leg, kind.value, minor, currency, day, self._batch_id))
                    leg += 1
            if decision.reverse:
                owed.append(ReversalRow(*key, operation.id, operation.attempt, "partial_not_wanted", datetime.now(UTC)))
        outcomes.sort(key=_by_key)
        operations.sort(key=_by_key)
        transfers.sort(key=_by_key)
        previous, number, committed_at = self._lane.next_link(self._batch_id)
        link = Link(
            self._lane.number, number, self._batch_id, committed_at, len(outcomes),
            digest(self._chain_key, previous, self._lane.number, number, self._batch_id, committed_at,
                   [row[:13] for row in outcomes], operations,
                   [(*row[:7], row[7].toordinal()) for row in transfers]),
        )
        receipt = f"{link.lane}.{link.number}.{link.digest[:8].hex()}"
        self._results = [
            Result(decision.payment, ended.reserved.operation, decision.outcome, receipt=receipt, at=self._now)
            for ended, decision in zip(self._batch, decisions, strict=True)
        ]
        self.link = link
        if owed:
            await rows.owe_reversals(connection, owed)
        added = [BalanceRow(*account, link.lane, delta) for account, delta in balances.items()]
        await rows.finish(connection, Finished(outcomes, held, transfers, added, events, link), self._now)
        return self._results


def _key(reserved: Reserved) -> Key:
    return reserved.intent.merchant_id, reserved.intent.payment_id


def _is_fresh(reserved: Reserved) -> bool:
    """Whether nobody but its owner can know the payment yet: its first operation, asked for the first time."""
    return reserved.operation.kind in FIRST and reserved.operation.attempt == 1


def _covered(reserved: Reserved) -> Row:
    """What the chain says of an operation, see ``core.chain.COVERED``."""
    row = reserved.row
    return (
        row.merchant_id, row.payment_id, row.operation_id, row.kind, row.minor, row.currency, row.key, row.content,
        row.actor, row.source, row.processor, row.card_id, row.reason,
        ",".join(map(str, row.allotment)) if row.allotment else None,
    )


def outcome_row(
    key: Key, operation_id: int, attempt: int, outcome: Outcome | None, at: datetime, batch_id: int
) -> OutcomeRow:
    """An outcome as it is stored."""
    name = (*key, operation_id, attempt)
    match outcome:
        case Approved(minor, approval_code, scheme_reference, processor_reference, code, code_result, _, eci):
            return OutcomeRow(*name, "approved", minor, code, "", approval_code, scheme_reference, processor_reference,
                              code_result, eci, at, batch_id)
        case Declined(response_code, advice, processor_reference):
            return OutcomeRow(*name, "declined", 0, response_code, advice, "", "", processor_reference, "", "", at, batch_id)
        case Unknown(why):
            result, code = "unknown", why.value
        case Reversed(response_code):
            result, code = "reversed", response_code
        case Challenge(_, reference):
            return OutcomeRow(*name, "challenge", 0, "", "", "", "", reference, "", "", at, batch_id)
        case NotAsked(why):
            result, code = "not_asked", why
        case None:
            raise AssertionError("an answer always has an outcome")
    return OutcomeRow(*name, result, 0, code, "", "", "", "", "", "", at, batch_id)


Effect = Callable[[asyncpg.Connection, datetime], Awaitable[None]]


def _card_effects(batch: Sequence[Ended]) -> list[Effect]:
    """What the outcomes change in the vault, in the same commit; one statement each, only where there is something."""
    first, blocked, tokens = [], [], []
    for reserved, outcome in batch:
        card, kind = reserved.intent.card, reserved.operation.kind
        if card is None or card.stored is None or kind not in FIRST:
            continue
        stored = card.stored
        by_cardholder = reserved.intent.initiation is Initiation.CARDHOLDER
        match outcome:
            case Approved(minor=minor, scheme_reference=reference) if minor == reserved.operation.minor:
                if by_cardholder and reference and not stored.first_reference:
                    first.append((stored.merchant_id, stored.card_id, reference))
                if card.keep_as:
                    tokens.append((stored.merchant_id, card.keep_as, stored.card_id, card.expiry, card.holder))
            case Declined() if not by_cardholder and is_hard(outcome):
                blocked.append((stored.merchant_id, stored.card_id, outcome.advice or outcome.response_code))
    effects: list[Effect] = []
    if first:
        effects.append(lambda connection, now: cards.note_first_references(connection, sorted(first)))
    if blocked:
        effects.append(lambda connection, now: cards.block_cards(connection, sorted(blocked)))
    if tokens:
        effects.append(lambda connection, now: cards.insert_tokens(connection, sorted(tokens), now))
    return effects
