"""One batch of outcomes: decided, turned into rows, linked to the chain, stored.

First operations are most of what a service does, and nobody else can know their payments yet: they need no lock, and all
they write (outcome, payment, transfers, event) travels as one row.  Everything else is decided on payments that are locked.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.chain import Link, Row
from ringfence.core.commands import Kind
from ringfence.core.ledger import KINDS, Transferred
from ringfence.core.notices import Notice
from ringfence.core.outcomes import Approved, Challenge, Declined, NotAsked, Outcome, Reversed, Unknown
from ringfence.core.payment import Answer, Decision, Operation, Payment, decide
from ringfence.core.proof import receipt_text
from ringfence.core.refusals import Refusal
from ringfence.engine.card_effects import CardEffects
from ringfence.engine.chaining import digest
from ringfence.engine.intents import Ended, Reserved, Result
from ringfence.engine.lane import Lane
from ringfence.storage import payments as rows
from ringfence.storage.payments import BalanceRow, EventRow, Finished, Held, Key, NoticeRow, ReversalRow, TransferRow

LEGS_PER_ATTEMPT = 10_000
_FIRST_KINDS = (Kind.AUTHORIZATION, Kind.PURCHASE)          # a tuple: compared by identity, which hashing a StrEnum is not


class Told(NamedTuple):
    """A notice for one payment.  ``operation_id`` is a new id: its transfers are posted under it."""

    merchant_id: int
    payment_id: int
    operation_id: int
    processor: str
    notice: Notice


class OutcomeBatch:
    """One batch on its way through one commit; made once, and tried again where that is safe."""

    def __init__(
        self, lane: Lane, messages: Sequence[Ended | Told], now: datetime, batch_id: int, chain_key: bytes,
        value_date: Callable[[str, datetime], date],
    ) -> None:
        self._lane, self._messages, self._now, self._batch_id = lane, messages, now, batch_id
        self._chain_key, self._value_date = chain_key, value_date
        self._days: dict[str, date] = {}
        self._results: list[Result] = []
        self.link: Link | None = None

    async def commit(self, connection: asyncpg.Connection) -> list[Result]:
        """Store the batch; a result for each message, in order."""
        later = sorted({key for message in self._messages if (key := _locked(message)) is not None})
        effects = CardEffects.of(self._messages)
        if not later and not effects:
            written = self._write({}, frozenset())
            if not written.reversals:       # one statement is a transaction of its own
                await rows.finish(connection, written, self._now)
                return self._results
        async with connection.transaction():
            held = await rows.lock(connection, later) if later else {}
            told = [key for message in self._messages if isinstance(message, Told) and (key := _locked(message))]
            known = await rows.known_notices(connection, sorted(set(told))) if told else frozenset()
            written = self._write(held, known)
            if effects:
                await effects.apply(connection, self._now)
            if written.reversals:
                await rows.owe_reversals(connection, written.reversals)
            await rows.finish(connection, written, self._now)
        return self._results

    async def committed(self, connection: asyncpg.Connection) -> list[Result] | None:
        """After a lost answer: the batch was stored if its link is there."""
        if self.link is None:
            return None
        row = await connection.fetchrow(rows.SQL.batch_at, self.link.lane, self.link.number)
        return self._results if row and row["batch_id"] == self._batch_id else None

    def _write(self, held: dict[Key, Held], known: frozenset[tuple[Key, str]]) -> Finished:
        """Decide every message in turn, and say what shall be stored."""
        writing = _Writing(self._now, self._batch_id, self._day)
        ends: list[_End] = []
        for message in self._messages:
            if isinstance(message, Told):
                ends.append(writing.notice(message, held, known))
            elif _is_first(message.reserved):
                ends.append(writing.first(message.reserved, message.outcome))
            else:
                ends.append(writing.later(message.reserved, message.outcome, held))
        self.link = writing.linked(self._lane, self._chain_key)
        receipt = receipt_text(self.link)
        self._results = [
            Result(payment, operation, outcome, refusal, None, "" if refusal else receipt, self._now)
            for payment, operation, outcome, refusal in ends
        ]
        return writing.finished(self.link)

    def _day(self, processor: str) -> date:
        day = self._days.get(processor)
        if day is None:
            day = self._days[processor] = self._value_date(processor, self._now)
        return day


_End = tuple[Payment | None, Operation | None, Outcome | None, Refusal | None]
"""What becomes of one message, before the batch has its receipt."""


class _Writing:
    """The rows of a batch as they gather."""

    def __init__(self, now: datetime, batch_id: int, day: Callable[[str], date]) -> None:
        self._now, self._batch_id, self._day = now, batch_id, day
        self._firsts: list[tuple] = []
        self._outcomes: list[tuple] = []
        self._transfers: list[TransferRow] = []
        self._events: list[EventRow] = []
        self._notices: list[NoticeRow] = []
        self._reversals: list[ReversalRow] = []
        self._changed: dict[Key, Held] = {}
        self._totals: dict[tuple[int, str, Transferred], int] = defaultdict(int)
        self._covered: tuple[list[Row], list[Row], list[Row], list[Row]] = ([], [], [], [])

    def first(self, reserved: Reserved, outcome: Outcome) -> _End:
        """The outcome of a payment's first operation: one row for all of it."""
        operation, payment_id = reserved.operation, reserved.intent.payment_id
        merchant_id = reserved.intent.merchant_id
        decision = decide(reserved.held.payment, Answer(operation, outcome), self._now)
        assert isinstance(decision, Decision), "answers are never refused"
        payment, said = decision.payment, outcome_values(decision.outcome)
        lines: list[int | None] = [None, None, None, None]
        day = None
        if decision.transfers:
            day = self._day(reserved.intent.processor)
            for place, (kind, minor) in enumerate(decision.transfers):
                lines[2 * place:2 * place + 2] = kind.value, minor
                self._totals[merchant_id, payment.currency, kind] += minor
                self._covered[2].append(
                    (merchant_id, payment_id, payment_id, place, kind.value, minor, payment.currency, day.toordinal())
                )
        self._firsts.append((
            merchant_id, payment_id, *said, payment.currency, payment.status.value, payment.purchase, payment.authorized,
            payment.captured, payment.voided, payment.pending_authorization, payment.unknown, payment.expires_at, *lines, day,
            decision.events[0].value if decision.events else None,
        ))
        self._covered[0].append((merchant_id, payment_id, payment_id, 1, *said))
        self._covered[1].append(_operation_covered(reserved))
        if decision.reverse:
            self._owe((merchant_id, payment_id), operation.id, 1)
        return payment, operation, decision.outcome, None

    def later(self, reserved: Reserved, outcome: Outcome, held: dict[Key, Held]) -> _End:
        """The outcome of an operation on a payment that is locked."""
        key, operation = (reserved.intent.merchant_id, reserved.intent.payment_id), reserved.operation
        before = held[key]
        decision = decide(before.payment, Answer(operation, outcome), self._now)
        assert isinstance(decision, Decision), "answers are never refused"
        said, attempt = outcome_values(decision.outcome), operation.attempt
        self._outcomes.append((*key, operation.id, attempt, *said, self._now, self._batch_id))
        self._covered[0].append((*key, operation.id, attempt, *said))
        self._covered[1].append(_operation_covered(reserved))
        self._post(key, operation.id, (attempt - 1) * LEGS_PER_ATTEMPT, decision, reserved.intent.processor)
        held[key] = self._changed[key] = self._tell(key, operation.id, attempt, before, decision)
        if decision.reverse:
            self._owe(key, operation.id, attempt)
        return decision.payment, operation, decision.outcome, None

    def notice(self, told: Told, held: dict[Key, Held], known: frozenset[tuple[Key, str]]) -> _End:
        """A fact from outside, once per identity; a payment that is not there yet cannot be told of it."""
        key, notice = (told.merchant_id, told.payment_id), told.notice
        before = held.get(key)
        if before is None:
            return None, None, None, Refusal.PAYMENT_NOT_FOUND
        if (key, notice.identity) in known or any(row[:3] == (*key, notice.identity) for row in self._notices):
            return before.payment, None, None, Refusal.KEY_USED
        decision = decide(before.payment, notice, self._now)
        assert isinstance(decision, Decision), "facts are never refused"
        row = NoticeRow(*key, notice.identity, told.operation_id, notice.noticed.value, notice.minor, notice.capture_id,
                        self._now, self._batch_id)
        self._notices.append(row)
        self._covered[3].append(tuple(row[:7]))
        self._post(key, told.operation_id, 0, decision, told.processor)
        held[key] = self._changed[key] = self._tell(key, told.operation_id, 1, before, decision)
        return decision.payment, None, None, None

    def _post(self, key: Key, operation_id: int, leg: int, decision: Decision, processor: str) -> None:
        currency = decision.payment.currency
        for kind, minor in decision.transfers:
            day = self._day(processor)
            self._totals[key[0], currency, kind] += minor
            self._transfers.append(TransferRow(*key, operation_id, leg, kind.value, minor, currency, day, self._batch_id))
            self._covered[2].append((*key, operation_id, leg, kind.value, minor, currency, day.toordinal()))
            leg += 1

    def _tell(self, key: Key, operation_id: int, attempt: int, before: Held, decision: Decision) -> Held:
        sequence = before.sequence
        for event in decision.events:
            sequence += 1
            self._events.append(EventRow(*key, sequence, event.value, operation_id, attempt, self._now, self._batch_id))
        return before._replace(payment=decision.payment, sequence=sequence)

    def _owe(self, key: Key, operation_id: int, attempt: int) -> None:
        self._reversals.append(ReversalRow(*key, operation_id, attempt, "partial_not_wanted", datetime.now(UTC)))

    def linked(self, lane: Lane, chain_key: bytes) -> Link:
        """The batch's link of its lane's chain."""
        for table in self._covered:
            table.sort()
        previous, number, committed_at = lane.next_link(self._batch_id)
        return Link(
            lane.number, number, self._batch_id, committed_at, len(self._covered[0]),
            digest(chain_key, previous, lane.number, number, self._batch_id, committed_at, *self._covered),
        )

    def finished(self, link: Link) -> Finished:
        """All rows, for one statement."""
        balances: dict[tuple[int, str, str], int] = defaultdict(int)
        for (merchant_id, currency, kind), minor in self._totals.items():
            debit, credit = KINDS[kind]
            balances[merchant_id, currency, debit] += minor
            balances[merchant_id, currency, credit] -= minor
        added = sorted(BalanceRow(*account, link.lane, delta) for account, delta in balances.items())
        return Finished(
            self._firsts, self._outcomes, self._changed, self._transfers, added, self._events, self._notices, self._reversals,
            link,
        )


def _is_first(reserved: Reserved) -> bool:
    """Whether nobody but its owner can know the payment yet: its first operation, asked for the first time."""
    return reserved.operation.attempt == 1 and reserved.operation.kind in _FIRST_KINDS


def _locked(message: Ended | Told) -> Key | None:
    """The payment a message needs locked."""
    if isinstance(message, Told):
        return message.merchant_id, message.payment_id
    reserved = message.reserved
    return None if _is_first(reserved) else (reserved.intent.merchant_id, reserved.intent.payment_id)


def _operation_covered(reserved: Reserved) -> Row:
    """What the chain says of an operation, see ``core.chain.COVERED``."""
    row = reserved.row
    return (
        *row[:6], row.key, row.content, row.actor, row.source, row.processor, row.card_id, row.reason,
        ",".join(map(str, row.allotment)) if row.allotment else None,
    )


Said = tuple[str, int, str, str, str, str, str, str, str]


def outcome_values(outcome: Outcome | None) -> Said:
    """An outcome as it is stored: result, approved minor units, response code (or why it is unknown), merchant advice,
    approval code, scheme and processor reference, security code result, ECI."""
    match outcome:
        case Approved(minor, approval_code, scheme_reference, processor_reference, code, code_result, _, eci):
            return "approved", minor, code, "", approval_code, scheme_reference, processor_reference, code_result, eci
        case Declined(response_code, advice, processor_reference):
            return "declined", 0, response_code, advice, "", "", processor_reference, "", ""
        case Unknown(why):
            result, code = "unknown", why.value
        case Reversed(response_code):
            result, code = "reversed", response_code
        case Challenge(_, reference):
            return "challenge", 0, "", "", "", "", reference, "", ""
        case NotAsked(why):
            result, code = "not_asked", why
        case None:
            raise AssertionError("an answer always has an outcome")
    return result, 0, code, "", "", "", "", "", ""
