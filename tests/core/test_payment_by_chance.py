"""Chance plays with one payment: any order of commands, outcomes, notices, losses and repeats.

The machine keeps its own books beside ``decide``: accounts from the transfers alone, reservations from the operations without a
final outcome.  After every step both must say the same, and the proof's checks P1 to P6 must hold.  Like the real store it
hands each attempt's outcome in once, and each notice's identity once.
"""
from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from ringfence.core.allotment import PartState, after, open_parts
from ringfence.core.commands import MAX_MINOR, Command, Kind, VoidReason
from ringfence.core.events import Event
from ringfence.core.ledger import KINDS, Transferred, book_of
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved, Challenge, Declined, NotAsked, Outcome, Reversed, Silence, Unknown
from ringfence.core.payment import FIRST, Answer, Decision, Operation, Payment, Status, decide
from ringfence.core.refusals import Refusal

T = Transferred
ENDED = (Status.VOIDED, Status.DECLINED)
STANDING = (Status.AUTHORIZED, Status.CAPTURED)

#: The kinds of transfers that an approval of each operation may post.
LEGS = {
    Kind.AUTHORIZATION: {T.AUTHORIZE, T.VOID},
    Kind.PURCHASE: {T.USE_NOW, T.CAPTURE, T.AUTHORIZE, T.VOID},
    Kind.INCREMENT: {T.INCREASE},
    Kind.DECREMENT: {T.DECREASE, T.VOID_UNSECURED},
    Kind.CAPTURE: {T.USE, T.USE_UNSECURED, T.CAPTURE, T.VOID, T.VOID_UNSECURED},
    Kind.VOID: {T.VOID, T.VOID_UNSECURED, T.EXPIRE, T.EXPIRE_UNSECURED},
    Kind.REFUND: {T.REFUND, T.REFUND_DONE},
}

amounts = st.integers(1, 100_000) | st.sampled_from((1, 2, 1_000, MAX_MINOR))
outcomes = st.sampled_from((
    "approved", "approved", Unknown(Silence.PENDING), Unknown(Silence.PENDING, (0,)), Unknown(Silence.PENDING, (), (0,)),
    Unknown(Silence.PENDING, (1, 2), (0, 9)), "one less", "one more", Declined("05"), Unknown(Silence.NO_ANSWER), Unknown(Silence.OWNER_GONE),
    Reversed(), "returned", Challenge("/3ds/c", "c"), Challenge("", "c"), NotAsked("too late"), NotAsked("authentication_failed"),
))


class Share(NamedTuple):
    """An amount: what is left, divided by ``of``, and ``more``."""

    of: int
    more: int


shares = st.sampled_from((Share(3, 0), Share(2, 0), Share(10, 0), Share(1, 0), Share(1, 1)))
#: Most answers come before anything else is asked; the others come later, in any order, or never.
soon = st.sampled_from(("approved", "approved", "approved", None, None, None, Declined("05"), Unknown(Silence.NO_ANSWER), Unknown(Silence.PENDING, (), (1,))))


class OnePayment(RuleBasedStateMachine):
    """The machine: rules are what may happen, invariants what must always be true."""

    def __init__(self) -> None:
        super().__init__()
        self.payment = Payment(1, "AED")
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.asked: dict[int, Command] = {}             # every command that was accepted
        self.waiting: dict[int, Operation] = {}         # operations without a final outcome
        self.noticed: set[str] = set()
        self.posted: Counter[Transferred] = Counter()   # the ledger: minor units by kind of transfer
        self.captures: Counter[int] = Counter()         # approved and not rejected, by capture
        self.returned: Counter[int] = Counter()         # refunded, disputed or charged back, by capture
        self.facts_moved = False                        # a fact took money or a capture away
        self.over_returned = False                      # ... and it was said that this was too much

    # --- what happens -----------------------------------------------------------------------------------------------

    @initialize(
        kind=st.sampled_from((Kind.AUTHORIZATION, Kind.AUTHORIZATION, Kind.AUTHORIZATION, Kind.PURCHASE)), minor=amounts,
        partial=st.booleans(), hold=st.sampled_from((600, 0)), answer=st.sampled_from(("approved",) * 6 + ("one less", None)),
    )
    def begin(self, kind, minor, partial, hold, answer):
        self._command(Command(kind, minor, "AED", 1, accepts_partial=partial, hold_seconds=hold), answer)

    @rule(kind=st.sampled_from(sorted(Kind)), minor=amounts, currency=st.sampled_from(("AED", "AED", "JPY")), answer=soon)
    def ask_anything(self, kind, minor, currency, answer):
        self._command(Command(kind, minor, currency, self._next_id()), answer)

    @precondition(lambda self: self._stands() and not self.payment.purchase)
    @rule(kind=st.sampled_from((Kind.CAPTURE, Kind.INCREMENT, Kind.DECREMENT, Kind.VOID)), share=shares, answer=soon)
    def change_the_hold(self, kind, share, answer):
        self._ask_for(kind, self.payment.capturable, share, answer)

    @precondition(lambda self: self._stands() and not self.payment.purchase)
    @rule(
        up=st.booleans(), share=shares, partial=st.booleans(), off=st.sampled_from((0, 0, 0, 1)),
        answer=st.sampled_from(("approved", "approved", "one less", None, Declined("51"), Unknown(Silence.NO_ANSWER))))
    def adjust(self, up, share, partial, off, answer):
        """A difference that was worked out from what stood; what has moved since is not touched by it."""
        stood = self.payment.open + self.payment.unsecured
        command = Command(
            Kind.INCREMENT if up else Kind.DECREMENT, max(1, stood // share.of + share.more), "AED", self._next_id(),
            accepts_partial=partial and up, standing=stood + off)
        if off:
            assert not isinstance(decide(self.payment, command, self.now), Decision)
        self._command(command, answer)

    @precondition(lambda self: self._stands() and self.payment.capturable)
    @rule(share=shares, answer=soon, last=st.booleans())
    def capture(self, share, answer, last):
        if not last:
            return self._ask_for(Kind.CAPTURE, self.payment.capturable, share, answer)
        command = Command(
            Kind.CAPTURE, max(1, self.payment.capturable // share.of + share.more), "AED", self._next_id(), reason=VoidReason.NOT_WANTED)
        if self.payment.pending_capture:
            assert not isinstance(decide(self.payment, command, self.now), Decision), "nothing is captured beside the last one"
        return self._command(command, answer)

    @precondition(lambda self: self._stands() and self.payment.captured)
    @rule(share=shares, answer=soon)
    def refund(self, share, answer):
        self._ask_for(Kind.REFUND, self.payment.refundable, share, answer)

    @precondition(lambda self: self._stands())
    @rule(reason=st.sampled_from(VoidReason), whole=st.booleans(), later=st.sampled_from((0, 300, 600)), answer=soon)
    def give_back(self, reason, whole, later, answer):
        """A void of all that is open, or an expiry, when some time has passed."""
        self.now += timedelta(seconds=later)
        self._command(Command(Kind.VOID, None, "AED", self._next_id(), whole=whole, reason=reason), answer)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 63), answer=outcomes)
    def answer(self, which, answer):
        self._answer(sorted(self.waiting.values())[which % len(self.waiting)], answer)

    @rule(
        what=st.sampled_from(Noticed), identity=st.integers(0, 40).map(str), minor=st.integers(0, 10_000),
        which=st.integers(0, 63), whole=st.booleans(),
    )
    def notice(self, what, identity, minor, which, whole):
        """A fact about a capture, about the payment as a whole, or about something that is no capture (yet)."""
        if identity in self.noticed:
            return                                      # repeated: the store has it already
        self.noticed.add(identity)
        capture_id = (0, *sorted(self.asked))[which % (len(self.asked) + 1)]
        if whole and self.captures[capture_id]:
            minor = self.captures[capture_id]           # just what was captured: often the amount of a dispute
        before, decision = self.payment, decide(self.payment, Notice(what, identity, minor, capture_id), self.now)
        assert isinstance(decision, Decision)
        assert decision.operation is decision.outcome is None
        self._commit(decision)
        self._follow_fact(before, what)
        if what in (Noticed.CHARGEBACK, Noticed.CAPTURE_REJECTED):
            self.facts_moved = True
        moved = sum(part for kind, part in decision.transfers if kind is not T.UNUSE)
        if what is Noticed.CHARGEBACK:
            assert moved == minor, "the issuer took it, whatever we think"
        elif what is Noticed.LATE_APPROVAL:
            assert decision.payment == before
            assert not decision.transfers
        assert (Event.NOTICE_UNMATCHED in decision.events) == (what is not Noticed.LATE_APPROVAL and moved < max(minor, 1))

    @precondition(lambda self: not self.waiting and not self.payment.capturable and not self.payment.refundable)
    @rule(kind=st.sampled_from((Kind.AUTHORIZATION, Kind.PURCHASE)))
    def begin_again(self, kind):
        """This payment is over; another has more to live through."""
        self.teardown()
        self.__init__()
        self._command(Command(kind, 100_000, "AED", 1, hold_seconds=600), "approved")

    # --- what is stored ---------------------------------------------------------------------------------------------

    def _next_id(self) -> int:
        return len(self.asked) + 1

    def _stands(self) -> bool:
        return self.payment.status in STANDING and not self.payment.unknown

    def _ask_for(self, kind: Kind, left: int, share: Share, answer: Outcome | str | None) -> None:
        """All that is left, a part of it, or a little too much."""
        self._command(Command(kind, max(1, left // share.of + share.more), "AED", self._next_id()), answer)

    def _command(self, command: Command, answer: Outcome | str | None) -> None:
        before = self.payment
        verdict = decide(before, command, self.now)
        assert verdict == decide(before, command, self.now), "a commit that was lost is tried again and decides the same"
        if not isinstance(verdict, Decision):
            return                                      # refused: there is nothing to store
        assert before.status not in ENDED
        assert command.currency == before.currency
        assert (verdict.transfers, verdict.events) == ((), ()), "asking moves nothing"
        assert verdict.operation is not None
        assert verdict.operation.id == command.operation_id
        if command.minor is not None:
            assert verdict.operation.minor == command.minor
        if command.kind is Kind.REFUND:
            assert sum(part for _, part in verdict.operation.allotment) == command.minor
            self._check_a_refund_fits(verdict.payment)
        if command.reason is VoidReason.EXPIRED:
            assert before.expires_at is not None
            assert before.expires_at <= self.now
            assert not any(other.kind is Kind.CAPTURE for other in self.waiting.values())
            assert verdict.operation.minor == before.open + before.unsecured, "an expiry releases all that is open"
        self.asked[command.operation_id] = command
        self.waiting[command.operation_id] = verdict.operation
        self.payment = verdict.payment
        if answer is not None:
            self._answer(verdict.operation, answer)

    def _check_a_refund_fits(self, after: Payment) -> None:
        """Whatever facts did before: a refund that is accepted never asks for more than is left, here and in its captures."""
        assert after.refunded + after.pending_refund + after.disputed + after.charged_back <= after.captured
        reserved = {capture.id: capture.pending for capture in after.captures}
        was = {capture.id: capture.pending for capture in self.payment.captures}
        for capture_id in (capture_id for capture_id, pending in reserved.items() if pending > was[capture_id]):
            assert self.returned[capture_id] + reserved[capture_id] <= self.captures[capture_id]

    def _answer(self, operation: Operation, outcome: Outcome | str) -> None:
        if outcome == "returned":
            outcome = Reversed(returned=operation.minor)
        if isinstance(outcome, str):
            outcome = Approved(operation.minor + {"approved": 0, "one less": -1, "one more": +1}[outcome])
        before = self.payment
        decision = decide(before, Answer(operation, outcome), self.now)
        assert isinstance(decision, Decision)
        assert decision.outcome is not None
        counted = decision.outcome
        assert counted == outcome or counted == Unknown(Silence.NOT_BELIEVABLE)
        if operation.unknown:
            assert not isinstance(counted, NotAsked | Challenge), "it may have been sent"
        posted = [transfer for transfer in decision.transfers if not transfer.kind.name.startswith("DOUBT")]
        if isinstance(counted, Approved):
            assert posted or (operation.taken and not open_parts(operation.parts)), "every part was final before"
            assert {kind for kind, _ in posted} <= LEGS[operation.kind]
            if operation.kind is Kind.CAPTURE:
                self._check_what_is_left(before, decision, operation)
            if operation.kind in (Kind.CAPTURE, Kind.PURCHASE) and not decision.reverse:
                self.captures[operation.id] += counted.minor
            for part in open_parts(operation.parts):
                self.returned[part.capture_id] += part.minor
            assert decision.reverse == (counted.minor < operation.minor and not operation.accepts_partial)
        elif isinstance(counted, Reversed) and counted.returned:
            assert operation.kind is Kind.PURCHASE
            assert posted == [(T.MONEY_IN_SUSPENSE, counted.returned), (T.SUSPENSE_RETURNED, counted.returned)]
        elif operation.kind is Kind.REFUND and operation.taken and not isinstance(counted, Unknown):
            assert posted == [(T.REFUND_FAILED, part.minor) for part in open_parts(operation.parts)]
        elif operation.kind is Kind.REFUND and isinstance(counted, Unknown) and counted.why is Silence.PENDING:
            self._take(operation, decision, posted)
            operation = operation._replace(taken=True, standing_parts=after(operation.parts, decision.parts))
        else:
            assert not posted
            assert not decision.reverse
            assert not decision.parts
        if isinstance(counted, Unknown | Challenge):
            self.waiting[operation.id] = operation._replace(
                attempt=operation.attempt + 1, unknown=operation.unknown or isinstance(counted, Unknown)
            )
        else:
            del self.waiting[operation.id]
        if before.status in ENDED:
            assert decision.payment.status is before.status, "ended stays ended"
        self._commit(decision)

    def _check_what_is_left(self, before: Payment, decision: Decision, operation: Operation) -> None:
        """Behind the last capture nothing is, but for what captures that came behind it reserved; another one gives nothing back."""
        released = decision.payment.voided - before.voided
        if operation.reason is VoidReason.NOT_WANTED:
            assert decision.payment.capturable == 0
            assert released == before.open + before.unsecured - operation.minor - decision.payment.pending_capture
        else:
            assert not released

    def _take(self, operation: Operation, decision: Decision, posted: list) -> None:
        """The other side has the refund: owed as a whole at first, then moved part by part, and never more or less than was asked."""
        done = [part for part in decision.parts if part.state is PartState.DONE]
        for part in done:
            self.returned[part.capture_id] += part.minor
        asked = () if operation.taken else operation.parts
        assert posted == [*((T.REFUND_ASKED, part.minor) for part in asked), *((T.REFUND_DONE, part.minor) for part in done)]
        assert (Event.REFUND_TAKEN in decision.events) == (not operation.taken)
        parts = after(operation.parts, decision.parts)
        assert [part.number for part in parts] == list(range(len(parts)))
        assert sum(part.minor for part in parts if part.state is not PartState.MOVED) == operation.minor
        failed = {part.capture_id for part in parts if part.state in (PartState.MOVED, PartState.STUCK)}
        assert not failed & {part.capture_id for part in decision.parts if part.state is PartState.ASKED}, "where it failed it is not tried again"

    def _commit(self, decision: Decision) -> None:
        assert all(minor > 0 for _, minor in decision.transfers)
        for kind, minor in decision.transfers:
            self.posted[kind] += minor
        self.over_returned |= Event.OVER_RETURNED in decision.events
        if self.payment.status in ENDED:
            assert decision.payment.status is self.payment.status, "ended stays ended"
        self.payment = decision.payment

    def _follow_fact(self, before: Payment, what: Noticed) -> None:
        """A fact without a name may choose its captures; that it moves them rightly the invariants see."""
        was = {capture.id: capture for capture in before.captures}
        for capture in self.payment.captures:
            old = was.get(capture.id)
            self.captures[capture.id] += capture.minor - (old.minor if old else 0)
            self.returned[capture.id] += capture.returned - (old.returned if old else 0)
            assert capture.pending == (old.pending if old else 0), "facts do not touch reservations"

    # --- what must always be true -----------------------------------------------------------------------------------

    def _accounts(self) -> Counter[str]:
        """Debits minus credits."""
        balances: Counter[str] = Counter()
        for kind, minor in self.posted.items():
            debit, credit = KINDS[kind]
            balances[debit] += minor
            balances[credit] -= minor
        return balances

    def _sum(self, *kinds: Transferred) -> int:
        return sum(self.posted[kind] for kind in kinds)

    @invariant()
    def p1_what_was_promised_is_somewhere(self):
        account = self._accounts()
        parts = [account[f"hold.{name}"] for name in ("open", "unsecured", "captured", "voided", "expired")]
        assert min(parts) >= 0
        assert -account["hold.promised"] == sum(parts)

    @invariant()
    def a_challenged_payment_holds_nothing_is_in_no_doubt_and_takes_no_command(self):
        if self.payment.status is Status.CHALLENGED:
            assert (self.payment.authorized, self.payment.unknown, self.payment.captured) == (0, 0, 0)
            assert self.payment.pending_authorization == sum(one.minor for one in self.waiting.values() if one.kind in FIRST) > 0
            for kind in Kind:
                assert decide(self.payment, Command(kind, 1, "AED", 10_000), self.now) is Refusal.PAYMENT_PENDING

    @invariant()
    def p2_promise_and_money_agree(self):
        used = self._sum(T.USE, T.USE_NOW, T.USE_LATE, T.USE_UNSECURED) - self._sum(T.UNUSE)
        assert used == self._sum(T.CAPTURE) - self._sum(T.CAPTURE_REJECTED) == self.payment.captured

    @invariant()
    def p3_stored_amounts_are_the_sums_of_transfers(self):
        account, payment = self._accounts(), self.payment
        for name in ("open", "unsecured", "captured", "voided", "expired"):
            assert getattr(payment, name) == account[f"hold.{name}"], name
        assert payment.authorized == -account["hold.promised"]
        assert payment.refunded == self._sum(T.REFUND, T.REFUND_DONE) - self._sum(T.REFUND_RETURNED)
        assert payment.disputed == account["dispute.open"]
        assert payment.charged_back == self._sum(T.DISPUTE_LOST)

    @invariant()
    def p4_reservations_are_the_operations_without_an_end(self):
        payment, pending = self.payment, Counter()
        for operation in self.waiting.values():
            left = sum(part.minor for part in open_parts(operation.parts)) if operation.kind is Kind.REFUND else operation.minor
            pending["authorization" if operation.kind in FIRST else str(operation.kind)] += left
        for name in ("authorization", "increment", "decrement", "capture", "void", "refund"):
            assert getattr(payment, f"pending_{name}") == pending[name], name
        assert pending["capture"] + pending["void"] + pending["decrement"] <= payment.open + payment.unsecured
        reserved = Counter()
        for operation in self.waiting.values():
            for part in open_parts(operation.parts):
                reserved[part.capture_id] += part.minor
        assert {c.id: c.pending for c in payment.captures if c.pending} == dict(reserved)
        if not self.facts_moved:
            assert pending["refund"] <= payment.captured - payment.refunded - payment.disputed - payment.charged_back

    @invariant()
    def p5_no_more_goes_back_than_was_captured(self):
        payment = self.payment
        over = payment.refunded + payment.disputed + payment.charged_back > payment.captured or any(
            self.returned[capture_id] > self.captures[capture_id] for capture_id in self.returned
        )
        assert not over or (self.facts_moved and self.over_returned)

    @invariant()
    def p6_doubts_are_the_unknown_operations(self):
        account, doubts = self._accounts(), Counter()
        for operation in self.waiting.values():
            if operation.unknown and not operation.taken:
                doubts[operation.kind] += operation.minor
        for kind in Kind:
            assert account[f"doubt.{kind}"] == doubts[kind], kind
        assert self.payment.unknown == sum(operation.unknown and not operation.taken for operation in self.waiting.values())

    @invariant()
    def p10_what_is_owed_to_payers_is_what_was_taken_and_is_not_final(self):
        taken = sum(part.minor for one in self.waiting.values() if one.taken for part in open_parts(one.parts))
        assert -self._accounts()["refund.pending"] == taken

    @invariant()
    def every_book_balances_by_itself(self):
        books: Counter[str] = Counter()
        for account, balance in self._accounts().items():
            books[book_of(account)] += balance
        assert not any(books.values())

    @invariant()
    def captures_add_up_to_the_payment(self):
        payment = self.payment
        for name, total in (
            ("minor", payment.captured), ("refunded", payment.refunded), ("disputed", payment.disputed),
            ("charged_back", payment.charged_back), ("pending", payment.pending_refund),
        ):
            assert sum(getattr(capture, name) for capture in payment.captures) == total, name
        assert {c.id: c.minor for c in payment.captures if c.minor} == +self.captures
        assert len({capture.id for capture in payment.captures}) == len(payment.captures)

    @invariant()
    def nothing_is_negative_or_beyond_the_limit(self):
        payment = self.payment
        assert min(payment.open, payment.capturable, payment.refundable, payment.unsecured) >= 0
        assert all(getattr(payment, name) >= 0 for name in Payment._fields if isinstance(getattr(payment, name), int))
        assert all(min(capture) >= 0 for capture in payment.captures)
        assert payment.authorized + payment.pending_increment <= MAX_MINOR

    @invariant()
    def the_status_is_what_the_numbers_say(self):
        payment, first = self.payment, self.waiting.get(1)
        match payment.status:
            case Status.CREATED | Status.CHALLENGED:
                assert first is not None
                assert not payment.authorized
                assert payment.status is Status.CREATED or not first.unknown
            case Status.AUTHORIZED:
                assert not payment.captured
                assert not payment.purchase
                assert payment.authorized
            case Status.CAPTURED:
                assert payment.captured or payment.purchase
            case Status.VOIDED:
                assert not payment.captured
                assert not payment.open
                assert not payment.unsecured
            case Status.DECLINED:
                assert not payment.captured
                assert not payment.open
                assert payment.authorized == payment.voided

    def teardown(self) -> None:
        """When every question has its answer, nothing is reserved and nothing in doubt."""
        for operation in list(self.waiting.values()):
            self._answer(operation, Declined("05") if operation.id % 2 else "approved")
        assert not any(getattr(self.payment, name) for name in Payment._fields if name.startswith("pending_"))
        assert self.payment.unknown == 0
        assert not any(balance for account, balance in self._accounts().items() if book_of(account) == "doubt")
        self.p1_what_was_promised_is_somewhere()
        self.p3_stored_amounts_are_the_sums_of_transfers()
        self.p5_no_more_goes_back_than_was_captured()


LIVES = settings(max_examples=80, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TestOnePayment = OnePayment.TestCase
TestOnePayment.settings = LIVES


@pytest.mark.wide
def test_two_hundred_and_fifty_payments():
    run_state_machine_as_test(OnePayment, settings=settings(LIVES, max_examples=250))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_thousand_payments():
    run_state_machine_as_test(OnePayment, settings=settings(LIVES, max_examples=2_000))
