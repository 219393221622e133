"""The rows of a batch of outcomes: every message decided in turn, turned into rows, linked to the chain.

Where the end of an operation is at stake between several writers, the payment's lock makes them see each other, and two rules
say who may write.  *The job's fence*: what recovery found out counts only while the claim it was found out under is the job's
latest.  *Rule R*: an operation for which a reversal was decided is never approved, and an approved one never gets a reversal.
Whoever decides either looks for the other under the lock: so nothing is approved here that is undone at the issuer, whatever
comes late, twice or from a process that was thought dead.  Refuses to know the database; ``outcome_batch`` stores what is written here.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import NamedTuple

from ringfence.core.chain import COVERED, Link, Row
from ringfence.core.ledger import KINDS, Transferred
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved, Challenge, Declined, Outcome, Silence, Unknown, outcome_values
from ringfence.core.payment import Answer, Decision, Operation, Payment, decide
from ringfence.core.recovery import PENDING, Plan, attempt_of, pause
from ringfence.core.refusals import Refusal
from ringfence.engine.chaining import digest
from ringfence.engine.intents import Ended, Reserved
from ringfence.engine.lane import Lane
from ringfence.engine.outcome_work import Work
from ringfence.storage.jobs import JobRow
from ringfence.storage.payments import BalanceRow, EventRow, Finished, Held, Key, NoticeRow, OperationRow, ReversalRow, TransferRow
from ringfence.storage.recovery import HOLD_REST, RECOVERY, REVERSAL, Fence, Name
from ringfence.storage.refund_parts import PartRow

LEGS_PER_ATTEMPT = 10_000
_NO_LINES = (None, None, None, None)
_NUMBERS = {kind: int(kind) for kind in Transferred}        # as they are stored: the driver converts a member for every column it is in
SUPERSEDED = Unknown(Silence.SUPERSEDED)                    # known by identity: nothing was written for such a message
REVERSAL_PAUSE = timedelta(seconds=5)
"""Of business time: the first try of a reversal leaves with the answer that made it due, the next one by its job."""
_answer = partial(tuple.__new__, Answer)                    # all fields at once, at a third of the price of a call


class Told(NamedTuple):
    """A notice for one payment.  ``operation_id`` is a new id: its transfers are posted under it.

    A late approval names its operation as the notice's capture.  ``reverse``: it is to be undone, if the operation is not
    approved; told twice, it is undone once.
    """

    merchant_id: int
    payment_id: int
    operation_id: int
    processor: str
    notice: Notice
    reverse: bool = False


End = tuple[Payment | None, Operation | None, Outcome | None, Refusal | None]
"""What becomes of one message, before the batch has its receipt."""


class Writing:
    """The rows of a batch as they gather."""

    def __init__(
        self, now: datetime, batch_id: int, day: Callable[[str], tuple[date, int]], plan: Plan, fences: dict[Name, Fence],
        spare_id: Callable[[int], int],
    ) -> None:
        self._now, self._batch_id, self._day, self._plan, self._fences = now, batch_id, day, plan, fences
        self._spare_id = spare_id
        self.work = Work()
        self._firsts: list[tuple] = []
        self._outcomes: list[tuple] = []
        self._transfers: list[TransferRow] = []
        self._events: list[EventRow] = []
        self._notices: list[NoticeRow] = []
        self._reversals: list[ReversalRow] = []
        self._parts: list[PartRow] = []
        self._changed: dict[Key, Held] = {}
        self._totals: dict[tuple[int, str, Transferred], int] = defaultdict(int)
        self._covered: tuple[list[Row], list[Row], list[Row], list[Row]] = ([], [], [], [])

    def first(self, reserved: Reserved, outcome: Outcome, undo: bool) -> End:
        """The outcome of a payment's first operation: one row for all of it."""
        _, operation, held, row, _, _ = reserved
        decision = decide(held[0], _answer((operation, outcome)), self._now)
        assert type(decision) is Decision, "answers are never refused"
        payment, _, outcome, transfers, events, reverse, _ = decision
        merchant_id, payment_id, said = row[0], row[1], outcome_values(outcome)
        outcomes, operations, moves, _ = self._covered
        lines, day = _NO_LINES, None
        if transfers:
            day, ordinal = self._day(row[13])
            currency, totals = payment[1], self._totals
            kind, minor = transfers[0]
            number = _NUMBERS[kind]
            totals[merchant_id, currency, kind] += minor
            moves.append((merchant_id, payment_id, payment_id, 0, number, minor, currency, ordinal))
            lines = number, minor, None, None
            if len(transfers) == 2:         # never more
                kind, also = transfers[1]
                second = _NUMBERS[kind]
                totals[merchant_id, currency, kind] += also
                moves.append((merchant_id, payment_id, payment_id, 1, second, also, currency, ordinal))
                lines = number, minor, second, also
        self._firsts.append((
            merchant_id, payment_id, *said, *payment[1:7], payment[12], payment[18], payment[19], *lines, day, events[0] if events else None,
        ))
        # Before the issuer was asked for the first time there is attempt 0: whoever carries on behind a challenge makes the first one.
        outcomes.append((merchant_id, payment_id, payment_id, 0 if type(outcome) is Challenge else 1, *said))
        operations.append(_COVERED(row))        # a first operation has no allotment
        if reverse:
            self._owe_the_rest((merchant_id, payment_id, payment_id), 1)
        elif type(outcome) is Unknown:
            self._doubt((merchant_id, payment_id, payment_id), undo, outcome)
        return payment, operation, outcome, None

    def by_itself(self) -> tuple[tuple, tuple[list[Row], ...], dict[tuple[int, str, Transferred], int]]:
        """What one first outcome alone has written: its row, what the chain covers of it, and what it adds to accounts, by kind."""
        return self._firsts[0], self._covered, self._totals

    def later(self, reserved: Reserved, outcome: Outcome, undo: bool, held: dict[Key, Held]) -> End:
        """The outcome of an operation on a payment that is locked."""
        key, operation = (reserved.intent.merchant_id, reserved.intent.payment_id), reserved.operation
        before, name = held[key], (*key, operation.id)
        if operation.unknown and self._is_superseded(name, operation, outcome, undo):
            self.work.superseded += 1
            return before.payment, operation, SUPERSEDED, None
        decision = decide(before.payment, Answer(operation, outcome), self._now)
        assert isinstance(decision, Decision), "answers are never refused"
        said, attempt = outcome_values(decision.outcome), operation.attempt
        self._outcomes.append((*key, operation.id, attempt, *said, self._now, self._batch_id))
        self._covered[0].append((*key, operation.id, attempt, *said))
        self._covered[1].append(_operation_covered(reserved.row))
        self._post(key, operation.id, (attempt - 1) * LEGS_PER_ATTEMPT, decision, reserved.intent.processor)
        held[key] = self._changed[key] = self._tell(key, operation.id, attempt, before, decision)
        if type(decision.outcome) is Unknown:
            if not operation.unknown:
                self._doubt(name, undo, decision.outcome)
            elif undo:                      # the attempt is used up by the decision; the next one sends the reversal
                self._owe(name, attempt, "unknown")
                self.work.given_back.append(name)
                self._now_stands(name, reversal_left=True)
        elif operation.unknown:
            self.work.ended.append(name)
            self._now_stands(name, tries=None, is_approved=type(decision.outcome) is Approved)
        elif name in self._fences:          # told late in the same batch
            self._now_stands(name, is_approved=type(decision.outcome) is Approved)
        if decision.reverse:
            self._owe_the_rest(name, attempt)
        if decision.parts:
            self._parts += [PartRow(*name, attempt, *part, self._batch_id) for part in decision.parts]
        if type(decision.outcome) in (Approved, Declined) and decision.outcome.hold_gone and decision.payment.open:
            dropped = Notice(Noticed.HOLD_DROPPED, f"with:{operation.id}")
            self.notice(Told(*key, self._spare_id(operation.id), reserved.intent.processor, dropped), held, frozenset())
            self._wake(HOLD_REST, name)
            return held[key].payment, operation, decision.outcome, None
        return decision.payment, operation, decision.outcome, None

    def notice(self, told: Told, held: dict[Key, Held], known: frozenset[tuple[Key, str]]) -> End:
        """A fact from outside, once per identity; a payment that is not there yet cannot be told of it."""
        key, notice = (told.merchant_id, told.payment_id), told.notice
        before = held.get(key)
        if before is None:
            return None, None, None, Refusal.PAYMENT_NOT_FOUND
        if _is_late(notice) and self._is_no_news((*key, notice.capture_id), told.reverse):
            return before.payment, None, None, Refusal.KEY_USED
        if (key, notice.identity) in known or any(row[:3] == (*key, notice.identity) for row in self._notices):
            return before.payment, None, None, Refusal.KEY_USED
        decision = decide(before.payment, notice, self._now)
        assert isinstance(decision, Decision), "facts are never refused"
        row = NoticeRow(*key, notice.identity, told.operation_id, notice.noticed, notice.minor, notice.capture_id,
                        self._now, self._batch_id)
        self._notices.append(row)
        self._covered[3].append(tuple(row[:7]))
        self._post(key, told.operation_id, 0, decision, told.processor)
        held[key] = self._changed[key] = self._tell(key, told.operation_id, 1, before, decision)
        return decision.payment, None, None, None

    def _post(self, key: Key, operation_id: int, leg: int, decision: Decision, processor: str) -> None:
        currency = decision.payment.currency
        for kind, minor in decision.transfers:
            day, ordinal = self._day(processor)
            self._totals[key[0], currency, kind] += minor
            self._transfers.append(TransferRow(*key, operation_id, leg, kind, minor, currency, day, self._batch_id))
            self._covered[2].append((*key, operation_id, leg, kind, minor, currency, ordinal))
            leg += 1

    def _tell(self, key: Key, operation_id: int, attempt: int, before: Held, decision: Decision) -> Held:
        sequence = before.sequence
        for event in decision.events:
            sequence += 1
            self._events.append(EventRow(*key, sequence, event, operation_id, attempt, self._now, self._batch_id))
        return before._replace(payment=decision.payment, sequence=sequence)

    def _is_superseded(self, name: Name, operation: Operation, outcome: Outcome, undo: bool) -> bool:
        """Whether what recovery found out may not be written any more: another has the job, or rule R forbids it."""
        fence = self._fences[name]
        if fence.tries is None or attempt_of(fence.tries) != operation.attempt:
            return True
        return fence.reversal_left if type(outcome) is Approved else undo and fence.is_approved

    def _is_no_news(self, name: Name, undo: bool) -> bool:
        """Whether the operation of a late approval is approved, so that nothing follows.  Else whoever ends it is woken, and
        where nobody is there to do so, the reversal gets a job of its own."""
        fence = self._fences[name]
        if fence.is_approved:
            return True
        if fence.tries is not None:
            self._wake(RECOVERY, name)
        if undo and not fence.reversal_left:
            self._owe(name, 1, Silence.SUPERSEDED)
            self._now_stands(name, reversal_left=True)
            if fence.tries is None:
                self._wake(REVERSAL, name)
        return False

    def _now_stands(self, name: Name, **changed: object) -> None:
        """What later messages of the same batch find about an operation."""
        self._fences[name] = self._fences[name]._replace(**changed)

    def _doubt(self, name: Name, undo: bool, why: Unknown) -> None:
        """An operation is in doubt from now on: recovery gets its job, and where only a reversal can end it, that is decided.  What
        the other side has taken is undone by nobody, and asked about when it says."""
        merchant_id, payment_id, operation_id = name
        is_pending = why.why is Silence.PENDING
        undo = undo and not is_pending
        wait = timedelta(seconds=why.within) if why.within else pause(PENDING if is_pending else self._plan, 0, operation_id)
        self.work.woken.append(JobRow(
            merchant_id, RECOVERY, operation_id, payment_id, self._now + wait, self._now + timedelta(seconds=self._plan.deadline),
        ))
        if undo:
            self._owe(name, 1, "unknown")
        if name in self._fences:            # told late in the same batch
            self._now_stands(name, tries=0, reversal_left=undo)

    def _owe_the_rest(self, name: Name, attempt: int) -> None:
        """What was approved in part and is not wanted is reversed as a whole; its operation has ended."""
        self._owe(name, attempt, "partial_not_wanted")
        self._wake(REVERSAL, name, REVERSAL_PAUSE)

    def _owe(self, name: Name, attempt: int, why: str) -> None:
        self._reversals.append(ReversalRow(*name, attempt, why, datetime.now(UTC)))

    def _wake(self, queue: str, name: Name, after: timedelta = timedelta(0)) -> None:
        self.work.woken.append(JobRow(name[0], queue, name[2], name[1], self._now + after))

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
        return Finished(
            self._firsts, self._outcomes, self._changed, self._transfers, added(self._totals, link.lane), self._events, self._notices,
            self._reversals, link, self._parts,
        )


def added(totals: dict[tuple[int, str, Transferred], int], lane: int) -> list[BalanceRow]:
    """What transfers of each merchant, currency and kind add to the accounts, in the order of their keys."""
    balances: dict[tuple[int, str, str], int] = defaultdict(int)
    for (merchant_id, currency, kind), minor in totals.items():
        debit, credit = KINDS[kind]
        balances[merchant_id, currency, debit] += minor
        balances[merchant_id, currency, credit] -= minor
    return sorted(BalanceRow(*account, lane, delta) for account, delta in balances.items())


def key_of(message: Ended | Told) -> Key:
    """The payment a message is about."""
    of = message if type(message) is Told else message.reserved.intent
    return of.merchant_id, of.payment_id


def fenced(message: Ended | Told) -> Name | None:
    """The operation whose end several may want to write; ``None`` for the message of an owner, or another fact."""
    if type(message) is Told:
        return (*key_of(message), message.notice.capture_id) if _is_late(message.notice) else None
    return (*key_of(message), message.reserved.operation.id) if message.reserved.operation.unknown else None


def _is_late(notice: Notice) -> bool:
    """Whether a notice is the late approval of an operation that it names."""
    return notice.noticed is Noticed.LATE_APPROVAL and notice.capture_id > 0


_COVERED = itemgetter(*[OperationRow._fields.index(name) for name in COVERED["operations"]])


def _operation_covered(row: OperationRow) -> Row:
    """What the chain says of an operation, see ``core.chain.COVERED``; of an allotment, its numbers as a text."""
    if row.allotment:
        row = row._replace(allotment=",".join(map(str, row.allotment)))
    return _COVERED(row)
